"""Arms × seeds through processes: stored where an equal training was done, recorded where one fails.

A training is stored under a digest of everything it follows from (vectors, arm, settings, seed, the kit's code and the
libraries that compute, a user's own backbone), so whoever asks for the same run shares it, and a study that was stopped
continues. A training for a user's own folder (`train_in`) is kept there alone.
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
from class_kit.files import json_digest, kit_state, lock, scratch_folder, write_json, write_text
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
    """A training that did not finish: whose it was, and the traceback or what became of its process."""

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


class FailedTrainings(RuntimeError):
    """Some trainings failed; the others are finished and stored, and asking again does the failed ones only.

    `failures` lists them with their tracebacks.
    """

    def __init__(self, failures: Sequence[Failure], finished: int) -> None:
        self.failures = tuple(failures)
        lines = "\n".join(f"  {failure.summary}" for failure in failures)
        super().__init__(
            f"{len(failures)} of {len(failures) + finished} trainings failed; the others are finished and stored, and "
            f"asking again does these only:\n{lines}\nThe first one:\n{failures[0].reason}"
        )


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
    FailedTrainings
        After all others have finished, where some failed.
    """
    seeds = list(seeds)
    names = [arm.name for arm in arms]
    if any(not some or len(set(some)) != len(some) for some in (names, seeds)):
        raise InputError(f"arms {names} and seeds {seeds}: expected at least one of each, and each once")
    outcomes = run_all([(task, arm, replace(config, seed=seed)) for seed in seeds for arm in arms], jobs, progress)
    if failures := [outcome for outcome in outcomes if isinstance(outcome, Failure)]:
        raise FailedTrainings(failures, len(outcomes) - len(failures))
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    return sorted(records, key=lambda record: (names.index(record.arm.name), record.seed))


def run_all(work: Sequence[Work], jobs: int | None = None, progress: bool | None = None) -> list[Record | Failure]:
    """The outcome of every training, in the order given; one that fails stops no other.

    Equal trainings are done once. A training whose process dies (killed, or out of memory) is a failure as well: those
    that were under way beside it are done again, each in a process of its own.
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
        # joblib replaces a process whose memory has grown. Nothing is lost by it, though it sounds like a fault.
        warnings.filterwarnings("ignore", message="A worker stopped while", category=UserWarning)
        for key, outcome in _outcomes(missing, jobs):
            outcomes[key] = outcome
            bar.update(1)
    # The name of an arm changes nothing, so runs are shared between those who name them differently.
    return [replace(outcomes[key], arm=arm) for key, (_, arm, _) in zip(keys, work, strict=True)]


def run_arm(task: Task, arm: Arm, config: TrainingConfig) -> Record:
    """One training and its ranks, from the store where an equal one has been done."""
    if (stored := stored_record(task, arm, config)) is not None:
        return replace(stored, arm=arm)
    folder = _folder(task, arm, config)
    # Moved into place when complete, so that two processes with the same training never meet in one folder.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder.parent, ".unfinished-") as unfinished:
        place = unfinished / "training"
        train_record(task, arm, config, place, reference=reference_scores(task, arm, config))
        # what another process finished meanwhile is as good, and may be in use
        if stored_record(task, arm, config) is None:
            shutil.rmtree(folder, ignore_errors=True)
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
    """Load the pairs, train, rank the held-out pairs and keep all of it in a folder that no other process writes.

    Parameters
    ----------
    resume : bool
        Continue what was interrupted; where it had finished, it is read only.
    say : callable
        Told what is noteworthy about the pairs.

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
    """The record of an equal training, where one has been done; its arm may have another name."""
    folder = _folder(task, arm, config)
    if not (folder / "record.json").is_file():
        return None
    try:
        return read_record(folder)
    except InputError as error:
        logger.warning("a stored training is damaged and is done again: %s", error)
        return None


def reference_scores(task: Task, arm: Arm, config: TrainingConfig) -> np.ndarray | None:
    """What a plain training with the same settings says of the training pairs, `(L_train,)`, where the arm asks for it.

    For the difficulties "loss", "rank" and "el2n"; None for all others. The plain training is stored like any other.
    """
    if arm.difficulty not in ("loss", "rank", "el2n"):
        return None
    plain = run_arm(task, Arm("reference", order="standard", intensity="constant"), config)
    backbone = load_backbone(plain, task)
    if arm.difficulty == "rank":
        return pair_ranks(backbone, task)
    measure = pair_errors if arm.difficulty == "el2n" else pair_losses
    return measure(backbone, task, config.batch_size, config.seed)


def _outcomes(missing: Mapping[str, Work], jobs: int | None) -> Iterator[tuple[str, Record | Failure]]:
    """Train in parallel processes; one alone, or with `jobs=1`, stays in this one."""
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
        told = "%d of %d trainings are left and done each in a process of its own: %s"
        logger.warning(told, len(left), len(missing), reason)
        runs = Parallel(n_jobs=jobs, backend="threading", return_as="generator")(
            delayed(_alone)(caller, *item) for item in left.values()
        )
        yield from zip(left, runs, strict=True)


# What a process has to know of its caller: its number, where the store is, and the backbones registered there.
# Processes are kept for the next call, so what they were born with may be out of date.
_Caller = tuple[int, str, Mapping[str, Any]]


def _alone(caller: _Caller, task: Task, arm: Arm, config: TrainingConfig) -> Record | Failure:
    """One training in a process that nothing else depends on, unless it is stored meanwhile."""
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    with ProcessPoolExecutor(max_workers=1) as executor:
        try:
            return executor.submit(_in_process, caller, task, arm, config).result()
        except BrokenProcessPool as error:
            reason = f"its process died, as one does that is killed or runs out of memory: {error}"
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
    """End this process when the one that started it has died: otherwise it would wait for work for ever."""

    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(2)
        os._exit(1)

    # a worker of a cluster has another parent, whose business it is
    if os.getppid() == caller:
        threading.Thread(target=watch, name="watch", daemon=True).start()


def _folder(task: Task, arm: Arm, config: TrainingConfig) -> Path:
    from class_kit.store import cache_folder

    return cache_folder() / "trainings" / _key(task, arm, config)


def _key(task: Task, arm: Arm, config: TrainingConfig) -> str:
    # a backbone of the user's own counts where the settings name it, as a wrapper's options may
    text = json.dumps([config.backbone, config.backbone_options], default=str)
    sources = [_source(kind) for name, kind in sorted(_own_backbones().items()) if f'"{name}"' in text]
    return json_digest([arm.training_key, asdict(config), task.digest, code_digest(), sources])[:32]


def code_digest() -> str:
    """SHA-256 over the kit's code and the versions of what it runs on; another version shares no training with this."""
    return json_digest(kit_state())


def _own_backbones() -> dict[str, Any]:
    """Backbones that the user registered, each with its source: a class of a notebook has none in another process."""
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
            # nobody can tell whether it is still the same class, so its trainings are never taken from the store
            kind._kit_source = secrets.token_hex(16)
    return str(kind._kit_source)
