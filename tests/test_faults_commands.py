"""`train` and `study` where nothing can be written, and two of them at once: one line, and what is there stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from class_kit import cli
from class_kit.study import output
from tests.faulty_places import small_disk
from tests.test_faults_training import wait_until
from tests.test_study import small_task

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "train": ["train", "mine.csv", "--order", "standard", "--batch-size", "16", "--epochs", "2"],
    "study": ["study", "study.yml", "--jobs", "1"],
}
STUDY = """
name: small
orders: [standard, random]
schedules: [{shape: linear, start: 0.4, growth: 0.3}]
backbones: [{backbone: dual_encoder, options: {hidden: 8, dim: 4}}]
training: {epochs: 2, batch_size: 16}
seeds: [0]
"""
# What a command does in another process: it says that it holds its folder, and waits for a file to go before it trains.
WAITING = """
import sys, time
from pathlib import Path
from class_kit import cli, task
from class_kit.study import output, records, runner
from tests.test_study import small_task
output._write_figures = lambda *given: None
task.load_task = lambda *given, **options: small_task()
real = records.train_record
def waits(*given, **options):
    Path("begun").touch()
    while Path("hold").exists():
        time.sleep(0.05)
    return real(*given, **options)
records.train_record = runner.train_record = waits
sys.exit(cli.main(sys.argv[1:]))
"""
each_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder and a cache of the test's own; whatever pairs are named, the small task is what they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("class_kit.task.load_task", lambda *unused, **options: small_task())
    # a study's figures are tried with studies
    monkeypatch.setattr(output, "_write_figures", lambda *given: None)
    (tmp_path / "study.yml").write_text(STUDY, encoding="utf-8")


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the lock, which says who was there last."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def said(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1, shown
    return shown


@each_command
def test_a_folder_that_cannot_be_written_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(40_000) as disk:
        out = disk.folder / "run"
        assert cli.main([*COMMANDS[command], "--out", str(out)]) == 0
        before = content(disk.folder)
        assert "run/done" in before
        disk.remount("ro")
        capsys.readouterr()
        for folder in (out, disk.folder / "new"):
            assert cli.main([*COMMANDS[command], "--out", str(folder)]) == 2
            assert "cannot write the run's folder" in said(capsys)
        assert content(disk.folder) == before
        disk.remount("rw")


@each_command
@pytest.mark.parametrize("writes", [0, 2, 4])
def test_a_folder_that_becomes_read_only_on_the_way(
    command: str, writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a failing disk is by the system; played, because a folder with an open lock cannot be remounted."""
    real, made = tempfile.mkstemp, []

    def mkstemp(*given: Any, **options: Any) -> Any:
        if len(made) == writes:
            raise OSError(errno.EROFS, "Read-only file system", "run")
        made.append(real(*given, **options))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr("class_kit.files.tempfile.mkstemp", mkstemp)
        assert cli.main([*COMMANDS[command], "--out", "run"]) == 1
    assert "Read-only file system" in said(capsys)
    assert not (tmp_path / "run" / "done").exists()
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    again = ["--resume"] if command == "train" else []
    assert cli.main([*COMMANDS[command], *again, "--out", "run"]) == 0
    assert (tmp_path / "run" / "done").exists()


def test_a_study_whose_store_cannot_be_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(400) as disk:
        monkeypatch.setenv("CLASS_KIT_CACHE", str(disk.folder / "cache"))
        disk.remount("ro")
        assert cli.main([*COMMANDS["study"], "--out", "run"]) == 1
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed: ")]
        assert len(lines) == 2
        assert all("Read-only file system" in line for line in lines)
        assert not (tmp_path / "run" / "done").exists()
        disk.remount("rw")
    assert cli.main([*COMMANDS["study"], "--out", "run"]) == 0
    assert (tmp_path / "run" / "done").exists()
    assert not (tmp_path / "run" / "failures.json").exists()


@each_command
def test_a_second_one_in_the_same_folder_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, again = tmp_path / "run", ["--resume"] if command == "train" else []
    (tmp_path / "hold").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, *COMMANDS[command], "--out", "run"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            wait_until(lambda: (tmp_path / "begun").exists())
            before = content(run)
            for options in ([], again):
                assert cli.main([*COMMANDS[command], *options, "--out", "run"]) == 2
                refused = f"another process (id {process.pid}) is running in 'run'; wait for it, or name another"
                assert refused in said(capsys)
            assert content(run) == before
            (tmp_path / "hold").unlink()
            assert process.communicate(timeout=120)[1] == ""
        finally:
            process.kill()
    assert process.returncode == 0
    finished = content(run)
    assert "done" in finished
    assert cli.main([*COMMANDS[command], *again, "--out", "run"]) == 0
    assert content(run) == finished
