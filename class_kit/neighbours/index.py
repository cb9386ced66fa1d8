"""The rows laid out so that whole groups of them can be skipped: merged, rotated, sorted into tiles.

A rotation keeps ⟨u_i, u_j⟩. Of the rotated vector a few leading coordinates y and the length ρ of the rest bound it:
⟨u_i, u_j⟩ ≤ ⟨y_i, y_j⟩ + ρ_i·ρ_j (Cauchy–Schwarz), which is again a product of short vectors [y, ρ]. And since
‖u‖ ≤ 1, s_ij > σ needs ‖[y, ρ]_i − [y, ρ]_j‖² < 2 − 2σ, so boxes round tiles of similar rows that lie farther apart
hold no such pair. The rotation is computed in float64 and need not be the best one: a poorer one prunes less and
counts the same. Separate rotations of text and molecule were tried and prune less than the common one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from class_kit.neighbours.rows import Rows

TILE = 128
LEAD = 16
FULL = 128
SAMPLE = 4096
STRIP = 512
# float32 rounding of sums over FULL products, ρ rounded up, and the float64 rotation: bounds stay bounds
SLACK = 2e-5
BYTES_PER_ROW = 2 * 4 * FULL + 2 * 4 * LEAD + 8 * 8


@dataclass(frozen=True)
class Merged:
    """Rows of which no two are equal byte for byte, with what is needed to give every row its answer back.

    `first` (n,) the row that stands for each group, `group` (L,) the group of each row, `copies` (n,) its size.
    """

    first: np.ndarray
    group: np.ndarray
    copies: np.ndarray


@dataclass(frozen=True)
class Index:
    """Tiles of TILE rows each, the last filled up with rows of zeros that nothing is near to.

    lead (tiles, LEAD, TILE): 15 coordinates and ρ; full (tiles·TILE, FULL): 127 and ρ; low, high (LEAD, tiles): boxes;
    place (tiles·TILE,): row in the input, 0 for filling; copies (tiles·TILE,): 0 for filling.
    """

    lead: np.ndarray
    full: np.ndarray
    low: np.ndarray
    high: np.ndarray
    place: np.ndarray
    copies: np.ndarray

    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the compiled loops take."""
        return self.lead, self.full, self.low, self.high, self.place, self.copies


def merge_equal(rows: Rows, threads: int) -> Merged:
    """Group equal rows; without it, 50,000 copies of one row would be a billion pairs to verify.

    Sums with random weights find the candidates, a comparison decides. A missed merge costs time, nothing else.
    """
    rng = np.random.default_rng(0)
    weights = [rng.uniform(1, 2, int(x.shape[1])).astype(x.dtype) for x in (rows.t, rows.m)]
    key = np.zeros(len(rows))

    def add(part: slice) -> None:
        for x, w in zip((rows.t, rows.m), weights, strict=True):
            key[part] += np.einsum("ij,j->i", x[part], w)

    each_strip(add, len(rows), threads)
    order = np.argsort(key, kind="stable")
    same = np.concatenate([[False], key[order][1:] == key[order][:-1]])
    for start in range(0, len(order), STRIP):
        at = start + np.flatnonzero(same[start : start + STRIP])
        a, b = order[at], order[at - 1]
        same[at] = (rows.t[a] == rows.t[b]).all(axis=1) & (rows.m[a] == rows.m[b]).all(axis=1)
    number = np.cumsum(~same) - 1
    group = np.empty(len(rows), np.int64)
    group[order] = number
    return Merged(order[~same], group, np.bincount(number))


def leading_axes(rows: Rows, seed: int = 716_225) -> np.ndarray:
    """FULL − 1 orthonormal directions that hold most of the rows' length, (width, ≤ FULL − 1) float64.

    Subspace iteration on a sample: the axes need to be orthonormal, not exact. The seed is one that callers do not
    use: where it had chosen the copied rows of a set too, the sample was those copies and nothing else.
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
    # twice, since one pass leaves the columns orthonormal to float32 only
    return np.linalg.qr(np.linalg.qr(basis.astype(np.float64) @ rotation)[0])[0]


def project(rows: Rows, axes: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """[y, ρ], (L, FULL) float32, and the ρ that belongs to the LEAD − 1 first coordinates, (L,).

    With fewer axes than FULL − 1 there are zeros between y and ρ.
    """
    full = np.zeros((len(rows), FULL), np.float32)
    short = np.empty(len(rows), np.float32)
    count, lead = axes.shape[1], min(LEAD - 1, axes.shape[1])
    split = rows.t.shape[1]

    def fill(part: slice) -> None:
        y = (rows.t[part].astype(np.float64) @ axes[:split]) * rows.t_scale[part, None]
        y += (rows.m[part].astype(np.float64) @ axes[split:]) * rows.m_scale[part, None]
        length = rows.squared_length(part)
        full[part, :count] = y
        full[part, -1] = _rest(length, y)
        short[part] = _rest(length, y[:, :lead])

    each_strip(fill, len(rows), threads)
    return full, short


def _rest(length: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Round the residual norm up; that only loosens the bound.
    return np.sqrt(np.maximum(length - np.einsum("ij,ij->i", y, y), 0.0) + 1e-12)


def build_index(rows: Rows, merged: Merged, axes: np.ndarray, threads: int, order: np.ndarray | None = None) -> Index:
    """Rotate the rows and sort them into tiles; `order` (n,) takes an earlier sorting of the groups instead."""
    full, short = project(rows, axes, threads)
    n = len(merged.first)
    if order is None:
        order = tile_order(full[merged.first, : LEAD - 1], threads)
    chosen = merged.first[order]
    tiles = -(-n // TILE)
    padded = np.zeros((tiles * TILE, full.shape[1]), np.float32)
    np.take(full, chosen, axis=0, out=padded[:n])
    lead = np.zeros((tiles * TILE, LEAD), np.float32)
    lead[:n, : LEAD - 1] = padded[:n, : LEAD - 1]
    lead[:n, LEAD - 1] = short[chosen]
    del full, short
    # filling must not widen the last tile's box
    boxed = lead if n == len(lead) else np.concatenate([lead[:n], np.repeat(lead[n - 1 : n], len(lead) - n, axis=0)])
    boxed = boxed.reshape(tiles, TILE, LEAD)
    place, copies = np.zeros(tiles * TILE, np.int64), np.zeros(tiles * TILE, np.int64)
    place[:n], copies[:n] = chosen, merged.copies[order]
    low, high = np.ascontiguousarray(boxed.min(axis=1).T), np.ascontiguousarray(boxed.max(axis=1).T)
    by_coordinate = np.ascontiguousarray(lead.reshape(tiles, TILE, LEAD).transpose(0, 2, 1))
    return Index(by_coordinate, padded, low, high, place, copies)


def tile_order(y: np.ndarray, threads: int) -> np.ndarray:
    """Halve the rows along their widest coordinate until TILE are left; the row numbers, tile after tile.

    Every tile but the last is full: the halves are cut at multiples of TILE.
    """
    order = np.arange(len(y))

    def halve(span: tuple[int, int]) -> tuple[int, int, int]:
        low, high = span
        part = y[order[low:high]]
        widest = int(part.var(axis=0).argmax())
        middle = -(-(high - low) // TILE) // 2 * TILE
        order[low:high] = order[low:high][np.argpartition(part[:, widest], middle)]
        return low, low + middle, high

    spans = [(0, len(y))] if len(y) > TILE else []
    with ThreadPoolExecutor(threads) as pool:
        while spans:
            cuts = list(pool.map(halve, spans))
            halves = [pair for low, middle, high in cuts for pair in ((low, middle), (middle, high))]
            spans = [(low, high) for low, high in halves if high - low > TILE]
    return order


def each_strip(work: Callable[[slice], Any], length: int, threads: int) -> None:
    """Call `work` on every strip of rows, small enough for the cache, on some threads."""
    strips: Iterable[slice] = (slice(a, min(a + STRIP, length)) for a in range(0, length, STRIP))
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, strips):
            pass
