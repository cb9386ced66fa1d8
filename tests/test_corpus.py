"""The bundled corpus: the same bytes from the script, counted claims true by other code, no names, splits apart."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from chemicals.identifiers import pubchem_db

from tests.corpus_claims import claims_of

ROOT = Path(__file__).parents[1]
SHA256 = "7ef951cd3cce760544e8c1c94357366d62a64b3f24d70db97e6314b191cec110"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with open(ROOT / "data" / "corpus.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_file_is_the_one_that_was_published() -> None:
    assert hashlib.sha256((ROOT / "data" / "corpus.csv").read_bytes()).hexdigest() == SHA256


@pytest.mark.skipif("CLASS_KIT_SLOW" not in os.environ, reason="takes two minutes; CLASS_KIT_SLOW=1 asks for it")
def test_the_script_writes_the_same_bytes(tmp_path: Path) -> None:
    output = tmp_path / "again.csv"
    subprocess.run([sys.executable, ROOT / "data" / "build_corpus.py", output], check=True, capture_output=True)
    assert output.read_bytes() == (ROOT / "data" / "corpus.csv").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.csv"]


SAMPLE = """
import csv, sys
from rdkit import RDLogger
import build_corpus

RDLogger.DisableLog("rdApp.*")
with open("corpus.csv", encoding="utf-8", newline="") as file:
    rows = [build_corpus.Row(*row) for row in csv.reader(file)][1:]
names = {}
for path in build_corpus.source_files():
    for line in path.read_text(encoding="utf-8").splitlines():
        cid, _, _, _, smiles, _, _, *more = line.split("\\t")
        names.setdefault(cid, tuple(more))
entries = [build_corpus.Entry(row.id, row.smiles, names[row.id]) for row in rows]
for entry, row in list(zip(entries, rows))[::30]:
    assert build_corpus.description_of(entry, build_corpus.family(row.smiles)) == (row.label, row.description), row
split = build_corpus.with_splits([(entry, row.label, row.description) for entry, row in zip(entries, rows)])
# the split is drawn over structures in an order of its own, so it does not depend on that of the rows
assert split == rows
"""


def test_the_script_describes_and_splits_molecules_as_published() -> None:
    subprocess.run([sys.executable, "-c", SAMPLE], check=True, cwd=ROOT / "data")


def test_counted_groups_and_numbers_are_true(rows: list[dict[str, str]]) -> None:
    claims = [claim for row in rows[::2] for claim in claims_of(row["smiles"], row["description"])]
    assert [claim for claim, true in claims if not true] == []
    assert len(claims) > 2_000


def test_descriptions_of_other_molecules_are_mostly_refused(rows: list[dict[str, str]]) -> None:
    """The counters look at the structure: most descriptions are untrue of the next molecule in the file."""
    some = list(pairwise(rows))[::5]
    untrue = [any(not true for _, true in claims_of(row["smiles"], other["description"])) for row, other in some]
    assert sum(untrue) > 0.6 * len(some)


def test_texts_hold_neither_smiles_nor_names(rows: list[dict[str, str]]) -> None:
    for row in rows[::4]:
        text = row["description"].lower()
        assert row["smiles"].lower() not in text or len(row["smiles"]) < 4
        found = pubchem_db.search_pubchem(int(row["id"]), autoload=True)
        names = [name for name in (found.iupac_name, found.common_name) if len(name) > 3]
        for name in names:
            assert not re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", text), (row["id"], name)


def test_the_table_beside_the_corpus_says_what_the_default_run_measured() -> None:
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    metrics = json.loads((ROOT / "figures" / "default" / "metrics.json").read_text(encoding="utf-8"))
    for row in metrics["02_difficulty"]["counts"]:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {row['sigma']:.2f} |")]
        assert f"| {row['zero']:.1%} |".replace("%", " %") in line
