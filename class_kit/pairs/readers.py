"""Read every kind of table that people have, files and objects of other libraries: a `Table`, or one clear error.

Only `read_table` opens files, and a kind of file is one entry of `READERS`; no later step asks where a table came from.
Libraries read what they read well; delimited text is in `class_kit.pairs.delimited`.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.errors import InputError
from class_kit.files import home_path
from class_kit.pairs.delimited import read_delimited
from class_kit.pairs.table import (
    Table,
    Text,
    Unusable,
    check_size,
    column_names,
    is_common,
    kind_of,
    read_text,
    table_of,
    table_of_records,
)

if TYPE_CHECKING:
    import pandas
    import pyarrow

EXPECTED = (
    "CSV, TSV, TXT, JSON, JSON Lines, SDF, SMI (each also .gz, .bz2, .xz or .zst), Parquet, Feather, Excel, or a "
    "folder saved by the library datasets"
)
HUB = "hf://"
# a value of JSON takes about twenty times its size in memory
MAX_JSON = 64 << 20
# characters of a record of an SDF file: a hundred times those of a large molecule
MAX_RECORD = 1 << 20
# RDKit writes SMILES by recursion
MAX_ATOMS = 2_000
_STRUCTURE = "structure of the record"
_SPLIT = "split of the data set"


def read_source(source: Any, *, quoting: bool | None = None, names: Collection[str] = ()) -> Table:
    """Read a table from a path, the hub, or an object in memory; see `read_table`.

    Raises
    ------
    InputError
        If it holds no table.
    """
    if isinstance(source, str) and source.startswith(HUB):
        with _refusing(source):
            table = _read_object(_datasets().load_dataset(source.removeprefix(HUB)), source)
        return replace(table, notes=("read from the hub by the library datasets, which the kit's tests do not cover",))
    if isinstance(source, str | os.PathLike):
        return read_table(home_path(source), quoting=quoting, names=names)
    with _refusing(f"source, a {type(source).__name__},"):
        return _read_object(source, type(source).__name__)


def read_table(path: Path, *, quoting: bool | None = None, names: Collection[str] = ()) -> Table:
    """Read a file.

    Parameters
    ----------
    path : Path
    quoting : bool, optional
        In delimited text, whether quotes enclose cells or are ordinary characters. By default they enclose cells, but
        in tab-separated files only where the whole file is well-formed with them.
    names : collection of str
        Columns that the user named, by which a header is recognised.

    Raises
    ------
    InputError
        If the file is missing, not a regular file, of an unknown kind, empty, holds NUL characters, has no data row,
        repeats a column name, leaves a quote open, or is beyond the limits of `class_kit.pairs.table`.
    """
    with _refusing(str(path)):
        try:
            path.stat()
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such file (looked for {path.absolute()})") from None
        if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
            return _read_object(_datasets().load_from_disk(str(path)), str(path))
        if not path.is_file():
            # opening a pipe or a device could block for ever
            what = "a folder" if path.is_dir() else "not a regular file"
            raise InputError(f"{path} is {what}; expected {EXPECTED}")
        if kind_of(path) in (".csv", ".tsv", ".tab", ".txt"):
            return read_delimited(path, quoting, names)
        if kind_of(path) in READERS:
            return READERS[kind_of(path)](path)
        raise InputError(f"{path}: files of this kind are not read; expected {EXPECTED}")


@contextmanager
def _refusing(source: str) -> Iterator[None]:
    """One error for the many kinds of exception that libraries raise on damaged files."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{source} cannot be read: {' '.join(str(error).split())[:300]}") from None


def _datasets() -> Any:
    from class_kit.curriculum.trainers import require

    return require("datasets")


# --- records: JSON, JSON Lines, SDF and SMILES files


def _read_records(path: Path, kind: str, parse: Callable[[Text], Iterator[tuple[int | None, Any]]]) -> Table:
    """A table of a text file that `parse` takes apart into records, each with the line on which it begins."""
    text = read_text(path)
    roles = {"smiles": _STRUCTURE} if kind == "SDF" else {}
    return table_of_records(str(path), parse(text), f"{kind}, {text.how}", roles=roles, notes=text.notes)


def _json_records(text: Text) -> Iterator[tuple[int | None, Any]]:
    """A list of records, or a record a line."""
    if re.match(r"\s*\[", text.content):
        records = _json(text.content)
        if isinstance(records, Unusable):
            raise ValueError(records)
        yield from ((None, record) for record in records)
        return
    for number, line in enumerate(text.lines(), start=1):
        if line.strip():
            yield number, _json(line)


def _json(text: str) -> Any:
    if len(text) > MAX_JSON:
        return Unusable(
            f"JSON value of {len(text):,} characters; at most {MAX_JSON:,} are read (write a record a line)"
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return Unusable(f"not JSON: {str(error)[:200]}")


def _sdf_records(text: Text) -> Iterator[tuple[int | None, Any]]:
    block: list[str] = []
    start = 1
    for number, line in enumerate(text.lines(), start=1):
        block.append(line)
        if line.strip() == "$$$$":
            yield start, _sdf_record("".join(block))
            block, start = [], number + 1
    if "".join(block).strip():
        yield start, _sdf_record("".join(block))


def _sdf_record(block: str) -> dict[str, str] | Unusable:
    from rdkit import Chem, rdBase

    if len(block) > MAX_RECORD:
        return Unusable(f"record of {len(block):,} characters; at most {MAX_RECORD:,} are read")
    try:
        with rdBase.BlockLogs():
            supplier = Chem.SDMolSupplier()
            supplier.SetData(block)
            molecule = next(iter(supplier), None)
            if molecule is None or not molecule.GetNumAtoms():
                return Unusable("RDKit cannot read the structure of this record")
            if molecule.GetNumAtoms() > MAX_ATOMS:
                return Unusable(f"molecule of {molecule.GetNumAtoms():,} atoms; at most {MAX_ATOMS:,} are read")
            properties = {name: molecule.GetProp(name) for name in molecule.GetPropNames()}
            return properties | {_STRUCTURE: Chem.MolToSmiles(molecule)}
    except (RuntimeError, ValueError) as error:
        return Unusable(f"RDKit cannot read this record: {' '.join(str(error).split())[:200]}")


def _smi_records(text: Text) -> Iterator[tuple[int | None, Any]]:
    """SMILES, perhaps with a CXSMILES extension, then the rest of the line as the text."""
    for number, line in enumerate(text.lines(), start=1):
        parts = re.match(r"\s*(\S+(?:\s+\|[^|]*\|)?)\s*(.*)", line)
        if parts and not (number == 1 and is_common(parts[1])):
            yield number, {"smiles": parts[1], "text": parts[2]}


# --- tables of Arrow: Parquet, Feather, and what other libraries hand over


def _read_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    column_names(str(path), schema.names)
    # nested columns can unfold to any size, so they are not decoded
    plain = [each.name for each in schema if not pyarrow.types.is_nested(each.type)]
    # one value can stand for millions of rows, so strings are read as a dictionary and indices
    with pyarrow.parquet.ParquetFile(path, read_dictionary=plain) as file:
        rows, groups = file.metadata.num_rows, file.metadata.num_row_groups
        size = sum(file.metadata.row_group(group).total_byte_size for group in range(groups))
        check_size(str(path), size=size, rows=rows, cells=rows * len(plain))
        table = file.read(columns=plain, use_threads=False)
    check_size(str(path), size=table.nbytes)
    # a column that is not decoded is represented by its field
    columns = [(each.name, table[each.name] if each.name in plain else each) for each in schema]
    return table_of(str(path), columns, rows, "Parquet")


def _read_feather(path: Path) -> Table:
    import pyarrow

    with pyarrow.OSFile(str(path)) as file:
        file.seek(8)
        # the file's messages follow each other as in a stream; their sizes are added up before any is decompressed
        check_size(str(path), size=sum(map(_unfolded, pyarrow.ipc.MessageReader.open_stream(file))))
        with pyarrow.ipc.open_file(file) as reader:
            table = reader.read_all()
    return _table_of_arrow(str(path), table, "Feather")


def _unfolded(message: pyarrow.Message) -> int:
    """Bytes of a message in Arrow's format once decompressed; a compressed buffer begins with that number.

    The message is described in a FlatBuffer: a table points back to the offsets of its fields, 0 for a missing one.
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


def _table_of_arrow(source: str, table: pyarrow.Table, how: str, **about: Any) -> Table:
    check_size(source, size=table.nbytes)
    columns = list(zip(table.schema.names, table.columns, strict=True))
    return table_of(source, columns, table.num_rows, how, **about)


# --- Excel, data sets, and objects in memory


def _read_excel(path: Path) -> Table:
    import zipfile

    import pandas

    with zipfile.ZipFile(path) as archive:
        check_size(str(path), size=sum(each.file_size for each in archive.infolist()))
    frame = pandas.read_excel(path, header=None, dtype=object, keep_default_na=False, engine="openpyxl")
    if frame.empty:
        raise InputError(f"{path} is empty; expected a header row and data rows")
    return _table_of_frame(str(path), frame[1:].set_axis(frame.iloc[0], axis=1), "Excel, first sheet")


def _read_object(source: Any, name: str) -> Table:
    """A table of an object in memory; `name` is given in place of a file's name."""
    import pandas

    if isinstance(source, Mapping) and source and all(hasattr(part, "with_format") for part in source.values()):
        parts = [part.add_column(_SPLIT, [split] * len(part)) for split, part in source.items()]
        whole = _datasets().concatenate_datasets(parts).with_format("arrow")[:]
        return _table_of_arrow(name, whole, "data set with splits", roles={"split": _SPLIT})
    if hasattr(source, "with_format"):
        return _table_of_arrow(name, source.with_format("arrow")[:], "data set")
    if isinstance(source, Mapping):
        source = pandas.DataFrame(source, dtype=object)
    if isinstance(source, pandas.DataFrame):
        return _table_of_frame(name, source, "columns")
    if hasattr(source, "__arrow_c_stream__"):
        import pyarrow

        return _table_of_arrow(name, pyarrow.table(source), f"{name} through Arrow")
    if isinstance(source, Sequence) and not isinstance(source, bytes | bytearray):
        return table_of_records(name, ((None, record) for record in source), "records")
    raise InputError(
        f"source is a {name}: expected corpus, chebi20, a path, a DataFrame of pandas or Polars, a Dataset, a mapping "
        "of columns, or a list of (SMILES, text)"
    )


def _table_of_frame(source: str, frame: pandas.DataFrame, how: str) -> Table:
    values = frame.astype(object).where(frame.notna(), None)
    columns = [(name, values.iloc[:, at].tolist()) for at, name in enumerate(frame.columns)]
    return table_of(source, columns, len(frame), how)


READERS: dict[str, Callable[[Path], Table]] = {
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), partial(_read_records, kind="JSON", parse=_json_records)),
    **dict.fromkeys((".sdf", ".sd"), partial(_read_records, kind="SDF", parse=_sdf_records)),
    **dict.fromkeys((".smi", ".smiles"), partial(_read_records, kind="SMILES file", parse=_smi_records)),
    **dict.fromkeys((".parquet", ".pq"), _read_parquet),
    **dict.fromkeys((".feather", ".arrow"), _read_feather),
    **dict.fromkeys((".xlsx", ".xlsm"), _read_excel),
}
