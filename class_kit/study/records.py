"""One training and what it leaves: weights, cost, history, and the rank of every held-out pair.

A record's folder holds `model.safetensors`, `ranks.npz` and, written last, `record.json`: where that stands, the rest
does. Everything a table says about a training derives from its per-query ranks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from class_kit.errors import InputError
from class_kit.files import atomic_write, sha256_file, write_json
from class_kit.retrieval import (
    RERANKED,
    Ranks,
    ensemble_ranks,
    per_query_metrics,
    rerank,
    retrieval_ranks,
    retrieval_ranks_both_ways,
    search,
)
from class_kit.study.arms import Arm, plan_arm, training_counts, training_duplicates
from class_kit.study.full_scores import full_scores

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone, Needs
    from class_kit.inputs import Inputs
    from class_kit.task import Task
    from class_kit.training import TrainingConfig

__all__ = [
    "RANKINGS",
    "Arm",
    "Record",
    "first_molecules",
    "load_backbone",
    "plan_arm",
    "rank_ensemble",
    "rank_split",
    "read_record",
    "search_molecules",
    "train_record",
    "training_counts",
    "validation_metrics",
]

_BESIDE = ("model.safetensors", "ranks.npz")
RANKINGS = ("text_to_molecule/split", "text_to_molecule/all", "molecule_to_text/split")


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


def rank_split(
    backbone: Backbone, task: Task, split: str, *, full: bool = True, progress: bool | None = False
) -> dict[str, Ranks]:
    """Rank a split in both directions: in the split's own pool, and text→molecule in the pool of all molecules.

    Where the backbone's full score needs a text and a molecule together, cosines rank the whole pool and the full
    score ranks each query's best 50 again; `full=False` leaves it at cosines.
    """
    from class_kit.training import encode

    rows = task.rows(split)
    own, goals = np.arange(len(rows)), task.targets(split)
    text, molecules = split_inputs(backbone, task, split)
    pool = task.pool_inputs(backbone.inputs.molecules)
    texts, found, everything = (
        encode(backbone, side, inputs)
        for side, inputs in (("text", text), ("molecules", molecules), ("molecules", pool))
    )
    there, back = retrieval_ranks_both_ways(texts, found)
    ranks = {
        "text_to_molecule/split": there,
        "text_to_molecule/all": retrieval_ranks(texts, everything, goals),
        "molecule_to_text/split": back,
    }
    if not (full and backbone.reranks):
        return ranks
    forward, backward = full_scores(backbone, text, molecules), full_scores(backbone, text, molecules, swap=True)
    stages = {
        "text_to_molecule/split": (texts, found, own, forward),
        "text_to_molecule/all": (texts, everything, goals, full_scores(backbone, text, pool)),
        "molecule_to_text/split": (found, texts, own, backward),
    }
    for name, (queries, candidates, targets, scores) in stages.items():
        best, _ = search(queries, candidates, min(RERANKED, len(candidates)))
        ranks[name] = rerank(ranks[name], best, targets, scores, progress=progress)
    return ranks


def rank_ensemble(models: Sequence[tuple[Backbone, Task]], split: str) -> dict[str, Ranks]:
    """Rank a split as `rank_split` does, by the mean of the ranks that each model's cosines give a candidate.

    Each model comes with its own task, since models may read other encoders; the pairs must be the same.
    """
    from class_kit.training import encode

    task = models[0][1]
    sides = []
    for backbone, own in models:
        text, molecules = split_inputs(backbone, own, split)
        pool = own.pool_inputs(backbone.inputs.molecules)
        parts = (("text", text), ("molecules", molecules), ("molecules", pool))
        sides.append([encode(backbone, side, inputs) for side, inputs in parts])
    everyone = np.arange(len(task.rows(split)))
    return {
        "text_to_molecule/split": ensemble_ranks([(texts, found) for texts, found, _ in sides], everyone),
        "text_to_molecule/all": ensemble_ranks([(texts, pool) for texts, _, pool in sides], task.targets(split)),
        "molecule_to_text/split": ensemble_ranks([(found, texts) for texts, found, _ in sides], everyone),
    }


def split_inputs(backbone: Backbone, task: Task, split: str) -> tuple[Inputs, Inputs]:
    """Texts and molecules of a split as the backbone reads them."""
    rows = task.rows(split)
    needs = backbone.inputs
    return task.text_inputs(needs.text, rows), task.molecule_inputs(needs.molecules, rows)


def first_molecules(backbone: Backbone, task: Task, split: str) -> np.ndarray:
    """Which molecule of the split's pool stands first for each of its texts, `(Q,)` int64 positions in the split."""
    from class_kit.training import encode

    text, molecules = split_inputs(backbone, task, split)
    found, _ = search(encode(backbone, "text", text), encode(backbone, "molecules", molecules), 1)
    return found[:, 0]


def search_molecules(backbone: Backbone, task: Task, text: str, top: int) -> list[tuple[int, float]]:
    """Rows of the pool of all molecules that fit a free text best, with their cosines, best first."""
    from class_kit.inputs import read_texts
    from class_kit.training import encode

    inputs = read_texts([text], backbone.inputs.text, task.encoders["text"])
    pool = encode(backbone, "molecules", task.pool_inputs(backbone.inputs.molecules))
    rows, scores = search(encode(backbone, "text", inputs), pool, min(top, len(pool)))
    return [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True)]


def validation_metrics(task: Task, split: str = "validation") -> Callable[[Backbone], Mapping[str, float]]:
    """A function of the backbone for `train(validate=…)`: MRR, the mean of both directions, in the split's pool."""
    from class_kit.training import encode

    rows = task.rows(split)

    @cache
    def inputs(needs: Needs) -> tuple[Inputs, Inputs]:
        return task.text_inputs(needs.text, rows), task.molecule_inputs(needs.molecules, rows)

    def validate(backbone: Backbone) -> Mapping[str, float]:
        text, molecules = inputs(backbone.inputs)
        both = retrieval_ranks_both_ways(encode(backbone, "text", text), encode(backbone, "molecules", molecules))
        return {"mrr": float(np.mean([per_query_metrics(ranks)["mrr"].mean() for ranks in both]))}

    return validate
