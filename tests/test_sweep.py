"""Sweeps: all combinations are checked first, none harms another, and the page shows values as text."""

import json
import re
from html import escape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as quickly
from hypothesis import strategies as st

from class_kit import runs
from class_kit.errors import InputError
from class_kit.runs import kernels, sweep
from class_kit.runs.notebooks import SAFE_NAME, read_notebook
from class_kit.terminal import visible
from tests.notebook_tools import quiet, write_notebook
from tests.refusals import refuses

OWN = "html head meta title style body header main h1 h2 p div table thead tbody tr th td a img"
HOSTILE = ("<script>alert(1)</script>", "../../up", "$(touch pwned)", '"><img src=x onerror=alert(2)>', "\x1b[2J\u202e")


@pytest.fixture
def book(here: Path) -> Path:
    return write_notebook(here / "01_book.ipynb", ['word = "x"', "share = 0.5", "seeds = [0]", "size = None"])


class Played:
    """In place of kernels: a result and a figure; a word in `bad` fails."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.bad: set[str] = set()

    def execute(self, notebook: Any, parameters: dict[str, Any], path: Path, *ignored: Any) -> str | None:
        word, out = parameters["word"], Path(parameters["out"])
        self.words.append(word)
        if word in self.bad:
            return f"cell 2: ValueError: {word}"
        runs.record(out, "01_book", {"length": len(word), "share": parameters["share"], "words": [word], "odd": True})
        (out / "figures").mkdir(exist_ok=True)
        (out / "figures" / "a.png").write_bytes(b"picture")
        if word != "x":
            (out / "figures" / "b c.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")
        return None


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    stand_in = Played()
    monkeypatch.setattr(kernels, "execute", stand_in.execute)
    return stand_in


def swept(book: Path, sweeps: dict[str, Any], *arguments: Any, **options: Any) -> runs.RunResult:
    # one job runs in this process, where kernels are played
    return runs.sweep_notebooks([book], sweeps, *arguments, **({"jobs": 1, "say": quiet} | options))


def test_refused_before_anything_starts(tmp_path: Path, book: Path, played: Played):
    for sweeps, options, said in [
        ({}, {}, "make 0 combinations"),
        ({"share": []}, {}, "make 0 combinations"),
        ({"share": range(40), "size": range(40)}, {}, "make 1600 combinations"),
        ({"shar": [0.1]}, {}, "did you mean 'share'"),
        ({"share": [0.1, 0.2, "0.3"]}, {}, "01_book: share='0.3'"),
        ({"word": ["a", "b"], "share": [0.1, float("nan")]}, {}, "not a finite number"),
        ({"share": [1, 1.0]}, {}, r"gives share = 1\.0 twice"),
        ({"share": [0.1]}, {"parameters": {"share": 0.2}}, "share is given twice"),
        ({"pairs": ["corpus", "nowhere.csv"]}, {}, "nowhere.csv: there is no such file"),
        ({"out": ["a", "b"]}, {}, "out is set by the run itself"),
        ({"share": [0.1]}, {"jobs": 0}, "jobs=0"),
        ({"share": [0.1]}, {"out": "01_book.ipynb"}, "Not a directory"),
    ]:
        with pytest.raises(InputError, match=said):
            swept(book, sweeps, **options)
    assert played.words == []
    assert [path.name for path in tmp_path.iterdir()] == ["01_book.ipynb"]


def test_runs_and_sweeps_keep_out_of_each_others_folders(book: Path, played: Played):
    assert runs.run_notebooks([book], out="one", say=quiet).done
    with pytest.raises(InputError, match=r"one with sweep\.json"):
        swept(book, {"share": [0.1]}, out="one")
    assert swept(book, {"share": [0.1]}, out="many").done
    with pytest.raises(InputError, match=r"one with manifest\.json"):
        runs.run_notebooks([book], out="many")


def test_a_failure_stops_no_other_and_the_same_call_does_what_is_missing(book: Path, played: Played):
    words = ["a", "bb", "dddd"]
    sweeps, said = {"word": words, "share": [0.1]}, []
    played.bad = {"bb"}
    result = swept(book, sweeps, {"seeds": [7]}, say=said.append)
    folder = result.folder
    assert (result.exit_code, result.done) == (1, False)
    assert list(result.status.values()) == ["finished", "failed", "finished"]
    assert not (folder / "done").exists()
    record = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert (record["status"], record["fixed"], record["sweeps"]) == ("failed", {"seeds": [7]}, ["word", "share"])
    rows = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["runs"]
    assert rows[1]["error"].startswith("01_book: cell 2: ValueError: bb")
    assert [row["parameters"] for row in rows] == [{"seeds": [7], "word": word, "share": 0.1} for word in words]
    assert [row["metrics"].get("01_book", {}).get("length") for row in rows] == [1, None, 4]
    assert any('word = "bb", share = 0.1: failed: 01_book: cell 2: ValueError: bb' in line for line in said)

    played.bad, played.words = set(), []
    again = swept(book, sweeps, {"seeds": [7]})
    assert (again.folder, again.exit_code, len(again.computed)) == (folder, 0, 1)
    assert played.words == ["bb"]
    assert (folder / "done").is_file()
    assert swept(book, sweeps, {"seeds": [7]}).computed == []
    assert len(swept(book, sweeps, {"seeds": [7]}, force=True).computed) == 3


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.02,0.06", [0.02, 0.06]),
        ("1e-3,1", [1e-3, 1]),
        ("[[0,1],[2]], {a: 1, b: [2,3]}", [[[0, 1], [2]], {"a": 1, "b": [2, 3]}]),
        ("\"a,b\",'c, d',e", ["a,b", "c, d", "e"]),
        ("it's,o'clock", ["it's", "o'clock"]),
        ("x=1,y=2", ["x=1", "y=2"]),
    ],
)
def test_commas_inside_a_value_do_not_split(text: str, values: list[Any]):
    assert sweep.read_sweeps([f"name={text}"]) == {"name": values}


UNREADABLE = (["growth"], ["=1,2"], ["a=1", "a=2"], ["a=1,,2"], ["a=[1,2"], ['a="b,c'])
test_unreadable_sweeps_are_refused = refuses(
    *((texts, "expected NAME=V1,V2") for texts in UNREADABLE), call=sweep.read_sweeps
)


def test_values_are_read_as_the_notebook_declares_them(book: Path):
    texts = ["seeds=[0],[1,2]", "word='on',\"a, b\",1e3", "share=1", "size=1,null"]
    found = sweep.plan_combinations([read_notebook(book)], sweep.read_sweeps(texts), {"pairs": "corpus"})
    assert list(found.values()) == [
        {"pairs": "corpus", "word": word, "share": 1.0, "seeds": seeds, "size": size}
        for seeds in ([0], [1, 2])
        for word in ("on", "a, b", "1e3")
        for size in (1, None)
    ]
    assert {type(each["share"]) for each in found.values()} == {float}


@pytest.fixture(scope="module")
def common_book(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read_notebook(write_notebook(tmp_path_factory.mktemp("b") / "01_book.ipynb", ['word = "x"']))


@given(words=st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5, unique=True))
@quickly(max_examples=40, deadline=None)
def test_folders_of_any_values_are_safe_and_differ(words: list[str], common_book: Any):
    found = sweep.plan_combinations([common_book], {"word": words}, {})
    assert [each["word"] for each in found.values()] == words
    assert len({name.casefold() for name in found}) == len(words)
    assert all(SAFE_NAME.fullmatch(name) for name in found)


def test_page_shows_figures_side_by_side_and_values_as_text(book: Path, played: Played):
    played.bad = {HOSTILE[0]}
    folder = swept(book, {"word": ["x", *HOSTILE], "share": [0.25]}, out="mine").folder
    html = (folder / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r"<([a-z]\w*)", html)) <= set(OWN.split())
    links, pictures = re.findall(r' href="([^"]*)"', html), re.findall(r' src="([^"]*)"', html)
    assert (len(links), len(pictures)) == (1 + 2 * 4 + 6, 1 + 2 * 4)
    for link in links + pictures:
        assert link.startswith("runs/")
        assert (folder / link.replace("%20", " ")).resolve().is_relative_to(folder.resolve() / "runs")
        assert (folder / link.replace("%20", " ")).is_file()
    assert not {"\x1b", "\u202e"} & set(html)
    for word in ["x", *HOSTILE]:
        shown = escape(visible(json.dumps(word, ensure_ascii=False))).replace("&quot;", "&#34;")
        assert html.count(f"<p>word = {shown}</p><p>share = 0.25</p>") == 2, "beside its figures and its numbers"
    assert "6 combinations of 01_book: 5 finished, 1 failed" in html
    assert '<td class="number">1</td><td class="number">0.25</td>' in html
