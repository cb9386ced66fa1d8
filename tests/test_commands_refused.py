"""Commands that cannot go on: exit code 2, one line that says why, and every file as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from class_kit.runs import kernels
from tests.notebook_tools import write_notebook
from tests.pair_files import TABLE

OVERWRITTEN = "is an input and would be overwritten"
ROWS: list[tuple[str, str]] = [
    ("", "error:"),
    ("nothing", "error:"),
    ("-- train", "error:"),
    ("run -p one", "error:"),
    ("run --pair corpus", "error:"),
    ("run no\x1b[2Jsuch", "no\\x1b[2Jsuch"),
    ("run --nothing\x1b[2J", "error:"),
    ("cache list --kind ../..", "error:"),
    ("difficulty corpus --sigma high", "error:"),
    ("difficulty corpus --sigma 5", "sigma=5.0: expected a number less than or equal to 1"),
    ("difficulty corpus --sigma nan", "sigma=nan"),
    ("difficulty corpus --sigma 0.9 0.90", "given twice"),
    ("difficulty corpus --seed -1", "seed=-1"),
    ("difficulty corpus --out .", "expected the name of a file"),
    ("difficulty nowhere.csv", "nowhere.csv"),
    ("difficulty pairs.csv --text wrods", "wrods"),
    ("difficulty pairs.csv --out pairs.csv", OVERWRITTEN),
    ("difficulty pairs.csv --out ../here/pairs.csv", OVERWRITTEN),
    ("difficulty pairs.csv --out link.csv", OVERWRITTEN),
    ("difficulty d.rejected.csv --out d.csv", "'d.rejected.csv' is an input"),
    ("difficulty ~no-such-user/a.csv", "no-such-user"),
    ("train nowhere.csv --out made", "nowhere.csv"),
    ("train bad\udce9.csv --out made", "bad"),
    ("run 01_book.ipynb --jobs 2", "--jobs needs --sweep"),
    ("run 01_book.ipynb --sweep share=0.1 -p share 0.2", "share is given twice"),
    ("run 01_book.ipynb --sweep pairs=corpus --pairs corpus", "pairs is given twice"),
    ("run 01_book.ipynb -p pairs corpus --pairs corpus", "pairs is given twice"),
    ("run 01_book.ipynb -p share 0.1 -p share 0.2", "given twice"),
    ("run 01_book.ipynb --sweep share=0.1,much", "share='much'"),
    ("study paper --only mian", "--only 'mian'"),
    ("study paper --seeds 0", "seeds=0"),
    ("study paper --pairs missing.csv", "missing.csv"),
    ("study paper --out other", "holds other files"),
    ("study mine.yml --seeds 3", "--seeds belongs to `study paper`"),
    ("study mine.yml --out other", "holds other files"),
    ("study mine.yml --jobs 0", "--jobs 0"),
    ("teach other", "expected a new or empty folder"),
    ("teach pairs.csv", "pairs.csv"),
    ("teach new --minutes 5", "minutes=5"),
    ("teach a\0b", "a"),
]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pairs, a link to them, a notebook, a study and a folder in use."""
    folder = tmp_path / "here"
    (folder / "other").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(kernels, "execute", lambda *ignored: pytest.fail("a kernel was started"))
    for name in ("pairs.csv", "d.rejected.csv", "other/file"):
        Path(name).write_bytes(TABLE)
    Path("link.csv").symlink_to("pairs.csv")
    Path("mine.yml").write_text("seeds: 1\n", encoding="utf-8")
    write_notebook(folder / "01_book.ipynb", ["share = 0.5"])
    return folder


@pytest.mark.parametrize(("words", "said"), ROWS, ids=[words for words, _ in ROWS])
def test_a_command_that_cannot_go_on_says_so_and_changes_nothing(words: str, said: str, place: Path, kit: Any) -> None:
    before = contents(place)
    line = kit(*filter(None, words.split(" ")), code=2)
    assert said in line
    assert line.count("\n") == 1, "nothing was printed before"
    assert "\x1b" not in line
    assert {name: found for name, found in contents(place).items() if name != "difficulty.rejected.csv"} == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.mkdir, "is a folder"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: None, "no such file"),
    ],
)
def test_a_place_that_is_no_file_is_never_opened(make: Callable[[Path], Any], said: str, here: Path, kit: Any) -> None:
    make(here / "a.csv")
    assert said in kit("difficulty", "a.csv", "--out", "made/d.csv", code=2)
    assert not Path("made").exists()
