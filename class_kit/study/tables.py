"""Tables of trainings from their per-query ranks: as numbers, as formatted cells, and in LaTeX with booktabs rules."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.checks import check_choice
from class_kit.errors import InputError
from class_kit.files import write_csv, write_text
from class_kit.retrieval import per_query_metrics
from class_kit.study.config import GROUP
from class_kit.study.records import Record
from class_kit.study.statistics import holm, mean_with_interval, paired_difference

if TYPE_CHECKING:
    import pandas as pd

METRICS = {"hits@1": "Hits@1 %", "hits@10": "Hits@10 %", "mrr": "MRR", "mean_rank": "Mean Rank"}
VERDICTS = ("better", "could not be told apart", "worse")
COSTS = ("samples", "steps", "seconds")
# every number, and the formatted cells
Table = tuple["pd.DataFrame", "pd.DataFrame"]
_LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "{}&%$#_"}
    | {letter: f"$\\{unicodedata.name(letter).split()[-1].lower()}$" for letter in "αβγδεζηθικμνξπρστυφχψω"}
    | {"λ": r"$\lambda$", "ο": "o", "→": r"$\to$", "−": "--", "\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
    | {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {'"': r"\textquotedbl{}", "⁻": "$^{-}$"}
    | {sign: f"$_{digit}$" for digit, sign in enumerate("₀₁₂₃₄₅₆₇₈₉")}
    | {sign: f"$^{digit}$" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
)


def history_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row per arm, seed and epoch: the training history with samples and seconds accumulated."""
    import pandas as pd

    rows = [{"arm": one.arm.name, "seed": one.seed, **epoch} for one in records for epoch in one.history]
    frame = pd.DataFrame(rows)
    so_far = frame.groupby(["arm", "seed"], sort=False)
    return frame.assign(samples_seen=so_far["rows"].cumsum(), seconds_spent=so_far["seconds"].cumsum())


def summary(records: Sequence[Record], ranking: str = "text_to_molecule/split") -> pd.DataFrame:
    """One row per arm: each metric with a 95 % interval over queries and seeds, the pool, and what the training cost.

    Columns: ranking, pool, arm, seeds, `<metric>`, `<metric>_low`, `<metric>_high` for hits@1, hits@10, mrr and
    mean_rank, and those of `costs`.
    """
    import pandas as pd

    rows = []
    for arm, own in by_arm(records).items():
        runs = list(own.values())
        row: dict[str, Any] = {
            "ranking": ranking,
            "pool": _ranks(runs[0], ranking).pool,
            "arm": arm,
            "seeds": len(runs),
        }
        for metric in METRICS:
            mean = mean_with_interval(_scores(runs, ranking, metric))
            row |= {metric: mean.mean, f"{metric}_low": mean.low, f"{metric}_high": mean.high}
        rows.append(row)
    return pd.DataFrame(rows).merge(costs(records), on="arm")


def differences(
    records: Sequence[Record],
    reference: str | Mapping[str, Sequence[str]],
    ranking: str = "text_to_molecule/split",
    metric: str = "hits@1",
) -> pd.DataFrame:
    """Each other arm minus the `reference`, query by query, with interval and p value (Holm-corrected over all rows).

    Columns: ranking, metric, arm, reference, difference, difference_low, difference_high, p, p_holm. For mean_rank a
    negative difference is the better one.

    Parameters
    ----------
    reference : str, or mapping of arm to arms
        One reference of all others, or for each of several the arms that it is compared with, all others where none is
        named. Arms are compared by the seeds that both have; pairs of arms without such a seed are left out.

    Raises
    ------
    ValueError
        If no arm is called `reference`, there is no other arm, or the metric is unknown.
    """
    import pandas as pd

    arms = by_arm(records)
    check_choice("metric", metric, METRICS)
    if isinstance(reference, str):
        if reference not in arms or len(arms) < 2:
            raise InputError(f"reference={reference!r}: expected one of several arms, there are {', '.join(arms)}")
        reference = {reference: ()}
    rows = []
    for other, named in reference.items():
        for arm in (arm for arm in arms if arm != other and (not named or arm in named)):
            if seeds := [seed for seed in arms[arm] if seed in arms.get(other, {})]:
                pair = ([arms[name][seed] for seed in seeds] for name in (arm, other))
                gap = paired_difference(*(_scores(runs, ranking, metric) for runs in pair))
                row = {"ranking": ranking, "metric": metric, "arm": arm, "reference": other, "difference": gap.effect}
                rows.append(row | {"difference_low": gap.low, "difference_high": gap.high, "p": gap.p})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].to_numpy())) if rows else table


def costs(records: Sequence[Record]) -> pd.DataFrame:
    """One row per arm: samples, steps and training seconds (mean over seeds), and shares of the most expensive arm's.

    Seconds are those of the training steps alone, as measured when the training was done; validation is not in them.
    """
    import pandas as pd

    spent = pd.DataFrame([{"arm": one.arm.name} | {cost: getattr(one, cost) for cost in COSTS} for one in records])
    table = spent.groupby("arm", sort=False, as_index=False).mean()
    shares = {name: table[cost] / table[cost].max() for name, cost in (("share", "samples"), ("time share", "seconds"))}
    return table.assign(**shares)


def verdict(row: Mapping[Any, Any]) -> str:
    """One of `VERDICTS` for a row of differences; a lower Mean Rank is better.

    A difference is one where its interval excludes zero and its corrected p value is below 0.05.
    """
    low, high, p = (row.get(key) for key in ("difference_low", "difference_high", "p_holm"))
    if low is None or high is None or p is None or not p < 0.05 or not (low > 0 or high < 0):
        return VERDICTS[1]
    return VERDICTS[0] if (low > 0) != (row["metric"] == "mean_rank") else VERDICTS[2]


def study_tables(results: Mapping[str, Any]) -> dict[str, Table]:
    """The tables of what `study_results` returns, by file name.

    `summary` and `differences`; where the results have them `apart_summary` and `apart_differences` (queries without a
    near-duplicate among the training pairs), `ties` and `savings`.
    """
    tables: dict[str, Table] = {}
    for part, rows in (("", results), ("apart_", results.get("apart", {}))):
        if len(whole := frame_of(rows.get("summary", ()))):
            tables[f"{part}summary"] = whole, readable(whole)
        if len(gaps := frame_of(rows.get("differences", ()))):
            shown = readable_gaps(gaps)
            # a reciprocal rank needs more digits than a place or a point: it is in the CSV
            tables[f"{part}differences"] = gaps.assign(verdict=shown["verdict"]), shown[gaps["metric"] != "mrr"]
    if len(ties := frame_of(results.get("ties", ()))):
        titles = {"zero": "no neighbour %", "shared": "count shared %", "largest": "largest tie %"}
        cells = {title: (100 * ties[key]).map("{:.1f}".format) for key, title in titles.items()}
        tables["ties"] = ties, ties[["arm"]].rename(columns={"arm": "threshold"}).assign(**cells)
    if len(saved := frame_of(results.get("savings", ()))):
        shown = varying(saved).assign(arm=saved["arm"], seeds=saved["seeds"])
        for cost in ("samples", "steps"):
            shown[f"{cost} saved %"] = (100 * saved[cost]).map("{:.1f}".format)
        ends = saved[["seconds", "seconds_low", "seconds_high"]].to_numpy()
        shown["seconds saved %"] = [interval(*row, metric="share", sign=True) for row in ends]
        tables["savings"] = saved, shown
    return tables


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of results as a table, with NaN for None."""
    import pandas as pd

    return pd.DataFrame(list(rows)).map(lambda value: math.nan if value is None else value)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """A summary as a paper prints it: percent, one interval a cell, without columns that never vary."""
    shown = varying(frame).assign(pool=frame["pool"].map("{:,.0f}".format), arm=frame["arm"])
    for metric, title in METRICS.items():
        rows = frame[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy()
        shown[title] = [interval(*row, metric=metric) for row in rows]
    return shown.assign(**{"samples %": (100 * frame["share"]).map("{:.0f}".format)})


def readable_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Differences as a paper prints them: effect with interval, corrected p, and verdict."""
    shown = varying(frame).assign(metric=frame["metric"], arm=frame["arm"], minus=frame["reference"])
    rows = frame[["difference", "difference_low", "difference_high", "metric"]].itertuples(index=False)
    shown["difference"] = [interval(*row, metric=metric, sign=True) for *row, metric in rows]
    shown["p (Holm)"] = ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in frame["p_holm"]]
    return shown.assign(verdict=[verdict(row) for row in frame.to_dict("records")])


def interval(value: float, low: float, high: float, *, metric: str, sign: bool = False) -> str:
    """A number with its interval in brackets, "–" where there is none."""
    middle, *ends = (number(each, metric, sign=sign) for each in (value, low, high))
    return f"{middle} (–)" if math.isnan(low) or math.isnan(high) else f"{middle} ({ends[0]} to {ends[1]})"


def number(value: float, metric: str, *, sign: bool = False) -> str:
    """A value as tables print it: shares such as Hits@k in percent, MRR with three digits."""
    factor, digits = 1 if metric in ("mrr", "mean_rank") else 100, 3 if metric == "mrr" else 1
    # no minus before a zero
    return f"{round(factor * value, digits) + 0.0:{'+' if sign else ''}.{digits}f}"


def latex_text(value: Any) -> str:
    """Text as LaTeX that prints it and does nothing else; control characters become spaces.

    Small Greek letters and raised and lowered digits are set by pdfLaTeX; quotation marks need the package `fontenc`
    with the option `T1`. Other letters and signs stay as they are, which may need XeLaTeX or LuaLaTeX.
    """
    text = unicodedata.normalize("NFC", str(value)).translate(_LATEX)
    return "".join(letter if letter.isprintable() else " " for letter in text)


def latex_table(frame: pd.DataFrame, caption: str = "") -> str:
    """A `tabular` with booktabs rules: text to the left, numbers (strings that begin with one) to the right."""
    numeric = [frame[name].astype(str).str.match(r"[+\-–−<]? ?\d").all() for name in frame]
    layout = "".join("r" if number else "l" for number in numeric)
    cells = frame.map(latex_text).rename(columns=latex_text)
    table = cells.to_latex(index=False, escape=False, column_format=layout)
    return f"{table}% {' '.join(latex_text(caption).split())}\n"


def write_table(folder: str | os.PathLike[str], name: str, frame: pd.DataFrame, shown: pd.DataFrame, note: str) -> None:
    """Write `name.csv` with every number of `frame`, and `name.tex` with the formatted cells of `shown`."""
    folder = Path(folder)
    write_csv(folder / f"{name}.csv", frame.columns, frame.itertuples(index=False))
    write_text(folder / f"{name}.tex", latex_table(shown, note))


def varying(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of groups and rankings that have more than one value."""
    return frame[[key for key in (*GROUP, "ranking") if key in frame and frame[key].nunique() > 1]]


def by_arm(records: Sequence[Record]) -> dict[str, dict[int, Record]]:
    """Records by the name of their arm and by seed, in the order given; an InputError where there are none."""
    if not records:
        raise InputError("no records: expected at least one training")
    arms: dict[str, dict[int, Record]] = {}
    for record in records:
        arms.setdefault(record.arm.name, {})[record.seed] = record
    return arms


def _ranks(record: Record, ranking: str) -> Any:
    return record.ranks[check_choice("ranking", ranking, record.ranks)]


def _scores(records: Sequence[Record], ranking: str, metric: str) -> np.ndarray:
    """Metric of each query under each seed, `(S, Q)`."""
    return np.stack([per_query_metrics(_ranks(record, ranking))[metric] for record in records])
