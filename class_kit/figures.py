"""Plots: data in, Axes out, one style, files beside the parameters that made them.

Every function takes `ax=None`, draws on it (or on a new one) and returns it; none calls `show` or sets a title that
a caption would repeat. Colours are the colour-blind-safe palette of seaborn; DejaVu Sans comes with matplotlib, so
the same call gives the same picture on every machine.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from class_kit.errors import InputError
from class_kit.files import atomic_write, write_json

if TYPE_CHECKING:
    import pandas as pd

PALETTE = sns.color_palette("colorblind")
# A text column of 5.5 inches and half of it are what most venues set; heights follow the eye, not a rule.
WIDE, NARROW = (6.8, 2.9), (4.2, 2.9)

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.dpi": 85,
    "figure.constrained_layout.use": True,
    # Type 42 embeds the fonts whole, which publishers ask for and Type 3 does not satisfy.
    "pdf.fonttype": 42,
    "svg.hashsalt": "class_kit",
    "axes.prop_cycle": cycler(color=PALETTE),
}


def use_style() -> None:
    """Set the kit's style for all figures that follow; call it once at the top of a notebook."""
    mpl.rcParams.update(_STYLE)


def save(fig: Figure, out: str | os.PathLike[str], name: str, parameters: Mapping[str, Any]) -> Path:
    """Write `figures/<name>.pdf`, `.png` and `.json` (what regenerates it) under the run folder `out`.

    Dates are left out of the files, so that equal figures are equal bytes. Returns the path of the PNG.

    Raises
    ------
    ValueError
        If `name` is not a plain file name.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise InputError(f"name={name!r}: expected a plain file name without folders")
    folder = Path(out) / "figures"
    dateless: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
        "png": {"Software": None},
    }
    for suffix, metadata in dateless.items():
        with atomic_write(folder / f"{name}.{suffix}") as temporary:
            fig.savefig(temporary, format=suffix, dpi=200, metadata=metadata)
    write_json(folder / f"{name}.json", {"figure": name, "parameters": dict(parameters)})
    return folder / f"{name}.png"


def similarity_histogram(similarities: Mapping[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """Distribution of cosines between pairs of rows, one outlined histogram per space.

    Parameters
    ----------
    similarities : name to (n,) float in [-1, 1]
    """
    ax = _axes(ax, NARROW)
    for name, values in similarities.items():
        sns.histplot(x=values, bins=80, stat="density", element="step", fill=False, label=name, ax=ax)
    ax.set(xlabel="cosine similarity of two pairs", ylabel="density")
    ax.legend(title="space")
    return ax


def count_histogram(counts: Mapping[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """Share of pairs with N_i = 0, 1, 2–3, 4–7, … neighbours, one group of bars per σ.

    Bins double because counts have a long tail: on a linear axis the first bar would be all there is.

    Parameters
    ----------
    counts : label to (L,) int
    """
    ax = _axes(ax, WIDE)
    bins = _doubling(max(int(values.max()) for values in counts.values()))
    edges = [0, *(high for _, high in bins)]
    labels = [_bin_label(low, high) for low, high in bins]
    width = 0.8 / len(counts)
    for at, (name, values) in enumerate(counts.items()):
        share = np.histogram(values, bins=edges)[0] / len(values)
        place = np.arange(len(labels)) + (at - (len(counts) - 1) / 2) * width
        ax.bar(place, share, width, label=name)
    ax.set(xlabel="neighbours $N_i$", ylabel="share of pairs", xticks=range(len(labels)), ylim=(0, 1))
    ax.set_xticklabels(labels)
    ax.legend()
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


def class_map(points: np.ndarray, classes: Sequence[str], ax: Axes | None = None, most: int = 9) -> Axes:
    """Two-dimensional map coloured by class; the `most` commonest classes get a colour, the rest is grey.

    Parameters
    ----------
    points : (n, 2) float
    classes : n names
    """
    ax = _axes(ax, NARROW)
    labels = np.asarray(classes)
    names, sizes = np.unique(labels, return_counts=True)
    common = names[np.lexsort((names, -sizes))][:most]
    rest = ~np.isin(labels, common)
    ax.scatter(points[rest, 0], points[rest, 1], s=4, color="0.75", linewidths=0, label="other" if rest.any() else None)
    for name, colour in zip(common, sns.color_palette("colorblind", len(common)), strict=True):
        chosen = points[labels == name]
        ax.scatter(chosen[:, 0], chosen[:, 1], s=4, color=colour, linewidths=0, label=name)
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    return ax


def schedule_curves(curves: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """λ_k against the epoch k = 1 … E, one line per schedule, drawn as the steps they are."""
    ax = _axes(ax, NARROW)
    for name, values in curves.items():
        ax.step(np.arange(1, len(values) + 1), values, where="mid", label=name)
    ax.set(xlabel="epoch $k$", ylabel=r"fraction $\lambda_k$", ylim=(0, 1.05))
    ax.legend()
    return ax


def intensity_curves(curves: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """γ_k against the epoch k = 1 … E, one marked line per intensity."""
    ax = _axes(ax, NARROW)
    for (name, values), marker in zip(curves.items(), _markers(), strict=False):
        ax.plot(np.arange(1, len(values) + 1), values, marker=marker, markersize=3, label=name)
    ax.set(xlabel="epoch $k$", ylabel=r"intensity $\gamma_k$", ylim=(0, 1.05))
    ax.legend()
    return ax


def epoch_contents(shares: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Stacked area of what each epoch trains on.

    Parameters
    ----------
    shares : frame with the epoch as index and one column of pair counts per group
    """
    ax = _axes(ax, WIDE)
    colours = sns.color_palette("viridis", shares.shape[1])
    ax.stackplot(shares.index, shares.T.to_numpy(), labels=list(shares.columns), colors=colours, step="mid")
    ax.set(xlabel="epoch $k$", ylabel="pairs in the epoch", xlim=(shares.index.min(), shares.index.max()))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="neighbours")
    return ax


def interval_plot(table: pd.DataFrame, value: str, label: str, ax: Axes | None = None) -> Axes:
    """Dots with intervals, one row per arm: columns `arm`, `<value>`, `<value>_low`, `<value>_high`.

    A dot plot and not bars, because the origin means nothing when differences of a point are at stake.
    """
    ax = _axes(ax, NARROW)
    places = np.arange(len(table))[::-1]
    middle = table[value].to_numpy(float)
    low, high = table[f"{value}_low"].to_numpy(float), table[f"{value}_high"].to_numpy(float)
    for at, place in enumerate(places):
        colour = PALETTE[at % len(PALETTE)]
        ax.plot([low[at], high[at]], [place, place], color=colour, linewidth=2)
        ax.plot(middle[at], place, "o", color=colour, markersize=6)
    ax.set(xlabel=label, yticks=places, ylim=(-0.6, len(table) - 0.4))
    ax.set_yticklabels(list(table["arm"]))
    return ax


def training_curves(table: pd.DataFrame, x: str, y: str, labels: tuple[str, str], ax: Axes | None = None) -> Axes:
    """Mean over seeds with the range of the seeds as a band, one line per arm: columns `arm`, `seed`, x and y."""
    ax = _axes(ax, NARROW)
    for (arm, rows), style in zip(table.groupby("arm", sort=False), _dashes(), strict=False):
        by_epoch = rows.groupby("epoch")
        at, middle = by_epoch[x].mean(), by_epoch[y].mean()
        (line,) = ax.plot(at, middle, linestyle=style, label=arm)
        ax.fill_between(at, by_epoch[y].min(), by_epoch[y].max(), color=line.get_color(), alpha=0.15, linewidth=0)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.legend()
    return ax


def rank_by_count(counts: np.ndarray, ranks: np.ndarray, ax: Axes | None = None, least: int = 8) -> Axes:
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

    bins = [(low, high, 1 / ranks[(counts >= low) & (counts < high)]) for low, high in _doubling(int(counts.max()))]
    bins = [entry for entry in bins if len(entry[2]) >= max(2, least)]
    if not bins:
        raise InputError(f"no bin of {len(counts)} counts holds {least} pairs: expected more pairs or a smaller least")
    ax = _axes(ax, NARROW)
    half = [t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) for _, _, values in bins]
    ax.errorbar(range(len(bins)), [values.mean() for _, _, values in bins], half, fmt="o", capsize=3, color=PALETTE[0])
    ax.set(ylabel="mean reciprocal rank", xlabel="neighbours $N_i$", xticks=range(len(bins)))
    ax.set_xticklabels([f"{_bin_label(low, high)}\nn = {len(values)}" for low, high, values in bins])
    return ax


def molecule_grid(smiles: Sequence[str], captions: Sequence[str] | None = None, per_row: int = 4) -> Figure:
    """Draw molecules in rows, each over its caption (plain text: no caption is read as TeX).

    Raises
    ------
    ValueError
        If captions and molecules differ in number, or there is nothing to draw.
    """
    captions = [""] * len(smiles) if captions is None else captions
    if not len(smiles) or len(captions) != len(smiles):
        raise InputError(f"{len(smiles)} molecules and {len(captions)} captions: expected as many, at least one")
    columns = min(per_row, len(smiles))
    rows = -(-len(smiles) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(1.75 * columns, 1.7 * rows), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, text, caption in zip(axes.flat, smiles, captions, strict=False):
        ax.imshow(plt.imread(io.BytesIO(molecule_png(text))), interpolation="antialiased")
        ax.set_title(caption, fontsize=6.5, parse_math=False, wrap=True)
    return fig


def molecule_png(smiles: str, size: tuple[int, int] = (360, 300)) -> bytes:
    """PNG drawing of one molecule; a SMILES that RDKit refuses becomes a blank field saying so."""
    from rdkit import Chem, rdBase
    from rdkit.Chem.Draw import rdMolDraw2D

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    drawer = rdMolDraw2D.MolDraw2DCairo(*size)
    drawer.drawOptions().padding = 0.08  # type: ignore[assignment]
    if molecule is None:
        molecule = Chem.MolFromSmiles("")
        drawer.DrawMolecule(molecule, legend="not a readable SMILES")
    else:
        rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
    drawer.FinishDrawing()
    return bytes(drawer.GetDrawingText())


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return plt.subplots(figsize=size)[1] if ax is None else ax


def _doubling(top: int) -> list[tuple[int, int]]:
    """Half-open bins 0, 1, 2–3, 4–7, … up to the one that holds `top`."""
    edges = [0, 1] + [2**power for power in range(1, max(1, top).bit_length() + 1)]
    return list(itertools.pairwise(edges))


def _bin_label(low: int, high: int) -> str:
    return f"{low}" if high - low == 1 else f"{low}–{high - 1}"


def _markers() -> list[str]:
    return ["o", "s", "^", "D", "v", "P", "X", "*"]


def _dashes() -> list[Any]:
    return ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2))]
