"""What a run is made from: notebooks by name, folders, locks and digests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from class_kit import runs
from class_kit.errors import InputError
from class_kit.files import lock
from class_kit.runs import manifest, notebook_files
from class_kit.runs.folder import default_name, run_folder
from tests.notebook_tools import write_notebook


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_unknown_and_broken_notebooks(here: Path, monkeypatch: pytest.MonkeyPatch):
    folder = here / "kit"
    folder.mkdir()
    for stem in ("01_embedding", "02_difficulty", "05_retrieval", "05_second"):
        write_notebook(folder / f"{stem}.ipynb", [])
    write_notebook(folder / "extra_one.ipynb", [])
    monkeypatch.setattr(notebook_files, "notebooks_folder", lambda: folder)
    chosen = notebook_files.choose_notebooks
    assert [book.stem for book in chosen(None)] == ["01_embedding", "02_difficulty", "05_retrieval", "05_second"]
    for wanted, stem in [("01_embedding", "01_embedding"), ("difficulty", "02_difficulty"), ("2", "02_difficulty")]:
        assert [book.stem for book in chosen([wanted])] == [stem]
    assert [book.stem for book in chosen(["2", "difficulty", folder / "extra_one.ipynb"])] == [
        "02_difficulty",
        "extra_one",
    ]
    with pytest.raises(InputError, match="could be 05_retrieval or 05_second"):
        chosen(["5"])
    with pytest.raises(InputError, match="did you mean '02_difficulty'"):
        chosen(["02_dificulty"])
    copy = write_notebook(here / "01_embedding.ipynb", [])
    with pytest.raises(InputError, match="two notebooks are named '01_embedding'"):
        chosen(["01_embedding", copy])
    bad = {
        "text.ipynb": "no json",
        "list.ipynb": "[]",
        "empty.ipynb": "",
        "old.ipynb": '{"nbformat": 99}',
        "cells.ipynb": '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}',
        "semi;colon.ipynb": "{}",
    }
    for name, content in bad.items():
        (here / name).write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match="notebook "):
            chosen([name])
    (here / "julia.ipynb").write_text(
        nbformat.writes(new_notebook(metadata={"kernelspec": {"language": "julia", "name": "j", "display_name": "J"}})),
        encoding="utf-8",
    )
    with pytest.raises(InputError, match="only Python"):
        chosen(["julia.ipynb"])
    twice = new_notebook(cells=[new_code_cell("a = 1", metadata={"tags": ["parameters"]}) for _ in range(2)])
    nbformat.write(twice, here / "twice.ipynb")
    with pytest.raises(InputError, match="2 cells tagged"):
        chosen(["twice.ipynb"])
    with pytest.raises(InputError, match="no notebook"):
        chosen(["x\0.ipynb"])


def test_notebook_of_an_older_format_is_read_without_a_warning(here: Path):
    old = new_notebook(cells=[new_code_cell("a = 1  # one", metadata={"tags": ["parameters"]})])
    old["nbformat_minor"] = 2
    del old.cells[0]["id"]
    (here / "old.ipynb").write_text(json.dumps(old), encoding="utf-8")
    assert notebook_files.read_notebook(here / "old.ipynb").declared["a"] == 1


def test_names_of_runs():
    assert default_name({}) == "default"
    assert run_folder(None, "a-1", {}) == Path("runs/a-1")
    names = {default_name({"pairs": value}) for value in ("a/b.csv", "c/b.csv", "../..", "x" * 500, "\x1b[2J", "σ")}
    assert len(names) == 6
    for name in names | {default_name({"σ": 1, "b": [0.5]})}:
        assert run_folder(None, name, {}) == Path("runs") / name


def test_lock_is_let_go_by_the_system(here: Path):
    folder = here / "run"
    code = (
        "import os\nfrom pathlib import Path\nfrom class_kit.files import lock\n"
        "lock(Path('run')).__enter__()\nos._exit(9)"
    )
    root = str(Path(runs.__file__).resolve().parents[2])
    subprocess.run([sys.executable, "-c", code], cwd=here, env=os.environ | {"PYTHONPATH": root}, check=False)
    with lock(folder), pytest.raises(InputError, match=f"process \\(id {os.getpid()}\\)"), lock(folder):
        pass
    with lock(folder):
        assert (folder / ".lock").read_text() == f"{os.getpid()}\n"


def test_digest_of_a_folder_sees_names_bytes_and_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a").write_text("1")
    seen = {manifest.path_digest(tmp_path)}
    (tmp_path / "a").write_text("2")
    seen.add(manifest.path_digest(tmp_path))
    (tmp_path / "a").rename(tmp_path / "b")
    seen.add(manifest.path_digest(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    seen.add(manifest.path_digest(tmp_path))
    assert len(seen) == 3
    monkeypatch.setattr(manifest, "LARGE_FILE", 0)
    before = manifest.path_digest(tmp_path)
    os.utime(tmp_path / "b", ns=(1, 1))
    assert manifest.path_digest(tmp_path) != before


def test_commit_is_that_of_the_kit_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert manifest.git_commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    answers = {"rev-parse": "abc\n", "status": " M x\n"}
    monkeypatch.setattr(
        manifest.subprocess, "run", lambda command, **options: SimpleNamespace(stdout=answers[command[3]])
    )
    assert manifest.git_commit(tmp_path) == "abc-modified"
    answers["status"] = ""
    assert manifest.git_commit(tmp_path) == "abc"
