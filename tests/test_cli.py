"""The command line: exit codes, one line for a user's mistake, nothing heavy before it is needed."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from class_kit import cli
from class_kit.errors import InputError
from class_kit.runs import kernels
from class_kit.terminal import one_line, visible
from tests.notebook_tools import write_notebook

IN_THE_KIT = os.environ | {"PYTHONPATH": str(Path(cli.__file__).resolve().parents[2])}


def test_every_command_has_a_handler_and_help(kit: Any):
    (commands,) = [action for action in cli.build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(commands.choices) == set(cli.COMMANDS)
    for name, command in commands.choices.items():
        assert callable(command.get_default("handler")), name
        assert command.description
        assert all(action.help or action.choices for action in command._actions), name
        assert kit(name, "--help").startswith("usage: ")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("column 'a\x1b[2J\u202e' is missing\nsecond"), 2, "column 'a\\x1b[2J\\u202e' is missing\\nsecond"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(36, "File name too long", "x" * 300), 2, "File name too long"),
        (NotADirectoryError(20, "Not a directory", "x"), 2, "Not a directory"),
        (OSError(28, "No space left on device", "x"), 1, "free some space and run it again"),
        (PermissionError(13, "Permission denied", "x"), 1, "Permission denied"),
        (OSError(30, "Read-only file system", "x"), 1, "Read-only file system"),
    ],
)
def test_one_line_says_what_happened(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]):
    def handler(arguments: argparse.Namespace) -> int:
        raise error

    assert cli.run_handler(handler, argparse.Namespace()) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert said in output.err
    assert output.err.startswith("class-kit: ")


def test_defect_shows_its_traceback_without_escapes(capsys: pytest.CaptureFixture[str]):
    def handler(arguments: argparse.Namespace) -> int:
        raise RuntimeError("odd \x1b[2J")

    assert cli.run_handler(handler, argparse.Namespace()) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "RuntimeError: odd \\x1b[2J" in shown


def test_run_passes_everything_on(here: Path, monkeypatch: pytest.MonkeyPatch, kit: Any):
    write_notebook(here / "01_book.ipynb", ["seeds = [0]  # seeds", 'word = ""  # text', "reading = {}  # how"])
    (here / "mine.csv").write_text("Structure;Name;Text\nC;methane;x\n", encoding="utf-8")
    seen: list[dict[str, Any]] = []

    def execute(notebook: Any, parameters: dict[str, Any], path: Path, *ignored: Any) -> str | None:
        seen.append(parameters)
        return "cell 1: ValueError: no" if parameters["word"] == "fail" else None

    monkeypatch.setattr(kernels, "execute", execute)
    words = ["-p", "word", "-x = 'on'", "-p", "seeds", "[1, 2]", "--pairs", "mine.csv"]
    words += ["--text", "Name", "--split", "Text", "--no-quoting", "--standardize"]
    given = {"pairs": "mine.csv", "seeds": [1, 2], "word": "-x = 'on'"}
    given["reading"] = {"text": "Name", "split_column": "Text", "quoting": False, "standardize": True}
    output = kit("run", "01_book.ipynb", *words, "--out", "here")
    assert seen == [given | {"data": "", "extra": "", "out": "here"}]
    assert "01_book: finished after" in output
    assert f"report:  {Path('here') / 'report.html'}" in output
    assert (here / "here" / "done").exists()
    assert json.loads((here / "here" / "manifest.json").read_text(encoding="utf-8"))["overrides"] == given
    assert "cell 1: ValueError: no" in kit("run", "01_book.ipynb", "-p", "word", "fail", "--out", "bad", code=1)
    kit("run", "01_book.ipynb", "--pairs", "mine.csv", "--text", "Words", code=2)
    assert len(seen) == 2


def test_cache_is_listed_and_cleared(own_cache: Path, kit: Any):
    from class_kit.store import Maker, stored

    stored(Maker("text", "minilm", "0" * 64), ["a", "b", "c"], lambda rows: [(row, b"1234") for row in rows])
    stored(Maker("mol2vec", "corpus", "1" * 64), ["a"], lambda rows: [(row, b"12") for row in rows])
    for words, said in [
        (["list"], r"mol2vec +corpus +1 items +0\.\d MiB\ntext +minilm +3 items +0\.\d MiB\n2 entries"),
        (["clear", "--kind", "text"], "removed 1 entries"),
        (["list"], "1 entries"),
        (["clear"], "removed 1 entries"),
    ]:
        assert re.search(said, kit("cache", *words))
    assert not list(own_cache.rglob("*.sqlite"))


def test_reader_that_goes_away_is_no_error():
    code = (
        "import sys\nfrom class_kit.cli import run_handler\n"
        "sys.exit(run_handler(lambda a: print('x' * 10**6) or 0, None))"
    )
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as nobody:
        done = subprocess.run([sys.executable, "-c", code], stdout=nobody, stderr=subprocess.PIPE, env=IN_THE_KIT)
    assert (done.returncode, done.stderr) == (1, b"")


@given(st.text(alphabet=st.characters(blacklist_categories=())))
def test_visible_text_can_be_printed_and_moves_no_cursor(text: str):
    shown = visible(text)
    assert all(character in "\n\t" or character.isprintable() or character.isspace() for character in shown)
    assert not set(shown) & {"\x1b", "\x9b", "\r", "\x08", "\u202e", "\u2066", "\u200b"}
    shown.encode("utf-8")
    assert "\n" not in one_line(text)
    assert len(one_line(text, limit=10)) <= 10


def test_ordinary_text_is_shown_as_it_is():
    for text in ("ß-carotene → σ = 0.99", "分子", "CC(=O)O", "line\n\ttab"):
        assert visible(text) == text
    assert visible("\x1b[31mred\x1b[0m") == "red"
