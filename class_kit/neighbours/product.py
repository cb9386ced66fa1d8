"""Counting by the plain blocked product: every pair, in float32, with the doubtful ones decided in float64.

The engine for small sets and for thresholds that no bound can prune. A float32 product of two unit vectors of width d
is off by at most about d·2⁻²⁴ (Higham, Accuracy and Stability, section 3.1), so only pairs that near a threshold need
the second look; the rest is already decided exactly.
"""

from __future__ import annotations

import numpy as np

from class_kit.neighbours.blocks import Part, Shared, pack
from class_kit.neighbours.rows import Rows, exact_similarity

COLUMNS = 2048
# a product of this many entries pays for loading the compiled loops
COMPILED_FROM = 8192**2


def float32_error(width: int) -> float:
    """Bound on |⟨a, b⟩ in float32 − exact| for |a|, |b| ≤ 1, rounding of the inputs and of a threshold included."""
    return (width + 12) * 2.0**-24 + 1e-12


def panel_height(rows: Rows, refs: Rows, n_sigma: int, memory: int, threads: int) -> int:
    """Rows of one block within the budget: its unit vectors, a strip of columns, their product, its counts."""
    counts = 8 * n_sigma * max(len(rows), len(refs)) * (threads + 1)
    strip = 20 * COLUMNS * rows.width
    each = 20 * rows.width + 16 * COLUMNS
    height = int((memory - counts) / threads - strip) // each
    if height < 16:
        raise ValueError(f"memory is {memory} bytes: at least {counts + threads * (strip + 64 * each)} needed here")
    # no larger than leaves every thread several blocks
    return min(height, max(1024, min(4096, -(-len(rows) // (4 * threads)))))


def product_block(shared: Shared, block: int, start: int, stop: int) -> Part:
    """Neighbours of rows[start:stop] among `refs`; where both are one set, of the later rows as well.

    When `symmetric` each pair is looked at once, from the earlier row's block, and counted for rows start..n.
    """
    rows_arrays, refs_arrays, sigmas, symmetric = shared.values
    rows, refs = Rows.of(rows_arrays), Rows.of(refs_arrays)
    counts = np.zeros((len(sigmas), (len(rows) if symmetric else stop) - start), np.int64)
    panel = rows.unit(slice(start, stop)).astype(np.float32)
    for left in range(start if symmetric else 0, len(refs), COLUMNS):
        right = min(left + COLUMNS, len(refs))
        product = panel @ refs.unit(slice(left, right)).astype(np.float32).T
        # the pair itself, and pairs already seen from the other side, come before this column
        first = (
            np.clip(np.arange(start, stop) + 1 - left, 0, right - left) if symmetric else np.zeros(stop - start, int)
        )
        if len(rows) * len(refs) >= COMPILED_FROM:
            by_row, by_column = _compiled_tile(product, rows, refs, sigmas, (start, left, first))
        else:
            by_row, by_column = _tile(product, rows, refs, sigmas, (start, left, first))
        counts[:, : stop - start] += by_row
        if symmetric:
            counts[:, left - start : right - start] += by_column
    return pack(block, start, counts)


Place = tuple[int, int, np.ndarray]


def _tile(
    product: np.ndarray, rows: Rows, refs: Rows, sigmas: np.ndarray, place: Place
) -> tuple[np.ndarray, np.ndarray]:
    start, left, first = place
    if first.any():
        product[np.arange(product.shape[1])[None, :] < first[:, None]] = -4.0
    slack = float32_error(rows.width)
    by_row = np.empty((len(sigmas), product.shape[0]), np.int64)
    by_column = np.empty((len(sigmas), product.shape[1]), np.int64)
    for k, sigma in enumerate(sigmas):
        above = product > np.float32(sigma + slack)
        doubt = product >= np.float32(sigma - slack)
        doubt ^= above
        i, j = np.nonzero(doubt)
        if len(i):
            sure = exact_similarity(rows, i + start, refs, j + left) > sigma
            above[i[sure], j[sure]] = True
        by_row[k], by_column[k] = np.count_nonzero(above, axis=1), np.count_nonzero(above, axis=0)
    return by_row, by_column


def _compiled_tile(
    product: np.ndarray, rows: Rows, refs: Rows, sigmas: np.ndarray, place: Place
) -> tuple[np.ndarray, np.ndarray]:
    from class_kit.neighbours.kernels import count_product

    start, left, first = place
    by_row = np.zeros((len(sigmas), product.shape[0]), np.int32)
    by_column = np.zeros((len(sigmas), product.shape[1]), np.int32)
    slack = float32_error(rows.width)
    count_product(product, slack, sigmas, rows.arrays(), start, refs.arrays(), left, first, by_row, by_column)
    return by_row, by_column
