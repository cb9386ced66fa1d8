"""What every plan of epochs has in common: rows in a reproducible order, cut into batches for every rank.

A plan answers from (seed, epoch) alone, so any epoch can be asked for first, twice, or on another machine. A plan that
follows the training (`follows`) answers from what it was told of it as well, and from nothing else.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np

from class_kit.checks import check_epoch, check_real, check_whole
from class_kit.curriculum.apart import check_labels, keep_apart, repeats, unavoidable
from class_kit.curriculum.hard_batches import check_line, gather_groups
from class_kit.curriculum.intensity import (
    Curve,
    IntensitySpec,
    constant_intensity,
    intensity_at,
    make_intensity,
    match_terms,
    term_curves,
)
from class_kit.curriculum.randomness import APART, GROUP
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
    follows
        What of the training the plan follows: nothing, "losses" (every pair's last loss), "metrics" (the validation
        metric after every epoch) or "vectors" (the model's own, for its neighbours). Such a plan is told by `informed`
        before each epoch, of vectors by `with_line`.
    weighted
        Whether `weights` may differ from 1 on the rows of an epoch.
    hardness, line, group_size, apart, refresh
        How batches are composed, see `compose`.
    """

    follows: tuple[str, ...] = ()
    weighted: ClassVar[bool] = False
    seed: int
    epochs: int | None
    hardness: Callable[[int], float] | None = None
    line: np.ndarray | None = None
    group_size: int = 32
    apart: np.ndarray | None = None
    refresh: int | None = None
    _intensity: Curve | dict[str, Curve]

    def _configure(self, intensity: IntensitySpec, seed: int, epochs: int | None) -> None:
        self.seed = check_whole("seed", seed, low=0)
        self.epochs = None if epochs is None else check_whole("epochs", epochs, low=1)
        if isinstance(intensity, Mapping):
            self._intensity = term_curves(intensity, self.epochs)
        else:
            self._intensity = make_intensity(intensity, self.epochs)

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
        self.line = None if line is None else check_line(line, self._all_rows())
        self.apart = None if apart is None else check_labels(apart, self._size())
        self.refresh = refresh
        self.follows = (*type(self).follows, *(() if refresh is None else ("vectors",)))
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
        result.line = check_line(line, self._all_rows())
        return result

    def informed(self, losses: np.ndarray | None = None, metrics: Sequence[float] = ()) -> Plan:
        """The plan of the next epoch, told every pair's last loss (L,) and the metrics after the epochs so far.

        A plan that follows neither returns itself.
        """
        return self

    @property
    @abstractmethod
    def length(self) -> int:
        """L, the number of pairs the plan draws from."""

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
            A term is asked of a plan with one curve, or none (or an unknown one) of a plan with a curve a term.
        """
        epoch = check_epoch(epoch)
        if not isinstance(self._intensity, dict):
            if term is not None:
                raise InputError(f"term={term!r} was asked, but this plan has one intensity for all terms")
            return intensity_at(self._intensity, epoch)
        if term not in self._intensity and not (term is not None and "*" in self._intensity):
            raise InputError(f"term={term!r} has no intensity, expected one of {sorted(self._intensity)}")
        return intensity_at(self._intensity.get(cast(str, term), self._intensity.get("*", constant_intensity)), epoch)

    def intensities(self, epoch: int, terms: Iterable[str]) -> dict[str, float]:
        """γ of every named loss term, from one curve for all or one a term (`intensity={"name": curve}`)."""
        epoch = check_epoch(epoch)
        if isinstance(self._intensity, dict):
            return match_terms(self._intensity, terms, epoch)
        return {name: intensity_at(self._intensity, epoch) for name in terms}

    def weights(self, epoch: int, at_least: int = 1) -> np.ndarray:
        """V_i, the weight of every row's loss in the epoch, by row id, float64: 1 where scheduled and 0 elsewhere."""
        weights = np.zeros(self._size())
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
        times = np.bincount(rows, minlength=self._size())
        if times.max() == 1:
            return self.apart
        labels = np.full(self._size(), -1, dtype=np.int64) if self.apart is None else self.apart.copy()
        alone = np.flatnonzero((times > 1) & (labels < 0))
        labels[alone] = labels.max() + 1 + np.arange(len(alone))
        return labels

    def repeats(self, epoch: int, batch_size: int, world_size: int = 1, drop_last: bool = False) -> dict[str, int]:
        """How often near-duplicates share a batch in the epoch: `repeats`, and how many of these are `unavoidable`.

        A repeat is a row whose batch already holds a row of its label. A group with more members than the epoch has
        batches cannot be kept apart; its surplus is the unavoidable part.
        """
        if self.apart is None:
            raise InputError("apart=None: this plan was not told which rows are duplicates of each other")
        parts = [self.batches(epoch, batch_size, r, world_size, drop_last) for r in range(world_size)]
        flat = [batch for part in parts for batch in part]
        labels = self.apart[np.concatenate(flat)]
        unit = np.repeat(np.arange(len(flat)), [len(batch) for batch in flat])
        return {"repeats": len(repeats(labels, unit)), "unavoidable": unavoidable(labels, len(flat))}

    def _size(self) -> int:
        return self.length

    def _all_rows(self) -> np.ndarray:
        """Every row id the plan may draw, (L,) int64."""
        return np.arange(self.length, dtype=np.int64)

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
