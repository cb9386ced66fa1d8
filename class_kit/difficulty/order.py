"""Turn neighbour counts into an order, easiest first, and make its hidden choices explicit: ties and σ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from class_kit.checks import check_choice, check_real, check_vector
from class_kit.errors import InputError
from class_kit.neighbours import neighbour_counts, top_similarities

TIES = ("shuffle", "stable", "similarity")


def difficulty_order(counts: Any, ties: str = "shuffle", seed: int = 0, similarity: Any = None) -> np.ndarray:
    """Order the pairs from easy to hard: ascending neighbour counts.

    With sentence encoders most pairs have no neighbour at σ = 0.99, so the tie rule decides most of the order: it is
    an argument, not an accident of the sort.

    Parameters
    ----------
    counts : (L,) counts or any difficulty, lower is easier; finite.
    ties : "shuffle" (seeded), "stable" (file order) or "similarity" (lower `similarity` is easier, then file order).
    similarity : (L,), needed by ties="similarity"; the mean of a pair's ten highest similarities serves well.

    Returns (L,) int64, row numbers, easiest first. Raises InputError for what cannot be ordered.
    """
    values = check_vector("counts", counts)
    check_choice("ties", ties, TIES)
    if ties == "stable":
        return np.argsort(values, kind="stable").astype(np.int64)
    if ties == "similarity":
        if similarity is None:
            raise InputError(
                "ties='similarity' needs similarity=: expected one number per pair (see mean_top_similarity)"
            )
        second = check_vector("similarity", similarity)
        if len(second) != len(values):
            raise InputError(f"similarity has {len(second)} values for {len(values)} counts: expected one per count")
        return np.lexsort((second, values)).astype(np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(values))
    return shuffled[np.argsort(values[shuffled], kind="stable")].astype(np.int64)


def tie_mass(counts: Any) -> float:
    """Share of the pairs that the measure alone cannot place: those in its largest group of equal values.

    At 0.95 the order is mostly the tie rule. A number in (0, 1].
    """
    values = check_vector("counts", counts)
    return float(np.unique(values, return_counts=True)[1].max() / len(values))


def sigma_for_quantile(
    t: Any, m: Any = None, q: float = 0.5, *, weight: float = 0.5, progress: bool | None = None
) -> float:
    """The σ at which a share `q` of the pairs has no neighbour.

    A fixed σ means something else under every encoder; a share of lonely pairs does not. It is the quantile, without
    interpolation, of the similarity of each pair to its nearest neighbour: ceil(q·L) pairs have no neighbour above it
    (more where several share that similarity). 2e-12 is added so that rounding cannot turn the pair on the edge.

    `q` in (0, 1]. Raises InputError for q out of range and for a single pair.
    """
    check_real("q", q, low=0.0, high=1.0, open_low=True)
    return quantile_sigma(top_similarities(t, m, 1, weight=weight, progress=progress)[1][:, 0], q)


def quantile_sigma(nearest: np.ndarray, q: float) -> float:
    """`sigma_for_quantile` from the similarities `(L,)` of the pairs to their nearest neighbours."""
    rank = int(np.ceil(q * len(nearest) - 1e-9)) - 1
    return float(min(np.sort(nearest)[max(rank, 0)] + 2e-12, 1.0))


def mean_top_similarity(
    t: Any, m: Any = None, k: int = 10, *, weight: float = 0.5, progress: bool | None = None
) -> np.ndarray:
    """Mean similarity of each pair to its `k` most similar others, (L,) float64; a tie rule that knows density.

    With fewer than `k` other pairs, the mean over those there are. Raises InputError for k < 1 or a single pair.
    """
    return top_similarities(t, m, k, weight=weight, progress=progress)[1].mean(axis=1)


def difficulty_table(
    pairs: Any,
    t: Any,
    m: Any,
    sigmas: Sequence[float],
    *,
    ties: str = "shuffle",
    seed: int = 0,
    weight: float = 0.5,
    progress: bool | None = None,
) -> dict[str, np.ndarray]:
    """Everything about each pair's difficulty as columns of one table, in the order of `pairs`.

    Returns `id`; for every σ `neighbours@σ` (int64) and `rank@σ` (int64, 1 is the easiest, equal counts by `ties`);
    `nearest_id` and `nearest_similarity` ("" and NaN where there is one pair only). `pairs` needs
    `id`, one for each row of `t` and `m`. All thresholds are counted in one pass, and equal counts cost nothing to
    store, so that 200,000 pairs are no special case. Raises InputError where the lengths differ.
    """
    ids = np.asarray(pairs.id, dtype=object)
    levels = list(sigmas)
    counts = neighbour_counts(t, m, levels, weight=weight, progress=progress)
    if len(ids) != counts.shape[1]:
        raise InputError(f"there are {len(ids)} ids for {counts.shape[1]} rows of embeddings: expected one per row")
    columns: dict[str, np.ndarray] = {"id": ids}
    similarity = None
    if ties == "similarity":
        similarity = mean_top_similarity(t, m, weight=weight, progress=progress) if len(ids) > 1 else np.zeros(1)
    for sigma, count in zip(levels, counts, strict=True):
        rank = np.empty(len(ids), np.int64)
        rank[difficulty_order(count, ties=ties, seed=seed, similarity=similarity)] = np.arange(1, len(ids) + 1)
        columns[f"neighbours@{sigma:g}"], columns[f"rank@{sigma:g}"] = count, rank
    if len(ids) > 1:
        index, nearest = top_similarities(t, m, 1, weight=weight, progress=progress)
        columns["nearest_id"], columns["nearest_similarity"] = ids[index[:, 0]], nearest[:, 0]
    else:
        columns["nearest_id"], columns["nearest_similarity"] = np.array([""], object), np.array([np.nan])
    return columns
