"""Arms × seeds: the curriculum beside its controls, from the same call.

An arm is a way to train; its record holds the per-query ranks on held-out pairs, and every table derives from those.
Equal trainings are done once: a record is stored under a digest of everything that decides it (vectors, arm,
settings, seed, and the code that trains and ranks), so notebooks that ask for the same run share it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.controls import make_plan
from class_kit.curriculum import LinearSchedule
from class_kit.difficulty import difficulty_order
from class_kit.files import atomic_write, sha256_file, write_json
from class_kit.neighbours import neighbour_counts
from class_kit.progress import progress_bar
from class_kit.retrieval import Ranks, per_query_metrics, retrieval_ranks

if TYPE_CHECKING:
    import pandas as pd

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
        γ_k by name: "sigmoid", "inverse" or "constant".
    sigma : float
        Threshold of the neighbour count that orders the pairs.
    step_matched : bool
        Keep the number of optimiser steps of the schedule, but draw them from all pairs.
    """

    name: str
    order: str = "curriculum"
    start: float = 0.40
    growth: float = 0.03
    intensity: str = "inverse"
    sigma: float = 0.95
    step_matched: bool = False


def standard_arms(
    start: float = 0.40, growth: float = 0.03, intensity: str = "inverse", sigma: float = 0.95
) -> list[Arm]:
    """CLASS with the controls it has to beat: more budget, the same budget, and the same budget in any order.

    Wu, Dyer and Neyshabur (ICLR 2021) found that most of what a curriculum gives is given by the last two.
    """
    common: dict[str, Any] = {"start": start, "growth": growth, "sigma": sigma}
    return [
        Arm("baseline", order="standard", intensity="constant", **common),
        Arm("CLASS", order="curriculum", intensity=intensity, **common),
        Arm("random order", order="random", intensity=intensity, **common),
        Arm("step-matched", order="standard", intensity="constant", step_matched=True, **common),
    ]


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


def run_arms(
    task: Task,
    arms: Sequence[Arm],
    config: TrainingConfig,
    seeds: Iterable[int],
    *,
    progress: bool | None = None,
) -> list[Record]:
    """Train every arm with every seed (or take the stored record) and rank the held-out pairs.

    Parameters
    ----------
    task : Task
        Trained on its `train` rows, selected on `validation` (where there is one), evaluated on `test`.
    arms : sequence of Arm
        Names must differ.
    config : TrainingConfig
        Its seed is replaced by each of `seeds`.
    """
    seeds = list(seeds)
    names = [arm.name for arm in arms]
    if len(set(names)) != len(names):
        raise ValueError(f"arms {names}: expected names that differ")
    if not seeds or not arms:
        raise ValueError(f"{len(arms)} arms and {len(seeds)} seeds: expected at least one of each")
    todo = [(arm, seed) for seed in seeds for arm in arms]
    disable = None if progress is None else not progress
    with progress_bar(total=len(todo), desc="trainings", unit="run", disable=disable) as bar:
        records = []
        for arm, seed in todo:
            records.append(run_arm(task, arm, replace(config, seed=seed)))
            bar.update(1)
    return sorted(records, key=lambda record: (names.index(record.arm.name), record.seed))


def run_arm(task: Task, arm: Arm, config: TrainingConfig) -> Record:
    """One training and its ranks, from the store where an equal one has been done."""
    from class_kit.cache import cache_folder

    folder = cache_folder() / "trainings" / _key(task, arm, config)
    if (folder / "record.json").is_file():
        stored = read_record(folder)
        # The name of an arm decides nothing, so runs are shared between notebooks that name them differently.
        return replace(stored, arm=arm)
    shutil.rmtree(folder, ignore_errors=True)
    return _train_and_store(task, arm, config, folder)


def read_record(folder: Path) -> Record:
    """Read a record that `run_arm` stored."""
    stored = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    with np.load(folder / "ranks.npz", allow_pickle=False) as arrays:
        ranks = {
            name: Ranks(arrays[f"{name}/greater"], arrays[f"{name}/equal"], int(arrays[f"{name}/pool"]))
            for name in RANKINGS
        }
    stored["arm"] = Arm(**stored["arm"])
    return Record(**stored, ranks=ranks, folder=folder)


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


def validation_metrics(task: Task, split: str = "validation") -> Any:
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


def training_counts(task: Task, sigma: float) -> np.ndarray:
    """N_i of the training pairs among the training pairs, `(L_train,)` int64."""
    rows = task.rows("train")
    return neighbour_counts(task.t[rows], task.m[rows], sigma=sigma)


def history_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row per arm, seed and epoch: the training history with samples and seconds accumulated."""
    import pandas as pd

    frames = []
    for record in records:
        frame = pd.DataFrame(record.history)
        frame.insert(0, "seed", record.seed)
        frame.insert(0, "arm", record.arm.name)
        frame["samples_seen"] = frame["rows"].cumsum()
        frame["seconds_spent"] = frame["seconds"].cumsum()
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _train_and_store(task: Task, arm: Arm, config: TrainingConfig, folder: Path) -> Record:
    from safetensors.torch import save_file

    from class_kit.training import train

    rows = task.rows("train")
    counts = training_counts(task, arm.sigma) if arm.order != "standard" else np.zeros(len(rows), np.int64)
    plan = plan_arm(arm, counts, config.epochs, config.batch_size, config.seed)
    validate = validation_metrics(task) if "validation" in task.pairs.split else None
    result = train(config, plan, task.t[rows], task.m[rows], validate=validate, progress=False)
    ranks = rank_split(result.backbone, task, task.evaluation_split)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "model.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in result.backbone.state_dict().items()}, temporary)
    with atomic_write(folder / "ranks.npz") as temporary, open(temporary, "wb") as file:
        arrays: dict[str, Any] = {}
        for name, found in ranks.items():
            arrays |= {f"{name}/greater": found.greater, f"{name}/equal": found.equal, f"{name}/pool": found.pool}
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
    # The record is written last: where it stands, everything else does.
    write_json(folder / "record.json", stored)
    return read_record(folder)


def _key(task: Task, arm: Arm, config: TrainingConfig) -> str:
    what = {"arm": {**asdict(arm), "name": ""}, "config": asdict(config)}
    if arm.order == "standard":
        # Nothing is ordered, so σ decides nothing; without step matching neither does the schedule.
        what["arm"] |= {"sigma": 0} if arm.step_matched else {"sigma": 0, "start": 0, "growth": 0}
    text = json.dumps(what, sort_keys=True) + task.digest + _code_digest()
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@cache
def _code_digest() -> str:
    """Digest of the modules that decide a training's outcome: a changed loop must not serve old results."""
    here = Path(__file__).parent
    names = ("training", "study", "curriculum", "controls", "schedules", "intensity", "difficulty", "neighbours")
    files = [here / f"{name}.py" for name in names] + sorted((here / "backbones").glob("*.py"))
    return hashlib.sha256("".join(sha256_file(path) for path in files).encode()).hexdigest()
