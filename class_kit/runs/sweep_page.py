"""The page of a sweep: the figures of all combinations side by side, in one file that runs nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from class_kit.errors import InputError
from class_kit.files import write_text
from class_kit.runs.folder import inside
from class_kit.runs.manifest import read_manifest
from class_kit.terminal import visible

# Beyond this many bytes of pictures the page refers to the files instead of holding them: browsers get slow.
EMBED_LIMIT = 20 * 2**20

# By preference where a figure was saved in several formats
_KINDS = {
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
_POLICY = "default-src 'none'; img-src {images}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,sans-serif;color:#1d2330;background:#fff;margin:0 1rem 2rem;overflow-wrap:anywhere}
h1{font-size:1.6rem}h2{font-size:1.25rem}
a{color:#0b5394}
.scroll{overflow:auto;max-height:90vh}
table{border-collapse:separate;border-spacing:0;font-size:.9rem}
th,td{border:solid #ccd2da;border-width:0 1px 1px 0;padding:.3rem .5rem;text-align:left;vertical-align:top;
unicode-bidi:isolate;max-width:24rem}
thead th{position:sticky;top:0;background:#eef1f5;z-index:2}
tbody th{position:sticky;left:0;background:#f7f8fa;z-index:1;font-weight:400;min-width:7rem;max-width:14rem}
thead th:first-child{left:0;z-index:3}
img{display:block;width:22rem;max-width:70vw;height:auto}
th p{margin:.1rem 0}
.note{color:#566;font-style:italic}
.failed,.interrupted,.missing{color:#a61c00;font-weight:600}
.number{text-align:right;font-variant-numeric:tabular-nums}
@media print{.scroll{overflow:visible;max-height:none}}
"""


@dataclass
class _Row:
    """One combination: its entry in the sweep's record, its figures by name, and what the page's links start with."""

    entry: Mapping[str, Any]
    address: str
    figures: dict[str, Path] = field(default_factory=dict)


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
    rows = [_row(folder, entry) for entry in record["runs"]]
    total = sum(_size(path) for row in rows for path in row.figures.values())
    embed = total * 4 / 3 <= EMBED_LIMIT
    title = f"class_kit sweep: {folder.resolve().name}"
    body = (
        f"<header><h1>{_text(title)}</h1>{_summary(record)}</header><main>"
        f"<h2>Figures</h2>{_figures(folder, rows, embed)}{_numbers(record, metrics)}</main>"
    )
    policy = _POLICY.format(images="data:" if embed else "'self' file:")
    path = folder / "index.html"
    write_text(
        path,
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body>{body}</body></html>\n",
    )
    return path


def _text(value: object) -> str:
    return escape(visible(value))


def _row(folder: Path, entry: Mapping[str, Any]) -> _Row:
    """A combination with the pictures of its finished notebooks, one for each figure."""
    run = folder / entry["folder"]
    row = _Row(entry, entry["folder"])
    notebooks = read_manifest(run).get("notebooks", {})
    files = [
        path
        for notebook in notebooks.values()
        if notebook["status"] == "finished"
        for path in notebook.get("files", {})
    ]
    order = list(_KINDS)
    pictures = [path for path in files if path.startswith("figures/") and Path(path).suffix.lower() in _KINDS]
    for path in sorted(pictures, key=lambda path: (order.index(Path(path).suffix.lower()), path)):
        name = str(Path(path).relative_to("figures").with_suffix(""))
        try:
            if inside(run, path).is_file():
                row.figures.setdefault(name, Path(path))
        except InputError:
            continue  # a link out of the run: what lies there is none of its figures
    row.figures = {name: run / path for name, path in row.figures.items()}
    return row


def _size(path: Path) -> int:
    return path.stat().st_size


def _summary(record: Mapping[str, Any]) -> str:
    states = [entry["status"] for entry in record["runs"]]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    fixed = ", ".join(f"{name} = {_value(value)}" for name, value in record["fixed"].items()) or "all at their defaults"
    return (
        f"<p>{len(states)} combinations of {_text(', '.join(record['notebooks']))}: {_text(counts)}. "
        f"Other parameters: {_text(fixed)}. Started {_text(record['started'])}.</p>"
    )


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _figures(folder: Path, rows: Sequence[_Row], embed: bool) -> str:
    names = sorted({name for row in rows for name in row.figures})
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in ("combination", *names))
    lines = "".join(
        f"<tr>{_head(row)}{''.join(_cell(folder, row, name, embed) for name in names)}</tr>" for row in rows
    )
    empty = "" if names else '<p class="note">No finished run has left a figure.</p>'
    return f'{empty}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _head(row: _Row) -> str:
    entry = row.entry
    values = "".join(f"<p>{_text(name)} = {_text(_value(value))}</p>" for name, value in entry["parameters"].items())
    status = f'<p class="{_text(entry["status"])}">{_text(entry["status"])}</p>'
    error = f"<p>{_text(entry['error'].splitlines()[0][:300])}</p>" if entry.get("error") else ""
    link = f'<p><a href="{quote(row.address)}/report.html">report</a></p>' if entry["has_report"] else ""
    return f'<th scope="row">{values}{status}{error}{link}</th>'


def _cell(folder: Path, row: _Row, name: str, embed: bool) -> str:
    path = row.figures.get(name)
    if path is None:
        return '<td class="note">none</td>'
    address = quote(path.relative_to(folder).as_posix())
    label = f"{name}, " + ", ".join(f"{key} = {_value(value)}" for key, value in row.entry["parameters"].items())
    source = address
    if embed:
        source = f"data:{_KINDS[path.suffix.lower()]};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
    picture = f'<img loading="lazy" alt="{_text(label)}" src="{source}">'
    return f'<td><a href="{address}">{picture}</a></td>'


def _numbers(record: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The numbers at the top level of each run's results, one column each."""
    found = [_flat(run["metrics"]) for run in metrics["runs"]]
    names = list(dict.fromkeys(name for numbers in found for name in numbers))
    if not names:
        return ""
    swept = list(record["sweeps"])
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in ("combination", *names))
    lines = []
    for entry, numbers in zip(record["runs"], found, strict=True):
        first = "".join(f"<p>{_text(name)} = {_text(_value(entry['parameters'][name]))}</p>" for name in swept)
        cells = _number_cells(numbers.get(name) for name in names)
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<h2>Numbers</h2><p>All results are in metrics.json.</p><div class="scroll">{table}</div>'


def _flat(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{name}: {key}": value
        for name, results in metrics.items()
        if isinstance(results, Mapping)
        for key, value in results.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _number_cells(values: Iterable[float | None]) -> str:
    shown = ("" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.6g}" for value in values)
    return "".join(f'<td class="number">{text}</td>' for text in shown)
