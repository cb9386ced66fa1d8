"""The record of a training: weights, cost, history, and the rank of every held-out pair.

A record's folder holds `model.safetensors` and, written last, `record.json`: where that exists, the weights do. All
metrics derive from the per-query ranks. The folder of `class-kit train` also holds what was loaded
(`task.json`), `metrics.json`, and at the end `done`.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.errors import InputError
from class_kit.files import home_path, json_digest, sha256_file, write_json
from class_kit.options import Arm, TaskOptions, TrainingConfig
from class_kit.pairs import RELEASES
from class_kit.retrieval import Ranks
from class_kit.study.arms import plan_arm, training_duplicates
from class_kit.study.ranking import rank_split, validation_metrics

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone
    from class_kit.task import Task

# values of a task's options that are never paths
_NO_FILES = ("corpus", *RELEASES, "minilm", "static", "scibert", "text2mol", "mol2vec")
_WEIGHTS = "model.safetensors"
_RANK_PARTS = ("greater", "equal", "pool", "right")


@dataclass(frozen=True)
class Record:
    """One finished training: its settings and cost, and where each held-out pair was ranked.

    `ranks` maps the names of `rank_split`, such as "text_to_molecule/split", to `Ranks`; `folder` holds the weights.
    """

    arm: Arm
    seed: int
    config: dict[str, Any]
    steps: int
    samples: int
    best_epoch: int
    seconds: float
    history: list[dict[str, float]]
    ranks: dict[str, Ranks]
    folder: Path


def train_record(
    task: Task,
    arm: Arm,
    config: TrainingConfig,
    folder: str | os.PathLike[str],
    *,
    checkpoints: bool = False,
    resume: bool = False,
    reference: np.ndarray | None = None,
    progress: bool | None = False,
) -> Record:
    """Train one arm on the task's training pairs, rank its held-out pairs, and write the record to `folder`.

    Parameters
    ----------
    reference : (L_train,) float, optional
        As for `plan_arm`.
    checkpoints, resume : bool
        Write a checkpoint each epoch, and continue from one that is there.
    """
    from class_kit.backbones import backbone_needs
    from class_kit.training import train
    from class_kit.training.checkpoint import write_tensors

    folder = Path(folder)
    rows = task.rows("train")
    needs = backbone_needs(config.backbone, **config.backbone_options)
    result = train(
        config,
        plan_arm(task, arm, config, reference),
        task.inputs("text", needs.text, rows),
        task.inputs("molecules", needs.molecules, rows),
        validate=validation_metrics(task) if "validation" in task.pairs.split else None,
        folder=folder if checkpoints else None,
        resume=resume,
        groups=training_duplicates(task, arm) if arm.duplicates == "mask" else None,
        progress=progress,
    )
    write_tensors(folder / _WEIGHTS, result.backbone.state_dict())
    ranks = rank_split(result.backbone, task, task.evaluation_split)
    stored: dict[str, Any] = {"arm": asdict(arm), "seed": config.seed, "config": asdict(config)}
    stored |= {name: getattr(result, name) for name in ("steps", "samples", "best_epoch", "seconds", "history")}
    stored["ranks"] = [
        {"name": name} | {part: np.asarray(getattr(own, part)).tolist() for part in _RANK_PARTS}
        for name, own in ranks.items()
    ]
    stored["weights"] = sha256_file(folder / _WEIGHTS)
    write_json(folder / "record.json", stored | {"digest": json_digest(stored)})
    return read_record(folder)


def read_record(folder: str | os.PathLike[str]) -> Record:
    """Read a record that `train_record` wrote.

    Raises
    ------
    InputError
        If the folder holds no finished training, or a damaged one.
    """
    folder = Path(folder)
    try:
        stored = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        if stored.pop("digest") != json_digest(stored):
            raise ValueError("record.json does not match its digest")
        if stored.pop("weights") != sha256_file(folder / _WEIGHTS):
            raise ValueError(f"{_WEIGHTS} does not match its digest")
        ranks = {own.pop("name"): Ranks(**own) for own in stored.pop("ranks")}
        return Record(arm=Arm(**stored.pop("arm")), **stored, ranks=ranks, folder=folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{folder}: no finished training ({error})") from error


def load_backbone(record: Record, task: Task) -> Backbone:
    """The trained backbone of a record, in evaluation mode, for inputs of the task's widths."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from class_kit.backbones import backbone_needs, create_backbone

    name, options = record.config["backbone"], record.config["backbone_options"]
    needs = backbone_needs(name, **options)
    widths = task.inputs("text", needs.text).width, task.inputs("molecules", needs.molecules).width
    backbone = create_backbone(name, *widths, **options)
    try:
        backbone.load_state_dict(load_file(record.folder / _WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{record.folder}: its weights do not fit these encoders or are damaged ({error})") from error
    return backbone.eval()


def load_trained(folder: str | Path) -> tuple[Record, Task]:
    """The record and the task of a folder that `train_in` finished.

    Raises
    ------
    InputError
        If the folder holds no finished training, or its pairs have changed since.
    """
    from class_kit.task import load_task

    folder = Path(folder)
    if not (folder / "record.json").is_file():
        raise InputError(f"{folder}: no finished training here (class-kit train makes one; --resume continues one)")
    record = read_record(folder)
    options, digest = stored_task(folder)
    task = load_task(**asdict(options))
    if task.digest != digest:
        raise InputError(f"{folder}: its pairs or encoders have changed since the training; train again")
    return record, task


def newest_training(runs: str | Path) -> Path:
    """The folder under `runs` whose training finished last.

    Raises
    ------
    InputError
        If no training under `runs` is finished.
    """
    finished = list(Path(runs).glob("*/record.json"))
    if not finished:
        raise InputError(f"no finished training in {runs}/: run class-kit train first, or name one with --run")
    return max(finished, key=lambda record: record.stat().st_mtime).parent


def stored_task(folder: Path) -> tuple[TaskOptions, str]:
    """The options that the training's task was loaded with, and the task's digest.

    The folder may come from someone else; its file sets options of `load_task` alone, none of which writes a file.
    """
    try:
        stored = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        return located(TaskOptions(**stored["task"]), folder), str(stored["digest"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder}: its task.json is damaged or missing ({error}); train again") from None


def located(options: TaskOptions, run: Path | None = None) -> TaskOptions:
    """The options with absolute paths, so that a run finds its files from every working folder.

    A file that has moved is looked for by its name in the `run`'s folder and in the working folder.

    Raises
    ------
    InputError
        If the pairs of a run are in none of these places.
    """
    found: dict[str, Any] = {}
    for name in ("pairs", "data", "extra", "text_encoder", "vectors"):
        value = getattr(options, name)
        if not value or value in _NO_FILES or value.startswith("hf://"):
            continue
        path = home_path(value)
        places = [path, *([run / path.name, Path(path.name)] if run else [])]
        there = next((place for place in places if place.exists()), None)
        if there:
            found[name] = str(there.absolute())
        elif run and name in ("pairs", "extra"):
            looked = ", ".join(str(place.absolute()) for place in places)
            raise InputError(f"{run}: its {name} are missing; looked for {looked}")
    return replace(options, **found)
