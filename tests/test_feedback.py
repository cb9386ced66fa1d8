"""Plans that follow recorded losses or the validation metric, and loss weights that are learnt."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.curriculum import CurriculumBatchSampler, EpochPlan, LinearSchedule, make_schedule
from class_kit.curriculum.feedback import (
    LossPrunedPlan,
    MetricPacing,
    PacedPlan,
    SelfPacedPlan,
    SmallLossPlan,
    lower_component,
    record_losses,
)
from tests.refusals import refuses

LOSSES = np.random.default_rng(0).gamma(2.0, 1.0, size=200)


def test_the_self_paced_plan_takes_the_least_losses() -> None:
    plan = SelfPacedPlan(LOSSES, LinearSchedule(0.3, 0.1), seed=1, epochs=7)
    easiest = np.argsort(LOSSES)
    assert sorted(plan.rows(2)) == sorted(easiest[:100])
    assert plan.weights(2)[easiest].tolist() == [1.0] * 100 + [0.0] * 100
    assert (plan.weights(7) == 1.0).all()
    plain = EpochPlan(np.arange(200), make_schedule("full"), seed=1)
    assert np.array_equal(plan.rows(7), plain.rows(7))
    assert list(CurriculumBatchSampler(plan, 16)) == [batch.tolist() for batch in plan.batches(1, 16)]


def test_dynamic_plans_are_pure_in_the_losses() -> None:
    plan = SelfPacedPlan(np.full(200, np.nan), LinearSchedule(0.3, 0.1), seed=1)
    assert plan.weights(1).sum() == len(plan.rows(1)) == 80
    later = plan.with_feedback(losses=LOSSES)
    assert np.isnan(plan.losses).all()
    assert np.array_equal(later.rows(2), SelfPacedPlan(LOSSES, LinearSchedule(0.3, 0.1), seed=1).rows(2))
    some = record_losses(np.full(200, np.nan), np.arange(50), LOSSES[:50])
    unseen_first = plan.with_feedback(losses=some).rows(1)
    assert np.isin(unseen_first, np.arange(50, 200)).all()


def test_pruning_leaves_out_learnt_pairs_and_keeps_the_expectation() -> None:
    plan = LossPrunedPlan(LOSSES, epochs=4000, prune=0.4, seed=3)
    low = LOSSES.mean() > LOSSES
    total = np.zeros(200)
    for epoch in range(1, 1001):
        rows, weights = plan.rows(epoch), plan.weights(epoch)
        assert sorted(rows) == np.flatnonzero(weights).tolist()
        total += weights
    assert (total[~low] == 1000).all()
    # 1/(0.6) with probability 0.6: standard error of the mean over 1000 epochs is 0.026
    assert np.abs(total[low] / 1000 - 1).max() < 5 * 0.026
    assert plan.fraction(1) == len(plan.rows(1)) / 200 < 1


def test_pruning_ends_before_the_run_does_and_starts_with_nothing_known() -> None:
    plan = LossPrunedPlan(LOSSES, epochs=8, seed=3)
    assert [plan.count(epoch) == 200 for epoch in range(1, 9)] == [False] * 7 + [True]
    for full in (plan.weights(8), plan.with_feedback(losses=np.full(200, np.nan)).weights(1)):
        assert np.array_equal(full, np.ones(200))
    zero = LossPrunedPlan(np.r_[np.zeros(99), 1.0], epochs=8, prune=0.9)
    rows = zero.rows(1, at_least=64)
    assert len(rows) == len(set(rows)) == 64
    assert zero.weights(1, at_least=64)[rows].min() >= 1.0
    assert [len(batch) for batch in zero.batches(1, 64)] == [64]


def test_small_losses_and_little_doubt_are_kept_after_the_warm_up() -> None:
    doubt = np.random.default_rng(1).normal(size=200)
    plan = SmallLossPlan(np.full(200, np.nan), 0.25, 2, doubt, seed=1, epochs=9)
    assert len(plan.rows(2)) == 200
    # before a loss is known, the doubt decides
    assert set(plan.rows(3)) == set(np.argsort(doubt)[:150])
    told = plan.with_feedback(losses=LOSSES)
    total = [sum(int((x < x[row]).sum()) for x in (LOSSES, doubt)) for row in range(200)]
    assert sorted(total[row] for row in told.rows(3)) == sorted(total)[:150]
    assert (told.weights(3)[told.rows(3)] == 1.0).all()
    assert set(SmallLossPlan(LOSSES, 0.25).rows(1)) == set(np.argsort(LOSSES)[:150])


def test_mixture_weights_are_the_posterior_of_the_lower_component() -> None:
    rng = np.random.default_rng(2)
    losses = np.abs(np.concatenate([rng.normal(2, 0.5, 3000), rng.normal(6, 1.0, 1000)]))
    density = [0.75 * np.exp(-((losses - 2) ** 2) / 0.5) / 0.5, 0.25 * np.exp(-((losses - 6) ** 2) / 2)]
    expected = np.where(losses < 2, 1.0, density[0] / (density[0] + density[1]))
    np.testing.assert_allclose(lower_component(losses), expected, atol=0.1)
    plan = SmallLossPlan(losses, 0.0, 1, mixture=True)
    assert (plan.weights(1) == 1.0).all()
    np.testing.assert_array_equal(plan.weights(2), lower_component(losses))


@given(st.lists(st.floats(-5, 5), max_size=40), st.integers(1, 4))
@settings(deadline=None)
def test_a_paced_schedule_is_monotone_and_pure(history: list[float], patience: int) -> None:
    pacing = MetricPacing(0.2, 0.2, patience=patience)
    schedule = pacing.schedule(history)
    values = [schedule(k) for k in range(1, len(history) + 2)]
    assert values[0] == 0.2
    assert all(before <= after <= 1.0 for before, after in itertools.pairwise(values))
    for length in range(len(history)):
        assert pacing.schedule(history[:length])(length + 1) == values[length]
    assert values[-1] <= schedule(len(history) + 2) <= schedule(len(history) + 9) <= 1.0


def test_pacing_moves_on_when_a_stage_is_learnt() -> None:
    pacing = MetricPacing(0.25, 0.25)
    assert pacing.schedule(np.arange(20) * 0.1)(21) == 0.25
    assert pacing.schedule([0.5] * 4)(5) == 1.0


test_bad_feedback_is_refused = refuses(
    (lambda: SelfPacedPlan(np.array([1.0, -0.5]), make_schedule("full")), r"losses\[1\]=-0.5"),
    (lambda: SelfPacedPlan(np.array([np.inf]), make_schedule("full")), r"losses\[0\]=inf"),
    (lambda: SelfPacedPlan(np.ones((2, 2)), make_schedule("full")), r"\(2, 2\)"),
    (lambda: SelfPacedPlan(LOSSES, "linear"), "schedule='linear'"),
    (lambda: SelfPacedPlan(LOSSES, make_schedule("full")).with_feedback(LOSSES[:199]), r"\(199,\)"),
    (lambda: LossPrunedPlan(LOSSES, 4).with_feedback(), "every pair's last loss"),
    (lambda: LossPrunedPlan(LOSSES, 4, prune=1.0), "prune=1.0"),
    (lambda: LossPrunedPlan(LOSSES, 0), "epochs=0"),
    (lambda: SmallLossPlan(LOSSES, 1.0), "drop=1.0"),
    (lambda: SmallLossPlan(LOSSES, 0.2, -1), "warmup=-1"),
    (lambda: SmallLossPlan(LOSSES, 0.2, 0, LOSSES[:9]), r"doubt has shape \(9,\)"),
    (lambda: record_losses(LOSSES, np.array([0]), np.array([np.nan])), "nan"),
    (lambda: MetricPacing(0.0, 0.1), "start=0"),
    (lambda: MetricPacing(0.2, 0.0), "growth=0"),
    (lambda: MetricPacing(0.2, 0.1, patience=0), "patience=0"),
    (lambda: MetricPacing(0.2, 0.1).schedule([math.nan]), "metric=nan"),
    (lambda: PacedPlan(np.arange(3), LinearSchedule(0.2, 0.1)), "expected a MetricPacing"),
)
