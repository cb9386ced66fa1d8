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
from typing import Any, NamedTuple

from class_kit.errors import InputError
from class_kit.pairs.table import MAX_CELL, Table, Text, check_size, is_common, kind_of, read_text, table_of

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
# The released ChEBI-20 files are separated by tabs, and a quote in them is an ordinary character.
RELEASE_HEADER = ("CID", "SMILES", "description")
# lines that show the delimiter, and which column holds the texts where there is no header
_SAMPLE_LINES = 50


class _Rows(NamedTuple):
    """Rows of a file, the header among them, and the line on which each begins."""

    cells: list[list[str]]
    starts: list[int]


def read_delimited(path: Path, quoting: bool | None, names: Collection[str]) -> Table:
    """Read a table of delimited text, see `class_kit.pairs.readers.read_table`."""
    # one limit for the whole process, and no reason to lower it again
    csv.field_size_limit(max(MAX_CELL, csv.field_size_limit()))
    text = read_text(path)
    delimiter = _delimiter(path, text)
    tabs = delimiter == "\t"
    rows = _read(path, text, delimiter, quotes=not tabs and quoting is not False)
    released = tabs and tuple(rows.cells[0]) == RELEASE_HEADER
    if tabs and not released and quoting is not False:
        rows = _read(path, text, delimiter, quotes=True) if quoting else _by_quotes(path, text, rows)
    notes = [*text.notes]
    if released:
        notes.append("read as a released ChEBI-20 file: quotes are ordinary characters, doubled backslashes single")
    if tabs and (spanning := sum(any(mark in cell for mark in "\t\n\r") for row in rows.cells for cell in row)):
        notes.append(
            f"{spanning:,} cells in quotes hold tabs or line ends; with quoting=False (--no-quoting) a quote is an "
            "ordinary character"
        )
    header, first, which = rows.cells[0], 1, "header"
    roles = _roles_without_header(rows.cells, names)
    if roles:
        header, first, which = [""] * len(header), 0, "first row"
        guessed = " and ".join(f"{role} is {column}" for role, column in roles.items())
        notes.append(f"no header, since the first row holds a molecule: {guessed}")
    body, width = rows.cells[first:], len(header)
    faults = {
        at: f"{len(row)} fields where the {which} has {width}" for at, row in enumerate(body) if len(row) != width
    }
    columns = [
        (name, [None if row in faults else cells[at] for row, cells in enumerate(body)])
        for at, name in enumerate(header)
    ]
    if released:
        columns[1] = (columns[1][0], single_backslashes(columns[1][1]))
    how = f"{DELIMITERS[delimiter]}-separated text, {text.how}"
    about: dict[str, Any] = {"roles": roles, "notes": tuple(notes), "faults": faults}
    return table_of(str(path), columns, len(body), how, starts=rows.starts[first:], **about)


def single_backslashes(smiles: list[str | None]) -> list[str | None]:
    """SMILES with single bond marks for doubled ones, as ChEBI-20's release has them.

    RDKit takes a doubled mark for one, but other programs and comparisons of strings do not. Two bond marks in a row
    are no SMILES, so a file that never had them doubled stays the same.
    """
    return [cell and cell.replace("\\\\", "\\") for cell in smiles]


def _read(path: Path, text: Text, delimiter: str, *, quotes: bool) -> _Rows:
    quoting: Any = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    reader = csv.reader(text.lines(), delimiter=delimiter, quoting=quoting, strict=True)
    rows = _Rows([], [])
    line, total = 1, 0
    try:
        for row in reader:
            if row:
                total += len(row)
                check_size(str(path), rows=len(rows.cells), cells=total)
                rows.cells.append(row)
                rows.starts.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}: the row that starts on line {line} cannot be read: {error}") from None
    if not rows.cells:
        raise InputError(f"{path} is empty; expected a header line and data rows")
    return rows


def _by_quotes(path: Path, text: Text, literal: _Rows) -> _Rows:
    """The rows of a tab-separated file whose quotes may enclose cells.

    They do where the whole file is well-formed with them. Two stray ones look alike, and would take all rows between
    them for one cell: so where quotes make cells of several fields or lines, they must be what gives every row its
    width, and no cell may hold tabs and line ends at once.
    """
    try:
        quoted = _read(path, text, "\t", quotes=True)
    except InputError:
        return literal
    widths, wanted = (list(map(len, rows.cells)) for rows in (literal, quoted))
    if widths == wanted:
        return quoted
    swallowed = any("\t" in cell and ("\n" in cell or "\r" in cell) for row in quoted.cells for cell in row)
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
    whole = [row for row in rows[:_SAMPLE_LINES] if len(row) == len(rows[0])]
    others = [at for at in range(len(rows[0])) if at != molecule]
    if others:
        roles["text"] = f"column {max(others, key=lambda at: sum(len(row[at]) for row in whole)) + 1}"
    return roles
