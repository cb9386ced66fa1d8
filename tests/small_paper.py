"""The paper's study made small: generated vectors, two seeds, two epochs, few settings of each product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from class_kit import task as task_module
from class_kit.cli import main
from class_kit.study import output
from class_kit.study.paper import products
from class_kit.task import Task
from tests.test_study import small_task

OPTIONS = ("--pairs", "own.csv", "--seeds", "2", "--epochs", "2", "--jobs", "1", "--out", "paper")


def task_with_relatives() -> Task:
    """80 training and 25 test pairs, of which two repeat a training pair: one its vectors, one its text."""
    task = small_task()
    t, m = task.t.copy(), task.m.copy()
    t[100], m[100] = t[3], m[3]
    text = tuple("p5" if at == 119 else name for at, name in enumerate(task.pairs.text))
    pairs = replace(task.pairs, text=text)
    return Task(pairs, t, m, pairs, m, task.encoders)


@contextmanager
def few_settings(place: Path) -> Iterator[None]:
    """Every product with two or three settings on the small task, a store of its own, no figures but the paper's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("CLASS_KIT_CACHE", str(place / "cache"))
        patch.setattr(task_module, "load_task", lambda *given, **options: task_with_relatives())
        patch.setattr(products, "HEADS", ("dual_encoder", "dsokr"))
        # a head stands for those that read graphs
        patch.setattr(products, "DEEP", {"aman": ("text2mol", {})})
        patch.setattr(products, "SIGMAS", (0.9, "q0.5"))
        patch.setattr(products, "available_measures", lambda: ("neighbours", "loss"))
        # slower schedules than these would leave pairs out, and warn
        patch.setattr(products, "ALPHAS", (0.4, 0.8))
        patch.setattr(products, "BETAS", (0.3, 0.6))
        # those of a study are tried with studies
        patch.setattr(output, "_write_figures", lambda *given: None)
        yield


def study_paper(place: Path, *more: str) -> int:
    """The command in a folder, with few settings; its exit code."""
    with few_settings(place):
        return main(["study", "paper", *OPTIONS, *more])
