"""`class-kit study paper`: the studies of `figures/paper/*.yml` one after the other, and what is kept of them.

Each study has a folder of its own, which also holds its file as it was run. After each, `paper.json` is written anew,
so that it is there however the command ends; equal trainings are done once, whichever study asks first.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.files import shipped, write_text
from class_kit.study.conduct import StudyPlan, plan_study, run_study
from class_kit.study.config import study_config
from class_kit.study.paper_tables import FOLDER, NOISE, SAVINGS, STUDIES, note, paper_tables
from class_kit.study.results import failed_lines, near_duplicates
from class_kit.study.runner import code_digest
from class_kit.study.tables import write_table

if TYPE_CHECKING:
    from class_kit.task import Task

_ORIGINS = ("validation.txt", "test.txt", "train.txt")
_SIGMA = 0.95


def paper_studies(
    pairs: Mapping[str, Any], only: Sequence[str] = (), *, seeds: int | None = None, epochs: int | None = None
) -> dict[str, dict[str, Any]]:
    """What the paper's study files hold, on some pairs, by name and in the order in which they are trained.

    Parameters
    ----------
    pairs : mapping
        A choice of a study's key `pairs`, `source` at least.
    only : sequence of str
        Names of studies, all where empty; `savings` follows from the others and trains nothing.
    seeds, epochs : int, optional
        At most so many seeds a training, and at most so many epochs of each.

    Raises
    ------
    InputError
        For an unknown name, or numbers below 1.
    """
    if unknown := [name for name in only if name not in (*STUDIES, SAVINGS)]:
        known = ", ".join((*STUDIES, SAVINGS))
        raise InputError(f"--only {unknown[0]!r}: expected some of {known}, or some of {', '.join(NOISE)}")
    names = [name for name in STUDIES if not only or name in only]
    return {name: read_study(name, seeds, epochs) | {"pairs": [dict(pairs)]} for name in names}


def read_study(name: str, seeds: int | None, epochs: int | None) -> dict[str, Any]:
    """What one of the shipped study files holds, with at most so many seeds and epochs."""
    import yaml

    most_seeds = math.inf if seeds is None else check_whole("seeds", seeds, low=1)
    most_epochs = math.inf if epochs is None else check_whole("epochs", epochs, low=1)
    values = yaml.safe_load(shipped(f"{FOLDER}/{name}.yml").read_text(encoding="utf-8"))
    values["training"] |= {"epochs": min(values["training"]["epochs"], most_epochs)}
    for backbone in (one for one in values["backbones"] if "epochs" in one):
        backbone["epochs"] = min(backbone["epochs"], most_epochs)
    return values | {"seeds": list(range(min(values["seeds"], most_seeds)))}


def load_paper_task(pairs: Mapping[str, Any]) -> Task:
    """The task that all of the paper's studies share."""
    from class_kit import task

    return task.load_task(**study_config({"pairs": [dict(pairs)]}).pairs[0].sets)


def plan_paper(values: Mapping[str, Any], task: Task) -> StudyPlan:
    """The trainings of one of `paper_studies` on a task that is loaded already."""
    config = study_config(values)
    return plan_study(config, {config.pairs[0].name: task})


def run_paper(
    studies: Mapping[str, Mapping[str, Any]],
    task: Task,
    pairs: Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    jobs: int = 1,
) -> dict[str, Any]:
    """Train what is missing of each study, and write tables, figures and `paper.json`.

    A failed training stops neither the others nor the studies after it; it is recorded in its study's folder
    (`failures.json`) and in the result's `failed`. `paper.json` also holds what earlier commands left of other studies
    in the same folder, where it is of the same inputs and the same version of the kit.

    Parameters
    ----------
    pairs : mapping
        What the task was loaded from, as of `paper_studies`.

    Returns
    -------
    dict
        What `paper.json` holds: `inputs` and `products`, the studies' results by name.
    """
    import yaml

    out = Path(out)
    results: dict[str, Any] = {"inputs": describe_inputs(pairs, task), "products": {}}
    for name, values in studies.items():
        plan = plan_paper(values, task)
        for line in plan.lines(jobs):
            print(f"{name}: {line}", flush=True)
        file = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=100)
        write_text(out / name / "study.yml", file)
        for line in failed_lines(run_study(plan, out / name, jobs=jobs)):
            print(line, flush=True)
        results["products"] = finished_studies(out, task)
        write_text(out / "paper.json", json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    draw_paper(results, out)
    return results


def draw_paper(results: Mapping[str, Any], out: str | os.PathLike[str]) -> None:
    """Write every study's tables (CSV, LaTeX) and figures (PDF, PNG) under `out/<study>/`.

    Parameters
    ----------
    results : mapping
        As `run_paper` returns it or `read_results` reads it; nothing else is looked at.
    """
    from matplotlib import pyplot as plt

    from class_kit import figures
    from class_kit.study.paper_figures import save_figures

    figures.use_style()
    for name in results["products"]:
        folder = Path(out) / name
        for title, (frame, shown) in paper_tables(results, name).items():
            write_table(folder / "tables", title, frame, shown, note(results, name))
        for fig in save_figures(results, name, folder).values():
            plt.close(fig)


def describe_inputs(pairs: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """What the results are results of, without the paths of a machine."""
    splits = list(task.pairs.split)
    origin = task.pairs.extra.get("origin", ()) if pairs.get("extra") else ()
    relatives = None
    if task.evaluation_split != "train":
        found = near_duplicates(task, task.evaluation_split, _SIGMA)
        apart = int((~found.any(axis=1)).sum())
        relatives = {"queries": len(found), **found.sum().to_dict(), "sigma": _SIGMA, "apart": apart}
    return {
        "pairs": Path(str(pairs["source"])).stem,
        "swapped": bool(pairs.get("swap", False)),
        "sizes": {name: splits.count(name) for name in dict.fromkeys(splits)},
        "evaluated": task.evaluation_split,
        "pool": len(task.molecules),
        # of the training pairs, which come first
        "extra": sum(split == "train" and name not in _ORIGINS for split, name in zip(splits, origin, strict=False)),
        "encoders": {key: Path(value).name for key, value in task.encoders.items()},
        "digest": task.digest,
        "relatives": relatives,
    }


def finished_studies(out: Path, task: Task) -> dict[str, Any]:
    """What the studies' folders hold of these pairs and this version of the kit, and `savings` of all of them."""
    products = {}
    for name in STUDIES:
        path = out / name / "study.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        digests = found.pop("code", None), *found.pop("inputs", {}).values()
        if digests == (code_digest(), task.digest):
            products[name] = found
    if rows := [row for product in products.values() for row in product.get("savings", [])]:
        products[SAVINGS] = {"title": "what the smaller budget saved", "preliminary": False, "savings": rows}
    return products
