"""How much of the data epoch k may see: the schedule λ(k).

Every schedule has the same two numbers, so that shapes can be compared fairly: `start` α, the share before the first
epoch, and `growth` β, the *mean* growth per epoch. All shapes with the same α and β reach the full data at the same
epoch K = (1 - α) / β; they differ in how they get there. `full_at` sets β from the share of the epochs after which all
data are used, `for_share` from the share of samples used in total.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self, cast

from class_kit.checks import check_choice, check_epoch, check_real, check_whole
from class_kit.errors import InputError

# α + βk for decimal α and β misses 1 by a few ulps at the epoch meant to be the first full one
_SNAP = 1e-9
# λ is above 0 in every epoch, and a plan rounds this up to one pair
_LEAST = 1e-12

# Monotone maps of [0, 1] onto itself: how far the way from α to 1 has come after the share x of the epochs up to K.
SHAPES: dict[str, Callable[[Schedule, float], float]] = {
    # the scheduler of CLASS (arXiv 2502.11633); α = 0.40 and β = 0.03 are its example
    "linear": lambda _, x: x,
    # quick growth first (Wu, Dyer, Neyshabur, ICLR 2021; p = 2 there)
    "root": lambda schedule, x: x ** (1.0 / schedule.power),
    # (x (1 - α^p) + α^p)^(1/p) of Platanios et al. (NAACL 2019); its slope at the start is finite, unlike the root's
    "competence": lambda schedule, x: (
        (
            (x * (1.0 - schedule.start**schedule.power) + schedule.start**schedule.power) ** (1.0 / schedule.power)
            - schedule.start
        )
        / (1.0 - schedule.start)
    ),
    # slow growth first (Wu et al.)
    "quadratic": lambda _, x: x * x,
    # the hard part enters late (Wu et al.; r = 10 there)
    "exponential": lambda schedule, x: math.expm1(schedule.rate * x) / math.expm1(schedule.rate),
    # the inverse of the exponential; Wu et al. write 1 + log(x + e^-10) / 10, which overshoots 1 by 5e-6
    "logarithmic": lambda schedule, x: math.log1p(x * math.expm1(schedule.rate)) / schedule.rate,
    # baby steps (Bengio et al., ICML 2009) of `interval` epochs; an interval of 1 is CLASS
    "step": lambda _, x: x,
    # every epoch sees everything
    "full": lambda _, x: 1.0,
}


@dataclass(frozen=True)
class Schedule:
    """λ(k) = α + (1 - α) · shape(min(1, k / K)), with K = (1 - α) / β and k counted from 1.

    Parameters
    ----------
    start : float
        α in [0, 1]: the share that epoch 0 would see.
    growth : float
        β ≥ 0: mean growth per epoch until all data are used. 0 keeps λ at α.
    shape : str
        A name in `SHAPES`; "linear" is CLASS.
    power : float
        p ≥ 1 of "root" and "competence".
    rate : float
        r in (0, 500] of "exponential" and "logarithmic".
    interval : int
        n ≥ 1, epochs between two steps of "step": λ = min(1, α + β·n·⌊k/n⌋).

    Raises
    ------
    InputError
        A number that is not finite or outside its range, or an unknown shape.
    """

    start: float
    growth: float
    shape: str = "linear"
    power: float = 2.0
    rate: float = 10.0
    interval: int = 1

    def __post_init__(self) -> None:
        check_choice("schedule", self.shape, SHAPES)
        check_real("start", self.start, low=0.0, high=1.0)
        check_real("growth", self.growth, low=0.0)
        check_real("power", self.power, low=1.0)
        check_real("rate", self.rate, low=0.0, high=500.0, open_low=True)
        if check_whole("interval", self.interval, low=1) > 1 and self.shape != "step":
            raise InputError(f"interval={self.interval} with schedule={self.shape!r}: only 'step' takes an interval")

    def __repr__(self) -> str:
        shown = [f for f in fields(self) if f.name in ("start", "growth") or getattr(self, f.name) != f.default]
        return f"Schedule({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shown)})"

    @property
    def full_epoch(self) -> float:
        """K, the (real) epoch at which λ reaches 1, for "step" that of the first such step; infinite if never."""
        if self.start == 1.0 or self.shape == "full":
            return 0.0
        full = (1.0 - self.start) / self.growth if self.growth > 0 else math.inf
        steps = full / self.interval
        return full if math.isinf(full) or self.shape != "step" else self.interval * math.ceil(steps - _SNAP)

    def __call__(self, epoch: int) -> float:
        """λ of an epoch, counted from 1, in (0, 1]."""
        epoch, full = check_epoch(epoch), self.full_epoch
        if self.shape in ("linear", "step"):
            value = self.start + self.growth * self.interval * (epoch // self.interval)
            return 1.0 if value > 1.0 - _SNAP else max(_LEAST, value)
        if epoch >= full * (1.0 - _SNAP):
            return 1.0
        return max(_LEAST, min(1.0, self.start + (1.0 - self.start) * SHAPES[self.shape](self, epoch / full)))

    def share(self, epochs: int) -> float:
        """Share of the samples of `epochs` full epochs that are used: the mean of λ(1) … λ(epochs)."""
        return math.fsum(self(k) for k in range(1, check_whole("epochs", epochs, low=1) + 1)) / epochs

    @classmethod
    def full_at(cls, start: float, at: float, epochs: int, **shape: Any) -> Self:
        """The schedule that first uses all data after the share `at` in (0, 1] of the epochs.

        The shape "step" does so at the last step that begins by then, at the earliest the first.
        """
        check_real("start", start, low=0.0, high=1.0)
        check_real("at", at, low=0.0, high=1.0, open_low=True)
        after = at * check_whole("epochs", epochs, low=1)
        interval = cls(start, 0.0, **shape).interval
        if interval > 1:
            after = interval * max(1, math.floor(after / interval + _SNAP))
        return cls(start, (1.0 - start) / after, **shape)

    @classmethod
    def for_share(cls, start: float, share: float, epochs: int, **shape: Any) -> Self:
        """The schedule that uses the given share of the samples of `epochs` full epochs (the inverse of `share`).

        λ(k) is monotone in β, which is found by bisection. `share` must lie between `start`, the share at β = 0, and 1.

        Raises
        ------
        InputError
            Where no β ≥ 0 gives that share.
        """
        check_real("start", start, low=0.0, high=1.0)
        check_real("share", share, low=start, high=1.0)
        low, high = 0.0, 1.0
        while cls(start, high, **shape).share(epochs) < share:
            high *= 2.0
            if high > 1e6:
                best = cls(start, high, **shape).share(epochs)
                raise InputError(f"share={share!r}: expected at most {best:.6g}, the most that this schedule can use")
        while low < (middle := (low + high) / 2.0) < high:
            low, high = (middle, high) if cls(start, middle, **shape).share(epochs) < share else (low, middle)
        return cls(start, high, **shape)


LinearSchedule = Schedule


def make_schedule(
    name: str,
    start: float = 0.40,
    growth: float | None = None,
    *,
    full_at: float | None = None,
    share: float | None = None,
    epochs: int | None = None,
    **shape: Any,
) -> Schedule:
    """A schedule by name, from exactly one of `growth`, `full_at` (with epochs) and `share` (with epochs).

    For configuration files and the command line. `shape` is `power`, `rate` or `interval`.

    Raises
    ------
    InputError
        Unknown name, no or more than one way to set the growth, or `epochs` missing.
    """
    if name == "full":
        return Schedule(1.0, 0.0, "full")
    if sum(value is not None for value in (growth, full_at, share)) != 1:
        given = f"growth={growth!r}, full_at={full_at!r}, share={share!r}"
        raise InputError(f"schedule={name!r} with {given}: expected exactly one of the three")
    if growth is not None:
        return Schedule(start, growth, name, **shape)
    if epochs is None:
        raise InputError(f"schedule={name!r} with epochs=None: expected the number of epochs for full_at and share")
    if full_at is not None:
        return Schedule.full_at(start, full_at, epochs, shape=name, **shape)
    return Schedule.for_share(start, cast(float, share), epochs, shape=name, **shape)
