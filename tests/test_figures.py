"""Plots return what they drew; saved figures are reproducible files beside their parameters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from class_kit import figures


@pytest.fixture(autouse=True)
def _closed():
    figures.use_style()
    yield
    plt.close("all")


RNG = np.random.default_rng(0)
ARMS = pd.DataFrame({"arm": ["a", "b"], "x": [0.2, 0.4], "x_low": [0.1, 0.3], "x_high": [0.3, 0.6]})
HISTORY = pd.DataFrame(
    {"arm": list("aabb") * 2, "seed": [0] * 4 + [1] * 4, "epoch": [1, 2] * 4, "x": range(8), "y": RNG.random(8)}
)
CALLS = {
    "similarity_histogram": lambda ax: figures.similarity_histogram({"text": RNG.random(50)}, ax=ax),
    "count_histogram": lambda ax: figures.count_histogram({"σ": np.array([0, 0, 1, 5, 30])}, ax=ax),
    "class_map": lambda ax: figures.class_map(RNG.random((9, 2)), list("aaabbbccd"), ax=ax, most=2),
    "schedule_curves": lambda ax: figures.schedule_curves({"λ": [0.4, 0.7, 1.0]}, ax=ax),
    "intensity_curves": lambda ax: figures.intensity_curves({"γ": [0.5, 0.7]}, ax=ax),
    "epoch_contents": lambda ax: figures.epoch_contents(pd.DataFrame({"0": [1, 2], "1": [0, 3]}, index=[1, 2]), ax=ax),
    "interval_plot": lambda ax: figures.interval_plot(ARMS, "x", "Hits@1", ax=ax),
    "training_curves": lambda ax: figures.training_curves(HISTORY, "x", "y", ("x", "y"), ax=ax),
    "rank_by_count": lambda ax: figures.rank_by_count(np.arange(9) % 3, np.arange(1, 10), ax=ax, least=2),
}


@pytest.mark.parametrize("name", CALLS)
def test_each_plot_draws_on_the_axes_it_is_given_or_on_its_own(name: str) -> None:
    _, ax = plt.subplots()
    assert CALLS[name](ax) is ax
    assert ax.has_data()
    own = CALLS[name](None)
    assert isinstance(own, Axes)
    assert own is not ax


def test_count_histogram_shows_the_shares() -> None:
    ax = figures.count_histogram({"σ": np.array([0, 0, 0, 1, 2, 3, 4, 9])})
    heights = [bar.get_height() for bar in ax.containers[0]]
    assert heights == [3 / 8, 1 / 8, 2 / 8, 1 / 8, 1 / 8]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2–3", "4–7", "8–15"]


def test_rank_by_count_leaves_small_bins_out() -> None:
    counts = np.repeat([0, 1, 5], [10, 8, 7])
    ax = figures.rank_by_count(counts, np.arange(1.0, 26.0))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0\nn = 10", "1\nn = 8"]
    first = ax.lines[0].get_ydata()
    assert first[0] == pytest.approx(np.mean(1 / np.arange(1.0, 11.0)))
    with pytest.raises(ValueError, match="no bin of 25 counts holds 99 pairs"):
        figures.rank_by_count(counts, np.arange(1.0, 26.0), least=99)


def test_interval_plot_puts_the_first_arm_on_top() -> None:
    ax = figures.interval_plot(ARMS, "x", "Hits@1")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_yticks().tolist() == [1, 0]


def test_saved_figures_are_equal_bytes_beside_their_parameters(tmp_path: Path) -> None:
    for place in ("one", "two"):
        plt.close("all")
        ax = figures.schedule_curves({"λ": [0.4, 0.7, 1.0]})
        png = figures.save(ax.figure, tmp_path / place, "curve", {"start": 0.4})
    assert png == tmp_path / "two" / "figures" / "curve.png"
    for suffix in ("png", "pdf", "json"):
        one, two = (tmp_path / place / "figures" / f"curve.{suffix}" for place in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    assert json.loads(two.read_text())["parameters"] == {"start": 0.4}
    assert b"/Type3" not in (tmp_path / "two" / "figures" / "curve.pdf").read_bytes()


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_figure_names_are_plain_file_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        figures.save(plt.figure(), tmp_path, name, {})


def test_molecules_are_drawn_and_unreadable_ones_say_so() -> None:
    good, bad = figures.molecule_png("c1ccccc1O"), figures.molecule_png("not a molecule")
    assert good.startswith(b"\x89PNG")
    assert bad.startswith(b"\x89PNG")
    assert good != bad
    fig = figures.molecule_grid(["CCO", "C"], ["$\\alpha_{", "two"])
    assert [ax.get_title() for ax in fig.axes] == ["$\\alpha_{", "two"]
    fig.canvas.draw()
    with pytest.raises(ValueError, match="2 molecules and 1 captions"):
        figures.molecule_grid(["CCO", "C"], ["one"])


def test_flat_map_keeps_groups_together_and_is_reproducible() -> None:
    centres = np.eye(3)[np.repeat([0, 1, 2], 20)] + 0.05 * RNG.normal(size=(60, 3))
    first, second = figures.flat_map(centres, 1), figures.flat_map(centres, 1)
    np.testing.assert_array_equal(first, second)
    middle = np.array([first[at : at + 20].mean(0) for at in (0, 20, 40)])
    nearest = np.linalg.norm(first[:, None] - middle[None], axis=2).argmin(1)
    assert (nearest == np.repeat([0, 1, 2], 20)).mean() > 0.95
    with pytest.raises(ValueError, match="3 vectors"):
        figures.flat_map(centres[:3])
