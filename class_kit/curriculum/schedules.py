"""How much of the data epoch k may see: the schedules λ(k).

Every schedule is described by the same two numbers, so that their shapes can be compared fairly: `start` α, the share
before the first epoch, and `growth` β, the *mean* growth an epoch. All shapes with the same α and β reach the full
data at the same epoch K = (1 - α) / β; they differ in how they get there. `full_at` sets β from the share of the
epochs after which everything is in use, `for_share` from the share of samples to be spent in all.

λ is above 0 in every epoch, so that none is without a pair: the first steps of baby steps with α = 0, or a growth of 0
from there, would see nothing, and see 1e-12 of the data instead, which a plan rounds up to one pair.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from class_kit.checks import check_epoch, check_real, check_whole
from class_kit.curriculum.shares import sum_of_exponentials, sum_of_logarithms, sum_of_squares, sum_of_steps
from class_kit.errors import InputError

# α + βk for decimal α and β misses 1 by a few ulps at the epoch meant to be the first full one
_SNAP = 1e-9
# less than half a pair of any data set, so that it changes no number of pairs but 0
_LEAST = 1e-12


@dataclass(frozen=True)
class Schedule(ABC):
    """λ(k) = α + (1 - α) · shape(min(1, k / K)), with K = (1 - α) / β and k counted from 1.

    Parameters
    ----------
    start
        α in [0, 1]: the share that epoch 0 would see.
    growth
        β ≥ 0: mean growth an epoch until the full data is in use. 0 keeps λ at α for ever.

    Raises
    ------
    InputError
        Where a number is not finite or outside its range.
    """

    start: float
    growth: float

    def __post_init__(self) -> None:
        check_real("start", self.start, low=0.0, high=1.0)
        check_real("growth", self.growth, low=0.0)

    @abstractmethod
    def shape(self, x: float) -> float:
        """Monotone map of [0, 1] onto itself, 0 to 0 and 1 to 1."""

    @property
    def full_epoch(self) -> float:
        """K, the (real) epoch at which λ reaches 1; infinite where it never does."""
        if self.start == 1.0:
            return 0.0
        return (1.0 - self.start) / self.growth if self.growth > 0 else math.inf

    def __call__(self, epoch: int) -> float:
        """λ of an epoch, counted from 1, in (0, 1]."""
        epoch = check_epoch(epoch)
        full = self.full_epoch
        if epoch >= full * (1.0 - _SNAP):
            return 1.0
        return max(_LEAST, min(1.0, self.start + (1.0 - self.start) * self.shape(epoch / full)))

    def share(self, epochs: int) -> float:
        """Share of the samples of `epochs` full epochs that is used: the mean of λ(1) … λ(epochs).

        Linear, step, quadratic, exponential and logarithmic schedules have closed forms, see `shares`. Root and
        competence have none and are added up, as is a shape of one's own.
        """
        check_whole("epochs", epochs, low=1)
        full = self.full_epoch
        rising = epochs if math.isinf(full) else min(epochs, max(0, math.ceil(full * (1.0 - _SNAP)) - 1))
        gained = None if math.isinf(full) else self.shape_sum(rising)
        if gained is None:
            return math.fsum(self(k) for k in range(1, epochs + 1)) / epochs
        used = self.start * rising + (1.0 - self.start) * gained + (epochs - rising)
        return min(1.0, max(_LEAST, used / epochs))

    def shape_sum(self, count: int) -> float | None:
        """Σ shape(k / K) for k = 1 … `count`, all before K, where it has a closed form."""
        return None

    @classmethod
    def full_at(cls, start: float, at: float, epochs: int, **extra: Any) -> Self:
        """The schedule that first uses all data after the share `at` in (0, 1] of the epochs."""
        check_real("start", start, low=0.0, high=1.0)
        check_real("at", at, low=0.0, high=1.0, open_low=True)
        check_whole("epochs", epochs, low=1)
        return cls(start, (1.0 - start) / (at * epochs), **extra)

    @classmethod
    def for_share(cls, start: float, share: float, epochs: int, **extra: Any) -> Self:
        """The schedule that uses the given share of the samples of `epochs` full epochs (the inverse of `share`).

        λ(k) never falls as β grows, so bisection finds β. `share` must lie between what β = 0 uses (start) and 1.

        Raises
        ------
        InputError
            Where no β ≥ 0 gives that share.
        """
        check_real("start", start, low=0.0, high=1.0)
        check_whole("epochs", epochs, low=1)
        check_real("share", share, low=start, high=1.0)
        low, high = 0.0, 1.0
        while cls(start, high, **extra).share(epochs) < share:
            high *= 2.0
            if high > 1e6:
                best = cls(start, high, **extra).share(epochs)
                raise InputError(f"share={share!r} cannot be reached by {cls.__name__}: at most {best:.6g}")
        for _ in range(200):
            middle = (low + high) / 2.0
            if middle in (low, high):
                break
            low, high = (middle, high) if cls(start, middle, **extra).share(epochs) < share else (low, middle)
        return cls(start, high, **extra)


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """λ(k) = min(1, α + βk): the scheduler of CLASS (arXiv 2502.11633); α = 0.40 and β = 0.03 are its example."""

    def shape(self, x: float) -> float:
        return x

    def __call__(self, epoch: int) -> float:
        value = self.start + self.growth * check_epoch(epoch)
        return 1.0 if value > 1.0 - _SNAP else max(_LEAST, value)

    def share(self, epochs: int) -> float:
        """Closed form: with r = min(E, ⌊K⌋) rising epochs, (αr + βr(r + 1)/2 + E - r) / E."""
        check_whole("epochs", epochs, low=1)
        full = self.full_epoch
        rising = epochs if full >= epochs else math.floor(full + _SNAP)
        used = self.start * rising + self.growth * rising * (rising + 1) / 2.0
        return min(1.0, max(_LEAST, (used + epochs - rising) / epochs))

    @classmethod
    def for_share(cls, start: float, share: float, epochs: int, **extra: Any) -> Self:
        """Closed form of the inverse: for r rising epochs β is linear in the share, and one r is consistent."""
        check_real("start", start, low=0.0, high=1.0)
        check_whole("epochs", epochs, low=1)
        check_real("share", share, low=start, high=1.0)
        if share == 1.0 or start == 1.0:
            return cls(start, 1.0 - start, **extra)
        for rising in range(epochs, 0, -1):
            growth = (share * epochs - (epochs - rising) - start * rising) / (rising * (rising + 1) / 2.0)
            # fewer rising epochs mean a steeper line: the first r whose line is not above 1 before epoch r is the one
            if growth >= 0 and start + growth * rising <= 1.0 + _SNAP:
                return cls(start, growth, **extra)
        return cls(start, 1.0 - start, **extra)


@dataclass(frozen=True)
class RootSchedule(Schedule):
    """λ = α + (1 - α) x^(1/p): quick growth first (root pacing of Wu, Dyer, Neyshabur, ICLR 2021; p = 2 there)."""

    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("power", self.power, low=1.0)

    def shape(self, x: float) -> float:
        return x ** (1.0 / self.power)


@dataclass(frozen=True)
class CompetenceSchedule(Schedule):
    """λ = (x (1 - α^p) + α^p)^(1/p): competence of Platanios et al. (NAACL 2019), p = 2 the square root, p = 1 linear.

    Unlike the root schedule its slope at the start is finite, because the root is taken of the whole competence.
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("power", self.power, low=1.0)

    def shape(self, x: float) -> float:
        if self.start == 1.0:
            return x
        base = self.start**self.power
        value = (x * (1.0 - base) + base) ** (1.0 / self.power)
        return min(1.0, max(0.0, (value - self.start) / (1.0 - self.start)))


@dataclass(frozen=True)
class QuadraticSchedule(Schedule):
    """λ = α + (1 - α) x²: slow growth first (quadratic pacing of Wu et al., ICLR 2021)."""

    def shape(self, x: float) -> float:
        return x * x

    def shape_sum(self, count: int) -> float | None:
        return sum_of_squares(count, self.full_epoch) if count else 0.0


@dataclass(frozen=True)
class ExponentialSchedule(Schedule):
    """λ = α + (1 - α) (e^(rx) - 1) / (e^r - 1): the hard part enters late (Wu et al., ICLR 2021; r = 10 there)."""

    rate: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("rate", self.rate, low=0.0, high=500.0, open_low=True)

    def shape(self, x: float) -> float:
        return math.expm1(self.rate * x) / math.expm1(self.rate)

    def shape_sum(self, count: int) -> float | None:
        return sum_of_exponentials(count, self.full_epoch, self.rate) if count else 0.0


@dataclass(frozen=True)
class LogarithmicSchedule(Schedule):
    """λ = α + (1 - α) log(1 + x (e^r - 1)) / r: most data enters at once, the inverse shape of the exponential.

    Wu et al. (ICLR 2021) write 1 + log(x + e^-10) / 10, which overshoots 1 by 5e-6; this form ends at 1 exactly.
    """

    rate: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("rate", self.rate, low=0.0, high=500.0, open_low=True)

    def shape(self, x: float) -> float:
        return math.log1p(x * math.expm1(self.rate)) / self.rate

    def shape_sum(self, count: int) -> float | None:
        return sum_of_logarithms(count, self.full_epoch, self.rate) if count else 0.0


@dataclass(frozen=True)
class StepSchedule(Schedule):
    """λ = min(1, α + β·n·⌊k/n⌋): baby steps (Bengio et al., ICML 2009) of `interval` n epochs; n = 1 is CLASS."""

    interval: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("interval", self.interval, low=1)

    def shape(self, x: float) -> float:
        return x

    @property
    def full_epoch(self) -> float:
        """The first step at which λ is 1."""
        full = super().full_epoch
        return full if math.isinf(full) else self.interval * math.ceil(full / self.interval - _SNAP)

    def __call__(self, epoch: int) -> float:
        value = self.start + self.growth * self.interval * (check_epoch(epoch) // self.interval)
        return 1.0 if value > 1.0 - _SNAP else max(_LEAST, value)

    def share(self, epochs: int) -> float:
        """Closed form: with r epochs before the last step, (αr + βn Σ ⌊k/n⌋ + E - r) / E."""
        check_whole("epochs", epochs, low=1)
        last = 0.0 if self.start == 1.0 else max(self.interval, self.full_epoch)
        rising = epochs if last > epochs else int(max(0, last - 1))
        used = self.start * rising + self.growth * self.interval * sum_of_steps(rising, self.interval)
        return min(1.0, max(_LEAST, (used + epochs - rising) / epochs))

    @classmethod
    def full_at(cls, start: float, at: float, epochs: int, **extra: Any) -> Self:
        """Full at the last step that begins within the share `at` of the epochs (the first step at the earliest)."""
        by_epoch = super().full_at(start, at, epochs, **extra)
        steps = max(1, math.floor(at * epochs / by_epoch.interval + _SNAP))
        return cls(start, (1.0 - start) / (steps * by_epoch.interval), **extra)


@dataclass(frozen=True)
class FullSchedule(Schedule):
    """λ = 1: every epoch sees everything, the plain run."""

    start: float = 1.0
    growth: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start != 1.0 or self.growth != 0.0:
            raise InputError(f"FullSchedule has no parameters, got start={self.start!r}, growth={self.growth!r}")

    def shape(self, x: float) -> float:
        return x


SCHEDULES: dict[str, type[Schedule]] = {
    "linear": LinearSchedule,
    "root": RootSchedule,
    "competence": CompetenceSchedule,
    "quadratic": QuadraticSchedule,
    "exponential": ExponentialSchedule,
    "logarithmic": LogarithmicSchedule,
    "step": StepSchedule,
    "full": FullSchedule,
}


def make_schedule(
    name: str,
    start: float = 0.40,
    growth: float | None = None,
    *,
    full_at: float | None = None,
    share: float | None = None,
    epochs: int | None = None,
    **extra: Any,
) -> Schedule:
    """A schedule by name, from exactly one of `growth`, `full_at` (with epochs) and `share` (with epochs).

    For configuration files and the command line, where a schedule is a word and numbers.

    Raises
    ------
    InputError
        Unknown name, none or more than one way to set the growth, or `epochs` missing.
    """
    if name not in SCHEDULES:
        raise InputError(f"schedule={name!r} is unknown, expected one of {', '.join(SCHEDULES)}")
    kind = SCHEDULES[name]
    if kind is FullSchedule:
        return FullSchedule()
    if sum(value is not None for value in (growth, full_at, share)) != 1:
        raise InputError(
            f"schedule {name!r} needs exactly one of growth, full_at and share, "
            f"got growth={growth!r}, full_at={full_at!r}, share={share!r}"
        )
    try:
        if growth is not None:
            return kind(start, growth, **extra)
        if epochs is None:
            raise InputError(f"schedule {name!r} with full_at or share needs epochs, got None")
        if full_at is not None:
            return kind.full_at(start, full_at, epochs, **extra)
        assert share is not None
        return kind.for_share(start, share, epochs, **extra)
    except TypeError as error:
        raise InputError(f"schedule {name!r} does not take {sorted(extra)}: {error}") from error


def fraction_of(schedule: Callable[[int], float], epoch: int) -> float:
    """λ of any schedule, a user's own function included, refused unless it lies in (0, 1]."""
    value = schedule(check_epoch(epoch))
    return check_real(f"the schedule's fraction at epoch {epoch}", value, low=0.0, high=1.0, open_low=True)
