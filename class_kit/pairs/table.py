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
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from class_kit.errors import InputError

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


def table_of_values(source: str, columns: Mapping[Any, Sequence[Any]], places: list[Place], **about: Any) -> Table:
    """A table of Python values: numbers become text, missing values None; a column of anything else is skipped."""
    names = column_names(source, list(columns))
    check_size(source, rows=len(places), cells=len(places) * len(names))
    read: dict[str, list[str | None]] = {}
    skipped = {}
    for name, values in zip(names, columns.values(), strict=True):
        odd = next((value for value in values if not isinstance(value, str | numbers.Number | None)), None)
        if odd is None:
            read[name] = [_cell(value) for value in values]
        else:
            skipped[name] = type(odd).__name__
    return Table(source, read, places, skipped=skipped, **about)


def _cell(value: Any) -> str | None:
    if value is None or value != value:
        return None
    # table libraries turn whole numbers into floats where one is missing
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


# --- text, compressed or not


def _open_zstandard(path: Path) -> BinaryIO:
    import pyarrow

    stream: BinaryIO = pyarrow.input_stream(str(path), compression="zstd")
    return stream


_COMPRESSED: dict[bytes, tuple[str, Callable[[Path], Any]]] = {
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
    """The lines of a text file, up to one that is too long or holds a NUL; `how` says how they were encoded.

    Text is UTF-8, or UTF-16 with its mark. Bytes that are not UTF-8 are taken for Latin-1, as Windows writes it, unless
    other lines are UTF-8 and more than ASCII: such a file is damaged.
    """

    def __init__(self, path: Path, text: TextIO, how: str) -> None:
        self.path, self._text, self._how = path, text, how
        self._wrong = ""
        self._beyond_ascii = False

    @property
    def how(self) -> str:
        """Encoding and compression of the lines read so far."""
        return self._how.replace("UTF-8", "Latin-1") if self._wrong else self._how

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of the encoding."""
        if not self._wrong:
            return ()
        return (f"not UTF-8 ({self._wrong}), so read as Latin-1: look whether accents and signs came out right",)

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
    how, opener = next((found for mark, found in _COMPRESSED.items() if start.startswith(mark)), ("", _open_plain))
    with opener(path) as stream:
        start = stream.read(2)
    utf16 = start in (b"\xff\xfe", b"\xfe\xff")
    encoding, errors = ("utf-16", "strict") if utf16 else ("utf-8-sig", "surrogateescape")
    # newline="" leaves line ends to the csv reader, which keeps those inside quotes
    with opener(path) as stream, io.TextIOWrapper(stream, encoding, errors, newline="") as text:
        yield Lines(path, text, f"{'UTF-16' if utf16 else 'UTF-8'}{how and f', {how}'}")


def _open_plain(path: Path) -> BinaryIO:
    return open(path, "rb")
