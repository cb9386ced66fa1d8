"""The pruning engine: groups of similar rows that are too far apart are skipped whole.

A rotation preserves ⟨u_i, u_j⟩. A few leading coordinates y of the rotated vector and the length ρ of the rest bound
it: ⟨u_i, u_j⟩ ≤ ⟨y_i, y_j⟩ + ρ_i·ρ_j (Cauchy–Schwarz), again a product of short vectors [y, ρ]. And since ‖u‖ ≤ 1,
s_ij > σ requires ‖[y, ρ]_i − [y, ρ]_j‖² < 2 − 2σ, so two tiles whose bounding boxes are farther apart contain no such
pair. The rotation is computed in float64 and need not be optimal: a worse one prunes less and counts the same.
Separate rotations for text and molecule were tried and prune less than a joint one.

Four tests, each cheaper per pair than the next and each a rigorous bound: box against box, row against box, 16 terms,
128 terms. The last also bounds from below, ⟨u_i, u_j⟩ ≥ ⟨y_i, y_j⟩ − ρ_i·ρ_j, which decides most pairs above σ where
neighbourhoods are dense. What is left is computed in float64; nothing is listed, so memory does not depend on the
counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from class_kit.neighbours.blocks import run_blocks, thread_count
from class_kit.neighbours.cosines import Rows, spans
from class_kit.neighbours.sizes import FULL, LEAD, TILE

SAMPLE = 4096
STRIP = 512
# covers float32 rounding of sums over FULL products, of ρ, and of the rotation, so that the bounds stay valid
SLACK = 2e-5
BYTES_PER_ROW = 2 * 4 * FULL + 2 * 4 * LEAD + 8 * 8
# below this no bound prunes, and the padding of the last tile (similarity 0) could be counted
LOWEST_SIGMA = 0.1
# measured: nanoseconds for each pair that survives the boxes, the 16 terms, and is undecided by the 128 terms; and for
# 1000 product terms
COSTS = (0.4, 8.0, 120.0)
PRODUCT_COST = 14.0
# comparisons per block: enough blocks for all workers, and each large enough to be worth starting
PAIRS_A_BLOCK = 2**33
NEAREST_BLOCK = 16 * TILE


class Index(NamedTuple):
    """Rows in tiles of TILE each, equal rows merged, the last tile padded with zeros that are near nothing.

    lead (tiles, LEAD, TILE): 15 coordinates and ρ; full (tiles·TILE, FULL): 127 and ρ; low, high (LEAD, tiles): boxes;
    place (tiles·TILE,): row in the input, 0 for padding; copies (tiles·TILE,): equal rows it stands for, 0 for padding;
    group (L,): the group of each input row; group[place] is that of a position in the tiles.
    """

    lead: np.ndarray
    full: np.ndarray
    low: np.ndarray
    high: np.ndarray
    place: np.ndarray
    copies: np.ndarray
    group: np.ndarray

    def by_group(self, values: np.ndarray) -> np.ndarray:
        """Convert values by position, (tiles·TILE, …), to values by group."""
        real = self.copies > 0
        sorted_values = np.empty((int(real.sum()), *values.shape[1:]), values.dtype)
        sorted_values[self.group[self.place[real]]] = values[real]
        return sorted_values


def build_index(rows: Rows, axes: np.ndarray, threads: int) -> Index:
    """Merge equal rows, rotate them and sort them into tiles."""
    first, group = merge_equal(rows, threads)
    full, short = project(rows, axes, threads)
    order = tile_order(full[first, : LEAD - 1], threads)
    n, tiles = len(first), -(-len(first) // TILE)
    place, copies = np.zeros(tiles * TILE, np.int64), np.zeros(tiles * TILE, np.int64)
    place[:n], copies[:n] = first[order], np.bincount(group)[order]
    padded = np.zeros((tiles * TILE, FULL), np.float32)
    np.take(full, place[:n], axis=0, out=padded[:n])
    lead = np.zeros((tiles * TILE, LEAD), np.float32)
    lead[:n, : LEAD - 1], lead[:n, LEAD - 1] = padded[:n, : LEAD - 1], short[place[:n]]
    del full, short
    # padding must not widen the last tile's box
    boxed = np.concatenate([lead[:n], np.repeat(lead[n - 1 : n], len(lead) - n, axis=0)]).reshape(tiles, TILE, LEAD)
    low, high = (np.ascontiguousarray(edge.T) for edge in (boxed.min(axis=1), boxed.max(axis=1)))
    by_coordinate = np.ascontiguousarray(lead.reshape(tiles, TILE, LEAD).transpose(0, 2, 1))
    return Index(by_coordinate, padded, low, high, place, copies, group)


def merge_equal(rows: Rows, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Group rows that are equal byte for byte: the row that represents each group, and the group of each row.

    Without this, 50,000 copies of one row would be a billion pairs to verify. Randomly weighted sums find the
    candidates, a comparison decides. A missed merge only costs time.
    """
    rng = np.random.default_rng(0)
    weights = [rng.uniform(1, 2, int(x.shape[1])).astype(x.dtype) for x in (rows.t, rows.m)]
    key = np.zeros(len(rows))

    def add(part: slice) -> None:
        for x, w in zip((rows.t, rows.m), weights, strict=True):
            key[part] += np.einsum("ij,j->i", x[part], w)

    _each_strip(add, len(rows), threads)
    order = np.argsort(key, kind="stable")
    same = np.concatenate([[False], key[order][1:] == key[order][:-1]])
    for part in spans(len(order), STRIP):
        at = part.start + np.flatnonzero(same[part])
        a, b = order[at], order[at - 1]
        same[at] = (rows.t[a] == rows.t[b]).all(axis=1) & (rows.m[a] == rows.m[b]).all(axis=1)
    group = np.empty(len(rows), np.int64)
    group[order] = np.cumsum(~same) - 1
    return order[~same], group


def leading_axes(rows: Rows, seed: int = 716_225) -> np.ndarray:
    """FULL − 1 orthonormal directions that capture most of the rows' length, (width, ≤ FULL − 1) float64.

    Subspace iteration on a sample: the axes need to be orthonormal, not optimal. The seed is one that callers do not
    use; otherwise a data set whose copied rows were drawn with the same seed would be sampled at just those copies.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(rows), min(len(rows), SAMPLE), replace=False))
    sample = rows.unit(chosen).astype(np.float32)
    count = min(FULL - 1, rows.width)
    basis = rng.standard_normal((rows.width, min(count + 8, rows.width))).astype(np.float32)
    for _ in range(3):
        basis = np.linalg.qr(sample.T @ (sample @ basis))[0]
    short = (sample @ basis).astype(np.float64)
    rotation = np.linalg.eigh(short.T @ short)[1][:, ::-1][:, :count]
    # twice, because one pass makes the columns orthonormal only to float32 precision
    return np.linalg.qr(np.linalg.qr(basis.astype(np.float64) @ rotation)[0])[0]


def project(rows: Rows, axes: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """[y, ρ], (L, FULL) float32, and the ρ left after the first LEAD − 1 coordinates, (L,).

    If there are fewer than FULL − 1 axes, zeros fill the space between y and ρ.
    """
    full = np.zeros((len(rows), FULL), np.float32)
    short = np.empty(len(rows), np.float32)
    split = rows.t.shape[1]

    def fill(part: slice) -> None:
        y = (rows.t[part].astype(np.float64) @ axes[:split]) * rows.t_scale[part, None]
        y += (rows.m[part].astype(np.float64) @ axes[split:]) * rows.m_scale[part, None]
        full[part, : y.shape[1]] = y
        full[part, -1] = _rest(rows.squared_length(part), y)
        short[part] = _rest(rows.squared_length(part), y[:, : LEAD - 1])

    _each_strip(fill, len(rows), threads)
    return full, short


def _rest(squared_length: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Round the residual norm up; that only loosens the bound.
    return np.sqrt(np.maximum(squared_length - np.einsum("ij,ij->i", y, y), 0.0) + 1e-12)


def tile_order(y: np.ndarray, threads: int) -> np.ndarray:
    """Halve the rows along their widest coordinate down to TILE rows; return the row numbers, tile after tile.

    Every tile but the last is full: the halves are cut at multiples of TILE.
    """
    order = np.arange(len(y))

    def halve(span: tuple[int, int]) -> list[tuple[int, int]]:
        low, high = span
        part = y[order[low:high]]
        widest = int(part.var(axis=0).argmax())
        middle = -(-(high - low) // TILE) // 2 * TILE
        order[low:high] = order[low:high][np.argpartition(part[:, widest], middle)]
        return [(low, low + middle), (low + middle, high)]

    wide = [(0, len(y))] if len(y) > TILE else []
    with ThreadPoolExecutor(threads) as pool:
        while wide:
            halves = itertools.chain.from_iterable(pool.map(halve, wide))
            wide = [(low, high) for low, high in halves if high - low > TILE]
    return order


def _each_strip(work: Callable[[slice], Any], length: int, threads: int) -> None:
    """Call `work` on every strip of rows, each small enough for the cache, using several threads."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, spans(length, STRIP)))


def tiles_pay(rows: Rows, refs: Rows, axes: np.ndarray, sigmas: np.ndarray, memory: int) -> bool:
    """Whether the bounds decide enough, estimated on a sample of pairs; never for σ near 0 or too little memory."""
    index_bytes = BYTES_PER_ROW * (len(rows) + (0 if refs is rows else len(refs)))
    if sigmas[0] < LOWEST_SIGMA or index_bytes > memory:
        return False
    rng = np.random.default_rng(1)
    sides = [side.unit(rng.choice(len(side), min(len(side), 1024), replace=False)) for side in (rows, refs)]
    # equal rows are merged before anything is compared
    distinct = sides[0] @ sides[1].T < 1 - 1e-9
    inner, rest = _bounds(sides, axes[:, : LEAD - 1])
    passed = distinct & (inner + rest > sigmas[0])
    inner, rest = _bounds(sides, axes)
    undecided = passed & (np.searchsorted(sigmas, inner + rest) != np.searchsorted(sigmas, inner - rest))
    return COSTS[0] + COSTS[1] * passed.mean() + COSTS[2] * undecided.mean() < PRODUCT_COST * rows.width / 1000


def _bounds(sides: Sequence[np.ndarray], axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """⟨y_i, y_j⟩ and ρ_i·ρ_j for every two of two sets of unit vectors."""
    y = [unit @ axes for unit in sides]
    rest = [_rest(np.einsum("ij,ij->i", unit, unit), each) for unit, each in zip(sides, y, strict=True)]
    return y[0] @ y[1].T, np.outer(*rest)


def count_by_tiles(rows: Rows, refs: Rows, sigmas: np.ndarray, axes: np.ndarray, **options: Any) -> np.ndarray:
    """Counts above each of the ascending `sigmas`, (n_sigma, L) int64; `options` are passed to `run_blocks`."""
    threads, symmetric = thread_count(options["n_jobs"]), refs is rows
    index = build_index(rows, axes, threads)
    other = index if symmetric else build_index(refs, axes, threads)
    shared = (index[:6], rows.arrays(), other[:6], refs.arrays(), sigmas, symmetric)
    tasks, loads = equal_blocks(len(index.place), len(other.place), symmetric, TILE, PAIRS_A_BLOCK)
    levels = np.zeros((len(sigmas), len(index.place)), np.int64)
    for task, counts in run_blocks(count_block, shared, tasks, loads=loads, **options):
        levels[:, task.start : task.start + counts.shape[1]] += counts
    if symmetric:
        # the copies of a merged row are neighbours of each other
        at = np.flatnonzero(index.copies > 1)
        unit = rows.unit(index.place[at])
        level = np.searchsorted(sigmas, np.einsum("ij,ij->i", unit, unit), side="left") - 1
        levels[level[level >= 0], at[level >= 0]] += index.copies[at[level >= 0]] - 1
    # a pair is recorded at the highest σ it exceeds and counts for every lower one
    counts = np.cumsum(levels[::-1], axis=0)[::-1]
    return index.by_group(counts.T).T[:, index.group]


def equal_blocks(length: int, width: int, symmetric: bool, step: int, most: int) -> tuple[list[slice], list[int]]:
    """Slices of the rows in whole steps, with about equal work and at most about `most` comparisons, and their work.

    If symmetric, a row is compared only with itself and later rows: equal areas under a falling line.
    """
    pairs, steps = length * width / (2 if symmetric else 1), -(-length // step)
    blocks = int(np.clip(pairs / most, min(16, -(-pairs // 2**21)), steps))
    edges = np.linspace(0, 1, blocks + 1)
    cuts = np.unique(np.round((1 - np.sqrt(1 - edges) if symmetric else edges) * steps).astype(int)) * step
    tasks = [slice(int(a), int(min(b, length))) for a, b in itertools.pairwise(cuts)]
    met = [width - ((task.start + task.stop) / 2 if symmetric else 0) for task in tasks]
    return tasks, [int((task.stop - task.start) * each / 1e6) + 1 for task, each in zip(tasks, met, strict=True)]


def count_block(shared: tuple[Any, ...], task: slice) -> np.ndarray:
    """Counts by position in the sorted order from `task.start` on; if symmetric, up to the last position."""
    from class_kit.neighbours.kernels import count_tiles

    index, rows, other, refs, sigmas, symmetric = shared
    limits = (2 - 2 * sigmas[0] + 4 * SLACK, sigmas[0] - SLACK, SLACK)
    counts = np.zeros((len(sigmas), (len(index[4]) if symmetric else task.stop) - task.start), np.int64)
    span = (task.start // TILE, task.stop // TILE)
    count_tiles(index, rows, other, refs, sigmas, limits, span, symmetric, counts)
    return counts


def nearest_by_tiles(rows: Rows, k: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """The `k` most similar other rows of each row; `options` are passed to `run_blocks`."""
    index = build_index(rows, leading_axes(rows), thread_count(options["n_jobs"]))
    # a row's nearest group is its own, which includes its copies
    k_groups = min(k + 1, int((index.copies > 0).sum()))
    near, best = np.zeros((len(index.place), k_groups), np.int64), np.zeros((len(index.place), k_groups))
    tasks = list(spans(len(index.place), NEAREST_BLOCK))
    for task, (place, similarity) in run_blocks(
        _nearest_block, (index[:6], rows.arrays(), k_groups), tasks, desc="nearest", **options
    ):
        near[task], best[task] = index.group[place], similarity
    return _with_copies(index.by_group(near), index.by_group(best), index.group, k)


def _nearest_block(shared: tuple[Any, ...], task: slice) -> tuple[np.ndarray, np.ndarray]:
    from class_kit.neighbours.kernels import nearest_tiles

    index, rows, k = shared
    best = np.full((task.stop - task.start, k), -2.0)
    place = np.zeros(best.shape, np.int64)
    nearest_tiles(index, rows, (task.start // TILE, task.stop // TILE), SLACK, best, place)
    return place, best


def _with_copies(near: np.ndarray, best: np.ndarray, group: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn the nearest groups of each group into the nearest rows of each row, counting a group's copies singly."""
    length, copies = len(group), np.bincount(group)
    members, begins = np.argsort(group, kind="stable"), np.cumsum(copies) - copies
    index, similarity = np.zeros((length, k), np.int64), np.zeros((length, k))
    filled = np.zeros(length, np.int64)
    for c, r in itertools.product(range(near.shape[1]), range(min(k + 1, int(copies.max())))):
        other = near[group, c]
        candidate = members[np.minimum(begins[other] + r, length - 1)]
        at = np.flatnonzero((r < copies[other]) & (candidate != np.arange(length)) & (filled < k))
        index[at, filled[at]], similarity[at, filled[at]] = candidate[at], best[group[at], c]
        filled[at] += 1
    return index, similarity
