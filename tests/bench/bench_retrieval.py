"""How much more than the bare matrix product exact ranking costs.

Every measurement alternates with the bare product and is reported as the median of their ratios, so that a busy
machine slows both: by the clock, and by the processor time of all threads, which others on the machine disturb less.
The bare product is one float32 `numpy.matmul` a block of 2,048 rows into memory that is written again and again;
nothing exact can be cheaper. The run ends with 1 where a ratio or the memory passes its limit.

    python -m tests.bench.bench_retrieval [--rounds N] [--json FILE]
"""

import argparse
import statistics
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from class_kit.files import write_json
from class_kit.retrieval import retrieval_ranks, retrieval_ranks_both_ways
from tests.bench.timing import spent

POOL, SPLIT, WIDTH = 33_010, 3_300, 256
RATIO_LIMIT = 1.5
# what ranking may take beside its input
MEMORY_MIB = 256


def vectors(rng: np.random.Generator, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    """A pool and one query for each candidate, near enough that about a third are found at once."""
    pool = rng.standard_normal((POOL, width), dtype=np.float32)
    return pool + 4 * rng.standard_normal((POOL, width), dtype=np.float32), pool


def bare_product(queries: np.ndarray, pool: np.ndarray) -> None:
    out = np.empty((min(2048, len(queries)), len(pool)), np.float32)
    for start in range(0, len(queries), len(out)):
        block = queries[start : start + len(out)]
        np.matmul(block, pool.T, out=out[: len(block)])


def against_product(task: Callable[[], Any], product: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Median seconds of both and the median of their ratios, measured in turns after one round that is not counted."""
    spent(product), spent(task)
    pairs = [(spent(product), spent(task)) for _ in range(rounds)]
    return {
        "product_seconds": statistics.median(bare[0] for bare, _ in pairs),
        "seconds": statistics.median(own[0] for _, own in pairs),
        "ratio": statistics.median(own[0] / bare[0] for bare, own in pairs),
        "processor_ratio": statistics.median(own[1] / bare[1] for bare, own in pairs),
    }


def peak_mib(task: Callable[[], Any]) -> float:
    tracemalloc.start()
    try:
        task()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def run(rounds: int = 5) -> dict[str, Any]:
    """All measurements as plain numbers."""
    queries, pool = vectors(np.random.default_rng(0))
    few, targets, fewer = queries[:SPLIT], np.arange(POOL), max(1, rounds // 2)
    tasks: dict[str, tuple[Callable[[], Any], np.ndarray, int]] = {
        "split in pool": (lambda: retrieval_ranks(few, pool, targets[:SPLIT]), few, rounds),
        "pool in pool": (lambda: retrieval_ranks(queries, pool, targets), queries, fewer),
        "pool in pool, both ways": (lambda: retrieval_ranks_both_ways(queries, pool), queries, fewer),
    }
    rankings = {
        name: against_product(task, lambda side=side: bare_product(side, pool), turns)
        for name, (task, side, turns) in tasks.items()
    }
    return {"width": WIDTH, "rounds": rounds, "rankings": rankings, "peak_mib": peak_mib(tasks["split in pool"][0])}


def passed(result: dict[str, Any]) -> list[str]:
    """Which limits a run passed."""
    rankings = result["rankings"].items()
    found = [f"{name}: {row['ratio']:.2f} times the product" for name, row in rankings if row["ratio"] > RATIO_LIMIT]
    if result["peak_mib"] > MEMORY_MIB:
        found.append(f"memory: {result['peak_mib']:.0f} of {MEMORY_MIB} MiB")
    return found


def print_table(result: dict[str, Any]) -> None:
    print(f"{'ranking, ' + str(WIDTH) + '-d':28}{'product':>10}{'ranks':>10}{'ratio':>8}{'processor':>11}")
    for name, row in result["rankings"].items():
        seconds = f"{row['product_seconds']:9.2f}s{row['seconds']:9.2f}s"
        print(f"{name:28}{seconds}{row['ratio']:8.2f}{row['processor_ratio']:11.2f}")
    print(f"peak of NumPy memory, {SPLIT:,} in {POOL:,}: {result['peak_mib']:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (default 5)")
    parser.add_argument("--json", help="also write the numbers to this file")
    arguments = parser.parse_args()
    result = run(arguments.rounds)
    print_table(result)
    if arguments.json:
        write_json(arguments.json, result)
    if limits := passed(result):
        raise SystemExit(f"over the limit: {'; '.join(limits)}")


if __name__ == "__main__":
    main()
