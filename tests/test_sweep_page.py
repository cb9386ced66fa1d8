"""The page of a sweep: figures side by side, values as text, nothing that runs or comes from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from class_kit.runs import report
from tests.sweep_tools import HOSTILE, Page, Played, book, check_harmless, here, played, swept

__all__ = ["book", "here", "played"]


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
    monkeypatch.setattr(report, "EMBED_LIMIT", 10)
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
    monkeypatch.setattr(report, "EMBED_LIMIT", 2**20)
    page = Page(report.write_index(result.folder, record, metrics))
    assert len(page.all("img")) == 2
    assert "c2VjcmV0" not in (result.folder / "index.html").read_text(encoding="utf-8")
