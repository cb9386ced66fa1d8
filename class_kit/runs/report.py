"""The pages of a run and of a sweep: each one HTML file that opens without a network, on a phone, and runs nothing.

nbconvert turns notebooks into HTML; equations become MathML, which browsers draw without a script. Outputs hold text
from files, so every piece passes an allow-list, and a content security policy forbids scripts and requests besides.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
from collections.abc import Mapping
from functools import cache
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from class_kit.errors import InputError
from class_kit.files import write_text
from class_kit.runs.manifest import inside, read_manifest
from class_kit.terminal import visible

# Beyond this many bytes of pictures a sweep's page refers to the files instead of holding them: browsers get slow.
EMBED_LIMIT = 20 * 2**20
# By preference where a figure was saved in several formats
_PICTURES = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
_TAGS = (
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 "
    "hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u "
    "ul var math mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd "
    "mtext mtr munder munderover"
)
_ATTRIBUTES = "style title alt colspan rowspan align start width height open display mathvariant"
_STYLES = (
    "background-color border border-bottom border-collapse border-left border-right border-top color display "
    "font-family font-size font-style font-weight height line-height max-width min-width padding text-align "
    "text-decoration vertical-align white-space width"
)
_EMBEDDED = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]+")
_DROPPED = re.compile(r"<(script|style|template|title|noscript|iframe|object)\b.*?(?:</\1\s*>|\Z)", re.I | re.S)
_SHOWN = ("text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg", "text/plain")
_WIDGET = "application/vnd.jupyter.widget-view+json"


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Write `report.html` of a run: contents, every executed notebook, and the record of the run at the end.

    Parameters
    ----------
    folder : path
        A run's folder with `manifest.json` and `notebooks/`.

    Returns
    -------
    Path
        The report, one file without references to others.

    Raises
    ------
    InputError
        When the folder has no readable manifest.
    """
    from pygments.formatters import HtmlFormatter

    run = Path(folder)
    manifest = read_manifest(run)
    if not manifest:
        raise InputError(f"{str(run)!r} holds no manifest.json of a run")
    entries = dict(sorted(manifest["notebooks"].items()))
    chosen = manifest.get("overrides") or {}
    return _write(
        run / "report.html",
        "report",
        title=f"class_kit run {run.resolve().name}",
        images="data:",
        status=manifest.get("status", "unknown"),
        started=manifest.get("started", "?"),
        parameters=", ".join(f"{name} = {json.dumps(value)}" for name, value in chosen.items()) or "all defaults",
        parts=[_part(run, stem, entry) for stem, entry in entries.items()],
        tables=_tables(manifest, entries),
        colours=HtmlFormatter(style="default").get_style_defs(".highlight"),
    )


def _part(run: Path, stem: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """One notebook of the report: its HTML, its headings, and what became of it."""
    import nbformat

    headings: list[tuple[str, str]] = []
    try:
        notebook = nbformat.reads((run / "notebooks" / f"{stem}.ipynb").read_text(encoding="utf-8"), as_version=4)
    except (OSError, ValueError) as error:
        html = f'<p class="note">No executed notebook: {escape(type(error).__name__)}.</p>'
    else:
        html, headings = notebook_html(notebook, stem)
    return {**entry, "stem": stem, "html": html, "headings": headings}


def notebook_html(notebook: Any, stem: str) -> tuple[str, list[tuple[str, str]]]:
    """An executed notebook as HTML that neither runs nor loads anything, and its headings with their anchors."""
    for cell in notebook.cells:
        cell.source = visible(cell.source)
        for output in cell.get("outputs", []):
            _prepare(output)
    headings: list[tuple[str, str]] = []

    def anchored(match: re.Match[str]) -> str:
        anchor = f"{stem}-{len(headings) + 1}"
        headings.append((anchor, unescape(re.sub(r"<[^>]*>", "", match[2]))))
        return f'<h{match[1]} id="{escape(anchor)}">{match[2]}</h{match[1]}>'

    html = _exporter().from_notebook_node(notebook)[0]
    return re.sub(r"<h([123])\b[^>]*>(.*?)</h\1>", anchored, html, flags=re.DOTALL), headings


def _prepare(output: Any) -> None:
    """Leave of an output what a page without scripts can show, with control characters made visible."""
    if output.output_type == "stream":
        output.text = visible(output.text)
    elif output.output_type == "error":
        output.traceback = [visible(line) for line in output.traceback or [f"{output.ename}: {output.evalue}"]]
    else:
        output.metadata = {}
        kept = {kind: _joined(output.data[kind]) for kind in _SHOWN if kind in output.data}
        if _WIDGET in output.data:
            kept = {"text/markdown": "*Here the notebook has an interactive view; open the notebook to use it.*"}
        elif not kept:
            kept = {"text/markdown": "*Here the notebook has an output that a page without scripts cannot show.*"}
        output.data = {kind: text if kind.startswith("image/") else visible(text) for kind, text in kept.items()}


def _joined(value: Any) -> str:
    return value if isinstance(value, str) else "".join(map(str, value))


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
            css_sanitizer=CSSSanitizer(allowed_css_properties=frozenset(_STYLES.split())),
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


def _tables(manifest: Mapping[str, Any], entries: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...], list[Any]]]:
    environment = manifest.get("environment", {})
    inputs = {name: digest for entry in entries.values() for name, digest in entry.get("inputs", {}).items()}
    facts = [(key, environment.get(key, "")) for key in ("python", "platform", "cpu_count", "code")]
    facts += [("git commit", manifest.get("git_commit") or "none"), ("command", " ".join(manifest.get("command", [])))]
    times = [
        (stem, entry["status"], _unit(entry.get("seconds"), "s"), _unit(entry.get("peak_mib"), "MiB"))
        for stem, entry in entries.items()
    ]
    parameters = [
        (f"Parameters of {stem}", ("name", "value"), [(n, as_json(v)) for n, v in entry.get("parameters", {}).items()])
        for stem, entry in entries.items()
    ]
    return [
        ("Notebooks", ("notebook", "status", "wall time", "peak memory of the kernel"), times),
        *parameters,
        ("Inputs (SHA-256)", ("input", "digest"), sorted(inputs.items())),
        ("Versions", ("package", "version"), sorted(environment.get("packages", {}).items())),
        ("Machine and code", ("", ""), facts),
    ]


def _unit(value: Any, unit: str) -> str:
    return f"{value:.1f} {unit}" if isinstance(value, int | float) else ""


def as_json(value: Any) -> str:
    """A value as a page or a line of text shows it."""
    return json.dumps(value, ensure_ascii=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def write_index(folder: Path, record: Mapping[str, Any], metrics: Mapping[str, Any]) -> Path:
    """Write `index.html` of a sweep: a row for each combination, a column for each figure, and the numbers below.

    Pictures are embedded up to `EMBED_LIMIT`, and beyond that referred to by relative links; links to each run's report
    and figure files are relative in both cases.

    Parameters
    ----------
    folder : Path
        The sweep's folder.
    record : mapping
        The content of its `sweep.json`.
    metrics : mapping
        The content of its `metrics.json`.

    Returns
    -------
    Path
        The page.
    """
    found = [_figures(folder / entry["folder"]) for entry in record["runs"]]
    embed = 4 / 3 * sum(path.stat().st_size for figures in found for path in figures.values()) <= EMBED_LIMIT
    numbers = [_numbers(run["metrics"]) for run in metrics["runs"]]
    runs = [
        {**entry, "figures": {name: _picture(folder, path, embed) for name, path in figures.items()}, "numbers": values}
        for entry, figures, values in zip(record["runs"], found, numbers, strict=True)
    ]
    states = [entry["status"] for entry in runs]
    return _write(
        folder / "index.html",
        "sweep",
        title=f"class_kit sweep: {folder.resolve().name}",
        images="data:" if embed else "'self' file:",
        record=record,
        runs=runs,
        counts=", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)),
        figures=sorted({name for figures in found for name in figures}),
        numbers=list(dict.fromkeys(name for values in numbers for name in values)),
    )


def _figures(run: Path) -> dict[str, Path]:
    """The pictures of a run's finished notebooks, one for each figure."""
    notebooks = read_manifest(run).get("notebooks", {}).values()
    files = [Path(path) for each in notebooks if each["status"] == "finished" for path in each.get("files", {})]
    figures: dict[str, Path] = {}
    for suffix in _PICTURES:
        for path in sorted(files):
            if path.parts[0] == "figures" and path.suffix.lower() == suffix and _is_own(run, path):
                figures.setdefault(path.relative_to("figures").with_suffix("").as_posix(), run / path)
    return figures


def _is_own(run: Path, path: Path) -> bool:
    try:
        return inside(run, str(path)).is_file()
    except InputError:
        return False  # a link out of the run


def _picture(folder: Path, path: Path, embed: bool) -> dict[str, str]:
    address = quote(path.relative_to(folder).as_posix())
    if not embed:
        return {"address": address, "source": address}
    code = base64.b64encode(path.read_bytes()).decode("ascii")
    return {"address": address, "source": f"data:{_PICTURES[path.suffix.lower()]};base64,{code}"}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers at the top level of each notebook's results."""
    return {
        f"{name}: {key}": value
        for name, results in metrics.items()
        if isinstance(results, Mapping)
        for key, value in results.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _write(path: Path, template: str, **values: Any) -> Path:
    from jinja2 import Environment, FileSystemLoader

    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: value if hasattr(value, "__html__") else visible(value),
    )
    pages.filters |= {"json": as_json, "number": _number}
    write_text(path, pages.get_template(f"{template}.html.j2").render(values) + "\n")
    return path
