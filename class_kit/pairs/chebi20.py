"""ChEBI-20 as published, in part or whole, and the split made of its two smaller files and unpublished extra pairs.

Files: the release of MolT5 (Edwards et al., EMNLP 2022) at one pinned commit; split of Text2Mol (EMNLP 2021).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from class_kit.errors import InputError
from class_kit.fetch import PINNED, find_folder, git_blob_id
from class_kit.pairs.pairset import MoleculeSet
from class_kit.pairs.readers import RELEASE_HEADER, read_table
from class_kit.pairs.rows import Checked, Rows, find_column, joined, rows_of, single_backslashes
from class_kit.pairs.splits import TEST, TRAIN, VALIDATION, group_split, grouping_note, overlap_notes, split_name

FILES = {TRAIN: "train.txt", VALIDATION: "validation.txt", TEST: "test.txt"}
MOLECULES = "molecules.tsv"
ORIGIN = "origin"
HELD_OUT = 500

_RELEASED = {file.name: file for file in PINNED["chebi20"]}


def published_rows(path: Path, split: str) -> Rows:
    """Read one released file: tab-separated, quotes are ordinary characters, header CID, SMILES, description."""
    table = read_table(path, quoting=False)
    if tuple(table.columns) != RELEASE_HEADER:
        raise InputError(f"{path}: the columns are {', '.join(table.columns)}; expected {', '.join(RELEASE_HEADER)}")
    rows = rows_of(table, {"id": "CID", "smiles": "SMILES", "text": "description"})
    rows.split = [split] * len(rows)
    rows.extra = {ORIGIN: [path.name] * len(rows)}
    return rows


def published_split(folder: Path) -> tuple[Rows, list[str]]:
    """Read the released files that a folder has, and say which those are and whether they are the pinned release."""
    present = {split: name for split, name in FILES.items() if (folder / name).is_file()}
    if not present:
        raise InputError(f"{folder}: none of {', '.join(FILES.values())} is there; `class-kit fetch chebi20` gets them")
    notes = [f"published ChEBI-20 splits found: {', '.join(present)}"]
    missing = [name for name in FILES.values() if name not in present.values()]
    if missing:
        notes.append(f"not in the folder: {', '.join(missing)}; `class-kit fetch chebi20` gets what is published")
    notes.append(_release_note(folder, list(present.values())))
    parts = [published_rows(folder / name, split) for split, name in present.items()]
    return joined(parts, ORIGIN), notes


def studied_split(folder: Path, extra: Path, swap: bool) -> tuple[Rows, list[str]]:
    """Read validation.txt and the extra pairs as training rows and test.txt as test rows; `swap` exchanges the two."""
    sources = (FILES[TEST], FILES[VALIDATION]) if swap else (FILES[VALIDATION], FILES[TEST])
    missing = [name for name in sources if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} has no {' and no '.join(missing)}; extra= needs {' and '.join(sources)}")
    more = _extra_rows(extra)
    notes = [
        f"train is {sources[0]} and {extra.name}, less the rows held out; test is {sources[1]}: "
        "this is not the published training set",
        f"{len(more):,} of the pairs ({extra.name}) are unpublished as a set",
        _release_note(folder, list(sources)),
    ]
    if (folder / FILES[TRAIN]).is_file():
        notes.append("train.txt is there and not used: extra= makes the same split with and without it")
    parts = [published_rows(folder / sources[0], TRAIN), more, published_rows(folder / sources[1], TEST)]
    return joined(parts, ORIGIN), notes


def hold_out(checked: Checked, seed: int) -> tuple[Checked, list[str]]:
    """Move 500 seeded training rows (a tenth where there are fewer than 5,000) to "validation", for model selection.

    Rows of one stereo-free structure move together; the published test rows stay what they are.
    """
    train = [row for row, name in enumerate(checked.columns["split"]) if name == TRAIN]
    keys = [checked.keys[row] for row in train]
    size = min(HELD_OUT, len(train) // 10)
    names = list(checked.columns["split"])
    for row, name in zip(train, group_split(keys, {VALIDATION: size}, seed=seed), strict=True):
        names[row] = name
    held = names.count(VALIDATION)
    notes = [
        f"{held:,} training rows are held out as validation for model selection, seed {seed}; "
        f"{names.count(TRAIN):,} are left to train on",
        grouping_note(keys),
    ]
    return replace(checked, columns={**checked.columns, "split": tuple(names)}), notes


def origin_notes(checked: Checked) -> tuple[str, ...]:
    """Count what the files themselves share, which no split made of them changes."""
    published = set(FILES.values())
    origins = [name if name in published else "extra pairs" for name in checked.extra[ORIGIN]]
    return overlap_notes(origins, checked.keys, checked.columns["text"])


def load_pool(folder: Path) -> MoleculeSet:
    """Read all molecules of ChEBI-20 from molecules.tsv, else the union of the released files that are there.

    SMILES are not parsed: they are the published ones, and whatever embeds them names those it cannot use.
    """
    path = folder / MOLECULES
    notes: list[str] = []
    if path.is_file():
        table = read_table(path, quoting=False)
        names = {role: find_column(table, role) for role in ("id", "smiles", "split")}
        if None in names.values() or table.bad:
            raise InputError(f"{path}: expected the columns CID, SMILES and split, three fields in every row")
        ids, smiles, splits = (table.columns[str(names[role])] for role in ("id", "smiles", "split"))
        smiles = single_backslashes(smiles)
    else:
        rows, notes = published_split(folder)
        if rows.bad:
            raise InputError(f"{folder}: {rows.bad[0]}")
        notes.append(f"the pool is the union of the files there, {len(rows):,} molecules (33,010 when complete)")
        ids, smiles, splits = rows.id, rows.smiles, rows.split
    twice = len(ids) - len(set(ids))
    if twice:
        raise InputError(f"{folder}: {twice} molecule ids occur more than once; expected each once")
    return MoleculeSet(
        tuple(ids), tuple(smiles), tuple(split_name(name) for name in splits), "chebi20 molecules", tuple(notes)
    )


def chebi20_folder(data: str | os.PathLike[str] | None) -> Path:
    """Return the folder with ChEBI-20 files: see `class_kit.fetch.find_folder` for where it looks."""
    return find_folder("chebi20", (*FILES.values(), MOLECULES), data)


def _extra_rows(path: Path) -> Rows:
    table = read_table(path, quoting=False)
    columns = {role: find_column(table, role) for role in ("text", "smiles")}
    rows = rows_of(table, columns, prefix="extra-")
    rows.split = [TRAIN] * len(rows)
    rows.extra = {ORIGIN: table.columns.get("source", ["extra"] * len(rows))}
    return rows


def _release_note(folder: Path, names: list[str]) -> str:
    other = [name for name in names if git_blob_id(folder / name) != _RELEASED[name].blob]
    commit = _RELEASED[FILES[TEST]].commit[:12]
    if other:
        return f"differs from the release at commit {commit}: {', '.join(other)}"
    return f"{', '.join(names)}: verified as the release at commit {commit}"
