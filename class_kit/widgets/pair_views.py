"""Views of pairs: which are easy or hard at a threshold, which an epoch trains on, which are near a given pair."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np

from class_kit import figures
from class_kit.checks import check_whole
from class_kit.curriculum import EpochPlan
from class_kit.difficulty import tie_mass
from class_kit.errors import InputError
from class_kit.pairs import PairSet
from class_kit.widgets.parts import Pages, Plot, View, beside, check_rows, pair_card, paragraph, row_of, toggles

_AXES = ("neighbours $N_i$", "pairs")
_SPACES = {"both": ("text", "molecule"), "text": ("text",), "molecule": ("molecule",)}


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
        If counts, σ and pairs do not match, or σ does not ascend.
    """
    counts = np.atleast_2d(counts)
    if counts.shape != (len(sigmas), len(pairs)) or not counts.size:
        raise InputError(f"counts {counts.shape}: expected ({len(sigmas)}, {len(pairs)}) for these σ and pairs")
    if np.any(np.diff(sigmas) <= 0):
        raise InputError(f"sigmas {list(sigmas)}: expected ascending values")
    bins = figures.doubling_bins(0, counts.max())
    ties, lonely = [tie_mass(row) for row in counts], (counts == 0).mean(axis=1)
    options = [(f"{value:.3f}", at) for at, value in enumerate(sigmas)]
    sigma = widgets.SelectionSlider(options=options, value=len(sigmas) - 1, description="σ")
    chosen = toggles("neighbours", [(name, at) for at, name in enumerate(bins[1], start=1)])
    histogram, overview, words = Plot(), Plot(), widgets.HTML()
    pages = Pages(
        show,
        "pairs in this bin",
        lambda rows: row_of(pair_card(pairs, row, f"N = {counts[sigma.value][row]}") for row in rows),
    )
    view = View(sigma, chosen, beside(histogram, overview), words, pages)

    def on_bin() -> None:
        values = counts[sigma.value]
        inside = np.digitize(values, bins[0]) == chosen.value
        histogram.show(figures.chosen_bars, values, values[inside], bins, _AXES)
        pages.fill(np.flatnonzero(inside))

    def on_sigma() -> None:
        at = sigma.value
        overview.show(figures.threshold_curves, sigmas, ties, lonely, sigmas[at])
        words.value = paragraph(counts_in_words(counts[at], sigmas[at]))
        on_bin()

    view.react(on_bin, chosen)
    return view.start(on_sigma, sigma)


def counts_in_words(counts: np.ndarray, sigma: float) -> str:
    """What a threshold makes of the pairs: who has no neighbour, the mean, the maximum, and the largest tie."""
    return (
        f"At σ = {sigma:.3f}, {(counts == 0).mean():.1%} of {len(counts):,} pairs have no neighbour, the mean is "
        f"{counts.mean():.1f} and the maximum {counts.max():,}. {tie_mass(counts):.1%} of the pairs are in the "
        "largest tie. Filled: the bin chosen above; outlined: all pairs."
    )


def epoch_viewer(plan: EpochPlan, pairs: PairSet, counts: np.ndarray, show: int = 6) -> View:
    """Choose an epoch; see which pairs it contains, adds to the previous one, or leaves out, hardest first.

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
        If the plan has no `epochs`, or the numbers of counts and pairs differ.
    """
    if not plan.epochs:
        raise InputError("plan.epochs is None: expected a plan made with epochs=…")
    check_rows(pairs=pairs, counts=counts, plan=range(plan.length))
    counts = np.asarray(counts)
    bins = figures.doubling_bins(0, counts.max())
    epoch = widgets.IntSlider(value=1, min=1, max=plan.epochs, description="epoch")
    which = toggles("pairs", ["new", "all", "left out"])
    image, words = Plot(), widgets.HTML()
    pages = Pages(
        show,
        "pairs, hardest first",
        lambda rows: row_of(pair_card(pairs, row, f"N = {counts[row]}") for row in rows),
    )
    view = View(epoch, which, image, words, pages)

    def update() -> None:
        rows = inside = np.unique(plan.rows(epoch.value))
        if which.value == "left out":
            rows = np.setdiff1d(np.arange(len(pairs)), inside)
        elif which.value == "new" and epoch.value > 1:
            rows = np.setdiff1d(inside, plan.rows(epoch.value - 1))
        image.show(figures.chosen_bars, counts, counts[rows], bins, _AXES)
        words.value = paragraph(
            f"Epoch {epoch.value} trains on {len(inside):,} of {len(pairs):,} pairs "
            f"(λ = {plan.fraction(epoch.value):.2f}, γ = {plan.intensity(epoch.value):.3f}); its hardest has "
            f"N = {counts[inside].max() if len(inside) else 0:,}. Filled: the pairs chosen above; outlined: all."
        )
        pages.fill(rows[np.argsort(-counts[rows], kind="stable")])

    return view.start(update, epoch, which)


def neighbour_viewer(pairs: PairSet, t: np.ndarray, m: np.ndarray, show: int = 5) -> View:
    """Choose a pair and a space; see its nearest neighbours there with their descriptions.

    Parameters
    ----------
    pairs : PairSet of L pairs
    t : (L, d_t) float
    m : (L, d_m) float
    show : int
        Neighbours to show, at least 1.

    Raises
    ------
    InputError
        If the numbers of texts, molecules and pairs differ.
    """
    from sklearn.preprocessing import normalize

    check_rows(pairs=pairs, t=t, m=m)
    check_whole("show", show, low=1)
    unit = {"text": normalize(t), "molecule": normalize(m)}
    row = widgets.IntSlider(value=0, min=0, max=len(pairs) - 1, description="pair")
    space, drawn = toggles("space", list(_SPACES)), widgets.HTML()
    view = View(row, space, drawn)

    def update() -> None:
        own = row.value
        near = np.mean([unit[name] @ unit[name][own] for name in _SPACES[space.value]], axis=0)
        others = [at for at in np.argsort(-near, kind="stable")[: show + 1] if at != own][:show]
        cards = [pair_card(pairs, at, f"cosine {near[at]:.3f}") for at in others]
        drawn.value = row_of([pair_card(pairs, own, "this pair"), *cards])

    return view.start(update, row, space)
