"""How hard epoch k trains: the intensities γ(k) that multiply a loss, a learning rate, or one named loss term.

Adam-like optimisers all but cancel a factor common to the whole loss, so that γ on the loss changes little there;
`lr_factor` applies the same curve to the learning rate, where it does what its name says.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from class_kit.checks import check_epoch, check_real, check_whole
from class_kit.errors import InputError

if TYPE_CHECKING:
    from class_kit.curriculum.plan import Plan

Curve = Callable[[int], float]
IntensitySpec = str | Curve | Mapping[str, "str | Curve"]


def sigmoid_intensity(epoch: int) -> float:
    """γ₁(k) = 1 / (1 + e^(-k-1)) of CLASS (arXiv 2502.11633): 0.88 in the first epoch, near 1 from the fifth."""
    return 1.0 / (1.0 + math.exp(-check_epoch(epoch) - 1.0))


def inverse_intensity(epoch: int) -> float:
    """γ₂(k) = k / (1 + k) of CLASS (arXiv 2502.11633): 1/2 in the first epoch, 0.9 in the ninth."""
    epoch = check_epoch(epoch)
    return epoch / (1.0 + epoch)


def constant_intensity(epoch: int) -> float:
    """γ = 1: the plain loss."""
    check_epoch(epoch)
    return 1.0


@dataclass(frozen=True)
class LinearIntensity:
    """γ(k) = s + (1 - s) k / E, and 1 from epoch E on: a ramp to compare the paper's curves with."""

    epochs: int
    start: float = 0.0

    def __post_init__(self) -> None:
        check_whole("epochs", self.epochs, low=1)
        check_real("start", self.start, low=0.0, high=1.0)

    def __call__(self, epoch: int) -> float:
        return self.start + (1.0 - self.start) * min(1.0, check_epoch(epoch) / self.epochs)


@dataclass(frozen=True)
class CosineIntensity:
    """γ(k) = s + (1 - s) (1 - cos(πk / E)) / 2, and 1 from epoch E on: gentle at both ends."""

    epochs: int
    start: float = 0.0

    def __post_init__(self) -> None:
        check_whole("epochs", self.epochs, low=1)
        check_real("start", self.start, low=0.0, high=1.0)

    def __call__(self, epoch: int) -> float:
        x = min(1.0, check_epoch(epoch) / self.epochs)
        return self.start + (1.0 - self.start) * (1.0 - math.cos(math.pi * x)) / 2.0


INTENSITIES = ("sigmoid", "inverse", "constant", "linear", "cosine")


def make_intensity(spec: str | Curve, epochs: int | None = None) -> Curve:
    """A curve by name, or the given callable unchanged.

    Raises
    ------
    InputError
        Unknown name, or "linear"/"cosine" without the number of epochs they stretch over.
    """
    simple: dict[str, Curve] = {
        "sigmoid": sigmoid_intensity,
        "inverse": inverse_intensity,
        "constant": constant_intensity,
    }
    if callable(spec):
        return spec
    if spec in simple:
        return simple[spec]
    if spec in ("linear", "cosine"):
        if epochs is None:
            raise InputError(f"intensity={spec!r} stretches over the planned epochs: give epochs=, got None")
        return LinearIntensity(epochs) if spec == "linear" else CosineIntensity(epochs)
    raise InputError(f"intensity={spec!r} is unknown, expected one of {', '.join(INTENSITIES)} or a function of k")


def intensity_at(curve: Curve, epoch: int) -> float:
    """γ of any curve, refused unless finite and not negative (a negative γ would train away from the data)."""
    return check_real(f"the intensity at epoch {epoch}", curve(check_epoch(epoch)), low=0.0)


def term_curves(spec: Mapping[str, str | Curve], epochs: int | None = None) -> dict[str, Curve]:
    """One curve for each named loss term; the name "*" stands for every term not named."""
    if not spec:
        raise InputError("intensity={} names no loss term: expected at least one, or '*'")
    return {name: make_intensity(curve, epochs) for name, curve in spec.items()}


def weigh_terms(terms: Mapping[str, Any], intensities: float | Mapping[str, float]) -> Any:
    """Σ γ·L over named loss terms (numbers, arrays or tensors), with one γ for all or one for each term.

    A misspelt name would silently leave a term at full weight, so names must match exactly.

    Raises
    ------
    InputError
        No term at all, or names of `intensities` that differ from those of `terms`.
    """
    if not terms:
        raise InputError("no loss terms were given: expected a mapping of name to loss with at least one entry")
    if isinstance(intensities, Mapping) and set(intensities) != set(terms):
        raise InputError(f"intensities are named {sorted(intensities)}, the loss terms {sorted(terms)}")
    parts = [(intensities[k] if isinstance(intensities, Mapping) else intensities) * v for k, v in terms.items()]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def match_terms(curves: Mapping[str, Curve], terms: Iterable[str], epoch: int) -> dict[str, float]:
    """γ of every loss term by name; every curve must find its term and every term its curve (or "*").

    Raises
    ------
    InputError
        A curve for a term that does not exist, or a term without a curve.
    """
    names = list(terms)
    unknown = sorted(set(curves) - set(names) - {"*"})
    missing = [name for name in names if name not in curves and "*" not in curves]
    if unknown or missing:
        raise InputError(
            f"intensity names {sorted(curves)} do not fit the loss terms {sorted(names)}: "
            f"no such term {unknown}, no curve for {missing}"
        )
    return {name: intensity_at(curves.get(name, curves.get("*", constant_intensity)), epoch) for name in names}


def lr_factor(plan: Plan, batch_size: int, world_size: int = 1, drop_last: bool = False) -> Callable[[int], float]:
    """γ as a function of the optimiser step (from 0), for `torch.optim.lr_scheduler.LambdaLR` and the like.

    Epochs of a curriculum differ in length, so the step has to be looked up; the last epoch's γ holds afterwards.
    """
    table = plan.table(batch_size, world_size, drop_last)
    ends = list(accumulate(int(row["steps"]) for row in table))
    factors = [plan.intensity(int(row["epoch"])) for row in table]

    def factor(step: int) -> float:
        return factors[min(bisect.bisect_right(ends, check_whole("step", step, low=0)), len(factors) - 1)]

    return factor
