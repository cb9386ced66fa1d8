"""The search for a curriculum that helps: what it draws is possible, fair, and chosen by what it says decides."""

import argparse
from typing import Any

import numpy as np
import pytest

from class_kit.retrieval import per_query_metrics
from class_kit.study.arms import plan_arm
from tests.small_paper import load_script


@pytest.fixture(scope="module")
def search() -> Any:
    return load_script("figures/paper/search.py")


def test_no_curriculum_spends_more_than_its_share(search: Any, task: Any) -> None:
    epochs = 30
    plain, config = search.setting("plain", {"epochs": epochs})
    whole = plan_arm(task, plain, config).samples_total(8)
    assert whole == 80 * epochs
    for schedule in search.SCHEDULES:
        arm, shorter = search.setting("hard batches", {"epochs": epochs, "schedule": schedule, "order": "random"})
        share = plan_arm(task, arm, shorter).samples_total(8) / whole
        assert 0.75 < share <= search.SHARE + 0.005


@pytest.mark.parametrize("kind", ["plain", "CLASS", "hard batches", "CLASS and hard batches"])
def test_every_setting_that_can_be_drawn_is_a_plan(search: Any, task: Any, kind: str) -> None:
    drawn = search.draw(search.KINDS[kind][-1], 40, np.random.default_rng(0))
    assert len({repr(values) for values in drawn}) == 40
    base = {"batch_size": 64, "epochs": 20, "hidden": 256}
    for values in drawn:
        arm, config = search.setting(kind, base | values)
        assert arm.name == kind
        plan = plan_arm(task, arm, config)
        assert plan.epochs == config.epochs
        assert plan.batches(config.epochs, config.batch_size)
        assert set(config.backbone_options) <= {"hidden", *search.OPTIONS}
        assert kind != "hard batches" or arm.order == "random"


def test_test_seeds_are_new_and_differences_are_from_the_plain_run(search, task, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path))
    small = {"epochs": 3, "hidden": 16, "dim": 8, "batch_size": 16}
    hard = {"schedule": (0.4, 0.8, 1.0), "order": "random", "hardness": 0.5, "near": "model"}
    chosen = {"plain": search.setting("plain", small), "hard": search.setting("hard", small | hard)}
    seen = np.arange(25) < 10
    found = search.read(task, chosen, argparse.Namespace(seeds=2, jobs=1), seen)
    assert found["queries"] == 15
    assert {row["arm"] for row in found["differences"]} == {"hard"}
    (records,) = search.trained(task, [chosen["plain"]], [100, 101], 1)
    kept = np.mean([per_query_metrics(one.ranks["text_to_molecule/split"])["mrr"][10:].mean() for one in records])
    row = next(one for one in found["summary"] if one["arm"] == "plain" and one["ranking"] == "text_to_molecule/split")
    assert row["mrr"] == pytest.approx(float(kept), abs=1e-9)
    assert row["seeds"] == 2
    share = next(row["share"] for row in found["differences"])
    assert share == pytest.approx(plan_arm(task, *chosen["hard"]).samples_total(16) / (80 * 3))
    assert not search.already_seen(task, task).any()
