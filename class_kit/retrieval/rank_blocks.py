"""Count, block by block, the candidates above a query's target and those level with it.

A float32 block settles every cosine further from the target's than rounding can carry it; the few in between are
evaluated in float64. A block can be read along its rows (queries rank candidates) and along its columns (candidates
rank queries), so that both directions of a paired set cost one product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from class_kit.neighbours.blocks import Part, Shared, run_blocks, single_blas, thread_count
from class_kit.neighbours.cosines import COLUMNS, ROWS, Cosines, spans
from class_kit.neighbours.rows import Rows

Counts = tuple[NDArray[np.int64], NDArray[np.int64]]

# where this share of a block is undecided, one float64 product beats gathering the pairs
_MANY_UNDECIDED = 0.02
# loading the compiled loops takes most of a second, which only a large product repays
_WORTH_COMPILING = 2**26


@dataclass(frozen=True)
class Limits:
    """What float32 has to exceed, or to miss, for the order against each target to be certain; each (Q,)."""

    target: NDArray[np.float64]
    above: NDArray[np.float32]
    below: NDArray[np.float32]

    @classmethod
    def around(cls, target: NDArray[np.float64], slack: float) -> Limits:
        """Limits `slack` above and below the targets, rounded outwards."""
        above = np.nextafter((target + slack).astype(np.float32), np.float32(np.inf))
        return cls(target, above, np.nextafter((target - slack).astype(np.float32), np.float32(-np.inf)))

    def part(self, rows: slice) -> Limits:
        """The limits of some of the targets."""
        return Limits(self.target[rows], self.above[rows], self.below[rows])

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.target.nbytes + self.above.nbytes + self.below.nbytes


def count_ranks(
    queries: Rows,
    candidates: Rows,
    targets: NDArray[np.int64] | None,
    tolerance: float,
    memory: int,
    progress: bool | None,
) -> list[Counts]:
    """How many candidates stand above each query's target and how many others are level with it.

    Parameters
    ----------
    targets : (Q,) int64 or None
        None where row i of both sides is a pair and both directions are wanted.
    tolerance : float
        Largest difference of two cosines that counts as a tie.
    memory : int
        Bytes that the blocks of all threads may take together, beside one float32 copy of both sides.

    Returns
    -------
    list of (greater, equal)
        Each (Q,) int64; one for the queries, and for both directions one for the candidates too.
    """
    height, columns = block_shape(len(queries), len(candidates), queries.width, memory // thread_count(None))
    both, length = targets is None, len(queries)
    cosines = Cosines.copied(queries, candidates, columns)
    with single_blas():
        goal = np.arange(length) if targets is None else targets
        target = np.empty(length)
        # no more rows at a time than the budget holds in float64
        for rows in spans(length, max(1, min(memory, 2**22) // (32 * queries.width))):
            target[rows] = cosines.exact(np.arange(rows.start, rows.stop), goal[rows])
        limits = Limits.around(target, cosines.error + tolerance)
        tasks = [(rows.start, rows.stop) for rows in spans(length, height)]
        loads = [float(stop - start) for start, stop in tasks]
        shared = Shared(cosines, limits, tolerance, both)
        greater, equal = np.zeros((2, length), np.int64), np.full((2, length), -1)
        for block, *counts in run_blocks(
            rank_block, shared, tasks, loads, n_jobs=None, progress=progress, desc="rank", unit=" queries"
        ):
            rows = slice(*tasks[block])
            greater[0, rows] += counts[0]
            equal[0, rows] += counts[1]
            if both:
                greater[1] += counts[2]
                equal[1] += counts[3]
    return list(zip(greater, equal, strict=True))[: 2 if both else 1]


def block_shape(rows: int, columns: int, width: int, memory: int) -> tuple[int, int]:
    """Height and width of a block that can be settled cell by cell in float64 within `memory` bytes."""
    height, across = min(rows, ROWS), min(columns, COLUMNS)
    while 32 * height * across + 16 * width * (height + across) > memory and height > 1:
        height, across = (height + 1) // 2, max(1, across // 2)
    return height, across


def rank_block(shared: Shared, block: int, start: int, stop: int) -> Part:
    """Counts of one block of queries and, for both directions, what these rows add to every column."""
    cosines, limits, tolerance, both = shared.values
    rows, own = slice(start, stop), limits.part(slice(start, stop))
    count = compiled_count if len(cosines.rows) * len(cosines.refs) >= _WORTH_COMPILING else numpy_count
    counts = np.zeros((2, stop - start), np.int64)
    across_counts = np.zeros((2, len(cosines.refs) if both else 0), np.int64)
    for columns, product in cosines.blocks(rows):
        across = limits.part(columns) if both else None
        for axis, (higher, reached) in enumerate(count(product, own, across)):
            side, total = (across, across_counts[:, columns]) if axis and across is not None else (own, counts)
            more, level = _settle(cosines, rows, columns, product, side, tolerance, reached - higher, axis)
            total[0] += higher + more
            total[1] += level
    return block, *counts, *across_counts


def _settle(
    cosines: Cosines,
    rows: slice,
    columns: slice,
    block: NDArray[np.float32],
    limits: Limits,
    tolerance: float,
    undecided: NDArray[np.int64],
    axis: int,
) -> Counts:
    """Decide in float64 what a block left open, for the queries along `axis`."""
    if undecided.sum() > _MANY_UNDECIDED * block.size:
        target = np.expand_dims(limits.target, 1 - axis)
        near = (block >= np.expand_dims(limits.below, 1 - axis)) & (block <= np.expand_dims(limits.above, 1 - axis))
        differences = cosines.float64(rows, columns)
        differences -= target
        higher, not_lower = differences > tolerance, differences >= -tolerance
        more_here = np.count_nonzero(near & higher, axis=1 - axis)
        return more_here, np.count_nonzero(near & not_lower & ~higher, axis=1 - axis)
    some = np.flatnonzero(undecided)
    if axis == 0:
        part, above, below = block[some], limits.above[some, None], limits.below[some, None]
    else:
        part, above, below = block[:, some], limits.above[some], limits.below[some]
    row, column = np.nonzero((part >= below) & (part <= above))
    row, column = (some[row], column) if axis == 0 else (row, some[column])
    query = column if axis else row
    difference = cosines.exact(rows.start + row, columns.start + column) - limits.target[query]
    more = np.bincount(query[difference > tolerance], minlength=len(undecided))
    level = np.bincount(query[np.abs(difference) <= tolerance], minlength=len(undecided))
    return more, level


def numpy_count(block: NDArray[np.float32], own: Limits, across: Limits | None) -> list[Counts]:
    """How many entries lie above one limit and how many reach the other, along the rows and, if asked, the columns."""

    def ones(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        # counting bits of packed rows is several times faster than counting along an axis
        return np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1, dtype=np.int64)

    counts: list[Any] = [(ones(block > own.above[:, None]), ones(block >= own.below[:, None]))]
    if across is not None:
        counts.append(tuple(np.count_nonzero(mask, axis=0) for mask in (block > across.above, block >= across.below)))
    return counts


def compiled_count(block: NDArray[np.float32], own: Limits, across: Limits | None) -> list[Counts]:
    """What `numpy_count` counts, by compiled loops."""
    from class_kit.neighbours.kernels import count_along_both, count_along_rows

    if across is None:
        return [count_along_rows(block, own.above, own.below)]
    return list(count_along_both(block, own.above, own.below, across.above, across.below))
