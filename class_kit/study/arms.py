"""The epoch plan of an arm on a task's training pairs: order, duplicates, hard batches."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.agreement import PairAudit, audit_pairs
from class_kit.curriculum.controls import make_order, make_plan
from class_kit.curriculum.duplicates import duplicate_labels, one_of_each, pairs_above
from class_kit.curriculum.feedback import LossPrunedPlan, MetricPacing, PacedPlan, SelfPacedPlan
from class_kit.curriculum.hard_batches import HardnessSchedule, locality_order
from class_kit.curriculum.mismatched import selective_plan
from class_kit.difficulty import MEASURES, difficulty, difficulty_order
from class_kit.difficulty.measures import MODEL
from class_kit.neighbours import neighbour_counts
from class_kit.notices import training_notices
from class_kit.options import DYNAMIC, SELECTIVE, Arm

if TYPE_CHECKING:
    from class_kit.curriculum import EpochPlan
    from class_kit.options import TrainingConfig
    from class_kit.task import Task


def training_counts(task: Task, sigma: float) -> np.ndarray:
    """N_i of the training pairs among the training pairs, `(L_train,)` int64."""
    rows = task.rows("train")
    return neighbour_counts(task.t[rows], task.m[rows], sigma=sigma)


def training_difficulty(task: Task, arm: Arm, reference: np.ndarray | None = None) -> np.ndarray:
    """How hard each training pair is by the arm's measure, `(L_train,)`, higher is harder.

    `reference` `(L_train,)` holds the pairs' values under a trained model, for the measures "loss", "rank" and "el2n".
    """
    rows = task.rows("train")
    if arm.order == "agreement":
        return -training_audit(task).agreement
    if arm.order in ("standard", *DYNAMIC):
        return np.zeros(len(rows), np.int64)
    pairs = task.pairs.take(rows)
    given: dict[str, Any] = {"t": task.t[rows], "m": task.m[rows], "text": pairs.text, "smiles": pairs.smiles}
    return difficulty(arm.difficulty, **given, sigma=arm.sigma, loss=reference, rank=reference, el2n=reference)


@cache
def training_audit(task: Task) -> PairAudit:
    """Which training pairs look mismatched, and how many are."""
    rows = task.rows("train")
    return audit_pairs(task.t[rows], task.m[rows])


def training_duplicates(task: Task, arm: Arm) -> np.ndarray | None:
    """Labels of near-duplicates among the training pairs, by the arm's definition; None if it ignores them."""
    if arm.duplicates == "ignore":
        return None
    rows = task.rows("train")
    linked = None
    if arm.duplicates_above is not None:
        linked = pairs_above(task.t[rows], task.m[rows], bound=arm.duplicates_above)
    return duplicate_labels(training_molecules(task), task.pairs.take(rows).text, pairs=linked)


def arm_notices(task: Task, arm: Arm, batch_size: int, split: str | None = None) -> dict[str, str]:
    """The `training_notices` of an arm's training, and of ranking a split (default: the evaluation split).

    A difficulty that needs a trained model is not considered.
    """
    ordered = arm.order not in ("standard", *DYNAMIC, *SELECTIVE) and MODEL.isdisjoint(MEASURES[arm.difficulty].needs)
    counts = training_difficulty(task, arm) if ordered else None
    keys = training_molecules(task) if arm.duplicates == "ignore" else None
    return training_notices(len(task.rows("train")), split or task.evaluation_split, batch_size, counts, keys)


@cache
def training_molecules(task: Task) -> list[str]:
    """The key of each training pair's molecule, stereochemistry aside."""
    from class_kit.molecules.structures import structures

    smiles = task.pairs.take(task.rows("train")).smiles
    return [structure.key for structure in structures(smiles, progress=False)]


def kept_pairs(task: Task, arm: Arm) -> np.ndarray:
    """The training pairs an arm trains on, `(K,)` int64 positions among them, ascending: all, or one of each group.

    Neighbours are counted among all of them.
    """
    labels = training_duplicates(task, arm) if arm.duplicates == "drop" else None
    rows = task.rows("train")
    return np.arange(len(rows)) if labels is None else one_of_each(labels, task.t[rows], task.m[rows])


def plan_arm(task: Task, arm: Arm, config: TrainingConfig, reference: np.ndarray | None = None) -> EpochPlan:
    """The epoch plan of an arm over the task's training pairs.

    The configuration's seed decides ties, the random order and the shuffling within epochs, so intervals over seeds
    include the variance due to ties.

    Parameters
    ----------
    reference : (L_train,) float, optional
        Loss, rank or EL2N of the training pairs under a trained model, for an arm with that difficulty.
    """
    rows, epochs, seed = task.rows("train"), config.epochs, config.seed
    composition = _composition(task, arm, config)
    rest: dict[str, Any] = {"intensity": arm.intensity, "seed": seed, **composition}
    if arm.order in SELECTIVE:
        exchanged = None if task.exchanged is None else task.exchanged[rows]
        audit = None if arm.order == "oracle" else training_audit(task)
        return selective_plan(arm.order, len(rows), audit, exchanged, seed=seed, epochs=epochs, **composition)
    if arm.order in DYNAMIC:
        losses = np.full(len(rows), np.nan)
        if arm.order == "loss-pruned":
            return LossPrunedPlan(losses, epochs, arm.prune, **rest)
        return SelfPacedPlan(losses, arm.make_schedule(epochs), epochs=epochs, **rest)
    order = difficulty_order(training_difficulty(task, arm, reference), ties="shuffle", seed=seed)
    order = order[np.isin(order, kept_pairs(task, arm))]
    kind = "step-matched" if arm.step_matched else "curriculum" if arm.order == "agreement" else arm.order
    if arm.pace == "metric":
        return PacedPlan(make_order(kind, order, seed), MetricPacing(arm.start, arm.growth), epochs=epochs, **rest)
    return make_plan(kind, order, arm.make_schedule(epochs), epochs=epochs, batch_size=config.batch_size, **rest)


def _composition(task: Task, arm: Arm, config: TrainingConfig) -> dict[str, Any]:
    """How the arm's batches are composed: arguments of `EpochPlan`."""
    apart = training_duplicates(task, arm) if arm.duplicates == "apart" else None
    composed: dict[str, Any] = {"group_size": arm.group_size, "apart": apart}
    if arm.hardness == 0:
        return composed
    rows = task.rows("train")
    spaces = {"text": (task.t,), "molecules": (task.m,)}.get(arm.near, (task.t, task.m))
    return composed | {
        "refresh": arm.refresh if arm.near == "model" else None,
        "line": locality_order(*(space[rows] for space in spaces), group_size=arm.group_size),
        "hardness": HardnessSchedule.over(config.epochs, arm.hardness, arm.hardness_from, arm.hardness_until),
    }
