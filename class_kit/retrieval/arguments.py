"""What the rankings take besides vectors: targets, a tolerance, memory, a progress bar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from class_kit.errors import InputError
from class_kit.progress import progress_bar

TIE_TOLERANCE = 1e-9
MEMORY = 256 * 2**20
Result = TypeVar("Result")


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


def with_bar(results: Iterable[Result], blocks: list[slice], progress: bool | None, desc: str) -> Iterator[Result]:
    """Pass on one result for each block of queries, counting the queries on a progress bar."""
    hidden = None if progress is None else not progress
    with progress_bar(total=blocks[-1].stop, desc=desc, unit=" queries", disable=hidden) as bar:
        for result, rows in zip(results, blocks, strict=True):
            yield result
            bar.update(rows.stop - rows.start)
