"""Schedules λ(k) and intensities γ(k): the laws they keep, and the papers' own numbers."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.curriculum import EpochPlan, lr_factor
from class_kit.curriculum.intensity import INTENSITIES, make_intensity, weigh_terms
from class_kit.curriculum.schedules import SHAPES, LinearSchedule, Schedule, make_schedule
from class_kit.errors import InputError
from tests.refusals import refuses

names = st.sampled_from(sorted(set(SHAPES) - {"full"}))


@given(names, st.floats(0.0, 1.0), st.one_of(st.just(0.0), st.floats(1e-300, 2.0)))
@settings(deadline=None)
def test_every_schedule_rises_within_its_range_to_one(name: str, start: float, growth: float) -> None:
    schedule = Schedule(start, growth, name, interval=3 if name == "step" else 1)
    values = [schedule(k) for k in range(1, 60)]
    assert all(0.0 < value <= 1.0 for value in values)
    assert all(before <= after for before, after in itertools.pairwise(values))
    assert values[0] >= start - 1e-12
    if schedule.full_epoch < 1e9:
        assert schedule(math.ceil(schedule.full_epoch) + 1) == 1.0


@given(names, st.floats(0.0, 0.99), st.floats(0.05, 1.0), st.integers(1, 300))
@settings(deadline=None)
def test_full_at_is_full_there_and_not_long_before(name: str, start: float, at: float, epochs: int) -> None:
    schedule = Schedule.full_at(start, at, epochs, shape=name)
    assert schedule(max(1, math.ceil(at * epochs - 1e-6))) == 1.0
    if at * epochs > 2 and name != "step":
        assert schedule(math.floor(at * epochs / 2)) < 1.0


@given(names, st.floats(0.0, 0.9), st.floats(0.05, 0.95), st.integers(2, 80))
@settings(deadline=None, max_examples=40)
def test_a_wanted_share_of_samples_is_met(name: str, start: float, between: float, epochs: int) -> None:
    share = start + between * (1.0 - start)
    schedule = Schedule.for_share(start, share, epochs, shape=name)
    assert np.mean([schedule(k) for k in range(1, epochs + 1)]) == pytest.approx(share, abs=1e-6)
    assert schedule.share(epochs) == pytest.approx(share, abs=1e-6)


def test_baby_steps_from_nothing_begin_with_one_pair() -> None:
    plan = EpochPlan(np.arange(100), Schedule(0.0, 0.1, "step", interval=3), epochs=12)
    assert [plan.count(k) for k in range(1, 13)] == [1, 1, 30, 30, 30, 60, 60, 60, 90, 90, 90, 100]
    assert plan.samples_total(8) == plan.samples_total() + 2 * 7 == 642 + 14


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
        published = {
            "linear": start + growth * k,
            "root": start + (1 - start) * math.sqrt(x),
            "quadratic": start + (1 - start) * x**2,
            "competence": math.sqrt(x * (1 - start**2) + start**2),
            "exponential": start + (1 - start) / (math.e**10 - 1) * (math.exp(10 * x) - 1),
            "step": start + growth * k,
        }
        for name, value in published.items():
            assert Schedule(start, growth, name)(k) == pytest.approx(value)
        wu = start + (1 - start) * (1 + math.log(x + math.e**-10) / 10)
        assert Schedule(start, growth, "logarithmic")(k) == pytest.approx(wu, abs=1e-4)
    steps = Schedule(0.4, 0.1, "step", interval=4)
    assert (steps(3), steps(7), steps(8), steps.full_epoch) == (0.4, pytest.approx(0.8), 1.0, 8)
    assert make_schedule("full")(1) == 1.0


test_bad_schedules_are_refused_by_name = refuses(
    ({"name": "cubic", "growth": 0.1}, "schedule='cubic'"),
    ({"name": "linear"}, "exactly one of the three"),
    ({"name": "linear", "growth": 0.1, "full_at": 0.5}, "exactly one of the three"),
    ({"name": "root", "full_at": 0.5}, "epochs=None"),
    ({"name": "linear", "growth": -0.1}, "growth=-0.1"),
    ({"name": "linear", "growth": math.nan}, "growth=nan"),
    ({"name": "linear", "start": 1.5, "growth": 0.1}, "start=1.5"),
    ({"name": "linear", "start": "0.4", "growth": 0.1}, "start='0.4'"),
    ({"name": "step", "growth": 0.1, "interval": 0}, "interval=0"),
    ({"name": "linear", "growth": 0.1, "interval": 2}, "only 'step' takes an interval"),
    ({"name": "linear", "start": 0.5, "share": 0.4, "epochs": 9}, "share=0.4"),
    ({"name": "step", "share": 0.99, "epochs": 9, "interval": 3}, "share=0.99"),
    call=lambda arguments: make_schedule(**arguments),
)


def test_schedules_by_name() -> None:
    assert make_schedule("linear", 0.4, 0.03) == LinearSchedule(0.4, 0.03)
    assert make_schedule("root", 0.1, full_at=0.5, epochs=40)(20) == 1.0
    assert make_schedule("competence", 0.1, share=0.8, epochs=40).share(40) == pytest.approx(0.8)


@pytest.mark.parametrize("epoch", [0, 1.5, True, "1"])
def test_epochs_count_from_one(epoch: object) -> None:
    for function in (LinearSchedule(0.4, 0.03), make_intensity("inverse"), make_intensity("linear", 3)):
        with pytest.raises(InputError, match="epoch="):
            function(epoch)


@pytest.mark.parametrize("epochs", [1, 7, 200])
@pytest.mark.parametrize("name", INTENSITIES)
def test_every_intensity_rises_within_its_range(name: str, epochs: int) -> None:
    curve = make_intensity(name, epochs)
    values = [curve(k) for k in range(1, epochs + 2)]
    assert all(0.0 < value <= 1.0 for value in values)
    assert all(before <= after for before, after in itertools.pairwise(values))
    if name in ("constant", "linear", "cosine"):
        assert curve(epochs) == pytest.approx(1.0, abs=1e-12)


def test_the_papers_intensities() -> None:
    assert [make_intensity("inverse")(k) for k in (1, 2, 9)] == [1 / 2, 2 / 3, 9 / 10]
    assert make_intensity("sigmoid")(7) == pytest.approx(1 / (1 + math.exp(-8)))
    assert make_intensity("cosine", 10)(5) == pytest.approx(0.5)


def test_intensities_by_term() -> None:
    spec = {"contrastive": "inverse", "adversarial": lambda k: 0.1 * k, "*": "constant"}
    plan = EpochPlan(np.arange(10), make_schedule("full"), intensity=spec, epochs=3)
    expected = {"contrastive": 2 / 3, "adversarial": 0.2, "other": 1.0}
    assert plan.intensities(2, list(expected)) == expected
    assert plan.table(4)[1]["intensity_adversarial"] == 0.2
    with pytest.raises(InputError, match=r"names the terms \['adversarial'\]"):
        plan.intensities(2, ["contrastive"])
    with pytest.raises(InputError, match="term=None has no intensity"):
        plan.intensity(2)
    strict = EpochPlan(np.arange(10), make_schedule("full"), intensity={"contrastive": "inverse"})
    with pytest.raises(InputError, match="term='typo' has no intensity"):
        strict.intensities(1, ["contrastive", "typo"])
    one = EpochPlan(np.arange(10), make_schedule("full"))
    assert one.intensities(1, ["a", "b"]) == {"a": 0.5, "b": 0.5}


def test_terms_are_weighed_and_never_forgotten() -> None:
    terms = {"a": np.array(2.0), "b": np.array(3.0)}
    assert weigh_terms(terms, 0.5) == 2.5
    assert weigh_terms(terms, {"a": 1.0, "b": 0.0}) == 2.0
    with pytest.raises(InputError, match="named"):
        weigh_terms(terms, {"a": 1.0})
    with pytest.raises(InputError, match="no loss terms"):
        weigh_terms({}, 1.0)


test_bad_intensities_are_refused = refuses(
    ("cubic", "cubic"),
    ("linear", "epochs"),
    ({}, "at least one loss term"),
    (3, "3"),
    call=lambda spec: EpochPlan(np.arange(4), make_schedule("full"), intensity=spec),
)


@pytest.mark.parametrize("value", [-0.1, math.nan, "x"])
def test_a_users_curves_are_checked_when_used(value: object) -> None:
    plan = EpochPlan(np.arange(4), lambda _: value, intensity=lambda _: value)
    with pytest.raises(InputError, match="intensity at epoch 2"):
        plan.intensity(2)
    with pytest.raises(InputError, match="fraction at epoch 2"):
        plan.fraction(2)


def test_the_learning_rate_factor_follows_the_uneven_epochs() -> None:
    plan = EpochPlan(np.arange(40), LinearSchedule(0.0, 0.25), epochs=4)
    factor = lr_factor(plan, batch_size=5)
    assert [factor(step) for step in range(20)] == list(np.repeat([1 / 2, 2 / 3, 3 / 4, 4 / 5], [2, 4, 6, 8]))
    assert factor(1000) == 4 / 5
