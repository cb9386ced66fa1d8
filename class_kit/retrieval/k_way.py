"""Zero-shot choice among k candidates: how often the relevant one beats k - 1 others drawn from the pool.

The task of MoleculeSTM (Liu et al. 2023, zero-shot structure–text retrieval, k = 4, 10, 20). Its evaluation draws the
others once a query; here the mean over all draws is computed from the exact ranks, so there is nothing to seed or to
repeat, and no draw's luck in the figure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.checks import check_whole
from class_kit.retrieval.metrics import Ranks


def k_way_chances(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """The chance that the relevant candidate of each query is chosen among itself and k - 1 random others.

    The others are drawn without replacement from the rest of the pool. With g of them scored higher, and the tie with
    e equal ones broken at random, the relevant candidate's rank is uniform on g + 1 … g + e + 1; at rank r it wins if
    none of the r - 1 above it is drawn, which of a pool of C has the hypergeometric probability
    C(C - r, k - 1) / C(C - 1, k - 1). The mean of that over the ranks is the chance.

    Parameters
    ----------
    ranks : Ranks
        In a pool of C candidates.
    k : int
        Candidates to choose from, the relevant one included, between 1 and C.

    Returns
    -------
    (Q,) float64
        In [0, 1]. Where all candidates tie it is 1 / k.

    Raises
    ------
    InputError
        For a k that is not a whole number in that range.
    """
    ways = check_whole("k", k, low=1, high=ranks.pool)
    above = np.arange(1, ranks.pool)
    # one more candidate above: of the pool less those above so far, k - 1 are drawn and each may be that one
    step = np.maximum(ranks.pool - above - (ways - 1), 0) / (ranks.pool - above)
    winning = np.concatenate([[1.0], np.cumprod(step)])
    chances = winning[ranks.greater]
    tied = np.flatnonzero(ranks.equal)
    if len(tied):
        first, last = ranks.greater[tied], ranks.greater[tied] + ranks.equal[tied] + 1
        total = np.concatenate([[0.0], np.cumsum(winning)])
        chances[tied] = (total[last] - total[first]) / (last - first)
    return chances


def k_way_accuracy(queries: ArrayLike, candidates: ArrayLike, targets: ArrayLike, k: int) -> float:
    """Share of queries whose relevant candidate is chosen among k by cosine, in expectation over the k - 1 others.

    Texts as queries and molecules as candidates choose a molecule for a text; swapped, a text for a molecule.

    Parameters
    ----------
    queries : (Q, d) real
    candidates : (C, d) real
        The pool the others are drawn from.
    targets : (Q,) int
        Row of `candidates` that is relevant to each query.
    k : int
        Candidates to choose from, between 1 and C. Guessing gives 1 / k.

    Returns
    -------
    float
        In [0, 1]; `k_way_chances` of `retrieval_ranks` gives it query by query.

    Raises
    ------
    InputError
        As `retrieval_ranks` and `k_way_chances`.
    """
    # this module is part of that package and loaded before it is complete
    from class_kit.retrieval import retrieval_ranks

    return float(k_way_chances(retrieval_ranks(queries, candidates, targets), k).mean())
