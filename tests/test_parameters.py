"""Strict parameters: what a cell declares, how a typed value is read, what fits."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.files import plain
from class_kit.runs.parameters import check_parameters, declared_parameters, parse_value

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_cell_is_read_and_never_run():
    source = (
        "a = 1  # how many\nb: float = -0.5  # a share\nc = (1,\n     2)  # two numbers\n\n"
        "# a line of its own\nd = '# x = 1'\ncopy = True\n_own = None\n"
    )
    declared = {"a": 1, "b": -0.5, "c": [1, 2], "d": "# x = 1", "copy": True, "_own": None}
    assert declared_parameters(source) == declared
    assert check_parameters({"copy": False, "_own": "x"}, declared) == {"copy": False, "_own": "x"}


def check_value(value: Any, default: Any) -> Any:
    return check_parameters({"p": value}, {"p": default})["p"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os", "line 1"),
        ("a = 1\nb = a", "b is not a plain literal"),
        ("a = open('x', 'w')", "a is not a plain literal"),
        ("a = f'{1}'", "a is not a plain literal"),
        ("a = b = 1", "expected `name = literal"),
        ("a, b = 1, 2", "expected `name = literal"),
        ("a += 1", "expected `name = literal"),
        ("a = 1\na = 2", "declared twice"),
        ("a = {1, 2}", "plain data"),
        ("a = b'x'", "plain data"),
        ("a = 1e999", "finite"),
        ("a = (", "not valid Python"),
        ("a = 1\0", "not valid Python"),
        ("print(1)", "line 1"),
        ("a: int", "line 1"),
    ],
)
def test_cell_that_is_more_than_literals_is_refused(source: str, said: str):
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        declared_parameters(source, "x.ipynb")


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("7", 3, 7),
        ("-7", 3, -7),
        ("1e-3", 0.5, 1e-3),
        ("1", 0.5, 1.0),
        (".5", 0.1, 0.5),
        ("true", False, True),
        ("False", True, False),
        ("[0.99, 0.95]", [0.9], [0.99, 0.95]),
        ("[1, 2.5]", [0.9], [1.0, 2.5]),
        ("[]", [1], []),
        ('["a", "b c"]', ["x"], ["a", "b c"]),
        ("[a, on]", ["x"], ["a", "on"]),
        ("[[0.4, 1]]", [[0.4, 0.03]], [[0.4, 1.0]]),
        ("[1, 2]", (0,), [1, 2]),
        ('{"a": 1}', {"b": 2}, {"a": 1}),
        ("null", None, None),
        ("5", None, 5),
        ("words", None, "words"),
        ("on", "x", "on"),
        ("1e3", "x", "1e3"),
        ("", "x", ""),
        ("  two  ", "x", "  two  "),
        ("!!python/object/apply:os.system ['true']", "x", "!!python/object/apply:os.system ['true']"),
    ],
)
def test_typed_value_is_read_by_the_declared_type(text: str, default: Any, value: Any):
    default = plain(default, "default")
    fitted = check_value(parse_value(text, default, "p"), default)
    assert fitted == value
    assert type(fitted) is type(value)


@pytest.mark.parametrize(
    ("text", "default"),
    [
        ("1.5", 3),
        ("three", 3),
        ("true", 3),
        ("1", True),
        ("yes", True),
        ("nan", 0.5),
        (".inf", 0.5),
        ("1e999", 0.5),
        ("9" * 400, 0.5),
        ("9" * 5000, 3),
        ("null", 0.5),
        ("", 3),
        ("0.9", [0.9]),
        ("[a]", [1]),
        ("[1.5]", [1]),
        ("[true]", [1]),
        ("[1", [1]),
        ("{a: 1}", [1]),
        ("[1]", {"a": 1}),
        ("true", None),
        ("[1]", None),
        ("12:30", 3),
        ("2020-01-01", 3),
        ("!!python/object/apply:os.system ['true']", 3),
        ("!!int 'x'", 3),
        ("&a [*a]", [1]),
        ("[" * 5000, [1]),
        ("\0", 3),
        ("a: b: c", 3),
    ],
)
def test_value_of_another_type_is_refused(text: str, default: Any):
    with pytest.raises(InputError, match=r"\bp(=|:|\[)"):
        check_value(parse_value(text, default, "p"), default)


def test_values_from_python_become_plain_literals():
    assert check_value(np.float32(0.5), 0.1) == 0.5
    assert check_value((np.int64(1), 2), [0]) == [1, 2]
    assert check_value(np.array([0.5, 1]), [0.1]) == [0.5, 1.0]
    assert check_value(Path("a") / "b", "") == str(Path("a") / "b")
    for value in ("\ud800", float("nan"), np.float64("inf"), 1 + 2j, b"x", {1: 2}, object(), {1, 2}):
        with pytest.raises(InputError):
            check_value(value, None)


@given(PLAIN)
def test_plain_data_stays_itself(value: Any):
    assert plain(value, "v") == value


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_string_parameters_are_taken_as_typed(text: str):
    assert check_value(parse_value(text, "default", "p"), "default") == text


@settings(deadline=None)
@given(st.text(), st.sampled_from([0, 0.5, True, None, [1], [0.5], ["a"], [], {"a": 1}]))
def test_any_text_is_read_or_refused_with_one_error(text: str, default: Any):
    try:
        value = check_value(parse_value(text, default, "p"), default)
    except InputError:
        return
    assert default is None or type(value) is type(default)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(blacklist_categories=()), max_size=40))
def test_papermill_writes_any_string_as_one_literal(text: str):
    from papermill.translators import PythonTranslator

    tree = ast.parse(PythonTranslator.codify({"word": text}))
    assert len(tree.body) == 1
    assert ast.literal_eval(tree.body[0].value) == text


def test_nearest_names_are_suggested():
    with pytest.raises(InputError, match="x: 'sigmas' is unknown; did you mean 'sigma'"):
        check_parameters({"sigmas": 1}, {"sigma": 1, "seeds": [0]}, "x")
