"""Splits: one molecule is never on two sides, sizes are those asked for, and nothing is moved unseen."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.molecules.structures import scaffold, structure
from class_kit.pairs.splits import group_split, make_splits, overlap_notes, split_name, split_order


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=80), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 5))
def test_groups_stay_together_and_sizes_are_never_exceeded(groups, test, validation, seed):
    sizes = {"test": int(test * len(groups)), "validation": int(validation * len(groups))}
    names = group_split(groups, sizes, seed=seed)
    assert len(names) == len(groups)
    assert len(set(zip(names, groups, strict=True))) == len(set(groups))
    counts = Counter(names)
    assert all(counts[name] <= size for name, size in sizes.items())
    assert names == group_split(groups, sizes, seed=seed)


def test_a_giant_group_goes_to_the_rest():
    groups, sizes = ["giant"] * 60 + list(range(40)), {"test": 10, "validation": 10}
    names = group_split(groups, sizes)
    assert names != group_split(groups, sizes, seed=1)
    assert set(names[:60]) == {"train"}
    assert Counter(names) == {"train": 80, "test": 10, "validation": 10}


def test_random_split_keeps_molecules_together_and_counts_them():
    keys = [f"C{'C' * (number // 2)}" for number in range(100)]
    names, notes = make_splits(keys, "random", seed=3)
    assert all(names[row] == names[row + 1] for row in range(0, 100, 2))
    assert Counter(names) == {"train": 80, "validation": 10, "test": 10}
    assert any("100 rows share a stereo-free structure" in note and "50 structures" in note for note in notes)
    assert any("seed 3: 80 train, 10 validation, 10 test" in note for note in notes)


def test_scaffold_split_never_divides_a_scaffold():
    rings = ["c1ccccc1", "C1CCCCC1", "C1CCNC1", "c1ccncc1", "c1ccoc1", "C1CCOC1", "C1CC1", "c1ccsc1"]
    keys = [structure("C" * tail + ring).key for ring in rings for tail in range(1, 6)] + ["CCO"] * 10
    names, notes = make_splits(keys, "scaffold")
    sides = {scaffold(key): set() for key in keys}
    for key, name in zip(keys, names, strict=True):
        sides[scaffold(key)].add(name)
    assert all(len(side) == 1 for side in sides.values())
    assert Counter(names)["test"] == Counter(names)["validation"] == 5
    assert any("9 scaffolds; 10 rows have no ring" in note for note in notes)


def test_a_key_that_rdkit_cannot_read_back_is_a_scaffold_of_its_own():
    names, notes = make_splits(["not readable", "CCO"], "scaffold")
    assert names == ("train", "train")
    assert any("2 scaffolds" in note for note in notes)


def test_overlaps_against_a_naive_count():
    splits = ["train", "test", "train", "validation", "test", "train"]
    keys = ["A", "A", "B", "B", "C", "A"]
    texts = ["one", "two", "three", "three", "one", "four"]
    notes = overlap_notes(splits, keys, texts)
    assert len(notes) == 3
    assert notes[0].startswith("train/validation share 1 stereo-free structures (1 and 1 rows) and 1 texts")
    assert notes[1].startswith("train/test share 1 stereo-free structures (2 and 1 rows) and 1 texts")
    assert notes[2].startswith("validation/test share 0 stereo-free structures (0 and 0 rows) and 0 texts")


def test_split_names():
    assert [split_name(name) for name in (" Train ", "VAL", "dev", "valid", "fold 3")] == [
        "train",
        "validation",
        "validation",
        "validation",
        "fold 3",
    ]
    assert split_order(["b", "test", "train", "a"]) == ("train", "test", "a", "b")
