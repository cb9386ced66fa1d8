"""From a table's cells to usable pairs: molecules as SMILES, and every row kept or rejected with place and reason."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from class_kit.errors import InputError
from class_kit.molecules.structures import MAX_SMILES, Structure, each_molecule, parse, structures
from class_kit.pairs.pairset import PairSet, Rejected, write_rejected
from class_kit.pairs.splits import split_name
from class_kit.pairs.table import COMMON_NAMES, Place, Table, plain_name
from class_kit.terminal import counted

# Texts that stand for a missing one, in lower case; numbers such as nan are refused as well.
PLACEHOLDERS = ("na", "none", "null", "<na>", "\\n", "n/a", "-", "nil", "#n/a")

# ids and splits are printed, put under drawings and held in arrays as wide as the longest of them
MAX_NAME = 200
_SHOWN = 200
_SURROGATE = re.compile("[\ud800-\udfff]")
_FIRST_REASONS = 3


def find_column(table: Table, role: str, given: str | None = None) -> str | None:
    """The column that holds `role`: the one given, the one that this kind of table has for it, or the one with a
    common name; None where there is no id or split.

    Raises
    ------
    InputError
        If the given column does not exist or has no text, or several columns have a common name.
    """
    if given is None and role in table.roles:
        return table.roles[role]
    option = "split_column= (--split-column)" if role == "split" else f"{role}= (--{role})"
    groups = COMMON_NAMES[role] if given is None else ((given,),)
    for group in groups:
        named = [name for name in table.columns if (name if given else plain_name(name)) in group]
        if len(named) > 1 and role != "id":
            both = " and ".join(map(repr, named))
            raise InputError(f"{table.source}: {both} could each be the {role}; choose one with {option}")
        if named:
            return named[0]
        for name, kind in table.skipped.items():
            if (name if given else plain_name(name)) in group:
                raise InputError(f"{table.source}: column {name!r} holds {kind}; expected text")
    if given is None and role in ("id", "split"):
        return None
    names = [repr(name[:60]) for name in table.columns]
    there = f"its columns are {', '.join(names[:20]) or 'none'}{' …' if len(names) > 20 else ''}"
    if given is not None:
        raise InputError(f"{table.source} has no column {given!r}, named by {option}; {there}")
    common = ", ".join(name for group in groups for name in group)
    raise InputError(f"{table.source}: no column is called {common}; {there}; name the one to use with {option}")


def unique_labels(cells: Sequence[str | None]) -> tuple[list[str | None], int]:
    """Ids made unique: a repeated one gets a number behind it, a missing or too long one becomes the row's number.

    Returns the ids `(L,)` and how many were changed.
    """
    labels: list[str | None] = []
    used: Counter[str] = Counter()
    names = [(cell or "").strip() for cell in cells]
    for row, name in enumerate(names, start=1):
        base = label = name if name and len(name) <= MAX_NAME - 20 else f"row {row}"
        while label in used:
            used[base] += 1
            label = f"{base} ({used[base]})"
        used[label] += 1
        labels.append(label)
    return labels, sum(label != name for label, name in zip(labels, names, strict=True))


def single_backslashes(smiles: Sequence[str | None]) -> list[str | None]:
    """SMILES with single bond marks for doubled ones, as ChEBI-20's release has them.

    RDKit takes a doubled mark for one, but other programs and comparisons of strings do not. Two bond marks in a row
    are no SMILES, so a file that never had them doubled stays the same.
    """
    return [cell and cell.replace("\\\\", "\\") for cell in smiles]


def as_smiles(cells: Sequence[str | None]) -> tuple[list[str | None], list[str]]:
    """SMILES of cells that may hold InChI, or SMILES with a CXSMILES extension behind a blank.

    What RDKit cannot convert stays as it is, so that its row is rejected later.

    Returns
    -------
    list of str or None
    list of str
        What was converted, and how many.
    """
    from rdkit import Chem, rdBase

    smiles: list[str | None] = []
    converted = cut = 0
    for cell in single_backslashes(cells):
        value = (cell or "").strip()
        if value.startswith("InChI=") and len(value) <= MAX_SMILES:
            with rdBase.BlockLogs():
                molecule = Chem.MolFromInchi(value)
                value = value if molecule is None else Chem.MolToSmiles(molecule)
            converted += molecule is not None
        start, _, rest = value.partition(" ")
        if rest.startswith("|") and rest.endswith("|"):
            value = start
            cut += 1
        smiles.append(value)
    notes = {"InChI converted to SMILES": converted, "CXSMILES extensions cut off": cut}
    notes["SMILES with doubled backslashes, which were made single"] = sum("\\\\" in (cell or "") for cell in cells)
    return smiles, [f"{what}: {count:,}" for what, count in notes.items() if count]


def check_rows(
    by_role: Mapping[str, Sequence[str | None]],
    others: Mapping[str, Sequence[str | None]],
    places: Sequence[Place],
    source: str,
    *,
    need_split: bool,
) -> tuple[PairSet, list[Structure]]:
    """Keep the rows with a new id, a text, a SMILES that RDKit reads and (if needed) a split; list all others.

    White space around a cell is dropped.

    Parameters
    ----------
    by_role, others
        Cells of id, smiles, text and split, and of the other columns by name.
    places
        Where each row is, or why it could not be read.

    Returns
    -------
    PairSet of the rows that were kept, with the others in `rejected`
    list of Structure
        The molecule of each pair.
    """
    cells = {name: [(cell or "").strip() for cell in values] for name, values in by_role.items()}
    cells["split"] = [split_name(name) for name in cells["split"]]
    parsed = structures(cells["smiles"])
    kept, rejected = [], []
    first_use: dict[str, str] = {}
    for index, place in enumerate(places):
        name, text, smiles, split = (cells[role][index] for role in ("id", "text", "smiles", "split"))
        reason = place.reason or _name_reason("id", name)
        if not reason and name in first_use:
            reason = f"id {_short(name)!r} was already used in {first_use[name]}"
        reason = reason or _text_reason(text) or parsed[index].reason
        reason = reason or (_name_reason("split name", split) if need_split else "")
        first_use.setdefault(name, f"{place.file} row {place.row}")
        if reason:
            rejected.append(Rejected(*place[:3], reason, *map(_short, (name, smiles, text))))
        else:
            kept.append(index)
    columns = {name: tuple(values[index] for index in kept) for name, values in cells.items()}
    extra = {name: tuple((values[index] or "").strip() for index in kept) for name, values in others.items()}
    pairs = PairSet(**columns, source=source, rejected=tuple(rejected), extra=extra)
    return pairs, [parsed[index] for index in kept]


def refuse_too_many(pairs: PairSet, max_rejected: float, rejected_to: str | os.PathLike[str] | None) -> None:
    """Write the rejected rows where asked, then refuse the pairs if more rows are bad than allowed, or all.

    Raises
    ------
    InputError
        With the first reasons, in which a wrong column or file shows.
    """
    if rejected_to is not None:
        write_rejected(pairs, rejected_to)
    bad, total = len(pairs.rejected), len(pairs.rejected) + len(pairs)
    if len(pairs) and bad <= max_rejected * total:
        return
    first = "; ".join(str(row) for row in pairs.rejected[:_FIRST_REASONS])
    listed = "" if rejected_to is None else f"; all of them are listed in {os.fspath(rejected_to)}"
    raise InputError(
        f"{pairs.source}: {bad:,} of {total:,} rows cannot be used, more than the {max_rejected:.0%} allowed: {first}"
        f"{' …' if bad > _FIRST_REASONS else ''}{listed}"
    )


def _name_reason(what: str, name: str) -> str:
    if not name:
        return f"empty {what}"
    return f"{what} of {len(name):,} characters; at most {MAX_NAME} are read" if len(name) > MAX_NAME else ""


def _text_reason(text: str) -> str:
    if text.lower() in PLACEHOLDERS:
        return f"text is a placeholder ({_short(text)}), not a description"
    if not text.isascii() and _SURROGATE.search(text):
        return "text is not valid Unicode"
    try:
        # "nan" as well, which careless writing makes of missing values
        float(text)
    except ValueError:
        return "" if text else "empty text"
    return f"text is a number ({_short(text)}), not a description"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def standardized(smiles: Sequence[str]) -> tuple[list[str], str]:
    """Every molecule as its largest fragment, neutral, in its canonical tautomer; and how many that changed.

    The steps are those of RDKit's rdMolStandardize; what cannot be read stays as it is.
    """
    results = list(each_molecule(smiles, range(len(smiles)), _standardize, "standardizing", None, cost=20))
    changed = sum(before != after for before, after in zip(smiles, results, strict=True))
    return results, f"standardize=True changed {counted(changed, 'molecule')}"


def _standardize(smiles: str) -> str:
    from rdkit import Chem, rdBase
    from rdkit.Chem.MolStandardize import rdMolStandardize

    molecule, _ = parse(smiles)
    if molecule is None:
        return smiles
    before = Chem.MolToSmiles(molecule)
    try:
        with rdBase.BlockLogs():
            molecule = rdMolStandardize.LargestFragmentChooser().choose(molecule)
            molecule = rdMolStandardize.Uncharger().uncharge(molecule)
            after = Chem.MolToSmiles(rdMolStandardize.TautomerEnumerator().Canonicalize(molecule))
    except RuntimeError:
        return smiles
    # a molecule that stays the same keeps its spelling
    return smiles if after == before else after
