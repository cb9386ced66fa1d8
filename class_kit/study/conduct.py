"""Conducting a study: plan first, train what is missing, leave every run's ranks, then tables and figures of them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.curriculum import EpochPlan, make_schedule
from class_kit.errors import InputError
from class_kit.files import write_json, write_text
from class_kit.notices import ranked_on
from class_kit.options import TrainingConfig
from class_kit.progress import duration
from class_kit.retrieval import retrieval_metrics
from class_kit.study.arms import arm_notices
from class_kit.study.config import Cell, StudyConfig, cells, foreseen_steps
from class_kit.study.ranking import RANKINGS
from class_kit.study.records import Record
from class_kit.study.results import grouped, rounded, study_results, study_tables
from class_kit.study.runner import Failure, Work, code_digest, run_all, stored_record
from class_kit.study.tables import history_frame, write_table

if TYPE_CHECKING:
    from class_kit.task import Task

_PROBE_STEPS = 8


@dataclass(frozen=True)
class StudyPlan:
    """What a study will do.

    Attributes
    ----------
    config : StudyConfig
    tasks : mapping of name to Task
    cells : list of Cell
        Every training, done or not.
    work : list of (Task, Arm, TrainingConfig)
        What each of them trains: the task of its pairs, with the noise of its own seed.
    done : list of bool
        Whether the store holds it already.
    seconds : float
        Foreseen processor time of those that are missing: steps times measured seconds a step, validation aside.
    """

    config: StudyConfig
    tasks: Mapping[str, Task]
    cells: list[Cell]
    work: list[Work]
    done: list[bool]
    seconds: float

    def lines(self, jobs: int) -> list[str]:
        """The plan in words."""
        new = self.done.count(False)
        said = [f"{len(self.cells)} trainings: {len(self.cells) - new} are done already, {new} to do"]
        if new:
            spent = duration(self.seconds / max(1, min(jobs, new)))
            said.append(f"about {spent} for their steps, {jobs} at a time; validation and ranking add to it")
        return said


def plan_study(config: StudyConfig, tasks: Mapping[str, Task] | None = None) -> StudyPlan:
    """Load the pairs, lay out every training, and foresee the time of those that are missing.

    Parameters
    ----------
    tasks : mapping of name to Task, optional
        What the choices of `pairs` load, where that is loaded already.

    Raises
    ------
    InputError
        As `load_task`; or where a budget asks for more than ten times the plain run's epochs.
    """
    from class_kit.task import exchange_molecules, load_task

    tasks = tasks or {choice.name: load_task(**choice.sets) for choice in config.pairs}
    first = next(iter(tasks.values()))
    laid_out = cells(config, tasks)
    # arms that share pairs, noise and seed share the task
    noisy = cache(lambda name, noise, seed: exchange_molecules(tasks[name], noise, seed) if noise else tasks[name])
    work = [
        (noisy(cell.group["pairs"], float(cell.group["noise"]), cell.config.seed), cell.arm, cell.config)
        for cell in laid_out
    ]
    done = [stored_record(*item) is not None for item in work]
    missing = [cell for cell, there in zip(laid_out, done, strict=True) if not there]
    # by backbone; seed and epochs change no step
    backbones = {cell.group["backbone"]: cell.config for cell in missing}
    a_step = {name: seconds_a_step(first, loop) for name, loop in backbones.items()}
    seconds = [foreseen_steps(cell, tasks[cell.group["pairs"]]) * a_step[cell.group["backbone"]] for cell in missing]
    return StudyPlan(config, tasks, laid_out, work, done, math.fsum(seconds))


def seconds_a_step(task: Task, config: TrainingConfig) -> float:
    """Seconds of an optimiser step, measured on a few; the longest batches of real trainings may take longer."""
    from class_kit.backbones import backbone_needs
    from class_kit.training import train

    rows = task.rows("train")[: config.batch_size * _PROBE_STEPS]
    needs = backbone_needs(config.backbone, **config.backbone_options)
    # the first epoch pays for what later ones find ready
    plan = EpochPlan(np.arange(len(rows)), make_schedule("full"), "constant", epochs=2)
    inputs = task.text_inputs(needs.text, rows), task.molecule_inputs(needs.molecules, rows)
    last = train(replace(config, epochs=2), plan, *inputs, progress=False).history[-1]
    return last["seconds"] / last["steps"]


def run_study(
    plan: StudyPlan, out: str | os.PathLike[str], *, jobs: int | None = None, progress: bool | None = None
) -> dict[str, Any]:
    """Train what is missing and leave everything in a folder; a failed training is recorded and stops no other.

    The folder holds `study.json` (what `study_results` says, rounded to six digits, and the digest of the kit's code),
    `trainings/` (a `metrics.json` for each with its per-query ranks), `failures.json` with tracebacks where there are
    any, tables and figures, and `done`, written last and only where nothing failed.

    Returns
    -------
    dict
        What `study_results` says.
    """
    out, config = Path(out), plan.config
    for name in ("done", "failures.json"):
        (out / name).unlink(missing_ok=True)
    outcomes = run_all(plan.work, jobs, progress)
    ended = list(zip(plan.cells, outcomes, strict=True))
    records = [(cell, one) for cell, one in ended if isinstance(one, Record)]
    failures = [(cell, one) for cell, one in ended if isinstance(one, Failure)]
    for cell, record in records:
        write_json(out / "trainings" / record.folder.name / "metrics.json", run_metrics(cell, record))
    results = study_results(config, plan.tasks, records, failures)
    results["notices"] = notices_of(plan)
    write_json(out / "study.json", {"code": code_digest(), **rounded(results)})
    if records:
        seeds = len(config.seeds)
        note = f"95 % intervals over queries and {seeds} seed{'s' if seeds > 1 else ''}; ties at their expectation."
        note = " ".join([note, *results["notices"]])
        tables = study_tables(results)
        for name, (frame, shown) in tables.items():
            write_table(out / "tables", name, frame, shown, note)
        _write_figures(plan.tasks, records, tables["summary"][0], out)
    if failures:
        told = [cell.labels | {"reason": one.cause, "traceback": one.reason} for cell, one in failures]
        write_json(out / "failures.json", told)
    else:
        write_text(out / "done", "finished\n")
    return results


def notices_of(plan: StudyPlan) -> list[str]:
    """What `training_notices` says of the study's trainings, each once; with several sets of pairs, of which it is."""
    asked = {
        (cell.group["pairs"], arm.order, arm.difficulty, arm.sigma, arm.duplicates, config.batch_size): arm
        for cell, (_, arm, config) in zip(plan.cells, plan.work, strict=True)
    }
    said = []
    for (name, *_, batch_size), arm in asked.items():
        for line in arm_notices(plan.tasks[name], arm, batch_size).values():
            said.append(f"{name}: {line}" if len(plan.tasks) > 1 else line)
    return list(dict.fromkeys(said))


def run_metrics(cell: Cell, record: Record) -> dict[str, Any]:
    """Everything a table derives from: who it was, what it cost, each epoch, and the rank of every query."""
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


def refuse_foreign(out: str | os.PathLike[str]) -> None:
    """Refuse a folder that holds something else than a study.

    Raises
    ------
    InputError
        The path is a file, or a folder with other content.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose another --out")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names and not names & {"study.json", "paper.json", "noise.json", ".lock"}:
        raise InputError(f"{folder}: holds other files; choose another --out")


def _write_figures(tasks: Mapping[str, Task], records: list[tuple[Cell, Record]], summary: Any, out: Path) -> None:
    """For each group Hits@1 of its arms in every ranking, and validation MRR against samples and seconds."""
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
