"""Molecules as cards: a drawing over its words, all text escaped."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import lru_cache
from html import escape

import ipywidgets as widgets

from class_kit import figures
from class_kit.terminal import visible

_DRAWN = (240, 180)
_SHOWN = 170
# a text longer than this is scrolled, so that one pair cannot push the others off the screen
_TEXT = "font-size:12px;line-height:1.35;max-height:13.5em;overflow:auto;overflow-wrap:anywhere"


def safe(text: object) -> str:
    """Text from data for HTML: markup becomes text, control and direction characters become visible."""
    return escape(visible(text), quote=True)


def paragraph(text: object, style: str = "") -> str:
    """One escaped paragraph; `style` is the kit's own CSS."""
    return f'<div style="line-height:1.4;margin:4px 0;{style}">{safe(text)}</div>'


def card(smiles: str, lines: Sequence[object]) -> str:
    """A drawing over lines of words; the first is set in bold."""
    image = f'<img alt="{safe(smiles)}" title="{safe(smiles)}" src="{_drawing(smiles)}" width="{_SHOWN}">'
    first, *rest = lines
    words = f"<b>{safe(first)}</b>" + "".join(f"<div>{safe(line)}</div>" for line in rest)
    # RDKit draws black on white, whatever theme the page has
    frame = f"width:{_SHOWN}px;background:#fff;border:1px solid #bbb;margin-bottom:3px"
    inside = f'<div style="{frame}">{image}</div><div style="{_TEXT}">{words}</div>'
    return f'<div style="width:{_SHOWN + 2}px">{inside}</div>'


def row_of(cards: Sequence[str]) -> str:
    """Cards side by side, on as many lines as they need."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px">{"".join(cards)}</div>'


@lru_cache(maxsize=512)
def _drawing(smiles: str) -> str:
    data = base64.b64encode(figures.molecule_png(smiles, _DRAWN)).decode("ascii")
    return f"data:image/png;base64,{data}"


class Gallery(widgets.Box):
    """Cards with a button each; `chosen` is called with the row whose button is pressed.

    The places are made once and filled anew: making widgets costs more than drawing molecules.
    """

    def __init__(self, places: int, action: str) -> None:
        self.rows: list[int] = []
        self.cards = [widgets.HTML() for _ in range(places)]
        wide = widgets.Layout(width="auto")
        self.buttons = [widgets.Button(description=action, layout=wide) for _ in range(places)]
        boxes = [widgets.VBox(pair) for pair in zip(self.cards, self.buttons, strict=True)]
        super().__init__(boxes, layout=widgets.Layout(flex_flow="row wrap", grid_gap="12px"))

    def fill(self, rows: Sequence[int], card_of: Callable[[int, int], str]) -> None:
        """Show rows, the card of each from `card_of(place, row)`; places left over disappear."""
        self.rows = list(rows)[: len(self.cards)]
        for place, box in enumerate(self.children):
            here = place < len(self.rows)
            box.layout.display = None if here else "none"
            self.cards[place].value = card_of(place, self.rows[place]) if here else ""
