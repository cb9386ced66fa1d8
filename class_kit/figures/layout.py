"""Lay out and save figures: styles, panels in a figure of the style's width, and files.

A style is a Matplotlib style sheet in `styles/` and two widths. It sets font and line sizes, not content. The fonts
come with Matplotlib: the same call gives the same picture on every machine. A figure is `draw(panel(plot, data…), …)`,
saved with the parameters that regenerate it.
"""

from __future__ import annotations

import math
import os
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from class_kit.checks import check_choice
from class_kit.errors import InputError
from class_kit.files import atomic_write, write_json
from class_kit.terminal import one_line

# Widths in inches of one column and of the whole text block.
STYLES = {
    "notebook": {"column": 4.2, "text": 6.8},
    "acl": {"column": 3.03, "text": 6.30},
    "nature": {"column": 3.50, "text": 7.20},
    "slides": {"column": 6.0, "text": 12.0},
}
_active = "notebook"
# Dates and versions are left out, so that equal figures are equal bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}


def use_style(name: str = "notebook") -> None:
    """Draw all following figures in this style; call it once at the top of a notebook.

    It also makes tables show text from data as plain text: pandas' styled tables would otherwise pass on markup, and
    dollar signs would be read as equations.

    Parameters
    ----------
    name : str
        One of `STYLES`.

    Raises
    ------
    InputError
        For an unknown name.
    """
    import pandas as pd

    global _active
    chosen = style_parameters(name)
    # figures must be the same everywhere, whatever the user's matplotlibrc says
    mpl.rcdefaults()
    mpl.rcParams.update(chosen)
    _active = name
    pd.set_option("styler.format.escape", "html")
    pd.set_option("styler.html.mathjax", False)
    pd.set_option("display.html.use_mathjax", False)


@cache
def style_parameters(name: str) -> dict[Any, Any]:
    """Matplotlib's settings of a style."""
    check_choice("style", name, STYLES)
    sheets = (Path(__file__).parent / "styles" / f"{sheet}.mplstyle" for sheet in ("common", name))
    return {key: value for sheet in sheets for key, value in mpl.rc_params_from_file(sheet, False, False).items()}


# seaborn's palette "colorblind" as the style sheet has it: importing seaborn would take most of a second
PALETTE = [to_rgb(colour) for colour in style_parameters("notebook")["axes.prop_cycle"].by_key()["color"]]


def as_text(value: object, most: int = 60) -> str:
    """Text from data as a label: at most so many characters, none of which is read as an equation or obeyed.

    What the fonts in force cannot draw, such as Chinese or an emoji, is shown by its code point: figures take no font
    from the machine, so that they are the same everywhere, and a box would tell nothing.
    """
    drawable = _drawable(tuple(mpl.rcParams["font.family"]))
    letters = (letter if ord(letter) in drawable else ascii(letter)[1:-1] for letter in one_line(value))
    text = one_line("".join(letters), most).replace("$", r"\$")
    # a legend leaves out what begins with an underscore
    return f" {text}" if text.startswith("_") else text


@cache
def _drawable(families: tuple[str, ...]) -> frozenset[int]:
    """The code points for which one of the fonts has a picture."""
    # a name alone would be read as a pattern, in which "sans-serif" has no meaning
    properties = (font_manager.FontProperties(family=[family]) for family in families)
    fonts = (font_manager.get_font(font_manager.findfont(each)) for each in properties)
    return frozenset(code for font in fonts for code in font.get_charmap())


def panel(
    plot: Callable[..., Any], *data: Any, title: str = "", settings: Mapping[str, Any] | None = None, **options: Any
) -> Callable[[Axes], Axes]:
    """One plot with its data, for `draw`, as a function of the Axes alone.

    Parameters
    ----------
    plot : callable
        A function that draws on its argument `ax`: one of this package, or one of your own.
    data, options
        The plot's own arguments, without `ax`.
    title : str
        Distinguishes this panel from the others in a figure; the figure as a whole has a caption instead.
    settings : mapping, optional
        `xlabel`, `yscale`, `xlim` and the like, set on the Axes after drawing.
    """

    def fill(ax: Axes) -> Axes:
        plot(*data, ax=ax, **options)
        if title:
            ax.set_title(title)
        ax.set(**(settings or {}))
        return ax

    return fill


def draw(
    *panels: Callable[[Axes], Any],
    columns: int | None = None,
    width: str = "column",
    ratio: float = 0.69,
    fraction: float = 1.0,
    share: str = "",
) -> Figure:
    """Draw panels in rows as one figure, in the current style.

    Parameters
    ----------
    panels : results of `panel`
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

    Raises
    ------
    InputError
        No panel, or an unknown width or share.
    """
    widths = STYLES[_active]
    check_choice("width", width, widths)
    check_choice("share", share, ("", "x", "y", "xy"))
    if not panels:
        raise InputError("0 panels: expected at least one")
    columns = columns or len(panels)
    rows, wide = math.ceil(len(panels) / columns), widths[width] * fraction
    size = (wide, wide * ratio)
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharex="x" in share, sharey="y" in share)
    for ax, fill in zip(axes.flat, panels, strict=False):
        fill(ax)
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    return fig


def own_axes(width: str = "column", ratio: float = 0.69) -> Axes:
    """New Axes on their own figure, for a plot that is not given any."""
    return draw(lambda ax: ax, width=width, ratio=ratio).axes[0]


def show(fig: Figure) -> None:
    """Show a figure in a notebook as vector graphics, and close it.

    A bitmap goes with it for notebooks that are not trusted, of which JupyterLab shows no vector graphics.
    """
    from IPython.core.pylabtools import print_figure
    from IPython.display import display

    vector = print_figure(fig, "svg", metadata={"Date": None, "Creator": None})
    # coordinates to a tenth of a point are as good; with the space between elements, they are half of the bytes
    vector = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), " ".join(vector.split()))
    bitmap = b64encode(print_figure(fig, "png")).decode()
    display({"image/svg+xml": vector, "image/png": bitmap, "text/plain": repr(fig)}, raw=True)
    plt.close(fig)


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
    write_json(folder / f"{name}.json", {"figure": name, "parameters": dict(parameters), "style": _active})
    return folder / f"{name}.png"
