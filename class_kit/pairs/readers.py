"""Tables from strangers: CSV, TSV, TXT (also .gz) and Parquet become columns of Python values, or one clear error.

Nothing is guessed beyond the delimiter that the name promises, nothing is converted, and a row of the wrong length is
set aside with its line number, not padded.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.pairs.parquet import read_parquet
from class_kit.pairs.tables import (
    MAX_BYTES,
    MAX_CELL,
    MAX_CELLS,
    MAX_ROW,
    MAX_ROWS,
    BadRow,
    Table,
    column_names,
    too_large,
)

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
SUFFIXES = "CSV, TSV, TXT (each also .gz) or Parquet"

_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "gzip data", b"PAR1": "a Parquet file"}
_csv_limit = threading.Lock()


def read_table(path: Path, *, quoting: bool = True, max_bytes: int = MAX_BYTES) -> Table:
    """Read a table of text columns; `quoting=False` takes quotes as ordinary characters (tab-separated files).

    Raises
    ------
    InputError
        If the file is missing, not a regular file, of an unknown kind, empty, not UTF-8, holds NUL characters, has no
        data row, repeats a column name, leaves a quote open, or is larger than `max_bytes` once decompressed or than
        the limits of `class_kit.pairs.tables`.
    """
    _require_regular(path)
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return read_parquet(path, max_bytes)
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
        with open(path, "rb") as file:
            file.read(1)
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
        except OSError as error:
            raise InputError(f"{self._path} cannot be read: {error.strerror or error}") from None
        self._left -= len(block)
        if self._left < 0:
            raise too_large(self._path, self._limit)
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
    # by blocks: the line itself may be as long as a bomb
    decoder = codecs.getincrementaldecoder("utf-8")()
    number = 1
    with gzip.open(path) if zipped else open(path, "rb") as file:
        while block := file.read(1 << 20):
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return number + error.object[: error.start].count(b"\n")
            number += block.count(b"\n")
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
        lines = _Lines(path, stream)
        first = next(lines, "")
        if not first:
            raise InputError(f"{path} is empty; expected a header line and data rows")
        tabs = kind == ".tsv" or (kind == ".txt" and "\t" in first)
        reader = csv.reader(
            itertools.chain([first], lines),
            delimiter="\t" if tabs else ",",
            quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
            strict=True,
        )
        table = _collect(path, reader, lines)
    if not table.rows and not table.bad:
        raise InputError(f"{path} has a header and no data row")
    return table


class _Lines:
    """The lines of a stream for a csv reader, which would hold any number of them as one row."""

    def __init__(self, path: Path, stream: io.TextIOWrapper) -> None:
        self.path, self.stream = path, stream
        self.start_row(1)

    def start_row(self, line: int) -> None:
        """Count anew: a row begins on this line."""
        self.line, self.left = line, MAX_ROW

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = self.stream.readline(self.left + 1)
        self.left -= len(text)
        if self.left < 0:
            raise InputError(
                f"{self.path}: the row that starts on line {self.line} is longer than {MAX_ROW:,} characters"
            )
        if not text:
            raise StopIteration
        return text


def _collect(path: Path, reader: Any, source: _Lines) -> Table:
    values: list[list[str]] = []
    rows: list[int] = []
    lines: list[int | None] = []
    bad: list[BadRow] = []
    row = 0
    try:
        names = column_names(path, next(reader))
        source.start_row(reader.line_num + 1)
        for number, cells in enumerate(reader, start=1):
            if number > MAX_ROWS or len(rows) * len(names) > MAX_CELLS:
                raise InputError(f"{path}: at most {MAX_ROWS:,} rows and {MAX_CELLS:,} values are read; split the file")
            if cells:
                row += 1
                if len(cells) == len(names):
                    values.append(cells)
                    rows.append(row)
                    lines.append(source.line)
                else:
                    bad.append(BadRow(row, source.line, f"{len(cells)} fields where the header has {len(names)}"))
            source.start_row(reader.line_num + 1)
    except csv.Error as error:
        raise InputError(f"{path}: the row that starts on line {source.line} cannot be read: {error}") from None
    columns = [list(column) for column in zip(*values, strict=True)] or [[] for _ in names]
    return Table(path, dict(zip(names, columns, strict=True)), rows, lines, bad, {})
