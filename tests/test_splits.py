"""Structures and splits: one molecule is never on two sides, sizes are those asked for, and nothing is moved unseen."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.pairs import structures as structures_module
from class_kit.pairs.splits import group_split, make_splits, overlap_notes, split_name, split_order
from class_kit.pairs.structures import MAX_SMILES, scaffold, structure, structures

STEREO = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O"]


def test_stereoisomers_and_isotopes_share_a_key():
    assert {structure(smiles).key for smiles in STEREO} == {"CC(N)C(=O)O"}
    assert structure("[13CH3]C").key == structure("CC").key
    assert structure("C/C=C\\C").key == structure("C/C=C/C").key


def test_key_equals_rdkit_written_without_stereo(chebi20_dir):
    from rdkit import Chem

    lines = (chebi20_dir / "test.txt").read_text(encoding="utf-8").splitlines()[1:301]
    smiles = [line.split("\t")[1].replace("\\\\", "\\") for line in lines]
    expected = [Chem.MolToSmiles(Chem.MolFromSmiles(one), isomericSmiles=False) for one in smiles]
    assert [each.key for each in structures(smiles, progress=False)] == expected


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("", "empty"),
        ("C(", "position 2"),
        ("C1CC", "unclosed ring"),
        ("c1cccc1", "kekulize"),
        ("CC(C)(C)(C)C", "Explicit valence for atom # 1 C"),
        ("CCO ethanol", "space"),
        ("CC\x00C", "control character"),
        ("\u202eCC", "outside ASCII"),
        ("CC\nCC", "control character"),
        ("C" * (MAX_SMILES + 1), "5,001 characters"),
        ("=SUM(A1)", "RDKit"),
    ],
)
def test_refusal_names_the_reason(smiles, words, capfd):
    found = structure(smiles)
    assert found.key == ""
    assert words in found.reason
    assert capfd.readouterr() == ("", ""), "RDKit's own log must stay silent"


@pytest.mark.parametrize("smiles", ["*", "[Na+].[Cl-]", "[#6]~[#7]", "[2H]C", "C" * MAX_SMILES, "[*]C([*])=O"])
def test_unusual_but_valid_structures_are_read(smiles):
    assert structure(smiles).key


def test_blocks_in_processes_equal_one_process(monkeypatch):
    smiles = [*STEREO, "C(", "CCO"] * 5
    alone = structures(smiles, progress=False)
    monkeypatch.setattr(structures_module, "PARALLEL_FROM", 1)
    monkeypatch.setattr(structures_module, "BLOCK", 4)
    monkeypatch.setattr(structures_module.os, "cpu_count", lambda: 2)
    assert structures(smiles, progress=False) == alone


def test_scaffold_keeps_rings_and_linkers():
    assert scaffold("CC(=O)Nc1ccc(Cc2ccccc2)cc1") == "c1ccc(Cc2ccccc2)cc1"
    assert scaffold("CCO") == ""
    with pytest.raises(ValueError, match="nonsense"):
        scaffold("nonsense")


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=80), st.integers(0, 20), st.integers(0, 20), st.integers(0, 5))
def test_groups_stay_together_and_sizes_are_never_exceeded(groups, test, validation, seed):
    if test + validation > len(groups):
        with pytest.raises(ValueError, match="together fit"):
            group_split(groups, {"test": test, "validation": validation}, seed=seed)
        return
    names = group_split(groups, {"test": test, "validation": validation}, seed=seed)
    assert len(names) == len(groups)
    assert all(
        len({name for name, other in zip(names, groups, strict=True) if other == group}) == 1 for group in groups
    )
    counts = Counter(names)
    assert counts["test"] <= test
    assert counts["validation"] <= validation
    assert names == group_split(groups, {"test": test, "validation": validation}, seed=seed)


@given(st.integers(1, 200), st.integers(0, 3))
def test_singletons_fill_the_sizes_exactly(count, seed):
    names = group_split(range(count), {"test": count // 10, "validation": count // 10}, seed=seed)
    assert Counter(names)["test"] == Counter(names)["validation"] == count // 10


def test_a_giant_group_goes_to_the_rest():
    names = group_split(["giant"] * 60 + list(range(40)), {"test": 10, "validation": 10})
    assert set(names[:60]) == {"train"}
    assert Counter(names) == {"train": 80, "test": 10, "validation": 10}


def test_seed_changes_the_split():
    first, second = (group_split(range(100), {"test": 10}, seed=seed) for seed in (0, 1))
    assert first != second


def test_negative_size_is_refused():
    with pytest.raises(ValueError, match="-1"):
        group_split([1, 2], {"test": -1})


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


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of random, scaffold"):
        make_splits(["C"], "time")


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
