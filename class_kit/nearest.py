"""The most similar other pairs of each pair, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from class_kit.neighbour_product import float32_error
from class_kit.neighbour_rows import Rows, exact_similarity, make_rows
from class_kit.progress import progress_bar

PANEL = 1024


def top_similarities(
    t: Any, m: Any = None, k: int = 1, *, weight: float = 0.5, progress: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` most similar other pairs of each pair, and the similarities.

    Returns index (L, k) int64 and similarity (L, k) float64, most similar first, equal ones by row number; k is cut to
    L − 1. Raises ValueError for k < 1 and for a single pair, which has no neighbour.
    """
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k is {k!r}: a whole number of at least 1 expected")
    rows = make_rows(t, m, weight)
    if len(rows) < 2:
        raise ValueError("there is 1 pair: a nearest neighbour needs at least 2")
    k = min(int(k), len(rows) - 1)
    index = np.empty((len(rows), k), np.int64)
    similarity = np.empty((len(rows), k))
    starts = range(0, len(rows), PANEL)
    hidden = None if progress is None else not progress
    for start in progress_bar(starts, desc="nearest", unit="block", disable=hidden):
        part = slice(start, min(start + PANEL, len(rows)))
        index[part], similarity[part] = top_panel(rows, part, k)
    return index, similarity


def top_panel(rows: Rows, part: slice, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The top `k` of rows[part] by a float32 product, with everything near the k-th decided in float64."""
    panel = rows.unit(part).astype(np.float32)
    product = np.empty((len(panel), len(rows)), np.float32)
    for left in range(0, len(rows), 4096):
        columns = slice(left, left + 4096)
        product[:, columns] = panel @ rows.unit(columns).astype(np.float32).T
    product[np.arange(len(panel)), np.arange(part.start, part.stop)] = -3.0
    kth = np.partition(product, len(rows) - k, axis=1)[:, len(rows) - k]
    i, j = np.nonzero(product >= (kth - np.float32(2.1 * float32_error(rows.width)))[:, None])
    exact = exact_similarity(rows, i + part.start, rows, j)
    order = np.lexsort((j, -exact, i))
    first = np.searchsorted(i[order], np.arange(len(panel)))
    chosen = order[first[:, None] + np.arange(k)[None, :]]
    return j[chosen], exact[chosen]
