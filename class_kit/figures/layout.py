"""Plots put into a figure of the style's width, and figures put on disk.

A figure is `draw(panel(plot, data…), …)`, saved with the parameters that make it again.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from class_kit.errors import InputError
from class_kit.figures.style import STYLES, active_style
from class_kit.files import atomic_write, write_json

Plot = Callable[..., Axes]
# the kit's plots by name, for `panel`
PLOTS: dict[str, Plot] = {}
_SHARED = ("", "x", "y", "xy")
# Dates and versions are left out, so that equal figures are equal bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}
_P = ParamSpec("_P")


def panel(
    plot: Plot | str, *data: Any, title: str = "", settings: Mapping[str, Any] | None = None, **options: Any
) -> Plot:
    """One plot with its data, for `draw`, as a function of the Axes alone.

    Parameters
    ----------
    plot : function that draws on its argument `ax`, or the name of one of this package
    data, options
        The plot's own arguments, without `ax`.
    title : str
        What tells this panel from the others of a figure; a figure as a whole has a caption instead.
    settings : mapping, optional
        `xlabel`, `yscale`, `xlim` and the like, set on the Axes after drawing.

    Raises
    ------
    InputError
        For an unknown plot.
    """
    if isinstance(plot, str) and plot not in PLOTS:
        raise InputError(f"plot {plot!r}: expected one of {', '.join(PLOTS)}, or a function with an argument ax")
    function = PLOTS[plot] if isinstance(plot, str) else plot

    def fill(ax: Axes) -> Axes:
        function(*data, ax=ax, **options)
        if title:
            ax.set_title(title)
        ax.set(**(settings or {}))
        return ax

    return fill


def draw(
    *panels: Plot,
    columns: int | None = None,
    width: str = "column",
    ratio: float = 0.69,
    fraction: float = 1.0,
    share: str = "",
) -> Figure:
    """A figure of panels in rows, in the style in force.

    Parameters
    ----------
    panels : one or more results of `panel`
    columns : int, optional
        Panels in a row; all in one row by default.
    width : "column" or "text"
        The style's width of one column, or of the whole text block.
    ratio : float
        Height over width of the figure, in (0, 4].
    fraction : float
        Share of that width, in (0, 1].
    share : "", "x", "y" or "xy"
        Axes that all panels have in common.

    Raises
    ------
    InputError
        No panel, or a value outside its range.
    """
    widths = STYLES[active_style()]
    if width not in widths or share not in _SHARED:
        raise InputError(f"width={width!r}, share={share!r}: expected 'column' or 'text', and '' to 'xy'")
    if not (panels and 0 < fraction <= 1 and 0 < ratio <= 4 and (columns is None or columns >= 1)):
        raise InputError(
            f"fraction={fraction}, ratio={ratio}, columns={columns}, {len(panels)} panels: expected (0, 1], (0, 4], "
            "and at least 1 of the others"
        )
    columns = columns or len(panels)
    rows, wide = math.ceil(len(panels) / columns), widths[width] * fraction
    size = (wide, wide * ratio)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharex="x" in share, sharey="y" in share)
    try:
        for ax, fill in zip(axes.flat, panels, strict=False):
            fill(ax)
    except Exception:
        plt.close(fig)
        raise
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    return fig


def own_figure(width: str = "column", ratio: float = 0.69) -> Callable[[Callable[_P, Axes]], Callable[_P, Axes]]:
    """Decorator of the kit's plots: without `ax`, a plot is drawn on a figure of its own, `width` and `ratio` wide."""

    def decorate(plot: Callable[_P, Axes]) -> Callable[_P, Axes]:
        @functools.wraps(plot)
        def drawn(*data: _P.args, **options: _P.kwargs) -> Axes:
            try:
                given = inspect.signature(plot).bind(*data, **options).arguments
            except TypeError as error:
                raise InputError(f"plot {plot.__name__}: {error}") from None
            if given.get("ax") is not None:
                return plot(*data, **options)
            given.pop("ax", None)
            return draw(panel(plot, **given), width=width, ratio=ratio).axes[0]

        PLOTS[plot.__name__] = drawn
        return drawn

    return decorate


def save(fig: Figure, out: str | os.PathLike[str], name: str, parameters: Mapping[str, Any]) -> Path:
    """Write `figures/<name>.pdf`, `.png` and `.json` (what regenerates it) under the run folder `out`; return the PNG.

    Raises
    ------
    InputError
        If `name` is not a plain file name.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise InputError(f"name={name!r}: expected a plain file name without folders")
    folder = Path(out) / "figures"
    for suffix, metadata in _METADATA.items():
        with atomic_write(folder / f"{name}.{suffix}") as temporary:
            fig.savefig(temporary, format=suffix, dpi=200, metadata=metadata)
    write_json(folder / f"{name}.json", {"figure": name, "parameters": dict(parameters), "style": active_style()})
    return folder / f"{name}.png"
