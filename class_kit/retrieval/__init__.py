"""Retrieval: the exact rank of the relevant candidate, and a search.

The counts are those of a float64 evaluation, at the price of a float32 one: a float32 product decides every
comparison that its rounding cannot have turned, and only the others are evaluated again in float64. What the ranks
are worth is computed in `class_kit.retrieval.metrics`, whose names are public here too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.errors import InputError
from class_kit.retrieval.arguments import (
    MEMORY,
    TIE_TOLERANCE,
    check_cosine_tolerance,
    check_memory,
    check_score_tolerance,
    target_rows,
    with_bar,
)
from class_kit.retrieval.cosines import BlockCosines, as_vectors, block_threads, check_same_width, spans
from class_kit.retrieval.ensemble import ensemble_ranks
from class_kit.retrieval.k_way import k_way_accuracy, k_way_chances
from class_kit.retrieval.metrics import Ranks, per_query_metrics, retrieval_metrics
from class_kit.retrieval.rank_blocks import Counts, Limits, double_counter, rank_both_ways, rank_rows, row_counter
from class_kit.retrieval.rerank import RERANKED, rerank

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
    count = row_counter(len(query_rows) * len(pool))
    with block_threads() as (executor, workers):
        cosines = BlockCosines(query_rows, pool, memory, workers)

        def rank(rows: slice) -> Counts:
            target = cosines.pairs(np.arange(rows.start, rows.stop), goal[rows])
            return rank_rows(cosines, rows, Limits(target, cosines.error, tie_tolerance), count)

        blocks = list(cosines.row_blocks())
        parts = list(with_bar(executor.map(rank, blocks), blocks, progress, "rank"))
    greater, equal = (np.concatenate(counts) for counts in zip(*parts, strict=True))
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
    if left.shape != right.shape:
        raise InputError(f"first has shape {left.shape} and second {right.shape}: expected one row each for every pair")
    check_cosine_tolerance(tie_tolerance)
    check_memory(memory)
    count, everyone = double_counter(len(left) ** 2), np.arange(len(left))
    column_greater, column_equal = np.zeros(len(left), np.int64), np.full(len(left), -1, np.int64)
    parts = []
    with block_threads() as (executor, workers):
        cosines = BlockCosines(left, right, memory, workers)
        limits = Limits(cosines.pairs(everyone, everyone), cosines.error, tie_tolerance)

        def rank(rows: slice) -> tuple[Counts, Counts]:
            return rank_both_ways(cosines, rows, limits, count)

        blocks = list(cosines.row_blocks())
        for along_rows, along_columns in with_bar(executor.map(rank, blocks), blocks, progress, "rank both ways"):
            parts.append(along_rows)
            column_greater += along_columns[0]
            column_equal += along_columns[1]
    greater, equal = (np.concatenate(counts) for counts in zip(*parts, strict=True))
    return Ranks(greater, equal, len(left)), Ranks(column_greater, column_equal, len(left))


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
    matrix = as_vectors(scores, "scores")
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
    with block_threads() as (executor, workers):
        cosines = BlockCosines(query_rows, pool, memory, workers)

        def find(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            return _nearest(cosines, rows, k)

        blocks = list(cosines.row_blocks())
        parts = list(with_bar(executor.map(find, blocks), blocks, progress, "search"))
    indices, best = (np.concatenate(found) for found in zip(*parts, strict=True))
    return indices, best


def _nearest(cosines: BlockCosines, rows: slice, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k best candidates of one block of queries."""
    indices, best = np.empty((rows.stop - rows.start, k), np.int64), np.empty((rows.stop - rows.start, k))
    for row, near in enumerate(_possible_neighbours(cosines, rows, k)):
        score = cosines.pairs(np.full(len(near), rows.start + row), near)
        first = np.lexsort((near, -np.round(score, 9)))[:k]
        indices[row], best[row] = near[first], score[first]
    return indices, best


def _possible_neighbours(cosines: BlockCosines, rows: slice, k: int) -> list[NDArray[np.int64]]:
    """Candidates that may be among the k best of each query of a block, given what float32 can tell.

    At least k candidates reach the k-th best float32 cosine less the error, so one of the k best cannot lie more
    than twice the error, and the rounding of the comparison, below it.
    """
    kept: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * (rows.stop - rows.start)
    scores: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(kept)
    slack = 2 * cosines.error + 2e-9
    for columns in cosines.column_blocks():
        block = cosines.float32(rows, columns)
        for query, row in enumerate(block):
            known = np.concatenate([scores[query], row])
            number = np.concatenate([kept[query], np.arange(columns.start, columns.stop)])
            if len(known) > k:
                floor = np.float64(np.partition(known, len(known) - k)[len(known) - k]) - slack
                number, known = number[known >= floor], known[known >= floor]
            kept[query], scores[query] = number, known
    return kept
