"""A pace set by the validation metric: more data once the model no longer improves on the present share.

The state is the list of metric values so far and nothing else, so a checkpoint that keeps the history keeps the pace.
Wu et al. (ICLR 2021) fix the pace in advance; Bengio et al. (ICML 2009) move on when a stage has converged, as here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from class_kit.checks import check_epoch, check_real, check_whole
from class_kit.curriculum.intensity import IntensitySpec
from class_kit.curriculum.plan import EpochPlan, Plan
from class_kit.errors import InputError


@dataclass(frozen=True)
class MetricPacing:
    """λ stays while the metric improves, and grows by `growth` after `patience` epochs without improvement.

    Parameters
    ----------
    start : float
        λ of the first epoch, in (0, 1].
    growth : float
        Added at every move, above 0; λ is capped at 1.
    patience : int
        Epochs in a row without an improvement of more than `min_gain` before a move, 1 or more.
    min_gain : float
        Smallest change that counts as an improvement, in the metric's unit.
    larger_is_better : bool
        True for Hits@k and MRR, False for Mean Rank and losses.
    """

    start: float
    growth: float
    patience: int = 1
    min_gain: float = 0.0
    larger_is_better: bool = True

    def __post_init__(self) -> None:
        check_real("start", self.start, low=0.0, high=1.0, open_low=True)
        check_real("growth", self.growth, low=0.0, open_low=True)
        check_whole("patience", self.patience, low=1)
        check_real("min_gain", self.min_gain, low=0.0)

    def schedule(self, history: Iterable[float] = ()) -> Callable[[int], float]:
        """λ(k) as the metrics so far decide it, and beyond them as if no epoch improved any more.

        The latter is the most that λ can become: totals of steps computed from it only shrink while a training goes
        on, so a learning rate that decays over them never rises again.
        """
        fractions, best, waited = [self.start], None, 0
        for value in history:
            metric = check_real("metric", value)
            if best is None or (metric - best) * (1 if self.larger_is_better else -1) > self.min_gain:
                best, waited = metric, 0
            else:
                waited += 1
            moves, waited = divmod(waited, self.patience)
            fractions.append(self._grown(fractions[-1], moves))

        def fraction(epoch: int) -> float:
            if check_epoch(epoch) <= len(fractions):
                return fractions[epoch - 1]
            # the first metric ever is an improvement on nothing, so it never counts as waiting
            moves = (waited + epoch - len(fractions) - (best is None)) // self.patience
            return self._grown(fractions[-1], moves)

        return fraction

    def _grown(self, fraction: float, moves: int) -> float:
        value = fraction + self.growth * moves
        return 1.0 if value > 1.0 - 1e-9 else value


class PacedPlan(EpochPlan):
    """The curriculum at the pace of `MetricPacing`: λ of an epoch is decided by the validation metrics before it.

    Parameters
    ----------
    order : (L,) int
        Easiest first.
    pacing : MetricPacing
        When λ grows.
    metrics : sequence of float
        Validation metric after each epoch so far; `with_feedback` gives the plan with more of them.
    intensity, seed, epochs, composition
        As of `EpochPlan`.
    """

    needs_feedback = ("metrics",)

    def __init__(
        self,
        order: np.ndarray | Iterable[int],
        pacing: MetricPacing,
        intensity: IntensitySpec = "inverse",
        seed: int = 0,
        epochs: int | None = None,
        *,
        metrics: Sequence[float] = (),
        **composition: Any,
    ) -> None:
        if not isinstance(pacing, MetricPacing):
            raise InputError(f"pacing={pacing!r}: expected a MetricPacing")
        self.pacing = pacing
        super().__init__(order, pacing.schedule(metrics), intensity, seed, epochs, **composition)

    def with_feedback(self, losses: np.ndarray | None = None, metrics: Sequence[float] = ()) -> Plan:
        result = copy.copy(self)
        result.schedule = self.pacing.schedule(metrics)
        return result
