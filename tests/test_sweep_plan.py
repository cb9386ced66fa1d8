"""What is typed after --sweep: split, read as the notebook declares it, and given a folder that no value can choose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as quickly
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.runs import sweep
from class_kit.runs.folder import SAFE_NAME
from class_kit.runs.notebook_files import read_notebook
from tests.notebook_tools import write_notebook
from tests.sweep_tools import book, here, planned

__all__ = ["book", "here"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("0.02,0.06", ["0.02", "0.06"]),
        ("[0],[1,2]", ["[0]", "[1,2]"]),
        ("[[0,1],[2]], {a: 1, b: [2,3]}", ["[[0,1],[2]]", "{a: 1, b: [2,3]}"]),
        ("\"a,b\",'c, d',e", ['"a,b"', "'c, d'", "e"]),
        (r'"say \",\" twice",b', [r'"say \",\" twice"', "b"]),
        ("['[', \"],\"],b", ["['[', \"],\"]", "b"]),
        ("it's,o'clock", ["it's", "o'clock"]),
        ("[Na+].[Cl-],C[C@@H](N)C", ["[Na+].[Cl-]", "C[C@@H](N)C"]),
        ("a],b", ["a]", "b"]),
        ("x=1,y=2", ["x=1", "y=2"]),
    ],
)
def test_commas_inside_a_value_do_not_split(text: str, pieces: list[str]):
    assert sweep.split_values(text, "name") == pieces
    (read,) = sweep.read_sweeps([f"name={text}"]).values()
    assert [value.text for value in read] == pieces


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["growth"], "expected NAME=V1,V2"),
        (["=1,2"], "expected NAME=V1,V2"),
        (["a=1", "a=2"], "a is given twice"),
        (["a="], "an empty value"),
        (["a=1,,2"], "an empty value"),
        (["a=1,"], "an empty value"),
        (["a=[1,2"], "stays open"),
        (['a="b,c'], "stays open"),
    ],
)
def test_unreadable_sweeps_are_refused(texts: list[str], said: str):
    with pytest.raises(InputError, match=said):
        sweep.read_sweeps(texts)


def test_values_are_read_as_the_notebook_declares_them(book: Path):
    found = planned(book, "seeds=[0],[1,2]", "word='on',\"a, b\",1e3", "share=1", "size=1,null")
    assert [list(each.swept.values()) for each in found] == [
        [seeds, word, 1.0, size] for seeds in ([0], [1, 2]) for word in ("on", "a, b", "1e3") for size in (1, None)
    ]
    assert [type(each.swept["share"]) for each in found] == [float] * 12
    assert found[0].overrides == {"01_book": {"seeds": [0], "word": "on", "share": 1.0, "size": 1}}
    assert planned(book, "share=0.1,0.2", word="y")[1].parameters == {"word": "y", "share": 0.2}


@pytest.fixture(scope="module")
def common_book(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read_notebook(write_notebook(tmp_path_factory.mktemp("b") / "01_book.ipynb", ['word = "x"']))


@given(words=st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5, unique=True))
@quickly(max_examples=60, deadline=None)
def test_folders_of_any_values_are_safe_and_differ(words: list[str], common_book: Any):
    found = sweep.plan_combinations([common_book], {"word": words}, {}, {})
    assert [each.swept["word"] for each in found] == words
    assert len({each.name.casefold() for each in found}) == len(words)
    for each in found:
        assert SAFE_NAME.fullmatch(each.name)
        assert ".." not in each.name.split("/")
    typed = [json.dumps(word) for word in words]
    read = sweep.plan_combinations([common_book], sweep.read_sweeps([f"word={','.join(typed)}"]), {}, {})
    assert [each.swept for each in read] == [each.swept for each in found]


def test_values_that_would_share_a_folder_are_refused(book: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sweep, "default_name", lambda values: "same")
    with pytest.raises(InputError, match=r"share = 0\.2 would get the folder 'same' of share = 0\.1"):
        planned(book, "share=0.1,0.2")
