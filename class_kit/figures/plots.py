"""The plot functions: data in, Axes out. Each draws on `ax`, or on a new figure if it is None, and returns the Axes.

None calls `show` or sets a title that a caption would repeat. Lines and groups differ in more than colour: in dashes,
markers or lightness, so that a greyscale print is readable.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from class_kit.checks import check_vector
from class_kit.errors import InputError
from class_kit.figures.layout import PALETTE, as_text, own_axes

if TYPE_CHECKING:
    import pandas as pd

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

# Colours for thin lines on white: the palette's pale pink and yellow vanish in greyscale.
STRONG = [colour for colour in PALETTE if np.dot([0.299, 0.587, 0.114], colour) < 0.72]


def binned(values: Any, bins: int | Sequence[float] | np.ndarray = 80) -> dict[str, list[float]]:
    """A histogram as data for `similarity_histogram`: `edges` and `density`; `bins` as for `numpy.histogram`."""
    density, edges = np.histogram(check_vector("values", values).astype(float), bins=bins, density=True)
    return {"edges": edges.tolist(), "density": density.tolist()}


def similarity_histogram(similarities: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Plot the distribution of cosines between pairs, one outlined histogram per space.

    A single one has its name above it, where a legend would cover it.

    Parameters
    ----------
    similarities : name to (n,) float in [-1, 1], or to what `binned` makes of them
    """
    found = {name: values if isinstance(values, Mapping) else binned(values) for name, values in similarities.items()}
    ax = ax or own_axes()
    for at, (name, values) in enumerate(found.items()):
        look = {"color": PALETTE[at % len(PALETTE)], "linestyle": DASHES[at % len(DASHES)]}
        ax.stairs(values["density"], values["edges"], baseline=None, label=name, **look)
    ax.set(xlabel="cosine similarity of two pairs", ylabel="density")
    if len(found) > 1:
        ax.legend(title="space")
    else:
        ax.set_title(next(iter(found)))
    return ax


def count_histogram(counts: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Plot the share of pairs with N_i = 0, 1, 2–3, 4–7, … neighbours, one bar per σ in each bin.

    Bins double in width because counts have a long tail: on a linear axis only the first bar would be visible.

    Parameters
    ----------
    counts : label to (L,) int from 0

    Raises
    ------
    InputError
        Counts that are not a vector of whole numbers from 0.
    """
    arrays = {name: check_vector("counts", values, whole=True, low=0) for name, values in counts.items()}
    edges, labels = doubling_bins(0, max(int(array.max()) for array in arrays.values()))
    ax = ax or own_axes("text", 0.43)
    width = 0.8 / len(arrays)
    for at, ((name, array), colour) in enumerate(zip(arrays.items(), _shades(len(arrays)), strict=True)):
        place = np.arange(len(labels)) + (at - (len(arrays) - 1) / 2) * width
        ax.bar(place, np.histogram(array, edges)[0] / len(array), width, label=name, color=colour)
    ax.set(xlabel="neighbours $N_i$", ylabel="share of pairs", ylim=(0, 1))
    ax.set_xticks(range(len(labels)), labels)
    ax.legend()
    return ax


def agreement_histogram(agreement: Any, shuffled: Any, at: float | None = None, ax: Axes | None = None) -> Axes:
    """Plot the agreement of the pairs as given and of shuffled pairs, the null; a line marks a threshold.

    Parameters
    ----------
    agreement, shuffled : (L,) and (n,) float
        From `audit_pairs`; the outermost half per cent on each side is not shown.
    at : float, optional
        The threshold.
    """
    ax = ax or own_axes()
    low, high = np.quantile(np.concatenate([agreement, shuffled]), [0.005, 0.995])
    edges = np.linspace(low, high, 61)
    for name, values, colour, dashes in zip(
        ("as given", "shuffled"), (agreement, shuffled), PALETTE, DASHES, strict=False
    ):
        height = np.histogram(values, edges)[0] / len(values)
        ax.stairs(height, edges, baseline=None, label=name, color=colour, linestyle=dashes)
    if at is not None:
        ax.axvline(at, color="0.35", linewidth=1)
    ax.set(xlabel="agreement of text and molecule", ylabel="share of pairs")
    ax.legend()
    return ax


def chosen_bars(
    everything: Any, chosen: Any, bins: tuple[np.ndarray, list[str]], labels: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Plot how many of `everything` (outlined) and of `chosen` (filled) are in each bin.

    Ticks are set by hand: placing them automatically takes half of the drawing time.

    Parameters
    ----------
    everything, chosen : (n,) and (k,) int or float
    bins : edges and labels, as `doubling_bins` makes them
    labels : names of the two axes
    """
    ax = ax or own_axes()
    (edges, names), powers = bins, [0, *(10**power for power in range(len(str(len(everything)))))]
    ax.bar(range(len(names)), np.histogram(chosen, edges)[0], 0.8, color=PALETTE[0])
    ax.bar(range(len(names)), np.histogram(everything, edges)[0], 0.8, fill=False, edgecolor="0.35", linewidth=1)
    ax.set(xlabel=labels[0], ylabel=labels[1], yscale="symlog", xlim=(-0.6, len(names) - 0.4))
    ax.set_xticks(range(len(names)), names)
    if len(names) > 6:
        ax.tick_params(axis="x", labelrotation=30, labelsize=7)
        for label in ax.get_xticklabels():
            label.set(rotation_mode="anchor", ha="right")
    ax.set_yticks([], minor=True)
    ax.set_yticks(powers, [f"{power:,}" for power in powers])
    ax.set_ylim(0, max(2, 1.6 * len(everything)))
    ax.grid(visible=False, axis="x")
    return ax


def threshold_curves(
    sigmas: Sequence[float], ties: Sequence[float], lonely: Sequence[float], at: float, ax: Axes | None = None
) -> Axes:
    """Plot the shares of pairs in the largest tie and without a neighbour against σ; a line marks one σ."""
    ax = ax or own_axes()
    ax.plot(sigmas, ties, label="in the largest tie")
    ax.plot(sigmas, lonely, "--", label="without a neighbour")
    ax.axvline(at, color="0.35", linewidth=1)
    ax.set(xlabel="threshold σ", ylabel="share of pairs", ylim=(0, 1.05))
    ax.locator_params(axis="x", nbins=5)
    ax.legend(loc="upper left")
    return ax


def class_map(points: Any, classes: Sequence[str], ax: Axes | None = None, most: int = 9, legend: bool = False) -> Axes:
    """Plot a two-dimensional map; the `most` commonest classes get a colour and a marker each, the rest is grey.

    Parameters
    ----------
    points : (n, 2) float
    classes : n names
    legend : bool
        Name the classes to the right of the map.
    """
    ax = ax or own_axes()
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


def schedule_curves(curves: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Plot λ_k against the epoch k = 1 … E as steps, one line per schedule."""
    ax = ax or own_axes()
    for (name, values), style in zip(curves.items(), itertools.cycle(DASHES), strict=False):
        ax.step(np.arange(1, len(values) + 1), values, where="mid", label=name, linestyle=style)
    ax.set(xlabel="epoch $k$", ylabel=r"fraction $\lambda_k$", ylim=(0, 1.05))
    ax.legend()
    return ax


def schedule_cost(curve: Sequence[float], ax: Axes | None = None) -> Axes:
    """Plot λ_k of one schedule; the area below it is the samples used."""
    ax = ax or own_axes()
    epochs = np.arange(1, len(curve) + 1)
    ax.bar(epochs, curve, 1.0, color=PALETTE[0], alpha=0.25, label="samples used")
    ax.step(epochs, curve, where="mid", color=PALETTE[0], label=r"fraction $\lambda_k$")
    ax.set(xlabel="epoch $k$", ylabel=r"fraction $\lambda_k$", ylim=(0, 1.05), xlim=(0.5, len(curve) + 0.5))
    ax.legend(loc="lower right")
    return ax


def intensity_curves(curves: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Plot γ_k against the epoch k = 1 … E, one marked line per intensity."""
    ax = ax or own_axes()
    size = 0.75 * mpl.rcParams["lines.markersize"]
    for (name, values), marker in zip(curves.items(), itertools.cycle(MARKERS), strict=False):
        ax.plot(np.arange(1, len(values) + 1), values, marker=marker, markersize=size, label=name)
    ax.set(xlabel="epoch $k$", ylabel=r"intensity $\gamma_k$", ylim=(0, 1.05))
    ax.legend()
    return ax


def epoch_contents(shares: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the pairs of each epoch as stacked areas, one per group.

    Parameters
    ----------
    shares : frame with the epoch as index and one column of pair counts per group
    """
    ax = ax or own_axes("text", 0.43)
    colours = _shades(shares.shape[1])
    ax.stackplot(shares.index, shares.T.to_numpy(), labels=list(shares.columns), colors=colours, step="mid")
    ax.set(xlabel="epoch $k$", ylabel="pairs in the epoch")
    # one epoch alone has no width
    ax.margins(x=0 if len(shares) > 1 else None)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="neighbours")
    return ax


def interval_plot(table: pd.DataFrame, value: str, label: str, ax: Axes | None = None, zero: bool = False) -> Axes:
    """Plot dots with intervals, one row per arm: columns `arm`, `<value>`, `<value>_low`, `<value>_high`.

    Dots rather than bars, because the origin is irrelevant when arms differ by a point. `zero` marks it when it
    matters.
    """
    ax = ax or own_axes()
    places = np.arange(len(table))[::-1]
    middle = table[value].to_numpy(float)
    low, high = table[f"{value}_low"].to_numpy(float), table[f"{value}_high"].to_numpy(float)
    if zero:
        ax.axvline(0, color="0.5", linewidth=0.7 * mpl.rcParams["lines.linewidth"])
    for at, place in enumerate(places):
        colour = STRONG[at % len(STRONG)]
        ax.plot([low[at], high[at]], [place, place], color=colour)
        ax.plot(middle[at], place, "o", color=colour)
    ax.set(xlabel=label, ylim=(-0.6, len(table) - 0.4))
    ax.set_yticks(places, [as_text(arm) for arm in table["arm"]])
    return ax


def training_curves(table: pd.DataFrame, x: str, y: str, labels: Sequence[str], ax: Axes | None = None) -> Axes:
    """Plot the mean over seeds with their range as a band, one line per arm: columns `arm`, `epoch`, x and y."""
    ax = ax or own_axes()
    for (arm, rows), style in zip(table.groupby("arm", sort=False), itertools.cycle(DASHES), strict=False):
        by_epoch = rows.groupby("epoch")
        at, middle = by_epoch[x].mean(), by_epoch[y].mean()
        (line,) = ax.plot(at, middle, linestyle=style, label=as_text(arm))
        ax.fill_between(at, by_epoch[y].min(), by_epoch[y].max(), color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.legend()
    return ax


def rank_by_count(counts: Any, ranks: Any, ax: Axes | None = None, least: int = 8) -> Axes:
    """Plot the mean reciprocal rank of pairs with 0, 1, 2–3, 4–7, … neighbours, with 95 % t intervals.

    Bins with fewer than `least` pairs are left out: an interval from five values means little. The number of pairs is
    shown under each bin.

    Parameters
    ----------
    counts : (Q,) int
    ranks : (Q,) float, at least 1
        Expected ranks; their reciprocals are averaged.
    """
    from scipy.stats import t

    counts, reciprocal = np.asarray(counts), 1 / np.asarray(ranks, float)
    edges, labels = doubling_bins(0, counts.max())
    bins = {name: reciprocal[np.digitize(counts, edges) == at] for at, name in enumerate(labels, start=1)}
    bins = {name: values for name, values in bins.items() if len(values) >= max(2, least)}
    if not bins:
        raise InputError(f"no bin of {len(counts)} counts holds {least} pairs: expected more pairs or a smaller least")
    ax = ax or own_axes()
    half = [t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) for values in bins.values()]
    middle = [values.mean() for values in bins.values()]
    ax.errorbar(range(len(bins)), middle, half, fmt="o", capsize=3, color=PALETTE[0])
    ax.set(ylabel="mean reciprocal rank", xlabel="neighbours $N_i$")
    under = [f"{name}\nn = {len(values)}" for name, values in bins.items()]
    ax.set_xticks(range(len(bins)), under, fontsize="small" if len(bins) < 6 else "x-small")
    return ax


def heat_map(
    values: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    notes: Sequence[Sequence[str]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot a grid of numbers as lightness, with an optional note in each cell; a cell that is None stays white.

    Parameters
    ----------
    values : (r, c) float, None where there is none
    rows, columns : r and c names
    label : str
        Label of the colour bar: what the numbers are.
    notes : r lists of c strings, optional
        Text in the cells; none by default.
    """
    grid = np.array([[np.nan if value is None else value for value in row] for row in values], float)
    if grid.shape != (len(rows), len(columns)) or not np.isfinite(grid).any():
        raise InputError(
            f"values of shape {grid.shape}, {len(rows)} rows and {len(columns)} columns: expected one number per cell"
        )
    ax = ax or own_axes()
    edges = [np.arange(count + 1) - 0.5 for count in (len(columns), len(rows))]
    # cells outlined in their own colour: an image would not be vector graphics, bare areas leave hairlines
    picture = ax.pcolormesh(*edges, np.ma.masked_invalid(grid), cmap="cividis", edgecolors="face", linewidth=0.2)
    ax.set_xticks(range(len(columns)), [as_text(name) for name in columns])
    ax.set_yticks(range(len(rows)), [as_text(name) for name in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(visible=False)
    middle = (np.nanmin(grid) + np.nanmax(grid)) / 2
    for (row, column), value in np.ndenumerate(grid):
        if notes is None or np.isnan(value):
            continue
        # light text on the dark half of the scale
        colour = "white" if value < middle else "black"
        note = "\n".join(map(as_text, notes[row][column].split("\n")))
        ax.text(column, row, note, ha="center", va="center", color=colour, fontsize="small")
    bar = ax.figure.colorbar(picture, ax=ax)
    bar.set_label(as_text(label))
    if bar.solids is not None:
        bar.solids.set(rasterized=False, edgecolor="face")
    return ax


def share_lines(shares: Mapping[str, Sequence[float]], at: Sequence[str], label: str, ax: Axes | None = None) -> Axes:
    """Plot shares from 0 to 1 along named settings, one marked line each.

    Parameters
    ----------
    shares : name to as many values as there are settings
    at : names of the settings, in order
    label : str
        What the settings are.
    """
    ax = ax or own_axes()
    looks = zip(itertools.cycle(MARKERS), itertools.cycle(DASHES), itertools.cycle(STRONG), strict=False)
    for at_line, ((name, values), (marker, dashes, colour)) in enumerate(zip(shares.items(), looks, strict=False)):
        if len(values) != len(at):
            raise InputError(f"{as_text(name)}: {len(values)} values for {len(at)} settings: expected one per setting")
        # the first are the largest, and hollow, so that a line that coincides with a later one is still seen
        factor = max(0.6, 1.5 - 0.35 * at_line)
        look = {"marker": marker, "linestyle": dashes, "color": colour, "fillstyle": "full" if at_line else "none"}
        size, width = (factor * mpl.rcParams[key] for key in ("lines.markersize", "lines.linewidth"))
        ax.plot(range(len(at)), values, label=as_text(name), markersize=size, linewidth=width, **look)
    ax.set(xlabel=label, ylabel="share of training pairs", ylim=(0, 1.02))
    ax.set_xticks(range(len(at)), [as_text(name) for name in at], rotation=90, fontsize="small")
    ax.legend()
    return ax


def flat_map(unit_vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Compute a t-SNE map `(n, 2)` of unit vectors `(n, d)`: neighbours stay neighbours, gaps mean nothing.

    Initialised with the principal components, so that the seed matters little (Kobak and Berens 2019).
    """
    from sklearn.manifold import TSNE

    if len(unit_vectors) < 4:
        raise InputError(f"{len(unit_vectors)} vectors: expected at least 4 for a map")
    perplexity = min(30.0, (len(unit_vectors) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed, max_iter=500).fit_transform(unit_vectors)


def _shades(count: int) -> list[Any]:
    """Colours that differ mainly in lightness: their order survives greyscale and colour blindness."""
    return [mpl.colormaps["cividis"](at) for at in np.linspace(0.1, 0.92, count)]


def doubling_bins(lowest: int, top: int) -> tuple[np.ndarray, list[str]]:
    """Bins of whole numbers from 0 or 1 that double in width, 0, 1, 2–3, 4–7, …, up to the one with `top`.

    Parameters
    ----------
    lowest : 0 or 1
    top : int

    Returns
    -------
    edges : (b + 1,) int
        As `numpy.histogram` and `numpy.digitize` take them.
    labels : list of b str
    """
    edges = np.array([0][lowest:] + [2**power for power in range(max(1, int(top)).bit_length() + 1)])
    labels = [
        f"{low:,}" if low == high else f"{low:,}–{high:,}" for low, high in zip(edges, edges[1:] - 1, strict=False)
    ]
    return edges, labels
