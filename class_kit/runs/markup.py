"""Cells of a notebook as safe HTML: an allow-list for markup, MathML for equations, nothing that runs or loads.

Outputs hold text from files. What is not on the list below is dropped or shown as text.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping
from html import escape, unescape
from typing import Any

from class_kit.terminal import visible

_TAG_NAMES = (
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 "
    "hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u "
    "ul var"
)
_CSS_NAMES = (
    "background-color border border-bottom border-collapse border-left border-right border-top color display "
    "font-family font-size font-style font-weight height line-height list-style-type margin margin-bottom margin-left "
    "margin-right margin-top max-height max-width min-width overflow overflow-x overflow-y padding padding-bottom "
    "padding-left padding-right padding-top text-align text-decoration vertical-align white-space width"
)
_MATHS_NAMES = (
    "math menclose merror mfenced mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace "
    "msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none semantics"
)
_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]+")
_DROPPED = re.compile(r"<(script|style|template|title|noscript|iframe|object)\b.*?(?:</\1\s*>|\Z)", re.I | re.S)
_SVG = re.compile(r"<svg\b.*?</svg\s*>", re.I | re.S)


class Headings:
    """The headings of one notebook, with anchors that no other notebook of the page has."""

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.found: list[tuple[int, str, str]] = []

    def add(self, level: int, title: str) -> str:
        """Note a heading (`title` is safe HTML text) and return its anchor."""
        anchor = f"{self.stem}-{len(self.found) + 1}"
        if level <= 3:
            self.found.append((level, title, anchor))
        return anchor


def cell_html(cell: Any, headings: Headings) -> str:
    """One cell with its outputs as HTML that neither runs nor loads anything."""
    if cell.cell_type == "markdown":
        return markdown_html(cell.source, headings, cell.get("attachments"))
    if cell.cell_type != "code":
        return f"<pre>{escape(visible(cell.source))}</pre>"
    code = _highlighted(cell.source) if cell.source.strip() else ""
    return code + "".join(f'<div class="output">{output_html(output)}</div>' for output in cell.outputs)


def _highlighted(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return str(highlight(source, PythonLexer(), HtmlFormatter(cssclass="code")))


def output_html(output: Any) -> str:
    """One output: pictures embedded, markup cleaned, widgets named, everything else as text."""
    if output.output_type == "stream":
        return f"<pre>{escape(visible(output.text))}</pre>"
    if output.output_type == "error":
        text = "\n".join([*output.traceback] or [f"{output.ename}: {output.evalue}"])
        return f'<div class="error"><pre>{escape(visible(text))}</pre></div>'
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data:
        return '<p class="note">Here the notebook has an interactive view; open the notebook to use it.</p>'
    for kind in ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp"):
        if kind in data:
            return _picture(kind, data[kind])
    if "text/html" in data:
        return clean(_joined(data["text/html"]))
    if "text/markdown" in data:
        return markdown_html(_joined(data["text/markdown"]), None)
    if "text/latex" in data:
        return _latex_output(_joined(data["text/latex"]))
    if "text/plain" in data:
        return f"<pre>{escape(visible(_joined(data['text/plain'])))}</pre>"
    return '<p class="note">Here the notebook has an output that a page without scripts cannot show.</p>'


def _joined(value: Any) -> str:
    return value if isinstance(value, str) else "".join(map(str, value))


def _picture(kind: str, value: Any) -> str:
    text = _joined(value)
    if kind == "image/svg+xml":
        return _svg_picture(text)
    source = f"data:{kind};base64,{''.join(text.split())}"
    return f'<img alt="figure" src="{source}">' if _IMAGE.fullmatch(source) else '<p class="note">unreadable image</p>'


def _svg_picture(text: str) -> str:
    """A drawing as an image: a browser runs no script and loads nothing from inside an image."""
    if "xmlns=" not in text:
        text = re.sub(r"<svg\b", '<svg xmlns="http://www.w3.org/2000/svg"', text, count=1, flags=re.I)
    code = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    return f'<img alt="figure" src="data:image/svg+xml;base64,{code}">'


def _latex_output(text: str) -> str:
    match = re.fullmatch(r"\s*\$(\$?)(.*?)\$?\$\s*", text, re.S)
    return equation(match.group(2) if match else text, block=True)


def clean(html: str) -> str:
    """Keep the allowed tags, attributes and styles of `html`; images only where they are embedded."""
    import bleach
    from bleach.css_sanitizer import CSSSanitizer

    html = _SVG.sub(lambda match: _svg_picture(match.group()), _DROPPED.sub("", html))
    return str(
        bleach.clean(
            html,
            tags=frozenset(_TAG_NAMES.split()),
            attributes=_allowed,
            protocols={"http", "https", "mailto", "data"},
            css_sanitizer=CSSSanitizer(allowed_css_properties=frozenset(_CSS_NAMES.split())),
            strip=True,
        )
    )


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and _IMAGE.fullmatch(value) is not None
    if name == "href":
        return tag == "a" and re.match(r"(?:https?:|mailto:|#)", value, re.I) is not None
    return name in {"style", "title", "alt", "colspan", "rowspan", "align", "start", "width", "height", "open"}


def equation(source: str, block: bool) -> str:
    """TeX as MathML, which browsers draw without a script; what cannot be converted stays readable as TeX."""
    from xml.etree.ElementTree import tostring

    from latex2mathml.converter import convert_to_element

    try:
        # not `convert`: its last step undoes the escaping of text, and a `\text{<script>}` becomes a script
        element = convert_to_element(source.strip(), display="block" if block else "inline")
        mathml = tostring(element, encoding="unicode") if _is_plain_mathematics(element) else None
    except Exception:  # the converter raises whatever its parser ran into
        mathml = None
    if mathml is None:
        tag = "pre" if block else "code"
        return f"<{tag}>{escape(visible(source.strip()))}</{tag}>"
    return mathml


def _is_plain_mathematics(element: Any) -> bool:
    """Resolve entities in an equation's text; False for what is no mathematics: links, pictures, unknown commands."""
    for part in element.iter():
        part.text, part.tail = (unescape(text) if text else text for text in (part.text, part.tail))
        # a command the converter does not know comes back as text with its backslash
        if (
            part.tag not in _MATHS_NAMES.split()
            or "\\" in (part.text or "")
            or {"href", "style", "src"} & set(part.attrib)
        ):
            return False
        if any(re.match("on", name, re.I) or ":" in value for name, value in part.attrib.items() if name != "xmlns"):
            return False
    return True


def markdown_html(source: str, headings: Headings | None, attachments: Mapping[str, Any] | None = None) -> str:
    """Markdown as clean HTML with MathML equations.

    Equations and headings take part as unguessable marks while the allow-list is applied, and are put in afterwards.
    """
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    secret = secrets.token_hex(8)
    kept: list[str] = []

    def mark(html: str) -> str:
        kept.append(html)
        return f"{secret}x{len(kept) - 1}x"

    class Renderer(IPythonRenderer):  # type: ignore[misc]
        def inline_math(self, body: str) -> str:
            return mark(equation(unescape(body), block=False))

        def block_math(self, body: str) -> str:
            return mark(equation(unescape(body), block=True))

        def heading(self, text: str, level: int, **unused: Any) -> str:
            return mark("\0".join((str(level), text)))

        def block_code(self, code: str, info: str | None = None) -> str:
            return f"<pre><code>{escape(code)}</code></pre>"

        def image(self, text: str, url: str, title: str | None = None) -> str:
            return _markdown_image(text, url, attachments or {})

    html = clean(MarkdownWithMath(renderer=Renderer(escape=False)).render(source))

    def put(match: re.Match[str]) -> str:
        html = kept[int(match.group(1))]
        if "\0" not in html:
            return html
        level, text = html.split("\0", 1)
        return _heading(int(level), pattern.sub(put, clean(text)), headings)

    pattern = re.compile(rf"{secret}x(\d+)x")
    return pattern.sub(put, html)


def _heading(level: int, html: str, headings: Headings | None) -> str:
    if headings is None:
        return f"<h{level}>{html}</h{level}>"
    title = escape(unescape(re.sub(r"<[^>]*>", "", html)).strip())
    return f'<h{level} id="{escape(headings.add(level, title))}">{html}</h{level}>'


def _markdown_image(text: str, url: str, attachments: Mapping[str, Any]) -> str:
    if url.startswith("attachment:"):
        for kind, value in attachments.get(url.removeprefix("attachment:"), {}).items():
            url = f"data:{kind};base64,{''.join(_joined(value).split())}"
    if _IMAGE.fullmatch(url):
        return f'<img alt="{escape(text)}" src="{url}">'
    return f"<em>[image: {escape(text or url)}]</em>"
