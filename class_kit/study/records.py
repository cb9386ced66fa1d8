"""One training and what it leaves: weights, cost, history, and the rank of every held-out pair.

A record's folder holds `model.safetensors`, `ranks.npz` and, written last, `record.json`: where that stands, the rest
does. Everything a table says about a training derives from its per-query ranks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.curriculum import LinearSchedule
from class_kit.curriculum.controls import ORDERS, make_plan
from class_kit.difficulty import difficulty_order
from class_kit.errors import InputError
from class_kit.files import atomic_write, write_json
from class_kit.neighbours import neighbour_counts
from class_kit.retrieval import Ranks, per_query_metrics, retrieval_ranks, search

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone
    from class_kit.curriculum import Plan
    from class_kit.task import Task
    from class_kit.training import TrainingConfig

RANKINGS = ("text_to_molecule/split", "text_to_molecule/all", "molecule_to_text/split")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes
    ----------
    name : str
        How tables and figures call it.
    order : "curriculum", "anti-curriculum", "random" or "standard"
        Which pairs come first: easiest, hardest, any (each with the schedule), or all in every epoch.
    start, growth : float
        α and β of λ_k = α + β·k; without meaning for "standard".
    intensity : str
        γ_k by name: "sigmoid", "inverse", "constant", "linear" or "cosine"; "standard" always has γ = 1.
    sigma : float
        Threshold of the neighbour count that orders the pairs.
    step_matched : bool
        Keep the number of optimiser steps of the schedule, but draw them from all pairs ("standard" only).
    """

    name: str
    order: str = "curriculum"
    start: float = 0.40
    growth: float = 0.03
    intensity: str = "inverse"
    sigma: float = 0.95
    step_matched: bool = False

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"order={self.order!r}: expected one of {', '.join(ORDERS)}")
        if self.step_matched and self.order != "standard":
            raise InputError(f"step_matched with order={self.order!r}: only 'standard' can be matched to a schedule")


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


def plan_arm(arm: Arm, counts: np.ndarray, epochs: int, batch_size: int, seed: int) -> Plan:
    """The epoch plan of an arm over pairs with neighbour counts `counts` `(L,)`.

    The seed decides ties, the random order and the shuffling within epochs, so that intervals over seeds include
    what the tie rule contributes.
    """
    order = difficulty_order(counts, ties="shuffle", seed=seed)
    schedule = LinearSchedule(start=arm.start, growth=arm.growth)
    kind = "step-matched" if arm.step_matched else arm.order
    return make_plan(kind, order, schedule, arm.intensity, seed, epochs, batch_size=batch_size)


def training_counts(task: Task, sigma: float) -> np.ndarray:
    """N_i of the training pairs among the training pairs, `(L_train,)` int64."""
    rows = task.rows("train")
    return neighbour_counts(task.t[rows], task.m[rows], sigma=sigma)


def train_record(
    task: Task,
    arm: Arm,
    config: TrainingConfig,
    folder: str | os.PathLike[str],
    *,
    checkpoints: bool = False,
    resume: bool = False,
    progress: bool | None = False,
) -> Record:
    """Train one arm on the task's training pairs, rank its held-out pairs, and leave the record in `folder`.

    Parameters
    ----------
    checkpoints, resume : bool
        Write a checkpoint each epoch, and continue from one that is there.
    """
    from safetensors.torch import save_file

    from class_kit.training import train

    folder = Path(folder)
    rows = task.rows("train")
    counts = training_counts(task, arm.sigma) if arm.order != "standard" else np.zeros(len(rows), np.int64)
    plan = plan_arm(arm, counts, config.epochs, config.batch_size, config.seed)
    result = train(
        config,
        plan,
        task.t[rows],
        task.m[rows],
        validate=validation_metrics(task) if "validation" in task.pairs.split else None,
        folder=folder if checkpoints else None,
        resume=resume,
        progress=progress,
    )
    with atomic_write(folder / "model.safetensors") as temporary:
        save_file({name: value.cpu().contiguous() for name, value in result.backbone.state_dict().items()}, temporary)
    arrays: dict[str, Any] = {}
    for name, found in rank_split(result.backbone, task, task.evaluation_split).items():
        arrays |= {f"{name}/greater": found.greater, f"{name}/equal": found.equal, f"{name}/pool": found.pool}
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
    }
    write_json(folder / "record.json", stored)
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
        with np.load(folder / "ranks.npz", allow_pickle=False) as arrays:
            ranks = {
                name: Ranks(arrays[f"{name}/greater"], arrays[f"{name}/equal"], int(arrays[f"{name}/pool"]))
                for name in RANKINGS
            }
        arm = Arm(**stored.pop("arm"))
        return Record(arm=arm, **stored, ranks=ranks, folder=folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: no finished training ({error})") from error


def load_backbone(record: Record, task: Task) -> Backbone:
    """The trained backbone of a record, in evaluation mode, for inputs of the task's widths."""
    from safetensors.torch import load_file

    from class_kit.backbones import create_backbone

    options = record.config["backbone_options"]
    backbone = create_backbone(record.config["backbone"], task.t.shape[1], task.m.shape[1], **options)
    try:
        backbone.load_state_dict(load_file(record.folder / "model.safetensors"))
    except (OSError, RuntimeError) as error:
        raise InputError(f"{record.folder}: its weights do not fit these encoders or are damaged ({error})") from error
    return backbone.eval()


def rank_split(backbone: Backbone, task: Task, split: str) -> dict[str, Ranks]:
    """Rank a split in both directions: in the split's own pool, and text→molecule in the pool of all molecules."""
    from class_kit.training import encode

    rows = task.rows(split)
    texts = encode(backbone, "text", task.t[rows])
    molecules = encode(backbone, "molecules", task.m[rows])
    everything = encode(backbone, "molecules", task.pool)
    own = np.arange(len(rows))
    return {
        "text_to_molecule/split": retrieval_ranks(texts, molecules, own),
        "text_to_molecule/all": retrieval_ranks(texts, everything, task.targets(split)),
        "molecule_to_text/split": retrieval_ranks(molecules, texts, own),
    }


def first_molecules(backbone: Backbone, task: Task, split: str) -> np.ndarray:
    """Which molecule of the split's pool stands first for each of its texts, `(Q,)` int64 positions in the split."""
    from class_kit.training import encode

    rows = task.rows(split)
    found, _ = search(encode(backbone, "text", task.t[rows]), encode(backbone, "molecules", task.m[rows]), 1)
    return found[:, 0]


def validation_metrics(task: Task, split: str = "validation") -> Callable[[Backbone], Mapping[str, float]]:
    """A function of the backbone for `train(validate=…)`: MRR, the mean of both directions, in the split's pool."""
    from class_kit.training import encode

    rows = task.rows(split)
    own = np.arange(len(rows))

    def validate(backbone: Backbone) -> Mapping[str, float]:
        texts = encode(backbone, "text", task.t[rows])
        molecules = encode(backbone, "molecules", task.m[rows])
        both = (retrieval_ranks(texts, molecules, own), retrieval_ranks(molecules, texts, own))
        return {"mrr": float(np.mean([per_query_metrics(ranks)["mrr"].mean() for ranks in both]))}

    return validate
