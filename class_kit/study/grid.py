"""The trainings of a study: choices crossed, what decides nothing left out, budgets made equal, time foreseen."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.curriculum import EpochPlan, make_schedule
from class_kit.curriculum.plan import Plan
from class_kit.difficulty import sigma_for_quantile
from class_kit.errors import InputError
from class_kit.study.arms import Arm, kept_pairs
from class_kit.study.config import Choice, StudyConfig

if TYPE_CHECKING:
    from class_kit.task import Task
    from class_kit.training import TrainingConfig

# an arm that sees little an epoch may take this many times the plain run's epochs to spend its budget
_MOST_EPOCHS = 10
_PROBE_STEPS = 8
_CROSSED = ("orders", "schedules", "intensities", "sigmas", "difficulties")


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


def cells(config: StudyConfig, tasks: Mapping[str, Task], step_seconds: Mapping[str, float]) -> list[Cell]:
    """Every training of a study, equal ones once, in the order in which the tables show them.

    Parameters
    ----------
    tasks : mapping of the names of `config.pairs` to what they load
    step_seconds : mapping of the names of `config.backbones` to the seconds of an optimiser step
        Looked at for the budget "seconds" only.
    """
    found = []
    for pairs, backbone, budget in product(config.pairs, config.backbones, config.budgets):
        task = tasks[pairs.name]
        plain = _loop(config, backbone)
        first = _loop(config, config.backbones[0])
        unit = step_seconds if budget == "seconds" else dict.fromkeys(step_seconds, 1.0)
        everything = len(task.rows("train"))
        wanted = _spent(Arm("plain", order="standard"), everything, plain if budget != "seconds" else first, budget)
        wanted *= unit.get(config.backbones[0].name, 1.0)
        for arm, on in _arms(config, task):
            loop = replace(plain, intensity_on=on)
            if budget != "epochs":
                loop = _with_budget(arm, task, loop, budget, wanted / unit.get(backbone.name, 1.0))
            for seed in config.seeds:
                found.append(Cell(pairs.name, backbone.name, budget, arm, replace(loop, seed=seed)))
    return found


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
    train(short, _everything(few), text.subset(np.arange(few)), molecules.subset(np.arange(few)), progress=False)
    begun = time.perf_counter()
    result = train(short, _everything(len(rows)), text, molecules, progress=False)
    return (time.perf_counter() - begun) / result.steps


def foreseen_steps(cell: Cell, task: Task) -> int:
    """Optimiser steps of a training, as far as its plan knows them in advance."""
    return _plan(cell.arm, len(kept_pairs(task, cell.arm)), cell.config).steps_total(cell.config.batch_size)


def _everything(rows: int) -> Plan:
    return EpochPlan(np.arange(rows), make_schedule("full"), "constant", epochs=1)


def _loop(config: StudyConfig, backbone: Choice) -> TrainingConfig:
    from class_kit.training import TrainingConfig

    return TrainingConfig(**{**config.training, **backbone.sets})


def _arms(config: StudyConfig, task: Task) -> Iterator[tuple[Arm, str]]:
    """Arms and what γ acts on, each once: choices that decide nothing for an order are not crossed with it."""
    seen: set[str] = set()
    names: set[str] = set()
    quantiles: dict[float, float] = {}
    several = {key for key in _CROSSED if len(getattr(config, key)) > 1}
    for choices in product(*(getattr(config, key) for key in _CROSSED)):
        sets: dict[str, Any] = {}
        for choice in choices:
            sets |= choice.sets
        on = sets.pop("intensity_on")
        if "quantile" in sets:
            share = sets.pop("quantile")
            sets["sigma"] = quantiles.setdefault(share, _sigma_at(task, share))
        arm = Arm("?", **sets)
        decides = arm.decides
        on = on if decides.get("intensity", "constant") != "constant" else "loss"
        key = json.dumps([decides, on], sort_keys=True)
        if key in seen:
            continue
        seen.add(key)
        matters = {
            "schedules": "start" in decides,
            "intensities": "intensity" in decides,
            "sigmas": "sigma" in decides,
            "difficulties": "difficulty" in decides,
        }
        named = {"orders"} | {key for key in several if matters.get(key, False)}
        words = [choice.name for key, choice in zip(_CROSSED, choices, strict=True) if key in named]
        name = " · ".join(words)
        names.add(name)
        yield replace(arm, name=name), on
    for arm, on in config.arms:
        if arm.name in names:
            raise InputError(f"arms: {arm.name!r} is also the name of a crossed arm: expected another name")
        yield arm, on


def _sigma_at(task: Task, share: float) -> float:
    rows = task.rows("train")
    return sigma_for_quantile(task.t[rows], task.m[rows], q=share)


def _plan(arm: Arm, rows: int, config: TrainingConfig) -> Plan:
    """A plan with the arm's sizes; which rows it holds does not matter here."""
    whole = arm.order == "loss-pruned" or (arm.order == "standard" and not arm.step_matched)
    schedule = make_schedule("full") if whole else arm.make_schedule(config.epochs)
    return _Sizes(np.arange(rows), schedule, "constant", epochs=config.epochs)


class _Sizes(EpochPlan):
    """An epoch plan that is asked for its sizes only, so that what it never reaches is no matter."""

    def __init__(self, order: Any, schedule: Any, intensity: Any, *, epochs: int) -> None:
        super().__init__(order, schedule, intensity)
        self.epochs = epochs


def _spent(arm: Arm, rows: int, config: TrainingConfig, budget: str) -> float:
    plan = _plan(arm, rows, config)
    return float((plan.samples_total if budget == "samples" else plan.steps_total)(config.batch_size))


def _with_budget(arm: Arm, task: Task, config: TrainingConfig, budget: str, wanted: float) -> TrainingConfig:
    """The number of epochs whose cost is nearest to what is wanted; costs grow with epochs, so bisection finds it."""

    if arm.pace == "metric" or arm.order == "loss-pruned":
        raise InputError(
            f"budget {budget!r} for {arm.name!r}: what it spends is decided while it trains, expected the "
            "budget 'epochs' for such an arm"
        )
    rows = len(kept_pairs(task, arm))

    def cost(epochs: int) -> float:
        return _spent(arm, rows, replace(config, epochs=epochs), budget)

    low, high = 1, _MOST_EPOCHS * config.epochs
    if cost(high) < wanted:
        raise InputError(
            f"budget {budget!r} for {arm.name!r}: {high} epochs spend {cost(high):,.0f} of {wanted:,.0f}, expected "
            f"an arm that spends it within {_MOST_EPOCHS} times the {config.epochs} epochs given"
        )
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if cost(middle) < wanted else (low, middle)
    if low > 1 and wanted - cost(low - 1) <= cost(low) - wanted:
        low -= 1
    return replace(config, epochs=low)


def loops(config: StudyConfig) -> dict[str, TrainingConfig]:
    """Settings of the loop by the name of the backbone, before budgets and seeds."""
    return {backbone.name: _loop(config, backbone) for backbone in config.backbones}
