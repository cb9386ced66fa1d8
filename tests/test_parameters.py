"""Strict parameters: what a cell declares, how a typed value is read, what fits."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.files import plain
from class_kit.runs.notebooks import Notebook, Raw, declared_parameters
from tests.refusals import refuses


def read(text: str, default: Any) -> Any:
    """What a notebook makes of a value typed for a parameter with this default."""
    return fitted(Raw(text), default)


def fitted(value: Any, default: Any) -> Any:
    return Notebook(Path("x.ipynb"), None, {"p": plain(default, "default")}).checked({"p": value, "other": 1})["p"]


def test_cell_is_read_and_never_run():
    source = "a = 1  # how many\nb: float = -0.5\nc = (1,\n     2)\n\n# a line of its own\nd = '# x'\n"
    assert declared_parameters(source) == {"a": 1, "b": -0.5, "c": [1, 2], "d": "# x"}


test_cell_that_is_more_than_literals_is_refused = refuses(
    ("import os", "line 1"),
    ("a = 1\nb = a", "b is not a plain literal"),
    ("a = open('x', 'w')", "a is not a plain literal"),
    ("a = b = 1", "expected `name = literal"),
    ("a += 1", "expected `name = literal"),
    ("a = 1\na = 2", "declared twice"),
    ("a = {1, 2}", "a is not a plain literal"),
    ("a = 1e999", "a is not a plain literal"),
    ("a = (", "not valid Python"),
    ("a: int", "line 1"),
    call=lambda source: declared_parameters(source, "x.ipynb"),
    pattern=re.escape,
)


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("7", 3, 7),
        ("1e-3", 0.5, 1e-3),
        ("1", 0.5, 1.0),
        ("False", True, False),
        ("[0.99, 0.95]", [0.9], [0.99, 0.95]),
        ("[1, 2.5]", [0.9], [1.0, 2.5]),
        ('["a", "b c"]', ["x"], ["a", "b c"]),
        ("[a, b c]", ["x"], ["a", "b c"]),
        ("[[0.4, 1]]", [[0.4, 0.03]], [[0.4, 1.0]]),
        ('{"a": 1}', {"b": 2}, {"a": 1}),
        ("null", None, None),
        ("5", None, 5),
        ("words", None, "words"),
        (" on ", "x", " on "),
        ("!!python/object/apply:os.system ['true']", "x", "!!python/object/apply:os.system ['true']"),
    ],
)
def test_typed_value_is_read_by_the_declared_type(text: str, default: Any, value: Any):
    assert read(text, default) == value
    assert type(read(text, default)) is type(value)


@pytest.mark.parametrize(
    ("text", "default"),
    [
        ("1.5", 3),
        ("true", 3),
        ("1", True),
        (".inf", 0.5),
        ("9" * 400, 0.5),
        ("9" * 5000, 3),
        ("", 3),
        ("0.9", [0.9]),
        ("[a]", [1]),
        ("[1.5]", [1]),
        ("[1", [1]),
        ("true", None),
        ("[1]", None),
        ("2020-01-01", 3),
        ("!!python/object/apply:os.system ['true']", 3),
        ("&a [*a]", [1]),
        ("[" * 5000, [1]),
    ],
)
def test_value_of_another_type_is_refused(text: str, default: Any):
    with pytest.raises(InputError):
        read(text, default)


def test_a_refusal_names_notebook_parameter_value_and_what_was_expected():
    with pytest.raises(InputError, match=r"x: p='three': expected an integer"):
        fitted("three", 3)
    with pytest.raises(InputError, match=r"x: p\[1\]=True"):
        fitted([1, True], [0])


def test_values_from_python_become_plain_literals():
    assert fitted(np.float32(0.5), 0.1) == 0.5
    assert fitted((np.int64(1), 2), [0]) == [1, 2]
    assert fitted(np.array([0.5, 1]), [0.1]) == [0.5, 1.0]
    assert fitted(Path("a") / "b", "") == str(Path("a") / "b")
    for value in ("\ud800", float("nan"), np.float64("inf"), 1 + 2j, b"x", {1: 2}, object(), {1, 2}):
        with pytest.raises(InputError):
            fitted(value, None)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_string_parameters_are_taken_as_typed(text: str):
    assert read(text, "default") == text


@settings(deadline=None)
@given(st.text(alphabet=st.characters(blacklist_categories=()), max_size=40))
def test_papermill_writes_any_string_as_one_literal(text: str):
    from papermill.translators import PythonTranslator

    tree = ast.parse(PythonTranslator.codify({"word": text}))
    assert len(tree.body) == 1
    assert ast.literal_eval(tree.body[0].value) == text
