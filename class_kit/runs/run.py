"""One run: notebooks executed one or two at a time, kept where they are finished, recorded in a manifest.

A run's folder holds the executed notebooks, `results/` and their sum `metrics.json`, figures, `report.html`,
`manifest.json`, and `done`, written last and only when every notebook recorded there is finished.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.fetch import find_folder
from class_kit.files import (
    CHECKOUT,
    corpus_file,
    json_digest,
    kit_state,
    lock,
    own_folder,
    path_digest,
    plain,
    sha256_file,
    write_json,
    write_text,
)
from class_kit.pairs import RELEASES
from class_kit.progress import beside_bars, printed, progress_bar
from class_kit.runs.notebooks import (
    SAFE_NAME,
    Notebook,
    choose_notebooks,
    numbered_notebooks,
    resolve_parameters,
)
from class_kit.terminal import one_line, visible


@dataclass
class RunResult:
    """What a call of `run_notebooks` or `sweep_notebooks` did.

    Attributes
    ----------
    folder : Path
        Where the record is.
    status : dict of str to str
        Per chosen notebook, or per combination of a sweep: "finished", "failed", "interrupted", "damaged" if another
        notebook has overwritten its files, or "missing" if it was not started.
    computed : list of str
        Those of them that this call executed; the others were finished before.
    """

    folder: Path
    status: dict[str, str]
    computed: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether everything recorded in the folder is finished."""
        return (self.folder / "done").is_file()

    @property
    def outcome(self) -> str:
        """The call as a whole: "finished", "interrupted" by Ctrl-C, or "failed"."""
        states = set(self.status.values())
        if states & {"interrupted", "missing"}:
            return "interrupted"
        return "finished" if states == {"finished"} else "failed"

    @property
    def exit_code(self) -> int:
        """0 when all are finished, 130 after Ctrl-C, 1 otherwise."""
        return {"finished": 0, "interrupted": 130}.get(self.outcome, 1)


def record(out: str | os.PathLike[str], name: str, results: Mapping[str, Any]) -> Path:
    """Write a notebook's results as data to `<out>/results/<name>.json`, atomically; return the file.

    Reports, tables and the README read their numbers from here, so that none is typed by hand.

    Parameters
    ----------
    out : path
        The run's folder, the notebook's parameter `out`.
    name : str
        The notebook's stem, e.g. "05_retrieval".
    results : mapping
        Plain data with string keys; NumPy scalars and arrays become numbers and lists. The key `findings`, if there is
        one, holds what the run says at its end and its report first: a list of {says, figure}, a sentence and the name
        of the figure that shows it, or "".

    Raises
    ------
    InputError
        If the name is not a plain file name, or the results hold NaN, infinity or anything but plain data.
    """
    if not SAFE_NAME.fullmatch(name):
        raise InputError(f"record: name {name!r} must be letters, digits, '.', '_' or '-' (a notebook's stem)")
    if not isinstance(results, Mapping):
        raise InputError(f"record: results must be a dict of plain data, not {type(results).__name__}")
    path = Path(out) / "results" / f"{name}.json"
    write_json(path, plain(results, "results"))
    if Path(out) == Path("runs/notebook"):
        # the notebooks' default: somebody runs one by hand, and a new folder appears beside it
        print(f"figures and results: {visible(path.parent.parent.absolute())}")
    return path


def run_notebooks(
    notebooks: Sequence[str | os.PathLike[str]] | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    jobs: int | None = None,
    say: Callable[[str], None] = printed,
) -> RunResult:
    """Execute notebooks with strict parameters and leave a record of the run.

    Everything is checked before the first kernel starts. A notebook that fails does not stop the others. One whose
    source, parameters, inputs, kit code and package versions are those of its finished execution in this folder is
    kept.

    Parameters
    ----------
    notebooks : sequence of str or path, optional
        Paths or stems ("05_retrieval", "retrieval", "5"); all numbered notebooks of the kit by default.
    parameters : mapping, optional
        Values for declared notebook parameters, checked against the type of each default.
    out : path, optional
        The run's folder; by default `runs/default`, or a name in `runs/` made from the parameters.
    force : bool
        Compute again what is finished.
    jobs : int, optional
        Notebooks at a time, at least 1, which changes no result; by default two where there are two cores, since
        their memory adds up. They share the cores. Only the kit's own run at the same time: the names of their files
        begin with their number, which tells what each has written.
    say : callable
        Receives each line of progress; printed by default.

    Raises
    ------
    InputError
        For an unknown notebook or parameter, a value of the wrong type, a folder that cannot be used, and
        when another process is running in the same folder.
    """
    from joblib import cpu_count

    chosen = choose_notebooks(notebooks)
    jobs = min(2, cpu_count()) if jobs is None else check_whole("jobs", jobs, low=1)
    if not {notebook.path for notebook in chosen} <= set(numbered_notebooks()):
        jobs = 1
    given = resolve_parameters(chosen, parameters or {})
    overrides = {
        name: value
        for notebook in chosen
        for name, value in given[notebook.stem].items()
        if value != notebook.declared[name]
    }
    folder = result_folder(out, default_name(overrides), "manifest.json")
    with lock(folder):
        return _Run(folder, chosen, given, overrides, jobs, say).go(force)


def result_folder(out: str | os.PathLike[str] | None, name: str, mark: str) -> Path:
    """The folder of a run or a sweep: `out`, or `name` in `runs/`.

    It has to be new, empty, or hold the file `mark` of an earlier call, since results overwrite files of their names.
    """
    folder = Path("runs") / name if out is None else Path(plain(out, "--out"))
    # what was killed as it began, or has lost its record, still has its lock
    return own_folder(folder, mark, ".lock", never={"manifest.json", "sweep.json"} - {mark})


def default_name(changed: Mapping[str, Any]) -> str:
    """`default`, or a readable name from the parameters that differ from their defaults and a hash of all of them."""
    if not changed:
        return "default"
    values = {key: Path(value).name if isinstance(value, str) else json.dumps(value) for key, value in changed.items()}
    words = "_".join(f"{key}-{value[:20]}" for key, value in sorted(values.items()))
    slug = re.sub(r"[^A-Za-z0-9._]+", "-", words)[:60].strip("-._")
    return f"{slug or 'run'}-{json_digest(dict(changed))[:8]}"


class _Run:
    """One call of `run_notebooks` on a locked folder."""

    def __init__(
        self,
        folder: Path,
        chosen: Sequence[Notebook],
        given: Mapping[str, Mapping[str, Any]],
        overrides: Mapping[str, Any],
        jobs: int,
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.jobs, self.say = folder, jobs, say
        # the kernels at work, whether they are to end, and what threads must not touch at the same time: all else
        self.running: set[Any] = set()
        self.interrupted = False
        self.turn = Lock()
        self.nodes = {notebook.stem: notebook.node for notebook in chosen}
        self.planned = {notebook.stem: self._plan(notebook, given[notebook.stem]) for notebook in chosen}
        self.entries: dict[str, dict[str, Any]] = read_manifest(folder).get("notebooks", {})
        for entry in self.entries.values():
            files = entry.setdefault("files", {})
            # only files in this folder are read, whatever the record lists
            if files != self._digests(self._stamps().keys() & set(files)):
                entry["status"] = "damaged"
                (folder / "done").unlink(missing_ok=True)
        self.manifest: dict[str, Any] = {
            "started": now(),
            "command": command_line(),
            "overrides": dict(overrides),
            "git_commit": git_commit(),
            "environment": {"platform": platform.platform(), "cpu_count": os.cpu_count(), **kit_state()},
            "notebooks": self.entries,
        }

    def _plan(self, notebook: Notebook, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of an execution before it starts; the fingerprint covers all that its results depend on."""
        parameters = {**notebook.declared, **given}
        inputs = input_digests(parameters)
        fingerprint = json_digest([notebook.digest, parameters | {"out": ""}, inputs, kit_state()])
        if "out" in notebook.declared:
            parameters["out"] = os.path.relpath(self.folder)
        return {
            "source": visible(os.path.relpath(notebook.path)),
            "source_digest": notebook.digest,
            "parameters": parameters,
            "seeds": {name: value for name, value in parameters.items() if name in {"seed", "seeds"}},
            "inputs": inputs,
            "fingerprint": fingerprint,
        }

    def go(self, force: bool) -> RunResult:
        kept = [stem for stem in self.planned if self._is_finished(stem) and not force]
        left = [stem for stem in self.planned if stem not in kept]
        result = RunResult(self.folder, dict.fromkeys(kept, "finished"))
        last = [self.folder / name for name in ("done", "report.html")]
        if left or not all(path.is_file() for path in last):
            for path in last:
                path.unlink(missing_ok=True)
            self._compute(left, result)
        else:
            self.say("already done with these parameters and inputs (--force computes again)")
            self._write_metrics()
        for finding in findings(self.folder):
            self.say(one_line(finding["says"]))
        if unfinished := self._unfinished():
            self.say(f"not finished: {', '.join(unfinished)}; the same command tries again")
        if (self.folder / "figures").is_dir():
            self.say(f"figures: {self.folder / 'figures'}")
        self.say(f"report:  {self.folder / 'report.html'}")
        return result

    def _is_finished(self, stem: str) -> bool:
        entry = self.entries.get(stem, {"status": "missing"})
        return entry["status"] == "finished" and entry["fingerprint"] == self.planned[stem]["fingerprint"]

    def _unfinished(self) -> list[str]:
        return sorted(stem for stem, entry in self.entries.items() if entry["status"] != "finished")

    def _compute(self, left: Sequence[str], result: RunResult) -> None:
        """Execute these notebooks, and write record and report."""
        from joblib import cpu_count

        from class_kit.runs import kernels
        from class_kit.runs.report import write_report

        begun = time.monotonic()
        self._save("running")
        for stem in result.status:
            self.say(f"{stem}: finished before, kept")
        at_once = min(self.jobs, len(left)) or 1
        with (
            progress_bar(total=len(left), desc="notebooks", unit="notebook") as bar,
            ThreadPoolExecutor(at_once) as pool,
        ):
            # with the last one the cores of those that have ended are free
            each = [cpu_count() // at_once or 1 if stem != left[-1] else cpu_count() for stem in left]
            threads = [pool.submit(self._execute, *one, beside_bars(self.say)) for one in zip(left, each, strict=True)]
            try:
                for _ in as_completed(threads):
                    bar.update()
                    # tqdm skips a step that follows another closely, which the last one may
                    bar.refresh()
            except KeyboardInterrupt:
                self.interrupted = True
                # again and again, since a kernel may be about to start
                while wait(threads, timeout=0.5).not_done:
                    kernels.stop(self.running)
        result.computed += [stem for stem, thread in zip(left, threads, strict=True) if thread.result()]
        result.status = {stem: self.entries[stem]["status"] for stem in [*result.status, *result.computed]}
        self.manifest |= {"finished": now(), "seconds": round(time.monotonic() - begun, 3)}
        interrupted = result.outcome == "interrupted"
        self._save("interrupted" if interrupted else "failed" if self._unfinished() else "finished")
        if interrupted:
            self.say("interrupted: what is finished is kept; the same command continues")
        write_report(self.folder, self.manifest, findings(self.folder))
        if not self._unfinished():
            write_text(self.folder / "done", f"{self.manifest['finished']}\n")

    def _execute(self, stem: str, cores: int, say: Callable[[str], None]) -> bool:
        """Execute a notebook and record how it went; False if the run was interrupted before it began."""
        from class_kit.runs import kernels

        with self.turn:
            if self.interrupted:
                return False
            for path in self._stamps().keys() & self.entries.get(stem, {}).get("files", ()):
                (self.folder / path).unlink()
            entry = self.entries[stem] = self.planned[stem] | {"status": "running", "started": now()}
            self._save("running")
            say(f"{stem}: running …")
            before, begun = self._stamps(), time.monotonic()
        executed, error = self.folder / "notebooks" / f"{stem}.ipynb", None
        try:
            error = kernels.execute(self.nodes[stem], entry["parameters"], executed, cores, self.running)
        except KeyboardInterrupt:
            self.interrupted = True
        with self.turn:
            status = "interrupted" if self.interrupted else "failed" if error else "finished"
            own = {path for path, stamp in self._stamps().items() if before.get(path) != stamp}
            if self.jobs > 1:
                own = {path for path in own if Path(path).name.startswith(stem[:2])}
            for other, theirs in self.entries.items():
                if other != stem and (taken := sorted(own.intersection(theirs.get("files", ())))):
                    status, theirs["status"] = "failed", "damaged"
                    error = f"it overwrote {', '.join(taken)} of {other}; give its results and figures other names"
            entry |= {"status": status, "seconds": round(time.monotonic() - begun, 3), "files": self._digests(own)}
            if status == "failed":
                entry["error"] = visible(error)
            self._save("running")
            say(f"{stem}: {status} after {entry['seconds']:.1f} s")
            if status == "failed":
                # the first line, which names cell and error, and the end of the traceback
                first, *rest = [line[:300] for line in entry["error"].splitlines() if line.strip()]
                say("\n".join("    " + line for line in [first, *rest[-12:]]))
        return True

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Results, figures and notebooks in the folder, each with time and number, to see which ones are written."""
        found = [path for place in ("results", "figures", "notebooks") for path in (self.folder / place).rglob("[!.]*")]
        states = {path.relative_to(self.folder).as_posix(): path.stat() for path in found if path.is_file()}
        return {path: (state.st_mtime_ns, state.st_ino) for path, state in states.items()}

    def _digests(self, files: Iterable[str]) -> dict[str, str]:
        return {path: sha256_file(self.folder / path) for path in sorted(files)}

    def _save(self, status: str) -> None:
        """Write the manifest, with a digest to detect damage, and the results so far."""
        self.manifest["status"] = status
        write_json(self.folder / "manifest.json", self.manifest | {"digest": json_digest(self.manifest)})
        self._write_metrics()

    def _write_metrics(self) -> None:
        """The results of the finished notebooks in one file."""
        finished = [entry["files"] for entry in self.entries.values() if entry["status"] == "finished"]
        results = [path for files in finished for path in files if path.startswith("results/")]
        metrics = {Path(path).stem: read_json(self.folder / path) for path in self._stamps() if path in results}
        write_json(self.folder / "metrics.json", metrics)


# --- what a record says about where its numbers come from


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def findings(folder: Path) -> list[dict[str, str]]:
    """What the notebooks of a run recorded as `findings`: a sentence each (`says`), and the `figure` that shows it."""
    return [
        {"figure": "", **finding}
        for _, results in sorted(read_json(folder / "metrics.json").items())
        for finding in results.get("findings", ())
    ]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run's folder; empty if it is missing or damaged, so that everything is recomputed."""
    with suppress(OSError, ValueError, AttributeError, TypeError, KeyError):
        value: dict[str, Any] = read_json(folder / "manifest.json")
        if value.pop("digest") == json_digest(value):
            return value
    return {}


def input_digests(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Digests of every file or folder that a parameter names, and of the files behind the names of data sets."""
    digests = {}
    for name, value in parameters.items():
        path = Path(value) if isinstance(value, str) and value and name != "out" else None
        with suppress(OSError, InputError):
            if name == "pairs" and value == "corpus":
                path = corpus_file()
            elif name == "pairs" and value in RELEASES and not parameters.get("data"):
                path = find_folder(value, ("train.txt", "validation.txt", "test.txt"))
            if path and path.exists():
                digests[f"{name}={value}"] = path_digest(path)
    return digests


def git_commit(folder: Path = CHECKOUT) -> str | None:
    """The commit of the kit's checkout, with `-modified` for changed files; None outside a checkout of its own."""
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=-modified"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> list[str]:
    """How this process was started, the program by its name only."""
    program = Path(sys.argv[0]).name
    return [one_line(part) for part in ("class-kit" if program == "__main__.py" else program, *sys.argv[1:])]


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
