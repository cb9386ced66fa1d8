"""`class-kit study paper`: the studies of `figures/paper/*.yml`, and what is kept of each.

Each study has its own folder, with its tables and figures as of any study. After each, `paper.json` or `noise.json` is
written again, so it is there however the command ends; notebook 7 shows the paper's own figures of it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.fetch import WEIGHT_FILES, list_files
from class_kit.files import shipped, write_text
from class_kit.molecules.vectors import PUBLISHED
from class_kit.study.config import StudyConfig, data_name, study_config
from class_kit.study.noise import keep_noise
from class_kit.study.paper_tables import FOLDER, FURTHER, NOISE, SAVINGS, STUDIES, read_results
from class_kit.study.results import NEAR, near_duplicates, rounded
from class_kit.study.runner import code_digest

if TYPE_CHECKING:
    from class_kit.study.conduct import StudyPlan
    from class_kit.task import Task

_ORIGINS = ("validation.txt", "test.txt", "train.txt")


def paper_studies(
    pairs: Mapping[str, Any], only: Sequence[str] = (), *, seeds: int | None = None, epochs: int | None = None
) -> dict[str, StudyConfig]:
    """The paper's studies on some pairs, by name and in the order in which they are trained.

    Parameters
    ----------
    pairs : mapping
        A choice of a study's key `pairs`, `source` at least. Its options hold for every data set of a file, `extra` and
        `swap` for ChEBI-20 alone; pairs other than ChEBI-20 replace all data sets of a file.
    only : sequence of str
        Names of studies; by default all but those on further data sets and with mismatched pairs.
    seeds, epochs : int, optional
        At most so many seeds, and at most so many epochs of each training.

    Raises
    ------
    InputError
        For an unknown name, or numbers below 1.
    """
    import yaml

    every = (*STUDIES, *FURTHER, *NOISE)
    if unknown := [name for name in only if name not in every]:
        raise InputError(f"--only {unknown[0]!r}: expected some of {', '.join(every)}")
    most_seeds = math.inf if seeds is None else check_whole("seeds", seeds, low=1)
    most_epochs = math.inf if epochs is None else check_whole("epochs", epochs, low=1)
    shared = {key: value for key, value in pairs.items() if key not in ("source", "extra", "swap")}
    studies = {}
    for name in (name for name in every if name in (only or STUDIES)):
        values = yaml.safe_load(shipped(f"{FOLDER}/{name}.yml").read_text(encoding="utf-8"))
        own = [(pairs if one["source"] == "chebi20" else shared) | one for one in values["pairs"]]
        values["pairs"] = own if pairs["source"] == "chebi20" else [dict(pairs)]
        values["seeds"] = list(range(min(values["seeds"], most_seeds)))
        for limited in (values["training"], *(one for one in values["backbones"] if "epochs" in one)):
            limited["epochs"] = min(limited["epochs"], most_epochs)
        studies[name] = study_config(values)
    return studies


def refuse_missing(studies: Mapping[str, StudyConfig]) -> None:
    """Refuse studies whose published files are not on this machine with an InputError that lists all of them."""
    missing = {}
    for sets in (choice.sets for config in studies.values() for choice in config.pairs):
        train = sets["pairs"] == "chebi20" and not sets.get("extra")
        wanted = {"train.txt"} if train else set()
        wanted |= {PUBLISHED.get(sets.get("vectors", ""), "")}
        wanted |= {WEIGHT_FILES[-1]} if sets.get("text_encoder") == "scibert" else set()
        for what, name, about, place in list_files(sets.get("data")):
            if place is None and name in wanted:
                missing[name] = f"{name} ({about}; class-kit fetch {what})"
    if missing:
        raise InputError(f"not on this machine: {'; '.join(missing.values())}")


def keep_study(out: Path, name: str, plan: StudyPlan, results: Mapping[str, Any]) -> None:
    """Write the results of `run_study` to `paper.json` or `noise.json`.

    Both also hold what earlier commands left of other studies in the same folder, if it is of the same pairs.
    """
    if name in NOISE:
        keep_noise(out, name, plan, results)
        return
    path = out / "paper.json"
    paper = read_results(path) if path.is_file() else {"inputs": {}, "products": {}}
    sets = {data_name(choice, share): choice.sets for choice in plan.config.pairs for share in plan.config.fractions}
    described = {data: describe_inputs(data, sets.get(data, {}), task) for data, task in plan.tasks.items()}
    product = {"code": code_digest(), **results, "inputs": described}
    if name in STUDIES:
        # all of these are of one set of pairs, which is described once
        (inputs,) = product.pop("inputs").values()
        if paper["inputs"] not in ({}, inputs):
            paper["products"] = {}
        paper["inputs"] = inputs
    found = paper["products"] | {name: product}
    products = {study: found[study] for study in (*STUDIES, *FURTHER) if study in found}
    if rows := [row for one in products.values() for row in one.get("savings", [])]:
        products[SAVINGS] = {"title": "what the smaller budget saved", "preliminary": False, "savings": rows}
    kept = rounded({"inputs": paper["inputs"], "products": products})
    write_text(path, json.dumps(kept, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def describe_inputs(data: str, sets: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Which pairs the results belong to, without paths: their name in the study, and what loaded them."""
    splits = task.pairs.split
    origin = task.pairs.extra.get("origin", ()) if sets.get("extra") else ()
    relatives = None
    if task.evaluation_split != "train":
        near = near_duplicates(task, task.evaluation_split)
        apart = int((~near.any(axis=1)).sum())
        relatives = {"queries": len(near), **near.sum().to_dict(), "sigma": NEAR, "apart": apart}
    return {
        "pairs": data,
        "swapped": bool(sets.get("swap", False)),
        "sizes": dict(Counter(splits)),
        "evaluated": task.evaluation_split,
        "pool": len(task.molecules),
        # of the training pairs, which come first
        "extra": sum(split == "train" and name not in _ORIGINS for split, name in zip(splits, origin, strict=False)),
        "encoders": {key: Path(value).name for key, value in task.encoders.items()},
        "digest": task.digest,
        "relatives": relatives,
    }
