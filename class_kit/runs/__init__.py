"""Runs: notebooks executed with strict parameters, and the record each run leaves.

`runs/<name>/` holds the executed notebooks, `metrics.json`, `figures/`, `report.html` and `manifest.json`; `done` is
written last and taken away first, so that it never stands on an unfinished run. What is finished and unchanged is
not computed again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.files import lock, plain, write_json, write_text
from class_kit.progress import beside_bars, progress_bar
from class_kit.runs import manifest as facts
from class_kit.runs.folder import SAFE_NAME, file_digest, inside, run_folder, written_files
from class_kit.runs.notebook_files import Notebook, choose_notebooks, resolve_parameters, shown_overrides
from class_kit.runs.sweep import SweepResult as SweepResult
from class_kit.runs.sweep import sweep_notebooks as sweep_notebooks
from class_kit.terminal import visible


@dataclass
class RunResult:
    """What a call of `run_notebooks` did.

    Attributes
    ----------
    folder : Path
        The run's folder.
    status : dict of str to str
        Per chosen notebook: "finished", "failed" or "interrupted".
    computed : list of str
        Notebooks executed by this call; the others of `status` were finished before.
    seconds : dict of str to float
        Wall time of the computed ones.
    done : bool
        Whether every notebook recorded in the folder is finished.
    """

    folder: Path
    status: dict[str, str] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    done: bool = False

    @property
    def exit_code(self) -> int:
        """0 when all chosen notebooks are finished, 130 after Ctrl-C, 1 otherwise."""
        states = set(self.status.values())
        return 130 if "interrupted" in states else int(states != {"finished"})


def record(out: str | os.PathLike[str], name: str, results: Mapping[str, Any]) -> Path:
    """Write a notebook's results as data to `<out>/results/<name>.json`, atomically.

    Every number in a report, table or README is read from here, so that none is ever typed.

    Parameters
    ----------
    out : path
        The run's folder, the notebook's parameter `out`.
    name : str
        The notebook's stem, e.g. "05_retrieval".
    results : mapping
        Plain data with string keys; NumPy scalars and arrays become numbers and lists.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        For a name that is no plain file name, NaN, infinity, or values that are not plain data.
    """
    if not isinstance(name, str) or not SAFE_NAME.fullmatch(name):
        raise InputError(f"record: name {name!r} must be letters, digits, '.', '_' or '-' (a notebook's stem)")
    if not isinstance(results, Mapping):
        raise InputError(f"record: results must be a dict of plain data, not {type(results).__name__}")
    path = Path(out) / "results" / f"{name}.json"
    write_json(path, plain(results, "results"))
    return path


def run_notebooks(
    notebooks: Sequence[str | os.PathLike[str]] | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    name: str | None = None,
    pairs: str | None = None,
    data: str | os.PathLike[str] | None = None,
    extra: str | os.PathLike[str] | None = None,
    force: bool = False,
    say: Callable[[str], None] | None = None,
) -> RunResult:
    """Execute notebooks with strict parameters and leave a record of the run.

    Everything is checked before the first kernel starts. Notebooks run one after the other, so that their memory
    does not add up; one that fails does not stop the others. A notebook whose source, parameters, inputs, kit code
    and package versions are those of its finished execution in this folder is kept.

    Parameters
    ----------
    notebooks : sequence of str or path, optional
        Paths or stems ("05_retrieval", "retrieval", "5"); all numbered notebooks of the kit by default.
    parameters : mapping, optional
        Values for declared notebook parameters, checked against the type of each default.
    out : path, optional
        The run's folder; `runs/<name>` by default.
    name : str, optional
        The run's name: letters, digits, `.`, `_` and `-`. By default "default", or made from the parameters.
    pairs, data, extra : optional
        The parameters of these names: the pairs' source, a data folder, a file of further pairs.
    force : bool
        Compute again what is finished.
    say : callable, optional
        Receives each line of progress; printed by default.

    Returns
    -------
    RunResult

    Raises
    ------
    InputError
        For an unknown notebook or parameter, a value of the wrong type, a name or folder that cannot be used, and
        when another process is running in the same folder.
    """
    say = say or _print
    chosen = choose_notebooks(notebooks)
    common = {"pairs": pairs, "data": data, "extra": extra}
    overrides = resolve_parameters(chosen, dict(parameters or {}), common)
    folder = run_folder(out, name, shown_overrides(chosen, overrides))
    with lock(folder):
        return _Run(folder, chosen, overrides, force, say).go()


def is_done(folder: Path, chosen: Sequence[Notebook], overrides: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether `run_notebooks` would find nothing to compute for these notebooks and parameters in this folder."""
    if not (folder / "done").is_file():
        return False
    run = _Run(folder, chosen, overrides, False, _print)
    return run.kept == set(run.entries) and run._is_whole()


def _print(line: str) -> None:
    print(line, flush=True)


class _Run:
    """One call of `run_notebooks` on a locked folder."""

    def __init__(
        self,
        folder: Path,
        chosen: Sequence[Notebook],
        overrides: Mapping[str, Mapping[str, Any]],
        force: bool,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.chosen, self.say = folder, chosen, say
        self.result = RunResult(folder)
        self.environment = facts.environment()
        known: dict[str, str] = {}
        self.entries = {notebook.stem: self._planned(notebook, overrides[notebook.stem], known) for notebook in chosen}
        self.before = facts.read_manifest(folder).get("notebooks", {})
        self.kept = set() if force else {stem for stem, entry in self.entries.items() if self._is_finished(stem, entry)}
        self.manifest: dict[str, Any] = {
            "format": facts.FORMAT,
            "status": "running",
            "started": facts.now(),
            "command": facts.command_line(),
            "overrides": shown_overrides(chosen, overrides),
            "git_commit": facts.git_commit(),
            "environment": self.environment,
            "notebooks": {stem: self._marked(stem, entry) for stem, entry in self.before.items()},
        }

    def _planned(self, notebook: Notebook, overrides: Mapping[str, Any], known: dict[str, str]) -> dict[str, Any]:
        parameters = {**notebook.declared, **overrides}
        if "out" in notebook.declared:
            parameters["out"] = _from_here(self.folder)
        inputs = facts.input_digests(parameters, known)
        return {
            "source": visible(_from_here(notebook.path)),
            "source_digest": notebook.digest,
            "parameters": parameters,
            "seeds": {name: value for name, value in parameters.items() if name in {"seed", "seeds"}},
            "inputs": inputs,
            "fingerprint": facts.fingerprint(notebook.digest, parameters, inputs, self.environment),
        }

    def _marked(self, stem: str, entry: dict[str, Any]) -> dict[str, Any]:
        """An earlier entry, marked where it is not of this call and was made by other code or package versions."""
        parts = (entry.get("source_digest", ""), entry.get("parameters", {}), entry.get("inputs", {}))
        same = facts.fingerprint(*parts, self.environment) == entry.get("fingerprint")
        status = "damaged" if entry["status"] == "finished" and not self._is_intact(entry) else entry["status"]
        return {**entry, "status": status, "other_versions": not same and stem not in self.entries}

    def _is_finished(self, stem: str, entry: Mapping[str, Any]) -> bool:
        """Finished before with the same fingerprint, and nothing of it has changed since."""
        old = self.before.get(stem, {})
        if old.get("status") != "finished" or old.get("fingerprint") != entry["fingerprint"]:
            return False
        return self._is_intact(old)

    def _is_intact(self, entry: Mapping[str, Any]) -> bool:
        """Whether each of an entry's files still has the bytes it was left with."""
        files = entry.get("files") or {}
        return bool(files) and all(file_digest(self.folder / path) == digest for path, digest in files.items())

    def go(self) -> RunResult:
        done = self.folder / "done"
        started = time.monotonic()
        if self.kept == set(self.entries) and self._is_whole():
            self.result.status = dict.fromkeys(self.entries, "finished")
            self.result.done = True
            self.say("already done with these parameters and inputs (--force computes again)")
            self._say_where()
            return self.result
        done.unlink(missing_ok=True)
        (self.folder / "report.html").unlink(missing_ok=True)
        self._sweep()
        self._save()
        waiting = len(self.chosen) - len(self.kept)
        with progress_bar(total=waiting, desc="notebooks", unit="notebook") as bar:
            self.say = self.say if bar.disable else beside_bars(self.say)
            for notebook in self.chosen:
                if not self._one(notebook):
                    break
                bar.update(notebook.stem not in self.kept)
                # the last one may come sooner after another than bars are drawn by themselves
                bar.refresh()
        self._finish(time.monotonic() - started)
        return self.result

    def _is_whole(self) -> bool:
        """Whether `done` stands for what the folder holds: a damaged record or report is made again."""
        try:
            sealed = (self.folder / "done").read_text(encoding="ascii").strip()
            metrics = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        same = sealed == facts.digest_json(self.before) and metrics == self._metrics()
        return same and (self.folder / "report.html").is_file()

    def _sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for place in (self.folder, *(self.folder / name for name in ("notebooks", "results", "figures"))):
            for path in (*place.glob(".*.tmp"), *place.glob(".partial-*")):
                path.unlink(missing_ok=True)

    def _one(self, notebook: Notebook) -> bool:
        """Run or keep one notebook; False when the user interrupted."""
        stem = notebook.stem
        if stem in self.kept:
            self.result.status[stem] = "finished"
            self.say(f"{stem}: finished before, kept")
            return True
        for path in self.before.get(stem, {}).get("files", {}):
            inside(self.folder, path).unlink(missing_ok=True)
        entry = self.entries[stem] | {"status": "running", "started": facts.now()}
        self.manifest["notebooks"][stem] = entry
        self._save()
        self.say(f"{stem}: running …")
        status, error, seconds = self._execute(notebook, entry)
        entry |= {"status": status, "seconds": round(seconds, 3)} | ({"error": visible(error)} if error else {})
        self.result.status[stem], self.result.seconds[stem] = status, seconds
        self.result.computed.append(stem)
        self._save()
        peak = f", {entry['peak_mib']:.0f} MiB" if entry.get("peak_mib") else ""
        self.say(f"{stem}: {status} after {seconds:.1f} s{peak}")
        if error:
            self.say(_tail(error))
        return status != "interrupted"

    def _execute(self, notebook: Notebook, entry: dict[str, Any]) -> tuple[str, str | None, float]:
        from class_kit.runs import kernels

        folder = self.folder / "notebooks"
        folder.mkdir(exist_ok=True)
        partial = folder / f".partial-{notebook.stem}.ipynb"
        before = written_files(self.folder)
        started = time.monotonic()
        try:
            execution = kernels.execute(notebook.node, entry["parameters"], partial)
            status = "failed" if execution.error else "finished"
        except KeyboardInterrupt:
            execution = kernels.interrupted(notebook.node, partial)
            status = "interrupted"
        seconds = time.monotonic() - started
        write_text(folder / f"{notebook.stem}.ipynb", kernels.text(execution.notebook))
        partial.unlink(missing_ok=True)
        after = written_files(self.folder)
        changed = [path for path, stamp in after.items() if before.get(path) != stamp]
        changed.append(f"notebooks/{notebook.stem}.ipynb")
        clash = self._taken_over(notebook.stem, set(changed))
        entry["files"] = {path: file_digest(self.folder / path) for path in sorted(set(changed) - set(clash))}
        entry["peak_mib"] = max(execution.peak_mib, default=None)
        if clash and status == "finished":
            status, whose = "failed", ", ".join(f"{path} of {stem}" for path, stem in clash.items())
            execution.error = f"it replaced {whose}: give its results and figures names of their own"
        return status, execution.error, seconds

    def _taken_over(self, stem: str, changed: set[str]) -> dict[str, str]:
        """Files of other notebooks that this one wrote, and whose they were; those notebooks are then not finished."""
        clash: dict[str, str] = {}
        for other, entry in self.manifest["notebooks"].items():
            found = changed & set(entry.get("files", {})) if other != stem else set()
            if found and entry["status"] == "finished":
                entry["status"] = self.result.status[other] = "damaged"
            clash |= dict.fromkeys(sorted(found), other)
        return clash

    def _save(self) -> None:
        write_json(self.folder / "metrics.json", self._metrics())
        write_json(self.folder / "manifest.json", self.manifest)

    def _finish(self, seconds: float) -> None:
        from class_kit.runs.report import write_report

        states = {entry["status"] for entry in self.manifest["notebooks"].values()}
        now = "interrupted" if "interrupted" in self.result.status.values() else "failed"
        self.manifest |= {"finished": facts.now(), "seconds": round(seconds, 3)}
        self.manifest["status"] = "finished" if states == {"finished"} else now
        self._save()
        if now == "interrupted":
            self.say("interrupted: what is finished is kept; the same command continues")
        write_report(self.folder)
        if self.manifest["status"] == "finished":
            write_text(self.folder / "done", facts.digest_json(self.manifest["notebooks"]) + "\n")
            self.result.done = True
        self._say_where()

    def _metrics(self) -> dict[str, Any]:
        """Results of the finished notebooks, by the name they were recorded under."""
        merged = {}
        for entry in self.manifest["notebooks"].values():
            for path in entry.get("files", {}) if entry["status"] == "finished" else ():
                if path.startswith("results/"):
                    file = inside(self.folder, path)
                    merged[file.stem] = json.loads(file.read_text(encoding="utf-8"))
        return merged

    def _say_where(self) -> None:
        open_ = sorted(stem for stem, entry in self.manifest["notebooks"].items() if entry["status"] != "finished")
        if open_:
            self.say(f"not finished: {', '.join(open_)}; the same command tries again")
        if (self.folder / "figures").is_dir():
            self.say(f"figures: {self.folder / 'figures'}")
        self.say(f"report:  {self.folder / 'report.html'}")


def _from_here(path: Path) -> str:
    """A path relative to the current folder where it lies below it: records then hold no machine's own paths."""
    with suppress(ValueError):
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    return str(path.resolve())


def _tail(error: str, lines: int = 12) -> str:
    """The first line, which names cell and error, and the end of the traceback."""
    shown = visible(error).splitlines()
    rest = [line for line in shown[1:] if line.strip()]
    return "\n".join("    " + line[:300] for line in [*shown[:1], *rest[-lines:]])
