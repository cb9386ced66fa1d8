"""The most similar other pairs of each pair, exactly.

They give σ by quantile, a tie rule and the neighbour to look at. Large sets go through the tiles of `tiles`,
visited from the nearest on: a pair's k-th best so far is the threshold that the next candidate has to beat.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from class_kit.neighbours.blocks import Part, Shared, run_blocks, single_blas, thread_count
from class_kit.neighbours.cosines import Cosines, spans
from class_kit.neighbours.index import SLACK, TILE, Merged, build_index, leading_axes, merge_equal
from class_kit.neighbours.rows import Rows, exact_similarity, make_rows, reference_rows

PANEL_ENTRIES = 2**24
# of a block's entry: its float32 value and its partitioned copy, and, where all tie, indices and float64 values
PANEL_BYTES = 96
TILES_FROM = 12_000
TASK_TILES = 16


def top_similarities(
    t: Any,
    m: Any = None,
    k: int = 1,
    *,
    weight: float = 0.5,
    against: tuple[Any, Any] | None = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
    engine: str = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` most similar other pairs of each pair, and the similarities.

    Returns index (L, k) int64 and similarity (L, k) float64, most similar first, equal ones by row number as far as
    rounding shows them equal; k is cut to L − 1. With `against`, the most similar pairs of that set, by their row
    there, and k is cut to its size; always by products. `weight`, `n_jobs` and `progress` as in `counts`;
    `engine` is "auto", "tiles" or "product".

    Raises ValueError for k < 1 and for a single pair, which has no neighbour.
    """
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k is {k!r}: a whole number of at least 1 expected")
    if engine not in ("auto", "tiles", "product"):
        raise ValueError(f"engine is {engine!r}: one of auto, tiles, product expected")
    rows = make_rows(t, m, weight)
    if against is not None:
        refs = reference_rows(rows, against, weight)
        return nearest(rows, refs, min(int(k), len(refs)), n_jobs=n_jobs, progress=progress)
    if len(rows) < 2:
        raise ValueError("there is 1 pair: a nearest neighbour needs at least 2")
    k = min(int(k), len(rows) - 1)
    if engine == "product" or (engine == "auto" and len(rows) < TILES_FROM):
        return nearest(rows, rows, k, n_jobs=n_jobs, progress=progress)
    with single_blas():
        return _by_tiles(rows, k, n_jobs, progress)


def nearest(
    rows: Rows,
    refs: Rows,
    k: int,
    *,
    memory: int | None = None,
    decimals: int | None = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
    desc: str = "nearest",
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` most similar of `refs` for each row, by products: index (L, k) int64 and similarity (L, k) float64.

    Where `refs is rows` a row is not its own neighbour. Similarities are compared in float64, after rounding to
    `decimals` where that is given, and ties go to the lower index. The working blocks of all threads take at most
    `memory` bytes, as far as a block holds one row at least.
    """
    height = max(1, min(1024, PANEL_ENTRIES // len(refs)))
    if memory is not None:
        height = max(1, min(height, memory // (thread_count(n_jobs) * PANEL_BYTES * len(refs))))
    tasks = [(part.start, part.stop, k) for part in spans(len(rows), height)]
    index, similarity = np.empty((len(rows), k), np.int64), np.empty((len(rows), k))
    loads = [float(b - a) for a, b, _ in tasks]
    shared = Shared(Cosines(rows, refs), decimals)
    with single_blas():
        for part in run_blocks(_panel, shared, tasks, loads, n_jobs=n_jobs, progress=progress, desc=desc):
            span = slice(*tasks[part[0]][:2])
            index[span], similarity[span] = part[2], part[3]
    return index, similarity


def _panel(shared: Shared, block: int, start: int, stop: int, k: int) -> Part:
    """The top `k` of rows start:stop by a float32 product, with everything near the k-th decided in float64."""
    cosines, decimals = shared.values
    length = len(cosines.refs)
    product = np.empty((stop - start, length), np.float32)
    for columns, part in cosines.blocks(slice(start, stop)):
        product[:, columns] = part
    if cosines.symmetric:
        product[np.arange(stop - start), np.arange(start, stop)] = -3.0
    kth = np.partition(product, length - k, axis=1)[:, length - k]
    # at least k reach the k-th best float32 value less its error; rounding moves a value by half a decimal
    slack = 2.1 * cosines.error + (0.0 if decimals is None else 2 * 10.0**-decimals)
    i, j = np.nonzero(product >= (kth - np.float32(slack))[:, None])
    exact = cosines.exact(i + start, j)
    order = np.lexsort((j, -(exact if decimals is None else np.round(exact, decimals)), i))
    first = np.searchsorted(i[order], np.arange(stop - start))
    chosen = order[first[:, None] + np.arange(k)[None, :]]
    return block, start, j[chosen], exact[chosen]


def _by_tiles(rows: Rows, k: int, n_jobs: int | None, progress: bool | None) -> tuple[np.ndarray, np.ndarray]:
    threads = thread_count(n_jobs)
    merged = merge_equal(rows, threads)
    index = build_index(rows, merged, leading_axes(rows), threads)
    k_groups = min(k, len(merged.first) - 1)
    other = np.full((len(merged.first), k_groups), -1, np.int64)
    best = np.full((len(merged.first), k_groups), -2.0)
    if k_groups:
        tiles = len(index.lead)
        tasks = [(a, min(a + TASK_TILES, tiles), k_groups) for a in range(0, tiles, TASK_TILES)]
        loads = [float(b - a) for a, b, _ in tasks]
        shared = Shared(index.arrays(), rows.arrays())
        for part in run_blocks(_tiles, shared, tasks, loads, n_jobs=n_jobs, progress=progress, desc="nearest"):
            span = slice(part[1], part[1] + len(part[3]))
            real = index.copies[span] > 0
            group = merged.group[index.place[span][real]]
            other[group], best[group] = merged.group[part[2][real]], part[3][real]
    return _with_copies(rows, merged, other, best, k)


def _tiles(shared: Shared, block: int, start: int, stop: int, k: int) -> Part:
    from class_kit.neighbours.kernels import nearest_tiles

    best = np.full(((stop - start) * TILE, k), -2.0)
    place = np.zeros(best.shape, np.int64)
    nearest_tiles(*shared.values, (start, stop), SLACK, best, place)
    return block, start * TILE, place, best


def _with_copies(
    rows: Rows, merged: Merged, other: np.ndarray, best: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """From the nearest groups of each group to the nearest rows of each row: a group's copies count one by one."""
    own = np.arange(len(merged.first))
    itself = exact_similarity(rows, merged.first, rows, merged.first)
    groups = np.concatenate([own[:, None], other], axis=1)
    values = np.concatenate([itself[:, None], best], axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    groups, values = np.take_along_axis(groups, order, axis=1), np.take_along_axis(values, order, axis=1)
    members = np.argsort(merged.group, kind="stable")
    begins = np.cumsum(merged.copies) - merged.copies
    index, similarity = np.zeros((len(rows), k), np.int64), np.zeros((len(rows), k))
    filled = np.zeros(len(rows), np.int64)
    for c, r in itertools.product(range(groups.shape[1]), range(min(k + 1, int(merged.copies.max())))):
        group = groups[merged.group, c]
        candidate = members[np.minimum(begins[group] + r, len(rows) - 1)]
        fits = (r < merged.copies[group]) & (candidate != np.arange(len(rows))) & (filled < k)
        at = np.flatnonzero(fits)
        index[at, filled[at]] = candidate[at]
        similarity[at, filled[at]] = values[merged.group[at], c]
        filled[at] += 1
    return index, similarity
