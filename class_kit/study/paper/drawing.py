"""Tables and figures of the products, drawn from `paper.json` alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.study.output import write_table
from class_kit.study.paper.products import CLASS, MAIN, MAIN_DEEP, MATCHED, RANDOM, SAVINGS, STANDARD
from class_kit.study.paper.tables import product_tables, rows_frame

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RANKING = "text_to_molecule/split"


def draw_products(results: Mapping[str, Any], out: str | os.PathLike[str]) -> None:
    """Write every product's tables (CSV, LaTeX) and figures (PDF, PNG, JSON) under `out/<product>/`.

    Parameters
    ----------
    results : mapping
        As `run_paper` returns it or `read_results` reads it; nothing else is looked at.
    """
    from matplotlib import pyplot as plt

    from class_kit import figures

    figures.use_style()
    for name in results["products"]:
        folder = Path(out) / name
        for title, table in product_tables(results, name).items():
            write_table(folder / "tables", title, table.frame, table.shown, table.note)
        for title, fig in product_figures(results, name).items():
            figures.save(fig, folder, title, figure_parameters(results, name))
            plt.close(fig)


def save_figures(results: Mapping[str, Any], name: str, out: str | os.PathLike[str], prefix: str = "") -> None:
    """Draw one product's figures in the style in force and keep them under `out/figures/`; they stay open to be shown.

    `prefix` goes before their names, which no two products share.
    """
    from class_kit import figures

    for title, fig in product_figures(results, name).items():
        figures.save(fig, out, f"{prefix}{title}", figure_parameters(results, name))


def figure_parameters(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What is recorded beside a figure: whose results it shows."""
    inputs = results["inputs"]
    return {"product": name, "pairs": inputs["pairs"], "sizes": inputs["sizes"], "swapped": inputs["swapped"]}


def product_figures(results: Mapping[str, Any], name: str) -> dict[str, Figure]:
    """The figures of one product by file name, in the style in force; none where the results do not hold it."""
    product = results["products"].get(name)
    if product is None or not (product.get("summary") or product.get("savings")):
        return {}
    return _FIGURES[name](product)


def _main(product: Mapping[str, Any]) -> dict[str, Figure]:
    rivals = dict.fromkeys((STANDARD, RANDOM, MATCHED), (CLASS,))
    return _effects("main_effect", product, rivals) | _hits(product, MAIN)


def _hits(product: Mapping[str, Any], name: str) -> dict[str, Figure]:
    """Hits@1 of every backbone, one panel an arm."""
    from class_kit import figures

    frame = _percent(_ranked(product["summary"]), "hits@1")
    panels = []
    for arm in dict.fromkeys(frame["arm"]):
        rows = frame[frame["arm"] == arm].assign(arm=lambda part: part["backbone"])
        panels.append(figures.panel("interval_plot", rows, "hits@1", "Hits@1, %", title=arm))
    ratio = 0.16 + 0.035 * frame["backbone"].nunique()
    return {f"{name}_hits": figures.draw(*panels, width="text", ratio=ratio, share="xy")}


def _ablation(product: Mapping[str, Any]) -> dict[str, Figure]:
    return {"ablation": _one_metric(_percent(_ranked(product["summary"]), "hits@1"), _pool_label(product))}


def _intensity(product: Mapping[str, Any]) -> dict[str, Figure]:
    from class_kit import figures

    frame = _percent(_ranked(product["summary"]), "hits@1")
    panels = [
        figures.panel("interval_plot", rows, "hits@1", "Hits@1, %", title=str(name))
        for name, rows in frame.groupby("backbone", sort=False)
    ]
    return {"intensity": figures.draw(*panels, width="text", ratio=0.35, share="y")}


def _grid(product: Mapping[str, Any]) -> dict[str, Figure]:
    from class_kit import figures

    frame = _percent(_ranked(product["summary"]), "hits@1")
    found = {row["arm"]: (float(row["hits@1"]), float(row["share"])) for row in frame.to_dict("records")}
    schedules = product["settings"]["schedules"]
    names = {(one["start"], one["growth"]): one["name"] for one in schedules}
    alphas, betas = (sorted({one[key] for one in schedules}) for key in ("start", "growth"))
    cells = [[found.get(names.get((alpha, beta), "")) for beta in betas] for alpha in alphas]
    if not any(cell for row in cells for cell in row):
        return {}
    values = [[cell and cell[0] for cell in row] for row in cells]
    notes = [[f"{cell[0]:.1f}\n{cell[1]:.0%}" if cell else "" for cell in row] for row in cells]
    rows, columns = [f"{alpha:g}" for alpha in alphas], [f"{beta:g}" for beta in betas]
    settings = {"xlabel": "growth β", "ylabel": "start α"}
    one = figures.panel("heat_map", values, rows, columns, "Hits@1, %", notes, settings=settings)
    return {"grid": figures.draw(one, ratio=0.8)}


def _sigma(product: Mapping[str, Any]) -> dict[str, Figure]:
    from class_kit import figures

    found = _effects("sigma_effect", product, {RANDOM: (), STANDARD: ()}, by="arm")
    ties = rows_frame(product.get("ties", []))
    if len(ties):
        # a line joins thresholds in their own order, those by quantile among those by value
        ties = ties.sort_values("sigma", kind="stable")
        shares = {
            "no neighbour": ties["zero"].tolist(),
            "count shared": ties["shared"].tolist(),
            "largest tie": ties["largest"].tolist(),
        }
        cell = figures.panel("share_lines", shares, ties["arm"].tolist(), "threshold")
        found["sigma_ties"] = figures.draw(cell, ratio=0.9)
    return found


def _measures(product: Mapping[str, Any]) -> dict[str, Figure]:
    return _effects("measures", product, {RANDOM: ()}, by="arm")


def _savings(product: Mapping[str, Any]) -> dict[str, Figure]:
    """Samples and seconds that CLASS saved of the standard run, by backbone."""
    import pandas as pd

    from class_kit import figures

    rows = rows_frame(product["savings"])
    rows = rows[rows["arm"] == CLASS]
    if not len(rows):
        return {}
    exact = pd.DataFrame({"arm": rows["backbone"]})
    for suffix in ("", "_low", "_high"):
        exact[f"saved{suffix}"] = 100 * rows["samples"]
    spent = pd.DataFrame({"arm": rows["backbone"], "saved": 100 * rows["seconds"]})
    for suffix in ("_low", "_high"):
        # with one seed there is no interval: the dot alone
        spent[f"saved{suffix}"] = (100 * rows[f"seconds{suffix}"]).fillna(spent["saved"])
    panels = [
        figures.panel("interval_plot", exact, "saved", "samples saved, %", zero=True),
        figures.panel("interval_plot", spent, "saved", "seconds saved, %", zero=True),
    ]
    return {"savings": figures.draw(*panels, width="text", ratio=0.16 + 0.03 * len(rows), share="y")}


def _effects(
    name: str, product: Mapping[str, Any], against: Mapping[str, Sequence[str]], by: str = "backbone"
) -> dict[str, Figure]:
    """Differences in Hits@1 with their intervals, one panel a reference, zero marked; none where trainings failed."""
    from class_kit import figures

    frame = _ranked(product["differences"])
    if not len(frame):
        return {}
    frame = _percent(frame[frame["metric"] == "hits@1"], "difference")
    panels, most = [], 0
    for reference, arms in against.items():
        rows = frame[(frame["reference"] == reference) & (frame["arm"].isin(arms) if arms else True)]
        # every panel shows the same rows, in the same places
        rows = rows[~rows["arm"].isin(list(against))]
        if len(rows):
            rows, most = rows.assign(arm=lambda part: part[by]), max(most, len(rows))
            label = "Hits@1, points" if len(against) > 1 else f"Hits@1, points over {reference}"
            title = f"minus {reference}" if len(against) > 1 else ""
            panels.append(figures.panel("interval_plot", rows, "difference", label, zero=True, title=title))
    if not panels:
        return {}
    width = "text" if len(panels) > 1 else "column"
    ratio = (0.16 + 0.03 * most) * (1 if len(panels) > 1 else 1.6)
    return {name: figures.draw(*panels, width=width, ratio=ratio, share="xy")}


def _one_metric(frame: pd.DataFrame, label: str) -> Figure:
    from class_kit import figures

    return figures.draw(figures.panel("interval_plot", frame, "hits@1", label), ratio=0.5)


def _ranked(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = rows_frame(rows)
    return frame[frame["ranking"] == RANKING] if len(frame) else frame


def _percent(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """A metric in points, with a dot for an interval where there is none."""
    middle = 100 * frame[value]
    ends = {f"{value}{suffix}": (100 * frame[f"{value}{suffix}"]).fillna(middle) for suffix in ("_low", "_high")}
    return frame.assign(**{value: middle, **ends})


def _pool_label(product: Mapping[str, Any]) -> str:
    return f"Hits@1, %, text→molecule, pool {_ranked(product['summary'])['pool'].iloc[0]:,.0f}"


_FIGURES: dict[str, Callable[[Mapping[str, Any]], dict[str, Figure]]] = {
    MAIN: _main,
    MAIN_DEEP: lambda product: _hits(product, MAIN_DEEP),
    "ablation": _ablation,
    "intensity": _intensity,
    "grid": _grid,
    "sigma": _sigma,
    "measures": _measures,
    SAVINGS: _savings,
}
