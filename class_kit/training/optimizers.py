"""The optimisers of a training, and the learning rate of every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from class_kit.backbones.base import Backbone
from class_kit.options import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, total: int) -> float:
    """Rate of step `step` (from 0) of `total`: linear warm-up to the peak, then linear decay to 0.

    A function of the step, so that nothing has to be saved, and of the plan's total, since a curriculum takes fewer
    steps than rows times epochs.
    """
    warm = round(config.warmup * total)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return config.learning_rate * max(0.0, (total - step) / max(1, total - warm))


def make_optimizers(config: TrainingConfig, backbone: Backbone) -> dict[str, torch.optim.Optimizer]:
    """The optimisers by name: "optimizer" for everything except a critic and, if there is a critic, "critic".

    Each parameter group of the first has a `share` of `learning_rate`, 1 unless the backbone sets another rate.
    """
    critic = list(backbone.critic_parameters())
    critic_ids = {id(parameter) for parameter in critic}
    own = [each for each in backbone.parameters() if each.requires_grad and id(each) not in critic_ids]
    rates: list[tuple[Iterable[nn.Parameter], float]] = backbone.parameter_rates()
    share = {id(parameter): rate / config.learning_rate for parameters, rate in rates for parameter in parameters}
    groups: list[dict[str, Any]] = [
        {"params": members, "share": each}
        for each in sorted({1.0, *share.values()}, reverse=True)
        if (members := [parameter for parameter in own if share.get(id(parameter), 1.0) == each])
    ]
    # fused: one pass over the weights; the default's many small ones take a fifth of a step on a CPU
    common: Any = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
    optimizers: dict[str, torch.optim.Optimizer] = {
        "optimizer": torch.optim.AdamW(groups, **common)
        if config.optimizer == "adamw"
        else torch.optim.SGD(groups, momentum=0.9, **common)
    }
    if critic:
        optimizers["critic"] = torch.optim.Adam(critic, lr=backbone.critic_learning_rate, betas=(0.5, 0.9), fused=True)
    return optimizers
