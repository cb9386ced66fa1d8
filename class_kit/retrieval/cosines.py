"""Cosines of many pairs at the speed of float32 with the verdict of float64.

A float32 product of unit vectors is off by a known bound, so it decides every comparison that is further apart than
that; whoever needs the others asks for them in float64.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.errors import InputError

_UNIT_ROUNDOFF = 2.0**-24
# blocks this large keep the product near its full speed and the comparison within a core's cache; measured
_ROWS, _COLUMNS = 512, 2048
_SAFE_SQUARES = (1e-200, 1e200)
_product_threads = threading.Lock()


class BlockCosines:
    """Cosines by blocks: float32 with a known error, float64 where asked; safe to share between threads.

    The error bound is that of an inner product of d terms in any order of summation, plus the rounding of the unit
    vectors to float32: (d + 2) · 2⁻²⁴ to first order (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
    section 3.1).

    Parameters
    ----------
    queries, candidates : (Q, d), (C, d) real
        Finite vectors of any length; a zero vector has cosine 0 with everything.
    memory : int
        Bytes that the blocks of all threads may take together, beside one float32 copy of both sets.
    threads : int
        Threads that will ask for blocks at the same time.
    """

    def __init__(self, queries: NDArray[Any], candidates: NDArray[Any], memory: int, threads: int = 1) -> None:
        width = queries.shape[1]
        # 2 % covers the second-order terms up to a million dimensions, the last term underflow
        self.error = 1.02 * (width + 2) * _UNIT_ROUNDOFF + width * 2.0**-125
        share = memory // threads
        self.rows, self.columns = min(len(queries), _ROWS), min(len(candidates), _COLUMNS)
        # a block that has to be settled cell by cell in float64 takes about 32 bytes a cell
        while 32 * self.rows * self.columns + 16 * width * (self.rows + self.columns) > share and self.rows > 1:
            self.rows, self.columns = (self.rows + 1) // 2, max(1, self.columns // 2)
        self._piece = max(1, min(share, 2**22) // (32 * width))
        self._queries, self._query_scale, self._queries32 = _normalised(queries)
        self._candidates, self._candidate_scale, self._candidates32 = _normalised(candidates)
        self._local = threading.local()

    def row_blocks(self) -> Iterator[slice]:
        return spans(len(self._queries), self.rows)

    def column_blocks(self) -> Iterator[slice]:
        return spans(len(self._candidates), self.columns)

    def float32(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Cosines of a block within `error`; the thread's next call overwrites the result."""
        if not hasattr(self._local, "block"):
            self._local.block = np.empty(self.rows * self.columns, np.float32)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        out = self._local.block[: height * width].reshape(height, width)
        return np.matmul(self._queries32[rows], self._candidates32[columns].T, out=out)

    def float64(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        """Cosines of a block in float64."""
        products = self._queries[rows].astype(np.float64) @ self._candidates[columns].astype(np.float64).T
        products *= self._query_scale[rows][:, None]
        products *= self._candidate_scale[columns]
        return products

    def pairs(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cosines of single pairs in float64, by pieces so that long lists stay within memory."""
        cosines = np.empty(len(rows))
        for part in spans(len(rows), self._piece):
            query = self._queries[rows[part]].astype(np.float64)
            candidate = self._candidates[columns[part]].astype(np.float64)
            cosines[part] = np.einsum("ij,ij->i", query, candidate)
        cosines *= self._query_scale[rows]
        cosines *= self._candidate_scale[columns]
        return cosines


@contextmanager
def block_threads() -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Threads that each multiply and compare blocks of their own, as many as the BLAS would have used.

    One thread a block beats several threads within one product: no core waits for another after each block, and
    comparisons run in parallel too. The BLAS is held to one thread meanwhile; that setting belongs to the process,
    so calls from several threads take turns.
    """
    from threadpoolctl import threadpool_info, threadpool_limits

    with _product_threads:
        workers = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as executor:
            try:
                yield executor, workers
            except BaseException:
                executor.shutdown(cancel_futures=True)
                raise


def spans(length: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most `step` that cover `length`."""
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def as_vectors(values: ArrayLike, name: str) -> NDArray[Any]:
    """A matrix of finite real numbers, or an error that names `name` and what is wrong with it."""
    matrix = np.asarray(values)
    if matrix.dtype.kind not in "fiub":
        raise InputError(f"{name} must be real numbers, got an array of {matrix.dtype}")
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"{name} must have two dimensions, none of them empty; got shape {matrix.shape}")
    if matrix.dtype.kind == "f":
        for rows in spans(len(matrix), max(1, 2**18 // matrix.shape[1])):
            finite = np.isfinite(matrix[rows])
            if not finite.all():
                row = rows.start + int(np.argmin(finite.all(axis=1)))
                raise InputError(f"{name} must be finite; row {row} is not")
    return matrix


def check_same_width(first: NDArray[Any], second: NDArray[Any], names: tuple[str, str]) -> None:
    """Refuse two sets of vectors that do not live in one space."""
    if first.shape[1] != second.shape[1]:
        raise InputError(
            f"{names[0]} have {first.shape[1]} dimensions and {names[1]} {second.shape[1]}: expected the same"
        )


def _normalised(vectors: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float32]]:
    """The vectors, what scales each to unit length (0 for a zero vector), and the unit vectors in float32."""
    unit = np.empty(vectors.shape, np.float32)
    scale = np.empty(len(vectors))
    for rows in spans(len(vectors), max(1, 2**16 // vectors.shape[1])):
        part = vectors[rows].astype(np.float64)
        with np.errstate(over="ignore", under="ignore"):
            squares = np.einsum("ij,ij->i", part, part)
        zero = squares == 0
        if ((squares < _SAFE_SQUARES[0]) | (squares > _SAFE_SQUARES[1]))[~zero].any() or part[zero].any():
            return _normalised(_rescaled(vectors))
        scale[rows] = np.where(zero, 0.0, 1 / np.sqrt(np.where(zero, 1.0, squares)))
        part *= scale[rows][:, None]
        unit[rows] = part
    return vectors, scale, unit


def _rescaled(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Rows divided by their largest entry, so that neither tiny nor huge vectors lose their direction."""
    rows = vectors.astype(np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    # two steps, since the inverse of a subnormal number is infinite
    rows /= np.where(largest > 0, largest, 1.0)
    return rows
