"""Interactive views: a control, a picture, a sentence; each shows what the static figure above it cannot.

Pictures are drawn off screen and handed over as PNG, so that they look alike in JupyterLab, Notebook and Voilà and
an executed notebook holds no stale output. Text from data is escaped before it meets HTML.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from class_kit import figures
from class_kit.curriculum import make_schedule
from class_kit.curriculum.intensity import INTENSITIES, make_intensity
from class_kit.difficulty import tie_mass
from class_kit.errors import InputError

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone
    from class_kit.curriculum import Plan
    from class_kit.pairs import PairSet
    from class_kit.task import Task


def picture(draw: Callable[[Axes], Any], size: tuple[float, float] = figures.NARROW) -> bytes:
    """PNG of what `draw` puts on an Axes; no window, no global figure."""
    fig = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(fig)
    draw(fig.subplots())
    stream = io.BytesIO()
    fig.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return stream.getvalue()


def neighbour_viewer(pairs: PairSet, t: np.ndarray, m: np.ndarray, show: int = 5) -> widgets.Widget:
    """Choose a pair and a space; see its nearest neighbours there with their descriptions.

    Parameters
    ----------
    pairs : PairSet of L pairs
    t : (L, d_t) float
    m : (L, d_m) float
    """
    if not len(pairs) == len(t) == len(m):
        raise InputError(f"{len(pairs)} pairs, t {t.shape}, m {m.shape}: expected as many rows")
    unit = {name: _unit(vectors) for name, vectors in (("text", t), ("molecule", m))}
    spaces: dict[str, list[str]] = {"both": ["text", "molecule"], "text": ["text"], "molecule": ["molecule"]}
    row = widgets.IntSlider(value=0, min=0, max=len(pairs) - 1, description="pair")
    space = widgets.ToggleButtons(options=list(spaces), description="space")
    drawn = widgets.HTML()

    def update(_: Any) -> None:
        used = [unit[name] @ unit[name][row.value] for name in spaces[space.value]]
        near = np.mean(used, axis=0)
        order = [row.value, *(at for at in np.argsort(-near, kind="stable")[: show + 1] if at != row.value)][: show + 1]
        drawn.value = _cards(pairs.smiles, order, [f"{near[at]:.3f} · {pairs.text[at]}" for at in order])

    row.observe(update, "value")
    space.observe(update, "value")
    update(None)
    return widgets.VBox([row, space, drawn])


def difficulty_explorer(counts: np.ndarray, sigmas: Sequence[float], pairs: PairSet, show: int = 6) -> widgets.Widget:
    """Choose σ and a bin of N_i; see the distribution, the ties, and pairs of that bin.

    Parameters
    ----------
    counts : (n_sigma, L) int
        N_i of every pair for every σ, computed beforehand so that the slider answers at once.
    sigmas : n_sigma values, ascending
    pairs : PairSet of the same L pairs
    """
    counts = np.atleast_2d(counts)
    if counts.shape != (len(sigmas), len(pairs)):
        raise InputError(f"counts {counts.shape}: expected ({len(sigmas)}, {len(pairs)}) for these σ and pairs")
    sigma = widgets.SelectionSlider(
        options=[(f"{value:.3f}", at) for at, value in enumerate(sigmas)], value=len(sigmas) - 1, description="σ"
    )
    chosen = widgets.Dropdown(description="neighbours")
    image, words, drawn = _image(figures.WIDE), widgets.HTML(), widgets.HTML()

    def on_bin(_: Any) -> None:
        if chosen.value is None:
            return
        low, high = chosen.value
        rows = np.flatnonzero((counts[sigma.value] >= low) & (counts[sigma.value] <= high))[:show]
        drawn.value = _cards(pairs.smiles, rows, [pairs.text[row] for row in rows])

    def on_sigma(_: Any) -> None:
        values = counts[sigma.value]
        image.value = picture(
            lambda ax: figures.count_histogram({f"σ = {sigmas[sigma.value]:.3f}": values}, ax), figures.WIDE
        )
        words.value = (
            f"{np.mean(values == 0):.1%} of {len(values):,} pairs have no neighbour; the tie rule alone decides "
            f"{tie_mass(values):.1%} of the order."
        )
        bins = [(0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, len(values))]
        filled = [(low, high) for low, high in bins if np.any((values >= low) & (values <= high))]
        chosen.options = [(f"{low}" if low == high else f"{low} to {high}", (low, high)) for low, high in filled]
        on_bin(None)

    sigma.observe(on_sigma, "value")
    chosen.observe(on_bin, "value")
    on_sigma(None)
    return widgets.VBox([sigma, image, words, chosen, drawn])


def schedule_designer(pairs: int, epochs: int, batch_size: int = 128) -> widgets.Widget:
    """Set α, β and the shape; see λ_k, what it costs, and the three lines that use it."""
    start = widgets.FloatSlider(value=0.4, min=0.05, max=1.0, step=0.05, description="start α")
    growth = widgets.FloatSlider(value=0.03, min=0.0, max=0.2, step=0.005, description="growth β", readout_format=".3f")
    shape = widgets.Dropdown(options=["linear", "root", "quadratic", "exponential", "logarithmic", "full"])
    shape.description = "shape"
    image, words, code = _image(figures.NARROW), widgets.HTML(), widgets.HTML()

    def update(_: Any) -> None:
        options = {} if shape.value == "full" else {"start": start.value, "growth": growth.value}
        schedule = make_schedule(shape.value, **options)
        curve = [schedule(epoch) for epoch in range(1, epochs + 1)]
        image.value = picture(lambda ax: figures.schedule_curves({shape.value: curve}, ax))
        used = sum(round(value * pairs) for value in curve)
        warning = "" if curve[-1] >= 1 else f" <b>{1 - curve[-1]:.0%} of the pairs are never trained on.</b>"
        words.value = f"{used:,} samples, {used / (pairs * epochs):.1%} of the plain run's.{warning}"
        arguments = ", ".join(f"{name}={value:.3g}" for name, value in options.items())
        name = f"{shape.value.capitalize()}Schedule({arguments})"
        lines = [
            f"plan = EpochPlan(order, schedule={name}, epochs={epochs})",
            f"sampler = CurriculumBatchSampler(plan, batch_size={batch_size})",
            "loader = DataLoader(dataset, batch_sampler=sampler)  # sampler.set_epoch(e) before each epoch",
        ]
        code.value = f"<pre>{escape(chr(10).join(lines))}</pre>"

    for control in (start, growth, shape):
        control.observe(update, "value")
    update(None)
    return widgets.VBox([start, growth, shape, image, words, code])


def intensity_comparer(epochs: int) -> widgets.Widget:
    """Choose intensities; see γ_k, and how much of the full weight the epochs get on average."""
    named = widgets.SelectMultiple(options=INTENSITIES, value=("sigmoid", "inverse"), description="γ", rows=5)
    length = widgets.IntSlider(value=epochs, min=2, max=max(100, epochs), description="epochs")
    image, words = _image(figures.NARROW), widgets.HTML()

    def update(_: Any) -> None:
        curves = {}
        for name in named.value or ("constant",):
            curve = make_intensity(name, length.value)
            curves[name] = [curve(epoch) for epoch in range(1, length.value + 1)]
        image.value = picture(lambda ax: figures.intensity_curves(curves, ax))
        words.value = "; ".join(f"{name}: mean γ {np.mean(values):.3f}" for name, values in curves.items())

    for control in (named, length):
        control.observe(update, "value")
    update(None)
    return widgets.VBox([widgets.HBox([named, length]), image, words])


def epoch_viewer(plan: Plan, pairs: PairSet, counts: np.ndarray, show: int = 6) -> widgets.Widget:
    """Choose an epoch; see which pairs it adds to the one before.

    Parameters
    ----------
    plan : EpochPlan with `epochs` set
        Its rows index `pairs` and `counts`.
    counts : (L,) int
    """
    if not plan.epochs:
        raise InputError("plan.epochs is None: expected a plan made with epochs=…")
    epoch = widgets.IntSlider(value=1, min=1, max=plan.epochs, description="epoch")
    words, drawn = widgets.HTML(), widgets.HTML()

    def update(_: Any) -> None:
        rows = plan.rows(epoch.value)
        before = plan.rows(epoch.value - 1) if epoch.value > 1 else np.zeros(0, np.int64)
        new = np.setdiff1d(rows, before)
        words.value = (
            f"epoch {epoch.value}: λ = {plan.fraction(epoch.value):.2f}, γ = {plan.intensity(epoch.value):.3f}, "
            f"{len(rows):,} pairs, {len(new):,} of them new; hardest so far N = {counts[rows].max()}"
        )
        hardest = new[np.argsort(-counts[new], kind="stable")][:show]
        drawn.value = _cards(pairs.smiles, hardest, [f"N = {counts[row]}: {pairs.text[row]}" for row in hardest])

    epoch.observe(update, "value")
    update(None)
    return widgets.VBox([epoch, words, drawn])


def retrieval_playground(task: Task, backbone: Backbone, example: str = "", show: int = 8) -> widgets.Widget:
    """Type a description; see the molecules that a trained retriever ranks first, with their cosines."""
    from class_kit.cli.train import search_molecules

    query = widgets.Textarea(value=example, description="text", layout=widgets.Layout(width="90%"))
    button = widgets.Button(description="search", button_style="primary")
    drawn = widgets.HTML()

    def update(_: Any) -> None:
        if not query.value.strip():
            drawn.value = "<p>Type a description first.</p>"
            return
        found = search_molecules(backbone, task, query.value, show)
        captions = [f"{score:.3f} · {task.molecules.id[row]}" for row, score in found]
        drawn.value = _cards(task.molecules.smiles, [row for row, _ in found], captions)

    button.on_click(update)
    update(None)
    return widgets.VBox([query, button, drawn])


def _image(size: tuple[float, float]) -> widgets.Image:
    """An empty picture of a figure's size at 100 pixels an inch; without a width it would fill the page."""
    return widgets.Image(format="png", layout=widgets.Layout(width=f"{100 * size[0]:.0f}px", max_width="100%"))


def _cards(smiles: Sequence[str], rows: Sequence[int] | np.ndarray, captions: Sequence[str]) -> str:
    """Molecules side by side, each over its caption; the caption is text, whatever it contains."""
    cards = []
    for row, caption in zip(rows, captions, strict=True):
        data = base64.b64encode(figures.molecule_png(smiles[row], (240, 180))).decode("ascii")
        image = f'<img alt="{escape(smiles[row], quote=True)}" src="data:image/png;base64,{data}" width="170">'
        cards.append(f'<div style="width:180px;font-size:11px;line-height:1.3">{image}<br>{escape(caption)}</div>')
    return f'<div style="display:flex;flex-wrap:wrap;gap:10px">{"".join(cards)}</div>'


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
