"""Plans with feedback from the training: losses decide which pairs are used and their weights, or a metric the pace.

The feedback is an explicit argument and a plan is a pure function of it, so one array (L,) and the metric history
reproduce a training. For losses, start with `np.nan` everywhere, record those of each step with `record_losses`, and
take the next epoch's plan from `with_feedback`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from class_kit.checks import check_epoch, check_real, check_vector, check_whole
from class_kit.curriculum.intensity import Curve, IntensitySpec
from class_kit.curriculum.plan import EpochPlan
from class_kit.curriculum.randomness import PRUNE, random_words
from class_kit.curriculum.schedules import make_schedule
from class_kit.errors import InputError

# share of the epochs in which InfoBatch prunes
_PRUNED = 0.875


def record_losses(losses: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A copy of `losses` (L,) with the newest `values` of the given rows; NaN marks an unseen pair.

    Raises
    ------
    InputError
        A value that is negative or not finite.
    """
    result = losses.copy()
    result[rows] = check_vector("values", values, low=0)
    return result


class SelfPacedPlan(EpochPlan):
    """Epoch k trains on the λ_k·L pairs with the lowest recorded losses; unseen pairs come first, ties by row id.

    The schedule sets the age of self-paced learning (Kumar, Packer, Koller, NIPS 2010): the threshold is the loss of
    the first pair left out. At λ = 1 nothing is left out, as in standard training.

    Parameters
    ----------
    losses
        (L,) recorded losses, 0 or more, NaN where unseen.
    schedule
        λ, as of `EpochPlan`.
    options, named
        intensity ("constant" by default), seed, epochs and the rest, as of `EpochPlan`.
    """

    needs_feedback = ("losses",)
    _warns = False

    def __init__(
        self, losses: np.ndarray, schedule: Curve, intensity: IntensitySpec = "constant", *options: Any, **named: Any
    ) -> None:
        self._record(losses)
        super().__init__(self.order, schedule, intensity, *options, **named)

    def with_feedback(self, losses: np.ndarray | None = None, metrics: Sequence[float] = ()) -> Self:
        array = np.asarray(losses, dtype=np.float64)
        if array.shape != (self.length,):
            raise InputError(f"losses has shape {array.shape}: expected every pair's last loss, ({self.length},)")
        result = copy.copy(self)
        result._record(array)
        return result

    def _record(self, losses: Any) -> None:
        array = np.asarray(losses, dtype=np.float64)
        if array.ndim != 1 or len(array) == 0:
            raise InputError(f"losses has shape {array.shape}: expected (L,) with at least one pair")
        if len(bad := np.flatnonzero(np.isinf(array) | (array < 0))):
            raise InputError(f"losses[{bad[0]}]={array[bad[0]]}: expected 0 or more, or NaN for an unseen pair")
        self.losses, self.order = array, np.argsort(np.where(np.isnan(array), -1.0, array), kind="stable")


class LossPrunedPlan(SelfPacedPlan):
    """Every epoch leaves out a random part of the pairs already learned, and weights the rest of them more.

    As in InfoBatch (Qin et al., ICLR 2024), pairs below the mean loss are dropped with probability r and those kept
    weigh 1/(1 - r), so the expected gradient is that of the full data; the last eighth of the epochs uses all pairs,
    which removes the remaining variance. Unseen pairs (NaN) are kept. Dropped pairs that fill up a batch weigh 1.

    Parameters
    ----------
    losses
        (L,) recorded losses, 0 or more, NaN where unseen.
    epochs
        E, the planned number of epochs.
    prune
        r in [0, 1).
    options, named
        intensity ("constant" by default), seed and the rest, as of `EpochPlan`.
    """

    def __init__(self, losses: np.ndarray, epochs: int, prune: float = 0.5, *options: Any, **named: Any) -> None:
        self.prune = check_real("prune", prune, low=0.0, high=1.0, open_high=True)
        self.full_until = _PRUNED * check_whole("epochs", epochs, low=1)
        super().__init__(losses, make_schedule("full"), *options, epochs=epochs, **named)

    def _learned(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs that may be left out in the epoch, and those that are, both (L,) bool."""
        known = self.losses[~np.isnan(self.losses)]
        prunes = len(known) > 0 and check_epoch(epoch) <= self.full_until
        learned = self.losses < known.mean() if prunes else np.zeros(self.length, dtype=bool)
        # 53 bits are what a float64 in [0, 1) can hold
        luck = (random_words(self.length, self.seed, epoch, PRUNE) >> np.uint64(11)) * 2.0**-53
        return learned, learned & (luck < self.prune)

    def fraction(self, epoch: int) -> float:
        return self.count(epoch) / self.length

    def count(self, epoch: int, at_least: int = 1) -> int:
        return min(self.length, max(int((~self._learned(epoch)[1]).sum()), check_whole("at_least", at_least, low=1)))

    def rows(self, epoch: int, at_least: int = 1) -> np.ndarray:
        dropped = self._learned(epoch)[1]
        parts = [self._shuffled(np.flatnonzero(part), epoch) for part in (~dropped, dropped)]
        return np.concatenate(parts)[: self.count(epoch, at_least)]

    def weights(self, epoch: int, at_least: int = 1) -> np.ndarray:
        learned, dropped = self._learned(epoch)
        weights = super().weights(epoch, at_least)
        weights[learned & ~dropped] = 1.0 / (1.0 - self.prune)
        return weights


def _keep_after(warmup: int, keep: float, epoch: int) -> float:
    """λ(k): 1 in the first `warmup` epochs, then `keep`."""
    return 1.0 if epoch <= warmup else keep


class SmallLossPlan(SelfPacedPlan):
    """All pairs in the first epochs, then all except a share with the largest losses, taken to be mismatched.

    A network learns what its pairs have in common before it memorises exceptions, so small losses mark pairs that
    belong together (co-teaching; Han et al., NeurIPS 2018). The losses are those of all pairs under the model after the
    previous epoch, so a pair that was left out can return.

    Parameters
    ----------
    losses
        (L,) measured losses, 0 or more; all NaN before the first epoch.
    drop
        Share of the pairs left out after the warm-up, in [0, 1).
    warmup
        Epochs with all pairs, 0 or more.
    doubt
        (L,) finite numbers, higher where text and molecule agree less, such as the negated agreement of `audit_pairs`.
        Pairs are then ordered by the sum of the ranks of loss and doubt, and by doubt alone before losses are known.
    mixture
        After the warm-up, weight each pair by the probability that its loss belongs to the lower component of a mixture
        of two Gaussians, as in NCR (Huang et al., NeurIPS 2021).
    options, named
        intensity ("constant" by default), seed, epochs and the rest, as of `EpochPlan`.
    """

    measures_losses = True

    def __init__(
        self,
        losses: np.ndarray,
        drop: float,
        warmup: int = 0,
        doubt: np.ndarray | None = None,
        mixture: bool = False,
        *options: Any,
        **named: Any,
    ) -> None:
        check_real("drop", drop, low=0.0, high=1.0, open_high=True)
        self.doubt = None if doubt is None else np.asarray(doubt, np.float64)
        if self.doubt is not None and (self.doubt.shape != np.shape(losses) or not np.isfinite(self.doubt).all()):
            raise InputError(f"doubt has shape {self.doubt.shape}: expected finite numbers, {np.shape(losses)}")
        self.mixture, self.warmup = bool(mixture), check_whole("warmup", warmup, low=0)
        super().__init__(losses, partial(_keep_after, self.warmup, 1.0 - drop), *options, **named)

    def _record(self, losses: Any) -> None:
        super()._record(losses)
        if self.doubt is not None:
            known = not np.isnan(self.losses).any()
            self.order = np.argsort(_ranks(self.doubt) + (_ranks(self.losses) if known else 0), kind="stable")

    def weights(self, epoch: int, at_least: int = 1) -> np.ndarray:
        chosen = super().weights(epoch, at_least)
        if not self.mixture or epoch <= self.warmup or np.isnan(self.losses).any():
            return chosen
        return chosen * lower_component(self.losses)


def lower_component(losses: np.ndarray) -> np.ndarray:
    """Probability that each loss belongs to the lower component of a mixture of two Gaussians, (L,) float64."""
    from sklearn.mixture import GaussianMixture

    column = losses[:, None]
    fit = GaussianMixture(2, means_init=np.quantile(column, [0.25, 0.9], axis=0), random_state=0).fit(column)
    lower = int(np.argmin(fit.means_))
    # below the lower mean the wider component would win again
    return np.where(losses < fit.means_[lower], 1.0, fit.predict_proba(column)[:, lower])


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


@dataclass(frozen=True)
class MetricPacing:
    """λ stays while the metric improves, and grows by `growth` after `patience` epochs without improvement.

    Bengio et al. (ICML 2009) move on when a stage has converged, as here; Wu et al. (ICLR 2021) fix the pace first.

    Parameters
    ----------
    start : float
        λ of the first epoch, in (0, 1].
    growth : float
        Added each time, above 0; λ is capped at 1.
    patience : int
        Consecutive epochs without improvement before λ grows, 1 or more. Higher is better, as with Hits@k and MRR;
        negate a loss or a mean rank.
    """

    start: float
    growth: float
    patience: int = 1

    def __post_init__(self) -> None:
        check_real("start", self.start, low=0.0, high=1.0, open_low=True)
        check_real("growth", self.growth, low=0.0, open_low=True)
        check_whole("patience", self.patience, low=1)

    def schedule(self, history: Iterable[float] = ()) -> Curve:
        """λ(k) by the metrics so far, and after them as if no further epoch improved.

        The latter is the largest λ possible. Totals of steps computed from it only shrink during a training, so a
        learning rate that decays over them never rises again.
        """
        fractions, best, waited = [self.start], None, 0
        for value in history:
            metric = check_real("metric", value)
            if best is None or metric > best:
                best, waited = metric, 0
            else:
                waited += 1
            moves, waited = divmod(waited, self.patience)
            fractions.append(self._grown(fractions[-1], moves))

        def fraction(epoch: int) -> float:
            if check_epoch(epoch) <= len(fractions):
                return fractions[epoch - 1]
            # the first metric always counts as an improvement
            moves = (waited + epoch - len(fractions) - (best is None)) // self.patience
            return self._grown(fractions[-1], moves)

        return fraction

    def _grown(self, fraction: float, moves: int) -> float:
        value = fraction + self.growth * moves
        return 1.0 if value > 1.0 - 1e-9 else value


class PacedPlan(EpochPlan):
    """The curriculum at the pace of `MetricPacing`: λ of an epoch depends on the validation metrics before it.

    Parameters
    ----------
    order : (L,) int
        Easiest first.
    pacing : MetricPacing
        When λ grows; `with_feedback` takes the validation metrics so far, one per epoch.
    options, named
        intensity ("inverse" by default), seed, epochs and the rest, as of `EpochPlan`.
    """

    needs_feedback = ("metrics",)

    def __init__(self, order: np.ndarray | Iterable[int], pacing: MetricPacing, *options: Any, **named: Any) -> None:
        if not isinstance(pacing, MetricPacing):
            raise InputError(f"pacing={pacing!r}: expected a MetricPacing")
        self.pacing = pacing
        super().__init__(order, pacing.schedule(), *options, **named)

    def with_feedback(self, losses: np.ndarray | None = None, metrics: Sequence[float] = ()) -> Self:
        result = copy.copy(self)
        result.schedule = self.pacing.schedule(metrics)
        return result
