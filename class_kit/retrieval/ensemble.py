"""Several models as one: candidates ordered by the mean of the ranks that each model gives them.

Text2Mol's ensemble (Edwards et al. 2021, section 4.4). Ranks average where scores cannot: models need no common scale,
only the same queries and the same pool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.errors import InputError
from class_kit.retrieval.arguments import (
    MEMORY,
    TIE_TOLERANCE,
    check_memory,
    check_score_tolerance,
    target_rows,
    with_bar,
)
from class_kit.retrieval.cosines import BlockCosines, as_vectors, block_threads, check_same_width, spans
from class_kit.retrieval.metrics import Ranks

Scorer = Callable[[slice], NDArray[np.float64]]
# scores, their order, their sorted copy and the summed standings, each 8 bytes, and as much for temporaries
_BYTES_A_CELL = 64
_COLUMNS = 2048


def ensemble_ranks(
    models: Sequence[ArrayLike | tuple[ArrayLike, ArrayLike]],
    targets: ArrayLike,
    *,
    tie_tolerance: float = TIE_TOLERANCE,
    memory: int = MEMORY,
    progress: bool | None = None,
) -> Ranks:
    """Rank the relevant candidate of every query by the mean of each model's rank of each candidate.

    A model's rank of a candidate counts the candidates it scores higher and half of those level with it, as Mean Rank
    does: g + 1 + e/2. Sums of these are whole numbers of halves, so that two candidates tie in the ensemble exactly
    where their mean ranks are equal. One model alone keeps its own ranks, but where ties chain (a level with b, b with
    c, a above c) and a mean rank tells apart what a tolerance does not.

    Parameters
    ----------
    models : sequence
        For each model either a tuple `(queries (Q, d), candidates (C, d))` of real vectors, compared by cosine in
        float64 as `retrieval_ranks` does, or a matrix `(Q, C)` of scores, higher being better. Widths may differ.
    targets : (Q,) int
        Candidate that is relevant to each query.
    tie_tolerance : float
        Largest difference of two cosines or scores of one model that counts as a tie, not negative.
    memory : int
        Bytes the working blocks of all threads may take, as far as a block holds one query at least.
    progress : bool or None
        Show a progress bar; None shows it in a terminal only.

    Returns
    -------
    Ranks
        `greater` and `equal` count candidates of smaller and of the same mean rank.

    Raises
    ------
    InputError
        For no model, shapes that do not fit each other, values that are not finite, a target outside the pool or an
        unusable option.
    """
    check_score_tolerance(tie_tolerance)
    check_memory(memory)
    sides = [_sides(model, number) for number, model in enumerate(models)]
    queries, pool = _common_shape(sides)
    goal = target_rows(targets, queries, pool)
    add = _compiled_standings()
    with block_threads() as (executor, workers):
        scorers = [_scorer(side, memory, workers) for side in sides]
        height = max(1, memory // (workers * _BYTES_A_CELL * pool))

        def rank(rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            standing = np.zeros((rows.stop - rows.start, pool), np.int64)
            for score in scorers:
                scores = score(rows)
                order = np.argsort(scores, axis=1)
                add(np.take_along_axis(scores, order, axis=1), order, tie_tolerance, standing)
            own = np.take_along_axis(standing, goal[rows, None], axis=1)
            return np.count_nonzero(standing < own, axis=1), np.count_nonzero(standing == own, axis=1) - 1

        blocks = list(spans(queries, height))
        parts = list(with_bar(executor.map(rank, blocks), blocks, progress, "rank ensemble"))
    greater, equal = (np.concatenate(counts) for counts in zip(*parts, strict=True))
    return Ranks(greater, equal, pool)


def _sides(model: Any, number: int) -> tuple[NDArray[Any], ...]:
    """A model's score matrix, or its queries and candidates, checked."""
    if not isinstance(model, tuple):
        return (as_vectors(model, f"scores of model {number}"),)
    if len(model) != 2:
        raise InputError(f"model {number} is a tuple of {len(model)}: expected queries and candidates, or a matrix")
    names = f"queries of model {number}", f"candidates of model {number}"
    queries, candidates = (as_vectors(values, name) for values, name in zip(model, names, strict=True))
    check_same_width(queries, candidates, names)
    return queries, candidates


def _common_shape(sides: Sequence[tuple[NDArray[Any], ...]]) -> tuple[int, int]:
    """Queries and pool size, which all models must share."""
    if not sides:
        raise InputError("models is empty: expected at least one")
    shapes = [side[0].shape if len(side) == 1 else (len(side[0]), len(side[1])) for side in sides]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise InputError(
                f"model {number} ranks {shape[1]} candidates for {shape[0]} queries and model 0 {shapes[0][1]} for "
                f"{shapes[0][0]}: expected the same queries and pool"
            )
    return shapes[0][0], shapes[0][1]


def _scorer(side: tuple[NDArray[Any], ...], memory: int, workers: int) -> Scorer:
    """A function from a block of queries to its scores `(rows, C)`."""
    if len(side) == 1:
        return lambda rows: side[0][rows].astype(np.float64)
    queries, candidates = side
    cosines, pool = BlockCosines(queries, candidates, memory, workers), len(candidates)

    def score(rows: slice) -> NDArray[np.float64]:
        scores = np.empty((rows.stop - rows.start, pool))
        for columns in spans(pool, _COLUMNS):
            scores[:, columns] = cosines.float64(rows, columns)
        return scores

    return score


@cache
def _compiled_standings() -> Callable[..., None]:
    from numba import njit

    @njit(nogil=True)
    def add(ascending: Any, order: Any, tolerance: float, standing: Any) -> None:
        """Add to each candidate's standing how many are above it less how many are below.

        That is twice its rank less C + 1, the same constant for all: 2 (g + 1 + e/2) = g - b + C + 1, where b are
        below and g + e + b + 1 = C.
        """
        for row in range(ascending.shape[0]):
            count = ascending.shape[1]
            # rounding keeps differences in order, so neither bound ever moves back
            below, reached = 0, 0
            for place in range(count):
                own = ascending[row, place]
                while own - ascending[row, below] > tolerance:
                    below += 1
                while reached < count and ascending[row, reached] - own <= tolerance:
                    reached += 1
                standing[row, order[row, place]] += (count - reached) - below

    return add
