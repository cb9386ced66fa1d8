"""The report: one file that runs nothing and loads nothing, whatever the notebooks hold."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from class_kit.runs.report import clean, equation, notebook_html, write_report
from tests.short_run import ATTACKS as COMMON

PIXEL = base64.b64encode(bytes.fromhex("89504e470d0a1a0a")).decode()
ATTACKS = [
    *COMMON,
    "<img src='https://example.org/pixel.png'>",
    "<svg onload=alert(1)><script>alert(1)</script><image href='https://example.org/a.png'/></svg>",
    "<a href=' java\tscript:alert(1)'>click</a>",
    "<div style=\"background:url('https://example.org/a.png');position:fixed\">x</div>",
    "<form action='https://example.org'><input name=a></form>",
    "<object data='https://example.org/a.swf'></object>",
    "<video src='https://example.org/a.mp4' autoplay></video>",
    "<scr<script>ipt>alert(1)</script>",
    "<script>alert(1)",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>",
    "<img src=\"data:image/svg+xml;utf8,<svg onload='alert(1)'/>\">",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "$\\href{javascript:alert(1)}{x}$ $$\\text{<script>alert(1)</script>}$$",
]
LOADING = {"src", "srcset", "href", "data", "poster", "background", "action", "formaction", "xlink:href", "cite"}


class Found(HTMLParser):
    """What in a page could run or load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.tags: list[str] = []
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        # the page's own switches
        own = tag == "input" and dict(attributes) in [{"type": "checkbox", "id": name} for name in ("code", "menu")]
        bad = {"script", "iframe", "object", "embed", "link", "base", "form", "input", "svg", "video", "audio"}
        if tag in bad and not own:
            self.bad.append(tag)
        for name, value in attributes:
            value = value or ""
            if name == "id":
                self.anchors.add(value)
            if tag == "a" and name == "href" and value.startswith("#"):
                self.links.add(value[1:])
            # in an address that begins with https:, "javascript:" is a part of the path and runs nothing
            runs = "javascript:" in re.sub(r"\s", "", value.lower()) and not re.match("https?:", value)
            if name.startswith("on") or runs or "url(" in value.lower():
                self.bad.append(f"{tag} {name}={value}")
            if name in LOADING and not value.startswith("data:image/") and not (tag == "a" and name == "href"):
                self.bad.append(f"{tag} {name}={value}")


def report_of(folder: Path, cells: list[Any], **entry: Any) -> Path:
    """The report of a run of one notebook with these cells, in whose record an attack stands wherever one can."""
    (folder / "notebooks").mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), folder / "notebooks" / "01_first.ipynb")
    attack = ATTACKS[0]
    executed = {"status": "finished", "parameters": {"pairs": attack, "share": 0.5}, "inputs": {attack: attack}}
    manifest = {
        "status": "finished",
        "started": "2025-01-01T00:00:00+00:00",
        "overrides": {"pairs": attack},
        "command": ["class-kit", "run", attack],
        "environment": {"python": "3.11", "packages": {"numpy": attack}},
        "notebooks": {"01_first": executed | {"seconds": 1.25} | entry, "02_gone": {"status": "interrupted"}},
    }
    (folder / "figures").mkdir()
    (folder / "figures" / "01_shown.png").write_bytes(base64.b64decode(PIXEL))
    (folder / "outside.png").write_bytes(b"not of the run's figures")
    figures = ("01_shown", "../outside", attack, "")
    return write_report(folder, manifest, [{"says": attack, "figure": name} for name in figures])


def hostile_cells() -> list[Any]:
    cells = [new_markdown_cell(attack) for attack in ATTACKS]
    wide = ["|".join("abcdefgh"), "|".join("--------"), "|".join(["x" * 60] * 8)]
    cells.append(new_markdown_cell("\n".join(wide)))
    cells += [new_markdown_cell(f"# {attack}") for attack in ATTACKS]
    for attack in ATTACKS:
        html = new_output("display_data", {"text/html": attack, "text/plain": "x"})
        drawing = new_output("display_data", {"image/svg+xml": attack})
        script = new_output("display_data", {"application/javascript": "alert(1)"})
        picture = new_output("display_data", {"image/png": f'{PIXEL}" onload="alert(1)'})
        texts = [
            new_output("display_data", {"text/markdown": attack}),
            new_output("display_data", {"text/latex": attack}),
            new_output("stream", text=attack + "\x1b[2J\x00\u202e"),
            new_output("error", ename=attack, evalue=attack, traceback=[attack]),
            new_output("execute_result", {"text/plain": attack}),
        ]
        cells.append(new_code_cell(attack, outputs=[html, drawing, script, picture, *texts]))
    return cells


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(tmp_path_factory.mktemp("run") / "hostile", hostile_cells(), error=ATTACKS[0])


def test_nothing_runs_and_nothing_is_loaded(hostile: Path):
    html = hostile.read_text(encoding="utf-8")
    found = Found(html)
    assert found.bad == []
    assert "default-src 'none'" in html
    assert not {"\x1b", "\x00"} & set(html)
    assert found.links <= found.anchors
    assert html.count('<div class="findings">') == 1
    assert html.count(f'src="data:image/png;base64,{PIXEL}"><figcaption>') == 1
    assert html.count("<figcaption>") == 1
    assert html.count("</section>") == 3


def test_browser_runs_no_script_and_sends_no_request(hostile: Path, browser: Any):
    """In a real browser, offline: no dialog, no request besides the file, no script node, fits a phone's width."""
    requests: list[str] = []
    dialogs: list[str] = []
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(hostile.as_uri())
    page.wait_for_timeout(300)
    width = page.evaluate("document.documentElement.scrollWidth")
    scripts = page.evaluate("document.scripts.length")
    for link in page.query_selector_all("main a:not([href^=http])"):
        link.dispatch_event("click")
    page.wait_for_timeout(100)
    page.close()
    assert dialogs == []
    assert [url for url in requests if not url.startswith(("data:", hostile.as_uri()))] == []
    assert scripts == 0
    assert width <= 360


def test_contents_list_record_and_notebook(tmp_path: Path):
    cells = [
        new_markdown_cell("# A title with $x_1$\n\ntext"),
        new_markdown_cell("## Part *two*\n\n### Deeper\n\n#### Too deep"),
        new_code_cell("print('α')", outputs=[new_output("stream", text="α\n")]),
        new_code_cell("plot", outputs=[new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})]),
        new_code_cell(
            "v", outputs=[new_output("display_data", {"image/svg+xml": "<svg/>", "image/png": "no", "text/plain": "x"})]
        ),
        new_code_cell(
            "w", outputs=[new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}})]
        ),
    ]
    html = report_of(tmp_path / "mine", cells).read_text(encoding="utf-8")
    nav = html[html.index("<nav") : html.index("</nav>")]
    assert re.findall(r'href="#([^"]+)"', nav) == [
        *("01_first", "01_first-1", "01_first-2", "01_first-3"),
        *("02_gone", "record"),
    ]
    assert "Part two" in nav
    assert "Too deep" not in nav
    vector = f"data:image/svg+xml;base64,{base64.b64encode(b'<svg/>').decode()}"
    shown = [
        f"data:image/png;base64,{PIXEL}",
        vector,
        "interactive view",
        "<math",
        "1.2 s",
        ">share</th><td>0.5</td>",
        "α",
    ]
    assert [words for words in [*shown, 'name="viewport"'] if words not in html] == []
    assert "<Figure>" not in html


def test_the_page_is_read_on_a_phone_and_found_in_without_scripts(tmp_path: Path, browser: Any) -> None:
    """At 390 pixels nothing sticks out; the contents fit one screen and lead back; folded text can be searched for."""
    wide = "a_long_name = " + " + ".join(["another_long_name"] * 12)
    cells = [new_markdown_cell(f"# Title\n\n## Part {at}\n\nword{at}") for at in range(20)]
    cells.append(new_code_cell(wide, outputs=[new_output("stream", text="spoken " * 60 + "end")]))
    report = report_of(tmp_path / "phone", cells)
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("nav").bounding_box()["height"] < 844
    assert page.evaluate("window.find('word19')")
    assert page.evaluate("window.scrollY") > 844
    page.locator("a.up").click()
    assert page.evaluate("window.scrollY") < 844
    printed = page.locator(".output pre").bounding_box()
    assert printed["width"] <= 390
    assert page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('.output pre'))") <= 1
    size = page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")
    page.close()
    assert size >= 16


def test_unfinished_notebook_says_so(tmp_path: Path):
    html = report_of(tmp_path / "run", [], status="failed", error="cell 2: ValueError: <b>bad</b>").read_text("utf-8")
    assert "This notebook is not finished: failed" in html
    assert "cell 2: ValueError: &lt;b&gt;bad&lt;/b&gt;" in html
    assert "No executed notebook" in html


@pytest.mark.parametrize("tex", [r"\min(1, \alpha + \beta k)", r"\frac{a}{b} \le \sqrt{x}", r"s_{ij} > \hat t^\top"])
def test_equations_become_mathml_or_stay_readable(tex: str):
    for block in (True, False):
        html = equation(tex, block)
        assert html.startswith("<math")
        assert "\\" not in html
        assert f'display="{"block" if block else "inline"}"' in html
    assert equation(r"\nosuchcommand{<x>}", block=False) == r"<code>\nosuchcommand{&lt;x&gt;}</code>"
    assert equation(r"\left( a", block=True).startswith("<pre>")


def markdown_html(source: str, attachments: Any = None) -> str:
    cell = new_markdown_cell(source, **({"attachments": attachments} if attachments else {}))
    return notebook_html(new_notebook(cells=[cell]), "x")[0]


def test_equations_are_told_from_code_and_signs_survive():
    html = markdown_html("`$a$` and\n\n```\n$b$\n```\n\nand $c$ and $$d$$")
    assert html.count("<math") == 2
    assert "<code>$a$</code>" in html
    assert "$b$" in html
    assert "<mo>&lt;</mo>" in markdown_html("$a < b$")
    assert "<mtext>&lt;b&gt;</mtext>" in markdown_html(r"$\text{<b>}$")
    _, headings = notebook_html(new_notebook(cells=[new_markdown_cell("# A & B < C $a<b$")]), "x")
    assert headings == [("x-1", "A & B < C a<b")]


def test_attachments_are_embedded_and_foreign_pictures_named():
    html = markdown_html(
        "![one](attachment:a.png) ![two](https://example.org/b.png) ![three](c.png) ![four](attachment:b.png)",
        {"a.png": {"image/png": PIXEL}},
    )
    assert f'src="data:image/png;base64,{PIXEL}"' in html
    assert all(f"[image: {name}]" in html for name in ("two", "three", "four"))
    assert "example.org" not in html


def test_tables_keep_their_shape_and_lose_their_style_sheet():
    table = pandas.DataFrame({"a": [1, 2], "b": ["<script>x</script>", "y"]})._repr_html_()
    html = clean(table)
    assert html.count("<tr") == 3
    assert "<style" not in html
    assert "vertical-align" not in html
    assert "&lt;script&gt;" in html


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([*ATTACKS, *"<>'\"`$\n\\", "&lt;", "<!--", "-->", "]]>", "$$", "\\text{"]), max_size=6))
def test_no_mixture_of_attacks_gets_through(parts: list[str]):
    source = "".join(parts)
    for html in (clean(source), markdown_html(source)):
        assert Found(html).bad == []
