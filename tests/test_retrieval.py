"""Ranks against a float64 evaluation, metrics against every order of the ties, laws that hold for any vectors."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.neighbours.cosines import Cosines
from class_kit.neighbours.rows import make_rows
from class_kit.retrieval import rank_blocks, ranks_from_scores, retrieval_ranks, retrieval_ranks_both_ways, search
from class_kit.retrieval.metrics import Ranks, per_query_metrics, retrieval_metrics
from class_kit.study.statistics import seed_interval


def reference_cosines(queries, candidates):
    def unit(rows):
        rows = np.asarray(rows, dtype=np.float64)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)

    return unit(queries) @ unit(candidates).T


def reference_counts(scores, targets, tolerance=1e-9):
    greater, equal = [], []
    for row, target in zip(scores, targets, strict=True):
        difference = row - row[target]
        greater.append(int((difference > tolerance).sum()))
        equal.append(int((np.abs(difference) <= tolerance).sum()) - 1)
    return np.array(greater), np.array(equal)


def assert_ranks(ranks, greater, equal):
    np.testing.assert_array_equal(ranks.greater, greater)
    np.testing.assert_array_equal(ranks.equal, equal)


def with_duplicates(rng, rows, width, dtype=np.float32):
    vectors = rng.standard_normal((rows, width)).astype(dtype)
    # half precision keeps a direction only under powers of two
    vectors[rows // 2 :] = vectors[: rows - rows // 2] * dtype(2 if dtype == np.float16 else 3)
    vectors[1] = 0
    return vectors


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("memory", [2**20, 2**28])
def test_counts_are_those_of_float64(dtype, memory):
    rng = np.random.default_rng(0)
    candidates = with_duplicates(rng, 2500, 40, dtype)
    targets = rng.integers(0, 2500, 900)
    queries = candidates[targets] + rng.standard_normal((900, 40)).astype(dtype)
    ranks = retrieval_ranks(queries, candidates, targets, memory=memory)
    assert_ranks(ranks, *reference_counts(reference_cosines(queries, candidates), targets))
    assert ranks.pool == 2500
    assert ranks.greater.dtype == ranks.equal.dtype == np.int64
    assert ranks.equal.max() > 0


def test_float32_alone_would_be_wrong():
    """Cosines closer than float32 resolves: the case the second look in float64 is for."""
    rng = np.random.default_rng(1)
    base = rng.standard_normal(64)
    candidates = base + 1e-5 * rng.standard_normal((3000, 64))
    queries = base + 1e-1 * rng.standard_normal((200, 64))
    targets = rng.integers(0, 3000, 200)
    greater, equal = reference_counts(reference_cosines(queries, candidates), targets)
    narrow = reference_cosines(queries, candidates).astype(np.float32)
    assert (reference_counts(narrow, targets, 0)[0] != greater).mean() > 0.5
    assert_ranks(retrieval_ranks(queries, candidates, targets), greater, equal)


@pytest.mark.parametrize("spread", [1e-6, 1e-4, 1e-2, 1.0])
def test_few_and_many_undecided_agree_with_float64(spread):
    rng = np.random.default_rng(2)
    candidates = rng.standard_normal(16) + spread * rng.standard_normal((1200, 16))
    queries = candidates[:700] + 0.3 * rng.standard_normal((700, 16))
    scores = reference_cosines(queries, candidates)
    assert_ranks(retrieval_ranks(queries, candidates, np.arange(700)), *reference_counts(scores, np.arange(700)))


def test_tolerance_draws_the_line():
    angles = np.array([0.0, 1e-3, 2e-3, 0.5])
    candidates = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    query = np.array([[1.0, 0.0]])
    # cosines fall short of 1 by 0, 5e-7, 2e-6 and 0.12
    for tolerance, greater, equal in [(1e-9, 2, 0), (1.6e-6, 1, 1), (3e-6, 0, 2)]:
        assert_ranks(retrieval_ranks(query, candidates, [2], tie_tolerance=tolerance), [greater], [equal])


def test_zero_vectors_have_cosine_zero():
    candidates = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]])
    assert_ranks(retrieval_ranks(np.array([[3.0, 0.0], [0.0, 0.0]]), candidates, [0, 1]), [1, 0], [1, 3])


@pytest.mark.parametrize("scale", [2.0**-1074, 1e-300, 1e-160, 1e160, 1e300])
def test_tiny_and_huge_vectors_keep_their_direction(scale):
    rng = np.random.default_rng(3)
    queries, candidates = rng.integers(-3, 4, (20, 6)) * 1.0, rng.integers(-3, 4, (50, 6)) * 1.0
    targets = rng.integers(0, 50, 20)
    plain = retrieval_ranks(queries, candidates, targets)
    scaled = retrieval_ranks(queries * scale, candidates * scale, targets)
    assert_ranks(scaled, plain.greater, plain.equal)


KINDS = (Cosines, Cosines.copied)


def test_error_bound_holds_and_is_of_use():
    rng = np.random.default_rng(4)
    for width in (1, 7, 300, 2000):
        queries, candidates = np.abs(rng.standard_normal((2, 200, width)))
        for cosines in (kind(*(make_rows(x, None, 1.0) for x in (queries, candidates))) for kind in KINDS):
            ((columns, block),) = cosines.blocks(slice(0, 200))
            assert columns == slice(0, 200)
            assert np.abs(block - reference_cosines(queries, candidates)).max() <= cosines.error < 2e-4


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30), st.integers(1, 5))
def test_any_shape_both_counters_and_scores(seed, n_queries, n_candidates, width):
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (n_queries, width))
    candidates = rng.integers(-2, 3, (n_candidates, width))
    targets = rng.integers(0, n_candidates, n_queries)
    scores = reference_cosines(queries, candidates)
    expected = reference_counts(scores, targets)
    assert_ranks(retrieval_ranks(queries, candidates, targets), *expected)
    assert_ranks(ranks_from_scores(scores, targets), *expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_order_and_length_of_vectors_change_no_metric(seed):
    rng = np.random.default_rng(seed)
    candidates = rng.integers(-2, 3, (40, 3)).astype(np.float64)
    queries, targets = candidates[:25] + rng.integers(-1, 2, (25, 3)), np.arange(25)
    plain = retrieval_metrics(retrieval_ranks(queries, candidates, targets))
    shuffle = rng.permutation(40)
    shuffled = retrieval_ranks(queries, candidates[shuffle], np.argsort(shuffle)[targets])
    lengths = 10.0 ** rng.uniform(-6, 6, (40, 1))
    scaled = retrieval_ranks(queries * lengths[:25][::-1], candidates * lengths, targets)
    assert retrieval_metrics(shuffled) == plain
    assert retrieval_metrics(scaled) == plain
    by_query = rng.permutation(25)
    shuffled_queries = retrieval_metrics(retrieval_ranks(queries[by_query], candidates, targets[by_query]))
    for name, value in plain.items():
        assert shuffled_queries[name] == pytest.approx(value)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(-100, 100))
def test_shifting_all_scores_changes_no_rank(seed, shift):
    rng = np.random.default_rng(seed)
    scores, targets = rng.integers(0, 5, (6, 9)) / 4, rng.integers(0, 9, 6)
    assert_ranks(ranks_from_scores(scores + shift, targets), *reference_counts(scores, targets))


def test_scores_of_any_size_in_blocks():
    rng = np.random.default_rng(5)
    scores = np.round(rng.standard_normal((700, 5000)), 2).astype(np.float32)
    targets = rng.integers(0, 5000, 700)
    expected = reference_counts(scores.astype(np.float64), targets)
    assert_ranks(ranks_from_scores(scores, targets), *expected)
    assert expected[1].max() > 5


@pytest.mark.parametrize(("rows", "kind"), [(1, "duplicates"), (700, "duplicates"), (2600, "close"), (600, "constant")])
def test_both_ways_is_two_calls(rows, kind):
    rng = np.random.default_rng(6)
    second = with_duplicates(rng, rows, 12) if rows > 1 else np.ones((1, 12))
    if kind == "close":
        second = 1 + 1e-4 * second
    if kind == "constant":
        second = np.ones_like(second)
    first = second + 0.5 * rng.standard_normal(second.shape)
    there, back = retrieval_ranks_both_ways(first, second, memory=2**22)
    for found, one in [
        (there, retrieval_ranks(first, second, np.arange(rows))),
        (back, retrieval_ranks(second, first, np.arange(rows))),
    ]:
        assert_ranks(found, one.greater, one.equal)
        assert found.pool == rows


def test_compiled_counters_count_what_numpy_counts():
    rng = np.random.default_rng(7)
    block = np.round(rng.standard_normal((37, 101)), 1).astype(np.float32)
    limits = [np.round(rng.standard_normal((2, n)), 1).astype(np.float32) for n in (37, 101)]
    own, across = (rank_blocks.Limits(above.astype(np.float64), above, below) for above, below in limits)
    for side in (None, across):
        expected = np.concatenate(rank_blocks.numpy_count(block, own, side), axis=None)
        np.testing.assert_array_equal(np.concatenate(rank_blocks.compiled_count(block, own, side), axis=None), expected)
        assert expected.max() > 0


def test_large_products_take_the_compiled_path(monkeypatch):
    monkeypatch.setattr(rank_blocks, "_WORTH_COMPILING", 1)
    rng = np.random.default_rng(8)
    candidates = with_duplicates(rng, 3000, 20)
    queries = candidates + rng.standard_normal(candidates.shape)
    expected = reference_counts(reference_cosines(queries, candidates), np.arange(3000))
    assert_ranks(retrieval_ranks(queries, candidates, np.arange(3000)), *expected)
    there, _ = retrieval_ranks_both_ways(queries, candidates)
    assert_ranks(there, *expected)


def test_calls_from_several_threads_agree_and_leave_the_blas_as_it_was():
    from threadpoolctl import threadpool_info

    def blas_threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    rng = np.random.default_rng(9)
    vectors, found, before = rng.standard_normal((800, 16)), {}, blas_threads()

    def work(number):
        found[number] = retrieval_ranks(vectors + 0.1 * number, vectors, np.arange(800))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        one = retrieval_ranks(vectors + 0.1 * number, vectors, np.arange(800))
        assert_ranks(found[number], one.greater, one.equal)
    assert blas_threads() == before


def test_memory_follows_the_budget():
    import tracemalloc

    rng = np.random.default_rng(10)
    vectors = rng.standard_normal((4000, 32)).astype(np.float32)
    copies = 2 * vectors.nbytes
    for budget in (2**21, 2**25):
        tracemalloc.start()
        retrieval_ranks(vectors, np.ones_like(vectors), np.arange(4000), memory=budget)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < copies + budget + 2**20


def naive_expectation(greater, equal, k):
    """The metrics averaged over every order of the tied candidates, in exact arithmetic."""
    ranks = [
        greater + order.index("relevant") + 1
        for order in permutations(["relevant", *(f"tied {number}" for number in range(equal))])
    ]
    return {
        f"hits@{k}": Fraction(sum(rank <= k for rank in ranks), len(ranks)),
        "mrr": sum(Fraction(1, rank) for rank in ranks) / len(ranks),
        "mean_rank": Fraction(sum(ranks), len(ranks)),
    }


@pytest.mark.parametrize("k", [1, 3, 10])
def test_ties_are_the_mean_over_all_their_orders(k):
    cases = [(greater, equal) for greater in (0, 1, 2, 5, 12) for equal in range(6)]
    values = per_query_metrics(Ranks(*np.array(cases).T, pool=30), ks=(k,))
    for index, case in enumerate(cases):
        for name, expected in naive_expectation(*case, k).items():
            assert values[name][index] == pytest.approx(float(expected), abs=1e-14)


@pytest.mark.parametrize("n", [1, 2, 17, 1000])
def test_a_collapsed_model_gains_nothing(n):
    ranks = retrieval_ranks(np.ones((n, 8)), np.ones((n, 8)), np.arange(n))
    table = retrieval_metrics(ranks)
    assert table["hits@1"] == pytest.approx(1 / n)
    assert table["hits@10"] == pytest.approx(min(1, 10 / n))
    assert table["mrr"] == pytest.approx(sum(1 / rank for rank in range(1, n + 1)) / n)
    assert table["mean_rank"] == (n + 1) / 2


RANX = """
import json, sys
from ranx import Qrels, Run, evaluate

scores = json.load(sys.stdin)
run = Run({f"q{q}": {f"c{c}": score for c, score in enumerate(row)} for q, row in enumerate(scores)})
relevant = Qrels({f"q{q}": {f"c{q}": 1} for q in range(len(scores))})
names = ["hit_rate@1", "hit_rate@10", "mrr"]
print(json.dumps({name: float(value) for name, value in evaluate(relevant, run, names).items()}))
"""


def test_agrees_with_ranx_where_nothing_ties():
    rng = np.random.default_rng(11)
    candidates = rng.standard_normal((60, 8))
    queries = candidates[:30] + rng.standard_normal((30, 8))
    # its own process, since ranx takes a minute to compile what plain Python does at once on so few scores
    done = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps(reference_cosines(queries, candidates).tolist()),
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    oracle = json.loads(done.stdout.splitlines()[-1])
    ranks = retrieval_ranks(queries, candidates, np.arange(30))
    table = retrieval_metrics(ranks)
    assert ranks.equal.max() == 0
    assert 0 < table["hits@1"] < table["hits@10"]
    for ours, theirs in [("hits@1", "hit_rate@1"), ("hits@10", "hit_rate@10"), ("mrr", "mrr")]:
        assert table[ours] == pytest.approx(oracle[theirs])


def test_the_table_is_plain_and_its_intervals_hold_their_metric():
    rng = np.random.default_rng(12)
    ranks = Ranks(rng.geometric(0.1, 500) - 1, rng.integers(0, 3, 500), 3300)
    table = retrieval_metrics(ranks)
    assert list(table) == [
        *("hits@1", "hits@10", "mrr", "mean_rank", "hits@1_ci", "hits@10_ci", "mrr_ci", "mean_rank_ci"),
        *("pool", "queries"),
    ]
    assert json.loads(json.dumps(table)) == table
    assert all(type(value) is float for name, value in table.items() if not name.endswith("_ci"))
    for name in ("hits@1", "hits@10", "mrr", "mean_rank"):
        low, high = table[f"{name}_ci"]
        assert low < table[name] < high
        wide_low, wide_high = retrieval_metrics(ranks, confidence=0.99)[f"{name}_ci"]
        assert wide_low < low
        assert high < wide_high
    assert retrieval_metrics(ranks) == table
    assert retrieval_metrics(ranks, seed=1)["mean_rank_ci"] != table["mean_rank_ci"]
    assert table["pool"] == 3300
    assert table["queries"] == 500


def test_intervals_over_queries_cover():
    """400 draws of 50 queries from ranks as skewed as real ones (median 3, mean 10).

    The share covered has a standard error of 0.011 at 95 %; skewed means are the hard case: Mean Rank is covered in
    about 91 %, standard error 0.014, where Student's t covers about 81 %. Bounds lie 2.5 to 3.5 standard errors off.
    """
    rng = np.random.default_rng(13)
    population = np.minimum(np.exp(rng.normal(1.0, 1.6, 100_000)).astype(np.int64), 3299)
    values = per_query_metrics(Ranks(population, np.zeros_like(population), 3300))
    truth = {name: float(value.mean()) for name, value in values.items()}
    covered, covered_by_t = dict.fromkeys(truth, 0), 0
    for draw in range(400):
        sample = rng.choice(population, 50)
        table = retrieval_metrics(Ranks(sample, np.zeros_like(sample), 3300), seed=draw)
        for name in covered:
            low, high = table[f"{name}_ci"]
            covered[name] += low <= truth[name] <= high
        by_t = seed_interval(sample + 1.0)
        covered_by_t += by_t.low <= truth["mean_rank"] <= by_t.high
    for name in ("hits@1", "hits@10", "mrr"):
        assert 0.92 <= covered[name] / 400 <= 0.98
    assert covered_by_t / 400 < 0.86 <= covered["mean_rank"] / 400 <= 0.97


def test_intervals_at_the_ends():
    perfect = retrieval_metrics(Ranks(np.zeros(50, int), np.zeros(50, int), 50))
    assert perfect["hits@1_ci"][0] == pytest.approx(1 - 1.96**2 / (50 + 1.96**2), abs=1e-3)
    assert perfect["hits@1_ci"][1] == 1.0
    assert perfect["mean_rank_ci"] == [1.0, 1.0]
    single = retrieval_metrics(Ranks(np.array([4]), np.array([0]), 20))
    assert single["mean_rank_ci"] == [1.0, 20.0]
    assert single["mrr_ci"] == [0.05, 1.0]


def test_search_finds_the_nearest_in_order():
    rng = np.random.default_rng(14)
    candidates = with_duplicates(rng, 5000, 10)
    queries = rng.standard_normal((40, 10))
    scores = reference_cosines(queries, candidates)
    for k in (1, 7, 5000):
        indices, found = search(queries, candidates, k, memory=2**21)
        expected = np.stack([np.lexsort((np.arange(5000), -np.round(row, 9)))[:k] for row in scores])
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_allclose(found, np.take_along_axis(scores, expected, axis=1), atol=1e-14)


def test_search_gives_ties_in_the_order_of_the_file():
    indices, scores = search(np.ones((1, 3)), np.vstack([np.zeros((1, 3)), np.ones((4000, 3))]), 5)
    assert indices.tolist() == [[1, 2, 3, 4, 5]]
    assert scores == pytest.approx(np.ones((1, 5)))


GOOD = {"queries": np.ones((2, 3)), "candidates": np.ones((4, 3)), "targets": [0, 1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": np.ones(3)}, "queries must have two dimensions"),
        ({"queries": np.ones((0, 3))}, "none of them empty"),
        ({"queries": np.array([["a", "b", "c"]])}, "queries must be real numbers"),
        ({"queries": np.ones((2, 3)) * 1j}, "complex"),
        ({"candidates": np.ones((4, 2))}, "queries have 3 dimensions and candidates 2"),
        ({"candidates": np.array([[1, 2, 3], [1, np.nan, 3]])}, "candidates must be finite; row 1"),
        ({"queries": np.array([[np.inf, 2, 3], [1, 1, 3]])}, "queries must be finite; row 0"),
        ({"targets": [0, 4]}, r"targets\[1\] is 4, outside the pool of 4"),
        ({"targets": [-1, 0]}, r"targets\[0\] is -1"),
        ({"targets": [0.0, 1.0]}, "float64"),
        ({"targets": [0]}, "each of 2 queries"),
        ({"tie_tolerance": -1e-9}, "tie_tolerance must lie between"),
        ({"tie_tolerance": math.nan}, "tie_tolerance must lie between"),
        ({"memory": 1000}, "memory must be at least"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(InputError, match=message):
        retrieval_ranks(**(GOOD | change))


def test_bad_options_are_named():
    ranks = Ranks(np.array([1]), np.array([0]), 4)
    for call, message in [
        (lambda: retrieval_metrics(ranks, ks=(0,)), "ks must be integers of at least 1, got 0"),
        (lambda: retrieval_metrics(ranks, ks=(1.5,)), "got 1.5"),
        (lambda: retrieval_metrics(ranks, confidence=95), "confidence must lie between 0 and 1, got 95"),
        (lambda: search(np.ones((1, 3)), np.ones((4, 3)), 5), "between 1 and the 4 candidates, got 5"),
        (lambda: search(np.ones((1, 3)), np.ones((4, 2)), 1), "query_vectors have 3 dimensions"),
        (lambda: retrieval_ranks_both_ways(np.ones((2, 3)), np.ones((3, 3))), "one row each for every pair"),
        (lambda: ranks_from_scores(np.ones((2, 3)), [0, 3]), "outside the pool of 3"),
        (lambda: ranks_from_scores(np.array([[1, np.nan]]), [0]), "scores must be finite"),
        (lambda: ranks_from_scores(np.ones((1, 2)), [0], tie_tolerance=-1), "got -1"),
        (lambda: Ranks(np.array([3]), np.array([1]), 4), "a rank of 5 does not fit a pool of 4"),
        (lambda: Ranks(np.array([-1]), np.array([1]), 4), "must not be negative"),
        (lambda: Ranks(np.array([1, 1]), np.array([1]), 4), "greater has 2 queries and equal 1"),
        (lambda: Ranks(np.array([1.0]), np.array([1]), 4), "float64"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


def test_a_small_ranking_loads_nothing_heavy():
    code = (
        "import sys, numpy, class_kit.retrieval as r\n"
        "r.retrieval_metrics(r.retrieval_ranks(numpy.eye(5), numpy.eye(5), range(5)))\n"
        "print(sorted({'torch', 'numba', 'pandas', 'rdkit', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
