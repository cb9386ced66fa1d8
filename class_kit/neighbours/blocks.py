"""Running the independent blocks of a computation: on threads, on a cluster, and on from where an earlier run stopped.

Blocks go through joblib, so `joblib.parallel_config(backend="dask")` round a call sends them to a cluster and nothing
else changes. A block's result is added once, whoever computed it, so a worker that dies costs time and no counts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from class_kit.files import atomic_write
from class_kit.progress import progress_bar

# changes when the meaning of a saved block does, so that an older one is not taken up
FORMAT = "neighbour blocks 1"

# the block's number, then what the work is for; counts are packed
Part = tuple[Any, ...]
_blas = threading.RLock()


class Shared:
    """What every block reads, sent to a worker once and not with every block."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __sizeof__(self) -> int:
        parts = [x for value in self.values for x in (value if isinstance(value, tuple) else (value,))]
        return 64 + sum(getattr(x, "nbytes", 0) for x in parts)


def pack(block: int, first: int, counts: np.ndarray) -> Part:
    """A block's result as (block, first column, flat places, values): mostly zeros, so only the others travel."""
    places = np.flatnonzero(counts)
    return block, first, places, counts.ravel()[places]


def add(total: np.ndarray, part: Part, width: int) -> None:
    """Add a packed block of `width` columns into total[:, first : first + width]."""
    _, first, places, values = part
    level, column = np.divmod(places, width)
    total[level, first + column] += values


class Checkpoint:
    """Finished blocks of one count in a folder of their own, named by what is counted.

    Every file is complete or absent. A file that cannot be read is computed again. The folder goes when the count is
    done.
    """

    def __init__(self, folder: str | os.PathLike[str], key: str) -> None:
        self.folder = Path(folder) / f"neighbours-{key[:32]}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays saved under this name, or None."""
        try:
            # opened here, since numpy leaves a file it cannot read open
            with open(self.folder / f"{name}.npz", "rb") as file, np.load(file, allow_pickle=False) as saved:
                return {key: saved[key] for key in saved.files}
        except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError):
            return None

    def save(self, name: str, **arrays: np.ndarray) -> None:
        """Write the arrays under this name at once or not at all."""
        with atomic_write(self.folder / f"{name}.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def done(self) -> None:
        """Remove the folder: the count is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)


def content_key(*parts: Any) -> str:
    """SHA-256 over arrays (type, shape and bytes) and the text of everything else."""
    digest = hashlib.sha256(FORMAT.encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            for start in range(0, len(part), 4096):
                digest.update(np.ascontiguousarray(part[start : start + 4096]).data)
        else:
            digest.update(repr(part).encode())
        digest.update(b"\x00")
    return digest.hexdigest()


def thread_count(n_jobs: int | None) -> int:
    """How many threads of this process may work; None takes every core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if n_jobs is None:
        return cores
    if not isinstance(n_jobs, (int, np.integer)) or isinstance(n_jobs, bool) or n_jobs == 0:
        raise ValueError(f"n_jobs is {n_jobs!r}: a number of workers expected (-1 for every core)")
    return int(n_jobs) if n_jobs > 0 else max(1, cores + 1 + int(n_jobs))


def run_blocks(
    work: Callable[..., Part],
    shared: Shared,
    tasks: list[tuple[Any, ...]],
    loads: list[float],
    *,
    n_jobs: int | None,
    progress: bool | None,
    checkpoint: Checkpoint | None = None,
    desc: str = "neighbours",
    unit: str = "work",
) -> Iterator[Part]:
    """Yield work(shared, block, *tasks[block]) for every block, in any order, saved ones first.

    `loads` are the relative costs of the blocks, for the bar's estimate.
    """
    hidden = None if progress is None else not progress
    # rounded one by one, so that the parts add up to the whole and the bar ends full
    work_of = [round(load) for load in loads]
    with progress_bar(total=sum(work_of), desc=desc, unit=unit, disable=hidden) as bar:
        waiting = []
        for block in range(len(tasks)):
            saved = checkpoint.load(f"block-{block:05d}") if checkpoint else None
            if saved is None:
                waiting.append(block)
                continue
            bar.update(work_of[block])
            yield block, int(saved["first"]), saved["places"], saved["values"]
        for part in _computed(work, shared, tasks, waiting, n_jobs):
            if checkpoint:
                checkpoint.save(f"block-{part[0]:05d}", first=np.array(part[1]), places=part[2], values=part[3])
            bar.update(work_of[part[0]])
            yield part


def _computed(
    work: Callable[..., Part],
    shared: Shared,
    tasks: list[tuple[Any, ...]],
    waiting: list[int],
    n_jobs: int | None,
) -> Iterator[Part]:
    from joblib import Parallel, delayed, parallel
    from joblib.parallel import ThreadingBackend

    backend, wished = parallel.get_active_backend(prefer="threads")
    jobs = wished if n_jobs is None else n_jobs
    if n_jobs is None and wished == 1 and isinstance(backend, ThreadingBackend):
        jobs = thread_count(None)
    if len(waiting) == 1:
        # threads take longer to start than a small count takes
        yield work(shared, waiting[0], *tasks[waiting[0]])
        return
    pool = Parallel(n_jobs=jobs, prefer="threads", batch_size=1, return_as="generator_unordered")
    with _on_cluster(backend, shared):
        yield from pool(delayed(work)(shared, block, *tasks[block]) for block in waiting)


@contextmanager
def _on_cluster(backend: Any, shared: Shared) -> Iterator[None]:
    """Give every Dask worker its copy first: a copy that only one held would be lost with it."""
    client = getattr(backend, "client", None)
    if client is None or not hasattr(backend, "data_futures"):
        yield
        return
    backend.data_futures[id(shared)] = client.scatter(shared, broadcast=True, hash=False)
    try:
        yield
    finally:
        del backend.data_futures[id(shared)]


@contextmanager
def single_blas() -> Iterator[None]:
    """One thread for each BLAS call while this lasts; the setting is the process's, so callers take turns."""
    from threadpoolctl import threadpool_limits

    with _blas, threadpool_limits(1, user_api="blas"):
        yield
