"""Count, block by block, the candidates above a query's target and those level with it.

A float32 block settles every cosine further from the target's than rounding can carry it; the few in between are
evaluated in float64. A block can be read along its rows (queries rank candidates) and along its columns (candidates
rank queries), so that both directions of a paired set cost one product.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from class_kit.retrieval.cosines import BlockCosines

Counts = tuple[NDArray[np.int64], NDArray[np.int64]]
Counter = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], Counts]
DoubleCounter = Callable[..., tuple[Counts, Counts]]

# where this share of a block is undecided, one float64 product beats gathering the pairs
_MANY_UNDECIDED = 0.02
# compiling takes most of a second, which only a large product repays
_WORTH_COMPILING = 2**26


class Limits:
    """What float32 has to exceed, or to miss, for the order against each target to be certain."""

    def __init__(self, target: NDArray[np.float64], error: float, tolerance: float) -> None:
        self.target, self.tolerance = target, tolerance
        slack = error + tolerance
        self.above = np.nextafter((target + slack).astype(np.float32), np.float32(np.inf))
        self.below = np.nextafter((target - slack).astype(np.float32), np.float32(-np.inf))

    def part(self, rows: slice) -> Limits:
        """The limits of some of the targets."""
        limits = object.__new__(Limits)
        limits.target, limits.tolerance = self.target[rows], self.tolerance
        limits.above, limits.below = self.above[rows], self.below[rows]
        return limits


def rank_rows(cosines: BlockCosines, rows: slice, limits: Limits, count: Counter) -> Counts:
    """Counts of one block of queries, the target itself left out of those level with it.

    Returns
    -------
    greater, equal : (rows,) int64
    """
    greater, equal = np.zeros(len(limits.target), np.int64), np.full(len(limits.target), -1, np.int64)
    for columns in cosines.column_blocks():
        block = cosines.float32(rows, columns)
        higher, reached = count(block, limits.above, limits.below)
        more, level = _settle(cosines, rows, columns, block, limits, reached - higher, 0)
        greater += higher + more
        equal += level
    return greater, equal


def rank_both_ways(cosines: BlockCosines, rows: slice, limits: Limits, count: DoubleCounter) -> tuple[Counts, Counts]:
    """Counts of one block of rows, and what these rows add to the counts of every column.

    Row i and column i are a pair, so that `limits`, one for each pair, serve both directions.
    """
    own = limits.part(rows)
    greater, equal = np.zeros(len(own.target), np.int64), np.full(len(own.target), -1, np.int64)
    column_greater, column_equal = np.zeros((2, len(limits.target)), np.int64)
    for columns in cosines.column_blocks():
        block, across = cosines.float32(rows, columns), limits.part(columns)
        (higher, reached), (higher_in_column, reached_in_column) = count(
            block, own.above, own.below, across.above, across.below
        )
        more, level = _settle(cosines, rows, columns, block, own, reached - higher, 0)
        greater += higher + more
        equal += level
        more, level = _settle(cosines, rows, columns, block, across, reached_in_column - higher_in_column, 1)
        column_greater[columns] += higher_in_column + more
        column_equal[columns] += level
    return (greater, equal), (column_greater, column_equal)


def _settle(
    cosines: BlockCosines,
    rows: slice,
    columns: slice,
    block: NDArray[np.float32],
    limits: Limits,
    undecided: NDArray[np.int64],
    axis: int,
) -> Counts:
    """Decide in float64 what a block left open, for the queries along `axis`."""
    tolerance = limits.tolerance
    if undecided.sum() > _MANY_UNDECIDED * block.size:
        target, above, below = (np.expand_dims(each, 1 - axis) for each in (limits.target, limits.above, limits.below))
        near = (block >= below) & (block <= above)
        all_differences = cosines.float64(rows, columns)
        all_differences -= target
        higher, not_lower = all_differences > tolerance, all_differences >= -tolerance
        more_here = np.count_nonzero(near & higher, axis=1 - axis)
        return more_here, np.count_nonzero(near & not_lower & ~higher, axis=1 - axis)
    some = np.flatnonzero(undecided)
    if axis == 0:
        part, above, below = block[some], limits.above[some, None], limits.below[some, None]
    else:
        part, above, below = block[:, some], limits.above[some], limits.below[some]
    row, column = np.nonzero((part >= below) & (part <= above))
    row, column = (some[row], column) if axis == 0 else (row, some[column])
    exact = cosines.pairs(rows.start + row, columns.start + column)
    query = column if axis else row
    difference = exact - limits.target[query]
    more = np.bincount(query[difference > tolerance], minlength=len(undecided))
    level = np.bincount(query[np.abs(difference) <= tolerance], minlength=len(undecided))
    return more, level


def row_counter(cells: int) -> Counter:
    """The faster way to count along rows for a product of this many cells; the counts are the same."""
    return _compiled_rows() if cells >= _WORTH_COMPILING else count_rows


def double_counter(cells: int) -> DoubleCounter:
    """The faster way to count along rows and columns at once; the counts are the same."""
    return _compiled_both() if cells >= _WORTH_COMPILING else count_both


def count_rows(block: NDArray[np.float32], above: NDArray[np.float32], below: NDArray[np.float32]) -> Counts:
    """For each row, how many entries lie above one limit and how many reach the other."""
    return _ones(block > above[:, None]), _ones(block >= below[:, None])


def count_both(
    block: NDArray[np.float32],
    above: NDArray[np.float32],
    below: NDArray[np.float32],
    column_above: NDArray[np.float32],
    column_below: NDArray[np.float32],
) -> tuple[Counts, Counts]:
    """`count_rows` along the rows, and the same along the columns with limits of their own."""
    higher, reached = block > column_above, block >= column_below
    return count_rows(block, above, below), (np.count_nonzero(higher, axis=0), np.count_nonzero(reached, axis=0))


def _ones(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    # counting bits of packed rows is several times faster than counting along an axis
    return np.bitwise_count(np.packbits(mask, axis=1)).sum(axis=1, dtype=np.int64)


@cache
def _compiled_rows() -> Counter:
    from numba import njit

    @njit(nogil=True)
    def count(block: Any, above: Any, below: Any) -> Any:
        higher = np.zeros(len(block), np.int64)
        reached = np.zeros(len(block), np.int64)
        for row in range(block.shape[0]):
            high, low = above[row], below[row]
            # narrow counters let the compiler compare sixteen entries at a time
            more, enough = np.int32(0), np.int32(0)
            for column in range(block.shape[1]):
                cosine = block[row, column]
                more += np.int32(cosine > high)
                enough += np.int32(cosine >= low)
            higher[row], reached[row] = more, enough
        return higher, reached

    return count


@cache
def _compiled_both() -> DoubleCounter:
    from numba import njit

    @njit(nogil=True)
    def count(block: Any, above: Any, below: Any, column_above: Any, column_below: Any) -> Any:
        higher = np.zeros(block.shape[0], np.int64)
        reached = np.zeros(block.shape[0], np.int64)
        column_higher = np.zeros(block.shape[1], np.int32)
        column_reached = np.zeros(block.shape[1], np.int32)
        for row in range(block.shape[0]):
            high, low = above[row], below[row]
            more, enough = np.int32(0), np.int32(0)
            for column in range(block.shape[1]):
                cosine = block[row, column]
                more += np.int32(cosine > high)
                enough += np.int32(cosine >= low)
                column_higher[column] += np.int32(cosine > column_above[column])
                column_reached[column] += np.int32(cosine >= column_below[column])
            higher[row], reached[row] = more, enough
        return (higher, reached), (column_higher.astype(np.int64), column_reached.astype(np.int64))

    return count
