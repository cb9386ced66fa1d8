"""Splits that keep each molecule on one side, and a count of what published splits share.

A molecule is a skeleton or a stereo-free structure (`class_kit.molecules.structures`). scikit-learn's group splitters
draw a share of the *groups*; here the shares are of rows, so that 80/10/10 holds whatever the sizes of the groups.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations

import numpy as np

from class_kit.checks import check_choice
from class_kit.errors import InputError
from class_kit.molecules.structures import Structure, scaffold
from class_kit.terminal import counted

TRAIN, VALIDATION, TEST = "train", "validation", "test"
KINDS = ("random", "scaffold")
# what stays together: the name of the choice, and what sentences call it
GROUPS = {"skeleton": "skeleton (first InChIKey block)", "structure": "stereo-free structure"}
_SYNONYMS = {"training": TRAIN, "val": VALIDATION, "valid": VALIDATION, "dev": VALIDATION, "testing": TEST}


def split_name(name: str) -> str:
    """The kit's name of a split: `val`, `valid` and `dev` become "validation"; unknown names stay as they are."""
    plain = name.strip()
    lower = plain.lower()
    return _SYNONYMS.get(lower, lower if lower in (TRAIN, VALIDATION, TEST) else plain)


def split_order(names: Iterable[str]) -> tuple[str, ...]:
    """The distinct names: train, validation and test first, then the others, sorted."""
    distinct = set(names)
    usual = [name for name in (TRAIN, VALIDATION, TEST) if name in distinct]
    return (*usual, *sorted(distinct.difference(usual)))


def group_split(groups: Sequence[Hashable], sizes: Mapping[str, int], *, seed: int = 0) -> tuple[str, ...]:
    """Assign every row to a split so that rows of one group stay together.

    Groups are drawn in seeded random order and fill the named splits in turn; a group too large for what a split still
    lacks is passed on, in the end to train. A split is therefore never larger than asked, and smaller only where no
    remaining group fits: one giant group (all molecules without rings share an empty scaffold) ends up in train
    instead of dominating the test set.

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


def molecule_groups(molecules: Sequence[Structure], group: str = "skeleton") -> list[str]:
    """The group `(L,)` that each molecule must stay with: its skeleton, or its stereo-free structure only.

    Raises
    ------
    InputError
        `group` is neither "skeleton" nor "structure".
    """
    check_choice("group", group, GROUPS)
    return [molecule.skeleton if group == "skeleton" else molecule.key for molecule in molecules]


def make_splits(
    molecules: Sequence[Structure], kind: str = "random", *, group: str = "skeleton", seed: int = 0
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split rows 80/10/10 by molecule ("random") or by Bemis–Murcko scaffold, which keeps molecules together too.

    Parameters
    ----------
    molecules : (L,) sequence of Structure
    kind : {"random", "scaffold"}
    group : {"skeleton", "structure"}
        What counts as one molecule, as of `molecule_groups`.
    seed : int

    Returns
    -------
    split names (L,), and notes that say what was grouped
    """
    own = molecule_groups(molecules, group)
    groups: Sequence[Hashable] = own
    notes = [grouping_note(own, group)]
    if kind == "scaffold":
        from class_kit.curriculum.duplicates import duplicate_labels

        scaffolds: dict[str, str] = {}
        for key in {molecule.key for molecule in molecules}:
            # RDKit cannot read back every structure that it writes; such a molecule is a group of its own
            scaffolds[key] = key
            with suppress(InputError):
                scaffolds[key] = scaffold(key) or "no ring"
        of_row = [scaffolds[molecule.key] for molecule in molecules]
        # protonation states of one skeleton can have two scaffolds, which then stay together
        labels = duplicate_labels(of_row, own)
        groups = [row if label < 0 else ("linked", label) for row, label in enumerate(labels.tolist())]
        without = of_row.count("no ring")
        notes.append(f"{len(set(of_row)):,} scaffolds; {without:,} rows have no ring and share the empty one")
    held_out = len(groups) // 10
    names = group_split(groups, {TEST: held_out, VALIDATION: held_out}, seed=seed)
    counts = Counter(names)
    sizes = ", ".join(f"{counts[name]:,} {name}" for name in (TRAIN, VALIDATION, TEST))
    what = "Bemis–Murcko scaffold" if kind == "scaffold" else "random molecules"
    return names, (f"split made by {what}, 80/10/10, seed {seed}: {sizes}", *notes)


def grouping_note(groups: Sequence[str], group: str) -> str:
    """How many rows were kept together because they share their skeleton or structure, in words."""
    shared = [count for count in Counter(groups).values() if count > 1]
    if not shared:
        return f"no two rows share a {GROUPS[group]}"
    return (
        f"{sum(shared):,} rows share a {GROUPS[group]} with another and were kept in one split "
        f"({counted(len(shared), 'group')})"
    )


def overlap_notes(splits: Sequence[str], molecules: Sequence[Structure], texts: Sequence[str]) -> tuple[str, ...]:
    """Count what each two splits share: stereo-free structures, skeletons, and equal texts. Nothing is moved.

    Returns one sentence for each pair of splits, `(L,)` inputs alike; also where nothing is shared, so that a reader
    knows that it was checked.
    """
    columns: dict[str, Sequence[str]] = {
        "stereo-free structure": [molecule.key for molecule in molecules],
        "skeleton": [molecule.skeleton for molecule in molecules],
        "text": texts,
    }
    counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for what, column in columns.items():
        for name, value in zip(splits, column, strict=True):
            counts[what, name][value] += 1
    notes = []
    for sides in combinations(split_order(splits), 2):
        shared = []
        for what in columns:
            one, other = (counts[what, side] for side in sides)
            both = one.keys() & other.keys()
            rows = " and ".join(f"{sum(side[value] for value in both):,}" for side in (one, other))
            shared.append(f"{counted(len(both), what)} ({rows} rows)")
        notes.append(f"{'/'.join(sides)} share {', '.join(shared)}; no row was moved")
    return tuple(notes)
