"""What the rankings take, checked: vectors, targets, a tolerance, memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.errors import InputError
from class_kit.neighbours.cosines import spans
from class_kit.neighbours.rows import Rows, make_rows

TIE_TOLERANCE = 1e-9
MEMORY = 256 * 2**20


def as_matrix(values: ArrayLike, name: str) -> NDArray[Any]:
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


def as_vectors(values: ArrayLike, name: str) -> Rows:
    """Vectors to be compared by cosine, of any length but finite; errors as of `as_matrix`."""
    matrix = as_matrix(values, name)
    exact = matrix.dtype.kind in "fiu" and matrix.dtype.itemsize <= 8
    return make_rows(matrix if exact else matrix.astype(np.float64), None, 1.0)


def check_same_width(first: Rows, second: Rows, names: tuple[str, str]) -> None:
    """Refuse two sets of vectors that do not live in one space."""
    if first.width != second.width:
        raise InputError(f"{names[0]} have {first.width} dimensions and {names[1]} {second.width}: expected the same")


def check_score_tolerance(tie_tolerance: float) -> None:
    """Refuse a tolerance in the unit of the scores that is negative or no number."""
    if not (np.isfinite(tie_tolerance) and tie_tolerance >= 0):
        raise InputError(f"tie_tolerance must be a number of at least 0, got {tie_tolerance!r}")


def check_cosine_tolerance(tie_tolerance: float) -> None:
    """Refuse a tolerance of cosines outside [0, 0.001]."""
    if not 0 <= tie_tolerance <= 1e-3:
        raise InputError(f"tie_tolerance must lie between 0 and 0.001, got {tie_tolerance!r}")


def check_memory(memory: int) -> None:
    """Refuse working memory too small for any block."""
    if memory < 2**20:
        raise InputError(f"memory must be at least {2**20} bytes (1 MiB), got {memory!r}")


def target_rows(targets: ArrayLike, queries: int, pool: int) -> NDArray[np.int64]:
    """One row of the pool for each query, or an error that says which is not."""
    rows = np.asarray(targets)
    if rows.dtype.kind not in "iu" or rows.shape != (queries,):
        raise InputError(
            f"targets must hold one integer for each of {queries} queries; got shape {rows.shape} of {rows.dtype}"
        )
    outside = np.flatnonzero((rows < 0) | (rows >= pool))
    if len(outside):
        where = int(outside[0])
        raise InputError(f"targets[{where}] is {rows[where]}, outside the pool of {pool} candidates (0 to {pool - 1})")
    return rows.astype(np.int64)
