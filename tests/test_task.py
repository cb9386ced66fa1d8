"""Pairs and vectors side by side: the rows of a task are those of the parts, and its pools hold every target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import class_kit as ck
from class_kit.errors import InputError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


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


def test_a_task_is_its_parts(table: Path, tmp_path: Path) -> None:
    task = ck.load_task(table, rejected_to=tmp_path / "rejected.csv")
    assert task.pairs.id == ("a", "b", "c", "e")
    np.testing.assert_array_equal(task.t, ck.embed_text(task.pairs.text))
    np.testing.assert_array_equal(task.m, ck.embed_molecules(task.pairs.smiles))
    assert task.rows("train").tolist() == [0, 1]
    assert task.targets("test").tolist() == [2]
    assert task.evaluation_split == "test"
    assert task.classes == ("no ring", "no ring", "carboaromatic", "no ring")
    assert "C1CC" in (tmp_path / "rejected.csv").read_text(encoding="utf-8")
    again = ck.load_task(table)
    assert again.digest == task.digest
    table.write_text(table.read_text(encoding="utf-8").replace("an acid", "a strong acid"), encoding="utf-8")
    assert ck.load_task(table).digest != task.digest


def test_missing_columns_name_those_there_are(table: Path) -> None:
    with pytest.raises(InputError, match=r"words.*id.*smiles.*text"):
        ck.load_task(table, text="words")


def test_chebi20s_pool_holds_every_test_pair(chebi20_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors do not matter here, so none are computed: only that pair and pool speak of the same molecule."""
    monkeypatch.setattr("class_kit.text.embed_text", lambda texts, **options: np.zeros((len(texts), 2), np.float32))
    monkeypatch.setattr(
        "class_kit.molecules.embed_molecules", lambda smiles, **options: np.zeros((len(smiles), 2), np.float32)
    )
    task = ck.load_task("chebi20", data=chebi20_dir, extra=chebi20_dir / "extra_train.tsv")
    assert len(task.pool) == 33_010
    assert {name: len(task.rows(name)) for name in ("train", "validation", "test")} == {
        "train": 5301, "validation": 500, "test": 3300
    }  # fmt: skip
    rows, targets = task.rows("test"), task.targets("test")
    for row, target in zip(rows[::97], targets[::97], strict=True):
        assert task.pairs.id[row] == task.molecules.id[target]
        assert task.pairs.smiles[row] == task.molecules.smiles[target]
