"""A table as read from a file of any kind, and the limits on what is held in memory.

The limits lie far above any real set of descriptions and far below what a decompression bomb makes: a file within
them takes at most about 4 GiB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from class_kit.errors import InputError

MAX_BYTES = 1 << 30
MAX_CELL = 16 << 20
MAX_ROW = 32 << 20
MAX_COLUMNS = 4_096
MAX_ROWS = 2_000_000
MAX_CELLS = 10_000_000


@dataclass(frozen=True)
class BadRow:
    """A row that could not be laid out in columns: 1-based data row, line in the file, and why."""

    row: int
    line: int | None
    reason: str


@dataclass(frozen=True)
class Table:
    """Columns of one file, in file order; every column is as long as `rows`.

    `rows` holds each kept row's 1-based position among the data rows, `lines` the file line on which it starts
    (None where a format has no lines). `skipped` names columns whose values are no plain scalars.
    """

    path: Path
    columns: dict[str, list[Any]]
    rows: list[int]
    lines: list[int | None]
    bad: list[BadRow]
    skipped: dict[str, str]


def column_names(path: Path, header: Sequence[str]) -> list[str]:
    """Return the header's names without white space around them, `column N` for empty ones.

    Raises
    ------
    InputError
        If there are more than `MAX_COLUMNS`, or a name occurs twice.
    """
    refuse_columns(path, len(header))
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(f"{path}: column {twice[0][:60]!r} occurs more than once; each name must be unique")
    return names


def refuse_columns(path: Path, count: int) -> None:
    """Raise an InputError for more than `MAX_COLUMNS` columns."""
    if count > MAX_COLUMNS:
        raise InputError(f"{path} has {count:,} columns; at most {MAX_COLUMNS:,} are read")


def too_large(path: Path, limit: int) -> InputError:
    """The error for a file of more than `limit` bytes."""
    return InputError(
        f"{path} holds more than {limit:,} bytes, the most that are read (once decompressed); "
        "split the file, or keep only the columns needed as Parquet"
    )
