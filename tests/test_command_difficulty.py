"""`class-kit difficulty`: the table, what is said about it, and what is refused before anything is embedded."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from class_kit import cli, text

ROWS = [
    ("ethanol-like alcohol with two carbons", "CCO", "=1+1"),
    ("an alcohol with three carbons", "CCCO", "b"),
    ("benzene, an aromatic ring", "c1ccccc1", "c"),
    ("toluene, a methyl benzene", "Cc1ccccc1", "d"),
    ("acetic acid", "CC(=O)O", "e"),
    ("no molecule at all", "not a smiles", "f"),
]


def write_pairs(path: Path) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("words", "structure", "name"), *ROWS])
    return path


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_own_file_becomes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))
    vectors = np.random.default_rng(0).normal(size=(5, 8))
    monkeypatch.setattr(text, "embed_text", lambda texts, encoder: vectors[: len(texts)])
    write_pairs(tmp_path / "mine.csv")
    columns = ["--text", "words", "--smiles", "structure", "--id", "name"]
    command = ["difficulty", "mine.csv", *columns, "--molecule-encoder", "morgan", "--sigma", "0.5", "0.99"]
    assert cli.main([*command, "--ties", "similarity", "--out", "d.csv"]) == 0
    said = capsys.readouterr().out
    assert "5 pairs: d.csv" in said
    assert "σ = 0.99: 100.0% of the pairs have no neighbour" in said
    table = read(tmp_path / "d.csv")
    assert [row["id"] for row in table] == ["'=1+1", "b", "c", "d", "e"]
    assert sorted(int(row["rank@0.5"]) for row in table) == [1, 2, 3, 4, 5]
    assert [row["neighbours@0.99"] for row in table] == ["0"] * 5
    assert {row["nearest_id"] for row in table} <= {"=1+1", "'=1+1", "b", "c", "d", "e"}
    assert "not a smiles" in (tmp_path / "d.rejected.csv").read_text(encoding="utf-8")
    first = (tmp_path / "d.csv").read_bytes()
    assert cli.main([*command, "--ties", "similarity", "--checkpoint", "blocks", "--out", "e.csv"]) == 0
    assert (tmp_path / "e.csv").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["corpus", "--sigma", "5"], "sigma=5.0: expected a number less than or equal to 1"),
        (["corpus", "--sigma", "nan"], "sigma=nan"),
        (["corpus", "--sigma", "0.9", "0.90"], "given twice"),
        (["corpus", "--seed", "-1"], "seed=-1"),
        (["corpus", "--out", "."], "expected the name of a file"),
        (["nowhere.csv"], "nowhere.csv"),
        (["mine.csv", "--text", "wrods"], "words"),
    ],
)
def test_refused_before_anything_is_embedded(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "mine.csv")
    assert cli.main(["difficulty", *arguments]) == 2
    output = capsys.readouterr()
    assert said in output.err
    assert output.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
