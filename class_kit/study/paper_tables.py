"""The results of the paper's studies as tables, with every number and as formatted cells."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from class_kit.errors import InputError
from class_kit.files import home_path, shipped
from class_kit.study.results import STANDARD
from class_kit.study.tables import VERDICTS, Table, frame_of, readable, readable_gaps, study_tables

# beside the results of a checkout, and inside an installed package
FOLDER = "figures/paper"
SAVINGS = "savings"
# the names of the studies' files, in the order in which they are trained
STUDIES = ("main", "main_deep", "ablation", "intensity", "grid", "sigma", "measures")
# trained only if they are named: on further data sets or the published one, and with mismatched pairs
FURTHER = ("origins", "sizes", "sizes_pcdes", "published")
NOISE = ("noise", "noise_backbones", "noise_graphs", "noise_epochs")
CLASS, RANDOM, MATCHED = "CLASS", "random order", "step-matched"
RANKING = "text_to_molecule/split"
_SPLITS = {"test": "test split", "swapped": "splits exchanged"}


def read_results(path: str | os.PathLike[str] = "") -> dict[str, Any]:
    """Read the `paper.json` of `class-kit study paper`, without a path the committed one.

    Without a path and a committed one, the results have no products.

    Raises
    ------
    InputError
        The file is missing or holds something else.
    """
    committed = shipped(f"{FOLDER}/paper.json")
    if not str(path) and not committed.is_file():
        return {"inputs": {}, "products": {}}
    path = home_path(path) if str(path) else committed
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not all(
            isinstance(part, dict) for part in (results["inputs"].get("sizes", {}), *results["products"].values())
        ):
            raise TypeError("expected sizes and products as objects")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: expected results of `class-kit study paper` ({error})") from None
    return results


def find_search() -> dict[str, Any] | None:
    """The committed record of `figures/paper/search.py`, the search for a better curriculum; None if there is none.

    `tried` is the number of different settings.
    """
    path = shipped(f"{FOLDER}/search.json")
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    # each round for the baseline begins with the choice of the one before
    different = {json.dumps([one["kind"], one["settings"]], sort_keys=True) for one in record["tried"]}
    return record | {"tried": len(different)}


def inputs_table(results: Mapping[str, Any]) -> pd.DataFrame:
    """Numbers of training pairs, queries and near-duplicates, one a row; empty without results."""
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
            "with an equal skeleton (first InChIKey block)": near.get("equal_skeleton"),
            f"with a mean cosine above {near.get('sigma', 0):g}": near.get("near"),
            "without any such near-duplicate": near.get("apart"),
        }
    shown = [(what, f"{count:,}") for what, count in rows.items() if count is not None]
    return pd.DataFrame(shown, columns=["what", "number"])


def paper_tables(results: Mapping[str, Any], name: str) -> dict[str, Table]:
    """The tables of one study by file name, as `study_tables`; none where the results do not hold it.

    What all studies saved is a table of its own. The main study also has `backbones`: those of both main studies,
    to set beside published numbers (`figures/paper/published.csv`).
    """
    tables = study_tables(results["products"].get(name, {}))
    if name != SAVINGS:
        tables.pop("savings", None)
    if name == "main" and "summary" in tables:
        tables["backbones"] = _all_backbones(results)
    return tables


def key_rows(results: Mapping[str, Any], name: str, table: str = "differences") -> pd.DataFrame:
    """The formatted rows of a table for Hits@1, text→molecule in the split's pool; empty without results.

    A table without columns for ranking and metric is given whole.
    """
    frame, shown = paper_tables(results, name).get(table, (pd.DataFrame(), pd.DataFrame()))
    for column, value in (("ranking", RANKING), ("metric", "hits@1")):
        if column in frame:
            frame = frame[frame[column] == value]
    return shown[shown.index.isin(frame.index)].drop(columns=["ranking", "metric"], errors="ignore")


def gaps_by_data(results: Mapping[str, Any], name: str, apart: bool = False) -> pd.DataFrame:
    """Standard training's Hits@1 in percent, and CLASS minus each control in points, with a column for each data set.

    With `apart`, over the queries without a near-duplicate among the training pairs. Text→molecule in the split's pool;
    empty where the results do not hold the study.
    """
    levels, gaps = (key_rows(results, name, "apart_" * apart + table) for table in ("summary", "differences"))
    if gaps.empty:
        return gaps
    levels = levels[levels["arm"] == STANDARD].rename(columns={"Hits@1 %": "shown"})
    gaps = gaps[gaps["arm"] == CLASS]
    gaps = gaps.assign(shown=gaps["difference"], minus="CLASS minus " + gaps["minus"])
    rows = pd.concat([levels.assign(minus=STANDARD), gaps]).rename(columns={"minus": "what"})
    # each backbone's level above its differences, in the order of the study
    place = {name: at for at, name in enumerate(gaps["backbone"].unique())}
    rows = rows.sort_values("backbone", kind="stable", key=lambda names: names.map(place))
    wide = rows.set_index(["backbone", "what", "pairs"])["shown"].unstack("pairs", sort=False)
    return wide[gaps["pairs"].unique()].rename_axis(columns=None).reset_index()


def note(results: Mapping[str, Any], name: str) -> str:
    """The note below every table of a study: pairs, epochs, seeds."""
    product = results["products"][name]
    if name == SAVINGS:
        return "Of the standard run's; seconds of training steps as measured, compared seed by seed, 95 % interval."
    seeds, every = len(product["settings"]["seeds"]), product.get("inputs") or {"": results["inputs"]}
    # parts of one data set have its inputs
    whole = {one["digest"]: (data, one["sizes"].get("train", 0)) for data, one in every.items()}
    sizes = "; ".join(f"{data}: {count:,}".lstrip(": ") for data, count in whole.values())
    extra = max(one["extra"] for one in every.values())
    text = (
        f"{sizes} training pairs, {product['settings']['training']['epochs']} epochs; 95 % "
        f"intervals over queries{'' if seeds == 1 else f' and {seeds} seeds'}; ties at their expectation; p values "
        "corrected (Holm) over each ranking and metric."
    )
    if extra:
        text += f" {extra:,} of the training pairs are extra ones, not of the published split."
    if any(one["swapped"] for one in every.values()):
        text += " The roles of the test and the validation file are exchanged."
    if product["preliminary"]:
        text += " Preliminary: few epochs and one seed."
    for line in {line.partition(": ")[2]: line for line in product.get("notices", ())}.values():
        text += f" {line}"
    failed = len(product.get("failed", ()))
    return text + (f" {failed} trainings failed and are left out." if failed else "")


def verdict_counts(results: Mapping[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """Number of differences in Hits@1 (text→molecule, the split's pool) with each verdict, by study and reference."""
    rows = {name: key_rows(results, name) for name in results["products"]}
    return {
        name: {
            str(reference): {word: int((verdicts == word).sum()) for word in VERDICTS}
            for reference, verdicts in shown.groupby("minus", sort=False)["verdict"]
        }
        for name, shown in rows.items()
        if len(shown)
    }


def search_table(search: Mapping[str, Any]) -> Table:
    """The search's arms minus the tuned baseline, on the split that it was tuned on and with the splits exchanged."""
    frame = frame_of([row | {"split": key} for key in _SPLITS for row in search.get(key, {}).get("differences", ())])
    frame["arm"] = frame["arm"].replace("plain, fewer epochs", "tuned baseline, fewer epochs")
    kept = frame[frame["metric"].isin(["hits@1", "mean_rank"]) & frame["ranking"].str.endswith("/split")]
    shown = readable_gaps(kept).drop(columns="minus")
    shown.insert(0, "read on", kept["split"].map(_SPLITS))
    shown.insert(3, "samples %", (100 * kept["share"]).map("{:.0f}".format))
    return frame, shown


def _all_backbones(results: Mapping[str, Any]) -> Table:
    """The backbones of both main studies: heads, then slower ones, each with how it was measured."""
    parts = []
    for product in (results["products"].get(name, {}) for name in ("main", "main_deep")):
        if product.get("summary"):
            settings = product["settings"]
            few = f", preliminary: {len(settings['seeds'])} seed, {settings['training']['epochs']} epochs"
            source = f"measured here{few if product['preliminary'] else ''}"
            parts.append(frame_of(product["summary"]).assign(source=source))
    whole = pd.concat(parts, ignore_index=True)
    shown = readable(whole).assign(source=whole["source"])
    if "backbone" not in shown:
        shown.insert(0, "backbone", whole["backbone"])
    return whole, shown
