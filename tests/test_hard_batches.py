"""Batches of near neighbours, and near-duplicates kept apart."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.curriculum import EpochPlan, LinearSchedule, make_schedule
from class_kit.curriculum.controls import make_plan
from class_kit.curriculum.duplicates import (
    check_labels,
    count_repeats,
    duplicate_labels,
    duplicate_mask,
    keep_apart,
    one_of_each,
    pairs_above,
    unavoidable,
)
from class_kit.curriculum.hard_batches import locality_order
from tests.refusals import refuses
from tests.test_neighbours import similarities

NONE = {"repeats": 0, "unavoidable": 0}


def families(count: int = 60, members: int = 8, width: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(count), members))
    return rng.standard_normal((count, width))[label] + 0.05 * rng.standard_normal((len(label), width)), label


@pytest.mark.parametrize(("count", "wide", "least"), [(60, 24, 0.8), (400, 24, 0.6), (60, 100, 0.8)])
def test_the_line_is_an_arrangement_that_keeps_families_together(count: int, wide: int, least: float) -> None:
    x, label = families(count, width=wide)
    line = locality_order(x, group_size=8)
    assert np.array_equal(np.sort(line), np.arange(len(x)))
    assert np.array_equal(line, locality_order(x, group_size=8))
    assert np.mean(np.diff(label[line]) == 0) > least
    joint = locality_order(x.astype(np.float32), np.random.default_rng(1).standard_normal(x.shape), group_size=8)
    assert np.mean(np.diff(label) == 0) < 0.1 < np.mean(np.diff(label[joint]) == 0) < least


def test_the_line_of_equal_rows() -> None:
    same = np.ones((1000, 3))
    same[0] = 0.0
    assert np.array_equal(np.sort(locality_order(same)), np.arange(1000))
    assert locality_order(np.ones((1, 2))).tolist() == [0]


def hard_plan(share: Any, x: np.ndarray, **options: object) -> EpochPlan:
    order = np.random.default_rng(4).permutation(len(x))
    hardness = share if callable(share) else lambda _: share
    return EpochPlan(order, make_schedule("full"), hardness=hardness, line=locality_order(x, group_size=8), **options)


def alike(plan: EpochPlan, label: np.ndarray, epoch: int = 1, batch_size: int = 32) -> float:
    """Mean share of a row's batch mates that are of its family."""
    shares = []
    for batch in plan.batches(epoch, batch_size, drop_last=True):
        same = label[batch][:, None] == label[batch][None, :]
        shares.append((same.sum() - len(batch)) / (len(batch) * (len(batch) - 1)))
    return float(np.mean(shares))


def test_neighbours_are_drawn_anew_when_the_plan_says_so() -> None:
    x, label = families()
    plan = hard_plan(0.5, x)
    assert not any(plan.refreshed(k) for k in range(1, 9))
    plan = hard_plan(lambda k: float(k in (1, 2, 4, 6, 8)), x, group_size=8, refresh=2)
    assert [k for k in range(1, 10) if plan.refreshed(k)] == [1, 4, 8]
    other = plan.with_line(np.random.default_rng(0).permutation(len(x)))
    assert np.array_equal(plan.batches(3, 16)[0], other.batches(3, 16)[0])
    assert np.array_equal(np.sort(np.concatenate(other.batches(4, 16))), np.arange(len(x)))
    # groups of the line are families, those of a random line are not
    assert alike(plan, label, 4) > 2 * alike(other, label, 4)


@given(st.lists(st.integers(-2, 5), min_size=1, max_size=30), st.integers(0, 99), st.integers(0, 2))
def test_one_of_each_is_the_least_like_the_middle_of_its_group(labels: list[int], seed: int, spaces: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = [np.round(rng.standard_normal((len(labels), 3)), 1) for _ in range(spaces)]
    units = [v / np.where((n := np.linalg.norm(v, axis=1, keepdims=True)) > 0, n, 1) for v in vectors]
    found = one_of_each(np.array(labels), *vectors)
    assert np.all(np.diff(found) > 0)
    assert {row for row in found if labels[row] < 0} == {row for row, label in enumerate(labels) if label < 0}
    for label in {label for label in labels if label >= 0}:
        members = [row for row, other in enumerate(labels) if other == label]
        (kept,) = set(members) & set(found.tolist())
        if not spaces:
            assert kept == members[0]
            continue
        middles = [(unit, unit[members].mean(0)) for unit in units]
        likeness = {row: np.mean([unit[row] @ middle for unit, middle in middles]) for row in members}
        clear = {row for row in members if likeness[row] < min(likeness.values()) + 1e-5}
        # equal rows are equally like their middle: the first of them is kept
        assert kept == min(clear) or likeness[kept] < likeness[min(clear)] - 1e-8
        assert kept in clear


def test_one_of_each_where_it_can_be_told() -> None:
    x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [1.0, 0.05], [5.0, 5.0]])
    assert one_of_each(np.array([0, 0, -1, 0, 7]), x).tolist() == [1, 2, 4]
    # the two of a pair are equally like their middle, whatever the rounding
    pairs = np.random.default_rng(0).standard_normal((4000, 300)).astype(np.float32)
    assert np.array_equal(one_of_each(np.repeat(np.arange(2000), 2), pairs), np.arange(0, 4000, 2))


@given(
    share=st.floats(0.0, 1.0),
    batch_size=st.integers(2, 40),
    group_size=st.integers(1, 40),
    world_size=st.integers(1, 3),
    epoch=st.integers(1, 5),
    drop_last=st.booleans(),
    apart=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_hard_batches_hold_every_row_once(share, batch_size, group_size, world_size, epoch, drop_last, apart) -> None:
    label = families(count=25)[1]
    plain = EpochPlan(np.random.default_rng(4).permutation(200), LinearSchedule(0.5, 0.1), epochs=5)
    plan = EpochPlan(
        plain.order,
        plain.schedule,
        epochs=5,
        hardness=lambda _: share,
        line=np.argsort(label, kind="stable"),
        group_size=group_size,
        apart=label if apart else None,
    )
    ranks, usual = (
        [p.batches(epoch, batch_size, rank, world_size, drop_last) for rank in range(world_size)] for p in (plan, plain)
    )
    assert [[len(b) for b in r] for r in ranks] == [[len(b) for b in r] for r in usual]
    seen = np.concatenate([batch for batches in ranks for batch in batches])
    assert np.array_equal(np.sort(seen), np.sort(np.concatenate([b for batches in usual for b in batches])))
    again = plan.batches(epoch, batch_size, 0, world_size, drop_last)
    assert all(map(np.array_equal, again, ranks[0]))
    if share == 0.0 and not apart:
        assert all(map(np.array_equal, ranks[0], usual[0]))


def test_harder_batches_hold_more_neighbours() -> None:
    x, label = families()
    by_share = [alike(hard_plan(share, x, group_size=8), label) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert all(softer < harder for softer, harder in itertools.pairwise(by_share))
    # groups of 8 of a family of 8 give 7 of 31 mates, cut at a random place on average somewhat less
    assert 0.08 < by_share[-1] <= 7 / 31
    growing = hard_plan(LinearSchedule(0.0, 0.25), x, group_size=8)
    by_epoch = [alike(growing, label, epoch) for epoch in (1, 2, 4)]
    assert by_epoch[0] < by_epoch[1] < by_epoch[2]
    first, second = growing.batches(5, 32)[0], growing.batches(6, 32)[0]
    assert set(first.tolist()) != set(second.tolist())


SQUARE = np.zeros((2, 2), int)
test_bad_spaces_and_labels_are_refused = refuses(
    (lambda: locality_order(), "one or more"),
    (lambda: locality_order(np.ones((3, 2)), np.ones((4, 2))), r"shapes \[\(3, 2\), \(4, 2\)\]"),
    (lambda: locality_order(np.array([[1.0], [np.nan]])), r"spaces\[0\] row 1 is not finite"),
    (lambda: locality_order(np.ones((3, 2)), group_size=0), "group_size=0"),
    (lambda: one_of_each(SQUARE), "labels has shape"),
    (lambda: one_of_each(np.array([0.5, 1.0])), "labels has shape"),
    (lambda: one_of_each(np.zeros(5, int), np.ones((4, 2))), "5 labels and arrays of 4 rows"),
    (lambda: duplicate_mask(SQUARE), "labels has shape"),
    (lambda: duplicate_labels(), "one or more keys"),
    (lambda: duplicate_labels(["a"], ["a", "b"]), r"\[1, 2\]"),
    (lambda: duplicate_labels(["a", "b"], pairs=np.array([[0, 2]])), "0 to 1"),
    (lambda: duplicate_labels(["a", "b"], pairs=np.array([0, 1])), r"\(2,\)"),
    (lambda: pairs_above(np.ones((2, 2)), bound=2), "bound=2"),
)
test_bad_batch_options_are_refused = refuses(
    ({"hardness": lambda _: 1.0}, "line="),
    ({"hardness": 0.5, "line": np.arange(6)}, "hardness=0.5"),
    ({"hardness": lambda _: 1.0, "line": np.arange(5)}, "lacks 1 of the order's rows, such as 5"),
    ({"hardness": lambda _: 1.0, "line": np.array([0, 1, 2, 3, 4, 5, 5])}, "line contains the row 5 2 times"),
    ({"hardness": lambda _: 1.0, "line": np.ones(6)}, "float64"),
    ({"apart": np.zeros(5, dtype=int)}, "apart has shape"),
    ({"hardness": lambda _: 1.5, "line": np.arange(6)}, "hardness at epoch 1=1.5"),
    ({"group_size": 0}, "group_size=0"),
    ({"refresh": 2}, "refresh=2 without hardness"),
    ({"hardness": lambda _: 1.0, "line": np.arange(6), "refresh": 0}, "refresh=0"),
    call=lambda options: EpochPlan(np.arange(6), make_schedule("full"), **options).batches(1, 2),
)


def naive_repeats(batches: list[np.ndarray], labels: np.ndarray) -> int:
    total = 0
    for batch in batches:
        own = [label for label in labels[batch].tolist() if label >= 0]
        total += len(own) - len(set(own))
    return total


def most_apart(labels: np.ndarray, sizes: np.ndarray) -> int:
    """Most rows that fit without a repeat, as a maximum flow from labels through batches."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_flow

    counts = np.bincount(labels[labels >= 0])
    nodes = 2 + len(counts) + len(sizes)
    graph = np.zeros((nodes, nodes), dtype=np.int32)
    graph[0, 2 : 2 + len(counts)] = counts
    graph[2 : 2 + len(counts), 2 + len(counts) :] = 1
    graph[2 + len(counts) :, 1] = sizes
    return int(maximum_flow(csr_array(graph), 0, 1).flow_value) if len(counts) else 0


@given(st.lists(st.integers(-2, 6), min_size=4, max_size=60), st.integers(1, 12), st.integers(0, 10))
@settings(deadline=None, max_examples=200)
def test_duplicates_are_apart_wherever_that_is_possible(labels: list[int], batch_size: int, seed: int) -> None:
    dense = check_labels(labels, len(labels))
    bounds = np.unique(np.append(np.arange(0, len(labels), batch_size), len(labels)))
    rows = np.random.default_rng(seed).permutation(len(labels))
    arranged = keep_apart(rows, bounds, dense, (seed, 1))
    assert np.array_equal(np.sort(arranged), np.arange(len(labels)))
    batches = np.split(arranged, bounds[1:-1])
    left = naive_repeats(batches, dense)
    assert count_repeats(dense, batches) == {"repeats": left, "unavoidable": unavoidable(dense, len(batches))}
    assert left >= unavoidable(dense, len(batches))
    assert left == 0 or most_apart(dense, np.diff(bounds)) < (dense >= 0).sum()


def test_a_tight_arrangement_is_found() -> None:
    # every label in every batch: no exchange of two rows can get there from a bad start
    labels = np.repeat(np.arange(10), 10)
    bounds = np.arange(0, 101, 10)
    arranged = keep_apart(np.arange(100), bounds, labels, (0, 1))
    assert naive_repeats(np.split(arranged, bounds[1:-1]), labels) == 0


def test_what_cannot_be_kept_apart_is_counted() -> None:
    labels = np.where(np.arange(100) < 15, 0, -1)
    plan = EpochPlan(np.arange(100), make_schedule("full"), apart=labels)
    assert count_repeats(labels, plan.batches(1, 10)) == {"repeats": 5, "unavoidable": 5}
    assert count_repeats(labels, plan.batches(1, 5)) == NONE
    both = [plan.batches(1, 5, rank, 2) for rank in range(2)]
    assert count_repeats(labels, both[0] + both[1]) == NONE


def test_hard_groups_hold_neighbours_but_not_copies() -> None:
    x, label = families(count=120, members=4)
    copies = np.where(label % 2 == 0, label, -1)
    plan = hard_plan(1.0, x, group_size=8, apart=copies)
    assert count_repeats(copies, plan.batches(1, 32)) == NONE
    others = np.where(copies < 0, label, -1 - np.arange(len(label)))
    assert alike(plan, others) > 3 * alike(hard_plan(0.0, x), others)


def test_labels_join_equal_keys_and_similar_rows() -> None:
    smiles = ["CCO", "CCO", "C", "N", "", "", None]
    text = ["a", "b", "b", "d", "e", "f", "f"]
    labels = duplicate_labels(smiles, text)
    assert labels[0] == labels[1] == labels[2] >= 0
    assert labels[3] == labels[4] == -1
    assert labels[5] == labels[6] >= 0
    # an equal value of another key links nothing
    assert duplicate_labels(["a", "b"], ["b", "a"]).tolist() == [-1, -1]
    joined = duplicate_labels(smiles, pairs=np.array([[3, 4]]))
    assert joined[3] == joined[4] >= 0
    assert duplicate_labels(range(3), pairs=np.empty((0, 2), dtype=int)).tolist() == [-1, -1, -1]


def test_similar_pairs_against_a_loop() -> None:
    t, m = families(count=20, members=3)[0], families(count=20, members=3, width=7, seed=0)[0]
    m[0] = 0.0
    s = similarities(t, m)
    naive = [[i, j] for i in range(60) for j in range(i + 1, 60) if s[i, j] > 0.5]
    assert naive
    assert sorted(pairs_above(t, m, bound=0.5).tolist()) == naive


def test_the_mask_hides_duplicates_and_no_row_itself() -> None:
    labels = np.array([3, -1, 3, -1, 0])
    expected = np.zeros((5, 5), dtype=bool)
    expected[0, 2] = expected[2, 0] = True
    assert np.array_equal(duplicate_mask(labels), expected)
    assert np.array_equal(duplicate_mask(torch.tensor(labels)).numpy(), expected)


@pytest.mark.parametrize("hard", [True, False])
def test_a_row_that_comes_again_never_meets_itself(hard: bool) -> None:
    points = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)
    rules: dict = {"apart": np.where(np.arange(60) < 24, np.arange(60) // 4, -1)}
    if hard:
        rules = {"hardness": lambda epoch: 1.0, "line": locality_order(points, group_size=4), "group_size": 4}
    twice = 0
    for seed in range(20):
        schedule = LinearSchedule(0.5, 0.1)
        plan = make_plan("step-matched", np.arange(60), schedule, seed=seed, epochs=5, batch_size=8, **rules)
        for epoch in range(1, 6):
            batches = plan.batches(epoch, 8)
            rows = np.concatenate(batches)
            twice += len(rows) > len(set(rows.tolist()))
            np.testing.assert_array_equal(np.sort(rows), np.sort(plan.rows(epoch, 8)))
            assert all(len(set(batch.tolist())) == len(batch) for batch in batches)
    assert twice > 20
