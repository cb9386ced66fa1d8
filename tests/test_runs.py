"""Runs: refused before a kernel starts, recorded when done, continued after every kind of failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from class_kit import runs
from class_kit.errors import InputError
from class_kit.files import lock
from class_kit.runs import kernels, manifest, notebooks
from class_kit.runs.run import default_name, result_folder
from tests.notebook_tools import write_notebook


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Kernels replaced by a function that records its calls and writes a result; `fail` and `stop` steer it."""
    calls: list[dict[str, Any]] = []

    def execute(notebook: Any, parameters: dict[str, Any], path: Path) -> kernels.Execution:
        calls.append(dict(parameters))
        if parameters.get("stop"):
            raise KeyboardInterrupt
        runs.record(parameters["out"], f"r{parameters['number']}", {"number": parameters["number"]})
        figure = Path(parameters["out"]) / "figures" / f"f{parameters['number']}.txt"
        figure.parent.mkdir(exist_ok=True)
        figure.write_text("figure", encoding="utf-8")
        return kernels.Execution("cell 2: E: bad" if parameters.get("fail") else None)

    monkeypatch.setattr(kernels, "execute", execute)
    return calls


def numbered(here: Path, number: int, *declared: str) -> Path:
    return write_notebook(here / f"{number:02d}_book.ipynb", [f"number = {number}  # which one", *declared])


@pytest.mark.usefixtures("counted")
def test_refused_before_a_kernel_starts(here: Path, counted: list[dict[str, Any]]):
    book = numbered(here, 1, "seeds = [0]  # seeds", "share = 0.5  # a share")
    other = numbered(here, 2)
    for parameters, options, said in [
        ({"seed": 1}, {}, "no parameter 'seed' in 01_book, 02_book; did you mean 'seeds'"),
        ({"seeds": notebooks.Raw("[a]")}, {}, "01_book: seeds"),
        ({"share": "0.5"}, {}, "01_book: share='0.5': expected a number"),
        ({"number": True}, {}, "01_book: number=True"),
        ({"out": "x"}, {}, "out is set by the run itself"),
        ({"pairs": "corpus"}, {"pairs": "corpus"}, "pairs is given twice"),
        ({}, {"pairs": "nowhere.csv"}, "pairs 'nowhere.csv': not found"),
        ({}, {"pairs": "a\0b"}, "not found"),
        ({}, {"data": "nowhere"}, "data 'nowhere': not found; expected a folder"),
        ({}, {"extra": str(here)}, "expected a file"),
        ({}, {"name": "../up"}, "run name '../up'"),
        ({}, {"name": "a/b"}, "run name 'a/b'"),
        ({}, {"name": ".."}, "run name"),
        ({}, {"name": "x", "out": "y"}, "not both"),
        ({}, {"out": str(book)}, "Not a directory"),
        ({}, {"out": "a\0b"}, "a"),
    ]:
        with pytest.raises(InputError, match=said.replace("(", r"\(").replace("[", r"\[")):
            runs.run_notebooks([book, other], parameters, say=print, **options)
    foreign = here / "mine"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(InputError, match="not an empty folder"):
        runs.run_notebooks([book], out=foreign)
    assert not counted
    assert not (here / "runs").exists()


def test_same_again_is_not_computed(here: Path, counted: list[dict[str, Any]]):
    books = [numbered(here, 1), numbered(here, 2, "share = 0.5  # a share")]
    said: list[str] = []
    assert runs.run_notebooks(books, say=said.append).done
    assert len(counted) == 2
    assert runs.run_notebooks(books, {"share": 1.0}, out="elsewhere", say=said.append).done
    assert len(counted) == 4
    said.clear()
    again = runs.run_notebooks(books, say=said.append)
    assert again.done
    assert again.computed == []
    assert "already done" in said[0]
    assert len(counted) == 4

    (here / "runs/default/results/r1.json").write_text("{}", encoding="utf-8")
    assert runs.run_notebooks(books, say=said.append).computed == ["01_book"]
    assert runs.run_notebooks(books, force=True, say=said.append).computed == ["01_book", "02_book"]
    books[1] = numbered(here, 2, "more = 1  # a change of the source")
    assert runs.run_notebooks(books, say=said.append).computed == ["02_book"]


@pytest.mark.parametrize("changed", ["code", "packages", "python"])
def test_other_code_or_versions_compute_again(
    here: Path, counted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, changed: str
):
    books = [numbered(here, 1), numbered(here, 2)]
    runs.run_notebooks(books, say=print)
    other = {**manifest.environment(), changed: {"numpy": "0"} if changed == "packages" else "other"}
    monkeypatch.setattr(manifest, "environment", lambda: other)
    assert runs.run_notebooks(books[:1], say=print).computed == ["01_book"]
    assert set(json.loads((here / "runs/default/metrics.json").read_text())) == {"r1", "r2"}


def test_changed_input_file_computes_again(here: Path, counted: list[dict[str, Any]]):
    book, pairs = numbered(here, 1), here / "pairs.csv"
    pairs.write_text("text,smiles\na,C\n", encoding="utf-8")
    first = runs.run_notebooks([book], pairs="pairs.csv", say=print)
    assert first.folder.name.startswith("pairs-pairs.csv-")
    assert runs.run_notebooks([book], pairs="pairs.csv", say=print).computed == []
    pairs.write_text("text,smiles\nb,C\n", encoding="utf-8")
    assert runs.run_notebooks([book], pairs="pairs.csv", say=print).computed == ["01_book"]
    folder = here / "some"
    folder.mkdir()
    (folder / "a").write_text("1")
    runs.run_notebooks([book], data="some", say=print)
    assert runs.run_notebooks([book], data="some", say=print).computed == []
    (folder / "b").write_text("1")
    assert runs.run_notebooks([book], data="some", say=print).computed == ["01_book"]


def test_finished_stays_when_another_fails(here: Path, counted: list[dict[str, Any]]):
    books = [numbered(here, 1), numbered(here, 2, "fail = True  # fails")]
    result = runs.run_notebooks(books, name="mine", say=print)
    assert result.exit_code == 1
    folder = here / "runs" / "mine"
    assert json.loads((folder / "metrics.json").read_text()) == {"r1": {"number": 1}}
    assert not (folder / "done").exists()
    books[1] = numbered(here, 2)
    result = runs.run_notebooks(books, name="mine", say=print)
    assert result.computed == ["02_book"]
    assert result.done
    assert json.loads((folder / "metrics.json").read_text()) == {"r1": {"number": 1}, "r2": {"number": 2}}
    assert len(counted) == 3


def test_done_waits_for_every_recorded_notebook(here: Path, counted: list[dict[str, Any]]):
    good, bad = numbered(here, 1), numbered(here, 2, "fail = True  # fails")
    runs.run_notebooks([bad], say=print)
    said: list[str] = []
    result = runs.run_notebooks([good], say=said.append)
    assert result.exit_code == 0
    assert not result.done
    assert any("not finished: 02_book" in line for line in said)
    assert not (result.folder / "done").exists()


def test_interrupt_keeps_what_is_finished(here: Path, counted: list[dict[str, Any]]):
    books = [numbered(here, 1), numbered(here, 2, "stop = True  # interrupted"), numbered(here, 3)]
    result = runs.run_notebooks(books, say=print)
    assert result.exit_code == 130
    assert result.status == {"01_book": "finished", "02_book": "interrupted"}
    books[1] = numbered(here, 2)
    assert runs.run_notebooks(books, say=print).computed == ["02_book", "03_book"]


def test_full_disk_leaves_no_done_and_the_next_run_continues(
    here: Path, counted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    books = [numbered(here, 1), numbered(here, 2)]
    real, left = os.replace, [9]

    def replace(source: Any, target: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device", str(target))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("class_kit.files.os.replace", replace)
        with pytest.raises(OSError, match="No space left"):
            runs.run_notebooks(books, say=print)
    folder = here / "runs/default"
    assert not (folder / "done").exists()
    assert not list(folder.rglob("*.tmp"))
    assert len(counted) == 2
    assert runs.run_notebooks(books, say=print).computed == ["02_book"]


def test_done_is_gone_before_anything_changes_and_files_of_a_failed_try_go(here: Path, counted: list[dict[str, Any]]):
    book = numbered(here, 1)
    folder = runs.run_notebooks([book], say=print).folder
    seen: list[bool] = []

    def say(line: str) -> None:
        seen.append((folder / "done").exists())

    runs.run_notebooks([book], force=True, say=say)
    assert seen == [False, False, True, True]


def test_manifest_edited_by_hand_cannot_reach_outside(here: Path, counted: list[dict[str, Any]]):
    book = numbered(here, 1)
    folder = runs.run_notebooks([book], say=print).folder
    victim = here / "victim.txt"
    victim.write_text("mine", encoding="utf-8")
    path = folder / "manifest.json"
    edited = json.loads(path.read_text())
    edited["notebooks"]["01_book"]["files"]["../../victim.txt"] = "0"
    path.write_text(json.dumps(edited))
    with pytest.raises(InputError, match="outside the run"):
        runs.run_notebooks([book], say=print)
    assert victim.read_text() == "mine"
    for damaged in ("", "[]", "{}", '{"format": 1, "notebooks": {"a": 3}}', '{"format": 1, "notebooks": {"a": {}}}'):
        path.write_text(damaged)
        assert runs.run_notebooks([book], say=print).computed == ["01_book"]


def test_manifest_says_where_numbers_come_from(here: Path, counted: list[dict[str, Any]]):
    book = numbered(here, 1, "seeds = [3, 4]  # seeds")
    folder = runs.run_notebooks([book], {"number": 7}, say=print).folder
    written = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    entry = written["notebooks"]["01_book"]
    assert written["status"] == "finished"
    assert written["overrides"] == {"number": 7}
    assert entry["seeds"] == {"seeds": [3, 4]}
    assert entry["parameters"]["number"] == 7
    assert entry["parameters"]["out"] == folder.as_posix()
    assert entry["seconds"] >= 0
    assert written["environment"]["packages"]["numpy"] == np.__version__
    assert len(written["environment"]["code"]) == 64
    assert len(entry["source_digest"]) == 64


def test_record_takes_plain_data_only(tmp_path: Path):
    path = runs.record(tmp_path, "05_retrieval", {"mrr": np.float64(0.5), "ranks": np.arange(2), "none": None})
    assert json.loads(path.read_text()) == {"mrr": 0.5, "none": None, "ranks": [0, 1]}
    for name in ("", "../x", "a/b", ".hidden", "x" * 200, 3):
        with pytest.raises(InputError, match="record: name"):
            runs.record(tmp_path, name, {})
    with pytest.raises(InputError, match="results must be a dict"):
        runs.record(tmp_path, "a", [1])
    with pytest.raises(InputError, match=r"results\.a\.b\[1\]: nan"):
        runs.record(tmp_path, "a", {"a": {"b": [1, float("nan")]}})
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["05_retrieval.json"]


def test_unknown_and_broken_notebooks(here: Path, monkeypatch: pytest.MonkeyPatch):
    folder = here / "kit"
    folder.mkdir()
    for stem in ("01_embedding", "02_difficulty", "05_retrieval"):
        write_notebook(folder / f"{stem}.ipynb", [])
    write_notebook(folder / "extra_one.ipynb", [])
    monkeypatch.setattr(notebooks, "shipped", lambda name: folder)
    chosen = notebooks.choose_notebooks
    assert [book.stem for book in chosen(None)] == ["01_embedding", "02_difficulty", "05_retrieval"]
    for wanted, stem in [("01_embedding", "01_embedding"), ("difficulty", "02_difficulty"), ("2", "02_difficulty")]:
        assert [book.stem for book in chosen([wanted])] == [stem]
    assert [book.stem for book in chosen(["2", "difficulty", folder / "extra_one.ipynb"])] == [
        "02_difficulty",
        "extra_one",
    ]
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
    assert notebooks.read_notebook(here / "old.ipynb").declared["a"] == 1


def test_names_of_runs():
    assert default_name({}) == "default"
    assert result_folder(None, "a-1", "", "x") == Path("runs/a-1")
    names = {default_name({"pairs": value}) for value in ("a/b.csv", "c/b.csv", "../..", "x" * 500, "\x1b[2J", "σ")}
    assert len(names) == 6
    for name in names | {default_name({"σ": 1, "b": [0.5]})}:
        assert result_folder(None, name, "", "x") == Path("runs") / name


def test_lock_is_let_go_by_the_system(here: Path):
    folder = here / "run"
    code = "import os\nfrom class_kit.files import lock\nlock('run').__enter__()\nos._exit(9)"
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
