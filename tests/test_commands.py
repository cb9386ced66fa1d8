"""`class-kit difficulty` and `check`, and the bars that commands show."""

import csv
import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from class_kit import molecules, text
from class_kit.cli import main
from class_kit.progress import duration, progress_bar
from class_kit.runs import kernels
from tests.notebook_tools import write_notebook
from tests.test_agreement import related

# --- difficulty


ROWS = [
    ("ethanol-like alcohol with two carbons", "CCO", "=1+1"),
    ("an alcohol with three carbons", "CCCO", "b"),
    ("benzene, an aromatic ring", "c1ccccc1", "c"),
    ("toluene, a methyl benzene", "Cc1ccccc1", "d"),
    ("acetic acid", "CC(=O)O", "e"),
    ("no molecule at all", "not a smiles", "f"),
]


def test_own_file_becomes_a_table(here: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, kit: Any):
    vectors = np.random.default_rng(0).normal(size=(5, 8))
    monkeypatch.setattr(text, "embed_text", lambda texts, encoder: vectors[: len(texts)])
    with open("mine.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("words", "structure", "name"), *ROWS])
    columns = ["--text", "words", "--smiles", "structure", "--id", "name"]
    command = ["difficulty", "mine.csv", *columns, "--molecule-encoder", "morgan", "--sigma", "0.5", "0.99"]
    said = kit(*command, "--ties", "similarity", "--out", "d.csv")
    assert "5 pairs: d.csv" in said
    assert "σ = 0.99: 100.0% of the pairs have no neighbour" in said
    with open("d.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == ["'=1+1", "b", "c", "d", "e"]
    assert sorted(int(row["rank@0.5"]) for row in table) == [1, 2, 3, 4, 5]
    assert [row["neighbours@0.99"] for row in table] == ["0"] * 5
    assert {row["nearest_id"] for row in table} <= {"=1+1", "'=1+1", "b", "c", "d", "e"}
    assert "not a smiles" in (here / "d.rejected.csv").read_text(encoding="utf-8")
    first = (here / "d.csv").read_bytes()
    kit(*command, "--ties", "similarity", "--out", "e.csv")
    assert (here / "e.csv").read_bytes() == first


# --- check


PAIRS = 240


def write_pairs(path: Path, exchanged: int = 0) -> list[dict[str, str]]:
    """Pairs, the first few with each other's molecules, and one whose molecule is none."""
    molecule = [*((at + 1) % exchanged for at in range(exchanged)), *range(exchanged, PAIRS)]
    rows = [{"id": f"p{at}", "text": f"text {at}", "smiles": "C" * (1 + own)} for at, own in enumerate(molecule)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text", "smiles"])
        writer.writeheader()
        writer.writerows([*rows, {"id": "odd", "text": "no molecule at all", "smiles": "not a smiles"}])
    return rows


@pytest.fixture
def related_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of texts and molecules that belong together, so that no encoder has to start."""
    t, m = related(PAIRS)
    monkeypatch.setattr(text, "embed_text", lambda texts, **_: t[[int(each.split()[1]) for each in texts]])
    monkeypatch.setattr(molecules, "embed_molecules", lambda smiles, **_: m[[len(each) - 1 for each in smiles]])


@pytest.mark.usefixtures("related_vectors")
def test_exchanged_pairs_are_said_and_written(here: Path, kit: Any):
    rows = write_pairs(Path("mine.csv"), exchanged=48)
    said = kit("check", "mine.csv")
    assert "240 distinct texts in 240 pairs, 1 rejected" in said
    assert "mismatched pairs: " in said
    assert "suspects.rejected.csv" in said
    with open("suspects.csv", encoding="utf-8", newline="") as file:
        suspects = list(csv.DictReader(file))
    wrong = {row["id"] for row in rows[:48]}
    assert np.mean([each["id"] in wrong for each in suspects[:24]]) > 0.85
    agreement = [float(each["agreement"]) for each in suspects]
    assert agreement == sorted(agreement)
    ids = {row["id"] for row in rows}
    for each in suspects:
        own = rows[int(each["row"]) - 1]
        assert (own["id"], own["text"]) == (each["id"], each["text"])
        other = each["reason"].removeprefix("the most similar text is that of ").split(",")[0]
        assert other in ids - {each["id"]}
    assert all(f"  {each['id']}  " in said for each in suspects[:10])


@pytest.mark.usefixtures("related_vectors")
def test_the_exit_code_follows_the_interval(here: Path, kit: Any):
    write_pairs(Path("wrong.csv"), exchanged=96)
    # its share is 35 %, from 15 %
    kit("check", "wrong.csv", "--fail-above", "0.1", code=1)
    kit("check", "wrong.csv", "--fail-above", "0.25")
    assert "--fail-above=2.0: expected a number in [0, 1]" in kit("check", "wrong.csv", "--fail-above", "2", code=2)


@pytest.mark.usefixtures("related_vectors")
def test_a_shuffled_table_is_called_so(here: Path, kit: Any):
    write_pairs(Path("all.csv"), exchanged=240)
    assert "the table looks shuffled as a whole" in kit("check", "all.csv")


# --- bars: shown with an estimate where a person looks, silent elsewhere


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


def test_a_run_on_a_terminal_shows_how_far_it_is_and_how_long_it_will_take(books, monkeypatch) -> None:
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
def test_a_wish_decides_for_all_bars(wish, terminal, worker, shown, monkeypatch) -> None:
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
