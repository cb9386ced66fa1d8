"""Arms × seeds: the curriculum beside its controls, from the same call.

Equal trainings are done once: a record is stored under a digest of everything that decides it (vectors, arm,
settings, seed, and the code that trains and ranks), so notebooks that ask for the same run share it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.files import sha256_file
from class_kit.progress import progress_bar
from class_kit.records import Arm, Record, read_record, train_record

if TYPE_CHECKING:
    import pandas as pd

    from class_kit.task import Task
    from class_kit.training import TrainingConfig

# What decides a training's outcome; a change in any of these must not serve old results.
_DECISIVE = ("training", "records", "curriculum", "controls", "schedules", "intensity", "difficulty", "neighbours")


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

    Returns
    -------
    list of Record
        By arm, in the order given, then by seed.

    Raises
    ------
    ValueError
        For no arm, no seed, or two arms of one name.
    """
    seeds = list(seeds)
    names = [arm.name for arm in arms]
    if len(set(names)) != len(names) or len(set(seeds)) != len(seeds):
        raise ValueError(f"arms {names} and seeds {seeds}: expected names and seeds that differ")
    if not seeds or not arms:
        raise ValueError(f"{len(arms)} arms and {len(seeds)} seeds: expected at least one of each")
    todo = [(arm, seed) for seed in seeds for arm in arms]
    disable = None if progress is None else not progress
    records = []
    with progress_bar(total=len(todo), desc="trainings", unit="run", disable=disable) as bar:
        for arm, seed in todo:
            records.append(run_arm(task, arm, replace(config, seed=seed)))
            bar.update(1)
    return sorted(records, key=lambda record: (names.index(record.arm.name), record.seed))


def run_arm(task: Task, arm: Arm, config: TrainingConfig) -> Record:
    """One training and its ranks, from the store where an equal one has been done."""
    from class_kit.cache import cache_folder

    folder = cache_folder() / "trainings" / _key(task, arm, config)
    if not (folder / "record.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        return train_record(task, arm, config, folder)
    # The name of an arm decides nothing, so runs are shared between notebooks that name them differently.
    return replace(read_record(folder), arm=arm)


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


def _key(task: Task, arm: Arm, config: TrainingConfig) -> str:
    decisive = asdict(arm) | {"name": ""}
    if arm.order == "standard":
        # Nothing is ordered, so σ decides nothing; without step matching neither does the schedule.
        decisive |= {"sigma": 0} if arm.step_matched else {"sigma": 0, "start": 0, "growth": 0}
    text = json.dumps({"arm": decisive, "config": asdict(config)}, sort_keys=True) + task.digest + _code_digest()
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@cache
def _code_digest() -> str:
    here = Path(__file__).parent
    files = [here / f"{name}.py" for name in _DECISIVE] + sorted((here / "backbones").glob("*.py"))
    return hashlib.sha256("".join(sha256_file(path) for path in files).encode()).hexdigest()
