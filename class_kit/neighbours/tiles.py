"""Counting by tiles: groups of similar rows that lie too far apart are skipped whole, what is left is looked at closer.

Four looks, each cheaper per pair than the next and each a rigorous bound: box against box, row against box, 16 terms,
128 terms. What passes is computed in float64 and counted; nothing is listed, so memory does not depend on the counts.
"""

from __future__ import annotations

import itertools

import numpy as np

from class_kit.neighbours.blocks import Checkpoint, Part, Shared, add, pack, run_blocks, thread_count
from class_kit.neighbours.index import (
    BYTES_PER_ROW,
    LEAD,
    SLACK,
    TILE,
    Index,
    Merged,
    build_index,
    merge_equal,
)
from class_kit.neighbours.rows import Rows, exact_similarity

# below this no bound prunes, and the filling of the last tile (similarity 0) could be counted
LOWEST_SIGMA = 0.1
TASK_TILE_PAIRS = 500_000
# measured: nanoseconds for each pair that survives the boxes, the 16 terms, the 128 terms; and for 1000 product terms
COSTS = (0.4, 8.0, 120.0)
PRODUCT_COST = 14.0


def tiles_pay(rows: Rows, refs: Rows, axes: np.ndarray, lowest: float, memory: int) -> bool:
    """Whether bounds prune enough, judged by the pairs of a sample; never for a σ near 0 or a small budget."""
    index_bytes = BYTES_PER_ROW * (len(rows) + (0 if refs is rows else len(refs)))
    if lowest < LOWEST_SIGMA or index_bytes > memory:
        return False
    rng = np.random.default_rng(1)
    bounds = []
    for side in (rows, refs):
        unit = side.unit(rng.choice(len(side), min(len(side), 1024), replace=False))
        bounds.append([_bounded(unit, axes[:, : LEAD - 1]), _bounded(unit, axes)])
    share = [float((bounds[0][k] @ bounds[1][k].T > lowest).mean()) for k in (0, 1)]
    cost = COSTS[0] + COSTS[1] * share[0] + COSTS[2] * share[1]
    return cost < PRODUCT_COST * rows.width / 1000


def _bounded(unit: np.ndarray, axes: np.ndarray) -> np.ndarray:
    y = unit @ axes
    rest = np.maximum(np.einsum("ij,ij->i", unit, unit) - np.einsum("ij,ij->i", y, y), 0)
    return np.concatenate([y, np.sqrt(rest)[:, None]], axis=1)


def count_by_tiles(
    rows: Rows,
    refs: Rows,
    sigmas: np.ndarray,
    axes: np.ndarray,
    *,
    n_jobs: int | None,
    progress: bool | None,
    checkpoint: Checkpoint | None,
) -> np.ndarray:
    """Counts above each of the ascending `sigmas`, (n_sigma, L) int64."""
    symmetric = refs is rows
    threads = thread_count(n_jobs)
    merged, index = _prepared(rows, axes, threads, checkpoint, "rows")
    other = index if symmetric else _prepared(refs, axes, threads, checkpoint, "refs")[1]
    own, others = index.arrays(), other.arrays()
    reading = (own, rows.arrays()) if symmetric else (others, refs.arrays())
    shared = Shared(own, rows.arrays(), *reading, sigmas, symmetric)
    tasks, loads = _tasks(len(index.lead), len(other.lead), symmetric)
    levels = np.zeros((len(sigmas), len(index.place)), np.int64)
    run = run_blocks(tile_block, shared, tasks, loads, n_jobs=n_jobs, progress=progress, checkpoint=checkpoint)
    for part in run:
        start, stop = tasks[part[0]]
        add(levels, part, ((len(index.lead) if symmetric else stop) - start) * TILE)
    if symmetric:
        _add_copies(levels, rows, index, sigmas)
    # a pair is noted at the highest σ it exceeds and counts for every lower one
    counts = np.cumsum(levels[::-1], axis=0)[::-1]
    by_group = np.empty((len(sigmas), len(merged.first)), np.int64)
    real = index.copies > 0
    by_group[:, merged.group[index.place[real]]] = counts[:, real]
    return by_group[:, merged.group]


def tile_block(shared: Shared, block: int, start: int, stop: int) -> Part:
    """One block, by positions in the sorted order: those of tiles start:stop, and all later ones when `symmetric`."""
    from class_kit.neighbours.kernels import count_tiles

    index_a, rows_a, index_b, rows_b, sigmas, symmetric = shared.values
    limits = (2 - 2 * sigmas[0] + 4 * SLACK, sigmas[0] - SLACK)
    hist = np.zeros((len(sigmas), ((len(index_a[0]) if symmetric else stop) - start) * TILE), np.int64)
    count_tiles(index_a, rows_a, index_b, rows_b, sigmas, limits, (start, stop), symmetric, hist)
    return pack(block, start * TILE, hist)


def _prepared(
    rows: Rows, axes: np.ndarray, threads: int, checkpoint: Checkpoint | None, name: str
) -> tuple[Merged, Index]:
    """The merged rows and their tiles; a resumed count takes up the sorting that its blocks were cut from."""
    saved = checkpoint.load(name) if checkpoint else None
    if saved is not None:
        merged = Merged(saved["first"], saved["group"], saved["copies"])
        return merged, build_index(rows, merged, axes, threads, order=saved["order"])
    merged = merge_equal(rows, threads)
    index = build_index(rows, merged, axes, threads)
    if checkpoint:
        order = merged.group[index.place[index.copies > 0]]
        checkpoint.save(name, first=merged.first, group=merged.group, copies=merged.copies, order=order)
    return merged, index


def _tasks(tiles_a: int, tiles_b: int, symmetric: bool) -> tuple[list[tuple[int, int]], list[float]]:
    """Blocks of about equal work, and their work in thousand tile pairs."""
    pairs = tiles_a * tiles_b / (2 if symmetric else 1)
    blocks = int(np.clip(pairs / TASK_TILE_PAIRS, min(16, tiles_a), tiles_a))
    edges = np.linspace(0, 1, blocks + 1)
    # tile a meets tiles_b − a others: equal areas under a falling line
    cuts = (1 - np.sqrt(1 - edges)) if symmetric else edges
    starts = np.unique(np.round(cuts * tiles_a).astype(int))
    tasks = [(int(a), int(b)) for a, b in itertools.pairwise(starts)]
    loads = [(b - a) * (tiles_b - ((a + b) / 2 if symmetric else 0)) / 1000 + 1 for a, b in tasks]
    return tasks, loads


def _add_copies(levels: np.ndarray, rows: Rows, index: Index, sigmas: np.ndarray) -> None:
    """The copies of a merged row are neighbours of each other."""
    at = np.flatnonzero(index.copies > 1)
    itself = exact_similarity(rows, index.place[at], rows, index.place[at])
    level = np.searchsorted(sigmas, itself, side="left") - 1
    counted = level >= 0
    levels[level[counted], at[counted]] += index.copies[at[counted]] - 1
