"""Count the neighbours of each pair: exact counts above a cosine threshold, for a million pairs on two cores.

The paper's difficulty needs s_ij = (cos(t_i, t_j) + cos(m_i, m_j)) / 2 for every two pairs and names that as its limit.
With u = [t̂ ; m̂]/√2 it is ⟨u_i, u_j⟩, so a count is a fixed-radius count on the unit sphere with radius √(2 − 2σ),
which is small for the usual σ. `tiles` uses this to prune; where pruning does not pay, blocks of the product are
compared.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from class_kit.checks import check_choice, check_real, check_whole
from class_kit.errors import InputError
from class_kit.neighbours.blocks import run_blocks, single_blas, thread_count
from class_kit.neighbours.cosines import COLUMNS, COMPILED_FROM, ROWS, Cosines, Rows, make_references, make_rows, spans
from class_kit.neighbours.nearest import ENGINES, top_similarities
from class_kit.neighbours.tiles import LOWEST_SIGMA, count_by_tiles, equal_blocks, leading_axes, tiles_pay

__all__ = ["neighbour_counts", "top_similarities"]

LEAST_MEMORY = 64 * 2**20
# memory of a product's block in each thread, including the float64 check
THREAD_BYTES = 2**25
PAIRS_A_BLOCK = 2**28
# keeps a pair exactly at σ (common with count vectors) out, whichever way its similarity was rounded
EDGE = 5e-13
# least similarities for which tiles pay once the loops are compiled and loaded
TILES_FROM_ONCE_COMPILED = 3000**2


def neighbour_counts(
    t: Any,
    m: Any = None,
    sigma: float | Sequence[float] | np.ndarray = 0.99,
    *,
    weight: float = 0.5,
    against: tuple[Any, Any] | None = None,
    memory: int = 2 * 2**30,
    n_jobs: int | None = None,
    progress: bool | None = None,
    engine: str = "auto",
) -> np.ndarray:
    """Count, for each pair, the other pairs with a similarity above `sigma`, exactly.

    Parameters
    ----------
    t, m : ndarray (L, d_t) and (L, d_m)
        Text and molecule vectors: float16, float32, float64 or integers, or memory maps; one of them may be None.
    sigma : float or sequence of float
        Threshold σ in (−1, 1], or several, counted in one pass.
    weight : float
        Weight w of the text in [0, 1]: s_ij = w·cos(t_i, t_j) + (1 − w)·cos(m_i, m_j).
    against : tuple (t_ref, m_ref), optional
        Count neighbours in this other set instead, for held-out pairs; no pair is excluded as being itself.
    memory : int
        Bytes for working arrays beyond the input and the result; at least 64 MiB. Input that is not C-ordered
        float32 or float64 is copied in addition. Tiles need about 1,200 bytes per row; with less, products are used.
    n_jobs : int, optional
        Workers; None uses every core, or what `joblib.parallel_config` selects, including a Dask cluster.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal.
    engine : "auto", "tiles" or "product"
        "auto" tests on a sample whether pruning pays; the other two are for measurements. The counts are equal.

    Returns
    -------
    ndarray of int64, (L,), or (n_sigma, L) for several σ
        Equal to a float64 evaluation of s_ij > σ except for pairs within 1e-12 of σ. σ = 1 gives 0. A zero vector has
        cosine 0 with everything.

    Raises
    ------
    InputError
        An argument cannot be used; the message names it.
    """
    given = check_sigma(sigma)
    check_choice("engine", engine, ENGINES)
    check_whole("memory", memory, low=LEAST_MEMORY)
    rows = make_rows(t, m, weight)
    refs = rows if against is None else make_references(rows, against, weight)
    # ascending, each once; nothing exceeds σ = 1, whatever rounding says
    levels, place = np.unique(given, return_inverse=True)
    below = levels[levels < 1] + EDGE
    counts = np.zeros((len(levels), len(rows)), np.int64)
    if len(below):
        options: dict[str, Any] = {"n_jobs": n_jobs, "progress": progress}
        # each thread multiplies its own blocks; multithreaded BLAS on top would make them wait
        with single_blas():
            axes = _axes_if_tiles_pay(rows, refs, below, memory, engine)
            if axes is None:
                counts[: len(below)] = _count_by_products(rows, refs, below, memory, **options)
            else:
                counts[: len(below)] = count_by_tiles(rows, refs, below, axes, **options)
    return counts[place[0]] if np.ndim(sigma) == 0 else counts[place]


def check_sigma(sigma: float | Sequence[float] | np.ndarray) -> np.ndarray:
    """One threshold or more as float64, (n_sigma,)."""
    if np.ndim(sigma) > 1 or not np.size(sigma):
        raise InputError(f"sigma has shape {np.shape(sigma)}: expected a number or a non-empty list of numbers")
    return np.array([check_real("sigma", each, low=-1, high=1, open_low=True) for each in np.ravel(sigma).tolist()])


def _axes_if_tiles_pay(rows: Rows, refs: Rows, sigmas: np.ndarray, memory: int, engine: str) -> np.ndarray | None:
    loaded = "class_kit.neighbours.kernels" in sys.modules
    least = TILES_FROM_ONCE_COMPILED if loaded else COMPILED_FROM
    if engine == "product" or (engine == "auto" and len(rows) * len(refs) < least):
        return None
    if engine == "tiles" and sigmas[0] < LOWEST_SIGMA:
        raise InputError(f"sigma={sigmas[0]:.3g} with engine='tiles': expected at least {LOWEST_SIGMA}")
    axes = leading_axes(refs)
    return axes if engine == "tiles" or tiles_pay(rows, refs, axes, sigmas, memory) else None


def _count_by_products(
    rows: Rows, refs: Rows, sigmas: np.ndarray, memory: int, *, n_jobs: int | None, **options: Any
) -> np.ndarray:
    symmetric = refs is rows
    copies = 4 * rows.width * (len(rows) + (0 if symmetric else len(refs)))
    workers = max(1, memory // (2 * THREAD_BYTES))
    if thread_count(n_jobs) > workers:
        n_jobs = workers
    shared = (Cosines(rows, refs, copied=2 * copies <= memory), sigmas)
    tasks, loads = equal_blocks(len(rows), len(refs), symmetric, ROWS, PAIRS_A_BLOCK)
    counts = np.zeros((len(sigmas), len(rows)), np.int64)
    for task, part in run_blocks(count_block, shared, tasks, loads=loads, n_jobs=n_jobs, **options):
        counts[:, task.start : task.start + part.shape[1]] += part
    return counts


def count_block(shared: tuple[Any, ...], task: slice) -> np.ndarray:
    """Count the neighbours of some rows among `refs`; if both are one set, each pair is compared once for both rows."""
    cosines, sigmas = shared
    symmetric = cosines.symmetric
    counts = np.zeros((len(sigmas), (len(cosines.rows) if symmetric else task.stop) - task.start), np.int64)
    limits = [cosines.limits(np.full(COLUMNS, sigma)) for sigma in sigmas]
    for rows in spans(task.stop, ROWS, task.start):
        for columns, block in cosines.blocks(rows, rows.start if symmetric else 0):
            if symmetric and columns.start < rows.stop:
                # the pair itself, and pairs seen from the other side
                block[np.arange(rows.start, rows.stop)[:, None] >= np.arange(columns.start, columns.stop)] = -4.0
            highest = block.max()
            for level, limit in enumerate(limits):
                if highest < limit.below[0]:
                    break
                own, across = (limit.part(slice(0, length)) for length in block.shape)
                found = cosines.compare(rows, columns, block, own, across if symmetric else None)
                for (above, _), span in zip(found, (rows, columns), strict=False):
                    counts[level, span.start - task.start : span.stop - task.start] += above
    return counts
