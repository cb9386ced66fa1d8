"""Tables from strangers become columns of Python values with their row numbers, or one clear error.

`read_table` alone opens files; whatever it reads is a `Table`, and nothing behind it asks where that came from.
Nothing is converted, and a row of the wrong length is set aside with its line number, not padded. Delimited text is
read by the csv module in its strict mode: pandas pads short rows in silence, and Arrow takes a quote that is never
closed for one bad row, however much of the file it swallows; neither knows on which line a row begins.

The limits lie far above any real set of descriptions and far below what a decompression bomb makes: a file within
them takes at most about 4 GiB.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import stat
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from class_kit.errors import InputError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
SUFFIXES = "CSV, TSV, TXT (each also .gz) or Parquet"
# The released ChEBI-20 files are separated by tabs, and a quote in them is an ordinary character.
RELEASE_HEADER = ("CID", "SMILES", "description")

MAX_BYTES = 1 << 30
MAX_CELL = 16 << 20
MAX_ROW = 32 << 20
MAX_COLUMNS = 4_096
MAX_ROWS = 2_000_000
MAX_CELLS = 10_000_000

_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "gzip data", b"PAR1": "a Parquet file"}


@dataclass(frozen=True)
class BadRow:
    """A row that could not be laid out in columns: 1-based data row, line in the file, and why."""

    row: int
    line: int | None
    reason: str


@dataclass(frozen=True)
class Table:
    """Columns in their order; every one is as long as `rows`.

    Attributes
    ----------
    source, name : str
        What messages about the whole table, and about one row, call it.
    columns : dict of str to list
        Values as they were read: text, or what the format has numbers and dates for; None where there is none.
    rows : list of int
        1-based position of each kept row among the data rows.
    lines : list of int or None
        Line of the file on which each kept row starts; None where a format has no lines.
    bad : list of BadRow
    skipped : dict of str to str
        Columns whose values are no plain scalars, and what they hold.
    literal_quotes : bool
        Whether quotes were read as ordinary characters.
    """

    source: str
    name: str
    columns: dict[str, list[Any]]
    rows: list[int]
    lines: list[int | None]
    bad: list[BadRow] = field(default_factory=list)
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
    _require_regular(path)
    suffix = path.suffix.lower()
    zipped = suffix == ".gz"
    kind = Path(path.stem).suffix.lower() if zipped else suffix
    if kind not in (TEXT_SUFFIXES if zipped else TEXT_SUFFIXES + PARQUET_SUFFIXES):
        raise InputError(f"{path}: files of this kind are not read; expected {SUFFIXES}")
    if kind in PARQUET_SUFFIXES:
        table = _read_parquet(path)
    else:
        with _open_text(path, zipped) as stream:
            table = _read_text(path, kind, stream, quoting)
    if not table.rows and not table.bad:
        raise InputError(f"{path} has a header and no data row")
    return table


def column_names(source: object, header: Sequence[str]) -> list[str]:
    """Return the header's names without white space around them, `column N` for empty ones.

    Raises
    ------
    InputError
        If there are more than `MAX_COLUMNS`, or a name occurs twice.
    """
    _refuse_columns(source, len(header))
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(f"{source}: column {twice[0][:60]!r} occurs more than once; each name must be unique")
    return names


def _refuse_columns(source: object, count: int) -> None:
    if count > MAX_COLUMNS:
        raise InputError(f"{source} has {count:,} columns; at most {MAX_COLUMNS:,} are read")


def _too_large(path: Path) -> InputError:
    return InputError(
        f"{path} holds more than {MAX_BYTES:,} bytes, the most that are read (once decompressed); "
        "split the file, or keep only the columns needed as Parquet"
    )


def _require_regular(path: Path) -> None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder; expected a file: {SUFFIXES}")
        if not stat.S_ISREG(mode):
            # opening a pipe or a device could wait for ever
            raise InputError(f"{path} is not a regular file; expected {SUFFIXES}")
        with open(path, "rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be opened: {error}") from None


# --- delimited text


class _TextBytes(io.RawIOBase):
    """Bytes of a text file, up to an InputError where there are too many, damaged ones, a NUL or one not UTF-8."""

    def __init__(self, path: Path, stream: Any) -> None:
        self.path, self.stream, self.left, self.line = path, stream, MAX_BYTES, 1
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self.stream.read(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{self.path}: the gzip data is damaged ({error})") from None
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from None
        self.left -= len(block)
        if self.left < 0:
            raise _too_large(self.path)
        if b"\0" in block:
            raise InputError(f"{self.path} holds NUL bytes: not a UTF-8 text file (UTF-16, or binary?)")
        try:
            self.decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = self.line + error.object[: error.start].count(b"\n")
            raise InputError(
                f"{self.path} is not UTF-8: byte 0x{error.object[error.start]:02x} on line {line} "
                f"({error.reason}); save it as UTF-8 and try again"
            ) from None
        self.line += block.count(b"\n")
        buffer[: len(block)] = block
        return len(block)


@contextmanager
def _open_text(path: Path, zipped: bool) -> Iterator[io.TextIOWrapper]:
    with open(path, "rb") as file:
        head = file.read(4)
        file.seek(0)
        for magic, name in _ARCHIVES.items():
            if head.startswith(magic) and not (zipped and magic == b"\x1f\x8b"):
                raise InputError(f"{path} is {name}, not the text file its name promises; expected {SUFFIXES}")
        raw = _TextBytes(path, gzip.GzipFile(fileobj=file) if zipped else file)
        # newline="" leaves line ends to the csv reader, which keeps those inside quotes
        with io.TextIOWrapper(io.BufferedReader(raw, 1 << 20), encoding="utf-8-sig", newline="") as text:
            yield text


class _Lines:
    """The lines of a stream for a csv reader, which would hold any number of them as one row.

    `left` is how many characters the row may still have; whoever takes a row from the reader sets it back.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self.stream, self.left = stream, MAX_ROW

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.stream.readline(self.left + 1)
        self.left -= len(line)
        if self.left < 0:
            raise csv.Error(f"it is longer than {MAX_ROW:,} characters")
        if not line:
            raise StopIteration
        return line


def _read_text(path: Path, kind: str, stream: io.TextIOWrapper, quoting: bool) -> Table:
    # one limit for the whole process, and no reason to lower it again
    csv.field_size_limit(max(MAX_CELL, csv.field_size_limit()))
    values: list[list[str]] = []
    rows: list[int] = []
    starts: list[int | None] = []
    bad: list[BadRow] = []
    lines, line, row = _Lines(stream), 1, 0
    try:
        first = next(lines, "")
        if not first:
            raise InputError(f"{path} is empty; expected a header line and data rows")
        tabs = kind == ".tsv" or (kind == ".txt" and "\t" in first)
        literal = not quoting or (tabs and tuple(first.rstrip("\r\n").split("\t")) == RELEASE_HEADER)
        reader = csv.reader(
            itertools.chain([first], lines),
            delimiter="\t" if tabs else ",",
            quoting=csv.QUOTE_NONE if literal else csv.QUOTE_MINIMAL,
            strict=True,
        )
        names = column_names(path, next(reader))
        line, lines.left = reader.line_num + 1, MAX_ROW
        for number, cells in enumerate(reader, start=1):
            if number > MAX_ROWS or len(values) * len(names) > MAX_CELLS:
                raise InputError(f"{path}: at most {MAX_ROWS:,} rows and {MAX_CELLS:,} values are read; split the file")
            row += bool(cells)
            if cells and len(cells) == len(names):
                values.append(cells)
                rows.append(row)
                starts.append(line)
            elif cells:
                bad.append(BadRow(row, line, f"{len(cells)} fields where the header has {len(names)}"))
            line, lines.left = reader.line_num + 1, MAX_ROW
    except csv.Error as error:
        raise InputError(f"{path}: the row that starts on line {line} cannot be read: {error}") from None
    columns = [list(column) for column in zip(*values, strict=True)] or [[] for _ in names]
    table = dict(zip(names, columns, strict=True))
    return Table(str(path), path.name, table, rows, starts, bad, literal_quotes=literal)


# --- Parquet


def _read_parquet(path: Path) -> Table:
    """Read the columns of plain values; others are named in `skipped`, with their type, and not even decoded.

    A Parquet file states its own sizes, and one value can stand for millions of rows. So strings are read as a
    dictionary and indices, which take no more than the file itself, and are measured before they become text.
    """
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, list[Any]] = {}
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _refuse_columns(path, file.metadata.num_columns)
            schema = file.schema_arrow
        names = column_names(path, schema.names)
        kinds = dict(zip(names, schema.types, strict=True))
        skipped = {name: str(kind)[:100] for name, kind in kinds.items() if not _is_plain(kind)}
        # a name such as a.b also stands for the field b of a nested column a
        inner = "values under the name of a nested column's field"
        skipped |= {name: inner for name in names if name not in skipped and name.split(".")[0] in skipped}
        # several columns may have the empty name, so what comes back is taken in its order
        raw = {name: original for name, original in zip(names, schema.names, strict=True) if name not in skipped}
        strings = [original for name, original in raw.items() if _is_string(kinds[name])]
        columns, left = {name: [] for name in raw}, MAX_BYTES
        with pyarrow.parquet.ParquetFile(path, read_dictionary=strings) as file:
            count = _checked_size(path, file.metadata, len(raw))
            chosen = list(dict.fromkeys(raw.values()))
            for batch in file.iter_batches(8_192, columns=chosen, use_threads=False) if raw else ():
                for name, array in zip(raw, batch.columns, strict=True):
                    if _is_string(array.type):
                        values, size = _strings(path, name, array)
                        columns[name].extend(values)
                        left -= size
                        if left < 0:
                            raise _too_large(path)
                    elif name in columns:
                        try:
                            columns[name].extend(array.to_pylist())
                        except (OverflowError, ValueError, LookupError, pyarrow.ArrowException):
                            # dates beyond the year 9999, unknown time zones
                            skipped[name] = f"{str(array.type)[:100]} that Python cannot hold"
                            del columns[name]
        if any(len(values) != count for values in columns.values()):
            raise ValueError("its columns are not as long as it says")
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())[:300]}") from None
    return Table(str(path), path.name, columns, list(range(1, count + 1)), [None] * count, [], skipped)


def _checked_size(path: Path, metadata: Any, columns: int) -> int:
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if max(size, path.stat().st_size) > MAX_BYTES:
        raise _too_large(path)
    if metadata.num_rows > MAX_ROWS or metadata.num_rows * columns > MAX_CELLS:
        raise InputError(
            f"{path} has {metadata.num_rows:,} rows of {columns:,} columns; at most {MAX_ROWS:,} rows and "
            f"{MAX_CELLS:,} values are read"
        )
    return int(metadata.num_rows)


def _strings(path: Path, name: str, array: Any) -> tuple[list[str | None], int]:
    """The values of a column of strings, and how many bytes they are."""
    import pyarrow
    import pyarrow.compute

    coded = array if pyarrow.types.is_dictionary(array.type) else array.dictionary_encode()
    lengths = pyarrow.compute.binary_length(coded.dictionary)
    longest = pyarrow.compute.max(lengths).as_py() or 0
    if longest > MAX_CELL:
        raise InputError(
            f"{path}: column {name[:60]!r} has a value of {longest:,} bytes; at most {MAX_CELL:,} are read"
        )
    size = pyarrow.compute.sum(lengths.take(coded.indices)).as_py() or 0
    values = coded.dictionary.to_pylist()
    return [None if place is None else values[place] for place in coded.indices.to_pylist()], size


def _is_plain(kind: Any) -> bool:
    import pyarrow

    if pyarrow.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    # every kind of bytes has "binary" in its name, in all releases
    return not (isinstance(kind, pyarrow.BaseExtensionType) or pyarrow.types.is_nested(kind) or "binary" in str(kind))


def _is_string(kind: Any) -> bool:
    import pyarrow

    value = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    return str(value) in {"string", "large_string", "string_view"}
