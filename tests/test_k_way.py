"""Choice among k: the closed form against every draw, against fractions, and against simulation."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.retrieval import Ranks, per_query_metrics
from class_kit.retrieval.k_way import k_way_accuracy, k_way_chances


def every_draw(scores: list[int], target: int, k: int) -> Fraction:
    """Mean over all sets of k - 1 others of the chance that a random order of the best puts the target first."""
    others = [score for at, score in enumerate(scores) if at != target]
    total, draws = Fraction(0), 0
    for drawn in combinations(others, k - 1):
        draws += 1
        if all(score <= scores[target] for score in drawn):
            total += Fraction(1, 1 + sum(score == scores[target] for score in drawn))
    return total / draws


@settings(deadline=None, max_examples=120)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
def test_chances_equal_the_mean_over_every_draw(scores: list[int], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    k = data.draw(st.integers(1, len(scores)))
    greater = sum(score > scores[target] for score in scores)
    equal = sum(score == scores[target] for score in scores) - 1
    found = k_way_chances(Ranks(np.array([greater]), np.array([equal]), len(scores)), k)
    assert found[0] == pytest.approx(float(every_draw(scores, target, k)), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("k", [2, 4, 20, 30_000])
def test_large_pools_keep_their_precision(k: int) -> None:
    pool, greater, equal = 33_010, np.array([0, 1, 7, 900, 33_009, 0]), np.array([0, 0, 3, 40, 0, 33_009])
    found = k_way_chances(Ranks(greater, equal, pool), k)
    for chance, g, e in zip(found, greater.tolist(), equal.tolist(), strict=True):
        # the sum over ranks telescopes: C(n, k) - C(n - e - 1, k) with n candidates not above the target
        ways = Fraction(comb(pool - g, k) - comb(pool - g - e - 1, k), (e + 1) * comb(pool - 1, k - 1))
        assert chance == pytest.approx(float(ways), rel=1e-9, abs=1e-13)


def test_the_whole_pool_is_hits_at_one_and_one_way_is_certain() -> None:
    ranks = Ranks(np.array([0, 0, 3, 2]), np.array([0, 2, 0, 4]), 9)
    np.testing.assert_allclose(k_way_chances(ranks, 9), per_query_metrics(ranks)["hits@1"], atol=1e-15)
    np.testing.assert_array_equal(k_way_chances(ranks, 1), np.ones(4))


def test_accuracy_agrees_with_simulated_draws_both_ways() -> None:
    random = np.random.default_rng(3)
    molecules = random.standard_normal((60, 5))
    molecules[40:] = 2 * molecules[20:40]
    texts = molecules + 0.8 * random.standard_normal((60, 5))
    for queries, candidates in ((texts, molecules), (molecules, texts)):
        unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, candidates)]
        scores = np.round(unit[0] @ unit[1].T, 9)
        wins = np.zeros(400)
        for draw in range(400):
            for query in range(60):
                others = random.choice(np.delete(np.arange(60), query), 3, replace=False)
                best = scores[query, others].max()
                if scores[query, query] == best:
                    wins[draw] += 1 / (1 + (scores[query, others] == best).sum())
                wins[draw] += scores[query, query] > best
        error = wins.std() / np.sqrt(400) / 60
        assert k_way_accuracy(queries, candidates, np.arange(60), 4) == pytest.approx(wins.mean() / 60, abs=5 * error)


def test_a_collapsed_model_guesses() -> None:
    assert k_way_accuracy(np.ones((7, 3)), np.ones((50, 3)), np.arange(7), 20) == pytest.approx(1 / 20)


@pytest.mark.parametrize("k", [0, 6, 2.0, True])
def test_a_k_outside_the_pool_is_refused(k: object) -> None:
    with pytest.raises(InputError, match="k="):
        k_way_chances(Ranks(np.array([0]), np.array([0]), 5), k)
