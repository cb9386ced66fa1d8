"""A run as a static site: a page for each executed notebook, with the views that need no model working in the page.

It opens from a folder and from any host of files, and asks nobody for anything. Two scripts run: Vega, which draws the
charts without `eval`, and the kit's own `book.js`. What comes from data is escaped or passes the report's allow-list;
charts and the index of the search are read as JSON.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from html import unescape
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.files import write_text
from class_kit.runs.notebooks import SAFE_NAME
from class_kit.runs.report import render, run_values, view_place, write_page
from class_kit.runs.run import findings, read_manifest, result_folder

# the views that need no model, each with the notebook's parameters that it is made from
_VIEWS = {
    "difficulty_explorer": {"pairs"},
    "schedule_designer": {"pairs", "epochs", "batch_size"},
    "intensity_comparer": {"epochs"},
}
# parameters of a notebook that say what it trains on
_SOURCE = ("data", "extra", "text_encoder", "molecule_encoder", "vectors")
_LICENCE = "/* Vega, Vega-Lite and Vega-Embed, https://vega.github.io, BSD 3-Clause Licence */\n"


def write_book(folder: str | os.PathLike[str], run: str | os.PathLike[str]) -> Path:
    """Write the site of a run: `index.html` with its findings and the search, and a page for each notebook.

    Parameters
    ----------
    folder : path
        A new or empty folder, or an earlier book, whose pages are replaced.
    run : path
        The folder of a run. Its pairs are read again, for the view of their difficulty.

    Returns
    -------
    Path
        The first page.

    Raises
    ------
    InputError
        If one of the folders cannot be used, the pairs have gone, or Altair or vl-convert is not installed.
    """
    from pygments.formatters import HtmlFormatter

    place, target = Path(run), result_folder(folder, "", "book.js")
    if not (manifest := read_manifest(place)):
        raise InputError(f"{str(run)!r}: expected the folder of a run, with manifest.json")
    if unsafe := [stem for stem in manifest["notebooks"] if not SAFE_NAME.fullmatch(stem) or stem == "index"]:
        raise InputError(f"notebook {unsafe[0]!r} cannot be a page: expected letters, digits, '.', '_' or '-'")
    library = _LICENCE + _library()
    values = run_values(place, manifest, findings(place), _VIEWS)
    parts, sections = values["parts"], []
    for part in parts:
        part["page"] = f"{part['stem']}.html"
        sections += _sections(part)
        part["html"] = _with_views(part)
    dark = HtmlFormatter(style="github-dark").get_style_defs("[data-theme=dark] .highlight")
    values |= {"dark": dark, "home": "index.html", "pages": ["index.html", *(part["page"] for part in parts)]}
    write_text(target / "book.js", Path(__file__).with_name("book.js").read_text(encoding="utf-8"))
    write_text(target / "vega.js", library)
    for at, part in enumerate(parts, start=1):
        write_page(target / part["page"], "book", **values, shown=[part], at=at)
    return write_page(target / "index.html", "book", **values, shown=[], at=0, overview=True, sections=sections)


def _library() -> str:
    """Vega with all it needs as one script, in the version for which Altair writes charts."""
    try:
        import altair
        import vl_convert
    except ImportError as error:
        raise InputError(f"a book needs Altair and vl-convert: pip install 'class-kit[book]' ({error})") from None
    version = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version))


def _sections(part: Mapping[str, Any]) -> list[list[str]]:
    """What the search looks through: page with anchor, heading and text of each section of a notebook."""
    pieces = re.split(r'<h[123] id="[^"]*">', part["html"])[1:]
    headings = zip(part["headings"], pieces, strict=True)
    return [
        [f"{part['page']}#{anchor}", heading, " ".join(unescape(re.sub(r"<[^>]*>", " ", piece)).split())]
        for (anchor, heading), piece in headings
    ]


def _with_views(part: Mapping[str, Any]) -> str:
    """The notebook's HTML with a chart in each place for an interactive view."""
    html, parameters = part["html"], part.get("parameters", {})
    for name, needed in _VIEWS.items():
        if view_place(name) in html:
            # a notebook of the user's own may have other parameters
            lacking = sorted(needed - parameters.keys())
            view = {} if lacking else _view(name, parameters)
            html = html.replace(view_place(name), render("view", name=name, lacking=lacking, **view), 1)
    return html


@lru_cache(maxsize=1)
def _task(options: str) -> Any:
    from class_kit.task import load_task

    return load_task(**json.loads(options))


def _view(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """One of `_VIEWS` as a chart, over the pairs that the notebook loaded."""
    from class_kit.runs import charts

    if name == "intensity_comparer":
        return charts.compare_intensities(parameters["epochs"])
    options = {key: parameters[key] for key in _SOURCE if key in parameters} | parameters.get("reading", {})
    # notebook 0 prefers `path` to `pairs`
    task = _task(json.dumps({"pairs": parameters.get("path") or parameters["pairs"], **options}))
    rows = task.rows("train")
    if name == "schedule_designer":
        return charts.design_schedule(len(rows), parameters["epochs"], parameters["batch_size"])
    return charts.explore_difficulty(task.t[rows], task.m[rows], task.pairs.take(rows))
