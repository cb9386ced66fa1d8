"""Ranking in two stages: cosines of a whole pool first, then a costlier score of each query's best candidates.

A score that needs a text and a molecule together (optimal transport between tokens and motifs, cross-attention) cannot
be had for every pair of a large pool; ranks from two stages say which candidates it was asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.errors import InputError
from class_kit.neighbours.cosines import spans
from class_kit.progress import progress_bar
from class_kit.retrieval.metrics import Ranks, check_targets, rank_dense

RERANKED = 50
# pairs scored in one call: what a padded block of tokens and graphs may cost
_PAIRS = 2_048


def rerank(
    ranks: Ranks,
    shortlist: ArrayLike,
    targets: ArrayLike | Sequence[Sequence[int]],
    scores: Callable[[NDArray[np.int64], NDArray[np.int64]], ArrayLike],
    *,
    progress: bool | None = None,
) -> Ranks:
    """Rank each query's shortlist again by a full score; the rest of the pool keeps its place behind it.

    Parameters
    ----------
    ranks : Ranks
        Of the first stage, Q queries in the whole pool.
    shortlist : (Q, K) int
        The K best candidates of each query in the first stage, as `search` gives them, no candidate twice.
    targets : (Q,) int, or Q sequences of int
        Row of the relevant candidate, or of the relevant ones, as they were given to the first stage.
    scores : callable
        Takes n query rows and n candidate rows, returns n full scores, larger is closer.
    progress : bool or None
        Show a progress bar; None shows it in a terminal only.

    Returns
    -------
    Ranks
        A target within its shortlist is ranked there by the full score, the best of several of them. A target outside
        keeps its rank, except that no more than the candidates tied with it in the first stage can be tied with it now:
        those that made the shortlist stand before it.

    Raises
    ------
    InputError
        Shapes that do not fit, a target outside the pool, or a score that is not finite.
    """
    best = np.asarray(shortlist)
    query, goals = check_targets(targets, len(ranks), ranks.pool)
    if best.ndim != 2 or len(best) != len(ranks) or best.dtype.kind not in "iu" or not best.size:
        raise InputError(f"shortlist has shape {best.shape} of {best.dtype}: ({len(ranks)}, K) whole numbers expected")
    full = np.empty(best.shape)
    with progress_bar(total=len(best), desc="full scores", unit="query", show=progress) as bar:
        for part in spans(len(best), max(1, _PAIRS // best.shape[1])):
            queries = np.repeat(np.arange(part.start, part.stop), best.shape[1])
            found = np.asarray(scores(queries, best[part].astype(np.int64).ravel()), np.float64)
            if found.shape != queries.shape or not np.isfinite(found).all():
                raise InputError(f"scores gave {found.shape}, finite {np.isfinite(found).all()}: expected finite (n,)")
            full[part] = found.reshape(-1, best.shape[1])
            bar.update(part.stop - part.start)
    hit = np.isin(best + np.arange(len(best))[:, None] * ranks.pool, goals + query * ranks.pool)
    inside = hit.any(axis=1)
    outside = ~inside
    greater, equal, right = ranks.greater.copy(), ranks.equal.copy(), ranks.right.copy()
    if inside.any():
        query, column = np.nonzero(hit[inside])
        again = rank_dense(full[inside], query, column)
        greater[inside], equal[inside], right[inside] = again.greater, again.equal, again.right
    behind = np.maximum(ranks.greater, best.shape[1])[outside]
    equal[outside] -= behind - greater[outside]
    greater[outside] = behind
    return Ranks(greater, equal, ranks.pool, right)
