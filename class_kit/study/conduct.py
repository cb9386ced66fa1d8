"""Conducting a study: plan first, train what is missing, leave every run's ranks, then tables and figures of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.errors import InputError
from class_kit.files import write_json, write_text
from class_kit.progress import duration
from class_kit.retrieval import retrieval_metrics
from class_kit.study.config import StudyConfig
from class_kit.study.grid import Cell, cells, foreseen_steps, seconds_a_step
from class_kit.study.output import write_outputs
from class_kit.study.records import Record
from class_kit.study.runner import Failure, run_all, stored_record

if TYPE_CHECKING:
    from class_kit.task import Task


@dataclass(frozen=True)
class StudyPlan:
    """What a study will do.

    Attributes
    ----------
    config : StudyConfig
    tasks : mapping of name to Task
    cells : list of Cell
        Every training, done or not.
    done : list of bool
        Whether the store holds it already.
    seconds : float
        Foreseen processor time of those that are missing: steps times measured seconds a step, validation aside.
    """

    config: StudyConfig
    tasks: Mapping[str, Task]
    cells: list[Cell]
    done: list[bool]
    seconds: float

    def lines(self, jobs: int) -> list[str]:
        """The plan in words."""
        new = self.done.count(False)
        first = f"{len(self.cells)} trainings: {len(self.cells) - new} are done already, {new} to do"
        if not new:
            return [first]
        minutes = self.seconds / 60 / max(1, min(jobs, new))
        return [
            first,
            f"about {duration(60 * minutes)} for their steps, {jobs} at a time; validation and ranking add to it",
        ]


@dataclass(frozen=True)
class StudyResult:
    """What a study left: a record for every cell that finished, and a failure for every other."""

    plan: StudyPlan
    records: list[tuple[Cell, Record]]
    failures: list[tuple[Cell, Failure]]


def plan_study(config: StudyConfig, load: Callable[..., Task] | None = None) -> StudyPlan:
    """Load the pairs, lay out every training, and foresee the time of those that are missing.

    Parameters
    ----------
    load : callable, optional
        What makes a `Task` of the choices of `pairs`; `load_task` by default.

    Raises
    ------
    InputError
        As `load_task`; or where a budget asks for more than ten times the plain run's epochs.
    """
    from class_kit.task import load_task

    tasks = {choice.name: (load or load_task)(**choice.sets) for choice in config.pairs}
    first = next(iter(tasks.values()))
    laid_out = cells(config, tasks)
    done = [stored_record(tasks[cell.pairs], cell.arm, cell.config) is not None for cell in laid_out]
    missing = [cell for cell, there in zip(laid_out, done, strict=True) if not there]
    # by backbone; seed and epochs change no step
    steps = {
        cell.backbone: seconds_a_step(first, cell.config) for cell in {each.backbone: each for each in missing}.values()
    }
    seconds = math.fsum(foreseen_steps(cell, tasks[cell.pairs]) * steps[cell.backbone] for cell in missing)
    return StudyPlan(config, tasks, laid_out, done, seconds)


def run_study(
    plan: StudyPlan, out: str | os.PathLike[str], *, jobs: int | None = None, progress: bool | None = None
) -> StudyResult:
    """Train what is missing and leave everything in a folder; a failed training is recorded and stops no other.

    The folder holds `study.json` (every cell, what it cost and whether it finished), `trainings/` (a `metrics.json` for
    each with its per-query ranks), `failures.json` where there are any, tables and figures, and `done`, written last
    and only where nothing failed.
    """
    out = Path(out)
    (out / "done").unlink(missing_ok=True)
    work = [(plan.tasks[cell.pairs], cell.arm, cell.config) for cell in plan.cells]
    outcomes = run_all(work, jobs, progress)
    records, failures = [], []
    for cell, outcome in zip(plan.cells, outcomes, strict=True):
        if isinstance(outcome, Record):
            records.append((cell, replace(outcome, arm=cell.arm)))
        else:
            failures.append((cell, outcome))
    result = StudyResult(plan, records, failures)
    for cell, record in records:
        write_json(out / "trainings" / record.folder.name / "metrics.json", run_metrics(cell, record))
    (out / "failures.json").unlink(missing_ok=True)
    if failures:
        told = [{"reason": one.reason.strip().splitlines()[-1], "traceback": one.reason} for _, one in failures]
        write_json(out / "failures.json", [cell.labels | one for (cell, _), one in zip(failures, told, strict=True)])
    finished = [
        cell.labels | {"training": record.folder.name, "steps": record.steps, "samples": record.samples}
        for cell, record in records
    ]
    digests = {name: task.digest for name, task in plan.tasks.items()}
    config = asdict(plan.config)
    write_json(out / "study.json", {"config": config, "inputs": digests, "finished": finished, "failed": len(failures)})
    if records:
        write_outputs(result, out)
    if not failures:
        write_text(out / "done", "finished\n")
    return result


def run_metrics(cell: Cell, record: Record) -> dict[str, Any]:
    """Everything a table derives from: who it was, what it cost, each epoch, and the rank of every query."""
    return {
        **cell.labels,
        "settings": {"arm": asdict(cell.arm), "training": asdict(cell.config)},
        "steps": record.steps,
        "samples": record.samples,
        "seconds": record.seconds,
        "best_epoch": record.best_epoch,
        "history": record.history,
        "metrics": {name: retrieval_metrics(ranks) for name, ranks in record.ranks.items()},
        "ranks": {
            name: {"greater": ranks.greater.tolist(), "equal": ranks.equal.tolist(), "pool": ranks.pool}
            for name, ranks in record.ranks.items()
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
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not ((folder / "study.json").is_file() or (folder / ".lock").is_file())
    ):
        raise InputError(f"{folder}: holds other files; choose another --out")
