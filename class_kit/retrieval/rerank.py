"""Ranking in two stages: cosines of a whole pool first, then a dearer score of each query's best candidates.

A score that needs a text and a molecule together (optimal transport between tokens and motifs, cross-attention) cannot
be had for every pair of a large pool; ranks from two stages say which candidates it was asked about.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.errors import InputError
from class_kit.progress import progress_bar
from class_kit.retrieval.metrics import Ranks

RERANKED = 50
# pairs scored in one call: what a padded block of tokens and graphs may cost
_PAIRS = 2_048

PairScores = Callable[[NDArray[np.int64], NDArray[np.int64]], ArrayLike]


def rerank(
    ranks: Ranks,
    shortlist: ArrayLike,
    targets: ArrayLike,
    scores: PairScores,
    *,
    tie_tolerance: float = 1e-9,
    progress: bool | None = None,
) -> Ranks:
    """Rank each query's shortlist again by a full score; the rest of the pool keeps its place behind it.

    Parameters
    ----------
    ranks : Ranks
        Of the first stage, Q queries in the whole pool.
    shortlist : (Q, K) int
        The K best candidates of each query in the first stage, as `search` gives them, no candidate twice.
    targets : (Q,) int
        Row of the relevant candidate.
    scores : callable
        Takes n query rows and n candidate rows, returns n full scores, larger is closer.
    tie_tolerance : float
        Largest difference of two scores that counts as a tie.

    Returns
    -------
    Ranks
        A target within its shortlist is ranked there by the full score. A target outside keeps its rank, except that
        no more than the candidates tied with it in the first stage can be tied with it now: those that made the
        shortlist stand before it.

    Raises
    ------
    InputError
        Shapes that do not fit, a target outside the pool, or a score that is not finite.
    """
    best, goal = np.asarray(shortlist), np.asarray(targets)
    count = len(ranks.greater)
    if best.ndim != 2 or len(best) != count or goal.shape != (count,) or not best.size:
        raise InputError(f"shortlist {best.shape} and targets {goal.shape}: expected ({count}, K) and ({count},)")
    if best.dtype.kind not in "iu" or goal.dtype.kind not in "iu" or goal.min() < 0 or goal.max() >= ranks.pool:
        raise InputError(f"targets and shortlist: expected rows of the pool, 0 to {ranks.pool - 1}")
    full = _full_scores(best.astype(np.int64), scores, progress)
    hit = best == goal[:, None]
    inside = hit.any(axis=1)
    own = np.where(hit, full, -np.inf).max(axis=1)[:, None]
    with np.errstate(invalid="ignore"):
        gap = full - own
    greater, equal = ranks.greater.copy(), ranks.equal.copy()
    greater[inside] = (gap > tie_tolerance).sum(axis=1)[inside]
    equal[inside] = ((np.abs(gap) <= tie_tolerance).sum(axis=1) - 1)[inside]
    outside = ~inside
    behind = np.maximum(ranks.greater, best.shape[1])[outside]
    equal[outside] -= behind - greater[outside]
    greater[outside] = behind
    return Ranks(greater, equal, ranks.pool)


def _full_scores(best: NDArray[np.int64], scores: PairScores, progress: bool | None) -> NDArray[np.float64]:
    queries, width = best.shape
    full = np.empty((queries, width))
    step = max(1, _PAIRS // width)
    disable = None if progress is None else not progress
    with progress_bar(total=queries, desc="full scores", unit="query", disable=disable) as bar:
        for start in range(0, queries, step):
            rows = np.arange(start, min(start + step, queries))
            found = np.asarray(scores(np.repeat(rows, width), best[rows].ravel()), np.float64)
            if found.shape != (len(rows) * width,) or not np.isfinite(found).all():
                raise InputError(f"scores gave {found.shape}, finite {np.isfinite(found).all()}: expected finite (n,)")
            full[rows] = found.reshape(len(rows), width)
            bar.update(len(rows))
    return full
