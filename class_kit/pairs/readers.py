"""Tables from strangers: CSV, TSV, TXT (also .gz) and Parquet become columns of Python values, or one clear error.

Nothing is guessed beyond the delimiter that the name promises, nothing is converted, and a row of the wrong length is
set aside with its line number, not padded.
"""

from __future__ import annotations

import csv
import gzip
import io
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from class_kit.errors import InputError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
SUFFIXES = "CSV, TSV, TXT (each also .gz) or Parquet"

# Bounds on what is held in memory: far above any real set of descriptions, far below what a decompression bomb makes.
MAX_BYTES = 1 << 30
MAX_CELL = 16 << 20
MAX_COLUMNS = 4_096

_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "gzip data", b"PAR1": "a Parquet file"}
_csv_limit = threading.Lock()


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


def read_table(path: Path, *, quoting: bool = True, max_bytes: int = MAX_BYTES) -> Table:
    """Read a table of text columns; `quoting=False` takes quotes as ordinary characters (tab-separated files).

    Raises
    ------
    InputError
        If the file is missing, not a regular file, of an unknown kind, empty, not UTF-8, holds NUL characters, has no
        data row, repeats a column name, leaves a quote open, or is larger than `max_bytes` once decompressed.
    """
    _require_regular(path)
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return _read_parquet(path, max_bytes)
    kind = text_kind(path)
    if not kind:
        raise InputError(f"{path}: files of this kind are not read; expected {SUFFIXES}")
    return _read_text(path, kind, quoting, max_bytes)


def text_kind(path: Path) -> str:
    """Return `.csv`, `.tsv` or `.txt` for a text table, whether or not `.gz` follows; empty for any other name."""
    suffix = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
    return suffix.lower() if suffix.lower() in TEXT_SUFFIXES else ""


def header_of(path: Path) -> tuple[str, ...]:
    """Return the tab-separated names on the first line of a text file, to recognise a published layout."""
    _require_regular(path)
    with _decoded(path, MAX_BYTES) as stream:
        return tuple(stream.readline(1 << 16).rstrip("\r\n").split("\t"))


def _require_regular(path: Path) -> None:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder; expected a file: {SUFFIXES}")
        if not stat.S_ISREG(mode):
            # opening a pipe or a device could wait for ever
            raise InputError(f"{path} is not a regular file; expected {SUFFIXES}")
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be opened: {error}") from None


class _Bounded(io.RawIOBase):
    """Byte stream that stops with an InputError at `limit`, at a NUL, or where the compressed data is damaged."""

    def __init__(self, path: Path, stream: Any, limit: int) -> None:
        self._path, self._stream, self._limit, self._left = path, stream, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self._stream.read(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{self._path}: the gzip data is damaged ({error})") from None
        self._left -= len(block)
        if self._left < 0:
            raise InputError(
                f"{self._path} holds more than {self._limit:,} bytes, the most that are read (once decompressed); "
                "split the file, or keep only the columns needed as Parquet"
            )
        if b"\0" in block:
            raise InputError(f"{self._path} holds NUL bytes: not a UTF-8 text file (UTF-16, or binary?)")
        buffer[: len(block)] = block
        return len(block)


@contextmanager
def _decoded(path: Path, max_bytes: int) -> Iterator[io.TextIOWrapper]:
    with open(path, "rb") as file:
        zipped = path.suffix.lower() == ".gz"
        head = file.read(4)
        file.seek(0)
        for magic, name in _ARCHIVES.items():
            if head.startswith(magic) and not (zipped and magic == b"\x1f\x8b"):
                raise InputError(f"{path} is {name}, not the text file its name promises; expected {SUFFIXES}")
        stream: Any = gzip.GzipFile(fileobj=file) if zipped else file
        raw = io.BufferedReader(_Bounded(path, stream, max_bytes), 1 << 20)
        # newline="" leaves line ends to the csv reader, which keeps those inside quotes
        with io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            try:
                yield text
            except UnicodeDecodeError as error:
                wrong = error.object[error.start : error.start + 1].hex()
                raise InputError(
                    f"{path} is not UTF-8: byte 0x{wrong} on line {_first_undecodable_line(path, zipped)} "
                    f"({error.reason}); save it as UTF-8 and try again"
                ) from None


def _first_undecodable_line(path: Path, zipped: bool) -> int:
    with gzip.open(path) if zipped else open(path, "rb") as file:
        number = 1
        for line in file:
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                break
            number += 1
    return number


@contextmanager
def _csv_cell_limit() -> Iterator[None]:
    # the csv module knows one limit for the whole process: put back what others have set
    with _csv_limit:
        before = csv.field_size_limit(MAX_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _read_text(path: Path, kind: str, quoting: bool, max_bytes: int) -> Table:
    with _decoded(path, max_bytes) as stream, _csv_cell_limit():
        first = stream.readline()
        if not first:
            raise InputError(f"{path} is empty; expected a header line and data rows")
        tabs = kind == ".tsv" or (kind == ".txt" and "\t" in first)
        reader = csv.reader(
            _first_then(first, stream),
            delimiter="\t" if tabs else ",",
            quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
            strict=True,
        )
        table = _collect(path, reader)
    if not table.rows and not table.bad:
        raise InputError(f"{path} has a header and no data row")
    return table


def _first_then(first: str, stream: io.TextIOWrapper) -> Iterator[str]:
    yield first
    yield from stream


def _collect(path: Path, reader: Any) -> Table:
    start = 1
    values: list[list[str]] = []
    rows: list[int] = []
    lines: list[int | None] = []
    bad: list[BadRow] = []
    try:
        names = _column_names(path, next(reader))
        start, row = reader.line_num + 1, 0
        for cells in reader:
            if cells:
                row += 1
                if len(cells) == len(names):
                    values.append(cells)
                    rows.append(row)
                    lines.append(start)
                else:
                    bad.append(BadRow(row, start, f"{len(cells)} fields where the header has {len(names)}"))
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}: the row that starts on line {start} cannot be read: {error}") from None
    columns = [list(column) for column in zip(*values, strict=True)] or [[] for _ in names]
    return Table(path, dict(zip(names, columns, strict=True)), rows, lines, bad, {})


def _column_names(path: Path, header: list[str]) -> list[str]:
    if len(header) > MAX_COLUMNS:
        raise InputError(f"{path} has {len(header):,} columns; at most {MAX_COLUMNS:,} are read")
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} occurs more than once; each name must be unique")
    return names


def _read_parquet(path: Path, max_bytes: int) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            metadata = file.metadata
            size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
            if size > max_bytes:
                raise InputError(f"{path} holds {size:,} bytes once decompressed; at most {max_bytes:,} are read")
            schema = file.schema_arrow
            names = _column_names(path, schema.names)
            skipped = {
                name: str(kind)
                for name, kind in zip(names, schema.types, strict=True)
                if pyarrow.types.is_nested(kind) or pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
            }
            table = file.read().rename_columns(names)
            columns = {name: table.column(name).to_pylist() for name in names if name not in skipped}
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())[:300]}") from None
    if not table.num_rows:
        raise InputError(f"{path} has columns and no data row")
    count = table.num_rows
    return Table(path, columns, list(range(1, count + 1)), [None] * count, [], skipped)
