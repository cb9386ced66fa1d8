"""Arms × seeds: the curriculum beside its controls, from the same call.

Equal trainings are done once: a record is stored under a digest of everything that decides it (vectors, arm,
settings, seed, and the code that trains and ranks), so notebooks that ask for the same run share it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.errors import InputError
from class_kit.files import sha256_file
from class_kit.places import PACKAGE
from class_kit.progress import progress_bar
from class_kit.retrieval import per_query_metrics
from class_kit.study.records import Arm, Record, read_record, train_record
from class_kit.study.statistics import holm, mean_with_interval, paired_difference

if TYPE_CHECKING:
    import pandas as pd

    from class_kit.task import Task
    from class_kit.training import TrainingConfig

METRICS = ("hits@1", "hits@10", "mrr", "mean_rank")
COSTS = ("samples", "steps", "seconds")

# What decides a training's outcome; a change in any of these must not serve old results.
_DECISIVE = (
    "backbones",
    "training",
    "study/arms",
    "study/records",
    "study/reference",
    "curriculum",
    "difficulty",
    "neighbours",
    "retrieval",
)


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
    jobs: int | None = None,
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
    jobs : int, optional
        Trainings at a time, each in a process of its own; as many as there are cores by default. Each training has its
        own thread count (`config.threads`), so their number changes no result.

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
        raise InputError(f"arms {names} and seeds {seeds}: expected names and seeds that differ")
    if not seeds or not arms:
        raise InputError(f"{len(arms)} arms and {len(seeds)} seeds: expected at least one of each")
    todo = [(arm, replace(config, seed=seed)) for seed in seeds for arm in arms]
    stored = [_stored(task, arm, chosen) for arm, chosen in todo]
    new = [work for work, found in zip(todo, stored, strict=True) if found is None]
    disable = None if progress is None else not progress
    with progress_bar(total=len(new), desc="trainings", unit="run", disable=disable) as bar:
        trained = iter(_train_all(task, new, jobs, bar))
        records = [found if found is not None else next(trained) for found in stored]
    return sorted(records, key=lambda record: (names.index(record.arm.name), record.seed))


def run_arm(task: Task, arm: Arm, config: TrainingConfig) -> Record:
    """One training and its ranks, from the store where an equal one has been done."""
    found = _stored(task, arm, config)
    if found is not None:
        return found
    folder = _folder(task, arm, config)
    # Moved into place when complete, so that two processes with the same training never meet in one folder.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as unfinished:
        place = Path(unfinished) / "training"
        train_record(task, arm, config, place, reference=reference_scores(task, arm, config))
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            place.rename(folder)
    return replace(read_record(folder), arm=arm)


def reference_scores(task: Task, arm: Arm, config: TrainingConfig) -> np.ndarray | None:
    """What a plain training with the same settings says of the training pairs, `(L_train,)`, where the arm asks for it.

    For the difficulties "loss" and "rank"; None for all others. The plain training is stored like any other.
    """
    from class_kit.study.records import load_backbone
    from class_kit.study.reference import SCORES, pair_losses, pair_ranks

    if arm.difficulty not in SCORES:
        return None
    plain = run_arm(task, Arm("reference", order="standard", intensity="constant"), config)
    backbone = load_backbone(plain, task)
    if arm.difficulty == "rank":
        return pair_ranks(backbone, task)
    return pair_losses(backbone, task, config.batch_size, config.seed)


def _train_all(task: Task, work: Sequence[tuple[Arm, TrainingConfig]], jobs: int | None, bar: Any) -> list[Record]:
    """Train in parallel processes; one alone, or with `jobs=1`, stays in this one."""
    from joblib import Parallel, cpu_count, delayed

    jobs = min(jobs or cpu_count(), len(work))
    runs = Parallel(n_jobs=jobs, return_as="generator") if jobs > 1 else None
    found = []
    todo = (
        runs(delayed(run_arm)(task, arm, config) for arm, config in work)
        if runs is not None
        else (run_arm(task, arm, config) for arm, config in work)
    )
    for record in todo:
        found.append(record)
        bar.update(1)
    return found


def _folder(task: Task, arm: Arm, config: TrainingConfig) -> Path:
    from class_kit.cache import cache_folder

    return cache_folder() / "trainings" / _key(task, arm, config)


def _stored(task: Task, arm: Arm, config: TrainingConfig) -> Record | None:
    folder = _folder(task, arm, config)
    if not (folder / "record.json").is_file():
        return None
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


def summary(
    records: Sequence[Record], ranking: str = "text_to_molecule/split", *, confidence: float = 0.95
) -> pd.DataFrame:
    """One row per arm: each metric with an interval over queries and seeds, the pool, and what the training cost.

    Columns: ranking, pool, arm, seeds, `<metric>`, `<metric>_low`, `<metric>_high` for hits@1, hits@10, mrr and
    mean_rank, and those of `costs`.
    """
    import pandas as pd

    rows = []
    for arm, found in _by_arm(records).items():
        row: dict[str, Any] = {
            "ranking": ranking,
            "pool": found[0].ranks[ranking].pool,
            "arm": arm,
            "seeds": len(found),
        }
        for metric in METRICS:
            estimate = mean_with_interval(_scores(found, ranking, metric), confidence)
            row |= {metric: estimate.mean, f"{metric}_low": estimate.low, f"{metric}_high": estimate.high}
        rows.append(row)
    return pd.DataFrame(rows).merge(costs(records), on="arm")


def differences(
    records: Sequence[Record],
    reference: str,
    ranking: str = "text_to_molecule/split",
    metric: str = "hits@1",
    *,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Each other arm minus the `reference`, query by query, with interval and p value (Holm-corrected over the arms).

    Columns: ranking, metric, arm, reference, difference, difference_low, difference_high, p, p_holm. For mean_rank a
    negative difference is the better one.

    Raises
    ------
    ValueError
        If no arm is called `reference`, there is no other arm, or the metric is unknown.
    """
    import pandas as pd

    arms = _by_arm(records)
    if metric not in METRICS:
        raise InputError(f"metric={metric!r}: expected one of {', '.join(METRICS)}")
    if reference not in arms or len(arms) < 2:
        raise InputError(f"reference={reference!r}: expected one of several arms, there are {', '.join(arms)}")
    base = arms.pop(reference)
    rows = []
    for arm, found in arms.items():
        shared = [record.seed for record in found] == [record.seed for record in base]
        scores = (_scores(found, ranking, metric), _scores(base, ranking, metric))
        gap = paired_difference(*scores, shared_seeds=shared, confidence=confidence)
        row = {"ranking": ranking, "metric": metric, "arm": arm, "reference": reference, "difference": gap.effect}
        rows.append(row | {"difference_low": gap.low, "difference_high": gap.high, "p": gap.p})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].to_numpy()))


def costs(records: Sequence[Record]) -> pd.DataFrame:
    """One row per arm: samples, steps and training seconds (mean over seeds), and shares of the dearest arm's.

    Seconds are those of the training steps alone, as measured when the training was done; validation is not in them.
    """
    import pandas as pd

    rows = [
        {"arm": arm} | {name: float(np.mean([getattr(record, name) for record in found])) for name in COSTS}
        for arm, found in _by_arm(records).items()
    ]
    table = pd.DataFrame(rows)
    table["share"] = table["samples"] / table["samples"].max()
    table["time share"] = table["seconds"] / table["seconds"].max()
    return table


def _by_arm(records: Sequence[Record]) -> dict[str, list[Record]]:
    if not records:
        raise InputError("no records: expected at least one training")
    arms: dict[str, list[Record]] = {}
    for record in records:
        arms.setdefault(record.arm.name, []).append(record)
    return arms


def _scores(records: Sequence[Record], ranking: str, metric: str) -> np.ndarray:
    """Metric of each query under each seed, `(S, Q)`."""
    if ranking not in records[0].ranks:
        raise InputError(f"ranking={ranking!r}: expected one of {', '.join(records[0].ranks)}")
    return np.stack([per_query_metrics(record.ranks[ranking])[metric] for record in records])


def _key(task: Task, arm: Arm, config: TrainingConfig) -> str:
    text = json.dumps({"arm": arm.decides, "config": asdict(config)}, sort_keys=True) + task.digest + _code_digest()
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@cache
def _code_digest() -> str:
    files = [path for name in _DECISIVE for path in sorted(PACKAGE.glob(f"{name}/*.py")) or [PACKAGE / f"{name}.py"]]
    return hashlib.sha256("".join(sha256_file(path) for path in files).encode()).hexdigest()
