"""A figure as data: which plots it holds, of what, in which places; drawn from that and from nothing else.

What a notebook shows and what `class-kit figures` draws again for a paper go through the same function, so that
they cannot differ in more than the style.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from class_kit.errors import InputError
from class_kit.figures import grids, plots
from class_kit.figures.molecules import molecule
from class_kit.figures.styles import active_style, styled

Plot = Callable[..., Axes]
PLOTS: dict[str, Plot] = {
    plot.__name__: plot
    for plot in (
        plots.similarity_histogram,
        plots.count_histogram,
        plots.class_map,
        plots.schedule_curves,
        plots.intensity_curves,
        plots.epoch_contents,
        plots.interval_plot,
        plots.training_curves,
        plots.rank_by_count,
        grids.heat_map,
        grids.share_lines,
        molecule,
    )
}
# Digits kept of a number: more than a printer shows, and few enough that a figure's data stay small.
_DIGITS = 6
# a figure read from a file is drawn in bounded time
_PANELS = 200
_SETTINGS = frozenset({"xlabel", "ylabel", "xscale", "yscale", "xlim", "ylim"})
_SHARED = ("", "x", "y", "xy")
_drawn: WeakKeyDictionary[Figure, dict[str, Any]] = WeakKeyDictionary()


def register_plot(plot: Plot) -> Plot:
    """Make a plot of one's own known by its name, so that its figures can be drawn again; usable as a decorator.

    It takes data and `ax`, draws on `ax` and returns it. Arrays reach it as lists, tables as data frames.

    Raises
    ------
    InputError
        When another plot has that name, or there is no parameter `ax`.
    """
    name = getattr(plot, "__name__", "")
    if not callable(plot) or not name or "ax" not in inspect.signature(plot).parameters:
        raise InputError(f"plot {plot!r}: expected a named function with a parameter ax")
    if PLOTS.setdefault(name, plot) is not plot:
        raise InputError(f"plot {name!r}: another plot has this name")
    return plot


def panel(
    plot: Plot | str, *data: Any, title: str = "", settings: Mapping[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """One plot with its data, for `draw`: what it takes as arguments, turned into plain data.

    Parameters
    ----------
    plot : function of this package, one registered with `register_plot`, or its name
    data, options
        The plot's own arguments, without `ax`.
    title : str
        What tells this panel from the others of a figure; a figure as a whole has a caption instead.
    settings : mapping, optional
        `xlabel`, `ylabel`, `xscale`, `yscale`, `xlim`, `ylim` of the Axes, set after drawing.

    Raises
    ------
    InputError
        For an unknown plot or setting, and arguments that the plot does not take or that are not plain data.
    """
    name = plot if isinstance(plot, str) else getattr(plot, "__name__", "")
    if name not in PLOTS or (not isinstance(plot, str) and PLOTS[name] is not plot):
        raise InputError(f"plot {name or plot!r}: expected one of {', '.join(PLOTS)} (see register_plot)")
    unknown = set(settings or {}) - _SETTINGS
    if unknown:
        raise InputError(f"settings {sorted(unknown)}: expected some of {', '.join(sorted(_SETTINGS))}")
    try:
        given = dict(inspect.signature(PLOTS[name]).bind(*data, **options).arguments)
    except TypeError as error:
        raise InputError(f"plot {name}: {error}") from None
    if given.pop("ax", None) is not None:
        raise InputError(f"plot {name}: ax is chosen by draw()")
    return {
        "plot": name,
        "data": plain_data(_smaller(name, given), name),
        "title": title,
        "settings": plain_data(dict(settings or {}), f"settings of {name}"),
    }


def draw(
    *panels: Mapping[str, Any],
    columns: int | None = None,
    width: str = "column",
    ratio: float = 0.69,
    fraction: float = 1.0,
    share: str = "",
) -> Figure:
    """A figure of panels in rows, in the style in force; it remembers what it was drawn from (see `save`).

    Parameters
    ----------
    panels : one or more results of `panel`
    columns : int, optional
        Panels in a row; all in one row by default.
    width : "column" or "text"
        The style's width of one column, or of the whole text block.
    ratio : float
        Height over width of the figure.
    fraction : float
        Share of that width, in (0, 1].
    share : "", "x", "y" or "xy"
        Axes that all panels have in common.
    """
    if not panels:
        raise InputError("draw: expected at least one panel")
    return draw_again(
        {
            "panels": [dict(one) for one in panels],
            "columns": columns or len(panels),
            "width": width,
            "ratio": ratio,
            "fraction": fraction,
            "share": share,
        }
    )


def draw_again(drawing: Mapping[str, Any], style: str | None = None) -> Figure:
    """Draw what a figure remembers, in another style if one is named.

    Raises
    ------
    InputError
        For a drawing with missing or unknown parts: they come from files.
    """
    if style is not None:
        with styled(style):
            return draw_again(drawing)
    try:
        fig = _figure(drawing)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"this figure's data cannot be drawn: {type(error).__name__}: {error}") from error
    _drawn[fig] = dict(drawing)
    return fig


def drawing_of(fig: Figure) -> dict[str, Any] | None:
    """What `draw` made a figure from; None for a figure made in another way."""
    return _drawn.get(fig)


def molecule_grid(smiles: Sequence[str], captions: Sequence[str] | None = None, per_row: int = 4) -> Figure:
    """Draw molecules in rows, each over its caption (plain text: no caption is read as TeX).

    Raises
    ------
    InputError
        If captions and molecules differ in number, or there is nothing to draw.
    """
    captions = [""] * len(smiles) if captions is None else captions
    if not len(smiles) or len(captions) != len(smiles):
        raise InputError(f"{len(smiles)} molecules and {len(captions)} captions: expected as many, at least one")
    columns = min(per_row, len(smiles))
    rows = math.ceil(len(smiles) / columns)
    cells = [panel(molecule, text, caption) for text, caption in zip(smiles, captions, strict=True)]
    ratio, fraction = rows / columns, columns / per_row
    return draw(*cells, columns=columns, width="text", ratio=ratio, fraction=fraction)


def takes_axes(plot: Plot, data: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Whether a call of `plot` names Axes to draw on; `ax=None` and no `ax` are the same."""
    try:
        given = inspect.signature(plot).bind(*data, **options).arguments
    except TypeError as error:
        raise InputError(f"plot {plot.__name__}: {error}") from None
    return given.get("ax") is not None


def plain_data(value: Any, where: str = "data") -> Any:
    """Arrays, tables and numbers as what JSON can hold: numbers of six digits, None for NaN, a table as its columns.

    Raises
    ------
    InputError
        For anything else; `where` names it.
    """
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        columns = {str(name): plain_data(value[name].tolist(), f"{where}, column {name}") for name in value.columns}
        return {"table": columns, "index": plain_data(value.index.tolist(), f"{where}, index")}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain_data(item, f"{where}, {name}") for name, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain_data(item, where) for item in value]
    raise InputError(f"{where}: {type(value).__name__} is not data that a figure can be drawn from again")


def _smaller(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a plot shows of its arguments: bins instead of a million cosines, the used columns of a table."""
    if name == "similarity_histogram":
        found = given["similarities"].items()
        given["similarities"] = {
            key: value if isinstance(value, Mapping) else plots.binned(value) for key, value in found
        }
    if name == "count_histogram":
        counts = given["counts"].items()
        given["counts"] = {key: value if isinstance(value, Mapping) else plots.tallied(value) for key, value in counts}
    if name == "interval_plot":
        value = given["value"]
        given["table"] = given["table"][["arm", value, f"{value}_low", f"{value}_high"]]
    if name == "training_curves":
        used = dict.fromkeys(("arm", "epoch", given["x"], given["y"]))
        given["table"] = given["table"][list(used)]
    return given


def _figure(drawing: Mapping[str, Any]) -> Figure:
    cells, columns, share = drawing["panels"], int(drawing["columns"]), drawing["share"]
    fraction, ratio = float(drawing["fraction"]), float(drawing["ratio"])
    if drawing["width"] not in ("column", "text") or share not in _SHARED:
        raise InputError(f"width={drawing['width']!r}, share={share!r}: expected 'column' or 'text', and '' to 'xy'")
    if not (0 < fraction <= 1 and 0 < ratio <= 4 and 1 <= columns <= _PANELS and 1 <= len(cells) <= _PANELS):
        raise InputError(
            f"fraction={fraction}, ratio={ratio}, columns={columns}, {len(cells)} panels: expected (0, 1], (0, 4], "
            f"and 1 to {_PANELS} of the others"
        )
    wide = getattr(active_style(), drawing["width"]) * fraction
    fig, axes = plt.subplots(
        math.ceil(len(cells) / columns),
        columns,
        figsize=(wide, wide * ratio),
        squeeze=False,
        sharex="x" in share,
        sharey="y" in share,
    )
    try:
        for ax, cell in zip(axes.flat, cells, strict=False):
            _fill(ax, cell)
    except Exception:
        plt.close(fig)
        raise
    for ax in axes.flat[len(cells) :]:
        ax.axis("off")
    return fig


def _fill(ax: Axes, cell: Mapping[str, Any]) -> None:
    if cell["plot"] not in PLOTS:
        raise InputError(f"plot {cell['plot']!r}: expected one of {', '.join(PLOTS)}")
    PLOTS[cell["plot"]](ax=ax, **{name: _with_tables(value) for name, value in cell["data"].items()})
    if cell["title"]:
        ax.set_title(cell["title"])
    ax.set(**{name: value for name, value in cell["settings"].items() if name in _SETTINGS})


def _with_tables(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"table", "index"}:
        import pandas as pd

        return pd.DataFrame(value["table"], index=value["index"])
    return value
