"""`class-kit study paper`: what it leaves, what it takes up again, what it refuses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from class_kit.cli import main
from class_kit.retrieval import Ranks, retrieval_metrics
from class_kit.study import runner, tables
from class_kit.study.config import read_config, study_config
from class_kit.study.paper import conduct as paper_conduct
from class_kit.study.paper import products, words
from class_kit.study.paper.drawing import draw_products
from class_kit.study.paper.near import training_relatives
from class_kit.study.paper.published import PUBLISHED
from class_kit.study.paper.results import LARGEST, read_results
from tests.small_paper import few_settings, study_paper, task_with_relatives


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


def test_the_command_leaves_every_product(small_study: Path, small_results: dict[str, Any]) -> None:
    assert list(small_results["products"]) == list(products.NAMES)
    assert (small_study / "paper.json").stat().st_size < LARGEST
    for name in products.NAMES:
        folder = small_study / name
        assert list((folder / "tables").glob("*.csv"))
        assert {path.stem for path in (folder / "tables").glob("*.csv")} == {
            path.stem for path in (folder / "tables").glob("*.tex")
        }
        for table in folder.rglob("*.tex"):
            lines = [line for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith("%")]
            assert set(filter(lambda letter: not letter.isascii(), "".join(lines))) <= {"–"}, table.name
        pictures = list((folder / "figures").glob("*.png"))
        assert pictures
        for picture in pictures:
            assert picture.with_suffix(".pdf").is_file()
            assert json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))["drawing"]
    with few_settings(small_study.parent):
        for product in products.products({"source": "own.csv"}, seeds=2, epochs=2):
            assert read_config(small_study / product.name / "study.yml") == study_config(dict(product.config))
            assert (small_study / product.name / "study" / "done").is_file()


def test_results_name_no_place_of_this_machine(small_study: Path) -> None:
    text = (small_study / "paper.json").read_text(encoding="utf-8")
    assert str(small_study.parent) not in text
    assert "own.csv" not in text


def test_numbers_of_the_summary_are_those_of_the_ranks(small_study: Path, small_results: dict[str, Any]) -> None:
    runs = [
        json.loads(path.read_text()) for path in (small_study / "main" / "study" / "trainings").glob("*/metrics.json")
    ]
    assert len(runs) == 16
    apart = training_relatives(task_with_relatives()).apart
    product = small_results["products"]["main"]
    assert product["apart"]["queries"] == apart.sum() == small_results["inputs"]["relatives"]["apart"]
    for rows, mask in ((product["summary"], np.ones_like(apart)), (product["apart"]["summary"], apart)):
        assert len(rows) == 2 * 4 * 3
        for row in rows:
            own = [run for run in runs if (run["backbone"], run["arm"]) == (row["backbone"], row["arm"])]
            ranks = [run["ranks"][row["ranking"]] for run in own]
            found = [
                retrieval_metrics(Ranks(np.array(one["greater"])[mask], np.array(one["equal"])[mask], one["pool"]))
                for one in ranks
            ]
            for metric in tables.METRICS:
                assert row[metric] == pytest.approx(np.mean([one[metric] for one in found]), rel=1e-5)
            assert row["pool"] == ranks[0]["pool"]


def test_everything_is_drawn_again_from_the_results_alone(
    small_study: Path, small_results: dict[str, Any], tmp_path: Path
) -> None:
    draw_products(json.loads(json.dumps(small_results)), tmp_path)
    again = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(again) >= 8 * 5
    for path in again:
        assert path.read_bytes() == (small_study / path.relative_to(tmp_path)).read_bytes(), path.name


def test_published_figures_stand_beside_with_pool_and_standing(small_study: Path) -> None:
    with open(small_study / "main" / "tables" / "text_to_molecule_all.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["arm"] == "published"]
    assert [row["backbone"] for row in rows] == [row.model for row in PUBLISHED]
    assert all(row["standing"] in ("reported", "inferred") for row in rows)
    assert [row["pool"] for row in rows[:4]] == ["33010.0"] * 4
    text = (small_study / "main" / "tables" / "text_to_molecule_all.tex").read_text(encoding="utf-8")
    assert "not said" in text
    assert "(inferred)" in text
    other = (small_study / "main" / "tables" / "molecule_to_text_split.tex").read_text(encoding="utf-8")
    assert "published" not in other
    for table in (text, other):
        assert all(row.startswith("aman &") for row in table.splitlines() if "preliminary: 1 seed, 2 epochs" in row)
        assert table.count("preliminary: 1 seed, 2 epochs") == 4


def test_running_again_trains_nothing_and_changes_nothing(
    small_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (small_study / "paper.json").read_bytes()
    assert study_paper(small_study.parent, "--only", "ablation") == 0
    said = capsys.readouterr().out
    assert "ablation: 8 trainings: 8 are done already, 0 to do" in said
    assert re.search(r"^ablation: took \S+ (s|second|min)$.*^all took \S+ (s|second|min)$", said, re.M | re.S)
    assert "main:" not in said
    assert (small_study / "paper.json").read_bytes() == before


def test_the_help_names_the_numbers_that_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    usual = {product.name: product.config for product in products.products({"source": "corpus"})}
    frozen, deep = (usual[name]["training"]["epochs"] for name in ("main", "main_deep"))
    assert f"default: {frozen}; those that read graphs or tokens at most {deep})" in said
    assert f"seeds a setting (default: {len(usual['main']['seeds'])})" in said


def test_the_plan_trains_nothing(small_study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (small_study / "paper.json").stat().st_mtime_ns
    assert study_paper(small_study.parent, "--plan") == 0
    said = capsys.readouterr().out
    assert [line.split(":")[0] for line in said.splitlines()] == list(products.NAMES[:-1])
    assert (small_study / "paper.json").stat().st_mtime_ns == before


def test_results_of_other_pairs_are_not_mixed_in(small_study: Path) -> None:
    assert paper_conduct.gathered(small_study, {"digest": "of another task"})["products"] == {}


def test_results_of_another_version_of_the_code_are_left_out_and_named(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = json.loads((small_study / "paper.json").read_text(encoding="utf-8"))["inputs"]
    said: list[str] = []
    assert set(paper_conduct.gathered(small_study, inputs, said.append)["products"]) == set(products.NAMES)
    assert not said
    monkeypatch.setattr(paper_conduct, "code_digest", lambda: "of another version")
    assert paper_conduct.gathered(small_study, inputs, said.append)["products"] == {}
    assert [line.split(":")[0] for line in said] == list(products.NAMES[:-1])
    assert "another version of the code" in said[0]


def test_a_failed_training_stops_nothing_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = runner.train_record

    def unlucky(task, arm, *rest, **more):
        if arm.name == "scheduler only":
            raise RuntimeError("no luck today")
        return original(task, arm, *rest, **more)

    monkeypatch.setattr(runner, "train_record", unlucky)
    assert study_paper(tmp_path, "--only", "measures", "ablation") == 1
    said = capsys.readouterr().out
    assert "failed: dual_encoder, scheduler only, seed 0: RuntimeError: no luck today" in said
    found = read_results(tmp_path / "paper" / "paper.json")
    assert set(found["products"]) == {"ablation", "measures"}
    assert [entry["seed"] for entry in found["products"]["ablation"]["failed"]] == [0, 1]
    assert "2 trainings failed and are left out." in words.product_words(found, "ablation")
    monkeypatch.setattr(runner, "train_record", original)
    assert study_paper(tmp_path, "--only", "ablation") == 0
    assert not read_results(tmp_path / "paper" / "paper.json")["products"]["ablation"]["failed"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["paper", "--only", "mian"], "--only 'mian'"),
        (["paper", "--seeds", "0"], "seeds=0"),
        (["paper", "--pairs", "missing.csv"], "missing.csv"),
        (["mine.yml", "--seeds", "3"], "--seeds belongs to `study paper`"),
        (["mine.yml", "--swap"], "--swap belongs to"),
        (["paper", "--out", "other"], "holds other files"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    (tmp_path / "mine.yml").write_text(yaml.safe_dump({"seeds": 1}), encoding="utf-8")
    assert main(["study", *given]) == 2
    assert message in capsys.readouterr().err
