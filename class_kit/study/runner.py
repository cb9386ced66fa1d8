"""Train arms with several seeds in parallel processes, store every training, and record those that fail.

A training is stored under a digest of all that determines it (vectors, arm, settings, seed, the kit's code and the
libraries that compute, a user's own backbone), so equal trainings are done once, and a study that was stopped
continues. A training for a user's own folder (`train_in`) is kept only there.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import secrets
import shutil
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.errors import InputError
from class_kit.files import json_digest, kit_state, lock, scratch_folder, turn, write_json, write_text
from class_kit.options import Arm, TaskOptions, TrainingConfig
from class_kit.progress import progress_bar
from class_kit.retrieval import retrieval_metrics
from class_kit.study.records import (
    Record,
    load_backbone,
    load_trained,
    located,
    read_record,
    stored_task,
    train_record,
)
from class_kit.study.reference import pair_errors, pair_losses, pair_ranks

if TYPE_CHECKING:
    from class_kit.task import Task

logger = logging.getLogger(__name__)

Work = tuple["Task", Arm, TrainingConfig]


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

    Equal trainings are done once. If a process dies (killed, or out of memory), its training is a failure as well; the
    trainings that ran beside it are repeated, each in its own process.
    """
    keys = [_key(*item) for item in work]
    distinct = dict(zip(keys, work, strict=True))
    stored = {key: stored_record(*item) for key, item in distinct.items()}
    outcomes: dict[str, Record | Failure] = {key: record for key, record in stored.items() if record is not None}
    missing = {key: item for key, item in distinct.items() if key not in outcomes}
    with (
        progress_bar(total=len(missing), desc="trainings", unit="run", show=progress) as bar,
        warnings.catch_warnings(),
    ):
        # joblib replaces a process whose memory has grown, which is harmless
        warnings.filterwarnings("ignore", message="A worker stopped while", category=UserWarning)
        for key, outcome in _outcomes(missing, jobs):
            outcomes[key] = outcome
            bar.update(1)
    # trainings are shared between arms that differ only in their names
    return [replace(outcomes[key], arm=arm) for key, (_, arm, _) in zip(keys, work, strict=True)]


def run_arm(task: Task, arm: Arm, config: TrainingConfig) -> Record:
    """One training and its ranks, from the store if an equal one is there."""
    if (stored := stored_record(task, arm, config)) is not None:
        return replace(stored, arm=arm)
    folder = _folder(task, arm, config)
    # moved into place when complete, so that two processes with the same training never write to one folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with turn(folder.with_name(f".{folder.name}.lock")), scratch_folder(folder.parent, ".unfinished-") as unfinished:
        # another process may have finished it meanwhile
        if stored_record(task, arm, config) is None:
            shutil.rmtree(folder, ignore_errors=True)
            place = unfinished / "training"
            train_record(task, arm, config, place, reference=reference_scores(task, arm, config))
            # without locks it may have finished only now, and its folder be in use
            with suppress(OSError):
                place.rename(folder)
    return replace(read_record(folder), arm=arm)


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
        finished = (folder / "done").exists()
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
        if not finished:
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


def _outcomes(missing: Mapping[str, Work], jobs: int | None) -> Iterator[tuple[str, Record | Failure]]:
    """Train in parallel processes; a single training, or all with `jobs=1`, in this process."""
    from joblib import Parallel, cpu_count, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    from class_kit.store import cache_folder

    jobs = min(jobs or cpu_count(), len(missing))
    if jobs <= 1:
        yield from ((key, _attempt(*item)) for key, item in missing.items())
        return
    caller = os.getpid(), str(cache_folder().absolute()), _own_backbones()
    left = dict(missing)
    try:
        runs = Parallel(n_jobs=jobs, return_as="generator")(
            delayed(_in_process)(caller, *item) for item in missing.values()
        )
        for key, outcome in zip(missing, runs, strict=True):
            del left[key]
            yield key, outcome
    except BrokenProcessPool as error:
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())
        logger.warning("%d of %d trainings are repeated, each in its own process: %s", len(left), len(missing), reason)
        runs = Parallel(n_jobs=jobs, backend="threading", return_as="generator")(
            delayed(_alone)(caller, *item) for item in left.values()
        )
        yield from zip(left, runs, strict=True)


# What a process is given with each training: its caller's id, the store and the user's own backbones. joblib keeps
# processes for later calls, so what they were started with may be out of date.
_Caller = tuple[int, str, Mapping[str, Any]]


def _alone(caller: _Caller, task: Task, arm: Arm, config: TrainingConfig) -> Record | Failure:
    """One training in a process of its own."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    with ProcessPoolExecutor(max_workers=1) as executor:
        try:
            return executor.submit(_in_process, caller, task, arm, config).result()
        except BrokenProcessPool as error:
            reason = f"its process died, perhaps killed or out of memory: {error}"
            return Failure(arm, config.seed, " ".join(reason.split()))


def _in_process(caller: _Caller, task: Task, arm: Arm, config: TrainingConfig) -> Record | Failure:
    from class_kit import backbones

    process, store, own = caller
    _end_with(process)
    os.environ["CLASS_KIT_CACHE"] = store
    backbones._REGISTERED.update(own)
    return _attempt(task, arm, config)


def _attempt(task: Task, arm: Arm, config: TrainingConfig) -> Record | Failure:
    try:
        return run_arm(task, arm, config)
    except Exception:
        return Failure(arm, config.seed, traceback.format_exc())


@cache
def _end_with(caller: int) -> None:
    """End this process when the one that started it has died; otherwise it would go on training for nobody."""

    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(2)
        os._exit(1)

    # a worker of a cluster has another parent, which manages it
    if os.getppid() == caller:
        threading.Thread(target=watch, name="watch", daemon=True).start()


def _folder(task: Task, arm: Arm, config: TrainingConfig) -> Path:
    from class_kit.store import cache_folder

    return cache_folder() / "trainings" / _key(task, arm, config)


def _key(task: Task, arm: Arm, config: TrainingConfig) -> str:
    # the settings may also name a backbone of the user's own among a wrapper's options
    text = json.dumps([config.backbone, config.backbone_options], default=str)
    sources = [_source(kind) for name, kind in sorted(_own_backbones().items()) if f'"{name}"' in text]
    return json_digest([arm.training_key, asdict(config), task.digest, code_digest(), sources])[:32]


def code_digest() -> str:
    """SHA-256 over the kit's code and the versions of its libraries; trainings are shared only within one version."""
    return json_digest(kit_state())


def _own_backbones() -> dict[str, Any]:
    """The user's own backbones, with their sources: in another process a class from a notebook has none."""
    from class_kit import backbones

    own = {name: kind for name, kind in backbones._REGISTERED.items() if name not in backbones._MODULES}
    for kind in own.values():
        _source(kind)
    return own


def _source(kind: Any) -> str:
    """The source of a class, kept with it."""
    if "_kit_source" not in vars(kind):
        try:
            kind._kit_source = inspect.getsource(kind)
        except (OSError, TypeError):
            # without its source a changed class looks the same, so its trainings are never taken from the store
            kind._kit_source = secrets.token_hex(16)
    return str(kind._kit_source)
