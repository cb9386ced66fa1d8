"""Which pairs an epoch trains on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.figures.plots import doubling_bins
from class_kit.widgets.cards import card, paragraph, row_of
from class_kit.widgets.parts import NARROW, Pages, Plot, View, check_rows, leaf, share_bars, toggles

if TYPE_CHECKING:
    from class_kit.curriculum import Plan
    from class_kit.pairs import PairSet


def epoch_viewer(plan: Plan, pairs: PairSet, counts: np.ndarray, show: int = 6) -> View:
    """Choose an epoch; see which pairs it holds, adds to the one before, or leaves out, hardest first.

    Parameters
    ----------
    plan : EpochPlan with `epochs` set
        Its rows index `pairs` and `counts`.
    pairs : PairSet of L pairs
    counts : (L,) int
    show : int
        Pairs on a page, at least 1.

    Raises
    ------
    InputError
        For a plan without `epochs`, or where there are not as many counts as pairs.
    """
    if not plan.epochs:
        raise InputError("plan.epochs is None: expected a plan made with epochs=…")
    check_rows({"pairs": pairs, "counts": counts, "plan": range(plan.length)})
    check_whole("show", show, low=1)
    counts = np.asarray(counts)
    bins = doubling_bins(0, counts.max())
    epoch = widgets.IntSlider(value=1, min=1, max=plan.epochs, description="epoch")
    which = toggles("pairs", ["new", "in it", "left out"])
    image, words, drawn = Plot(NARROW), widgets.HTML(), widgets.HTML()
    pages = Pages(show, "pairs, hardest first")
    view = View(epoch, which, image, words, pages, drawn)

    def wanted(inside: np.ndarray) -> np.ndarray:
        if which.value == "left out":
            return np.setdiff1d(np.arange(len(pairs)), inside)
        before = plan.rows(epoch.value - 1) if which.value == "new" and epoch.value > 1 else np.zeros(0, np.int64)
        return np.setdiff1d(inside, before)

    def cards() -> None:
        drawn.value = row_of(
            [card(pairs.smiles[row], [f"N = {counts[row]}", pairs.id[row], pairs.text[row]]) for row in pages.shown]
        )

    def update() -> None:
        inside = np.unique(plan.rows(epoch.value))
        rows = wanted(inside)

        def bars(ax: Axes) -> None:
            share_bars(ax, bins, counts, counts[rows]).set(xlabel="neighbours $N_i$", ylabel="pairs")

        image.draw(bars)
        words.value = paragraph(
            f"Epoch {epoch.value} trains on {len(inside):,} of {len(pairs):,} pairs "
            f"(λ = {plan.fraction(epoch.value):.2f}, γ = {plan.intensity(epoch.value):.3f}); its hardest has "
            f"N = {counts[inside].max() if len(inside) else 0:,}. Filled: the pairs chosen above; outlined: all."
        )
        pages.fill(rows[np.argsort(-counts[rows], kind="stable")])
        cards()

    view.react(update, epoch, which)
    leaf(view, pages, cards)
    update()
    return view
