"""Retrieval: the exact rank of the relevant candidate or the best of several, and a search.

The counts are those of a float64 evaluation, at the price of a float32 one: a float32 product decides every
comparison that its rounding cannot have turned, and only the others are evaluated again in float64. What the ranks
are worth is computed in `class_kit.retrieval.metrics`, whose names are public here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.checks import check_real, check_whole
from class_kit.errors import InputError
from class_kit.neighbours.blocks import run_blocks, single_blas
from class_kit.neighbours.cosines import ROWS, Cosines, Rows, spans
from class_kit.neighbours.nearest import nearest
from class_kit.retrieval.metrics import (
    TIE_TOLERANCE,
    Ranks,
    best_right,
    check_scores,
    check_targets,
    check_vectors,
    join_right,
    rank_dense,
)
from class_kit.retrieval.metrics import per_query_metrics as per_query_metrics
from class_kit.retrieval.metrics import retrieval_metrics as retrieval_metrics
from class_kit.retrieval.rerank import RERANKED as RERANKED
from class_kit.retrieval.rerank import rerank as rerank
from class_kit.retrieval.trec import export_trec as export_trec


def retrieval_ranks(
    queries: ArrayLike,
    candidates: ArrayLike,
    targets: ArrayLike | Sequence[Sequence[int]],
    *,
    every: bool = False,
    progress: bool | None = None,
) -> Ranks:
    """Rank the relevant candidate of every query, or the best of several, among all candidates by cosine, exactly.

    The other direction is the same call with the roles swapped. Counts equal those of a float64 evaluation in which
    cosines at most 1e-9 apart are tied.

    Parameters
    ----------
    queries : (Q, d) real
        Vectors of any length; a zero vector has cosine 0 with everything.
    candidates : (C, d) real
        The pool.
    targets : (Q,) int, or Q sequences of int
        Row of `candidates` that is relevant to each query, or its relevant rows: the rank is then that of the first.
    every : bool
        Also rank every relevant candidate, which Recall@k, nDCG@k and MAP need; each costs as much as a query.
    progress : bool or None
        Show a progress bar; None shows it in a terminal only.

    Returns
    -------
    Ranks
        `greater`, `equal` and `right`, each (Q,) int64, and the pool size C.

    Raises
    ------
    InputError
        For shapes that do not fit, values that are not finite, a target outside the pool or named twice, or none.
    """
    rows, pool = check_vectors(queries, candidates, ("queries", "candidates"))
    query, goals = check_targets(targets, len(rows), len(pool))
    with single_blas():
        scores = Cosines(rows, pool, copied=False).exact(query, goals)
    if every:
        sides = {name: getattr(rows, name)[query] for name in ("t", "m", "t_scale", "m_scale")}
        counted = _ranks(replace(rows, **sides), pool, goals, progress)[0]
    else:
        counted = _ranks(rows, pool, goals[best_right(query, scores)[0]], progress)[0]
    return join_right(counted, query, scores, TIE_TOLERANCE, every)


def retrieval_ranks_both_ways(
    first: ArrayLike, second: ArrayLike, *, progress: bool | None = None
) -> tuple[Ranks, Ranks]:
    """Rank paired sets in both directions from one product: row i of `first` belongs to row i of `second`.

    The ranks equal those of two calls of `retrieval_ranks` at little more than the cost of one.

    Parameters
    ----------
    first, second : (L, d) real
        For example the texts and the molecules of a split.
    progress : bool or None
        As in `retrieval_ranks`.

    Returns
    -------
    first_to_second, second_to_first : Ranks
        Each with L queries in a pool of L.

    Raises
    ------
    InputError
        For shapes that differ or values that are not finite.
    """
    left, right = check_vectors(first, second, ("first", "second"))
    if len(left) != len(right):
        raise InputError(f"first has {len(left)} rows and second {len(right)}: expected one row each for every pair")
    there, back = _ranks(left, right, None, progress)
    return there, back


def _ranks(queries: Rows, pool: Rows, targets: NDArray[np.int64] | None, progress: bool | None) -> list[Ranks]:
    """Ranks of the targets; where these are None, row i of both sides is a pair and both directions are ranked."""
    length, goal = len(queries), np.arange(len(queries)) if targets is None else targets
    with single_blas():
        cosines = Cosines(queries, pool)
        limits = cosines.limits(cosines.exact(np.arange(length), goal), TIE_TOLERANCE)
        shared = (cosines, limits, targets is None)
        # of the queries and, for both directions, of the candidates; the target itself is level with itself
        counts = [np.stack([np.zeros(length, np.int64), np.full(length, -1)]) for _ in range(2)]
        for rows, (own, across) in run_blocks(
            _rank_block, shared, list(spans(length, ROWS)), progress=progress, desc="rank", unit=" queries"
        ):
            counts[0][:, rows] += own
            counts[1] += across
    return [Ranks(greater, equal, len(pool)) for greater, equal in counts[: 2 if targets is None else 1]]


def _rank_block(shared: tuple[Any, ...], rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts (above, level) of one block of queries and, for both directions, what these rows add to every column."""
    cosines, limits, both = shared
    own = np.zeros((2, rows.stop - rows.start), np.int64)
    across = np.zeros((2, len(limits.target) if both else 1), np.int64)
    for columns, block in cosines.blocks(rows):
        column_limits = limits.part(columns) if both else None
        found = cosines.compare(rows, columns, block, limits.part(rows), column_limits, TIE_TOLERANCE)
        own += found[0]
        if both:
            across[:, columns] += found[1]
    return own, across


def ranks_from_scores(
    scores: ArrayLike,
    targets: ArrayLike | Sequence[Sequence[int]],
    *,
    every: bool = False,
    tie_tolerance: float = TIE_TOLERANCE,
) -> Ranks:
    """Rank the relevant candidate of every query from a dense matrix of scores, higher being better.

    For rankers that are not a cosine of two vectors: weighted sums over granularities, cross-encoders.

    Parameters
    ----------
    scores : (Q, C) real
        Score of each candidate for each query; compared in float64.
    targets, every
        As of `retrieval_ranks`, for columns.
    tie_tolerance : float
        Largest difference of two scores that counts as a tie, not negative; in the unit of the scores.

    Returns
    -------
    Ranks

    Raises
    ------
    InputError
        For shapes that do not fit, scores that are not finite or a target outside the matrix.
    """
    matrix = check_scores(scores, "scores")
    targeted = check_targets(targets, *matrix.shape)
    check_real("tie_tolerance", tie_tolerance, low=0.0)
    return rank_dense(matrix, *targeted, tie_tolerance, every)


def search(
    query_vectors: ArrayLike, candidates: ArrayLike, k: int = 10, *, progress: bool | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the k candidates of highest cosine for every query, exactly and in a reproducible order.

    Cosines are compared in float64 after rounding to nine decimals, and ties go to the lower index, so that
    equal molecules come in the order of the file whatever the machine.

    Parameters
    ----------
    query_vectors : (Q, d) real
    candidates : (C, d) real
    k : int
        Neighbours to return, between 1 and C.
    progress : bool or None
        Show a progress bar; None shows it in a terminal only.

    Returns
    -------
    indices : (Q, k) int64
        Rows of `candidates`, best first.
    cosines : (Q, k) float64

    Raises
    ------
    InputError
        For shapes that do not fit, values that are not finite or a k outside the pool.
    """
    rows, pool = check_vectors(query_vectors, candidates, ("query_vectors", "candidates"))
    k = check_whole("k", k, low=1, high=len(pool))
    return nearest(rows, pool, k, decimals=9, progress=progress, desc="search", unit=" queries")
