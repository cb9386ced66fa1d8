"""Every control moved to its ends: the view changes, nothing raises, and data stays text."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest

from class_kit import widgets as views
from class_kit.curriculum import EpochPlan, LinearSchedule
from class_kit.pairs import PairSet, load_pairs

SMILES = ["CCO", "CCCO", "CCCCO", "c1ccccc1O", "CC(=O)O", "CCN"]
HOSTILE = '<script>alert(1)</script> & "quoted" <img src=x onerror=y>'


@pytest.fixture
def pairs(tmp_path) -> PairSet:
    path = tmp_path / "pairs.csv"
    lines = [f'm{at},{smiles},"{HOSTILE.replace(chr(34), chr(34) * 2)} {at}",train' for at, smiles in enumerate(SMILES)]
    path.write_text("id,smiles,text,split\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return load_pairs(path)


def parts(box: widgets.Widget, kind: type) -> list[Any]:
    found = [box] if isinstance(box, kind) else []
    for child in getattr(box, "children", ()):
        found += parts(child, kind)
    return found


def shown(box: widgets.Widget) -> tuple[Any, ...]:
    return tuple(part.value for kind in (widgets.Image, widgets.HTML) for part in parts(box, kind))


def ends(control: widgets.Widget) -> list[Any]:
    if isinstance(control, widgets.IntSlider | widgets.FloatSlider):
        return [control.min, control.max]
    if isinstance(control, widgets.SelectMultiple):
        return [control.options[:1], control.options]
    options = [option[1] if isinstance(option, tuple) else option for option in control.options]
    return [options[0], options[-1]]


def move_every_control(box: widgets.Widget) -> None:
    kinds = (widgets.IntSlider, widgets.FloatSlider, widgets.SelectionSlider, widgets.Dropdown, widgets.SelectMultiple,
             widgets.ToggleButtons)  # fmt: skip
    controls = [control for kind in kinds for control in parts(box, kind)]
    assert controls
    for control in controls:
        views_seen = set()
        for value in ends(control):
            control.value = value
            views_seen.add(shown(box))
        assert len(views_seen) == 2, f"{control.description} changes nothing"


def test_neighbour_viewer(pairs: PairSet) -> None:
    rng = np.random.default_rng(0)
    box = views.neighbour_viewer(pairs, rng.normal(size=(6, 4)), rng.normal(size=(6, 3)))
    move_every_control(box)
    assert "<script>" not in shown(box)[-1]
    assert "&lt;script&gt;" in shown(box)[-1]
    assert "<img src=x" not in shown(box)[-1]
    with pytest.raises(ValueError, match="expected as many rows"):
        views.neighbour_viewer(pairs, np.zeros((5, 4)), np.zeros((6, 3)))


def test_difficulty_explorer(pairs: PairSet) -> None:
    counts = np.array([[5, 5, 3, 1, 0, 0], [1, 1, 0, 0, 0, 0]])
    box = views.difficulty_explorer(counts, [0.8, 0.99], pairs)
    move_every_control(box)
    slider = parts(box, widgets.SelectionSlider)[0]
    slider.value = 1
    assert any("66.7%" in str(value) for value in shown(box))
    assert not any("<script>" in str(value) for value in shown(box))
    with pytest.raises(ValueError, match=r"expected \(2, 6\)"):
        views.difficulty_explorer(counts[:, :5], [0.8, 0.99], pairs)


def test_schedule_designer_says_what_is_left_out_and_gives_code_that_runs() -> None:
    box = views.schedule_designer(1000, 10)
    move_every_control(box)
    for slider, value in zip(parts(box, widgets.FloatSlider), (0.4, 0.03), strict=True):
        slider.value = value
    parts(box, widgets.Dropdown)[0].value = "linear"
    words, code = (part.value for part in parts(box, widgets.HTML))
    assert "5,650 samples, 56.5%" in words
    assert "30% of the pairs are never trained on" in words
    assert "LinearSchedule(start=0.4, growth=0.03)" in code


def test_intensity_comparer() -> None:
    box = views.intensity_comparer(10)
    move_every_control(box)
    parts(box, widgets.SelectMultiple)[0].value = ()
    assert "constant: mean γ 1.000" in shown(box)[-1]


def test_epoch_viewer(pairs: PairSet) -> None:
    plan = EpochPlan(np.arange(6), schedule=LinearSchedule(start=0.25, growth=0.25), epochs=3)
    box = views.epoch_viewer(plan, pairs, np.array([0, 0, 1, 1, 2, 5]))
    move_every_control(box)
    assert "hardest so far N = 5" in shown(box)[0]
    assert "<script>" not in "".join(map(str, shown(box)))
    with pytest.raises(ValueError, match=r"plan\.epochs is None"):
        views.epoch_viewer(EpochPlan(np.arange(6), schedule=LinearSchedule(start=1.0, growth=0.0)), pairs, np.zeros(6))
