"""What the views share: words made safe, pictures with room for their labels, and errors that nobody overlooks."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import ipywidgets as widgets
import nbformat
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from class_kit import figures
from class_kit import widgets as views
from class_kit.figures.plots import doubling_bins
from class_kit.runs import kernels
from class_kit.widgets import parts
from class_kit.widgets.cards import card, safe
from tests.notebook_tools import write_notebook

ROOT = Path(__file__).parents[1]


def test_words_of_data_are_escaped_and_unreadable_structures_are_drawn() -> None:
    text = card("C<script>alert(1)</script>", ['<img src="x" onerror="y">', "a\x1b[2Jb\u202ec"])
    assert "<script" not in text
    assert '"x"' not in text
    assert "a\\x1b[2Jb\\u202ec" in text
    assert safe("'\"<>&") == "&#x27;&quot;&lt;&gt;&amp;"
    (drawing,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(drawing).startswith(b"\x89PNG")


def test_pictures_keep_their_labels_inside() -> None:
    """Margins are fixed for speed; the widest labels that the views make must fit into them."""
    everything = np.random.default_rng(0).integers(0, 9000, size=30_000)
    bins = doubling_bins(0, 9000)
    drawn = parts.picture(
        lambda ax: parts.share_bars(ax, bins, everything, everything).set(xlabel="neighbours $N_i$", ylabel="pairs")
    )
    pixels = plt.imread(io.BytesIO(drawn))[:, :, :3]
    for edge in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert np.all(edge == 1), "ink at the edge of the picture"
    assert np.any(pixels < 0.5)


def test_bins_hold_every_number_once() -> None:
    for lowest, top in ((0, 0), (0, 1), (0, 2), (0, 1023), (1, 1), (1, 440)):
        bins = doubling_bins(lowest, top)
        assert bins[0][0] == lowest
        assert bins[-1][0] <= max(top, 1) <= bins[-1][1]
        assert all(low == high + 1 for (_, high), (low, _) in pairwise(bins))


def test_a_callback_that_raises_shows_it_and_stops_the_code_that_moved_the_control() -> None:
    slider = widgets.IntSlider(max=3, description="x")
    view = views.View(slider)

    def update() -> None:
        if slider.value == 2:
            raise ValueError("broken <b>\x1b[2J")

    view.react(update, slider)
    with pytest.raises(ValueError, match="broken"):
        slider.value = 2
    (fault,) = view.fault.outputs
    assert (fault["output_type"], fault["ename"], fault["evalue"]) == ("error", "ValueError", "broken <b>\\x1b[2J")
    assert any("in update" in line for line in fault["traceback"])
    slider.value = 1
    assert view.fault.outputs == ()


@pytest.mark.parametrize("hidden", [False, True])
def test_a_callback_that_raises_fails_the_notebook(tmp_path: Path, hidden: bool) -> None:
    """Moved by code the cell fails; where nobody waits for the error, the widget's state tells."""
    move = "slider.value = 1"
    if hidden:
        move = "import contextlib\nwith contextlib.suppress(ZeroDivisionError):\n    slider.value = 1"
    path = write_notebook(
        tmp_path / "01_raises.ipynb",
        [],
        "import ipywidgets\nfrom class_kit.widgets import View\nslider = ipywidgets.IntSlider(description='x')",
        "view = View(slider)\nview.react(lambda: 1 / 0, slider)\nview",
        move,
    )
    done = kernels.execute(nbformat.read(path, as_version=4), {}, tmp_path / "partial.ipynb")
    assert "ZeroDivisionError" in (done.error or "")
    assert hidden == ("in a widget's callback" in (done.error or ""))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")), ids=lambda path: path.stem)
def test_a_static_figure_of_its_own_precedes_each_view(path: Path) -> None:
    """A reader without a kernel, on GitHub or in a report, has seen a picture of the matter before the view's place.

    The picture comes after the view before, so that one does not serve two.
    """
    drawn = False
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and re.search(r"\bwidgets\.\w+\(", cell.source):
            assert drawn, cell.source
            drawn = False
        if cell.cell_type == "code" and "plt.show()" in cell.source:
            drawn = True
            shown = [output for output in cell.outputs if "image/png" in output.get("data", {})]
            assert shown or path.stem == "07_paper", f"no picture was committed with: {cell.source}"


def test_importing_the_views_does_not_load_torch() -> None:
    code = "import sys, class_kit.widgets; print('torch' in sys.modules, 'transformers' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]


def test_pictures_look_alike_whatever_style_the_notebook_set() -> None:
    def draw(ax: Axes) -> Axes:
        return figures.intensity_curves({"inverse": [0.5, 0.67]}, ax)

    before = views.picture(draw)
    with figures.styled("slides"):
        assert views.picture(draw) == before
