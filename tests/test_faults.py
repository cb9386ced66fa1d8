"""Runs on a machine that fails: what was finished stays, what was not says so, and the same command goes on."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from class_kit import cli, runs
from class_kit.errors import InputError
from class_kit.files import atomic_write, lock, remove_abandoned, scratch_folder, write_text
from class_kit.runs import kernels
from tests.faulty_places import exit_code, in_a_child, killed_at, start_child
from tests.notebook_tools import entry_of, write_notebook
from tests.small_runs import books, check_complete, check_honest, here, quiet

__all__ = ["books", "here"]


def test_a_run_killed_at_any_of_its_writes_goes_on(here: Path, books: list[Path]):
    code, write = 9, 0
    while code:
        write += 1
        folder = here / f"run{write}"
        code = killed_at(write, lambda to=folder: runs.run_notebooks(books, out=to, say=quiet))
        assert code in {0, 9}
        finished = check_honest(folder)
        again = runs.run_notebooks(books, out=folder, say=quiet)
        assert again.done
        assert not finished & set(again.computed), "what was finished is kept"
        check_complete(folder)
    assert write > 15


def test_a_run_killed_while_it_renews_a_finished_one_is_not_done(here: Path, books: list[Path]):
    folder = here / "run"
    for write in (1, 3, 6):
        runs.run_notebooks(books, out=folder, say=quiet)
        work = lambda: runs.run_notebooks(books, out=folder, force=True, say=quiet)  # noqa: E731
        assert killed_at(write, work) == 9
        assert not (folder / "done").exists()
    assert runs.run_notebooks(books, out=folder, say=quiet).done
    check_complete(folder)


WHOLE = ("metrics.json", "manifest.json", "done", "results/r2.json", "figures/f1.pdf")


@pytest.mark.parametrize(
    ("name", "damage"),
    [("report.html", "gone"), *((name, damage) for name in WHOLE for damage in ("gone", "cut", "flipped"))],
)
def test_a_damaged_record_is_made_again(here: Path, books: list[Path], name: str, damage: str):
    folder = runs.run_notebooks(books, say=quiet).folder
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 0x01
        path.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    runs.run_notebooks(books, say=quiet)
    check_complete(folder)


def test_damage_of_a_notebook_that_was_not_asked_for_is_said(here: Path, books: list[Path]):
    folder = runs.run_notebooks(books, say=quiet).folder
    (folder / "results" / "r2.json").write_text("{", encoding="utf-8")
    said: list[str] = []
    result = runs.run_notebooks(books[:1], force=True, say=said.append)
    assert (result.exit_code, result.done) == (0, False)
    assert any("not finished: 02_book" in line for line in said)
    assert entry_of(folder, "02_book")["status"] == "damaged"
    assert json.loads((folder / "metrics.json").read_text()) == {"r1": {"number": 1}}
    assert runs.run_notebooks(books, say=quiet).computed == ["02_book"]
    check_complete(folder)


def test_a_notebook_that_replaces_another_ones_results_fails_and_says_so(here: Path, books: list[Path]):
    copy = write_notebook(here / "03_copy.ipynb", ["number = 2  # as in the notebook it was copied from"])
    for _ in range(2):
        result = runs.run_notebooks([*books, copy], say=quiet)
        assert result.exit_code == 1
        assert result.status == {"01_book": "finished", "02_book": "damaged", "03_copy": "failed"}
        assert "it replaced figures/f2.pdf, results/r2.json of 02_book" in (entry_of(result.folder, "03_copy")["error"])
        assert not (result.folder / "done").exists()
        assert json.loads((result.folder / "metrics.json").read_text()) == {"r1": {"number": 1}}


# --- several at once, and clocks


def test_several_runs_in_one_folder_take_turns(here: Path, books: list[Path], monkeypatch: pytest.MonkeyPatch):
    log = here / "log"
    real = kernels.execute

    def execute(notebook: Any, parameters: dict[str, Any], path: Path) -> str | None:
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.1)
        return real(notebook, parameters, path)

    def child() -> int:
        try:
            return runs.run_notebooks(books, out="run", say=quiet).exit_code
        except InputError as error:
            return 2 if "another process" in str(error) else 99

    monkeypatch.setattr(kernels, "execute", execute)
    started = [start_child(child) for _ in range(4)]
    codes = [exit_code(process) for process in started]
    assert set(codes) <= {0, 2}
    assert 0 in codes
    assert len(set(log.read_text().split())) == 1, "one process computed, the others waited or found it done"
    check_complete(here / "run")


def test_a_file_system_without_locks_is_named(here: Path, monkeypatch: pytest.MonkeyPatch):
    def unsupported(file: Any, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(InputError, match=r"cannot lock the run's folder .*No locks available"), lock(here / "run"):
        pass
    write_text(here / "file", "written without a lock")
    assert remove_abandoned(here, "file") == 0


def test_a_clock_that_goes_backwards_changes_nothing(here: Path, books: list[Path], monkeypatch: pytest.MonkeyPatch):
    clock = [datetime(2030, 1, 1, tzinfo=UTC)]

    class Backwards(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            clock[0] -= timedelta(days=1)
            return clock[0]

    real = kernels.execute

    def execute(notebook: Any, parameters: dict[str, Any], path: Path) -> str | None:
        execution = real(notebook, parameters, path)
        for path in Path(parameters["out"]).rglob(f"*{parameters['number']}.*"):
            os.utime(path, (clock[0].timestamp(),) * 2)
        return execution

    monkeypatch.setattr("class_kit.runs.run.datetime", Backwards)
    monkeypatch.setattr(time, "time", lambda: Backwards.now().timestamp())
    monkeypatch.setattr(kernels, "execute", execute)
    folder = runs.run_notebooks(books, say=quiet).folder
    check_complete(folder)
    assert runs.run_notebooks(books, say=quiet).computed == []
    forced = runs.run_notebooks(books, force=True, say=quiet)
    assert forced.computed == ["01_book", "02_book"]
    assert all(0 <= entry_of(folder, stem)["seconds"] < 60 for stem in forced.computed)
    check_complete(folder)
    assert "figures/f1.pdf" in entry_of(folder, "01_book")["files"]


def test_leftovers_are_told_by_their_lock_whatever_their_age(tmp_path: Path):
    for age in (0.0, 4e9):
        left = tmp_path / ".a.txt.abcdefgh.tmp"
        left.write_text("half")
        os.utime(left, (age, age))
        write_text(tmp_path / "a.txt", "whole")
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    with atomic_write(tmp_path / "a.txt") as mine:
        os.utime(mine, (0, 0))
        write_text(tmp_path / "a.txt", "another process was quicker")
        assert mine.exists()
        mine.write_text("mine")
    assert (tmp_path / "a.txt").read_text() == "mine"


@pytest.mark.parametrize("late", ["open", "flock"])
def test_nothing_new_is_taken_for_abandoned(late: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that clears up at the worst moment costs a name, and no file or folder."""
    module, taken = {"open": os, "flock": fcntl}[late], []
    before = getattr(module, late)

    def clear_up_first(what, *options, **named):
        """As `late` does, after another has cleared up."""
        if not taken and threading.current_thread() is threading.main_thread():
            taken.append(what)
            other = threading.Thread(target=lambda: cleared.append(remove_abandoned(tmp_path, ".*")))
            other.start()
            other.join()
        return before(what, *options, **named)

    cleared: list[int] = []
    monkeypatch.setattr(module, late, clear_up_first)
    with scratch_folder(tmp_path, ".x.") as folder:
        assert folder.is_dir()
    assert cleared == [1]
    if late == "flock":
        taken.clear()
        write_text(tmp_path / "file", "whole")
        assert cleared == [1, 1]
        assert (tmp_path / "file").read_text(encoding="utf-8") == "whole"


def test_those_that_clear_up_all_the_time_take_nothing(tmp_path: Path) -> None:
    """Three processes make, hold and clear up folders of one name three hundred times each."""
    script = (
        "import sys; from pathlib import Path; from class_kit.files import scratch_folder\n"
        "for _ in range(300):\n"
        "    with scratch_folder(sys.argv[1], '.x.') as folder: (folder / 'file').write_text('whole')\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(3)]
    assert [other.wait() for other in others] == [0, 0, 0]
    assert not list(tmp_path.iterdir())


def test_scratch_folders_of_killed_processes_go(tmp_path: Path):
    def dies() -> int:
        with scratch_folder(tmp_path, ".x.") as folder:
            (folder / "part").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert in_a_child(dies) == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with scratch_folder(tmp_path, ".x.") as one, scratch_folder(tmp_path, ".x.") as two:
        assert {one, two} == set(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_of_its_kernel_goes_with_the_next(tmp_path: Path):
    def dies() -> int:
        with scratch_folder(tmp_path, "class-kit-kernel-") as folder:
            (folder / "kernel.json").write_text('{"key": "secret"}')
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert in_a_child(dies) == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.stat().st_mode & 0o077 == 0, "nobody else may read the key"
    with scratch_folder(tmp_path, "class-kit-kernel-") as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_being_told_to_end_takes_the_way_of_an_interrupt(capsys: pytest.CaptureFixture[str]):
    def handler(arguments: argparse.Namespace) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert cli.run_handler(handler, argparse.Namespace()) == 130
    assert capsys.readouterr().err == "class-kit: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) == before
