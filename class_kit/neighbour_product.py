"""Counting by the plain blocked product: every pair, in float32, with the doubtful ones decided in float64.

The engine for small sets and for thresholds that no bound can prune. A float32 product of two unit vectors of width d
is off by at most about d·2⁻²⁴ (Higham, Accuracy and Stability, section 3.1), so only pairs that near a threshold need
the second look; the rest is already decided exactly.
"""

from __future__ import annotations

import numpy as np

from class_kit.neighbour_rows import Rows, exact_similarity

COLUMNS = 2048


def float32_error(width: int) -> float:
    """Bound on |⟨a, b⟩ in float32 − exact| for |a|, |b| ≤ 1, rounding of the inputs included."""
    return (width + 8) * 2.0**-24 + 1e-12


def count_panel(
    rows: Rows, refs: Rows, sigmas: np.ndarray, start: int, stop: int, symmetric: bool
) -> tuple[int, np.ndarray]:
    """Neighbours of rows[start:stop] among `refs`; where both are one set, of the later rows as well.

    Returns the first row counted for and the counts, (n_sigma, rows) int64: rows start..n when `symmetric` (each pair
    is looked at once, from the earlier row's panel), rows start..stop otherwise.
    """
    counts = np.zeros((len(sigmas), (len(rows) if symmetric else stop) - start), np.int64)
    panel = rows.unit(slice(start, stop)).astype(np.float32)
    first = start if symmetric else 0
    for left in range(first, len(refs), COLUMNS):
        right = min(left + COLUMNS, len(refs))
        product = panel @ refs.unit(slice(left, right)).astype(np.float32).T
        if symmetric and left < stop:
            # the pair itself and pairs already seen from the other side
            local = np.arange(start, stop)[:, None] >= np.arange(left, right)[None, :]
            product[local] = -2.0
        _add_tile(counts, product, rows, refs, sigmas, (start, left, symmetric))
    return start, counts


def _add_tile(
    counts: np.ndarray,
    product: np.ndarray,
    rows: Rows,
    refs: Rows,
    sigmas: np.ndarray,
    place: tuple[int, int, bool],
) -> None:
    start, left, symmetric = place
    slack = float32_error(rows.width)
    for k, sigma in enumerate(sigmas):
        above = product > np.float32(sigma + slack) + np.float32(2.0**-23)
        doubt = product > np.float32(sigma - slack) - np.float32(2.0**-23)
        doubt ^= above
        i, j = np.nonzero(doubt)
        if len(i):
            sure = exact_similarity(rows, i + start, refs, j + left) > sigma
            above[i[sure], j[sure]] = True
        counts[k, : len(product)] += np.count_nonzero(above, axis=1)
        if symmetric:
            span = slice(left - start, left - start + product.shape[1])
            counts[k, span] += np.count_nonzero(above, axis=0)
