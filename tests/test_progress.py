"""Bars: shown with an estimate where a person looks, silent elsewhere, and out of the way of what is said."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from class_kit.cli import main
from class_kit.progress import duration, progress_bar
from class_kit.runs import kernels
from tests.notebook_tools import write_notebook


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def books(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three notebooks, run without a kernel."""
    monkeypatch.delenv("CLASS_KIT_PROGRESS", raising=False)
    monkeypatch.setattr(kernels, "execute", lambda *ignored: None)
    names = ["01_one.ipynb", "02_two.ipynb", "03_three.ipynb"]
    for name in names:
        write_notebook(here / name, [])
    return names


def test_a_run_on_a_terminal_shows_how_far_it_is_and_how_long_it_will_take(
    books: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["run", *books, "--out", "here"]) == 0
    shown = screen.getvalue()
    states = re.findall(r"notebooks: +\d+%\|.*?\| (\d)/3 \[\d\d:\d\d<(\?|\d\d:\d\d)", shown)
    assert {done for done, _ in states} >= {"0", "1", "2", "3"}
    assert all(re.fullmatch(r"\d\d:\d\d", left) for done, left in states if done in "12"), "an estimate of the rest"
    # no line that is said shares its line with the bar, and the bar is wiped in the end
    for line in ("01_one: running", "02_two: finished after", "report:"):
        assert re.search(rf"[\n\r]{re.escape(line)}[^\r\n]*\n", shown), line
    assert not shown.rstrip().splitlines()[-1].startswith("notebooks")
    before = len(shown)
    assert main(["run", *books, "--out", "here"]) == 0
    assert "notebooks:" not in screen.getvalue()[before:], "nothing is left to wait for"


@pytest.mark.parametrize(
    ("wish", "terminal", "worker", "shown"),
    [("0", True, False, False), ("1", False, False, True), (None, True, False, True), (None, True, True, False)],
)
def test_a_wish_decides_for_all_bars(
    wish: str | None, terminal: bool, worker: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLASS_KIT_PROGRESS", raising=False)
    if wish is not None:
        monkeypatch.setenv("CLASS_KIT_PROGRESS", wish)
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    # several workers of one terminal would write over each other
    monkeypatch.setattr("class_kit.progress.parent_process", lambda: "another" if worker else None)
    assert list(progress_bar(range(3), desc="three")) == [0, 1, 2]
    assert bool(sys.stderr.getvalue()) == shown


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(value) for value in (0.2, 8.4, 99, 150, 5400, 9000)] == [
        "a second", "8 s", "99 s", "2 min", "90 min", "2.5 h"
    ]  # fmt: skip
