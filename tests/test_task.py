"""Pairs and vectors side by side: the rows of a task are those of the parts, and its pools hold every target."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import class_kit as ck
from class_kit.errors import InputError
from tests.pair_files import release


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """In place of the encoders, the lengths of what they are given; and with which options they were asked."""
    options: dict[str, dict[str, Any]] = {}

    def lengths(name: str, given: Any, **chosen: Any) -> np.ndarray:
        options[name] = chosen
        return np.array([[len(each)] for each in given], np.float32)

    monkeypatch.setattr("class_kit.text.embed_text", lambda texts, **chosen: lengths("text", texts, **chosen))
    monkeypatch.setattr(
        "class_kit.molecules.embed_molecules", lambda all_, **chosen: lengths("molecules", all_, **chosen)
    )
    return options


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    rows = [
        "a,CCO,an alcohol,train",
        "b,CCCO,a longer alcohol,train",
        "c,c1ccccc1,an aromatic ring,test",
        "d,C1CC,broken,train",
        "e,CC(=O)O,an acid,validation",
    ]
    path.write_text("id,smiles,text,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_task_is_its_parts(table: Path, tmp_path: Path, embedded: dict[str, dict[str, Any]]) -> None:
    task = ck.load_task(table, rejected_to=tmp_path / "rejected.csv", data="", molecule_encoder="morgan")
    assert embedded == {"text": {"encoder": "minilm"}, "molecules": {"encoder": "morgan", "vectors": "corpus"}}
    assert task.pairs.id == ("a", "b", "c", "e")
    assert task.t.ravel().tolist() == [len(text) for text in task.pairs.text]
    assert task.m.ravel().tolist() == [len(smiles) for smiles in task.pairs.smiles]
    assert task.rows("train").tolist() == [0, 1]
    assert task.targets("test").tolist() == [2]
    assert task.evaluation_split == "test"
    assert task.classes == ("no ring", "no ring", "aromatic rings", "no ring")
    assert "C1CC" in (tmp_path / "rejected.csv").read_text(encoding="utf-8")
    again = ck.load_task(table)
    assert again.digest == task.digest
    assert ck.load_task(pandas.read_csv(table)).digest == task.digest
    table.write_text(table.read_text(encoding="utf-8").replace("an acid", "a strong acid"), encoding="utf-8")
    assert ck.load_task(table).digest != task.digest
    with pytest.raises(InputError, match=r"words.*id.*smiles.*text"):
        ck.load_task(table, text="words")


@pytest.mark.parametrize("place", ["", "mol2vec"])
def test_published_vectors_are_first_looked_for_in_the_folder(place, tmp_path, embedded, monkeypatch) -> None:
    folder = release(tmp_path / "mine", train=20, validation=4, test=6)
    other = tmp_path / "other" / "mol2vec"
    for there in (folder / place, other):
        there.mkdir(parents=True, exist_ok=True)
        (there / "token_embedding_dict.npy").touch()
    monkeypatch.setenv("CLASS_KIT_DATA", str(tmp_path / "other"))
    task = ck.load_task("chebi20", data=folder, vectors="text2mol")
    assert Path(task.encoders["vectors"]) == folder / place / "token_embedding_dict.npy"
    assert embedded["molecules"]["vectors"] == task.encoders["vectors"]
    # vectors that the folder lacks are still looked for elsewhere
    assert ck.load_task("chebi20", data=folder, vectors="mol2vec").encoders["vectors"] == "mol2vec"


def test_exchanged_molecules_keep_how_they_were_given() -> None:
    smiles = ["[Na+].CC(=O)[O-]", "C[NH3+].[Cl-]", "CCO", "CCC"]
    table = {"smiles": smiles, "text": list("abcd"), "split": ["train"] * 4}
    clean, noisy = (ck.load_task(table, standardize=True, noise=noise) for noise in (0.0, 1.0))
    changes = {(before, after) for _, before, after in clean.pairs.standardized()}
    assert len(changes) == 2
    assert {(before, after) for _, before, after in noisy.pairs.standardized()} == changes


def test_the_pool_of_chebi20_holds_every_molecule(tmp_path: Path) -> None:
    task = ck.load_task("chebi20", data=release(tmp_path, train=20, validation=4, test=6))
    assert len(task.pool) == len(task.molecules) == 30
    rows = task.rows("test")
    assert [task.molecules.id[at] for at in task.targets("test")] == [task.pairs.id[row] for row in rows]
    np.testing.assert_array_equal(task.pool[task.targets("test")], task.m[rows])


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_noise_exchanges_molecules_of_training_pairs_and_touches_nothing_else(table: Path, share: float) -> None:
    rows = [f"{at},{'C' * (at + 1)},text {at},{'test' if at % 5 == 4 else 'train'}" for at in range(50)]
    table.write_text("id,smiles,text,split\n" + "\n".join(rows) + "\n", encoding="utf-8")
    clean, noisy = ck.load_task(table), ck.load_task(table, noise=share, noise_seed=3)
    moved = noisy.exchanged
    assert moved.sum() == round(share * 40)
    assert not moved[clean.rows("test")].any()
    np.testing.assert_array_equal(moved, [a != b for a, b in zip(clean.pairs.smiles, noisy.pairs.smiles, strict=True)])
    # the molecules are those of the exchanged pairs, vectors go with them, texts and the pool stay
    assert sorted(noisy.pairs.smiles) == sorted(clean.pairs.smiles)
    assert noisy.m.ravel().tolist() == [len(smiles) for smiles in noisy.pairs.smiles]
    np.testing.assert_array_equal(noisy.t, clean.t)
    assert (noisy.molecules, noisy.pairs.text) == (clean.molecules, clean.pairs.text)
    np.testing.assert_array_equal(noisy.pool, clean.m)
    assert f"{moved.sum()} of 40 training pairs have another pair's molecule on purpose" in noisy.pairs.notes[-1]
    assert ck.load_task(table, noise=share, noise_seed=3).digest == noisy.digest
    assert ck.load_task(table, noise=share, noise_seed=4).digest != noisy.digest
    with pytest.raises(InputError, match=r"noise=0.03 of 40 training pairs is 1 pair"):
        ck.load_task(table, noise=0.03)
