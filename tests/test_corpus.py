"""The bundled corpus: the same bytes from the script, every claim true by other code, no names, splits apart."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from chemicals.identifiers import pubchem_db
from rdkit import Chem

from tests.corpus_classes import classes_of
from tests.corpus_reader import Unreadable, Untrue, check_description

ROOT = Path(__file__).parents[1]
SHA256 = "7ef951cd3cce760544e8c1c94357366d62a64b3f24d70db97e6314b191cec110"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with open(ROOT / "data" / "corpus.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_file_is_the_one_that_was_published() -> None:
    assert hashlib.sha256((ROOT / "data" / "corpus.csv").read_bytes()).hexdigest() == SHA256


def test_the_script_writes_the_same_bytes(tmp_path: Path) -> None:
    output = tmp_path / "again.csv"
    subprocess.run([sys.executable, ROOT / "data" / "build_corpus.py", output], check=True, capture_output=True)
    assert output.read_bytes() == (ROOT / "data" / "corpus.csv").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.csv"]


def test_every_claim_is_true(rows: list[dict[str, str]]) -> None:
    """Each sentence is read by code that shares nothing with the generator; one that cannot be read fails too."""
    sentences = 0
    for row in rows:
        sentences += check_description(row["smiles"], row["description"])
    assert sentences > 1.5 * len(rows)


def test_every_class_is_the_first_that_the_structure_fits(rows: list[dict[str, str]]) -> None:
    for row in rows:
        fitting = classes_of(row["smiles"])
        assert row["class"] == fitting[0], (row["id"], row["class"], fitting)


@pytest.mark.parametrize(
    ("smiles", "description", "error"),
    [
        ("OC(=O)c1ccccc1", "The molecule is a carboxylic acid with two nitro groups.", Untrue),
        ("OC(=O)c1ccccc1", "The molecule is a phenol with a benzene ring.", Untrue),
        ("OC(=O)c1ccccc1", "The molecule is a carboxylic acid with a pyridine ring.", Untrue),
        ("OC(=O)c1ccccc1", "The molecule is a carboxylic acid. It smells of almonds.", Unreadable),
        ("OC(=O)c1ccccc1", "The molecule is a pleasant acid.", Unreadable),
    ],
)
def test_the_reader_refuses_what_is_untrue_or_unknown(smiles: str, description: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_description(smiles, description)


def test_descriptions_of_other_molecules_are_mostly_refused(rows: list[dict[str, str]]) -> None:
    """The reader looks at the structure: most descriptions are untrue of the next molecule in the file."""
    refused = 0
    for row, other in pairwise(rows[:501]):
        try:
            check_description(row["smiles"], other["description"])
        except ValueError:  # what is untrue, unreadable, or speaks of parts that are not there
            refused += 1
    assert refused > 480


def test_size_shares_and_columns(rows: list[dict[str, str]]) -> None:
    assert list(rows[0]) == ["id", "smiles", "description", "split", "class"]
    assert 4_000 <= len(rows) <= 6_000
    shares = Counter(row["split"] for row in rows)
    assert {name: round(count / len(rows), 2) for name, count in shares.items()} == {
        "train": 0.8, "validation": 0.1, "test": 0.1
    }  # fmt: skip
    assert len({row["id"] for row in rows}) == len({row["smiles"] for row in rows}) == len(rows)
    assert 8 <= len({row["class"] for row in rows}) <= 15


def test_no_molecule_is_in_two_splits(rows: list[dict[str, str]]) -> None:
    places: dict[str, set[str]] = {}
    for row in rows:
        flat = Chem.MolToSmiles(Chem.MolFromSmiles(row["smiles"]), isomericSmiles=False)
        places.setdefault(flat, set()).add(row["split"])
    assert all(len(splits) == 1 for splits in places.values())
    assert len(places) < len(rows), "stereoisomers are part of a realistic collection"


def test_texts_hold_neither_smiles_nor_names(rows: list[dict[str, str]]) -> None:
    for row in rows:
        text = row["description"].lower()
        assert row["smiles"].lower() not in text or len(row["smiles"]) < 4
        found = pubchem_db.search_pubchem(int(row["id"]), autoload=True)
        names = [name for name in (found.iupac_name, found.common_name) if len(name) > 3]
        for name in names:
            assert not re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", text), (row["id"], name)


def test_near_duplicates_come_in_families(rows: list[dict[str, str]]) -> None:
    """Equal up to stereochemistry, salts of one parent, and texts that several molecules share."""
    texts = Counter(row["description"] for row in rows)
    assert sum(count for count in texts.values() if count > 1) > 50
    assert sum("." in row["smiles"] for row in rows) > 0.05 * len(rows)


def test_the_table_beside_the_corpus_says_what_the_default_run_measured() -> None:
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    metrics = json.loads((ROOT / "figures" / "default" / "metrics.json").read_text(encoding="utf-8"))
    for row in metrics["02_difficulty"]["counts"]:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {row['sigma']:.2f} |")]
        assert f"| {row['zero']:.1%} |".replace("%", " %") in line
