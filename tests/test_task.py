"""Pairs and vectors side by side: the rows of a task are those of the parts, and its pools hold every target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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
    assert task.classes == ("no ring", "no ring", "carboaromatic", "no ring")
    assert "C1CC" in (tmp_path / "rejected.csv").read_text(encoding="utf-8")
    again = ck.load_task(table)
    assert again.digest == task.digest
    table.write_text(table.read_text(encoding="utf-8").replace("an acid", "a strong acid"), encoding="utf-8")
    assert ck.load_task(table).digest != task.digest
    with pytest.raises(InputError, match=r"words.*id.*smiles.*text"):
        ck.load_task(table, text="words")


def test_the_pool_of_chebi20_holds_every_molecule(tmp_path: Path) -> None:
    task = ck.load_task("chebi20", data=release(tmp_path, train=20, validation=4, test=6))
    assert len(task.pool) == len(task.molecules) == 30
    rows = task.rows("test")
    assert [task.molecules.id[at] for at in task.targets("test")] == [task.pairs.id[row] for row in rows]
    np.testing.assert_array_equal(task.pool[task.targets("test")], task.m[rows])
