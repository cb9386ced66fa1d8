"""Notebooks made for a test, and what a run recorded of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

COMMON = [
    'pairs = "corpus"  # source of the pairs',
    'data = ""  # folder of fetched data',
    'extra = ""  # further pairs',
    'out = "runs/default"  # the folder of the run',
]


def write_notebook(path: Path, declared: Sequence[str], *cells: str) -> Path:
    first = new_code_cell("\n".join([*COMMON, *declared]), metadata={"tags": ["parameters"]})
    book = new_notebook(cells=[new_markdown_cell(f"# {path.stem}"), first, *map(new_code_cell, cells)])
    nbformat.write(book, path)
    return path


def entry_of(folder: Path, stem: str) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["notebooks"][stem]


def quiet(line: str) -> None:
    """Where a run's lines go that no test reads."""
