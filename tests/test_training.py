"""The loop: it follows the plan, scales what it says it scales, and resumes to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from class_kit.curriculum import EpochPlan, LinearSchedule
from class_kit.errors import InputError
from class_kit.training import TrainingConfig, encode, learning_rate, train
from class_kit.training.checkpoint import load_checkpoint, save_checkpoint

CONFIG = TrainingConfig(
    epochs=3, batch_size=8, learning_rate=5e-3, backbone_options={"hidden": 16, "dim": 8, "dropout": 0.1}
)


def pairs(rows: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two views of the same hidden points, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 6))
    view = [hidden @ rng.normal(size=(6, width)) for width in (12, 10)]
    return view[0].astype(np.float32), view[1].astype(np.float32)


def plan_of(rows: int = 40, epochs: int = 3, intensity="inverse") -> EpochPlan:
    schedule = LinearSchedule(start=0.1, growth=0.9 / epochs)
    return EpochPlan(np.arange(rows), schedule=schedule, intensity=intensity, seed=5, epochs=epochs)


def weights(result) -> dict[str, torch.Tensor]:
    return result.backbone.state_dict()


def same(a, b) -> bool:
    return all(torch.equal(value, weights(b)[name]) for name, value in weights(a).items())


def without_time(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in history]


def test_steps_and_samples_are_those_of_the_plan() -> None:
    text, molecules = pairs()
    plan = plan_of()
    result = train(CONFIG, plan, text, molecules)
    assert result.steps == plan.steps_total(CONFIG.batch_size)
    assert [entry["rows"] for entry in result.history] == [len(plan.rows(epoch)) for epoch in (1, 2, 3)]
    assert result.samples == sum(len(plan.rows(epoch)) for epoch in (1, 2, 3))
    assert [entry["intensity/text_to_molecule"] for entry in result.history] == [1 / 2, 2 / 3, 3 / 4]


def test_it_learns_and_keeps_the_best_epoch() -> None:
    text, molecules = pairs()
    scores = iter([0.2, 0.9, 0.5])
    config = replace(CONFIG, epochs=3)
    kept = {}

    def validate(backbone) -> dict[str, float]:
        score = next(scores)
        kept[score] = encode(backbone, "text", text)
        return {"mrr": score}

    result = train(config, plan_of(), text, molecules, validate=validate)
    assert result.best_epoch == 2
    np.testing.assert_array_equal(encode(result.backbone, "text", text), kept[0.9])
    wide = replace(CONFIG, epochs=60, backbone_options={"hidden": 64, "dim": 32, "dropout": 0.0})
    long = train(wide, plan_of(epochs=60), text, molecules)
    similarity = encode(long.backbone, "text", text) @ encode(long.backbone, "molecules", molecules).T
    assert (similarity.argmax(1) == np.arange(40)).mean() > 0.9


def test_a_seed_decides_everything_and_the_callers_generator_is_left_alone() -> None:
    text, molecules = pairs()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(CONFIG, plan_of(), text, molecules)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert same(first, train(CONFIG, plan_of(), text, molecules))
    assert not same(first, train(replace(CONFIG, seed=1), plan_of(), text, molecules))


def test_constant_intensity_is_the_plain_run_and_scaling_does_what_it_says() -> None:
    text, molecules = pairs()
    sgd = replace(CONFIG, optimizer="sgd", weight_decay=0.0, epochs=1, learning_rate=0.05)
    plain = train(sgd, plan_of(epochs=1, intensity="constant"), text, molecules)
    on_loss = train(sgd, plan_of(epochs=1), text, molecules)
    on_rate = train(replace(sgd, intensity_on="lr"), plan_of(epochs=1), text, molecules)
    # With plain SGD a scaled loss and a scaled rate are the same step: γ · lr · gradient either way.
    for name, value in weights(on_loss).items():
        torch.testing.assert_close(value, weights(on_rate)[name], rtol=1e-4, atol=1e-6)
    assert not same(plain, on_loss)
    # Adam divides by the gradient's scale: one constant factor on the loss changes next to nothing.
    adam = replace(CONFIG, weight_decay=0.0, epochs=1)
    scaled = train(adam, plan_of(epochs=1), text, molecules)
    unscaled = train(adam, plan_of(epochs=1, intensity="constant"), text, molecules)
    moved = train(replace(adam, intensity_on="lr"), plan_of(epochs=1), text, molecules)
    distance = {
        name: sum(float((value - weights(unscaled)[key]).norm()) for key, value in weights(other).items())
        for name, other in {"loss": scaled, "lr": moved}.items()
    }
    assert distance["loss"] < 0.02 * distance["lr"]


def test_learning_rate_rises_and_falls_over_the_plans_own_steps() -> None:
    config = TrainingConfig(learning_rate=1.0, warmup=0.25)
    rates = [learning_rate(config, step, 20) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] == pytest.approx(1.0)
    assert np.all(np.diff(rates[5:]) < 0)
    assert rates[-1] == pytest.approx(1 / 15)


def test_an_intensity_per_term_reaches_its_term() -> None:
    text, molecules = pairs()
    one_way = {"text_to_molecule": "constant", "molecule_to_text": lambda epoch: 0.0}
    result = train(CONFIG, plan_of(intensity=one_way), text, molecules)
    assert result.history[0]["intensity/molecule_to_text"] == 0.0
    assert not same(result, train(CONFIG, plan_of(intensity="constant"), text, molecules))
    with pytest.raises(ValueError, match="no such term"):
        train(CONFIG, plan_of(intensity={"transport": "inverse", "*": "constant"}), text, molecules)
    with pytest.raises(ValueError, match="no intensity"):
        train(replace(CONFIG, intensity_on="lr"), plan_of(intensity=one_way), text, molecules)


def test_near_duplicates_are_not_negatives() -> None:
    text, molecules = pairs(16)
    alone = train(CONFIG, plan_of(16), text, molecules, groups=np.arange(16))
    assert same(alone, train(CONFIG, plan_of(16), text, molecules))
    together = train(CONFIG, plan_of(16), text, molecules, groups=np.zeros(16, int))
    # Nobody is a negative: the cross-entropy of a single candidate is exactly 0.
    assert [entry["loss"] for entry in together.history] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0"),
        ({"warmup": 1.0}, "warmup=1.0"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"intensity_on": "batch"}, "intensity_on='batch'"),
    ],
)
def test_impossible_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


def test_bad_inputs_are_refused() -> None:
    text, molecules = pairs()
    with pytest.raises(ValueError, match=r"text \(40, 12\) and molecules \(39, 10\)"):
        train(CONFIG, plan_of(), text, molecules[:-1])
    broken = text.copy()
    broken[:] = np.nan
    with pytest.raises(FloatingPointError, match=r"term 'text_to_molecule' is nan in epoch 1, step 1"):
        train(CONFIG, plan_of(), broken, molecules)
    with pytest.raises(ValueError, match="the plan is for 3 epochs, the configuration for 4"):
        train(replace(CONFIG, epochs=4), plan_of(), text, molecules)
    with pytest.raises(ValueError, match="side='both'"):
        encode(train(CONFIG, plan_of(), text, molecules).backbone, "both", text)


class Stop(Exception):
    """Stands for a process that ends between two steps."""


def test_resume_at_every_step_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from class_kit import training

    text, molecules = pairs()

    def score(backbone) -> dict[str, float]:
        return {"mrr": float((encode(backbone, "text", text) @ encode(backbone, "molecules", molecules).T).trace())}

    whole = train(CONFIG, plan_of(), text, molecules, validate=score)
    original = training._Loop._step
    for dies_after in range(1, whole.steps):
        folder = tmp_path / str(dies_after)
        taken = 0

        def step(self, rows, limit=dies_after):
            nonlocal taken
            if taken == limit:
                raise Stop
            taken += 1
            original(self, rows)

        monkeypatch.setattr(training._Loop, "_step", step)
        with pytest.raises(Stop):
            train(CONFIG, plan_of(), text, molecules, validate=score, folder=folder, checkpoint_every=1)
        monkeypatch.setattr(training._Loop, "_step", original)
        resumed = train(
            CONFIG, plan_of(), text, molecules, validate=score, folder=folder, resume=True, checkpoint_every=1
        )
        assert same(whole, resumed)
        assert without_time(whole.history) == without_time(resumed.history)
        assert (whole.best_epoch, whole.steps, whole.samples) == (resumed.best_epoch, resumed.steps, resumed.samples)


def test_resume_after_a_real_kill(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from class_kit import training
        from tests.test_training import CONFIG, pairs, plan_of
        original = training._Loop._step
        count = 0
        def step(self, rows):
            global count
            original(self, rows)
            count += 1
            if count == 7:
                os.kill(os.getpid(), signal.SIGKILL)
        training._Loop._step = step
        training.train(CONFIG, plan_of(), *pairs(), folder=sys.argv[1], checkpoint_every=3)
        """
    )
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[1], check=False)
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    _, state = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert 0 < state["step"] <= 7
    resumed = train(CONFIG, plan_of(), *pairs(), folder=tmp_path, resume=True, checkpoint_every=3)
    assert same(resumed, train(CONFIG, plan_of(), *pairs()))


def test_foreign_and_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    text, molecules = pairs()
    train(CONFIG, plan_of(), text, molecules, folder=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(InputError, match="other settings or data"):
        train(replace(CONFIG, seed=9), plan_of(), text, molecules, folder=tmp_path, resume=True)
    sound = path.read_bytes()
    for damaged, message in (
        (sound[:-7], "damaged"),
        (sound[:-40] + bytes(255 - byte for byte in sound[-40:]), "do not match their digest"),
        (b"hello", "damaged or no checkpoint"),
        (b"", "damaged or no checkpoint"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=message):
            train(CONFIG, plan_of(), text, molecules, folder=tmp_path, resume=True)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="not a checkpoint of this kit"):
        load_checkpoint(path)
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "missing.safetensors")


def test_a_full_disk_loses_nothing_already_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, {"x": torch.arange(3)}, {"step": 1}, "mine")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"x": torch.arange(4)}, {"step": 2}, "mine")
    tensors, state = load_checkpoint(path, "mine")
    assert tensors["x"].tolist() == [0, 1, 2]
    assert state == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_read_only_arrays_are_as_good_as_others() -> None:
    text, molecules = pairs()
    for array in (text, molecules):
        array.flags.writeable = False
    result = train(CONFIG, plan_of(), text, molecules)
    assert encode(result.backbone, "text", text).shape == (40, 8)
