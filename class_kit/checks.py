"""Refusing bad numbers by name: what was given, and what was expected."""

from __future__ import annotations

import math
import operator
from typing import Any

from class_kit.errors import InputError


def check_real(
    name: str, value: Any, *, low: float = -math.inf, high: float = math.inf, open_low: bool = False
) -> float:
    """`value` as a finite float within [low, high], or (low, high] with `open_low`; an InputError names it if not."""
    left = "(" if open_low or low == -math.inf else "["
    expected = f"expected a number in {left}{low:g}, {high:g}{')' if high == math.inf else ']'}"
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}={value!r} is not a number: {expected}") from error
    if isinstance(value, (bool, str)) or not math.isfinite(number):
        raise InputError(f"{name}={value!r} is not a finite number: {expected}")
    if number < low or number > high or (open_low and number == low):
        raise InputError(f"{name}={value!r} is out of range: {expected}")
    return number


def check_whole(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """`value` as an int within [low, high]; an InputError names it if not."""
    bounds = ", ".join(f"{word} {bound}" for word, bound in (("at least", low), ("at most", high)) if bound is not None)
    expected = f"expected a whole number{', ' if bounds else ''}{bounds}"
    if isinstance(value, bool):
        raise InputError(f"{name}={value!r} is a truth value: {expected}")
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InputError(f"{name}={value!r} is not a whole number: {expected}") from error
    if (low is not None and number < low) or (high is not None and number > high):
        raise InputError(f"{name}={value!r} is out of range: {expected}")
    return number


def check_epoch(epoch: Any) -> int:
    """An epoch of the plan, counted from 1."""
    return check_whole("epoch", epoch, low=1)
