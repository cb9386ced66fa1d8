"""What every kind of table becomes, columns of text with the place of each row, and the limits for all of them.

The limits lie far above any real set of descriptions and far below what a decompression bomb unfolds to.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import numbers
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from class_kit.errors import InputError

MAX_BYTES = 1 << 30
MAX_CELL = 16 << 20
MAX_COLUMNS = 4_096
MAX_ROWS = 2_000_000
MAX_CELLS = 10_000_000

# Names by which columns are found, by role, in any case and without blanks, `_` and `-`. Those of a group are equal; a
# group counts only where none before it has a match.
COMMON_NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "text": (("text", "description", "caption", "summary", "definition"),),
    "smiles": (("smiles", "isosmiles", "isomericsmiles"), ("canonicalsmiles",), ("structure",), ("inchi",)),
    "id": (("id",), ("cid",)),
    "split": (("split",),),
}


class Unusable(str):
    """Why a record cannot be used, in its place."""


class Place(NamedTuple):
    """Where a row is: file, 1-based data row, line in a file that has lines; and why it cannot be used, if so."""

    file: str
    row: int
    line: int | None
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """A table as it was read, with all its rows.

    Attributes
    ----------
    source : str
        What messages about the whole table call it.
    columns : dict of str to list
        Cells as text, None where there is none; a row that cannot be used has none.
    places : list of Place
        One for each row.
    how : str
        How it was read: kind, delimiter, encoding.
    skipped : dict of str to str
        Columns without text, and what they hold.
    roles : dict of str to str
        Columns to which this kind of table gives a role: text, smiles or split.
    notes : tuple of str
        What a user of the table has to know.
    """

    source: str
    columns: dict[str, list[str | None]]
    places: list[Place]
    how: str
    skipped: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.places:
            raise InputError(f"{self.source} has a header and no data row")


def plain_name(name: str) -> str:
    """A column's name as `COMMON_NAMES` spells it."""
    return re.sub(r"[\s_-]", "", name.lower())


def is_common(name: str) -> bool:
    """Whether a column of this name is found without being named."""
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
    """Refuse what is beyond the limits on bytes (decompressed), rows and cells."""
    if size > MAX_BYTES:
        raise InputError(
            f"{source} holds more than {MAX_BYTES:,} bytes, the most that are read (once decompressed); "
            "split the file, or keep only the columns needed as Parquet"
        )
    if rows > MAX_ROWS or cells > MAX_CELLS:
        raise InputError(f"{source}: at most {MAX_ROWS:,} rows and {MAX_CELLS:,} values are read; split the file")


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
    """A table of columns, each a list of Python values or a column of Arrow; those without text are skipped.

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
    cells = {name: _texts(values) for name, (_, values) in zip(names, columns, strict=True)}
    file, lines = Path(source).name, starts or [None] * rows
    places = [Place(file, row + 1, line, faults.get(row, "")) for row, line in enumerate(lines)]
    read = {name: texts for name, texts in cells.items() if isinstance(texts, list)}
    skipped = {name: kind for name, kind in cells.items() if isinstance(kind, str)}
    return Table(source, read, places, how, skipped, **about)


def table_of_records(
    source: str, records: Iterable[tuple[int | None, Any]], how: str, names: Iterable[str] = (), **about: Any
) -> Table:
    """A table of records, each with the line on which it begins: a mapping of names to values, or SMILES and text.

    `names` are columns to have even if no record has them; `how` and `about` are as of `Table`.
    """
    rows: list[Mapping[Any, Any]] = []
    starts: list[int | None] = []
    faults: dict[int, str] = {}
    columns: dict[Any, None] = dict.fromkeys(names)
    for start, record in records:
        row = record
        if isinstance(record, tuple | list) and len(record) == 2:
            row = dict(zip(("smiles", "text"), record, strict=True))
        elif not isinstance(record, Mapping):
            unusable = isinstance(record, Unusable)
            faults[len(rows)] = str(record) if unusable else f"expected a record, got a {type(record).__name__}"
            row = {}
        columns |= dict.fromkeys(row)
        if len(columns) > MAX_COLUMNS:
            raise InputError(f"{source} has more than {MAX_COLUMNS:,} columns, the most that are read")
        rows.append(row)
        starts.append(start)
        check_size(source, rows=len(rows), cells=len(rows) * len(columns))
    cells = [(name, [row.get(name) for row in rows]) for name in columns]
    return table_of(source, cells, len(rows), how, starts=starts, faults=faults, **about)


def _texts(values: Any) -> list[str | None] | str:
    """The values as text, None for missing ones; or what the column holds, if it has no text."""
    if isinstance(values, list):
        kinds = (type(value).__name__ for value in values if not isinstance(value, str | numbers.Number | None))
        return next(kinds, None) or [_text(value) for value in values]
    import pyarrow
    from pyarrow.types import is_dictionary, is_floating, is_nested

    kind, texts = str(values.type)[:100], []
    if is_nested(values.type):
        return kind
    try:
        # equal cells share one string, so that a small file stays small in memory
        for chunk in (values if is_dictionary(values.type) else values.dictionary_encode()).chunks:
            distinct = chunk.dictionary
            distinct = distinct if is_floating(distinct.type) else distinct.cast(pyarrow.string())
            words = [_text(value) for value in distinct.to_pylist()]
            texts += [None if place is None else words[place] for place in chunk.indices.to_pylist()]
    except (pyarrow.ArrowException, ValueError):
        return f"{kind} that has no text"
    return texts


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    # table libraries turn integers into floats where one is missing
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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
    return Path(re.sub(r"\.(gz|bz2|xz|zst)$", "", path.name.lower())).suffix


class Text(NamedTuple):
    """The content of a text file; its encoding and compression in words; notes on how it was decoded."""

    content: str
    how: str
    notes: tuple[str, ...]

    def lines(self) -> Iterable[str]:
        """The lines with their ends, which the csv reader keeps inside quotes."""
        return io.StringIO(self.content, newline="")


def read_text(path: Path) -> Text:
    """Read a text file, decompressed where its first bytes say so.

    Text is UTF-8, or UTF-16 with a byte-order mark. Bytes that are not UTF-8 are read as Latin-1 in the variant of
    Windows, unless other bytes are UTF-8 beyond ASCII: such a file is damaged.

    Raises
    ------
    InputError
        If the file is beyond the size limit, mixes encodings or holds NUL characters.
    """
    with open(path, "rb") as file:
        start = file.read(6)
    known = (entry for mark, entry in _COMPRESSED.items() if start.startswith(mark))
    compression, opener = next(known, ("", open))
    blocks, size = [], 0
    with opener(path, "rb") as stream:
        while block := stream.read(1 << 20):
            blocks.append(block)
            size += len(block)
            check_size(str(path), size=size)
    data = b"".join(blocks)
    encoding = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "UTF-8"
    notes: tuple[str, ...] = ()
    try:
        content = data.decode("utf-16" if encoding == "UTF-16" else "utf-8-sig")
    except UnicodeDecodeError as error:
        if encoding == "UTF-16":
            raise
        # without the byte-order mark
        rest = error.object
        line = rest.count(b"\n", 0, error.start) + 1
        place = f"byte 0x{rest[error.start]:02x} on line {line}"
        if not rest.decode("utf-8", "ignore").isascii():
            raise InputError(
                f"{path} is neither UTF-8 nor Latin-1 throughout: {place}; save it as UTF-8 and try again"
            ) from None
        content, encoding = rest.decode("cp1252", "replace"), "Latin-1"
        notes = (f"not UTF-8 ({place}), so read as Latin-1: check that accents and signs are right",)
    if "\0" in content:
        raise InputError(f"{path} holds NUL bytes: not a text file (binary, or UTF-16 without a byte-order mark?)")
    return Text(content, f"{encoding}{compression and f', {compression}'}", notes)
