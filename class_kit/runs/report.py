"""The pages of a run and of a sweep: each one HTML file that opens without a network, on a phone, and runs nothing.

nbconvert turns notebooks into HTML; equations become MathML, which browsers draw without a script. Outputs hold text
from files, so every piece passes an allow-list, and a content security policy forbids scripts and requests besides.
"""

from __future__ import annotations

import json
import logging
import re
from base64 import b64encode
from collections.abc import Container, Iterable, Mapping
from functools import cache, partial
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from class_kit.files import write_text
from class_kit.terminal import visible

# Formats of figures; of a figure saved in several, the last one here is shown
_PICTURES = (".webp", ".gif", ".jpeg", ".jpg", ".svg", ".png")
_TAGS = (
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 "
    "hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u "
    "ul var math mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd "
    "mtext mtr munder munderover"
)
_ATTRIBUTES = "style title alt colspan rowspan align start width height open display mathvariant"
_EMBEDDED = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]+")
_DROPPED = re.compile(r"<(script|style|template|title|noscript|iframe|object)\b.*?(?:</\1\s*>|\Z)", re.I | re.S)
_VECTOR = "image/svg+xml"
_SHOWN = ("text/html", "text/markdown", _VECTOR, "text/latex", "image/png", "image/jpeg", "text/plain")
_WIDGET = "application/vnd.jupyter.widget-view+json"


def write_report(folder: Path, manifest: Mapping[str, Any], findings: Iterable[Mapping[str, str]] = ()) -> Path:
    """Write `report.html` of a run: its findings, every executed notebook with its code folded, and the run's record.

    Parameters
    ----------
    folder : Path
        A run's folder with `notebooks/`.
    manifest : mapping
        The run's record.
    findings : iterable of {says, figure}
        Sentences to begin with, each with the name of the figure that shows it, or "".

    Returns
    -------
    Path
        The report, one file without references to others.
    """
    values = run_values(folder, manifest, findings)
    return write_page(folder / "report.html", "report", **values, shown=values["parts"], overview=True)


def run_values(
    folder: Path, manifest: Mapping[str, Any], findings: Iterable[Mapping[str, str]], views: Container[str] = ()
) -> dict[str, Any]:
    """What the pages of a run show: its notebooks as HTML (`parts`), its findings and its record.

    `views` are the interactive views for which `notebook_html` leaves a place.
    """
    import nbformat
    from pygments.formatters import HtmlFormatter

    parts = []
    for stem, entry in sorted(manifest["notebooks"].items()):
        path = folder / "notebooks" / f"{stem}.ipynb"
        try:
            html, headings = notebook_html(nbformat.reads(path.read_text(encoding="utf-8"), as_version=4), stem, views)
        except (OSError, ValueError) as error:
            html, headings = f'<p class="note">No executed notebook: {type(error).__name__}.</p>', []
        parts.append({**entry, "stem": stem, "html": html, "headings": headings})
    shown = []
    for finding in findings:
        picture = folder / "figures" / f"{Path(finding['figure']).name}.png"
        shown.append({**finding, "png": b64encode(picture.read_bytes()).decode() if picture.is_file() else ""})
    return {
        "title": f"class_kit run {folder.resolve().name}",
        "images": "data:",
        "manifest": manifest,
        "parts": parts,
        "findings": shown,
        "colours": HtmlFormatter(style="default").get_style_defs(".highlight"),
    }


def notebook_html(notebook: Any, stem: str, views: Container[str] = ()) -> tuple[str, list[tuple[str, str]]]:
    """An executed notebook as HTML that neither runs nor loads anything, and its headings with their anchors.

    An interactive view becomes `view_place(NAME)` if its name is one of `views`, and a note otherwise.
    """
    for cell in notebook.cells:
        cell.source = visible(cell.source)
        called = re.search(r"^widgets\.(\w+)\(", cell.source, re.MULTILINE)
        place = view_place(called[1]) if called and called[1] in views else None
        for output in cell.get("outputs", []):
            _prepare(output, place)
    headings: list[tuple[str, str]] = []

    def anchored(match: re.Match[str]) -> str:
        anchor = f"{stem}-{len(headings) + 1}"
        headings.append((anchor, unescape(re.sub(r"<[^>]*>", "", match[2]))))
        return f'<h{match[1]} id="{escape(anchor)}">{match[2]}</h{match[1]}>'

    html = _exporter().from_notebook_node(notebook)[0]
    return re.sub(r"<h([123])\b[^>]*>(.*?)</h\1>", anchored, html, flags=re.DOTALL), headings


def view_place(name: str) -> str:
    """Where a notebook's HTML has room for an interactive view."""
    return f'<div class="view {name}"></div>'


def _prepare(output: Any, place: str | None) -> None:
    """Reduce an output to what a page without scripts can show, with control characters made visible.

    `place` stands for an interactive view; None leaves a note.
    """
    if output.output_type == "stream":
        output.text = visible(output.text)
    elif output.output_type == "error":
        output.traceback = [visible(line) for line in output.traceback or [f"{output.ename}: {output.evalue}"]]
    else:
        kept = {kind: output.data[kind] for kind in _SHOWN if kind in output.data}
        if place and _WIDGET in output.data:
            kept = {"text/html": place}
        elif _WIDGET in output.data or not kept:
            kept = {"text/markdown": "*Here the notebook has an interactive view; open the notebook to use it.*"}
        elif vector := kept.get(_VECTOR):
            # as an image: what is in one cannot act
            kept = {"text/html": f'<img src="data:{_VECTOR};base64,{b64encode(vector.encode()).decode()}">'}
        output.data = {kind: text if kind.startswith("image/") else visible(text) for kind, text in kept.items()}
        output.metadata = {}


@cache
def _exporter() -> Any:
    """nbconvert's exporter with the kit's allow-list, equations as MathML, and pictures only where embedded."""
    from jinja2 import pass_context
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):  # type: ignore[misc]
        def inline_math(self, body: str) -> str:
            return equation(body, block=False)

        def block_math(self, body: str) -> str:
            return equation(body, block=True)

        def image(self, text: str, url: str, title: str | None = None) -> str:
            try:
                html = str(super().image(text, url, title))
            except InvalidNotebook:  # an attachment that is not there
                html = ""
            return html if 'src="data:image/' in html else f"<em>[image: {escape(text or url)}]</em>"

    class Exporter(HTMLExporter):  # type: ignore[misc]
        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            attachments = context.get("cell", {}).get("attachments", {})
            renderer = Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
            return str(MarkdownWithMath(renderer=renderer).render(source))

    log = logging.getLogger("class_kit.nbconvert")
    log.setLevel(logging.ERROR)
    exporter = Exporter(template_name="basic", sanitize_html=True, exclude_input_prompt=True, log=log)
    exporter.exclude_output_prompt = True
    exporter.register_filter("clean_html", clean)
    return exporter


def clean(html: str) -> str:
    """Keep the allowed tags, attributes and styles of `html`; images only where they are embedded."""
    import bleach
    from bleach.css_sanitizer import CSSSanitizer

    return str(
        bleach.clean(
            _DROPPED.sub("", str(html)),
            tags=frozenset(_TAGS.split()),
            attributes=_allowed,
            protocols={"http", "https", "mailto", "data"},
            css_sanitizer=CSSSanitizer(),
            strip=True,
        )
    )


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and _EMBEDDED.fullmatch(value) is not None
    if name == "href":
        return tag == "a" and re.match(r"(?:https?:|mailto:|#)", value, re.I) is not None
    return name in _ATTRIBUTES.split() or (name == "class" and tag in {"div", "span", "pre"})


def equation(source: str, block: bool) -> str:
    """TeX as MathML; what cannot be converted stays readable as TeX."""
    from xml.etree.ElementTree import tostring

    from latex2mathml.converter import convert_to_element

    try:
        # not `convert`: its last step undoes the escaping of text, and a `\text{<script>}` becomes a script
        element = convert_to_element(unescape(source).strip(), display="block" if block else "inline")
        for part in element.iter():
            part.text, part.tail = (unescape(text) if text else text for text in (part.text, part.tail))
        # a command that the converter does not know comes back as text with its backslash
        if not any("\\" in (part.text or "") for part in element.iter()):
            return tostring(element, encoding="unicode")
    except Exception:  # the converter raises whatever its parser ran into
        pass
    tag = "pre" if block else "code"
    return f"<{tag}>{escape(unescape(source).strip())}</{tag}>"


def write_index(folder: Path, record: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write `index.html` of a sweep: a row for each combination, a column for each figure, and the numbers below.

    Parameters
    ----------
    folder : Path
        The sweep's folder; pictures and reports are linked to, relative to it.
    record : mapping
        The content of its `sweep.json`.
    rows : iterable of mapping
        The runs of its `metrics.json`.

    Returns
    -------
    Path
        The page.
    """
    runs = []
    for row in rows:
        place = folder / row["folder"]
        paths = [path for suffix in _PICTURES for path in sorted(place.glob(f"figures/*{suffix}"))]
        figures = {path.stem: quote(path.relative_to(folder).as_posix()) for path in paths}
        has_report = (place / "report.html").is_file()
        runs.append({**row, "figures": figures, "numbers": _numbers(row["metrics"]), "has_report": has_report})
    states = [entry["status"] for entry in runs]
    return write_page(
        folder / "index.html",
        "sweep",
        title=f"class_kit sweep: {folder.resolve().name}",
        images="'self' file:",
        record=record,
        runs=runs,
        counts=", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)),
        figures=sorted({name for run in runs for name in run["figures"]}),
        numbers=list(dict.fromkeys(name for run in runs for name in run["numbers"])),
    )


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers at the top level of each notebook's results."""
    return {
        f"{name}: {key}": value
        for name, results in metrics.items()
        if isinstance(results, Mapping)
        for key, value in results.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Write what `render` makes of a template."""
    write_text(path, render(template, **values) + "\n")
    return path


def render(template: str, **values: Any) -> str:
    """The text of a template of this folder; values are escaped, with control characters made visible."""
    from jinja2 import Environment, FileSystemLoader

    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: value if hasattr(value, "__html__") else visible(value),
    )
    pages.filters["json"] = partial(json.dumps, ensure_ascii=False)
    return pages.get_template(f"{template}.html.j2").render(values)
