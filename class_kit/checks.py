"""Check values; the error for a bad one names the value and what was expected."""

from __future__ import annotations

import difflib
import inspect
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_type_hints

from class_kit.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from pydantic import ValidationError

Function = TypeVar("Function", bound=Callable[..., Any])
# Pydantic's names for the branches of a union in the location of an error.
_BRANCHES = frozenset({"bool", "int", "float", "str", "none"})


def check_real(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """`value` as a finite float in [low, high], without an end that is open; otherwise an `InputError`."""
    number = math.nan
    if not isinstance(value, (bool, str)):
        with suppress(TypeError, ValueError, OverflowError):
            number = float(value)
    at_open_end = (open_low and number == low) or (open_high and number == high)
    if not low <= number <= high or math.isinf(number) or at_open_end:
        left, right = "(" if open_low or low == -math.inf else "[", ")" if open_high or high == math.inf else "]"
        raise InputError(f"{name}={value!r}: expected a number in {left}{low:g}, {high:g}{right}")
    return number


def check_whole(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """`value` as an int in [low, high]; otherwise an `InputError`."""
    number = None
    if not isinstance(value, bool):
        with suppress(TypeError):
            number = operator.index(value)
    if number is None or (low is not None and number < low) or (high is not None and number > high):
        bounds = [f", {word} {bound}" for word, bound in (("at least", low), ("at most", high)) if bound is not None]
        raise InputError(f"{name}={value!r}: expected an integer{''.join(bounds)}")
    return number


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """`value` if it is one of `choices`; otherwise an `InputError` that lists them."""
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name}={value!r}: expected one of {', '.join(known)}")
    return value


def check_vector(name: str, values: Any, *, whole: bool = False, low: float = -math.inf) -> np.ndarray:
    """The values as a vector `(L,)` of finite numbers, or whole ones, from `low` on; otherwise an `InputError`."""
    import numpy as np

    array = np.asarray(list(values) if isinstance(values, Iterator) else values)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in ("iu" if whole else "iufb"):
        kind = "integers" if whole else "numbers"
        given = f"{name} has shape {array.shape} and type {array.dtype}"
        raise InputError(f"{given}: expected a vector of {kind}, at least one")
    for at in np.flatnonzero(~(np.isfinite(array) & (array >= low)))[:1]:
        least = "" if low == -math.inf else f" from {low:g}"
        raise InputError(f"{name}[{at}] is {array[at]}: expected finite numbers{least}")
    return array


def check_strings(name: str, values: Iterable[Any]) -> list[str]:
    """The values as a list of strings; an `InputError` if there is none, a `TypeError` for anything but strings."""
    if isinstance(values, str | bytes):
        raise TypeError(f"{name} is one {type(values).__name__}: expected a sequence of strings, such as [{name}]")
    rows = list(values)
    if not rows:
        raise InputError(f"{name} is empty: expected at least one string")
    for number, row in enumerate(rows):
        if not isinstance(row, str):
            raise TypeError(f"{name}[{number}] is {type(row).__name__}: expected a string")
    return [str(row) for row in rows]


def checked(function: Function) -> Function:
    """Pass the arguments of a function through the checks in their annotations, `Annotated[type, check]`.

    A check takes a name and a value and returns the value or raises, like the ones above.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*values: Any, **named: Any) -> Any:
        bound = signature.bind(*values, **named)
        for name, hint in get_type_hints(function, include_extras=True).items():
            for check in getattr(hint, "__metadata__", ()) if name in bound.arguments else ():
                bound.arguments[name] = check(name, bound.arguments[name])
        return function(*bound.args, **bound.kwargs)

    return cast(Function, call)


def one_of(*choices: str) -> Callable[[str, Any], str]:
    """`check_choice` of these choices, for `checked`."""
    return partial(check_choice, choices=choices)


def check_epoch(epoch: Any) -> int:
    """`epoch` as an int, counted from 1."""
    return check_whole("epoch", epoch, low=1)


def nearest(name: object, known: Iterable[str]) -> str:
    """Advice for an unknown name: the most similar known one, or all known ones if none is similar."""
    names = list(known)
    if close := difflib.get_close_matches(str(name), names, n=1, cutoff=0.5):
        return f"did you mean {close[0]!r}?"
    return f"expected one of {', '.join(names)}" if names else "expected nothing here"


def refusal(error: ValidationError, known: Iterable[str] = (), where: str = "") -> InputError:
    """Convert a pydantic error to an `InputError` that names the first bad field, its value and what was expected.

    Parameters
    ----------
    error : pydantic.ValidationError
    known : iterable of str
        Names of the model's fields; the most similar is suggested for an unknown one.
    where : str
        Prefix of the message, such as a file name.
    """
    names = list(known)
    faults = error.errors(include_url=False)
    # of a union, the branch with the deepest location is the most specific
    fault = max((each for each in faults if each["loc"][:1] == faults[0]["loc"][:1]), key=lambda each: len(each["loc"]))
    place = _place(fault["loc"], names)
    value, kind = fault["input"], fault["type"]
    if kind == "value_error":
        cause = fault["ctx"]["error"]
        message = str(cause)
        if place and not isinstance(cause, InputError):
            message = f"{place}={value!r:.120}: {cause}"
        elif not message.startswith(place):
            message = f"{place}: {cause}"
    elif kind in ("extra_forbidden", "unexpected_keyword_argument"):
        message = f"{str(fault['loc'][-1])[:60]!r} is unknown; {nearest(fault['loc'][-1], names)}"
    elif kind in ("missing", "missing_argument"):
        message = f"{place} is missing"
    else:
        alike = [each for each in faults if _place(each["loc"], names) == place]
        message = f"{place}={value!r:.120}: expected {' or '.join(dict.fromkeys(map(_expected, alike)))}"
    return InputError(f"{where}: {message}" if where else message)


def _place(location: tuple[int | str, ...], names: list[str]) -> str:
    """The location of an error as `key[0].part`."""
    if not location:
        return ""
    first, *rest = (*location[:1], *(part for part in location[1:] if part not in _BRANCHES and "[" not in str(part)))
    if isinstance(first, int) and names:
        first = names[first]
    return "".join([str(first), *(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)])


def _expected(fault: Any) -> str:
    kind, value = fault["type"], fault["input"]
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        close = difflib.get_close_matches(value, known, n=1, cutoff=0.5) if isinstance(value, str) else []
        return f"one of {', '.join(known)}" + (f" (did you mean {close[0]!r}?)" if close else "")
    if kind == "too_short":
        return f"at least {fault['ctx']['min_length']}"
    expected = str(fault["msg"]).removeprefix("Input should ").removeprefix("be ")
    expected = expected.replace("a valid dictionary", "a mapping").replace("a valid integer", "an integer")
    return f"a number {expected}" if expected.startswith(("greater", "less")) else expected.replace("a valid ", "a ")
