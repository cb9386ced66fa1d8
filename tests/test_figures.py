"""Plots return what they drew; saved figures are reproducible files beside their parameters."""

import inspect
import io
import itertools
import json
import re
from base64 import b64decode
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from PIL import Image

from class_kit import figures
from class_kit.figures.layout import PALETTE
from class_kit.runs.notebooks import numbered_notebooks, read_notebook
from tests.refusals import refuses
from tests.short_run import ATTACKS


@pytest.fixture(autouse=True)
def _closed():
    figures.use_style()
    yield
    plt.close("all")


SVG = "{http://www.w3.org/2000/svg}"
RNG = np.random.default_rng(0)
ARMS = pd.DataFrame({"arm": ["a", "b"], "x": [0.2, 0.4], "x_low": [0.1, 0.3], "x_high": [0.3, 0.6]})
HISTORY = pd.DataFrame(
    {"arm": list("aabb") * 2, "seed": [0] * 4 + [1] * 4, "epoch": [1, 2] * 4, "x": range(8), "y": RNG.random(8)}
)
COUNTS = {"σ = 0.9": np.array([0, 0, 1, 5, 30]), "σ = 0.99": np.array([0, 0, 0, 0, 1])}
CONTENTS = pd.DataFrame({"b": [1, 2, 2], "a": [0, 3, 4]}, index=[1, 2, 3])
BINS, GRID, NOTES = figures.doubling_bins(0, 100), [[1.0, 2.0], [3.0, None]], [["x\ny", "$"], ["", ""]]
# Every plot, as a panel of a figure.
PLOTS: dict[str, Any] = {
    "similarity_histogram": lambda ax: figures.similarity_histogram({"t": RNG.random(50), "m": RNG.random(40)}, ax=ax),
    "count_histogram": lambda ax: figures.count_histogram(COUNTS, ax=ax),
    "agreement_histogram": lambda ax: figures.agreement_histogram(RNG.random(50), RNG.random(40), 0.5, ax=ax),
    "chosen_bars": lambda ax: figures.chosen_bars(np.arange(9), np.arange(4), BINS, ("x", "y"), ax=ax),
    "threshold_curves": lambda ax: figures.threshold_curves([0.8, 0.9], [0.4, 0.5], [0.3, 0.5], 0.85, ax=ax),
    "class_map": lambda ax: figures.class_map(RNG.random((9, 2)), list("aaabbbccd"), ax=ax, most=3, legend=True),
    "schedule_curves": lambda ax: figures.schedule_curves({"λ": [0.4, 0.7, 1.0], "κ": [0.1, 0.7, 1.0]}, ax=ax),
    "schedule_cost": lambda ax: figures.schedule_cost([0.4, 0.7, 1.0], ax=ax),
    "intensity_curves": lambda ax: figures.intensity_curves({"γ₂": [0.5, 0.7], "γ₁": [0.8, 0.9]}, ax=ax),
    "epoch_contents": lambda ax: figures.epoch_contents(CONTENTS, ax=ax),
    "interval_plot": lambda ax: figures.interval_plot(ARMS, "x", "Hits@1", ax=ax),
    "training_curves": lambda ax: figures.training_curves(HISTORY, "x", "y", ("samples", "MRR"), ax=ax),
    "rank_by_count": lambda ax: figures.rank_by_count(np.arange(90) % 3, np.arange(1, 91), ax=ax),
    "heat_map": lambda ax: figures.heat_map(GRID, ["a", "b"], ["c", "d"], "Hits@1", NOTES, ax=ax),
    "share_lines": lambda ax: figures.share_lines({"ties": [0.4, 1.0], "0": [0.1, 0.2]}, ["a", "$b"], "σ", ax=ax),
    "molecule": lambda ax: figures.molecule("C[C@H](N)C(=O)[O-]", "L-alanine, $not TeX", ax=ax),
}


@pytest.mark.parametrize("name", PLOTS)
def test_each_plot_draws_vectors_on_the_axes_it_is_given_or_on_its_own(name: str, tmp_path: Path) -> None:
    assert isinstance(PLOTS[name](None), Axes)
    _, ax = plt.subplots()
    assert PLOTS[name](ax) is ax
    assert ax.has_data()
    pdf = figures.save(ax.figure, tmp_path, "one", {}).with_suffix(".pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/Subtype /Image" not in pdf


def test_every_plot_is_tried_here() -> None:
    public = {name: each for name, each in vars(figures).items() if callable(each)}
    assert {name for name, each in public.items() if "ax" in inspect.signature(each).parameters} == set(PLOTS)


def test_the_palette_is_seaborn_s() -> None:
    assert sns.color_palette("colorblind") == PALETTE


def test_bins_hold_every_number_once() -> None:
    for lowest, top in ((0, 0), (0, 1), (0, 2), (0, 1023), (1, 1), (1, 440)):
        edges, labels = figures.doubling_bins(lowest, top)
        assert len(labels) == len(edges) - 1
        assert edges[0] == lowest
        assert edges[-2] <= max(top, 1) < edges[-1]
    assert labels[:3] == ["1", "2–3", "4–7"]


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


def test_heat_map_writes_what_can_be_read_into_the_cells_that_have_a_number() -> None:
    ax = figures.heat_map([[0.0, 1.0], [0.9, None]], ["a", "b"], ["c", "d"], "Hits@1", [["w", "x"], ["y", "z"]])
    written = {text.get_text(): text.get_color() for text in ax.texts}
    assert written == {"w": "white", "x": "black", "y": "black"}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


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


@pytest.mark.parametrize("style", figures.STYLES)
def test_any_name_is_drawn_as_text_and_without_boxes(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(mpl.rcParams, "text.usetex", True)
    names = {
        "中文 name": "\\u4e2d\\u6587 name",
        "🧪": "\\U0001f9ea",
        "$x^2$": "\\$x^2\\$",
        "a $ sign": "a \\$ sign",
        "<b>bold</b>": "<b>bold</b>",
        "ελληνικά, naïve": "ελληνικά, naïve",
        r"$\frac{$ $x$": r"\$\frac{\$ \$x\$",
        "_hidden": " _hidden",
    }
    table = pd.DataFrame({"arm": list(names), "epoch": 1, "mrr": 0.5, "mrr_low": 0.4, "mrr_high": 0.6})
    figures.use_style(style)
    fig = figures.draw(
        figures.panel(figures.class_map, np.zeros((len(names), 2)), list(names), legend=True),
        figures.panel(figures.interval_plot, table, "mrr", "MRR"),
        figures.panel(figures.training_curves, table, "epoch", "mrr", ("epoch", "MRR")),
        figures.panel(figures.share_lines, dict.fromkeys(names, (0.5,)), ["中文"], "setting"),
        columns=1,
        width="text",
        ratio=4,
    )
    # Matplotlib warns of a letter that no font has, and warnings are errors here
    fig.canvas.draw()
    classes, arms, curves, shares = fig.axes
    for drawn in (
        classes.get_legend().texts,
        arms.get_yticklabels(),
        curves.get_legend().texts,
        shares.get_legend().texts,
    ):
        assert {text.get_text() for text in drawn} == set(names.values())
    assert [text.get_text() for text in shares.get_xticklabels()] == ["\\u4e2d\\u6587"]
    assert [label.get_text() for label in arms.get_yticklabels()] == list(names.values()), "the first is on top"
    figures.use_style()
    long = figures.class_map([[0.0, 1.0]], ["a" * 10**6], legend=True).get_legend().texts[0]
    assert len(long.get_text()) < 80
    grid = figures.molecule_grid(["CCO", "no molecule", "C"], ["$\\alpha_{", "two", ATTACKS[10]])
    assert [ax.get_title() for ax in grid.axes][:2] == ["\\$\\alpha_{", "two"]
    grid.canvas.draw()
    assert figures.molecule_png("c1ccccc1O") != figures.molecule_png("not a molecule")


@pytest.mark.parametrize("smiles", ["CCO", "C[C@H](N)C(=O)[O-].[Na+]", "[CH2]", "*C", "[13CH4]", "unreadable", ""])
def test_a_molecule_is_drawn_in_lines_and_letters(smiles: str) -> None:
    ax = figures.molecule(smiles, "caption")
    assert not ax.images
    assert ax.patches, "what cannot be drawn says so, a SMILES without atoms as well"
    for patch in ax.patches:
        points = patch.get_path().vertices
        assert np.isfinite(points).all()


def test_a_drawn_molecule_has_one_line_for_each_bond_of_plain_carbon() -> None:
    """Butane is three bonds, a mitre at each of the two corners, no letters, and nothing filled."""
    ax = figures.molecule("CCCC")
    assert all(patch.get_facecolor()[3] == 0 for patch in ax.patches)
    codes = "".join(str(code) for patch in ax.patches for code in patch.get_path().codes)
    assert sorted(codes.replace("1", " 1").split()) == ["12", "12", "12", "122", "122"]


def longest_line(ax: Axes) -> float:
    """A bond inside a plain carbon chain: the ends and the corners' mitres are shorter."""
    paths = [patch.get_path() for patch in ax.patches]
    steps = [np.hypot(*np.diff(path.vertices, axis=0)[path.codes[1:] == path.LINETO].T) for path in paths]
    return float(max(step.max() for step in steps if len(step)))


def test_bonds_are_equally_long_across_a_grid() -> None:
    alone = [longest_line(figures.molecule("C" * count)) for count in (4, 14)]
    assert alone[0] > 1.3 * alone[1], "alone, each is drawn as large as it may be"
    together = [longest_line(ax) for ax in figures.molecule_grid(["C" * 4, "C" * 14, "bad", ""]).axes[:2]]
    np.testing.assert_allclose(together, alone[1], rtol=0.02)


def test_a_grid_is_shown_as_vectors_with_a_bitmap_for_notebooks_without_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    for _ in range(2):
        fig = figures.molecule_grid(["CCO", "c1ccccc1"], ["0.123456", ATTACKS[0]])
        figures.show(fig)
    assert shown[0]["image/svg+xml"] == shown[1]["image/svg+xml"]
    assert not plt.get_fignums()
    lines = [path.get("d") for path in ElementTree.fromstring(shown[0]["image/svg+xml"]).iter(f"{SVG}path")]
    fig.savefig(exact := io.StringIO(), format="svg", bbox_inches="tight")
    wanted = [path.get("d") for path in ElementTree.fromstring(exact.getvalue()).iter(f"{SVG}path")]
    assert re.findall(r'transform="[^"]*"', shown[0]["image/svg+xml"]) == re.findall(
        r'transform="[^"]*"', exact.getvalue()
    )
    numbers, exactly = (re.findall(r"-?[\d.]+", " ".join(each)) for each in (lines, wanted))
    np.testing.assert_allclose(np.array(numbers, float), np.array(exactly, float), atol=0.1)
    height = Image.open(io.BytesIO(b64decode(shown[0]["image/png"]))).height
    assert height > 100


def test_flat_map_keeps_groups_together_and_is_reproducible() -> None:
    centres = np.eye(3)[np.repeat([0, 1, 2], 20)] + 0.05 * RNG.normal(size=(60, 3))
    first, second = figures.flat_map(centres, 1), figures.flat_map(centres, 1)
    np.testing.assert_array_equal(first, second)
    middle = np.array([first[at : at + 20].mean(0) for at in (0, 20, 40)])
    nearest = np.linalg.norm(first[:, None] - middle[None], axis=2).argmin(1)
    assert (nearest == np.repeat([0, 1, 2], 20)).mean() > 0.95


@pytest.mark.parametrize("style", figures.STYLES)
def test_styles_set_width_and_type_and_embed_fonts(style: str, tmp_path: Path) -> None:
    widths = figures.STYLES[style]
    panels = [PLOTS["intensity_curves"], PLOTS["interval_plot"]]
    figures.use_style(style)
    fig = figures.draw(*panels, width="text", ratio=0.4, share="")
    assert fig.get_size_inches()[0] == pytest.approx(widths["text"])
    single = figures.draw(panels[0])
    assert single.get_size_inches()[0] == pytest.approx(widths["column"])
    assert fig.axes[0].xaxis.label.get_size() == mpl.rcParams["font.size"]
    pdf = figures.save(fig, tmp_path, "both", {}).with_suffix(".pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf, "the font is in the file"


def test_an_equal_axis_is_shared_and_settings_are_set() -> None:
    panels = [figures.panel(figures.interval_plot, ARMS, "x", "a", title=name) for name in "pq"]
    fig = figures.draw(*panels, share="y", columns=1, ratio=1.0)
    assert [ax.get_title() for ax in fig.axes] == ["p", "q"]
    assert fig.axes[0].get_shared_y_axes().joined(fig.axes[0], fig.axes[1])
    values, settings = {"a": RNG.random(30)}, {"yscale": "log", "ylabel": "own"}
    logarithmic = figures.draw(figures.panel(figures.similarity_histogram, values, settings=settings)).axes[0]
    assert logarithmic.get_yscale() == "log"
    assert logarithmic.get_ylabel() == "own"


def look_of(artist: Any) -> tuple[Any, ...]:
    """What of an artist survives a grey print: dashes, marker, and lightness in steps of a tenth."""
    if isinstance(artist, PathCollection):
        colour, path = artist.get_facecolor()[0], artist.get_paths()[0]
        return ("points", lightness(colour), len(path.vertices), path.vertices.round(2).tobytes())
    if hasattr(artist, "get_marker"):
        return ("line", str(artist.get_linestyle()), str(artist._unscaled_dash_pattern), str(artist.get_marker()))
    colour = artist.get_facecolor() if hasattr(artist, "get_facecolor") and artist.get_fill() else None
    if colour is None:
        return ("outline", str(artist.get_linestyle()), str(artist._unscaled_dash_pattern))
    return ("fill", lightness(colour))


def lightness(colour: Any) -> float:
    return round(float(np.dot([0.299, 0.587, 0.114], to_rgb(colour))), 1)


@pytest.mark.parametrize("name", ["similarity_histogram", "count_histogram", "class_map", "schedule_curves",
                                  "intensity_curves", "epoch_contents", "training_curves"])  # fmt: skip
def test_what_belongs_together_can_be_told_apart_in_grey(name: str) -> None:
    ax = figures.draw(PLOTS[name]).axes[0]
    looks = [look_of(handle) for handle in ax.get_legend().legend_handles]
    assert len(looks) >= 2
    for one, other in itertools.combinations(looks, 2):
        assert one != other


test_what_cannot_be_drawn_is_refused = refuses(
    (lambda: figures.similarity_histogram({"a": [np.nan]}), "finite numbers"),
    (lambda: figures.count_histogram({"a": [-1, 2]}), "counts.0. is -1: expected finite numbers from 0"),
    (lambda: figures.draw(), "0 panels"),
    (lambda: figures.draw(PLOTS["intensity_curves"], width="page"), "expected one of column, text"),
    (lambda: figures.draw(PLOTS["intensity_curves"], share="z"), "share='z'"),
    (lambda: figures.use_style("neurips"), "expected one of notebook, acl"),
    (lambda: figures.rank_by_count(range(25), range(1, 26), least=99), "no bin of 25 counts holds 99 pairs"),
    (lambda: figures.heat_map([[1.0]], ["a", "b"], ["c", "d"], "Hits@1"), "expected one number per cell"),
    (lambda: figures.heat_map([[None]], ["a"], ["c"], "Hits@1"), "expected one number per cell"),
    (lambda: figures.share_lines({"ties": [0.4]}, ["a", "b"], "σ"), "ties: 1 values for 2 settings"),
    (lambda: figures.molecule_grid(["CCO", "C"], ["one"]), "2 molecules and 1 captions"),
    (lambda: figures.flat_map(np.eye(3)), "3 vectors"),
    *((partial(figures.save, None, "", name, {}), "plain file name") for name in ("", "../up", "a/b", ".hidden")),
)


def test_every_notebook_takes_a_style() -> None:
    assert all("style" in read_notebook(path).declared for path in numbered_notebooks())
