"""Cosines of many pairs at the speed of float32 with the verdict of float64.

A float32 product of unit vectors is off by a known bound, so it decides every comparison that is further apart than
that; whoever needs the others asks for them in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.errors import InputError

_UNIT_ROUNDOFF = 2.0**-24
_ROWS, _COLUMNS = 2048, 4096


class BlockCosines:
    """Cosines by blocks: float32 with a known error, float64 where asked."""

    def __init__(self, queries: NDArray[Any], candidates: NDArray[Any], memory: int) -> None:
        self.queries, self.candidates = queries, candidates
        dimensions = queries.shape[1]
        # first-order bound with 2 % to spare for the second-order terms; the last term covers underflow
        self.error = 1.02 * (dimensions + 2) * _UNIT_ROUNDOFF + dimensions * 2.0**-125
        cells = memory // 16
        self.columns = int(min(len(candidates), _COLUMNS, cells))
        self.rows = int(max(1, min(len(queries), _ROWS, cells // self.columns)))
        self.queries32 = _unit_float32(queries)
        self.candidates32 = _unit_float32(candidates)
        self.out = np.empty((self.rows, self.columns), np.float32)

    def row_blocks(self) -> Iterator[slice]:
        return spans(len(self.queries), self.rows)

    def column_blocks(self) -> Iterator[slice]:
        return spans(len(self.candidates), self.columns)

    def float32(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Cosines of a block within `error`; the result is overwritten by the next call."""
        size = (rows.stop - rows.start) * (columns.stop - columns.start)
        out = self.out.reshape(-1)[:size].reshape(rows.stop - rows.start, -1)
        return np.matmul(self.queries32[rows], self.candidates32[columns].T, out=out)

    def float64(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        return unit_rows(self.queries[rows]) @ unit_rows(self.candidates[columns]).T

    def pairs(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cosines of single pairs in float64, by pieces so that long lists stay within memory."""
        scores = np.empty(len(rows))
        for part in spans(len(rows), max(1, 2**19 // self.queries.shape[1])):
            query = unit_rows(self.queries[rows[part]])
            candidate = unit_rows(self.candidates[columns[part]])
            scores[part] = np.einsum("ij,ij->i", query, candidate)
        return scores


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Rows of unit length in float64, zero rows left zero.

    Each row is first divided by its largest entry, so that neither tiny nor huge vectors lose their direction.
    """
    rows = np.array(vectors, dtype=np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows /= np.where(largest > 0, largest, 1.0)
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    rows /= np.where(length > 0, length, 1.0)
    return rows


def _unit_float32(vectors: NDArray[Any]) -> NDArray[np.float32]:
    unit = np.empty(vectors.shape, np.float32)
    for rows in spans(len(vectors), max(1, 2**19 // vectors.shape[1])):
        unit[rows] = unit_rows(vectors[rows])
    return unit


def spans(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def as_vectors(values: ArrayLike, name: str) -> NDArray[Any]:
    matrix = np.asarray(values)
    if matrix.dtype.kind not in "fiub":
        raise InputError(f"{name} must be real numbers, got an array of {matrix.dtype}")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"{name} must have two dimensions, none of them empty; got shape {matrix.shape}")
    if matrix.dtype.kind == "f":
        for rows in spans(len(matrix), max(1, 2**20 // matrix.shape[1])):
            finite = np.isfinite(matrix[rows]).all(axis=1)
            if not finite.all():
                raise InputError(f"{name} must be finite; row {rows.start + int(np.argmin(finite))} is not")
    return matrix


def check_same_width(first: NDArray[Any], second: NDArray[Any], names: tuple[str, str]) -> None:
    """Refuse two sets of vectors that do not live in one space."""
    if first.shape[1] != second.shape[1]:
        raise InputError(
            f"{names[0]} have {first.shape[1]} dimensions and {names[1]} {second.shape[1]}: expected the same"
        )
