""" "What we found", for the README: a table of CLASS against its controls and a line on everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from class_kit.study.paper.gain import search_words
from class_kit.study.paper.products import CLASS, MAIN, MAIN_DEEP, MATCHED, RANDOM, SAVINGS, STANDARD
from class_kit.study.paper.words import (
    NOTHING,
    RANKING,
    VERDICTS,
    apart_words,
    code,
    counted,
    effect,
    input_words,
    product_words,
    rows_against,
    seeds_words,
    share,
    share_words,
    verdict,
)

_TITLES = {
    MAIN_DEEP: "Backbones that read graphs or tokens",
    "ablation": "Scheduler and intensity apart",
    "intensity": "The intensity",
    "grid": "α and β",
    "sigma": "The threshold",
    "measures": "Other difficulties",
    SAVINGS: "Saved",
}


def found_words(results: Mapping[str, Any], search: Mapping[str, Any] | None = None) -> str:
    """The main table's differences with their intervals, then a point for each other product, as Markdown.

    Where there are no results, one sentence that says so.
    """
    products = results["products"]
    parts = [input_words(results)]
    if products.get(MAIN, {}).get("summary"):
        parts += [
            main_table(products[MAIN]),
            "Points with 95 % intervals; * marks what the rule above calls a difference.",
            "\n".join(f"- {line}" for line in _main_points(products[MAIN])),
        ]
    points = [f"- **{title}.** {_point(results, name)}" for name, title in _TITLES.items() if name in products]
    if search:
        points.append(f"- **The search for a gain.** {search_words(search)}")
    return "\n\n".join([*parts, "\n".join(points)] if points else parts)


def main_table(product: Mapping[str, Any]) -> str:
    """One row a backbone: Hits@1 of the standard run, and CLASS minus each control, with intervals."""
    plain = {
        row["backbone"]: row
        for row in product["summary"]
        if row["ranking"] == RANKING and row["arm"] == STANDARD and row["hits@1"] is not None
    }
    gaps = {
        (row["backbone"], row["reference"]): row
        for reference in (STANDARD, RANDOM, MATCHED)
        for row in rows_against(product["differences"], reference)
        if row["arm"] == CLASS and row["metric"] == "hits@1"
    }
    lines = [
        f"| Hits@1 in %, text→molecule | {STANDARD} | {CLASS} minus {STANDARD} | minus {RANDOM} | minus {MATCHED} |",
        "|---|---|---|---|---|",
    ]
    for backbone, row in plain.items():
        cells = [code(backbone), f"{100 * row['hits@1']:.1f}"]
        for reference in (STANDARD, RANDOM, MATCHED):
            gap = gaps.get((backbone, reference))
            cells.append("–" if gap is None else effect(gap) + ("" if verdict(gap) == VERDICTS[1] else " *"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _main_points(product: Mapping[str, Any]) -> list[str]:
    lines = [share_words(product)]
    for reference, what in (
        (STANDARD, "more budget"),
        (RANDOM, "the same budget in any order"),
        (MATCHED, "as many steps on all pairs"),
    ):
        rows = [row for row in rows_against(product["differences"], reference) if row["arm"] == CLASS]
        hits, ranks = ([row for row in rows if row["metric"] == metric] for metric in ("hits@1", "mean_rank"))
        if hits:
            lines.append(
                f"Against *{reference}* ({what}), of {len(hits)} backbones: Hits@1 {counted(hits)}; "
                f"Mean Rank {counted(ranks)}."
            )
    return [*lines, apart_words(product)] if "apart" in product else lines


def _point(results: Mapping[str, Any], name: str) -> str:
    product = results["products"][name]
    short = {"measures": _measures, SAVINGS: _savings}.get(name)
    said = short(product) if short else product_words(results, name)
    return " ".join(said.split())


def _measures(product: Mapping[str, Any]) -> str:
    rows = [
        row
        for row in rows_against(product["differences"], RANDOM)
        if row["arm"] != STANDARD and row["metric"] == "hits@1"
    ]
    if not rows:
        return NOTHING
    last, best = (f"{code(row['arm'])} {effect(row)}" for row in _ends(rows))
    said = f"Of {len(rows)} measures, minus *{RANDOM}* in Hits@1: {counted(rows)}; from {last} to {best} points."
    return f"{seeds_words(product)} {said}"


def _ends(rows: list[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    ordered = sorted(rows, key=lambda row: float(row["difference"]))
    return ordered[0], ordered[-1]


def _savings(product: Mapping[str, Any]) -> str:
    rows = [row for row in product["savings"] if row["arm"] == CLASS]
    if not rows:
        return NOTHING
    samples, seconds = (_between([row[cost] for row in rows]) for cost in ("samples", "seconds"))
    return (
        f"{CLASS} saved {samples} of the standard run's samples and {seconds} of its seconds, by backbone. Seconds are "
        "as measured, whatever else the machine did meanwhile; samples are exact."
    )


def _between(shares: list[float]) -> str:
    """The least and the greatest share, once where both read the same."""
    low, high = share(min(shares)), share(max(shares))
    return low if low == high else f"{low} to {high}"
