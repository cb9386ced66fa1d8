"""The blockwise cosines that counts, nearest neighbours, ranks, search and duplicates all ask.

A float32 product of unit vectors is off by a known bound, so it decides every comparison that is further apart than
that, and float64 decides the others. A caller passes what to do with a block to `run_blocks` and walks the columns of
its rows with `Cosines.blocks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from class_kit.neighbours.rows import Rows, exact_similarity

# blocks this wide keep the product near its full speed and the comparison within a core's cache; measured
COLUMNS = 2048
ROWS = 512


@dataclass(frozen=True)
class Cosines:
    """Similarities of `rows` to `refs`, a block at a time; `refs is rows` where one set is compared with itself.

    `copies` are the unit vectors of both in float32, where they are worth their memory because blocks are low.
    """

    rows: Rows
    refs: Rows
    columns: int = COLUMNS
    copies: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def copied(cls, rows: Rows, refs: Rows, columns: int = COLUMNS) -> Cosines:
        """With a float32 copy of both sets."""
        left = _unit32(rows)
        return cls(rows, refs, columns, (left, left if refs is rows else _unit32(refs)))

    @property
    def symmetric(self) -> bool:
        """Whether a set is compared with itself."""
        return self.refs is self.rows

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.rows.nbytes + self.refs.nbytes + sum(x.nbytes for x in self.copies or ())

    @property
    def error(self) -> float:
        """Bound on |float32 − exact|, the rounding of the unit vectors and of a threshold included.

        (d + 2)·2⁻²⁴ to first order for d terms in any order of summation (Higham, Accuracy and Stability of Numerical
        Algorithms, 2002, section 3.1); 2 % cover the second order up to a million dimensions.
        """
        return 1.02 * (self.rows.width + 12) * 2.0**-24 + 1e-12

    def blocks(self, rows: slice, first: int = 0) -> Iterator[tuple[slice, np.ndarray]]:
        """The columns from `first` on and the float32 block of these rows; the next block overwrites it."""
        left = self.copies[0][rows] if self.copies else self.rows.unit(rows).astype(np.float32)
        buffer = np.empty(len(left) * min(self.columns, len(self.refs) - first), np.float32)
        for columns in spans(len(self.refs), self.columns, first):
            right = self.copies[1][columns] if self.copies else self.refs.unit(columns).astype(np.float32)
            block = buffer[: len(left) * len(right)].reshape(len(left), len(right))
            yield columns, np.matmul(left, right.T, out=block)

    def float64(self, rows: slice, columns: slice) -> np.ndarray:
        """A block in float64."""
        return self.rows.unit(rows) @ self.refs.unit(columns).T

    def exact(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Single pairs in float64, (len(i),)."""
        return exact_similarity(self.rows, i, self.refs, j)

    def above(self, rows: slice, columns: slice, block: np.ndarray, bound: float) -> np.ndarray:
        """Where a float32 block exceeds `bound`, as float64 decides it, in the shape of the block."""
        above = block > np.float32(bound + self.error)
        doubtful = block >= np.float32(bound - self.error)
        doubtful ^= above
        i, j = np.nonzero(doubtful)
        if len(i):
            sure = self.exact(i + rows.start, j + columns.start) > bound
            above[i[sure], j[sure]] = True
        return above


def spans(length: int, step: int, first: int = 0) -> Iterator[slice]:
    """Consecutive slices of at most `step` that cover `first` to `length`."""
    return (slice(start, min(start + step, length)) for start in range(first, length, step))


def _unit32(rows: Rows) -> np.ndarray:
    unit = np.empty((len(rows), rows.width), np.float32)
    for part in spans(len(rows), max(1, 2**16 // rows.width)):
        unit[part] = rows.unit(part)
    return unit
