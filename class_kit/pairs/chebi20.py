"""ChEBI-20 as published, in part or whole, and splits made of its two smaller files, or of the two of PCdes.

Files: the release of MolT5 (Edwards et al., EMNLP 2022) at one pinned commit; split of Text2Mol (EMNLP 2021). PCdes are
descriptions of PubChem in the same layout (Zeng et al., Nature Communications 2022).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from class_kit.errors import InputError
from class_kit.fetch import PINNED, find_folder, git_blob_id
from class_kit.files import home_path
from class_kit.pairs.pairset import PairSet
from class_kit.pairs.readers import read_table
from class_kit.pairs.rows import check_rows, find_column, single_backslashes
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
from class_kit.pairs.table import Place

Cells = dict[str, list[str | None]]

FILES = {TRAIN: "train.txt", VALIDATION: "validation.txt", TEST: "test.txt"}
MOLECULES = "molecules.tsv"
HEADER = ("CID", "SMILES", "description")
COMMIT = PINNED["chebi20"]["train.txt"][0].split("/")[-2]
BLOBS = {name: blob for name, (_, blob, _) in PINNED["chebi20"].items()}
# the file to train on and the one to test on
PCDES: dict[str, str | None] = {
    "test.txt": "9e9f7f38cd2234d88a7bfc9858e07e037ff3aa34",
    "validation.txt": "bfa420fa9514bf62472768493c08c6bfbb27ec17",
}
HELD_OUT = 500


def load_release(
    name: str,
    data: str | os.PathLike[str] | None,
    extra: str | os.PathLike[str] | None,
    swap: bool,
    group: str,
    seed: int,
) -> tuple[PairSet, list[str]]:
    """Load "chebi20" or "pcdes", and say which files were read and whether they are the release.

    ChEBI-20 without `extra` has the published splits. Otherwise one file is trained on, together with the extra pairs
    of ChEBI-20, and the other is the test split; for model selection 500 seeded training rows (a tenth where there are
    fewer than 5,000) become "validation". Rows of one skeleton, or of one structure (`group`), move together.
    """
    if name == "pcdes":
        folder, files, blobs = find_folder(name, PCDES, data), [*PCDES], PCDES
    elif extra is not None:
        name = f"chebi20 with extra pairs{', swapped' if swap else ''}"
        folder, blobs = _chebi20_folder(data), BLOBS
        files = [FILES[TEST], FILES[VALIDATION]] if swap else [FILES[VALIDATION], FILES[TEST]]
    elif swap:
        raise InputError("swap=True exchanges the two sides of the split that extra= makes; give extra= as well")
    else:
        rows, notes = _published_rows(_chebi20_folder(data))
        pairs, molecules = check_rows(*rows, name, need_split=True)
        return pairs, [*notes, *overlap_notes(pairs.split, molecules, pairs.text)]
    more = [] if extra is None else [(home_path(extra), TRAIN)]
    rows = _read_rows([(folder / files[0], TRAIN), *more, (folder / files[1], TEST)])
    pairs, molecules = check_rows(*rows, name, need_split=True)
    train = [row for row, split in enumerate(pairs.split) if split == TRAIN]
    groups = molecule_groups([molecules[row] for row in train], group)
    names = list(pairs.split)
    held = group_split(groups, {VALIDATION: min(HELD_OUT, len(train) // 10)}, seed=seed)
    for row, split in zip(train, held, strict=True):
        names[row] = split
    pairs = replace(pairs, split=tuple(names))
    trained = " and ".join(path.name for path, split in [(folder / files[0], TRAIN), *more])
    notes = [
        f"{name}: train is {trained}, less the rows held out; test is {files[1]}: this is not the published split",
        _release_note(folder, files, blobs),
        f"{names.count(VALIDATION):,} training rows are held out as validation for model selection, seed {seed}; "
        f"{names.count(TRAIN):,} are left to train on",
    ]
    if extra is not None:
        count = sum(name not in FILES.values() for name in pairs.extra["origin"])
        notes.append(f"{count:,} of the pairs ({more[0][0].name}) are unpublished as a set")
    return pairs, [*notes, grouping_note(groups, group), *overlap_notes(names, molecules, pairs.text)]


def load_pool(data: str | os.PathLike[str] | None) -> PairSet:
    """Read all molecules of ChEBI-20 from molecules.tsv, else the union of the released files that are there.

    SMILES are not parsed: they are the published ones, and whatever embeds them names those it cannot use.
    """
    folder = _chebi20_folder(data)
    notes: list[str] = []
    if (folder / MOLECULES).is_file():
        table = read_table(folder / MOLECULES, quoting=False)
        columns = {role: find_column(table, role) for role in ("id", "smiles", "split")}
        if None in columns.values():
            raise InputError(f"{table.source}: expected the columns CID, SMILES and split")
        cells, places = {role: table.columns[column or ""] for role, column in columns.items()}, table.places
        cells["smiles"] = single_backslashes(cells["smiles"])
    else:
        (cells, _, places), notes = _published_rows(folder)
        notes.append(f"the pool is the union of the files there, {len(places):,} molecules (33,010 when complete)")
    if bad := [place for place in places if place.reason]:
        raise InputError(f"{folder}: {bad[0].file} row {bad[0].row} (line {bad[0].line}): {bad[0].reason}")
    ids, smiles, splits = (tuple(cell or "" for cell in cells[role]) for role in ("id", "smiles", "split"))
    if twice := len(ids) - len(set(ids)):
        raise InputError(f"{folder}: {twice} molecule ids occur more than once; expected each once")
    names = tuple(map(split_name, splits))
    return PairSet(("",) * len(ids), smiles, ids, names, "chebi20 molecules", notes=tuple(notes))


def _chebi20_folder(data: str | os.PathLike[str] | None) -> Path:
    return find_folder("chebi20", (*FILES.values(), MOLECULES), data)


def _published_rows(folder: Path) -> tuple[tuple[Cells, Cells, list[Place]], list[str]]:
    present = {split: name for split, name in FILES.items() if (folder / name).is_file()}
    if not present:
        raise InputError(f"{folder}: none of {', '.join(FILES.values())} is there; `class-kit fetch chebi20` gets them")
    notes = [f"published ChEBI-20 splits found: {', '.join(present)}"]
    missing = [name for name in FILES.values() if name not in present.values()]
    if missing:
        notes.append(f"not in the folder: {', '.join(missing)}; `class-kit fetch chebi20` gets what is published")
    notes.append(_release_note(folder, present.values(), BLOBS))
    return _read_rows([(folder / name, split) for split, name in present.items()]), notes


def _read_rows(files: list[tuple[Path, str]]) -> tuple[Cells, Cells, list[Place]]:
    """Rows of files in the style of the release, each with its split and, as the only other column, its origin.

    They are separated by tabs, quotes are ordinary characters, and backslashes may be doubled. Pairs of a file that is
    not of the release have row numbers as ids, and their column "source" is their origin.
    """
    cells: Cells = {role: [] for role in ("id", "smiles", "text", "split")}
    origin: list[str | None] = []
    places: list[Place] = []
    for path, split in files:
        table = read_table(path, quoting=False)
        count = len(table.places)
        released = path.name in FILES.values()
        if released and tuple(table.columns) != HEADER:
            raise InputError(f"{path}: the columns are {', '.join(table.columns)}; expected {', '.join(HEADER)}")
        numbers = [f"extra-{place.row}" for place in table.places]
        cells["id"] += table.columns["CID"] if released else numbers
        cells["smiles"] += single_backslashes(table.columns[find_column(table, "smiles") or ""])
        cells["text"] += table.columns[find_column(table, "text") or ""]
        cells["split"] += [split] * count
        origin += [path.name] * count if released else table.columns.get("source", ["extra"] * count)
        places += table.places
    return cells, {"origin": origin}, places


def _release_note(folder: Path, names: Iterable[str], blobs: Mapping[str, str | None]) -> str:
    release = f"the release at commit {COMMIT[:12]}" if blobs is BLOBS else "the known files"
    if other := [name for name in names if git_blob_id(folder / name) != blobs[name]]:
        return f"differs from {release}: {', '.join(other)}"
    return f"{', '.join(names)}: verified as {release}"
