"""Where a retriever fails: the worst ranks, and what stood first instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.figures.plots import doubling_bins
from class_kit.retrieval import per_query_metrics
from class_kit.widgets.cards import card, paragraph, row_of
from class_kit.widgets.parts import NARROW, Pages, Plot, View, leaf, share_bars
from class_kit.widgets.trained import Runs

if TYPE_CHECKING:
    from class_kit.study.records import Record
    from class_kit.task import Task

_RANKING = "text_to_molecule/split"


def failure_browser(task: Task, trained: Record | Sequence[Record], show: int = 3) -> View:
    """Choose a training, a class and a span of ranks; see held-out texts, worst first, and what was taken for them.

    Each text stands beside its own molecule and the one ranked first instead, with the similarity s of the two pairs:
    near 1, the "error" is a near-duplicate, which is what the neighbour count calls hard.

    Parameters
    ----------
    task : Task
    trained : Record or sequence of Record
        Trainings on this task, as `study.run_arms` returns them.
    show : int
        Texts on a page, at least 1.

    Raises
    ------
    InputError
        For no training, two of one arm and seed, or ranks that are not of this task's held-out pairs.
    """
    check_whole("show", show, low=1)
    return _Failures(task, Runs(task, trained), show)


class _Failures(View):
    def __init__(self, task: Task, runs: Runs, show: int) -> None:
        self.task, self.runs = task, runs
        self.held = task.rows(task.evaluation_split)
        self.ranks = {name: self._ranks(record) for name, record in runs.records.items()}
        if not self.ranks:
            raise InputError("a backbone alone has no ranks: expected a record, as study.run_arms returns it")
        self.classes = np.asarray(task.classes, dtype=object)[self.held]
        self.run = widgets.Dropdown(options=runs.names, description="training")
        # numbers for values: a list whose value is None shows an empty line
        self.of_class = [np.ones(len(self.held), bool)]
        names = ["every class"]
        for name, size in sorted(Counter(self.classes).items()):
            self.of_class.append(self.classes == name)
            names.append(f"{name} ({size:,})")
        options = [(name, at) for at, name in enumerate(names)]
        self.group = widgets.Dropdown(options=options, description="class")
        steps = _steps(len(self.held))
        self.span = widgets.SelectionRangeSlider(options=steps, index=(0, len(steps) - 1), description="ranks")
        self.image, self.words, self.drawn = Plot(NARROW), widgets.HTML(), widgets.HTML()
        self.pages = Pages(show, "texts, worst rank first")
        controls = widgets.VBox([self.run, self.group, self.span])
        top = widgets.HBox([self.image, controls], layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__(top, self.words, self.pages, self.drawn)
        self.react(self._update, self.run, self.group, self.span)
        leaf(self, self.pages, self._cards)
        self._update()

    def _ranks(self, record: Record) -> np.ndarray:
        ranks = per_query_metrics(record.ranks[_RANKING])["mean_rank"]
        if len(ranks) != len(self.held):
            raise InputError(f"{len(ranks)} ranks: expected {len(self.held)}, one for each held-out pair of this task")
        return ranks

    def _update(self) -> None:
        ranks = self.ranks[self.run.value]
        low, high = self.span.value
        inside = (ranks >= low) & (ranks <= high)
        of_class = self.of_class[self.group.value]
        rows = np.flatnonzero(inside & of_class)

        def bars(ax: Axes) -> None:
            bins = doubling_bins(1, len(ranks))
            share_bars(ax, bins, np.floor(ranks[of_class]), np.floor(ranks[rows])).set(xlabel="rank", ylabel="texts")

        self.image.draw(bars)
        first = float(np.mean(ranks[of_class] == 1))
        self.words.value = paragraph(
            f"{len(rows):,} of {int(of_class.sum()):,} texts have a rank from {low:,} to {high:,}; {first:.1%} are "
            f"ranked first, the median rank is {np.median(ranks[of_class]):,.1f} of {len(ranks):,}. "
            "Filled: the texts below; outlined: all of the class."
        )
        self.pages.fill(rows[np.argsort(-ranks[rows], kind="stable")])
        self._cards()

    def _cards(self) -> None:
        self.drawn.value = "".join(self._case(int(row)) for row in self.pages.shown)

    def _case(self, query: int) -> str:
        name, pairs, row = self.run.value, self.task.pairs, int(self.held[query])
        text = self.task.text_inputs(self.runs.backbone(name).inputs.text, np.array([row]))
        first = self.runs.molecules_for(name, text, 1, pool="split")[0][0]
        scores = self.runs.scores(name, text, np.array([query, first]), "split")
        rank = f"rank {self.ranks[name][query]:,.1f}".removesuffix(".0") + f" · {scores[0]:.3f}"
        cards = [card(pairs.smiles[row], [rank, pairs.id[row], "its own molecule"])]
        if first != query:
            other = int(self.held[first])
            alike = f"s = {self._similarity(row, other):.2f} between the two pairs"
            lines = [f"ranked first · {scores[1]:.3f}", pairs.id[other], alike, pairs.text[other]]
            cards.append(card(pairs.smiles[other], lines))
        words = paragraph(pairs.text[row], "width:300px;max-height:14em;overflow:auto;overflow-wrap:anywhere")
        label = paragraph(self.classes[query], "font-weight:bold")
        frame = "display:flex;flex-wrap:wrap;gap:16px;border-top:1px solid #bbb;padding:6px 0"
        return f'<div style="{frame}"><div>{label}{words}</div>{row_of(cards)}</div>'

    def _similarity(self, one: int, other: int) -> float:
        cosines = []
        for vectors in (self.task.t, self.task.m):
            a, b = vectors[one].astype(np.float64), vectors[other].astype(np.float64)
            length = np.linalg.norm(a) * np.linalg.norm(b)
            cosines.append(float(a @ b / length) if length else 0.0)
        return sum(cosines) / 2


def _steps(pool: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, … up to the pool: spans of ranks that a slider reaches in a few steps."""
    found = [lead * 10**power for power in range(len(str(pool))) for lead in (1, 2, 5)]
    return [*(step for step in found if step < pool), pool]
