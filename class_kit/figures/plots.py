"""The plots: data in, Axes out. Each takes `ax=None`, draws on it or on a figure of its own, and returns it.

None calls `show` or sets a title that a caption would repeat. Things are told apart by more than colour: by dashes,
markers or lightness, so that a grey print can be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from class_kit.errors import InputError
from class_kit.figures.layout import own_figure
from class_kit.figures.style import PALETTE, as_text

if TYPE_CHECKING:
    import pandas as pd

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

# Colours for thin lines on white: the palette's pale pink and yellow vanish in a grey print.
STRONG = [colour for colour in PALETTE if np.dot([0.299, 0.587, 0.114], colour) < 0.72]


def binned(values: Any, bins: int | Sequence[float] | np.ndarray = 80) -> dict[str, list[float]]:
    """A histogram as data: `edges` and `density`, what `similarity_histogram` needs; `bins` as `numpy.histogram`."""
    array = np.asarray(values, float)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise InputError(f"values of shape {array.shape}: expected a vector of finite numbers, at least one")
    density, edges = np.histogram(array, bins=bins, density=True)
    return {"edges": edges.tolist(), "density": density.tolist()}


@own_figure()
def similarity_histogram(similarities: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Distribution of cosines between pairs of rows, one outlined histogram per space.

    Parameters
    ----------
    similarities : name to (n,) float in [-1, 1], or to what `binned` makes of them
    """
    assert ax is not None
    for at, (name, values) in enumerate(similarities.items()):
        found = values if isinstance(values, Mapping) else binned(values)
        look = {"color": PALETTE[at % len(PALETTE)], "linestyle": DASHES[at % len(DASHES)]}
        ax.stairs(found["density"], found["edges"], baseline=None, label=name, **look)
    ax.set(xlabel="cosine similarity of two pairs", ylabel="density")
    ax.legend(title="space" if len(similarities) > 1 else None)
    return ax


@own_figure("text", 0.43)
def count_histogram(counts: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Share of pairs with N_i = 0, 1, 2–3, 4–7, … neighbours, one group of bars per σ.

    Bins double because counts have a long tail: on a linear axis the first bar would be all there is.

    Parameters
    ----------
    counts : label to (L,) int from 0

    Raises
    ------
    InputError
        Counts that are no vector of whole numbers from 0.
    """
    assert ax is not None
    arrays = {name: np.asarray(values) for name, values in counts.items()}
    for array in arrays.values():
        if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu" or array.min() < 0:
            raise InputError(f"counts {array.dtype} of shape {array.shape}: expected a vector of whole numbers from 0")
    bins = doubling_bins(0, max(int(array.max()) for array in arrays.values()))
    edges = [*(low for low, _ in bins), bins[-1][1] + 1]
    labels = [bin_label(low, high) for low, high in bins]
    width = 0.8 / len(arrays)
    for at, ((name, array), colour) in enumerate(zip(arrays.items(), _shades(len(arrays)), strict=True)):
        share = np.histogram(array, bins=edges)[0] / len(array)
        place = np.arange(len(labels)) + (at - (len(arrays) - 1) / 2) * width
        ax.bar(place, share, width, label=name, color=colour)
    ax.set(xlabel="neighbours $N_i$", ylabel="share of pairs", xticks=range(len(labels)), ylim=(0, 1))
    ax.set_xticklabels(labels)
    ax.legend()
    return ax


@own_figure()
def class_map(points: Any, classes: Sequence[str], ax: Axes | None = None, most: int = 9, legend: bool = False) -> Axes:
    """Two-dimensional map coloured by class; the `most` commonest classes get a colour and a marker, the rest is grey.

    Parameters
    ----------
    points : (n, 2) float
    classes : n names
    legend : bool
        Name the classes to the right of the map.
    """
    assert ax is not None
    points, labels = np.asarray(points, float), np.asarray([as_text(name) for name in classes])
    names, sizes = np.unique(labels, return_counts=True)
    common = names[np.lexsort((names, -sizes))][:most]
    rest = ~np.isin(labels, common)
    size = (0.6 * mpl.rcParams["lines.markersize"]) ** 2
    look = {"s": size, "linewidths": 0}
    if rest.any():
        ax.scatter(points[rest, 0], points[rest, 1], color="0.75", label="other", **look)
    for at, name in enumerate(common):
        chosen = points[labels == name]
        colour, marker = PALETTE[at % len(PALETTE)], MARKERS[at % len(MARKERS)]
        ax.scatter(chosen[:, 0], chosen[:, 1], color=colour, marker=marker, label=name, **look)
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2)
    return ax


@own_figure()
def schedule_curves(curves: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """λ_k against the epoch k = 1 … E, one line per schedule, drawn as the steps they are."""
    assert ax is not None
    for (name, values), style in zip(curves.items(), itertools.cycle(DASHES), strict=False):
        ax.step(np.arange(1, len(values) + 1), values, where="mid", label=name, linestyle=style)
    ax.set(xlabel="epoch $k$", ylabel=r"fraction $\lambda_k$", ylim=(0, 1.05))
    ax.legend()
    return ax


@own_figure()
def intensity_curves(curves: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """γ_k against the epoch k = 1 … E, one marked line per intensity."""
    assert ax is not None
    size = 0.75 * mpl.rcParams["lines.markersize"]
    for (name, values), marker in zip(curves.items(), itertools.cycle(MARKERS), strict=False):
        ax.plot(np.arange(1, len(values) + 1), values, marker=marker, markersize=size, label=name)
    ax.set(xlabel="epoch $k$", ylabel=r"intensity $\gamma_k$", ylim=(0, 1.05))
    ax.legend()
    return ax


@own_figure("text", 0.43)
def epoch_contents(shares: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Stacked area of what each epoch trains on.

    Parameters
    ----------
    shares : frame with the epoch as index and one column of pair counts per group
    """
    assert ax is not None
    colours = _shades(shares.shape[1])
    ax.stackplot(shares.index, shares.T.to_numpy(), labels=list(shares.columns), colors=colours, step="mid")
    ax.set(xlabel="epoch $k$", ylabel="pairs in the epoch")
    # one epoch alone has no width
    ax.margins(x=0 if len(shares) > 1 else None)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="neighbours")
    return ax


@own_figure()
def interval_plot(table: pd.DataFrame, value: str, label: str, ax: Axes | None = None, zero: bool = False) -> Axes:
    """Dots with intervals, one row per arm: columns `arm`, `<value>`, `<value>_low`, `<value>_high`.

    A dot plot and not bars, because the origin means nothing when differences of a point are at stake. `zero` marks
    it where it does mean something.
    """
    assert ax is not None
    places = np.arange(len(table))[::-1]
    middle = table[value].to_numpy(float)
    low, high = table[f"{value}_low"].to_numpy(float), table[f"{value}_high"].to_numpy(float)
    if zero:
        ax.axvline(0, color="0.5", linewidth=0.7 * mpl.rcParams["lines.linewidth"])
    for at, place in enumerate(places):
        colour = STRONG[at % len(STRONG)]
        ax.plot([low[at], high[at]], [place, place], color=colour)
        ax.plot(middle[at], place, "o", color=colour)
    ax.set(xlabel=label, yticks=places, ylim=(-0.6, len(table) - 0.4))
    ax.set_yticklabels(list(table["arm"]))
    return ax


@own_figure()
def training_curves(table: pd.DataFrame, x: str, y: str, labels: Sequence[str], ax: Axes | None = None) -> Axes:
    """Mean over seeds with the range of the seeds as a band, one line per arm: columns `arm`, `epoch`, x and y."""
    assert ax is not None
    for (arm, rows), style in zip(table.groupby("arm", sort=False), itertools.cycle(DASHES), strict=False):
        by_epoch = rows.groupby("epoch")
        at, middle = by_epoch[x].mean(), by_epoch[y].mean()
        (line,) = ax.plot(at, middle, linestyle=style, label=arm)
        ax.fill_between(at, by_epoch[y].min(), by_epoch[y].max(), color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.legend()
    return ax


@own_figure()
def rank_by_count(counts: Any, ranks: Any, ax: Axes | None = None, least: int = 8) -> Axes:
    """Mean reciprocal rank of pairs with 0, 1, 2–3, 4–7, … neighbours, with 95 % t intervals.

    Bins with fewer than `least` pairs are left out: an interval from five values says nothing. The number of pairs
    stands under each bin.

    Parameters
    ----------
    counts : (Q,) int
    ranks : (Q,) float, at least 1
        Expected ranks; their reciprocal is what is averaged.
    """
    from scipy.stats import t

    counts, ranks = np.asarray(counts), np.asarray(ranks, float)
    bins = [(low, high, 1 / ranks[(counts >= low) & (counts <= high)]) for low, high in doubling_bins(0, counts.max())]
    bins = [entry for entry in bins if len(entry[2]) >= max(2, least)]
    if not bins:
        raise InputError(f"no bin of {len(counts)} counts holds {least} pairs: expected more pairs or a smaller least")
    assert ax is not None
    half = [t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) for _, _, values in bins]
    ax.errorbar(range(len(bins)), [values.mean() for _, _, values in bins], half, fmt="o", capsize=3, color=PALETTE[0])
    ax.set(ylabel="mean reciprocal rank", xlabel="neighbours $N_i$", xticks=range(len(bins)))
    labels = [f"{bin_label(low, high)}\nn = {len(values)}" for low, high, values in bins]
    ax.set_xticklabels(labels, fontsize="small" if len(labels) < 6 else "x-small")
    return ax


def flat_map(unit_vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two-dimensional t-SNE map `(n, 2)` of unit vectors `(n, d)`: neighbours stay neighbours, gaps mean nothing.

    Started from the principal components, so that the seed matters little (Kobak and Berens 2019).
    """
    from sklearn.manifold import TSNE

    if len(unit_vectors) < 4:
        raise InputError(f"{len(unit_vectors)} vectors: expected at least 4 for a map")
    perplexity = min(30.0, (len(unit_vectors) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed, max_iter=500).fit_transform(unit_vectors)


def _shades(count: int) -> list[Any]:
    """Colours that differ in lightness first: their order survives a grey print and colour blindness alike."""
    return [mpl.colormaps["cividis"](at) for at in np.linspace(0.1, 0.92, count)]


def doubling_bins(lowest: int, top: int) -> list[tuple[int, int]]:
    """Bins [low, high] of whole numbers from 0 or 1 that double in width, 0, 1, 2–3, 4–7, … to the one with `top`."""
    edges = [2**power for power in range(max(1, int(top)).bit_length() + 1)]
    bins = [(low, high - 1) for low, high in itertools.pairwise(edges)]
    return [(0, 0), *bins] if lowest == 0 else bins


def bin_label(low: int, high: int) -> str:
    """`4–7`, or the number alone."""
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
