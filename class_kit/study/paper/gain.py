"""The search for a curriculum that does help: what it reached beside what was asked of it, from the rows of its record.

What was asked: Hits@1 three points above the tuned plain run in both directions, with an interval above zero, a Mean
Rank that is no worse, at most 85 % of its samples, on the split that was tuned on and on the other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from class_kit.study.paper.tables import ProductTable, rows_frame
from class_kit.study.paper.words import RANKING, code, differences_words, effect, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACK = "molecule_to_text/split"
POINTS, SHARE = 0.03, 0.85
# a schedule in whole pairs and batches cannot meet a share exactly
_ROUNDING = 0.005
_SPLITS = {"test": "test split", "swapped": "splits exchanged"}
_DIRECTIONS = {RANKING: "text→molecule", BACK: "molecule→text"}


def search_words(search: Mapping[str, Any]) -> str:
    """What a search for a better curriculum reached, on the split it was tuned on and on the other one.

    Parameters
    ----------
    search : mapping
        As `find_search` gives it.
    """
    said = f"{search['tried']:,} settings were tried on validation pairs."
    for key, title in (("test", "On the test pairs"), ("swapped", "With the splits exchanged, nothing tuned anew")):
        if key in search.get("levels", {}):
            said += f" {title}, the tuned baseline has a Hits@1 of {100 * search['levels'][key]:.1f} %."
        for metric, unit in (("hits@1", "Hits@1 in points"), ("mean_rank", "Mean Rank in places")):
            rows = [row for row in search.get(key, []) if row["metric"] == metric and row["ranking"] == RANKING]
            if rows:
                said += f" {title}, {unit}, minus the tuned baseline: {differences_words(rows, metric)}"
    shares = sorted({row["share"] for row in search.get("test", []) if row.get("share") is not None})
    if shares:
        low, high = share(shares[0]), share(shares[-1])
        said += f" They used {low if low == high else f'{low} to {high}'} of the baseline's samples."
    return f"{said} {_goal_words(search)}"


def search_table(search: Mapping[str, Any]) -> ProductTable:
    """One row an arm and split: its share of the samples, and each difference from the tuned plain run."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for key, split in _SPLITS.items():
        for row in search.get(key, []):
            if row["ranking"] in _DIRECTIONS and row["metric"] in ("hits@1", "mean_rank"):
                name = "Hits@1" if row["metric"] == "hits@1" else "Mean Rank"
                first = {"arm": row["arm"], "read on": split, "samples": share(row.get("share") or 0.0)}
                rows.setdefault((row["arm"], key), first)[f"{name}, {_DIRECTIONS[row['ranking']]}"] = effect(row)
    frame = rows_frame([dict(row) | {"split": key} for key in _SPLITS for row in search.get(key, [])])
    note = "Minus the tuned plain run: Hits@1 in points, Mean Rank in places (lower is better), 95 % intervals."
    return ProductTable(frame, rows_frame([rows[name] for name in sorted(rows, key=lambda name: name[0])]), note)


def draw_search(search: Mapping[str, Any]) -> Figure:
    """Hits@1 and Mean Rank of each arm minus the tuned plain run, text→molecule, one panel a split and metric."""
    from class_kit import figures

    frame = search_table(search).frame
    frame = frame[frame["ranking"] == RANKING]
    panels = []
    for metric, label, factor in (("hits@1", "Hits@1, points", 100), ("mean_rank", "Mean Rank, places", 1)):
        for key, title in _SPLITS.items():
            rows = frame[(frame["metric"] == metric) & (frame["split"] == key)].copy()
            for column in ("difference", "difference_low", "difference_high"):
                rows[column] *= factor
            if len(rows):
                panels.append(figures.panel("interval_plot", rows, "difference", label, zero=True, title=title))
    return figures.draw(*panels, width="text", ratio=0.2, share="y")


def _goal_words(search: Mapping[str, Any]) -> str:
    asked = (
        f"What was asked, on both splits: Hits@1 at least {100 * POINTS:g} points above the tuned baseline in both "
        f"directions with an interval above zero, Mean Rank no worse, at most {SHARE:.0%} of its samples."
    )
    missed = {arm: list(_missed(search, arm)) for arm in dict.fromkeys(row["arm"] for row in search.get("test", []))}
    if not missed:
        return f"{asked} Nothing was read."
    met = [code(arm) for arm, found in missed.items() if not found]
    if met:
        return f"{asked} It was reached by {', '.join(met)}."
    best = max(missed, key=lambda arm: _hits(search, arm))
    short = ", ".join(missed[best])
    nearest = f"Nearest, by the worse of its splits in Hits@1, is {code(best)}; it fell short in {short}."
    return f"{asked} Nothing reached it. {nearest}"


def _hits(search: Mapping[str, Any], arm: str) -> float:
    """The arm's least difference in Hits@1 over the splits, text→molecule."""
    return min(
        row["difference"]
        for key in _SPLITS
        for row in search.get(key, [])
        if (row["arm"], row["metric"], row["ranking"]) == (arm, "hits@1", RANKING)
    )


def _missed(search: Mapping[str, Any], arm: str) -> Iterator[str]:
    """What was asked and not reached, each with what it came to; a split that was not read counts as missed."""
    for key, split in _SPLITS.items():
        rows = [row for row in search.get(key, []) if row["arm"] == arm]
        if not rows:
            yield f"the {split}, which was not read"
        for row in rows:
            if row["ranking"] not in _DIRECTIONS:
                continue
            what = f"{_DIRECTIONS[row['ranking']]}, {split}"
            if row["metric"] == "hits@1" and not (row["difference"] >= POINTS and (row["difference_low"] or 0.0) > 0):
                yield f"Hits@1 {effect(row)} ({what})"
            if row["metric"] == "mean_rank" and row["difference"] > 0:
                yield f"Mean Rank {effect(row)} ({what})"
        if rows and (rows[0].get("share") or 0.0) > SHARE + _ROUNDING:
            yield f"samples {share(rows[0]['share'])} ({split})"
