"""Compiled loops of the neighbour engine; imported only for sets large enough to repay loading them.

All run without the interpreter's lock, so that blocks share the cores as plain threads. Sums are reordered to fill the
vector registers: the error is below 1e-5 over FULL float32 terms of at most 1, and below 1e-12 in float64.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from class_kit.neighbours.sizes import FULL, LEAD, TILE

FAST = {"contract", "reassoc", "nsz"}
OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": FAST, "error_model": "numpy"}


def compiled(function: Callable[..., Any]) -> Any:
    """Compile once and cache the result on disk; if no folder is writable, compile in every process."""
    try:
        return njit(function, cache=True, **OPTIONS)
    except RuntimeError:
        return njit(function, **OPTIONS)


@compiled
def similarity(rows_a, i, rows_b, j):
    """s_ij in float64."""
    t_a, m_a, t_scale_a, m_scale_a = rows_a
    t_b, m_b, t_scale_b, m_scale_b = rows_b
    dot_t = 0.0
    for k in range(t_a.shape[1]):
        dot_t += np.float64(t_a[i, k]) * np.float64(t_b[j, k])
    dot_m = 0.0
    for k in range(m_a.shape[1]):
        dot_m += np.float64(m_a[i, k]) * np.float64(m_b[j, k])
    return dot_t * t_scale_a[i] * t_scale_b[j] + dot_m * m_scale_a[i] * m_scale_b[j]


@compiled
def tile_gaps(low_a, high_a, low_b, high_b, a, first, gap):
    """Squared distance between the box of tile `a` and every box from `first` on, into `gap`."""
    gap[first:] = 0.0
    for k in range(LEAD):
        low, high = low_a[k, a], high_a[k, a]
        for b in range(first, len(gap)):
            apart = max(max(low_b[k, b] - high, low - high_b[k, b]), np.float32(0.0))
            gap[b] += apart * apart


@compiled
def row_gaps(lead, low, high, b, gap):
    """Squared distance between each row of a tile, (LEAD, TILE), and the box of tile `b`."""
    gap[:] = 0.0
    for k in range(LEAD):
        near, far = low[k, b], high[k, b]
        for i in range(TILE):
            apart = max(max(near - lead[k, i], lead[k, i] - far), np.float32(0.0))
            gap[i] += apart * apart


@compiled
def survivors(row, lead, full_row, full, base, first, floor, bound, chosen):
    """Rows of one tile that may exceed `floor` beside one row, by LEAD and then by FULL terms; into `chosen`.

    `bound[n]` becomes the upper bound of the n-th of them by FULL terms. The list is filled without a branch, since
    the processor cannot predict which rows will pass.
    """
    passed = 0
    for j in range(TILE):
        s = np.float32(0.0)
        for k in range(LEAD):
            s += row[k] * lead[k, j]
        bound[j] = s
        passed += s > floor
    if passed == 0:
        return 0
    found = 0
    for j in range(first, TILE):
        chosen[found] = j
        found += bound[j] > floor
    kept = 0
    for n in range(found):
        j = chosen[n]
        s = np.float32(0.0)
        # a length known when compiling: nearly twice as fast
        for k in range(FULL):
            s += full_row[k] * full[base + j, k]
        chosen[kept], bound[kept] = j, s
        kept += s > floor
    return kept


@compiled
def last_exceeded(sigmas, s):
    """Index of the last of the ascending `sigmas` below `s`, -1 if there is none."""
    level = len(sigmas) - 1
    while level >= 0 and s <= sigmas[level]:
        level -= 1
    return level


@compiled
def count_tiles(index_a, rows_a, index_b, rows_b, sigmas, limits, span, symmetric, hist):
    """Count the tiles span[0]:span[1] of `a` against those of `b`; if `symmetric`, against themselves and later ones.

    `limits` are the squared distance and the similarity beyond which no pair can count, and the rounding error of a
    bound. A pair whose upper and lower bound exceed the same σ needs no verification. hist[level, position − first
    position] grows by the copies of the other row; level is the last σ exceeded.
    """
    lead_a, full_a, low_a, high_a, place_a, copies_a = index_a
    lead_b, full_b, low_b, high_b, place_b, copies_b = index_b
    reach, floor, slack = np.float32(limits[0]), np.float32(limits[1]), limits[2]
    start, stop = span
    gap, far = np.empty(len(lead_b), np.float32), np.empty(TILE, np.float32)
    bound, chosen = np.empty(TILE, np.float32), np.empty(TILE + 1, np.int64)
    for a in range(start, stop):
        first_tile = a if symmetric else 0
        tile_gaps(low_a, high_a, low_b, high_b, a, first_tile, gap)
        for b in range(first_tile, len(lead_b)):
            if gap[b] > reach:
                continue
            row_gaps(lead_a[a], low_b, high_b, b, far)
            for i in range(TILE):
                if far[i] > reach:
                    continue
                p = a * TILE + i
                first = i + 1 if symmetric and a == b else 0
                kept = survivors(lead_a[a, :, i], lead_b[b], full_a[p], full_b, b * TILE, first, floor, bound, chosen)
                for n in range(kept):
                    q = b * TILE + chosen[n]
                    lowest = bound[n] - 2 * full_a[p, FULL - 1] * full_b[q, FULL - 1]
                    level = last_exceeded(sigmas, bound[n] + slack)
                    if level != last_exceeded(sigmas, lowest - slack):
                        level = last_exceeded(sigmas, similarity(rows_a, place_a[p], rows_b, place_b[q]))
                    if level >= 0:
                        hist[level, p - start * TILE] += copies_b[q]
                        if symmetric:
                            hist[level, q - start * TILE] += copies_a[p]


@compiled
def nearest_tiles(index, rows, span, slack, best, best_place):
    """The k highest similarities of each row in the tiles span[0]:span[1], to itself included; descending.

    `best` (rows, k) starts at −2. Tiles are visited nearest first, so that the k-th best soon rises and prunes the
    rest.
    """
    lead, full, low, high, place, copies = index
    start, stop = span
    k_top = best.shape[1]
    gap, far = np.empty(len(lead), np.float32), np.empty(TILE, np.float32)
    bound, chosen = np.empty(TILE, np.float32), np.empty(TILE + 1, np.int64)
    for a in range(start, stop):
        tile_gaps(low, high, low, high, a, 0, gap)
        for b in np.argsort(gap):
            worst = best[(a - start) * TILE : (a - start + 1) * TILE, k_top - 1].min()
            if gap[b] > 2 - 2 * worst + 4 * slack:
                break
            row_gaps(lead[a], low, high, b, far)
            for i in range(TILE):
                p = a * TILE + i
                o = p - start * TILE
                if copies[p] == 0 or far[i] > 2 - 2 * best[o, k_top - 1] + 4 * slack:
                    continue
                floor = np.float32(best[o, k_top - 1] - slack)
                kept = survivors(lead[a, :, i], lead[b], full[p], full, b * TILE, 0, floor, bound, chosen)
                for n in range(kept):
                    q = b * TILE + chosen[n]
                    if copies[q] == 0:
                        continue
                    s = similarity(rows, place[p], rows, place[q])
                    slot = k_top
                    while slot > 0 and (
                        s > best[o, slot - 1] or (s == best[o, slot - 1] and place[q] < best_place[o, slot - 1])
                    ):
                        slot -= 1
                    for move in range(k_top - 1, slot, -1):
                        best[o, move] = best[o, move - 1]
                        best_place[o, move] = best_place[o, move - 1]
                    if slot < k_top:
                        best[o, slot] = s
                        best_place[o, slot] = place[q]


@compiled
def count_block(block, above, below, column_above, column_below):
    """Count the entries above one limit and those that reach the other, along rows and, unless None, along columns.

    Returns (higher, reached) of the rows, then of the columns.
    """
    higher, reached = np.zeros(block.shape[0], np.int64), np.zeros(block.shape[0], np.int64)
    column_higher, column_reached = np.zeros(block.shape[1], np.int32), np.zeros(block.shape[1], np.int32)
    for row in range(block.shape[0]):
        high, low = above[row], below[row]
        # narrow counters let the compiler compare sixteen entries at a time
        more, enough = np.int32(0), np.int32(0)
        for column in range(block.shape[1]):
            cosine = block[row, column]
            more += np.int32(cosine > high)
            enough += np.int32(cosine >= low)
            if column_above is not None:
                column_higher[column] += np.int32(cosine > column_above[column])
                column_reached[column] += np.int32(cosine >= column_below[column])
        higher[row], reached[row] = more, enough
    return higher, reached, column_higher.astype(np.int64), column_reached.astype(np.int64)
