"""Plans that follow the model: which pairs to train on, and how much, from the losses it had on them.

V_i of the paper's loss need not be 0 or 1. Both plans here take the recorded losses as an explicit argument and are
pure functions of them, so a run is reproduced by saving one array (L,) in the checkpoint. Start with `np.nan`
everywhere, write each step's losses with `record_losses`, and take the next epoch's plan from `with_feedback`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from class_kit.checks import check_real, check_whole
from class_kit.curriculum.intensity import IntensitySpec
from class_kit.curriculum.plan import Plan, scheduled_count
from class_kit.curriculum.randomness import PRUNE, SHUFFLE, random_words, shuffle_rows
from class_kit.curriculum.schedules import fraction_of
from class_kit.errors import InputError

KINDS = ("hard", "linear", "log")


def record_losses(losses: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A copy of `losses` (L,) with the newest `values` of the given rows; NaN marks a pair not yet seen.

    Raises
    ------
    InputError
        Rows outside the array, values that do not fit them, or a value that is negative or not finite.
    """
    losses, rows, values = _check_losses(losses), np.asarray(rows), np.asarray(values, dtype=np.float64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or values.shape != rows.shape:
        raise InputError(f"rows {rows.shape} {rows.dtype} and values {values.shape}: expected (n,) integers and losses")
    if len(rows) and (rows.min() < 0 or rows.max() >= len(losses)):
        raise InputError(f"rows name {rows.min()} to {rows.max()}: expected 0 to {len(losses) - 1}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError(
            f"values contain {values[~(np.isfinite(values) & (values >= 0))][0]}: expected losses of 0 or more"
        )
    result = losses.copy()
    result[rows] = values
    return result


def self_paced_weights(losses: np.ndarray, threshold: float, kind: str = "hard") -> np.ndarray:
    """V_i of self-paced learning for losses l and age λ (`threshold`), (L,) float64 in [0, 1].

    "hard" is 1 where l < λ (Kumar, Packer, Koller, NIPS 2010); "linear" is max(0, 1 - l/λ) and "log" is
    log(l + ζ)/log ζ with ζ = 1 - λ where l < λ (Jiang et al., ACM MM 2014, section 3). Near λ = 1 the last falls off
    so steeply that a larger age can lower a weight a little. An unseen pair (NaN) weighs 1:
    it has to be seen before it can be judged.

    Raises
    ------
    InputError
        Negative losses, an unknown kind, a threshold not above 0, or one not below 1 for "log".
    """
    losses = _check_losses(losses)
    threshold = check_real("threshold", threshold, low=0.0, open_low=True)
    if kind not in KINDS:
        raise InputError(f"kind={kind!r} is unknown, expected one of {', '.join(KINDS)}")
    if kind == "log" and threshold >= 1.0:
        raise InputError(f"threshold={threshold!r} is out of range for kind='log': expected a number in (0, 1)")
    known = np.where(np.isnan(losses), 0.0, losses)
    below = known < threshold
    if kind == "hard":
        weights = below.astype(np.float64)
    elif kind == "linear":
        weights = np.maximum(0.0, 1.0 - known / threshold)
    else:
        zeta = 1.0 - threshold
        weights = np.where(below, np.log(np.where(below, known, 0.0) + zeta) / math.log(zeta), 0.0)
    weights[np.isnan(losses)] = 1.0
    return weights


class _LossPlan(Plan):
    needs_feedback = ("losses",)
    weighted = True

    def _start(self, losses: np.ndarray, intensity: IntensitySpec, seed: int, epochs: int | None) -> None:
        self.losses = _check_losses(losses)
        self._configure(np.arange(len(self.losses)), intensity, seed, epochs)

    def with_feedback(self, losses: np.ndarray | None = None, metrics: Sequence[float] = ()) -> Self:
        if losses is None:
            raise InputError("losses=None: this plan needs every pair's last loss, expected (L,)")
        result = copy.copy(self)
        result.losses = _check_losses(losses)
        if len(result.losses) != self.length:
            raise InputError(f"losses has {len(result.losses)} entries, the plan {self.length} pairs: expected equal")
        return result


class SelfPacedPlan(_LossPlan):
    """Epoch k trains on the λ_k·L pairs of least recorded loss, weighted by how far below the threshold they are.

    The age of self-paced learning is set by the schedule: the threshold is the loss of the first pair left out. Where
    λ = 1 nothing is left out, the threshold is infinite and every pair weighs 1: the plain run. Unseen pairs come
    first, equal losses by row id.

    Parameters
    ----------
    losses
        (L,) recorded losses, 0 or more, NaN where unseen.
    schedule
        λ, as of `EpochPlan`.
    kind
        "hard", "linear" or "log", see `self_paced_weights`. For "log" the losses are first divided by their maximum,
        since that form is defined below 1 only.
    intensity, seed, epochs
        As of `EpochPlan`.
    """

    def __init__(
        self,
        losses: np.ndarray,
        schedule: Callable[[int], float],
        kind: str = "hard",
        intensity: IntensitySpec = "constant",
        seed: int = 0,
        epochs: int | None = None,
    ) -> None:
        if kind not in KINDS:
            raise InputError(f"kind={kind!r} is unknown, expected one of {', '.join(KINDS)}")
        if not callable(schedule):
            raise InputError(f"schedule={schedule!r}: expected a Schedule or a function of the epoch")
        self.schedule, self.kind = schedule, kind
        self._start(losses, intensity, seed, epochs)

    def fraction(self, epoch: int) -> float:
        return fraction_of(self.schedule, epoch)

    def count(self, epoch: int, at_least: int = 1) -> int:
        return scheduled_count(self.fraction(epoch), self.length, at_least)

    def _easiest(self) -> np.ndarray:
        return np.argsort(np.where(np.isnan(self.losses), -1.0, self.losses), kind="stable")

    def rows(self, epoch: int, at_least: int = 1) -> np.ndarray:
        rows = self._easiest()[: self.count(epoch, at_least)]
        return shuffle_rows(rows, self.length, self.seed, epoch, SHUFFLE)

    def weights(self, epoch: int, at_least: int = 1) -> np.ndarray:
        order, count = self._easiest(), self.count(epoch, at_least)
        chosen = np.zeros(self.length)
        chosen[order[:count]] = 1.0
        if self.kind == "hard" or count == self.length or np.isnan(self.losses[order[count]]):
            return chosen
        threshold = float(self.losses[order[count]])
        if threshold <= 0.0:
            return chosen
        scale = float(np.nanmax(self.losses)) * (1.0 + 1e-6) if self.kind == "log" else 1.0
        weights = chosen * self_paced_weights(self.losses / scale, threshold / scale, self.kind)
        # where all chosen pairs tie with the first one left out, none is easier: they count alike, not nothing
        return weights if weights.any() else chosen


class LossPrunedPlan(_LossPlan):
    """Every epoch leaves out a random part of the pairs that are already learnt, and makes up for it by weight.

    As InfoBatch (Qin et al., ICLR 2024): pairs below the mean loss are dropped with probability r, those kept weigh
    1/(1 - r), so the expected gradient is that of the full data; the last epochs use everything, which removes the
    remaining variance. Unseen pairs (NaN) are kept. Dropped pairs that are needed for one full batch weigh 1.

    Parameters
    ----------
    losses
        (L,) recorded losses, 0 or more, NaN where unseen.
    epochs
        E, the planned number of epochs.
    prune
        r in [0, 1).
    full_from
        Share of the epochs after which nothing is pruned, 0.875 in the paper.
    intensity, seed
        As of `EpochPlan`.
    """

    def __init__(
        self,
        losses: np.ndarray,
        epochs: int,
        prune: float = 0.5,
        full_from: float = 0.875,
        intensity: IntensitySpec = "constant",
        seed: int = 0,
    ) -> None:
        self.prune = check_real("prune", prune, low=0.0, high=1.0)
        if self.prune == 1.0:
            raise InputError("prune=1.0 would drop every learnt pair for good: expected a number in [0, 1)")
        self.full_from = check_real("full_from", full_from, low=0.0, high=1.0)
        self._start(losses, intensity, seed, check_whole("epochs", epochs, low=1))

    def fraction(self, epoch: int) -> float:
        return self.count(epoch) / self.length

    def count(self, epoch: int, at_least: int = 1) -> int:
        check_whole("at_least", at_least, low=1)
        return min(self.length, max(int((~self._dropped(epoch)).sum()), at_least))

    def _learnt(self) -> np.ndarray:
        known = ~np.isnan(self.losses)
        mean = self.losses[known].mean() if known.any() else 0.0
        return known & (np.where(known, self.losses, np.inf) < mean)

    def _dropped(self, epoch: int) -> np.ndarray:
        check_whole("epoch", epoch, low=1)
        if epoch > self.full_from * self._planned():
            return np.zeros(self.length, dtype=bool)
        # 53 bits are what a float64 in [0, 1) can hold
        luck = (random_words(self.length, self.seed, epoch, PRUNE) >> np.uint64(11)) * 2.0**-53
        return self._learnt() & (luck < self.prune)

    def rows(self, epoch: int, at_least: int = 1) -> np.ndarray:
        dropped = self._dropped(epoch)
        rows = shuffle_rows(np.flatnonzero(~dropped), self.length, self.seed, epoch, SHUFFLE)
        missing = self.count(epoch, at_least) - len(rows)
        if missing > 0:
            back = shuffle_rows(np.flatnonzero(dropped), self.length, self.seed, epoch, SHUFFLE)[:missing]
            rows = np.concatenate((rows, back))
        return rows

    def weights(self, epoch: int, at_least: int = 1) -> np.ndarray:
        dropped = self._dropped(epoch)
        if epoch > self.full_from * self._planned():
            return np.ones(self.length)
        weights = np.where(dropped, 0.0, np.where(self._learnt(), 1.0 / (1.0 - self.prune), 1.0))
        rows = self.rows(epoch, at_least)
        weights[rows[dropped[rows]]] = 1.0
        return weights


def _check_losses(losses: np.ndarray) -> np.ndarray:
    array = np.asarray(losses, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise InputError(f"losses has shape {array.shape}: expected (L,) with at least one pair")
    bad = np.isinf(array) | (array < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(f"losses[{row}]={array[row]}: expected 0 or more, or NaN for a pair not yet seen")
    return array
