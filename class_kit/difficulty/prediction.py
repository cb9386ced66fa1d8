"""Which measure predicts the rank that a trained retriever gives a pair? The question the paper takes as answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from class_kit.difficulty.order import check_vector
from class_kit.neighbours import neighbour_counts
from class_kit.neighbours.rows import make_rows

AT_ONCE = 200_000


@dataclass(frozen=True)
class Association:
    """Spearman's correlation of one measure with the ranks, and its bootstrap interval over the pairs.

    All three are None where the measure (or the rank) is the same for every pair: nothing is ordered then.
    `distinct` is the number of different values, 1 − ties in another form.
    """

    measure: str
    rho: float | None
    low: float | None
    high: float | None
    pairs: int
    distinct: int


def measure_vs_rank(
    measures: Mapping[str, Any], ranks: Any, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> list[Association]:
    """Spearman correlation between each measure and the ranks of held-out pairs, with percentile bootstrap intervals.

    A positive value means that what the measure calls harder is ranked lower. The pairs are drawn, the same draws for
    every measure, so that two measures are compared on equal samples; draws in which a side is constant are left out.

    Parameters
    ----------
    measures : name → (Q,) values, higher is harder.
    ranks : (Q,) expected rank of each pair's partner, or a `Ranks` with `greater` and `equal`.

    Raises ValueError for unequal lengths, fewer than 3 pairs, or a level outside (0, 1).
    """
    if hasattr(ranks, "greater"):
        ranks = np.asarray(ranks.greater) + 1 + np.asarray(ranks.equal) / 2
    target = check_vector(ranks, "ranks").astype(np.float64)
    if len(target) < 3:
        raise ValueError(f"there are {len(target)} pairs: a correlation needs at least 3")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: a number between 0 and 1 expected")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}: at least 1 expected")
    result = []
    for name, values in measures.items():
        x = check_vector(values, name).astype(np.float64)
        if len(x) != len(target):
            raise ValueError(f"measure {name!r} has {len(x)} values for {len(target)} ranks: one for each expected")
        rho, low, high = _interval(x, target, resamples, level, seed)
        result.append(Association(name, rho, low, high, len(x), len(np.unique(x))))
    return result


def heldout_counts(
    t: Any,
    m: Any,
    sigma: float,
    *,
    train: tuple[Any, Any],
    pool: tuple[Any, Any],
    weight: float = 0.5,
    own_in_pool: bool = True,
) -> dict[str, np.ndarray]:
    """Neighbours of held-out pairs in the training set and in the candidate pool, separately, each (Q,) int64.

    Near-duplicates in training make a pair familiar, those in the pool make it ambiguous: one number for both would
    confound the two. `own_in_pool`: the pool holds each pair itself, which is then not counted.
    """
    in_train = neighbour_counts(t, m, sigma, weight=weight, against=train)
    in_pool = neighbour_counts(t, m, sigma, weight=weight, against=pool)
    if own_in_pool:
        # 1 unless a modality is a zero vector
        length = make_rows(t, m, weight).squared_length(slice(None))
        in_pool = in_pool - (length > sigma + 5e-13)
        if (in_pool < 0).any():
            row = int(np.flatnonzero(in_pool < 0)[0])
            raise ValueError(f"pair {row} is not in the pool: own_in_pool=False expected")
    return {"train": in_train, "pool": in_pool}


def _interval(
    x: np.ndarray, y: np.ndarray, resamples: int, level: float, seed: int
) -> tuple[float | None, float | None, float | None]:
    rho = float(_spearman(x[None], y[None])[0])
    if np.isnan(rho):
        return None, None, None
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    step = max(1, AT_ONCE // len(x))
    for start in range(0, resamples, step):
        rows = rng.integers(0, len(x), (min(step, resamples - start), len(x)))
        drawn[start : start + len(rows)] = _spearman(x[rows], y[rows])
    valid = drawn[~np.isnan(drawn)]
    if not len(valid):
        return rho, None, None
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return rho, float(low), float(high)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Row by row; NaN where a row is constant."""
    from scipy.stats import rankdata

    a, b = rankdata(x, axis=1), rankdata(y, axis=1)
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    spread = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), spread, out=np.full(len(a), np.nan), where=spread > 0)
