"""Sweeps: notebooks run once for every combination of some parameters' values, in parallel processes.

A sweep's folder holds a run's folder for each combination under `runs/`, `index.html` with the figures side by side,
`metrics.json` with every run's results and parameters, `sweep.json` with what became of each run, and `done`, written
last and only when all are finished.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.files import lock, plain, write_json, write_text
from class_kit.progress import progress_bar
from class_kit.runs import manifest as facts
from class_kit.runs.folder import SWEEP_RECORD, default_name, sweep_folder
from class_kit.runs.manifest import digest_json
from class_kit.runs.notebook_files import Notebook, Raw, choose_notebooks, resolve_parameters
from class_kit.runs.parameters import parse_value
from class_kit.runs.report import as_json, write_index
from class_kit.terminal import one_line, visible

# Each combination leaves executed notebooks and a report; beyond this a range was mistyped rather than meant.
MAX_COMBINATIONS = 1000
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
    process of its own: one that fails is recorded and stops no other. Combinations that are finished and unchanged are
    kept, so that the same call does what is missing.

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


@dataclass(frozen=True)
class Combination:
    """One set of values of a sweep.

    Attributes
    ----------
    name : str
        The name of its folder, made from the values.
    swept : dict
        The swept parameters with their values.
    given : dict
        All given parameters, swept and fixed, as they were given.
    overrides : dict of str to dict
        Per notebook, the given parameters it declares, as plain data of the declared types.
    """

    name: str
    swept: dict[str, Any]
    given: dict[str, Any]
    overrides: dict[str, dict[str, Any]]

    @property
    def parameters(self) -> dict[str, Any]:
        """All given parameters with the values the notebooks get."""
        return {name: value for values in reversed(self.overrides.values()) for name, value in values.items()}


def shown_values(values: Mapping[str, Any]) -> str:
    """Parameters for a line of text: `growth = 0.02, start = 0.4`."""
    return ", ".join(f"{name} = {as_json(value)}" for name, value in values.items())


def read_sweeps(texts: Iterable[str]) -> dict[str, list[Raw]]:
    """The sweeps of a command line, `NAME=V1,V2` each.

    Commas inside brackets, braces and quotes belong to a value, so that `seeds=[0],[1,2]` has the two values `[0]`
    and `[1,2]`, and `word="a,b",c` the two texts `a,b` and `c`. Spaces round a value are dropped.

    Raises
    ------
    InputError
        For a text without `=`, a parameter named twice, an empty value, and a bracket or quote that stays open.
    """
    sweeps: dict[str, list[Raw]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        name = name.strip()
        if not sign or not name:
            raise InputError(f"--sweep {text!r}: expected NAME=V1,V2")
        if name in sweeps:
            raise InputError(f"--sweep {name} is given twice; list all its values in one: {name}=V1,V2")
        sweeps[name] = [Raw(value) for value in split_values(values, name)]
    return sweeps


def split_values(text: str, name: str) -> list[str]:
    """`V1,V2` at the commas that are in no bracket, brace or quote (see `read_sweeps`)."""
    pieces, piece, depth, quote, before = [], "", 0, "", ","
    letters = iter(text)
    for letter in letters:
        if letter == "," and not depth and not quote:
            pieces.append(piece)
            piece, before = "", ","
            continue
        piece += letter
        if quote:
            if letter == "\\" and quote == '"':
                piece += next(letters, "")
            quote = "" if letter == quote else quote
        elif letter in "'\"" and before in ",[{:":
            # as in YAML, a quote inside a word is a letter like any other
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth = max(0, depth - 1)
        before = before if letter.isspace() else letter
    if depth or quote:
        raise InputError(f"--sweep {name}: a bracket or quote stays open in {text!r}; put a text with commas in quotes")
    values = [value.strip() for value in [*pieces, piece]]
    if "" in values:
        raise InputError(f'--sweep {name}: an empty value in {text!r}; write "" for the empty text')
    return values


def plan_combinations(
    chosen: Sequence[Notebook],
    sweeps: Mapping[str, Iterable[Any]],
    fixed: Mapping[str, Any],
    common: Mapping[str, Any],
) -> list[Combination]:
    """Every combination of the swept values, checked against the chosen notebooks; the last name varies fastest.

    Parameters
    ----------
    chosen : sequence of Notebook
    sweeps : mapping of str to iterable
        Values of each swept parameter, plain data or `Raw`.
    fixed : mapping
        Parameters with one value for all combinations.
    common : mapping
        `pairs`, `data` and `extra`, None where not given.

    Raises
    ------
    InputError
        For no sweep, a sweep without values, a parameter both swept and fixed, too many combinations, a combination
        given twice, and what `resolve_parameters` refuses, in any combination.
    """
    values = {name: _listed(name, swept) for name, swept in sweeps.items()}
    if not values:
        raise InputError("a sweep needs at least one parameter with values")
    if both := sorted(set(values) & set(fixed)):
        raise InputError(f"parameter {both[0]} is given twice: swept, and with one value")
    if (count := math.prod(map(len, values.values()))) > MAX_COMBINATIONS:
        raise InputError(f"the sweeps make {count} combinations; expected at most {MAX_COMBINATIONS}")
    read = {name: [_unquoted(chosen, name, value) for value in swept] for name, swept in values.items()}
    found: dict[str, Combination] = {}
    for chosen_values in itertools.product(*read.values()):
        combination = _checked(chosen, dict(zip(read, chosen_values, strict=True)), fixed, common)
        other = found.setdefault(combination.name, combination)
        if other is not combination:
            shown, before = shown_values(combination.swept), shown_values(other.swept)
            if shown == before:
                raise InputError(f"the sweep gives {shown} twice; expected values that differ")
            raise InputError(f"the sweep's {shown} would get the folder {other.name!r} of {before}; sweep them apart")
    return list(found.values())


def sweep_name(chosen: Sequence[Notebook], combinations: Sequence[Combination]) -> str:
    """A readable name from the notebook and the swept parameters, and a hash of all that is run."""
    stems, names = [notebook.stem for notebook in chosen], list(combinations[0].swept)
    words = "-".join([*(stems if len(stems) == 1 else []), *names])[:60]
    return f"sweep-{words}-{digest_json([stems, [each.overrides for each in combinations]])[:8]}"


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"sweep of {name}: {values!r} is {type(values).__name__}; expected a list of values")
    if not (listed := list(values)):
        raise InputError(f"sweep of {name}: no values; expected at least one")
    return listed


def _checked(
    chosen: Sequence[Notebook], swept: Mapping[str, Any], fixed: Mapping[str, Any], common: Mapping[str, Any]
) -> Combination:
    given = {**fixed, **swept}
    overrides = resolve_parameters(chosen, given, common)
    shown = {name: next(values[name] for values in overrides.values() if name in values) for name in swept}
    return Combination(default_name(shown), shown, given, overrides)


def _unquoted(chosen: Sequence[Notebook], name: str, value: Any) -> Any:
    """A quoted text without its quotes: they only kept its commas together where the parameter is a text."""
    if not isinstance(value, Raw) or value.text[:1] not in {"'", '"'} or value.text[-1:] != value.text[:1]:
        return value
    declared = [notebook.declared[name] for notebook in chosen if name in notebook.declared]
    if not declared or not all(isinstance(default, str) for default in declared):
        return value
    try:
        # YAML reads what JSON writes, but for letters that JSON writes as two halves
        text = json.loads(value.text, strict=False)
    except ValueError:
        text = parse_value(value.text, None, name)
    return text if isinstance(text, str) else value


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
            "started": facts.now(),
            "command": facts.command_line(),
            "notebooks": [notebook.stem for notebook in chosen],
            "fixed": {name: value for name, value in combinations[0].parameters.items() if name not in swept},
            "sweeps": {
                name: list({as_json(each.swept[name]): each.swept[name] for each in combinations}.values())
                for name in swept
            },
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
        try:
            self._run(missing, jobs, force)
        finally:
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
        from joblib import Parallel, delayed
        from joblib.externals.loky import get_reusable_executor

        notebooks = [os.fspath(notebook.path) for notebook in self.chosen]
        calls = (
            delayed(_run_one)(name, notebooks, self.combinations[name].given, self.common, self._place(name), force)
            for name in missing
        )
        jobs = min(jobs, len(missing)) or 1
        with progress_bar(total=len(missing), desc="runs", unit="run") as bar:
            try:
                outcomes = Parallel(jobs, return_as="generator_unordered", pre_dispatch="all")(calls)
                for count, (name, status, error) in enumerate(outcomes, start=1):
                    line = self._note(name, status, error)
                    bar.update(1)
                    with bar.external_write_mode():
                        self.say(f"{line} ({count} of {len(missing)})")
                    if status == "interrupted":
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                if jobs > 1:
                    # joblib alone would let the runs go on to their end; their kernels end with them
                    get_reusable_executor().shutdown(kill_workers=True)
                for name in missing:
                    if self.result.status[name] == "missing" and facts.read_manifest(self._place(name)):
                        self.result.status[name] = "interrupted"

    def _note(self, name: str, status: str, error: str | None) -> str:
        """Note what became of a run and return the line about it."""
        note = self.notes[name]
        self.result.status[name] = status
        self.result.computed.append(name)
        note["seconds"] = facts.read_manifest(self._place(name)).get("seconds")
        took = f" after {note['seconds']:.1f} s" if note["seconds"] is not None else ""
        why = ""
        if error:
            note["error"] = visible(error)
            why = f": {note['error'].splitlines()[0]}"
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
        self.record |= {"status": {0: "finished", 130: "interrupted"}.get(code, "failed"), "finished": facts.now()}
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
            write_text(self.folder / "done", digest_json(metrics) + "\n")
        places = self.folder / "runs"
        held = sorted(path.name for path in places.iterdir()) if places.is_dir() else []
        if others := [name for name in held if name not in self.combinations]:
            self.say(one_line(f"of earlier sweeps, kept but not in the index: {', '.join(others)}", 400))
        self.say(f"index:   {visible(self.folder / 'index.html')}")

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


def _run_one(
    name: str, notebooks: list[str], given: Mapping[str, Any], common: Mapping[str, Any], out: Path, force: bool
) -> tuple[str, str, str | None]:
    """Run one combination, in a process of its own where several run at a time: its name, its status and its error."""
    from class_kit import runs

    bars = os.environ.get("CLASS_KIT_PROGRESS")
    os.environ["CLASS_KIT_PROGRESS"] = "0"
    try:
        code = runs.run_notebooks(notebooks, given, out=out, force=force, say=lambda line: None, **common).exit_code
    except InputError as error:
        return name, "failed", str(error)
    except Exception as error:
        return name, "failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    finally:
        os.environ.pop("CLASS_KIT_PROGRESS")
        os.environ.update({} if bars is None else {"CLASS_KIT_PROGRESS": bars})
    entries = facts.read_manifest(out).get("notebooks", {}).items()
    errors = [f"{stem}: {entry['error']}" for stem, entry in entries if entry.get("error")]
    status = {0: "finished", 130: "interrupted"}.get(code, "failed")
    return name, status, "\n".join(errors) if status == "failed" else None


def _results(place: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        value = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}
