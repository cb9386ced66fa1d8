"""Every kind of table that people have becomes a `Table`, or one clear error: files here, objects of other libraries.

`read_table` alone opens files, and a kind of file is one entry of `READERS`; nothing behind it asks where a table came
from. What a library reads well it reads; delimited text is in `class_kit.pairs.delimited`.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.errors import InputError
from class_kit.files import home_path
from class_kit.pairs.delimited import read_delimited
from class_kit.pairs.table import (
    MAX_COLUMNS,
    Lines,
    Place,
    Table,
    check_size,
    column_names,
    is_common,
    kind_of,
    open_lines,
    table_of_values,
)

if TYPE_CHECKING:
    import pandas
    import pyarrow

EXPECTED = (
    "CSV, TSV, TXT, JSON, JSON Lines, SDF, SMI (each also .gz, .bz2, .xz or .zst), Parquet, Feather, Excel, or a "
    "folder saved by the library datasets"
)
HUB = "hf://"
# JSON that is one list is held in memory as a whole, at about twenty times its size
MAX_JSON = 64 << 20
# of a record of an SDF file, a hundred times that of a large molecule
MAX_RECORD = 1 << 20
# of a molecule's atoms: RDKit writes the SMILES by recursion
MAX_ATOMS = 2_000
_STRUCTURE = "structure of the record"
_SPLIT = "split of the data set"


def read_source(source: Any, *, quoting: bool | None = None, names: Collection[str] = ()) -> Table:
    """Read a table from a path, the hub, or an object in memory; see `read_table`.

    Raises
    ------
    InputError
        If it is nothing that holds a table.
    """
    if isinstance(source, str) and source.startswith(HUB):
        return _read_hub(source)
    if isinstance(source, str | os.PathLike):
        return read_table(home_path(source), quoting=quoting, names=names)
    return _read_object(source)


def read_table(path: Path, *, quoting: bool | None = None, names: Collection[str] = ()) -> Table:
    """Read a file.

    Parameters
    ----------
    path : Path
    quoting : bool, optional
        In delimited text, whether quotes enclose cells or are ordinary characters. By default they enclose cells, but
        in tab-separated files only where the whole file is well-formed with them.
    names : collection of str
        Columns that the user named, by which a header is known.

    Raises
    ------
    InputError
        If the file is missing, not a regular file, of an unknown kind, empty, holds NUL characters, has no data row,
        repeats a column name, leaves a quote open, or is beyond the limits of `class_kit.pairs.table`.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode) and ((path / "state.json").exists() or (path / "dataset_dict.json").exists()):
            return _read_saved(path)
        if not stat.S_ISREG(mode):
            # opening a pipe or a device could wait for ever
            what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise InputError(f"{path} is {what}; expected {EXPECTED}")
        if kind_of(path) in (".csv", ".tsv", ".tab", ".txt"):
            table = read_delimited(path, quoting, names)
        elif kind_of(path) in READERS:
            table = READERS[kind_of(path)](path)
        else:
            raise InputError(f"{path}: files of this kind are not read; expected {EXPECTED}")
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file (looked for {path.absolute()})") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise InputError(f"{path}: the compressed data is damaged ({error})") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())[:300]}") from None
    return table


# --- records: JSON, JSON Lines, SDF and SMILES files


def _read_records(path: Path, kind: str, parse: Callable[[Lines], Iterator[tuple[int | None, Any]]]) -> Table:
    """A table of a text file that `parse` takes apart into records, each with the line on which it begins."""
    records: list[Any] = []
    starts: list[int | None] = []
    with open_lines(path) as lines:
        for start, record in parse(lines):
            check_size(str(path), rows=len(records))
            records.append(record)
            starts.append(start)
    roles = {"smiles": _STRUCTURE} if kind == "SDF" else {}
    how = f"{kind}, {lines.how}"
    return _table_of_records(str(path), path.name, records, starts, how=how, roles=roles, notes=lines.notes)


def _json_records(lines: Lines) -> Iterator[tuple[int | None, Any]]:
    """A list of records, or a record a line."""
    whole: list[str] = []
    size = seen = 0
    for number, line in enumerate(lines, start=1):
        if whole or (not seen and line.lstrip().startswith("[")):
            whole.append(line)
            size += len(line)
            if size > MAX_JSON:
                raise InputError(f"{lines.path}: a list of more than {MAX_JSON:,} characters; write a record a line")
        elif line.strip():
            seen += 1
            yield number, _json(line)
    found = _json("".join(whole)) if whole else []
    if isinstance(found, _Unusable):
        raise InputError(f"{lines.path} is not readable: {found}")
    for record in found:
        yield None, record


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return _Unusable(f"no JSON: {str(error)[:200]}")


class _Unusable(str):
    """Why a record cannot be used, in its place."""


def _table_of_records(
    source: str, file: str, records: Sequence[Any], starts: Sequence[int | None] = (), **about: Any
) -> Table:
    """A table of records, each a mapping of names to values, or two values: SMILES and text."""
    rows: list[Mapping[Any, Any]] = []
    places, names = [], dict[Any, None]()
    for at, record in enumerate(records):
        row, reason = record, ""
        if isinstance(record, tuple | list) and len(record) == 2:
            row = dict(zip(("smiles", "text"), record, strict=True))
        elif not isinstance(record, Mapping):
            reason = record if isinstance(record, _Unusable) else f"a {type(record).__name__}; expected a record"
            row = {}
        names |= dict.fromkeys(row)
        if len(names) > MAX_COLUMNS:
            raise InputError(f"{source} has more than {MAX_COLUMNS:,} columns, the most that are read")
        rows.append(row)
        places.append(Place(file, at + 1, starts[at] if starts else None, str(reason)))
    columns = {name: [row.get(name) for row in rows] for name in names}
    return table_of_values(source, columns, places, **about)


def _sdf_records(lines: Lines) -> Iterator[tuple[int | None, Any]]:
    block: list[str] = []
    size, start = 0, 1
    for number, line in enumerate(lines, start=1):
        size += len(line)
        # what goes beyond the limit is counted and not kept
        if size <= MAX_RECORD:
            block.append(line)
        if line.strip() == "$$$$":
            yield start, _sdf_record("".join(block), size)
            block, size, start = [], 0, number + 1
    if "".join(block).strip() or size > MAX_RECORD:
        yield start, _sdf_record("".join(block), size)


def _sdf_record(block: str, size: int) -> dict[str, str] | _Unusable:
    from rdkit import Chem, rdBase

    if size > MAX_RECORD:
        return _Unusable(f"record of {size:,} characters; at most {MAX_RECORD:,} are read")
    try:
        with rdBase.BlockLogs():
            supplier = Chem.SDMolSupplier()
            supplier.SetData(block)
            molecule = next(iter(supplier), None)
            if molecule is None or not molecule.GetNumAtoms():
                return _Unusable("RDKit cannot read the structure of this record")
            if molecule.GetNumAtoms() > MAX_ATOMS:
                return _Unusable(f"molecule of {molecule.GetNumAtoms():,} atoms; at most {MAX_ATOMS:,} are read")
            properties = {name: molecule.GetProp(name) for name in molecule.GetPropNames()}
            return properties | {_STRUCTURE: Chem.MolToSmiles(molecule)}
    except (RuntimeError, ValueError) as error:
        return _Unusable(f"RDKit cannot read this record: {' '.join(str(error).split())[:200]}")


def _smi_records(lines: Lines) -> Iterator[tuple[int | None, Any]]:
    """SMILES, perhaps with an extension in bars, then the rest of the line as the text."""
    for number, line in enumerate(lines, start=1):
        found = re.match(r"\s*(\S+(?:\s+\|[^|]*\|)?)\s*(.*)", line)
        if found and not (number == 1 and is_common(found[1])):
            yield number, {"smiles": found[1], "text": found[2]}


# --- tables of Arrow: Parquet, Feather, and what other libraries hand over


def _read_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
        names = dict(zip(column_names(str(path), schema.names), schema, strict=True))
        # what is nested can unfold to any size, so it is not even decoded
        plain = [each.name for each in schema if not pyarrow.types.is_nested(each.type)]
        size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        check_size(str(path), size=size, rows=metadata.num_rows, cells=metadata.num_rows * len(plain))
        # one value can stand for millions of rows: strings are read as a dictionary and indices
        with pyarrow.parquet.ParquetFile(path, read_dictionary=plain) as file:
            table = file.read(columns=plain, use_threads=False)
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {' '.join(str(error).split())[:300]}") from None
    nested = {name: str(each.type)[:100] for name, each in names.items() if each.name not in plain}
    read = _table_of_arrow(str(path), path.name, table, "Parquet")
    read.skipped.update(nested)
    return read


def _read_feather(path: Path) -> Table:
    import pyarrow

    try:
        with pyarrow.OSFile(str(path)) as file:
            file.seek(8)
            # the file's messages follow each other as in a stream; what they unfold to is summed up before any does
            check_size(str(path), size=sum(map(_unfolded, pyarrow.ipc.MessageReader.open_stream(file))))
            with pyarrow.ipc.open_file(file) as reader:
                table = reader.read_all()
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, struct.error) as error:
        raise InputError(f"{path} is not a readable Feather file: {' '.join(str(error).split())[:300]}") from None
    return _table_of_arrow(str(path), path.name, table, "Feather")


def _unfolded(message: pyarrow.Message) -> int:
    """Bytes that a message of Arrow's format takes once decompressed, when each of its buffers begins with its size.

    The message is described in a FlatBuffer: a table points back to the offsets of its fields, 0 for one that it lacks.
    """
    if message.type == "schema":
        return 0
    about, body = message.metadata.to_pybytes(), message.body

    def number(place: int, kind: str = "<i") -> int:
        return int(struct.unpack_from(kind, about, place)[0])

    def field(table: int, index: int) -> int:
        offsets, at = table - number(table), 4 + 2 * index
        offset = number(offsets + at, "<H") if at < number(offsets, "<H") else 0
        return offset and table + offset + number(table + offset)

    batch = field(number(0), 2)
    if message.type == "dictionary":
        batch = field(batch, 1)
    size, buffers = int(body.size), field(batch, 2)
    if not field(batch, 3):
        return size
    for at in range(number(buffers)):
        start, length = (number(buffers + 4 + 16 * at + part, "<q") for part in (0, 8))
        size += max(0, struct.unpack("<q", body[start : start + 8].to_pybytes())[0]) if length else 0
    return size


def _table_of_arrow(source: str, file: str, table: pyarrow.Table, how: str, **about: Any) -> Table:
    import pyarrow

    names = column_names(source, table.schema.names)
    check_size(source, size=table.nbytes, rows=table.num_rows, cells=table.num_rows * len(names))
    columns, skipped = {}, {}
    for at, name in enumerate(names):
        kind = str(table.schema.field(at).type)[:100]
        try:
            columns[name] = _texts(table.column(at))
        except (pyarrow.ArrowException, ValueError):
            skipped[name] = kind if pyarrow.types.is_nested(table.schema.field(at).type) else f"{kind} that has no text"
    return Table(source, columns, _places(file, table.num_rows), how, skipped=skipped, **about)


def _texts(column: pyarrow.ChunkedArray) -> list[str | None]:
    """Cells of an Arrow column as text; equal cells share one string, so that a small file stays small."""
    import pyarrow

    if pyarrow.types.is_nested(column.type):
        raise ValueError(f"{column.type} is nested")
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


# --- Excel, data sets, and objects in memory


def _read_excel(path: Path) -> Table:
    import zipfile

    import pandas

    try:
        with zipfile.ZipFile(path) as archive:
            check_size(str(path), size=sum(each.file_size for each in archive.infolist()))
        frame = pandas.read_excel(path, header=None, dtype=object, keep_default_na=False, engine="openpyxl")
    except InputError:
        raise
    except ImportError:
        raise InputError(f"{path}: reading Excel needs openpyxl: pip install 'class-kit[excel]'") from None
    except Exception as error:  # openpyxl meets damaged files with exceptions of many kinds
        raise InputError(f"{path} is not a readable Excel file: {' '.join(str(error).split())[:300]}") from None
    if frame.empty:
        raise InputError(f"{path} is empty; expected a header row and data rows")
    return _table_of_frame(str(path), path.name, frame[1:].set_axis(frame.iloc[0], axis=1), "Excel, first sheet")


def _read_saved(path: Path) -> Table:
    return _read_object(_from_datasets("load_from_disk", str(path)), str(path))


def _read_hub(source: str) -> Table:
    table = _read_object(_from_datasets("load_dataset", source.removeprefix(HUB)), source)
    return replace(table, notes=("read from the hub by the library datasets, which the kit's tests do not try",))


def _from_datasets(function: str, argument: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise InputError(f"{argument}: needs the library datasets: pip install 'class-kit[trainers]'") from None
    try:
        return getattr(datasets, function)(argument)
    except Exception as error:  # whatever the hub or a damaged folder brings
        raise InputError(f"{argument} cannot be read by datasets: {' '.join(str(error).split())[:300]}") from None


def _read_object(source: Any, name: str = "") -> Table:
    """A table of an object in memory; its kind stands where a file's name would."""
    import pandas

    kind = type(source).__name__
    name = name or kind
    if isinstance(source, Mapping) and source and all(hasattr(part, "with_format") for part in source.values()):
        return _joined_splits(source, kind, name)
    if hasattr(source, "with_format"):
        return _table_of_arrow(name, kind, source.with_format("arrow")[:], "data set")
    if isinstance(source, Mapping):
        try:
            source = pandas.DataFrame(source, dtype=object)
        except (ValueError, TypeError) as error:
            raise InputError(f"{name}: expected columns of equal length: {str(error)[:200]}") from None
    if isinstance(source, pandas.DataFrame):
        return _table_of_frame(name, kind, source, "columns")
    if hasattr(source, "__arrow_c_stream__"):
        import pyarrow

        return _table_of_arrow(name, kind, pyarrow.table(source), f"{kind} through Arrow")
    if isinstance(source, Sequence) and not isinstance(source, bytes | bytearray):
        return _table_of_records(name, kind, source, how="records")
    raise InputError(
        f"source is a {kind}: expected corpus, chebi20, a path, a DataFrame of pandas or Polars, a Dataset, a mapping "
        "of columns, or a list of (SMILES, text)"
    )


def _table_of_frame(source: str, file: str, frame: pandas.DataFrame, how: str) -> Table:
    names = column_names(source, frame.columns.tolist())
    values = frame.astype(object).where(frame.notna(), None)
    columns = {name: values.iloc[:, at].tolist() for at, name in enumerate(names)}
    return table_of_values(source, columns, _places(file, len(frame)), how=how)


def _places(file: str, rows: int) -> list[Place]:
    return [Place(file, row, None) for row in range(1, rows + 1)]


def _joined_splits(source: Mapping[str, Any], kind: str, name: str) -> Table:
    import pyarrow

    parts = []
    for split, part in source.items():
        rows = part.with_format("arrow")[:]
        parts.append(rows.append_column(_SPLIT, pyarrow.array([split] * len(rows))))
    try:
        whole = pyarrow.concat_tables(parts, promote_options="default")
    except pyarrow.ArrowException as error:
        raise InputError(f"{name}: its splits do not fit each other: {str(error)[:200]}") from None
    return _table_of_arrow(name, kind, whole, "data set with splits", roles={"split": _SPLIT})


READERS: dict[str, Callable[[Path], Table]] = {
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), partial(_read_records, kind="JSON", parse=_json_records)),
    **dict.fromkeys((".sdf", ".sd"), partial(_read_records, kind="SDF", parse=_sdf_records)),
    **dict.fromkeys((".smi", ".smiles"), partial(_read_records, kind="SMILES file", parse=_smi_records)),
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".feather": _read_feather,
    ".arrow": _read_feather,
    ".xlsx": _read_excel,
    ".xlsm": _read_excel,
}
