"""Intensities beside each other."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np

from class_kit import figures
from class_kit.checks import check_whole
from class_kit.curriculum.intensity import INTENSITIES, make_intensity
from class_kit.widgets.cards import paragraph
from class_kit.widgets.parts import NARROW, Plot, View


def intensity_comparer(epochs: int) -> View:
    """Choose intensities; see γ_k, and how much of the full weight the epochs get.

    Parameters
    ----------
    epochs : int
        Where the slider of the epochs stands at first, at least 2.
    """
    check_whole("epochs", epochs, low=2)
    named = widgets.SelectMultiple(options=INTENSITIES, value=("sigmoid", "inverse"), description="γ", rows=5)
    length = widgets.IntSlider(value=epochs, min=2, max=max(100, epochs), description="epochs")
    image, words = Plot(NARROW), widgets.HTML()
    controls = widgets.VBox([named, length])
    view = View(widgets.HBox([image, controls], layout=widgets.Layout(flex_flow="row wrap")), words)

    def update() -> None:
        curves = {}
        for name in named.value or ("constant",):
            curve = make_intensity(name, length.value)
            curves[name] = [curve(epoch) for epoch in range(1, length.value + 1)]
        image.draw(lambda ax: figures.intensity_curves(curves, ax))
        words.value = "".join(paragraph(_in_words(name, np.array(values))) for name, values in curves.items())

    view.react(update, named, length)
    update()
    return view


def _in_words(name: str, values: np.ndarray) -> str:
    near = np.flatnonzero(values >= 0.95)
    full = f"0.95 reached in epoch {near[0] + 1}" if len(near) else "0.95 never reached"
    return f"{name}: γ₁ = {values[0]:.3f}, mean {values.mean():.3f}, {full}"
