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
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from class_kit.checks import check_epoch, check_real, check_whole
from class_kit.curriculum.duplicates import check_labels, count_repeats, keep_apart
from class_kit.curriculum.hard_batches import check_line, gather_groups
from class_kit.curriculum.intensity import (
    Curve,
    IntensitySpec,
    intensity_at,
    make_intensities,
    match_terms,
)
from class_kit.curriculum.randomness import APART, GROUP, SHUFFLE, shuffle_rows
from class_kit.curriculum.schedules import fraction_of
from class_kit.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def batch_bounds(count: int, batch_size: int, world_size: int = 1, drop_last: bool = False) -> np.ndarray:
    """Where `count` rows are cut, shape (steps · world_size + 1,): piece s · world_size + r is rank r's at step s.

    Every rank gets the same number of steps, and every row goes to one rank. The rows left for the last step are
    shared evenly; where they are fewer than the ranks, the step before gives up what is needed for one row each.
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
    totals = np.asarray(steps, dtype=np.int64)[:, None]
    rank = np.arange(world_size, dtype=np.int64)[None, :]
    sizes = totals // world_size + (rank < totals % world_size)
    return np.concatenate(([0], np.cumsum(sizes.ravel())))


class Plan(ABC):
    """What every plan offers, the curriculum and its controls alike: rows, batches, intensity, steps and a table.

    A subclass says how many rows an epoch has (`count`) and which, in which order (`rows`).

    Attributes
    ----------
    order : (L,) int64
        Every row id that the plan may draw.
    needs_feedback : tuple of str
        What of the training the plan depends on: nothing, "losses" (every pair's last loss), "metrics" (the validation
        metric after every epoch) or "vectors" (the model's own, for its neighbours). Before each epoch `with_feedback`
        gives it losses and metrics, `with_line` an arrangement by the vectors.
    weighted
        Whether `weights` may differ from 1 on the rows of an epoch.
    hardness, line, group_size, apart, refresh
        How batches are composed, see `compose`.
    """

    needs_feedback: tuple[str, ...] = ()
    weighted: ClassVar[bool] = False
    order: np.ndarray
    seed: int
    epochs: int | None
    hardness: Callable[[int], float] | None = None
    line: np.ndarray | None = None
    group_size: int = 32
    apart: np.ndarray | None = None
    refresh: int | None = None
    _size: int
    _intensity: Curve | dict[str, Curve]

    def _configure(self, order: np.ndarray, intensity: IntensitySpec, seed: int, epochs: int | None) -> None:
        self.order, self._size = order, int(order.max()) + 1
        self.seed = check_whole("seed", seed, low=0)
        self.epochs = None if epochs is None else check_whole("epochs", epochs, low=1)
        self._intensity = make_intensities(intensity, self.epochs)

    def compose(
        self,
        *,
        hardness: Callable[[int], float] | None = None,
        line: np.ndarray | None = None,
        group_size: int = 32,
        apart: np.ndarray | None = None,
        refresh: int | None = None,
    ) -> Self:
        """Say how batches are composed, beyond being random; returns the plan itself. Which rows it has stays as it is.

        Parameters
        ----------
        hardness
            h(k) in [0, 1], a `Schedule` or any function of the epoch: the share of each batch drawn as groups of near
            neighbours. None is the paper's random batches.
        line
            What `neighbour_line` returns for the space in which rows are to be near; needed with `hardness`.
        group_size
            Rows of a group of near neighbours.
        apart
            (L,) integers by row id, as `duplicate_labels` returns: rows of one label (not negative) never share a
            batch where that is possible; `repeats` says how often it was not.
        refresh
            Neighbours are those of the model under way: the line is drawn anew for the first epoch with groups, and for
            every `refresh`-th of such epochs from there, by whoever trains (see `refreshed`, `with_line`); `line` is
            what the plan answers with where nobody does. Approximate nearest negatives in a model's own space are those
            of ANCE (Xiong et al., ICLR 2021).
        """
        if hardness is not None and (not callable(hardness) or line is None):
            raise InputError(f"hardness={hardness!r}: expected a function of the epoch, and line= beside it")
        if refresh is not None and check_whole("refresh", refresh, low=1) and hardness is None:
            raise InputError(f"refresh={refresh} without hardness: there are no groups to draw anew")
        self.hardness = hardness
        self.group_size = check_whole("group_size", group_size, low=1)
        self.line = None if line is None else check_line(line, self.order)
        self.apart = None if apart is None else check_labels(apart, self._size)
        self.refresh = refresh
        self.needs_feedback = (*type(self).needs_feedback, *(() if refresh is None else ("vectors",)))
        return self

    def refreshed(self, epoch: int) -> bool:
        """Whether the line of near neighbours is to be drawn anew, by the model as it is, before this epoch."""
        if self.refresh is None or self.hardness is None or self.hardness(check_epoch(epoch)) <= 0:
            return False
        return sum(self.hardness(k) > 0 for k in range(1, epoch)) % self.refresh == 0

    def with_line(self, line: np.ndarray) -> Self:
        """The same plan with its neighbours near on another line; the original stays as it is.

        Parameters
        ----------
        line
            (L,), as `neighbour_line` returns it for the vectors that the model now gives the pairs.

        Raises
        ------
        InputError
            The line is no arrangement of the plan's rows.
        """
        result = copy.copy(self)
        result.line = check_line(line, self.order)
        return result

    def with_feedback(self, losses: np.ndarray | None = None, metrics: Sequence[float] = ()) -> Plan:
        """The plan of the next epoch, given every pair's last loss (L,) and the metrics after the epochs so far.

        A plan that needs neither returns itself.
        """
        return self

    @property
    def length(self) -> int:
        """L, the number of pairs the plan draws from."""
        return len(self.order)

    @abstractmethod
    def fraction(self, epoch: int) -> float:
        """λ of the epoch, in (0, 1]."""

    @abstractmethod
    def count(self, epoch: int, at_least: int = 1) -> int:
        """Number of rows of the epoch, raised to `at_least` where the data has as many."""

    @abstractmethod
    def rows(self, epoch: int, at_least: int = 1) -> np.ndarray:
        """The row ids of the epoch in the order of training, (n,) int64."""

    def intensity(self, epoch: int, term: str | None = None) -> float:
        """γ of the epoch; where the plan names loss terms, of one `term`.

        Raises
        ------
        InputError
            A term of a plan with one curve, or none (or an unknown one) of a plan with a curve for each term.
        """
        curves = self._intensity
        if not isinstance(curves, dict):
            if term is not None:
                raise InputError(f"term={term!r}: this plan has one intensity for all terms")
            return intensity_at(curves, epoch)
        curve = None if term is None else curves.get(term, curves.get("*"))
        if curve is None:
            raise InputError(f"term={term!r} has no intensity, expected one of {sorted(curves)}")
        return intensity_at(curve, epoch)

    def intensities(self, epoch: int, terms: Iterable[str]) -> dict[str, float]:
        """γ of every named loss term, from one curve for all or one a term (`intensity={"name": curve}`)."""
        epoch = check_epoch(epoch)
        if isinstance(self._intensity, dict):
            return match_terms(self._intensity, terms, epoch)
        return {name: intensity_at(self._intensity, epoch) for name in terms}

    def weights(self, epoch: int, at_least: int = 1) -> np.ndarray:
        """V_i, the weight of every row's loss in the epoch, by row id, float64: 1 where scheduled and 0 elsewhere."""
        weights = np.zeros(self._size)
        weights[self.rows(epoch, at_least)] = 1.0
        return weights

    def batches(
        self, epoch: int, batch_size: int, rank: int = 0, world_size: int = 1, drop_last: bool = False
    ) -> list[np.ndarray]:
        """The batches of one rank, each (n,) int64 with n ≤ batch_size; the ranks together see every row once.

        Raises
        ------
        InputError
            A number out of range, or so few rows that a step would leave a rank without any.
        """
        check_whole("batch_size", batch_size, low=1)
        check_whole("world_size", world_size, low=1)
        check_whole("rank", rank, low=0, high=world_size - 1)
        count = self.count(epoch, batch_size * world_size)
        bounds = batch_bounds(count, batch_size, world_size, drop_last)
        rows = self._arrange(epoch, batch_size, world_size, bounds)
        starts, ends = bounds[:-1][rank::world_size].tolist(), bounds[1:][rank::world_size].tolist()
        return [rows[start:end] for start, end in zip(starts, ends, strict=True)]

    def _arrange(self, epoch: int, batch_size: int, world_size: int, bounds: np.ndarray) -> np.ndarray:
        """The epoch's rows in the order in which `bounds` cuts them."""
        rows = self.rows(epoch, batch_size * world_size)
        if self.hardness is not None and self.line is not None:
            share = check_real(f"hardness at epoch {epoch}", self.hardness(epoch), low=0.0, high=1.0)
            path = (self.seed, epoch, GROUP)
            rows = gather_groups(rows, bounds, share, self.line, min(self.group_size, batch_size), path, self.apart)
        labels = self._apart_in(rows)
        return rows if labels is None else keep_apart(rows, bounds, labels, (self.seed, epoch, APART))

    def _apart_in(self, rows: np.ndarray) -> np.ndarray | None:
        """Labels of what must not share a batch: near-duplicates, and one row that comes twice where groups move it."""
        if self.hardness is None:
            return self.apart
        times = np.bincount(rows, minlength=self._size)
        if times.max() == 1:
            return self.apart
        labels = np.full(self._size, -1, dtype=np.int64) if self.apart is None else self.apart.copy()
        alone = np.flatnonzero((times > 1) & (labels < 0))
        labels[alone] = labels.max() + 1 + np.arange(len(alone))
        return labels

    def repeats(self, epoch: int, batch_size: int, world_size: int = 1, drop_last: bool = False) -> dict[str, int]:
        """How often near-duplicates share a batch in the epoch, as `count_repeats` says it."""
        if self.apart is None:
            raise InputError("apart=None: this plan does not know which rows are duplicates of each other")
        parts = [self.batches(epoch, batch_size, r, world_size, drop_last) for r in range(world_size)]
        return count_repeats(self.apart, [batch for part in parts for batch in part])

    def steps(self, epoch: int, batch_size: int, world_size: int = 1, drop_last: bool = False) -> int:
        """Optimiser steps of one epoch: the number of batches of every rank."""
        check_whole("batch_size", batch_size, low=1)
        check_whole("world_size", world_size, low=1)
        count = self.count(epoch, batch_size * world_size)
        return (len(batch_bounds(count, batch_size, world_size, drop_last)) - 1) // world_size

    def steps_total(self, batch_size: int, world_size: int = 1, drop_last: bool = False) -> int:
        """Optimiser steps of all planned epochs, the number that a learning-rate schedule must be told."""
        return sum(self.steps(k, batch_size, world_size, drop_last) for k in range(1, self._planned() + 1))

    def samples_total(self, batch_size: int = 1, world_size: int = 1) -> int:
        """Pairs seen in all planned epochs, each as often as it is seen.

        Epochs with fewer pairs than a full batch on every rank are filled up to one, so give the training's sizes; the
        defaults tell what the schedule alone asks for.
        """
        check_whole("batch_size", batch_size, low=1)
        check_whole("world_size", world_size, low=1)
        return sum(self.count(k, batch_size * world_size) for k in range(1, self._planned() + 1))

    def _planned(self) -> int:
        if self.epochs is None:
            raise InputError("epochs=None: totals need the number of planned epochs, give EpochPlan(..., epochs=E)")
        return self.epochs

    def table(self, batch_size: int = 64, world_size: int = 1, drop_last: bool = False) -> list[dict[str, Any]]:
        """One dict an epoch: epoch, fraction, rows, steps, intensity (or `intensity_<term>` for every named term)."""
        table = []
        for epoch in range(1, self._planned() + 1):
            row: dict[str, Any] = {
                "epoch": epoch,
                "fraction": self.fraction(epoch),
                "rows": self.count(epoch, batch_size * world_size),
                "steps": self.steps(epoch, batch_size, world_size, drop_last),
            }
            if isinstance(self._intensity, dict):
                row |= {f"intensity_{name}": intensity_at(curve, epoch) for name, curve in self._intensity.items()}
            else:
                row["intensity"] = self.intensity(epoch)
            table.append(row)
        return table

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw λ(k) and γ(k) over the planned epochs on `ax` (a new one if None) and return it."""
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots()[1]
        epochs = range(1, self._planned() + 1)
        ax.step(epochs, [self.fraction(k) for k in epochs], where="mid", label="λ, share of the pairs")
        curves = self._intensity if isinstance(self._intensity, dict) else {"": self._intensity}
        for name, curve in curves.items():
            label = f"γ of {name}" if name else "γ, intensity"
            ax.plot(epochs, [intensity_at(curve, k) for k in epochs], marker=".", label=label)
        ax.set(xlabel="epoch k", ylabel="value", ylim=(0.0, 1.05))
        ax.legend()
        return ax


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
            raise InputError(f"schedule={schedule!r}: expected a Schedule or a function of the epoch")
        self.schedule = schedule
        self.intensity_spec = intensity
        self._configure(check_order(order), intensity, seed, epochs)
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

    def fraction(self, epoch: int) -> float:
        return fraction_of(self.schedule, epoch)

    def count(self, epoch: int, at_least: int = 1) -> int:
        return scheduled_count(self.fraction(epoch), self.length, at_least)

    def scheduled(self, epoch: int, at_least: int = 1) -> np.ndarray:
        """The rows of the epoch in the order of difficulty, (n,) int64, not shuffled."""
        return self.order[: self.count(epoch, at_least)]

    def rows(self, epoch: int, at_least: int = 1) -> np.ndarray:
        return shuffle_rows(self.scheduled(epoch, at_least), self._size, self.seed, epoch, SHUFFLE)


def scheduled_count(fraction: float, length: int, at_least: int = 1) -> int:
    """The nearest whole number of pairs to λ·L, at least `at_least` where there are as many."""
    check_whole("at_least", at_least, low=1)
    # the tolerance keeps decimal λ such as 0.285 with L = 1000 from rounding by the noise of its last bit
    return min(length, max(math.floor(fraction * length + 0.5 + 1e-9), at_least))


def check_order(order: np.ndarray | Iterable[int]) -> np.ndarray:
    """`order` as a read-only (L,) int64 array of distinct non-negative row ids, or an InputError saying what is not."""
    array = np.asarray(order if isinstance(order, np.ndarray) else list(order))
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in "iu":
        raise InputError(
            f"order has shape {array.shape} and type {array.dtype}: expected (L,) integers with at least one row"
        )
    array = array.astype(np.int64)
    if array.min() < 0:
        raise InputError(f"order contains the row {array.min()}: expected row ids from 0")
    if array.max() >= 100 * len(array) + 1_000_000:
        raise InputError(f"order contains the row {array.max()} among {len(array)}: expected ids of one data set")
    counts = np.bincount(array)
    if counts.max() > 1:
        raise InputError(f"order contains the row {int(counts.argmax())} {counts.max()} times: expected each once")
    array.flags.writeable = False
    return array
