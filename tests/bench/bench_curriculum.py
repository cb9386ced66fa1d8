"""What the curriculum costs: the plan, the sampler, the step, and what a smaller share of samples saves.

Every claim is a ratio of two times taken in turns within one run, on one thread and in processor time, so that other
work on the machine neither counts nor changes one side more than the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from class_kit.curriculum import CurriculumBatchSampler, EpochPlan, LinearSchedule
from class_kit.curriculum.controls import make_plan
from class_kit.curriculum.hard_batches import neighbour_line

ROWS, BATCH, EPOCHS = 1_000_000, 64, 40
SCHEDULE = LinearSchedule(start=0.40, growth=0.03)


def seconds(function: Callable[[], Any], times: int = 3) -> float:
    """The least of a few runs: what the work takes when nobody else is at it."""
    taken = []
    for _ in range(times):
        begin = time.process_time()
        function()
        taken.append(time.process_time() - begin)
    return min(taken)


class DualEncoder:
    """Two linear heads on frozen vectors and a symmetric in-batch loss: the smallest retriever worth training."""

    def __init__(self, rows: int, text: int = 384, molecule: int = 300, width: int = 256) -> None:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.torch = torch
        self.text, self.molecule = torch.randn(rows, text), torch.randn(rows, molecule)
        self.heads = torch.nn.ModuleList([torch.nn.Linear(text, width), torch.nn.Linear(molecule, width)])
        self.optimiser = torch.optim.AdamW(self.heads.parameters(), lr=1e-4)

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: list[int]) -> Any:
        index = self.torch.tensor(rows)
        return self.text[index], self.molecule[index]

    def step(self, batch: Any) -> None:
        torch = self.torch
        left, right = (
            torch.nn.functional.normalize(head(part), dim=1) for head, part in zip(self.heads, batch, strict=True)
        )
        logits = left @ right.T / 0.07
        target = torch.arange(len(logits))
        loss = torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


def endless(loader: Any, sampler: CurriculumBatchSampler | None) -> Iterator[Any]:
    epoch = 0
    while True:
        if sampler is not None:
            sampler.set_epoch(epoch)
        for batch in loader:
            if len(batch[0]) == BATCH:
                yield batch
        epoch += 1


def step_times(model: DualEncoder, blocks: int = 40, block: int = 20) -> tuple[float, float]:
    """Median seconds a step with the plan, and the median ratio to a shuffled loader, block by block in turns."""
    from torch.utils.data import DataLoader

    order = np.random.default_rng(0).permutation(len(model))
    sampler = CurriculumBatchSampler(EpochPlan(order, SCHEDULE, seed=0, epochs=EPOCHS), BATCH)
    ways = {
        "plan": endless(DataLoader(model, batch_sampler=sampler, collate_fn=model.collate), sampler),
        "plain": endless(DataLoader(model, BATCH, shuffle=True, collate_fn=model.collate), None),
    }
    for batches in ways.values():
        for _ in range(block):
            model.step(next(batches))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(blocks):
        for name in sorted(ways, reverse=bool(turn % 2)):
            begin = time.process_time()
            for _ in range(block):
                model.step(next(ways[name]))
            times[name].append((time.process_time() - begin) / block)
    ratios = np.array(times["plan"]) / np.array(times["plain"])
    return float(np.median(times["plan"])), float(np.median(ratios))


def run_ratio(model: DualEncoder, rows: int = 6400, epochs: int = 20, rounds: int = 3) -> tuple[float, float]:
    """Time of a curriculum's whole run over that of the full one, in turns; and the share of samples it uses."""
    schedule = SCHEDULE
    order = np.random.default_rng(0).permutation(rows)
    plans = {
        "plan": EpochPlan(order, schedule, epochs=epochs),
        "plain": make_plan("standard", order, schedule, epochs=epochs),
    }
    times: dict[str, list[float]] = {name: [] for name in plans}
    for turn in range(rounds):
        for name in sorted(plans, reverse=bool(turn % 2)):
            begin = time.process_time()
            for epoch in range(1, epochs + 1):
                for batch in plans[name].batches(epoch, BATCH):
                    model.step(model.collate(batch.tolist()))
            times[name].append(time.process_time() - begin)
    return min(times["plan"]) / min(times["plain"]), schedule.share(epochs)


def run() -> dict[str, float]:
    """All figures by name."""
    order = np.random.default_rng(0).permutation(ROWS)
    build = seconds(lambda: EpochPlan(order, SCHEDULE, seed=0, epochs=EPOCHS).steps_total(BATCH))
    plan = EpochPlan(order, SCHEDULE, seed=0, epochs=EPOCHS)

    def sample() -> None:
        sampler = CurriculumBatchSampler(plan, BATCH)
        sampler.set_epoch(EPOCHS - 1)
        for _ in sampler:
            pass

    sampling = seconds(sample)
    vectors = np.random.default_rng(1).standard_normal((ROWS, 64), dtype=np.float32)
    begin = time.process_time()
    line = neighbour_line(vectors)
    line_time = time.process_time() - begin
    labels = np.where(np.arange(ROWS) % 5 == 0, np.arange(ROWS) // 20, -1)
    hard = EpochPlan(order, SCHEDULE, epochs=EPOCHS, hardness=LinearSchedule(0.0, 0.025), line=line, apart=labels)
    composing = seconds(lambda: hard.batches(EPOCHS, BATCH))
    del vectors
    model = DualEncoder(100_000)
    step, ratio = step_times(model)
    whole, share = run_ratio(model)
    epoch = step * plan.steps(EPOCHS, BATCH)
    return {
        "plan built, seconds (limit 1)": build,
        "sampler, share of an epoch (limit 0.005)": sampling / epoch,
        "hard batches with duplicates apart, share of an epoch": composing / epoch,
        "line of near neighbours, seconds": line_time,
        "step with the plan, seconds": step,
        "step with the plan / without (1 ± 0.02)": ratio,
        "run with the plan / without": whole,
        "share of samples": share,
    }


def main() -> None:
    """Print the figures."""
    print(f"curriculum: {ROWS:,} rows, batches of {BATCH}")
    for name, value in run().items():
        print(f"  {name:<56} {value:.4g}")


if __name__ == "__main__":
    main()
