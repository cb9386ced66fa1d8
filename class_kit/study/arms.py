"""Arms: every way to train that a comparison may hold, as plain values, and the plan each of them stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.checks import check_real, check_whole
from class_kit.curriculum.controls import ORDERS, make_plan
from class_kit.curriculum.duplicates import duplicate_labels, one_of_each, pairs_above
from class_kit.curriculum.hard_batches import HardnessSchedule, neighbour_line
from class_kit.curriculum.intensity import INTENSITIES
from class_kit.curriculum.pacing import MetricPacing, PacedPlan
from class_kit.curriculum.schedules import SHAPES, Schedule, make_schedule
from class_kit.curriculum.self_paced import KINDS, LossPrunedPlan, SelfPacedPlan
from class_kit.difficulty import available_measures, difficulty, difficulty_order
from class_kit.errors import InputError
from class_kit.neighbours import neighbour_counts

if TYPE_CHECKING:
    from class_kit.curriculum import Plan
    from class_kit.task import Task
    from class_kit.training import TrainingConfig

DYNAMIC = ("self-paced", "loss-pruned")
ARM_ORDERS = (*ORDERS, *DYNAMIC)
SPACES = ("joint", "text", "molecules", "model")
DUPLICATES = ("ignore", "mask", "apart", "drop")
PACES = ("schedule", "metric")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes
    ----------
    name : str
        How tables and figures call it.
    order : str
        Which pairs come first: "curriculum" (easiest), "anti-curriculum" (hardest), "random" (each with the
        schedule), "standard" (all in every epoch), "self-paced" (least recorded loss) or "loss-pruned" (all but a part
        of those already learnt).
    schedule : str
        Shape of λ_k by name.
    start, growth : float
        α and β of the schedule; without meaning for "standard" and "loss-pruned".
    full_at : float, optional
        Share of the epochs after which all pairs are in use; sets β, and `growth` is then not looked at.
    share : float, optional
        Share of the samples of as many full epochs that the schedule spends, from `start` to 1; sets β likewise.
    interval : int, optional
        Epochs from one step to the next, for the shape "step" of the schedule or of hardness, which must have it: a
        step an epoch is the linear shape.
    pace : "schedule" or "metric"
        Whether λ follows the epochs, or grows by `growth` whenever the validation metric has stopped to improve;
        with "metric" there is neither `full_at` nor `share`.
    intensity : str or mapping of loss term to str
        γ_k by name; "standard" always has γ = 1.
    difficulty : str
        Measure that orders the pairs, see `available_measures`.
    sigma : float
        Threshold of measures that count neighbours.
    step_matched : bool
        Keep the number of optimiser steps of the schedule, but draw them from all pairs ("standard" only).
    weighting : "hard", "linear" or "log"
        V_i of "self-paced".
    prune : float
        Share of the learnt pairs that "loss-pruned" leaves out, in [0, 1).
    hardness : float
        Share of each batch drawn as groups of near neighbours once in force, in [0, 1]; 0 is the paper.
    hardness_from, hardness_until : float
        Shares of the epochs at which it begins and at which it is in force.
    hardness_shape : str
        How it rises between the two, a schedule's name.
    near : "joint", "text", "molecules" or "model"
        Space in which neighbours are near; `group_size` of them make a group. "model" is the joint space of the model
        under way, drawn anew every `refresh` epochs.
    refresh : int
        Epochs from one drawing to the next, for `near` "model".
    duplicates : "ignore", "mask", "apart" or "drop"
        What happens to pairs of equal text or equal structure without stereochemistry: nothing, no negatives of each
        other, never in one batch, or only one of each group is trained on (see `one_of_each`). λ is then a share of
        the pairs that are left.
    duplicates_above : float, optional
        Pairs whose mean cosine exceeds this count as duplicates too.
    """

    name: str
    order: str = "curriculum"
    start: float = 0.40
    growth: float = 0.03
    intensity: str | Mapping[str, str] = "inverse"
    sigma: float = 0.95
    step_matched: bool = False
    schedule: str = "linear"
    full_at: float | None = None
    pace: str = "schedule"
    difficulty: str = "neighbours"
    weighting: str = "hard"
    prune: float = 0.5
    hardness: float = 0.0
    hardness_from: float = 0.0
    hardness_until: float = 0.0
    hardness_shape: str = "linear"
    near: str = "joint"
    group_size: int = 32
    duplicates: str = "ignore"
    duplicates_above: float | None = None
    interval: int | None = None
    share: float | None = None
    refresh: int = 1

    def __post_init__(self) -> None:
        choices: dict[str, Any] = {
            "order": ARM_ORDERS,
            "schedule": tuple(SHAPES),
            "hardness_shape": tuple(SHAPES),
            "pace": PACES,
            "difficulty": tuple(available_measures()),
            "weighting": KINDS,
            "near": SPACES,
            "duplicates": DUPLICATES,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(known)}")
        curves = self.intensity.values() if isinstance(self.intensity, Mapping) else (self.intensity,)
        if wrong := [curve for curve in curves if curve not in INTENSITIES]:
            raise InputError(f"intensity={wrong[0]!r}: expected one of {', '.join(INTENSITIES)}")
        if self.step_matched and self.order != "standard":
            raise InputError(f"step_matched with order={self.order!r}: only 'standard' can be matched to a schedule")
        if self.pace == "metric" and self.order not in ("curriculum", "anti-curriculum", "random"):
            raise InputError(f"pace='metric' with order={self.order!r}: expected an order that a schedule cuts")
        if self.difficulty in ("loss", "rank", "el2n") and self.order == "standard":
            raise InputError(f"difficulty={self.difficulty!r} with order='standard': nothing is ordered")
        if self.duplicates == "drop" and self.order in DYNAMIC:
            raise InputError(f"duplicates='drop' with order={self.order!r}: expected an order fixed in advance")
        if check_whole("refresh", self.refresh, low=1) > 1 and not (self.hardness and self.near == "model"):
            raise InputError(
                f"refresh={self.refresh} with near={self.near!r}, hardness={self.hardness}: only a model's "
                "own neighbours are drawn anew"
            )
        self._check_schedule()

    def _check_schedule(self) -> None:
        if self.interval is not None:
            check_whole("interval", self.interval, low=1)
            if "step" not in (self.schedule, self.hardness_shape):
                raise InputError(f"interval={self.interval} with schedule={self.schedule!r}: only 'step' has one")
        elif self.schedule == "step" or (self.hardness and self.hardness_shape == "step"):
            raise InputError("interval=None with the shape 'step': expected the epochs from one step to the next")
        if self.pace == "metric" and self.full_at is not None:
            raise InputError(f"full_at={self.full_at} with pace='metric': the metric decides when all pairs are in use")
        if self.share is None:
            return
        check_real("share", self.share, low=check_real("start", self.start, low=0.0, high=1.0), high=1.0)
        if self.full_at is not None:
            raise InputError(f"share={self.share} and full_at={self.full_at}: both set β, expected one of them")
        if self.pace == "metric":
            raise InputError(f"share={self.share} with pace='metric': the metric decides what is spent")

    @property
    def decides(self) -> dict[str, Any]:
        """The values that decide this arm's training; where nothing is ordered, σ and the like decide nothing."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "name"}
        unused: set[str] = set()
        if self.order in ("standard", *DYNAMIC):
            unused |= {"sigma", "difficulty"}
        scheduled = self.order != "loss-pruned" and (self.order != "standard" or self.step_matched)
        if not scheduled:
            unused |= {"schedule", "start", "growth", "full_at", "share"}
        if not (scheduled and self.schedule == "step") and not (self.hardness and self.hardness_shape == "step"):
            unused |= {"interval"}
        # left out where it is not set: trainings stored before it existed are those that do without it
        if self.share is None:
            unused |= {"share"}
        if self.order == "standard":
            unused |= {"intensity"}
        if self.order != "self-paced":
            unused |= {"weighting"}
        if self.order != "loss-pruned":
            unused |= {"prune"}
        if not self.hardness:
            unused |= {"hardness_from", "hardness_until", "hardness_shape", "near", "group_size"}
        if not (self.hardness and self.near == "model"):
            unused |= {"refresh"}
        if self.duplicates == "ignore":
            unused |= {"duplicates_above"}
        return {name: value for name, value in values.items() if name not in unused}

    def make_schedule(self, epochs: int) -> Schedule:
        """λ over so many epochs."""
        extra = {"interval": self.interval} if self.schedule == "step" else {}
        if self.share is not None:
            return make_schedule(self.schedule, self.start, share=self.share, epochs=epochs, **extra)
        if self.full_at is not None:
            return make_schedule(self.schedule, self.start, full_at=self.full_at, epochs=epochs, **extra)
        return make_schedule(self.schedule, self.start, self.growth, **extra)


def training_counts(task: Task, sigma: float) -> np.ndarray:
    """N_i of the training pairs among the training pairs, `(L_train,)` int64."""
    rows = task.rows("train")
    return neighbour_counts(task.t[rows], task.m[rows], sigma=sigma)


def training_difficulty(task: Task, arm: Arm, reference: np.ndarray | None = None) -> np.ndarray:
    """How hard the arm's measure finds each training pair, `(L_train,)`, higher is harder.

    `reference` `(L_train,)` is what a trained model said of them, for the measures "loss", "rank" and "el2n".
    """
    if arm.order in ("standard", *DYNAMIC):
        return np.zeros(len(task.rows("train")), np.int64)
    if arm.difficulty == "neighbours":
        return training_counts(task, arm.sigma)
    rows = task.rows("train")
    pairs = task.pairs.take(rows)
    return difficulty(
        arm.difficulty,
        t=task.t[rows],
        m=task.m[rows],
        text=pairs.text,
        smiles=pairs.smiles,
        sigma=arm.sigma,
        loss=reference,
        rank=reference,
        el2n=reference,
    )


def training_duplicates(task: Task, arm: Arm) -> np.ndarray | None:
    """Labels of the training pairs' near-duplicates, as the arm defines them; None where it ignores them."""
    if arm.duplicates == "ignore":
        return None
    from class_kit.pairs.structures import structures

    rows = task.rows("train")
    pairs = task.pairs.take(rows)
    linked = None
    if arm.duplicates_above is not None:
        linked = pairs_above(task.t[rows], task.m[rows], bound=arm.duplicates_above)
    return duplicate_labels([found.key for found in structures(pairs.smiles)], pairs.text, pairs=linked)


def kept_pairs(task: Task, arm: Arm) -> np.ndarray:
    """Which training pairs an arm trains on, `(K,)` int64 positions among them, ascending: all, or one of each group.

    All are counted as neighbours, those that are left out as well.
    """
    labels = training_duplicates(task, arm) if arm.duplicates == "drop" else None
    rows = task.rows("train")
    return np.arange(len(rows)) if labels is None else one_of_each(labels, task.t[rows], task.m[rows])


def plan_arm(task: Task, arm: Arm, config: TrainingConfig, reference: np.ndarray | None = None) -> Plan:
    """The epoch plan of an arm over the task's training pairs.

    The configuration's seed decides ties, the random order and the shuffling within epochs, so that intervals over
    seeds include what the tie rule contributes.

    Parameters
    ----------
    reference : (L_train,) float, optional
        Loss, rank or EL2N of the training pairs under a trained model, for an arm whose difficulty that is.
    """
    count, epochs, seed = len(task.rows("train")), config.epochs, config.seed
    composition = _composition(task, arm, config)
    if arm.order == "self-paced":
        losses = np.full(count, np.nan)
        plan = SelfPacedPlan(losses, arm.make_schedule(epochs), arm.weighting, arm.intensity, seed, epochs)
        return plan.compose(**composition)
    if arm.order == "loss-pruned":
        pruned = LossPrunedPlan(np.full(count, np.nan), epochs, arm.prune, intensity=arm.intensity, seed=seed)
        return pruned.compose(**composition)
    order = difficulty_order(training_difficulty(task, arm, reference), ties="shuffle", seed=seed)
    order = order[np.isin(order, kept_pairs(task, arm))]
    if arm.pace == "metric":
        from class_kit.curriculum.controls import make_order

        pacing = MetricPacing(arm.start, arm.growth)
        return PacedPlan(make_order(arm.order, order, seed), pacing, arm.intensity, seed, epochs, **composition)
    kind = "step-matched" if arm.step_matched else arm.order
    schedule = arm.make_schedule(epochs)
    return make_plan(kind, order, schedule, arm.intensity, seed, epochs, batch_size=config.batch_size, **composition)


def _composition(task: Task, arm: Arm, config: TrainingConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"group_size": arm.group_size}
    labels = training_duplicates(task, arm) if arm.duplicates == "apart" else None
    if arm.hardness > 0:
        rows = task.rows("train")
        spaces = {"text": (task.t,), "molecules": (task.m,)}.get(arm.near, (task.t, task.m))
        found["refresh"] = arm.refresh if arm.near == "model" else None
        found["line"] = neighbour_line(*(space[rows] for space in spaces), group_size=arm.group_size)
        found["hardness"] = HardnessSchedule.over(
            config.epochs,
            arm.hardness,
            arm.hardness_from,
            arm.hardness_until,
            arm.hardness_shape,
            arm.interval if arm.interval is not None else 1,
        )
    return found | {"apart": labels}
