"""One run: notebooks executed one after the other, kept where they are finished, recorded in a manifest.

A run's folder holds the executed notebooks, `results/` and their sum `metrics.json`, figures, `report.html`,
`manifest.json`, and `done`, written last and only when every notebook recorded there is finished.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.files import file_digest, json_digest, lock, plain, write_json, write_text
from class_kit.progress import beside_bars, progress_bar
from class_kit.runs import manifest as facts
from class_kit.runs.notebooks import (
    SAFE_NAME,
    Notebook,
    choose_notebooks,
    resolve_parameters,
    shown_overrides,
    with_common,
)
from class_kit.terminal import visible


@dataclass
class RunResult:
    """What a call of `run_notebooks` did.

    Attributes
    ----------
    folder : Path
        The run's folder.
    status : dict of str to str
        Per chosen notebook: "finished", "failed" or "interrupted"; one that was not begun is missing.
    computed : list of str
        Notebooks executed by this call; the others were finished before.
    done : bool
        Whether every notebook recorded in the folder is finished.
    """

    folder: Path
    status: dict[str, str] = field(default_factory=dict)
    computed: list[str] = field(default_factory=list)
    done: bool = False

    @property
    def exit_code(self) -> int:
        """0 when all chosen notebooks are finished, 130 after Ctrl-C, 1 otherwise."""
        states = set(self.status.values())
        return 130 if "interrupted" in states else int(states != {"finished"})


def record(out: str | os.PathLike[str], name: str, results: Mapping[str, Any]) -> Path:
    """Write a notebook's results as data to `<out>/results/<name>.json`, atomically; return the file.

    Every number in a report, table or README is read from here, so that none is ever typed.

    Parameters
    ----------
    out : path
        The run's folder, the notebook's parameter `out`.
    name : str
        The notebook's stem, e.g. "05_retrieval".
    results : mapping
        Plain data with string keys; NumPy scalars and arrays become numbers and lists.

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

    Raises
    ------
    InputError
        For an unknown notebook or parameter, a value of the wrong type, a name or folder that cannot be used, and
        when another process is running in the same folder.
    """
    chosen = choose_notebooks(notebooks)
    overrides = resolve_parameters(chosen, with_common(parameters, {"pairs": pairs, "data": data, "extra": extra}))
    shown = shown_overrides(chosen, overrides)
    folder = result_folder(out, name, default_name(shown), "manifest.json")
    with lock(folder):
        return _Run(folder, chosen, overrides, force, say or _print).go()


# the records by which the folder of a run and that of a sweep are told
MARKS = {"manifest.json", "sweep.json"}


def result_folder(out: str | os.PathLike[str] | None, name: str | None, default: str, mark: str) -> Path:
    """The folder of a run or a sweep, which the file `mark` tells: `out`, or `runs/` and its name.

    A folder that holds anything else is refused: results replace what they find under their own names.
    """
    if out is not None and name is not None:
        raise InputError("give the folder (--out) or its name (--name), not both")
    if name is not None and not SAFE_NAME.fullmatch(name):
        raise InputError(
            f"run name {name!r}: expected 1 to 100 letters, digits, '.', '_' or '-', with a letter or digit first"
        )
    folder = Path("runs") / (name or default) if out is None else Path(plain(out, "--out"))
    try:
        held = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except (OSError, ValueError) as error:
        raise InputError(f"the folder {str(folder)!r}: {error}") from None
    # what was killed as it began has left its lock, or half of its record
    begun = ".lock" in held and not held & (MARKS - {mark})
    if held and mark not in held and not begun:
        raise InputError(f"{str(folder)!r}: not an empty folder, and without {mark}; choose another --out or --name")
    return folder


def default_name(overrides: Mapping[str, Any]) -> str:
    """`default`, or a readable name from the parameters that differ from their defaults and a hash of all of them."""
    if not overrides:
        return "default"

    def slug(text: str) -> str:
        return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")

    words = [
        f"{slug(key)}-{slug(Path(value).name if isinstance(value, str) else json.dumps(value))[:20]}"
        for key, value in sorted(overrides.items())
    ]
    return f"{'_'.join(words)[:60].strip('-._') or 'run'}-{json_digest(dict(overrides))[:8]}"


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
        self.planned = {notebook.stem: self._plan(notebook, overrides[notebook.stem]) for notebook in chosen}
        before = facts.read_manifest(folder).get("notebooks", {})
        self.entries: dict[str, dict[str, Any]] = {stem: self._looked_at(entry) for stem, entry in before.items()}
        self.sealed = json_digest(before)
        self.kept = set() if force else {stem for stem in self.planned if self._is_finished(stem)}
        self.manifest: dict[str, Any] = {
            "format": facts.FORMAT,
            "status": "running",
            "started": now(),
            "command": facts.command_line(),
            "overrides": shown_overrides(chosen, overrides),
            "git_commit": facts.git_commit(),
            "environment": self.environment,
            "notebooks": self.entries,
        }

    def _plan(self, notebook: Notebook, overrides: Mapping[str, Any]) -> dict[str, Any]:
        parameters = {**notebook.declared, **overrides}
        if "out" in notebook.declared:
            parameters["out"] = _from_here(self.folder)
        inputs = facts.input_digests(parameters)
        return {
            "source": visible(_from_here(notebook.path)),
            "source_digest": notebook.digest,
            "parameters": parameters,
            "seeds": {name: value for name, value in parameters.items() if name in {"seed", "seeds"}},
            "inputs": inputs,
            "fingerprint": facts.fingerprint(notebook.digest, parameters, inputs, self.environment),
        }

    def _looked_at(self, entry: dict[str, Any]) -> dict[str, Any]:
        """An entry of an earlier call; a finished one whose files no longer have their bytes is "damaged"."""
        files = entry.get("files", {})
        whole = files and all(file_digest(self.folder / path) == digest for path, digest in files.items())
        return entry if whole or entry["status"] != "finished" else {**entry, "status": "damaged"}

    def _is_finished(self, stem: str) -> bool:
        old = self.entries.get(stem, {})
        return old.get("status") == "finished" and old.get("fingerprint") == self.planned[stem]["fingerprint"]

    def go(self) -> RunResult:
        if self.kept == set(self.planned) and self._is_done():
            self.result.status, self.result.done = dict.fromkeys(self.planned, "finished"), True
            self.say("already done with these parameters and inputs (--force computes again)")
            self._say_where()
            return self.result
        started = time.monotonic()
        for name in ("done", "report.html"):
            (self.folder / name).unlink(missing_ok=True)
        self._save()
        with progress_bar(total=len(self.planned) - len(self.kept), desc="notebooks", unit="notebook") as bar:
            self.say = self.say if bar.disable else beside_bars(self.say)
            for notebook in self.chosen:
                if notebook.stem in self.kept:
                    self.result.status[notebook.stem] = "finished"
                    self.say(f"{notebook.stem}: finished before, kept")
                elif self._execute(notebook) == "interrupted":
                    break
                else:
                    bar.update()
                    # the last one may come sooner after another than bars are drawn by themselves
                    bar.refresh()
        self._finish(time.monotonic() - started)
        return self.result

    def _is_done(self) -> bool:
        """Whether `done` stands for what the folder holds: a damaged record or report is made again."""
        try:
            sealed = (self.folder / "done").read_text(encoding="ascii").strip()
            metrics = json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return sealed == self.sealed and metrics == self._metrics() and (self.folder / "report.html").is_file()

    def _execute(self, notebook: Notebook) -> str:
        from class_kit.runs import kernels

        stem = notebook.stem
        for path in self.entries.get(stem, {}).get("files", {}):
            facts.inside(self.folder, path).unlink(missing_ok=True)
        entry = self.entries[stem] = self.planned[stem] | {"status": "running", "started": now()}
        self._save()
        self.say(f"{stem}: running …")
        before, started = self._written(), time.monotonic()
        executed = f"notebooks/{stem}.ipynb"
        try:
            execution = kernels.execute(notebook.node, entry["parameters"], self.folder / executed)
            status = "failed" if execution.error else "finished"
        except KeyboardInterrupt:
            execution, status = kernels.Execution(), "interrupted"
        changed = {path for path, stamp in self._written().items() if before.get(path) != stamp}
        for other, theirs in self.entries.items():
            if other != stem and (taken := sorted(changed & set(theirs.get("files", {})))):
                status, theirs["status"] = "failed", "damaged"
                self.result.status |= {other: "damaged"} if other in self.result.status else {}
                execution.error = f"it replaced {', '.join(taken)} of {other}: give its results and figures other names"
        seconds = round(time.monotonic() - started, 3)
        entry |= {"status": status, "seconds": seconds, "peak_mib": max(execution.peak_mib, default=None)}
        entry["files"] = {path: file_digest(self.folder / path) for path in sorted({*changed, executed})}
        if execution.error:
            entry["error"] = visible(execution.error)
        self.result.status[stem] = status
        self.result.computed.append(stem)
        self._save()
        peak = f", {entry['peak_mib']:.0f} MiB" if entry["peak_mib"] else ""
        self.say(f"{stem}: {status} after {seconds:.1f} s{peak}")
        if execution.error:
            self.say(_tail(execution.error))
        return status

    def _written(self) -> dict[str, tuple[int, int]]:
        """Results and figures in the folder, each with time and size, to see which ones a notebook wrote."""
        files = [path for place in ("results", "figures") for path in (self.folder / place).rglob("*")]
        stamps = {path.relative_to(self.folder).as_posix(): path.stat() for path in files if path.is_file()}
        return {
            path: (status.st_mtime_ns, status.st_size)
            for path, status in stamps.items()
            if not Path(path).name.startswith(".")
        }

    def _save(self) -> None:
        write_json(self.folder / "metrics.json", self._metrics())
        write_json(self.folder / "manifest.json", self.manifest)

    def _finish(self, seconds: float) -> None:
        from class_kit.runs.report import write_report

        interrupted = "interrupted" in self.result.status.values()
        self.result.done = {entry["status"] for entry in self.entries.values()} == {"finished"}
        status = "finished" if self.result.done else "interrupted" if interrupted else "failed"
        self.manifest |= {"finished": now(), "seconds": round(seconds, 3), "status": status}
        self._save()
        if interrupted:
            self.say("interrupted: what is finished is kept; the same command continues")
        write_report(self.folder)
        if self.result.done:
            write_text(self.folder / "done", json_digest(self.entries) + "\n")
        self._say_where()

    def _metrics(self) -> dict[str, Any]:
        """Results of the finished notebooks, by the name they were recorded under."""
        merged = {}
        for entry in self.entries.values():
            for path in entry.get("files", {}) if entry["status"] == "finished" else ():
                if path.startswith("results/"):
                    file = facts.inside(self.folder, path)
                    merged[file.stem] = json.loads(file.read_text(encoding="utf-8"))
        return merged

    def _say_where(self) -> None:
        if left := sorted(stem for stem, entry in self.entries.items() if entry["status"] != "finished"):
            self.say(f"not finished: {', '.join(left)}; the same command tries again")
        if (self.folder / "figures").is_dir():
            self.say(f"figures: {self.folder / 'figures'}")
        self.say(f"report:  {self.folder / 'report.html'}")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _print(line: str) -> None:
    print(line, flush=True)


def _from_here(path: Path) -> str:
    """A path relative to the current folder where it lies below it: records then hold no machine's own paths."""
    with suppress(ValueError):
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    return str(path.resolve())


def _tail(error: str, lines: int = 12) -> str:
    """The first line, which names cell and error, and the end of the traceback."""
    first, *rest = visible(error).splitlines()
    return "\n".join("    " + line[:300] for line in [first, *[line for line in rest if line.strip()][-lines:]])
