"""Commands on a machine that fails: one clear error, nothing half-written or falsely done, and they go on from it."""

import argparse
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from class_kit import cli, runs
from class_kit.errors import InputError
from class_kit.files import atomic_write, lock, scratch_folder
from class_kit.runs import kernels, run
from class_kit.study import conduct
from tests.faulty_places import remount, small_disk
from tests.notebook_tools import entry_of, quiet, write_notebook
from tests.test_study import small_task

STUDY = """
name: small
orders: [standard, random]
schedules: [{shape: linear, start: 0.4, growth: 0.3}]
backbones: [{backbone: dual_encoder, options: {hidden: 64, dim: 16}}]
training: {epochs: 2, batch_size: 16}
seeds: [0]
"""


TRAINING = "--order standard --batch-size 16 --epochs 2 --backbone-option hidden=64"


@dataclass(frozen=True)
class Command:
    """A command's words, those that continue it, the files of its finished parts, and how many writes to go on by."""

    words: list[str]
    again: list[str]
    finished: Callable[[Path], list[Path]]
    apart: int

    def start(self, out: Path, *more: str) -> int:
        return cli.main([*self.words, *more, "--out", str(out)])


def finished_notebooks(place: Path) -> list[Path]:
    record = place / "run" / "manifest.json"
    entries = json.loads(record.read_text(encoding="utf-8"))["notebooks"] if record.is_file() else {}
    files = [file for entry in entries.values() if entry["status"] == "finished" for file in entry["files"]]
    return [place / "run" / file for file in files if file.startswith("figures")]


COMMANDS = {
    "run": Command(["run", "01_book.ipynb", "02_book.ipynb"], [], finished_notebooks, 1),
    "train": Command(["train", "mine.csv", *TRAINING.split()], ["--resume"], lambda place: [], 1),
    "study": Command(
        ["study", "study.yml", "--jobs", "1"], [], lambda place: list(place.glob("cache/trainings/[!.]*/*")), 4
    ),
}


@pytest.fixture
def here(here: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with a study file and two notebooks on played kernels.

    Whatever pairs are named, the small task is what they are; a study's figures are tried with studies.
    """
    monkeypatch.setattr("class_kit.task.load_task", lambda *unused, **options: small_task())
    monkeypatch.setattr(conduct, "_write_figures", lambda *given: None)
    (here / "study.yml").write_text(STUDY, encoding="utf-8")
    (here / "mine.csv").touch()
    run.kit_state()
    monkeypatch.setattr(run, "git_commit", lambda: None)
    monkeypatch.setattr(kernels, "execute", played)
    for n in (1, 2):
        write_notebook(here / f"{n:02d}_book.ipynb", [f"number = {n}  # which"])
    return here


def played(notebook: Any, parameters: dict[str, Any], path: Path, *ignored: Any) -> str | None:
    """What a kernel would leave: a result and a figure of 60 KB."""
    number, out = parameters["number"], parameters["out"]
    try:
        runs.record(out, f"r{number}", {"number": number})
        with atomic_write(Path(out) / "figures" / f"f{number}.pdf") as figure:
            figure.write_bytes(bytes(60_000))
    except OSError as error:
        return f"cell 2: OSError: {error}"
    return None


@pytest.fixture(params=COMMANDS)
def command(here: Path, request: pytest.FixtureRequest) -> Command:
    return COMMANDS[request.param]


@pytest.fixture
def books(here: Path) -> list[Path]:
    return sorted(here.glob("*.ipynb"))


def results(out: Path) -> bytes:
    """The numbers of a finished run, training or study."""
    assert (out / "done").is_file()
    if not (out / "study.json").is_file():
        return (out / "metrics.json").read_bytes()
    found = json.loads((out / "study.json").read_text(encoding="utf-8"))
    timed = ("seconds", "time share")
    rows = [{key: value for key, value in row.items() if key not in timed} for row in found["summary"]]
    return json.dumps([rows, found["differences"]]).encode()


def check_honest(place: Path) -> None:
    """Whatever happened: files are whole or absent, and nothing is called done."""
    for path in place.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    assert not list(place.rglob("run*/done"))


def check_it_goes_on(command: Command, out: Path, whole: bytes) -> None:
    """The same command ends well with the same numbers, does no finished part again, and leaves nothing else behind."""
    before = {path: path.stat().st_mtime_ns for path in command.finished(out.parent)}
    assert command.start(out, *command.again) == 0
    assert results(out) == whole
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(out.parent.rglob("*.tmp")) + list(out.parent.rglob(".unfinished-*"))


# --- each fault: what makes a place where it happens, and yields that place and what mends it

Fault = Callable[[Path, int], Any]


def full(share: float) -> Fault:
    """A disk that has room for this share of what is to be written."""

    @contextmanager
    def place(here: Path, needed: int) -> Iterator[tuple[Path, Callable[[], None]]]:
        with small_disk(max(8, int(share * needed / 1024))) as disk:
            yield disk, lambda: remount(disk, f"size={4 * needed // 1024}k")

    return place


@contextmanager
def small_files(here: Path, needed: int) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Files may have no more than 4,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, before[1]))
    try:
        yield here, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FAULTS: dict[str, tuple[Fault, str]] = {
    **{f"a disk of {share:.0%}": (full(share), "No space left on device") for share in (0.02, 0.35)},
    "small files": (small_files, "File too large"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_said_and_mended_is_forgotten(command, fault, here, monkeypatch, capsys) -> None:
    assert command.start(here / "whole") == 0
    blocks = [-(-path.stat().st_size // 4096) for path in here.rglob("*") if path.is_file()]
    whole = results(here / "whole")
    capsys.readouterr()
    make, says = FAULTS[fault]
    (here / "place").mkdir()
    with make(here / "place", 4096 * sum(blocks)) as (place, mend):
        monkeypatch.setenv("CLASS_KIT_CACHE", str(place / "cache"))
        assert command.start(place / "run") in {1, 2}
        shown = capsys.readouterr()
        assert says in shown.out + shown.err
        assert "Traceback" not in shown.err
        check_honest(place)
        assert not list(place.rglob("*.tmp"))
        mend()
        check_it_goes_on(command, place / "run", whole)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def test_killed_at_any_of_its_writes_it_goes_on(command, here, monkeypatch, capsys) -> None:
    assert command.start(here / "whole") == 0
    whole, real, left = results(here / "whole"), os.replace, [0]

    def replace(source: Any, target: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    for write in count(1, command.apart):
        place = here / f"place{write}"
        monkeypatch.setenv("CLASS_KIT_CACHE", str(place / "cache"))
        left[0], code = write, None
        with suppress(Killed):
            code = command.start(place / "run")
        if left[0] > 0:
            assert code == 0
            break
        check_honest(place)
        check_it_goes_on(command, place / "run", whole)
    assert write >= 8


def test_a_folder_that_cannot_be_written_is_refused_and_left_as_it_is(command, here, capsys) -> None:
    with small_disk(40_000) as disk:
        out = disk / "run"
        assert command.start(out) == 0
        before = {path: path.stat().st_mtime_ns for path in disk.rglob("*")}
        remount(disk, "ro")
        capsys.readouterr()
        for folder in (out, disk / "new"):
            assert command.start(folder) == 2
            said = capsys.readouterr().err
            assert said.count("\n") == 1
            assert "cannot lock the run's folder" in said
        assert {path: path.stat().st_mtime_ns for path in disk.rglob("*")} == before
        remount(disk, "rw")


def test_a_second_one_in_the_same_folder_is_refused(command, here, capsys) -> None:
    with lock(here / "run"):
        assert command.start(Path("run"), *command.again) == 2
        refused = f"another process (id {os.getpid()}) is running in 'run'; wait for it, or name another"
        assert capsys.readouterr().err == f"class-kit: error: {refused}\n"
    assert command.start(Path("run"), *command.again) == 0
    whole = results(here / "run")
    assert command.start(Path("run"), *command.again) == 0
    assert results(here / "run") == whole


def test_output_that_cannot_be_written_is_one_line_and_exit_1() -> None:
    command = [sys.executable, "-m", "class_kit", "cache", "list"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=Path(cli.__file__).parents[2]
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    assert "run it again" in done.stderr


def test_being_told_to_end_takes_the_way_of_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    def handler(arguments: argparse.Namespace) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert cli.run_handler(handler, argparse.Namespace()) == 130
    assert capsys.readouterr().err == "class-kit: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) == before


# --- records of runs that were damaged afterwards


RECORDS = ("metrics.json", "manifest.json", "done", "results/r2.json", "figures/f1.pdf")


@pytest.mark.parametrize(
    ("name", "damage"),
    [("report.html", "gone"), *((name, damage) for name in RECORDS for damage in ("gone", "cut", "flipped"))],
)
def test_a_damaged_record_is_made_again(books: list[Path], name: str, damage: str) -> None:
    folder = runs.run_notebooks(books, say=quiet).folder
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 0x01
        path.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    assert runs.run_notebooks(books, say=quiet).done
    assert json.loads(results(folder)) == {"r1": {"number": 1}, "r2": {"number": 2}}
    assert (folder / name).is_file()


def test_damage_of_a_notebook_that_was_not_asked_for_is_said(books: list[Path]) -> None:
    folder = runs.run_notebooks(books, say=quiet).folder
    (folder / "results" / "r2.json").write_text("{", encoding="utf-8")
    said: list[str] = []
    result = runs.run_notebooks(books[:1], force=True, say=said.append)
    assert (result.exit_code, result.done) == (0, False)
    assert any("not finished: 02_book" in line for line in said)
    assert entry_of(folder, "02_book")["status"] == "damaged"
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == {"r1": {"number": 1}}
    assert runs.run_notebooks(books, say=quiet).computed == ["02_book"]


def test_a_notebook_that_replaces_another_ones_results_fails_and_says_so(here: Path, books: list[Path]) -> None:
    copy = write_notebook(here / "03_copy.ipynb", ["number = 2  # as in the notebook it was copied from"])
    for _ in range(2):
        result = runs.run_notebooks([*books, copy], say=quiet)
        assert result.exit_code == 1
        assert result.status == {"01_book": "finished", "02_book": "damaged", "03_copy": "failed"}
        assert "it overwrote figures/f2.pdf, results/r2.json of 02_book" in entry_of(result.folder, "03_copy")["error"]
        assert not (result.folder / "done").exists()
        assert json.loads((result.folder / "metrics.json").read_text(encoding="utf-8")) == {"r1": {"number": 1}}


# --- locks and temporary files


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(file: Any, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(InputError, match=r"cannot lock the run's folder .*No locks available"), lock(tmp_path / "run"):
        pass


def test_two_writers_of_a_file_do_not_mix_and_a_failed_one_leaves_nothing(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt") as mine:
        mine.write_text("mine")
        with atomic_write(tmp_path / "a.txt") as other:
            other.write_text("the other's")
        assert (tmp_path / "a.txt").read_text() == "the other's"
        with suppress(Killed), atomic_write(tmp_path / "a.txt") as half:
            half.write_text("half of something long")
            raise Killed
        assert (tmp_path / "a.txt").read_text() == "the other's"
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_scratch_folder_is_private_and_goes(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, ".x.") as folder:
        assert folder.stat().st_mode & 0o077 == 0, "nobody else may read a kernel's key"
        (folder / "kernel.json").write_text('{"key": "secret"}')
    assert list(tmp_path.iterdir()) == []
