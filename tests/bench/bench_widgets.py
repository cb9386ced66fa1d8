"""How long a reader waits after moving a control: every control of every view, on the bundled corpus.

The limit is 150 ms a callback. Each control visits values it has not shown before, its ends included, in processor time
on one thread, so that other work on the machine does not count; the longest visit is compared with the limit. Python's
collection of garbage, which any callback may meet now and then, is done between visits and told apart.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets
import numpy as np
import torch

import class_kit as ck
from class_kit import study, widgets
from tests.bench.timing import spent
from tests.test_widgets import CONTROLS, ends, inside

LIMIT = 0.150
EPOCHS = 3
TEXTS = (
    "An aromatic ketone carrying two hydroxy groups.",
    "The molecule is a steroid with a hydroxy group at position 3 and a double bond between carbons 5 and 6.",
    "A primary amine.",
    "A chlorinated heterocycle with a nitro group, used against moulds, that is a member of the pyridines.",
)
SMILES = ("CCO", "c1ccccc1C(=O)O", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C")


def views(task: ck.Task) -> dict[str, widgets.View]:
    """Every view as notebooks 1 to 5 make it."""
    rows = task.rows("train")
    train, t, m = task.pairs.take(rows), task.t[rows], task.m[rows]
    grid = np.round(np.linspace(0.80, 0.995, 40), 3).tolist()
    counts = ck.neighbour_counts(t, m, sigma=0.95)
    config = ck.TrainingConfig(epochs=EPOCHS, batch_size=128)
    trained = study.run_arms(task, study.standard_arms()[:2], config, [0], jobs=1)
    plan = ck.EpochPlan(ck.difficulty_order(counts, seed=0), schedule=ck.LinearSchedule(0.4, 0.03), epochs=40)
    return {
        "retrieval playground": widgets.retrieval_playground(task, trained, TEXTS[0]),
        "failure browser": widgets.failure_browser(task, trained),
        "difficulty explorer": widgets.difficulty_explorer(ck.neighbour_counts(t, m, sigma=grid), grid, train),
        "epoch viewer": widgets.epoch_viewer(plan, train, counts),
        "schedule designer": widgets.schedule_designer(len(train), 40, 128),
        "intensity comparer": widgets.intensity_comparer(40),
        "neighbour viewer": widgets.neighbour_viewer(train, t, m),
    }


def visits(control: Any) -> list[Any]:
    """Values at the ends of a control, and some between them."""
    first, last = ends(control)
    if isinstance(control, ipywidgets.IntSlider):
        return [first, *np.linspace(first, last, 6, dtype=int)[1:-1].tolist(), last]
    if isinstance(control, ipywidgets.SelectionSlider | ipywidgets.Dropdown | ipywidgets.ToggleButtons):
        return [option[1] if isinstance(option, tuple) else option for option in control.options][:12]
    return [first, last]


def moves(view: widgets.View) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What a reader can do in a view, each with a name."""
    for control in inside(view, CONTROLS):
        for value in visits(control):
            yield control.description, lambda control=control, value=value: setattr(control, "value", value)
    search = [button for button in inside(view, ipywidgets.Button) if button.description == "search"]
    for kind, questions in (("text", TEXTS), ("SMILES", SMILES)) if search else ():
        choice = next(found for found in inside(view, ipywidgets.ToggleButtons) if kind in found.options)
        choice.value = kind
        for question in questions:
            inside(view, ipywidgets.Textarea)[0].value = question
            yield f"search with a {kind}", search[0].click
    for button in inside(view, ipywidgets.Button):
        if button not in search:
            yield button.description, button.click


def main() -> int:
    """Print each view's controls with their longest wait; 1 where one is over the limit."""
    torch.set_num_threads(1)
    over, swept = 0, 0.0
    for name, view in views(ck.load_task("corpus")).items():
        longest: dict[str, float] = {}
        for what, move in moves(view):
            swept = max(swept, spent(gc.collect)[1])
            gc.disable()
            longest[what] = max(longest.get(what, 0.0), spent(move)[1])
            gc.enable()
        for what, seconds in longest.items():
            over += seconds > LIMIT
            print(f"{name}, {what}: {1000 * seconds:.0f} ms, {seconds / LIMIT:.2f} of the limit", flush=True)
    print(f"collecting garbage, now and then: {1000 * swept:.0f} ms")
    return int(over > 0)


if __name__ == "__main__":
    sys.exit(main())
