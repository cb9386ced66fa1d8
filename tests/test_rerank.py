"""Two-stage ranking against a plain sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.retrieval import ranks_from_scores, rerank


def naive(first: np.ndarray, full: np.ndarray, target: int, k: int) -> tuple[int, int]:
    """Rank and ties of one query by sorting: the k best of the first stage by the full score, then the others."""
    order = sorted(range(len(first)), key=lambda at: (-first[at], at))
    short, rest = order[:k], order[k:]
    if target in short:
        return sum(full[c] > full[target] for c in short), sum(full[c] == full[target] for c in short) - 1
    before = sum(first[c] > first[target] for c in rest)
    return k + before, sum(first[c] == first[target] for c in rest) - 1


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 9))
def test_ranks_are_those_of_a_sort(seed: int, pool: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    k = min(k, pool)
    first, full = rng.integers(0, 4, (6, pool)).astype(float), rng.integers(0, 4, (6, pool)).astype(float)
    targets = rng.integers(0, pool, 6)
    shortlist = np.argsort(-first, axis=1, kind="stable")[:, :k]
    found = rerank(ranks_from_scores(first, targets), shortlist, targets, lambda q, c: full[q, c], progress=False)
    expected = [naive(first[q], full[q], targets[q], k) for q in range(6)]
    assert [tuple(pair) for pair in zip(found.greater, found.equal, strict=True)] == expected
    assert found.pool == pool


def test_what_does_not_fit_is_refused() -> None:
    ranks = ranks_from_scores(np.eye(3), np.arange(3))
    with pytest.raises(ValueError, match=r"shortlist \(2, 1\)"):
        rerank(ranks, np.zeros((2, 1), int), np.arange(3), lambda q, c: q)
    with pytest.raises(ValueError, match="0 to 2"):
        rerank(ranks, np.zeros((3, 1), int), np.array([0, 1, 3]), lambda q, c: q)
    with pytest.raises(ValueError, match="expected finite"):
        rerank(ranks, np.zeros((3, 1), int), np.arange(3), lambda q, c: np.full(len(q), np.nan), progress=False)
