"""The products' tables: every number for programs, and what a reader of the paper is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from class_kit.study.output import interval, readable, readable_gaps
from class_kit.study.paper.products import MAIN, MAIN_DEEP, SAVINGS
from class_kit.study.paper.published import PUBLISHED, PublishedRow
from class_kit.study.records import RANKINGS

if TYPE_CHECKING:
    import pandas as pd

_GROUP = ("pairs", "backbone", "budget")
_NONE = "–"


@dataclass(frozen=True)
class ProductTable:
    """`frame` holds every number, `shown` the cells of a printed table, `note` what has to be said of both."""

    frame: pd.DataFrame
    shown: pd.DataFrame
    note: str


def product_tables(results: Mapping[str, Any], name: str) -> dict[str, ProductTable]:
    """The tables of one product by file name; none where the results do not hold it."""
    product = results["products"].get(name)
    if product is None:
        return {}
    if name == SAVINGS:
        return {"savings": _savings(product["savings"])} if product["savings"] else {}
    found = _main(results, name) if name in (MAIN, MAIN_DEEP) else _plain(product, _note(results, product))
    if product.get("ties"):
        found["ties"] = _ties(product["ties"])
    return found


def rows_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of results as a table; None where a number is meant becomes NaN."""
    import pandas as pd

    frame = pd.DataFrame(list(rows))
    for column in frame.columns:
        if frame[column].map(lambda value: value is None or isinstance(value, int | float)).all():
            frame[column] = pd.to_numeric(frame[column])
    return frame


def _main(results: Mapping[str, Any], name: str) -> dict[str, ProductTable]:
    """One table a ranking, slower backbones and published figures below the heads; the same without near-duplicates."""
    product = results["products"][name]
    note = _note(results, product)
    found = {}
    shown = [results["products"][each] for each in (name, MAIN_DEEP) if each in results["products"]]
    whole = rows_frame(
        [row | {"source": _source(one)} for one in shown[: 2 if name == MAIN else 1] for row in one["summary"]]
    )
    for ranking in RANKINGS if len(whole) else ():
        rows = whole[whole["ranking"] == ranking]
        beside = PUBLISHED if name == MAIN and ranking.startswith("text_to_molecule") else ()
        found[ranking.replace("/", "_")] = _with_published(rows, beside, note)
    found |= _differences(product["differences"], "differences", note)
    if "apart" in product:
        apart = product["apart"]
        note += f" Only the {apart['queries']:,} queries without a near-duplicate among the training pairs; same pools."
        found |= _summary(apart["summary"], "apart", note)
        found |= _differences(apart["differences"], "apart_differences", note)
    return found


def _plain(product: Mapping[str, Any], note: str) -> dict[str, ProductTable]:
    return _summary(product["summary"], "summary", note) | _differences(product["differences"], "differences", note)


def _summary(rows: Sequence[Mapping[str, Any]], name: str, note: str) -> dict[str, ProductTable]:
    frame = rows_frame(rows)
    return {name: ProductTable(frame, readable(frame), note)} if len(frame) else {}


def _differences(rows: Sequence[Mapping[str, Any]], name: str, note: str) -> dict[str, ProductTable]:
    frame = rows_frame(rows)
    if not len(frame):
        return {}
    # a reciprocal rank needs more digits than a place or a point: it is in the CSV
    shown = readable_gaps(frame[frame["metric"] != "mrr"])
    return {name: ProductTable(frame, shown, f"{note} p values corrected (Holm) over each ranking and metric.")}


def _with_published(frame: pd.DataFrame, published: Sequence[PublishedRow], note: str) -> ProductTable:
    import pandas as pd

    shown = readable(frame)
    if "backbone" not in shown:
        shown.insert(0, "backbone", frame["backbone"])
    shown["source"] = frame["source"]
    more = pd.DataFrame([asdict(row) for row in published])
    whole = pd.concat([frame, _renamed(more)], ignore_index=True)
    cells = [
        {
            "backbone": row.model,
            "pool": f"{row.pool:,}" if row.pool else "not said",
            "arm": "published",
            "Hits@1 %": _cell(row.hits_1, 100, 1),
            "Hits@10 %": _cell(row.hits_10, 100, 1),
            "MRR": _cell(row.mrr, 1, 3),
            "Mean Rank": _cell(row.mean_rank, 1, 1),
            "source": f"{row.source} ({row.standing})",
        }
        for row in published
    ]
    below = pd.DataFrame(cells).reindex(columns=shown.columns) if cells else shown.iloc[:0]
    return ProductTable(whole, pd.concat([shown, below], ignore_index=True).fillna(_NONE), note)


def _source(product: Mapping[str, Any]) -> str:
    if not product["preliminary"]:
        return "measured here"
    return f"measured here, preliminary: {_seeds(product)}, {product['settings']['training']['epochs']} epochs"


def _seeds(product: Mapping[str, Any]) -> str:
    number = len(product["settings"]["seeds"])
    return f"{number} seed{'s' if number > 1 else ''}"


def _renamed(published: pd.DataFrame) -> pd.DataFrame:
    names = {"model": "backbone", "hits_1": "hits@1", "hits_10": "hits@10"}
    return published.rename(columns=names).assign(arm="published") if len(published) else published


def _ties(rows: Sequence[Mapping[str, Any]]) -> ProductTable:
    import pandas as pd

    frame = rows_frame(rows)
    shown = pd.DataFrame({"threshold": frame["arm"]})
    titles = {"zero": "no neighbour %", "shared": "count shared %", "largest": "largest tie %"}
    for key, title in titles.items():
        shown[title] = (100 * frame[key]).map("{:.1f}".format)
    return ProductTable(frame, shown, "Shares of the training pairs.")


def _savings(rows: Sequence[Mapping[str, Any]]) -> ProductTable:
    import pandas as pd

    frame = rows_frame(rows)
    shown = pd.DataFrame({"backbone": frame["backbone"], "arm": frame["arm"], "seeds": frame["seeds"].map(str)})
    for key in ("samples", "steps"):
        shown[f"{key} saved %"] = (100 * frame[key]).map("{:.1f}".format)
    shown["seconds saved %"] = [
        interval(100 * row["seconds"], 100 * row["seconds_low"], 100 * row["seconds_high"], 1, sign=True)
        for _, row in frame.iterrows()
    ]
    note = "Of the standard run's; seconds of training steps as measured, compared seed by seed, 95 % interval."
    return ProductTable(frame, shown, note)


def _note(results: Mapping[str, Any], product: Mapping[str, Any]) -> str:
    inputs, settings = results["inputs"], product["settings"]
    note = (
        f"{inputs['sizes'].get('train', 0):,} training pairs, {settings['training']['epochs']} epochs; 95 % intervals "
        f"over queries and {_seeds(product)}; ties at their expectation."
    )
    if inputs["extra"]:
        note += f" {inputs['extra']:,} of the training pairs are extra ones, not of the published split."
    if inputs["swapped"]:
        note += " The roles of the test and the validation file are exchanged."
    return note + (" Preliminary: few epochs." if product["preliminary"] else "")


def _cell(value: float | None, factor: float, digits: int) -> str:
    return _NONE if value is None else f"{factor * value:.{digits}f}"
