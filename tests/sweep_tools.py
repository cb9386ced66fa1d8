"""Sweeps small enough to be broken often: played kernels, and what a page of them may hold."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest

from class_kit import runs
from class_kit.runs import kernels, manifest, sweep
from class_kit.runs.notebook_files import read_notebook
from tests.notebook_tools import write_notebook

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
    """In place of kernels: runs in this process that leave a result and a figure.

    `bad` holds the words with which a notebook fails, `lost` those with which its run does.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self.bad: set[str] = set()
        self.lost: set[str] = set()
        self.stop_at: str | None = None

    def execute(self, notebook: Any, parameters: dict[str, Any], partial: Path) -> kernels.Execution:
        word, out = parameters["word"], Path(parameters["out"])
        if word == self.stop_at:
            raise KeyboardInterrupt
        self.words.append(word)
        if word in self.lost:
            raise RuntimeError("no more threads")
        if word in self.bad:
            return kernels.Execution(nbformat.from_dict(notebook), f"cell 2: ValueError: {word}")
        runs.record(out, "01_book", {"length": len(word), "share": parameters["share"], "words": [word], "odd": True})
        (out / "figures").mkdir(exist_ok=True)
        (out / "figures" / "a.png").write_bytes(PIXEL)
        if word != "x":
            (out / "figures" / "b c.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>", encoding="utf-8")
            (out / "figures" / "a.pdf").write_bytes(b"%PDF")
        return kernels.Execution(nbformat.from_dict(notebook))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    stand_in = Played()
    environment = manifest.environment()
    monkeypatch.setattr(manifest, "environment", lambda: environment)
    monkeypatch.setattr(manifest, "git_commit", lambda: None)
    monkeypatch.setattr(manifest, "command_line", lambda: ["pytest"])
    monkeypatch.setattr(kernels, "execute", stand_in.execute)
    return stand_in


def swept(book: Path, sweeps: dict[str, Any], *arguments: Any, **options: Any) -> runs.SweepResult:
    return runs.sweep_notebooks([book], sweeps, *arguments, **({"jobs": 1, "say": lambda line: None} | options))


def planned(book: Path, *texts: str, **fixed: Any) -> list[sweep.Combination]:
    return sweep.plan_combinations([read_notebook(book)], sweep.read_sweeps(texts), fixed, {})


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
            self.tables[-1][-1][-1] += data.strip("\n")

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
