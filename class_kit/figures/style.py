"""How figures look, by where they are shown: a notebook, a paper's column, a slide.

A style is a Matplotlib style sheet in `styles/` and two widths. It fixes sizes of type and lines and nothing of what is
drawn. The fonts come with Matplotlib: the same call gives the same picture on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns

from class_kit.errors import InputError
from class_kit.terminal import one_line

PALETTE = sns.color_palette("colorblind")
# Widths in inches of one column and of the whole text block.
STYLES = {
    "notebook": {"column": 4.2, "text": 6.8},
    "acl": {"column": 3.03, "text": 6.30},
    "nature": {"column": 3.50, "text": 7.20},
    "slides": {"column": 6.0, "text": 12.0},
}
_active = "notebook"


def use_style(name: str = "notebook") -> None:
    """Draw all figures that follow in this style; call it once at the top of a notebook.

    Tables shown from then on show text from data as text: pandas' styled tables would pass on its markup, and a
    notebook's equations would be made of its dollar signs.

    Raises
    ------
    InputError
        For an unknown name.
    """
    import pandas as pd

    global _active
    chosen = _parameters(name)
    # a reader's own matplotlibrc would otherwise show in figures that are to be the same everywhere
    mpl.rcdefaults()
    mpl.rcParams.update(chosen)
    _active = name
    pd.set_option("styler.format.escape", "html")
    pd.set_option("styler.html.mathjax", False)
    pd.set_option("display.html.use_mathjax", False)


@contextmanager
def styled(name: str) -> Iterator[None]:
    """Draw in another style inside a `with` block; what was in force before is in force again after it."""
    global _active
    before = _active
    with mpl.rc_context(_parameters(name)):
        _active = name
        try:
            yield
        finally:
            _active = before


def active_style() -> str:
    """Name of the style that `use_style` or `styled` chose last."""
    return _active


def as_text(value: object, most: int = 60) -> str:
    """Text from data as a label: at most so many characters, none of which is read as an equation or obeyed."""
    text = one_line(value, most).replace("$", r"\$")
    # a legend leaves out what begins with an underscore
    return f" {text}" if text.startswith("_") else text


@cache
def _parameters(name: str) -> dict[Any, Any]:
    if name not in STYLES:
        raise InputError(f"style {name!r}: expected one of {', '.join(STYLES)}")
    sheets = (Path(__file__).parent / "styles" / f"{sheet}.mplstyle" for sheet in ("common", name))
    return {key: value for sheet in sheets for key, value in mpl.rc_params_from_file(sheet, False, False).items()}
