"""Tables of delimited text: which delimiter, what quotes mean, and whether there is a header.

The csv module reads them in its strict mode: pandas pads short rows in silence, and Arrow takes a quote that is never
closed for one bad row, however much of the file it swallows; neither knows on which line a row begins.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.pairs.table import (
    MAX_CELL,
    Table,
    Text,
    Unusable,
    check_size,
    column_names,
    is_common,
    kind_of,
    read_text,
    table_of_records,
)

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# lines that show the delimiter, and which column holds the texts where there is no header
_SAMPLE_LINES = 50

# a row, the header among them, after the line on which it begins
Row = tuple[int, list[str]]


def read_delimited(path: Path, quoting: bool | None, names: Collection[str]) -> Table:
    """Read a table of delimited text, see `class_kit.pairs.readers.read_table`."""
    # one limit for the whole process, and no reason to lower it again
    csv.field_size_limit(max(MAX_CELL, csv.field_size_limit()))
    text = read_text(path)
    delimiter = _delimiter(path, text)
    tabs = delimiter == "\t"
    by_quotes = tabs and quoting is None
    rows = _by_quotes(path, text) if by_quotes else _read(path, text, delimiter, quotes=quoting is not False)
    notes = [*text.notes]
    if tabs and (spanning := sum(any(mark in cell for mark in "\t\n\r") for _, row in rows for cell in row)):
        notes.append(
            f"{spanning:,} cells in quotes hold tabs or line ends; with quoting=False (--no-quoting) a quote is an "
            "ordinary character"
        )
    header, first, which = rows[0][1], 1, "header"
    roles = _roles_without_header([row for _, row in rows[:_SAMPLE_LINES]], names)
    if roles:
        header, first, which = [""] * len(header), 0, "first row"
        guessed = " and ".join(f"{role} is {column}" for role, column in roles.items())
        notes.append(f"no header, since the first row holds a molecule: {guessed}")
    columns, width = column_names(str(path), header), len(header)
    records = (
        (start, dict(zip(columns, row, strict=True)))
        if len(row) == width
        else (start, Unusable(f"{len(row)} fields where the {which} has {width}"))
        for start, row in rows[first:]
    )
    how = f"{DELIMITERS[delimiter]}-separated text, {text.how}"
    return table_of_records(str(path), records, how, columns, roles=roles, notes=tuple(notes))


def _read(path: Path, text: Text, delimiter: str, *, quotes: bool) -> list[Row]:
    quoting: Any = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(text.lines(), delimiter=delimiter, quoting=quoting, strict=True)
    rows: list[Row] = []
    line, total = 1, 0
    try:
        for row in reader:
            if row:
                total += len(row)
                check_size(str(path), rows=len(rows), cells=total)
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}: the row that starts on line {line} cannot be read: {error}") from None
    if not rows:
        raise InputError(f"{path} is empty; expected a header line and data rows")
    return rows


def _by_quotes(path: Path, text: Text) -> list[Row]:
    """The rows of a tab-separated file whose quotes may enclose cells.

    They do where the whole file is well-formed with them. Two stray ones look alike, and would take all rows between
    them for one cell: so where quotes make cells of several fields or lines, they must be what gives every row its
    width, and no cell may hold tabs and line ends at once.
    """
    literal = _read(path, text, "\t", quotes=False)
    try:
        quoted = _read(path, text, "\t", quotes=True)
    except InputError:
        return literal
    widths, wanted = ([len(row) for _, row in rows] for rows in (literal, quoted))
    if widths == wanted:
        return quoted
    swallowed = any("\t" in cell and ("\n" in cell or "\r" in cell) for _, row in quoted for cell in row)
    even = len(set(wanted)) == 1 and len(set(widths)) > 1
    return quoted if even and not swallowed else literal


def _delimiter(path: Path, text: Text) -> str:
    """The delimiter that gives most of the first rows the width of the very first, which is more than one cell."""
    sample, kind = [*islice(text.lines(), _SAMPLE_LINES)], kind_of(path)
    tabs = kind in (".tsv", ".tab") or (kind == ".txt" and "\t" in "".join(sample[:1]))

    def fit(delimiter: str) -> tuple[float, bool, int]:
        usual = delimiter == ("\t" if tabs else ",")
        with suppress(csv.Error):
            widths = [len(row) for row in csv.reader(sample, delimiter=delimiter) if row]
            if widths and widths[0] > 1:
                return widths.count(widths[0]) / len(widths), usual, widths[0]
        return 0.0, usual, 0

    return max(DELIMITERS, key=fit)


def _roles_without_header(rows: list[list[str]], names: Collection[str]) -> dict[str, str]:
    """The columns of a table whose first row holds a molecule: that one, and the longest of the others as text."""
    from class_kit.molecules.structures import parse

    cells = [cell.strip() for cell in rows[0][:_SAMPLE_LINES]]
    if any(is_common(cell) or cell in names for cell in cells):
        return {}
    molecule = next((at for at, cell in enumerate(cells) if parse(cell)[0] is not None), None)
    if molecule is None:
        return {}
    roles = {"smiles": f"column {molecule + 1}"}
    whole = [row for row in rows if len(row) == len(rows[0])]
    others = [at for at in range(len(rows[0])) if at != molecule]
    if others:
        roles["text"] = f"column {max(others, key=lambda at: sum(len(row[at]) for row in whole)) + 1}"
    return roles
