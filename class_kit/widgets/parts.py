"""Parts shared by the views: callbacks with visible errors, pictures, cards of molecules, and pages of cards."""

from __future__ import annotations

import base64
import io
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from html import escape
from typing import Any

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from class_kit import figures
from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.terminal import visible

# Inches of a picture, and around its axes: fixed, because finding margins by layout takes as long as drawing.
_WIDTH, _HEIGHT = 4.2, 2.9
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.8, 0.14, 0.14, 0.48
# share of the axes' height that slanted labels take
_SLANTED = 0.12
# pixels of a molecule's drawing, and its width in a card
_DRAWN, _SHOWN = (240, 180), 170
# a text longer than this is scrolled, so that one pair cannot push the others off the screen
_TEXT = "font-size:12px;line-height:1.35;max-height:13.5em;overflow:auto;overflow-wrap:anywhere"


class View(widgets.VBox):
    """Controls and pictures in a column, and below them any error of a callback.

    A front end hides an exception of a callback in a log. Here it stays in an output widget until a callback succeeds,
    where a reader sees it and an executed notebook can be searched for it. It is also raised to the caller, so that
    code which sets a control stops.
    """

    def __init__(self, *children: widgets.Widget) -> None:
        self.fault = widgets.Output()
        super().__init__([*children, self.fault])
        self.add_class("class-kit-view")
        for pages in (child for child in children if isinstance(child, Pages)):
            self.react(partial(pages.turn, -1), pages.back)
            self.react(partial(pages.turn, 1), pages.forth)

    def start(self, update: Callable[[], Any], *controls: widgets.Widget) -> View:
        """Call `update` now and whenever one of the controls changes; return the view."""
        self.react(update, *controls)
        update()
        return self

    def react(self, update: Callable[[], Any], *controls: widgets.Widget) -> None:
        """Call `update` when the value of a control changes or a button is pressed."""

        def guarded(_: Any) -> None:
            try:
                update()
            except Exception as error:
                # in the notebook's output format, with control characters in the message made visible
                lines = [visible(line.rstrip("\n")) for line in traceback.format_exception(error)]
                name, message = type(error).__name__, visible(error)
                self.fault.outputs = ({"output_type": "error", "ename": name, "evalue": message, "traceback": lines},)
                raise
            self.fault.outputs = ()

        for control in controls:
            if isinstance(control, widgets.Button):
                control.on_click(guarded)
            else:
                control.observe(guarded, "selected_index" if isinstance(control, widgets.Tab) else "value")


def tabs(views: Mapping[str, Callable[[], widgets.Widget]]) -> View:
    """Views by title, each made when its tab is first opened, so that the first one does not wait for the others.

    On a narrow page the titles take several lines.
    """
    places = [widgets.VBox() for _ in views]
    tab = widgets.Tab(places, titles=list(views))
    tab.add_class("class-kit-tabs")
    titles = ".class-kit-tabs > .lm-TabBar"
    # and a toggle's description is not cut off there
    style = f"""<style>
        {titles}, {titles} > ul {{max-height: none; height: auto; flex-wrap: wrap}}
        {titles} li, .class-kit-tabs .widget-label {{flex: 0 0 auto}}
    </style>"""

    def open_tab() -> None:
        place, make = places[tab.selected_index], list(views.values())[tab.selected_index]
        if not place.children:
            place.children = (widgets.HTML("being made …"),)
            try:
                place.children = (make(),)
            except BaseException:
                # opened again, it is tried again
                place.children = ()
                raise

    return View(widgets.HTML(style), tab).start(open_tab, tab)


class Plot(widgets.Image):
    """A picture of one Axes, 100 pixels per inch."""

    def __init__(self) -> None:
        # without a width it would fill the page
        layout = widgets.Layout(width=f"{100 * _WIDTH:.0f}px", max_width="100%", object_fit="contain")
        super().__init__(format="png", layout=layout)

    def show(self, plot: Callable[..., Axes], *data: Any) -> None:
        """Replace the picture by a plot of `class_kit.figures` with its data."""
        self.value = picture(figures.panel(plot, *data))


def picture(draw: Callable[[Axes], Any]) -> bytes:
    """PNG of what `draw` puts on an Axes, in the notebook style, without a window or a global figure."""
    with mpl.rc_context(figures.style_parameters("notebook")):
        fig = Figure(figsize=(_WIDTH, _HEIGHT), dpi=110)
        fig.set_layout_engine("none")
        inside = (_WIDTH - _LEFT - _RIGHT) / _WIDTH, (_HEIGHT - _TOP - _BOTTOM) / _HEIGHT
        axes = fig.add_axes((_LEFT / _WIDTH, _BOTTOM / _HEIGHT, *inside))
        draw(axes)
        if axes.xaxis.get_tick_params().get("rotation"):
            x, y, width, height = axes.get_position().bounds
            axes.set_position((x, y + _SLANTED * height, width, (1 - _SLANTED) * height))
        stream = io.BytesIO()
        # not `savefig`, which draws everything twice to find its size, and little compression: the browser is usually
        # on the same machine, and a slider has to respond quickly
        FigureCanvasAgg(fig).print_png(stream, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    return stream.getvalue()


def beside(*parts: widgets.Widget) -> widgets.HBox:
    """Parts side by side, wrapped onto as many lines as needed."""
    return widgets.HBox(parts, layout=widgets.Layout(flex_flow="row wrap"))


def toggles(description: str, options: Sequence[Any]) -> widgets.ToggleButtons:
    """Toggle buttons as wide as their labels, on one line with their description."""
    line = widgets.Layout(width="100%", display="flex")
    style = {"button_width": "auto", "description_width": "82px"}
    return widgets.ToggleButtons(options=options, description=description, style=style, layout=line)


def safe(text: object) -> str:
    """Text from data for HTML: markup becomes text, control and direction characters become visible."""
    return escape(visible(text), quote=True)


def paragraph(text: object, style: str = "") -> str:
    """One escaped paragraph; `style` is the kit's own CSS."""
    return f'<div style="line-height:1.4;margin:4px 0;{style}">{safe(text)}</div>'


def card(smiles: str, lines: Sequence[object]) -> str:
    """A drawing above lines of text, the first in bold."""
    image = f'<img alt="{safe(smiles)}" title="{safe(smiles)}" src="{_drawing(smiles)}" width="{_SHOWN}">'
    first, *rest = lines
    words = f"<b>{safe(first)}</b>" + "".join(f"<div>{safe(line)}</div>" for line in rest)
    # RDKit draws black on white, whatever theme the page has
    frame = f"width:{_SHOWN}px;background:#fff;border:1px solid #bbb;margin-bottom:3px"
    inside = f'<div style="{frame}">{image}</div><div style="{_TEXT}">{words}</div>'
    return f'<div style="width:{_SHOWN + 2}px">{inside}</div>'


def pair_card(pairs: Any, row: int, heading: object, *lines: object) -> str:
    """A card of one pair: a heading, its name or id, further lines, and its text, if it has one."""
    texts = [pairs.text[row]] if pairs.text[row] else []
    return card(pairs.smiles[row], [heading, pairs.label[row], *lines, *texts])


def row_of(cards: Iterable[str]) -> str:
    """Cards side by side, wrapped onto as many lines as needed."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px">{"".join(cards)}</div>'


@lru_cache(maxsize=512)
def _drawing(smiles: str) -> str:
    data = base64.b64encode(figures.molecule_png(smiles, _DRAWN)).decode("ascii")
    return f"data:image/png;base64,{data}"


class Pages(widgets.VBox):
    """Rows as HTML, one page at a time: buttons to turn pages, the position, and the page.

    After the last page comes the first: a button that disabled itself would lose the keyboard focus.

    Parameters
    ----------
    size : int
        Rows on a page, at least 1.
    what : str
        What the rows are, for the words.
    page : callable
        The HTML of some rows.
    """

    def __init__(self, size: int, what: str, page: Callable[[np.ndarray], str]) -> None:
        self.size, self.what, self.page = check_whole("show", size, low=1), what, page
        self.rows, self.first = np.zeros(0, np.int64), 0
        # on a narrow page the words give way, not the buttons
        whole = widgets.Layout(width="auto", flex="0 0 auto")
        self.back, self.forth = (widgets.Button(description=name, layout=whole) for name in ("previous", "next"))
        self.words, self.shown = widgets.HTML(), widgets.HTML()
        super().__init__([widgets.HBox([self.back, self.forth, self.words]), self.shown])

    def fill(self, rows: np.ndarray) -> None:
        """Show other rows, from their first page."""
        self.rows, self.first = rows, 0
        self.turn(0)

    def turn(self, by: int) -> None:
        """Move by a number of pages, wrapping around at both ends."""
        starts = range(0, max(1, len(self.rows)), self.size)
        self.first = starts[(self.first // self.size + by) % len(starts)]
        last = min(self.first + self.size, len(self.rows))
        where = f"{self.first + 1:,}–{last:,} of {len(self.rows):,} {self.what}"
        self.words.value = where if len(self.rows) else f"no {self.what}"
        self.shown.value = self.page(self.rows[self.first : last])


def check_rows(**named: Any) -> None:
    """Refuse arguments of different lengths, naming each."""
    lengths = {name: len(value) for name, value in named.items()}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        given = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"{given} rows: expected equal numbers, at least one")
