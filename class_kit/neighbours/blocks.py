"""Running the independent blocks of a computation: on threads, on a cluster, and on from where an earlier run stopped.

Blocks go through joblib, so `joblib.parallel_config(backend="dask")` round a call sends them to a cluster and nothing
else changes. A block's result is used once, whoever computed it, so a worker that dies costs time and no counts.
"""

from __future__ import annotations

import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from class_kit.files import atomic_write
from class_kit.progress import progress_bar

# changes when the meaning of a stored block does, so that an older one is not taken up
FORMAT = "neighbour blocks 2"

_blas = threading.RLock()


def run_blocks(
    work: Callable[[tuple[Any, ...], slice], Any],
    shared: tuple[Any, ...],
    tasks: Sequence[slice],
    *,
    loads: Sequence[int] | None = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
    folder: Path | None = None,
    desc: str = "neighbours",
    unit: str = " rows",
) -> Iterator[tuple[slice, Any]]:
    """Yield every task with work(shared, task), in any order.

    Parameters
    ----------
    work : function of the module level, so that another process can be sent to it.
    shared : what every block reads; it is sent to a worker of a cluster once.
    tasks : slices of the rows.
    loads : cost of each task, for the bar's estimate; the length of its slice where it is None.
    n_jobs : workers; None takes every core, or what `joblib.parallel_config` selects.
    progress : show a bar; None shows it where a person is looking.
    folder : keep each result, an array, in a file until all are there; those that are kept already come first.
    """
    costs = [task.stop - task.start for task in tasks] if loads is None else loads
    with progress_bar(
        total=sum(costs), desc=desc, unit=unit, disable=None if progress is None else not progress
    ) as bar:
        waiting = []
        for block, task in enumerate(tasks):
            kept = _read(folder / f"block-{block:05d}.npz") if folder else None
            if kept is None:
                waiting.append(block)
                continue
            bar.update(costs[block])
            yield task, kept
        for block, result in _computed(work, shared, tasks, waiting, n_jobs):
            if folder:
                with atomic_write(folder / f"block-{block:05d}.npz") as temporary, open(temporary, "wb") as file:
                    np.savez_compressed(file, counts=result)
            bar.update(costs[block])
            yield tasks[block], result
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def block_folder(parent: str | os.PathLike[str], *computed: Any) -> Path:
    """A folder for the blocks of one computation, named by all that decides it."""
    from joblib import hash as content_hash

    folder = Path(parent) / f"neighbours-{content_hash((FORMAT, computed), hash_name='sha1')}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def thread_count(n_jobs: int | None) -> int:
    """How many threads of this process may work; None takes every core."""
    from joblib import effective_n_jobs

    return int(effective_n_jobs(-1 if n_jobs is None else n_jobs))


@contextmanager
def single_blas() -> Iterator[None]:
    """One thread for each BLAS call while this lasts; the setting is the process's, so callers take turns."""
    from threadpoolctl import threadpool_limits

    with _blas, threadpool_limits(1, user_api="blas"):
        yield


def _read(path: Path) -> np.ndarray | None:
    """A stored result, or None where there is none or the file is damaged."""
    try:
        # opened here, since numpy leaves a file it cannot read open
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            counts: np.ndarray = stored["counts"]
            return counts
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError):
        return None


def _computed(
    work: Callable[..., Any], shared: tuple[Any, ...], tasks: Sequence[slice], waiting: list[int], n_jobs: int | None
) -> Iterator[tuple[int, Any]]:
    if len(waiting) == 1:
        # threads take longer to start than a small count takes
        yield _numbered(work, shared, waiting[0], tasks[waiting[0]])
        return
    from joblib import Parallel, delayed, parallel

    backend, wished = parallel.get_active_backend(prefer="threads")
    if n_jobs is None:
        n_jobs = -1 if wished == 1 else wished
    pool = Parallel(n_jobs=n_jobs, prefer="threads", batch_size=1, return_as="generator_unordered")
    with _on_cluster(backend, shared):
        yield from pool(delayed(_numbered)(work, shared, block, tasks[block]) for block in waiting)


def _numbered(work: Callable[..., Any], shared: tuple[Any, ...], block: int, task: slice) -> tuple[int, Any]:
    return block, work(shared, task)


@contextmanager
def _on_cluster(backend: Any, shared: tuple[Any, ...]) -> Iterator[None]:
    """Give every Dask worker its copy first: a copy that only one held would be lost with it."""
    client = getattr(backend, "client", None)
    if client is None or not hasattr(backend, "data_futures"):
        yield
        return
    # a list is scattered element by element, so the tuple travels as one element
    backend.data_futures[id(shared)] = client.scatter([shared], broadcast=True, hash=False)[0]
    try:
        yield
    finally:
        del backend.data_futures[id(shared)]
