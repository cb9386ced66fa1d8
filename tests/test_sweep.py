"""Sweeps: all combinations are checked first, none harms another, and the page shows values as text."""

from __future__ import annotations

import json
import signal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as quickly
from hypothesis import strategies as st

from class_kit import runs
from class_kit.cli import main
from class_kit.errors import InputError
from class_kit.runs import kernels, report, sweep
from class_kit.runs.notebooks import SAFE_NAME, read_notebook
from tests.notebook_tools import write_notebook
from tests.test_kernels import is_gone, start_run, wait_for_pid

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060"
    "000000050001a5f645400000000049454e44ae426082"
)
HOSTILE = ("<script>alert(1)</script>", "../../up", "$(touch pwned)", '"><img src=x onerror=alert(2)>', "\x1b[2J\u202e")


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_notebook(tmp_path / "01_book.ipynb", ['word = "x"', "share = 0.5", "seeds = [0]", "size = None"])


class Played:
    """In place of kernels: a result and a figure; a word in `bad` fails, `stop_at` interrupts."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.bad: set[str] = set()
        self.stop_at: str | None = None

    def execute(self, notebook: Any, parameters: dict[str, Any], path: Path) -> kernels.Execution:
        word, out = parameters["word"], Path(parameters["out"])
        if word == self.stop_at:
            raise KeyboardInterrupt
        self.words.append(word)
        if word in self.bad:
            return kernels.Execution(f"cell 2: ValueError: {word}")
        runs.record(out, "01_book", {"length": len(word), "share": parameters["share"], "words": [word], "odd": True})
        (out / "figures").mkdir(exist_ok=True)
        (out / "figures" / "a.png").write_bytes(PIXEL)
        if word != "x":
            (out / "figures" / "b c.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")
        return kernels.Execution()


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    stand_in = Played()
    monkeypatch.setattr(kernels, "execute", stand_in.execute)
    return stand_in


def swept(book: Path, sweeps: dict[str, Any], *arguments: Any, **options: Any) -> runs.SweepResult:
    # one job runs in this process, where kernels are played
    return runs.sweep_notebooks([book], sweeps, *arguments, **({"jobs": 1, "say": lambda line: None} | options))


def planned(book: Path, *texts: str, **fixed: Any) -> list[sweep.Combination]:
    return sweep.plan_combinations([read_notebook(book)], sweep.read_sweeps(texts), fixed)


def test_refused_before_anything_starts(tmp_path: Path, book: Path, played: Played):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work", encoding="utf-8")
    for sweeps, options, said in [
        ({}, {}, "at least one parameter"),
        ({"share": []}, {}, "no values"),
        ({"share": "0.1"}, {}, "expected a list of values"),
        ({"share": 0.1}, {}, "expected a list of values"),
        ({"shar": [0.1]}, {}, "did you mean 'share'"),
        ({"share": [0.1, 0.2, "0.3"]}, {}, "01_book: share='0.3'"),
        ({"word": ["a", "b"], "share": [0.1, float("nan")]}, {}, "not a finite number"),
        ({"seeds": [[0], [True]]}, {}, "01_book: seeds"),
        ({"share": [1, 1.0]}, {}, r"gives share = 1\.0 twice"),
        ({"share": [0.1]}, {"parameters": {"share": 0.2}}, "share is given twice"),
        ({"pairs": ["corpus"]}, {"pairs": "corpus"}, "pairs is given twice"),
        ({"pairs": ["corpus", "nowhere.csv"]}, {}, "'nowhere.csv': not found"),
        ({"out": ["a", "b"]}, {}, "out is set by the run itself"),
        ({"share": range(40), "size": range(40)}, {}, "more than 1000 combinations"),
        ({"share": [0.1]}, {"jobs": 0}, "jobs=0"),
        ({"share": [0.1]}, {"name": "../up"}, "run name"),
        ({"share": [0.1]}, {"name": "a", "out": "b"}, "not both"),
        ({"share": [0.1]}, {"out": "mine"}, "without sweep.json"),
        ({"share": [0.1]}, {"out": "01_book.ipynb"}, "Not a directory"),
    ]:
        with pytest.raises(InputError, match=said):
            swept(book, sweeps, **options)
    assert played.words == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01_book.ipynb", "mine"]
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_runs_and_sweeps_keep_out_of_each_others_folders(book: Path, played: Played):
    assert runs.run_notebooks([book], name="one", say=lambda line: None).done
    with pytest.raises(InputError, match=r"without sweep\.json"):
        swept(book, {"share": [0.1]}, name="one")
    assert swept(book, {"share": [0.1]}, name="many").done
    with pytest.raises(InputError, match=r"without manifest\.json"):
        runs.run_notebooks([book], name="many")


def test_a_failure_stops_no_other_and_the_same_call_does_what_is_missing(book: Path, played: Played):
    sweeps = {"word": ["a", "bb", "dddd"], "share": [0.1]}
    played.bad, said = {"bb"}, []
    result = swept(book, sweeps, {"seeds": [7]}, say=said.append)
    folder = result.folder
    assert result.exit_code == 1
    assert list(result.status.values()) == ["finished", "failed", "finished"]
    assert not (folder / "done").exists()
    record = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed"
    assert record["fixed"] == {"seeds": [7]}
    assert record["sweeps"] == {"word": sweeps["word"], "share": [0.1]}
    assert record["runs"][1]["error"].startswith("01_book: cell 2: ValueError: bb")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["runs"]
    assert [run["parameters"] for run in metrics] == [
        {"seeds": [7], "word": word, "share": 0.1} for word in sweeps["word"]
    ]
    assert [run["metrics"].get("01_book", {}).get("length") for run in metrics] == [1, None, 4]
    assert any('word = "bb", share = 0.1: failed: 01_book: cell 2: ValueError: bb' in line for line in said)

    played.bad, played.words = set(), []
    again = swept(book, sweeps, {"seeds": [7]})
    assert again.folder == folder
    assert played.words == ["bb"]
    assert len(again.computed) == 1
    assert again.exit_code == 0
    assert (folder / "done").is_file()
    assert json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["runs"][1]["error"] == ""

    played.words = []
    assert swept(book, sweeps, {"seeds": [7]}).computed == []
    (folder / metrics[0]["folder"] / "results" / "01_book.json").write_text("{}", encoding="utf-8")
    assert swept(book, sweeps, {"seeds": [7]}).done
    assert played.words == ["a"]
    assert swept(book, sweeps, {"seeds": [7]}, force=True).done
    assert sorted(played.words) == ["a", "a", "bb", "dddd"]


def test_an_interrupt_leaves_no_done_and_continues(book: Path, played: Played):
    played.stop_at = "b"
    result = swept(book, {"word": ["a", "b", "c"]}, out="mine")
    assert result.exit_code == 130
    assert list(result.status.values()) == ["finished", "interrupted", "missing"]
    assert not Path("mine/done").exists()
    played.stop_at = None
    assert swept(book, {"word": ["a", "b", "c"]}, out="mine").done
    assert played.words == ["a", "b", "c"]


def test_a_folder_in_the_way_is_recorded_and_left_alone(book: Path, played: Played):
    blocked = Path("mine/runs") / planned(book, "word=a,b")[0].name
    blocked.mkdir(parents=True)
    Path("mine/sweep.json").write_text("{}", encoding="utf-8")
    (blocked / "thesis.tex").write_text("years of work", encoding="utf-8")
    assert list(swept(book, {"word": ["a", "b"]}, out="mine").status.values()) == ["failed", "finished"]
    errors = [run["error"] for run in json.loads(Path("mine/sweep.json").read_text())["runs"]]
    assert "not an empty folder" in errors[0]
    assert (blocked / "thesis.tex").read_text() == "years of work"


def test_real_kernels_in_several_processes_get_their_values(book: Path, tmp_path: Path):
    real = write_notebook(
        tmp_path / "02_real.ipynb",
        ['word = "x"  # any text', "seeds = [0]  # seeds"],
        "import os, pathlib\nfrom class_kit.runs import record\nif word == 'dies':\n    os._exit(3)",
        f"place = pathlib.Path(out, 'figures')\nplace.mkdir()\n_ = (place / 'a.png').write_bytes({PIXEL!r})\n"
        "_ = record(out, '02_real', dict(word=word, seeds=seeds))",
    )
    words = ",".join(json.dumps(word) for word in (*HOSTILE[:2], "dies"))
    code = main(["run", str(real), "--sweep", f"word={words}", "-p", "seeds", "[1, 2]", "--jobs", "2", "--out", "mine"])
    assert code == 1
    record = json.loads(Path("mine/sweep.json").read_text(encoding="utf-8"))
    assert [run["status"] for run in record["runs"]] == ["finished", "finished", "failed"]
    assert "DeadKernelError" in record["runs"][2]["error"]
    metrics = json.loads(Path("mine/metrics.json").read_text(encoding="utf-8"))["runs"]
    assert [run["metrics"] for run in metrics[:2]] == [
        {"02_real": {"word": word, "seeds": [1, 2]}} for word in HOSTILE[:2]
    ]
    assert not (tmp_path / "pwned").exists()


def test_ends_with_its_kernels_when_interrupted_and_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    book = write_notebook(
        tmp_path / "01_long.ipynb",
        ["number = 0"],
        "import os, pathlib, time\nfirst = not pathlib.Path(f'again{number}').exists()\n"
        "pathlib.Path(f'pid{number}.part').write_text(str(os.getpid()))\n"
        "os.replace(f'pid{number}.part', f'pid{number}')\ntime.sleep(120 if first else 0)",
    )
    process = start_run(tmp_path, book.name, "--sweep", "number=0,1,2", "--jobs", "2", "--out", "mine")
    found = [wait_for_pid(tmp_path / f"pid{number}", process) for number in (0, 1)]
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command continues" in output[0]
    assert all(is_gone(kernel) for kernel in found)
    assert not (tmp_path / "mine" / "done").exists()
    (tmp_path / "again0").touch()
    assert runs.sweep_notebooks([book], {"number": [0]}, out="mine", say=lambda line: None).done
    assert (tmp_path / "mine" / "done").is_file()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("0.02,0.06", ["0.02", "0.06"]),
        ("[0],[1,2]", ["[0]", "[1,2]"]),
        ("[[0,1],[2]], {a: 1, b: [2,3]}", ["[[0,1],[2]]", "{a: 1, b: [2,3]}"]),
        ("\"a,b\",'c, d',e", ["a,b", "c, d", "e"]),
        ("it's,o'clock", ["it's", "o'clock"]),
        ("x=1,y=2", ["x=1", "y=2"]),
    ],
)
def test_commas_inside_a_value_do_not_split(text: str, pieces: list[str]):
    (read,) = sweep.read_sweeps([f"name={text}"]).values()
    assert [value.text for value in read] == pieces


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["growth"], "expected NAME=V1,V2"),
        (["=1,2"], "expected NAME=V1,V2"),
        (["a=1", "a=2"], "a is given twice"),
        (["a=1,,2"], "expected NAME=V1,V2"),
        (["a=[1,2"], "expected NAME=V1,V2"),
        (['a="b,c'], "expected NAME=V1,V2"),
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
    assert planned(book, "share=0.1,0.2", word="y")[1].parameters == {"word": "y", "share": 0.2}


@pytest.fixture(scope="module")
def common_book(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read_notebook(write_notebook(tmp_path_factory.mktemp("b") / "01_book.ipynb", ['word = "x"']))


@given(words=st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5, unique=True))
@quickly(max_examples=40, deadline=None)
def test_folders_of_any_values_are_safe_and_differ(words: list[str], common_book: Any):
    found = sweep.plan_combinations([common_book], {"word": words}, {})
    assert [each.swept["word"] for each in found] == words
    assert len({each.name.casefold() for each in found}) == len(words)
    for each in found:
        assert SAFE_NAME.fullmatch(each.name)


class Page(HTMLParser):
    """What a browser would make of the page: its tags with attributes, and the text of each table's cells."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[str]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_data(self, data: str) -> None:
        if self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data.strip()

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_page_shows_figures_side_by_side_and_values_as_text(book: Path, played: Played):
    played.bad = {HOSTILE[0]}
    result = swept(book, {"word": ["x", *HOSTILE], "share": [0.25]}, out="mine")
    text = (result.folder / "index.html").read_text(encoding="utf-8")
    page = Page(result.folder / "index.html")
    own = "html head meta title style body header main h1 h2 p div table thead tbody tr th td a img"
    assert {tag for tag, _ in page.tags} <= set(own.split())
    allowed = {"lang", "charset", "http-equiv", "content", "name", "class", "scope", "href", "src", "alt", "loading"}
    assert {name for _, attributes in page.tags for name in attributes} <= allowed
    for link in page.all("a"):
        assert link["href"].startswith("runs/")
        assert ".." not in link["href"].split("/")
        assert (result.folder / link["href"].replace("%20", " ")).is_file()
    assert "\x1b" not in text
    assert "\u202e" not in text
    figures, numbers = page.tables
    assert figures[0] == ["combination", "a", "b c"]
    assert len(figures) == len(numbers) == 1 + 6
    for row, word in zip(figures[1:], ["x", *HOSTILE], strict=True):
        shown = json.dumps(word, ensure_ascii=False).replace("\u202e", "\\u202e")
        assert f"word = {shown}share = 0.25" in row[0]
    assert "failed01_book: cell 2: ValueError: <script>" in figures[2][0]
    assert [figures[row][1:] for row in (1, 2, 3)] == [["", "none"], ["none", "none"], ["", ""]]
    assert numbers[0] == ["combination", "01_book: length", "01_book: share"]
    assert numbers[1][1:] == ["1", "0.25"]
    assert numbers[2][1:] == ["", ""]
    pictures = page.all("img")
    assert len(pictures) == 1 + 2 * 4
    assert all(picture["src"].startswith(("data:image/png;base64,", "data:image/svg+xml;")) for picture in pictures)
    assert pictures[0]["alt"] == 'a, word = "x", share = 0.25'


def test_page_refers_to_many_pictures_and_to_none_outside(
    tmp_path: Path, book: Path, played: Played, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(report, "EMBED_LIMIT", 10)
    result = swept(book, {"word": ["x", "y"]}, out="mine")
    sources = [picture["src"] for picture in Page(result.folder / "index.html").all("img")]
    assert len(sources) == 3
    assert all((result.folder / source.replace("%20", " ")).read_bytes() for source in sources)
    assert "img-src 'self' file:" in (result.folder / "index.html").read_text(encoding="utf-8")
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    (result.folder / sources[0]).unlink()
    (result.folder / sources[0]).symlink_to(secret)
    record = json.loads((result.folder / "sweep.json").read_text(encoding="utf-8"))
    metrics = json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(report, "EMBED_LIMIT", 2**20)
    assert len(Page(report.write_index(result.folder, record, metrics)).all("img")) == 2
    assert "c2VjcmV0" not in (result.folder / "index.html").read_text(encoding="utf-8")


def test_jobs_without_a_sweep_and_a_parameter_twice_are_refused(
    book: Path, capsys: pytest.CaptureFixture[str], played: Played
):
    for arguments, said in [
        (["--jobs", "2"], "--jobs is for the runs of a --sweep"),
        (["--sweep", "share=0.1", "-p", "share", "0.2"], "share is given twice"),
        (["--sweep", "share=0.1,much"], "share='much'"),
        (["--sweep", "share=0.1", "--jobs", "0"], "jobs=0"),
    ]:
        assert main(["run", str(book), *arguments]) == 2
        assert said in capsys.readouterr().err
    assert played.words == []
    assert not Path("runs").exists()
