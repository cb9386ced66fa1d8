"""What a curriculum must be compared with: other orders with the same schedule, and the same budget without one.

A difference from a baseline that sees more samples says nothing about easy-to-hard. `make_plan` builds the curriculum
and every control from the same arguments, so that they cannot differ by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from class_kit.checks import check_choice, check_whole
from class_kit.curriculum.duplicates import check_rows
from class_kit.curriculum.intensity import IntensitySpec
from class_kit.curriculum.plan import EpochPlan
from class_kit.curriculum.randomness import ORDER, PASS, shuffle_rows
from class_kit.curriculum.schedules import make_schedule
from class_kit.errors import InputError

ORDERS = ("curriculum", "anti-curriculum", "random", "standard")
ARMS = (*ORDERS, "step-matched")


def make_order(kind: str, order: np.ndarray | Iterable[int], seed: int = 0) -> np.ndarray:
    """The rows of `order` (easiest first) rearranged for one kind of training, (L,) int64.

    "curriculum" keeps them, "anti-curriculum" starts with the hardest, "random" is one seeded shuffle for the whole
    training (so its subsets grow as the curriculum's do), "standard" sorts by row id, for use with all rows in all
    epochs. These are the orders of Wu, Dyer, Neyshabur (ICLR 2021).
    """
    check_choice("kind of order", kind, ORDERS)
    rows = check_rows("order", order)
    if kind == "random":
        return shuffle_rows(rows, int(rows.max()) + 1, check_whole("seed", seed, low=0), ORDER)
    if kind == "anti-curriculum":
        return rows[::-1].copy()
    return np.sort(rows) if kind == "standard" else rows


def make_plan(
    arm: str,
    order: np.ndarray | Iterable[int],
    schedule: Callable[[int], float],
    intensity: IntensitySpec = "inverse",
    seed: int = 0,
    epochs: int | None = None,
    *,
    batch_size: int | None = None,
    world_size: int = 1,
    **composition: Any,
) -> EpochPlan:
    """One arm of a comparison: the curriculum itself or a control of it, all from the arguments of the curriculum.

    "standard" has all rows in every epoch and γ = 1; "step-matched" is standard training cut to the curriculum's number
    of steps (it needs `batch_size`); the others keep schedule and intensity and change the order only. `composition`
    says how batches are composed, as of `EpochPlan`, in every arm alike.
    """
    check_choice("arm", arm, ARMS)
    if arm == "standard":
        schedule, intensity = make_schedule("full"), "constant"
    kind = "curriculum" if arm == "step-matched" else arm
    plan = EpochPlan(make_order(kind, order, seed), schedule, intensity, seed, epochs, **composition)
    if arm != "step-matched":
        return plan
    if batch_size is None:
        raise InputError("arm='step-matched' needs batch_size, got None")
    return StepMatchedPlan(plan, batch_size, world_size)


class StepMatchedPlan(EpochPlan):
    """Standard training with the curriculum's budget: as many steps and rows in every epoch, drawn from all data.

    **An epoch here is not a pass over the data.** The training is one stream: all rows in random order, then all rows
    in a new order, and so on. Epoch k is the next piece of the stream, as long as the curriculum's epoch k. So every
    pair is seen equally often (to within one), as in standard training stopped early, and validation after every epoch
    happens after the same number of steps in both arms. Hardness and duplicates are handled as in the curriculum.

    A piece may span the end of one pass and the start of the next. No row occurs twice in one global batch there,
    provided that the data has at least three global batches.

    Parameters
    ----------
    curriculum
        The plan to be matched.
    batch_size, world_size
        Those of the training.
    """

    _warns = False

    def __init__(self, curriculum: EpochPlan, batch_size: int, world_size: int = 1) -> None:
        names = ("hardness", "line", "group_size", "apart", "refresh")
        composition = {name: getattr(curriculum, name) for name in names}
        order, schedule = np.sort(curriculum.order), curriculum.schedule
        super().__init__(order, schedule, "constant", curriculum.seed, curriculum.epochs, **composition)
        self.curriculum = curriculum
        self._global_batch = check_whole("batch_size", batch_size, low=1) * check_whole("world_size", world_size, low=1)

    def count(self, epoch: int, at_least: int = 1) -> int:
        return self.curriculum.count(epoch, max(at_least, self._global_batch))

    def rows(self, epoch: int, at_least: int = 1) -> np.ndarray:
        begin = sum(self.count(k, at_least) for k in range(1, epoch))
        end = begin + self.count(epoch, at_least)
        first = begin // self.length
        passes = [self._pass(number + 1) for number in range(first, -(-end // self.length))]
        return np.concatenate(passes)[begin - first * self.length : end - first * self.length]

    def _pass(self, number: int) -> np.ndarray:
        """All rows in the order of the given pass (from 1); its head holds no row of the previous pass's tail."""
        rows = shuffle_rows(self.order, self._size, self.seed, number, PASS)
        guard = min(self._global_batch, self.length // 3)
        if number == 1 or guard == 0:
            return rows
        tail = shuffle_rows(self.order, self._size, self.seed, number - 1, PASS)[-guard:]
        late = np.isin(rows[: 2 * guard], tail)
        rows[: 2 * guard] = rows[: 2 * guard][np.argsort(late, kind="stable")]
        return rows
