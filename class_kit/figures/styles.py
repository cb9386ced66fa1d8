"""How figures look, by where they are shown: a notebook, a paper's column, a slide.

A style fixes widths, sizes of type and lines, and nothing of what is drawn, so that one recorded figure serves all
of them. The fonts come with matplotlib: the same call gives the same picture on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import seaborn as sns
from cycler import cycler

from class_kit.errors import InputError
from class_kit.terminal import one_line

PALETTE = sns.color_palette("colorblind")

_COMMON: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": "small",
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    # Type 42 embeds the fonts whole, which publishers ask for and Type 3 does not satisfy.
    "pdf.fonttype": 42,
    "svg.hashsalt": "class_kit",
    # whatever a user's own matplotlibrc says: labels hold text from files, which must not reach a TeX program
    "text.usetex": False,
    "axes.prop_cycle": cycler(color=PALETTE),
}


@dataclass(frozen=True)
class Style:
    """Widths in inches of one column and of the whole text block, and the sizes of type and lines in points."""

    name: str
    column: float
    text: float
    font: tuple[str, ...]
    size: float
    line: float
    marker: float
    mathematics: str = "dejavusans"

    def parameters(self) -> dict[Any, Any]:
        """The style as matplotlib's rcParams."""
        return _COMMON | {
            "font.family": list(self.font),
            "font.size": self.size,
            "mathtext.fontset": self.mathematics,
            "lines.linewidth": self.line,
            "lines.markersize": self.marker,
            "axes.linewidth": 0.5 * self.line,
            "grid.linewidth": 0.4 * self.line,
            "xtick.major.width": 0.5 * self.line,
            "ytick.major.width": 0.5 * self.line,
            "hatch.linewidth": 0.5 * self.line,
            "figure.dpi": 85,
        }


# ACL's columns are 7.7 and 16.0 cm, Nature's 89 and 183 mm with type of 5 to 7 points. Nature asks for Helvetica or
# Arial, which not every machine has; DejaVu Sans stands in, so that a figure does not change with the machine.
STYLES = {
    style.name: style
    for style in (
        Style("notebook", 4.2, 6.8, ("DejaVu Sans",), 9, 1.5, 4),
        Style("acl", 3.03, 6.30, ("STIXGeneral", "DejaVu Sans"), 8.5, 1.0, 3, "stix"),
        Style("nature", 3.50, 7.20, ("DejaVu Sans",), 6.5, 0.9, 2.8),
        Style("slides", 6.0, 12.0, ("DejaVu Sans",), 16, 2.5, 7),
    )
}
_active = STYLES["notebook"]


def find_style(name: str) -> Style:
    """The style called `name`; an error names those there are."""
    if name not in STYLES:
        raise InputError(f"style {name!r}: expected one of {', '.join(STYLES)}")
    return STYLES[name]


def use_style(name: str = "notebook") -> None:
    """Draw all figures that follow in this style; call it once at the top of a notebook.

    Tables shown from then on take text from data as text: pandas' styled tables would pass on its markup, and a
    notebook's equations would be made of its dollar signs.

    Raises
    ------
    InputError
        For an unknown name.
    """
    import pandas as pd

    global _active
    _active = find_style(name)
    # a reader's own matplotlibrc would otherwise show in figures that are to be the same everywhere
    mpl.rcdefaults()
    mpl.rcParams.update(_active.parameters())
    pd.set_option("styler.format.escape", "html")
    pd.set_option("styler.html.mathjax", False)
    pd.set_option("display.html.use_mathjax", False)


def as_text(value: object, most: int = 60) -> str:
    """Text from data as a label: at most so many characters, none of which is read as an equation or obeyed."""
    text = one_line(value, most).replace("$", r"\$")
    # a legend leaves out what begins with an underscore
    return f" {text}" if text.startswith("_") else text


def active_style() -> Style:
    """The style that `use_style` or `styled` chose last."""
    return _active


@contextmanager
def styled(name: str) -> Iterator[Style]:
    """Draw in another style inside a `with` block; what was in force before is in force again after it."""
    global _active
    before, chosen = _active, find_style(name)
    with mpl.rc_context(chosen.parameters()):
        _active = chosen
        try:
            yield chosen
        finally:
            _active = before
