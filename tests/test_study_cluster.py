"""Trainings on a cluster: two worker processes over TCP give the records that this machine gives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from class_kit import study
from class_kit.study.records import Arm
from tests.test_study import CONFIG, small_task

distributed = pytest.importorskip("distributed", reason="distributed is not installed (the extra class-kit[dask])")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import dask

    place = str(tmp_path_factory.mktemp("dask"))
    with (
        dask.config.set({"distributed.worker.daemon": True, "temporary-directory": place}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, protocol="tcp", host="127.0.0.1", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_cluster_trains_the_same(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
