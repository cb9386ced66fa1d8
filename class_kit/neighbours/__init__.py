"""How many pairs lie near each pair: exact counts above a cosine threshold, for a million pairs on two cores.

The paper's difficulty needs s_ij = (cos(t_i, t_j) + cos(m_i, m_j)) / 2 for every two pairs and names that as its limit.
With u = [t̂ ; m̂]/√2 it is ⟨u_i, u_j⟩, so a count is a fixed-radius count on the unit sphere, radius √(2 − 2σ): small
at the σ in use. `tiles` prunes by that; `product` multiplies everything where pruning cannot pay.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from class_kit.neighbours.blocks import Checkpoint, Shared, add, content_key, run_blocks, single_blas, thread_count
from class_kit.neighbours.cosines import Cosines, spans
from class_kit.neighbours.index import leading_axes
from class_kit.neighbours.nearest import top_similarities
from class_kit.neighbours.product import COMPILED_FROM, panel_height, product_block
from class_kit.neighbours.rows import Rows, check_sigma, make_rows, reference_rows
from class_kit.neighbours.tiles import count_by_tiles, tiles_pay

__all__ = ["neighbour_counts", "top_similarities"]

ENGINES = ("auto", "tiles", "product")
LEAST_MEMORY = 64 * 2**20
# a pair exactly at σ, as count vectors have many, stays out whichever way its similarity was rounded
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
    checkpoint: str | os.PathLike[str] | None = None,
    engine: str = "auto",
) -> np.ndarray:
    """Count, for each pair, the other pairs with a similarity above `sigma`, exactly.

    Parameters
    ----------
    t, m : (L, d_t) and (L, d_m) arrays, float16, float32, float64 or integers, or memory maps; one may be None.
    sigma : threshold σ in (−1, 1], or a list of them, counted in one pass.
    weight : share w of the text: s_ij = w·cos(t_i, t_j) + (1 − w)·cos(m_i, m_j).
    against : (t_ref, m_ref): count in this other set instead, for held-out pairs; a pair is not left out there.
    memory : bytes for working arrays beyond the input and the result; at least 64 MiB. Input that is not C-ordered
        float32 or float64 is copied on top of it. Tiles need about 1,200 bytes a row; with less, products are used.
    n_jobs : workers; None takes every core, or what `joblib.parallel_config` selects, a Dask cluster included.
    progress : show a bar with an estimate; None shows it on a terminal.
    checkpoint : a folder for finished blocks: the same call after an interruption continues from them. They are
        removed when the count is complete.
    engine : "auto" judges by a sample whether pruning pays; the other two are for measurements. The counts are equal.

    Returns
    -------
    (L,) int64, or (n_sigma, L) for a list. Equal to a float64 evaluation of s_ij > σ except for pairs within 1e-12 of
    σ. σ = 1 gives 0. A zero vector has cosine 0 with everything.

    Raises TypeError or ValueError, naming the value, for what cannot be counted.
    """
    given, single = check_sigma(sigma)
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}: one of {', '.join(ENGINES)} expected")
    check_memory(memory)
    threads = thread_count(n_jobs)
    rows = make_rows(t, m, weight)
    refs = rows if against is None else reference_rows(rows, against, weight)
    # ascending and without repetition; σ = 1 is exceeded by nothing, whatever rounding says
    sigmas, place = np.unique(given, return_inverse=True)
    below = sigmas[sigmas < 1] + EDGE
    counts = np.zeros((len(sigmas), len(rows)), np.int64)
    if len(below) and not (refs is rows and len(rows) == 1):
        other = () if refs is rows else refs.arrays()
        key = content_key(*rows.arrays(), *other, below, engine) if checkpoint is not None else ""
        store = Checkpoint(checkpoint, key) if checkpoint is not None else None
        # the threads multiply blocks of their own; a product split over threads again would make them wait
        with single_blas():
            axes = _axes_if_tiles_pay(rows, refs, below, memory, engine)
            if axes is not None:
                options: dict[str, Any] = {"n_jobs": n_jobs, "progress": progress, "checkpoint": store}
                counts[: len(below)] = count_by_tiles(rows, refs, below, axes, **options)
            else:
                height = panel_height(rows, refs, len(below), memory, threads)
                _count_by_products(counts[: len(below)], Cosines(rows, refs), below, height, n_jobs, progress, store)
        if store:
            store.done()
    return counts[place[0]] if single else counts[place]


def check_memory(memory: int) -> int:
    """A budget in bytes of at least 64 MiB."""
    if not isinstance(memory, (int, np.integer)) or isinstance(memory, bool):
        raise TypeError(f"memory is {memory!r}: a whole number of bytes expected")
    if memory < LEAST_MEMORY:
        raise ValueError(f"memory is {memory} bytes: at least {LEAST_MEMORY} expected")
    return int(memory)


def _axes_if_tiles_pay(rows: Rows, refs: Rows, sigmas: np.ndarray, memory: int, engine: str) -> np.ndarray | None:
    pairs = len(rows) * len(refs)
    loaded = "class_kit.neighbours.kernels" in sys.modules
    if engine == "product" or (engine == "auto" and pairs < (TILES_FROM_ONCE_COMPILED if loaded else COMPILED_FROM)):
        return None
    if engine == "tiles" and sigmas[0] < 0.1:
        raise ValueError(f"sigma contains {sigmas[0]}: engine='tiles' needs at least 0.1")
    axes = leading_axes(refs)
    return axes if engine == "tiles" or tiles_pay(rows, refs, axes, float(sigmas[0]), memory) else None


def _count_by_products(
    counts: np.ndarray,
    cosines: Cosines,
    sigmas: np.ndarray,
    height: int,
    n_jobs: int | None,
    progress: bool | None,
    store: Checkpoint | None,
) -> None:
    symmetric, length = cosines.symmetric, len(cosines.rows)
    saved = store.load("panels") if store else None
    height = int(saved["height"]) if saved else height
    if store and not saved:
        store.save("panels", height=np.array(height))
    tasks = [(part.start, part.stop) for part in spans(length, height)]
    loads = [(b - a) * (len(cosines.refs) - (a if symmetric else 0)) / 1e6 + 1 for a, b in tasks]
    shared = Shared(cosines, sigmas)
    run = run_blocks(product_block, shared, tasks, loads, n_jobs=n_jobs, progress=progress, checkpoint=store)
    for part in run:
        start, stop = tasks[part[0]]
        add(counts, part, (length if symmetric else stop) - start)
