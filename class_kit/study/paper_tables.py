"""The committed results of the paper's study as tables: every number for programs, and what a reader is shown."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.errors import InputError
from class_kit.files import home_path, shipped
from class_kit.study.output import interval, readable, readable_gaps
from class_kit.study.tables import VERDICTS, verdict

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 2**20
STANDARD, SAVINGS = "standard", "savings"
RANKING = "text_to_molecule/split"
_MAIN, _DEEP = "main", "main_deep"
_SPLITS = {"test": "test split", "swapped": "splits exchanged"}
_NONE: dict[str, Any] = {"inputs": {}, "products": {}}

# every number, and the cells of a printed table
Table = tuple["pd.DataFrame", "pd.DataFrame"]


def read_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `run_paper` left as `paper.json`.

    Raises
    ------
    InputError
        For a file that is missing, too large, or holds something else.
    """
    path = Path(path)
    try:
        results = _read(path)
        if not isinstance(results["inputs"]["sizes"], dict):
            raise TypeError("expected sizes as an object")
        if not all(isinstance(product, dict) for product in results["products"].values()):
            raise TypeError("expected products as objects")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: no results of `class-kit study paper` ({error})") from None
    return dict(results)


def find_results(path: str | os.PathLike[str] = "") -> dict[str, Any]:
    """The results in a file, or without a path the committed ones; results without products where there are none.

    Raises
    ------
    InputError
        As `read_results`.
    """
    if str(path):
        return read_results(home_path(path))
    committed = shipped("figures/paper/paper.json")
    return read_results(committed) if committed.is_file() else dict(_NONE)


def find_search() -> dict[str, Any] | None:
    """The committed record of the search for a better curriculum, `figures/paper/search.py`; None where there is none.

    Raises
    ------
    InputError
        For a file that is no such record.
    """
    path = shipped("figures/paper/search.json")
    try:
        record = _read(path) if path.is_file() else {}
        parts = {key: record[key] for key in _SPLITS if key in record}
        for part in parts.values():
            _frame(part["summary"]), _frame(part["differences"])
        # each round of the plain run begins with the choice of the one before
        different = {json.dumps([one["kind"], one["settings"]], sort_keys=True) for one in record.get("tried", ())}
        return dict(record) | {"tried": len(different)} if "test" in parts else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: no record of a search ({error})") from None


def inputs_table(results: Mapping[str, Any]) -> pd.DataFrame:
    """What was trained and asked, one number a row; empty where there are no results."""
    import pandas as pd

    inputs = results["inputs"]
    rows: dict[str, Any] = {}
    if inputs:
        sizes, near = inputs["sizes"], inputs["relatives"] or {}
        exchanged = ", test and validation exchanged" if inputs["swapped"] else ""
        rows = {
            f"training pairs ({inputs['pairs']}{exchanged})": sizes.get("train", 0),
            "of them extra ones, unpublished as a set": inputs["extra"],
            "queries, and candidates of their split": sizes.get(inputs["evaluated"], 0),
            "candidates of the larger pool": inputs["pool"],
            "queries with an equal text among the training pairs": near.get("equal_text"),
            "with an equal structure, stereochemistry aside": near.get("equal_structure"),
            f"with a mean cosine above {near.get('sigma', 0):g}": near.get("near"),
            "without any such near-duplicate": near.get("apart"),
        }
    counted = {what: f"{number:,}" for what, number in rows.items() if number is not None}
    return pd.DataFrame({"what": list(counted), "number": list(counted.values())})


def paper_tables(results: Mapping[str, Any], name: str) -> dict[str, Table]:
    """The tables of one study by file name; none where the results do not hold it.

    `summary` and `differences`; as far as the study has them `apart` and `apart_differences` (the queries without a
    near-duplicate among the training pairs), `ties`, `savings`; and for the main one `published`: all backbones beside
    published figures, each with its pool.
    """
    product = results["products"].get(name, {})
    tables: dict[str, Table] = {}
    for part, rows in (("", product), ("apart_", product.get("apart", {}))):
        if len(whole := _frame(rows.get("summary", ()))):
            tables[f"{part}summary"] = whole, readable(whole)
        if len(gaps := _frame(rows.get("differences", ()))):
            shown = readable_gaps(gaps)
            # a reciprocal rank needs more digits than a place or a point: it is in the CSV
            tables[f"{part}differences"] = gaps.assign(verdict=shown["verdict"]), shown[gaps["metric"] != "mrr"]
    if name == _MAIN and "summary" in tables:
        tables["published"] = _beside_published(results)
    if len(ties := _frame(product.get("ties", ()))):
        titles = {"zero": "no neighbour %", "shared": "count shared %", "largest": "largest tie %"}
        cells = {title: (100 * ties[key]).map("{:.1f}".format) for key, title in titles.items()}
        tables["ties"] = ties, ties[["arm"]].rename(columns={"arm": "threshold"}).assign(**cells)
    if name == SAVINGS and len(saved := _frame(product.get("savings", ()))):
        tables["savings"] = saved, _savings(saved)
    return tables


def key_rows(results: Mapping[str, Any], name: str, table: str = "differences") -> pd.DataFrame:
    """The printed rows of a table that answer first: Hits@1, text→molecule in the split's pool; empty without results.

    A table that has no such columns is printed as it is.
    """
    import pandas as pd

    frame, shown = paper_tables(results, name).get(table, (pd.DataFrame(), pd.DataFrame()))
    for column, value in (("ranking", RANKING), ("metric", "hits@1")):
        if column in frame:
            frame = frame[frame[column] == value]
    return shown[shown.index.isin(frame.index)].drop(columns=["ranking", "metric"], errors="ignore")


def note(results: Mapping[str, Any], name: str) -> str:
    """What has to be said of every table of a study: pairs, epochs, seeds."""
    inputs, product = results["inputs"], results["products"][name]
    if name == SAVINGS:
        return "Of the standard run's; seconds of training steps as measured, compared seed by seed, 95 % interval."
    settings = product["settings"]
    seeds = len(settings["seeds"])
    text = (
        f"{inputs['sizes'].get('train', 0):,} training pairs, {settings['training']['epochs']} epochs; 95 % intervals "
        f"over queries{'' if seeds == 1 else f' and {seeds} seeds'}; ties at their expectation; p values corrected "
        "(Holm) over each ranking and metric."
    )
    if inputs["extra"]:
        text += f" {inputs['extra']:,} of the training pairs are extra ones, not of the published split."
    if inputs["swapped"]:
        text += " The roles of the test and the validation file are exchanged."
    if product["preliminary"]:
        text += " Preliminary: few epochs and one seed."
    failed = len(product.get("failed", ()))
    return text + (f" {failed} trainings failed and are left out." if failed else "")


def verdict_counts(results: Mapping[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """How many differences in Hits@1 (text→molecule, the split's pool) got each verdict, by study and reference."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for name, product in results["products"].items():
        for row in product.get("differences", []):
            if row["metric"] == "hits@1" and row["ranking"] == RANKING:
                own = counts.setdefault(name, {}).setdefault(row["reference"], dict.fromkeys(VERDICTS, 0))
                own[verdict(row)] += 1
    return counts


def search_table(search: Mapping[str, Any]) -> Table:
    """The search's arms minus the tuned plain run, on the split that was tuned on and with the splits exchanged."""
    frame = _frame([row | {"split": key} for key in _SPLITS for row in search.get(key, {}).get("differences", ())])
    kept = frame[frame["metric"].isin(["hits@1", "mean_rank"]) & frame["ranking"].str.endswith("/split")]
    shown = readable_gaps(kept).drop(columns="minus")
    shown.insert(0, "read on", kept["split"].map(_SPLITS))
    shown.insert(3, "samples %", (100 * kept["share"]).map("{:.0f}".format))
    return frame, shown


def _read(path: Path) -> Any:
    if path.stat().st_size > LARGEST:
        raise ValueError("larger than 1 MiB")
    return json.loads(path.read_text(encoding="utf-8"))


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of results as a table; None where a number is meant becomes NaN."""
    import pandas as pd

    frame = pd.DataFrame(list(rows))
    for column in frame.columns:
        if frame[column].map(lambda value: value is None or isinstance(value, int | float)).all():
            frame[column] = pd.to_numeric(frame[column])
    return frame


def _beside_published(results: Mapping[str, Any]) -> Table:
    """All backbones text→molecule, slower ones below the heads, and below both what was published."""
    import pandas as pd

    parts = []
    for product in (results["products"].get(name) for name in (_MAIN, _DEEP)):
        if product and product["summary"]:
            settings = product["settings"]
            few = f", preliminary: {len(settings['seeds'])} seed, {settings['training']['epochs']} epochs"
            parts.append(
                _frame(product["summary"]).assign(source=f"measured here{few if product['preliminary'] else ''}")
            )
    whole = pd.concat(parts, ignore_index=True)
    whole = whole[whole["ranking"].str.startswith("text_to_molecule")]
    shown = readable(whole).assign(source=whole["source"])
    if "backbone" not in shown:
        shown.insert(0, "backbone", whole["backbone"])
    published = pd.read_csv(shipped("figures/paper/published.csv")).rename(columns={"model": "backbone"})
    published.insert(1, "arm", "published")
    cells = {
        "backbone": published["backbone"],
        "pool": [f"{pool:,.0f}" if pool == pool else "not said" for pool in published["pool"]],
        "arm": published["arm"],
        "source": [f"{row.source} ({row.standing})" for row in published.itertuples()],
    }
    for metric, title in (("hits@1", "Hits@1 %"), ("hits@10", "Hits@10 %"), ("mrr", "MRR"), ("mean_rank", "Mean Rank")):
        factor, digits = (100, 1) if metric.startswith("hits") else (1, 3 if metric == "mrr" else 1)
        cells[title] = [f"{factor * value:.{digits}f}" if value == value else None for value in published[metric]]
    below = pd.DataFrame(cells).reindex(columns=shown.columns)
    return (
        pd.concat([whole, published], ignore_index=True),
        pd.concat([shown, below], ignore_index=True).fillna("–"),
    )


def _savings(saved: pd.DataFrame) -> pd.DataFrame:
    shown = saved[["backbone", "arm", "seeds"]].astype(str)
    for cost in ("samples", "steps"):
        shown[f"{cost} saved %"] = (100 * saved[cost]).map("{:.1f}".format)
    ends = saved[["seconds", "seconds_low", "seconds_high"]].to_numpy()
    # shares are set as Hits@k are: in per cent with one digit
    shown["seconds saved %"] = [interval(*row, metric="hits", sign=True) for row in ends]
    return shown
