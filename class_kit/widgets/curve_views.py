"""Views of curves: design a schedule and see its cost, or compare intensities."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np

from class_kit import figures
from class_kit.checks import check_whole
from class_kit.curriculum import make_schedule
from class_kit.curriculum.intensity import INTENSITIES, make_intensity
from class_kit.curriculum.schedules import SHAPES
from class_kit.widgets.parts import Plot, View, beside, paragraph


def schedule_designer(pairs: int, epochs: int, batch_size: int = 128) -> View:
    """Set α, β, the shape and the epochs; see λ_k, what it costs, and the three lines that use it.

    Parameters
    ----------
    pairs, epochs, batch_size : int
        Those of the training to design a schedule for, each at least 1.
    """
    for name, value in (("pairs", pairs), ("epochs", epochs), ("batch_size", batch_size)):
        check_whole(name, value, low=1)
    start = widgets.FloatSlider(value=0.4, min=0.05, max=1.0, step=0.05, description="start α")
    growth = widgets.FloatSlider(value=0.03, min=0.0, max=0.2, step=0.005, description="growth β", readout_format=".3f")
    shape = widgets.Dropdown(options=list(SHAPES), description="shape")
    length = widgets.IntSlider(value=epochs, min=1, max=max(60, epochs), description="epochs")
    image, words = Plot(), widgets.HTML()
    # a text field and no static text: the keyboard can enter it, choose all and copy
    wide = widgets.Layout(width="100%", max_width="860px", height="6em")
    code = widgets.Textarea(description="code", layout=wide)
    view = View(beside(image, widgets.VBox([start, growth, shape, length])), words, code)

    def update() -> None:
        options = {} if shape.value == "full" else {"start": start.value, "growth": growth.value}
        schedule = make_schedule(shape.value, **options)
        curve = np.array([schedule(epoch) for epoch in range(1, length.value + 1)])
        image.show(figures.schedule_cost, curve)
        words.value = paragraph(cost_in_words(curve, pairs, batch_size))
        arguments = ", ".join([repr(shape.value), *(f"{name}={value:.4g}" for name, value in options.items())])
        code.value = schedule_lines(arguments, length.value, batch_size)

    return view.start(update, start, growth, shape, length)


def cost_in_words(curve: np.ndarray, pairs: int, batch_size: int) -> str:
    """Samples and steps of a schedule λ_k next to those of standard training, and whether it reaches all pairs."""
    counts = np.floor(curve * pairs + 0.5).astype(int)
    used, steps, standard = counts.sum(), np.sum(-(-counts // batch_size)), -(-pairs // batch_size) * len(counts)
    cost = f"{used:,} samples, {used / (pairs * len(counts)):.1%} of those of standard training; "
    cost += f"{steps:,} steps instead of {standard:,}. "
    if curve[-1] >= 1:
        return cost + f"All pairs are used from epoch {np.argmax(curve >= 1) + 1} on."
    return cost + f"{1 - counts[-1] / pairs:.0%} of the pairs are never trained on."


def schedule_lines(arguments: str, epochs: int, batch_size: int) -> str:
    """The lines that use a schedule, from the arguments of `make_schedule`."""
    return (
        f"plan = EpochPlan(order, schedule=make_schedule({arguments}), epochs={epochs})\n"
        f"sampler = CurriculumBatchSampler(plan, batch_size={batch_size})\n"
        "loader = DataLoader(dataset, batch_sampler=sampler)  # sampler.set_epoch(e) before each epoch"
    )


def intensity_comparer(epochs: int) -> View:
    """Choose intensities; see γ_k and how much of the full weight the epochs get.

    Parameters
    ----------
    epochs : int
        Initial value of the slider for the number of epochs, at least 2.
    """
    check_whole("epochs", epochs, low=2)
    named = widgets.SelectMultiple(options=INTENSITIES, value=("sigmoid", "inverse"), description="γ", rows=5)
    length = widgets.IntSlider(value=epochs, min=2, max=max(100, epochs), description="epochs")
    image, words = Plot(), widgets.HTML()
    view = View(beside(image, widgets.VBox([named, length])), words)

    def update() -> None:
        curves, lines = {}, []
        for name in named.value or ("constant",):
            gamma = make_intensity(name, length.value)
            curve = curves[name] = np.array([gamma(epoch) for epoch in range(1, length.value + 1)])
            lines.append(paragraph(intensity_in_words(name, curve)))
        image.show(figures.intensity_curves, curves)
        words.value = "".join(lines)

    return view.start(update, named, length)


def intensity_in_words(name: str, curve: np.ndarray) -> str:
    """Where a curve γ_k begins, its mean, and when it is nearly 1."""
    high = np.flatnonzero(curve >= 0.95)
    when = f"0.95 reached in epoch {high[0] + 1}" if len(high) else "0.95 never reached"
    return f"{name}: γ₁ = {curve[0]:.3f}, mean {curve.mean():.3f}, {when}"
