"""A schedule by hand: its curve, what it costs, and the code that uses it."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes

from class_kit import figures
from class_kit.checks import check_whole
from class_kit.curriculum import make_schedule
from class_kit.curriculum.schedules import SHAPES
from class_kit.widgets.cards import paragraph
from class_kit.widgets.parts import NARROW, Plot, View


def schedule_designer(pairs: int, epochs: int, batch_size: int = 128) -> View:
    """Set α, β, the shape and the epochs; see λ_k, what it costs, and the three lines that use it.

    Parameters
    ----------
    pairs, epochs, batch_size : int
        Of the training whose schedule is designed, each at least 1.
    """
    for name, value in (("pairs", pairs), ("epochs", epochs), ("batch_size", batch_size)):
        check_whole(name, value, low=1)
    start = widgets.FloatSlider(value=0.4, min=0.05, max=1.0, step=0.05, description="start α")
    growth = widgets.FloatSlider(value=0.03, min=0.0, max=0.2, step=0.005, description="growth β", readout_format=".3f")
    shape = widgets.Dropdown(options=list(SHAPES), description="shape")
    length = widgets.IntSlider(value=epochs, min=1, max=max(60, epochs), description="epochs")
    image, words = Plot(NARROW), widgets.HTML()
    # a text field and no static text: the keyboard can enter it, choose all and copy
    wide = widgets.Layout(width="100%", max_width="860px", height="6em")
    code = widgets.Textarea(description="code", layout=wide)
    controls = widgets.VBox([start, growth, shape, length])
    view = View(widgets.HBox([image, controls], layout=widgets.Layout(flex_flow="row wrap")), words, code)

    def update() -> None:
        options = {} if shape.value == "full" else {"start": start.value, "growth": growth.value}
        schedule = make_schedule(shape.value, **options)
        curve = np.array([schedule(epoch) for epoch in range(1, length.value + 1)])
        image.draw(lambda ax: _curve(ax, curve))
        counts = np.floor(curve * pairs + 0.5).astype(int)
        words.value = paragraph(_cost(counts, pairs, batch_size) + _warning(curve, counts, pairs))
        code.value = _lines(shape.value, options, length.value, batch_size)

    view.react(update, start, growth, shape, length)
    update()
    return view


def _curve(ax: Axes, curve: np.ndarray) -> None:
    epochs = np.arange(1, len(curve) + 1)
    ax.bar(epochs, curve, 1.0, color=figures.PALETTE[0], alpha=0.25, label="samples used")
    ax.step(epochs, curve, where="mid", color=figures.PALETTE[0], label=r"fraction $\lambda_k$")
    ax.set(xlabel="epoch $k$", ylabel=r"fraction $\lambda_k$", ylim=(0, 1.05), xlim=(0.5, len(curve) + 0.5))
    ax.legend(loc="lower right")


def _cost(counts: np.ndarray, pairs: int, batch_size: int) -> str:
    used, steps = int(counts.sum()), int(-(-counts // batch_size).sum())
    plain = -(-pairs // batch_size) * len(counts)
    share = used / (pairs * len(counts))
    return f"{used:,} samples, {share:.1%} of the plain run's; {steps:,} steps where it takes {plain:,}."


def _warning(curve: np.ndarray, counts: np.ndarray, pairs: int) -> str:
    if curve[-1] >= 1:
        return f" All pairs are in from epoch {int(np.argmax(curve >= 1)) + 1}."
    return f" {1 - counts[-1] / pairs:.0%} of the pairs are never trained on."


def _lines(shape: str, options: dict[str, float], epochs: int, batch_size: int) -> str:
    arguments = ", ".join([repr(shape), *(f"{name}={value:.4g}" for name, value in options.items())])
    return "\n".join(
        (
            f"plan = EpochPlan(order, schedule=make_schedule({arguments}), epochs={epochs})",
            f"sampler = CurriculumBatchSampler(plan, batch_size={batch_size})",
            "loader = DataLoader(dataset, batch_sampler=sampler)  # sampler.set_epoch(e) before each epoch",
        )
    )
