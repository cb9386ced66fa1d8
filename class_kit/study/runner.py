"""Train arms with several seeds in parallel processes, store every training, and record those that fail.

A training is stored under a digest of all that determines it (vectors, arm, settings, seed, the kit's code and the
libraries that compute, a user's own backbone), so equal trainings are done once, and a study that was stopped
continues. A training for a user's own folder (`train_in`) is kept only there.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.errors import InputError
from class_kit.files import json_digest, kit_state, lock, turn, write_json, write_text
from class_kit.options import Arm, TaskOptions, TrainingConfig
from class_kit.progress import progress_bar
from class_kit.retrieval import retrieval_metrics
from class_kit.store import cache_folder
from class_kit.study.ranking import pair_errors, pair_losses, pair_ranks
from class_kit.study.records import (
    Record,
    load_backbone,
    load_trained,
    located,
    read_record,
    stored_task,
    train_record,
)

if TYPE_CHECKING:
    import numpy as np

    from class_kit.backbones.base import Backbone
    from class_kit.task import Task

logger = logging.getLogger(__name__)

Work = tuple["Task", Arm, TrainingConfig]
# What a process is given with each training, since it may have been started for an earlier call: the store, and the
# user's own backbones with their sources.
_Caller = tuple[str, Mapping[str, tuple[Any, str]]]


@dataclass(frozen=True)
class Failure:
    """A training that failed: its arm and seed, and the traceback or how its process ended."""

    arm: Arm
    seed: int
    reason: str

    @property
    def cause(self) -> str:
        """The last line of the reason."""
        return self.reason.strip().splitlines()[-1]

    @property
    def summary(self) -> str:
        """Arm, seed and cause."""
        return f"{self.arm.name}, seed {self.seed}: {self.cause}"


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
        Trainings at a time, each in its own process; by default one per core. Each has its own number of threads
        (`config.threads`), so `jobs` changes no result.

    Returns
    -------
    list of Record
        By arm, in the order given, then by seed.

    Raises
    ------
    ValueError
        For no arm, no seed, or two arms of one name.
    RuntimeError
        After all others have finished, if some failed; it lists them, with the traceback of the first.
    """
    seeds = list(seeds)
    names = [arm.name for arm in arms]
    if any(not some or len(set(some)) != len(some) for some in (names, seeds)):
        raise InputError(f"arms {names} and seeds {seeds}: expected at least one of each, and each once")
    outcomes = run_all([(task, arm, replace(config, seed=seed)) for seed in seeds for arm in arms], jobs, progress)
    if failures := [outcome for outcome in outcomes if isinstance(outcome, Failure)]:
        lines = "\n".join(f"  {failure.summary}" for failure in failures)
        raise RuntimeError(
            f"{len(failures)} of {len(outcomes)} trainings failed; the others are finished and stored, and the next "
            f"call trains only these:\n{lines}\nThe first one:\n{failures[0].reason}"
        )
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    return sorted(records, key=lambda record: (names.index(record.arm.name), record.seed))


def run_all(work: Sequence[Work], jobs: int | None = None, progress: bool | None = None) -> list[Record | Failure]:
    """The outcome of every training, in the order given; one that fails stops no other.

    Equal trainings are done once. If a process dies (killed, or out of memory), all that were being trained are
    failures, since joblib does not say which process it was; the next call trains them again.
    """
    from joblib import Parallel, cpu_count, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    keys = [_key(*item) for item in work]
    distinct = dict(zip(keys, work, strict=True))
    stored = {key: stored_record(*item) for key, item in distinct.items()}
    outcomes: dict[str, Record | Failure] = {key: record for key, record in stored.items() if record is not None}
    # pickling by name leaves out a class's source
    own = {name: (kind, kind.source) for name, kind in _own_backbones().items()}
    caller, jobs = (str(cache_folder().absolute()), own), jobs or cpu_count()
    with (
        progress_bar(total=len(distinct) - len(outcomes), desc="trainings", unit="run", show=progress) as bar,
        warnings.catch_warnings(),
    ):
        # joblib replaces a process whose memory has grown, which is harmless
        warnings.filterwarnings("ignore", message="A worker stopped while", category=UserWarning)
        while missing := [key for key in distinct if key not in outcomes]:
            tasks = (delayed(_attempt)(caller, *distinct[key]) for key in missing)
            try:
                runs = Parallel(n_jobs=min(jobs, len(missing)), return_as="generator")(tasks)
                for key, outcome in zip(missing, runs, strict=True):
                    outcomes[key] = outcome
                    bar.update(1)
            except BrokenProcessPool as error:
                reason = " ".join(f"a process died, perhaps killed or out of memory: {error}".split())
                for key in [key for key in missing if key not in outcomes][:jobs]:
                    _, arm, config = distinct[key]
                    outcomes[key] = stored_record(*distinct[key]) or Failure(arm, config.seed, reason)
    # trainings are shared between arms that differ only in their names
    return [replace(outcomes[key], arm=arm) for key, (_, arm, _) in zip(keys, work, strict=True)]


def run_arm(task: Task, arm: Arm, config: TrainingConfig) -> Record:
    """One training and its ranks, from the store if an equal one is there."""
    folder = _folder(task, arm, config)
    with turn(folder.with_name(f".{folder.name}.lock")):
        record = stored_record(task, arm, config) or train_record(
            task, arm, config, folder, reference=reference_scores(task, arm, config)
        )
    return replace(record, arm=arm)


def train_in(
    folder: Path,
    options: TaskOptions,
    arm: Arm,
    config: TrainingConfig,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> tuple[Record, Task, dict[str, Any]]:
    """Load the pairs, train, rank the held-out pairs and write all of it to a folder, locked against other processes.

    Parameters
    ----------
    resume : bool
        Continue an interrupted training; a finished one is only read.
    say : callable
        Called with each note about the pairs.

    Returns
    -------
    record, task, metrics
        The metrics by the name of the ranking, as `retrieval_metrics` gives them.

    Raises
    ------
    InputError
        If the folder holds another training, or this one and `resume` is not set.
    """
    from class_kit.task import load_task

    options = located(options)
    with lock(folder):
        finished = (folder / "record.json").exists()
        if not resume and (finished or (folder / "checkpoint.safetensors").exists()):
            held = "a finished training;" if finished else "an unfinished training; --resume continues it, or"
            raise InputError(f"{folder}: holds {held} choose another --out")
        if finished:
            record, task = load_trained(folder)
            was = {"arm": record.arm, "config": TrainingConfig(**record.config), "task": stored_task(folder)[0]}
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
        write_json(folder / "metrics.json", {"split": task.evaluation_split, "metrics": metrics})
        write_text(folder / "done", "finished\n")
    return record, task, metrics


def stored_record(task: Task, arm: Arm, config: TrainingConfig) -> Record | None:
    """The record of an equal training, None if the store has none; its arm may have another name."""
    folder = _folder(task, arm, config)
    if not (folder / "record.json").is_file():
        return None
    try:
        return read_record(folder)
    except InputError as error:
        logger.warning("a stored training is damaged and will be repeated: %s", error)
        return None


def reference_scores(task: Task, arm: Arm, config: TrainingConfig) -> np.ndarray | None:
    """Loss, rank or EL2N of the training pairs, `(L_train,)`, under standard training with the same settings.

    For the difficulties "loss", "rank" and "el2n"; None for all others. The standard training is stored like any other.
    """
    if arm.difficulty not in ("loss", "rank", "el2n"):
        return None
    backbone = load_backbone(run_arm(task, Arm("reference", order="standard", intensity="constant"), config), task)
    if arm.difficulty == "rank":
        return pair_ranks(backbone, task)
    measure = pair_errors if arm.difficulty == "el2n" else pair_losses
    return measure(backbone, task, config.batch_size, config.seed)


def _attempt(caller: _Caller, task: Task, arm: Arm, config: TrainingConfig) -> Record | Failure:
    from class_kit import backbones

    store, own = caller
    if str(cache_folder().absolute()) != store:
        os.environ["CLASS_KIT_CACHE"] = store
    for name, (kind, source) in own.items():
        kind.source = source
        backbones._REGISTERED[name] = kind
    try:
        return run_arm(task, arm, config)
    except Exception:
        return Failure(arm, config.seed, traceback.format_exc())


def _folder(task: Task, arm: Arm, config: TrainingConfig) -> Path:
    return cache_folder() / "trainings" / _key(task, arm, config)


def _key(task: Task, arm: Arm, config: TrainingConfig) -> str:
    # the settings may also name a backbone of the user's own among a wrapper's options
    text = json.dumps([config.backbone, config.backbone_options], default=str)
    sources = [kind.source for name, kind in sorted(_own_backbones().items()) if f'"{name}"' in text]
    return json_digest([arm.training_key, asdict(config), task.digest, code_digest(), sources])[:32]


def _own_backbones() -> dict[str, type[Backbone]]:
    """Backbones that the user has registered."""
    from class_kit import backbones

    return {name: kind for name, kind in backbones._REGISTERED.items() if name not in backbones._MODULES}


def code_digest() -> str:
    """SHA-256 over the kit's code and the versions of its libraries; trainings are shared only within one version."""
    return json_digest(kit_state())
