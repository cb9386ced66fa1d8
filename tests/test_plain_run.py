"""γ = 1 and λ = 1 are the plain run, bit for bit: against a loop that knows no plan, no γ and no weights of pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from class_kit.backbones.dual_encoder import DualEncoder
from class_kit.curriculum import EpochPlan, LinearSchedule, Schedule, make_schedule
from class_kit.curriculum.controls import make_plan
from class_kit.curriculum.feedback import LossPrunedPlan, SelfPacedPlan
from class_kit.training import TrainingConfig, train

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
    "self-paced with all": lambda: SelfPacedPlan(UNSEEN, make_schedule("full"), "linear", seed=5, epochs=EPOCHS),
    "pruned by nothing": lambda: LossPrunedPlan(UNSEEN, EPOCHS, prune=0.0, seed=5),
}


def pairs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(ROWS, 6))
    text, molecules = (hidden @ rng.normal(size=(6, width)) for width in (12, 10))
    return text.astype(np.float32), molecules.astype(np.float32)


def plain_run(batches: list[list[list[int]]], optimizer: str) -> dict[str, torch.Tensor]:
    """Weights after a usual PyTorch training on these batches: a loader, a loss, an optimiser, warm-up and decay."""
    text, molecules = (torch.from_numpy(side) for side in pairs())
    torch.manual_seed(CONFIG.seed)
    model = DualEncoder(12, 10, **OPTIONS)
    model.fit_inputs(text, molecules)
    if optimizer == "adamw":
        optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
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
    found = train(replace(CONFIG, optimizer=optimizer, intensity_on=scales), plan, *pairs(), progress=False)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = plain_run(batches, optimizer)
    finally:
        torch.set_num_threads(threads)
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
        weights = train(replace(CONFIG, optimizer="sgd"), other, *pairs(), progress=False).backbone.state_dict()
        assert not torch.equal(weights["text_tower.layers.0.weight"], expected["text_tower.layers.0.weight"])
