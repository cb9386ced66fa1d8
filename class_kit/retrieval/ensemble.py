"""Several models as one: candidates ordered by the mean of the ranks that each model gives them.

Text2Mol's ensemble (Edwards et al. 2021, section 4.4). Ranks average where scores cannot: models need no common scale,
only the same queries and the same pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.errors import InputError
from class_kit.neighbours.blocks import run_blocks, single_blas
from class_kit.neighbours.cosines import Cosines, spans
from class_kit.retrieval.metrics import TIE_TOLERANCE, Ranks, check_scores, check_targets, check_vectors, rank_dense

# of a block: scores, their order, their sorted copy and the summed standings, each 8 bytes
_CELLS = 2**20


def ensemble_ranks(
    models: Sequence[ArrayLike | tuple[ArrayLike, ArrayLike]],
    targets: ArrayLike | Sequence[Sequence[int]],
    *,
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
    targets : (Q,) int, or Q sequences of int
        Candidate that is relevant to each query, or its relevant ones: the rank is then that of the first.
    progress : bool or None
        Show a progress bar; None shows it in a terminal only.

    Returns
    -------
    Ranks
        `greater` and `equal` count candidates of smaller and of the same mean rank; 1e-9 apart is level.

    Raises
    ------
    InputError
        For no model, shapes that do not fit each other, values that are not finite or a target outside the pool.
    """
    sides = [_side(model, number) for number, model in enumerate(models)]
    shapes = {(len(side.rows), len(side.refs)) if isinstance(side, Cosines) else side.shape for side in sides}
    if len(shapes) != 1:
        raise InputError(f"models rank {sorted(shapes)} (queries, candidates): expected one or more, of the same shape")
    ((queries, pool),) = shapes
    goals = check_targets(targets, queries, pool)
    greater, equal, right = np.empty((3, queries), np.int64)
    with single_blas():
        tasks = list(spans(queries, max(1, _CELLS // pool)))
        for rows, found in run_blocks(
            _rank_block, (*sides, goals, pool), tasks, progress=progress, desc="rank ensemble", unit=" queries"
        ):
            greater[rows], equal[rows], right[rows] = found
    return Ranks(greater, equal, pool, right)


def _side(model: Any, number: int) -> NDArray[Any] | Cosines:
    """A model's score matrix, or the cosines of its queries and candidates, checked."""
    if not isinstance(model, tuple):
        return check_scores(model, f"scores of model {number}")
    if len(model) != 2:
        raise InputError(f"model {number} is a tuple of {len(model)}: expected queries and candidates, or a matrix")
    queries, candidates = check_vectors(*model, (f"queries of model {number}", f"candidates of model {number}"))
    return Cosines(queries, candidates, copied=False)


def _rank_block(shared: tuple[Any, ...], rows: slice) -> tuple[NDArray[np.int64], ...]:
    """How many candidates have a smaller mean rank than the best relevant one, and how many irrelevant and relevant
    ones the same, for some queries.

    A candidate's standing is how many are above it less how many are below. That is twice its rank less C + 1, the
    same constant for all: 2 (g + 1 + e/2) = g - b + C + 1, where b are below and g + e + b + 1 = C.
    """
    *sides, (query, goals), pool = shared
    standing = np.zeros((rows.stop - rows.start, pool), np.int64)
    for side in sides:
        scores = side.float64(rows, slice(None)) if isinstance(side, Cosines) else side[rows].astype(np.float64)
        for one, own in zip(standing, scores, strict=True):
            order = np.argsort(own)
            ascending = own[order]
            reached = np.searchsorted(ascending, ascending + TIE_TOLERANCE, side="right")
            one[order] += len(own) - reached - np.searchsorted(ascending, ascending - TIE_TOLERANCE)
    part = slice(*np.searchsorted(query, (rows.start, rows.stop)))
    found = rank_dense(-standing, query[part] - rows.start, goals[part])
    return found.greater, found.equal, found.right
