"""A study's file: what it crosses, what it leaves out, what it refuses, and what comes out at the end."""

import csv
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from class_kit.errors import InputError
from class_kit.retrieval import Ranks, retrieval_metrics
from class_kit.study import conduct, runner
from class_kit.study.arms import plan_arm
from class_kit.study.config import Cell, cells, read_config, study_config
from class_kit.study.ranking import ANY, RANKINGS
from class_kit.study.records import load_backbone
from class_kit.study.tables import latex_table, latex_text
from class_kit.task import Task, ask_across, exchange_molecules, take_fraction
from class_kit.training import encode
from tests.refusals import refuses
from tests.test_study import small_task

SMALL = {"epochs": 3, "batch_size": 16, "learning_rate": 1e-2}
HEAD = {"backbone": "dual_encoder", "options": {"hidden": 16, "dim": 8}}
TASK = small_task()


pytestmark = pytest.mark.usefixtures("own_cache")


def laid_out(**keys: Any) -> list[Cell]:
    config = study_config({"training": SMALL, "backbones": [HEAD], "seeds": [0], **keys})
    return cells(config, {"corpus": TASK})


def names(found: list[Cell]) -> list[str]:
    return [cell.arm.name for cell in found]


def test_choices_are_crossed_where_they_decide_something() -> None:
    found = laid_out(
        orders=["standard", {"order": "curriculum", "name": "easy"}, {"order": "random", "name": ""}],
        sigmas=[0.9, {"sigma": 0.95, "name": "σ 0.95"}],
        intensities=["constant", {"curve": "inverse", "scales": "lr"}],
        seeds=[3, 4],
    )
    crossed = ["constant · 0.9", "constant · σ 0.95", "inverse on lr · 0.9", "inverse on lr · σ 0.95"]
    assert names(found)[::2] == names(found)[1::2] == ["standard", *(f"easy · {name}" for name in crossed), *crossed]
    assert {cell.config.intensity_on for cell in found if "on lr" in cell.arm.name} == {"lr"}
    assert {cell.config.intensity_on for cell in found if "constant" in cell.arm.name} == {"loss"}
    step = {"shape": "step", "start": 0.4, "full_at": 1, "interval": 2}
    baby = {"shape": "step", "start": 0.2, "growth": 0.1, "interval": 4, "name": "baby"}
    schedules = [step, {"shape": "root", "start": 0.2, "share": 0.7}, baby]
    shown = ["step of 2 α 0.4 full at 100%", "root α 0.2 70% of the samples", "baby"]
    assert names(laid_out(orders=["curriculum"], schedules=schedules)) == [f"curriculum · {name}" for name in shown]


def test_a_quantile_becomes_the_threshold_it_names() -> None:
    from class_kit import neighbour_counts

    cell = laid_out(orders=["curriculum"], sigmas=["q0.5", 0.9])[0]
    rows = TASK.rows("train")
    counts = neighbour_counts(TASK.t[rows], TASK.m[rows], sigma=cell.arm.sigma)
    assert abs((counts == 0).mean() - 0.5) < 0.1
    assert cell.arm.name == f"curriculum · q0.5 (σ {cell.arm.sigma:.3f})"


@pytest.mark.parametrize("budget", ["steps", "samples"])
def test_budgets_are_made_equal(budget: str) -> None:
    found = laid_out(orders=["standard", "curriculum", "random"], budgets=[budget], training=SMALL | {"epochs": 10})
    spent = {}
    for cell in found:
        plan = plan_arm(TASK, cell.arm, cell.config)
        spent[cell.arm.name] = plan.samples_total(16) if budget == "samples" else plan.steps_total(16)
    base = spent.pop("standard")
    one_epoch = 80 if budget == "samples" else 5
    assert all(abs(value - base) <= one_epoch / 2 for value in spent.values())
    assert {cell.config.epochs for cell in found if cell.arm.name != "standard"} != {10}


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ({"order": "loss-pruned"}, "budget 'samples' for 'a': its samples and steps are decided while it trains"),
        ({"start": 0.02, "growth": 0.0}, r"100 epochs take 400 of 800 samples, expected"),
    ],
)
def test_budgets_that_cannot_be_made_equal_are_refused(arm: dict[str, Any], words: str) -> None:
    training = SMALL | {"epochs": 10, "batch_size": 4}
    values = {"orders": ["standard"], "arms": [{"name": "a", **arm}], "training": training}
    with pytest.raises(InputError, match=words):
        laid_out(**values, budgets=["samples"])
    assert names(laid_out(**values)) == ["standard", "a"]


def test_a_budget_of_samples_is_that_of_the_pairs_that_are_left() -> None:
    arm = {"name": "a", "order": "standard", "duplicates": "drop", "duplicates_above": 0.99}
    found = laid_out(orders=["standard"], arms=[arm], budgets=["samples"], training=SMALL | {"epochs": 10})
    # a family of 20 among 80 leaves 61 pairs
    assert {cell.arm.name: cell.config.epochs for cell in found} == {"standard": 10, "a": round(800 / 61)}


def test_arms_of_ones_own_stand_beside_the_crossed_ones() -> None:
    arms = [
        {"name": "late", "order": "standard", "hardness": 0.5, "hardness_from": 0.5},
        {"name": "on the rate", "intensity": "inverse", "scales": "lr"},
    ]
    found = laid_out(orders=["standard"], arms=arms)
    assert names(found) == ["standard", "late", "on the rate"]
    assert [cell.config.intensity_on for cell in found] == ["loss", "loss", "lr"]
    assert found[1].arm.hardness == 0.5
    with pytest.raises(InputError, match="also the name of a crossed arm"):
        laid_out(orders=["standard"], arms=[{"name": "standard"}])


test_what_a_study_does_not_know_is_refused_by_name = refuses(
    ([], "expected a mapping"),
    ({"backbone": ["dual_encoder"]}, "did you mean 'backbones'"),
    ({"orders": ["curiculum"]}, "did you mean 'curriculum'"),
    ({"orders": []}, "orders=[]: expected at least 1"),
    ({"orders": ["random", "random"]}, "more than once"),
    ({"backbones": [{"backbone": "dual_encoder", "options": {"depth": 2}}]}, "does not take the options"),
    ({"backbones": [{"backbone": "dual_encoder", "epoch": 2}]}, "did you mean 'epochs'"),
    ({"training": {"epochs": "many"}}, "training: epochs='many': expected an integer"),
    ({"schedules": [{"shape": "linear", "start": 0.3}]}, "expected one of them"),
    ({"intensities": [{"curve": "inverse", "scales": "rate"}]}, "scales='rate': expected one of loss, lr"),
    ({"sigmas": ["qhalf"]}, "such as q0.5"),
    ({"budgets": ["money"]}, "budgets[0]='money': expected one of epochs, steps, samples"),
    ({"seeds": 0}, "seeds=0"),
    ({"pairs": [{"data": "x"}]}, "source=None"),
    ({"pairs": [{"source": "corpus", "vector": "yes"}]}, "did you mean 'vectors'"),
    ({"arms": [{"order": "random"}]}, "name=None"),
    ({"name": "\u001b[2J"}, "printable"),
    call=study_config,
    pattern=re.escape,
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("", "expected a mapping"),
        ("x: " + "[" * 3000, "not valid YAML"),
    ],
)
def test_files_that_are_no_study_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "study.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_config(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none.yml")


def planned(task: Task = TASK, **keys: Any) -> conduct.StudyPlan:
    config = study_config({"training": SMALL, "backbones": [HEAD], "seeds": [0], **keys})
    return conduct.plan_study(config, {"corpus": task})


def test_a_study_leaves_ranks_tables_and_figures(tmp_path: Path) -> None:
    # one text of two test pairs: tables give both readings
    texts = [*TASK.pairs.text[:-1], TASK.pairs.text[-2]]
    pairs = replace(TASK.pairs, text=tuple(texts))
    task = replace(TASK, pairs=pairs, molecules=pairs)
    plan = planned(task, seeds=[0, 1])
    assert plan.lines(2) == ["8 trainings: 0 are done already, 8 to do"]
    half = iter([*[SimpleNamespace(seconds=60.0), SimpleNamespace(seconds=120.0)] * 2, *[None] * 4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conduct, "stored_record", lambda *work: next(half))
        assert plan.lines(2)[1].startswith("about 3 min for their steps, 2 at a time")
    out = tmp_path / "out"
    results = conduct.run_study(plan, out, jobs=1, progress=False)
    assert (out / "done").is_file()
    runs = [json.loads(path.read_text()) for path in (out / "trainings").glob("*/metrics.json")]
    assert len(runs) == 8
    for run in runs:
        for name, ranks in run["ranks"].items():
            found = Ranks(np.array(ranks["greater"]), np.array(ranks["equal"]), ranks["pool"])
            assert json.loads(json.dumps(retrieval_metrics(found))) == run["metrics"][name]
    with open(out / "tables" / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows[:4]] == ["standard", "curriculum", "random", "step-matched"]
    assert {row["ranking"] for row in rows} == set(RANKINGS) | {name + ANY for name in RANKINGS}
    for row in rows:
        of_arm = [run["metrics"][row["ranking"]]["hits@1"] for run in runs if run["arm"] == row["arm"]]
        assert float(row["hits@1"]) == pytest.approx(np.mean(of_arm))
    assert json.loads((out / "study.json").read_text())["inputs"] == results["inputs"]
    assert len(results["differences"]) == 3 * 3 * 3
    assert {path.suffix for path in (out / "figures").glob("01_*")} == {".pdf", ".png", ".json"}
    assert len(list((out / "figures").glob("*.pdf"))) == 3 + 2
    again = planned(task, seeds=[0, 1])
    assert again.lines(2) == ["8 trainings: 8 are done already, 0 to do"]
    # equal trainings are shared; what they are called is the study's own
    renamed = [replace(cell, arm=replace(cell.arm, name=f"my {cell.arm.name}")) for cell in again.cells]
    shared = conduct.run_study(replace(again, cells=renamed), tmp_path / "two", jobs=1, progress=False)
    assert shared["training_seconds"] == results["training_seconds"]
    assert {row["arm"] for row in shared["summary"]} == {cell.arm.name for cell in renamed}


def test_noise_exchanges_molecules_anew_for_each_seed_and_its_shares_are_not_compared(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(conduct, "_write_figures", lambda *given: None)
    plan = planned(seeds=[0, 1], noise=[0, 0.5], orders=["standard", "small-loss", "oracle"])
    for cell in plan.cells:
        if cell.group["noise"] == "0":
            assert cell.task is TASK
        else:
            same = exchange_molecules(TASK, 0.5, cell.config.seed)
            np.testing.assert_array_equal(cell.task.exchanged, same.exchanged)
            assert cell.task.digest == same.digest
    results = conduct.run_study(plan, tmp_path / "out", jobs=1, progress=False)
    samples = {(row["noise"], row["arm"]): row["samples"] for row in results["summary"]}
    # half of 80 training pairs, three epochs; without noise the oracle leaves nothing out
    assert samples["0.5", "oracle"] == 120
    assert samples["0", "oracle"] == samples["0", "standard"] == samples["0.5", "standard"] == 240
    gaps = [row for row in results["differences"] if row["metric"] == "hits@1"]
    assert [row["noise"] for row in gaps] == ["0"] * 6 + ["0.5"] * 6
    with pytest.raises(InputError, match="sets its own noise"):
        planned(noise=[0.2], pairs={"source": "corpus", "noise": 0.1})
    with pytest.raises(InputError, match="noise"):
        planned(noise=[1.2])


def test_a_fraction_is_drawn_anew_for_each_seed_and_smaller_ones_are_part_of_larger_ones() -> None:
    task = small_task()
    config = study_config({"fractions": [0.125, 0.5, 1], "orders": ["standard"], "seeds": 2})
    found = {(cell.group["pairs"], cell.config.seed): cell.task for cell in cells(config, {"corpus": task})}
    ids = {key: {task.pairs.id[row] for row in task.rows("train")} for key, task in found.items()}
    eighth, half = "corpus, 0.125 of the training pairs", "corpus, 0.5 of the training pairs"
    assert {key: len(own) for key, own in ids.items() if key[1] == 0} == {
        (eighth, 0): 10,
        (half, 0): 40,
        ("corpus", 0): 80,
    }
    assert ids[eighth, 0] < ids[half, 0] != ids[half, 1]
    for own in found.values():
        assert (own.rows("test").size, own.pool is task.pool) == (25, True)
        np.testing.assert_array_equal(own.t[own.rows("test")], task.t[task.rows("test")])
    with pytest.raises(InputError, match="across with fractions"):
        cells(study_config({"fractions": [0.5, 1], "across": True}), {"corpus": task})
    with pytest.raises(InputError, match="fraction=0"):
        take_fraction(task, 0)


def test_held_out_pairs_of_other_data_are_ranked_under_each_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "_write_figures", lambda *given: None)
    tasks = {"a": small_task(), "b": small_task(seed=1)}
    values = {"pairs": [{"source": name, "name": name} for name in tasks], "across": True, "orders": ["standard"]}
    values |= {"seeds": 1, "training": {"epochs": 2, "batch_size": 16}, "also": ["apart"]}
    plan = conduct.plan_study(study_config(values), tasks)
    results = conduct.run_study(plan, tmp_path, jobs=1, progress=False)
    found = {row["pairs"]: row for row in results["summary"] if row["ranking"] == "text_to_molecule/split"}
    assert list(found) == ["a", "b", "a → b", "b → a"]
    for trained, asked in (("a", "b"), ("b", "a")):
        (cell,) = (cell for cell in plan.cells if cell.group["pairs"] == trained)
        backbone = load_backbone(runner.stored_record(*cell.work), tasks[trained])
        rows = tasks[asked].rows("test")
        t, m = (
            encode(backbone, *side) for side in (("text", tasks[asked].t[rows]), ("molecules", tasks[asked].m[rows]))
        )
        t, m = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (t, m))
        cosines = t.astype(float) @ m.T.astype(float)
        hits = (cosines.argmax(axis=1) == np.arange(len(rows))).mean()
        assert found[f"{trained} → {asked}"]["hits@1"] == pytest.approx(hits)
    # both tasks have the same texts and molecules under the same names
    assert {row["pairs"] for row in results.get("apart", {}).get("summary", ())} <= set(found)
    with pytest.raises(InputError, match="encoders"):
        ask_across(tasks["a"], replace(tasks["b"], encoders={"text": "other"}))


def test_a_failed_training_is_recorded_and_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct, "_write_figures", lambda *given: None)
    plan, original = planned(orders=["standard", "random"]), runner.train_record

    def unlucky(task: Any, arm: Any, *rest: Any, **more: Any) -> Any:
        if arm.order == "random":
            raise RuntimeError("no luck today")
        return original(task, arm, *rest, **more)

    monkeypatch.setattr(runner, "train_record", unlucky)
    out = tmp_path / "out"
    assert [one["arm"] for one in conduct.run_study(plan, out, jobs=1, progress=False)["failed"]] == ["random"]
    assert not (out / "done").exists()
    (failed,) = json.loads((out / "failures.json").read_text())
    assert failed["reason"] == "RuntimeError: no luck today"
    assert "Traceback" in failed["traceback"]
    assert (out / "tables" / "summary.csv").is_file()
    monkeypatch.setattr(runner, "train_record", original)
    assert not conduct.run_study(plan, out, jobs=1, progress=False)["failed"]
    assert (out / "done").is_file()
    assert not (out / "failures.json").exists()


GREEK = "αβγδεζηθικλμνξοπρστυφχψω"
SIGNS = "γ₁ H₂O 10⁻³ x² → −"


def test_latex_of_letters_and_signs_is_plain_ascii(tmp_path: Path) -> None:
    assert latex_text(GREEK + SIGNS).isascii()
    assert latex_text("γ₁ 10⁻³ λ → −1") == r"$\gamma$$_1$ 10$^{-}$$^3$ $\lambda$ $\to$ --1"
    assert latex_text("e\u0301") == "é"
    assert latex_text("水") == "水"
    table = latex_table(
        pd.DataFrame({"arm": [GREEK, SIGNS, "é ø ß ŵ – … ° µ"], "Hits@1 %": ["51.0 (49.0 to 53.0)"] * 3})
    )
    assert table.startswith("\\begin{tabular}{lr}\n\\toprule\n")
    if shutil.which("pdflatex"):
        source = "\\documentclass{article}\\usepackage{booktabs}\\usepackage[T1]{fontenc}\\begin{document}" + table
        (tmp_path / "t.tex").write_text(source + "\\end{document}", encoding="utf-8")
        subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True)


def test_the_command_plans_runs_and_continues(here: Path, monkeypatch: pytest.MonkeyPatch, kit: Any) -> None:
    monkeypatch.setattr("class_kit.task.load_task", lambda **sets: TASK)
    monkeypatch.setattr(conduct, "_write_figures", lambda *given: None)
    study = {"pairs": ["own.csv"], "backbones": [HEAD], "training": SMALL, "orders": ["standard", "curriculum"]}
    Path("mine.yml").write_text(yaml.safe_dump(study | {"seeds": 2}), encoding="utf-8")
    assert "4 trainings: 0 are done already, 4 to do" in kit("study", "mine.yml", "--plan")
    assert not Path("runs").exists()
    assert "curriculum" in kit("study", "mine.yml", "--jobs", "1")
    assert Path("runs/study-mine/done").is_file()
    assert "4 are done already" in kit("study", "mine.yml", "--jobs", "1")
