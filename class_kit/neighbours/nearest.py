"""Find the most similar other pairs of each pair, exactly.

They are used for σ by quantile, for breaking ties and for display. Large sets go through the tiles, nearest first: a
pair's k-th best so far is the threshold that the next candidate has to beat.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from class_kit.checks import check_choice, check_whole
from class_kit.errors import InputError
from class_kit.neighbours.blocks import run_blocks, single_blas
from class_kit.neighbours.cosines import Cosines, Rows, make_references, make_rows, places, spans
from class_kit.neighbours.tiles import nearest_by_tiles

ENGINES = ("auto", "tiles", "product")
# entries of a block: if all tie, each takes about a hundred bytes
PANEL_ENTRIES = 2**21
TILES_FROM = 12_000


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
    """Find the `k` most similar other pairs of each pair, exactly.

    Parameters
    ----------
    t, m, weight, n_jobs, progress
        As for `neighbour_counts`.
    k : int
        Neighbours of each pair, at least 1; fewer if there are fewer other pairs.
    against : tuple (t_ref, m_ref), optional
        Find the most similar pairs of this other set instead, by their row there.
    engine : "auto", "tiles" or "product"
        The last two are for measurements. With `against`, products are always used.

    Returns
    -------
    index : ndarray (L, k) of int64
        Most similar first; ties, as far as rounding shows them, by row number.
    similarity : ndarray (L, k) of float64

    Raises
    ------
    InputError
        An argument cannot be used (the message names it), or there is only one pair, which has no neighbour.
    """
    check_whole("k", k, low=1)
    check_choice("engine", engine, ENGINES)
    rows = make_rows(t, m, weight)
    refs = rows if against is None else make_references(rows, against, weight)
    others = len(refs) - (refs is rows)
    if not others:
        raise InputError("there is 1 pair: expected at least 2 to find a nearest neighbour")
    options: dict[str, Any] = {"n_jobs": n_jobs, "progress": progress}
    if refs is not rows or engine == "product" or (engine == "auto" and len(rows) < TILES_FROM):
        return nearest(rows, refs, min(int(k), others), **options)
    with single_blas():
        return nearest_by_tiles(rows, min(int(k), others), **options)


def nearest(
    rows: Rows, refs: Rows, k: int, *, decimals: int | None = None, desc: str = "nearest", **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` most similar of `refs` for each row, by products: index (L, k) int64 and similarity (L, k) float64.

    If `refs is rows`, a row is not its own neighbour. Similarities are compared in float64, rounded to `decimals` if
    given, and ties go to the lower index. `options` are passed to `run_blocks`.
    """
    index, similarity = np.empty((len(rows), k), np.int64), np.empty((len(rows), k))
    with single_blas():
        shared = (Cosines(rows, refs), k, decimals)
        tasks = list(spans(len(rows), max(1, min(1024, PANEL_ENTRIES // len(refs)))))
        for task, found in run_blocks(_nearest_block, shared, tasks, desc=desc, **options):
            index[task], similarity[task] = found
    return index, similarity


def _nearest_block(shared: tuple[Any, ...], task: slice) -> tuple[np.ndarray, np.ndarray]:
    """The top `k` of some rows by a float32 product, with everything close to the k-th decided in float64."""
    cosines, k, decimals = shared
    own, length = np.arange(task.stop - task.start), len(cosines.refs)
    product = np.empty((len(own), length), np.float32)
    for columns, part in cosines.blocks(task):
        product[:, columns] = part
    if cosines.symmetric:
        product[own, own + task.start] = -3.0
    kth = np.partition(product, length - k, axis=1)[:, length - k]
    # at least k entries reach the k-th best float32 value minus its error; rounding moves a value by half a decimal
    slack = 2.1 * cosines.error + (0.0 if decimals is None else 2 * 10.0**-decimals)
    i, j = places(product >= (kth - np.float32(slack))[:, None])
    exact = cosines.exact(i + task.start, j)
    order = np.lexsort((j, -(exact if decimals is None else np.round(exact, decimals)), i))
    chosen = order[np.searchsorted(i[order], own)[:, None] + np.arange(k)]
    return j[chosen], exact[chosen]
