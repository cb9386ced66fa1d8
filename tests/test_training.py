"""The loop: it follows the plan, scales what it says it scales, and resumes to the same bits."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from class_kit.backbones import register_backbone
from class_kit.backbones.base import Backbone, in_batch_cross_entropy
from class_kit.curriculum import EpochPlan, LinearSchedule, make_schedule
from class_kit.curriculum.controls import StepMatchedPlan
from class_kit.curriculum.feedback import LossPrunedPlan, MetricPacing, PacedPlan, SelfPacedPlan, SmallLossPlan
from class_kit.curriculum.hard_batches import locality_order
from class_kit.errors import InputError
from class_kit.training import TrainingConfig, encode, learning_rate, loop, train
from class_kit.training.checkpoint import load_checkpoint
from class_kit.training.loop import Trainer
from tests.refusals import refuses

CONFIG = TrainingConfig(
    epochs=3, batch_size=8, learning_rate=5e-3, backbone_options={"hidden": 16, "dim": 8, "dropout": 0.1}
)


def pairs(rows: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two views of the same hidden points, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 6))
    view = [hidden @ rng.normal(size=(6, width)) for width in (12, 10)]
    return view[0].astype(np.float32), view[1].astype(np.float32)


def plan_of(rows: int = 40, epochs: int = 3, intensity="inverse", **options) -> EpochPlan:
    schedule = LinearSchedule(start=0.1, growth=0.9 / epochs)
    return EpochPlan(np.arange(rows), schedule=schedule, intensity=intensity, seed=5, epochs=epochs, **options)


def weights(result) -> dict[str, torch.Tensor]:
    return result.backbone.state_dict()


def same(a, b) -> bool:
    return all(torch.equal(value, weights(b)[name]) for name, value in weights(a).items())


def without_time(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in history]


def test_steps_and_samples_are_those_of_the_plan() -> None:
    given, plan = pairs(), plan_of()
    for array in given:
        array.flags.writeable = False
    result = train(CONFIG, plan, *given)
    assert result.steps == plan.steps_total(CONFIG.batch_size)
    assert [entry["rows"] for entry in result.history] == [len(plan.rows(epoch)) for epoch in (1, 2, 3)]
    assert result.samples == plan.samples_total(CONFIG.batch_size)
    assert [entry["intensity/text_to_molecule"] for entry in result.history] == [1 / 2, 2 / 3, 3 / 4]


def test_it_learns_and_keeps_the_best_epoch() -> None:
    text, molecules = pairs()
    scores = iter([0.2, 0.9, 0.5])
    kept = {}

    def validate(backbone) -> dict[str, float]:
        score = next(scores)
        kept[score] = encode(backbone, "text", text)
        return {"mrr": score}

    result = train(CONFIG, plan_of(), text, molecules, validate=validate)
    assert result.best_epoch == 2
    np.testing.assert_array_equal(encode(result.backbone, "text", text), kept[0.9])
    wide = replace(CONFIG, epochs=30, learning_rate=1e-2, backbone_options={"hidden": 64, "dim": 32, "dropout": 0.0})
    long = train(wide, plan_of(epochs=30), text, molecules)
    similarity = encode(long.backbone, "text", text) @ encode(long.backbone, "molecules", molecules).T
    assert (similarity.argmax(1) == np.arange(40)).mean() > 0.9


def test_a_callback_gets_the_numbers_of_every_epoch(tmp_path: Path) -> None:
    config, seen = TrainingConfig(epochs=3, batch_size=8), []

    def stop(entry: dict[str, float]) -> None:
        seen.append(entry)
        if entry["epoch"] == 2 and len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, plan_of(), *pairs(), folder=tmp_path, on_epoch=stop)
    # the checkpoint stands before the callback is called, so nothing is trained twice
    result = train(config, plan_of(), *pairs(), folder=tmp_path, resume=True, on_epoch=stop)
    assert [entry["epoch"] for entry in seen] == [1, 2, 3]
    assert seen == result.history


def test_a_seed_decides_everything_and_the_callers_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(replace(CONFIG, epochs=1, threads=threads + 1), plan_of(epochs=1), *pairs())
    first = train(CONFIG, plan_of(), *pairs())
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    torch.manual_seed(2)
    assert same(first, train(CONFIG, plan_of(), *pairs()))
    assert not same(first, train(replace(CONFIG, seed=1), plan_of(), *pairs()))


def test_scaling_does_what_it_says() -> None:
    given = pairs()
    sgd = replace(CONFIG, optimizer="sgd", weight_decay=0.0, epochs=1, learning_rate=0.05)
    on_loss = train(sgd, plan_of(epochs=1), *given)
    on_rate = train(replace(sgd, intensity_on="lr"), plan_of(epochs=1), *given)
    # With plain SGD a scaled loss and a scaled rate are the same step: γ · lr · gradient either way.
    for name, value in weights(on_loss).items():
        torch.testing.assert_close(value, weights(on_rate)[name], rtol=1e-4, atol=1e-6)
    # Adam divides by the gradient's scale: one constant factor on the loss changes next to nothing.
    adam = replace(CONFIG, weight_decay=0.0, epochs=1)
    scaled = train(adam, plan_of(epochs=1), *given)
    unscaled = train(adam, plan_of(epochs=1, intensity="constant"), *given)
    moved = train(replace(adam, intensity_on="lr"), plan_of(epochs=1), *given)
    distance = {
        name: sum(float((value - weights(unscaled)[key]).norm()) for key, value in weights(other).items())
        for name, other in {"loss": scaled, "lr": moved}.items()
    }
    assert distance["loss"] < 0.02 * distance["lr"]


def test_learning_rate_rises_and_falls_over_the_plans_own_steps() -> None:
    config = TrainingConfig(learning_rate=1.0, warmup=0.25)
    rates = [learning_rate(config, step, 20) for step in range(20)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert np.all(np.diff(rates[5:]) < 0)
    assert rates[-1] == pytest.approx(1 / 15)


def test_an_intensity_per_term_reaches_its_term() -> None:
    one_way = {"text_to_molecule": "constant", "molecule_to_text": lambda epoch: 0.0}
    result = train(CONFIG, plan_of(intensity=one_way), *pairs())
    assert result.history[0]["intensity/molecule_to_text"] == 0.0
    assert not same(result, train(CONFIG, plan_of(intensity="constant"), *pairs()))


def test_near_duplicates_are_not_negatives() -> None:
    given = pairs(16)
    alone = train(CONFIG, plan_of(16), *given, groups=np.arange(16))
    assert same(alone, train(CONFIG, plan_of(16), *given))
    together = train(CONFIG, plan_of(16), *given, groups=np.zeros(16, int))
    # Nobody is a negative: the cross-entropy of a single candidate is exactly 0.
    assert [entry["loss"] for entry in together.history] == [0.0, 0.0, 0.0]


class Linears(Backbone):
    """Two linear maps; their dropout needs the generator's state."""

    def __init__(self, text_dim: int, molecule_dim: int) -> None:
        super().__init__()
        self.text, self.molecule = torch.nn.Linear(text_dim, 6), torch.nn.Linear(molecule_dim, 6)

    def encode_text(self, text):
        return self.text(text)

    def encode_molecules(self, molecules):
        return self.molecule(molecules)

    def losses(self, text, molecules, *, not_negative=None):
        a, b = self.text(text), torch.nn.functional.dropout(self.molecule(molecules), 0.1, self.training)
        forward, backward = in_batch_cross_entropy(a @ b.T, not_negative)
        return {"contrastive": forward + backward}


class WithCritic(Linears):
    """With a critic that tells texts and molecules apart."""

    critic_steps = 2

    def __init__(self, text_dim: int, molecule_dim: int) -> None:
        super().__init__(text_dim, molecule_dim)
        self.critic = torch.nn.Linear(6, 1)

    def losses(self, text, molecules, *, not_negative=None):
        terms = super().losses(text, molecules, not_negative=not_negative)
        return {**terms, "fool": -self.critic(self.text(text)).mean()}

    def critic_parameters(self):
        return self.critic.parameters()

    def critic_losses(self, text, molecules):
        a, b = self.text(text).detach(), self.molecule(molecules).detach()
        return {"tell": self.critic(a).mean() - self.critic(b).mean()}


class ScalarOnly(WithCritic):
    """Says nothing of single pairs."""

    def losses(self, text, molecules, *, not_negative=None):
        return {"all": super().losses(text, molecules)["contrastive"].mean()}


@pytest.fixture(autouse=True)
def _own_backbones() -> None:
    register_backbone("with_critic")(WithCritic)
    register_backbone("scalar_only")(ScalarOnly)


def unseen(rows: int = 40) -> np.ndarray:
    return np.full(rows, np.nan)


RISING = LinearSchedule(start=0.2, growth=0.3)
CRITIC = replace(CONFIG, backbone="with_critic", backbone_options={})


def self_paced(**options) -> SelfPacedPlan:
    return SelfPacedPlan(unseen(), RISING, seed=5, epochs=3, **options)


def small_loss(mixture: bool = False, epochs: int = 3) -> SmallLossPlan:
    doubt = None if mixture else np.random.default_rng(4).normal(size=40)
    return SmallLossPlan(unseen(), 0.3, 1, doubt, mixture, seed=5, epochs=epochs)


def paced(epochs: int = 3, start: float = 0.4, growth: float = 0.6, **options) -> PacedPlan:
    return PacedPlan(np.arange(40), MetricPacing(start, growth), seed=5, epochs=epochs, **options)


def everything(epochs: int = 3, **options) -> EpochPlan:
    return EpochPlan(np.arange(40), make_schedule("full"), "constant", seed=5, epochs=epochs, **options)


def own_neighbours(make=everything, refresh: int = 1, **options):
    """A plan with half of each batch in groups from epoch 2 on."""
    line = np.random.default_rng(3).permutation(40)
    return make(hardness=lambda k: 0.5 * (k > 1), line=line, group_size=4, refresh=refresh, **options)


def with_nan(values: np.ndarray) -> np.ndarray:
    return np.where(values == values[3, 2], np.nan, values)


BY_TERM = {"text_to_molecule": "inverse", "*": "constant"}
test_what_cannot_be_trained_is_refused = refuses(
    (CONFIG, plan_of(), lambda t, m: (t, m[:-1]), "40 texts and 39 molecules"),
    (CONFIG, plan_of(), lambda t, m: (with_nan(t), m), "contain NaN or infinity"),
    (replace(CONFIG, epochs=4), plan_of(), None, "plan has 3 epochs and the configuration 4"),
    (CONFIG, paced(), None, "validate=None"),
    (CONFIG, plan_of(intensity={"transport": "inverse", "*": "constant"}), None, "names the terms"),
    (replace(CONFIG, intensity_on="lr"), plan_of(intensity=BY_TERM), None, "term=None has no intensity"),
    (replace(CRITIC, backbone="scalar_only"), self_paced(), None, "are scalars: expected a term with one loss"),
    call=lambda config, plan, change: train(config, plan, *(change or (lambda *given: given))(*pairs())),
    error=ValueError,
)


def test_a_loss_that_is_no_number_is_named_with_its_step() -> None:
    config = replace(CONFIG, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"term 'text_to_molecule' is (nan|inf) in epoch 1, step"):
        train(config, plan_of(), *pairs())


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


def resumes_to_the_same_bits(config, make, given, folder: Path, stops: Iterable[int] = (), **options) -> None:
    """A training stopped after each of these steps, or every step, and resumed is the one that was never stopped."""
    whole = train(config, make(), *given, **options)
    for steps in stops or range(1, whole.steps):
        place = folder / str(steps)
        train_until(steps, config, make(), *given, folder=place, **options)
        resumed = train(config, make(), *given, folder=place, resume=True, **options)
        assert same(whole, resumed)
        assert without_time(whole.history) == without_time(resumed.history)
        assert (whole.steps, whole.samples, whole.best_epoch) == (resumed.steps, resumed.samples, resumed.best_epoch)


def trace_of(given):
    """A validation: how near the model takes each pair to be."""

    def score(backbone) -> dict[str, float]:
        return {"mrr": float((encode(backbone, "text", given[0]) @ encode(backbone, "molecules", given[1]).T).trace())}

    return score


@pytest.mark.parametrize(
    ("config", "make", "stops"),
    [
        # in an epoch, and between two of them
        (CONFIG, plan_of, ()),
        (CONFIG, self_paced, (3, 5, 7)),
        (CONFIG, lambda: LossPrunedPlan(unseen(), epochs=3, seed=5), (5, 7)),
        (CONFIG, small_loss, (5, 7, 9)),
        (CONFIG, lambda: small_loss(mixture=True), (6, 11)),
        (CONFIG, paced, (2, 3)),
        (CONFIG, lambda: own_neighbours(refresh=2), (5, 7, 12)),
        (CONFIG, lambda: own_neighbours(self_paced), (3, 5)),
        (CONFIG, lambda: own_neighbours(paced), (2, 4)),
        (CONFIG, lambda: StepMatchedPlan(own_neighbours(plan_of), 8), (3, 7)),
        (CRITIC, plan_of, (3, 7)),
    ],
    ids=lambda value: "",
)
def test_resume_gives_the_same_bits(config, make, stops, tmp_path: Path) -> None:
    given = pairs()
    resumes_to_the_same_bits(config, make, given, tmp_path, stops, validate=trace_of(given))


def seen_by(monkeypatch: pytest.MonkeyPatch, config: TrainingConfig, plan, **options):
    """The rows of every step, the backbone's loss of each pair in it and its rate, as the loop took them."""
    rows_seen, losses_seen, rates = [], [], []
    originals = Trainer._step, loop.pair_losses, learning_rate

    def step(self, plan, rows, *rest):
        rows_seen.append(rows)
        originals[0](self, plan, rows, *rest)

    def pair_losses(terms):
        losses_seen.append(originals[1](terms))
        return losses_seen[-1]

    def rate(*given):
        rates.append(originals[2](*given))
        return rates[-1]

    monkeypatch.setattr(Trainer, "_step", step)
    monkeypatch.setattr(loop, "pair_losses", pair_losses)
    monkeypatch.setattr(loop, "learning_rate", rate)
    result = train(config, plan, *pairs(), **options)
    return rows_seen, losses_seen, rates, result


@pytest.mark.parametrize(
    "plan",
    [self_paced(), LossPrunedPlan(unseen(), epochs=8, seed=5)],
    ids=["self-paced", "pruned"],
)
def test_a_plan_follows_the_losses_that_it_found(plan, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, losses, _, result = seen_by(monkeypatch, replace(CONFIG, epochs=plan.epochs), plan)
    known, at = unseen(), 0
    for epoch in range(1, plan.epochs + 1):
        now = plan.with_feedback(losses=known.copy())
        means = []
        for batch in now.batches(epoch, CONFIG.batch_size):
            np.testing.assert_array_equal(rows[at], batch)
            means.append((now.weights(epoch, CONFIG.batch_size)[batch] * losses[at]).mean())
            known[batch] = losses[at]
            at += 1
        # the weighted mean over the epoch's batches is what the history says
        assert result.history[epoch - 1]["loss"] == pytest.approx(np.mean(means), rel=1e-5)
    assert at == len(rows)
    counts = [entry["rows"] for entry in result.history]
    assert counts == sorted(counts) if plan.epochs == 3 else min(counts[1:7]) < counts[0] == counts[7] == 40


def test_losses_are_measured_over_all_pairs_after_each_epoch() -> None:
    """With one batch of all pairs in evaluation mode, a pair's loss is that of the formula over the vectors."""
    text, molecules = pairs()
    vectors, told = [], []

    def validate(backbone) -> dict[str, float]:
        factor = backbone.scale.log_scale.exp().item()
        logits = factor * encode(backbone, "text", text) @ encode(backbone, "molecules", molecules).T
        own = np.diag(logits)
        vectors.append(np.logaddexp.reduce(logits, 0) - own + np.logaddexp.reduce(logits, 1) - own)
        return {"mrr": 0.0}

    class Told(SmallLossPlan):
        def with_feedback(self, losses=None, metrics=()):
            told.append(losses)
            return super().with_feedback(losses, metrics)

    plan = Told(unseen(), 0.5, 1, seed=5, epochs=4)
    result = train(replace(CONFIG, epochs=4, batch_size=40), plan, text, molecules, validate=validate)
    assert np.isnan(told[0]).all()
    np.testing.assert_allclose(told[1:], vectors[:3], rtol=1e-4)
    assert [entry["fraction"] for entry in result.history] == [1.0, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("refresh", [1, 2])
def test_groups_are_drawn_from_the_models_own_neighbours(refresh: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config, plan = replace(CONFIG, epochs=5), own_neighbours(refresh=refresh, epochs=5)
    text, molecules = pairs()
    lines = []

    def validate(backbone) -> dict[str, float]:
        spaces = encode(backbone, "text", text), encode(backbone, "molecules", molecules)
        lines.append(locality_order(*spaces, group_size=4))
        return {"mrr": 0.0}

    rows, *_ = seen_by(monkeypatch, config, plan, validate=validate)
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


def test_the_validation_metric_sets_the_pace_and_the_rate_never_rises_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.1, 0.2, 0.2, 0.3, 0.3, 0.3])
    validate = {"validate": lambda backbone: {"mrr": next(scores)}}
    _, _, rates, result = seen_by(monkeypatch, replace(CONFIG, epochs=6), paced(6, 0.4, 0.3), **validate)
    # standing still after epochs 3 and 5 lets the data grow in epochs 4 and 6
    assert [entry["fraction"] for entry in result.history] == pytest.approx([0.4, 0.4, 0.4, 0.7, 0.7, 1.0])
    assert [entry["rows"] for entry in result.history] == [16, 16, 16, 28, 28, 40]
    # the total of steps is not known in advance
    assert np.all(np.diff(rates[int(np.argmax(rates)) :]) <= 0)
    assert rates[-1] < 0.25 * max(rates)


def test_a_critic_has_its_own_steps() -> None:
    result = train(replace(CRITIC, learning_rate=1e-12), plan_of(intensity="constant"), *pairs())
    torch.manual_seed(CONFIG.seed)
    fresh = WithCritic(12, 10)
    # the main optimiser moves nothing at this rate; the critic's takes two steps of 1e-4 each time
    moved = {name: float((value - fresh.state_dict()[name]).abs().max()) for name, value in weights(result).items()}
    assert moved["text.weight"] < 1e-8
    assert 0 < moved["critic.weight"] <= 2.1e-4 * result.steps
    assert {"critic/tell", "fool", "contrastive"} <= set(result.history[0])
    assert "intensity/critic/tell" not in result.history[0]


def test_foreign_and_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    train(CONFIG, plan_of(), *pairs(), folder=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    for config, plan in ((replace(CONFIG, seed=9), plan_of()), (CONFIG, plan_of(intensity="sigmoid"))):
        with pytest.raises(InputError, match="other settings or data"):
            train(config, plan, *pairs(), folder=tmp_path, resume=True)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match="damaged or not a checkpoint"):
        train(CONFIG, plan_of(), *pairs(), folder=tmp_path, resume=True)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="not a checkpoint of this kit"):
        load_checkpoint(path)
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "missing.safetensors")
