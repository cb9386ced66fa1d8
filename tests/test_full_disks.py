"""Disks that are full and folders that cannot be written: nothing half-written stays, and making room is enough."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from class_kit import cli, runs
from class_kit.runs import kernels
from class_kit.store import Maker, cache_entries, stored
from tests.faulty_places import in_a_child, small_disk
from tests.notebook_tools import entry_of, write_notebook
from tests.small_runs import books, check_complete, check_honest, here, quiet

__all__ = ["books", "here"]


def test_a_run_on_a_full_disk_keeps_what_is_finished(books: list[Path], capsys: pytest.CaptureFixture[str]):
    with small_disk(110) as disk:
        folder = disk.folder / "run"
        assert cli.main(["run", *map(str, books), "--out", str(folder)]) == 1
        shown = capsys.readouterr()
        assert "No space left on device" in shown.out + shown.err
        assert "Traceback" not in shown.err
        assert check_honest(folder) == {"01_book"}
        assert not list(folder.rglob("*.tmp"))
        disk.remount("size=400k")
        assert runs.run_notebooks(books, out=folder, say=quiet).computed == ["02_book"]
        check_complete(folder)


@pytest.mark.parametrize("kilobytes", [8, 16, 24, 72, 84])
def test_a_disk_that_is_full_sooner_or_later_never_leaves_a_false_done(books: list[Path], kilobytes: int):
    with small_disk(kilobytes) as disk:
        folder = disk.folder / "run"
        with suppress(OSError):
            assert not runs.run_notebooks(books, out=folder, say=quiet).done
        finished = check_honest(folder)
        disk.remount("size=400k")
        assert not finished & set(runs.run_notebooks(books, out=folder, say=quiet).computed)
        check_complete(folder)


def test_a_limit_on_file_sizes_is_like_a_full_disk(here: Path, books: list[Path]):
    def limited() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        return runs.run_notebooks(books, out="run", say=quiet).exit_code

    assert in_a_child(limited) == 1
    assert check_honest(here / "run") == set()
    assert "File too large" in entry_of(here / "run", "01_book")["error"]
    assert runs.run_notebooks(books, out="run", say=quiet).done


def test_a_real_notebook_on_a_full_disk(here: Path):
    cell = "from class_kit.runs import record\nrecord(out, '01_full', {'many': list(range(40_000))})"
    book = write_notebook(here / "01_full.ipynb", [], cell)
    with small_disk(150) as disk:
        first = runs.run_notebooks([book], out=disk.folder / "run", say=quiet)
        assert first.status == {"01_full": "failed"}
        assert "No space left on device" in entry_of(first.folder, "01_full")["error"]
        assert not (first.folder / "done").exists()
        disk.remount("size=2m")
        assert runs.run_notebooks([book], out=disk.folder / "run", say=quiet).done


def test_a_full_disk_costs_the_cache_but_not_the_result(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    maker = Maker("text", "maker", "0" * 64)
    with small_disk(128) as disk:
        monkeypatch.setenv("CLASS_KIT_CACHE", str(disk.folder / "cache"))
        for size in (10, 200_000):
            assert stored(maker, [str(size)], lambda rows, size=size: [(0, b"1" * size)]).read() == [b"1" * size]
        assert "results were not kept in the cache" in caplog.text
        assert [entry.items for entry in cache_entries()] == [1]
        assert not list((disk.folder / "cache").rglob("*-journal"))


def test_output_that_cannot_be_written_is_one_line_and_exit_1(tmp_path: Path):
    command = [sys.executable, "-m", "class_kit", "cache", "list"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=Path(cli.__file__).parents[2]
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    assert "run it again" in done.stderr


# --- folders that cannot be written


def test_a_folder_that_cannot_be_written_is_refused_and_left_as_it_is(
    books: list[Path], capsys: pytest.CaptureFixture[str]
):
    with small_disk(400) as disk:
        folder = runs.run_notebooks(books, out=disk.folder / "run", say=quiet).folder
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        disk.remount("ro")
        for out, words in ((folder, "Read-only"), (disk.folder / "new", "Read-only")):
            assert cli.main(["run", *map(str, books), "--force", "--out", str(out)]) == 2
            shown = capsys.readouterr().err
            assert words in shown
            assert shown.count("\n") == 1
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        disk.remount("rw")
        check_complete(folder)


def test_a_folder_that_becomes_read_only_on_the_way(
    here: Path, books: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """As a failing disk is by the system; played, because a folder with an open lock cannot be remounted."""
    real = kernels.execute

    def read_only(*unused: Any, **options: Any) -> None:
        raise OSError(30, "Read-only file system", "run")

    with monkeypatch.context() as patch:

        def execute(notebook: Any, parameters: dict[str, Any], partial: Path) -> str | None:
            if parameters["number"] == 2:
                patch.setattr("class_kit.files.tempfile.mkstemp", read_only)
            return real(notebook, parameters, partial)

        patch.setattr(kernels, "execute", execute)
        assert cli.main(["run", *map(str, books), "--out", "run"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "Read-only file system" in shown
    assert check_honest(here / "run") == {"01_book"}
    assert not (here / "run" / "done").exists()
    assert runs.run_notebooks(books, out="run", say=quiet).computed == ["02_book"]
    check_complete(here / "run")


def test_a_read_only_cache_is_read_and_not_written(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    maker, other = (Maker("text", "maker", digit * 64) for digit in "01")
    with small_disk(400) as disk:
        monkeypatch.setenv("CLASS_KIT_CACHE", str(disk.folder / "cache"))
        for each in (maker, other):
            stored(each, ["known"], lambda rows: [(0, b"first")])
        other.path.write_bytes(b"damaged" * 100)
        disk.remount("ro")
        assert stored(maker, ["new", "known"], lambda rows: [(row, b"second") for row in rows]).read() == [
            b"second",
            b"first",
        ]
        assert stored(other, ["known"], lambda rows: [(0, b"second")]).read() == [b"second"]
        assert "cannot be removed" in caplog.text
