"""What every kind of table becomes: columns of text with the place of each row; and the limits that all are held to.

The limits lie far above any real set of descriptions and far below what a decompression bomb makes.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import numbers
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from class_kit.errors import InputError

if TYPE_CHECKING:
    import pyarrow

MAX_BYTES = 1 << 30
MAX_CELL = 16 << 20
MAX_LINE = 32 << 20
MAX_COLUMNS = 4_096
MAX_ROWS = 2_000_000
MAX_CELLS = 10_000_000

# Names of columns that are taken without being named, by role, in any case and without blanks, `_` and `-`: those of a
# group stand equal, and a group is looked at where none before it has a match.
COMMON_NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "text": (("text", "description", "caption", "summary", "definition"),),
    "smiles": (("smiles", "isosmiles", "isomericsmiles"), ("canonicalsmiles",), ("structure",), ("inchi",)),
    "id": (("id",), ("cid",)),
    "split": (("split",),),
}

# what Python makes of bytes that are not UTF-8 where it is told to go on, and the letters that Windows means by them
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_LATIN1 = {0xDC00 + byte: bytes([byte]).decode("cp1252", "replace") for byte in range(0x80, 0x100)}


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
    how : str
        What was understood: kind, delimiter, encoding.
    skipped : dict of str to str
        Columns that have no text, and what they hold.
    roles : dict of str to str
        Columns that the kind of table itself assigns to a role: text, smiles or split.
    notes : tuple of str
        What a reader of the table has to know.
    released : bool
        Whether this is a file of ChEBI-20's release, in which backslashes are doubled.
    """

    source: str
    columns: dict[str, list[str | None]]
    places: list[Place]
    how: str
    skipped: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    released: bool = False

    def __post_init__(self) -> None:
        if not self.places:
            raise InputError(f"{self.source} has a header and no data row")


def plain_name(name: str) -> str:
    """The name of a column as `COMMON_NAMES` has it."""
    return re.sub(r"[\s_-]", "", name.lower())


def is_common(name: str) -> bool:
    """Whether a column of this name has a role without being named."""
    return any(plain_name(name) in group for groups in COMMON_NAMES.values() for group in groups)


def column_names(source: str, header: Sequence[object]) -> list[str]:
    """The header's names without white space around them, `column N` for empty ones.

    Raises
    ------
    InputError
        If a name occurs twice, or there are too many.
    """
    if len(header) > MAX_COLUMNS:
        raise InputError(f"{source} has {len(header):,} columns; at most {MAX_COLUMNS:,} are read")
    names = [str(name).strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(f"{source}: column {twice[0][:60]!r} occurs more than once; each name must be unique")
    return names


def check_size(source: str, *, size: int = 0, rows: int = 0, cells: int = 0) -> None:
    """Refuse what is beyond the limits: bytes once decompressed, rows, and cells."""
    if size > MAX_BYTES:
        raise InputError(
            f"{source} holds more than {MAX_BYTES:,} bytes, the most that are read (once decompressed); "
            "split the file, or keep only the columns needed as Parquet"
        )
    if rows > MAX_ROWS or cells > MAX_CELLS:
        raise InputError(f"{source}: at most {MAX_ROWS:,} rows and {MAX_CELLS:,} values are read; split the file")


class _NoTextError(Exception):
    """A column holds what has no text; the message names its kind."""


def table_of(
    source: str,
    columns: Sequence[tuple[Any, Any]],
    rows: int,
    how: str,
    *,
    starts: Sequence[int | None] = (),
    faults: Mapping[int, str] = MappingProxyType({}),
    **about: Any,
) -> Table:
    """A table of columns, each a list of Python values or a column of Arrow; one that has no text is skipped.

    Parameters
    ----------
    source, how, about
        As of `Table`.
    columns : sequence of (name, values)
    rows : int
    starts : (rows,) sequence of int, optional
        Line on which each row begins, in a file that has lines.
    faults : mapping of int to str, optional
        Rows, counted from 0, that cannot be used, and why.

    Raises
    ------
    InputError
        If a name occurs twice, there is no row, or the table is beyond the limits.
    """
    names = column_names(source, [name for name, _ in columns])
    check_size(source, rows=rows, cells=rows * len(names))
    read: dict[str, list[str | None]] = {}
    skipped: dict[str, str] = {}
    for name, (_, values) in zip(names, columns, strict=True):
        try:
            read[name] = _texts(values) if isinstance(values, list) else _texts_of_arrow(values)
        except _NoTextError as error:
            skipped[name] = str(error)
    file, lines = Path(source).name, starts or [None] * rows
    places = [Place(file, row + 1, line, faults.get(row, "")) for row, line in enumerate(lines)]
    return Table(source, read, places, how, skipped, **about)


def _texts(values: list[Any]) -> list[str | None]:
    """Numbers as text, missing values as None."""
    for value in values:
        if not isinstance(value, str | numbers.Number | None):
            raise _NoTextError(type(value).__name__)
    return [_cell(value) for value in values]


def _cell(value: Any) -> str | None:
    if value is None or value != value:
        return None
    # table libraries turn whole numbers into floats where one is missing
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _texts_of_arrow(column: pyarrow.ChunkedArray) -> list[str | None]:
    """Cells of an Arrow column as text; equal cells share one string, so that a small file stays small."""
    import pyarrow

    kind = str(column.type)[:100]
    if pyarrow.types.is_nested(column.type):
        raise _NoTextError(kind)
    if pyarrow.types.is_floating(column.type):
        # table libraries turn whole numbers into floats where one is missing
        with suppress(pyarrow.ArrowException):
            column = column.cast(pyarrow.int64())
    cells: list[str | None] = []
    try:
        coded = column if pyarrow.types.is_dictionary(column.type) else column.dictionary_encode()
        for chunk in coded.chunks:
            values = chunk.dictionary.cast(pyarrow.string()).to_pylist()
            cells += [None if place is None else values[place] for place in chunk.indices.to_pylist()]
    except (pyarrow.ArrowException, ValueError):
        raise _NoTextError(f"{kind} that has no text") from None
    return cells


# --- text, compressed or not


def _open_zstandard(path: Path, mode: str) -> Any:
    import pyarrow

    return pyarrow.input_stream(str(path), compression="zstd")


_COMPRESSED: dict[bytes, tuple[str, Callable[..., Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\0": ("xz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("zstd", _open_zstandard),
}


def kind_of(path: Path) -> str:
    """The suffix of a file's name in lower case, without that of the compression."""
    name = path.name.lower()
    for suffix in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(suffix)
    return Path(name).suffix


class Lines:
    """The lines of a text file, up to one that is too long or holds a NUL; `how` and `notes` tell their encoding.

    Text is UTF-8, or UTF-16 with its mark. Bytes that are not UTF-8 are taken for Latin-1, as Windows writes it, unless
    other lines are UTF-8 and more than ASCII: such a file is damaged.
    """

    def __init__(self, path: Path, text: TextIO, how: str) -> None:
        self.path, self.how = path, how
        self.notes: tuple[str, ...] = ()
        self._text, self._wrong, self._beyond_ascii = text, "", False

    def __iter__(self) -> Iterator[str]:
        size = 0
        for number in itertools.count(1):
            line = self._text.readline(MAX_LINE + 1)
            size += len(line)
            check_size(str(self.path), size=size)
            if len(line) > MAX_LINE:
                raise InputError(f"{self.path}: line {number} is longer than {MAX_LINE:,} characters")
            if "\0" in line:
                raise InputError(f"{self.path} holds NUL bytes: not a text file (binary, or UTF-16 without its mark?)")
            if not line.isascii():
                line = self._decoded(line, number)
            if not line:
                return
            yield line

    def _decoded(self, line: str, number: int) -> str:
        wrong = _ESCAPED_BYTE.search(line)
        self._beyond_ascii |= not _ESCAPED_BYTE.sub("", line).isascii()
        if wrong and not self._wrong:
            self._wrong = f"byte 0x{ord(wrong[0]) - 0xDC00:02x} on line {number}"
            self.how = self.how.replace("UTF-8", "Latin-1")
            said = "so read as Latin-1: look whether accents and signs came out right"
            self.notes = (f"not UTF-8 ({self._wrong}), {said}",)
        if self._wrong and self._beyond_ascii:
            raise InputError(
                f"{self.path} is not UTF-8 throughout, nor Latin-1: {self._wrong}; save it as UTF-8 and try again"
            )
        return line.translate(_LATIN1) if wrong else line


@contextmanager
def open_lines(path: Path) -> Iterator[Lines]:
    """Open a text file, decompressing it where its first bytes say so."""
    with open(path, "rb") as file:
        start = file.read(6)
    how, opener = next((found for mark, found in _COMPRESSED.items() if start.startswith(mark)), ("", open))
    with opener(path, "rb") as stream:
        start = stream.read(2)
    utf16 = start in (b"\xff\xfe", b"\xfe\xff")
    encoding, errors = ("utf-16", "strict") if utf16 else ("utf-8-sig", "surrogateescape")
    # newline="" leaves line ends to the csv reader, which keeps those inside quotes
    with opener(path, "rb") as stream, io.TextIOWrapper(stream, encoding, errors, newline="") as text:
        yield Lines(path, text, f"{'UTF-16' if utf16 else 'UTF-8'}{how and f', {how}'}")
