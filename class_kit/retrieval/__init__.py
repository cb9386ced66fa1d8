"""Retrieval: the exact rank of the relevant candidate, and a search.

The counts are those of a float64 evaluation, at the price of a float32 one: a float32 product decides every
comparison that its rounding cannot have turned, and only the others are evaluated again in float64. What the ranks
are worth is computed in `class_kit.retrieval.metrics`, whose names are public here too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.errors import InputError
from class_kit.neighbours.cosines import spans
from class_kit.neighbours.nearest import nearest
from class_kit.retrieval.ensemble import ensemble_ranks
from class_kit.retrieval.k_way import k_way_accuracy, k_way_chances
from class_kit.retrieval.metrics import Ranks, per_query_metrics, retrieval_metrics
from class_kit.retrieval.rank_blocks import count_ranks
from class_kit.retrieval.rerank import RERANKED, rerank
from class_kit.retrieval.vectors import (
    MEMORY,
    TIE_TOLERANCE,
    as_matrix,
    as_vectors,
    check_cosine_tolerance,
    check_memory,
    check_same_width,
    check_score_tolerance,
    target_rows,
)

__all__ = [
    "RERANKED",
    "Ranks",
    "ensemble_ranks",
    "k_way_accuracy",
    "k_way_chances",
    "per_query_metrics",
    "ranks_from_scores",
    "rerank",
    "retrieval_metrics",
    "retrieval_ranks",
    "retrieval_ranks_both_ways",
    "search",
]


def retrieval_ranks(
    queries: ArrayLike,
    candidates: ArrayLike,
    targets: ArrayLike,
    *,
    tie_tolerance: float = TIE_TOLERANCE,
    memory: int = MEMORY,
    progress: bool | None = None,
) -> Ranks:
    """Rank the relevant candidate of every query among all candidates by cosine, exactly.

    The other direction is the same call with the roles swapped. Counts equal those of a float64 evaluation in which
    cosines at most `tie_tolerance` apart are tied: the rounding error of a float32 product of unit vectors is at most
    (d + 2) · 2⁻²⁴ to first order whatever the order of summation (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, section 3.1), so a comparison further apart than that is decided and the rest is recomputed.

    Parameters
    ----------
    queries : (Q, d) real
        Vectors of any length; a zero vector has cosine 0 with everything.
    candidates : (C, d) real
        The pool.
    targets : (Q,) int
        Row of `candidates` that is relevant to each query.
    tie_tolerance : float
        Largest difference of two cosines that counts as a tie, in [0, 1e-3]. Below about 1e-13 the rounding of
        float64 itself decides.
    memory : int
        Bytes the working blocks of all threads may take, beside one float32 copy of queries and candidates; 1 MiB
        at least.
    progress : bool or None
        Show a progress bar; None shows it in a terminal only.

    Returns
    -------
    Ranks
        `greater` and `equal`, both (Q,) int64, and the pool size C.

    Raises
    ------
    InputError
        For shapes that do not fit, values that are not finite, a target outside the pool or an unusable option.
    """
    query_rows, pool = as_vectors(queries, "queries"), as_vectors(candidates, "candidates")
    check_same_width(query_rows, pool, ("queries", "candidates"))
    goal = target_rows(targets, len(query_rows), len(pool))
    check_cosine_tolerance(tie_tolerance)
    check_memory(memory)
    ((greater, equal),) = count_ranks(query_rows, pool, goal, tie_tolerance, memory, progress)
    return Ranks(greater, equal, len(pool))


def retrieval_ranks_both_ways(
    first: ArrayLike,
    second: ArrayLike,
    *,
    tie_tolerance: float = TIE_TOLERANCE,
    memory: int = MEMORY,
    progress: bool | None = None,
) -> tuple[Ranks, Ranks]:
    """Rank paired sets in both directions from one product: row i of `first` belongs to row i of `second`.

    The ranks equal those of two calls of `retrieval_ranks`, whose meaning of exact and whose options these are, at
    little more than the cost of one.

    Parameters
    ----------
    first, second : (L, d) real
        For example the texts and the molecules of a split.
    tie_tolerance, memory, progress
        As in `retrieval_ranks`.

    Returns
    -------
    first_to_second, second_to_first : Ranks
        Each with L queries in a pool of L.

    Raises
    ------
    InputError
        For shapes that differ, values that are not finite or an unusable option.
    """
    left, right = as_vectors(first, "first"), as_vectors(second, "second")
    shapes = (len(left), left.width), (len(right), right.width)
    if shapes[0] != shapes[1]:
        raise InputError(f"first has shape {shapes[0]} and second {shapes[1]}: expected one row each for every pair")
    check_cosine_tolerance(tie_tolerance)
    check_memory(memory)
    along, across = count_ranks(left, right, None, tie_tolerance, memory, progress)
    return Ranks(*along, len(left)), Ranks(*across, len(left))


def ranks_from_scores(scores: ArrayLike, targets: ArrayLike, *, tie_tolerance: float = TIE_TOLERANCE) -> Ranks:
    """Rank the relevant candidate of every query from a dense matrix of scores, higher being better.

    For rankers that are not a cosine of two vectors: weighted sums over granularities, ensembles, cross-encoders.

    Parameters
    ----------
    scores : (Q, C) real
        Score of each candidate for each query; compared in float64.
    targets : (Q,) int
        Column that is relevant to each query.
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
    matrix = as_matrix(scores, "scores")
    goal = target_rows(targets, len(matrix), matrix.shape[1])
    check_score_tolerance(tie_tolerance)
    greater, equal = np.empty(len(matrix), np.int64), np.empty(len(matrix), np.int64)
    for rows in spans(len(matrix), max(1, 2**21 // matrix.shape[1])):
        block = matrix[rows].astype(np.float64)
        difference = block - block[np.arange(len(block)), goal[rows]][:, None]
        greater[rows] = np.count_nonzero(difference > tie_tolerance, axis=1)
        equal[rows] = np.count_nonzero(np.abs(difference) <= tie_tolerance, axis=1) - 1
    return Ranks(greater, equal, matrix.shape[1])


def search(
    query_vectors: ArrayLike,
    candidates: ArrayLike,
    k: int = 10,
    *,
    memory: int = MEMORY,
    progress: bool | None = None,
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
    memory : int
        Bytes the working blocks may take.
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
    query_rows, pool = as_vectors(query_vectors, "query_vectors"), as_vectors(candidates, "candidates")
    check_same_width(query_rows, pool, ("query_vectors", "candidates"))
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= len(pool):
        raise InputError(f"k must be an integer between 1 and the {len(pool)} candidates, got {k!r}")
    return nearest(query_rows, pool, int(k), memory=memory, decimals=9, progress=progress, desc="search")
