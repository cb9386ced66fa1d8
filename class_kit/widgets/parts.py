"""What the views share: callbacks whose errors are seen, pictures, bars, and buttons that leaf through rows."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FixedLocator, NullLocator

from class_kit import figures
from class_kit.figures.plots import bin_label
from class_kit.terminal import visible

Draw = Callable[[Axes], Any]

# inches of a view's picture
NARROW = (4.2, 2.9)
_DOTS_PER_INCH = 110
# Inches around the axes. Fixed, because finding them by layout takes as long as drawing the picture.
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.8, 0.14, 0.14, 0.48
# little compression: the picture goes to a browser beside the kernel, and time is what a slider has least of
_PNG: dict[str, Any] = {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 1}}
# share of the axes' height that slanted labels take
_SLANTED = 0.12


class View(widgets.VBox):
    """Controls and pictures below each other, and below them whatever a callback raised.

    A front end hides an exception of a callback in a log. Here it stays in the state of an output widget until a
    callback succeeds, where a reader sees it and an executed notebook can be searched for it, and goes on to whoever
    moved the control: set by code, the code stops.
    """

    def __init__(self, *children: widgets.Widget) -> None:
        self.fault = widgets.Output()
        super().__init__([*children, self.fault])
        self.add_class("class-kit-view")

    def react(self, update: Callable[[], Any], *controls: widgets.Widget) -> None:
        """Call `update` when the value of a control changes or a button is pressed."""

        def guarded(_: Any) -> None:
            try:
                update()
            except Exception as error:
                self.fault.outputs = (_as_output(error),)
                raise
            self.fault.outputs = ()

        for control in controls:
            if isinstance(control, widgets.Button):
                control.on_click(guarded)
            else:
                control.observe(guarded, "value")


def _as_output(error: Exception) -> dict[str, Any]:
    """An exception as a notebook keeps it; what data put into its message is made visible."""
    lines = traceback.format_exception(*sys.exc_info())
    return {
        "output_type": "error",
        "ename": type(error).__name__,
        "evalue": visible(error),
        "traceback": [visible(line.rstrip("\n")) for line in lines],
    }


class Plot(widgets.Image):
    """A picture of one Axes, 100 pixels an inch."""

    def __init__(self, size: tuple[float, float]) -> None:
        self.size = size
        # without a width it would fill the page
        layout = widgets.Layout(width=f"{100 * size[0]:.0f}px", max_width="100%", object_fit="contain")
        super().__init__(format="png", layout=layout)

    def draw(self, draw: Draw) -> None:
        """Replace the picture by what `draw` puts on an Axes."""
        self.value = picture(draw, self.size)


class MarkedPlot(Plot):
    """A picture that is drawn once; only a vertical line moves on it, below the legend."""

    def __init__(self, draw: Draw, size: tuple[float, float]) -> None:
        super().__init__(size)
        with figures.styled("notebook"):
            self.canvas, self.axes = _paper(size)
            draw(self.axes)
            self.line = self.axes.axvline(self.axes.get_xlim()[0], color="0.35", linewidth=1)
            legend = self.axes.get_legend()
            self.over = [self.line] if legend is None else [self.line, legend]
            for artist in self.over:
                artist.set_animated(True)
            self.canvas.draw()
            self.below = self.canvas.copy_from_bbox(self.canvas.figure.bbox)

    def mark(self, at: float) -> None:
        """Move the line to `at`."""
        with figures.styled("notebook"):
            self.canvas.restore_region(self.below)
            self.line.set_xdata([at, at])
            for artist in self.over:
                self.axes.draw_artist(artist)
            stream = io.BytesIO()
            imsave(stream, self.canvas.buffer_rgba(), format="png", dpi=_DOTS_PER_INCH, **_PNG)
        self.value = stream.getvalue()


def picture(draw: Draw, size: tuple[float, float] = NARROW) -> bytes:
    """PNG of what `draw` puts on an Axes of `size` inches; no window, no global figure."""
    with figures.styled("notebook"):
        canvas, axes = _paper(size)
        draw(axes)
        stream = io.BytesIO()
        # not `savefig`, which draws everything twice to learn its size
        canvas.print_png(stream, **_PNG)
    return stream.getvalue()


def _paper(size: tuple[float, float]) -> tuple[FigureCanvasAgg, Axes]:
    """An Axes on a figure of its own, and what draws it."""
    width, height = size
    fig = Figure(figsize=size, dpi=_DOTS_PER_INCH)
    fig.set_layout_engine("none")
    inside = (width - _LEFT - _RIGHT) / width, (height - _TOP - _BOTTOM) / height
    return FigureCanvasAgg(fig), fig.add_axes((_LEFT / width, _BOTTOM / height, *inside))


def toggles(description: str, options: Sequence[Any]) -> widgets.ToggleButtons:
    """Buttons of which one is down, as wide as their words, on one line with their name."""
    line = widgets.Layout(width="100%", display="flex")
    style = {"button_width": "auto", "description_width": "82px"}
    return widgets.ToggleButtons(options=options, description=description, style=style, layout=line)


class Pages(widgets.HBox):
    """Two buttons that leaf through rows, a page at a time, and words that say where one is.

    After the last page comes the first: a button that switched itself off would drop the keyboard's focus.
    """

    def __init__(self, size: int, what: str) -> None:
        self.size, self.what = size, what
        self.rows: np.ndarray = np.zeros(0, np.int64)
        self.first = 0
        self.back = widgets.Button(description="previous", layout=widgets.Layout(width="auto"))
        self.forth = widgets.Button(description="next", layout=widgets.Layout(width="auto"))
        self.words = widgets.HTML()
        super().__init__([self.back, self.forth, self.words])

    @property
    def shown(self) -> np.ndarray:
        """The rows of the present page."""
        return self.rows[self.first : self.first + self.size]

    def fill(self, rows: np.ndarray) -> None:
        """Take other rows and go to their first page."""
        self.rows = np.asarray(rows)
        self.turn(-self.first)

    def turn(self, by: int) -> None:
        """Move by so many rows, from the end to the beginning and back."""
        starts = range(0, max(1, len(self.rows)), self.size)
        self.first = starts[(self.first + by) // self.size % len(starts)]
        last = min(self.first + self.size, len(self.rows))
        where = f"{self.first + 1:,}–{last:,} of {len(self.rows):,} {self.what}"
        self.words.value = where if len(self.rows) else f"no {self.what}"


def leaf(view: View, pages: Pages, draw: Callable[[], None]) -> None:
    """Let the buttons of `pages` turn them in `view` and `draw` what is on the page."""

    def turned(by: int) -> Callable[[], None]:
        def turn() -> None:
            pages.turn(by)
            draw()

        return turn

    view.react(turned(-pages.size), pages.back)
    view.react(turned(pages.size), pages.forth)


def share_bars(ax: Axes, bins: Sequence[tuple[int, int]], everything: np.ndarray, chosen: np.ndarray) -> Axes:
    """How many of `everything` fall into each bin, outlined, and how many of `chosen`, filled.

    Parameters
    ----------
    bins : [low, high] of each, ascending
    everything, chosen : (n,) and (k,) int or float
    """
    places = np.arange(len(bins))
    edges = [*(low for low, _ in bins), bins[-1][1] + 1]
    ax.bar(places, np.histogram(chosen, edges)[0], 0.8, color=figures.PALETTE[0])
    ax.bar(places, np.histogram(everything, edges)[0], 0.8, fill=False, edgecolor="0.35", linewidth=1)
    ax.set(xticks=places, yscale="symlog", xlim=(-0.6, len(bins) - 0.4))
    ax.set_xticklabels([bin_label(*limits) for limits in bins])
    if len(bins) > 6:
        for label in ax.get_xticklabels():
            label.set(rotation=30, rotation_mode="anchor", ha="right", fontsize=7)
        box = ax.get_position()
        ax.set_position((box.x0, box.y0 + _SLANTED * box.height, box.width, (1 - _SLANTED) * box.height))
    # set by hand: finding good places for ticks on this axis is half of the time of the picture
    powers = [0, *(10**power for power in range(len(str(len(everything)))))]
    ax.yaxis.set_major_locator(FixedLocator(powers))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_yticklabels([f"{power:,}" for power in powers])
    ax.set_ylim(0, max(2, 1.6 * len(everything)))
    ax.grid(visible=False, axis="x")
    return ax


def check_rows(named: dict[str, Any]) -> None:
    """Refuse things of different lengths, naming each."""
    from class_kit.errors import InputError

    lengths = {name: len(value) for name, value in named.items()}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"{found}: expected as many rows of each, at least one")
