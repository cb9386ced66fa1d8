"""The folder that one training leaves: made, read again, and the newest among several."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.errors import InputError
from class_kit.files import write_json, write_text
from class_kit.options import Arm, TaskOptions, TrainingConfig
from class_kit.study.records import Record, read_record, train_record

if TYPE_CHECKING:
    from class_kit.task import Task

# what `done` says: the trainings of one folder are numbered as they finish
_NUMBERED = re.compile(r"finished, number ([0-9]{1,18})\n")


def train_in(
    folder: Path,
    options: TaskOptions,
    arm: Arm,
    config: TrainingConfig,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> tuple[Record, Task, dict[str, Any]]:
    """Load the pairs, train, rank the held-out pairs and keep all of it in a folder that no other process writes.

    Parameters
    ----------
    resume : bool
        Continue what was interrupted; where it had finished, it is read only.
    say : callable
        Told what is noteworthy about the pairs.

    Returns
    -------
    record, task, metrics
        The metrics by the name of the ranking, as `retrieval_metrics` gives them.

    Raises
    ------
    InputError
        If the folder holds another training, or this one and `resume` is not set.
    """
    from class_kit.files import lock
    from class_kit.retrieval import retrieval_metrics
    from class_kit.study.runner import reference_scores
    from class_kit.task import load_task

    with lock(folder):
        finished = (folder / "done").exists()
        if not resume and (finished or (folder / "checkpoint.safetensors").exists()):
            held = "a finished training;" if finished else "an unfinished training; --resume continues it, or"
            raise InputError(f"{folder}: holds {held} choose another --out")
        if finished:
            record, task = load_trained(folder)
            was = {"arm": record.arm, "config": TrainingConfig(**record.config), "task": _stored_task(folder)[0]}
            now = {"arm": replace(arm, name=record.arm.name), "config": config, "task": options}
            if other := [part for part in was if was[part] != now[part]]:
                raise InputError(
                    f"{folder}: holds a finished training with another {', '.join(other)}; choose another --out"
                )
        else:
            task = load_task(**asdict(options), rejected_to=folder / "rejected.csv")
            for note in task.pairs.notes:
                say(note)
            write_json(folder / "task.json", {"task": asdict(options), "digest": task.digest})
            reference = reference_scores(task, arm, config)
            record = train_record(
                task, arm, config, folder, checkpoints=True, resume=resume, reference=reference, progress=None
            )
        metrics = {name: retrieval_metrics(ranks) for name, ranks in record.ranks.items()}
        if not finished:
            write_json(folder / "metrics.json", {"split": task.evaluation_split, "metrics": metrics})
            write_text(folder / "done", f"finished, number {finishing_number(folder.parent)}\n")
    return record, task, metrics


def load_trained(folder: str | Path) -> tuple[Record, Task]:
    """The record and the task of a folder that `train_in` finished.

    Raises
    ------
    InputError
        If the folder holds no finished training, or its pairs have changed since.
    """
    from class_kit.task import load_task

    folder = Path(folder)
    if not (folder / "done").is_file():
        raise InputError(f"{folder}: no finished training here (class-kit train makes one; --resume continues one)")
    record = read_record(folder)
    options, digest = _stored_task(folder)
    task = load_task(**asdict(options))
    if task.digest != digest:
        raise InputError(f"{folder}: its pairs or encoders have changed since the training; train again")
    return record, task


def _stored_task(folder: Path) -> tuple[TaskOptions, str]:
    """What the training loaded, and the digest of what it got.

    The folder may come from someone else: it names nothing but the options of a task, and so no file to be written.
    """
    try:
        stored = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        return TaskOptions(**stored["task"]), str(stored["digest"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder}: its task.json is damaged or missing ({error}); train again") from None


def newest_training(runs: str | Path) -> Path:
    """The folder under `runs` whose training finished last, by the numbers that `finishing_number` gave.

    Times would be misleading: a clock that was set back, or a folder that was copied, makes an older training look
    newer.

    Raises
    ------
    InputError
        If no training under `runs` is finished, or several have the last number.
    """
    numbers = _finished_under(Path(runs))
    if not numbers:
        raise InputError(f"no finished training in {runs}/: run class-kit train first, or name one with --run")
    newest = sorted(folder for folder, number in numbers.items() if number == max(numbers.values()))
    if len(newest) > 1:
        names = ", ".join(str(folder) for folder in newest[:5]) + (", …" if len(newest) > 5 else "")
        raise InputError(f"which training finished last cannot be told ({names}): name one with --run")
    return newest[0]


def finishing_number(runs: str | Path) -> int:
    """The number of a training that finishes now beside those under `runs`: one more than any of them has."""
    return 1 + max(_finished_under(Path(runs)).values(), default=0)


def _finished_under(runs: Path) -> dict[Path, int]:
    """Folders of finished trainings, each with the number that its `done` says, 0 where it says none."""
    numbers = {}
    for record in runs.glob("*/record.json"):
        done = record.parent / "done"
        if done.is_file():
            with open(done, encoding="utf-8", errors="replace") as file:
                numbered = _NUMBERED.fullmatch(file.read(100))
            numbers[record.parent] = int(numbered[1]) if numbered else 0
    return numbers
