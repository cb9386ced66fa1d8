"""Which rows epoch k trains on, in which batches: the epoch plan.

A plan is a pure function of (order, schedule, seed, epoch): there is no counter to lose and nothing that a trainer
could reshuffle, so the same epoch is the same on every worker and rank, can be printed, and can be resumed exactly.
The loss of the paper, γ_k Σ V_i L_i (CLASS, arXiv 2502.11633), has its V_i in `rows` and its γ_k in `intensity`. A plan
that needs feedback (`needs_feedback`) also depends on the losses, metrics or vectors it was given, and on nothing else.

Rounding: epoch k sees the nearest whole number of pairs to λ_k·L (halves go up), never fewer than one; `batches` sees
at least one full batch on every rank where the data has that many pairs.
"""

from __future__ import annotations

import copy
import hashlib
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import is_dataclass
from itertools import accumulate
from typing import Any, ClassVar, Self

import numpy as np

from class_kit.checks import check_epoch, check_real, check_whole
from class_kit.curriculum.duplicates import check_labels, check_rows, keep_apart
from class_kit.curriculum.hard_batches import check_line, gather_groups
from class_kit.curriculum.intensity import IntensitySpec, make_intensities
from class_kit.curriculum.randomness import APART, GROUP, SHUFFLE, shuffle_rows
from class_kit.errors import InputError


def batch_bounds(count: int, batch_size: int, world_size: int = 1, drop_last: bool = False) -> np.ndarray:
    """Where `count` rows are cut, shape (steps · world_size + 1,): piece s · world_size + r is rank r's at step s.

    Every rank gets the same number of steps, and every row goes to one rank. The rows of the last step are shared
    evenly; if they are fewer than the ranks, some of the step before are moved, so that each rank has one.
    """
    whole, rest = divmod(count, batch_size * world_size)
    steps = [batch_size * world_size] * whole
    if rest and not drop_last:
        if rest < world_size and whole and batch_size > 1:
            steps[-1] -= world_size - rest
            rest = world_size
        steps.append(rest)
    if not steps or steps[-1] < world_size:
        raise InputError(
            f"{count} rows cannot be cut into batches of {batch_size} for {world_size} ranks, drop_last={drop_last}: "
            "expected at least one row for each rank in every step, so change batch_size, world_size or drop_last"
        )
    sizes = [step // world_size + (rank < step % world_size) for step in steps for rank in range(world_size)]
    return np.cumsum([0, *sizes], dtype=np.int64)


class NeverFullWarning(UserWarning):
    """The schedule leaves part of the data unseen in every planned epoch."""


class EpochPlan:
    """The curriculum: epoch k trains on the first λ_k·L pairs of `order`, shuffled again for every epoch.

    The base of all plans: a subclass may choose other rows, in `count` and `rows`, and weight them, in `weights`.

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
        Non-negative; the seed of every shuffle.
    epochs
        E, the planned number of epochs; needed for totals and `table`.
    hardness
        h(k) in [0, 1], a `Schedule` or any function of the epoch: the share of each batch drawn as groups of near
        neighbours. None is the paper's random batches.
    line
        What `locality_order` returns for the space in which rows are to be near; needed with `hardness`.
    group_size
        Rows of a group of near neighbours.
    apart
        (L,) integers by row id, as `duplicate_labels` returns: rows with the same non-negative label are kept in
        different batches where possible; `count_repeats` counts where it was not.
    refresh
        Take neighbours in the space of the model in training, as ANCE does (Xiong et al., ICLR 2021). The training loop
        computes a new line before the first epoch with groups and before every `refresh`-th such epoch after it (see
        `refreshed`, `with_line`); until then `line` is used.

    Warns
    -----
    NeverFullWarning
        λ stays below 1 in every planned epoch: some pairs would never be trained on.

    Attributes
    ----------
    order : (L,) int64
        All row ids of the plan, easiest first.
    needs_feedback : tuple of str
        What the plan needs from the training: "losses" (every pair's last loss), "metrics" (the validation metric after
        every epoch) or "vectors" (the model's, for neighbours). Before each epoch, `with_feedback` takes losses and
        metrics, and `with_line` a locality order of the vectors.
    measures_losses : bool
        Whether these losses are measured for all pairs after each epoch, rather than recorded when a pair was last
        trained on.
    """

    needs_feedback: tuple[str, ...] = ()
    measures_losses: bool = False
    _warns: ClassVar[bool] = True

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
            raise InputError(f"schedule={schedule!r}: expected a Schedule or a function of the epoch")
        self.order, self.schedule, self.intensity_spec = check_rows("order", order), schedule, intensity
        self._size = int(self.order.max()) + 1
        self.seed = check_whole("seed", seed, low=0)
        self.epochs = None if epochs is None else check_whole("epochs", epochs, low=1)
        self._intensities = make_intensities(intensity, self.epochs)
        if hardness is not None and (not callable(hardness) or line is None):
            raise InputError(f"hardness={hardness!r}: expected a function of the epoch, together with line=")
        if refresh is not None and check_whole("refresh", refresh, low=1) and hardness is None:
            raise InputError(f"refresh={refresh} without hardness: expected hardness, since there are no groups")
        self.hardness, self.refresh = hardness, refresh
        self.group_size = check_whole("group_size", group_size, low=1)
        self.line = None if line is None else check_line(line, self.order)
        self.apart = None if apart is None else check_labels(apart, self._size)
        self.needs_feedback = (*type(self).needs_feedback, *(() if refresh is None else ("vectors",)))
        if self._warns and self.epochs is not None and (last := self.fraction(self.epochs)) < 1.0:
            unseen = self.length - self.count(self.epochs)
            warnings.warn(
                f"the schedule ends at λ = {last:.4g} in epoch {self.epochs}: {unseen} of {self.length} pairs are "
                "never trained on; raise growth or epochs, or use the schedule's full_at",
                NeverFullWarning,
                stacklevel=2,
            )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(L={self.length}, schedule={self.schedule!r}, intensity={self.intensity_spec!r}, "
            f"seed={self.seed}, epochs={self.epochs})"
        )

    def refreshed(self, epoch: int) -> bool:
        """Whether a new line is due before this epoch, from the vectors of the model in training."""
        if self.refresh is None or self.hardness is None or self.hardness(check_epoch(epoch)) <= 0:
            return False
        return sum(self.hardness(k) > 0 for k in range(1, epoch)) % self.refresh == 0

    def with_line(self, line: np.ndarray) -> Self:
        """A copy of the plan with another line, (L,), such as `locality_order` of the model's current vectors.

        Raises
        ------
        InputError
            The line lacks a row of the plan, or has one twice.
        """
        result = copy.copy(self)
        result.line = check_line(line, self.order)
        return result

    def with_feedback(self, losses: np.ndarray | None = None, metrics: Sequence[float] = ()) -> Self:
        """The plan for the next epoch, given every pair's last loss (L,) and the metrics of the epochs so far.

        A plan that needs neither returns itself.
        """
        return self

    @property
    def length(self) -> int:
        """L, the number of pairs the plan draws from."""
        return len(self.order)

    def fraction(self, epoch: int) -> float:
        """λ of the epoch, in (0, 1]."""
        value = self.schedule(check_epoch(epoch))
        return check_real(f"the schedule's fraction at epoch {epoch}", value, low=0.0, high=1.0, open_low=True)

    def count(self, epoch: int, at_least: int = 1) -> int:
        """Number of rows of the epoch, at least `at_least` where the data has as many."""
        check_whole("at_least", at_least, low=1)
        # the tolerance keeps decimal λ such as 0.285 with L = 1000 from rounding by the noise of its last bit
        return min(self.length, max(math.floor(self.fraction(epoch) * self.length + 0.5 + 1e-9), at_least))

    def rows(self, epoch: int, at_least: int = 1) -> np.ndarray:
        """The row ids of the epoch in the order of training, (n,) int64."""
        return self._shuffled(self.order[: self.count(epoch, at_least)], epoch)

    def _shuffled(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        return shuffle_rows(rows, self._size, self.seed, epoch, SHUFFLE)

    def weights(self, epoch: int, at_least: int = 1) -> np.ndarray:
        """V_i, the weight of every row's loss in the epoch, by row id, float64: 1 where scheduled and 0 elsewhere."""
        weights = np.zeros(self._size)
        weights[self.rows(epoch, at_least)] = 1.0
        return weights

    def intensity(self, epoch: int, term: str | None = None) -> float:
        """γ of the epoch; of one `term`, where the plan has an intensity for each loss term.

        Raises
        ------
        InputError
            No term, or an unknown one, for a plan with an intensity for each term.
        """
        curves = self._intensities
        curve = curves.get("*") if term is None or term not in curves else curves[term]
        if curve is None or (term is None and len(curves) > 1):
            raise InputError(f"term={term!r} has no intensity: expected one of {sorted(curves)}")
        # a negative γ would train away from the data
        return check_real(f"the intensity at epoch {epoch}", curve(check_epoch(epoch)), low=0.0)

    def intensities(self, epoch: int, terms: Iterable[str]) -> dict[str, float]:
        """γ of every named loss term; each term of `intensity={"name": curve}` must be among them.

        Raises
        ------
        InputError
            A curve for a term that does not exist, or a term without a curve.
        """
        terms = list(terms)
        if unknown := sorted(set(self._intensities) - {*terms, "*"}):
            raise InputError(f"intensity names the terms {unknown}: expected some of {sorted(terms)}")
        return {name: self.intensity(epoch, name) for name in terms}

    def batches(
        self, epoch: int, batch_size: int, rank: int = 0, world_size: int = 1, drop_last: bool = False
    ) -> list[np.ndarray]:
        """The batches of one rank, each (n,) int64 with n ≤ batch_size; the ranks together see every row once.

        Raises
        ------
        InputError
            A number out of range, or too few rows for one on every rank in every step.
        """
        check_whole("rank", rank, low=0, high=world_size - 1)
        bounds = self._bounds(epoch, batch_size, world_size, drop_last)
        rows = self.rows(epoch, batch_size * world_size)
        if self.hardness is not None and self.line is not None:
            share = check_real(f"hardness at epoch {epoch}", self.hardness(epoch), low=0.0, high=1.0)
            path = (self.seed, epoch, GROUP)
            rows = gather_groups(rows, bounds, share, self.line, min(self.group_size, batch_size), path, self.apart)
        if self.hardness is not None or self.apart is not None:
            labels = np.full(self._size, -1) if self.apart is None else self.apart.copy()
            # a row that occurs twice in the epoch must not share a batch with itself either
            again = np.flatnonzero((np.bincount(rows, minlength=self._size) > 1) & (labels < 0))
            labels[again] = labels.max() + 1 + np.arange(len(again))
            rows = keep_apart(rows, bounds, labels, (self.seed, epoch, APART))
        return np.split(rows[: bounds[-1]], bounds[1:-1])[rank::world_size]

    def _bounds(self, epoch: int, batch_size: int, world_size: int, drop_last: bool) -> np.ndarray:
        check_whole("batch_size", batch_size, low=1)
        check_whole("world_size", world_size, low=1)
        return batch_bounds(self.count(epoch, batch_size * world_size), batch_size, world_size, drop_last)

    def steps(self, epoch: int, batch_size: int, world_size: int = 1, drop_last: bool = False) -> int:
        """Optimiser steps of one epoch: the number of batches of every rank."""
        return (len(self._bounds(epoch, batch_size, world_size, drop_last)) - 1) // world_size

    def steps_total(self, batch_size: int, world_size: int = 1, drop_last: bool = False) -> int:
        """Optimiser steps of all planned epochs, the total for a learning-rate schedule."""
        return self.ends(batch_size, world_size, drop_last)[-1]

    def ends(self, batch_size: int, world_size: int = 1, drop_last: bool = False) -> list[int]:
        """Optimiser steps up to the end of each planned epoch."""
        return list(accumulate(self.steps(k, batch_size, world_size, drop_last) for k in self._planned()))

    def samples_total(self, batch_size: int = 1, world_size: int = 1) -> int:
        """Pairs seen in all planned epochs, counted as often as they are seen.

        Epochs with fewer pairs than a full batch on every rank are filled up to one, so give the training's sizes; the
        defaults count what the schedule alone asks for.
        """
        return sum(self.count(k, batch_size * world_size) for k in self._planned())

    def _planned(self) -> range:
        if self.epochs is None:
            raise InputError("epochs=None: expected the number of planned epochs, EpochPlan(..., epochs=E)")
        return range(1, self.epochs + 1)

    def table(self, batch_size: int = 64, world_size: int = 1, drop_last: bool = False) -> list[dict[str, Any]]:
        """One dict per epoch: epoch, fraction, rows, steps, intensity (or `intensity_<term>` for each named term)."""
        names = {"*": "intensity"} if len(self._intensities) == 1 else {}
        return [
            {
                "epoch": epoch,
                "fraction": self.fraction(epoch),
                "rows": self.count(epoch, batch_size * world_size),
                "steps": self.steps(epoch, batch_size, world_size, drop_last),
                **{names.get(k, f"intensity_{k}"): self.intensity(epoch, k) for k in self._intensities},
            }
            for epoch in self._planned()
        ]

    def digest(self, batch_size: int, world_size: int = 1) -> str:
        """SHA-256 over everything that determines the plan, to identify the training of a checkpoint.

        Functions of the epoch enter with their values over the planned epochs. The batches of the first and last epoch
        are included, so that a version of the kit that composes batches differently is noticed.
        """
        digest = hashlib.sha256(repr((type(self).__name__, self.table(batch_size, world_size))).encode())
        for name, value in sorted(vars(self).items()):
            if isinstance(value, np.ndarray):
                value = hashlib.sha256(value.tobytes()).hexdigest()
            elif isinstance(value, EpochPlan):
                value = value.digest(batch_size, world_size)
            elif callable(value):
                value = [value(epoch) for epoch in self._planned()]
            elif not (value is None or is_dataclass(value) or isinstance(value, (str, int, float, tuple))):
                continue
            digest.update(f"|{name}={value!r}".encode())
        for epoch in (1, self.epochs):
            for rows in self.batches(epoch or 1, batch_size, 0, world_size):
                digest.update(rows.tobytes() + b"|")
        return digest.hexdigest()
