"""From a table's rows to usable pairs: every row is either kept or rejected with a reason that names its place."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from class_kit.errors import InputError
from class_kit.pairs.pairset import Rejected, write_rejected
from class_kit.pairs.readers import Table
from class_kit.pairs.splits import split_name
from class_kit.pairs.structures import structures

COMMON_NAMES = {
    "text": ("text", "description", "caption"),
    "smiles": ("smiles", "canonical_smiles"),
    "id": ("id", "cid"),
    "split": ("split",),
}

# ids and splits are printed, put under drawings and held in arrays that are as wide as the longest of them
MAX_NAME = 200
_SHOWN = 200
_FIRST_REASONS = 3


@dataclass
class Rows:
    """Unchecked rows, one list a column; `places` holds (file, data row, line). Several files can be joined in one."""

    text: list[Any]
    smiles: list[Any]
    id: list[Any]
    split: list[Any]
    places: list[tuple[str, int, int | None]]
    bad: list[Rejected] = field(default_factory=list)
    extra: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True)
class Checked:
    """Rows that can be used, their stereo-free structures `keys`, and those that cannot."""

    columns: dict[str, tuple[str, ...]]
    keys: tuple[str, ...]
    extra: dict[str, tuple[str, ...]]
    rejected: tuple[Rejected, ...]

    def __len__(self) -> int:
        return len(self.keys)


def find_column(table: Table, role: str, given: str | None = None, *, option: str | None = None) -> str | None:
    """Return the column that holds `role`: the one given, else the only one with a common name, else None.

    Raises
    ------
    InputError
        If the given column does not exist or holds no scalars, or several columns have a common name.
    """
    option = option or role
    there = ", ".join(repr(name[:60]) for name in list(table.columns)[:20]) or "none"
    there += " …" if len(table.columns) > 20 else ""
    if given is not None:
        if given in table.skipped:
            raise InputError(f"{table.source}: column {given!r} holds {table.skipped[given]}; expected text")
        if given not in table.columns:
            raise InputError(f"{table.source} has no column {given!r} (option {option}); its columns are {there}")
        return given
    common = [name for name in table.columns if name.lower() in COMMON_NAMES[role]]
    if len(common) > 1:
        named = " and ".join(map(repr, common))
        raise InputError(f"{table.source}: {named} could each be the {role}; choose one with the option {option}")
    if not common and role in ("text", "smiles"):
        raise InputError(
            f"{table.source}: no column is called {', '.join(COMMON_NAMES[role])}; its columns are {there}; "
            f"name the one to use with the option {option}"
        )
    return common[0] if common else None


def single_backslashes(smiles: list[str]) -> list[str]:
    """Undo the doubling of backslashes in the released files of ChEBI-20.

    RDKit takes a doubled mark for one, but other programs and comparisons of strings do not. Two bond marks in a row
    are no SMILES, so a file that never had them doubled reads the same.
    """
    return [value.replace("\\\\", "\\") for value in smiles]


def rows_of(table: Table, columns: dict[str, str | None], *, prefix: str = "") -> Rows:
    """Lay out a table by role; where no id column is named, `prefix` + the data row's number serves as id.

    Files in which quotes are ordinary characters are those of ChEBI-20, where backslashes are doubled as well.
    """
    used = {role: table.columns[column] for role, column in columns.items() if column is not None}
    return Rows(
        text=used["text"],
        smiles=single_backslashes(used["smiles"]) if table.literal_quotes else used["smiles"],
        id=used.get("id") or [f"{prefix}{row}" for row in table.rows],
        split=used.get("split") or [""] * len(table.rows),
        places=[(table.name, row, line) for row, line in zip(table.rows, table.lines, strict=True)],
        bad=[Rejected(table.name, bad.row, bad.line, bad.reason, "", "", "") for bad in table.bad],
        extra={key: values for key, values in table.columns.items() if key not in columns.values()},
    )


def joined(parts: Iterable[Rows], extra: str) -> Rows:
    """Put rows of several files in one, with only the column `extra` beside the pairs."""
    whole = Rows([], [], [], [], [], [], {extra: []})
    for part in parts:
        for name in ("text", "smiles", "id", "split", "places", "bad"):
            getattr(whole, name).extend(getattr(part, name))
        whole.extra[extra].extend(part.extra[extra])
    return whole


def check_rows(rows: Rows, *, need_split: bool, progress: bool | None = None) -> Checked:
    """Keep the rows with a new id, a text, a SMILES that RDKit reads and (if needed) a split; list all others.

    White space round a value is dropped; numbers are taken as ids, never as texts.
    """
    columns = {
        "id": [_plain(value) for value in rows.id],
        "text": [value.strip() if isinstance(value, str) else "" for value in rows.text],
        "smiles": [value.strip() if isinstance(value, str) else "" for value in rows.smiles],
        "split": [split_name(_plain(value)) for value in rows.split],
    }
    parsed = structures(columns["smiles"], progress=progress)
    kept: list[int] = []
    rejected = list(rows.bad)
    first_use: dict[str, str] = {}
    for index, (file, row, line) in enumerate(rows.places):
        name = columns["id"][index]
        reason = (
            _id_reason(name, first_use)
            or _text_reason(rows.text[index], columns["text"][index])
            or _kind_reason("SMILES", rows.smiles[index])
            or parsed[index].reason
            or (_split_reason(columns["split"][index]) if need_split else "")
        )
        first_use.setdefault(name, f"{file} row {row}")
        if reason:
            shown = (_short(name), _short(rows.smiles[index]), _short(rows.text[index]))
            rejected.append(Rejected(file, row, line, reason, *shown))
        else:
            kept.append(index)
    # ragged rows were set aside before the others were looked at
    files = {file: number for number, file in enumerate(dict.fromkeys(place[0] for place in rows.places))}
    return Checked(
        columns={name: tuple(values[row] for row in kept) for name, values in columns.items()},
        keys=tuple(parsed[row].key for row in kept),
        extra={name: tuple(_plain(values[row]) for row in kept) for name, values in rows.extra.items()},
        rejected=tuple(sorted(rejected, key=lambda bad: (files.get(bad.file, len(files)), bad.row))),
    )


def refuse_too_many(
    checked: Checked, what: str, max_rejected: float, rejected_to: str | os.PathLike[str] | None
) -> None:
    """Write the rejected rows where asked, then stop if they are more than the share allowed, or all.

    Raises
    ------
    InputError
        With the first reasons, since a wrong column or file shows in them.
    """
    if rejected_to is not None:
        write_rejected(checked.rejected, rejected_to)
    bad, total = len(checked.rejected), len(checked.rejected) + len(checked)
    if checked.keys and bad <= max_rejected * total:
        return
    first = "; ".join(str(row) for row in checked.rejected[:_FIRST_REASONS])
    listed = "" if rejected_to is None else f"; all of them are listed in {os.fspath(rejected_to)}"
    raise InputError(
        f"{what}: {bad:,} of {total:,} rows cannot be used, more than the {max_rejected:.0%} allowed: {first}"
        f"{' …' if bad > _FIRST_REASONS else ''}{listed}"
    )


def _id_reason(name: str, first_use: dict[str, str]) -> str:
    if not name:
        return "empty id"
    if len(name) > MAX_NAME:
        return f"id of {len(name):,} characters; at most {MAX_NAME} are read"
    return f"id {_short(name)!r} was already used in {first_use[name]}" if name in first_use else ""


def _text_reason(value: Any, text: str) -> str:
    if reason := _kind_reason("text", value):
        return reason
    try:
        # "nan" as well: the way in which missing values reach a file that was written without care
        float(text)
    except ValueError:
        return "" if text else "empty text"
    return f"text is a number ({_short(text)}), not a description"


def _kind_reason(role: str, value: Any) -> str:
    if isinstance(value, str):
        return ""
    return f"{role} is {'missing' if value is None else f'of type {type(value).__name__}'}, expected text"


def _split_reason(name: str) -> str:
    if not name:
        return "no split is named"
    return f"split name of {len(name):,} characters; at most {MAX_NAME} are read" if len(name) > MAX_NAME else ""


def _plain(value: Any) -> str:
    """Return a cell as text; a whole number that a table library turned into a float loses its `.0` again."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _short(value: Any) -> str:
    text = _plain(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
