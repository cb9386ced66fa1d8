"""What the curriculum costs: the plan, the sampler, the step, and what a smaller share of samples saves.

Run `python -m tests.bench.bench_curriculum`; it writes a JSON file, which the README shows, and ends with exit code 1
where a limit is passed. Every comparison is a ratio of two times taken in turns within one run, on one thread and in
processor time, so that other work on the machine neither counts nor changes one side more than the other. Memory: 7 GB.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from class_kit.curriculum import CurriculumBatchSampler, EpochPlan, LinearSchedule, make_schedule
from class_kit.curriculum.hard_batches import locality_order
from class_kit.files import write_json
from tests.bench.generated import resembling
from tests.bench.timing import spent

ROWS, BATCH, EPOCHS, ROUNDS = 1_000_000, 64, 40, 4
SCHEDULE = LinearSchedule(start=0.40, growth=0.03)
SHARES = (0.6, 0.75, 0.9)
OUT = Path(__file__).parents[2] / "figures" / "curriculum" / "cost.json"
# what each figure may be at most
LIMITS = {
    "plan_seconds": 1.0,
    "sampler_share": 0.005,
    "step_difference": 0.02,
    "groups_seconds": 60.0,
    "time_beside_share": 0.05,
}


def seconds(function: Callable[[], Any], times: int = 3) -> float:
    """The least of a few runs: what the work takes when nobody else is at it."""
    return min(spent(function)[1] for _ in range(times))


class DualEncoder:
    """Two linear heads on frozen vectors and a symmetric in-batch loss: the smallest retriever worth training."""

    def __init__(self, rows: int, text: int = 384, molecule: int = 300, width: int = 256) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.vectors = torch.randn(rows, text), torch.randn(rows, molecule)
        self.heads = torch.nn.ModuleList([torch.nn.Linear(text, width), torch.nn.Linear(molecule, width)])
        self.optimiser = torch.optim.AdamW(self.heads.parameters(), lr=1e-4)

    def batch(self, rows: Sequence[int]) -> list[torch.Tensor]:
        """Vectors of some rows."""
        index = torch.tensor(rows)
        return [side[index] for side in self.vectors]

    def step(self, batch: Sequence[torch.Tensor]) -> None:
        """One optimiser step."""
        left, right = (F.normalize(head(part), dim=1) for head, part in zip(self.heads, batch, strict=True))
        logits = left @ right.T / 0.07
        target = torch.arange(len(logits))
        loss = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


def endless(loader: DataLoader, sampler: CurriculumBatchSampler | None = None) -> Iterator[Any]:
    """Whole batches of one epoch after the other."""
    for epoch in count():
        if sampler is not None:
            sampler.set_epoch(epoch)
        yield from (batch for batch in loader if len(batch[0]) == BATCH)


def step_times(model: DualEncoder, blocks: int, block: int = 20) -> tuple[float, float]:
    """Median seconds a step with the plan, and the median ratio to a shuffled loader, block by block in turns."""
    rows = range(len(model.vectors[0]))
    order = np.random.default_rng(0).permutation(len(rows))
    sampler = CurriculumBatchSampler(EpochPlan(order, SCHEDULE, seed=0, epochs=EPOCHS), BATCH)
    ways = {
        "plan": endless(DataLoader(rows, batch_sampler=sampler, collate_fn=model.batch), sampler),  # type: ignore[arg-type]
        "plain": endless(DataLoader(rows, BATCH, shuffle=True, collate_fn=model.batch)),  # type: ignore[arg-type]
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    # the first turn warms up
    for turn in range(blocks + 1):
        for name in sorted(ways, reverse=bool(turn % 2)):
            begin = time.process_time()
            for _ in range(block):
                model.step(next(ways[name]))
            times[name].append((time.process_time() - begin) / block)
    plan, plain = (np.array(times[name][1:]) for name in ("plan", "plain"))
    return float(np.median(plan)), float(np.median(plan / plain))


def run_times(model: DualEncoder, rows: int, rounds: int, epochs: int = 20) -> list[dict[str, float]]:
    """Time of whole runs by the share of samples they use, over that of the run that uses all, in turns."""
    order = np.random.default_rng(0).permutation(rows)
    schedules = [LinearSchedule.for_share(0.1, share, epochs) for share in SHARES]
    plans = [EpochPlan(order, schedule, epochs=epochs) for schedule in (*schedules, make_schedule("full"))]
    # the runs take their epochs in turns: what slows the machine for a while slows them all
    times = np.zeros(len(plans))
    for turn in range(rounds):
        for epoch in range(1, epochs + 1):
            for number in range(len(plans))[:: -1 if (turn + epoch) % 2 else 1]:
                begin = time.process_time()
                for batch in plans[number].batches(epoch, BATCH):
                    model.step(model.batch(batch.tolist()))
                times[number] += time.process_time() - begin
    samples = [plan.samples_total(BATCH) for plan in plans]
    return [
        {"share": samples[number] / samples[-1], "time": float(times[number] / times[-1])}
        for number in range(len(SHARES))
    ]


def plan_and_sampler(rows: int) -> tuple[float, float]:
    """Seconds to build a plan, its number of steps included, and to draw the largest epoch's batches."""
    order = np.random.default_rng(0).permutation(rows)
    build = seconds(lambda: EpochPlan(order, SCHEDULE, seed=0, epochs=EPOCHS).steps_total(BATCH))
    plan = EpochPlan(order, SCHEDULE, seed=0, epochs=EPOCHS)

    def sample() -> None:
        sampler = CurriculumBatchSampler(plan, BATCH)
        sampler.set_epoch(EPOCHS - 1)
        for _ in sampler:
            pass

    return build, seconds(sample)


def groups(rows: int) -> tuple[float, float]:
    """Seconds to find groups of near neighbours in both spaces, and to compose an epoch of them, duplicates apart."""
    text, molecules = resembling(rows)
    begin = time.process_time()
    line = locality_order(text, molecules)
    found = time.process_time() - begin
    del text, molecules
    number = np.arange(rows)
    labels = np.where(number % 5 == 0, number // 20, -1)
    order = np.random.default_rng(0).permutation(rows)
    hard = EpochPlan(order, SCHEDULE, epochs=EPOCHS, hardness=LinearSchedule(0.0, 0.025), line=line, apart=labels)
    return found, seconds(lambda: hard.batches(EPOCHS, BATCH))


def measure(rows: int = ROWS, rounds: int = ROUNDS) -> dict[str, Any]:
    """All figures by name; seconds are of processor time."""
    build, sampling = plan_and_sampler(rows)
    line, composing = groups(rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    model = DualEncoder(min(rows, 100_000))
    step, ratio = step_times(model, blocks=12 * rounds)
    epoch = step * -(-rows // BATCH)
    return {
        "rows": rows,
        "batch_size": BATCH,
        "epochs": EPOCHS,
        "schedule": {"start": SCHEDULE.start, "growth": SCHEDULE.growth},
        "cores": os.cpu_count(),
        "limits": LIMITS,
        "plan_seconds": build,
        "sampler_share": sampling / epoch,
        "groups_seconds": line,
        "composition_share": composing / epoch,
        "peak_gib": peak,
        "step_seconds": step,
        "step_difference": ratio - 1.0,
        "runs": run_times(model, min(rows, 6400), rounds=rounds),
    }


def passed(figures: dict[str, Any]) -> list[str]:
    """The limits that the figures pass, in words; none where all is well."""
    found = [
        f"{name} is {figures[name]:.4g}, the limit {limit:g}"
        for name, limit in LIMITS.items()
        if name in figures and not abs(figures[name]) <= limit
    ]
    runs = sorted(figures["runs"], key=lambda run: run["share"])
    for run in runs:
        if not abs(run["time"] - run["share"]) <= LIMITS["time_beside_share"]:
            found.append(f"{run['share']:.1%} of the samples take {run['time']:.1%} of the time")
    times = [run["time"] for run in runs] + [1.0]
    if times != sorted(times):
        found.append("the time does not fall with the share of samples")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write, and compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="pairs of the plan and of the groups")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns that each comparison takes")
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON file")
    given = parser.parse_args(arguments)
    figures = measure(given.rows, given.rounds)
    print(f"curriculum: {given.rows:,} rows, batches of {BATCH}")
    for name, value in figures.items():
        if isinstance(value, float):
            print(f"  {name:<20} {value:.4g}" + (f"  (limit {LIMITS[name]:g})" if name in LIMITS else ""))
    for run in figures["runs"]:
        print(f"  {run['share']:.1%} of the samples: {run['time']:.1%} of the time")
    write_json(given.out, figures)
    print(f"written: {given.out}")
    wrong = passed(figures)
    for words in wrong:
        print(f"LIMIT: {words}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
