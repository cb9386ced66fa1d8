"""What makes a training mean little is said, in the same sentence, by every command that reports one."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from class_kit.data_report import data_report
from class_kit.errors import InputError
from class_kit.notices import training_notices
from class_kit.task import load_task

SENTENCES = {
    "ranking": "training pairs: the numbers say nothing about new pairs",
    "size": "training pairs: expect large differences",
    "batch": "holds all 12 training pairs",
    "order": "All 12 training pairs are equally difficult",
    "molecules": "All training pairs have the same molecule",
    "duplicates": "share their molecule with another",
}


@pytest.mark.parametrize(
    ("given", "about"),
    [
        ({}, set()),
        ({"split": "train"}, {"ranking"}),
        ({"split": None}, set()),
        ({"rows": 999}, {"size"}),
        ({"batch_size": 1}, {"batch"}),
        ({"batch_size": 1999}, set()),
        ({"batch_size": 2000}, {"batch"}),
        ({"counts": np.full(2000, 3)}, {"order"}),
        ({"counts": np.arange(2000) // 1999}, set()),
        ({"keys": ["C"] * 2000}, {"molecules"}),
        ({"keys": [*range(1, 1999), "C", "C"]}, {"duplicates"}),
        ({"keys": [*range(1, 1999), "", ""]}, set()),
    ],
)
def test_each_notice_is_given_where_it_holds_and_nowhere_else(given: dict[str, Any], about: set[str]) -> None:
    rows = given.get("rows", 2000)
    apart: dict[str, Any] = {"rows": rows, "split": "test", "batch_size": 64, "counts": np.arange(rows)}
    assert set(training_notices(**{**apart, "keys": list(range(1, rows + 1)), **given})) == about


def test_a_wrong_number_of_values_is_refused() -> None:
    with pytest.raises(InputError, match="counts has 2 values for 3 training pairs"):
        training_notices(3, "test", 2, counts=np.zeros(2))


@pytest.mark.parametrize("one", [True, False], ids=["one molecule", "two rows of one"])
def test_every_report_of_a_training_says_it(one: bool, here: Path, kit: Any, monkeypatch: Any) -> None:
    smiles = ["CCO"] * 12 if one else ["CCO", "OCC", *("C" * count for count in range(1, 11))]
    with open("mine.csv", "w", newline="") as file:
        rows = [(f"the molecule of row {row}", each, "train") for row, each in enumerate(smiles)]
        csv.writer(file).writerows([("text", "smiles", "split"), *rows])
    trained = kit("train", "mine.csv", "--epochs", "1", "--sigma", "1", "--out", "run")
    evaluated = kit("evaluate", "run")
    config = {"name": "few", "pairs": "mine.csv", "orders": ["standard", "curriculum"], "sigmas": 1.0, "seeds": [0]}
    config |= {"schedules": {"shape": "linear", "start": 0.4, "full_at": 0.5}, "training": {"epochs": 2}}
    Path("study.yml").write_text(json.dumps(config), encoding="utf-8")
    studied = kit("study", "study.yml", "--out", "study", "--jobs", "1")
    report = data_report(load_task("mine.csv"), batch_size=12)
    reported = "\n".join(entry["says"] for entry in report.advice)
    about = ["ranking", "size", "batch", "order", "molecules" if one else "duplicates"]
    for name, text in {"train": trained, "evaluate": evaluated, "study": studied, "report": reported}.items():
        for notice in about:
            # the report has its own findings about thresholds
            assert SENTENCES[notice] in text or (name, notice) == ("report", "order"), (name, notice)
    for text in (trained, evaluated):
        assert "ranking (training pairs)" in text
    assert "ranked: training pairs" in studied
    assert json.loads(Path("study/study.json").read_text())["notices"]
    assert "training pairs: the numbers" in Path("study/tables/summary.tex").read_text()
