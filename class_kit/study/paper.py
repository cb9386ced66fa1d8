"""`class-kit study paper`: the studies of `figures/paper/*.yml` one after the other, and what is kept of them.

Each study has a folder of its own, which also holds its file as it was run. After each, `paper.json` is written anew,
so that it is there however the command ends; equal trainings are done once, whichever study asks first.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.files import shipped, write_text
from class_kit.progress import duration
from class_kit.study.arms import Arm, training_counts
from class_kit.study.conduct import StudyPlan, StudyResult, plan_study, run_study
from class_kit.study.config import study_config
from class_kit.study.grid import Cell
from class_kit.study.near_duplicates import NearDuplicates, keep_queries, near_duplicates
from class_kit.study.output import comparisons, summaries
from class_kit.study.paper_tables import LARGEST, SAVINGS, STANDARD, read_results
from class_kit.study.records import Record
from class_kit.study.runner import code_digest
from class_kit.study.statistics import seed_interval
from class_kit.terminal import one_line

if TYPE_CHECKING:
    from class_kit.task import Task

# beside the results of a checkout, and inside an installed package
FOLDER = "figures/paper"
GAP_METRICS = ("hits@1", "mrr", "mean_rank")
_VERSION = 1
_DIGITS = 6
_ORIGINS = ("validation.txt", "test.txt", "train.txt")


@dataclass(frozen=True)
class PaperStudy:
    """One claim of the paper: a study's file, and what `paper.yml` says of it.

    Attributes
    ----------
    name, title : str
    values : mapping
        What the file holds, with the pairs, seeds and epochs that were asked for.
    against : mapping of arm to arms
        Differences that its tables give: the named arms (all others where none is named) minus the key.
    labels : mapping of arm to str
        How tables call an arm, where not by its name.
    also : sequence of "savings", "apart" and "ties"
        What is kept besides metrics and differences.
    preliminary : bool
        One seed and few epochs: shown, and marked.
    """

    name: str
    title: str
    values: Mapping[str, Any]
    against: Mapping[str, Sequence[str]]
    labels: Mapping[str, str]
    also: Sequence[str] = ()
    preliminary: bool = False

    def label(self, arm: Arm) -> str:
        """How tables call an arm: without what all crossed arms have in common."""
        name = arm.name.removeprefix("curriculum · ")
        return self.labels[name].format(sigma=arm.sigma) if name in self.labels else name

    def plan(self, task: Task) -> StudyPlan:
        """Its trainings on a task that is loaded already."""
        return plan_study(study_config(dict(self.values)), load=lambda **sets: task)


def paper_studies(
    pairs: Mapping[str, Any], only: Sequence[str] = (), *, seeds: int | None = None, epochs: int | None = None
) -> list[PaperStudy]:
    """The paper's studies on some pairs, in the order in which they are trained.

    Parameters
    ----------
    pairs : mapping
        A choice of a study's key `pairs`, `source` at least.
    only : sequence of str
        Names of studies, all where empty; `savings` follows from the others and trains nothing.
    seeds, epochs : int, optional
        At most so many seeds a training, and epochs of each; a preliminary study has at most its own.

    Raises
    ------
    InputError
        For an unknown name, or numbers below 1.
    """
    import yaml

    most = math.inf if seeds is None else check_whole("seeds", seeds, low=1, high=1000)
    length = None if epochs is None else check_whole("epochs", epochs, low=1)

    def read(name: str) -> dict[str, Any]:
        values: dict[str, Any] = yaml.safe_load(shipped(f"{FOLDER}/{name}.yml").read_text(encoding="utf-8"))
        return values

    index = read("paper")
    if unknown := [name for name in only if name not in (*index, SAVINGS)]:
        raise InputError(f"--only {unknown[0]!r}: expected some of {', '.join((*index, SAVINGS))}")
    studies = []
    for name, entry in index.items():
        values, own = read(name), {"labels": {}, **entry}
        training = values["training"]
        if length is not None:
            training = training | {"epochs": min(length, training["epochs"]) if "preliminary" in own else length}
        number = int(min(most, values["seeds"]))
        values |= {"pairs": [dict(pairs)], "seeds": list(range(number)), "training": training}
        if not only or name in only:
            studies.append(PaperStudy(name, values=values, **own))
    return studies


def load_paper_task(pairs: Mapping[str, Any]) -> Task:
    """The task that all of the paper's studies share."""
    from class_kit import task

    return task.load_task(**study_config({"pairs": [dict(pairs)]}).pairs[0].sets)


def plan_paper(studies: Sequence[PaperStudy], task: Task, jobs: int, say: Callable[[str], None] = print) -> None:
    """Say of each study what would be trained and for how long; trainings that studies share count in each."""
    for study in studies:
        for line in study.plan(task).lines(jobs):
            say(f"{study.name}: {line}")


def run_paper(
    studies: Sequence[PaperStudy],
    task: Task,
    pairs: Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    jobs: int = 1,
    say: Callable[[str], None] = print,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train what is missing of each study, and write tables, figures and `paper.json`.

    A failed training stops neither the others nor the studies after it; it is recorded in its study's folder
    (`study/failures.json`) and in the result's `failed`. Results of other studies that `paper.json` holds already stay,
    where they are of the same inputs and the same version of the kit.

    Parameters
    ----------
    pairs : mapping
        What the task was loaded from, as of `paper_studies`.

    Returns
    -------
    dict
        What `paper.json` holds: `inputs` and `products`, the studies' results by name.

    Raises
    ------
    InputError
        For a damaged `paper.json`.
    """
    import yaml

    from class_kit.study.paper_figures import draw_paper

    out = Path(out)
    duplicates = near_duplicates(task, task.evaluation_split) if task.evaluation_split != "train" else None
    inputs = describe_inputs(pairs, task, duplicates)
    kept = kept_results(out / "paper.json", inputs, say)
    results = {"version": _VERSION, "code": code_digest(), "inputs": inputs, "products": in_order(kept)}
    write_results(out / "paper.json", results)
    for study in studies:
        begun = time.perf_counter()
        plan = study.plan(task)
        for line in plan.lines(jobs):
            say(f"{study.name}: {line}")
        file = yaml.safe_dump(dict(study.values), sort_keys=False, allow_unicode=True, width=100)
        write_text(out / study.name / "study.yml", f"# {study.title}\n{file}")
        result = run_study(plan, out / study.name / "study", jobs=jobs, progress=progress)
        for cell, failure in result.failures:
            say(one_line(f"failed: {cell.backbone}, {failure.summary}"))
        kept[study.name] = study_results(study, result, duplicates)
        results["products"] = in_order(kept)
        write_results(out / "paper.json", results)
        say(f"{study.name}: took {duration(time.perf_counter() - begun)}")
    draw_paper(results, out)
    return results


def study_results(study: PaperStudy, result: StudyResult, duplicates: NearDuplicates | None) -> dict[str, Any]:
    """A study's finished trainings as plain data, small enough to be committed.

    Keys: `title`, `preliminary`, `settings` (the file less its pairs), `trainings`, `training_seconds`, `failed`,
    `summary`, `differences`; and as far as the study asks for them `ties` of the thresholds, `savings`, and `apart`:
    summary and differences over the queries without a near-duplicate among the training pairs.
    """
    task = next(iter(result.plan.tasks.values()))
    cells = [replace(cell, arm=replace(cell.arm, name=study.label(cell.arm))) for cell, _ in result.records]
    records = [replace(record, arm=cell.arm) for cell, (_, record) in zip(cells, result.records, strict=True)]

    def tables(records: Sequence[Record]) -> dict[str, Any]:
        named = replace(result, records=list(zip(cells, records, strict=True)))
        frames = {"summary": summaries(named), "differences": comparisons(named, study.against, GAP_METRICS)}
        return {name: frame.to_dict("records") for name, frame in frames.items()}

    kept: dict[str, Any] = {
        "title": study.title,
        "preliminary": study.preliminary,
        "settings": {key: value for key, value in study.values.items() if key != "pairs"},
        "trainings": len(records),
        "training_seconds": math.fsum({str(record.folder): record.seconds for record in records}.values()),
        "failed": [
            cell.labels | {"reason": failure.reason.strip().splitlines()[-1][:300]} for cell, failure in result.failures
        ],
        **tables(records),
    }
    if "ties" in study.also:
        kept["ties"] = tie_rows(task, cells)
    if "savings" in study.also:
        kept["savings"] = savings_rows(cells, records)
    if "apart" in study.also and records and duplicates is not None and duplicates.apart.any():
        apart = duplicates.apart
        kept["apart"] = {"queries": int(apart.sum())} | tables(keep_queries(records, apart))
    plain: dict[str, Any] = rounded(kept)
    return plain


def savings_rows(cells: Iterable[Cell], records: Iterable[Record]) -> list[dict[str, Any]]:
    """What each arm saved of the standard run, by backbone: shares of samples, steps and seconds of training.

    Seconds are compared seed by seed, as they were measured; their interval is over seeds, none with one seed.
    """
    by_backbone: dict[str, dict[str, dict[int, Record]]] = {}
    for cell, record in zip(cells, records, strict=True):
        by_backbone.setdefault(cell.backbone, {}).setdefault(record.arm.name, {})[record.seed] = record
    rows = []
    for backbone, arms in by_backbone.items():
        plain = arms.pop(STANDARD, {})
        for arm, own in arms.items():
            if not (seeds := sorted(set(own) & set(plain))):
                continue
            saved = {
                cost: [1 - getattr(own[seed], cost) / getattr(plain[seed], cost) for seed in seeds]
                for cost in ("samples", "steps", "seconds")
            }
            means = {cost: float(np.mean(values)) for cost, values in saved.items()}
            spread = seed_interval(saved["seconds"]) if len(seeds) > 1 else None
            ends = {"seconds_low": spread and spread.low, "seconds_high": spread and spread.high}
            rows.append({"backbone": backbone, "arm": arm, "seeds": len(seeds), **means, **ends})
    return rows


def tie_rows(task: Task, cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """How far each threshold orders the training pairs at all, in the order of the arms.

    `zero`: share of pairs without a neighbour; `shared`: share whose count another pair has too, so that the tie rule
    has a say; `largest`: share in the largest group of equal counts.
    """
    sigmas = {cell.arm.name: cell.arm.sigma for cell in cells if cell.arm.order == "curriculum"}
    rows = []
    for arm, sigma in sigmas.items():
        counts = training_counts(task, sigma)
        sizes = np.unique(counts, return_counts=True)[1]
        shares = {"shared": sizes[sizes > 1].sum(), "largest": sizes.max()}
        shares = {name: float(size / len(counts)) for name, size in shares.items()}
        rows.append({"arm": arm, "sigma": sigma, "zero": float((counts == 0).mean()), **shares})
    return rows


def describe_inputs(pairs: Mapping[str, Any], task: Task, duplicates: NearDuplicates | None) -> dict[str, Any]:
    """What the results are results of, without the paths of a machine."""
    splits = list(task.pairs.split)
    origin = task.pairs.extra.get("origin", ()) if pairs.get("extra") else ()
    extra = sum(
        split == "train" and name not in _ORIGINS for split, name in zip(splits[: len(origin)], origin, strict=True)
    )
    described: dict[str, Any] = rounded(
        {
            "pairs": Path(str(pairs["source"])).stem,
            "swapped": bool(pairs.get("swap", False)),
            "sizes": {name: splits.count(name) for name in dict.fromkeys(splits)},
            "evaluated": task.evaluation_split,
            "pool": len(task.molecules),
            "extra": extra,
            "encoders": {key: Path(value).name for key, value in task.encoders.items()},
            "digest": task.digest,
            "relatives": None if duplicates is None else duplicates.counts(),
        }
    )
    return described


def kept_results(path: Path, inputs: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """The studies' results that a `paper.json` holds for these inputs and this version of the kit."""
    if not path.is_file():
        return {}
    try:
        kept = read_results(path)
    except InputError as error:
        raise InputError(f"{error}; remove it and run again") from None
    if (kept["inputs"].get("digest"), kept.get("code")) != (inputs["digest"], code_digest()):
        say(f"{path.name}: its results are of other pairs or another version of the kit, and are replaced")
        return {}
    return dict(kept["products"])


def in_order(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Results in the order of the studies, and `savings` of all that have some."""
    names = [study.name for study in paper_studies({"source": "corpus"})]
    products = {name: kept[name] for name in names if name in kept}
    if rows := [row for product in products.values() for row in product.get("savings", [])]:
        products[SAVINGS] = {"title": "what the smaller budget saved", "preliminary": False, "savings": rows}
    return products


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON, one row a line: small, and readable in a comparison of versions.

    Raises
    ------
    InputError
        Where they would be larger than 1 MiB, which is no aggregate.
    """
    text = _lines(results, 5) + "\n"
    if len(text.encode()) > LARGEST:
        raise InputError(f"{path}: the results take {len(text.encode()):,} bytes: expected at most {LARGEST:,}")
    write_text(path, text)


def rounded(value: Any) -> Any:
    """Plain data with numbers of six digits, None for what is not finite: more than any table prints."""
    if isinstance(value, Mapping):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def _lines(value: Any, depth: int) -> str:
    """JSON whose outer levels are on lines of their own."""
    if depth and isinstance(value, Mapping) and value:
        inside = [
            f"{json.dumps(str(key), ensure_ascii=False)}: {_lines(item, depth - 1)}" for key, item in value.items()
        ]
        return "{\n" + ",\n".join(inside) + "\n}"
    if depth and isinstance(value, list) and value:
        return "[\n" + ",\n".join(_lines(item, 0) for item in value) + "\n]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
