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
from class_kit.study.near_duplicates import near_duplicates

from class_kit.cli import main
from class_kit.errors import InputError
from class_kit.retrieval import Ranks, retrieval_metrics
from class_kit.study import paper, paper_figures, runner, tables
from class_kit.study.config import read_config, study_config
from class_kit.study.paper_tables import LARGEST, note, read_results
from tests.small_paper import NAMES, few_settings, study_file, study_paper, task_with_relatives


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


def test_the_command_leaves_every_product(small_study: Path, small_results: dict[str, Any]) -> None:
    assert list(small_results["products"]) == list(NAMES)
    assert (small_study / "paper.json").stat().st_size < LARGEST
    for name in NAMES:
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
            assert json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))["parameters"]
    with few_settings(small_study.parent):
        for study in paper.paper_studies({"source": "own.csv"}, seeds=2, epochs=2):
            assert read_config(small_study / study.name / "study.yml") == study_config(dict(study.values))
            assert (small_study / study.name / "study" / "done").is_file()


def test_results_name_no_place_of_this_machine(small_study: Path) -> None:
    text = (small_study / "paper.json").read_text(encoding="utf-8")
    assert str(small_study.parent) not in text
    assert "own.csv" not in text


def test_numbers_of_the_summary_are_those_of_the_ranks(small_study: Path, small_results: dict[str, Any]) -> None:
    runs = [
        json.loads(path.read_text()) for path in (small_study / "main" / "study" / "trainings").glob("*/metrics.json")
    ]
    assert len(runs) == 16
    apart = near_duplicates(task_with_relatives()).apart
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
    paper_figures.draw_paper(json.loads(json.dumps(small_results)), tmp_path)
    again = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(again) >= 8 * 5
    for path in again:
        assert path.read_bytes() == (small_study / path.relative_to(tmp_path)).read_bytes(), path.name


def test_published_figures_stand_beside_with_pool_and_standing(small_study: Path) -> None:
    with open(small_study / "main" / "tables" / "published.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["arm"] == "published"]
    assert len(rows) == 11
    assert all(row["standing"] in ("reported", "inferred") for row in rows)
    assert [row["pool"] for row in rows[:4]] == ["33010.0"] * 4
    text = (small_study / "main" / "tables" / "published.tex").read_text(encoding="utf-8")
    assert "not said" in text
    assert "(inferred)" in text
    assert all(row.startswith("aman &") for row in text.splitlines() if "preliminary: 1 seed, 2 epochs" in row)
    assert text.count("preliminary: 1 seed, 2 epochs") == 4 * 2


def test_running_again_trains_nothing_and_changes_nothing(
    small_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (small_study / "paper.json").read_bytes()
    assert study_paper(small_study.parent, "--only", "ablation") == 0
    shown = capsys.readouterr().out
    assert "ablation: 8 trainings: 8 are done already, 0 to do" in shown
    assert re.search(r"^ablation: took \S+ (s|second|min)$.*^all took \S+ (s|second|min)$", shown, re.M | re.S)
    assert "main:" not in shown
    assert (small_study / "paper.json").read_bytes() == before


def test_the_help_names_the_numbers_that_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    frozen, deep = (study_file(name)["training"]["epochs"] for name in ("main", "main_deep"))
    assert f"default: {frozen}; those that read graphs or tokens at most {deep})" in shown
    assert f"seeds a setting (default: {study_file('main')['seeds']})" in shown


def test_the_plan_trains_nothing(small_study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (small_study / "paper.json").stat().st_mtime_ns
    assert study_paper(small_study.parent, "--plan") == 0
    shown = capsys.readouterr().out
    assert [line.split(":")[0] for line in shown.splitlines()] == list(NAMES[:-1])
    assert (small_study / "paper.json").stat().st_mtime_ns == before


def test_results_of_other_pairs_or_another_version_are_replaced_and_named(
    small_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, told = small_study / "paper.json", []
    inputs = read_results(path)["inputs"]
    assert set(paper.kept_results(path, inputs, told.append)) == set(NAMES)
    assert paper.kept_results(small_study / "none.json", inputs, told.append) == {}
    assert not told
    assert paper.kept_results(path, {"digest": "of another task"}, told.append) == {}
    monkeypatch.setattr(paper, "code_digest", lambda: "of another version")
    assert paper.kept_results(path, inputs, told.append) == {}
    assert len(told) == 2
    assert "another version of the kit" in told[0]


def test_a_damaged_record_of_results_is_named(tmp_path: Path) -> None:
    (tmp_path / "paper.json").write_text("[", encoding="utf-8")
    with pytest.raises(InputError, match="remove it and run again"):
        paper.kept_results(tmp_path / "paper.json", {"digest": ""}, print)
    with pytest.raises(InputError, match="expected at most"):
        paper.write_results(tmp_path / "large.json", {"products": {"main": ["x" * LARGEST]}})
    assert not (tmp_path / "large.json").exists()


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
    shown = capsys.readouterr().out
    assert "failed: dual_encoder, scheduler only, seed 0: RuntimeError: no luck today" in shown
    found = read_results(tmp_path / "paper" / "paper.json")
    assert set(found["products"]) == {"ablation", "measures"}
    assert [entry["seed"] for entry in found["products"]["ablation"]["failed"]] == [0, 1]
    assert "2 trainings failed and are left out." in note(found, "ablation")
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
