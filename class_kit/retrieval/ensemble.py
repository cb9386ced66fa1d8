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
from class_kit.neighbours.blocks import Part, Shared, run_blocks, single_blas, thread_count
from class_kit.neighbours.cosines import COLUMNS, Cosines, spans
from class_kit.retrieval.metrics import Ranks
from class_kit.retrieval.vectors import (
    MEMORY,
    TIE_TOLERANCE,
    as_matrix,
    as_vectors,
    check_memory,
    check_same_width,
    check_score_tolerance,
    target_rows,
)

Side = NDArray[Any] | Cosines
# scores, their order, their sorted copy and the summed standings, each 8 bytes, and as much for temporaries
_BYTES_A_CELL = 64


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
    sides = [_side(model, number) for number, model in enumerate(models)]
    queries, pool = _common_shape(sides)
    goal = target_rows(targets, queries, pool)
    height = max(1, memory // (thread_count(None) * _BYTES_A_CELL * pool))
    tasks = [(rows.start, rows.stop) for rows in spans(queries, height)]
    loads = [float(stop - start) for start, stop in tasks]
    shared = Shared(*sides, goal, tie_tolerance)
    greater, equal = np.empty((2, queries), np.int64)
    with single_blas():
        for block, higher, level in run_blocks(
            _rank_block, shared, tasks, loads, n_jobs=None, progress=progress, desc="rank ensemble", unit=" queries"
        ):
            rows = slice(*tasks[block])
            greater[rows], equal[rows] = higher, level
    return Ranks(greater, equal, pool)


def _rank_block(shared: Shared, block: int, start: int, stop: int) -> Part:
    """Candidates of smaller and of the same mean rank for some queries."""
    *sides, goal, tolerance = shared.values
    pool, rows = _shape(sides[0])[1], slice(start, stop)
    standing = np.zeros((stop - start, pool), np.int64)
    for side in sides:
        scores = np.empty((stop - start, pool))
        for columns in spans(pool, COLUMNS):
            scores[:, columns] = side.float64(rows, columns) if isinstance(side, Cosines) else side[rows, columns]
        order = np.argsort(scores, axis=1)
        _compiled_standings()(np.take_along_axis(scores, order, axis=1), order, tolerance, standing)
    own = np.take_along_axis(standing, goal[rows, None], axis=1)
    return block, np.count_nonzero(standing < own, axis=1), np.count_nonzero(standing == own, axis=1) - 1


def _side(model: Any, number: int) -> Side:
    """A model's score matrix, or the cosines of its queries and candidates, checked."""
    if not isinstance(model, tuple):
        return as_matrix(model, f"scores of model {number}")
    if len(model) != 2:
        raise InputError(f"model {number} is a tuple of {len(model)}: expected queries and candidates, or a matrix")
    names = f"queries of model {number}", f"candidates of model {number}"
    queries, candidates = (as_vectors(values, name) for values, name in zip(model, names, strict=True))
    check_same_width(queries, candidates, names)
    return Cosines(queries, candidates)


def _shape(side: Side) -> tuple[int, int]:
    return (len(side.rows), len(side.refs)) if isinstance(side, Cosines) else (side.shape[0], side.shape[1])


def _common_shape(sides: Sequence[Side]) -> tuple[int, int]:
    """Queries and pool size, which all models must share."""
    if not sides:
        raise InputError("models is empty: expected at least one")
    shapes = [_shape(side) for side in sides]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise InputError(
                f"model {number} ranks {shape[1]} candidates for {shape[0]} queries and model 0 {shapes[0][1]} for "
                f"{shapes[0][0]}: expected the same queries and pool"
            )
    return shapes[0]


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
