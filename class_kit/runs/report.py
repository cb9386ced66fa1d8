"""One HTML file with everything a run showed: it opens without a network, on a phone, and runs nothing.

The page is built here rather than from a template that loads scripts from elsewhere. Every piece of a notebook passes
an allow-list, and a content security policy forbids scripts and requests besides: two locks, because outputs hold
text from files. Searching is left to the browser's own "find in page", which needs neither: all text is on the one
page, and what is folded is unfolded where it is found.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.files import write_text
from class_kit.runs.manifest import read_manifest
from class_kit.runs.markup import Headings, cell_html
from class_kit.terminal import visible

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_STYLE = """
:root{color-scheme:light}
body{font:16px/1.55 system-ui,sans-serif;color:#1d2330;margin:0;background:#fff;overflow-wrap:anywhere}
main,nav,header{max-width:60rem;margin:0 auto;padding:0 1rem}
h1{font-size:1.7rem}h2{font-size:1.35rem}h3{font-size:1.1rem}h1,h2,h3,h4{line-height:1.25}
nav ul{list-style:none;padding-left:1rem;margin:.2rem 0}nav>ul{padding-left:0}
nav a{display:inline-block;padding:.15rem 0}
nav details{margin:.2rem 0}nav summary{cursor:pointer;padding:.2rem 0}
a.up{position:fixed;right:.8rem;bottom:.8rem;padding:.45rem .8rem;border-radius:1.2rem;background:#0b5394;color:#fff;
text-decoration:none;font-size:.85rem}
a{color:#0b5394}
section.notebook{border-top:3px solid #0b5394;margin-top:2.5rem}
img{max-width:100%;height:auto}
pre{overflow-x:auto;padding:.6rem .8rem;margin:.4rem 0;font:13px/1.45 ui-monospace,monospace;overflow-wrap:normal}
.code pre,.code{background:#f5f6f8;border-radius:4px}
.output{margin:.4rem 0 1rem;overflow-x:auto}
.output>pre{white-space:pre-wrap;overflow-wrap:anywhere}
.error pre{background:#fdecea}
.note{color:#566;font-style:italic}
.scroll{overflow-x:auto}
.notebook>table{display:block;overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem;width:max-content}
td,th{max-width:18rem;overflow-wrap:break-word;
border:1px solid #ccd2da;padding:.25rem .5rem;text-align:left;vertical-align:top;unicode-bidi:isolate}
p,li{unicode-bidi:isolate}
math[display=block]{margin:.6rem 0;overflow-x:auto}
.failed,.interrupted,.running{color:#a61c00;font-weight:600}
@media print{nav,a.up{display:none}}
"""


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
    run = Path(folder)
    manifest = read_manifest(run)
    if not manifest:
        raise InputError(f"{str(run)!r} holds no manifest.json of a run")
    parts, contents = [], []
    for stem in sorted(manifest["notebooks"]):
        headings = Headings(stem)
        entry = manifest["notebooks"][stem]
        parts.append(_notebook_section(run / "notebooks" / f"{stem}.ipynb", stem, entry, headings))
        contents.append(_contents(stem, headings))
    body = (
        f"<header><h1>class_kit run: {_text(run.resolve().name)}</h1>{_summary(manifest)}</header>"
        f'<nav id="contents" aria-label="Contents"><h2>Contents</h2><ul>{"".join(contents)}'
        '<li><a href="#record">Record of the run</a></li></ul></nav>'
        f"<main>{''.join(parts)}{_record(manifest)}</main>"
        '<a class="up" href="#contents">Contents</a>'
    )
    path = run / "report.html"
    write_text(path, _page(f"class_kit run {run.resolve().name}", body))
    return path


def _page(title: str, body: str) -> str:
    from pygments.formatters import HtmlFormatter

    colours = HtmlFormatter(style="default").get_style_defs(".code")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}{colours}</style></head>\n<body>{body}</body></html>\n"
    )


def _text(value: object) -> str:
    return escape(visible(value))


def _summary(manifest: Mapping[str, Any]) -> str:
    status = manifest.get("status", "unknown")
    chosen = manifest.get("overrides") or {}
    parameters = ", ".join(f"{name} = {json.dumps(value)}" for name, value in chosen.items()) or "all defaults"
    return (
        f'<p>Status: <span class="{_text(status)}">{_text(status)}</span>. Parameters: {_text(parameters)}. '
        f"Started {_text(manifest.get('started', '?'))}.</p>"
    )


def _contents(stem: str, headings: Headings) -> str:
    inner = "".join(f'<li><a href="#{escape(anchor)}">{title}</a></li>' for level, title, anchor in headings.found)
    link = f'<a href="#{escape(stem)}">{_text(stem)}</a>'
    # folded, a run of many notebooks has its contents on one screen of a phone
    return f"<li><details><summary>{link}</summary><ul>{inner}</ul></details></li>" if inner else f"<li>{link}</li>"


def _notebook_section(path: Path, stem: str, entry: Mapping[str, Any], headings: Headings) -> str:
    import nbformat

    head = f'<section class="notebook" id="{escape(stem)}"><p class="note">{_text(stem)}</p>'
    status = entry.get("status", "unknown")
    if status != "finished":
        error = f'<div class="error"><pre>{_text(entry["error"])}</pre></div>' if entry.get("error") else ""
        head += f'<p class="{_text(status)}">This notebook is not finished: {_text(status)}.</p>{error}'
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (OSError, ValueError) as error:
        return f'{head}<p class="note">No executed notebook: {_text(type(error).__name__)}.</p></section>'
    return head + "\n".join(cell_html(cell, headings) for cell in notebook.cells) + "</section>"


def _record(manifest: Mapping[str, Any]) -> str:
    entries = manifest["notebooks"]
    environment = manifest.get("environment", {})
    times = [
        (stem, entry["status"], _number(entry.get("seconds"), "s"), _number(entry.get("peak_mib"), "MiB"))
        for stem, entry in sorted(entries.items())
    ]
    facts = [(key, environment.get(key, "")) for key in ("python", "platform", "cpu_count", "code")]
    facts += [("git commit", manifest.get("git_commit") or "none"), ("command", " ".join(manifest.get("command", [])))]
    tables = [
        "<h2>Record of the run</h2>",
        _table("Notebooks", ("notebook", "status", "wall time", "peak memory of the kernel"), times),
        *(
            _table(f"Parameters of {stem}", ("name", "value"), _shown(entry.get("parameters", {})))
            for stem, entry in sorted(entries.items())
        ),
        _table("Inputs (SHA-256)", ("input", "digest"), sorted(_inputs(entries).items())),
        _table("Versions", ("package", "version"), sorted(environment.get("packages", {}).items())),
        _table("Machine and code", ("", ""), facts),
    ]
    return f'<section class="notebook" id="record">{"".join(tables)}</section>'


def _number(value: Any, unit: str) -> str:
    return f"{value:.1f} {unit}" if isinstance(value, int | float) else ""


def _shown(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, json.dumps(value, ensure_ascii=False)) for name, value in parameters.items()]


def _inputs(entries: Mapping[str, Any]) -> dict[str, str]:
    return {name: digest for entry in entries.values() for name, digest in entry.get("inputs", {}).items()}


def _table(title: str, head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    if not rows:
        return ""
    header = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<h3>{_text(title)}</h3><div class="scroll"><table><tr>{header}</tr>{lines}</table></div>'
