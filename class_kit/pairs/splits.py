"""Splits in which no molecule is on two sides, and a count of what published splits share.

A molecule is a stereo-free canonical SMILES (`class_kit.molecules.structures`). scikit-learn's group splitters draw a
share of the *groups*; here the shares are of rows, so that 80/10/10 is what its name says whatever the group sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations

import numpy as np

from class_kit.errors import InputError
from class_kit.molecules.structures import scaffold

TRAIN, VALIDATION, TEST = "train", "validation", "test"
KINDS = ("random", "scaffold")
_SYNONYMS = {"training": TRAIN, "val": VALIDATION, "valid": VALIDATION, "dev": VALIDATION, "testing": TEST}


def split_name(name: str) -> str:
    """Return the kit's word for a split: `val`, `valid` and `dev` are "validation"; unknown names stay as they are."""
    plain = name.strip()
    lower = plain.lower()
    return _SYNONYMS.get(lower, lower if lower in (TRAIN, VALIDATION, TEST) else plain)


def split_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct names with train, validation and test first, the others sorted behind them."""
    found = set(names)
    usual = [name for name in (TRAIN, VALIDATION, TEST) if name in found]
    return (*usual, *sorted(found.difference(usual)))


def group_split(groups: Sequence[Hashable], sizes: Mapping[str, int], *, seed: int = 0) -> tuple[str, ...]:
    """Assign every row to a split so that rows of one group stay together.

    Groups are drawn in seeded random order and fill the named splits in turn; a group too large for what a split still
    lacks is passed on, at last to train. A split is therefore never larger than asked, and smaller only where no
    remaining group fits: one giant group (all molecules without rings share an empty scaffold) ends up in train
    instead of deciding the test set.

    Parameters
    ----------
    groups : (L,) sequence
        Group of each row.
    sizes : mapping
        Rows wanted in each split but train.
    seed : int
        Seed of the order in which groups are drawn.

    Returns
    -------
    tuple of str, (L,)
    """
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    drawn = list(members.values())
    left = dict(sizes)
    assigned = [TRAIN] * len(groups)
    for number in np.random.default_rng(seed).permutation(len(drawn)):
        rows = drawn[number]
        name = next((name for name, room in left.items() if len(rows) <= room), None)
        if name is not None:
            left[name] -= len(rows)
            for row in rows:
                assigned[row] = name
    return tuple(assigned)


def make_splits(keys: Sequence[str], kind: str = "random", *, seed: int = 0) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split rows 80/10/10 by molecule ("random") or by Bemis–Murcko scaffold, which keeps molecules together too.

    Parameters
    ----------
    keys : (L,) sequence of str
        Stereo-free canonical SMILES of each row.
    kind : {"random", "scaffold"}
    seed : int

    Returns
    -------
    split names (L,), and notes that say what was grouped
    """
    groups = list(keys)
    if kind == "scaffold":
        scaffolds: dict[str, str] = {}
        for key in set(keys):
            # RDKit does not read back every structure that it has written; such a molecule is a group of its own
            scaffolds[key] = key
            with suppress(InputError):
                scaffolds[key] = scaffold(key)
        groups = [scaffolds[key] for key in keys]
    held_out = len(keys) // 10
    names = group_split(groups, {TEST: held_out, VALIDATION: held_out}, seed=seed)
    counts = Counter(names)
    sizes = ", ".join(f"{counts[name]:,} {name}" for name in (TRAIN, VALIDATION, TEST))
    what = "Bemis–Murcko scaffold" if kind == "scaffold" else "random molecules"
    notes = [f"split made by {what}, 80/10/10, seed {seed}: {sizes}", grouping_note(keys)]
    if kind == "scaffold":
        notes.append(f"{len(set(groups)):,} scaffolds; {groups.count(''):,} rows have no ring and share the empty one")
    return names, tuple(notes)


def grouping_note(keys: Sequence[str]) -> str:
    """Say how many rows were kept together because they share a stereo-free structure."""
    shared = [count for count in Counter(keys).values() if count > 1]
    return (
        f"{sum(shared):,} rows share a stereo-free structure with another and were kept in one split "
        f"({len(shared):,} structures)"
    )


def overlap_notes(splits: Sequence[str], keys: Sequence[str], texts: Sequence[str]) -> tuple[str, ...]:
    """Count what each two splits have in common: stereo-free structures, and equal texts. Nothing is moved.

    Returns one sentence for each pair of splits, `(L,)` inputs alike; also where nothing is shared, so that a reader
    knows that it was looked at.
    """
    structures: dict[str, Counter[str]] = {}
    words: dict[str, set[str]] = {}
    for name, key, text in zip(splits, keys, texts, strict=True):
        structures.setdefault(name, Counter())[key] += 1
        words.setdefault(name, set()).add(text)
    notes = []
    for one, other in combinations(split_order(structures), 2):
        both = structures[one].keys() & structures[other].keys()
        rows = [sum(structures[name][key] for key in both) for name in (one, other)]
        notes.append(
            f"{one}/{other} share {len(both):,} stereo-free structures ({rows[0]:,} and {rows[1]:,} rows) "
            f"and {len(words[one] & words[other]):,} texts; no row was moved"
        )
    return tuple(notes)
