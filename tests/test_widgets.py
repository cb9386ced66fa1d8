"""Every control moved to its ends: the view changes, nothing raises, data stays text, and errors are seen."""

import io
import re
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from class_kit import figures
from class_kit import widgets as views
from class_kit.agreement import PairAudit
from class_kit.backbones import create_backbone, register_backbone
from class_kit.backbones.dual_encoder import DualEncoder
from class_kit.curriculum import EpochPlan, LinearSchedule
from class_kit.errors import InputError
from class_kit.pairs import PairSet, load_pairs
from class_kit.study import run_arms
from class_kit.study.records import Arm, Record
from class_kit.task import Task, load_task
from class_kit.training import TrainingConfig
from class_kit.widgets.trained import Runs

ROOT = Path(__file__).parents[1]
SMILES = ["CCO", "CCCO", "CCCCO", "c1ccccc1O", "CC(=O)O", "CCN", "CCCN", "c1ccccc1N", "CC(=O)N", "CCS", "CCCS", "CCCl"]
HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(2)> </div></pre> & \"quoted\" 'single' "
    "![m](http://example.invalid/a.png) [k](javascript:alert(3)) $\\href{javascript:alert(4)}{x}$ \\(x\\) `c` \u202e"
)
CONTROLS = (
    widgets.IntSlider,
    widgets.FloatSlider,
    widgets.SelectionSlider,
    widgets.SelectionRangeSlider,
    widgets.Dropdown,
    widgets.SelectMultiple,
    widgets.ToggleButtons,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs whose texts, ids and classes attack whatever shows them."""
    path = tmp_path_factory.mktemp("widgets") / "pairs.csv"
    text = HOSTILE.replace('"', '""')
    rows = [
        f'"<b>{at}",{smiles},"{text} {at}",{"train" if at < 6 else "test"},"<i>{at % 2}{text}"'
        for at, smiles in enumerate(SMILES)
    ]
    path.write_text("id,smiles,text,split,class\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pairs(file: Path) -> PairSet:
    return load_pairs(file)


@pytest.fixture(scope="module")
def task(file: Path) -> Task:
    return load_task(file)


@pytest.fixture(scope="module")
def trained(task: Task) -> list[Record]:
    arms = [Arm("<u>one", order="standard"), Arm("two", order="random", start=0.2, growth=0.2)]
    return run_arms(task, arms, TrainingConfig(epochs=4, batch_size=3, learning_rate=0.01), [0], jobs=1)


def inside(box: widgets.Widget, kind: type | tuple[type, ...]) -> list[Any]:
    found = [box] if isinstance(box, kind) else []
    for child in getattr(box, "children", ()):
        found += inside(child, kind)
    return found


def shown(box: widgets.Widget) -> tuple[Any, ...]:
    return tuple(part.value for part in inside(box, (widgets.Image, widgets.HTML, widgets.Textarea)))


def html(box: widgets.Widget) -> str:
    return "".join(part.value for part in inside(box, widgets.HTML))


def ends(control: widgets.Widget) -> list[Any]:
    if isinstance(control, widgets.IntSlider | widgets.FloatSlider):
        return [control.min, control.max]
    options = [option[1] if isinstance(option, tuple) else option for option in control.options]
    if isinstance(control, widgets.SelectMultiple):
        return [options[:1], options]
    if isinstance(control, widgets.SelectionRangeSlider):
        return [(options[0], options[0]), (options[-1], options[-1])]
    return [options[0], options[-1]]


def move_every_control(box: widgets.Widget) -> None:
    controls = inside(box, CONTROLS)
    assert controls
    for control in controls:
        assert control.description, "a control without a name cannot be told from the others"
        states = []
        for value in ends(control):
            control.value = value
            states.append(shown(box))
            assert getattr(control, "index", 0) is not None, f"{control.description} shows no choice"
        assert len(set(states)) == 2, f"{control.description} changes nothing"
    for button in inside(box, widgets.Button):
        assert button.description
        button.click()


def assert_inert(box: widgets.Widget) -> None:
    """No tag or attribute of the data's own is in the HTML, and its text is."""
    text = html(box)
    assert "&lt;script&gt;" in text
    for tag in re.findall(r"<[^>]*>", text):
        name = tag.strip("</>").split()[0]
        assert name in {"div", "b", "img"}, tag
        for attribute, value in re.findall(r"""\s([\w-]+)=["']([^"']*)""", tag):
            assert attribute in {"style", "alt", "title", "src", "width"}, tag
            assert attribute != "src" or re.fullmatch(r"data:image/png;base64,[\w+/=]+", value), tag
    assert "\u202e" not in text
    assert not inside(box, (widgets.Label, widgets.HTMLMath)), "these typeset what they are given as TeX"


def test_neighbour_viewer(pairs: PairSet) -> None:
    rng = np.random.default_rng(0)
    t, m = rng.normal(size=(12, 4)), rng.normal(size=(12, 3))
    box = views.neighbour_viewer(pairs, t, m, show=3)
    move_every_control(box)
    assert_inert(box)
    inside(box, widgets.IntSlider)[0].value = 4
    inside(box, widgets.ToggleButtons)[0].value = "text"
    cosines = [float(t[4] @ row / np.linalg.norm(t[4]) / np.linalg.norm(row)) for row in t]
    best = sorted((cosine for at, cosine in enumerate(cosines) if at != 4), reverse=True)[:3]
    assert re.findall(r"cosine (-?[\d.]+)", html(box)) == [f"{cosine:.3f}" for cosine in best]
    with pytest.raises(InputError, match="t has 5"):
        views.neighbour_viewer(pairs, np.zeros((5, 4)), m)
    with pytest.raises(InputError, match="show=0"):
        views.neighbour_viewer(pairs, t, m, show=0)


def test_difficulty_explorer(pairs: PairSet) -> None:
    counts = np.array([[9, 9, 3, 1, 0, 0, 0, 2, 2, 1, 1, 1], [1, 1, *[0] * 10]])
    box = views.difficulty_explorer(counts, [0.8, 0.99], pairs, show=2)
    move_every_control(box)
    sigma, bins = inside(box, (widgets.SelectionSlider, widgets.ToggleButtons))
    sigma.value, bins.index = 0, 2
    assert_inert(box)
    assert "25.0% of 12 pairs have no neighbour, the mean is 2.4 and the maximum 9" in html(box)
    assert "33.3% of the pairs are in the largest tie" in html(box)
    assert "1–2 of 3 pairs in this bin" in html(box)
    assert re.findall(r"N = (\d)", html(box)) == ["3", "2"]
    forth = next(button for button in inside(box, widgets.Button) if button.description == "next")
    forth.click()
    assert "3–3 of 3" in html(box)
    forth.click()
    assert "1–2 of 3" in html(box)
    sigma.value = 1
    assert "no pairs in this bin" in html(box)
    with pytest.raises(InputError, match=r"expected \(2, 12\)"):
        views.difficulty_explorer(counts[:, :5], [0.8, 0.99], pairs)
    with pytest.raises(InputError, match="expected ascending values"):
        views.difficulty_explorer(counts, [0.99, 0.8], pairs)


def test_schedule_designer_says_what_is_left_out() -> None:
    box = views.schedule_designer(1000, 10)
    move_every_control(box)
    for growth, expected in (
        (0.03, "30% of the pairs are never trained on"),
        (0.2, "All pairs are used from epoch 3 on"),
    ):
        set_schedule(box, "linear", 0.4, growth, 10)
        assert expected in html(box)
    with pytest.raises(InputError, match="pairs=0"):
        views.schedule_designer(0, 10)


@pytest.mark.parametrize("shape", ["linear", "step", "full"])
def test_schedule_designer_gives_code_that_makes_the_plan_it_describes(shape: str) -> None:
    box = views.schedule_designer(40, 6, batch_size=8)
    set_schedule(box, shape, 0.45, 0.095, 7)
    code = inside(box, widgets.Textarea)[0].value
    names: dict[str, Any] = {"order": np.arange(40), "dataset": range(40)}
    exec(f"from class_kit.curriculum import *\nfrom torch.utils.data import DataLoader\n{code}", names)
    assert len(code.splitlines()) == 3
    assert names["plan"].epochs == 7
    samples = sum(len(names["plan"].rows(epoch)) for epoch in range(1, 8))
    assert f"{samples:,} samples" in html(box)
    assert f"{names['plan'].steps_total(8):,} steps" in html(box)


def set_schedule(box: widgets.Widget, shape: str, start: float, growth: float, epochs: int) -> None:
    inside(box, widgets.Dropdown)[0].value = shape
    for slider, value in zip(inside(box, widgets.FloatSlider), (start, growth), strict=True):
        slider.value = value
    inside(box, widgets.IntSlider)[0].value = epochs


def test_intensity_comparer() -> None:
    box = views.intensity_comparer(10)
    move_every_control(box)
    inside(box, widgets.SelectMultiple)[0].value = ("inverse",)
    inside(box, widgets.IntSlider)[0].value = 19
    assert "inverse: γ₁ = 0.500" in unescape(html(box))
    assert "0.95 reached in epoch 19" in html(box)
    inside(box, widgets.SelectMultiple)[0].value = ()
    assert "constant: γ₁ = 1.000, mean 1.000" in unescape(html(box))


def test_epoch_viewer(pairs: PairSet) -> None:
    counts = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 5, 5])
    plan = EpochPlan(np.arange(12), schedule=LinearSchedule(start=0.25, growth=0.25), epochs=3)
    box = views.epoch_viewer(plan, pairs, counts)
    move_every_control(box)
    epoch, which = inside(box, (widgets.IntSlider, widgets.ToggleButtons))
    for k, choice, expected in ((1, "new", 6), (2, "new", 3), (2, "all", 9), (2, "left out", 3), (3, "left out", 0)):
        epoch.value, which.value = k, choice
        found = re.search(r"of (\d+) pairs, hardest first", html(box))
        assert (int(found.group(1)) if found else 0) == expected
    epoch.value, which.value = 2, "new"
    assert re.findall(r"N = (\d)</b>", html(box)) == ["2", "2", "1"]
    assert "its hardest has N = 2" in html(box)
    assert_inert(box)
    with pytest.raises(InputError, match=r"plan\.epochs is None"):
        views.epoch_viewer(EpochPlan(np.arange(12), schedule=LinearSchedule(start=1.0, growth=0.0)), pairs, counts)
    with pytest.raises(InputError, match="counts has 3"):
        views.epoch_viewer(plan, pairs, counts[:3])


def test_playground_ranks_as_the_search_does(task: Task, trained: list[Record]) -> None:
    from class_kit.study.ranking import search_molecules
    from class_kit.study.records import load_backbone

    box = views.retrieval_playground(task, trained, "an alcohol", show=4)
    best = search_molecules(load_backbone(trained[0], task), task, "an alcohol", 4)
    assert re.findall(r"<b>(\d · -?[\d.]+)", html(box)) == [f"{at + 1} · {cos:.3f}" for at, (_, cos) in enumerate(best)]
    move_every_control(box)
    assert_inert(box)
    assert len(re.findall("<img ", html(box))) == 4
    (query,), (search,) = inside(box, widgets.Textarea), inside(box, widgets.Button)
    query.value = " "
    search.click()
    assert "Type a text first" in html(box)
    assert "<img" not in html(box)
    assert box.fault.outputs == ()
    # a pool of molecules alone has no texts to show
    molecules = replace(task.pairs, text=("",) * len(task.pairs))
    box = views.retrieval_playground(replace(task, molecules=molecules, pool=task.m), trained[0], "an alcohol", show=2)
    assert len(re.findall("<img ", html(box))) == 2
    assert "script" not in html(box)


def test_failure_browser_lists_the_worst_first_and_filters(task: Task, trained: list[Record]) -> None:
    from class_kit.retrieval import per_query_metrics

    box = views.failure_browser(task, trained, show=6)
    move_every_control(box)
    run, group = inside(box, widgets.Dropdown)
    (span,) = inside(box, widgets.SelectionRangeSlider)
    run.value, group.value, span.value = run.options[0], 0, (1, 3)
    assert_inert(box)
    ranks = per_query_metrics(trained[0].ranks["text_to_molecule/split"])["mean_rank"]
    listed = [float(rank) for rank in re.findall(r"rank ([\d.]+) ·", html(box))]
    assert listed == sorted(ranks, reverse=True)
    assert html(box).count("ranked first · ") == np.count_nonzero(ranks > 1)
    span.value = (2, 2)
    assert "have a rank from 2 to 3; " in html(box)
    listed = [float(rank) for rank in re.findall(r"rank ([\d.]+) ·", html(box))]
    assert listed == sorted((rank for rank in ranks if 2 <= rank < 4), reverse=True)
    span.value, group.value = (1, 3), 1
    assert "of 3 texts" in html(box)
    with pytest.raises(InputError, match="a backbone alone has no ranks"):
        views.failure_browser(task, create_backbone("dual_encoder", task.t.shape[1], task.m.shape[1]))


def test_a_tab_s_view_is_made_once_when_it_is_opened_and_tried_again_if_that_failed() -> None:
    made: list[str] = []

    def make(name: str) -> widgets.HTML:
        made.append(name)
        if made.count(name) == 1 and name == "bad":
            raise ZeroDivisionError(name)
        return widgets.HTML(name)

    view = views.tabs({name: partial(make, name) for name in ("first", "bad", "last")})
    (tab,) = [child for child in view.children if isinstance(child, widgets.Tab)]
    assert (made, tab.titles) == (["first"], ("first", "bad", "last"))
    with pytest.raises(ZeroDivisionError):
        tab.selected_index = 1
    assert view.fault.outputs[0]["ename"] == "ZeroDivisionError"
    for at in (0, 1, 0, 2, 1):
        tab.selected_index = at
    assert made == ["first", "bad", "bad", "last"]
    assert [place.children[0].value for place in tab.children] == ["first", "bad", "last"]
    assert not view.fault.outputs


def test_two_trainings_of_one_name_are_refused(task: Task, trained: list[Record]) -> None:
    with pytest.raises(InputError, match="with different arms or seeds"):
        views.retrieval_playground(task, [trained[0], trained[0]])
    with pytest.raises(InputError, match="at least one"):
        views.failure_browser(task, [])


class Backwards(DualEncoder):
    """Its full score is the cosine with the sign turned, so that the last of a shortlist comes first."""

    reranks = True

    def pair_parts(self, side: str, batch: Any) -> list[tuple[Tensor]]:
        return [(vector,) for vector in (self.encode_text if side == "text" else self.encode_molecules)(batch)]

    def part_scores(self, texts: Any, molecules: Any) -> Tensor:
        return -torch.stack([t @ m for (t,), (m,) in zip(texts, molecules, strict=True)])


def test_a_full_score_ranks_the_shortlist_again(task: Task) -> None:
    register_backbone("backwards")(Backwards)
    widths = task.t.shape[1], task.m.shape[1]
    plain, turned = create_backbone("dual_encoder", *widths).eval(), create_backbone("backwards", *widths)
    turned.load_state_dict(plain.state_dict())
    question = task.inputs("text", "sentence", np.array([3]))
    one, other = (Runs(task, backbone) for backbone in (plain, turned.eval()))
    up, down = one.best("this retriever", question, 12), other.best("this retriever", question, 12)
    assert [row for row, _ in down] == [row for row, _ in up][::-1]
    rows = np.array([row for row, _ in up])
    np.testing.assert_allclose(one.scores("this retriever", question, rows), [score for _, score in up], atol=1e-6)


def test_pictures_keep_their_labels_inside_whatever_style_the_notebook_set() -> None:
    """Margins are fixed for speed; the widest labels that the views make must fit into them."""
    everything = np.random.default_rng(0).integers(0, 9000, size=30_000)
    bins = figures.doubling_bins(0, 9000)
    draw = figures.panel(figures.chosen_bars, everything, everything, bins, ("neighbours $N_i$", "pairs"))
    drawn = views.picture(draw)
    pixels = plt.imread(io.BytesIO(drawn))[:, :, :3]
    for edge in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert np.all(edge == 1), "ink at the edge of the picture"
    assert np.any(pixels < 0.5)
    figures.use_style("slides")
    assert views.picture(draw) == drawn
    figures.use_style()


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
        if cell.cell_type == "code" and re.search(r"^\s*(plt|figures)\.show\(", cell.source, re.MULTILINE):
            drawn = True
            shown = [output for output in cell.outputs if "image/png" in output.get("data", {})]
            assert shown or path.stem == "07_paper", f"no picture was committed with: {cell.source}"


def test_suspect_reviewer_writes_each_decision_and_continues(pairs: PairSet, tmp_path: Path) -> None:
    agreement = np.array([3.0, -2, 4, 5, -4, 6, 7, 8, 9, -1, 5, 4])
    audit = PairAudit(agreement, np.linspace(-5, 0, 50), 0.2, (0.1, 0.25), np.array([4, 1, 9]), 0.9)
    path = tmp_path / "made" / "decisions.csv"
    box = views.suspect_reviewer(pairs, audit, path)
    assert "3 of 12 pairs are at or below -1.0; 3 of them are undecided" in html(box)
    assert_inert(box)
    belongs, not_belongs, later = inside(box, widgets.Button)
    later.click()
    assert "agreement -2.0" in html(box), "the worst is put off"
    not_belongs.click()
    belongs.click()
    assert "agreement -4.0" in html(box), "what was put off comes last"
    written = pd.read_csv(path)
    assert written[["row", "decision"]].to_numpy().tolist() == [[2, "does not belong"], [10, "belongs"]]
    again = views.suspect_reviewer(pairs, audit, path)
    assert "1 of them are undecided. Decided: 2, of which 1 do not belong" in html(again)
    for button in inside(again, widgets.Button)[:1]:
        button.click()
        button.click()
    assert len(pd.read_csv(path)) == 3
    move_every_control(again)
    with pytest.raises(InputError, match="give another path"):
        views.suspect_reviewer(pairs.take(np.arange(12)[::-1]), audit, path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected a file of decisions"):
        views.suspect_reviewer(pairs, audit, path)
    with pytest.raises(InputError, match="audit has 12"):
        views.suspect_reviewer(pairs.take(np.arange(5)), audit, path)
