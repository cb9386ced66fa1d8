"""What repeats in a set of pairs, and why rows were left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from class_kit.pairs import PairSet, Rejected
from class_kit.progress import progress_bar

# What two pairs can have in common, in the order of the report.
EQUAL_TEXT = "equal texts"
EQUAL_MOLECULE = "equal molecules"
EQUAL_WITHOUT_STEREO = "equal molecules, stereochemistry aside"
EQUAL_PAIR = "equal text and molecule"


def find_repeats(
    pairs: PairSet, *, progress: bool | None = None
) -> tuple[list[dict[str, Any]], dict[str, list[list[str]]]]:
    """Groups of pairs with equal texts, equal molecules (with and without stereochemistry), or both.

    Molecules are compared as RDKit's canonical SMILES, so that another spelling of the same structure counts as equal;
    texts character by character.

    Returns
    -------
    list of {what, groups, rows, largest, across_splits}
        One entry for each kind, also where there are none: zero was looked for.
    dict of what to groups
        Ids of the pairs of each group, the largest group first.
    """
    exact, flat = canonical_forms(pairs.smiles, progress=progress)
    keys: dict[str, Sequence[Hashable]] = {
        EQUAL_TEXT: pairs.text,
        EQUAL_MOLECULE: exact,
        EQUAL_WITHOUT_STEREO: flat,
        EQUAL_PAIR: list(zip(pairs.text, exact, strict=True)),
    }
    found = {what: _groups(values) for what, values in keys.items()}
    entries = [
        {
            "what": what,
            "groups": len(groups),
            "rows": sum(map(len, groups)),
            "largest": max(map(len, groups), default=0),
            "across_splits": sum(len({pairs.split[row] for row in group}) > 1 for group in groups),
        }
        for what, groups in found.items()
    ]
    return entries, {what: [[pairs.id[row] for row in group] for group in groups] for what, groups in found.items()}


def canonical_forms(smiles: Sequence[str], *, progress: bool | None = None) -> tuple[list[str], list[str]]:
    """Canonical SMILES of each molecule, with and without stereochemistry and isotopes."""
    from rdkit import Chem

    from class_kit.molecules import read_molecule

    exact, flat = [], []
    disable = None if progress is None else not progress
    for text in progress_bar(smiles, desc="canonical SMILES", unit="molecule", disable=disable):
        molecule = read_molecule(text)
        exact.append(Chem.MolToSmiles(molecule))
        flat.append(Chem.MolToSmiles(molecule, isomericSmiles=False))
    return exact, flat


def group_reasons(rejected: Iterable[Rejected]) -> list[dict[str, Any]]:
    """Rejected rows by kind of reason, the most frequent first: {reason, rows, first}.

    A reason names the row's own values; quoted ones and numbers are taken out, so that a thousand rows with the same
    fault are one line.
    """
    kinds: Counter[str] = Counter()
    first: dict[str, str] = {}
    for row in rejected:
        kind = re.sub(r"\d[\d,]*", "…", re.sub(r"'[^']*'|\"[^\"]*\"|\([^)]*\)", "…", row.reason))
        kinds[kind] += 1
        first.setdefault(kind, str(row))
    return [{"reason": kind, "rows": rows, "first": first[kind]} for kind, rows in kinds.most_common()]


def _groups(values: Sequence[Hashable]) -> list[list[int]]:
    """Row numbers of equal values, groups of two and more, the largest first, then in order of appearance."""
    rows: dict[Hashable, list[int]] = {}
    for row, value in enumerate(values):
        rows.setdefault(value, []).append(row)
    return sorted((group for group in rows.values() if len(group) > 1), key=lambda group: -len(group))
