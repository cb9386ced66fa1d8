"""A pace set by the validation metric: more data once the model has got out of the present share what it could.

The state is the list of metric values so far and nothing else, so a checkpoint that keeps the history keeps the pace.
Wu et al. (ICLR 2021) fix the pace in advance; Bengio et al. (ICML 2009) move on when a stage has converged, as here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from class_kit.checks import check_epoch, check_real, check_whole
from class_kit.curriculum import EpochPlan
from class_kit.curriculum.intensity import IntensitySpec
from class_kit.curriculum.plan import Plan
from class_kit.errors import InputError


@dataclass(frozen=True)
class PacingState:
    """Where the pace stands: λ of the next epoch, the best metric so far (None before the first), and the wait."""

    fraction: float
    best: float | None = None
    waited: int = 0


@dataclass(frozen=True)
class MetricPacing:
    """λ stays while the metric improves, and grows by `growth` after `patience` epochs without improvement.

    Parameters
    ----------
    start
        λ of the first epoch, in (0, 1].
    growth
        Added at every move, above 0; λ is capped at 1.
    patience
        Epochs in a row without an improvement of more than `min_gain` before a move, 1 or more.
    min_gain
        Smallest change that counts as an improvement, in the metric's unit.
    larger_is_better
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

    def initial(self) -> PacingState:
        """The state before the first epoch."""
        return PacingState(self.start)

    def update(self, state: PacingState, metric: float) -> PacingState:
        """The state after one more epoch, whose validation gave `metric`."""
        metric = check_real("metric", metric)
        gain = None if state.best is None else (metric - state.best) * (1 if self.larger_is_better else -1)
        if gain is None or gain > self.min_gain:
            return PacingState(state.fraction, metric, 0)
        if state.waited + 1 < self.patience:
            return PacingState(state.fraction, state.best, state.waited + 1)
        fraction = state.fraction + self.growth
        return PacingState(1.0 if fraction > 1.0 - 1e-9 else fraction, state.best, 0)

    def _states(self, history: Iterable[float]) -> list[PacingState]:
        states = [self.initial()]
        for metric in history:
            states.append(self.update(states[-1], metric))
        return states

    def schedule(self, history: Iterable[float]) -> Callable[[int], float]:
        """λ(k) for all epochs decided by the metrics so far: k up to one more than their number.

        Serves as the `schedule` of an `EpochPlan`, and as an intensity as well: γ then grows with the same evidence.
        """
        states = self._states(history)

        def fraction(epoch: int) -> float:
            if check_epoch(epoch) > len(states):
                raise InputError(
                    f"epoch={epoch} is not decided yet: {len(states) - 1} metrics were recorded, "
                    f"expected an epoch up to {len(states)}"
                )
            return states[epoch - 1].fraction

        return fraction

    def fastest(self, history: Iterable[float]) -> Callable[[int], float]:
        """λ(k) as decided so far, and beyond that as if no epoch improved any more: the most that λ can become.

        Totals of steps computed from it only shrink while a training goes on, so a learning rate that decays over them
        never rises again.
        """
        states = self._states(history)
        last = states[-1]

        def fraction(epoch: int) -> float:
            if check_epoch(epoch) <= len(states):
                return states[epoch - 1].fraction
            # the first metric ever is an improvement on nothing, so it never counts as waiting
            waited = last.waited + epoch - len(states) - (last.best is None)
            value = last.fraction + self.growth * (waited // self.patience)
            return 1.0 if value > 1.0 - 1e-9 else value

        return fraction


class PacedPlan(EpochPlan):
    """The curriculum at the pace of `MetricPacing`: λ of an epoch is decided by the validation metrics before it.

    Parameters
    ----------
    order
        (L,) integers, easiest first.
    pacing
        When λ grows.
    metrics
        Validation metric after each epoch so far; `informed` gives the plan with more of them.
    intensity, seed, epochs, composition
        As of `EpochPlan`.
    """

    follows = ("metrics",)

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
        super().__init__(order, pacing.fastest(metrics), intensity, seed, epochs, **composition)

    def with_metrics(self, metrics: Sequence[float]) -> Self:
        """The same plan after these metrics; the original stays as it is."""
        result = copy.copy(self)
        result.schedule = self.pacing.fastest(metrics)
        return result

    def informed(self, losses: np.ndarray | None = None, metrics: Sequence[float] = ()) -> Plan:
        return self.with_metrics(metrics)
