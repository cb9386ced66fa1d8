"""Ranks against a float64 evaluation, metrics against every order of the ties, laws that hold for any vectors."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from class_kit import retrieval
from class_kit.retrieval import export_trec, ranks_from_scores, rerank, retrieval_ranks, search
from class_kit.retrieval.metrics import Ranks, per_query_metrics, retrieval_metrics
from tests.faulty_places import python
from tests.refusals import refuses
from tests.test_neighbours import unit


def reference_cosines(queries, candidates):
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
@pytest.mark.parametrize("least", [2**40, 1])
def test_counts_are_those_of_float64_plain_and_compiled(dtype, least, monkeypatch):
    monkeypatch.setattr("class_kit.neighbours.cosines.COMPILED_FROM", least)
    rng = np.random.default_rng(0)
    candidates = with_duplicates(rng, 2500, 40, dtype)
    targets = rng.integers(0, 2500, 900)
    queries = candidates[targets] + rng.standard_normal((900, 40)).astype(dtype)
    ranks = retrieval_ranks(queries, candidates, targets)
    assert_ranks(ranks, *reference_counts(reference_cosines(queries, candidates), targets))
    assert ranks.pool == 2500
    assert ranks.greater.dtype == ranks.equal.dtype == np.int64
    assert ranks.equal.max() > 0


@pytest.mark.parametrize("spread", [1e-6, 1e-5, 1e-4, 1e-2, 1.0])
def test_few_and_many_undecided_agree_with_float64(spread):
    """Cosines closer than float32 resolves, too: the case the second look in float64 is for."""
    rng = np.random.default_rng(1)
    base = rng.standard_normal(64)
    candidates = base + spread * rng.standard_normal((3000, 64))
    queries = base + 1e-1 * rng.standard_normal((200, 64))
    targets = rng.integers(0, 3000, 200)
    scores = reference_cosines(queries, candidates)
    greater, equal = reference_counts(scores, targets)
    narrow = reference_counts(scores.astype(np.float32), targets, 0)[0]
    assert spread != 1e-5 or (narrow != greater).mean() > 0.5
    assert_ranks(retrieval_ranks(queries, candidates, targets), greater, equal)


def test_tolerance_draws_the_line():
    angles = np.array([0.0, 2e-5, 6e-5, 0.5])
    candidates = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    query = np.array([[1.0, 0.0]])
    # cosines fall short of 1 by 0, 2e-10, 1.8e-9 and 0.12
    for target, greater, equal in [(0, 0, 1), (1, 0, 1), (2, 2, 0)]:
        assert_ranks(retrieval_ranks(query, candidates, [target]), [greater], [equal])
    for tolerance, greater, equal in [(0.1, 2, 0), (0.3, 1, 1), (0.6, 0, 2)]:
        assert_ranks(ranks_from_scores([[1.0, 0.75, 0.5, -1.0]], [2], tie_tolerance=tolerance), [greater], [equal])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30), st.integers(1, 5))
def test_any_shape_of_vectors_and_scores(seed, n_queries, n_candidates, width):
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (n_queries, width))
    candidates = rng.integers(-2, 3, (n_candidates, width))
    targets = rng.integers(0, n_candidates, n_queries)
    scores = reference_cosines(queries, candidates)
    expected = reference_counts(scores, targets)
    assert_ranks(retrieval_ranks(queries, candidates, targets), *expected)
    assert_ranks(ranks_from_scores(scores, targets), *expected)


@settings(deadline=None, max_examples=10)
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


def test_scores_of_any_size_in_blocks():
    rng = np.random.default_rng(5)
    scores = np.round(rng.standard_normal((700, 5000)), 2).astype(np.float32)
    targets = rng.integers(0, 5000, 700)
    expected = reference_counts(scores.astype(np.float64), targets)
    assert_ranks(ranks_from_scores(scores, targets), *expected)
    assert_ranks(ranks_from_scores(scores + np.float32(8), targets, tie_tolerance=1e-3), *expected)
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
    there, back = retrieval.retrieval_ranks_both_ways(first, second)
    for found, sides in ((there, (first, second)), (back, (second, first))):
        one = retrieval_ranks(*sides, np.arange(rows))
        assert_ranks(found, one.greater, one.equal)
        assert found.pool == rows


def test_calls_from_several_threads_agree_and_leave_the_blas_as_it_was():
    from threadpoolctl import threadpool_info

    def blas_threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    vectors, before = np.random.default_rng(9).standard_normal((800, 16)), blas_threads()

    def ranks(number):
        return retrieval_ranks(vectors + 0.1 * number, vectors, np.arange(800))

    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(ranks, range(4))):
            alone = ranks(number)
            assert_ranks(found, alone.greater, alone.equal)
    assert blas_threads() == before


@pytest.mark.parametrize("k", [1, 3, 10])
def test_ties_are_the_mean_over_all_their_places(k):
    cases = [(greater, equal) for greater in (0, 1, 2, 5, 12) for equal in range(6)]
    values = per_query_metrics(Ranks(*np.array(cases).T, pool=30), ks=(k,))
    for row, (greater, equal) in enumerate(cases):
        places = np.arange(greater + 1, greater + equal + 2)
        expected = {f"hits@{k}": places <= k, "mrr": 1 / places, "mean_rank": places}
        assert {name: value[row] for name, value in values.items()} == pytest.approx(
            {name: value.mean() for name, value in expected.items()}, abs=1e-14
        )


# --- several right candidates


def naive_several(scores, right, ks):
    """Every metric as the mean over all orders of the pool that the scores allow."""
    found = {}
    for order in permutations(range(len(scores))):
        ranking = sorted(order, key=lambda candidate: -scores[candidate])
        places = [place for place, candidate in enumerate(ranking, start=1) if candidate in right]
        one = {"mrr": 1 / places[0], "mean_rank": places[0]}
        one["map"] = sum(number / place for number, place in enumerate(places, start=1)) / len(places)
        for k in ks:
            one[f"hits@{k}"] = float(places[0] <= k)
            one[f"recall@{k}"] = sum(place <= k for place in places) / len(places)
            best = sum(1 / np.log2(place + 1) for place in range(1, min(k, len(places)) + 1))
            one[f"ndcg@{k}"] = sum(1 / np.log2(place + 1) for place in places if place <= k) / best
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return {name: np.mean(values) for name, values in found.items()}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=5), st.data())
def test_several_right_candidates_against_all_orders_of_the_ties(scores, data):
    right = data.draw(st.lists(st.integers(0, len(scores) - 1), min_size=1, unique=True))
    expected = naive_several(scores, right, (1, 3))
    # the same scores as cosines, as they are, and as full scores of a whole shortlist
    angles = np.arccos(np.array(scores) / 2)
    vectors = np.array([[1.0, 0.0]]), np.stack([np.cos(angles), np.sin(angles)], axis=1)
    with_every = ranks_from_scores([scores], [right], every=True)
    first = retrieval_ranks(*vectors, [right])
    found = [
        first,
        retrieval_ranks(*vectors, [right], every=True),
        ranks_from_scores([scores], [right]),
        with_every,
        rerank(first, [np.arange(len(scores))], [right], lambda queries, rows: np.array(scores)[rows]),
    ]
    for ranks in found:
        values = per_query_metrics(ranks, ks=(1, 3))
        assert set(values) == set(expected) if ranks.every else "map" not in values
        assert {name: value[0] for name, value in values.items()} == pytest.approx(
            {name: expected[name] for name in values}, abs=1e-12
        )
    table = retrieval_metrics(with_every, ks=(1, 3))
    assert all(0 <= table[f"{name}_ci"][0] <= table[name] <= table[f"{name}_ci"][1] for name in expected)


def test_several_right_candidates_among_many_against_a_naive_count():
    rng = np.random.default_rng(5)
    candidates = with_duplicates(rng, 2000, 16)
    lists = [rng.choice(2000, rng.integers(1, 6), replace=False).tolist() for _ in range(300)]
    queries = candidates[[one[0] for one in lists]] + rng.standard_normal((300, 16)).astype(np.float32)
    scores = reference_cosines(queries, candidates)
    ranks = retrieval_ranks(queries, candidates, lists)
    for row, (own, right) in enumerate(zip(scores, lists, strict=True)):
        top = own[right].max()
        wrong = np.delete(own, right)
        counts = (wrong > top + 1e-9).sum(), (np.abs(wrong - top) <= 1e-9).sum(), (top - own[right] <= 1e-9).sum()
        assert (ranks.greater[row], ranks.equal[row], ranks.right[row]) == counts
    shortlist = search(queries, candidates, 20)[0]
    again = rerank(ranks, shortlist, lists, lambda at, rows: scores[at, rows])
    inside = ranks.greater + ranks.equal + ranks.right <= 20
    assert 50 < inside.sum() < 300
    for name in ("greater", "equal", "right"):
        np.testing.assert_array_equal(getattr(again, name)[inside], getattr(ranks, name)[inside])
    ones = [one[:1] for one in lists]
    assert_ranks(retrieval_ranks(queries, candidates, ones), *reference_counts(scores, [one[0] for one in lists]))


RANX = """
import json, sys
from ranx import Qrels, Run, evaluate

run, relevant = (kind.from_file(f"{sys.argv[1]}/{kind.__name__.lower()}.txt", kind="trec") for kind in (Run, Qrels))
names = ["hit_rate@1", "hit_rate@10", "mrr", "recall@1", "recall@10", "ndcg@1", "ndcg@10", "map"]
print(json.dumps({name: float(value) for name, value in evaluate(relevant, run, names).items()}))
"""


def test_agrees_with_ranx_where_nothing_ties(tmp_path):
    rng = np.random.default_rng(11)
    candidates = rng.standard_normal((60, 8))
    queries = candidates[:30] + rng.standard_normal((30, 8))
    right = [[row, row + 30] for row in range(30)]
    names = {"query_ids": [f"text {row}" for row in range(30)], "candidate_ids": [f"é{row}%" for row in range(60)]}
    files = export_trec(tmp_path, (queries, candidates), right, **names)
    as_scores = export_trec(tmp_path / "again", reference_cosines(queries, candidates), right, **names)
    assert [path.read_text() for path in files] == [path.read_text() for path in as_scores]
    assert files[0].read_text().startswith("text%200 Q0 %C3%A9")
    # its own process, since ranx takes a minute to compile what plain Python does at once on so few scores
    oracle = json.loads(python("-c", RANX, tmp_path, NUMBA_DISABLE_JIT="1").stdout.splitlines()[-1])
    ranks = retrieval_ranks(queries, candidates, right, every=True)
    table = retrieval_metrics(ranks)
    assert ranks.equal.max() == 0
    assert 0 < table["hits@1"] < table["hits@10"]
    for theirs, value in oracle.items():
        assert table[theirs.replace("hit_rate", "hits")] == pytest.approx(value)


def test_the_table_is_plain_and_its_intervals_hold_their_metric():
    rng = np.random.default_rng(12)
    ranks = Ranks(rng.geometric(0.1, 500) - 1, rng.integers(0, 3, 500), 3300)
    table = retrieval_metrics(ranks)
    names = ["hits@1", "hits@10", "mrr", "mean_rank"]
    assert list(table) == [*names, *(f"{name}_ci" for name in names), "pool", "queries"]
    assert json.loads(json.dumps(table)) == table
    assert all(type(value) is float for name, value in table.items() if not name.endswith("_ci"))
    wide = retrieval_metrics(ranks, confidence=0.99)
    for name in names:
        (lowest, highest), (low, high) = wide[f"{name}_ci"], table[f"{name}_ci"]
        assert lowest < low < table[name] < high < highest
    assert retrieval_metrics(ranks) == table
    assert retrieval_metrics(ranks, seed=1)["mean_rank_ci"] != table["mean_rank_ci"]
    assert (table["pool"], table["queries"]) == (3300, 500)


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
        low, high = stats.t.interval(0.95, 49, (sample + 1.0).mean(), stats.sem(sample))
        covered_by_t += low <= truth["mean_rank"] <= high
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
        indices, found = search(queries, candidates, k)
        expected = np.stack([np.lexsort((np.arange(5000), -np.round(row, 9)))[:k] for row in scores])
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_allclose(found, np.take_along_axis(scores, expected, axis=1), atol=1e-14)


def test_tied_candidates_are_listed_in_the_order_of_the_pool(tmp_path):
    run, _ = export_trec(tmp_path, [[0.5, 1.0, 0.5, 0.5]], [2], depth=3)
    assert [line.split()[2:5] for line in run.read_text().splitlines()] == [
        ["c1", "1", "1.000000000"], ["c0", "2", "0.500000000"], ["c2", "3", "0.500000000"]
    ]  # fmt: skip


test_bad_names_in_trec_files_are_refused = refuses(
    ({"candidate_ids": ["a", "b", "a", "c"]}, "candidate_ids has 4 names, 3 of them different: expected 4"),
    ({"query_ids": [""]}, "none of them empty"),
    ({"depth": 0}, "depth=0"),
    ({"tag": "two words"}, "tag='two words'"),
    call=lambda options: export_trec("unused", [[0.5, 1.0, 0.5, 0.5]], [2], **options),
)
RANKS = Ranks(np.array([1]), np.array([0]), 4)


test_what_does_not_fit_is_named = refuses(
    (lambda: retrieval_ranks(np.ones(3), np.ones((4, 3)), [0]), r"queries has shape \(3,\)"),
    (lambda: retrieval_ranks(np.ones((0, 3)), np.ones((4, 3)), []), r"queries has shape \(0, 3\)"),
    (lambda: retrieval_ranks([["a", "b"]], np.ones((4, 2)), [0]), "queries has dtype <U1"),
    (lambda: retrieval_ranks(np.ones((2, 3)), np.ones((4, 2)), [0, 1]), "queries have 3 dimensions and candidates"),
    (lambda: retrieval_ranks(np.ones((1, 2)), [[1, 2], [np.nan, 3]], [0]), r"candidates\[1, 0\] is nan"),
    (lambda: retrieval_ranks(np.ones((2, 3)), np.ones((4, 3)), [0, 4]), r"targets\[1\] is 4, outside the pool of 4"),
    (lambda: retrieval_ranks(np.ones((2, 3)), np.ones((4, 3)), [-1, 0]), r"targets\[0\] is -1"),
    (lambda: retrieval_ranks(np.ones((2, 3)), np.ones((4, 3)), [0.0, 1.0]), "float64"),
    (lambda: retrieval_ranks(np.ones((2, 3)), np.ones((4, 3)), [0]), "each of 2 queries"),
    (lambda: retrieval_ranks(np.ones((2, 3)), np.ones((4, 3)), [[0], []]), r"targets\[1\] is \[\]: expected one or"),
    (lambda: retrieval_ranks(np.ones((2, 3)), np.ones((4, 3)), [[0, 1], [2, 2]]), r"targets\[1\] is \[2, 2\]"),
    (lambda: retrieval_ranks(np.ones((2, 3)), np.ones((4, 3)), [[0, 1], [7]]), r"targets\[1\] names 7, outside"),
    (lambda: Ranks(np.array([1]), np.array([0]), 4, np.array([0])), r"right\[0\] is 0"),
    (lambda: retrieval_metrics(RANKS, ks=(0,)), "ks=0"),
    (lambda: retrieval_metrics(RANKS, confidence=95), "confidence must lie between 0 and 1, got 95"),
    (lambda: search(np.ones((1, 3)), np.ones((4, 3)), 5), "k=5"),
    (lambda: search(np.ones((1, 3)), np.ones((4, 2)), 1), "query_vectors have 3 dimensions"),
    (lambda: retrieval.retrieval_ranks_both_ways(np.ones((2, 3)), np.ones((3, 3))), "one row each for every pair"),
    (lambda: ranks_from_scores(np.ones((2, 3)), [0, 3]), "outside the pool of 3"),
    (lambda: ranks_from_scores(np.array([[1, np.nan]]), [0]), "scores must be finite"),
    (lambda: ranks_from_scores(np.ones((1, 2)), [0], tie_tolerance=-1), "tie_tolerance=-1"),
    (lambda: Ranks(np.array([3]), np.array([1]), 4), "a rank of 5 does not fit a pool of 4"),
    (lambda: Ranks(np.array([-1]), np.array([1]), 4), r"greater\[0\] is -1"),
    (lambda: Ranks(np.array([1, 1]), np.array([1]), 4), "greater has 2 queries and equal 1"),
    (lambda: Ranks(np.array([1.0]), np.array([1]), 4), "float64"),
)
