"""How hard epoch k trains: the intensities γ(k) that multiply a loss, a learning rate, or one named loss term.

Adam-like optimisers all but cancel a factor common to the whole loss, so γ on the loss changes little; on the learning
rate (`sampler.lr_factor`) the same curve has its full effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from class_kit.checks import check_epoch, check_whole
from class_kit.errors import InputError

Curve = Callable[[int], float]
IntensitySpec = str | Curve | Mapping[str, "str | Curve"]

# γ(k) by name, of the epoch k ≥ 1 and the share x = k/E of the planned epochs, at most 1
_CURVES: dict[str, Callable[[int, float], float]] = {
    # γ₁ of CLASS (arXiv 2502.11633): 0.88 in the first epoch, near 1 from the fifth
    "sigmoid": lambda k, x: 1.0 / (1.0 + math.exp(-k - 1.0)),
    # γ₂ of CLASS: 1/2 in the first epoch, 0.9 in the ninth
    "inverse": lambda k, x: k / (1.0 + k),
    # the plain loss
    "constant": lambda k, x: 1.0,
    # ramps over the planned epochs, for comparison with the paper's curves
    "linear": lambda k, x: x,
    "cosine": lambda k, x: (1.0 - math.cos(math.pi * x)) / 2.0,
}
INTENSITIES = tuple(_CURVES)


def make_intensity(spec: str | Curve, epochs: int | None = None) -> Curve:
    """A curve γ(k) by name, or the given callable unchanged.

    Raises
    ------
    InputError
        Unknown name, or "linear" and "cosine" without the number of epochs over which they rise.
    """
    if callable(spec):
        return spec
    if spec not in INTENSITIES:
        raise InputError(f"intensity={spec!r} is unknown, expected one of {', '.join(INTENSITIES)} or a function of k")
    if epochs is None and spec in ("linear", "cosine"):
        raise InputError(f"intensity={spec!r} with epochs=None: expected the number of epochs over which it rises")
    planned = math.inf if epochs is None else check_whole("epochs", epochs, low=1)
    # a closure could not be sent to another process
    return partial(_named, spec, planned)


def _named(name: str, planned: float, epoch: int) -> float:
    return _CURVES[name](check_epoch(epoch), min(1.0, epoch / planned))


def make_intensities(spec: IntensitySpec, epochs: int | None = None) -> dict[str, Curve]:
    """A curve for each loss term named in a mapping; "*" stands for all other terms, or for all of them."""
    if isinstance(spec, Mapping) and not spec:
        raise InputError("intensity={}: expected at least one loss term, or '*'")
    curves = spec if isinstance(spec, Mapping) else {"*": spec}
    return {name: make_intensity(curve, epochs) for name, curve in curves.items()}


def weigh_terms(terms: Mapping[str, Any], intensities: float | Mapping[str, float]) -> Any:
    """Σ γ·L over named loss terms (numbers, arrays or tensors), with one γ for all or one for each term.

    Names must match exactly, since a misspelt one would leave a term at full weight.

    Raises
    ------
    InputError
        No term at all, or names of `intensities` that differ from those of `terms`.
    """
    if not terms:
        raise InputError("no loss terms: expected a mapping of names to losses with at least one entry")
    if isinstance(intensities, Mapping) and set(intensities) != set(terms):
        raise InputError(f"intensities are named {sorted(intensities)}: expected the loss terms {sorted(terms)}")
    parts = [(intensities[k] if isinstance(intensities, Mapping) else intensities) * v for k, v in terms.items()]
    return sum(parts[1:], start=parts[0])
