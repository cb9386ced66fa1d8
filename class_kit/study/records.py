"""One training and what it leaves: weights, cost, history, and the rank of every held-out pair.

A record's folder holds `model.safetensors`, `ranks.npz` and, written last, `record.json`: where that stands, the rest
does. Everything a table says about a training derives from its per-query ranks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from class_kit.errors import InputError
from class_kit.files import atomic_write, sha256_file, write_json
from class_kit.retrieval import Ranks
from class_kit.study.arms import Arm, plan_arm, training_duplicates
from class_kit.study.ranking import RANKINGS, rank_split, validation_metrics

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone
    from class_kit.task import Task
    from class_kit.training import TrainingConfig

_BESIDE = ("model.safetensors", "ranks.npz")


@dataclass(frozen=True)
class Record:
    """What one training left: who it was, what it cost, and where each held-out pair was ranked.

    `ranks` maps "text_to_molecule/split" and the like to `Ranks`; `folder` holds the weights.
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
    """Train one arm on the task's training pairs, rank its held-out pairs, and leave the record in `folder`.

    Parameters
    ----------
    reference : (L_train,) float, optional
        As of `plan_arm`.
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
        task.text_inputs(needs.text, rows),
        task.molecule_inputs(needs.molecules, rows),
        validate=validation_metrics(task) if "validation" in task.pairs.split else None,
        folder=folder if checkpoints else None,
        resume=resume,
        groups=training_duplicates(task, arm) if arm.duplicates == "mask" else None,
        progress=progress,
    )
    write_tensors(folder / "model.safetensors", result.backbone.state_dict())
    arrays: dict[str, Any] = {}
    for name, ranks in rank_split(result.backbone, task, task.evaluation_split).items():
        arrays |= {f"{name}/greater": ranks.greater, f"{name}/equal": ranks.equal, f"{name}/pool": ranks.pool}
    with atomic_write(folder / "ranks.npz") as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    stored = {
        "arm": asdict(arm),
        "seed": config.seed,
        "config": asdict(config),
        "steps": result.steps,
        "samples": result.samples,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "history": result.history,
        "digests": {name: sha256_file(folder / name) for name in _BESIDE},
    }
    write_json(folder / "record.json", stored | {"digest": _digest(stored)})
    return read_record(folder)


def read_record(folder: str | os.PathLike[str]) -> Record:
    """Read what `train_record` left.

    Raises
    ------
    InputError
        If the folder holds no finished training.
    """
    folder = Path(folder)
    try:
        stored = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        if stored.pop("digest") != _digest(stored):
            raise ValueError("record.json does not match its digest")
        for name, digest in stored.pop("digests").items():
            if name not in _BESIDE or sha256_file(folder / name) != digest:
                raise ValueError(f"{name[:40]} does not match its digest")
        with open(folder / "ranks.npz", "rb") as file, np.load(file, allow_pickle=False) as arrays:
            ranks = {
                name: Ranks(arrays[f"{name}/greater"], arrays[f"{name}/equal"], int(arrays[f"{name}/pool"]))
                for name in RANKINGS
            }
        arm = Arm(**stored.pop("arm"))
        return Record(arm=arm, **stored, ranks=ranks, folder=folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, RecursionError, BadZipFile) as error:
        raise InputError(f"{folder}: no finished training ({error})") from error


def _digest(stored: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def load_backbone(record: Record, task: Task) -> Backbone:
    """The trained backbone of a record, in evaluation mode, for inputs of the task's widths."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from class_kit.backbones import backbone_needs, create_backbone

    name, options = record.config["backbone"], record.config["backbone_options"]
    needs = backbone_needs(name, **options)
    widths = task.text_inputs(needs.text).width, task.molecule_inputs(needs.molecules).width
    backbone = create_backbone(name, *widths, **options)
    try:
        backbone.load_state_dict(load_file(record.folder / "model.safetensors"))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{record.folder}: its weights do not fit these encoders or are damaged ({error})") from error
    return backbone.eval()
