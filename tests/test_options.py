"""Settings are written once: a new field is an option, a key of a study, a recorded value, and is refused by name."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ConfigDict, Field, ValidationError, create_model

from class_kit import cli
from class_kit.checks import refusal
from class_kit.curriculum.controls import ORDERS
from class_kit.curriculum.intensity import INTENSITIES
from class_kit.curriculum.schedules import SHAPES
from class_kit.errors import InputError
from class_kit.options import DYNAMIC, SELECTIVE, Arm, Curve, Order, Shape, TaskOptions, TrainingConfig, option_model
from class_kit.runs.notebooks import Notebook
from class_kit.study import config as study_file
from class_kit.task import load_task
from tests.refusals import refuses


@option_model
class WiderArm(Arm):
    """An arm with a setting more."""

    patience: int = Field(default=3, ge=1, description="epochs without a gain that are waited for")


@option_model
class WiderConfig(TrainingConfig):
    """Settings of the loop with one more."""

    clip: float | None = Field(default=None, gt=0, description="longest gradient")


def test_a_new_setting_is_an_option_a_key_and_a_record(monkeypatch: pytest.MonkeyPatch, kit: Any) -> None:
    for room in (cli.import_module("class_kit.cli.train"), study_file):
        monkeypatch.setattr(room, "Arm", WiderArm)
        monkeypatch.setattr(room, "TrainingConfig", WiderConfig)
    shown = " ".join(kit("train", "--help").split())
    assert "--patience N epochs without a gain that are waited for (default: 3)" in shown
    assert "--clip X longest gradient" in shown
    train = cli.import_module("class_kit.cli.train")
    arguments = cli.build_parser("train").parse_args(["train", "corpus", "--patience", "5", "--clip", "0.5"])
    arm, config = train.arm_from(arguments), train.config_from(arguments)
    recorded = json.loads(json.dumps({"arm": asdict(arm), "config": asdict(config)}))
    assert (recorded["arm"]["patience"], recorded["config"]["clip"]) == (5, 0.5)
    assert (WiderArm(**recorded["arm"]), WiderConfig(**recorded["config"])) == (arm, config)
    assert arm.training_key["patience"] == 5
    study = study_file.study_config({"arms": [{"name": "a", "patience": 7}], "training": {"clip": 2}})
    assert study.arms[0][0].patience == 7
    assert study.training == {"clip": 2.0}
    for values, message in (
        ({"arms": [{"name": "a", "patience": 0}]}, "patience=0: expected a number greater than or equal to 1"),
        ({"training": {"clop": 1}}, "'clop' is unknown; did you mean 'clip'"),
    ):
        with pytest.raises(InputError, match=message):
            study_file.study_config(values)
    assert "patience : int\n    epochs without a gain" in str(WiderArm.__doc__)


def test_names_are_those_of_the_tables_that_they_choose_from() -> None:
    schedules = get_args(Arm.__pydantic_fields__["schedule"].annotation)
    assert set(get_args(Shape)) == set(schedules) == set(SHAPES)
    assert get_args(Curve) == INTENSITIES
    assert get_args(Order) == (*ORDERS, *DYNAMIC, "agreement", *SELECTIVE)
    with pytest.raises(InputError, match="'text_encodr' is unknown; did you mean 'text_encoder'"):
        load_task(text_encodr="minilm")


test_what_cannot_be_is_refused_by_name = refuses(
    (lambda: Arm("a", order="curiculum"), "did you mean 'curriculum'"),
    (lambda: Arm("a", hardnes=1.0), "'hardnes' is unknown; did you mean 'hardness'"),
    (lambda: Arm("a", start=1.5), "start=1.5: expected a number less than or equal to 1"),
    (lambda: Arm("a", growth=float("nan")), "growth=nan: expected a finite number"),
    (lambda: Arm("a", intensity={"loss": "loud"}), "intensity.loss='loud': expected one of sigmoid"),
    (lambda: Arm("a", interval=True), "interval=True: expected an integer"),
    (lambda: Arm(), "name is missing"),
    (lambda: Arm("a", share=0.5, full_at=0.5), "both set β"),
    (lambda: TrainingConfig(backbone_options=[]), r"backbone_options=\[\]: expected a mapping"),
    (lambda: TaskOptions(pairs="\udce9"), "pairs='.udce9'"),
    (lambda: TaskOptions(molecule_encoder="mol2vek"), "molecule_encoder='mol2vek': did you mean 'mol2vec'"),
)


def test_numbers_of_numpy_are_numbers_and_a_copy_is_checked() -> None:
    arm = Arm("a", schedule="step", interval=np.int64(3), start=np.float32(0.5))
    assert (arm.interval, arm.start) == (3, 0.5)
    assert type(arm.interval) is int
    assert json.loads(json.dumps(asdict(arm)))["interval"] == 3
    with pytest.raises(InputError, match="start=2"):
        replace(arm, start=2)


@pytest.mark.parametrize(
    ("name", "value", "default", "message"),
    [
        ("start", 2.0, 0.4, "start=2.0: expected a number less than or equal to 1"),
        ("difficulty", "mood", "neighbours", "difficulty='mood': expected one of neighbours"),
        ("epochs", 0, 15, "epochs=0"),
        ("start", 2.0, 3.0, None),
        ("order", [2], [0], None),
        ("mine", -1, 0, None),
    ],
)
def test_a_notebooks_parameter_is_checked_as_the_setting_that_it_names(name, value, default, message) -> None:
    notebook = Notebook(Path("03_mine.ipynb"), None, {name: default})
    if message is None:
        assert notebook.checked({name: value}) == {name: value}
    else:
        with pytest.raises(InputError, match=f"03_mine: {message}"):
            notebook.checked({name: value})


@pytest.mark.parametrize(
    ("fields", "values", "message"),
    [
        ({"a": (int | str, 1)}, {"a": []}, r"a=\[\]: expected an integer or a string"),
        ({"a": (list[int], [])}, {"a": [1, "x"]}, r"where: a\[1\]='x': expected an integer"),
        ({"epochs": (int, 1)}, {"epoch": 2}, "'epoch' is unknown; did you mean 'epochs'"),
        ({}, {"epoch": 2}, "'epoch' is unknown; expected nothing here"),
    ],
)
def test_faults_of_any_model_are_told_alike(fields: dict, values: dict, message: str) -> None:
    model = create_model("Model", __config__=ConfigDict(extra="forbid", strict=True), **fields)
    with pytest.raises(ValidationError) as caught:
        model(**values)
    with pytest.raises(InputError, match=message):
        raise refusal(caught.value, fields, where="where")
