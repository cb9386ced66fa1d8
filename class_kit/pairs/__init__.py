"""Load pairs from the bundled corpus, ChEBI-20 or any table: every row is checked, every split is accounted for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from class_kit.checks import check_choice, check_real
from class_kit.errors import InputError
from class_kit.files import corpus_file
from class_kit.pairs import chebi20
from class_kit.pairs.pairset import GIVEN, PairSet
from class_kit.pairs.pairset import Rejected as Rejected
from class_kit.pairs.pairset import content_digest as content_digest
from class_kit.pairs.pairset import pool_targets as pool_targets
from class_kit.pairs.readers import read_source, read_table
from class_kit.pairs.rows import as_smiles, check_rows, find_column, refuse_too_many, standardized, unique_labels
from class_kit.pairs.splits import GROUPS, KINDS, make_splits, overlap_notes, split_name, split_order
from class_kit.pairs.table import COMMON_NAMES, Table, is_common
from class_kit.terminal import counted, one_line

# published splits, read from a folder of their files
RELEASES = ("chebi20", "pcdes")
# every two splits are compared, so their number counts twice
MAX_SPLITS = 50


def load_pairs(
    source: Any,
    split: str | None = None,
    *,
    text: str | None = None,
    smiles: str | None = None,
    id: str | None = None,
    split_column: str | None = None,
    data: str | os.PathLike[str] | None = None,
    extra: str | os.PathLike[str] | None = None,
    swap: bool = False,
    make_split: str | None = None,
    group: str = "skeleton",
    quoting: bool | None = None,
    standardize: bool = False,
    seed: int = 0,
    max_rejected: float = 0.2,
    rejected_to: str | os.PathLike[str] | None = None,
) -> PairSet:
    """Load text–molecule pairs and check every row.

    Parameters
    ----------
    source : str, path, or table in memory
        "corpus" (bundled, generated descriptions), "chebi20", "pcdes" (its test rows to train on, its validation rows
        as test), or a file: CSV, TSV or TXT with any usual delimiter, JSON Lines, JSON records, SDF, SMI (each also
        .gz, .bz2, .xz or .zst), Parquet, Feather, Excel, a folder saved by the library datasets, "hf://owner/name".
        Or a DataFrame of pandas or Polars, a Dataset or DatasetDict, a mapping of columns, a list of records or of
        (SMILES, text).
    split : str, optional
        Return only this split; "val", "valid" and "dev" mean "validation".
    text, smiles, id, split_column : str, optional
        Column names. Without them: text, description, caption, summary or definition; smiles, isosmiles,
        canonical_smiles, structure or inchi; id or cid; split — in any letter case. Ids in a column named here must be
        unique; in a column found by its name, repeats get a number; without an id column, ids are row numbers.
    data : path, optional
        Folder with the files of ChEBI-20 or PCdes; else $CLASS_KIT_DATA and the kit's data folder are searched.
    extra : path, optional
        "chebi20" only: tab-separated file with SMILES and description. Makes the split that needs no train.txt:
        train on validation.txt and the extra pairs, 500 of these rows held out as "validation", test on test.txt.
    swap : bool
        With `extra`: train on test.txt and the extra pairs, test on validation.txt.
    make_split : {"random", "scaffold"}, optional
        Make a seeded 80/10/10 split of a file, by molecule or by Bemis–Murcko scaffold, even if it has a split column.
        By default a file's split column is used, and a file without one is split at random.
    group : {"skeleton", "structure"}
        Molecules that the splits made here keep together: those with the same skeleton (first block of the InChIKey:
        stereoisomers, protonation states, tautomers), or those that differ only in stereochemistry.
    quoting : bool, optional
        In delimited text, whether quotes enclose cells or are ordinary characters. By default they enclose cells, but
        in tab-separated files only where the whole file is well-formed with them.
    standardize : bool
        Replace every molecule by its largest fragment, neutral, in its canonical tautomer (RDKit's rdMolStandardize);
        the original SMILES are kept in the column "smiles as given", and `PairSet.standardized` lists the changes.
    seed : int
        Seed of the splits made here.
    max_rejected : float
        Largest share of rows, 0 to 1, that may be unusable.
    rejected_to : path, optional
        CSV file to which rejected rows are written, before anything is raised.

    Returns
    -------
    PairSet
        Its `notes` state how the table was read, where the split comes from and what its parts share; `rejected` lists
        the rows left out.

    Raises
    ------
    InputError
        If the file, a column, the split, an option or too many rows cannot be used.
    """
    check_real("max_rejected", max_rejected, low=0, high=1)
    if make_split is not None:
        check_choice("make_split", make_split, KINDS)
    check_choice("group", group, GROUPS)
    columns = {"text": text, "smiles": smiles, "id": id, "split": split_column}
    for_files: dict[str, object] = {**columns, "make_split": make_split, "quoting": quoting}
    for_files["standardize"] = standardize or None
    for_chebi20: dict[str, object] = {"extra": extra, "swap": swap or None}
    if isinstance(source, str) and source in RELEASES:
        _refuse_options(for_files, f"apply to files; the published rows of {source} keep their splits")
        _refuse_options(for_chebi20 if source == "pcdes" else {}, 'apply to "chebi20" only')
        pairs, notes = chebi20.load_release(source, data, extra, swap, group, seed)
    else:
        _refuse_options({"data": data, **for_chebi20}, 'apply to "chebi20" only')
        if isinstance(source, str) and source == "corpus":
            table = replace(read_table(corpus_file()), source="corpus")
        else:
            table = read_source(source, quoting=quoting, names=[name for name in columns.values() if name is not None])
        pairs, notes = _pairs_of(table, columns, make_split, group, seed, standardize)
    refuse_too_many(pairs, max_rejected, rejected_to)
    if pairs.rejected:
        notes.append(f"{counted(len(pairs.rejected), 'row')} rejected")
    # notes are printed wherever pairs are used, and quote names from the file
    pairs = replace(pairs, notes=tuple(one_line(note) for note in notes))
    return pairs if split is None else pairs.where(split_name(split))


def load_molecules(source: str = "chebi20", data: str | os.PathLike[str] | None = None) -> PairSet:
    """Load the full candidate pool of ChEBI-20: 33,010 molecules, ids are PubChem CIDs.

    Text2Mol ranks against all of them, other work only within the test split; the two are not comparable, so the pool
    is a set of its own, with empty texts. Without molecules.tsv the pool is the union of the split files that are
    there, and its notes say so.

    Raises
    ------
    InputError
        If `source` is not "chebi20", its files are not found, or they repeat a molecule.
    """
    if source != "chebi20":
        raise InputError(f"source={source!r}: the only molecule pool is 'chebi20'; rank other pairs within themselves")
    return chebi20.load_pool(data)


def check_columns(source: Any, **options: Any) -> None:
    """Refuse a source whose columns `load_pairs` could not use with these options; rows are not checked."""
    if source in ("corpus", *RELEASES):
        return
    wanted = {role: options.get("split_column" if role == "split" else role) or None for role in COMMON_NAMES}
    table = read_source(source, quoting=options.get("quoting"), names=[name for name in wanted.values() if name])
    for role, given in wanted.items():
        find_column(table, role, given)


def _pairs_of(
    table: Table, wanted: dict[str, str | None], make_split: str | None, group: str, seed: int, standardize: bool
) -> tuple[PairSet, list[str]]:
    columns = {role: name for role, given in wanted.items() if (name := find_column(table, role, given)) is not None}
    cells = {role: table.columns[name] for role, name in columns.items()}
    extra = {name: values for name, values in table.columns.items() if name not in columns.values()}
    bundled, count, file = table.source == "corpus", len(table.places), Path(table.source).name
    notes = ["generated descriptions: written by a program from each structure, not by chemists"] if bundled else []
    notes += table.notes
    if table.skipped:
        skipped = sorted(table.skipped.items(), key=lambda item: not is_common(item[0]))
        notes.append(f"left out: {', '.join(f'column {name[:60]!r} holds {kind}' for name, kind in skipped)}")
    if "id" not in columns:
        cells["id"] = [str(row) for row in range(1, count + 1)]
        notes.append("no id column: the ids are row numbers")
    elif wanted["id"] is None and not bundled:
        cells["id"], changed = unique_labels(cells["id"])
        if changed:
            notes.append(f"column {columns['id']!r} repeats or has gaps: {changed:,} of its ids were made unique")
    cells["smiles"], conversions = as_smiles(cells["smiles"])
    notes += conversions
    if standardize:
        extra[GIVEN] = cells["smiles"]
        alike, note = standardized([cell or "" for cell in cells["smiles"]])
        cells["smiles"] = [*alike]
        notes.append(note)
    given = columns.get("split")
    cells.setdefault("split", [None] * count)
    need_split = given is not None and make_split is None
    pairs, molecules = check_rows(cells, extra, table.places, file, need_split=need_split)
    if not bundled:
        about = ", ".join(f"{role} from {name!r:.80}" for role, name in columns.items())
        notes.insert(0, f"{file}: {table.how}; {about}; {counted(count, 'row')}, {len(pairs):,} kept")
    if given is None or make_split is not None:
        if given is not None:
            notes.append(f"column {given!r} ignored because of make_split={make_split!r}")
        names, made = make_splits(molecules, make_split or "random", group=group, seed=seed)
        return replace(pairs, split=names), [*notes, *made]
    splits = split_order(pairs.split)
    if len(splits) > MAX_SPLITS:
        raise InputError(
            f"{file}: column {given!r} names {len(splits):,} splits; at most {MAX_SPLITS} are compared; "
            "make_split='random' (--make-split random) makes a new split instead"
        )
    notes.append(f"splits given by column {given!r}: {', '.join(splits)}")
    return pairs, [*notes, *overlap_notes(pairs.split, molecules, pairs.text)]


def _refuse_options(options: Mapping[str, object], why: str) -> None:
    if given := [name for name, value in options.items() if value is not None]:
        raise InputError(f"{', '.join(given)}: these options {why}")
