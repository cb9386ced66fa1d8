"""What ranks are worth: Hits@k, MRR and Mean Rank with ties in expectation, and their intervals over queries.

A rank is two counts, never one number: the candidates scored higher than the relevant one (`greater`) and those
scored the same (`equal`). Mol2vec words are equal for stereoisomers, so exact ties are common, and a rank that
settles them by the order of an array rewards whoever sorted the array. Every metric here is the expectation under
a random order of the tied candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from class_kit.errors import InputError


@dataclass(frozen=True)
class Ranks:
    """Where the relevant candidate of each query stands.

    Attributes
    ----------
    greater : (Q,) int64
        Candidates scored higher than the relevant one.
    equal : (Q,) int64
        Other candidates scored the same, the relevant one not included.
    pool : int
        Number of candidates ranked against, the relevant one included.
    """

    greater: NDArray[np.int64]
    equal: NDArray[np.int64]
    pool: int

    def __post_init__(self) -> None:
        for name in ("greater", "equal"):
            counts = np.asarray(getattr(self, name))
            if counts.ndim != 1 or counts.dtype.kind not in "iu" or len(counts) == 0:
                raise InputError(
                    f"{name} must hold one integer per query, and one query at least; "
                    f"got shape {counts.shape} of {counts.dtype}"
                )
            object.__setattr__(self, name, counts.astype(np.int64))
        if self.greater.shape != self.equal.shape:
            raise InputError(f"greater has {len(self.greater)} queries and equal {len(self.equal)}: expected as many")
        if min(self.greater.min(), self.equal.min()) < 0:
            raise InputError("greater and equal must not be negative")
        last = int((self.greater + self.equal).max()) + 1
        if last > self.pool:
            raise InputError(f"a rank of {last} does not fit a pool of {self.pool} candidates")

    def __len__(self) -> int:
        return len(self.greater)


def per_query_metrics(ranks: Ranks, *, ks: Sequence[int] = (1, 10)) -> dict[str, NDArray[np.float64]]:
    """Every metric of every query, each its expectation under a random order of the tied candidates.

    With g candidates higher and e others equal the rank is uniform on g+1 … g+e+1, hence the mean rank g + 1 + e/2,
    Hits@k = clip((k - g)/(e + 1), 0, 1) and the mean of 1/r over those ranks. The mean of each array over queries
    is the metric of the same name.

    Parameters
    ----------
    ranks : Ranks
    ks : sequence of int
        Cut-offs of Hits@k, each at least 1.

    Returns
    -------
    dict of (Q,) float64
        `hits@k` in [0, 1] for every k, `mrr` in (0, 1], `mean_rank` in [1, pool].

    Raises
    ------
    InputError
        For a cut-off that is not a positive integer.
    """
    for k in ks:
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise InputError(f"ks must be integers of at least 1, got {k!r}")
    greater, equal = ranks.greater, ranks.equal
    metrics: dict[str, NDArray[np.float64]] = {f"hits@{k}": np.clip((k - greater) / (equal + 1), 0.0, 1.0) for k in ks}
    reciprocal = 1.0 / (greater + 1)
    tied = np.flatnonzero(equal)
    if len(tied):
        first, last = greater[tied], greater[tied] + equal[tied] + 1
        harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, last.max() + 1))])
        reciprocal[tied] = (harmonic[last] - harmonic[first]) / (last - first)
    metrics["mrr"] = reciprocal
    metrics["mean_rank"] = greater + 1 + equal / 2
    return metrics


def retrieval_metrics(
    ranks: Ranks, *, ks: Sequence[int] = (1, 10), confidence: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """Summarise ranks: Hits@k, MRR and Mean Rank with intervals over queries.

    The intervals say how far another draw of queries would move a metric of this very model. How far another
    training run would move it is a question for several seeds (`class_kit.study.statistics`).

    Hits@k takes the Wilson score interval (Wilson 1927), which stays sensible at 0 and 1 and is conservative where
    ties make a hit a fraction. MRR takes Student's t. Ranks are heavily skewed, so Mean Rank takes the studentised
    bootstrap over queries (Efron and Tibshirani 1993, section 12.5), seeded: on log-normal ranks of median 3 and mean
    10 it covered 91 % of draws of 300 queries and 93 % of 3,300; Student's t covered 87 % and 93 %, and 81 % of 50
    where this covered 91 %. One query tells nothing of the spread: MRR and Mean Rank then get the whole range they
    can have.

    Parameters
    ----------
    ranks : Ranks
    ks : sequence of int
        Cut-offs of Hits@k.
    confidence : float
        Nominal coverage, between 0 and 1.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    dict
        Plain floats `hits@k` (a share in [0, 1]), `mrr`, `mean_rank`, `pool`, `queries`; and for each metric
        `<name>_ci`, a list [low, high].

    Raises
    ------
    InputError
        For a cut-off that is not a positive integer or a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence!r}")
    values = per_query_metrics(ranks, ks=ks)
    table: dict[str, Any] = {name: float(value.mean()) for name, value in values.items()}
    for name, value in values.items():
        if name.startswith("hits@"):
            low, high = _wilson(table[name], len(ranks), confidence)
        elif name == "mrr":
            low, high = _student(value, confidence, (1 / ranks.pool, 1.0))
        else:
            low, high = _bootstrap_t(value, confidence, (1.0, float(ranks.pool)), seed)
        table[f"{name}_ci"] = [float(low), float(high)]
    return table | {"pool": float(ranks.pool), "queries": float(len(ranks))}


def _wilson(share: float, count: int, confidence: float) -> tuple[float, float]:
    from scipy.special import ndtri

    z = float(ndtri((1 + confidence) / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    # at the ends the formula gives 0 and 1 but for rounding
    return (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)


def _student(values: NDArray[np.float64], confidence: float, bounds: tuple[float, float]) -> tuple[float, float]:
    from scipy.special import stdtrit

    if len(values) < 2:
        return bounds
    half = stdtrit(len(values) - 1, (1 + confidence) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return max(bounds[0], values.mean() - half), min(bounds[1], values.mean() + half)


def _bootstrap_t(
    values: NDArray[np.float64], confidence: float, bounds: tuple[float, float], seed: int, resamples: int = 2000
) -> tuple[float, float]:
    if len(values) < 2:
        return bounds
    # drawing how often each distinct value occurs is the same draw as queries with replacement, and far cheaper
    distinct, frequency = np.unique(values, return_counts=True)
    count, mean = len(values), values.mean()
    error = values.std() / np.sqrt(count)
    random, step = np.random.default_rng(seed), max(1, 2**21 // len(distinct))
    means, errors = np.empty(resamples), np.empty(resamples)
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        drawn = random.multinomial(count, frequency / count, size=part.stop - start) / count
        means[part] = drawn @ distinct
        errors[part] = drawn @ (distinct - mean) ** 2
    errors = np.sqrt(np.maximum(errors - (means - mean) ** 2, 0) / count)
    usable = errors > 0
    if not usable.any():
        return mean, mean
    lower, upper = np.quantile((means[usable] - mean) / errors[usable], [(1 - confidence) / 2, (1 + confidence) / 2])
    return max(bounds[0], mean - upper * error), min(bounds[1], mean - lower * error)
