"""The loop: it follows the plan, scales what it says it scales, and resumes to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from class_kit.backbones import register_backbone
from class_kit.backbones.base import Backbone, in_batch_cross_entropy
from class_kit.curriculum import EpochPlan, LinearSchedule, NeverFullWarning, make_schedule
from class_kit.curriculum.controls import StepMatchedPlan
from class_kit.curriculum.feedback import LossPrunedPlan, MetricPacing, PacedPlan, SelfPacedPlan
from class_kit.curriculum.hard_batches import neighbour_line
from class_kit.errors import InputError
from class_kit.training import TrainingConfig, encode, learning_rate, train
from class_kit.training.checkpoint import load_checkpoint, save_checkpoint
from class_kit.training.loop import Trainer

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
    with pytest.raises(ValueError, match="40 texts and 39 molecules"):
        train(CONFIG, plan_of(), text, molecules[:-1])
    broken = text.copy()
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match="some are not finite"):
        train(CONFIG, plan_of(), broken, molecules)
    explosive = replace(CONFIG, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"term 'text_to_molecule' is (nan|inf) in epoch 1, step"):
        train(explosive, plan_of(), text, molecules)
    with pytest.raises(ValueError, match="the plan is for 3 epochs, the configuration for 4"):
        train(replace(CONFIG, epochs=4), plan_of(), text, molecules)


class Stop(BaseException):
    """Stands for a process that ends between two steps."""


def train_until(steps: int, *arguments, **options) -> None:
    """A training that ends after so many steps, between two of them."""
    original, taken = Trainer._step, 0

    def step(self, *given):
        nonlocal taken
        if taken == steps:
            raise Stop
        taken += 1
        original(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Stop):
            train(*arguments, **options)


def unseen(rows: int = 40) -> np.ndarray:
    return np.full(rows, np.nan)


def own_groups(plan):
    return plan.compose(hardness=lambda k: 0.5 * (k > 1), line=np.arange(40), group_size=4, refresh=1)


def own_neighbours(rows: int = 40, epochs: int = 3, refresh: int = 1) -> EpochPlan:
    """All rows in every epoch, half of each batch in groups from the second epoch on."""
    line = np.random.default_rng(3).permutation(rows)
    plan = EpochPlan(np.arange(rows), make_schedule("full"), "constant", seed=5, epochs=epochs)
    return plan.compose(hardness=lambda k: 0.5 * (k > 1), line=line, group_size=4, refresh=refresh)


TERMS = ("text_to_molecule", "molecule_to_text")
RISING = LinearSchedule(start=0.2, growth=0.3)
TRAININGS = {
    "three stages": (CONFIG, plan_of),
    "self-paced": (CONFIG, lambda: SelfPacedPlan(unseen(), RISING, "linear", seed=5, epochs=3)),
    "pruned": (CONFIG, lambda: LossPrunedPlan(unseen(), epochs=3, full_from=0.7, seed=5)),
    "paced": (CONFIG, lambda: PacedPlan(np.arange(40), MetricPacing(0.4, 0.6), seed=5, epochs=3)),
    "own neighbours": (CONFIG, lambda: own_neighbours(refresh=2)),
    "own neighbours, self-paced": (CONFIG, lambda: own_groups(SelfPacedPlan(unseen(), RISING, seed=5, epochs=3))),
    "own neighbours, paced": (
        CONFIG,
        lambda: own_groups(PacedPlan(np.arange(40), MetricPacing(0.4, 0.6), seed=5, epochs=3)),
    ),
    "own neighbours, step-matched": (CONFIG, lambda: StepMatchedPlan(own_groups(plan_of()), 8)),
    "learnt weights": (replace(CONFIG, term_weights="learned"), plan_of),
    "adversary": (replace(CONFIG, backbone="with_critic", backbone_options={}), plan_of),
}


class WithCritic(Backbone):
    """Two linear maps and a critic that tells them apart; its dropout needs the generator's state."""

    critic_steps = 2

    def __init__(self, text_dim: int, molecule_dim: int) -> None:
        super().__init__()
        self.text, self.molecule = torch.nn.Linear(text_dim, 6), torch.nn.Linear(molecule_dim, 6)
        self.critic = torch.nn.Linear(6, 1)

    def encode_text(self, text):
        return self.text(text)

    def encode_molecules(self, molecules):
        return self.molecule(molecules)

    def losses(self, text, molecules, *, not_negative=None):
        a, b = self.text(text), torch.nn.functional.dropout(self.molecule(molecules), 0.1, self.training)
        forward, backward = in_batch_cross_entropy(a @ b.T, not_negative)
        return {"contrastive": forward + backward, "fool": -self.critic(a).mean()}

    def critic_parameters(self):
        return self.critic.parameters()

    def critic_losses(self, text, molecules):
        a, b = self.text(text).detach(), self.molecule(molecules).detach()
        return {"tell": self.critic(a).mean() - self.critic(b).mean()}


@pytest.fixture
def with_critic():
    register_backbone("with_critic")(WithCritic)


def resumes_to_the_same_bits(config, make, given, folder: Path, stops: Iterable[int] = (), **options) -> None:
    """A training stopped after each of these steps, or every step, and resumed is the one that was never stopped."""
    whole = train(config, make(), *given, **options)
    for steps in stops or range(1, whole.steps):
        place = folder / str(steps)
        train_until(steps, config, make(), *given, folder=place, checkpoint_every=1, **options)
        resumed = train(config, make(), *given, folder=place, resume=True, **options)
        assert same(whole, resumed)
        assert without_time(whole.history) == without_time(resumed.history)
        assert (whole.steps, whole.samples, whole.best_epoch) == (resumed.steps, resumed.samples, resumed.best_epoch)


@pytest.mark.parametrize("name", TRAININGS)
def test_resume_at_every_step_gives_the_same_bits(name: str, tmp_path: Path, with_critic) -> None:
    given, (config, make) = pairs(), TRAININGS[name]
    resumes_to_the_same_bits(config, make, given, tmp_path, validate=trace_of(given))


def trace_of(given):
    """A validation: how near the model takes each pair to be."""

    def score(backbone) -> dict[str, float]:
        return {"mrr": float((encode(backbone, "text", given[0]) @ encode(backbone, "molecules", given[1]).T).trace())}

    return score


def seen_by(monkeypatch: pytest.MonkeyPatch, config: TrainingConfig, plan, **options) -> tuple[list[np.ndarray], list]:
    """The rows of every step and the backbone's loss of each pair in it, as the loop took them."""
    rows_seen, losses_seen = [], []
    original = Trainer._pair_losses, Trainer._step

    def step(self, plan, rows, *rest):
        rows_seen.append(rows)
        original[1](self, plan, rows, *rest)

    def pair_losses(self, terms):
        found = original[0](self, terms)
        losses_seen.append(found)
        return found

    monkeypatch.setattr(Trainer, "_step", step)
    monkeypatch.setattr(Trainer, "_pair_losses", pair_losses)
    result = train(config, plan, *pairs(), **options)
    return rows_seen, losses_seen, result


@pytest.mark.parametrize("kind", ["hard", "linear", "log"])
def test_a_self_paced_plan_trains_on_what_it_found_easy(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = SelfPacedPlan(unseen(), RISING, kind, seed=5, epochs=3)
    rows, losses, result = seen_by(monkeypatch, CONFIG, plan)
    known, at = unseen(), 0
    for epoch in (1, 2, 3):
        now = plan.with_feedback(losses=known.copy())
        expected = now.batches(epoch, CONFIG.batch_size)
        for batch in expected:
            np.testing.assert_array_equal(rows[at], batch)
            assert (losses[at] > 0).all()
            known[batch] = losses[at]
            at += 1
        # the weighted mean over the epoch's batches is what the history says
        weights = now.weights(epoch, CONFIG.batch_size)
        first = at - len(expected)
        mean = np.mean([(weights[rows[i]] * losses[i]).mean() for i in range(first, at)])
        assert result.history[epoch - 1]["loss"] == pytest.approx(mean, rel=1e-5)
    assert at == len(rows)


def test_pruning_follows_the_losses_and_shortens_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, epochs=8)
    plan = LossPrunedPlan(unseen(), epochs=8, seed=5)
    rows, losses, result = seen_by(monkeypatch, config, plan)
    assert result.history[0]["rows"] == 40
    assert min(entry["rows"] for entry in result.history[1:7]) < 40 == result.history[7]["rows"]
    known, at = unseen(), 0
    for epoch in range(1, 9):
        for batch in plan.with_feedback(losses=known).batches(epoch, 8):
            np.testing.assert_array_equal(rows[at], batch)
            known[batch] = losses[at]
            at += 1


@pytest.mark.parametrize("refresh", [1, 2])
def test_groups_are_drawn_from_the_models_own_neighbours(refresh: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config, plan = replace(CONFIG, epochs=5), own_neighbours(epochs=5, refresh=refresh)
    text, molecules = pairs()
    lines = []

    def validate(backbone) -> dict[str, float]:
        spaces = encode(backbone, "text", text), encode(backbone, "molecules", molecules)
        lines.append(neighbour_line(*spaces, group_size=4))
        return {"mrr": 0.0}

    rows, _, _ = seen_by(monkeypatch, config, plan, validate=validate)
    assert len({line.tobytes() for line in lines}) > 2
    at, line = 0, plan.line
    for epoch in range(1, 6):
        # epoch 2 is the first with groups
        if epoch >= 2 and (epoch - 2) % refresh == 0:
            line = lines[epoch - 2]
        for batch in plan.with_line(line).batches(epoch, 8):
            np.testing.assert_array_equal(rows[at], batch)
            at += 1
    assert at == len(rows)


def test_the_validation_metric_sets_the_pace() -> None:
    scores = iter([0.1, 0.2, 0.2, 0.3, 0.3, 0.3])
    plan = PacedPlan(np.arange(40), MetricPacing(0.4, 0.3), seed=5, epochs=6)
    config = replace(CONFIG, epochs=6)
    result = train(config, plan, *pairs(), validate=lambda backbone: {"mrr": next(scores)})
    # standing still after epochs 3 and 5 lets the data grow in epochs 4 and 6
    assert [entry["fraction"] for entry in result.history] == pytest.approx([0.4, 0.4, 0.4, 0.7, 0.7, 1.0])
    assert [entry["rows"] for entry in result.history] == [16, 16, 16, 28, 28, 40]
    with pytest.raises(ValueError, match="validate=None"):
        train(config, plan, *pairs())


def test_the_rate_never_rises_again_where_the_total_is_not_known_in_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    from class_kit.training import loop

    rates: list[float] = []
    original = loop.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *given: rates.append(original(*given)) or rates[-1])
    scores = iter(np.linspace(0, 1, 6))
    plan = PacedPlan(np.arange(40), MetricPacing(0.2, 0.3), seed=5, epochs=6)
    with pytest.warns(NeverFullWarning) if plan.fraction(6) < 1 else nullcontext():
        train(replace(CONFIG, epochs=6), plan, *pairs(), validate=lambda backbone: {"mrr": next(scores)})
    peak = int(np.argmax(rates))
    assert np.all(np.diff(rates[peak:]) <= 0)
    assert rates[-1] < 0.25 * max(rates)


def test_learnt_weights_bring_terms_to_one_scale(with_critic) -> None:
    config = replace(CONFIG, epochs=20, learning_rate=2e-2, term_weights="learned")
    result = train(config, plan_of(epochs=20, intensity="constant"), *pairs())
    first, last = result.history[0], result.history[-1]
    assert {name for name in first if name.startswith("weight/")} == {
        "weight/text_to_molecule",
        "weight/molecule_to_text",
    }
    # a loss that falls below 1 gets a weight above the initial one half
    assert last["text_to_molecule"] < 1
    assert last["weight/text_to_molecule"] > first["weight/text_to_molecule"]


def test_a_critic_has_its_own_steps(with_critic) -> None:
    config = replace(CONFIG, backbone="with_critic", backbone_options={}, learning_rate=1e-12)
    result = train(config, plan_of(intensity="constant"), *pairs())
    torch.manual_seed(CONFIG.seed)
    fresh = WithCritic(12, 10)
    # the main optimiser moves nothing at this rate; the critic's takes two steps of 1e-4 each time
    moved = {name: float((value - fresh.state_dict()[name]).abs().max()) for name, value in weights(result).items()}
    assert moved["text.weight"] < 1e-8
    assert 0 < moved["critic.weight"] <= 2.1e-4 * result.steps
    assert {"critic/tell", "fool", "contrastive"} <= set(result.history[0])
    assert "intensity/critic/tell" not in result.history[0]


def test_a_plan_that_follows_losses_needs_one_a_pair() -> None:
    @register_backbone("scalar_only")
    class ScalarOnly(WithCritic):
        def losses(self, text, molecules, *, not_negative=None):
            return {"all": super().losses(text, molecules)["contrastive"].mean()}

    config = replace(CONFIG, backbone="scalar_only", backbone_options={})
    with pytest.raises(ValueError, match="'scalar_only' gives no loss a pair"):
        train(config, SelfPacedPlan(unseen(), RISING, seed=5, epochs=3), *pairs())


def test_resume_after_a_real_kill(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from class_kit.training import train
        from class_kit.training.loop import Trainer
        from tests.test_training import CONFIG, pairs, plan_of
        original = Trainer._step
        count = 0
        def step(self, *given):
            global count
            original(self, *given)
            count += 1
            if count == 7:
                os.kill(os.getpid(), signal.SIGKILL)
        Trainer._step = step
        train(CONFIG, plan_of(), *pairs(), folder=sys.argv[1], checkpoint_every=3)
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
        (sound[:-40] + bytes(255 - byte for byte in sound[-40:]), "does not match its digest"),
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
