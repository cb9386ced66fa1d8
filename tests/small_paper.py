"""The paper's studies made small: generated vectors, two seeds, two epochs, few settings of each study."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from class_kit import task as task_module
from class_kit.cli import main
from class_kit.files import shipped
from class_kit.study import conduct, paper
from class_kit.study.paper_tables import FOLDER, SAVINGS, STUDIES
from class_kit.task import Task
from tests.test_study import small_task

NAMES = (*STUDIES, SAVINGS)
OPTIONS = ("--pairs", "own.csv", "--seeds", "2", "--epochs", "2", "--jobs", "1", "--out", "paper")


def load_script(path: str) -> Any:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parents[1] / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def task_with_relatives() -> Task:
    """80 training and 25 test pairs, of which two repeat a training pair: one its vectors, one its text."""
    task = small_task()
    t, m = task.t.copy(), task.m.copy()
    t[100], m[100] = t[3], m[3]
    text = tuple("p5" if at == 119 else name for at, name in enumerate(task.pairs.text))
    pairs = replace(task.pairs, text=text)
    return Task(pairs, t, m, pairs, m, task.encoders)


def study_file(name: str) -> dict[str, Any]:
    """What `figures/paper/<name>.yml` holds."""
    return yaml.safe_load(shipped(f"{FOLDER}/{name}.yml").read_text(encoding="utf-8"))


def small_file(name: str) -> dict[str, Any]:
    """The same with two or three settings."""
    values = study_file(name)
    if name == "main":
        values["backbones"] = [one for one in values["backbones"] if one["backbone"] in ("dual_encoder", "dsokr")]
    elif name == "main_deep":
        # a head stands for those that read graphs
        values["backbones"] = [{"backbone": "text2mol", "name": "aman", "learning_rate": 0.001}]
    elif name == "grid":
        # slower schedules than these would leave pairs out, and warn
        values["schedules"] = [
            {"shape": "linear", "start": start, "growth": growth, "name": f"α {start} β {growth}"}
            for start in (0.4, 0.8)
            for growth in (0.3, 0.6)
        ]
    elif name == "sigma":
        values["sigmas"] = [0.9, "q0.5"]
    elif name == "measures":
        values["arms"] = [arm for arm in values["arms"] if arm["name"] in ("random order", "neighbours", "loss")]
    return values


@contextmanager
def few_settings(place: Path) -> Iterator[None]:
    """Every study with two or three settings on the small task, a store of its own, and no figures."""
    folder = place / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in STUDIES:
        (folder / f"{name}.yml").write_text(yaml.safe_dump(small_file(name), sort_keys=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("CLASS_KIT_CACHE", str(place / "cache"))
        patch.setattr(task_module, "load_task", lambda *given, **options: task_with_relatives())
        patch.setattr(paper, "shipped", lambda name: place / name)
        # those of a study are tried with studies
        patch.setattr(conduct, "_write_figures", lambda *given: None)
        yield


def study_paper(place: Path, *more: str) -> int:
    """The command in a folder, with few settings; its exit code."""
    with few_settings(place):
        return main(["study", "paper", *OPTIONS, *more])
