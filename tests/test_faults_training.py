"""Trainings and studies on a machine that fails: nothing finished is lost, nothing damaged is used, and all goes on."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from class_kit import study
from class_kit.backbones import register_backbone
from class_kit.errors import InputError
from class_kit.study import records, runner
from class_kit.study.records import Arm
from class_kit.task import Task
from class_kit.training import TrainingConfig, loop
from class_kit.training.checkpoint import load_checkpoint, save_checkpoint
from tests.faulty_places import wait_until
from tests.test_study import Mine, small_task

CONFIG = TrainingConfig(
    epochs=2, batch_size=16, learning_rate=1e-2, backbone_options={"hidden": 8, "dim": 4, "dropout": 0.1}
)
ARM = Arm("a", order="standard", intensity="constant")
STORED = ("record.json", "model.safetensors")


pytestmark = pytest.mark.usefixtures("here", "own_cache")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def ranks_of(record: records.Record) -> list[list[int]]:
    return [ranks.greater.tolist() for ranks in record.ranks.values()]


# --- the store of trainings


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_a_damaged_stored_training_is_done_again(task, name, damage, caplog) -> None:
    first = runner.run_arm(task, ARM, CONFIG)
    path = first.folder / name
    whole = path.read_bytes()
    # a float's last digit may not matter: in the record it is a name in the middle, and the digit of the steps
    middle = whole.index(b"loss") if name == "record.json" else len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 0x01]) + whole[middle + 1 :]
    path.unlink()
    if damage != "gone":
        path.write_bytes(whole[:-7] if damage == "cut" else flipped)
    again = runner.run_arm(task, ARM, CONFIG)
    assert ranks_of(again) == ranks_of(first)
    assert again.folder == first.folder
    records.load_backbone(again, task)
    assert (path.read_bytes() == whole) == (name != "record.json"), "only the seconds of a record may differ"
    assert runner.stored_record(task, ARM, CONFIG) is not None
    assert sorted(content(first.folder)) == sorted(STORED)
    assert bool(caplog.records) == ((name, damage) != ("record.json", "gone"))


# --- checkpoints


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    """In the header too: a step number that is off by one would go on with other batches, in silence."""
    path = tmp_path / "checkpoint.safetensors"
    tensors = {"model": {"a": torch.arange(6.0)}, "generator": torch.arange(5, dtype=torch.uint8)}
    state = {"epoch": 3, "step": 41, "sums": {"loss": 0.25}}
    save_checkpoint(path, tensors, state, "mine")
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        try:
            found, read = load_checkpoint(path, "mine")
        except InputError:
            noticed += 1
            continue
        # the filling behind the header may change without changing what is read
        assert read == state, place
        assert torch.equal(found["model"]["a"], tensors["model"]["a"])
        assert torch.equal(found["generator"], tensors["generator"])
    assert noticed > len(whole) - 16


# --- the command


RUN = ["train", "mine.csv", "--batch-size", "16", "--order", "standard", "--out", "run", "--epochs", "3"]


@pytest.fixture
def played_task(task: Task, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever pairs are named, the small task is what they are."""
    (here / "mine.csv").touch()
    monkeypatch.setattr("class_kit.task.load_task", lambda *unused, **options: task)


@pytest.mark.usefixtures("played_task")
def test_a_finished_training_is_never_undone(kit: Any) -> None:
    kit(*RUN)
    finished = content(Path("run"))
    assert "record.json" in finished
    for options, code, says in (
        (["--resume"], 0, "already trained with these settings"),
        ([], 2, "holds a finished training"),
        (["--resume", "--epochs", "9"], 2, "finished training with another config"),
        (["--resume", "--seed", "4"], 2, "finished training with another config"),
        (["--resume", "--order", "random"], 2, "finished training with another arm"),
        (["--resume", "--text", "words"], 2, "finished training with another task"),
    ):
        assert says in kit(*RUN, *options, code=code), options
        assert content(Path("run")) == finished | {".lock": Path("run/.lock").read_bytes()}


@pytest.mark.usefixtures("played_task")
def test_an_interrupted_training_says_how_to_go_on_to_the_same_bytes(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kit(*RUN, "--out", "whole")
    taken: list[int] = []
    real = loop.Trainer._step

    def step(self: Any, *arguments: Any, **options: Any) -> Any:
        if len(taken) == 12:
            raise KeyboardInterrupt
        taken.append(1)
        return real(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_step", step)
        assert "add --resume --out run to continue" in kit(*RUN, code=130)
    assert not Path("run/record.json").exists()
    assert "no finished training here" in kit("evaluate", "run", code=2)
    kept = Path("run/checkpoint.safetensors").read_bytes()
    for options, says in (
        ([], "holds an unfinished training; --resume continues it"),
        (["--resume", "--seed", "1"], "other settings"),
    ):
        assert says in kit(*RUN, *options, code=2)
        assert Path("run/checkpoint.safetensors").read_bytes() == kept
    kit(*RUN, "--resume")
    assert content(Path("run"))["model.safetensors"] == content(Path("whole"))["model.safetensors"]


class Held(Mine):
    """Goes on only when the file that its options name is gone."""

    def losses(self, text, molecules, *, not_negative=None):
        while Path(self.ends).exists():
            time.sleep(0.05)
        return super().losses(text, molecules, not_negative=not_negative)


def study_of_four(hold: Path, jobs: int) -> list[records.Record | study.Failure]:
    """Two trainings that are soon finished and two that are held; the backbone is this process's own."""
    register_backbone("held")(Held)
    held = replace(CONFIG, backbone="held", backbone_options={"ends": str(hold)})
    settings = [CONFIG, replace(CONFIG, seed=1), held, replace(held, seed=1)]
    return study.run_all([(small_task(), ARM, config) for config in settings], jobs=jobs, progress=False)


STUDY = "import sys; from tests.test_faults_training import *; study_of_four(Path(sys.argv[1]), 2)"


def test_a_killed_study_goes_on(tmp_path: Path) -> None:
    hold, store = tmp_path / "hold", tmp_path / "cache" / "trainings"
    hold.touch()
    process = psutil.Popen([sys.executable, "-c", STUDY, str(hold)], cwd=Path(__file__).parents[1])
    try:
        wait_until(lambda: len(list(store.glob("*/record.json"))) == 2, seconds=600)
    finally:
        children = process.children(recursive=True)
        for one in (process, *children):
            one.kill()
        psutil.wait_procs([process, *children])
    finished = {path: path.stat().st_mtime_ns for path in store.glob("*/*")}
    assert len(finished) == 2 * len(STORED)
    hold.unlink()
    found = study_of_four(hold, 1)
    names = [(record.config["backbone"], record.seed) for record in found]
    assert names == [(name, seed) for name in ("dual_encoder", "held") for seed in (0, 1)]
    assert len(list(store.glob("*/record.json"))) == 4
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "what was finished is taken up as it is"
