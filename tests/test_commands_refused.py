"""Commands that cannot go on: exit code 2, one line that says why, every file as it was; and made-up command lines."""

import contextlib
import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from class_kit import cli
from class_kit.errors import InputError
from class_kit.runs import kernels, notebooks
from tests.notebook_tools import write_notebook
from tests.pair_files import TABLE
from tests.test_fuzz import examples, place

__all__ = ["place"]

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
    ("run 01_book.ipynb --jobs 0", "jobs=0"),
    ("run 01_book.ipynb --sweep pairs=corpus --pairs corpus", "pairs is given twice"),
    ("run 01_book.ipynb -p pairs corpus --pairs corpus", "pairs is given twice"),
    ("run 01_book.ipynb -p share 0.1 -p share 0.2", "given twice"),
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
def full(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
def test_a_command_that_cannot_go_on_says_so_and_changes_nothing(words: str, said: str, full: Path, kit: Any) -> None:
    before = contents(full)
    line = kit(*filter(None, words.split(" ")), code=2)
    assert said in line
    assert line.count("\n") == 1, "nothing was printed before"
    assert "\x1b" not in line
    assert {name: found for name, found in contents(full).items() if name != "difficulty.rejected.csv"} == before


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


# --- made-up command lines: each ends as it should, and leaves nothing half-written


STUDY = b"name: small\npairs: good.csv\nseeds: 1\n"


(PARSERS,) = [action.choices for action in cli.build_parser()._actions if isinstance(action.choices, dict)]
COMMANDS = sorted(PARSERS)
OPTIONS = sorted({word for parser in PARSERS.values() for action in parser._actions for word in action.option_strings})
THINGS = [
    *("good.csv", "bad.csv", "folder", "made.csv", "nowhere.csv", "--", "-", "", ".", "..", "/", "~x/y"),
    *("0", "1", "-1", "0.9", "nan", "1e999", "9" * 5_000, "[1, 2]", "!!bool x", "99", "chebi20", "mol2vec", "1e-400"),
    *("\x1b[2J", "\u202e", "\udce9", "a\nb", "$(touch x)", "`id`", "; rm x", "x" * 300, "é", "=1+1", "%s", "{0}"),
    *("morgan", "minilm", "stable", "epochs", "seeds", "random", "train", "text", "smiles", "01_book", "book"),
    *("list", "clear", "study.yml", "paper", "main", "new", "new/er", "60", "epochs=1", "epochs", "acl"),
]
option = st.tuples(st.sampled_from(OPTIONS), st.sampled_from(THINGS))
with_options = st.lists(option, max_size=3).map(lambda pairs: [word for pair in pairs for word in pair])
command_lines = st.one_of(
    st.lists(st.sampled_from([*COMMANDS, *THINGS, *OPTIONS]) | st.text(max_size=20), max_size=7),
    st.tuples(st.sampled_from(COMMANDS), st.sampled_from(THINGS), with_options).map(lambda all_: [*all_[:2], *all_[2]]),
    st.tuples(st.sampled_from(["good.csv", "bad.csv"]), with_options).map(
        lambda both: ["difficulty", both[0], "--molecule-encoder", "morgan", *both[1]]
    ),
    st.lists(st.sampled_from(THINGS), max_size=2).map(lambda values: ["run", "book", "-p", "epochs", *values]),
)


@examples(80)
@given(arguments=command_lines)
def test_command_lines(arguments, place, monkeypatch, capsys) -> None:
    """Real handlers, but for what would take minutes: no cell is executed, nothing fetched, nothing trained."""
    check_command_line(arguments, place, monkeypatch, capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_tried(command, place, monkeypatch, capsys) -> None:
    for words in ([], ["bad.csv"], ["new"], ["--out", "new"], ["\x1b[2J"], ["folder", "--\u202e"]):
        check_command_line([command, *words], place, monkeypatch, capsys)


def check_command_line(
    arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run it in a folder of its own: one line or a result, nothing that a terminal obeys, nothing half-written."""
    with tempfile.TemporaryDirectory(dir=place) as name, contextlib.chdir(name):
        here = Path(name)
        given = {"good.csv": TABLE, "bad.csv": b"text,smiles\na,C(\n", "study.yml": STUDY}
        for file, content in given.items():
            (here / file).write_bytes(content)
        (here / "folder").mkdir()
        monkeypatch.setattr(notebooks, "shipped", lambda name: place / "books")
        monkeypatch.setattr(kernels, "execute", lambda *ignored: None)
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setattr("class_kit.runs.sweep_notebooks", _not_now)
        monkeypatch.setattr("class_kit.fetch.fetch", _not_now)
        monkeypatch.setattr("class_kit.teaching.lesson_of", _not_now)
        monkeypatch.setattr("class_kit.task.load_task", _not_now)
        monkeypatch.setattr("class_kit.text.embed_text", lambda texts, **options: np.eye(len(texts), 8))
        code = cli.main(arguments)
        said = capsys.readouterr()
        assert code in {0, 2}, (code, said.err[-2_000:])
        assert not {"\x1b", "\u202e", "\0"} & set(said.out + said.err)
        made = {path.name for path in here.rglob("*") if path.is_file()} - set(given)
        if code == 2:
            assert said.err.count("\n") == 1
            assert all(file.endswith("rejected.csv") for file in made), made
        assert not any(file.endswith(".tmp") for file in made)
        # what is named as the output may be replaced, and nothing else
        kept = set(given) - {file for option, file in itertools.pairwise(arguments) if option == "--out"}
        assert all((here / file).read_bytes() == given[file] for file in kept)


def _not_now(*arguments: Any, **options: Any) -> Any:
    raise InputError("this would take too long for a test")
