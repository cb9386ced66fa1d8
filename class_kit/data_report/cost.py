"""What a training will cost on this machine, from a few steps of it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.checks import check_whole
from class_kit.curriculum import EpochPlan, LinearSchedule, NeverFullWarning
from class_kit.errors import InputError

if TYPE_CHECKING:
    from class_kit.task import Task
    from class_kit.training import TrainingConfig


def training_cost(
    task: Task,
    config: TrainingConfig | None = None,
    *,
    start: float = 0.40,
    growth: float = 0.03,
    steps: int = 6,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a few optimiser steps and extrapolate to whole trainings, plain and with the curriculum.

    Three short epochs of the first training pairs are run and the fastest of the last two is taken: the first pays
    for what is set up once, and anything else the machine does can only slow a step down. Validation, counting
    neighbours and embedding come on top.

    Parameters
    ----------
    config : TrainingConfig, optional
        The training to estimate; the default configuration with 40 epochs, as the paper's example has.
    steps : int
        Optimiser steps in each of the three epochs, at least 1.

    Returns
    -------
    dict
        `backbone`, `epochs`, `batch_size`, `step_seconds`; `plain` and `curriculum`, each with `steps`, `samples`,
        `seconds` and `last_fraction` (λ of the last epoch); `share`, the curriculum's samples over the plain run's.
    """
    from class_kit.training import TrainingConfig, train

    check_whole("steps", steps, low=1)
    config = TrainingConfig(epochs=40) if config is None else config
    rows = task.rows("train")
    if len(rows) < 2:
        raise InputError(f"{len(rows)} training pair: expected at least 2 to train on")
    everything, growing = LinearSchedule(start=1.0, growth=0.0), LinearSchedule(start=start, growth=growth)
    few = rows[: steps * config.batch_size]
    brief = replace(config, epochs=3, seed=seed)
    history = train(brief, _plan(len(few), everything, 3, seed), task.t[few], task.m[few], progress=False).history
    each = min(epoch["seconds"] / epoch["steps"] for epoch in history[1:])
    found: dict[str, Any] = {
        "backbone": config.backbone,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "step_seconds": each,
    }
    for name, schedule in (("plain", everything), ("curriculum", growing)):
        whole = _plan(len(rows), schedule, config.epochs, seed)
        total = whole.steps_total(config.batch_size)
        samples = sum(len(whole.rows(epoch)) for epoch in range(1, config.epochs + 1))
        last = whole.fraction(config.epochs)
        found[name] = {"steps": total, "samples": samples, "seconds": total * each, "last_fraction": last}
    return found | {"share": found["curriculum"]["samples"] / found["plain"]["samples"]}


def _plan(pairs: int, schedule: LinearSchedule, epochs: int, seed: int) -> EpochPlan:
    """A plan over pairs in any order: costs depend on how many there are and not on which."""
    with warnings.catch_warnings():
        # a schedule that never reaches all pairs is said in the report, with its share
        warnings.simplefilter("ignore", NeverFullWarning)
        return EpochPlan(np.arange(pairs), schedule=schedule, seed=seed, epochs=epochs)
