"""Figures of the paper's studies, drawn from their results."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from class_kit import figures
from class_kit.difficulty import MEASURES
from class_kit.notices import ranked_on
from class_kit.study.paper_tables import CLASS, MATCHED, RANDOM, RANKING, paper_tables, search_table
from class_kit.study.results import STANDARD

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def save_figures(
    results: Mapping[str, Any], name: str, out: str | os.PathLike[str], prefix: str = ""
) -> dict[str, Figure]:
    """Draw one study's figures in the current style and save them under `out/figures/`; they stay open to be shown.

    `prefix` precedes their names, which no two studies share.
    """
    inputs, drawn = results["inputs"], paper_figures(results, name)
    for title, fig in drawn.items():
        parameters = {"product": name} | {key: inputs[key] for key in ("pairs", "sizes", "swapped")}
        figures.save(fig, out, f"{prefix}{title}", parameters)
    return drawn


def paper_figures(results: Mapping[str, Any], name: str) -> dict[str, Figure]:
    """The figures of one study by file name, in the current style; none if the results lack the study."""
    tables = {title: frame for title, (frame, _) in paper_tables(results, name).items()}
    drawn: dict[str, Figure | None] = {}
    if "summary" in tables:
        levels = _points(tables["summary"], "hits@1")
        if name in ("main", "main_deep"):
            ratio = 0.16 + 0.035 * levels["backbone"].nunique()
            drawn[f"{name}_hits"] = _levels(levels, "arm", "backbone", ratio, "xy")
        elif name == "intensity":
            drawn[name] = _levels(levels, "backbone", "arm", 0.35, "y")
        elif name == "ablation":
            label = f"Hits@1, %, text→molecule, pool {levels['pool'].iloc[0]:,.0f}"
            label = ranked_on(label, results["inputs"]["evaluated"])
            drawn[name] = figures.draw(figures.panel(figures.interval_plot, levels, "hits@1", label), ratio=0.5)
        elif name == "grid":
            drawn[name] = _grid(levels)
    if "differences" in tables:
        gaps = _points(tables["differences"], "difference")
        if name == "main":
            rows = gaps[gaps["arm"] == CLASS]
            drawn["main_effect"] = _effects(rows, (STANDARD, RANDOM, MATCHED), "backbone")
        elif name == "sigma":
            drawn["sigma_effect"] = _effects(gaps, (RANDOM, STANDARD), "arm")
        elif name == "measures":
            labels = {name: measure.label.split(",")[0] for name, measure in MEASURES.items()}
            labels["neighbours_weighted"] = "N, weighted"
            drawn["measures"] = _effects(gaps.replace({"arm": labels}), (RANDOM,), "arm")
    if "ties" in tables:
        drawn["sigma_ties"] = _ties(tables["ties"])
    if "savings" in tables:
        drawn["savings"] = _savings(tables["savings"])
    return {title: fig for title, fig in drawn.items() if fig is not None}


def draw_search(search: Mapping[str, Any]) -> Figure:
    """Hits@1 and Mean Rank of each arm minus the tuned baseline, text→molecule, a panel for each split and metric."""
    frame = search_table(search)[0]
    panels = []
    for metric, label in (("hits@1", "Hits@1, points"), ("mean_rank", "Mean Rank, places")):
        rows = _points(frame, "difference", metric)
        for key, title in (("test", "test split"), ("swapped", "splits exchanged")):
            if len(own := rows[rows["split"] == key]):
                panels.append(figures.panel(figures.interval_plot, own, "difference", label, zero=True, title=title))
    return figures.draw(*panels, width="text", ratio=0.2, share="y")


def _points(frame: pd.DataFrame, value: str, metric: str = "hits@1") -> pd.DataFrame:
    """Rows for text→molecule in the split's pool, Hits@1 in points; a missing interval becomes the value itself."""
    frame = frame[frame["ranking"] == RANKING]
    if value == "difference":
        frame = frame[frame["metric"] == metric]
    factor = 100 if metric == "hits@1" else 1
    ends = {f"{value}{end}": factor * frame[f"{value}{end}"].fillna(frame[value]) for end in ("_low", "_high")}
    return frame.assign(**{value: factor * frame[value]}, **ends)


def _levels(frame: pd.DataFrame, panel: str, row: str, ratio: float, share: str) -> Figure:
    """Hits@1, with a panel for each value of one column and a row for each of another."""
    panels = [
        figures.panel(figures.interval_plot, rows.assign(arm=rows[row]), "hits@1", "Hits@1, %", title=str(title))
        for title, rows in frame.groupby(panel, sort=False)
    ]
    return figures.draw(*panels, width="text", ratio=ratio, share=share)


def _effects(frame: pd.DataFrame, references: tuple[str, ...], by: str) -> Figure | None:
    """Differences in Hits@1 with intervals, a panel for each reference; None where all are missing."""
    # every panel shows the same rows, in the same places
    frame = frame[~frame["arm"].isin(references)]
    parts = {reference: rows for reference in references if len(rows := frame[frame["reference"] == reference])}
    panels = []
    for reference, rows in parts.items():
        words = ("Hits@1, points", f"minus {reference}")
        label, title = words if len(references) > 1 else (f"{words[0]} over {reference}", "")
        rows = rows.assign(arm=rows[by])
        panels.append(figures.panel(figures.interval_plot, rows, "difference", label, zero=True, title=title))
    if not panels:
        return None
    width, factor = ("text", 1.0) if len(panels) > 1 else ("column", 1.6)
    most = max(map(len, parts.values()))
    return figures.draw(*panels, width=width, ratio=factor * (0.16 + 0.03 * most), share="xy")


def _grid(frame: pd.DataFrame) -> Figure | None:
    """Hits@1 and the share of samples over start and growth of the schedule, which name the arms: "α 0.4 β 0.03"."""
    names = frame["arm"].str.extract(r"^α (?P<start>\S+) β (?P<growth>\S+)$").astype(float)
    notes = [f"{hits:.1f}\n{share:.0%}" for hits, share in zip(frame["hits@1"], frame["share"], strict=True)]
    table = frame.assign(**names, note=notes).pivot_table(["hits@1", "note"], "start", "growth", "first")
    if table.empty:
        return None
    hits, words = table["hits@1"], table["note"].fillna("").to_numpy().tolist()
    sides = [[f"{value:g}" for value in side] for side in (hits.index, hits.columns)]
    settings = {"xlabel": "growth β", "ylabel": "start α"}
    grid = figures.panel(figures.heat_map, hits.to_numpy(), *sides, "Hits@1, %", words, settings=settings)
    return figures.draw(grid, ratio=0.8)


def _ties(ties: pd.DataFrame) -> Figure:
    # lines join the thresholds in ascending order, those given as quantiles included
    ties = ties.sort_values("sigma", kind="stable")
    columns = {"no neighbour": "zero", "count shared": "shared", "largest tie": "largest"}
    shares = {label: ties[column].tolist() for label, column in columns.items()}
    return figures.draw(figures.panel(figures.share_lines, shares, ties["arm"].tolist(), "threshold"), ratio=0.9)


def _savings(saved: pd.DataFrame) -> Figure | None:
    """Shares of samples and seconds that CLASS saved compared with standard training, by backbone."""
    rows = saved[saved["arm"] == CLASS]
    panels = []
    for cost in ("samples", "seconds"):
        # samples are exact, and seconds of one seed have no interval
        ends = {f"saved{end}": 100 * rows.get(cost + end, rows[cost]).fillna(rows[cost]) for end in ("_low", "_high")}
        table = rows.assign(arm=rows["backbone"], saved=100 * rows[cost], **ends)
        panels.append(figures.panel(figures.interval_plot, table, "saved", f"{cost} saved, %", zero=True))
    return figures.draw(*panels, width="text", ratio=0.16 + 0.03 * len(rows), share="y") if len(rows) else None
