"""Counting by the plain blocked product: the engine for small sets and for thresholds that no bound can prune."""

from __future__ import annotations

import numpy as np

from class_kit.neighbours.blocks import Part, Shared, pack
from class_kit.neighbours.cosines import COLUMNS
from class_kit.neighbours.rows import Rows

# least similarities for which loading the compiled loops pays
COMPILED_FROM = 8192**2


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

    When symmetric each pair is looked at once, from the earlier row's block, and counted for rows start..n.
    """
    cosines, sigmas = shared.values
    symmetric, rows = cosines.symmetric, slice(start, stop)
    compiled = len(cosines.rows) * len(cosines.refs) >= COMPILED_FROM
    counts = np.zeros((len(sigmas), (len(cosines.rows) if symmetric else stop) - start), np.int64)
    for columns, product in cosines.blocks(rows, start if symmetric else 0):
        width = product.shape[1]
        # the pair itself, and pairs already seen from the other side, come before this column
        first = np.zeros(stop - start, np.int64)
        if symmetric:
            first = np.clip(np.arange(start, stop) + 1 - columns.start, 0, width)
        by_row = np.zeros((len(sigmas), stop - start), np.int32)
        by_column = np.zeros((len(sigmas), width), np.int32)
        if compiled:
            from class_kit.neighbours.kernels import count_product

            place = (cosines.rows.arrays(), start, cosines.refs.arrays(), columns.start)
            count_product(product, cosines.error, sigmas, *place, first, by_row, by_column)
        else:
            if first.any():
                product[np.arange(width)[None, :] < first[:, None]] = -4.0
            for k, sigma in enumerate(sigmas):
                above = cosines.above(rows, columns, product, sigma)
                by_row[k], by_column[k] = np.count_nonzero(above, axis=1), np.count_nonzero(above, axis=0)
        counts[:, : stop - start] += by_row
        if symmetric:
            counts[:, columns.start - start : columns.stop - start] += by_column
    return pack(block, start, counts)
