"""`class-kit figures`: a run's notebooks once more, in another style."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from class_kit import figures
from class_kit.cli.run import STYLES
from class_kit.runs import kernels, notebooks
from class_kit.runs.notebooks import numbered_notebooks, read_notebook
from tests.notebook_tools import write_notebook


def test_styles_are_those_of_the_figures_and_every_notebook_takes_one() -> None:
    assert tuple(figures.STYLES) == STYLES
    assert all("style" in read_notebook(path).declared for path in numbered_notebooks())


@pytest.fixture
def calls(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the kernels of a kit with one notebook were asked to do; none is started."""
    (here / "kit").mkdir()
    write_notebook(here / "kit" / "03_short.ipynb", ['style = "notebook"  # style', "epochs = 3  # epochs"])
    monkeypatch.setattr(notebooks, "shipped", lambda name: here / "kit")
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(kernels, "execute", lambda book, parameters, path: asked.append(dict(parameters)))
    return asked


def test_a_run_is_made_again_in_another_style(calls: list[dict[str, Any]], kit: Any) -> None:
    kit("run", "3", "-p", "epochs", "12", "--out", "run")
    kit("figures", "run", "--style", "acl")
    first, second = calls
    assert first["epochs"] == 12
    assert second == first | {"style": "acl", "out": "run-acl"}
    assert Path("run-acl/done").is_file()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "expected the folder of a run"),
        ("[1]", "expected the folder of a run"),
        ('{"notebooks": {"03_short": {}, "elsewhere/mine": {}}, "overrides": {}}', "class-kit run"),
        ('{"notebooks": {"03_short": {}}, "overrides": {"no_such": 1}}', "no_such"),
    ],
)
def test_what_is_no_run_of_the_kit_is_refused(content: str | None, said: str, calls: list[Any], kit: Any) -> None:
    if content is not None:
        Path("manifest.json").write_text(content, encoding="utf-8")
    assert said in kit("figures", ".", "--style", "slides", code=2)
    assert calls == []
