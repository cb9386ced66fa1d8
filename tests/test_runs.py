"""Runs: refused before a kernel starts, recorded when done, continued after every kind of failure."""

import json
from pathlib import Path
from threading import Barrier
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from class_kit import runs
from class_kit.errors import InputError
from class_kit.runs import kernels, notebooks, run
from class_kit.runs.run import default_name, result_folder
from tests.notebook_tools import entry_of, quiet, write_notebook
from tests.short_run import ATTACKS


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Kernels replaced by a function that records its calls and writes a result; `fail` and `stop` steer it."""
    calls: list[dict[str, Any]] = []

    def execute(notebook: Any, parameters: dict[str, Any], path: Path, *ignored: Any) -> str | None:
        calls.append(dict(parameters))
        if parameters.get("stop"):
            raise KeyboardInterrupt
        number, finding = parameters["number"], {"says": "It is so.", "figure": "f"}
        findings = {"findings": [finding]} if parameters.get("tell") else {}
        runs.record(parameters["out"], f"r{number}", {"number": number, **findings})
        return "cell 2: E: bad" if parameters.get("fail") else None

    monkeypatch.setattr(kernels, "execute", execute)
    return calls


def numbered(here: Path, number: int, *declared: str) -> Path:
    return write_notebook(here / f"{number:02d}_book.ipynb", [f"number = {number}  # which one", *declared])


def test_refused_before_a_kernel_starts(here: Path, counted: list[dict[str, Any]]):
    book = numbered(here, 1, "seeds = [0]  # seeds", "share = 0.5  # a share")
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("years of work", encoding="utf-8")
    for parameters, options, said in [
        ({"seed": 1}, {}, "no parameter 'seed' in 01_book, 02_book; did you mean 'seeds'"),
        ({"share": "0.5"}, {}, "01_book: share='0.5': expected a number"),
        ({"out": "x"}, {}, "out is set by the run itself"),
        ({"pairs": "nowhere.csv"}, {}, "nowhere.csv: there is no such file"),
        ({"extra": "a\0b"}, {}, r"extra=.*: there is no such file or folder"),
        ({}, {"out": str(book)}, "Not a directory"),
        ({}, {"out": "a\0b"}, "a"),
        ({}, {"out": "mine"}, "expected a new or empty folder"),
    ]:
        with pytest.raises(InputError, match=said):
            runs.run_notebooks([book, numbered(here, 2)], parameters, say=quiet, **options)
    assert not counted
    assert not (here / "runs").exists()


def test_same_again_is_not_computed(here: Path, counted: list[dict[str, Any]]):
    books = [numbered(here, 1, "tell = True  # a finding"), numbered(here, 2, "share = 0.5  # a share")]
    assert runs.run_notebooks(books, say=quiet).done
    assert runs.run_notebooks(books, {"share": 1.0}, out="elsewhere", say=quiet).done
    said: list[str] = []
    again = runs.run_notebooks(books, say=said.append)
    assert (again.done, again.exit_code, again.computed) == (True, 0, [])
    assert "already done" in said[0]
    assert said[1] == "It is so."
    assert len(counted) == 4
    assert runs.run_notebooks(books, force=True, say=quiet).computed == ["01_book", "02_book"]
    books[1] = numbered(here, 2, "more = 1  # a change of the source")
    assert runs.run_notebooks(books, say=quiet).computed == ["02_book"]


@pytest.mark.parametrize("changed", ["code", "packages", "python"])
def test_other_code_or_versions_compute_again(here, counted, monkeypatch, changed):
    books = [numbered(here, 1), numbered(here, 2)]
    runs.run_notebooks(books, say=quiet)
    other = {**run.kit_state(), changed: {"numpy": "0"} if changed == "packages" else "other"}
    monkeypatch.setattr(run, "kit_state", lambda: other)
    assert runs.run_notebooks(books[:1], say=quiet).computed == ["01_book"]
    assert set(json.loads((here / "runs/default/metrics.json").read_text())) == {"r1", "r2"}


def test_changed_inputs_compute_again(here: Path, counted: list[dict[str, Any]]):
    book, pairs = numbered(here, 1), here / "pairs.csv"
    (here / "some").mkdir()
    for name, changes in (("pairs", [pairs, pairs]), ("data", [here / "some" / "a", here / "some" / "b"])):
        value = "pairs.csv" if name == "pairs" else "some"
        for number, file in enumerate(changes):
            file.write_text(f"text,smiles\na{number},C\n", encoding="utf-8")
            first = runs.run_notebooks([book], {name: value}, say=quiet)
            assert first.computed == ["01_book"]
            assert first.folder.name.startswith(f"{name}-{value}-")
            assert runs.run_notebooks([book], {name: value}, say=quiet).computed == []


def test_finished_stays_when_another_fails_or_is_interrupted(here: Path, counted: list[dict[str, Any]]):
    books = [numbered(here, 1), numbered(here, 2, "fail = True  # fails"), numbered(here, 3, "stop = True  # stops")]
    books.append(numbered(here, 4))
    result = runs.run_notebooks(books, out="mine", say=quiet)
    assert result.exit_code == 130
    assert result.status == {"01_book": "finished", "02_book": "failed", "03_book": "interrupted"}
    folder, said = here / "mine", []
    assert json.loads((folder / "metrics.json").read_text()) == {"r1": {"number": 1}}
    assert runs.run_notebooks(books[:1], out="mine", say=said.append).exit_code == 0
    assert any("not finished: 02_book, 03_book" in line for line in said)
    assert not (folder / "done").exists(), "it waits for every notebook that is recorded"
    again = runs.run_notebooks([books[0], *(numbered(here, n) for n in (2, 3, 4))], out="mine", say=quiet)
    assert again.computed == ["02_book", "03_book", "04_book"]
    assert again.done
    assert (folder / "done").exists()
    assert json.loads((folder / "metrics.json").read_text()) == {f"r{n}": {"number": n} for n in (1, 2, 3, 4)}


def test_the_kit_s_notebooks_run_side_by_side_and_what_each_wrote_is_told_apart(
    here: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two meet at a barrier, write, and meet again, so each writes while the other runs."""
    books, meet, given = [numbered(here, number) for number in (1, 2)], Barrier(2, timeout=60), {}

    def execute(notebook: Any, parameters: dict[str, Any], path: Path, cores: int, running: set[Any]) -> str | None:
        given[path.stem] = cores
        meet.wait()
        (path.parent.parent / "figures").mkdir(exist_ok=True)
        (path.parent.parent / "figures" / f"{path.stem[:2]}_f.png").write_bytes(b"x")
        runs.record(parameters["out"], path.stem, {"number": parameters["number"]})
        meet.wait()
        return None

    monkeypatch.setattr(kernels, "execute", execute)
    monkeypatch.setattr(run, "numbered_notebooks", lambda: books)
    monkeypatch.setattr("joblib.cpu_count", lambda: 6)
    folder = runs.run_notebooks(books, say=quiet).folder
    for stem in ("01_book", "02_book"):
        assert set(entry_of(folder, stem)["files"]) == {f"figures/{stem[:2]}_f.png", f"results/{stem}.json"}
    assert given == {"01_book": 3, "02_book": 6}, "the last to start has the cores of those that end"
    assert (folder / "done").exists()


def test_a_manifest_from_elsewhere_reaches_no_file_outside(here: Path, counted: list[dict[str, Any]]):
    """Even one whose digest is right: what is not in the folder is missing, and nothing else is read or removed."""
    book = numbered(here, 1)
    folder = runs.run_notebooks([book], say=quiet).folder
    victim, path = here / "results" / "victim.json", folder / "manifest.json"
    victim.parent.mkdir()
    victim.write_text('"mine"', encoding="utf-8")
    edited = json.loads(path.read_text())
    del edited["digest"]
    edited["notebooks"]["01_book"]["files"]["notebooks/../../../results/victim.json"] = "0" * 64
    path.write_text(json.dumps(edited | {"digest": run.json_digest(edited)}))
    assert runs.run_notebooks([book], say=quiet).computed == ["01_book"]
    assert victim.read_text() == '"mine"'
    assert set(json.loads((folder / "metrics.json").read_text())) == {"r1"}
    for damaged in ("", "[]", "{}", '{"digest": 1}', path.read_text().replace("finished", "fnished")):
        path.write_text(damaged)
        assert runs.run_notebooks([book], say=quiet).computed == ["01_book"]


def test_manifest_says_where_numbers_come_from(here: Path, counted: list[dict[str, Any]]):
    book = numbered(here, 1, "seeds = [3, 4]  # seeds")
    folder = runs.run_notebooks([book], {"number": 7}, say=quiet).folder
    written = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    entry = written["notebooks"]["01_book"]
    assert (written["status"], written["overrides"], entry["seeds"]) == ("finished", {"number": 7}, {"seeds": [3, 4]})
    assert entry["parameters"]["number"] == 7
    assert entry["parameters"]["out"] == folder.as_posix()
    assert entry["seconds"] >= 0
    assert written["environment"]["packages"]["numpy"] == np.__version__
    assert len(written["environment"]["code"]) == len(entry["source_digest"]) == 64


def test_record_takes_plain_data_only(tmp_path: Path):
    path = runs.record(tmp_path, "05_retrieval", {"mrr": np.float64(0.5), "ranks": np.arange(2), "none": None})
    assert json.loads(path.read_text()) == {"mrr": 0.5, "none": None, "ranks": [0, 1]}
    for name, results, said in [
        *((name, {}, "record: name") for name in ("", "../x", "a/b", ".hidden", "x" * 200)),
        ("a", [1], "results must be a dict"),
        ("a", {"a": {"b": [1, float("nan")]}}, r"results\.a\.b\[1\]: nan"),
    ]:
        with pytest.raises(InputError, match=said):
            runs.record(tmp_path, name, results)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["05_retrieval.json"]


def test_a_notebook_run_by_hand_says_where_its_results_are(here: Path, capsys: pytest.CaptureFixture[str]):
    runs.record("runs/other", "05_retrieval", {})
    assert capsys.readouterr().out == ""
    runs.record("runs/notebook", "05_retrieval", {})
    assert capsys.readouterr().out == f"figures and results: {here / 'runs' / 'notebook'}\n"


def test_notebooks_are_chosen_by_path_stem_name_or_number(here: Path, monkeypatch: pytest.MonkeyPatch):
    folder = here / "kit"
    folder.mkdir()
    for stem in ("00_pairs", "02_difficulty", "extra_one"):
        write_notebook(folder / f"{stem}.ipynb", [])
    monkeypatch.setattr(notebooks, "shipped", lambda name: folder)

    def chosen(*wanted: Any) -> list[str]:
        return [book.stem for book in notebooks.choose_notebooks(wanted)]

    assert chosen() == ["00_pairs", "02_difficulty"]
    assert chosen("02_difficulty", "difficulty", "2", "0") == ["02_difficulty", "00_pairs"]
    assert chosen(folder / "extra_one.ipynb") == ["extra_one"]
    copy = write_notebook(here / "00_pairs.ipynb", [])
    for wanted, said in [
        (["02_dificulty"], "did you mean '02_difficulty'"),
        (["00_pairs", copy], "two notebooks are named '00_pairs'"),
        (["x\0.ipynb"], "no notebook"),
        ([""], "no notebook"),
    ]:
        with pytest.raises(InputError, match=said):
            chosen(*wanted)


JULIA = new_notebook(metadata={"kernelspec": {"language": "julia", "name": "j", "display_name": "J"}})
TWICE = new_notebook(cells=[new_code_cell("a = 1", metadata={"tags": ["parameters"]}) for _ in range(2)])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text", "no json", "cannot be read"),
        ("list", "[]", "cannot be read"),
        ("old", '{"nbformat": 99}', "cannot be read"),
        (
            "cells",
            '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}',
            "cannot be read",
        ),
        ("semi;colon", "{}", "its name may hold"),
        ("julia", nbformat.writes(JULIA), "only Python"),
        ("twice", nbformat.writes(TWICE), "2 cells tagged"),
    ],
)
def test_what_is_no_notebook_is_refused(here: Path, name: str, content: str, said: str):
    (here / f"{name}.ipynb").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        notebooks.choose_notebooks([f"{name}.ipynb"])


def test_notebook_of_an_older_format_is_read_without_a_warning(here: Path):
    old = new_notebook(cells=[new_code_cell("a = 1  # one", metadata={"tags": ["parameters"]})])
    old["nbformat_minor"] = 2
    del old.cells[0]["id"]
    (here / "old.ipynb").write_text(json.dumps(old), encoding="utf-8")
    assert notebooks.read_notebook(here / "old.ipynb").declared["a"] == 1


def test_names_of_runs():
    assert default_name({}) == "default"
    names = {default_name({"pairs": value}) for value in ("a/b.csv", "c/b.csv", "../..", "x" * 500, "σ", *ATTACKS)}
    assert len(names) == 5 + len(ATTACKS)
    for name in names | {default_name({"σ": 1, "b": [0.5]})}:
        assert result_folder(None, name, "x") == Path("runs") / name
