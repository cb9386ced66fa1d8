"""Parquet tables from strangers, read in batches so that a small file cannot fill the memory.

A Parquet file states its own sizes, and one value can stand for millions of rows. So strings are read as a dictionary
and indices, which take no more than the file itself, and are measured before they become text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.pairs.tables import MAX_CELL, MAX_CELLS, MAX_ROWS, Table, column_names, refuse_columns, too_large

_BATCH = 8_192


def read_parquet(path: Path, max_bytes: int) -> Table:
    """Read the columns of plain values; others are named in `skipped`, with their type, and not even decoded.

    Raises
    ------
    InputError
        If the file cannot be read, has no data row, repeats a column name, or holds more than the kit's limits.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            refuse_columns(path, file.metadata.num_columns)
            raw = file.schema_arrow
        names = column_names(path, raw.names)
        skipped = _skipped(names, raw)
        wanted = [place for place, name in enumerate(names) if name not in skipped]
        strings = [raw.names[place] for place in wanted if _is_string(raw.types[place])]
        with pyarrow.parquet.ParquetFile(path, read_dictionary=strings) as file:
            count = _checked_size(path, file.metadata, len(wanted), max_bytes)
            reader = _Columns(path, [names[place] for place in wanted], max_bytes, skipped)
            if wanted:
                # several columns may have the empty name, so what comes back is taken in its order
                chosen = list(dict.fromkeys(raw.names[place] for place in wanted))
                for batch in file.iter_batches(_BATCH, columns=chosen, use_threads=False):
                    reader.add(batch.columns)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())[:300]}") from None
    if not count:
        raise InputError(f"{path} has columns and no data row")
    if any(len(values) != count for values in reader.columns.values()):
        raise InputError(f"{path} is not a readable Parquet file: its columns are not as long as it says")
    return Table(path, reader.columns, list(range(1, count + 1)), [None] * count, [], skipped)


class _Columns:
    """Columns of Python values, filled batch by batch; a column that Python cannot hold moves to `skipped`."""

    def __init__(self, path: Path, names: list[str], max_bytes: int, skipped: dict[str, str]) -> None:
        self.path, self.names, self.max_bytes, self.skipped = path, names, max_bytes, skipped
        self.columns: dict[str, list[Any]] = {name: [] for name in names}
        self.left = max_bytes

    def add(self, arrays: list[Any]) -> None:
        import pyarrow

        for name, array in zip(self.names, arrays, strict=True):
            if name not in self.columns:
                continue
            if _is_string(array.type):
                self.columns[name].extend(self._strings(name, array))
                continue
            try:
                self.columns[name].extend(array.to_pylist())
            except (OverflowError, ValueError, LookupError, pyarrow.ArrowException):
                # dates beyond the year 9999, unknown time zones
                self.skipped[name] = f"{str(array.type)[:100]} that Python cannot hold"
                del self.columns[name]

    def _strings(self, name: str, array: Any) -> list[str | None]:
        import pyarrow
        import pyarrow.compute

        coded = array if pyarrow.types.is_dictionary(array.type) else array.dictionary_encode()
        lengths = pyarrow.compute.binary_length(coded.dictionary)
        longest = pyarrow.compute.max(lengths).as_py() or 0
        if longest > MAX_CELL:
            raise InputError(
                f"{self.path}: column {name[:60]!r} has a value of {longest:,} bytes; at most {MAX_CELL:,} are read"
            )
        self.left -= pyarrow.compute.sum(lengths.take(coded.indices)).as_py() or 0
        if self.left < 0:
            raise too_large(self.path, self.max_bytes)
        values = coded.dictionary.to_pylist()
        return [None if place is None else values[place] for place in coded.indices.to_pylist()]


def _checked_size(path: Path, metadata: Any, columns: int, max_bytes: int) -> int:
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if max(size, path.stat().st_size) > max_bytes:
        raise too_large(path, max_bytes)
    if metadata.num_rows > MAX_ROWS or metadata.num_rows * columns > MAX_CELLS:
        raise InputError(
            f"{path} has {metadata.num_rows:,} rows of {columns:,} columns; at most {MAX_ROWS:,} rows and "
            f"{MAX_CELLS:,} values are read"
        )
    return int(metadata.num_rows)


def _skipped(names: list[str], schema: Any) -> dict[str, str]:
    found = {name: str(kind)[:100] for name, kind in zip(names, schema.types, strict=True) if not _is_plain(kind)}
    # a name such as a.b also stands for the field b of a nested column a
    for name in names:
        if name not in found and name.split(".")[0] in found:
            found[name] = "values under the name of a nested column's field"
    return found


def _is_plain(kind: Any) -> bool:
    import pyarrow

    if isinstance(kind, pyarrow.BaseExtensionType) or pyarrow.types.is_nested(kind):
        return False
    if pyarrow.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    # every kind of bytes has "binary" in its name, in all releases
    return "binary" not in str(kind)


def _is_string(kind: Any) -> bool:
    import pyarrow

    value = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    return str(value) in {"string", "large_string", "string_view"}
