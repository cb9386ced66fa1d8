"""Plots over settings rather than over data: a grid of two settings, shares along a list of one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from class_kit.errors import InputError
from class_kit.figures.layout import own_figure
from class_kit.figures.plots import DASHES, MARKERS, STRONG
from class_kit.figures.style import as_text


@own_figure()
def heat_map(
    values: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    notes: Sequence[Sequence[str]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A grid of numbers by lightness, each cell with its note written into it; a cell that is None stays white.

    Parameters
    ----------
    values : (r, c) float, None where there is none
    rows, columns : r and c names
    label : str
        What the numbers are, beside the bar of lightness.
    notes : r lists of c strings, optional
        What is written into the cells; nothing by default.
    """
    assert ax is not None
    grid = np.array([[np.nan if value is None else value for value in row] for row in values], float)
    if grid.shape != (len(rows), len(columns)) or not np.isfinite(grid).any():
        raise InputError(
            f"values of shape {grid.shape} for {len(rows)} rows and {len(columns)} columns: expected a number in a cell"
        )
    edges = [np.arange(count + 1) - 0.5 for count in (len(columns), len(rows))]
    # cells as areas with outlines of their own colour: an image would not be vector, bare areas leave hairlines
    picture = ax.pcolormesh(*edges, np.ma.masked_invalid(grid), cmap="cividis", edgecolors="face", linewidth=0.2)
    ax.set(xticks=range(len(columns)), yticks=range(len(rows)), ylim=(len(rows) - 0.5, -0.5))
    ax.set_xticklabels([as_text(name) for name in columns])
    ax.set_yticklabels([as_text(name) for name in rows])
    ax.grid(visible=False)
    middle = (np.nanmin(grid) + np.nanmax(grid)) / 2
    for row, column in itertools.product(range(len(rows)), range(len(columns)) if notes is not None else ()):
        if notes is not None and np.isfinite(grid[row, column]):
            # light writing on the dark half of the scale
            colour = "white" if grid[row, column] < middle else "black"
            note = "\n".join(map(as_text, notes[row][column].split("\n")))
            ax.text(column, row, note, ha="center", va="center", color=colour, fontsize="small")
    bar = ax.figure.colorbar(picture, ax=ax)
    bar.set_label(as_text(label))
    if bar.solids is not None:
        bar.solids.set(rasterized=False, edgecolor="face")
    return ax


@own_figure()
def share_lines(shares: Mapping[str, Sequence[float]], at: Sequence[str], label: str, ax: Axes | None = None) -> Axes:
    """Shares from 0 to 1 along named settings, one marked line each.

    Parameters
    ----------
    shares : name to as many values as there are settings
    at : names of the settings, in order
    label : str
        What the settings are.
    """
    assert ax is not None
    looks = zip(itertools.cycle(MARKERS), itertools.cycle(DASHES), itertools.cycle(STRONG), strict=False)
    for (name, values), (marker, dashes, colour) in zip(shares.items(), looks, strict=False):
        if len(values) != len(at):
            raise InputError(f"{as_text(name)}: {len(values)} values for {len(at)} settings: expected as many")
        size = 0.9 * mpl.rcParams["lines.markersize"]
        ax.plot(range(len(at)), values, marker=marker, markersize=size, linestyle=dashes, color=colour, label=name)
    ax.set(xlabel=label, ylabel="share of training pairs", ylim=(0, 1.02), xticks=range(len(at)))
    ax.set_xticklabels([as_text(name) for name in at], rotation=90, fontsize="small")
    ax.legend()
    return ax
