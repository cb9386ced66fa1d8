"""`class-kit train`: a retriever trained with a curriculum on one's own pairs, and measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.cli.training_options import (
    TASK,
    add_arm_options,
    add_import_option,
    add_loop_options,
    add_task_options,
    arm_from,
    config_from,
    import_own,
)

if TYPE_CHECKING:
    from class_kit.study.arms import Arm
    from class_kit.study.records import Record
    from class_kit.task import Task
    from class_kit.training import TrainingConfig


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `train`."""
    parser = subparsers.add_parser(
        "train",
        help="train a retriever with a curriculum on pairs",
        description="Train a retriever with a curriculum, rank the held-out pairs and keep the result in a folder.",
        allow_abbrev=False,
    )
    add_task_options(parser)
    add_arm_options(parser)
    add_loop_options(parser)
    add_import_option(parser)
    parser.add_argument("--out", metavar="DIR", help="folder of the result (default: runs/train-PAIRS-ORDER-SEED)")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training in the same folder")
    parser.set_defaults(handler=handle_train)


def handle_train(arguments: argparse.Namespace) -> int:
    """Train, or continue; write the record and print the table."""
    from class_kit.cli.evaluate import finishing_number, metrics_of, print_metrics
    from class_kit.files import write_json, write_text
    from class_kit.runs.folder import lock
    from class_kit.runs.parameters import plain
    from class_kit.study import reference_scores
    from class_kit.study.records import train_record
    from class_kit.task import load_task
    from class_kit.terminal import visible

    import_own(arguments.modules)
    arm, config = arm_from(arguments), config_from(arguments)
    folder = Path(arguments.out or f"runs/train-{_slug(arguments.pairs)}-{arguments.order}-{arguments.seed}")
    what = {name: plain(getattr(arguments, name), name) for name in TASK}
    with lock(folder):
        if finished := _finished(folder, arm, config, what, resume=arguments.resume):
            print(f"finished before with these settings; kept in {visible(folder)}")
            print_metrics(metrics_of(finished[0].ranks), finished[1].evaluation_split)
            return 0
        task = load_task(**what, rejected_to=folder / "rejected.csv")
        _say_notes(task)
        write_json(folder / "task.json", {"task": what, "digest": task.digest})
        reference = reference_scores(task, arm, config)
        with _way_on(folder):
            record = train_record(
                task, arm, config, folder, checkpoints=True, resume=arguments.resume, reference=reference, progress=None
            )
        metrics = metrics_of(record.ranks)
        write_json(folder / "metrics.json", {"split": task.evaluation_split, "metrics": metrics})
        write_text(folder / "done", f"finished, number {finishing_number(folder.parent)}\n")
    print(
        f"{record.samples:,} samples in {record.steps:,} steps, {record.seconds:.1f} s; best epoch {record.best_epoch}"
    )
    for line in _apart(record.history):
        print(line)
    print_metrics(metrics, task.evaluation_split)
    print(f"kept in {visible(folder)}")
    return 0


def _finished(
    folder: Path, arm: Arm, config: TrainingConfig, task: Mapping[str, Any], *, resume: bool
) -> tuple[Record, Task] | None:
    """What the folder holds where that is this very training, finished; an error where going on would lose something.

    Raises
    ------
    InputError
        If the folder holds a finished training and this is another one or no `--resume`, or an unfinished one without
        `--resume`.
    """
    from class_kit.cli.evaluate import load_trained
    from class_kit.errors import InputError

    if not (folder / "done").exists():
        if (folder / "checkpoint.safetensors").exists() and not resume:
            raise InputError(f"{folder}: holds an unfinished training; --resume continues it, or choose another --out")
        return None
    if not resume:
        raise InputError(f"{folder}: holds a finished training; choose another --out")
    found = load_trained(folder)
    stored = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    asked = json.loads(json.dumps({"arm": asdict(arm), "config": asdict(config), "task": task}))
    # read once more: a training of before an option existed has its default
    stored["arm"] = json.loads(json.dumps(asdict(found[0].arm)))
    stored["task"] = json.loads((folder / "task.json").read_text(encoding="utf-8"))["task"]
    if other := [part for part, value in asked.items() if stored[part] != value]:
        raise InputError(f"{folder}: holds a finished training with another {', '.join(other)}; choose another --out")
    return found


@contextmanager
def _way_on(folder: Path) -> Iterator[None]:
    """Say how to continue where the user or the machine interrupts a training that has a checkpoint."""
    from class_kit.terminal import visible

    try:
        yield
    except (KeyboardInterrupt, OSError):
        if (folder / "checkpoint.safetensors").exists():
            place = visible(folder)
            print(f"the last finished epoch is kept in {place}; the same command with --resume --out {place} continues")
        raise


def _apart(history: Sequence[Mapping[str, float]]) -> list[str]:
    """How often near-duplicates shared a batch after all, in the first and the last epoch."""
    lines = []
    for entry in history[:: max(1, len(history) - 1)]:
        if "repeats" in entry:
            shared = f"{entry['repeats']:,} near-duplicates share a batch with another"
            lines.append(f"epoch {entry['epoch']}: {shared}, {entry['unavoidable']:,} of them unavoidably")
    return lines


def _say_notes(task: Task) -> None:
    from class_kit.terminal import visible

    for note in task.pairs.notes:
        print(visible(note))


def _slug(pairs: str) -> str:
    stem = Path(pairs).name.split(".")[0]
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem)[:40] or "pairs"
