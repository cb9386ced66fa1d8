"""Same inputs, same bytes: of two runs, with other threads, and of γ = 1 and λ = 1 beside a plain training loop."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import class_kit as ck
from class_kit.backbones.dual_encoder import DualEncoder
from class_kit.curriculum import EpochPlan, LinearSchedule, Schedule, make_schedule
from class_kit.curriculum.controls import make_plan
from class_kit.curriculum.feedback import LossPrunedPlan, SelfPacedPlan
from class_kit.retrieval import retrieval_ranks
from class_kit.study import records, run_arms
from class_kit.study.records import Arm
from class_kit.training import TrainingConfig, train
from tests.faulty_places import python
from tests.short_run import one_notebook
from tests.test_study import small_task
from tests.test_training import pairs

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
    """Notebook 5 of the short run once more, from nothing and with other settings of the machine's own."""
    place = tmp_path_factory.mktemp("settings")
    (place / "matplotlibrc").write_text(LOUD + "\n", encoding="utf-8")
    other = {"TZ": "Pacific/Kiritimati", "SOURCE_DATE_EPOCH": "1000000000", "PYTHONHASHSEED": "77", "COLUMNS": "50"}
    other |= {"MATPLOTLIBRC": str(place / "matplotlibrc"), "CLASS_KIT_CACHE": str(place / "cache")}
    done = python("-m", "class_kit", *one_notebook(), "--out", "again", cwd=short_run.parent, **other)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3_000:]
    return short_run.parent / "again"


def test_two_runs_give_equal_metrics_and_figures(short_run: Path, again: Path) -> None:
    one, two = (json.loads((folder / "metrics.json").read_bytes()) for folder in (short_run, again))
    assert two == {"05_retrieval": one["05_retrieval"]}
    figures = {path.name: path.read_bytes() for path in (again / "figures").iterdir()}
    assert {Path(name).suffix for name in figures} >= {".png", ".pdf"}
    assert {name[:2] for name in figures} == {"05"}
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


# --- γ = 1 and λ = 1 are the plain run: against a loop that knows no plan, no γ and no weights of pairs


ROWS, EPOCHS = 42, 4
OPTIONS = {"hidden": 16, "dim": 8, "dropout": 0.1}
CONFIG = TrainingConfig(epochs=EPOCHS, batch_size=8, learning_rate=5e-3, seed=3, backbone_options=OPTIONS)
ORDER = np.random.default_rng(2).permutation(ROWS)
UNSEEN = np.full(ROWS, np.nan)
PLANS: dict[str, Callable[[], EpochPlan]] = {
    "full schedule": lambda: EpochPlan(ORDER, make_schedule("full"), "constant", seed=5, epochs=EPOCHS),
    "linear from 1": lambda: EpochPlan(ORDER, LinearSchedule(1.0, 0.0), "constant", seed=5, epochs=EPOCHS),
    "steps from 1": lambda: EpochPlan(ORDER, Schedule(1.0, 0.1, "step", interval=3), "constant", seed=5, epochs=EPOCHS),
    "by term": lambda: EpochPlan(ORDER, make_schedule("full"), {"*": "constant"}, seed=5, epochs=EPOCHS),
    "standard arm": lambda: make_plan("standard", ORDER, LinearSchedule(0.2, 0.1), seed=5, epochs=EPOCHS),
    "step-matched to all": lambda: make_plan(
        "step-matched", ORDER, make_schedule("full"), seed=5, epochs=EPOCHS, batch_size=8
    ),
    "self-paced with all": lambda: SelfPacedPlan(UNSEEN, make_schedule("full"), seed=5, epochs=EPOCHS),
    "pruned by nothing": lambda: LossPrunedPlan(UNSEEN, EPOCHS, prune=0.0, seed=5),
}


def plain_run(batches: list[list[list[int]]], optimizer: str) -> dict[str, torch.Tensor]:
    """Weights after a usual PyTorch training on these batches: a loader, a loss, an optimiser, warm-up and decay."""
    text, molecules = (torch.from_numpy(side) for side in pairs(ROWS))
    torch.manual_seed(CONFIG.seed)
    model = DualEncoder(12, 10, **OPTIONS)
    model.fit_inputs(text, molecules)
    if optimizer == "adamw":
        optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01, fused=True)
    else:
        optimiser = torch.optim.SGD(model.parameters(), lr=5e-3, weight_decay=0.01, momentum=0.9)
    total = sum(map(len, batches))
    warm, step = round(0.1 * total), 0
    model.train()
    for epoch in batches:
        for t, m in DataLoader(TensorDataset(text, molecules), batch_sampler=epoch, generator=torch.Generator()):
            rate = 5e-3 * (step + 1) / warm if step < warm else 5e-3 * ((total - step) / (total - warm))
            for group in optimiser.param_groups:
                group["lr"] = rate
            logits = model.scale(model.encode_text(t) @ model.encode_molecules(m).T)
            target = torch.arange(len(t))
            forward = F.cross_entropy(logits, target, reduction="none").mean()
            loss = forward + F.cross_entropy(logits.T, target, reduction="none").mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
    return model.state_dict()


@pytest.mark.parametrize(
    ("name", "scales", "optimizer"),
    [("full schedule", "loss", "sgd"), ("full schedule", "lr", "adamw"), *((name, "loss", "adamw") for name in PLANS)],
)
def test_it_is_the_plain_run(name: str, scales: str, optimizer: str) -> None:
    plan = PLANS[name]()
    batches = [[batch.tolist() for batch in plan.batches(k, 8)] for k in range(1, EPOCHS + 1)]
    assert all(sorted(row for batch in epoch for row in batch) == list(range(ROWS)) for epoch in batches)
    found = train(replace(CONFIG, optimizer=optimizer, intensity_on=scales), plan, *pairs(ROWS), progress=False)
    expected = with_threads(1, lambda: plain_run(batches, optimizer))
    weights = found.backbone.state_dict()
    assert weights.keys() == expected.keys()
    different = [key for key, value in weights.items() if not torch.equal(value, expected[key])]
    assert different == []


def test_a_curriculum_is_another_run() -> None:
    """What the comparison above can see: γ and λ below 1 change the weights."""
    everything = PLANS["full schedule"]()
    batches = [[batch.tolist() for batch in everything.batches(k, 8)] for k in range(1, EPOCHS + 1)]
    expected = plain_run(batches, "sgd")
    for other in (
        EpochPlan(ORDER, make_schedule("full"), "inverse", seed=5, epochs=EPOCHS),
        EpochPlan(ORDER, LinearSchedule(0.6, 0.2), "constant", seed=5, epochs=EPOCHS),
    ):
        weights = train(replace(CONFIG, optimizer="sgd"), other, *pairs(ROWS), progress=False).backbone.state_dict()
        assert not torch.equal(weights["text_tower.layers.0.weight"], expected["text_tower.layers.0.weight"])
