"""Test which measure of difficulty predicts the rank that a trained retriever gives a pair, which the paper assumes.

A curriculum knows the neighbours in the training set. Neighbours in the pool compete with the right answer whatever the
training, so they are counted separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from class_kit.checks import check_real, check_vector, check_whole
from class_kit.difficulty.measures import AROUND, MEASURES, MODEL, difficulty
from class_kit.errors import InputError

AT_ONCE = 200_000


@dataclass(frozen=True)
class HeldOut:
    """One measure of the held-out pairs, higher is harder.

    `counted_in` is "train" or "pool" where it looks at other pairs, "pair" where it looks at the pair alone, and
    "model" where it repeats what another model says of the pair in the pool.
    """

    name: str
    label: str
    counted_in: str
    values: np.ndarray


def heldout_measures(
    held: Mapping[str, Any], known: Mapping[str, Any], sigmas: Sequence[float], *, weight: float = 0.75, k: int = 10
) -> list[HeldOut]:
    """Every measure of held-out pairs; those that look at other pairs twice, in the training set and in the pool.

    Parameters
    ----------
    held : t, m, text, smiles of the Q held-out pairs, among which they are ranked, and what another model says of
        them (loss, el2n, rank) where that is wanted, as `difficulty` takes them.
    known : t, m, text, smiles of the training pairs.
    sigmas : thresholds of the paper's count; the other counts take the first of them.
    weight : share of the text in the weighted count, in [0, 1].
    k : which neighbour's distance, from 1.

    Returns the paper's count in the training set first. Measures whose fields `held` does not name are left out.
    Raises InputError as `difficulty`.
    """
    if not len(sigmas):
        raise InputError("sigmas is empty: expected at least one threshold")
    found: list[HeldOut] = []
    for name, measure in MEASURES.items():
        if any(held.get(field) is None for field in measure.needs):
            continue
        places: dict[str, Mapping[str, Any] | None] = {"train": known, "pool": None}
        if AROUND.isdisjoint(measure.needs):
            places = {"pair" if MODEL.isdisjoint(measure.needs) else "model": None}
        # the share is the weighted count's own question; the others stay at the paper's half
        share = weight if name == "neighbours_weighted" else 0.5
        for sigma in sigmas if name == "neighbours" else sigmas[:1]:
            options = {"sigma": sigma, "weight": share, "k": k}
            label = measure.label.format(**options)
            found += [
                HeldOut(name, label, place, difficulty(name, reference=reference, **held, **options))
                for place, reference in places.items()
            ]
    return sorted(found, key=lambda one: ("train", "pair", "pool", "model").index(one.counted_in))


def measure_vs_rank(
    measured: Sequence[HeldOut], ranks: Any, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> list[dict[str, Any]]:
    """Spearman correlation between each measure and the ranks of held-out pairs, with percentile bootstrap intervals.

    A positive value means that what the measure calls harder is ranked worse. The pairs are drawn, the same draws for
    every measure, so that two measures are compared on equal samples; draws in which a side is constant are left out.

    Parameters
    ----------
    measured : values of the Q pairs, as `heldout_measures` gives them.
    ranks : (Q,) expected rank of each pair's partner, or a `Ranks` with `greater` and `equal`.
    resamples, level, seed : of the bootstrap; the level is the nominal coverage, between 0 and 1.

    Returns
    -------
    list of dict
        name, measure (its label), rho, low, high, pairs, distinct (different values) and counted_in. rho, low and
        high are None where the measure or the rank is the same for every pair: nothing is ordered then.

    Raises InputError for unequal lengths, fewer than 3 pairs, or a level outside (0, 1).
    """
    if hasattr(ranks, "greater"):
        ranks = np.asarray(ranks.greater) + 1 + np.asarray(ranks.equal) / 2
    target = check_vector("ranks", ranks).astype(np.float64)
    if len(target) < 3:
        raise InputError(f"there are {len(target)} pairs: expected at least 3 for a correlation")
    check_real("level", level, low=0.0, high=1.0)
    check_whole("resamples", resamples, low=1)
    rows = []
    for one in measured:
        x = check_vector(one.label, one.values).astype(np.float64)
        if len(x) != len(target):
            raise InputError(
                f"measure {one.label!r} has {len(x)} values for {len(target)} ranks: expected one per rank"
            )
        rho, low, high = _interval(x, target, resamples, level, seed)
        row = {"name": one.name, "measure": one.label, "rho": rho, "low": low, "high": high, "pairs": len(x)}
        rows.append(row | {"distinct": len(np.unique(x)), "counted_in": one.counted_in})
    return rows


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
