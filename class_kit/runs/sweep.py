"""Sweeps: notebooks run once for every combination of some parameters' values, several at a time.

A sweep's folder holds a run's folder for each combination under `runs/`, `index.html` with the figures side by side,
`metrics.json` with every run's parameters, status and results, `sweep.json` with what was asked for, and `done`,
written last and only when all are finished.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.files import json_digest, lock, write_json, write_text
from class_kit.progress import beside_bars, printed, progress_bar
from class_kit.runs.notebooks import Notebook, Raw, choose_notebooks, resolve_parameters
from class_kit.runs.report import write_index
from class_kit.runs.run import (
    RunResult,
    command_line,
    default_name,
    now,
    read_json,
    read_manifest,
    result_folder,
    run_notebooks,
)
from class_kit.terminal import one_line, visible

# Each combination leaves executed notebooks and a report; more than this is probably a mistyped range.
_MOST = 1000


def sweep_notebooks(
    notebooks: Sequence[str | os.PathLike[str]] | None,
    sweeps: Mapping[str, Sequence[Any]],
    parameters: Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    jobs: int | None = None,
    say: Callable[[str], None] = printed,
) -> RunResult:
    """Run notebooks once for every combination of swept values and put their figures side by side.

    Every combination is checked before the first kernel starts. Each is a run of its own (see `run_notebooks`): a
    failure is recorded and does not stop the others. Finished, unchanged combinations are kept, so that repeating the
    call runs only what is missing.

    Parameters
    ----------
    notebooks : sequence of str or path, or None
        Paths or stems; None for all numbered notebooks of the kit.
    sweeps : mapping of str to sequence
        Values for each swept parameter; the combinations are their product, the last parameter varying fastest.
    parameters : mapping, optional
        Values of other parameters, the same in all combinations.
    out : path, optional
        The sweep's folder; by default a name in `runs/` made from the notebook and the parameters.
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
    from joblib.externals.loky import get_reusable_executor

    chosen = choose_notebooks(notebooks)
    combinations = plan_combinations(chosen, sweeps, parameters or {})
    jobs = cpu_count() if jobs is None else check_whole("jobs", jobs, low=1)
    stems, paths = [notebook.stem for notebook in chosen], [notebook.path for notebook in chosen]
    words = "-".join([*(stems if len(stems) == 1 else []), *sweeps])[:60]
    digest = json_digest([stems, list(combinations.values())])
    folder = result_folder(out, f"sweep-{words}-{digest[:8]}", "sweep.json")
    first = next(iter(combinations.values()))
    record: dict[str, Any] = {
        "status": "running",
        "started": now(),
        "command": command_line(),
        "notebooks": stems,
        "sweeps": list(sweeps),
        "fixed": {name: value for name, value in first.items() if name not in sweeps},
    }
    computed: list[str] = []
    with lock(folder):
        (folder / "done").unlink(missing_ok=True)
        write_json(folder / "sweep.json", record)
        with progress_bar(total=len(combinations), desc="runs", unit="run") as bar:
            tasks = (delayed(_run)(name, paths, own, folder, force) for name, own in combinations.items())
            try:
                for name, is_new in Parallel(jobs, return_as="generator_unordered")(tasks):
                    row = _row(folder, name, combinations[name])
                    computed += [name] if is_new else []
                    bar.update()
                    note = row["error"].partition("\n")[0] or ("" if is_new else "kept from before")
                    values = shown_values({key: combinations[name][key] for key in sweeps})
                    beside_bars(say)(one_line(": ".join(filter(None, (values, row["status"], note))), 400))
                    if row["status"] == "interrupted":
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                # end the workers, and with them their kernels, instead of waiting for their runs
                get_reusable_executor().shutdown(wait=False, kill_workers=True)
        rows = {name: _row(folder, name, own) for name, own in combinations.items()}
        result = RunResult(folder, {name: row["status"] for name, row in rows.items()}, computed)
        record |= {"status": result.outcome, "finished": now()}
        write_json(folder / "metrics.json", {"runs": list(rows.values())})
        write_json(folder / "sweep.json", record)
        write_index(folder, record, list(rows.values()))
        if result.outcome == "finished":
            write_text(folder / "done", f"{record['finished']}\n")
        elif result.outcome == "interrupted":
            say("interrupted: what is finished is kept; the same command continues")
        else:
            failed = list(result.status.values()).count("failed")
            say(f"failed: {failed} of {len(rows)}; the same command tries them again")
        say(f"index:   {visible(folder / 'index.html')}")
    return result


def _run(
    name: str, paths: Sequence[Path], parameters: Mapping[str, Any], folder: Path, force: bool
) -> tuple[str, bool]:
    """Run one combination in a worker: its name, and whether it was computed."""
    place = folder / "runs" / name
    result = run_notebooks(paths, parameters, out=place, force=force, jobs=1, say=lambda line: None)
    return name, bool(result.computed)


def _row(folder: Path, name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What there is of one combination: its status, its first error, and its results."""
    place = folder / "runs" / name
    manifest = read_manifest(place)
    status = manifest.get("status", "missing")
    entries = manifest.get("notebooks", {})
    return {
        "folder": f"runs/{name}",
        "parameters": parameters,
        "status": "interrupted" if status == "running" else status,
        "error": next((f"{stem}: {entry['error']}" for stem, entry in entries.items() if "error" in entry), ""),
        "metrics": read_json(place / "metrics.json") if manifest else {},
    }


def read_sweeps(texts: Iterable[str]) -> dict[str, list[Any]]:
    """The sweeps of a command line, `NAME=V1,V2` each.

    What stands behind the `=` is read like a list in JSON or YAML, so commas inside brackets, braces and quotes belong
    to a value: `seeds=[0],[1,2]` has the values `[0]` and `[1,2]`, and `word="a,b",c` the texts `a,b` and `c`. Text
    that looks like a number or a truth value needs quotes.

    Raises
    ------
    InputError
        For a text without `=`, a parameter named twice, an empty value, and a bracket or quote that stays open.
    """
    sweeps: dict[str, list[Any]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if not name or name in sweeps or not values.strip():
            raise InputError(f"--sweep {text!r}: expected NAME=V1,V2 with all values of a name in one")
        try:
            sweeps[name] = Raw(f"[{values}]").read([])
        except InputError as error:
            raise InputError(f"--sweep {text!r}: expected NAME=V1,V2; {error}") from None
    return sweeps


def plan_combinations(
    chosen: Sequence[Notebook], sweeps: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The parameters of every combination by the name of its folder; the last swept name varies fastest.

    Raises
    ------
    InputError
        For no sweep, a sweep without values, a parameter both swept and fixed, too many combinations, a combination
        given twice, and what `resolve_parameters` refuses, in any combination.
    """
    if twice := sorted(set(sweeps) & set(fixed)):
        raise InputError(f"parameter {twice[0]} is given twice: swept, and with one value")
    count = math.prod(map(len, sweeps.values())) if sweeps else 0
    if not 0 < count <= _MOST:
        raise InputError(f"the sweeps make {count} combinations; expected 1 to {_MOST}")
    combinations: dict[str, dict[str, Any]] = {}
    for product in itertools.product(*sweeps.values()):
        given = resolve_parameters(chosen, {**fixed, **dict(zip(sweeps, product, strict=True))})
        parameters = {name: value for own in given.values() for name, value in own.items()}
        swept = {name: parameters[name] for name in sweeps}
        if combinations.setdefault(default_name(swept), parameters) is not parameters:
            raise InputError(f"the sweep gives {shown_values(swept)} twice; expected distinct values")
    return combinations


def shown_values(values: Mapping[str, Any]) -> str:
    """Parameters for a line of text: `growth = 0.02, start = 0.4`."""
    return ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
