"""`class-kit study paper`: the products one after the other on one task, and what is kept of them.

Each product is a study in a folder of its own, which also holds its configuration as a YAML file to start from. After
each, `paper.json` is written anew from what the folders hold, so that it is there however the command ends.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.errors import InputError
from class_kit.files import write_json, write_text
from class_kit.progress import duration
from class_kit.study.conduct import StudyPlan, plan_study, run_study
from class_kit.study.config import study_config
from class_kit.study.paper.aggregate import product_results, rounded
from class_kit.study.paper.near import Relatives, training_relatives
from class_kit.study.paper.products import MAIN, MAIN_DEEP, NAMES, SAVINGS, Product, chosen_products, products
from class_kit.study.paper.results import LARGEST
from class_kit.study.runner import code_digest
from class_kit.terminal import one_line

if TYPE_CHECKING:
    from class_kit.task import Task

VERSION = 1
_ORIGINS = ("validation.txt", "test.txt", "train.txt")


@dataclass(frozen=True)
class PaperSettings:
    """What the command was asked for.

    Attributes
    ----------
    pairs : mapping
        A choice of a study's key `pairs`, `source` at least.
    only : sequence of str
        Names of products; all where empty.
    seeds, epochs : int, optional
        As of `products`.
    """

    pairs: Mapping[str, Any]
    only: Sequence[str] = ()
    seeds: int | None = None
    epochs: int | None = None
    load: Callable[..., Task] | None = field(default=None, repr=False)

    def task(self) -> Task:
        """The task that all products share."""
        from class_kit.task import load_task

        config = study_config({"pairs": [dict(self.pairs)]})
        return (self.load or load_task)(**config.pairs[0].sets)

    def products(self) -> list[Product]:
        """The products that are trained."""
        wanted = chosen_products(self.only)
        every = products(self.pairs, seeds=self.seeds, epochs=self.epochs)
        return [product for product in every if product.name in wanted]


def plan_paper(settings: PaperSettings, jobs: int, say: Callable[[str], None] = print) -> None:
    """Say of each product what would be trained and for how long; trainings that products share count in each."""
    task = settings.task()
    for product in settings.products():
        _say_plan(product, _planned(product, task), jobs, say)


def run_paper(
    settings: PaperSettings,
    out: str | os.PathLike[str],
    *,
    jobs: int = 1,
    say: Callable[[str], None] = print,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Train what is missing of each product, and write tables, figures and `paper.json`.

    A failed training stops neither the others nor the products after it; it is recorded in its product's folder
    (`study/failures.json`) and in the result's `failed`.

    Returns
    -------
    dict
        What `paper.json` holds: `inputs` and `products` by name.

    Raises
    ------
    InputError
        As `load_task`, and for an unknown product.
    """
    from class_kit.study.paper.drawing import draw_products

    out, wanted = Path(out), settings.products()
    task = settings.task()
    relatives = _relatives(task)
    inputs = describe_inputs(settings.pairs, task, relatives)
    for product in wanted:
        begun = time.perf_counter()
        plan = _planned(product, task)
        _say_plan(product, plan, jobs, say)
        folder = out / product.name
        write_text(folder / "study.yml", configuration_text(product))
        result = run_study(plan, folder / "study", jobs=jobs, progress=progress)
        for cell, failure in result.failures:
            say(one_line(f"failed: {cell.backbone}, {failure.summary}"))
        kept = {"inputs": inputs, "code": code_digest(), "results": product_results(product, result, relatives)}
        write_json(folder / "product.json", kept)
        write_results(out / "paper.json", gathered(out, inputs))
        say(f"{product.name}: took {duration(time.perf_counter() - begun)}")
    results = gathered(out, inputs, say)
    write_results(out / "paper.json", results)
    draw_products(results, out)
    return results


def describe_inputs(pairs: Mapping[str, Any], task: Task, relatives: Relatives | None) -> dict[str, Any]:
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
            "relatives": None if relatives is None else relatives.counts(),
        }
    )
    return described


def gathered(
    out: str | os.PathLike[str], inputs: Mapping[str, Any], say: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """The results of every product that a folder holds for these inputs; `savings` is taken from the main tables.

    What other inputs or another version of the training code left is not mixed in; `say` is told of it.
    """
    found: dict[str, Any] = {}
    for name in NAMES:
        path = Path(out) / name / "product.json"
        if not path.is_file():
            continue
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["inputs"]["digest"] == inputs["digest"] and kept.get("code") == code_digest():
                found[name] = kept["results"]
            elif say is not None:
                say(f"{name}: left out, its results are of other pairs or another version of the code; run it again")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path}: no product's results ({error}); remove it and run again") from None
    rows = [row for name in (MAIN, MAIN_DEEP) for row in found.get(name, {}).get("savings", [])]
    if rows:
        found[SAVINGS] = {"title": "what the smaller budget saved", "preliminary": False, "savings": rows}
    return {"version": VERSION, "inputs": dict(inputs), "products": found}


def write_results(path: str | os.PathLike[str], results: Mapping[str, Any]) -> None:
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


def configuration_text(product: Product) -> str:
    """A product's study as YAML that `class-kit study` runs."""
    import yaml

    text: str = yaml.safe_dump(json.loads(json.dumps(product.config)), sort_keys=False, allow_unicode=True, width=100)
    return f"# {product.title}\n{text}"


def _planned(product: Product, task: Task) -> StudyPlan:
    return plan_study(study_config(dict(product.config)), load=lambda **sets: task)


def _say_plan(product: Product, plan: StudyPlan, jobs: int, say: Callable[[str], None]) -> None:
    for line in plan.lines(jobs):
        say(f"{product.name}: {line}")


def _relatives(task: Task) -> Relatives | None:
    split = task.evaluation_split
    return None if split == "train" else training_relatives(task, split)


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
