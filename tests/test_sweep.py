"""Sweeps: all combinations are checked first, none harms another, and the page shows values as text."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from joblib import cpu_count
from nbformat.v4 import new_code_cell, new_notebook

from class_kit import runs
from class_kit.cli import main
from class_kit.errors import InputError
from class_kit.runs import kernels, manifest
from tests.notebook_tools import write_notebook
from tests.sweep_tools import (
    HOSTILE,
    PIXEL,
    Page,
    Played,
    book,
    check_harmless,
    here,
    planned,
    played,
    swept,
)
from tests.test_kernels import is_gone, start_run, wait_for_pid

__all__ = ["book", "here", "played"]


def test_refused_before_anything_starts(here: Path, book: Path, played: Played):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("years of work", encoding="utf-8")
    for sweeps, options, said in [
        ({}, {}, "at least one parameter"),
        ({"share": []}, {}, "no values"),
        ({"share": "0.1"}, {}, "expected a list of values"),
        ({"share": 0.1}, {}, "expected a list of values"),
        ({"shar": [0.1]}, {}, "did you mean 'share'"),
        ({"share": [0.1, 0.2, "0.3"]}, {}, "share='0.3': expected a number"),
        ({"word": ["a", "b"], "share": [0.1, float("nan")]}, {}, "not a finite number"),
        ({"seeds": [[0], [True]]}, {}, r"seeds\[0\]=True"),
        ({"share": [1, 1.0]}, {}, r"gives share = 1\.0 twice"),
        ({"share": [0.1]}, {"parameters": {"share": 0.2}}, "share is given twice"),
        ({"pairs": ["corpus"]}, {"pairs": "corpus"}, "pairs is given twice"),
        ({"pairs": ["corpus", "nowhere.csv"]}, {}, "'nowhere.csv': not found"),
        ({"out": ["a", "b"]}, {}, "out is set by the run itself"),
        ({"share": range(40), "size": range(40)}, {}, "1600 combinations; expected at most 1000"),
        ({"share": [0.1]}, {"jobs": 0}, "jobs=0"),
        ({"share": [0.1]}, {"name": "../up"}, "run name"),
        ({"share": [0.1]}, {"name": "a", "out": "b"}, "not both"),
        ({"share": [0.1]}, {"out": "mine"}, "not a sweep's folder"),
        ({"share": [0.1]}, {"out": "01_book.ipynb"}, "Not a directory"),
    ]:
        with pytest.raises(InputError, match=said):
            swept(book, sweeps, **options)
    assert played.words == []
    assert sorted(path.name for path in here.iterdir()) == ["01_book.ipynb", "mine"]
    assert [path.name for path in (here / "mine").iterdir()] == ["thesis.tex"]


def test_runs_and_sweeps_keep_out_of_each_others_folders(book: Path, played: Played):
    assert runs.run_notebooks([book], name="one", say=lambda line: None).done
    before = (Path("runs/one/metrics.json")).read_bytes()
    with pytest.raises(InputError, match="not a sweep's folder"):
        swept(book, {"share": [0.1]}, name="one")
    assert Path("runs/one/metrics.json").read_bytes() == before
    assert swept(book, {"share": [0.1]}, name="many").done
    before = Path("runs/many/metrics.json").read_bytes()
    with pytest.raises(InputError, match="a sweep is kept in"):
        runs.run_notebooks([book], name="many")
    with pytest.raises(InputError, match="not a run's folder"):
        runs.run_notebooks([book], out="runs/many")
    assert Path("runs/many/metrics.json").read_bytes() == before


def test_a_failure_stops_no_other_and_the_same_call_does_what_is_missing(book: Path, played: Played):
    sweeps = {"word": ["a", "bb", "ccc", "dddd"], "share": [0.1]}
    played.bad, played.lost, said = {"bb"}, {"ccc"}, []
    result = swept(book, sweeps, {"seeds": [7]}, say=said.append)
    folder = result.folder
    assert result.exit_code == 1
    assert not result.done
    assert list(result.status.values()) == ["finished", "failed", "failed", "finished"]
    assert not (folder / "done").exists()
    record = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed"
    assert record["fixed"] == {"seeds": [7]}
    assert record["sweeps"] == {"word": sweeps["word"], "share": [0.1]}
    assert record["runs"][1]["error"].startswith("01_book: cell 2: ValueError: bb")
    assert record["runs"][2]["error"].startswith("RuntimeError: no more threads")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["runs"]
    assert [run["parameters"] for run in metrics] == [
        {"seeds": [7], "word": word, "share": 0.1} for word in sweeps["word"]
    ]
    assert [run["metrics"].get("01_book", {}).get("length") for run in metrics] == [1, None, None, 4]
    finished = [line for line in said if "share = 0.1: " in line]
    assert len(finished) == 4
    assert any('word = "bb", share = 0.1: failed after' in line and "ValueError: bb" in line for line in finished)
    assert all(f"({n} of 4)" in line for n, line in enumerate(finished, 1))

    played.bad, played.lost, played.words = set(), set(), []
    again = swept(book, sweeps, {"seeds": [7]})
    assert again.folder == folder
    assert sorted(played.words) == ["bb", "ccc"]
    assert len(again.computed) == 2
    assert again.exit_code == 0
    assert (folder / "done").is_file()
    assert "error" not in json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["runs"][1]

    played.words = []
    assert swept(book, sweeps, {"seeds": [7]}).computed == []
    assert played.words == []
    damaged = folder / metrics[0]["folder"] / "results" / "01_book.json"
    damaged.write_text("{}", encoding="utf-8")
    assert swept(book, sweeps, {"seeds": [7]}).done
    assert played.words == ["a"]
    assert swept(book, sweeps, {"seeds": [7]}, force=True).done
    assert sorted(played.words) == ["a", "a", "bb", "ccc", "dddd"]


def test_more_values_in_the_same_folder_reuse_what_is_there(book: Path, played: Played):
    assert swept(book, {"word": ["a", "b"]}, out="mine").done
    said: list[str] = []
    result = swept(book, {"word": ["b", "c"]}, out="mine", say=said.append)
    assert result.done
    assert sorted(played.words) == ["a", "b", "c"]
    assert any(line.startswith("of earlier sweeps, kept but not in the index: word-a-") for line in said)
    assert len(list(Path("mine/runs").iterdir())) == 3


def test_an_interrupt_leaves_no_done_and_continues(book: Path, played: Played):
    played.stop_at = "b"
    result = swept(book, {"word": ["a", "b"]}, out="mine")
    assert result.exit_code == 130
    assert list(result.status.values()) == ["finished", "interrupted"]
    assert not Path("mine/done").exists()
    played.stop_at = None
    assert swept(book, {"word": ["a", "b"]}, out="mine").done
    assert played.words == ["a", "b"]


def test_what_breaks_outside_the_notebook_is_recorded_too(book: Path, played: Played):
    blocked = Path("mine/runs")
    plan = planned(book, "word=a,b")
    (blocked / plan[0].name).mkdir(parents=True)
    Path("mine/sweep.json").write_text("{}", encoding="utf-8")
    (blocked / plan[0].name / "thesis.tex").write_text("years of work", encoding="utf-8")
    result = swept(book, {"word": ["a", "b"]}, out="mine")
    assert list(result.status.values()) == ["failed", "finished"]
    errors = [run.get("error") for run in json.loads(Path("mine/sweep.json").read_text())["runs"]]
    assert "not a run's folder" in errors[0]
    assert (blocked / plan[0].name / "thesis.tex").read_text() == "years of work"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """One sweep by the command line on real kernels, with every way in which a combination is lost."""
    here = tmp_path_factory.mktemp("real")
    write_notebook(
        here / "01_book.ipynb",
        ['word = "x"  # any text', "seeds = [0]  # seeds"],
        "import os, pathlib\nfrom class_kit.runs import record\n"
        "if word == 'dies':\n    os._exit(3)\n"
        "if word == 'raises':\n    raise ValueError('<b>bad</b> \\x1b[2J')\n",
        f"place = pathlib.Path(out, 'figures')\nplace.mkdir()\n_ = (place / 'a.png').write_bytes({PIXEL!r})\n"
        "_ = record(out, '01_book', dict(word=word, seeds=seeds, threads=int(os.environ['OMP_NUM_THREADS'])))",
    )
    words = ",".join(json.dumps(word) for word in (HOSTILE[0], " ".join(HOSTILE[1:]), "dies", "raises"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.delenv("OMP_NUM_THREADS", raising=False)
        code = main(["run", "01_book.ipynb", "--sweep", f"word={words}", "-p", "seeds", "[1, 2]", "--jobs", "3"])
        (folder,) = (here / "runs").iterdir()
        record = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        yield SimpleNamespace(here=here, code=code, folder=folder, record=record)


def test_real_kernels_get_their_values_and_each_loss_is_told(real: SimpleNamespace):
    assert real.code == 1
    assert [run["status"] for run in real.record["runs"]] == ["finished"] * 2 + ["failed"] * 2
    metrics = json.loads((real.folder / "metrics.json").read_text(encoding="utf-8"))["runs"]
    threads = max(1, cpu_count() // 3)
    assert [run["metrics"] for run in metrics[:2]] == [
        {"01_book": {"word": word, "seeds": [1, 2], "threads": threads}} for word in (HOSTILE[0], " ".join(HOSTILE[1:]))
    ]
    dies, raises = (run["error"] for run in real.record["runs"][2:])
    assert "DeadKernelError" in dies
    assert raises.startswith("01_book: cell 4: ValueError: <b>bad</b> \\x1b[2J")
    assert not (real.folder / "done").exists()
    assert real.folder.name.startswith("sweep-01_book-word-")
    assert sorted(path.name for path in real.here.iterdir()) == ["01_book.ipynb", "runs"]
    page = Page(real.folder / "index.html")
    check_harmless(page)
    assert len(page.all("img")) == 2
    written = manifest.read_manifest(real.folder / real.record["runs"][0]["folder"])
    assert written["command"] == real.record["command"]


def test_ends_with_its_kernels_when_interrupted_and_continues(here: Path):
    book = write_notebook(
        here / "01_long.ipynb",
        ["number = 0"],
        "import os, pathlib, time\nfirst = not pathlib.Path(f'again{number}').exists()\n"
        "pathlib.Path(f'pid{number}.part').write_text(str(os.getpid()))\n"
        "os.replace(f'pid{number}.part', f'pid{number}')\ntime.sleep(120 if first else 0)",
    )
    process = start_run(here, book.name, "--sweep", "number=0,1,2", "--jobs", "2", "--out", "mine")
    pids = [wait_for_pid(here / f"pid{number}", process) for number in (0, 1)]
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)
    assert all(is_gone(kernel) for kernel in pids)
    assert not (here / "mine" / "done").exists()
    assert not (here / "pid2").exists()
    assert process.returncode == 130, output
    assert "the same command continues" in output[0]
    record = json.loads((here / "mine" / "sweep.json").read_text(encoding="utf-8"))
    assert [run["status"] for run in record["runs"]] == ["interrupted", "interrupted", "missing"]
    (here / "again0").touch()
    assert runs.sweep_notebooks([book], {"number": [0]}, out="mine", say=lambda line: None).done
    assert (here / "mine" / "done").is_file()


def test_jobs_without_a_sweep_and_a_parameter_twice_are_refused(
    book: Path, capsys: pytest.CaptureFixture[str], played: Played
):
    for arguments, said in [
        (["--jobs", "2"], "--jobs is for the runs of a --sweep"),
        (["--sweep", "share=0.1", "-p", "share", "0.2"], "share is given twice"),
        (["--sweep", "share=0.1,much"], "share='much': expected a number"),
        (["--sweep", "share=0.1", "--jobs", "0"], "jobs=0"),
        (["--sweep", "seeds=[0],[1"], "stays open"),
    ]:
        assert main(["run", str(book), *arguments]) == 2
        assert said in capsys.readouterr().err
    assert played.words == []
    assert not Path("runs").exists()


def test_taken_port_is_tried_again_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import papermill

    left, tries = [3], []

    def execute_notebook(notebook: Any, *arguments: Any, **options: Any) -> Any:
        tries.append(1)
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("Kernel died: zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:1')")
        return notebook

    monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
    assert kernels.execute(new_notebook(), {}, tmp_path / "p.ipynb").error is None
    assert len(tries) == 4
    left[0] = 100
    assert "Address already in use" in str(kernels.execute(new_notebook(), {}, tmp_path / "p.ipynb").error)
    assert len(tries) == 4 + 6


def test_kernel_finds_another_port_when_its_own_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import socket

    from jupyter_client.connect import LocalPortCache

    # sockets in a folder need a short path; with a long one kernels talk through ports
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    real, asked = LocalPortCache.find_available_port, []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        def find(self: LocalPortCache, ip: str) -> int:
            asked.append(1)
            return int(other.getsockname()[1]) if len(asked) == 1 else real(self, ip)

        monkeypatch.setattr(LocalPortCache, "find_available_port", find)
        done = kernels.execute(new_notebook(cells=[new_code_cell("6 * 7")]), {}, tmp_path / "p.ipynb")
    assert done.error is None
    assert done.notebook.cells[-1].outputs[0]["data"]["text/plain"] == "42"
    assert len(asked) == 10
    assert os.listdir(long) == []
