"""Made-up command lines: each ends as it should, says one line where it refuses, and leaves nothing half-written."""

from __future__ import annotations

import contextlib
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from class_kit import cli
from class_kit.errors import InputError
from class_kit.runs import kernels, notebooks
from tests.pair_files import TABLE
from tests.test_fuzz import examples, place

__all__ = ["place"]

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
def test_command_lines(
    arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real handlers, but for what would take minutes: no cell is executed, nothing fetched, nothing trained."""
    check_command_line(arguments, place, monkeypatch, capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_tried(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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
