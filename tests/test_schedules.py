"""Schedules λ(k) and intensities γ(k): the laws they keep, and the papers' own numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.curriculum import EpochPlan
from class_kit.curriculum.intensity import INTENSITIES, lr_factor, make_intensity, weigh_terms
from class_kit.curriculum.pacing import MetricPacing
from class_kit.curriculum.schedules import SHAPES, LinearSchedule, Schedule, make_schedule
from class_kit.errors import InputError

SHAPED = sorted(set(SHAPES) - {"full"})
names = st.sampled_from(SHAPED)
starts = st.floats(0.001, 1.0)
growths = st.floats(0.0005, 2.0)


@given(names, starts, growths)
@settings(deadline=None)
def test_every_schedule_rises_within_its_range_to_one(name: str, start: float, growth: float) -> None:
    schedule = Schedule(start, growth, name)
    values = [schedule(k) for k in range(1, 60)]
    assert all(0.0 < value <= 1.0 for value in values)
    assert all(before <= after for before, after in itertools.pairwise(values))
    assert values[0] >= start - 1e-12
    assert schedule(math.ceil(schedule.full_epoch) + 1) == 1.0


@given(names, st.floats(0.0, 0.99), st.floats(0.05, 1.0), st.integers(1, 300))
@settings(deadline=None)
def test_full_at_is_full_there_and_not_long_before(name: str, start: float, at: float, epochs: int) -> None:
    schedule = Schedule.full_at(start, at, epochs, shape=name)
    reached = math.ceil(at * epochs - 1e-6)
    assert schedule(max(1, reached)) == 1.0
    if at * epochs > 2 and name != "step":
        assert schedule(math.floor(at * epochs / 2)) < 1.0


@given(names, st.floats(0.0, 0.9), st.floats(0.05, 0.95), st.integers(2, 80))
@settings(deadline=None, max_examples=60)
def test_a_wanted_share_of_samples_is_met(name: str, start: float, between: float, epochs: int) -> None:
    share = start + between * (1.0 - start)
    schedule = Schedule.for_share(start, share, epochs, shape=name)
    assert schedule.share(epochs) == pytest.approx(share, abs=1e-6)
    assert np.mean([schedule(k) for k in range(1, epochs + 1)]) == pytest.approx(share, abs=1e-6)


def test_shares_worked_out_by_hand() -> None:
    # 0.4 twice, 0.7 three times, then 1
    assert Schedule(0.4, 0.1, "step", interval=3).share(10) == pytest.approx((2 * 0.4 + 3 * 0.7 + 5) / 10)
    # (1 + 4 + 9) / 16 before the fourth epoch
    assert Schedule(0.0, 0.25, "quadratic").share(5) == pytest.approx((14 / 16 + 2) / 5)


@pytest.mark.parametrize("growth", [0.0, 1e-300, 1e-4, 0.1])
@pytest.mark.parametrize("name", SHAPED)
def test_no_epoch_is_without_a_pair_where_nothing_is_in_use_at_first(name: str, growth: float) -> None:
    schedule = Schedule(0.0, growth, name, interval=3 if name == "step" else 1)
    assert all(0.0 < schedule(k) <= 1.0 for k in range(1, 30))
    assert 0.0 < schedule.share(10) <= 1.0
    plan = EpochPlan(np.arange(100), schedule)
    assert len(plan.rows(1)) == max(1, round(100 * schedule(1)))
    assert len(plan.batches(1, 8)[0]) == 8
    assert plan.weights(1).sum() == len(plan.rows(1))


def test_baby_steps_from_nothing_begin_with_one_pair() -> None:
    plan = EpochPlan(np.arange(100), Schedule(0.0, 0.1, "step", interval=3), epochs=12)
    assert [plan.count(k) for k in range(1, 13)] == [1, 1, 30, 30, 30, 60, 60, 60, 90, 90, 90, 100]
    assert plan.samples_total() == 2 + 90 + 180 + 270 + 100
    assert plan.samples_total(8) == plan.samples_total() + 2 * 7


def test_the_papers_example_uses_the_share_worked_out_by_hand() -> None:
    schedule = LinearSchedule(start=0.40, growth=0.03)
    assert schedule(1) == pytest.approx(0.43)
    assert schedule(19) == pytest.approx(0.97)
    assert schedule(20) == 1.0
    assert schedule.share(40) == pytest.approx(0.8575)
    assert LinearSchedule.for_share(0.40, 0.8575, 40).growth == pytest.approx(0.03)


def test_shapes_against_their_published_formulas() -> None:
    start, full = 0.2, 16
    growth = (1 - start) / full
    for k in range(1, full):
        x = k / full
        assert Schedule(start, growth, "root")(k) == pytest.approx(start + (1 - start) * math.sqrt(x))
        assert Schedule(start, growth, "quadratic")(k) == pytest.approx(start + (1 - start) * x**2)
        assert Schedule(start, growth, "competence")(k) == pytest.approx(math.sqrt(x * (1 - start**2) + start**2))
        assert Schedule(start, growth, "competence", power=1)(k) == pytest.approx(LinearSchedule(start, growth)(k))
        wu = start + (1 - start) / (math.e**10 - 1) * (math.exp(10 * x) - 1)
        assert Schedule(start, growth, "exponential")(k) == pytest.approx(wu)
        wu = start + (1 - start) * (1 + math.log(x + math.e**-10) / 10)
        assert Schedule(start, growth, "logarithmic")(k) == pytest.approx(wu, abs=1e-4)
    assert Schedule(start, growth, "step", interval=4)(7) == pytest.approx(start + growth * 4)
    assert [Schedule(0.4, 0.03, "step")(k) for k in range(1, 40)] == [
        LinearSchedule(0.4, 0.03)(k) for k in range(1, 40)
    ]
    steps = Schedule(0.4, 0.1, "step", interval=4)
    assert (steps(7), steps(8), steps.full_epoch) == (pytest.approx(0.8), 1.0, 8)
    assert make_schedule("full")(1) == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "cubic", "growth": 0.1}, "schedule='cubic'"),
        ({"name": "linear"}, "exactly one of growth"),
        ({"name": "linear", "growth": 0.1, "full_at": 0.5}, "exactly one of growth"),
        ({"name": "root", "full_at": 0.5}, "needs epochs"),
        ({"name": "linear", "growth": -0.1}, "growth=-0.1"),
        ({"name": "linear", "growth": math.nan}, "growth=nan"),
        ({"name": "linear", "start": 1.5, "growth": 0.1}, "start=1.5"),
        ({"name": "linear", "start": "0.4", "growth": 0.1}, "start='0.4'"),
        ({"name": "step", "growth": 0.1, "interval": 0}, "interval=0"),
        ({"name": "linear", "growth": 0.1, "interval": 2}, "only 'step' has one"),
        ({"name": "linear", "growth": 0.1, "slope": 2}, "does not take"),
        ({"name": "linear", "start": 0.5, "share": 0.4, "epochs": 9}, "share=0.4"),
        ({"name": "step", "share": 0.99, "epochs": 9, "interval": 3}, "share=0.99"),
    ],
)
def test_bad_schedules_are_refused_by_name(arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_schedule(**arguments)


def test_schedules_by_name() -> None:
    assert make_schedule("linear", 0.4, 0.03) == LinearSchedule(0.4, 0.03)
    assert make_schedule("full") == Schedule(1.0, 0.0, "full")
    assert make_schedule("root", 0.1, full_at=0.5, epochs=40)(20) == 1.0
    assert make_schedule("competence", 0.1, share=0.8, epochs=40).share(40) == pytest.approx(0.8)


@pytest.mark.parametrize("epoch", [0, -1, 1.5, True, "1"])
def test_epochs_count_from_one(epoch: object) -> None:
    for function in (LinearSchedule(0.4, 0.03), make_intensity("inverse"), make_intensity("linear", 3)):
        with pytest.raises(InputError, match="epoch="):
            function(epoch)


@given(st.sampled_from(INTENSITIES), st.integers(1, 200))
@settings(deadline=None)
def test_every_intensity_rises_within_its_range(name: str, epochs: int) -> None:
    curve = make_intensity(name, epochs)
    values = [curve(k) for k in range(1, epochs + 2)]
    assert all(0.0 < value <= 1.0 for value in values)
    assert all(before <= after for before, after in itertools.pairwise(values))
    if name in ("constant", "linear", "cosine"):
        assert curve(epochs) == pytest.approx(1.0, abs=1e-12)


def test_the_papers_intensities() -> None:
    assert [make_intensity("inverse")(k) for k in (1, 2, 9)] == [1 / 2, 2 / 3, 9 / 10]
    assert make_intensity("sigmoid")(1) == pytest.approx(1 / (1 + math.exp(-2)))
    assert make_intensity("sigmoid")(7) == pytest.approx(1 / (1 + math.exp(-8)))
    assert make_intensity("cosine", 10)(5) == pytest.approx(0.5)


def test_intensities_by_term() -> None:
    spec = {"contrastive": "inverse", "adversarial": lambda k: 0.1 * k, "*": "constant"}
    plan = EpochPlan(np.arange(10), make_schedule("full"), intensity=spec, epochs=3)
    assert plan.intensities(2, ["contrastive", "adversarial", "other"]) == {
        "contrastive": 2 / 3,
        "adversarial": 0.2,
        "other": 1.0,
    }
    assert plan.intensity(2, "contrastive") == 2 / 3
    assert plan.table(4)[1]["intensity_adversarial"] == 0.2
    with pytest.raises(InputError, match="adversarial"):
        plan.intensities(2, ["contrastive"])
    with pytest.raises(InputError, match="no intensity"):
        plan.intensity(2)
    strict = EpochPlan(np.arange(10), make_schedule("full"), intensity={"contrastive": "inverse"})
    with pytest.raises(InputError, match="typo"):
        strict.intensities(1, ["contrastive", "typo"])
    one = EpochPlan(np.arange(10), make_schedule("full"))
    assert one.intensities(1, ["a", "b"]) == {"a": 0.5, "b": 0.5}
    with pytest.raises(InputError, match="one intensity for all"):
        one.intensity(1, "a")


def test_terms_are_weighed_and_never_forgotten() -> None:
    terms = {"a": np.array(2.0), "b": np.array(3.0)}
    assert weigh_terms(terms, 0.5) == 2.5
    assert weigh_terms(terms, {"a": 1.0, "b": 0.0}) == 2.0
    with pytest.raises(InputError, match="named"):
        weigh_terms(terms, {"a": 1.0})
    with pytest.raises(InputError, match="no loss terms"):
        weigh_terms({}, 1.0)


@pytest.mark.parametrize(("spec", "words"), [("cubic", "cubic"), ("linear", "epochs"), ({}, "no loss term"), (3, "3")])
def test_bad_intensities_are_refused(spec: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        EpochPlan(np.arange(4), make_schedule("full"), intensity=spec)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "x"])
def test_a_users_curves_are_checked_when_used(value: object) -> None:
    plan = EpochPlan(np.arange(4), lambda _: value, intensity=lambda _: value)
    with pytest.raises(InputError, match="intensity at epoch 2"):
        plan.intensity(2)
    with pytest.raises(InputError, match="fraction at epoch 2"):
        plan.fraction(2)


def test_the_learning_rate_factor_follows_the_uneven_epochs() -> None:
    plan = EpochPlan(np.arange(40), LinearSchedule(0.0, 0.25), epochs=4)
    factor = lr_factor(plan, batch_size=5)
    steps = [row["steps"] for row in plan.table(5)]
    assert steps == [2, 4, 6, 8]
    by_step = [factor(step) for step in range(sum(steps))]
    assert by_step == list(np.repeat([1 / 2, 2 / 3, 3 / 4, 4 / 5], steps))
    assert factor(1000) == 4 / 5


@given(st.lists(st.floats(-5, 5), max_size=40), st.integers(1, 4), st.booleans())
@settings(deadline=None)
def test_a_paced_schedule_is_monotone_and_pure(history: list[float], patience: int, larger: bool) -> None:
    pacing = MetricPacing(0.2, 0.2, patience=patience, larger_is_better=larger)
    schedule = pacing.schedule(history)
    values = [schedule(k) for k in range(1, len(history) + 2)]
    assert values[0] == 0.2
    assert all(before <= after <= 1.0 for before, after in itertools.pairwise(values))
    for length in range(len(history)):
        assert pacing.schedule(history[:length])(length + 1) == values[length]
    mirrored = MetricPacing(0.2, 0.2, patience=patience, larger_is_better=not larger)
    assert [mirrored.schedule([-v for v in history])(k) for k in range(1, len(values) + 1)] == values
    assert values[-1] <= schedule(len(history) + 2) <= schedule(len(history) + 9) <= 1.0


def epochs_until_full(speed: float) -> int:
    """A learner that closes the gap to what the present share can teach by `speed` an epoch: the answer is known."""
    pacing, history, skill = MetricPacing(0.25, 0.25, min_gain=0.01), [], 0.0
    while (share := pacing.schedule(history)(len(history) + 1)) < 1.0:
        skill += speed * (share - skill)
        history.append(skill)
    return len(history)


def test_pacing_moves_on_when_a_stage_is_learnt_and_sooner_for_a_faster_learner() -> None:
    # gains of 0.25·s·(1 - s)^n in the first stage: the first gain below 0.01 ends it
    waits = [epochs_until_full(speed) for speed in (0.2, 0.5, 0.9)]
    assert waits[0] > waits[1] > waits[2] >= 6
    pacing = MetricPacing(0.25, 0.25, min_gain=0.01)
    improving = np.arange(20) * 0.1
    assert pacing.schedule(improving)(21) == 0.25
    assert pacing.schedule([0.5] * 4)(5) == 1.0


def test_bad_paces_are_refused() -> None:
    for options, words in (({"start": 0.0}, "start=0"), ({"growth": 0.0}, "growth=0"), ({"patience": 0}, "patience=0")):
        with pytest.raises(InputError, match=words):
            MetricPacing(**({"start": 0.2, "growth": 0.1} | options))
    with pytest.raises(InputError, match="metric=nan"):
        MetricPacing(0.2, 0.1).schedule([math.nan])
