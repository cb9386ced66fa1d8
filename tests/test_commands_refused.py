"""Commands that cannot go on: exit code 2, one line that says why, every file as it was."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from class_kit import cli
from class_kit.errors import InputError
from class_kit.runs import kernels, notebooks
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
    ("study paper --out other", "expected a new or empty folder, or one with study.json"),
    ("study mine.yml --seeds 3", "--seeds belongs to `study paper`"),
    ("study mine.yml --out other", "expected a new or empty folder, or one with study.json"),
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


COMMANDS = sorted(cli.COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_given_what_it_cannot_use_ends_well(command: str, full: Path, monkeypatch: Any, capsys: Any) -> None:
    """One line or a result, nothing that a terminal obeys; real handlers, but for what would take minutes."""

    def not_now(*arguments: Any, **options: Any) -> Any:
        raise InputError("this would take too long for a test")

    for name in ("runs.sweep_notebooks", "fetch.fetch", "teaching.lesson_of", "task.load_task", "text.embed_text"):
        monkeypatch.setattr(f"class_kit.{name}", not_now)
    monkeypatch.setattr(notebooks, "shipped", lambda name: full)
    monkeypatch.setattr(kernels, "execute", lambda *ignored: None)
    for words in ([], ["pairs.csv"], ["new"], ["--out", "new"], ["\x1b[2J"], ["other", "--\u202e"]):
        before = contents(full)
        code = cli.main([command, *words])
        said = capsys.readouterr()
        assert code in {0, 2}, said.err
        assert not {"\x1b", "\u202e", "\0"} & set(said.out + said.err)
        if code == 2:
            assert said.err.count("\n") == 1
            # the list of rejected rows may be new
            assert {name for name in contents(full) if not name.endswith("rejected.csv")} <= set(before)
            assert {name: contents(full)[name] for name in before} == before
