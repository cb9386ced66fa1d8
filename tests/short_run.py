"""A short run of all notebooks: a sixth of the corpus, few epochs; every cell runs, nothing is learned."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas

ROOT = Path(__file__).parents[1]
ATTACK = "<script>alert(1)</script>"
# colours the rest of a terminal, takes back a letter, a line, and turns the direction of reading
CONTROL = "\x1b[31m\x08\r\u202e"
SHORT = {"epochs": "2", "seeds": "[0, 1]", "sample": "150", "growth": "0.3", "batch_size": "64"}
# what notebook 5 declares of these
OF_RETRIEVAL = ("epochs", "seeds", "growth", "batch_size")


def write_part(place: Path) -> None:
    """The pairs of the run, `part.csv`, with what must not act in every text and every id."""
    part = pandas.read_csv(ROOT / "data" / "corpus.csv", dtype=str).iloc[::6]
    texts, ids = part["description"] + " " + ATTACK + CONTROL, part["id"] + CONTROL
    part.assign(description=texts, id=ids).to_csv(place / "part.csv", index=False, quoting=csv.QUOTE_ALL)


def all_notebooks(results: Path) -> list[str]:
    """The command's words for all notebooks; `results` is a paper.json."""
    return ["run", "--pairs", "part.csv", *_options(*SHORT), "-p", "results", str(results)]


def retrieval_alone() -> list[str]:
    """The command's words for notebook 5 with the same settings."""
    return ["run", "5", "--pairs", "part.csv", *_options(*OF_RETRIEVAL)]


def _options(*names: str) -> list[str]:
    return [part for name in names for part in ("-p", f"{name}", SHORT[name])]
