"""No callback of a view keeps a reader waiting: the list of `tests.bench.bench_widgets`, with room for a busy machine.

The limit for a quiet machine is the bench's. Here three times that is allowed, in processor time, and a callback that
takes longer may try twice more: what is loaded at a first use is not meant.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from class_kit import widgets
from class_kit.pairs import load_pairs
from class_kit.task import Task
from class_kit.widgets import cards
from tests.bench import bench_widgets

TIMES, TRIES = 3, 3


@pytest.fixture(scope="module")
def corpus_views() -> Iterator[dict[str, widgets.View]]:
    """Every view on the bundled corpus; vectors in groups stand for those that encoders would take a minute for."""
    pairs, rng = load_pairs("corpus"), np.random.default_rng(0)
    group = rng.integers(0, len(pairs) // 3, len(pairs))
    t, m = (
        (rng.normal(size=(len(pairs), width))[group] + 0.15 * rng.normal(size=(len(pairs), width))).astype(np.float32)
        for width in (384, 300)
    )
    task = Task(pairs, t, m, pairs, m, {"text": "minilm", "molecules": "mol2vec", "vectors": "corpus"})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield bench_widgets.views(task)
    torch.set_num_threads(threads)


def slowest(view: widgets.View) -> dict[str, float]:
    """Seconds of processor time of the slowest visit of each control."""
    cards._drawing.cache_clear()
    longest: dict[str, float] = {}
    for what, move in bench_widgets.moves(view):
        gc.disable()
        try:
            longest[what] = max(longest.get(what, 0.0), bench_widgets.spent(move))
        finally:
            gc.enable()
    return longest


# three epochs are enough for a picture and too few for all pairs
@pytest.mark.filterwarnings("ignore::class_kit.curriculum.NeverFullWarning")
def test_no_callback_keeps_a_reader_waiting(corpus_views: dict[str, widgets.View]) -> None:
    assert len(corpus_views) == 7
    for name, view in corpus_views.items():
        best = slowest(view)
        for _ in range(TRIES - 1):
            if max(best.values()) <= TIMES * bench_widgets.LIMIT:
                break
            again = slowest(view)
            best = {what: min(seconds, again.get(what, seconds)) for what, seconds in best.items()}
        over = {what: seconds for what, seconds in best.items() if seconds > TIMES * bench_widgets.LIMIT}
        assert not over, f"{name}: {over}"
        assert max(best.values()) > 0.001, f"{name}: nothing was drawn"
