"""Who is near a pair, in the texts, in the molecules, or in both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np

from class_kit.checks import check_whole
from class_kit.widgets.cards import card, row_of
from class_kit.widgets.parts import View, check_rows, toggles

if TYPE_CHECKING:
    from class_kit.pairs import PairSet

_SPACES = {"both": ("text", "molecule"), "text": ("text",), "molecule": ("molecule",)}


def neighbour_viewer(pairs: PairSet, t: np.ndarray, m: np.ndarray, show: int = 5) -> View:
    """Choose a pair and a space; see its nearest neighbours there with their descriptions.

    Parameters
    ----------
    pairs : PairSet of L pairs
    t : (L, d_t) float
    m : (L, d_m) float
    show : int
        Neighbours to show, at least 1.

    Raises
    ------
    InputError
        Where there are not as many texts, molecules and pairs.
    """
    check_rows({"pairs": pairs, "t": t, "m": m})
    check_whole("show", show, low=1)
    unit = {name: _unit(np.asarray(vectors)) for name, vectors in (("text", t), ("molecule", m))}
    row = widgets.IntSlider(value=0, min=0, max=len(pairs) - 1, description="pair")
    space = toggles("space", list(_SPACES))
    drawn = widgets.HTML()
    view = View(row, space, drawn)

    def update() -> None:
        near = np.mean([unit[name] @ unit[name][row.value] for name in _SPACES[space.value]], axis=0)
        others = [int(at) for at in np.argsort(-near, kind="stable")[: show + 1] if at != row.value][:show]
        cards = [card(pairs.smiles[row.value], ["this pair", pairs.id[row.value], pairs.text[row.value]])]
        cards += [card(pairs.smiles[at], [f"cosine {near[at]:.3f}", pairs.id[at], pairs.text[at]]) for at in others]
        drawn.value = row_of(cards)

    view.react(update, row, space)
    update()
    return view


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
