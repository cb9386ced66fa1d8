"""Sweeps: notebooks run once for every combination of some parameters' values, in parallel processes.

A sweep's folder holds a run's folder for each combination under `runs/`, `index.html` with the figures side by side,
`metrics.json` with every run's results and parameters, `sweep.json` with what became of each run, and `done`, written
last and only when all are finished.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.files import lock, plain, write_json, write_text
from class_kit.progress import progress_bar
from class_kit.runs import manifest as facts
from class_kit.runs.folder import SWEEP_RECORD, sweep_folder
from class_kit.runs.notebook_files import Notebook, choose_notebooks
from class_kit.runs.report import write_index
from class_kit.runs.sweep_plan import Combination, plan_combinations, shown_values, sweep_name
from class_kit.runs.sweep_process import Workers, packed, reason
from class_kit.terminal import one_line, visible

_FORMAT = 1


@dataclass
class SweepResult:
    """What a call of `sweep_notebooks` did.

    Attributes
    ----------
    folder : Path
        The sweep's folder.
    status : dict of str to str
        Per combination, by the name of its folder: "finished", "failed", "interrupted" or "missing" (not begun).
    computed : list of str
        Combinations run by this call; the others were finished before.
    """

    folder: Path
    status: dict[str, str] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether every combination is finished."""
        return set(self.status.values()) == {"finished"}

    @property
    def exit_code(self) -> int:
        """0 when all combinations are finished, 130 after Ctrl-C, 1 otherwise."""
        return 130 if {"interrupted", "missing"} & set(self.status.values()) else int(not self.done)


def sweep_notebooks(
    notebooks: Sequence[str | os.PathLike[str]] | None,
    sweeps: Mapping[str, Iterable[Any]],
    parameters: Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    name: str | None = None,
    pairs: str | None = None,
    data: str | os.PathLike[str] | None = None,
    extra: str | os.PathLike[str] | None = None,
    force: bool = False,
    jobs: int | None = None,
    say: Callable[[str], None] | None = None,
) -> SweepResult:
    """Run notebooks once for every combination of swept values and put their figures side by side.

    Every combination is checked before the first kernel starts. Each is a run of its own (see `run_notebooks`) in a
    process of its own: one that fails, or is killed, is recorded and stops no other. Combinations that are finished
    and unchanged are kept, so that the same call does what is missing.

    Parameters
    ----------
    notebooks : sequence of str or path, or None
        Paths or stems; None for all numbered notebooks of the kit.
    sweeps : mapping of str to iterable
        Values for each swept parameter; the combinations are their product, the last parameter varying fastest.
    parameters : mapping, optional
        Values of other parameters, the same in all combinations.
    out : path, optional
        The sweep's folder; `runs/<name>` by default.
    name : str, optional
        The sweep's name; made from the notebook and the parameters by default.
    pairs, data, extra : optional
        The parameters of these names.
    force : bool
        Compute again what is finished.
    jobs : int, optional
        Runs at a time, at least 1; as many as there are cores by default. Each needs the memory of its notebook.
    say : callable, optional
        Receives each line of progress; printed by default.

    Returns
    -------
    SweepResult

    Raises
    ------
    InputError
        For what `run_notebooks` refuses, in any combination; for values given twice, more than 1000 combinations, and
        a folder that is not a sweep's.
    """
    from joblib import cpu_count

    chosen = choose_notebooks(notebooks)
    common = {key: plain(value, key) for key, value in (("pairs", pairs), ("data", data), ("extra", extra))}
    combinations = plan_combinations(chosen, sweeps, dict(parameters or {}), common)
    jobs = cpu_count() if jobs is None else check_whole("jobs", jobs, low=1)
    folder = sweep_folder(out, name, sweep_name(chosen, combinations))
    with lock(folder):
        return _Sweep(folder, chosen, combinations, common, say or _print).go(jobs, force)


def _print(line: str) -> None:
    print(line, flush=True)


class _Sweep:
    """One call of `sweep_notebooks` on a locked folder."""

    def __init__(
        self,
        folder: Path,
        chosen: Sequence[Notebook],
        combinations: Sequence[Combination],
        common: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.chosen, self.common, self.say = folder, chosen, common, say
        self.combinations = {combination.name: combination for combination in combinations}
        self.result = SweepResult(folder, dict.fromkeys(self.combinations, "missing"))
        self.notes: dict[str, dict[str, Any]] = {name: {} for name in self.combinations}
        swept = list(combinations[0].swept)
        self.record: dict[str, Any] = {
            "format": _FORMAT,
            "status": "running",
            "started": _now(),
            "command": facts.command_line(),
            "notebooks": [notebook.stem for notebook in chosen],
            "fixed": {name: value for name, value in combinations[0].parameters.items() if name not in swept},
            "sweeps": {name: _distinct(combination.swept[name] for combination in combinations) for name in swept},
        }

    def go(self, jobs: int, force: bool) -> SweepResult:
        started = time.monotonic()
        for name in ("done", "index.html", "metrics.json"):
            (self.folder / name).unlink(missing_ok=True)
        self._save()
        kept = [name for name in self.combinations if not force and self._is_done(name)]
        self.result.status |= dict.fromkeys(kept, "finished")
        missing = [name for name in self.combinations if name not in kept]
        self.say(f"{len(self.combinations)} combinations, {len(kept)} finished before, {len(missing)} to run")
        if missing:
            self._run(missing, min(jobs, len(missing)), force)
        self._finish(time.monotonic() - started)
        return self.result

    def _is_done(self, name: str) -> bool:
        from class_kit import runs

        try:
            return runs.is_done(self._place(name), self.chosen, self.combinations[name].overrides)
        except (InputError, OSError):
            return False  # its own process comes upon it again, and there it is recorded

    def _place(self, name: str) -> Path:
        return self.folder / "runs" / name

    def _run(self, missing: Sequence[str], jobs: int, force: bool) -> None:
        from joblib import cpu_count

        workers = Workers(max(1, cpu_count() // jobs))
        with ThreadPoolExecutor(jobs) as pool, progress_bar(total=len(missing), desc="runs", unit="run") as bar:
            waiting = {pool.submit(workers.run, self._request(name, force)): name for name in missing}
            futures = dict(waiting)
            try:
                for future in as_completed(futures):
                    line = self._note(waiting.pop(future), future)
                    bar.update(1)
                    with bar.external_write_mode():
                        self.say(f"{line} ({len(missing) - len(waiting)} of {len(missing)})")
            except BaseException as error:
                workers.stop()
                if not isinstance(error, KeyboardInterrupt):
                    raise
        # after an interrupt: what had ended in the meantime, what was stopped, and what never began
        for future, name in waiting.items():
            self._note(name, future)

    def _request(self, name: str, force: bool) -> dict[str, Any]:
        return {
            "notebooks": [os.fspath(notebook.path) for notebook in self.chosen],
            "parameters": packed(self.combinations[name].given),
            "common": self.common,
            "out": os.fspath(self._place(name)),
            "force": force,
            "argv": facts.command_line(),
        }

    def _note(self, name: str, future: Future[tuple[int, str] | None]) -> str:
        """Note what became of a run and return the line about it."""
        note = self.notes[name]
        try:
            outcome = future.result()
        except OSError as error:
            outcome = (1, f"its process could not be started: {error}")
        if outcome is None:
            return ""
        code, said = outcome
        record = facts.read_manifest(self._place(name))
        status = {0: "finished", 130: "interrupted"}.get(code, "failed")
        self.result.status[name] = status
        self.result.computed.append(name)
        if code in {0, 1}:
            note["seconds"] = record.get("seconds")
        if status == "failed":
            note["error"] = visible(reason(code, said, record))
        took = f" after {note['seconds']:.1f} s" if note.get("seconds") is not None else ""
        why = f": {note['error'].splitlines()[0]}" if note.get("error") else ""
        return one_line(f"{shown_values(self.combinations[name].swept)}: {status}{took}{why}", 400)

    def _entries(self) -> list[dict[str, Any]]:
        return [
            {
                "folder": f"runs/{name}",
                "parameters": combination.swept,
                "status": self.result.status[name],
                "kept": self.result.status[name] == "finished" and name not in self.result.computed,
                "has_report": (self._place(name) / "report.html").is_file(),
                **self.notes[name],
            }
            for name, combination in self.combinations.items()
        ]

    def _save(self) -> None:
        write_json(self.folder / SWEEP_RECORD, {**self.record, "runs": self._entries()})

    def _finish(self, seconds: float) -> None:
        code = self.result.exit_code
        self.record |= {"status": {0: "finished", 130: "interrupted"}.get(code, "failed"), "finished": _now()}
        self.record["seconds"] = round(seconds, 3)
        metrics = self._metrics()
        write_json(self.folder / "metrics.json", metrics)
        write_index(self.folder, {**self.record, "runs": self._entries()}, metrics)
        self._save()
        if code == 130:
            self.say("interrupted: what is finished is kept; the same command continues")
        elif code:
            failed = sum(status == "failed" for status in self.result.status.values())
            self.say(f"failed: {failed} of {len(self.combinations)}; the same command tries them again")
        else:
            write_text(self.folder / "done", facts.digest_json(metrics) + "\n")
        self._say_where()

    def _metrics(self) -> dict[str, Any]:
        """Results of every run with its parameters, those of failed runs as far as their notebooks finished."""
        return {
            "runs": [
                {
                    "folder": f"runs/{name}",
                    "parameters": combination.parameters,
                    "status": self.result.status[name],
                    "metrics": _results(self._place(name)) if self.result.status[name] != "missing" else {},
                }
                for name, combination in self.combinations.items()
            ]
        }

    def _say_where(self) -> None:
        places = self.folder / "runs"
        others = (
            sorted(path.name for path in places.iterdir() if path.name not in self.combinations)
            if places.is_dir()
            else []
        )
        if others:
            self.say(one_line(f"of earlier sweeps, kept but not in the index: {', '.join(others)}", 400))
        self.say(f"index:   {visible(self.folder / 'index.html')}")


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({json.dumps(value): value for value in values}.values())


def _results(place: Path) -> dict[str, Any]:
    try:
        value = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
