"""Runs small enough to be broken often: two notebooks with played kernels, and what must hold whatever happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from class_kit import runs
from class_kit.files import atomic_write
from class_kit.runs import kernels, run
from tests.notebook_tools import write_notebook

FINAL = {"r1": {"number": 1}, "r2": {"number": 2}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def books(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two notebooks, and in place of kernels a function that leaves what they would: a result and a 60 KB figure."""
    environment = run.environment()
    monkeypatch.setattr(run, "environment", lambda: environment)
    monkeypatch.setattr(run, "git_commit", lambda: None)

    def execute(notebook: Any, parameters: dict[str, Any], path: Path) -> str | None:
        number, out = parameters["number"], parameters["out"]
        try:
            runs.record(out, f"r{number}", {"number": number})
            with atomic_write(Path(out) / "figures" / f"f{number}.pdf") as figure:
                figure.write_bytes(bytes(60_000))
        except OSError as error:
            return f"cell 2: OSError: {error}"
        return None

    monkeypatch.setattr(kernels, "execute", execute)
    return [write_notebook(here / f"{n:02d}_book.ipynb", [f"number = {n}  # which"]) for n in (1, 2)]


def quiet(line: str) -> None:
    """Where a run's lines go that no test reads."""


def check_honest(folder: Path) -> set[str]:
    """Whatever happened: files are whole or absent, and `done` stands on finished notebooks only. Finished stems."""
    for path in folder.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    if not (folder / "manifest.json").is_file():
        assert not (folder / "done").exists()
        return set()
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["notebooks"]
    finished = {stem for stem, entry in entries.items() if entry["status"] == "finished"}
    if (folder / "done").exists():
        assert finished == {"01_book", "02_book"}
        assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == FINAL
        assert (folder / "report.html").is_file()
    return finished


def check_complete(folder: Path) -> None:
    assert check_honest(folder) == {"01_book", "02_book"}
    assert (folder / "done").is_file()
    assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp") or path.name.startswith(".partial")]
