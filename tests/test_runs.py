"""Runs: refused before a kernel starts, recorded when done, continued after every kind of failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from class_kit import kernels, manifest, notebook_files, runs
from class_kit.errors import InputError
from class_kit.runfolder import default_name, lock, run_folder

NASTY = 'it\'s "quoted" """and\nmore\\ {out} \u2028 {{x}} %s $(touch pwned) `id`\x1b[2J'
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


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Kernels replaced by a function that records its calls and writes a result; `fail` and `stop` steer it."""
    calls: list[dict[str, Any]] = []

    def execute(notebook: Any, parameters: dict[str, Any], partial: Path) -> kernels.Execution:
        calls.append(dict(parameters))
        if parameters.get("stop"):
            raise KeyboardInterrupt
        runs.record(parameters["out"], f"r{parameters['number']}", {"number": parameters["number"]})
        figure = Path(parameters["out"]) / "figures" / f"f{parameters['number']}.txt"
        figure.parent.mkdir(exist_ok=True)
        figure.write_text("figure", encoding="utf-8")
        return kernels.Execution(nbformat.from_dict(notebook), "cell 2: E: bad" if parameters.get("fail") else None)

    monkeypatch.setattr(kernels, "execute", execute)
    return calls


def numbered(here: Path, number: int, *declared: str) -> Path:
    return write_notebook(here / f"{number:02d}_book.ipynb", [f"number = {number}  # which one", *declared])


def test_real_kernels(here: Path):
    """One good notebook, and every way in which a notebook fails, on real kernels."""
    good = write_notebook(
        here / "01_good.ipynb",
        ['word = "x"  # any text', "share = 0.5  # a share", "seeds = [0]  # seeds"],
        "import os, sys\n"
        "from class_kit.runs import record\n"
        "results = dict(word=word, share=share, seeds=seeds, pairs=pairs, python=sys.executable, folder=os.getcwd(),\n"
        "               hash=os.environ['PYTHONHASHSEED'], bars=os.environ['CLASS_KIT_PROGRESS'])\n"
        "record(out, '01_good', results)",
        "import pathlib\nplace = pathlib.Path(out, 'figures')\nplace.mkdir()\n_ = (place / 'a.png').write_bytes(b'x')",
    )
    hidden = write_notebook(
        here / "02_hidden.ipynb",
        [],
        "import ipywidgets as w\nbox = w.Output()\n"
        "@box.capture()\ndef changed(_):\n    raise KeyError('hidden in a callback')\nchanged(1)\nbox",
    )
    dies = write_notebook(here / "03_dies.ipynb", [], "print('before')", "import os\nos._exit(3)")
    ends = write_notebook(here / "04_ends.ipynb", [], "import sys\nsys.exit(0)", "print('never')")
    raises = write_notebook(here / "05_raises.ipynb", [], "raise ValueError('bad \\x1b[2J \\u202e value')")
    said: list[str] = []
    result = runs.run_notebooks(
        [good, hidden, dies, ends, raises], {"word": NASTY, "share": 1, "seeds": (np.int64(3), 4)}, say=said.append
    )

    assert result.exit_code == 1
    assert not result.done
    assert not (result.folder / "done").exists()
    assert result.status.pop("01_good") == "finished"
    assert set(result.status.values()) == {"failed"}
    metrics = json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == {
        "01_good": {
            "word": NASTY,
            "share": 1.0,
            "seeds": [3, 4],
            "pairs": "corpus",
            "python": sys.executable,
            "folder": str(here),
            "hash": "0",
            "bars": "0",
        }
    }
    assert not (here / "pwned").exists()
    assert "hidden in a callback" in entry_of(result.folder, "02_hidden")["error"]
    assert "Kernel died" in entry_of(result.folder, "03_dies")["error"]
    assert entry_of(result.folder, "03_dies")["error"].startswith("cell 5")
    assert "SystemExit" in entry_of(result.folder, "04_ends")["error"]
    assert "cell 4: ValueError: bad \\x1b[2J \\u202e value" in "\n".join(said)
    assert "\x1b" not in "".join(said)

    entry = entry_of(result.folder, "01_good")
    assert set(entry["files"]) == {"figures/a.png", "notebooks/01_good.ipynb", "results/01_good.json"}
    assert entry["peak_mib"] > 10
    executed = nbformat.read(result.folder / "notebooks" / "01_good.ipynb", as_version=4)
    text = (result.folder / "notebooks" / "01_good.ipynb").read_text(encoding="utf-8")
    assert str(here) not in text.replace(json.dumps(str(here)), "")
    assert "papermill" not in text
    assert [cell.id for cell in executed.cells if "injected-parameters" in cell.metadata.get("tags", [])] == [
        "injected-parameters"
    ]
    partly = nbformat.read(result.folder / "notebooks" / "03_dies.ipynb", as_version=4)
    assert any("before" in str(cell.get("outputs")) for cell in partly.cells)
    assert sorted(path.name for path in (result.folder / "notebooks").iterdir()) == [
        f"{path.stem}.ipynb" for path in (good, hidden, dies, ends, raises)
    ]


def test_interrupted_run_stops_its_kernel_and_continues(here: Path):
    book = write_notebook(
        here / "01_long.ipynb",
        [],
        "import os, pathlib, time\nfirst = not pathlib.Path('pid').exists()\n"
        "pathlib.Path('pid.part').write_text(str(os.getpid()))\nos.replace('pid.part', 'pid')\n"
        "time.sleep(120 if first else 0)",
    )
    process = start_run(here, book.name)
    kernel = wait_for_pid(here / "pid", process)
    again = start_run(here, book.name)
    assert "another process" in again.communicate(timeout=60)[1]
    assert again.returncode == 2
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted" in output[0]
    assert is_gone(kernel)
    folder = here / "runs" / "default"
    assert entry_of(folder, "01_long")["status"] == "interrupted"
    assert not (folder / "done").exists()

    (here / "pid").unlink()
    process = start_run(here, book.name)
    kernel = wait_for_pid(here / "pid", process)
    process.kill()
    process.communicate(timeout=60)
    assert entry_of(folder, "01_long")["status"] == "running"
    assert not (folder / "done").exists()
    assert is_gone(kernel)

    assert runs.run_notebooks([book], say=lambda line: None).done
    assert (folder / "done").exists()
    assert not list(folder.rglob(".partial*"))


def start_run(here: Path, *arguments: str) -> subprocess.Popen[str]:
    root = str(Path(runs.__file__).resolve().parent.parent)
    return subprocess.Popen(
        [sys.executable, "-m", "class_kit", "run", *arguments],
        cwd=here,
        env=os.environ | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_pid(path: Path, process: subprocess.Popen[str], seconds: float = 60) -> int:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the kernel did not start"
        time.sleep(0.05)
    return int(path.read_text())


def is_gone(process: int, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.usefixtures("counted")
def test_refused_before_a_kernel_starts(here: Path, counted: list[dict[str, Any]]):
    book = numbered(here, 1, "seeds = [0]  # seeds", "share = 0.5  # a share")
    other = numbered(here, 2)
    for parameters, options, said in [
        ({"seed": 1}, {}, "no parameter 'seed' in 01_book, 02_book; did you mean seeds"),
        ({"seeds": notebook_files.Raw("[a]")}, {}, "01_book: parameter seeds"),
        ({"share": "0.5"}, {}, "parameter share: '0.5' is text"),
        ({"number": True}, {}, "parameter number: True"),
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
        ({}, {"out": str(book)}, "not a run's folder"),
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
    with pytest.raises(InputError, match="did you mean 02_difficulty"):
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
    assert notebook_files.read_notebook(here / "old.ipynb").declared["a"].default == 1


def test_same_again_is_not_computed(here: Path, counted: list[dict[str, Any]]):
    books = [numbered(here, 1), numbered(here, 2)]
    said: list[str] = []
    assert runs.run_notebooks(books, say=said.append).done
    assert len(counted) == 2
    assert runs.run_notebooks(books, {"number": 1}, out="elsewhere", say=said.append).done
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
    other = manifest.environment() | {changed: {"numpy": "0"} if changed == "packages" else "other"}
    monkeypatch.setattr(manifest, "environment", lambda: other)
    assert runs.run_notebooks(books[:1], say=print).computed == ["01_book"]
    assert [entry_of(here / "runs/default", stem)["other_versions"] for stem in ("02_book",)] == [True]
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
    real, left = os.replace, [12]

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
    stray = folder / "notebooks" / ".partial-01_book.ipynb"
    stray.write_text("{", encoding="utf-8")
    seen: list[bool] = []

    def say(line: str) -> None:
        seen.append((folder / "done").exists())

    runs.run_notebooks([book], force=True, say=say)
    assert seen == [False, False, True, True]
    assert not stray.exists()


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
    assert written["environment"]["packages"]["torch"].startswith("2.13.0")
    assert len(written["environment"]["code"]) == 64
    assert len(entry["source_digest"]) == 64


def test_names_of_runs():
    assert default_name({}) == "default"
    assert run_folder(None, "a-1", {}) == Path("runs/a-1")
    names = {default_name({"pairs": value}) for value in ("a/b.csv", "c/b.csv", "../..", "x" * 500, "\x1b[2J", "σ")}
    assert len(names) == 6
    for name in names | {default_name({"σ": 1, "b": [0.5]})}:
        assert run_folder(None, name, {}) == Path("runs") / name


def test_lock_is_let_go_by_the_system(here: Path):
    folder = here / "run"
    code = "import os, sys\nfrom pathlib import Path\nfrom class_kit.runfolder import lock\nlock(Path('run')).__enter__()\nos._exit(9)"
    root = str(Path(runs.__file__).resolve().parent.parent)
    subprocess.run([sys.executable, "-c", code], cwd=here, env=os.environ | {"PYTHONPATH": root}, check=False)
    with lock(folder), pytest.raises(InputError, match=f"process \\(id {os.getpid()}\\)"), lock(folder):
        pass
    with lock(folder):
        assert (folder / ".lock").read_text() == f"{os.getpid()}\n"


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


def test_kernel_that_does_not_start_is_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import papermill

    tries: list[int] = []

    def execute_notebook(notebook: Any, *arguments: Any, **options: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return notebook

    monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
    assert kernels.execute(new_notebook(), {}, tmp_path / "p.ipynb").error is None
    assert len(tries) == 2

    def never(notebook: Any, *arguments: Any, **options: Any) -> Any:
        tries.append(1)
        raise RuntimeError("Kernel didn't respond in 120 seconds")

    monkeypatch.setattr(papermill, "execute_notebook", never)
    assert "didn't respond" in str(kernels.execute(new_notebook(), {}, tmp_path / "p.ipynb").error)
    assert len(tries) == 4


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
