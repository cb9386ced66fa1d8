"""The same counts and trainings on a cluster: two worker processes over TCP, one of them killed in the middle."""

import os
import signal
import sys
import threading
import time

import joblib
import numpy as np
import pytest

from class_kit import study
from class_kit.neighbours import neighbour_counts
from class_kit.study.records import Arm
from tests.bench.generated import resembling
from tests.test_study import CONFIG, small_task

distributed = pytest.importorskip("distributed", reason="distributed is not installed (the extra class-kit[dask])")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    import dask

    # a worker's folder must not be the repository
    place = str(tmp_path_factory.mktemp("dask"))
    with (
        dask.config.set({"distributed.worker.daemon": True, "temporary-directory": place}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, protocol="tcp", host="127.0.0.1", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_cluster_trains_the_same(client, tmp_path, monkeypatch):
    task, arms = small_task(), [Arm("one", growth=0.15), Arm("two", order="random", growth=0.15)]
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "here"))
    here = study.run_arms(task, arms, CONFIG, [0, 1], jobs=1)
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "there"))
    with joblib.parallel_config(backend="dask"):
        there = study.run_arms(task, arms, CONFIG, [0, 1], jobs=2)
    trained = client.run(lambda: "class_kit.training" in sys.modules)
    assert any(trained.values()), "the workers did nothing"
    for one, two in zip(here, there, strict=True):
        assert (one.arm, one.seed, one.steps, one.samples) == (two.arm, two.seed, two.steps, two.samples)
        assert [entry["loss"] for entry in one.history] == [entry["loss"] for entry in two.history]
        for name, ranks in one.ranks.items():
            np.testing.assert_array_equal(ranks.greater, two.ranks[name].greater)
        assert two.folder.is_relative_to(tmp_path / "there")


def test_a_cluster_counts_the_same_by_tiles(client):
    t, m = resembling(6000, seed=3)
    expected = neighbour_counts(t, m, [0.9, 0.99], engine="tiles")
    with joblib.parallel_config(backend="dask"):
        assert (neighbour_counts(t, m, [0.9, 0.99], engine="tiles") == expected).all()


def test_a_worker_killed_in_the_middle_of_products_changes_nothing(client):
    assert all(address.startswith("tcp://") for address in client.scheduler_info()["workers"])
    # Gaussian rows near no other: products, some seconds of them
    t = np.random.default_rng(0).standard_normal((11_000, 300)).astype(np.float32)
    expected = neighbour_counts(t, None, 0.15, engine="product")
    before = client.run(os.getpid)
    victim = next(iter(before.values()))
    done: list[int] = []

    def kill_when_working() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if any(client.processing().values()):
                time.sleep(0.1)
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
