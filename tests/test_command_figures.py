"""`class-kit figures`: a run's figures once more, from their records alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from class_kit import cli, figures
from class_kit.cli.figures import STYLES


@pytest.fixture
def run(tmp_path: Path) -> Path:
    figures.use_style()
    curves = {"second": [0.5, 0.7], "first": [0.8, 0.9]}
    fig = figures.draw(figures.panel("intensity_curves", curves), width="text", ratio=0.4)
    figures.save(fig, tmp_path / "run", "04_curves", {"epochs": 2, "pairs": "corpus"})
    figures.save(figures.molecule_grid(["CCO", "C"]), tmp_path / "run", "01_molecules", {"pairs": "corpus"})
    plt.close("all")
    return tmp_path / "run"


def test_styles_of_the_command_are_those_of_the_figures() -> None:
    assert tuple(figures.STYLES) == STYLES


def test_figures_are_drawn_again_beside_what_regenerates_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    originals = {path: path.read_bytes() for path in (run / "figures").iterdir()}
    assert cli.main(["figures", str(run), "--style", "acl"]) == 0
    assert "2 figures in style acl" in capsys.readouterr().out
    target = run / "figures-acl"
    assert sorted(path.name for path in target.iterdir()) == sorted(path.name for path in originals)
    record = json.loads((target / "04_curves.json").read_text(encoding="utf-8"))
    first = json.loads(originals[run / "figures" / "04_curves.json"])
    assert record == first | {"style": "acl"}
    assert list(record["drawing"]["panels"][0]["data"]["curves"]) == ["second", "first"], "the legend keeps its order"
    assert (target / "04_curves.pdf").read_bytes() != originals[run / "figures" / "04_curves.pdf"]
    assert {path: path.read_bytes() for path in originals} == originals
    assert not plt.get_fignums()
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    assert cli.main(["figures", str(target), "--style", "acl", "--out", str(run / "twice")]) == 0
    assert {path.name: path.read_bytes() for path in (run / "twice").iterdir()} == before


def test_a_figure_without_recorded_data_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fig, ax = plt.subplots()
    ax.plot([1, 2])
    figures.save(fig, run, "own", {})
    assert cli.main(["figures", str(run), "--style", "slides"]) == 1
    said = capsys.readouterr().out
    assert "own: not drawn again, its data were not recorded" in said
    assert "2 figures in style slides" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no record of a figure"),
        ("[]", "no record of a figure"),
        ('{"parameters": {}, "drawing": []}', "no record of a figure"),
        ("[" * 100_000, "no record of a figure"),
        ('{"parameters": {}, "drawing": {"panels": [{"plot": "os.system"}]}}', "cannot be drawn"),
        (
            '{"parameters": {}, "drawing": {"panels": [{"plot": "system", "data": {}, "title": "", "settings": {}}], '
            '"columns": 1, "width": "text", "ratio": 1, "fraction": 1, "share": ""}}',
            "plot 'system'",
        ),
        (
            '{"parameters": {}, "drawing": {"panels": [{"plot": "intensity_curves", "data": {"curves": {"a": "bc"}}, '
            '"title": "", "settings": {}}], "columns": 1, "width": "text", "ratio": 1, "fraction": 1, "share": ""}}',
            "cannot be drawn",
        ),
    ],
)
def test_a_damaged_record_is_named(run: Path, content: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "figures" / "04_curves.json").write_text(content, encoding="utf-8")
    assert cli.main(["figures", str(run), "--style", "nature"]) == 2
    error = capsys.readouterr().err
    assert "04_curves.json" in error
    assert said in error
    assert not plt.get_fignums()


def test_what_cannot_be_used_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["figures", str(run), "--style", "neurips"]) == 2
    assert cli.main(["figures", str(run), "--style", "acl", "--out", str(run / "figures")]) == 2
    assert "these are the originals" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert cli.main(["figures", str(tmp_path / "empty"), "--style", "acl"]) == 2
    assert "no figures with their JSON" in capsys.readouterr().err
