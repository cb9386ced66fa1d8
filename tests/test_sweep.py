"""Sweeps: all combinations are checked first, none harms another, and the page shows values as text."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import traceback
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import settings as quickly
from hypothesis import strategies as st
from joblib import cpu_count
from nbformat.v4 import new_code_cell, new_notebook

from class_kit import runs
from class_kit.cli import main
from class_kit.errors import InputError
from class_kit.runs import kernels, manifest, sweep, sweep_page, sweep_plan, sweep_process
from class_kit.runs.folder import SAFE_NAME
from class_kit.runs.notebook_files import read_notebook
from tests.notebook_tools import write_notebook
from tests.test_kernels import is_gone, start_run, wait_for_pid

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060"
    "000000050001a5f645400000000049454e44ae426082"
)
HOSTILE = ("<script>alert(1)</script>", "../../up", "$(touch pwned)", '"><img src=x onerror=alert(2)>', "\x1b[2J\u202e")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def book(here: Path) -> Path:
    return write_notebook(here / "01_book.ipynb", ['word = "x"', "share = 0.5", "seeds = [0]", "size = None"])


class Played:
    """In place of processes and kernels: runs in this process that leave a result and a figure.

    `bad` holds the words with which a notebook fails, `lost` those with which its process does.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.bad: set[str] = set()
        self.lost: set[str] = set()
        self.stop_at: str | None = None

    def execute(self, notebook: Any, parameters: dict[str, Any], partial: Path) -> kernels.Execution:
        word, out = parameters["word"], Path(parameters["out"])
        self.words.append(word)
        if word in self.bad:
            return kernels.Execution(nbformat.from_dict(notebook), f"cell 2: ValueError: {word}")
        runs.record(out, "01_book", {"length": len(word), "share": parameters["share"], "words": [word], "odd": True})
        (out / "figures").mkdir(exist_ok=True)
        (out / "figures" / "a.png").write_bytes(PIXEL)
        if word != "x":
            (out / "figures" / "b c.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")
            (out / "figures" / "a.pdf").write_bytes(b"%PDF")
        return kernels.Execution(nbformat.from_dict(notebook))

    def workers(self, threads: int) -> Any:
        return SimpleNamespace(run=self._run, stop=lambda: None)

    def _run(self, request: dict[str, Any]) -> tuple[int, str] | None:
        word = sweep_process._unpacked(request["parameters"]).get("word", "x")
        word = getattr(word, "text", word)
        if word == self.stop_at:
            return 130, ""
        if word in self.lost:
            return -9, ""
        try:
            return sweep_process._run(json.loads(json.dumps(request))), ""
        except InputError as error:
            return 2, str(error)
        except Exception:
            return 3, traceback.format_exc()


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    stand_in = Played()
    environment = manifest.environment()
    monkeypatch.setattr(manifest, "environment", lambda: environment)
    monkeypatch.setattr(manifest, "git_commit", lambda: None)
    monkeypatch.setattr(manifest, "command_line", lambda: ["pytest"])
    monkeypatch.setattr(sweep_process.sys, "argv", ["pytest"])
    monkeypatch.setattr(kernels, "execute", stand_in.execute)
    monkeypatch.setattr(sweep, "Workers", stand_in.workers)
    return stand_in


def swept(book: Path, sweeps: dict[str, Any], *arguments: Any, **options: Any) -> runs.SweepResult:
    return runs.sweep_notebooks([book], sweeps, *arguments, **({"jobs": 1, "say": lambda line: None} | options))


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
    assert sweep_plan.split_values(text, "name") == pieces
    (read,) = sweep_plan.read_sweeps([f"name={text}"]).values()
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
        sweep_plan.read_sweeps(texts)


def planned(book: Path, *texts: str, **fixed: Any) -> list[sweep_plan.Combination]:
    return sweep_plan.plan_combinations([read_notebook(book)], sweep_plan.read_sweeps(texts), fixed, {})


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
    found = sweep_plan.plan_combinations([common_book], {"word": words}, {}, {})
    assert [each.swept["word"] for each in found] == words
    assert len({each.name.casefold() for each in found}) == len(words)
    for each in found:
        assert SAFE_NAME.fullmatch(each.name)
        assert ".." not in each.name.split("/")
    typed = [json.dumps(word) for word in words]
    read = sweep_plan.plan_combinations([common_book], sweep_plan.read_sweeps([f"word={','.join(typed)}"]), {}, {})
    assert [each.swept for each in read] == [each.swept for each in found]


def test_refused_before_anything_starts(here: Path, book: Path, played: Played):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("years of work", encoding="utf-8")
    for sweeps, options, said in [
        ({}, {}, "at least one parameter"),
        ({"share": []}, {}, "no values"),
        ({"share": "0.1"}, {}, "expected a list of values"),
        ({"share": 0.1}, {}, "expected a list of values"),
        ({"shar": [0.1]}, {}, "did you mean share"),
        ({"share": [0.1, 0.2, "0.3"]}, {}, "parameter share: '0.3' is text"),
        ({"word": ["a", "b"], "share": [0.1, float("nan")]}, {}, "not a finite number"),
        ({"seeds": [[0], [True]]}, {}, "parameter seeds"),
        ({"share": [1, 1.0]}, {}, r"gives share = 1\.0 twice"),
        ({"share": [0.1]}, {"parameters": {"share": 0.2}}, "share is given twice"),
        ({"pairs": ["corpus"]}, {"pairs": "corpus"}, "pairs is given twice"),
        ({"pairs": ["corpus", "nowhere.csv"]}, {}, "'nowhere.csv': not found"),
        ({"out": ["a", "b"]}, {}, "out is set by the run itself"),
        ({"share": range(40), "size": range(40)}, {}, "1600 combinations; expected at most 1000"),
        ({"share": [0.1]}, {"jobs": 0}, "jobs=0"),
        ({"share": [0.1]}, {"name": "../up"}, "run name"),
        ({"share": [0.1]}, {"name": "a", "out": "b"}, "not both"),
        ({"share": [0.1]}, {"out": "mine"}, "not a sweep's folder"),
        ({"share": [0.1]}, {"out": "01_book.ipynb"}, "Not a directory"),
    ]:
        with pytest.raises(InputError, match=said):
            swept(book, sweeps, **options)
    assert played.words == []
    assert sorted(path.name for path in here.iterdir()) == ["01_book.ipynb", "mine"]
    assert [path.name for path in (here / "mine").iterdir()] == ["thesis.tex"]


def test_values_that_would_share_a_folder_are_refused(book: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sweep_plan, "default_name", lambda values: "same")
    with pytest.raises(InputError, match=r"share = 0\.2 would get the folder 'same' of share = 0\.1"):
        planned(book, "share=0.1,0.2")


def test_runs_and_sweeps_keep_out_of_each_others_folders(book: Path, played: Played):
    assert runs.run_notebooks([book], name="one", say=lambda line: None).done
    before = (Path("runs/one/metrics.json")).read_bytes()
    with pytest.raises(InputError, match="not a sweep's folder"):
        swept(book, {"share": [0.1]}, name="one")
    assert Path("runs/one/metrics.json").read_bytes() == before
    assert swept(book, {"share": [0.1]}, name="many").done
    before = Path("runs/many/metrics.json").read_bytes()
    with pytest.raises(InputError, match="a sweep is kept in"):
        runs.run_notebooks([book], name="many")
    with pytest.raises(InputError, match="not a run's folder"):
        runs.run_notebooks([book], out="runs/many")
    assert Path("runs/many/metrics.json").read_bytes() == before


def test_a_failure_stops_no_other_and_the_same_call_does_what_is_missing(book: Path, played: Played):
    sweeps = {"word": ["a", "bb", "ccc", "dddd"], "share": [0.1]}
    played.bad, played.lost, said = {"bb"}, {"ccc"}, []
    result = swept(book, sweeps, {"seeds": [7]}, say=said.append)
    folder = result.folder
    assert result.exit_code == 1
    assert not result.done
    assert list(result.status.values()) == ["finished", "failed", "failed", "finished"]
    assert not (folder / "done").exists()
    record = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed"
    assert record["fixed"] == {"seeds": [7]}
    assert record["sweeps"] == {"word": sweeps["word"], "share": [0.1]}
    assert record["runs"][1]["error"].startswith("01_book: cell 2: ValueError: bb")
    assert "signal 9" in record["runs"][2]["error"]
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["runs"]
    assert [run["parameters"] for run in metrics] == [
        {"seeds": [7], "word": word, "share": 0.1} for word in sweeps["word"]
    ]
    assert [run["metrics"].get("01_book", {}).get("length") for run in metrics] == [1, None, None, 4]
    finished = [line for line in said if "share = 0.1: " in line]
    assert len(finished) == 4
    assert any('word = "bb", share = 0.1: failed after' in line and "ValueError: bb" in line for line in finished)
    assert all(f"({n} of 4)" in line for n, line in enumerate(finished, 1))

    played.bad, played.lost, played.words = set(), set(), []
    again = swept(book, sweeps, {"seeds": [7]})
    assert again.folder == folder
    assert sorted(played.words) == ["bb", "ccc"]
    assert len(again.computed) == 2
    assert again.exit_code == 0
    assert (folder / "done").is_file()
    assert "error" not in json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["runs"][1]

    played.words = []
    assert swept(book, sweeps, {"seeds": [7]}).computed == []
    assert played.words == []
    damaged = folder / metrics[0]["folder"] / "results" / "01_book.json"
    damaged.write_text("{}", encoding="utf-8")
    assert swept(book, sweeps, {"seeds": [7]}).done
    assert played.words == ["a"]
    assert swept(book, sweeps, {"seeds": [7]}, force=True).done
    assert sorted(played.words) == ["a", "a", "bb", "ccc", "dddd"]


def test_more_values_in_the_same_folder_reuse_what_is_there(book: Path, played: Played):
    assert swept(book, {"word": ["a", "b"]}, out="mine").done
    said: list[str] = []
    result = swept(book, {"word": ["b", "c"]}, out="mine", say=said.append)
    assert result.done
    assert sorted(played.words) == ["a", "b", "c"]
    assert any(line.startswith("of earlier sweeps, kept but not in the index: word-a-") for line in said)
    assert len(list(Path("mine/runs").iterdir())) == 3


def test_an_interrupt_leaves_no_done_and_continues(book: Path, played: Played):
    played.stop_at = "b"
    result = swept(book, {"word": ["a", "b"]}, out="mine")
    assert result.exit_code == 130
    assert list(result.status.values()) == ["finished", "interrupted"]
    assert not Path("mine/done").exists()
    played.stop_at = None
    assert swept(book, {"word": ["a", "b"]}, out="mine").done
    assert played.words == ["a", "b"]


def test_what_breaks_outside_the_notebook_is_recorded_too(book: Path, played: Played, monkeypatch: pytest.MonkeyPatch):
    blocked = Path("mine/runs")
    plan = planned(book, "word=a,b")
    (blocked / plan[0].name).mkdir(parents=True)
    Path("mine/sweep.json").write_text("{}", encoding="utf-8")
    (blocked / plan[0].name / "thesis.tex").write_text("years of work", encoding="utf-8")
    result = swept(book, {"word": ["a", "b"]}, out="mine")
    assert list(result.status.values()) == ["failed", "finished"]
    errors = [run.get("error") for run in json.loads(Path("mine/sweep.json").read_text())["runs"]]
    assert "not a run's folder" in errors[0]
    assert (blocked / plan[0].name / "thesis.tex").read_text() == "years of work"

    def no_process(*arguments: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(sweep, "Workers", lambda threads: SimpleNamespace(run=no_process, stop=lambda: None))
    result = swept(book, {"word": ["b", "c"]}, out="mine")
    assert list(result.status.values()) == ["finished", "failed"]
    errors = [run.get("error") for run in json.loads(Path("mine/sweep.json").read_text())["runs"]]
    assert "could not be started" in errors[1]


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
            self.tables[-1][-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check_harmless(page: Page) -> None:
    """No script, no handler, nothing but the page's own tags, links only into the folder."""
    own = "html head meta title style body header main h1 h2 p div table thead tbody tr th td a img"
    assert {tag for tag, _ in page.tags} <= set(own.split())
    allowed = {"lang", "charset", "http-equiv", "content", "name", "class", "scope", "href", "src", "alt", "loading"}
    assert {name for _, attributes in page.tags for name in attributes} <= allowed
    for link in page.all("a"):
        assert link["href"].startswith("runs/")
        assert ".." not in link["href"].split("/")


def test_page_shows_figures_side_by_side_and_values_as_text(book: Path, played: Played):
    played.bad = {HOSTILE[0]}
    result = swept(book, {"word": ["x", *HOSTILE], "share": [0.25]}, out="mine")
    text = (result.folder / "index.html").read_text(encoding="utf-8")
    page = Page(result.folder / "index.html")
    check_harmless(page)
    assert "\x1b" not in text
    assert "\u202e" not in text
    figures, numbers = page.tables
    assert figures[0] == ["combination", "a", "b c"]
    assert len(figures) == len(numbers) == 1 + 6
    for row, word in zip(figures[1:], ["x", *HOSTILE], strict=True):
        shown = json.dumps(word, ensure_ascii=False).replace("\u202e", "\\u202e")
        assert f"word = {shown}share = 0.25" in row[0]
    assert "failed01_book: cell 2: ValueError: <script>" in figures[2][0]
    assert figures[1][1:] == ["", "none"]
    assert figures[2][1:] == ["none", "none"]
    assert figures[3][1:] == ["", ""]
    assert numbers[0] == ["combination", "01_book: length", "01_book: share"]
    assert numbers[1][1:] == ["1", "0.25"]
    assert numbers[2][1:] == ["", ""]
    pictures = page.all("img")
    assert len(pictures) == 1 + 2 * 4
    assert all(
        picture["src"].startswith(("data:image/png;base64,", "data:image/svg+xml;base64,")) for picture in pictures
    )
    assert pictures[0]["alt"] == 'a, word = "x", share = 0.25'
    for link in page.all("a"):
        assert (result.folder / link["href"].replace("%20", " ")).is_file()


def test_page_refers_to_many_pictures_and_to_none_outside(
    here: Path, book: Path, played: Played, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sweep_page, "EMBED_LIMIT", 10)
    result = swept(book, {"word": ["x", "y"]}, out="mine")
    page = Page(result.folder / "index.html")
    check_harmless(page)
    sources = [picture["src"] for picture in page.all("img")]
    assert len(sources) == 3
    assert all((result.folder / source.replace("%20", " ")).read_bytes() for source in sources)
    assert "img-src 'self' file:" in (result.folder / "index.html").read_text(encoding="utf-8")

    secret = here / "secret.png"
    secret.write_bytes(b"secret")
    picture = result.folder / sources[0]
    picture.unlink()
    picture.symlink_to(secret)
    record = json.loads((result.folder / "sweep.json").read_text(encoding="utf-8"))
    metrics = json.loads((result.folder / "metrics.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(sweep_page, "EMBED_LIMIT", 2**20)
    page = Page(sweep_page.write_index(result.folder, record, metrics))
    assert len(page.all("img")) == 2
    assert "c2VjcmV0" not in (result.folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """One sweep by the command line on real kernels, with every way in which a combination is lost."""
    here = tmp_path_factory.mktemp("real")
    write_notebook(
        here / "01_book.ipynb",
        ['word = "x"  # any text', "seeds = [0]  # seeds"],
        "import os, pathlib, signal, time\nfrom class_kit.runs import record\n"
        "if word == 'dies':\n    os._exit(3)\n"
        "if word == 'killed':\n    os.kill(os.getppid(), signal.SIGKILL)\n    time.sleep(60)\n"
        "if word == 'raises':\n    raise ValueError('<b>bad</b> \\x1b[2J')\n",
        f"place = pathlib.Path(out, 'figures')\nplace.mkdir()\n_ = (place / 'a.png').write_bytes({PIXEL!r})\n"
        "_ = record(out, '01_book', dict(word=word, seeds=seeds, threads=int(os.environ['OMP_NUM_THREADS'])))",
    )
    words = ",".join(json.dumps(word) for word in (HOSTILE[0], " ".join(HOSTILE[1:]), "dies", "killed", "raises"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.delenv("OMP_NUM_THREADS", raising=False)
        code = main(["run", "01_book.ipynb", "--sweep", f"word={words}", "-p", "seeds", "[1, 2]", "--jobs", "3"])
        (folder,) = (here / "runs").iterdir()
        record = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        yield SimpleNamespace(here=here, code=code, folder=folder, record=record)


def test_real_kernels_get_their_values_and_each_loss_is_told(real: SimpleNamespace):
    assert real.code == 1
    assert [run["status"] for run in real.record["runs"]] == ["finished"] * 2 + ["failed"] * 3
    metrics = json.loads((real.folder / "metrics.json").read_text(encoding="utf-8"))["runs"]
    threads = max(1, cpu_count() // 3)
    assert [run["metrics"] for run in metrics[:2]] == [
        {"01_book": {"word": word, "seeds": [1, 2], "threads": threads}} for word in (HOSTILE[0], " ".join(HOSTILE[1:]))
    ]
    dies, killed, raises = (run["error"] for run in real.record["runs"][2:])
    assert "DeadKernelError" in dies
    assert "signal 9" in killed
    assert raises.startswith("01_book: cell 4: ValueError: <b>bad</b> \\x1b[2J")
    assert not (real.folder / "done").exists()
    assert real.folder.name.startswith("sweep-01_book-word-")
    assert sorted(path.name for path in real.here.iterdir()) == ["01_book.ipynb", "runs"]
    page = Page(real.folder / "index.html")
    check_harmless(page)
    assert len(page.all("img")) == 2
    written = manifest.read_manifest(real.folder / real.record["runs"][0]["folder"])
    assert written["command"] == real.record["command"]


def test_ends_with_its_kernels_when_interrupted_or_killed_and_continues(here: Path):
    book = write_notebook(
        here / "01_long.ipynb",
        ["number = 0"],
        "import os, pathlib, time\nfirst = not pathlib.Path(f'again{number}').exists()\n"
        "pathlib.Path(f'pid{number}.part').write_text(str(os.getpid()))\n"
        "os.replace(f'pid{number}.part', f'pid{number}')\ntime.sleep(120 if first else 0)",
    )
    for ending, numbers in (("interrupt", (0, 1)), ("kill", (0,))):
        arguments = ("--sweep", "number=0,1,2", "--jobs", str(len(numbers)), "--out", "mine")
        process = start_run(here, book.name, *arguments)
        found = [wait_for_pid(here / f"pid{number}", process) for number in numbers]
        if ending == "interrupt":
            process.send_signal(signal.SIGINT)
        else:
            process.kill()
        output = process.communicate(timeout=120)
        assert all(is_gone(kernel) for kernel in found)
        assert not (here / "mine" / "done").exists()
        assert not (here / f"pid{len(numbers)}").exists()
        for number in numbers:
            (here / f"pid{number}").unlink()
        if ending == "interrupt":
            assert process.returncode == 130, output
            assert "the same command continues" in output[0]
            record = json.loads((here / "mine" / "sweep.json").read_text(encoding="utf-8"))
            assert [run["status"] for run in record["runs"]] == ["interrupted", "interrupted", "missing"]
    (here / "again0").touch()
    assert runs.sweep_notebooks([book], {"number": [0]}, out="mine", say=lambda line: None).done
    assert (here / "mine" / "done").is_file()


def test_jobs_without_a_sweep_and_a_parameter_twice_are_refused(
    book: Path, capsys: pytest.CaptureFixture[str], played: Played
):
    for arguments, said in [
        (["--jobs", "2"], "--jobs is for the runs of a --sweep"),
        (["--sweep", "share=0.1", "-p", "share", "0.2"], "share is given twice"),
        (["--sweep", "share=0.1,much"], "'much' is text"),
        (["--sweep", "share=0.1", "--jobs", "0"], "jobs=0"),
        (["--sweep", "seeds=[0],[1"], "stays open"),
    ]:
        assert main(["run", str(book), *arguments]) == 2
        assert said in capsys.readouterr().err
    assert played.words == []
    assert not Path("runs").exists()


def test_taken_port_is_tried_again_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import papermill

    left, tries = [3], []

    def execute_notebook(notebook: Any, *arguments: Any, **options: Any) -> Any:
        tries.append(1)
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("Kernel died: zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:1')")
        return notebook

    monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
    assert kernels.execute(new_notebook(), {}, tmp_path / "p.ipynb").error is None
    assert len(tries) == 4
    left[0] = 100
    assert "Address already in use" in str(kernels.execute(new_notebook(), {}, tmp_path / "p.ipynb").error)
    assert len(tries) == 4 + 6


def test_kernel_finds_another_port_when_its_own_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import socket

    from jupyter_client.connect import LocalPortCache

    # sockets in a folder need a short path; with a long one kernels talk through ports
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    real, asked = LocalPortCache.find_available_port, []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()

        def find(self: LocalPortCache, ip: str) -> int:
            asked.append(1)
            return int(other.getsockname()[1]) if len(asked) == 1 else real(self, ip)

        monkeypatch.setattr(LocalPortCache, "find_available_port", find)
        done = kernels.execute(new_notebook(cells=[new_code_cell("6 * 7")]), {}, tmp_path / "p.ipynb")
    assert done.error is None
    assert done.notebook.cells[-1].outputs[0]["data"]["text/plain"] == "42"
    assert len(asked) == 10
    assert os.listdir(long) == []
