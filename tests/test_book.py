"""The book: its numbers are the kit's, and its pages work alone in a browser, from a folder and from a host."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import class_kit as ck
from class_kit.curriculum import make_schedule
from class_kit.curriculum.intensity import INTENSITIES
from class_kit.curriculum.schedules import SHAPES
from class_kit.files import json_digest, write_json
from class_kit.runs import charts
from class_kit.runs.book import write_book
from tests.test_report import Found

CONTROLS = {"00_your_pairs": 2, "02_difficulty": 2, "03_scheduler": 3, "04_intensity": 6}


def rows_with(view: dict[str, Any], field: str) -> list[dict[str, Any]]:
    """The rows that a chart draws from which have this field."""
    return next(rows for rows in view["spec"]["datasets"].values() if field in rows[0])


def test_the_difficulty_explorer_has_the_counts_of_a_double_loop() -> None:
    rng = np.random.default_rng(0)
    families = rng.normal(size=(6, 8))[rng.integers(0, 6, 40)]
    t, m = (families + 0.25 * rng.normal(size=families.shape) for _ in range(2))
    table = {"text": [f"text {at}" for at in range(40)], "smiles": ["C" * (at + 1) for at in range(40)]}
    view = charts.explore_difficulty(t, m, ck.load_pairs(table), show=3)

    unit_t, unit_m = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (t, m))
    shown = {(row["sigma"], row["bin"]): row["pairs"] for row in rows_with(view, "bin")}
    shares = {(row["sigma"], row["which"]): row["share"] for row in rows_with(view, "share")}
    bins, drawn = list(dict.fromkeys(name for _, name in shown)), set()
    for sigma in charts.SIGMAS:
        near = [[(unit_t[i] @ unit_t[j] + unit_m[i] @ unit_m[j]) / 2 > sigma for j in range(40)] for i in range(40)]
        counts = [sum(bool(row[j]) for j in range(40) if j != i) for i, row in enumerate(near)]
        assert shares[sigma, "without a neighbour"] == pytest.approx(counts.count(0) / 40)
        assert shares[sigma, "in the largest tie"] == pytest.approx(max(map(counts.count, counts)) / 40)
        # the bins 0, 1, 2–3, 4–7 … hold the numbers with 0, 1, 2, 3 … binary digits
        for digits, name in enumerate(bins):
            inside = [at for at, count in enumerate(counts) if count.bit_length() == digits]
            said = view["says"][f"{sigma:g}|{name}"]
            assert shown[sigma, name] == len(inside)
            assert f"In this bin: {len(inside)} pairs, of which {min(3, len(inside))} " in said["words"]
            assert len(said["cards"]) == min(3, len(inside))
            for card, count in said["cards"]:
                (pair,) = [at for at in inside if f">text {at}<" in view["cards"][card]]
                assert count == counts[pair]
                drawn.add(card)
    assert drawn == set(range(len(view["cards"])))


def test_the_schedule_designer_has_the_kits_schedules_at_every_position() -> None:
    view = charts.design_schedule(pairs=1000, epochs=12, batch_size=64)
    rows = rows_with(view, "fraction")
    assert len(rows) == len(view["says"]) == len(charts.STARTS) * len(charts.GROWTHS) * len(SHAPES)
    for row in rows:
        start, growth, shape = row["start"], row["growth"], row["shape"]
        schedule = make_schedule(shape, start, growth)
        curve = [schedule(epoch) for epoch in range(1, 13)]
        used = [math.floor(fraction * 1000 + 0.5) for fraction in curve]
        words = view["says"][f"{start:g}|{growth:g}|{shape}"]["words"]
        assert row["fraction"] == pytest.approx(curve, abs=0.51 * 10**-charts.DECIMALS)
        assert f"{sum(used):,} samples" in words
        assert f"{sum(math.ceil(each / 64) for each in used):,} steps" in words


def test_the_intensity_comparer_has_the_formulas_at_every_position() -> None:
    formulas: dict[str, Callable[[int, int], float]] = {
        "sigmoid": lambda k, epochs: 1 / (1 + math.exp(-(k + 1))),
        "inverse": lambda k, epochs: 1 - 1 / (k + 1),
        "constant": lambda k, epochs: 1,
        "linear": lambda k, epochs: k / epochs,
        "cosine": lambda k, epochs: math.sin(math.pi * k / epochs / 2) ** 2,
    }
    view = charts.compare_intensities(epochs=10)
    rows = rows_with(view, "intensity")
    assert {(row["epochs"], row["name"]) for row in rows} == {(e, name) for e in range(2, 101) for name in INTENSITIES}
    for row in rows:
        curve = [formulas[row["name"]](k, row["epochs"]) for k in range(1, row["epochs"] + 1)]
        assert row["intensity"] == pytest.approx(curve, abs=0.51 * 10**-charts.DECIMALS)


@pytest.fixture(scope="module")
def site(short_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book of the short run of all notebooks, whose pairs attack."""
    from class_kit.cli import main

    folder = tmp_path_factory.mktemp("book") / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(short_run.parent)
        assert main(["book", str(folder), "--run", "short"]) == 0
    return folder


def test_no_page_has_a_script_or_a_form_of_others(site: Path) -> None:
    pages = sorted(path.name for path in site.glob("*.html"))
    assert len(pages) == 10
    for name in pages:
        html = (site / name).read_text(encoding="utf-8")
        scripts = re.findall(r"<script\b([^>]*)>", html)
        charted = name.removesuffix(".html") in CONTROLS
        library = [] if name == "index.html" else [' src="vega.js"']
        data = [' type="application/json" id="sections"'] if name == "index.html" else []
        assert scripts == [' src="book.js"', *library, *data, *[' type="application/json"'] * charted]
        own = {"script", "form", "form action=index.html", "input", "script src=book.js", "script src=vega.js"}
        assert set(Found(html).bad) <= own
        assert "default-src 'none'" in html
        assert "unsafe-eval" not in html


class Reader:
    """A page of the site in the browser, and whatever it asks for, says or does that it should not."""

    def __init__(self, browser: Any, address: str) -> None:
        self.address, self.bad = address, list[str]()
        self.page = browser.new_page(viewport={"width": 390, "height": 844})
        self.page.on("console", lambda message: self.bad.append(message.text))
        self.page.on("pageerror", lambda error: self.bad.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.bad.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith(("data:", self.address)):
            self.bad.append(url)

    def open(self, name: str) -> Any:
        """Go to a page; its chart, if it has one."""
        self.page.goto(f"{self.address}/{name}")
        figure = self.page.locator("figure.view")
        if figure.count():
            figure.locator("svg").wait_for()
        return figure

    def close(self) -> None:
        assert self.page.evaluate("() => window.hit ?? null") is None
        self.page.close()
        assert self.bad == []


@pytest.fixture(params=["folder", "host"])
def reader(request: pytest.FixtureRequest, browser: Any, site: Path) -> Iterator[Reader]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ExitStack() as stack:
        address = site.as_uri()
        if request.param == "host":
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            address = f"http://127.0.0.1:{server.server_port}"
        found = Reader(browser, address)
        yield found
        found.close()


def test_every_control_changes_the_picture(reader: Reader) -> None:
    """By the keyboard, on a phone: both ends of a control look different, and nothing sticks out."""
    for name, controls in CONTROLS.items():
        figure = reader.open(f"{name}.html")
        assert figure.locator("input, select").count() == controls
        for control in figure.locator("input, select").all():
            box = control.get_attribute("type") == "checkbox"
            states = []
            for key in ("Space", "Space") if box else ("End", "Home"):
                control.focus()
                reader.page.keyboard.press(key)
                reader.page.wait_for_timeout(50)
                states.append(figure.locator("svg").inner_html())
            assert states[0] != states[1], f"{name}: {control.evaluate('node => node.outerHTML')}"
        assert reader.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_molecules_are_those_of_the_bin(reader: Reader) -> None:
    """By the menu and by a click on its bar, each card has a count of the bin, and the text of its pair as text."""
    figure = reader.open("02_difficulty.html")
    figure.locator("input[type=range]").focus()
    reader.page.keyboard.press("Home")
    menu = figure.locator("select")
    names = menu.locator("option").all_inner_texts()
    menu.select_option(names[3])
    for name in (names[3], names[1]):
        assert menu.input_value() == name
        found = re.search(r"In this bin: (\d+) pairs, of which (\d+)", figure.inner_text())
        assert found
        assert int(found[2]) == min(6, int(found[1])) > 0
        counts = figure.locator(".cards > div:not([hidden]) b").all_inner_texts()
        low, *_, high = name.split("–") * 2
        assert len(counts) == int(found[2])
        assert all(int(low) <= int(count.removeprefix("N = ")) <= int(high) for count in counts)
        figure.locator(".mark-rect path").nth(1).click()
    assert figure.get_by_text("<script>").count()


def test_search_the_order_of_pages_and_the_dark(reader: Reader, site: Path) -> None:
    page = reader.page
    reader.open("index.html")
    page.locator("input[name=q]").fill("False NEGATIVES")
    page.keyboard.press("Enter")
    page.locator("#found a").first.click()
    page.wait_for_url("**/0*.html#*")
    assert page.locator(":target").count() == 1
    assert "false negatives" in page.locator("main").inner_text()
    reader.open("index.html?q=nosuchword<img src=x>")
    assert "nosuchword<img src=x>" in page.locator("#found").inner_text()

    reader.open("index.html")
    paper = "getComputedStyle(document.body).backgroundColor"
    light, names = page.evaluate(paper), sorted(path.name for path in site.glob("0*.html"))
    page.locator("#theme").click()
    for name in names:
        page.locator("a[rel=next]").click()
        page.wait_for_url(f"**/{name}")
    assert page.evaluate(paper) != light
    assert page.locator("a[rel=next]").count() == 0
    page.locator("a[rel=prev]").click()
    page.wait_for_url(f"**/{names[-2]}")


def run_of(folder: Path, stem: str, source: str, **parameters: Any) -> Path:
    """A run's folder with one notebook, which shows a view."""
    view = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}})
    cells = [new_markdown_cell("# Mine"), new_code_cell(source, outputs=[view])]
    (folder / "notebooks").mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), folder / "notebooks" / f"{stem}.ipynb")
    manifest = {"notebooks": {stem: {"status": "finished", "parameters": parameters}}, "status": "finished"}
    manifest |= {"started": "", "overrides": {}, "environment": {}, "command": []}
    write_json(folder / "manifest.json", manifest | {"digest": json_digest(manifest)})
    write_json(folder / "metrics.json", {})
    return folder


def test_a_view_of_an_own_notebook_needs_its_parameters(tmp_path: Path) -> None:
    call = "widgets.intensity_comparer(epochs)"
    for name, parameters in (("with", {"epochs": 7}), ("without", {})):
        first = write_book(tmp_path / name, run_of(tmp_path / f"run {name}", "mine", call, **parameters))
        html = first.with_name("mine.html").read_text(encoding="utf-8")
        assert ('"value": 7' in html) == (name == "with")
        assert ("This view needs the parameters epochs." in html) == (name == "without")


def test_what_cannot_be_a_book_is_refused(kit: Callable[..., str], tmp_path: Path) -> None:
    assert "expected the folder of a run" in kit("book", tmp_path / "site", "--run", tmp_path, code=2)
    run = run_of(tmp_path / "run", "index", "1")
    assert "notebook 'index'" in kit("book", tmp_path / "site", "--run", run, code=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    assert "expected a new or empty folder" in kit("book", tmp_path / "mine", "--run", run, code=2)
