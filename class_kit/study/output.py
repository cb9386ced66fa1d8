"""Tables and figures of a study: CSV for people and programs, booktabs LaTeX and vector PDF for papers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.files import write_json
from class_kit.study.latex import write_table
from class_kit.study.ranking import RANKINGS
from class_kit.study.records import Record
from class_kit.study.tables import METRICS, corrected_differences, history_frame, summary, verdict

if TYPE_CHECKING:
    import pandas as pd

    from class_kit.study.conduct import StudyResult

_GROUP = ("pairs", "backbone", "budget")


def write_outputs(result: StudyResult, out: str | os.PathLike[str]) -> None:
    """Tables, figures and `metrics.json` of a study's finished trainings."""
    out, seeds = Path(out), len(result.plan.config.seeds)
    note = f"95 % intervals over queries and {seeds} seed{'s' if seeds > 1 else ''}; ties at their expectation."
    whole, gaps = summaries(result), comparisons(result)
    write_table(out / "tables", "summary", whole, readable(whole), note)
    if len(gaps):
        shown = readable_gaps(gaps)
        write_table(out / "tables", "differences", gaps.assign(verdict=shown["verdict"]), shown, note)
    timeless = whole.drop(columns=["seconds", "time share"])
    write_json(out / "metrics.json", {"summary": plain_rows(timeless), "differences": plain_rows(gaps)})
    _write_figures(result, whole, out)


def summaries(result: StudyResult) -> pd.DataFrame:
    """One row for each group, ranking and arm: metrics with intervals, and costs."""
    return _of_groups(result, lambda records, ranking: [summary(records, ranking)])


def comparisons(
    result: StudyResult,
    against: Mapping[str, Sequence[str]] | None = None,
    metrics: Sequence[str] = ("hits@1", "mean_rank"),
) -> pd.DataFrame:
    """One row for each group, ranking, metric and comparison: its difference, interval and corrected p.

    Parameters
    ----------
    against : mapping of arm to arms, optional
        The named arms (all others where none is named) minus the key; by default all minus the first arm of the group.
        p values are corrected over all comparisons of one group, ranking and metric, whatever their reference.
    """

    def compare(records: Sequence[Record], ranking: str) -> list[pd.DataFrame]:
        wanted = {records[0].arm.name: ()} if against is None else against
        return [corrected_differences(records, wanted, ranking, metric) for metric in metrics]

    return _of_groups(result, compare)


def groups_of(result: StudyResult) -> dict[tuple[str, str, str], list[Record]]:
    """Records that a table may compare: those of the same pairs, backbone and budget."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for cell, record in result.records:
        groups.setdefault((cell.pairs, cell.backbone, cell.budget), []).append(record)
    return groups


def rankings_of(result: StudyResult) -> tuple[str, ...]:
    """The rankings whose pool the study asks for."""
    return tuple(name for name in RANKINGS if name.rsplit("/", 1)[1] in result.plan.config.pools)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """A summary as a paper prints it: percent, one interval a cell, columns that never vary left out."""
    import pandas as pd

    shown = _varying(frame)
    shown |= {"pool": frame["pool"].map("{:,.0f}".format), "arm": frame["arm"]}
    for metric in METRICS:
        title = {"mrr": "MRR", "mean_rank": "Mean Rank"}.get(metric, metric.capitalize() + " %")
        rows = frame[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy()
        shown[title] = [interval(*row, metric=metric) for row in rows]
    shown["samples %"] = (100 * frame["share"]).map("{:.0f}".format)
    return pd.DataFrame(shown)


def readable_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Differences as a paper prints them: effect with interval, corrected p, and what they come to."""
    import pandas as pd

    shown = _varying(frame)
    shown |= {"metric": frame["metric"], "arm": frame["arm"], "minus": frame["reference"]}
    rows = frame.to_dict("records")
    shown["difference"] = [
        interval(*(row[f"difference{end}"] for end in ("", "_low", "_high")), metric=row["metric"], sign=True)
        for row in rows
    ]
    shown["p (Holm)"] = ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in frame["p_holm"]]
    return pd.DataFrame(shown | {"verdict": [verdict({str(key): value for key, value in row.items()}) for row in rows]})


def interval(value: float, low: float, high: float, *, metric: str, sign: bool = False) -> str:
    """A number with its interval in brackets, "–" where there is none: Hits@k in points, MRR with three digits."""
    factor = 100 if metric.startswith("hits") else 1
    plus, digits = "+" if sign else "", 3 if metric == "mrr" else 1
    # no minus before a zero
    middle, *ends = (f"{round(factor * each, digits) + 0.0:{plus}.{digits}f}" for each in (value, low, high))
    return f"{middle} (–)" if math.isnan(low) or math.isnan(high) else f"{middle} ({ends[0]} to {ends[1]})"


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON can hold them: a number that is not finite becomes None."""
    return [
        {
            str(key): None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        for row in frame.to_dict("records")
    ]


def _varying(frame: pd.DataFrame) -> dict[str, Any]:
    """The columns that tell the rows of one table from each other, as far as they do."""
    return {key: frame[key] for key in (*_GROUP, "ranking") if key in frame and frame[key].nunique() > 1}


def _of_groups(result: StudyResult, make: Callable[[list[Record], str], list[pd.DataFrame]]) -> pd.DataFrame:
    """The tables of every group and ranking, one below the other, each row with its group."""
    import pandas as pd

    frames = []
    for group, records in groups_of(result).items():
        where = dict(zip(_GROUP, group, strict=True))
        for ranking in rankings_of(result):
            for frame in make(records, ranking):
                if len(frame):
                    frames.append(frame.assign(**where)[[*_GROUP, *frame.columns]])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _write_figures(result: StudyResult, whole: pd.DataFrame, out: Path) -> None:
    from matplotlib import pyplot as plt

    from class_kit import figures

    figures.use_style()
    for number, (group, records) in enumerate(groups_of(result).items(), start=1):
        drawn = {}
        rows = whole[(whole[list(_GROUP)] == list(group)).all(axis=1)]
        for ranking in rankings_of(result):
            chosen = rows[rows.ranking == ranking]
            label = f"Hits@1, {ranking.split('/')[0].replace('_to_', '→')}, pool {chosen.pool.iloc[0]:,}"
            drawn[ranking.replace("/", "_")] = figures.panel(figures.interval_plot, chosen, "hits@1", label)
        history = history_frame(records)
        if "mrr" in history:
            for x, label in (("samples_seen", "samples seen"), ("seconds_spent", "seconds of training")):
                drawn[f"mrr_by_{x}"] = figures.panel(
                    figures.training_curves, history, x, "mrr", (label, "validation MRR")
                )
        for name, panel in drawn.items():
            fig = figures.draw(panel)
            figures.save(fig, out, f"{number:02d}_{name}", dict(zip(_GROUP, group, strict=True)))
            plt.close(fig)
