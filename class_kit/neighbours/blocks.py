"""Run the independent blocks of a computation, on threads or a cluster.

Blocks go through joblib, so `joblib.parallel_config(backend="dask")` around a call sends them to a cluster and nothing
else changes. Each block's result is used once, whoever computed it, so a worker that dies costs time but no counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from class_kit.progress import progress_bar

_blas = threading.RLock()


def run_blocks(
    work: Callable[[tuple[Any, ...], slice], Any],
    shared: tuple[Any, ...],
    tasks: Sequence[slice],
    *,
    loads: Sequence[int] | None = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
    desc: str = "neighbours",
    unit: str = " rows",
) -> Iterator[tuple[slice, Any]]:
    """Yield every task with work(shared, task), in any order.

    Parameters
    ----------
    work : callable
        A function at module level, so that other processes can import it.
    shared : tuple
        What every block reads; it is sent to each worker of a cluster once.
    tasks : sequence of slice
        Slices of the rows.
    loads : sequence of int, optional
        Cost of each task, for the time estimate; by default the length of its slice.
    n_jobs : int, optional
        Workers; None uses every core, or what `joblib.parallel_config` selects.
    progress : bool, optional
        Show a progress bar; None shows it on a terminal or in a notebook.
    """
    costs = [task.stop - task.start for task in tasks] if loads is None else loads
    with progress_bar(total=sum(costs), desc=desc, unit=unit, show=progress) as bar:
        for block, result in _computed(work, shared, tasks, n_jobs):
            bar.update(costs[block])
            yield tasks[block], result


def thread_count(n_jobs: int | None) -> int:
    """How many threads this process may use; None means every core."""
    from joblib import effective_n_jobs

    return int(effective_n_jobs(-1 if n_jobs is None else n_jobs))


@contextmanager
def single_blas() -> Iterator[None]:
    """One thread for each BLAS call inside the block; the setting is global, so callers take turns."""
    from threadpoolctl import threadpool_limits

    with _blas, threadpool_limits(1, user_api="blas"):
        yield


def _computed(
    work: Callable[..., Any], shared: tuple[Any, ...], tasks: Sequence[slice], n_jobs: int | None
) -> Iterator[tuple[int, Any]]:
    if len(tasks) == 1:
        # starting threads would take longer than a small count
        yield _numbered(work, shared, 0, tasks[0])
        return
    from joblib import Parallel, delayed, parallel

    backend, wished = parallel.get_active_backend(prefer="threads")
    if n_jobs is None:
        n_jobs = -1 if wished == 1 else wished
    pool = Parallel(n_jobs=n_jobs, prefer="threads", batch_size=1, return_as="generator_unordered")
    with _on_cluster(backend, shared):
        yield from pool(delayed(_numbered)(work, shared, block, task) for block, task in enumerate(tasks))


def _numbered(work: Callable[..., Any], shared: tuple[Any, ...], block: int, task: slice) -> tuple[int, Any]:
    return block, work(shared, task)


@contextmanager
def _on_cluster(backend: Any, shared: tuple[Any, ...]) -> Iterator[None]:
    """Give every Dask worker its own copy first: a copy held by only one worker would be lost with it."""
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
