"""Trainings on disks that are full: the last checkpoint stays, and making room is enough."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from class_kit import cli
from class_kit.training.checkpoint import load_checkpoint
from tests.faulty_places import small_disk
from tests.small_runs import here
from tests.test_study import small_task

__all__ = ["here"]


def train(folder: Path, epochs: int) -> int:
    fixed = ["--batch-size", "16", "--order", "standard", "--backbone-option", "hidden=64", "--resume"]
    return cli.main(["train", "mine.csv", *fixed, "--epochs", str(epochs), "--out", str(folder)])


@pytest.fixture
def played_task(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever pairs are named, a small task is what they are."""
    task = small_task()
    monkeypatch.setattr("class_kit.task.load_task", lambda *unused, **options: task)


@pytest.mark.usefixtures("played_task")
@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_training_on_a_full_disk_keeps_its_last_checkpoint(
    here: Path, share: float, capsys: pytest.CaptureFixture[str]
):
    """The disk has no room for the first checkpoint, or for the second beside the first."""
    assert train(here / "whole", 3) == 0
    size = (here / "whole" / "checkpoint.safetensors").stat().st_size
    capsys.readouterr()
    with small_disk(int(share * size / 1024) + 8) as disk:
        run = disk.folder / "run"
        assert train(run, 3) == 1
        shown = capsys.readouterr()
        assert shown.err.count("class-kit: error") == 1
        assert "No space left on device; make room and run it again" in shown.err
        assert "Traceback" not in shown.err
        assert not list(run.glob("*.tmp"))
        assert {path.name for path in run.iterdir()} <= {".lock", "task.json", "checkpoint.safetensors"}
        if share > 1:
            assert f"--resume --out {run} continues" in shown.out
            assert load_checkpoint(run / "checkpoint.safetensors")[1]["history"][-1]["epoch"] == 1
        disk.remount(f"size={4 * size // 1024}k")
        assert train(run, 3) == 0
        found, expected = (json.loads((place / "metrics.json").read_text()) for place in (run, here / "whole"))
        assert found == expected
        assert (run / "done").exists()


@pytest.mark.usefixtures("played_task")
def test_a_disk_with_room_for_the_checkpoint_but_not_for_the_model(here: Path, capsys: pytest.CaptureFixture[str]):
    assert train(here / "whole", 1) == 0
    size = (here / "whole" / "checkpoint.safetensors").stat().st_size
    capsys.readouterr()
    with small_disk(size // 1024 + 16) as disk:
        run = disk.folder / "run"
        assert train(run, 1) == 1
        shown = capsys.readouterr().err
        assert "No space left on device; make room and run it again" in shown
        assert "Traceback" not in shown
        assert {path.name for path in run.iterdir()} == {".lock", "task.json", "checkpoint.safetensors"}
        disk.remount(f"size={4 * size // 1024}k")
        assert train(run, 1) == 0
        assert (run / "metrics.json").read_text() == (here / "whole" / "metrics.json").read_text()


LIMITED = """
import resource, sys
from class_kit import cli
from tests.test_study import small_task
import class_kit.task
task = small_task()
class_kit.task.load_task = lambda *unused, **options: task
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(cli.main(["train", "mine.csv", "--epochs", "2", "--batch-size", "16", "--order", "standard", "--out", "run"]))
"""


def test_a_checkpoint_larger_than_files_may_be(here: Path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "20000"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
    )
    assert done.returncode == 1
    assert "File too large; make room and run it again" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in (here / "run").iterdir()} == {".lock", "task.json"}
