"""ChEBI-20 as published, in part or whole, and splits made of its two smaller files, or of the two of PCdes.

Files: the release of MolT5 (Edwards et al., EMNLP 2022) at one pinned commit; split of Text2Mol (EMNLP 2021). PCdes are
descriptions of PubChem in the same layout (Zeng et al., Nature Communications 2022).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from class_kit.errors import InputError
from class_kit.fetch import PINNED, find_folder, git_blob_id
from class_kit.files import home_path
from class_kit.molecules.structures import Structure
from class_kit.pairs.delimited import RELEASE_HEADER
from class_kit.pairs.pairset import PairSet
from class_kit.pairs.readers import read_table
from class_kit.pairs.rows import Rows, check_rows, find_column, joined, rows_of
from class_kit.pairs.splits import (
    TEST,
    TRAIN,
    VALIDATION,
    group_split,
    grouping_note,
    molecule_groups,
    overlap_notes,
    split_name,
)
from class_kit.pairs.table import Table

FILES = {TRAIN: "train.txt", VALIDATION: "validation.txt", TEST: "test.txt"}
MOLECULES = "molecules.tsv"
# trained on and asked, with their git blob ids
PCDES = {
    "test.txt": "9e9f7f38cd2234d88a7bfc9858e07e037ff3aa34",
    "validation.txt": "bfa420fa9514bf62472768493c08c6bfbb27ec17",
}
ORIGIN = "origin"
HELD_OUT = 500


def chebi20_folder(data: str | os.PathLike[str] | None) -> Path:
    """Return the folder with ChEBI-20 files: see `class_kit.fetch.find_folder` for where it looks."""
    return find_folder("chebi20", (*FILES.values(), MOLECULES), data)


def load_published(folder: Path) -> tuple[PairSet, list[str]]:
    """Load the published splits that a folder has, and say which those are and whether they are the pinned release."""
    rows, notes = _published_rows(folder)
    pairs, molecules = check_rows(rows, "chebi20", need_split=True)
    return pairs, [*notes, *_origin_notes(pairs, molecules)]


def load_with_extra(
    folder: Path, extra: str | os.PathLike[str], swap: bool, group: str, seed: int
) -> tuple[PairSet, list[str]]:
    """Load validation.txt and the extra pairs as training rows and test.txt as test rows; `swap` exchanges the two."""
    sources = [FILES[TEST], FILES[VALIDATION]] if swap else [FILES[VALIDATION], FILES[TEST]]
    path = home_path(extra)
    table = _read(path)
    more = rows_of(table, {role: find_column(table, role) for role in ("text", "smiles")}, prefix="extra-")
    more = _marked(more, TRAIN, table.columns.get("source", ["extra"] * len(more.places)))
    pairs, notes = _held_out(
        folder, sources, [more], f"chebi20 with extra pairs{', swapped' if swap else ''}", group, seed
    )
    made = [
        f"train is {sources[0]} and {path.name}, less the rows held out; test is {sources[1]}: "
        "this is not the published training set",
        f"{len(more.places):,} of the pairs ({path.name}) are unpublished as a set",
        _release_note(folder, sources),
    ]
    if (folder / FILES[TRAIN]).is_file():
        made.append("train.txt is there and not used: extra= makes the same split with and without it")
    return pairs, [*made, *notes]


def load_pcdes(data: str | os.PathLike[str] | None, group: str, seed: int) -> tuple[PairSet, list[str]]:
    """Load the 3,000 test rows of PCdes as training rows and its 1,500 validation rows as test rows."""
    folder = find_folder("pcdes", PCDES, data)
    pairs, notes = _held_out(folder, list(PCDES), [], "pcdes", group, seed)
    other = [name for name, blob in PCDES.items() if git_blob_id(folder / name) != blob]
    known = f"differs from the known files: {', '.join(other)}" if other else "both files are verified"
    return pairs, [f"train is test.txt of PCdes, less the rows held out; test is validation.txt; {known}", *notes]


def _held_out(
    folder: Path, sources: list[str], more: list[Rows], name: str, group: str, seed: int
) -> tuple[PairSet, list[str]]:
    """The first file and `more` as training rows and the second as test rows, and what the split is.

    For model selection 500 seeded training rows (a tenth where there are fewer than 5,000) become "validation". Rows
    of one skeleton, or of one structure (`group`), move together; the test rows stay what they are.
    """
    missing = [file for file in sources if not (folder / file).is_file()]
    if missing:
        raise InputError(f"{folder} has no {' and no '.join(missing)}; {name} needs {' and '.join(sources)}")
    rows = joined([_file_rows(folder / sources[0], TRAIN), *more, _file_rows(folder / sources[1], TEST)])
    pairs, molecules = check_rows(rows, name, need_split=True)
    train = [row for row, split in enumerate(pairs.split) if split == TRAIN]
    groups = molecule_groups([molecules[row] for row in train], group)
    names = list(pairs.split)
    held = group_split(groups, {VALIDATION: min(HELD_OUT, len(train) // 10)}, seed=seed)
    for row, split in zip(train, held, strict=True):
        names[row] = split
    pairs = replace(pairs, split=tuple(names))
    note = (
        f"{names.count(VALIDATION):,} training rows are held out as validation for model selection, seed {seed}; "
        f"{names.count(TRAIN):,} are left to train on"
    )
    shared = overlap_notes(pairs.split, molecules, pairs.text)
    return pairs, [note, grouping_note(groups, group), *shared, *_origin_notes(pairs, molecules)]


def load_pool(folder: Path) -> PairSet:
    """Read all molecules of ChEBI-20 from molecules.tsv, else the union of the released files that are there.

    SMILES are not parsed: they are the published ones, and whatever embeds them names those it cannot use.
    """
    notes: list[str] = []
    if (folder / MOLECULES).is_file():
        table = _read(folder / MOLECULES)
        columns = {role: find_column(table, role) for role in ("id", "smiles", "split")}
        if None in columns.values():
            raise InputError(f"{table.source}: expected the columns CID, SMILES and split")
        rows = rows_of(table, columns | {"text": columns["id"]})
    else:
        rows, notes = _published_rows(folder)
        count = len(rows.places)
        notes.append(f"the pool is the union of the files there, {count:,} molecules (33,010 when complete)")
    if bad := [place for place in rows.places if place.reason]:
        raise InputError(f"{folder}: {bad[0].file} row {bad[0].row} (line {bad[0].line}): {bad[0].reason}")
    ids, smiles, splits = (tuple(cell or "" for cell in rows.cells[role]) for role in ("id", "smiles", "split"))
    if twice := len(ids) - len(set(ids)):
        raise InputError(f"{folder}: {twice} molecule ids occur more than once; expected each once")
    names = tuple(map(split_name, splits))
    return PairSet(("",) * len(ids), smiles, ids, names, "chebi20 molecules", notes=tuple(notes))


def _read(path: Path) -> Table:
    """A table in the style of the release: quotes are ordinary characters, and backslashes may be doubled."""
    return replace(read_table(path, quoting=False), released=True)


def _published_rows(folder: Path) -> tuple[Rows, list[str]]:
    present = {split: name for split, name in FILES.items() if (folder / name).is_file()}
    if not present:
        raise InputError(f"{folder}: none of {', '.join(FILES.values())} is there; `class-kit fetch chebi20` gets them")
    notes = [f"published ChEBI-20 splits found: {', '.join(present)}"]
    missing = [name for name in FILES.values() if name not in present.values()]
    if missing:
        notes.append(f"not in the folder: {', '.join(missing)}; `class-kit fetch chebi20` gets what is published")
    notes.append(_release_note(folder, list(present.values())))
    return joined([_file_rows(folder / name, split) for split, name in present.items()]), notes


def _file_rows(path: Path, split: str) -> Rows:
    """Rows of one released file: tab-separated, quotes are ordinary characters, header CID, SMILES, description."""
    table = _read(path)
    if tuple(table.columns) != RELEASE_HEADER:
        raise InputError(f"{path}: the columns are {', '.join(table.columns)}; expected {', '.join(RELEASE_HEADER)}")
    rows = rows_of(table, {"id": "CID", "smiles": "SMILES", "text": "description"})
    return _marked(rows, split, [path.name] * len(rows.places))


def _marked(rows: Rows, split: str, origin: list[str | None] | list[str]) -> Rows:
    """The rows with a split, and where they come from as their only other column."""
    return Rows(rows.cells | {"split": [split] * len(rows.places)}, {ORIGIN: [*origin]}, rows.places)


def _origin_notes(pairs: PairSet, molecules: list[Structure]) -> tuple[str, ...]:
    """Count what the files themselves share, which no split made of them changes."""
    origins = [name if name in FILES.values() else "extra pairs" for name in pairs.extra[ORIGIN]]
    return overlap_notes(origins, molecules, pairs.text)


def _release_note(folder: Path, names: list[str]) -> str:
    released = {file.name: file for file in PINNED["chebi20"]}
    other = [name for name in names if git_blob_id(folder / name) != released[name].blob]
    commit = released[FILES[TEST]].commit[:12]
    if other:
        return f"differs from the release at commit {commit}: {', '.join(other)}"
    return f"{', '.join(names)}: verified as the release at commit {commit}"
