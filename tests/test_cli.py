"""The command line: exit codes, one line for a user's mistake, nothing heavy before it is needed."""

from __future__ import annotations

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


def test_every_command_has_a_handler_and_help(capsys: pytest.CaptureFixture[str]):
    (commands,) = [action for action in cli.build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(commands.choices) == set(cli.COMMANDS)
    for name, command in commands.choices.items():
        assert callable(command.get_default("handler")), name
        assert command.description
        assert all(action.help or action.choices for action in command._actions), name
        assert cli.main([name, "--help"]) == 0
    assert capsys.readouterr().err == ""


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


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["--", "train"],
        ["run", "-p", "one"],
        ["run", "--pair", "corpus"],
        ["difficulty", "corpus", "--sigma", "high"],
        ["run", "no\x1b[2Jsuch"],
        ["run", "--nothing\x1b[2J"],
        ["cache", "list", "--kind", "../.."],
    ],
)
def test_unusable_arguments_end_with_2_and_no_file(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))
    assert cli.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "error:" in output.err
    assert "\x1b" not in output.err
    assert list(tmp_path.iterdir()) == []


def test_run_passes_everything_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    write_notebook(tmp_path / "01_book.ipynb", ["seeds = [0]  # seeds", 'word = ""  # text'])
    (tmp_path / "mine.csv").write_text("text,smiles\nmethane,C\n", encoding="utf-8")
    seen: list[dict[str, Any]] = []

    def execute(notebook: Any, parameters: dict[str, Any], path: Path) -> str | None:
        seen.append(parameters)
        return "cell 1: ValueError: no" if parameters["word"] == "fail" else None

    monkeypatch.setattr(kernels, "execute", execute)
    words = ["-p", "word", "-x = 'on'", "-p", "seeds", "[1, 2]"]
    given = {"pairs": "mine.csv", "seeds": [1, 2], "word": "-x = 'on'"}
    assert cli.main(["run", "01_book.ipynb", *words, "--pairs", "mine.csv", "--out", "here"]) == 0
    assert seen == [given | {"data": "", "extra": "", "out": "here"}]
    output = capsys.readouterr().out
    assert "01_book: finished after" in output
    assert f"report:  {Path('here') / 'report.html'}" in output
    assert (tmp_path / "here" / "done").exists()
    assert json.loads((tmp_path / "here" / "manifest.json").read_text(encoding="utf-8"))["overrides"] == given
    assert cli.main(["run", "01_book.ipynb", "-p", "word", "fail", "--out", "bad"]) == 1
    assert "cell 1: ValueError: no" in capsys.readouterr().out
    assert cli.main(["run", "01_book.ipynb", "-p", "word", "a", "-p", "word", "b"]) == 2
    assert "given twice" in capsys.readouterr().err


def test_cache_is_listed_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from class_kit.store import Maker, stored

    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))
    stored(Maker("text", "minilm", "0" * 64), ["a", "b", "c"], lambda rows: [(row, b"1234") for row in rows])
    stored(Maker("mol2vec", "corpus", "1" * 64), ["a"], lambda rows: [(row, b"12") for row in rows])
    for words, said in [
        (["list"], r"mol2vec +corpus +1 items +0\.\d MiB\ntext +minilm +3 items +0\.\d MiB\n2 entries"),
        (["clear", "--kind", "text"], "removed 1 entries"),
        (["list"], "1 entries"),
        (["clear"], "removed 1 entries"),
    ]:
        assert cli.main(["cache", *words]) == 0
        assert re.search(said, capsys.readouterr().out)
    assert not list((tmp_path / "cache").rglob("*.sqlite"))


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
