"""What happens round a count: memory, the bar, a stop, other backends."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pytest

from class_kit.neighbours import blocks, neighbour_counts
from class_kit.progress import progress_bar
from tests.bench.generated import resembling
from tests.test_neighbours import ENGINES, SIGMAS, similarities


def count_within(memory, t, m, **options):
    """Counts above 0.97 in so many bytes beyond input and result."""
    tracemalloc.start()
    try:
        counts = neighbour_counts(t, m, 0.97, memory=memory, **options)
        assert tracemalloc.get_traced_memory()[1] < memory + 2 * counts.nbytes
    finally:
        tracemalloc.stop()
    return counts


def test_products_stay_within_their_memory():
    # the unit vectors of the second set do not fit the budget, so that blocks make them anew
    t, m = resembling(14_000)
    t[:8000], m[:8000] = t[0], m[0]
    neighbour_counts(t[:500], m[:500], 0.9, engine="product")
    assert count_within(64 * 2**20, t[:500], m[:500], against=(t, m), engine="product").max() >= 7999


def test_twelve_thousand_copies_among_sixty_thousand_pairs():
    """In bounded memory, and without comparing the copies with each other: those alone are 72 million pairs."""
    t, m = resembling(60_000)
    rng = np.random.default_rng(7)
    copies = rng.permutation(len(t))[:12_000]
    t[copies], m[copies] = t[copies[0]], m[copies[0]]
    counts = count_within(128 * 2**20, t, m)
    assert len(set(counts[copies])) == 1
    rows = np.concatenate([copies[:1], rng.choice(len(t), 40, replace=False)])
    near = np.zeros(len(rows), int)
    for at in range(0, len(t), 10_000):
        part = slice(at, at + 10_000)
        near += (similarities(t[rows], m[rows], against=(t[part], m[part])) > 0.97).sum(axis=1)
    assert (counts[rows] == near - 1).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_bar_counts_all_the_work(engine, monkeypatch, capsys):
    made = []
    monkeypatch.delenv("CLASS_KIT_PROGRESS", raising=False)
    monkeypatch.setattr(blocks, "progress_bar", lambda **options: made.append(progress_bar(**options)) or made[-1])
    neighbour_counts(*resembling(4000), 0.9, engine=engine, n_jobs=1, progress=True)
    assert made[0].n == made[0].total > 4
    assert "neighbours: " in capsys.readouterr().err


INTERRUPTED = """
import sys, numpy as np
from class_kit import neighbours
from class_kit.neighbours import tiles
module = tiles if sys.argv[1] == "tiles" else neighbours
count_block = module.count_block
def noted(*given):
    print("block", flush=True)
    return count_block(*given)
module.count_block = noted
t = np.random.default_rng(0).standard_normal((int(sys.argv[2]), 200)).astype(np.float32)
neighbours.neighbour_counts(t, None, 0.2, engine=sys.argv[1])
"""


@pytest.mark.parametrize(("engine", "rows"), [("product", 50_000), ("tiles", 20_000)])
def test_control_c_stops_at_once(engine, rows):
    """On rows that no bound prunes, so that each engine has a minute of blocks before it when the signal comes."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", INTERRUPTED, engine, str(rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout.readline().startswith(b"block")
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert process.wait(timeout=30) != 0
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_the_backend_changes_nothing(backend):
    t, m = resembling(2600)
    expected = neighbour_counts(t, m, SIGMAS, engine="tiles")
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert (neighbour_counts(t, m, SIGMAS, engine="tiles") == expected).all()
        assert (neighbour_counts(t, m, SIGMAS, engine="product") == expected).all()
