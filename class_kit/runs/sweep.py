"""Sweeps: notebooks run once for every combination of some parameters' values, several at a time.

A sweep's folder holds a run's folder for each combination under `runs/`, `index.html` with the figures side by side,
`metrics.json` with every run's results and parameters, `sweep.json` with what became of each run, and `done`, written
last and only when all are finished.
"""

from __future__ import annotations

import itertools
import json
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.files import json_digest, lock, write_json, write_text
from class_kit.progress import progress_bar
from class_kit.runs import manifest as facts
from class_kit.runs.notebooks import Notebook, Raw, choose_notebooks, resolve_parameters, with_common
from class_kit.runs.report import write_index
from class_kit.runs.run import default_name, now, result_folder, run_notebooks
from class_kit.terminal import one_line, visible

# Each combination leaves executed notebooks and a report; beyond this a range was mistyped rather than meant.
MAX_COMBINATIONS = 1000


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


@dataclass(frozen=True)
class Combination:
    """One set of values of a sweep.

    Attributes
    ----------
    name : str
        The name of its folder, made from the values.
    swept : dict
        The swept parameters with their values.
    parameters : dict
        All given parameters, as the notebooks get them.
    """

    name: str
    swept: dict[str, Any]
    parameters: dict[str, Any]


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
    say: Callable[[str], None] = print,
) -> SweepResult:
    """Run notebooks once for every combination of swept values and put their figures side by side.

    Every combination is checked before the first kernel starts. Each is a run of its own (see `run_notebooks`): one
    that fails is recorded and stops no other. Combinations that are finished and unchanged are kept, so that the same
    call does what is missing.

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
    say : callable
        Receives each line of progress; printed by default.

    Raises
    ------
    InputError
        For what `run_notebooks` refuses, in any combination; for values given twice, more than 1000 combinations, and
        a folder that is not a sweep's.
    """
    from joblib import Parallel, cpu_count, delayed

    chosen = choose_notebooks(notebooks)
    fixed = with_common(parameters, {"pairs": pairs, "data": data, "extra": extra})
    combinations = plan_combinations(chosen, sweeps, fixed)
    jobs = cpu_count() if jobs is None else check_whole("jobs", jobs, low=1)
    stems, swept = [notebook.stem for notebook in chosen], list(sweeps)
    words = "-".join([*(stems if len(stems) == 1 else []), *swept])[:60]
    digest = json_digest([stems, [each.parameters for each in combinations]])
    folder = result_folder(out, name, f"sweep-{words}-{digest[:8]}", "sweep.json")
    with lock(folder):
        for old in ("done", "index.html", "metrics.json"):
            (folder / old).unlink(missing_ok=True)
        result = SweepResult(folder, dict.fromkeys((each.name for each in combinations), "missing"))
        errors: dict[str, str] = {}
        record = {
            "status": "running",
            "started": now(),
            "command": facts.command_line(),
            "notebooks": stems,
            "fixed": {key: value for key, value in combinations[0].parameters.items() if key not in swept},
            "sweeps": {key: _distinct(each.swept[key] for each in combinations) for key in swept},
        }
        write_json(folder / "sweep.json", record)
        tasks = [delayed(_run)(chosen, each, folder / "runs" / each.name, force) for each in combinations]
        with progress_bar(total=len(tasks), desc="runs", unit="run") as bar, _ended_at_once():
            for run, status, computed, error in Parallel(jobs, return_as="generator_unordered")(tasks):
                result.status[run] = status
                result.computed += [run] if computed else []
                errors |= {run: error} if error else {}
                bar.update()
                values = shown_values(next(each.swept for each in combinations if each.name == run))
                why = f": {error.splitlines()[0]}" if error else "" if computed else ", kept from before"
                with bar.external_write_mode():
                    say(one_line(f"{values}: {status}{why}", 400))
                if status == "interrupted":
                    break
        _finish(result, combinations, record, errors, say)
    return result


@contextmanager
def _ended_at_once() -> Iterator[None]:
    """On Ctrl-C end the workers, and with them their kernels, instead of waiting for their runs."""
    from joblib.externals.loky import reusable_executor

    try:
        yield
    except KeyboardInterrupt:
        if (executor := reusable_executor._executor) is not None:
            executor.shutdown(wait=False, kill_workers=True)


def _run(
    chosen: Sequence[Notebook], combination: Combination, folder: Path, force: bool
) -> tuple[str, str, bool, str | None]:
    """One combination in a worker: its name, its status, whether it was computed, and what went wrong."""
    try:
        paths = [notebook.path for notebook in chosen]
        done = run_notebooks(paths, combination.parameters, out=folder, force=force, say=lambda line: None)
    except Exception as error:
        reason = str(error) if isinstance(error, InputError) else "".join(traceback.format_exception(error))
        return combination.name, "failed", True, visible(reason)
    status = {0: "finished", 130: "interrupted"}.get(done.exit_code, "failed")
    entries = facts.read_manifest(folder).get("notebooks", {})
    failed = [f"{stem}: {entry.get('error', 'failed')}" for stem, entry in entries.items() if "error" in entry]
    return combination.name, status, bool(done.computed), failed[0] if failed and status == "failed" else None


def read_sweeps(texts: Iterable[str]) -> dict[str, list[Raw]]:
    """The sweeps of a command line, `NAME=V1,V2` each.

    Values are separated as in a YAML list: commas inside brackets, braces and quotes belong to a value, so that
    `seeds=[0],[1,2]` has the two values `[0]` and `[1,2]`, and `word="a,b",c` the two texts `a,b` and `c`.

    Raises
    ------
    InputError
        For a text without `=`, a parameter named twice, an empty value, and a bracket or quote that stays open.
    """
    import yaml

    sweeps: dict[str, list[Raw]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        name, values = name.strip(), f"[{values}]"
        if not sign or not name:
            raise InputError(f"--sweep {text!r}: expected NAME=V1,V2")
        if name in sweeps:
            raise InputError(f"--sweep {name} is given twice; list all its values in one: {name}=V1,V2")
        try:
            nodes: list[yaml.Node] = getattr(yaml.compose(values, Loader=yaml.BaseLoader), "value", [])
        except yaml.YAMLError as error:
            raise InputError(f"--sweep {text!r}: {getattr(error, 'problem', error)}; expected NAME=V1,V2") from None
        sweeps[name] = [
            Raw(node.value if node.style in ("'", '"') else values[node.start_mark.index : node.end_mark.index].strip())
            if isinstance(node, yaml.ScalarNode)
            else Raw(values[node.start_mark.index : node.end_mark.index])
            for node in nodes
        ]
    return sweeps


def plan_combinations(
    chosen: Sequence[Notebook], sweeps: Mapping[str, Iterable[Any]], fixed: Mapping[str, Any]
) -> list[Combination]:
    """Every combination of the swept values, checked against the chosen notebooks; the last name varies fastest.

    Raises
    ------
    InputError
        For no sweep, a sweep without values, a parameter both swept and fixed, too many combinations, a combination
        given twice, and what `resolve_parameters` refuses, in any combination.
    """
    if not sweeps:
        raise InputError("a sweep needs at least one parameter with values")
    values: dict[str, list[Any]] = {}
    for name, given in sweeps.items():
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
            raise InputError(f"sweep of {name}: {given!r} is {type(given).__name__}; expected a list of values")
        values[name] = list(given)
        if not values[name]:
            raise InputError(f"sweep of {name}: no values; expected at least one")
        if name in fixed:
            raise InputError(f"parameter {name} is given twice: swept, and with one value")
    products = list(itertools.islice(itertools.product(*values.values()), MAX_COMBINATIONS + 1))
    if len(products) > MAX_COMBINATIONS:
        raise InputError(f"the sweeps make more than {MAX_COMBINATIONS} combinations")
    found: dict[str, Combination] = {}
    for product in products:
        overrides = resolve_parameters(chosen, {**fixed, **dict(zip(values, product, strict=True))})
        parameters = {name: value for own in overrides.values() for name, value in own.items()}
        swept = {name: parameters[name] for name in values}
        combination = Combination(default_name(swept), swept, parameters)
        if combination.name in found:
            raise InputError(f"the sweep gives {shown_values(swept)} twice; expected values that differ")
        found[combination.name] = combination
    return list(found.values())


def shown_values(values: Mapping[str, Any]) -> str:
    """Parameters for a line of text: `growth = 0.02, start = 0.4`."""
    return ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({json.dumps(value): value for value in values}.values())


def _finish(
    result: SweepResult,
    combinations: Sequence[Combination],
    record: dict[str, Any],
    errors: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    folder, rows, metrics = result.folder, [], []
    for each in combinations:
        place, status = folder / "runs" / each.name, result.status[each.name]
        address = {"folder": f"runs/{each.name}", "status": status}
        has_report = (place / "report.html").is_file()
        error = errors.get(each.name, "")
        rows.append({**address, "parameters": each.swept, "error": error, "has_report": has_report})
        results = {}
        with suppress(OSError, ValueError):
            results = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
        metrics.append({**address, "parameters": each.parameters, "metrics": results})
    code = result.exit_code
    record |= {"status": {0: "finished", 130: "interrupted"}.get(code, "failed"), "finished": now(), "runs": rows}
    write_json(folder / "metrics.json", {"runs": metrics})
    write_index(folder, record, {"runs": metrics})
    write_json(folder / "sweep.json", record)
    if code == 130:
        say("interrupted: what is finished is kept; the same command continues")
    elif code:
        failed = sum(status == "failed" for status in result.status.values())
        say(f"failed: {failed} of {len(combinations)}; the same command tries them again")
    else:
        write_text(folder / "done", json_digest(metrics) + "\n")
    say(f"index:   {visible(folder / 'index.html')}")
