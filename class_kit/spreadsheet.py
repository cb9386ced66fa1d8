"""CSV files that people open in a spreadsheet, written so that text from data stays text there.

A spreadsheet takes a cell that begins with `=`, `+`, `-`, `@` and the like for a formula, and a formula can start
programs and send data away. CSV has no way to say "this is text", so such a cell gets an apostrophe in front, which
is how a spreadsheet itself marks text; another program that reads the file sees the apostrophe. Depending on its
language a spreadsheet splits at semicolons or tabs instead of commas, so what follows one of those is treated alike.
Numbers are written as they are.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from typing import Any

from class_kit.files import atomic_write

# ASCII and full-width signs; `|` and `%` begin commands in old spreadsheets
_STARTS = "=+\\-@|%＝＋－＠"
_AT_START = re.compile(rf"[\t\r\n]|[\s\"]*[{_STARTS}]")
_INSIDE = re.compile(rf"([;\t\r\n][\s\"]*)(?=[{_STARTS}])")


def inert(value: Any) -> Any:
    """A cell that no spreadsheet runs: text that would begin a formula gets an apostrophe, None becomes empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    inside = _INSIDE.sub(r"\1'", value)
    return f"'{inside}" if _AT_START.match(value) else inside


def write_csv(path: str | os.PathLike[str], header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a header and rows as CSV in UTF-8, atomically, every cell made `inert`."""
    # a file name that is not UTF-8 reaches Python with surrogates, which have no UTF-8 of their own
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([inert(name) for name in header])
        writer.writerows([inert(value) for value in row] for row in rows)
