"""`class-kit check`: what it says of a table, the suspects it writes, and its exit codes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from class_kit import molecules, text

NAMES = ["alcohol", "amine", "acid", "ether", "ketone", "nitrile", "thiol", "amide"]
GROUPS = ["O", "N", "C(=O)O", "OC", "C(C)=O", "C#N", "S", "C(N)=O"]


def write_pairs(path: Path, exchanged: int = 0) -> list[dict[str, str]]:
    """Chains of several lengths with one of eight groups, named so; the first few get each other's molecules."""
    rows = [
        {
            "id": f"p{length}-{name}",
            "text": f"a chain of {length} carbons that bears one {name}",
            "smiles": "C" * length + group,
        }
        for length in range(1, 31)
        for name, group in zip(NAMES, GROUPS, strict=True)
    ]
    order = np.random.default_rng(0).permutation(len(rows))
    rows = [rows[i] for i in order]
    moved = [rows[(i + 1) % exchanged]["smiles"] for i in range(exchanged)]
    for row, smiles in zip(rows, moved, strict=False):
        row["smiles"] = smiles
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text", "smiles"])
        writer.writeheader()
        writer.writerows([*rows, {"id": "odd", "text": "no molecule at all", "smiles": "not a smiles"}])
    return rows


@pytest.fixture(autouse=True)
def _counts_as_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that know length and group, so that no encoder has to start."""

    def embed(values, **_):
        words = np.array(
            [[*(len(v.split(n)) > 1 for n in NAMES), *(_length(v) == k for k in range(31))] for v in values]
        )
        return words.astype(np.float32)

    def embed_smiles(values, **_):
        ends = [max((g for g in GROUPS if v.endswith(g)), key=len) for v in values]
        words = [
            [*(e == g for g in GROUPS), *(len(v) - len(e) == k for k in range(31))]
            for v, e in zip(values, ends, strict=True)
        ]
        return np.array(words, np.float32) @ np.random.default_rng(1).normal(size=(39, 39)).astype(np.float32)

    monkeypatch.setattr(text, "embed_text", embed)
    monkeypatch.setattr(molecules, "embed_molecules", embed_smiles)


def _length(value: str) -> int:
    return int(next(word for word in value.split() if word.isdigit()))


def test_exchanged_pairs_are_said_and_written(here: Path, kit: Any):
    rows = write_pairs(Path("mine.csv"), exchanged=48)
    said = kit("check", "mine.csv")
    assert "240 distinct texts in 240 pairs, 1 rejected" in said
    assert "mismatched pairs: " in said
    assert "suspects.rejected.csv" in said
    with open("suspects.csv", encoding="utf-8", newline="") as file:
        suspects = list(csv.DictReader(file))
    wrong = {row["id"] for row in rows[:48]}
    assert np.mean([each["id"] in wrong for each in suspects[:24]]) > 0.85
    agreement = [float(each["agreement"]) for each in suspects]
    assert agreement == sorted(agreement)
    ids = {row["id"] for row in rows}
    for each in suspects:
        place = int(each["row"]) - 1
        assert rows[place]["id"] == each["id"]
        assert rows[place]["text"] == each["text"]
        other = each["reason"].removeprefix("the most similar text is that of ").split(",")[0]
        assert other in ids - {each["id"]}
    assert all(f"  {each['id']}  " in said for each in suspects[:10])


def test_the_exit_code_follows_the_interval(here: Path, kit: Any):
    write_pairs(Path("wrong.csv"), exchanged=96)
    write_pairs(Path("right.csv"))
    kit("check", "wrong.csv", "--fail-above", "0.1", code=1)
    kit("check", "wrong.csv", "--fail-above", "0.9")
    kit("check", "right.csv", "--fail-above", "0.1")
    assert "--fail-above=2.0: expected a number in [0, 1]" in kit("check", "right.csv", "--fail-above", "2", code=2)


def test_a_shuffled_table_is_called_so(here: Path, kit: Any):
    write_pairs(Path("all.csv"), exchanged=240)
    assert "the table looks shuffled as a whole" in kit("check", "all.csv")
