"""Ensembles of rankings against a loop over models, candidates and comparisons."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from class_kit.errors import InputError
from class_kit.retrieval import Ranks, ensemble_ranks, ranks_from_scores, retrieval_ranks


def naive(matrices, targets, tolerance=1e-9):
    """Mean ranks as fractions, every comparison by itself."""
    greater, equal = [], []
    for query, target in enumerate(targets):
        means = []
        for candidate in range(matrices[0].shape[1]):
            ranks = []
            for scores in matrices:
                others = [s for at, s in enumerate(scores[query].tolist()) if at != candidate]
                own = float(scores[query, candidate])
                above = sum(s - own > tolerance for s in others)
                level = sum(abs(s - own) <= tolerance for s in others)
                ranks.append(above + 1 + Fraction(level, 2))
            means.append(sum(ranks) / len(ranks))
        greater.append(sum(mean < means[target] for mean in means))
        equal.append(sum(mean == means[target] for mean in means) - 1)
    return greater, equal


def assert_ranks(ranks: Ranks, expected) -> None:
    assert ranks.greater.tolist() == list(expected[0])
    assert ranks.equal.tolist() == list(expected[1])


def cosines(queries, candidates):
    def unit(rows):
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)

    return unit(np.asarray(queries, np.float64)) @ unit(np.asarray(candidates, np.float64)).T


def model(seed: int, width: int, queries: int = 25, pool: int = 60):
    """Vectors with duplicated and zero candidates, so that ties are common."""
    random = np.random.default_rng(seed)
    candidates = random.standard_normal((pool, width)).astype(np.float32)
    candidates[pool // 2 :] = 3 * candidates[: pool - pool // 2]
    candidates[1] = 0
    return candidates[:queries] + random.standard_normal((queries, width)).astype(np.float32), candidates


@settings(deadline=None, max_examples=80)
@given(
    arrays.arrays(
        np.int64, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 7)), elements=st.integers(0, 4)
    ),
    st.data(),
)
def test_ranks_equal_a_loop_on_scores_full_of_ties(scores: np.ndarray, data: st.DataObject) -> None:
    targets = data.draw(arrays.arrays(np.int64, scores.shape[1], elements=st.integers(0, scores.shape[2] - 1)))
    assert_ranks(ensemble_ranks(list(scores), targets), naive(list(scores), targets))
    # a tolerance of one step makes ties chain
    assert_ranks(ensemble_ranks(list(scores), targets, tie_tolerance=1.0), naive(list(scores), targets, 1.0))


def test_vectors_of_different_widths_and_scores_mix() -> None:
    first, second = model(0, 4), model(1, 7)
    scores = np.random.default_rng(2).standard_normal((25, 60)).round(1)
    targets = np.random.default_rng(3).integers(0, 60, 25)
    expected = naive([cosines(*first), cosines(*second), scores], targets)
    assert max(expected[1]) > 0
    assert_ranks(ensemble_ranks([first, second, scores], targets), expected)


def test_one_model_keeps_its_ranks() -> None:
    queries, candidates = model(4, 6, queries=300, pool=900)
    targets = np.arange(300)
    alone = retrieval_ranks(queries, candidates, targets)
    assert alone.equal.max() > 0
    assert_ranks(ensemble_ranks([(queries, candidates)], targets), (alone.greater, alone.equal))
    scores = np.random.default_rng(5).integers(0, 40, (30, 200))
    alone = ranks_from_scores(scores, targets[:30])
    assert_ranks(ensemble_ranks([scores, scores], targets[:30]), (alone.greater, alone.equal))


def test_small_blocks_and_the_order_of_models_change_nothing() -> None:
    models = [model(seed, 5, queries=150, pool=4000) for seed in range(3)]
    targets = np.arange(150)
    whole = ensemble_ranks(models, targets)
    assert_ranks(ensemble_ranks(models[::-1], targets, memory=2**20), (whole.greater, whole.equal))
    assert whole.pool == 4000


def test_permuting_the_pool_changes_no_rank() -> None:
    models, targets = [model(seed, 5) for seed in range(2)], np.arange(25)
    turn = np.random.default_rng(6).permutation(60)
    turned = [(queries, candidates[turn]) for queries, candidates in models]
    before = ensemble_ranks(models, targets)
    assert_ranks(ensemble_ranks(turned, np.argsort(turn)[targets]), (before.greater, before.equal))


def test_scales_of_scores_do_not_matter_but_models_of_different_errors_help() -> None:
    """Two noisy views of one truth: the ensemble beats either, whatever the unit of its scores."""
    random = np.random.default_rng(7)
    truth = random.standard_normal((400, 8))
    views = [truth @ truth.T + 4 * random.standard_normal((400, 400)) for _ in range(2)]
    targets = np.arange(400)
    found = ensemble_ranks(views, targets)
    scaled = ensemble_ranks([views[0] * 1000, views[1] * 0.01 + 5], targets, tie_tolerance=0.0)
    assert_ranks(scaled, (found.greater, found.equal))
    alone = [np.log1p(ranks_from_scores(view, targets).greater).mean() for view in views]
    assert np.log1p(found.greater).mean() < min(alone)


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ([], {}, "models is empty"),
        ([np.ones((2, 3)), np.ones((2, 4))], {}, "model 1 ranks 4 candidates for 2 queries and model 0 3 for 2"),
        ([(np.ones((2, 3)), np.ones((4, 5)))], {}, "queries of model 0 have 3 dimensions"),
        ([(np.ones((2, 3)),) * 3], {}, "tuple of 3"),
        ([np.array([[1.0, np.nan], [0, 0]])], {}, "scores of model 0 must be finite"),
        ([np.ones((2, 1))], {}, r"targets\[1\] is 1, outside the pool of 1"),
        ([np.ones((2, 3))], {"tie_tolerance": -1.0}, "tie_tolerance"),
        ([np.ones((2, 3))], {"memory": 5}, "memory"),
    ],
)
def test_what_does_not_fit_is_refused(models: list, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ensemble_ranks(models, [0, 1], **options)
