"""The training loop: a plan says which pairs, a backbone says which losses, `loop` takes the steps.

Nothing here decides an order: the batches of an epoch are what the plan says they are, so a training that is killed
and resumed replays exactly the batches it would have seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from class_kit.backbones import backbone_needs
from class_kit.backbones.base import Backbone
from class_kit.errors import InputError
from class_kit.inputs import Inputs, as_inputs, encode
from class_kit.terminal import import_whole
from class_kit.training.config import TrainingConfig, learning_rate
from class_kit.training.loop import Trainer

if TYPE_CHECKING:
    from class_kit.curriculum import Plan

__all__ = [
    "TrainingConfig",
    "TrainingResult",
    "encode",
    "learning_rate",
    "train",
]


@dataclass
class TrainingResult:
    """A trained backbone (weights of its best epoch) and the record of how it got there.

    `history` has one entry per epoch: epoch, fraction, rows, steps, loss, each term and its intensity
    (`intensity/<term>`), an adversary's terms (`critic/<term>`), learnt weights (`weight/<term>`), each validation
    metric, seconds (training alone); where near-duplicates are kept apart, how often they were not (`repeats`, and
    `unavoidable` ones among them). `samples` and `steps` are totals over all epochs.
    """

    backbone: Backbone
    history: list[dict[str, float]]
    best_epoch: int
    steps: int
    samples: int
    seconds: float


def train(
    config: TrainingConfig,
    plan: Plan,
    text: np.ndarray | Inputs,
    molecules: np.ndarray | Inputs,
    *,
    validate: Callable[[Backbone], Mapping[str, float]] | None = None,
    select: str = "mrr",
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    groups: np.ndarray | None = None,
    progress: bool | None = None,
) -> TrainingResult:
    """Train a backbone on the batches of a plan.

    Parameters
    ----------
    plan : Plan
        Planned for as many epochs as the configuration. Its row numbers index `text` and `molecules`. A plan that
        follows losses, metrics or the model's own vectors is told them before every epoch.
    text : (L, d_t) float, or Inputs
    molecules : (L, d_m) float, or Inputs
        Row i of both belongs to pair i; of the kinds that the backbone needs (`backbone_needs`).
    validate : callable, optional
        Takes the backbone in evaluation mode, returns metrics; the epoch with the highest `select` is kept (the
        last one, where `validate` is None). A plan that follows metrics follows `select`.
    folder : path, optional
        Where `checkpoint.safetensors` is written at each epoch's end and every `checkpoint_every` steps.
    resume : bool
        Continue from that checkpoint where there is one. On a CPU the result is the same, bit for bit, as that of a
        training that was never interrupted.
    groups : (L,) int, optional
        As `duplicate_labels` gives them: pairs of one label that is not negative are near-duplicates, and are not
        used as each other's negatives.

    Raises
    ------
    ValueError
        On mismatched lengths or an impossible setting.
    FloatingPointError
        If a loss is not finite; the message names epoch, step and term.
    InputError
        If the checkpoint to resume from is damaged or belongs to other settings or data.
    """
    text, molecules = as_inputs(text), as_inputs(molecules)
    _check_inputs(config, text, molecules)
    if plan.epochs != config.epochs:
        raise InputError(f"the plan is for {plan.epochs} epochs, the configuration for {config.epochs}: expected equal")
    if checkpoint_every is not None and checkpoint_every < 1:
        raise InputError(f"checkpoint_every={checkpoint_every}: expected at least 1 step, or None")
    if "metrics" in plan.needs_feedback and validate is None:
        raise InputError("validate=None: this plan follows the validation metric, expected a function of the backbone")
    # PyTorch reads this part of itself, seconds of it, when the first optimiser is made
    import_whole("torch._dynamo")
    # Weights and dropout come from the configuration's seed, without disturbing the caller's generator.
    with torch.random.fork_rng(), _threads(config.threads):
        torch.manual_seed(config.seed)
        trainer = Trainer(config, plan, text, molecules, validate, select, folder, checkpoint_every, groups)
        if resume and trainer.checkpoint is not None and trainer.checkpoint.is_file():
            trainer.restore()
        trainer.run(progress)
    best = trainer.best
    assert best is not None
    return TrainingResult(trainer.backbone, trainer.history, best[0], trainer.step, trainer.samples, trainer.seconds)


def _check_inputs(config: TrainingConfig, text: Inputs, molecules: Inputs) -> None:
    if len(text) != len(molecules):
        raise InputError(f"{len(text)} texts and {len(molecules)} molecules: expected as many of both")
    needs = backbone_needs(config.backbone, **config.backbone_options)
    kinds = {"text": {"vector": "sentence"}.get(text.kind, text.kind), "molecules": molecules.kind}
    for side, kind in kinds.items():
        if kind != getattr(needs, side):
            raise InputError(f"backbone {config.backbone!r} needs {side} as {getattr(needs, side)}, got {kind}")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
