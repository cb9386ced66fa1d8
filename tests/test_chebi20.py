"""ChEBI-20 in part and whole, read as released, and the split made with extra pairs."""

import re
from collections import Counter

import pytest

from class_kit.errors import InputError
from class_kit.pairs import load_molecules, load_pairs, pool_targets
from tests.pair_files import RELEASE_HEADER, alkane, release, table


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    monkeypatch.delenv("CLASS_KIT_DATA", raising=False)
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path / "home"))


# --- ChEBI-20 in small files of the released layout


def test_published_splits_in_part_and_whole(tmp_path, no_data):
    part = load_pairs("chebi20", data=release(tmp_path / "part", validation=4, test=6))
    assert Counter(part.split) == {"validation": 4, "test": 6}
    assert "published ChEBI-20 splits found: validation, test" in part.notes
    assert any("not in the folder: train.txt" in note for note in part.notes)
    assert any("differs from the release" in note for note in part.notes)
    assert any("share 4 stereo-free structures" in note for note in part.notes)
    whole = load_pairs("chebi20", "train", data=release(tmp_path / "whole", train=20, validation=4, test=6))
    assert len(whole) == 20
    assert not any("not in the folder" in note for note in whole.notes)
    with pytest.raises(InputError, match="split='train': chebi20 has validation, test"):
        load_pairs("chebi20", "train", data=tmp_path / "part")


def test_released_files_are_read_without_quoting_and_with_single_backslashes(tmp_path, no_data):
    folder = release(tmp_path, test=1)
    row = '5\tC/C=C\\\\C\t"quoted and, never closed'
    table(folder, [row], "validation.txt", RELEASE_HEADER)
    by_name = load_pairs("chebi20", "validation", data=folder)
    assert by_name.smiles == ("C/C=C\\C",)
    assert by_name.text == ('"quoted and, never closed',)
    by_path = load_pairs(folder / "validation.txt")
    assert (by_path.smiles, by_path.text) == (by_name.smiles, by_name.text)
    other = table(tmp_path, ["5\tC/C=C\\\\C\tx"], "own.tsv", "id\tsmiles\ttext")
    pairs = load_pairs(other)
    assert pairs.smiles == ("C/C=C\\C",)
    assert "SMILES with doubled backslashes, which were made single: 1" in pairs.notes


@pytest.mark.parametrize("swap", [False, True])
def test_extra_pairs_make_the_split_without_train(tmp_path, no_data, swap):
    folder = release(tmp_path / "data", validation=300, test=200)
    extra = table(
        tmp_path, [f"made\tO{alkane(n)}\textra {n}" for n in range(100)], "extra.tsv", "source\tSMILES\tdescription"
    )
    pairs = load_pairs("chebi20", data=folder, extra=extra, swap=swap)
    train_file, test_file = ("test.txt", "validation.txt") if swap else ("validation.txt", "test.txt")
    train_rows, test_rows = (200, 300) if swap else (300, 200)
    held = (train_rows + 100) // 10
    assert Counter(pairs.split) == {"train": train_rows + 100 - held, "validation": held, "test": test_rows}
    origins = {split: set(pairs.where(split).extra["origin"]) for split in set(pairs.split)}
    assert origins == {"train": {train_file, "made"}, "validation": {train_file, "made"}, "test": {test_file}}
    assert len(set(pairs.id)) == len(pairs)
    assert {name for name in pairs.id if not name.isdigit()} == {f"extra-{n}" for n in range(1, 101)}
    assert "100 of the pairs (extra.tsv) are unpublished as a set" in pairs.notes
    assert any(f"{held} training rows are held out" in note for note in pairs.notes)
    release(tmp_path / "data", train=5)
    again = load_pairs("chebi20", data=folder, extra=extra, swap=swap)
    assert again.digest == pairs.digest


def test_extra_and_folders_that_do_not_fit(tmp_path, no_data, monkeypatch):
    folder = release(tmp_path / "only", test=3)
    extra = table(tmp_path, ["C\tx"], "extra.tsv", "SMILES\tdescription")
    with pytest.raises(InputError, match=r"validation\.txt: there is no such file"):
        load_pairs("chebi20", data=folder, extra=extra)
    with pytest.raises(InputError, match="give extra= as well"):
        load_pairs("chebi20", data=folder, swap=True)
    with pytest.raises(InputError, match="class-kit fetch chebi20"):
        load_pairs("chebi20", data=tmp_path / "absent")
    with pytest.raises(InputError, match="home/chebi20"):
        load_pairs("chebi20")
    table(folder, ["1\tC"], "test.txt", "CID\tSMILES")
    with pytest.raises(InputError, match="expected CID, SMILES, description"):
        load_pairs("chebi20", data=folder)
    monkeypatch.setenv("CLASS_KIT_DATA", str(tmp_path / "shared"))
    release(tmp_path / "shared" / "chebi20", test=2)
    assert len(load_pairs("chebi20")) == 2
    release(tmp_path / "home" / "chebi20", test=7)
    monkeypatch.delenv("CLASS_KIT_DATA")
    assert len(load_pairs("chebi20")) == 7


def test_molecule_pool_from_its_file_or_from_the_splits(tmp_path, no_data):
    folder = release(tmp_path, validation=2, test=3)
    union = load_molecules("chebi20", data=folder)
    assert union.split == ("validation",) * 2 + ("test",) * 3
    assert any("not in the folder: train.txt" in note for note in union.notes)
    assert any("5 molecules" in note for note in union.notes)
    test = load_pairs("chebi20", "test", data=folder)
    assert pool_targets(test, union).tolist() == [2, 3, 4]
    table(folder, ["1\tC/C=C\\\\C\tval", "2\tC\ttrain"], "molecules.tsv", "CID\tSMILES\tsplit")
    whole = load_molecules("chebi20", data=folder)
    assert (whole.id, whole.smiles, whole.split) == (("1", "2"), ("C/C=C\\C", "C"), ("validation", "train"))
    table(folder, ["1\tC\tval", "1\tC\ttrain"], "molecules.tsv", "CID\tSMILES\tsplit")
    with pytest.raises(InputError, match="1 molecule ids occur more than once"):
        load_molecules("chebi20", data=folder)
    table(folder, ["1\tC"], "molecules.tsv", "CID\tSMILES")
    with pytest.raises(InputError, match="CID, SMILES and split"):
        load_molecules("chebi20", data=folder)
    with pytest.raises(InputError, match="source='corpus'"):
        load_molecules("corpus")


# --- the real files


def test_real_published_splits(chebi20_dir):
    pairs = load_pairs("chebi20", data=chebi20_dir)
    counts = Counter(pairs.split)
    assert (counts["validation"], counts["test"]) == (3301, 3300)
    assert pairs.rejected == ()
    assert any("verified as the release" in note for note in pairs.notes)
    assert any("share 94 stereo-free structures" in note and "4 texts" in note for note in pairs.notes)
    assert not any("\\\\" in smiles for smiles in pairs.smiles)
    assert pairs.where("test").text[0].startswith("The molecule is a steroid ester that is methyl (17E)-pregna")


def test_real_split_with_extra_pairs_and_the_whole_pool(chebi20_dir, real_file):
    pairs = load_pairs("chebi20", data=chebi20_dir, extra=real_file("chebi20/extra_train.tsv"))
    assert Counter(pairs.split) == {"train": 5301, "validation": 500, "test": 3300}
    assert pairs.rejected == ()
    between = next(note for note in pairs.notes if note.startswith("train/validation"))
    assert "share 0 stereo-free structures (0 and 0 rows), 0 skeletons" in between
    held_out = [note for note in pairs.notes if note.startswith(("train/test", "validation/test"))]
    rows = [re.findall(r"and (\d+) rows", note) for note in held_out]
    # 413 by RDKit's InChIKey as it is; a platinum salt with dative bonds is one molecule with that without
    assert [sum(map(int, column)) for column in zip(*rows, strict=True)][:2] == [185, 414]
    molecules = load_molecules("chebi20", data=chebi20_dir)
    assert len(molecules) == 33010
    test = pairs.where("test")
    targets = pool_targets(test, molecules)
    assert [molecules.smiles[row] for row in targets] == list(test.smiles)


def test_pcdes_is_trained_on_its_test_rows_and_asked_its_validation_rows(tmp_path, no_data):
    folder = release(tmp_path / "pcdes", validation=6, test=40)
    pairs = load_pairs("pcdes", data=tmp_path)
    assert Counter(pairs.split) == {"train": 36, "validation": 4, "test": 6}
    origin = dict(zip(pairs.extra["origin"], pairs.split, strict=True))
    assert origin["validation.txt"] == "test"
    assert "differs from the known files: test.txt, validation.txt" in pairs.notes
    with pytest.raises(InputError, match='extra: these options apply to "chebi20" only'):
        load_pairs("pcdes", extra="x.tsv")
    (folder / "validation.txt").unlink()
    with pytest.raises(InputError, match=r"validation\.txt: there is no such file"):
        load_pairs("pcdes", data=tmp_path)
