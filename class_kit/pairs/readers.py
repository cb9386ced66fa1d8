"""Tables from strangers become columns of text with the place of each row, or one clear error.

`read_table` alone opens files, and a kind of file is one entry of `READERS`; nothing behind it asks where a table came
from. Delimited text is read by the csv module in its strict mode: pandas pads short rows in silence, and Arrow takes a
quote that is never closed for one bad row, however much of the file it swallows; neither knows on which line a row
begins. All other kinds pass through Arrow.

The limits lie far above any real set of descriptions and far below what a decompression bomb makes.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import re
import stat
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from class_kit.errors import InputError

if TYPE_CHECKING:
    import pyarrow

EXPECTED = "CSV, TSV, TXT (each also .gz) or Parquet"
# The released ChEBI-20 files are separated by tabs, and a quote in them is an ordinary character.
RELEASE_HEADER = ("CID", "SMILES", "description")

MAX_BYTES = 1 << 30
MAX_CELL = 16 << 20
MAX_LINE = 32 << 20
MAX_COLUMNS = 4_096
MAX_ROWS = 2_000_000
MAX_CELLS = 10_000_000

# what Python makes of bytes that are not UTF-8 where it is told to go on
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


class Place(NamedTuple):
    """Where a row stands: file, 1-based data row, line of a file that has lines; and why it cannot be used, if so."""

    file: str
    row: int
    line: int | None
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """A table as it was read, no row of it left out.

    Attributes
    ----------
    source : str
        What messages about the whole table call it.
    columns : dict of str to list
        Cells as text, None where there is none; a row with a reason against it has no cells.
    places : list of Place
        One for each row.
    skipped : dict of str to str
        Columns that have no text, and what they hold.
    literal_quotes : bool
        Whether quotes were read as ordinary characters.
    """

    source: str
    columns: dict[str, list[str | None]]
    places: list[Place]
    skipped: dict[str, str] = field(default_factory=dict)
    literal_quotes: bool = False


def read_table(path: Path, *, quoting: bool = True) -> Table:
    """Read a table; `quoting=False`, or the header of ChEBI-20's release, takes quotes as ordinary characters.

    Raises
    ------
    InputError
        If the file is missing, not a regular file, of an unknown kind, empty, not UTF-8, holds NUL characters, has no
        data row, repeats a column name, leaves a quote open, or is beyond the limits of this module.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            # opening a pipe or a device could wait for ever
            what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise InputError(f"{path} is {what}; expected {EXPECTED}")
        if _kind(path) not in READERS:
            raise InputError(f"{path}: files of this kind are not read; expected {EXPECTED}")
        table = READERS[_kind(path)](path, quoting)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the gzip data is damaged ({error})") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be opened: {error}") from None
    if not table.places:
        raise InputError(f"{path} has a header and no data row")
    return table


def _kind(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _column_names(path: Path, header: Sequence[str]) -> list[str]:
    """The header's names without white space around them, `column N` for empty ones."""
    if len(header) > MAX_COLUMNS:
        raise InputError(f"{path} has {len(header):,} columns; at most {MAX_COLUMNS:,} are read")
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(f"{path}: column {twice[0][:60]!r} occurs more than once; each name must be unique")
    return names


def _check_size(path: Path, size: int, rows: int, columns: int) -> None:
    if size > MAX_BYTES:
        raise InputError(
            f"{path} holds more than {MAX_BYTES:,} bytes, the most that are read (once decompressed); "
            "split the file, or keep only the columns needed as Parquet"
        )
    if rows > MAX_ROWS or rows * columns > MAX_CELLS:
        raise InputError(f"{path}: at most {MAX_ROWS:,} rows and {MAX_CELLS:,} values are read; split the file")


def _read_text(path: Path, quoting: bool) -> Table:
    # one limit for the whole process, and no reason to lower it again
    csv.field_size_limit(max(MAX_CELL, csv.field_size_limit()))
    with open(path, "rb") as file:
        opener = gzip.open if file.read(2) == b"\x1f\x8b" else open
    # newline="" leaves line ends to the csv reader, which keeps those inside quotes
    with opener(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        lines = _lines(path, text)
        first = next(lines, "")
        if not first:
            raise InputError(f"{path} is empty; expected a header line and data rows")
        tabs = _kind(path) == ".tsv" or (_kind(path) == ".txt" and "\t" in first)
        literal = not quoting or (tabs and tuple(first.rstrip("\r\n").split("\t")) == RELEASE_HEADER)
        reader = csv.reader(
            itertools.chain([first], lines),
            delimiter="\t" if tabs else ",",
            quoting=csv.QUOTE_NONE if literal else csv.QUOTE_MINIMAL,
            strict=True,
        )
        rows: list[list[str | None]] = []
        places: list[Place] = []
        line = 1
        try:
            names = _column_names(path, next(reader))
            missing: list[str | None] = [None] * len(names)
            line = reader.line_num + 1
            for cells in reader:
                if cells:
                    _check_size(path, 0, len(rows) + 1, len(names))
                    whole = len(cells) == len(names)
                    reason = "" if whole else f"{len(cells)} fields where the header has {len(names)}"
                    rows.append([*cells] if whole else missing)
                    places.append(Place(path.name, len(places) + 1, line, reason))
                line = reader.line_num + 1
        except csv.Error as error:
            raise InputError(f"{path}: the row that starts on line {line} cannot be read: {error}") from None
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return Table(str(path), columns, places, literal_quotes=literal)


def _lines(path: Path, text: TextIO) -> Iterator[str]:
    """The lines of a text file, up to one that is too long, holds a NUL, or bytes that are not UTF-8."""
    size = 0
    for number in itertools.count(1):
        line = text.readline(MAX_LINE + 1)
        size += len(line)
        _check_size(path, size, 0, 0)
        if len(line) > MAX_LINE:
            raise InputError(f"{path}: line {number} is longer than {MAX_LINE:,} characters")
        if "\0" in line:
            raise InputError(f"{path} holds NUL bytes: not a UTF-8 text file (UTF-16, or binary?)")
        if not line.isascii() and (wrong := _ESCAPED_BYTE.search(line)):
            byte = f"0x{ord(wrong[0]) - 0xDC00:02x}"
            raise InputError(f"{path} is not UTF-8: byte {byte} on line {number}; save it as UTF-8 and try again")
        if not line:
            return
        yield line


def _read_parquet(path: Path, quoting: bool) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
        names = dict(zip(_column_names(path, schema.names), schema, strict=True))
        # what is nested can unfold to any size, so it is not even decoded
        plain = {name: each for name, each in names.items() if not pyarrow.types.is_nested(each.type)}
        size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        _check_size(path, size, metadata.num_rows, len(plain))
        wanted = [each.name for each in plain.values()]
        # one value can stand for millions of rows: strings are read as a dictionary and indices
        with pyarrow.parquet.ParquetFile(path, read_dictionary=wanted) as file:
            table = file.read(columns=wanted, use_threads=False)
        columns, skipped = {}, {name: str(each.type)[:100] for name, each in names.items() if name not in plain}
        for name, each in plain.items():
            try:
                columns[name] = _texts(table.column(each.name))
            except (pyarrow.ArrowException, ValueError):
                skipped[name] = f"{str(each.type)[:100]} that has no text"
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())[:300]}") from None
    places = [Place(path.name, row, None) for row in range(1, table.num_rows + 1)]
    return Table(str(path), columns, places, skipped)


def _texts(column: pyarrow.ChunkedArray) -> list[str | None]:
    """Cells of an Arrow column as text; equal cells share one string, so that a small file stays small."""
    import pyarrow

    if pyarrow.types.is_floating(column.type):
        # table libraries turn whole numbers into floats where one is missing
        with suppress(pyarrow.ArrowException):
            column = column.cast(pyarrow.int64())
    coded = column if pyarrow.types.is_dictionary(column.type) else column.dictionary_encode()
    cells: list[str | None] = []
    for chunk in coded.chunks:
        values = chunk.dictionary.cast(pyarrow.string()).to_pylist()
        cells += [None if place is None else values[place] for place in chunk.indices.to_pylist()]
    return cells


READERS = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".txt": _read_text,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
}
