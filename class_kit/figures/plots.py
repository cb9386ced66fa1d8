"""The plots: data in, Axes out. Each takes `ax=None`, draws on it or on a figure of its own, and returns it.

A figure of its own is made by `draw` and so remembers its data; what is changed on its Axes afterwards it does not
remember, and `panel` has `title` and `settings` for that. None calls `show` or sets a title that a caption would
repeat. What belongs together is told apart by more than colour: by dashes, markers or lightness, so that a grey print
can be read. Arguments are plain data or arrays of them, because a figure is kept as its data and drawn again from that.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from class_kit.errors import InputError
from class_kit.figures.styles import PALETTE, as_text

if TYPE_CHECKING:
    import pandas as pd

# Sizes in inches of a plot that is drawn on Axes of its own.
WIDE, NARROW = (6.8, 2.9), (4.2, 2.9)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

# Colours for thin lines on white: the palette's pale pink and yellow vanish in a grey print.
_STRONG = [colour for colour in PALETTE if np.dot([0.299, 0.587, 0.114], colour) < 0.72]
_P = ParamSpec("_P")


def _own_figure(width: str = "column", ratio: float = 0.69) -> Callable[[Callable[_P, Axes]], Callable[_P, Axes]]:
    """Let a plot without `ax` be drawn by `draw`, with this width and ratio."""

    def decorate(plot: Callable[_P, Axes]) -> Callable[_P, Axes]:
        @functools.wraps(plot)
        def drawn(*data: _P.args, **options: _P.kwargs) -> Axes:
            # drawings.py lists these plots and so cannot be imported before them
            from class_kit.figures.drawings import draw, panel, takes_axes

            if takes_axes(plot, data, options):
                return plot(*data, **options)
            return draw(panel(plot.__name__, *data, **dict(options)), width=width, ratio=ratio).axes[0]  # type: ignore[arg-type]

        return drawn

    return decorate


def binned(values: Any, bins: int | Sequence[float] | np.ndarray = 80) -> dict[str, list[float]]:
    """A histogram as data: `edges` and `density`, what `similarity_histogram` needs; `bins` as `numpy.histogram`."""
    array = np.asarray(values, float)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise InputError(f"values of shape {array.shape}: expected a vector of finite numbers, at least one")
    density, edges = np.histogram(array, bins=bins, density=True)
    return {"edges": edges.tolist(), "density": density.tolist()}


def tallied(counts: Any) -> dict[str, list[int]]:
    """Counts as data: each `value` that occurs and how many `pairs` have it, what `count_histogram` needs of them."""
    array = np.asarray(counts)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu" or array.min() < 0:
        raise InputError(f"counts {array.dtype} of shape {array.shape}: expected a vector of whole numbers from 0")
    values, pairs = np.unique(array, return_counts=True)
    return {"value": values.tolist(), "pairs": pairs.tolist()}


@_own_figure()
def similarity_histogram(similarities: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Distribution of cosines between pairs of rows, one outlined histogram per space.

    Parameters
    ----------
    similarities : name to (n,) float in [-1, 1], or to what `binned` makes of them
    """
    assert ax is not None
    for at, (name, values) in enumerate(similarities.items()):
        found = values if isinstance(values, Mapping) else binned(values)
        look = {"color": PALETTE[at % len(PALETTE)], "linestyle": _DASHES[at % len(_DASHES)]}
        ax.stairs(found["density"], found["edges"], baseline=None, label=name, **look)
    ax.set(xlabel="cosine similarity of two pairs", ylabel="density")
    ax.legend(title="space" if len(similarities) > 1 else None)
    return ax


@_own_figure("text", 0.43)
def count_histogram(counts: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Share of pairs with N_i = 0, 1, 2–3, 4–7, … neighbours, one group of bars per σ.

    Bins double because counts have a long tail: on a linear axis the first bar would be all there is.

    Parameters
    ----------
    counts : label to (L,) int, or to what `tallied` makes of them
    """
    assert ax is not None
    tallies = {name: values if isinstance(values, Mapping) else tallied(values) for name, values in counts.items()}
    bins = _doubling(max(max(tally["value"]) for tally in tallies.values()))
    edges = [0, *(high for _, high in bins)]
    labels = [_bin_label(low, high) for low, high in bins]
    width = 0.8 / len(tallies)
    for at, ((name, tally), colour) in enumerate(zip(tallies.items(), _shades(len(tallies)), strict=True)):
        share = np.histogram(tally["value"], bins=edges, weights=tally["pairs"])[0] / sum(tally["pairs"])
        place = np.arange(len(labels)) + (at - (len(tallies) - 1) / 2) * width
        ax.bar(place, share, width, label=name, color=colour)
    ax.set(xlabel="neighbours $N_i$", ylabel="share of pairs", xticks=range(len(labels)), ylim=(0, 1))
    ax.set_xticklabels(labels)
    ax.legend()
    return ax


@_own_figure()
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
        colour, marker = PALETTE[at % len(PALETTE)], _MARKERS[at % len(_MARKERS)]
        ax.scatter(chosen[:, 0], chosen[:, 1], color=colour, marker=marker, label=name, **look)
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2)
    return ax


@_own_figure()
def schedule_curves(curves: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """λ_k against the epoch k = 1 … E, one line per schedule, drawn as the steps they are."""
    assert ax is not None
    for (name, values), style in zip(curves.items(), itertools.cycle(_DASHES), strict=False):
        ax.step(np.arange(1, len(values) + 1), values, where="mid", label=name, linestyle=style)
    ax.set(xlabel="epoch $k$", ylabel=r"fraction $\lambda_k$", ylim=(0, 1.05))
    ax.legend()
    return ax


@_own_figure()
def intensity_curves(curves: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """γ_k against the epoch k = 1 … E, one marked line per intensity."""
    assert ax is not None
    size = 0.75 * mpl.rcParams["lines.markersize"]
    for (name, values), marker in zip(curves.items(), itertools.cycle(_MARKERS), strict=False):
        ax.plot(np.arange(1, len(values) + 1), values, marker=marker, markersize=size, label=name)
    ax.set(xlabel="epoch $k$", ylabel=r"intensity $\gamma_k$", ylim=(0, 1.05))
    ax.legend()
    return ax


@_own_figure("text", 0.43)
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


@_own_figure()
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
        colour = _STRONG[at % len(_STRONG)]
        ax.plot([low[at], high[at]], [place, place], color=colour)
        ax.plot(middle[at], place, "o", color=colour)
    ax.set(xlabel=label, yticks=places, ylim=(-0.6, len(table) - 0.4))
    ax.set_yticklabels(list(table["arm"]))
    return ax


@_own_figure()
def training_curves(table: pd.DataFrame, x: str, y: str, labels: Sequence[str], ax: Axes | None = None) -> Axes:
    """Mean over seeds with the range of the seeds as a band, one line per arm: columns `arm`, `epoch`, x and y."""
    assert ax is not None
    for (arm, rows), style in zip(table.groupby("arm", sort=False), itertools.cycle(_DASHES), strict=False):
        by_epoch = rows.groupby("epoch")
        at, middle = by_epoch[x].mean(), by_epoch[y].mean()
        (line,) = ax.plot(at, middle, linestyle=style, label=arm)
        ax.fill_between(at, by_epoch[y].min(), by_epoch[y].max(), color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.legend()
    return ax


@_own_figure()
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
    bins = [(low, high, 1 / ranks[(counts >= low) & (counts < high)]) for low, high in _doubling(int(counts.max()))]
    bins = [entry for entry in bins if len(entry[2]) >= max(2, least)]
    if not bins:
        raise InputError(f"no bin of {len(counts)} counts holds {least} pairs: expected more pairs or a smaller least")
    assert ax is not None
    half = [t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) for _, _, values in bins]
    ax.errorbar(range(len(bins)), [values.mean() for _, _, values in bins], half, fmt="o", capsize=3, color=PALETTE[0])
    ax.set(ylabel="mean reciprocal rank", xlabel="neighbours $N_i$", xticks=range(len(bins)))
    labels = [f"{_bin_label(low, high)}\nn = {len(values)}" for low, high, values in bins]
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


def _doubling(top: int) -> list[tuple[int, int]]:
    """Half-open bins 0, 1, 2–3, 4–7, … up to the one that holds `top`."""
    edges = [0, 1] + [2**power for power in range(1, max(1, top).bit_length() + 1)]
    return list(itertools.pairwise(edges))


def _bin_label(low: int, high: int) -> str:
    return f"{low}" if high - low == 1 else f"{low}–{high - 1}"
