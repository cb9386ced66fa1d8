"""How much more than the bare matrix product exact ranking costs, and what a double argsort takes for the same ranks.

Every measurement alternates with the bare product and is reported as the median of their ratios, so that a busy
machine slows both: by the clock, and by the processor time of all threads, which others on the machine disturb less.
The bare product is one float32 `numpy.matmul` a block of 2,048 rows into memory that is written again and again;
nothing exact can be cheaper.

The same ranks are found, query by query, by a double argsort of float64 scores; the run ends with 1 where a ratio or
the memory passes its limit.

    python -m tests.bench.bench_retrieval [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from class_kit.files import write_json
from class_kit.retrieval import Ranks, retrieval_ranks, retrieval_ranks_both_ways

POOL, SPLIT, WIDTH = 33_010, 3_300, 256
# others sort whole rows; a few hundred queries show their rate without an hour of waiting
OTHERS_QUERIES = 500
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


def double_argsort(queries: np.ndarray, pool: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Ranks from 1 as Text2Mol's evaluation finds them: sort the scores, then sort the order."""
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, pool)]
    places = np.argsort(np.argsort(-(unit[0] @ unit[1].T), axis=1), axis=1)
    return places[np.arange(len(queries)), targets] + 1


def timed(task: Callable[[], Any]) -> tuple[float, float, Any]:
    clock, processor = time.perf_counter(), time.process_time()
    result = task()
    return time.perf_counter() - clock, time.process_time() - processor, result


def against_product(task: Callable[[], Any], product: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Median seconds of both and the median of their ratios, measured in turns after one round that is not counted."""
    timed(product), timed(task)
    pairs = [(timed(product)[:2], timed(task)[:2]) for _ in range(rounds)]
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


def same_ranks(ranks: Ranks, others: np.ndarray) -> int:
    """Queries without a tie whose rank another tool finds too."""
    alone = ranks.equal == 0
    return int(np.count_nonzero((ranks.greater + 1 == others)[alone]))


def run(rounds: int = 5) -> dict[str, Any]:
    """All measurements as plain numbers."""
    queries, pool = vectors(np.random.default_rng(0))
    few, targets = queries[:SPLIT], np.arange(POOL)
    result: dict[str, Any] = {"width": WIDTH, "memory_budget_mib": MEMORY_MIB, "rounds": rounds}
    result["split in pool"] = against_product(
        lambda: retrieval_ranks(few, pool, targets[:SPLIT]), lambda: bare_product(few, pool), rounds
    )
    large = max(1, rounds // 2)
    result["pool in pool"] = against_product(
        lambda: retrieval_ranks(queries, pool, targets), lambda: bare_product(queries, pool), large
    )
    result["pool in pool, both ways"] = against_product(
        lambda: retrieval_ranks_both_ways(queries, pool), lambda: bare_product(queries, pool), large
    )
    result["peak_mib"] = peak_mib(lambda: retrieval_ranks(few, pool, targets[:SPLIT]))
    result["others"] = measure_argsort(queries[:OTHERS_QUERIES], pool, targets[:OTHERS_QUERIES])
    return result


def measure_argsort(queries: np.ndarray, pool: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Seconds of ranking and of a double argsort for the same queries, and that both find the same."""
    own_seconds, _, ranks = timed(lambda: retrieval_ranks(queries, pool, targets))
    seconds, _, places = timed(lambda: double_argsort(queries, pool, targets))
    exact = double_argsort(queries.astype(np.float64), pool.astype(np.float64), targets)
    untied = int(np.count_nonzero(ranks.equal == 0))
    if others_ranks := untied - same_ranks(ranks, exact):
        raise AssertionError(f"float64 scores give {others_ranks} of {untied} queries another rank")
    return {
        "queries": len(queries),
        "untied": untied,
        "class_kit_seconds": own_seconds,
        "double_argsort_seconds": seconds,
        "double_argsort_same_ranks": same_ranks(ranks, places),
    }


def passed(result: dict[str, Any]) -> list[str]:
    """Which limits a run passed."""
    ratios = {name: row["ratio"] for name, row in result.items() if isinstance(row, dict) and "ratio" in row}
    found = [f"{name}: {ratio:.2f} times the product" for name, ratio in ratios.items() if ratio > RATIO_LIMIT]
    if result["peak_mib"] > result["memory_budget_mib"]:
        found.append(f"memory: {result['peak_mib']:.0f} of {result['memory_budget_mib']} MiB")
    return found


def print_table(result: dict[str, Any]) -> None:
    print(f"{'ranking, ' + str(WIDTH) + '-d':28}{'product':>10}{'ranks':>10}{'ratio':>8}{'processor':>11}")
    for name, row in result.items():
        if isinstance(row, dict) and "ratio" in row:
            print(
                f"{name:28}{row['product_seconds']:9.2f}s{row['seconds']:9.2f}s{row['ratio']:8.2f}"
                f"{row['processor_ratio']:11.2f}"
            )
    others = result["others"]
    print(f"peak of NumPy memory, {SPLIT:,} in {POOL:,}: {result['peak_mib']:.0f} MiB")
    print(f"{others['queries']} queries in {POOL:,}: class_kit {others['class_kit_seconds']:.2f} s")
    print(f"  {others['untied']} have no tie, and all of these the rank that float64 scores give")
    print(
        f"  double argsort {others['double_argsort_seconds']:.2f} s, {others['double_argsort_same_ranks']} equal ranks"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (default 5)")
    parser.add_argument("--json", help="also write the numbers to this file")
    arguments = parser.parse_args()
    result = run(arguments.rounds)
    print_table(result)
    print(json.dumps(result))
    if arguments.json:
        write_json(arguments.json, result)
    if limits := passed(result):
        raise SystemExit(f"over the limit: {'; '.join(limits)}")


if __name__ == "__main__":
    main()
