"""Same inputs, same bytes: metrics and figures of two runs, and what another number of threads may change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

import class_kit as ck
from class_kit.retrieval import retrieval_ranks
from class_kit.study import records, run_arms
from class_kit.study.records import Arm
from class_kit.training import TrainingConfig
from tests.short_run import some_notebooks
from tests.test_study import small_task

ROOT = Path(__file__).parents[1]
# Everything a plot could take from its surroundings instead of from its own style.
LOUD = "\n".join(
    (
        "font.size: 23", "lines.linewidth: 7", "axes.facecolor: pink", "savefig.facecolor: lightblue",
        "savefig.bbox: tight", "xtick.direction: in", "legend.fontsize: 31", "image.cmap: hot", "pdf.compression: 0",
        "font.sans-serif: Comic Neue", "axes.titlesize: 40", "patch.edgecolor: red", "timezone: Asia/Tokyo",
    )
)  # fmt: skip


@pytest.fixture(scope="module")
def again(short_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notebooks 3 and 5 of the short run once more, from nothing and with other settings of the machine's own."""
    place = tmp_path_factory.mktemp("settings")
    (place / "matplotlibrc").write_text(LOUD + "\n", encoding="utf-8")
    other = {"TZ": "Pacific/Kiritimati", "SOURCE_DATE_EPOCH": "1000000000", "PYTHONHASHSEED": "77", "COLUMNS": "50"}
    other |= {"MATPLOTLIBRC": str(place / "matplotlibrc"), "CLASS_KIT_CACHE": str(place / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "class_kit", *some_notebooks(), "--out", "again"],
        cwd=short_run.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | other,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3_000:]
    return short_run.parent / "again"


def test_two_runs_give_equal_metrics(short_run: Path, again: Path) -> None:
    one, two = (json.loads((folder / "metrics.json").read_bytes()) for folder in (short_run, again))
    assert set(two) == {"03_scheduler", "05_retrieval"}
    assert {stem: one[stem] for stem in two} == two


def test_two_runs_give_equal_figures(short_run: Path, again: Path) -> None:
    figures = {path.name: path.read_bytes() for path in (again / "figures").iterdir()}
    assert {Path(name).suffix for name in figures} >= {".png", ".pdf"}
    assert {name[:2] for name in figures} == {"03", "05"}
    assert [name for name in figures if (short_run / "figures" / name).read_bytes() != figures[name]] == []
    assert [name for name in figures if str(again.parent).encode() in figures[name]] == []


# --- threads: sums are taken in another order, so floats may differ in their last places and nothing else may


def with_threads(count: int, work: Any) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            return work()
    finally:
        torch.set_num_threads(before)


def test_threads_change_text_vectors_by_rounding_at_most() -> None:
    texts = ck.load_pairs("corpus").text[:4]
    one, two = (with_threads(n, lambda: ck.embed_text(texts, cache=False, progress=False)) for n in (1, 2))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-6)


def test_threads_change_no_count_and_no_rank() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(300, 24))
    t, m = (np.float32(np.repeat(centres, 5, 0) + 0.1 * rng.normal(size=(1500, 24))) for _ in range(2))
    counts = [with_threads(n, lambda: ck.neighbour_counts(t, m, sigma=[0.9, 0.95, 0.99])) for n in (1, 2)]
    assert counts[0].any()
    np.testing.assert_array_equal(*counts)
    ranks = [with_threads(n, lambda: retrieval_ranks(t, m, np.arange(1500))) for n in (1, 2)]
    np.testing.assert_array_equal(ranks[0].greater, ranks[1].greater)
    np.testing.assert_array_equal(ranks[0].equal, ranks[1].equal)


def test_threads_change_nothing_in_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration says how many threads a training has, whatever the machine offers."""
    config = TrainingConfig(epochs=3, batch_size=16, backbone_options={"hidden": 64, "dim": 16})
    task, found, arms = small_task(), [], [Arm("a", growth=0.3)]
    for count in (1, 2):
        monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / str(count)))
        (record,) = with_threads(count, lambda: run_arms(task, arms, config, [0], jobs=1))
        found.append((record.history, record.ranks, records.load_backbone(record, task).state_dict()))
    losses = [[entry["loss"] for entry in history] for history, _, _ in found]
    assert losses[0] == losses[1]
    for name, ranks in found[0][1].items():
        np.testing.assert_array_equal(ranks.greater, found[1][1][name].greater)
    assert all(torch.equal(weight, found[1][2][name]) for name, weight in found[0][2].items())
