"""The training loop: a plan says which pairs, a backbone says which losses, `loop` takes the steps.

Nothing here decides an order: the batches of an epoch are what the plan says they are, so a training that is killed
and resumed replays exactly the batches it would have seen.
"""

from class_kit.inputs import encode
from class_kit.options import TrainingConfig
from class_kit.training.loop import TrainingResult, train
from class_kit.training.optimizers import learning_rate

__all__ = ["TrainingConfig", "TrainingResult", "encode", "learning_rate", "train"]
