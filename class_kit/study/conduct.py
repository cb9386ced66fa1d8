"""Conduct a study: plan it, train what is missing, then write every training's ranks, tables and figures."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.files import shipped, write_json, write_text
from class_kit.notices import ranked_on
from class_kit.progress import duration, progress_bar
from class_kit.retrieval import retrieval_metrics
from class_kit.study.arms import arm_notices
from class_kit.study.config import Cell, StudyConfig, cells, data_name
from class_kit.study.ranking import RANKINGS, rank_split
from class_kit.study.records import Record, load_backbone
from class_kit.study.results import Finished, grouped, rounded, study_results
from class_kit.study.runner import Failure, code_digest, run_all, stored_record
from class_kit.study.tables import history_frame, study_tables, write_table
from class_kit.terminal import counted

if TYPE_CHECKING:
    from class_kit.task import Task


@dataclass(frozen=True)
class StudyPlan:
    """What a study will do.

    Attributes
    ----------
    config : StudyConfig
    tasks : mapping of name to Task
        By their names in tables; a fraction's is the whole set.
    cells : list of Cell
        Every training, done or not.
    """

    config: StudyConfig
    tasks: Mapping[str, Task]
    cells: list[Cell]

    def lines(self, jobs: int) -> list[str]:
        """The plan in words, with the time that is left once every backbone has a stored training to judge by."""
        import pandas as pd

        stored = [getattr(stored_record(*cell.work), "seconds", None) for cell in self.cells]
        spent = pd.Series(stored, [cell.group["backbone"] for cell in self.cells], dtype=float)
        missing = spent[spent.isna()]
        lines = [f"{len(spent)} trainings: {spent.count()} are done already, {len(missing)} to do"]
        left = spent.groupby(level=0).mean().reindex(missing.index).sum(skipna=False) / max(1, min(jobs, len(missing)))
        # NaN if a backbone has no stored training
        if left > 0:
            lines.append(f"about {duration(left)} for their steps, {jobs} at a time; validation and ranking add to it")
        unknown = [cell for cell in self.cells if math.isnan(spent.groupby(level=0).mean()[cell.group["backbone"]])]
        samples = sum(
            cell.config.epochs * len(cell.task.rows("train")) for cell in unknown if cell.config.backbone == "finetuned"
        )
        record = shipped("figures/paper/finetune.json")
        if samples and record.is_file():
            tables = json.loads(record.read_text(encoding="utf-8"))["tables"]
            rate, encoder, card = min(
                (cost["samples/s"], table["encoder"], table["device"]) for table in tables for cost in table["costs"]
            )
            lines.append(
                f"fine-tuning reads at most {samples:,} samples: about {duration(samples / rate)} for the text encoder "
                f"alone on one {card}, at the {rate:,.0f} samples a second measured with {encoder}"
            )
        return lines


def plan_study(config: StudyConfig, tasks: Mapping[str, Task] | None = None) -> StudyPlan:
    """Load the pairs and list every training.

    Parameters
    ----------
    tasks : mapping of name to Task, optional
        What the choices of `pairs` load, where that is loaded already.

    Raises
    ------
    InputError
        As `load_task`; or where a budget takes more than ten times the baseline's epochs.
    """
    from class_kit.task import load_task

    tasks = tasks or {choice.name: load_task(**choice.sets) for choice in config.pairs}
    named = {data_name(one, share): tasks[one.name] for one, share in product(config.pairs, config.fractions)}
    return StudyPlan(config, named, cells(config, tasks))


def run_study(
    plan: StudyPlan, out: str | os.PathLike[str], *, jobs: int | None = None, progress: bool | None = None
) -> dict[str, Any]:
    """Train what is missing and write everything to a folder; a failed training is recorded and stops no other.

    The folder holds `study.json` (the results rounded to six digits, and the digest of the kit's code), `trainings/`
    (a `metrics.json` for each with its per-query ranks), `failures.json` with tracebacks if trainings failed, tables
    and figures, and `done`, written last and only if none failed.

    Returns
    -------
    dict
        As `study_results`, with `notices`.
    """
    out, config = Path(out), plan.config
    for name in ("done", "failures.json"):
        (out / name).unlink(missing_ok=True)
    ended = list(zip(plan.cells, run_all([cell.work for cell in plan.cells], jobs, progress), strict=True))
    records = [(cell, one) for cell, one in ended if isinstance(one, Record)]
    failures = [(cell, one) for cell, one in ended if isinstance(one, Failure)]
    for cell, record in progress_bar(records, desc="metrics", unit="training", show=progress):
        write_json(out / "trainings" / record.folder.name / "metrics.json", run_metrics(cell, record))
    if config.across:
        plan, records = _ask_across(plan, records)
    results = study_results(config, plan.tasks, records, failures)
    results["notices"] = notices_of(plan)
    write_json(out / "study.json", {"code": code_digest(), **rounded(results)})
    if records:
        note = f"95 % intervals over queries and {counted(len(config.seeds), 'seed')}; ties at their expectation."
        note = " ".join([note, *results["notices"]])
        tables = study_tables(results)
        for name, (frame, shown) in tables.items():
            write_table(out / "tables", name, frame, shown, note)
        _write_figures(plan.tasks, records, tables["summary"][0], out)
    if failures:
        listed = [cell.labels | {"reason": one.cause, "traceback": one.reason} for cell, one in failures]
        write_json(out / "failures.json", listed)
    else:
        write_text(out / "done", "finished\n")
    return results


def _ask_across(plan: StudyPlan, records: list[Finished]) -> tuple[StudyPlan, list[Finished]]:
    """The plan and the records, and after them those of the other data sets' held-out pairs under each training."""
    from class_kit.task import ask_across

    tasks, found = dict(plan.tasks), list(records)
    for trained, asked in permutations(plan.tasks, 2):
        name = f"{trained} → {asked}"
        tasks[name] = task = ask_across(plan.tasks[trained], plan.tasks[asked])
        for cell, record in records:
            if cell.group["pairs"] == trained:
                ranks = rank_split(load_backbone(record, task), task, task.evaluation_split)
                found.append((replace(cell, group={**cell.group, "pairs": name}), replace(record, ranks=ranks)))
    return replace(plan, tasks=tasks), found


def notices_of(plan: StudyPlan) -> list[str]:
    """The notices of the study's trainings, each once; with several sets of pairs, each begins with their name."""
    asked = {}
    for cell in plan.cells:
        name, arm, batch_size = cell.group["pairs"], cell.arm, cell.config.batch_size
        asked[name, arm.order, arm.difficulty, arm.sigma, arm.duplicates, batch_size] = name, arm, batch_size
    notices = [
        f"{name}: {line}" if len(plan.tasks) > 1 else line
        for name, arm, batch_size in asked.values()
        for line in arm_notices(plan.tasks[name], arm, batch_size).values()
    ]
    return list(dict.fromkeys(notices))


def run_metrics(cell: Cell, record: Record) -> dict[str, Any]:
    """All that a table derives from: labels and settings, cost, each epoch, and the rank of every query."""
    return {
        **cell.labels,
        "settings": {"arm": asdict(cell.arm), "training": asdict(cell.config)},
        **{name: getattr(record, name) for name in ("steps", "samples", "seconds", "best_epoch", "history")},
        "metrics": {name: retrieval_metrics(ranks) for name, ranks in record.ranks.items()},
        "ranks": {
            name: {"greater": ranks.greater.tolist(), "equal": ranks.equal.tolist(), "pool": ranks.pool}
            for name, ranks in record.ranks.items()
            if name in RANKINGS
        },
    }


def _write_figures(tasks: Mapping[str, Task], records: list[tuple[Cell, Record]], summary: Any, out: Path) -> None:
    """For each group, Hits@1 of its arms in every ranking, and validation MRR against samples and seconds."""
    from matplotlib import pyplot as plt

    from class_kit import figures

    figures.use_style()
    axes = {"samples_seen": "samples seen", "seconds_spent": "seconds of training"}
    for number, (group, own) in enumerate(grouped(records), start=1):
        drawn = {}
        rows = summary[(summary[list(group)] == list(group.values())).all(axis=1)]
        for ranking, chosen in rows[rows["ranking"].isin(RANKINGS)].groupby("ranking", sort=False):
            label = f"Hits@1, {str(ranking).split('/')[0].replace('_to_', '→')}, pool {chosen['pool'].iloc[0]:,}"
            label = ranked_on(label, tasks[group["pairs"]].evaluation_split)
            drawn[str(ranking).replace("/", "_")] = figures.panel(figures.interval_plot, chosen, "hits@1", label)
        history = history_frame(own)
        for x, label in axes.items() if "mrr" in history else ():
            labels = (label, "validation MRR")
            drawn[f"mrr_by_{x}"] = figures.panel(figures.training_curves, history, x, "mrr", labels)
        for name, panel in drawn.items():
            fig = figures.draw(panel)
            figures.save(fig, out, f"{number:02d}_{name}", group)
            plt.close(fig)
