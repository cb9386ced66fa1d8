"""The trainings of a study: choices crossed, what changes nothing left out, budgets made equal, time foreseen."""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.curriculum import EpochPlan, make_schedule
from class_kit.curriculum.plan import Plan
from class_kit.difficulty import sigma_for_quantile
from class_kit.errors import InputError
from class_kit.options import Arm, Target, TrainingConfig
from class_kit.study.arms import kept_pairs
from class_kit.study.config import StudyConfig

if TYPE_CHECKING:
    from class_kit.task import Task

# an arm that sees little an epoch may take this many times the plain run's epochs to spend its budget
_MOST_EPOCHS = 10
_PROBE_STEPS = 8
# crossed keys, each with the setting that says whether it matters to an arm
_CROSSED = {
    "orders": "order",
    "schedules": "schedule",
    "intensities": "intensity",
    "sigmas": "sigma",
    "difficulties": "difficulty",
}


@dataclass(frozen=True)
class Cell:
    """One training of a study.

    Attributes
    ----------
    pairs, backbone, budget : str
        Names of its choices.
    arm : Arm
        Its name says what differs between the arms of the study.
    config : TrainingConfig
        Seed and epochs included.
    """

    pairs: str
    backbone: str
    budget: str
    arm: Arm
    config: TrainingConfig

    @property
    def labels(self) -> dict[str, Any]:
        """What a table says of it."""
        return {
            "pairs": self.pairs,
            "backbone": self.backbone,
            "budget": self.budget,
            "arm": self.arm.name,
            "seed": self.config.seed,
        }


def cells(config: StudyConfig, tasks: Mapping[str, Task]) -> list[Cell]:
    """Every training of a study, equal ones once, in the order in which the tables show them.

    Parameters
    ----------
    tasks : mapping of the names of `config.pairs` to what they load
    """
    laid_out = []
    arms = {choice.name: list(_arms(config, tasks[choice.name])) for choice in config.pairs}
    for pairs, backbone, budget in product(config.pairs, config.backbones, config.budgets):
        task = tasks[pairs.name]
        plain = TrainingConfig(**{**config.training, **backbone.sets})
        for arm, on in arms[pairs.name]:
            loop = replace(plain, intensity_on=on)
            if budget != "epochs":
                loop = _with_budget(arm, task, loop, budget)
            laid_out += [
                Cell(pairs.name, backbone.name, budget, arm, replace(loop, seed=seed)) for seed in config.seeds
            ]
    return laid_out


def seconds_a_step(task: Task, config: TrainingConfig) -> float:
    """Seconds of an optimiser step, measured on a few; the longest batches of real trainings may take longer."""
    from class_kit.backbones import backbone_needs
    from class_kit.training import train

    rows = task.rows("train")[: config.batch_size * (_PROBE_STEPS + 1)]
    needs = backbone_needs(config.backbone, **config.backbone_options)
    text, molecules = task.text_inputs(needs.text, rows), task.molecule_inputs(needs.molecules, rows)
    few = min(config.batch_size, len(rows))
    short = replace(config, epochs=1, batch_size=few)
    # the first step pays for what later ones find ready
    for size in (few, len(rows)):
        plan = EpochPlan(np.arange(size), make_schedule("full"), "constant", epochs=1)
        begun = time.perf_counter()
        result = train(short, plan, text.subset(plan.order), molecules.subset(plan.order), progress=False)
    return (time.perf_counter() - begun) / result.steps


def foreseen_steps(cell: Cell, task: Task) -> int:
    """Optimiser steps of a training, as far as its plan knows them in advance."""
    return _plan(cell.arm, len(kept_pairs(task, cell.arm)), cell.config).steps_total(cell.config.batch_size)


def _arms(config: StudyConfig, task: Task) -> Iterator[tuple[Arm, Target]]:
    """Arms and what γ acts on, each once: choices that change nothing for an order are not crossed with it."""
    seen: set[str] = set()
    names: set[str] = set()
    rows = task.rows("train")
    sigma_at = cache(lambda share: sigma_for_quantile(task.t[rows], task.m[rows], q=share))
    for choices in product(*(getattr(config, key) for key in _CROSSED)):
        sets: dict[str, Any] = {}
        for choice in choices:
            sets |= choice.sets
        on: Target = sets.pop("intensity_on")
        if (share := sets.pop("quantile", None)) is not None:
            sets["sigma"] = sigma_at(share)
        arm = Arm("?", **sets)
        used = arm.training_key
        on = on if used.get("intensity", "constant") != "constant" else "loss"
        key = json.dumps([used, on], sort_keys=True)
        if key in seen:
            continue
        seen.add(key)
        named = [
            choice.name
            for (key, setting), choice in zip(_CROSSED.items(), choices, strict=True)
            if key == "orders" or (setting in used and len(getattr(config, key)) > 1)
        ]
        name = " · ".join(named)
        names.add(name)
        yield replace(arm, name=name), on
    for arm, on in config.arms:
        if arm.name in names:
            raise InputError(f"arms: {arm.name!r} is also the name of a crossed arm: expected another name")
        yield arm, on


def _plan(arm: Arm, rows: int, config: TrainingConfig) -> Plan:
    """A plan with the arm's sizes; which rows it holds does not matter here."""
    whole = arm.order == "loss-pruned" or (arm.order == "standard" and not arm.step_matched)
    plan = EpochPlan(np.arange(rows), make_schedule("full") if whole else arm.make_schedule(config.epochs), "constant")
    # set afterwards: a plan that never reaches all pairs would warn, and is only counted here
    plan.epochs = config.epochs
    return plan


def _with_budget(arm: Arm, task: Task, config: TrainingConfig, budget: str) -> TrainingConfig:
    """The number of epochs whose cost is nearest to the plain run's; costs grow with epochs, so bisection finds it."""
    if arm.pace == "metric" or arm.order == "loss-pruned":
        raise InputError(
            f"budget {budget!r} for {arm.name!r}: what it spends is decided while it trains, expected the "
            "budget 'epochs' for such an arm"
        )

    def cost(arm: Arm, rows: int, epochs: int) -> float:
        plan = _plan(arm, rows, replace(config, epochs=epochs))
        return float((plan.samples_total if budget == "samples" else plan.steps_total)(config.batch_size))

    wanted = cost(Arm("plain", order="standard"), len(task.rows("train")), config.epochs)
    rows = len(kept_pairs(task, arm))
    epochs = range(1, _MOST_EPOCHS * config.epochs + 1)
    if (most := cost(arm, rows, epochs[-1])) < wanted:
        raise InputError(
            f"budget {budget!r} for {arm.name!r}: {epochs[-1]} epochs spend {most:,.0f} of {wanted:,.0f}, expected "
            f"an arm that spends it within {_MOST_EPOCHS} times the {config.epochs} epochs given"
        )
    enough = epochs[bisect_left(epochs, wanted, key=lambda count: cost(arm, rows, count))]
    less = max(1, enough - 1)
    return replace(config, epochs=min((less, enough), key=lambda count: abs(cost(arm, rows, count) - wanted)))
