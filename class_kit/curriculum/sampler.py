"""A plan step by step: batches for any data loader, and γ as a factor of the learning rate."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from itertools import islice

from class_kit.checks import check_whole
from class_kit.curriculum.plan import EpochPlan
from class_kit.errors import InputError


class CurriculumBatchSampler:
    """A plan as the `batch_sampler` of a PyTorch `DataLoader` (or any loop that wants lists of row ids).

    `set_epoch(e)` counts from 0, as PyTorch does, and selects epoch e + 1 of the plan. Without it the first iteration
    is epoch 1; a second one raises, since a trainer that never calls `set_epoch` would repeat the easy rows forever.

    Parameters
    ----------
    plan
        Any plan. Replace one that needs feedback before each epoch by the result of `with_feedback` or `with_line`:
        `sampler.plan = plan.with_line(locality_order(text_vectors, molecule_vectors))`.
    batch_size
        Rows per batch, on each rank.
    drop_last
        Drop the last, smaller batch of an epoch.
    rank, world_size
        This process and the number of processes; each gets its share of every step.

    Attributes
    ----------
    skip : int
        Batches that the next iteration skips, once: those on which a resumed epoch has already trained.
    """

    def __init__(
        self, plan: EpochPlan, batch_size: int, drop_last: bool = False, rank: int = 0, world_size: int = 1
    ) -> None:
        self.plan = plan
        self.batch_size = check_whole("batch_size", batch_size, low=1)
        self.drop_last = bool(drop_last)
        self.world_size = check_whole("world_size", world_size, low=1)
        self.rank = check_whole("rank", rank, low=0, high=world_size - 1)
        self.epoch = self.skip = 0
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
        # checked at the first batch: DataLoader workers ask for an iterator twice and use the second
        if self._spent:
            raise RuntimeError(
                f"epoch {self.epoch} (from 0) was already iterated: call set_epoch before every epoch, so that none "
                "is repeated unseen"
            )
        self._spent = True
        skip, self.skip = self.skip, 0
        yield from islice(self._batches(self.epoch), skip, None)

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        for batch in self.plan.batches(epoch + 1, self.batch_size, self.rank, self.world_size, self.drop_last):
            yield batch.tolist()

    def __len__(self) -> int:
        return self.plan.steps(self.epoch + 1, self.batch_size, self.world_size, self.drop_last)


class WholeRunBatchSampler(CurriculumBatchSampler):
    """All epochs of a plan as one epoch of `steps_total` batches, for trainers that expect epochs of equal length.

    A trainer that measures the loader once, or never calls `set_epoch`, then runs exactly the plan; its learning-rate
    schedule gets the right total, and skipping the first n batches resumes it exactly.

    Parameters
    ----------
    plan
        Any plan with a number of epochs that needs no feedback.
    batch_size, drop_last, rank, world_size
        As of `CurriculumBatchSampler`.
    """

    def __init__(
        self, plan: EpochPlan, batch_size: int, drop_last: bool = False, rank: int = 0, world_size: int = 1
    ) -> None:
        refuse_feedback(plan)
        super().__init__(plan, batch_size, drop_last, rank, world_size)
        self.ends = plan.ends(batch_size, world_size, drop_last)

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        for own in range(len(self.ends)):
            yield from super()._batches(own)

    def __len__(self) -> int:
        return self.ends[-1]

    def epoch_of(self, batch: int) -> int:
        """The plan's epoch (from 1) of a batch of the whole training (from 0)."""
        return min(bisect.bisect_right(self.ends, check_whole("batch", batch, low=0)), len(self.ends) - 1) + 1


def refuse_feedback(plan: EpochPlan) -> None:
    """Refuse a plan that needs feedback from the training, with an InputError."""
    if plan.needs_feedback:
        raise InputError(
            f"the plan needs {' and '.join(plan.needs_feedback)} from the training, which this trainer does not "
            "provide: expected a plan fixed in advance, or a CurriculumBatchSampler whose `plan` you replace before "
            "each epoch"
        )


def lr_factor(plan: EpochPlan, batch_size: int, world_size: int = 1, drop_last: bool = False) -> Callable[[int], float]:
    """γ as a function of the optimiser step (from 0), for `torch.optim.lr_scheduler.LambdaLR` and the like.

    Epochs of a curriculum differ in length, so the step is looked up; after the last epoch its γ stays.
    """
    ends = plan.ends(batch_size, world_size, drop_last)
    factors = [plan.intensity(epoch) for epoch in range(1, len(ends) + 1)]

    def factor(step: int) -> float:
        return factors[min(bisect.bisect_right(ends, check_whole("step", step, low=0)), len(factors) - 1)]

    return factor
