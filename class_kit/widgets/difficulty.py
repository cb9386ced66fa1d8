"""What a threshold σ calls easy and hard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes

from class_kit.checks import check_whole
from class_kit.difficulty import tie_mass
from class_kit.errors import InputError
from class_kit.figures.plots import bin_label, doubling_bins
from class_kit.widgets.cards import card, paragraph, row_of
from class_kit.widgets.parts import (
    NARROW,
    MarkedPlot,
    Pages,
    Plot,
    View,
    leaf,
    share_bars,
    toggles,
)

if TYPE_CHECKING:
    from class_kit.pairs import PairSet


def difficulty_explorer(counts: np.ndarray, sigmas: Sequence[float], pairs: PairSet, show: int = 6) -> View:
    """Choose σ and a bin of N_i; see the distribution, what the ties decide, and the pairs of that bin.

    Parameters
    ----------
    counts : (n_sigma, L) int
        N_i of every pair for every σ, computed beforehand so that the slider answers at once.
    sigmas : n_sigma values, ascending
    pairs : PairSet of the same L pairs
    show : int
        Pairs on a page, at least 1.

    Raises
    ------
    InputError
        Where counts, σ and pairs do not belong together, or σ does not ascend.
    """
    counts = _checked(np.atleast_2d(counts), sigmas, pairs)
    check_whole("show", show, low=1)
    bins = doubling_bins(0, counts.max())
    ties = [tie_mass(row) for row in counts]
    lonely = (counts == 0).mean(axis=1)
    sigma = widgets.SelectionSlider(
        options=[(f"{value:.3f}", at) for at, value in enumerate(sigmas)], value=len(sigmas) - 1, description="σ"
    )
    names = [(bin_label(*limits), limits) for limits in bins]
    chosen = toggles("neighbours", names)

    def curves(ax: Axes) -> None:
        ax.plot(sigmas, ties, label="in the largest tie")
        ax.plot(sigmas, lonely, "--", label="without neighbour")
        ax.set(xlabel="threshold σ", ylabel="share of pairs", ylim=(0, 1.05))
        ax.locator_params(axis="x", nbins=5)
        ax.legend(loc="upper left")

    histogram, overview = Plot(NARROW), MarkedPlot(curves, NARROW)
    words, drawn = widgets.HTML(), widgets.HTML()
    pages = Pages(show, "pairs in this bin")
    pictures = widgets.HBox([histogram, overview], layout=widgets.Layout(flex_flow="row wrap"))
    view = View(sigma, chosen, pictures, words, pages, drawn)

    def inside() -> np.ndarray:
        low, high = chosen.value
        return np.flatnonzero((counts[sigma.value] >= low) & (counts[sigma.value] <= high))

    def bars(ax: Axes) -> None:
        values = counts[sigma.value]
        share_bars(ax, bins, values, values[inside()]).set(xlabel="neighbours $N_i$", ylabel="pairs")

    def cards() -> None:
        values = counts[sigma.value]
        drawn.value = row_of(
            [card(pairs.smiles[row], [f"N = {values[row]}", pairs.id[row], pairs.text[row]]) for row in pages.shown]
        )

    def on_bin() -> None:
        histogram.draw(bars)
        pages.fill(inside())
        cards()

    def on_sigma() -> None:
        overview.mark(sigmas[sigma.value])
        words.value = paragraph(
            f"At σ = {sigmas[sigma.value]:.3f}, {lonely[sigma.value]:.1%} of {len(pairs):,} pairs have no neighbour, "
            f"the mean is {counts[sigma.value].mean():.1f} and the most {counts[sigma.value].max():,}. The tie rule "
            f"alone places {ties[sigma.value]:.1%} of the pairs. Filled: the bin chosen above; outlined: all pairs."
        )
        on_bin()

    view.react(on_sigma, sigma)
    view.react(on_bin, chosen)
    leaf(view, pages, cards)
    on_sigma()
    return view


def _checked(counts: np.ndarray, sigmas: Sequence[float], pairs: PairSet) -> np.ndarray:
    if counts.shape != (len(sigmas), len(pairs)) or not counts.size:
        raise InputError(f"counts {counts.shape}: expected ({len(sigmas)}, {len(pairs)}) for these σ and pairs")
    if np.any(np.diff(sigmas) <= 0):
        raise InputError(f"sigmas {list(sigmas)}: expected them to ascend, as a slider does")
    return counts
