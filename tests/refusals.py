"""One table for all that a function refuses."""

from collections.abc import Callable
from typing import Any

import pytest

from class_kit.errors import InputError


def refuses(
    *rows: tuple[Any, ...],
    call: Callable[..., Any] = lambda make: make(),
    error: type[Exception] | tuple[type[Exception], ...] = InputError,
    pattern: Callable[[str], str] = str,
) -> Callable[[tuple[Any, ...]], None]:
    """A test of each row: what `call` is given, and a pattern of the message, or its words with `pattern=re.escape`.

    Without `call` the row's first is called.
    """

    @pytest.mark.parametrize("row", rows, ids=[str(row[-1])[:40] for row in rows])
    def test(row: tuple[Any, ...]) -> None:
        with pytest.raises(error, match=pattern(row[-1])):
            call(*row[:-1])

    return test
