"""How long a newcomer waits: `class-kit run` and the first figure of notebook 2, on cold and on warm stores.

    python -m tests.bench.bench_first_minute [CHECKOUT] [--repeats 3]

CHECKOUT is the kit at another commit (`git worktree add DIR COMMIT`); its cold run takes turns with this one's. Cold
means: no stored vector or training, no compiled loop. The first figure counts from the start of JupyterLab's server;
the kernel's start and the cells up to the first picture follow. Seconds by the clock, and of processor time of all
processes; with one repeat 12 minutes on two cores. At the end, a training step against its matrix products.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import numpy as np
import torch

import class_kit as ck
from class_kit.training import train
from tests.bench.timing import spent

ROOT = Path(__file__).parents[2]
PORT = 18_642
BATCH, WIDTHS, HIDDEN, SHARED = 128, (384, 300), 512, 256


def environment(checkout: Path, stores: Path) -> dict[str, str]:
    """The user's own environment, with the kit of a checkout and stores in a folder."""
    own = {"CLASS_KIT_CACHE": stores / "vectors", "NUMBA_CACHE_DIR": stores / "compiled", "PYTHONPATH": checkout}
    return {**os.environ, **{name: str(value) for name, value in own.items()}}


def finish(command: list[str], checkout: Path, stores: Path) -> tuple[float, float]:
    """Seconds by the clock and of processor time that a command of a checkout takes, all its processes included."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(
            [sys.executable, *command],
            check=True,
            cwd=place,
            env=environment(checkout, stores),
            stdout=subprocess.DEVNULL,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, processor


def first_figure(stem: str, stores: Path) -> tuple[float, float]:
    """Seconds from the start of JupyterLab to the first picture of a notebook of this checkout."""
    begun = time.perf_counter()
    lab = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--ServerApp.port={PORT}", "--allow-root"]
    with subprocess.Popen(lab, cwd=ROOT / "notebooks", env=environment(ROOT, stores), stderr=subprocess.DEVNULL) as it:
        while it.poll() is None:
            try:
                with urlopen(f"http://127.0.0.1:{PORT}/api", timeout=5):
                    break
            except URLError:
                time.sleep(0.05)
        started = time.perf_counter() - begun
        it.terminate()
    with tempfile.TemporaryDirectory() as place:
        cells = Path(place) / "cells.ipynb"
        book = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
        shown = [
            any(kind.startswith("image/") for o in c.get("outputs", ()) for kind in o.get("data", ()))
            for c in book.cells
        ]
        book.cells = book.cells[: shown.index(True) + 1]
        nbformat.write(book, cells)
        # as a run does it, whose own start is that of a kernel's client
        clock, processor = finish(["-m", "class_kit", "run", str(cells), "--out", "out"], ROOT, stores)
    return started + clock, processor


def matrix_products() -> Callable[[], Any]:
    """Computes every layer's output and the gradients of its weights and, behind the first, its input."""
    side = torch.ones(BATCH, HIDDEN), torch.ones(BATCH, SHARED), torch.ones(SHARED, HIDDEN)
    sides = [(torch.ones(BATCH, width), torch.ones(HIDDEN, width), *side) for width in WIDTHS]
    cosines = torch.ones(BATCH, BATCH)

    def compute() -> None:
        for batch, first, hidden, shared, second in sides:
            _ = batch @ first.T, hidden @ second.T, shared.T @ hidden, shared @ second, hidden.T @ batch
        _ = shared @ shared.T, cosines @ shared, cosines.T @ shared

    return compute


def training_step(rows: int = 3200, epochs: int = 4) -> float:
    """Processor time of a training step of `dual_encoder`, as a multiple of its matrix products; validation apart."""
    t, m = (np.random.default_rng(0).standard_normal((rows, width), np.float32) for width in WIDTHS)
    plan = ck.EpochPlan(np.arange(rows), ck.LinearSchedule(1.0, 0.0), "constant", epochs=epochs)
    steps = plan.steps_total(BATCH)
    config = ck.TrainingConfig(epochs=epochs, batch_size=BATCH)
    torch.set_num_threads(1)
    compute, ratios = matrix_products(), []
    for _ in range(6):
        whole = spent(lambda: train(config, plan, t, m, progress=False))[1]
        bare = spent(lambda: [compute() for _ in range(steps)])[1]
        ratios.append(whole / bare)
    return median(ratios[1:])


def main() -> None:
    """Measure everything, repeated in turns, and print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("against", nargs="?", type=Path, help="a checkout of the kit to compare with")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    run = ["-m", "class_kit", "run", "--out", "out"]
    found: dict[str, list[tuple[float, float]]] = {}

    def note(name: str, measure: Callable[..., tuple[float, float]], *given: Any) -> None:
        found.setdefault(name, []).append(measure(*given))
        print(f"{name}: {found[name][-1][0]:.1f} s, processor {found[name][-1][1]:.1f} s", flush=True)

    for _ in range(options.repeats):
        for checkout in filter(None, (options.against, ROOT)):
            with tempfile.TemporaryDirectory() as stores:
                own = "" if checkout == ROOT else f" of {checkout.name}"
                note(f"cold run{own}", finish, run, checkout.absolute(), Path(stores))
                if checkout == ROOT:
                    note("warm run", finish, run, ROOT, Path(stores))
                    note("first figure of notebook 2, warm", first_figure, "02_difficulty", Path(stores))
        with tempfile.TemporaryDirectory() as stores:
            note("first figure of notebook 2, cold", first_figure, "02_difficulty", Path(stores))
    print(f"medians of {options.repeats}")
    middle = {name: [median(side) for side in zip(*each, strict=True)] for name, each in found.items()}
    for name, (clock, processor) in middle.items():
        print(f"{name}: {clock:.1f} s, processor {processor:.1f} s")
    if options.against:
        shares = [a / b for a, b in zip(middle["cold run"], middle[f"cold run of {options.against.name}"], strict=True)]
        print(f"cold run, share of the other's: {shares[0]:.2f} by the clock, {shares[1]:.2f} of the processor")
    print(f"training step of dual_encoder: {training_step():.2f} times its matrix products")


if __name__ == "__main__":
    main()
