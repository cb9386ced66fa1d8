"""Which rows epoch k trains on, in which batches: the epoch plan, and the sampler that hands it to any trainer.

A plan is a pure function of (order, schedule, seed, epoch): there is no counter to lose and nothing that a trainer
could reshuffle, so the same epoch is the same on every worker and rank, can be printed, and can be resumed exactly.
The loss of the paper, γ_k Σ V_i L_i (CLASS, arXiv 2502.11633), has its V_i in `rows` and its γ_k in `intensity`.

Rounding: epoch k sees the nearest whole number of pairs to λ_k·L (halves go up), never fewer than one; `batches` sees
at least one full batch on every rank where the data has that many pairs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from class_kit.checks import check_whole
from class_kit.curriculum.intensity import (
    CosineIntensity,
    IntensitySpec,
    LinearIntensity,
    constant_intensity,
    inverse_intensity,
    lr_factor,
    make_intensity,
    sigmoid_intensity,
    weigh_terms,
)
from class_kit.curriculum.plan import Plan, check_order
from class_kit.curriculum.randomness import SHUFFLE, shuffle_rows
from class_kit.curriculum.schedules import (
    SCHEDULES,
    CompetenceSchedule,
    ExponentialSchedule,
    FullSchedule,
    LinearSchedule,
    LogarithmicSchedule,
    QuadraticSchedule,
    RootSchedule,
    Schedule,
    StepSchedule,
    fraction_of,
    make_schedule,
)
from class_kit.errors import InputError

if TYPE_CHECKING:
    from class_kit.curriculum.controls import StepMatchedPlan

__all__ = [
    "SCHEDULES",
    "CompetenceSchedule",
    "CosineIntensity",
    "CurriculumBatchSampler",
    "EpochPlan",
    "ExponentialSchedule",
    "FullSchedule",
    "LinearIntensity",
    "LinearSchedule",
    "LogarithmicSchedule",
    "NeverFullWarning",
    "Plan",
    "QuadraticSchedule",
    "RootSchedule",
    "Schedule",
    "StepSchedule",
    "constant_intensity",
    "inverse_intensity",
    "lr_factor",
    "make_intensity",
    "make_schedule",
    "sigmoid_intensity",
    "weigh_terms",
]


class NeverFullWarning(UserWarning):
    """The schedule leaves part of the data unseen in every planned epoch."""


class EpochPlan(Plan):
    """The curriculum: epoch k trains on the first λ_k·L pairs of `order`, shuffled anew for every epoch.

    Parameters
    ----------
    order
        (L,) integers, easiest first: distinct row ids of the data set, usually `difficulty_order(counts)`.
    schedule
        λ: a `Schedule`, or any function of the epoch (from 1) with values in (0, 1].
    intensity
        γ: "inverse" (the paper's better one), "sigmoid", "constant", "linear", "cosine", a function of the epoch, or
        a mapping of loss term to one of these ("*" for all other terms).
    seed
        Non-negative; decides every shuffle.
    epochs
        E, the planned number of epochs; needed for totals, `table` and `plot`.
    hardness, line, group_size, apart, refresh
        How batches are composed, see `Plan.compose`; the paper's batches are random.

    Warns
    -----
    NeverFullWarning
        λ stays below 1 in every planned epoch: some pairs would never be trained on.
    """

    def __init__(
        self,
        order: np.ndarray | Iterable[int],
        schedule: Callable[[int], float],
        intensity: IntensitySpec = "inverse",
        seed: int = 0,
        epochs: int | None = None,
        *,
        hardness: Callable[[int], float] | None = None,
        line: np.ndarray | None = None,
        group_size: int = 32,
        apart: np.ndarray | None = None,
        refresh: int | None = None,
    ) -> None:
        if not callable(schedule):
            raise InputError(f"schedule={schedule!r} is no schedule: expected a Schedule or a function of the epoch")
        self.order = check_order(order)
        self.schedule = schedule
        self.intensity_spec = intensity
        self._configure(intensity, seed, epochs)
        self.compose(hardness=hardness, line=line, group_size=group_size, apart=apart, refresh=refresh)
        if self.epochs is not None and (last := self.fraction(self.epochs)) < 1.0:
            unseen = self.length - self.count(self.epochs)
            warnings.warn(
                f"the schedule ends at λ = {last:.4g} in epoch {self.epochs}: {unseen} of {self.length} pairs are "
                "never trained on; raise growth or epochs, or use the schedule's full_at",
                NeverFullWarning,
                stacklevel=2,
            )

    def __repr__(self) -> str:
        return (
            f"EpochPlan(L={self.length}, schedule={self.schedule!r}, intensity={self.intensity_spec!r}, "
            f"seed={self.seed}, epochs={self.epochs})"
        )

    @property
    def length(self) -> int:
        return len(self.order)

    def _size(self) -> int:
        return int(self.order.max()) + 1

    def _all_rows(self) -> np.ndarray:
        return self.order

    def fraction(self, epoch: int) -> float:
        return fraction_of(self.schedule, epoch)

    def count(self, epoch: int, at_least: int = 1) -> int:
        check_whole("at_least", at_least, low=1)
        # the tolerance keeps decimal λ such as 0.285 with L = 1000 from rounding by the noise of its last bit
        nearest = math.floor(self.fraction(epoch) * self.length + 0.5 + 1e-9)
        return min(self.length, max(nearest, at_least))

    def scheduled(self, epoch: int, at_least: int = 1) -> np.ndarray:
        """The rows of the epoch in the order of difficulty, (n,) int64, not shuffled."""
        return self.order[: self.count(epoch, at_least)]

    def rows(self, epoch: int, at_least: int = 1) -> np.ndarray:
        return shuffle_rows(self.scheduled(epoch, at_least), self._size(), self.seed, epoch, SHUFFLE)

    def step_matched(
        self, batch_size: int, world_size: int = 1, intensity: IntensitySpec = "constant"
    ) -> StepMatchedPlan:
        """The control with the same number of optimiser steps in every epoch, drawn from all data."""
        from class_kit.curriculum.controls import StepMatchedPlan

        return StepMatchedPlan(self, batch_size, world_size, intensity)


class CurriculumBatchSampler:
    """A plan as the `batch_sampler` of a PyTorch `DataLoader` (or any loop that wants lists of row ids).

    `set_epoch(e)` counts from 0, as PyTorch does, and selects epoch e + 1 of the plan. Without it the first iteration
    is epoch 1; a second one raises, since a trainer that never calls `set_epoch` would repeat the easy rows for ever.

    Parameters
    ----------
    plan
        Any `Plan`. One that follows the training is replaced before each epoch by what `informed` and `with_line`
        return: `sampler.plan = plan.with_line(neighbour_line(text_vectors, molecule_vectors))`.
    batch_size
        Rows a batch, on each rank.
    drop_last
        Leave the last, smaller batch of an epoch out.
    rank, world_size
        Which share of every step this process gets.
    """

    def __init__(
        self, plan: Plan, batch_size: int, drop_last: bool = False, rank: int = 0, world_size: int = 1
    ) -> None:
        self.plan = plan
        self.batch_size = check_whole("batch_size", batch_size, low=1)
        self.drop_last = bool(drop_last)
        self.world_size = check_whole("world_size", world_size, low=1)
        self.rank = check_whole("rank", rank, low=0, high=world_size - 1)
        self.epoch = 0
        self._spent = False

    @property
    def sampler(self) -> CurriculumBatchSampler:
        """Itself: Lightning and accelerate look for `set_epoch` at `batch_sampler.sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch for the next iteration, counted from 0."""
        self.epoch = check_whole("epoch (from 0)", epoch, low=0)
        self._spent = False

    def __iter__(self) -> Iterator[list[int]]:
        self._refuse_spent()
        return self._run(self.epoch)

    def _run(self, epoch: int) -> Iterator[list[int]]:
        # only a batch that was taken spends the epoch: DataLoader workers ask for an iterator twice and use the second
        self._refuse_spent()
        self._spent = True
        for batch in self.plan.batches(epoch + 1, self.batch_size, self.rank, self.world_size, self.drop_last):
            yield batch.tolist()

    def _refuse_spent(self) -> None:
        if self._spent:
            raise RuntimeError(
                f"epoch {self.epoch} (from 0) was already iterated: call set_epoch before every epoch, so that none "
                "is repeated unseen"
            )

    def __len__(self) -> int:
        return self.plan.steps(self.epoch + 1, self.batch_size, self.world_size, self.drop_last)
