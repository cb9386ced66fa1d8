"""The settings of a training, and what follows from them alone: optimisers and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from class_kit.backbones.base import Backbone
from class_kit.errors import InputError

OPTIMIZERS = ("adamw", "sgd")
INTENSITY_TARGETS = ("loss", "lr")
TERM_WEIGHTS = ("fixed", "learned")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training; plain values, so that a run's record can hold them.

    Attributes
    ----------
    epochs, batch_size : int
        At least 1. In-batch negatives make the batch size matter: a larger batch is a harder task.
    learning_rate, weight_decay : float
        Peak rate after warm-up; decoupled decay for AdamW, the usual L2 term for SGD (momentum 0.9).
    warmup : float
        Share of all steps with a linearly rising rate, in [0, 1); afterwards it falls linearly to 0.
    optimizer : "adamw" or "sgd"
    intensity_on : "loss" or "lr"
        What γ_k multiplies: the loss (the paper, section 3.3) or the learning rate. Adam divides by the gradient's
        own scale and so all but cancels the first.
    term_weights : "fixed" or "learned"
        Named loss terms are added as they are, or under weights learnt beside the model (`UncertaintyWeights`).
    seed : int
        Initial weights and dropout.
    threads : int
        CPU threads while training. Small heads are no faster with two, and with a fixed number the sums, and so the
        weights, come out the same on a machine with other cores.
    precision : "float32" or "bfloat16"
        Of the matrix products within losses and validation (`torch.autocast`); weights and the optimiser's state are
        float32 always. Where the text encoder is trained (`finetuned`), it alone is computed in bfloat16.
    backbone, backbone_options
        A registered name and its keyword arguments.
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    optimizer: str = "adamw"
    intensity_on: str = "loss"
    term_weights: str = "fixed"
    seed: int = 0
    threads: int = 1
    precision: str = "float32"
    backbone: str = "dual_encoder"
    backbone_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: expected at least 1")
        if not self.learning_rate > 0 or not math.isfinite(self.learning_rate):
            raise InputError(f"learning_rate={self.learning_rate}: expected a positive number")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup={self.warmup}: expected a share in [0, 1)")
        if self.weight_decay < 0:
            raise InputError(f"weight_decay={self.weight_decay}: expected 0 or more")
        choices = {
            "optimizer": OPTIMIZERS,
            "intensity_on": INTENSITY_TARGETS,
            "term_weights": TERM_WEIGHTS,
            "precision": PRECISIONS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(known)}")


def learning_rate(config: TrainingConfig, step: int, total: int) -> float:
    """Rate of step `step` (from 0) of `total`: linear warm-up to the peak, then linear decay to 0.

    A pure function of the step, so that nothing has to be saved, and of the plan's own total, since a curriculum
    takes fewer steps than epochs × rows suggest.
    """
    warm = round(config.warmup * total)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return config.learning_rate * max(0.0, (total - step) / max(1, total - warm))


def main_optimizer(
    config: TrainingConfig, backbone: Backbone, without_decay: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The optimiser of everything but a critic; `without_decay` are trained beside the backbone, undecayed.

    Each group has a `share` of the rate that `learning_rate` gives, 1 where the backbone names no rate of its own.
    """
    critic = {id(parameter) for parameter in backbone.critic_parameters()}
    own = [parameter for parameter in backbone.parameters() if parameter.requires_grad and id(parameter) not in critic]
    rates: list[tuple[Iterable[nn.Parameter], float]] = backbone.parameter_rates()
    share = {id(parameter): rate / config.learning_rate for parameters, rate in rates for parameter in parameters}
    groups: list[dict[str, Any]] = [
        {"params": found, "weight_decay": config.weight_decay, "share": each}
        for each in sorted({1.0, *share.values()}, reverse=True)
        if (found := [parameter for parameter in own if share.get(id(parameter), 1.0) == each])
    ]
    if extra := list(without_decay):
        groups.append({"params": extra, "weight_decay": 0.0, "share": 1.0})
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9)


def critic_optimizer(backbone: Backbone) -> torch.optim.Optimizer | None:
    """The adversary's own optimiser, where there is an adversary."""
    parameters = list(backbone.critic_parameters())
    return torch.optim.Adam(parameters, lr=backbone.critic_learning_rate, betas=(0.5, 0.9)) if parameters else None
