"""`class-kit difficulty`: the table and what is said about it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from class_kit import text

ROWS = [
    ("ethanol-like alcohol with two carbons", "CCO", "=1+1"),
    ("an alcohol with three carbons", "CCCO", "b"),
    ("benzene, an aromatic ring", "c1ccccc1", "c"),
    ("toluene, a methyl benzene", "Cc1ccccc1", "d"),
    ("acetic acid", "CC(=O)O", "e"),
    ("no molecule at all", "not a smiles", "f"),
]


def test_own_file_becomes_a_table(here: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, kit: Any):
    vectors = np.random.default_rng(0).normal(size=(5, 8))
    monkeypatch.setattr(text, "embed_text", lambda texts, encoder: vectors[: len(texts)])
    with open("mine.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("words", "structure", "name"), *ROWS])
    columns = ["--text", "words", "--smiles", "structure", "--id", "name"]
    command = ["difficulty", "mine.csv", *columns, "--molecule-encoder", "morgan", "--sigma", "0.5", "0.99"]
    said = kit(*command, "--ties", "similarity", "--out", "d.csv")
    assert "5 pairs: d.csv" in said
    assert "σ = 0.99: 100.0% of the pairs have no neighbour" in said
    with open("d.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == ["'=1+1", "b", "c", "d", "e"]
    assert sorted(int(row["rank@0.5"]) for row in table) == [1, 2, 3, 4, 5]
    assert [row["neighbours@0.99"] for row in table] == ["0"] * 5
    assert {row["nearest_id"] for row in table} <= {"=1+1", "'=1+1", "b", "c", "d", "e"}
    assert "not a smiles" in (here / "d.rejected.csv").read_text(encoding="utf-8")
    first = (here / "d.csv").read_bytes()
    kit(*command, "--ties", "similarity", "--checkpoint", "blocks", "--out", "e.csv")
    assert (here / "e.csv").read_bytes() == first
