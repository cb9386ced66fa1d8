"""The epoch plan, its sampler and its controls: pure, exact, the same for every rank."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.curriculum import CurriculumBatchSampler, EpochPlan, LinearSchedule, NeverFullWarning, make_schedule
from class_kit.curriculum.controls import ARMS, StepMatchedPlan, make_order, make_plan
from class_kit.curriculum.randomness import shuffle_rows
from class_kit.errors import InputError
from tests.refusals import refuses


def plan_of(length: int = 100, epochs: int = 20, seed: int = 5, **options: object) -> EpochPlan:
    order = np.random.default_rng(1).permutation(length)
    return EpochPlan(order, LinearSchedule(0.4, 0.03), seed=seed, epochs=epochs, **options)


def test_an_epoch_is_the_easiest_rows_in_random_order() -> None:
    plan = plan_of()
    for epoch in (1, 7, 20):
        easiest = plan.order[: round(plan.fraction(epoch) * 100)]
        assert sorted(plan.rows(epoch)) == sorted(easiest)
        assert not np.array_equal(plan.rows(epoch), easiest)
    shared = np.isin(plan.rows(3), plan.rows(2))
    assert not np.array_equal(plan.rows(3)[shared], plan.rows(2))


def test_the_shuffle_is_the_same_on_every_machine() -> None:
    # written down once: a change here would break the resumption of every run begun before
    assert shuffle_rows(np.arange(10), 10, 0, 1, 1).tolist() == [2, 1, 4, 7, 6, 0, 8, 9, 3, 5]
    big = 1 << 24
    rows = np.array([big + 5, 3, 70, big - 1])
    assert sorted(shuffle_rows(rows, big + 6, 1, 2)) == sorted(rows)


def test_every_permutation_of_a_few_rows_is_about_equally_likely() -> None:
    seen = [tuple(shuffle_rows(np.arange(4), 4, seed, 1, 1)) for seed in range(2400)]
    counts = [seen.count(order) for order in itertools.permutations(range(4))]
    # chi-square with 23 degrees of freedom exceeds 49.7 with probability 0.001
    assert sum((count - 100) ** 2 / 100 for count in counts) < 49.7


def test_a_plan_is_pure() -> None:
    plan, again = plan_of(), plan_of()
    later = [plan.rows(epoch) for epoch in (9, 3, 9)]
    assert np.array_equal(later[0], later[2])
    assert np.array_equal(later[1], again.rows(3))
    assert np.array_equal(pickle.loads(pickle.dumps(plan)).rows(4), plan.rows(4))
    assert not np.array_equal(plan_of(seed=6).rows(3), later[1])
    with pytest.raises(ValueError, match="read-only"):
        plan.order[0] = 3


def test_the_digest_tells_plans_apart_and_is_the_same_for_equal_ones() -> None:
    line = np.arange(100)
    digests = [
        plan_of(**options).digest(8)
        for options in (
            {"seed": 6},
            {"epochs": 21},
            {"apart": line // 2},
            {"apart": line // 4},
            {"hardness": lambda k: 0.5, "line": line},
            {"hardness": lambda k: 0.5 * (k == 7), "line": line},
            {"hardness": lambda k: 0.5, "line": line[::-1]},
            {"hardness": lambda k: 0.5, "line": line, "refresh": 1},
            {},
        )
    ]
    assert len({*digests, StepMatchedPlan(plan_of(), 8).digest(8), plan_of().digest(9)}) == len(digests) + 2
    assert plan_of().digest(8) == digests[-1]


@given(st.integers(1, 300), st.integers(0, 2**70), st.integers(1, 10))
@settings(deadline=None, max_examples=50)
def test_without_schedule_and_intensity_it_is_the_plain_run(length: int, seed: int, epoch: int) -> None:
    order = np.random.default_rng(length).permutation(length)
    plan = EpochPlan(order, make_schedule("full"), "constant", seed=seed)
    plain = make_plan("standard", np.arange(length), LinearSchedule(0.4, 0.03), seed=seed, epochs=10)
    assert plan.intensity(epoch) == 1.0
    assert np.array_equal(np.sort(plan.rows(epoch)), np.arange(length))
    assert all(map(np.array_equal, plan.batches(epoch, 7), plain.batches(epoch, 7)))


@given(st.integers(36, 300), st.integers(2, 9), st.integers(1, 4), st.integers(1, 25), st.booleans())
@settings(deadline=None, max_examples=50)
def test_batches_of_all_ranks_are_the_epoch(length, batch_size, world_size, epoch, drop_last) -> None:
    plan = plan_of(length)
    ranks = [plan.batches(epoch, batch_size, rank, world_size, drop_last) for rank in range(world_size)]
    assert {len(batches) for batches in ranks} == {plan.steps(epoch, batch_size, world_size, drop_last)}
    rows = plan.rows(epoch, at_least=batch_size * world_size)
    seen = np.concatenate([batch for step in zip(*ranks, strict=True) for batch in step])
    assert np.array_equal(seen, rows[: len(seen)])
    assert 0 <= len(rows) - len(seen) < (batch_size * world_size if drop_last else 1)


def test_epochs_are_rounded_to_the_nearest_pair_and_filled_up_to_a_batch() -> None:
    for length, share, expected in ((1000, 0.285, 285), (10, 0.25, 3), (10, 0.249, 2), (100, 0.55, 55), (3, 0.1, 1)):
        assert EpochPlan(np.arange(length), lambda _, share=share: share).count(1) == expected
    plan = EpochPlan(np.arange(100), LinearSchedule(0.0, 0.001))
    assert len(plan.rows(1)) == 1
    assert [len(batch) for batch in plan.batches(1, 32)] == [32]
    assert [len(batch) for batch in plan.batches(1, 8, rank=1, world_size=4)] == [8]
    assert [len(batch) for batch in plan.batches(1, 128)] == [100]


@given(
    st.integers(20, 200),
    st.floats(0.0, 0.5),
    st.integers(2, 64),
    st.integers(1, 3),
    st.sampled_from(["plan", "control"]),
)
@settings(deadline=None, max_examples=60)
def test_totals_and_table_are_what_a_training_sees(length, start, batch_size, world_size, control) -> None:
    """Epochs that are filled up to one full batch count as they are, in every way of saying it."""
    curriculum = EpochPlan(np.arange(length), LinearSchedule(start, 0.1), epochs=12)
    plan = StepMatchedPlan(curriculum, batch_size, world_size) if control else curriculum
    ranks = [[plan.batches(k, batch_size, r, world_size) for k in range(1, 13)] for r in range(world_size)]
    table = plan.table(batch_size, world_size)
    assert [row["steps"] for row in table] == [len(batches) for batches in ranks[0]]
    assert plan.steps_total(batch_size, world_size) == sum(map(len, ranks[0]))
    seen = [sum(len(batch) for rank in ranks for batch in rank[k]) for k in range(12)]
    assert [row["rows"] for row in table] == seen
    assert plan.samples_total(batch_size, world_size) == sum(seen)


def test_totals_worked_out_by_hand() -> None:
    plan = EpochPlan(np.arange(100), LinearSchedule(0.0, 0.1), epochs=12)
    assert plan.samples_total() == 10 * 11 * 5 + 200
    assert plan.samples_total(64) == 6 * 64 + 70 + 80 + 90 + 3 * 100
    assert plan.steps_total(8, drop_last=True) == sum(10 * k // 8 for k in range(1, 10)) + 3 * 12
    assert plan.table(4)[1] == {"epoch": 2, "fraction": 0.2, "rows": 20, "steps": 5, "intensity": 2 / 3}
    with pytest.raises(InputError, match="epochs=None"):
        EpochPlan(np.arange(9), make_schedule("full")).steps_total(4)


def test_a_schedule_that_leaves_pairs_out_warns() -> None:
    with pytest.warns(NeverFullWarning, match=r"λ = 0\.7 in epoch 10: 30 of 100 pairs"):
        plan_of(epochs=10)


test_bad_orders_are_refused = refuses(
    ([0, 1, 1], "row 1 2 times"),
    ([0, -1], "from -1 to 0: expected row numbers"),
    ([], "at least one"),
    ([[0, 1]], r"shape \(1, 2\)"),
    ([0.0, 1.0], "float64"),
    ([0, 10**12], "from 0 to 1000000000000: expected row numbers"),
    call=lambda order: EpochPlan(np.array(order), make_schedule("full")),
)


def test_an_order_of_some_of_the_rows_trains_on_these() -> None:
    plan = EpochPlan([50, 3, 17, 8], LinearSchedule(0.0, 0.5), apart=np.zeros(90, int))
    assert sorted(plan.rows(1)) == [3, 50]
    assert plan.weights(1)[[3, 8, 50]].tolist() == [1.0, 0.0, 1.0]
    assert sorted(np.concatenate(plan.batches(2, 1))) == [3, 8, 17, 50]


test_bad_numbers_are_refused_by_name = refuses(
    (lambda p: p.batches(1, 0), "batch_size=0"),
    (lambda p: p.batches(1, 4, rank=2, world_size=2), "rank=2"),
    (lambda p: p.batches(0, 4), "epoch=0"),
    (lambda p: p.batches(1, 101, drop_last=True), "cannot be cut"),
    (lambda p: CurriculumBatchSampler(p, 2.5), "batch_size=2.5"),
    (lambda p: CurriculumBatchSampler(p, 4).set_epoch(-1), "from 0"),
    (lambda p: EpochPlan(p.order, "linear"), "schedule='linear'"),
    (lambda p: EpochPlan(p.order, make_schedule("full"), seed=-1), "seed=-1"),
    (lambda p: EpochPlan(p.order, make_schedule("full"), epochs=0), "epochs=0"),
    (lambda p: make_order("hardest", p.order), "hardest"),
    (lambda p: make_plan("best", p.order, p.schedule, epochs=20), "'best'"),
    (lambda p: make_plan("step-matched", p.order, p.schedule, epochs=20), "batch_size"),
    call=lambda call: call(plan_of()),
)


def test_the_sampler_counts_from_zero_and_repeats_nothing() -> None:
    plan = plan_of()
    sampler = CurriculumBatchSampler(plan, batch_size=16)
    assert list(sampler) == [batch.tolist() for batch in plan.batches(1, 16)]
    with pytest.raises(RuntimeError, match="set_epoch"):
        next(iter(sampler))
    for epoch in (0, 4, 4, 19):
        sampler.set_epoch(epoch)
        first, second = iter(sampler), iter(sampler)
        batches = list(second)
        assert batches == [batch.tolist() for batch in plan.batches(epoch + 1, 16)]
        assert len(batches) == len(sampler)
        assert all(type(row) is int for batch in batches for row in batch)
        with pytest.raises(RuntimeError, match="already iterated"):
            next(first)


def test_orders() -> None:
    easiest_first = np.array([3, 1, 0, 2, 5, 4])
    assert make_order("curriculum", easiest_first).tolist() == easiest_first.tolist()
    assert make_order("anti-curriculum", easiest_first).tolist() == easiest_first[::-1].tolist()
    assert make_order("standard", easiest_first).tolist() == list(range(6))
    shuffled = [make_order("random", np.arange(500), seed) for seed in (0, 0, 1)]
    assert np.array_equal(shuffled[0], shuffled[1])
    assert not np.array_equal(shuffled[0], shuffled[2])
    assert abs(np.corrcoef(np.arange(500), shuffled[0])[0, 1]) < 0.2


def test_every_arm_from_the_same_call() -> None:
    order, schedule = np.random.default_rng(1).permutation(200), LinearSchedule(0.4, 0.03)
    plans = {arm: make_plan(arm, order, schedule, seed=2, epochs=20, batch_size=8) for arm in ARMS}
    steps = {arm: plan.steps_total(8) for arm, plan in plans.items()}
    assert steps["curriculum"] == steps["anti-curriculum"] == steps["random"] == steps["step-matched"]
    assert steps["standard"] == 20 * 25 > steps["random"]
    assert [plans[arm].intensity(1) for arm in ARMS] == [0.5, 0.5, 0.5, 1.0, 1.0]
    assert set(plans["anti-curriculum"].rows(1)) == set(order[-86:])
    assert set(plans["random"].rows(1)) < set(plans["random"].rows(2))


@given(st.integers(24, 250), st.integers(2, 8), st.integers(1, 3), st.integers(0, 50), st.booleans())
@settings(deadline=None, max_examples=30)
def test_the_step_matched_control_is_a_stream_of_passes(length, batch_size, world_size, seed, full) -> None:
    plan = make_plan(
        "step-matched",
        np.arange(length),
        make_schedule("full") if full else LinearSchedule(0.4, 0.03),
        seed=seed,
        epochs=20,
        batch_size=batch_size,
        world_size=world_size,
    )
    times = np.zeros(length, dtype=int)
    for epoch in range(1, 21):
        ranks = [plan.batches(epoch, batch_size, rank, world_size) for rank in range(world_size)]
        for step in map(np.concatenate, zip(*ranks, strict=True)):
            np.add.at(times, step, 1)
            assert length < 3 * batch_size * world_size or len(np.unique(step)) == len(step)
        assert not full or np.ptp(times) == 0
    assert np.ptp(times) <= 1
