"""What happens round a count: memory, the bar, a stop and what is left of it, other backends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from class_kit import neighbours
from class_kit.neighbours import blocks as neighbour_blocks
from class_kit.neighbours import neighbour_counts
from class_kit.neighbours.blocks import content_key
from class_kit.neighbours.rows import make_rows
from class_kit.progress import progress_bar
from tests.test_neighbours import ENGINES, SIGMAS, corpus, similarities


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_stays_within_the_budget(engine):
    t, m = corpus(20_000) if engine == "tiles" else corpus(6000)
    t[:8000], m[:8000] = t[0], m[0]
    memory = 64 * 2**20
    neighbour_counts(t[:500], m[:500], 0.9, engine=engine)
    tracemalloc.start()
    try:
        counts = neighbour_counts(t, m, 0.97, engine=engine, memory=memory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory + 2 * counts.nbytes
    assert counts.max() >= min(len(t), 8000) - 1


def test_fifty_thousand_copies_among_two_hundred_thousand_pairs():
    """In bounded memory, and without comparing the copies with each other: those alone are 1.25 billion pairs."""
    t, m = corpus(200_000)
    rng = np.random.default_rng(7)
    copies = rng.permutation(len(t))[:50_000]
    t[copies], m[copies] = t[copies[0]], m[copies[0]]
    memory = 256 * 2**20
    tracemalloc.start()
    try:
        counts = neighbour_counts(t, m, 0.97, memory=memory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory + 2 * counts.nbytes
    assert len(set(counts[copies])) == 1
    rows = np.concatenate([copies[:1], rng.choice(len(t), 40, replace=False)])
    near = np.zeros(len(rows), int)
    for at in range(0, len(t), 10_000):
        part = slice(at, at + 10_000)
        near += (similarities(t[rows], m[rows], against=(t[part], m[part])) > 0.97).sum(axis=1)
    assert (counts[rows] == near - 1).all()
    assert counts[rows[0]] >= len(copies) - 1


@pytest.mark.parametrize("engine", ENGINES)
def test_the_bar_has_a_total_and_an_estimate_and_ends_full(engine, monkeypatch, capsys):
    made = []

    def eager(**options):
        bar = progress_bar(**options)
        # every block is shown, however fast it was
        bar.mininterval, bar.miniters, bar.dynamic_miniters = 0, 0, False
        made.append(bar)
        return bar

    monkeypatch.delenv("CLASS_KIT_PROGRESS", raising=False)
    monkeypatch.setattr(neighbour_blocks, "progress_bar", eager)
    monkeypatch.setattr(neighbours, "panel_height", lambda *given: 700)
    neighbour_counts(*corpus(4000), 0.9, engine=engine, n_jobs=1, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    states = re.findall(r"neighbours: +(\d+)%\|.*?\| (\d+)/(\d+) \[([\d:]+)<([\d:?]+),", shown.err)
    (bar,) = made
    assert len(states) >= 5
    assert [int(total) for *_, total, _, _ in states] == [bar.total] * len(states)
    done = [int(now) for _, now, *_ in states]
    assert done == sorted(done)
    assert done[0] == 0
    assert states[-1][:2] == ("100", str(bar.total))
    # on the way there is an estimate of the time left, and it ends with the line wiped
    assert all(re.fullmatch(r"\d\d:\d\d", left) for *_, left in states[1:])
    assert shown.err.endswith("\r")


@pytest.mark.parametrize(("progress", "terminal"), [(False, True), (None, False)])
def test_no_bar_where_it_is_not_wanted_or_nobody_looks(progress, terminal, monkeypatch, capsys):
    monkeypatch.delenv("CLASS_KIT_PROGRESS", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    neighbour_counts(*corpus(300), 0.9, progress=progress)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interrupted_count_continues_from_its_blocks(engine, tmp_path, monkeypatch):
    t, m = corpus(3000)
    expected = neighbour_counts(t, m, SIGMAS, engine=engine)
    saved = []
    original = neighbour_blocks.Checkpoint.save

    def save_some(self, name, **arrays):
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(name)
        original(self, name, **arrays)

    monkeypatch.setattr(neighbour_blocks.Checkpoint, "save", save_some)
    with pytest.raises(KeyboardInterrupt):
        neighbour_counts(t, m, SIGMAS, engine=engine, checkpoint=tmp_path, n_jobs=1)
    monkeypatch.setattr(neighbour_blocks.Checkpoint, "save", original)
    files = sorted(tmp_path.rglob("block-*.npz"))
    assert files
    assert not list(tmp_path.rglob("*.tmp"))
    files[0].write_bytes(files[0].read_bytes()[:40])
    computed = []
    name = "product_block" if engine == "product" else "tile_block"
    module = neighbours if engine == "product" else sys.modules["class_kit.neighbours.tiles"]
    real = getattr(module, name)

    def noted(*arguments):
        computed.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(module, name, noted)
    again = neighbour_counts(t, m, SIGMAS, engine=engine, checkpoint=tmp_path, n_jobs=1)
    assert (again == expected).all()
    resumed = len(computed)
    computed.clear()
    neighbour_counts(t, m, SIGMAS, engine=engine, n_jobs=1)
    assert resumed == len(computed) - len(files) + 1
    assert not list(tmp_path.iterdir())


def test_other_input_does_not_take_up_the_blocks():
    t, m = corpus(200)
    rows = make_rows(t, m, 0.5)
    keys = {content_key(*rows.arrays(), np.array([s]), "auto") for s in (0.9, 0.95)}
    t[0, 0] += 1
    changed = make_rows(t, m, 0.5)
    keys.add(content_key(*changed.arrays(), np.array([0.9]), "auto"))
    assert len(keys) == 3


INTERRUPTED = """
import sys, numpy as np
from class_kit.neighbours import neighbour_counts
rng = np.random.default_rng(0)
t = rng.standard_normal((int(sys.argv[3]), 200)).astype(np.float32)
print("counting", flush=True)
neighbour_counts(t, None, 0.2, checkpoint=sys.argv[1], engine=sys.argv[2])
"""


@pytest.mark.parametrize(("engine", "rows"), [("product", 50_000), ("tiles", 20_000)])
def test_control_c_stops_at_once_and_leaves_whole_files(engine, rows, tmp_path):
    """On rows that no bound prunes, so that each engine has a minute of blocks before it when the signal comes."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path), engine, str(rows)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert process.stdout.readline() == b"counting\n"
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("block-*.npz")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    code = process.wait(timeout=30)
    process.stdout.close()
    assert code != 0
    assert time.monotonic() - started < 5
    files = list(tmp_path.rglob("block-*.npz"))
    assert files
    for file in files:
        with np.load(file) as block:
            assert set(block.files) == {"first", "places", "values"}
    # stopped in the middle: most blocks were still to come
    assert len(files) < 12
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and f.suffix != ".npz"]


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_the_backend_changes_nothing(backend):
    import joblib

    t, m = corpus(1200)
    expected = neighbour_counts(t, m, SIGMAS, engine="tiles")
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert (neighbour_counts(t, m, SIGMAS, engine="tiles") == expected).all()
        assert (neighbour_counts(t, m, SIGMAS, engine="product") == expected).all()
