"""The same call on a cluster: two worker processes over TCP, one of them killed in the middle."""

from __future__ import annotations

import os
import signal
import threading
import time

import joblib
import numpy as np
import pytest

from class_kit.neighbours import neighbour_counts
from tests.bench.generated import resembling

distributed = pytest.importorskip("distributed", reason="distributed is not installed (the extra class-kit[dask])")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    import dask

    # a worker's folder must not be the repository
    with (
        dask.config.set(
            {"distributed.worker.daemon": True, "temporary-directory": str(tmp_path_factory.mktemp("dask"))}
        ),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, protocol="tcp", host="127.0.0.1", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_cluster_counts_the_same_by_tiles(client):
    t, m = resembling(6000, seed=3)
    expected = neighbour_counts(t, m, [0.9, 0.99], engine="tiles")
    with joblib.parallel_config(backend="dask"):
        assert (neighbour_counts(t, m, [0.9, 0.99], engine="tiles") == expected).all()


def test_a_worker_killed_in_the_middle_of_products_changes_nothing(client):
    assert all(address.startswith("tcp://") for address in client.scheduler_info()["workers"])
    # Gaussian rows near no other: products, some seconds of them
    t = np.random.default_rng(0).standard_normal((16_000, 300)).astype(np.float32)
    expected = neighbour_counts(t, None, 0.15, engine="product")
    before = client.run(os.getpid)
    victim = next(iter(before.values()))
    done: list[int] = []

    def kill_when_working() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if any(client.processing().values()):
                time.sleep(0.3)
                done.append(sum(map(len, client.processing().values())))
                os.kill(victim, signal.SIGKILL)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_when_working)
    killer.start()
    with joblib.parallel_config(backend="dask"):
        counts = neighbour_counts(t, None, 0.15, engine="product")
    killer.join()
    assert done[0] > 0
    assert victim not in client.run(os.getpid).values()
    assert (counts == expected).all()
    assert counts.sum() > 0
