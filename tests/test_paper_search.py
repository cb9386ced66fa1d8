"""The search for a curriculum that helps: what it draws is a plan, and what it reads are the new queries."""

import argparse
from typing import Any

import numpy as np
import pytest

from class_kit.retrieval import per_query_metrics
from class_kit.study.arms import plan_arm
from tests.small_paper import load_script


def test_settings_are_drawn_and_read_against_the_plain_run(task: Any, own_cache: Any) -> None:
    search = load_script("figures/paper/search.py")
    for values in search.draw(search.KINDS["CLASS and hard batches"][-1], 9, np.random.default_rng(0)):
        arm, config = search.setting("drawn", {"batch_size": 64, "epochs": 20, "hidden": 256} | values)
        assert plan_arm(task, arm, config).batches(config.epochs, config.batch_size)
    small = {"epochs": 3, "hidden": 16, "dim": 8, "batch_size": 16}
    hard = {"schedule": (0.4, 0.8, 1.0), "order": "random", "hardness": 0.5, "near": "model"}
    chosen = {"plain": search.setting("plain", small), "hard": search.setting("hard", small | hard)}
    found = search.read(task, chosen, argparse.Namespace(seeds=2, jobs=1), np.arange(25) < 10)
    assert found["queries"] == 15
    assert {row["arm"] for row in found["differences"]} == {"hard"}
    (records,) = search.trained(task, [chosen["plain"]], [100, 101], 1)
    kept = np.mean([per_query_metrics(one.ranks["text_to_molecule/split"])["mrr"][10:].mean() for one in records])
    row = next(one for one in found["summary"] if one["arm"] == "plain" and one["ranking"] == "text_to_molecule/split")
    assert (row["mrr"], row["seeds"]) == (pytest.approx(kept, abs=1e-9), 2)
    assert plan_arm(task, *chosen["hard"]).samples_total(16) <= (search.SHARE + 0.005) * 80 * 3
