"""The training loop: a plan chooses the pairs, a backbone computes the losses, `loop` takes the steps.

The plan alone defines the batches of each epoch, so a training that is interrupted and resumed sees exactly the
batches it would have seen.
"""

from class_kit.inputs import encode
from class_kit.options import TrainingConfig
from class_kit.training.loop import TrainingResult, train
from class_kit.training.optimizers import learning_rate

__all__ = ["TrainingConfig", "TrainingResult", "encode", "learning_rate", "train"]
