"""The paper's study: products that are studies, what is kept of them, and words, tables and figures made of that."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib import pyplot as plt

from class_kit.cli import main
from class_kit.errors import InputError
from class_kit.neighbours import neighbour_counts
from class_kit.pairs import PairSet
from class_kit.retrieval import Ranks, retrieval_metrics
from class_kit.study import conduct, grid, output, runner, statistics, tables
from class_kit.study.arms import plan_arm
from class_kit.study.config import read_config, study_config
from class_kit.study.paper import aggregate, products, words
from class_kit.study.paper import conduct as paper_conduct
from class_kit.study.paper.drawing import draw_products, product_figures
from class_kit.study.paper.found import found_words
from class_kit.study.paper.near import keep_queries, training_relatives
from class_kit.study.paper.published import PUBLISHED
from class_kit.study.paper.results import LARGEST, find_results, read_results
from class_kit.study.paper.tables import product_tables
from class_kit.study.paper.tuned import TUNED
from tests.small_paper import few_settings, small_results, study_paper, task_with_relatives
from tests.test_study import small_task

ROOT = Path(__file__).parents[1]
PAIRS = {"source": "chebi20", "data": "somewhere", "vectors": "text2mol"}
EVERY = products.products(PAIRS)
each_product = pytest.mark.parametrize("product", EVERY, ids=lambda product: product.name)


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_results(tmp_path_factory)


@pytest.fixture(scope="module")
def results(made: Path) -> dict[str, Any]:
    return read_results(made / "paper.json")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> conduct.StudyResult:
    """Three arms with three seeds on the small task."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLASS_KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(output, "_write_figures", lambda *given: None)
        head = {"backbone": "dual_encoder", "options": {"hidden": 16, "dim": 8}}
        arms = [products.class_arm(), products.class_arm(products.RANDOM, order="random")]
        config = study_config(
            {
                "backbones": [head],
                "orders": ["standard"],
                "arms": arms,
                "training": {"epochs": 3, "batch_size": 16, "learning_rate": 1e-2},
            }
        )
        plan = conduct.plan_study(config, load=lambda **sets: task_with_relatives())
        return conduct.run_study(plan, tmp_path_factory.mktemp("out"), jobs=1, progress=False)


def cells_of(product: products.Product) -> list[grid.Cell]:
    config = study_config(dict(product.config))
    return grid.cells(config, {config.pairs[0].name: small_task()}, {})


@each_product
def test_a_product_is_a_study_that_yaml_can_hold(product: products.Product, tmp_path: Path) -> None:
    path = tmp_path / "study.yml"
    path.write_text(paper_conduct.configuration_text(product), encoding="utf-8")
    assert read_config(path) == study_config(dict(product.config))
    names = {product.label(cell.arm) for cell in cells_of(product)}
    assert len(names) == len({cell.arm.name for cell in cells_of(product)})
    for reference, arms in product.against.items():
        assert {reference, *arms} <= names


def test_products_are_those_of_the_paper() -> None:
    assert [product.name for product in EVERY] == list(products.NAMES[:-1])
    found = {product.name: {product.label(cell.arm) for cell in cells_of(product)} for product in EVERY}
    assert found["main"] == {"standard", "CLASS", "random order", "step-matched"}
    assert found["ablation"] == {"neither", "scheduler only", "intensity only", "both"}
    assert {f"γ{sign} on {on}" for sign in "₁₂" for on in ("loss", "rate")} < found["intensity"]
    assert {f"α {alpha:g} β {beta:g}" for alpha in products.ALPHAS for beta in products.BETAS} < found["grid"]
    assert len(found["sigma"]) == len(products.SIGMAS) + 2
    assert set(products.available_measures()) < found["measures"]
    assert set(TUNED) == {*products.HEADS, *products.DEEP}


def test_each_part_of_the_ablation_is_what_it_is_called() -> None:
    task = small_task()
    for cell in cells_of(next(product for product in EVERY if product.name == "ablation")):
        plan = plan_arm(task, cell.arm, cell.config)
        scheduled = plan.count(1) < len(task.rows("train"))
        softened = plan.intensity(1) < 1
        expected = {
            "standard": (False, False),
            "scheduler only": (True, False),
            "intensity only": (False, True),
            "both": (True, True),
        }
        assert (scheduled, softened) == expected[cell.arm.name]


def test_equal_trainings_are_shared_with_other_studies_and_between_products() -> None:
    """CLASS is the crossed curriculum of a plain configuration, so what that has trained is taken from the store."""
    plain = study_config(
        {
            "orders": ["standard", "curriculum", "random", "step-matched"],
            "training": {"epochs": 40, "batch_size": 128},
            "backbones": [{"backbone": "dual_encoder", "learning_rate": TUNED["dual_encoder"]}],
            "seeds": 5,
        }
    )
    task = small_task()
    wanted = {runner._key(task, cell.arm, cell.config) for cell in grid.cells(plain, {"corpus": task}, {})}
    found = {name: {runner._key(task, cell.arm, cell.config) for cell in cells} for name, cells in _cells().items()}
    assert wanted < found["main"]
    assert all(len(found["main"] & found[name]) >= 2 for name in ("ablation", "sigma", "measures", "grid"))


def _cells() -> dict[str, list[grid.Cell]]:
    return {product.name: cells_of(product) for product in EVERY}


def test_rates_are_those_that_the_search_chose() -> None:
    path = ROOT / "figures" / "backbones" / "results.json"
    if not path.is_file():
        pytest.skip("figures/backbones/results.json is not committed yet: no search has chosen rates")
    search = json.loads(path.read_text(encoding="utf-8"))["search"]
    assert {name: search[name]["chosen"] for name in search if name in TUNED} == {
        name: rate for name, rate in TUNED.items() if name in search
    }


def test_seeds_and_epochs_are_limits() -> None:
    few = {product.name: product.config for product in products.products(PAIRS, seeds=2, epochs=3)}
    assert {name: len(config["seeds"]) for name, config in few.items()} == {**dict.fromkeys(few, 2), "main_deep": 1}
    assert {config["training"]["epochs"] for config in few.values()} == {3}
    usual = {product.name: product.config for product in EVERY}
    assert [len(usual[name]["seeds"]) for name in ("main", "grid", "sigma", "measures")] == [5, 2, 3, 3]
    assert usual["main_deep"]["training"] == {"epochs": 8, "batch_size": 64}
    for wrong in ({"seeds": 0}, {"epochs": 0}, {"seeds": True}):
        with pytest.raises(InputError):
            products.products(PAIRS, **wrong)


def test_relatives_are_those_of_a_naive_loop() -> None:
    task = task_with_relatives()
    train, test = task.rows("train"), task.rows("test")
    unit = [vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True) for vectors in (task.t, task.m)]
    for sigma in (0.5, 0.9, 0.95, 0.99):
        found = training_relatives(task, "test", sigma)
        for at, row in enumerate(test):
            similar = [float(sum(side[row] @ side[other] for side in unit) / 2) for other in train]
            assert found.near[at] == (max(similar) > sigma)
            assert found.text[at] == any(task.pairs.text[row] == task.pairs.text[other] for other in train)
            assert not found.structure[at]
            assert found.apart[at] == (not (found.near[at] or found.text[at]))
    assert training_relatives(task).text.sum() == 1
    assert training_relatives(task).counts()["queries"] == len(test)


def test_stereoisomers_and_spellings_are_one_structure() -> None:
    task = small_task()
    smiles = list(task.pairs.smiles)
    smiles[0], smiles[100], smiles[101] = "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "OC(=O)C(C)N"
    pairs = replace(task.pairs, smiles=tuple(smiles))
    found = training_relatives(replace(task, pairs=pairs))
    assert np.flatnonzero(found.structure).tolist() == [5, 6]


def test_impossible_relatives_are_refused() -> None:
    for split, sigma in (("train", 0.9), ("test", 2.0), ("none", 0.9)):
        with pytest.raises(InputError):
            training_relatives(small_task(), split, sigma)


def test_left_out_queries_change_no_other_rank(study: conduct.StudyResult) -> None:
    records = [record for _, record in study.records]
    mask = training_relatives(task_with_relatives()).apart
    assert 0 < mask.sum() < len(mask)
    for before, after in zip(records, keep_queries(records, mask), strict=True):
        for name, ranks in after.ranks.items():
            whole = before.ranks[name]
            assert ranks.pool == whole.pool
            assert ranks.greater.tolist() == [value for value, kept in zip(whole.greater, mask, strict=True) if kept]
            assert ranks.equal.tolist() == [value for value, kept in zip(whole.equal, mask, strict=True) if kept]
    with pytest.raises(InputError, match="expected as many"):
        keep_queries(records, mask[1:])
    with pytest.raises(InputError, match="no query is kept"):
        keep_queries(records, np.zeros_like(mask))


def test_differences_are_the_tables_and_one_family_is_corrected(study: conduct.StudyResult) -> None:
    against = {"standard": (), "random order": ("CLASS",)}
    rows = aggregate.difference_rows(study, against)
    records = [record for _, record in study.records]
    for ranking in ("text_to_molecule/split", "molecule_to_text/split"):
        for metric in aggregate.GAP_METRICS:
            family = [row for row in rows if row["ranking"] == ranking and row["metric"] == metric]
            pairs = [(row["arm"], row["reference"]) for row in family]
            assert pairs == [("CLASS", "standard"), ("random order", "standard"), ("CLASS", "random order")]
            for row in family:
                (plain,) = (
                    one
                    for one in tables.differences(records, row["reference"], ranking, metric).to_dict("records")
                    if one["arm"] == row["arm"]
                )
                for key in ("difference", "difference_low", "difference_high", "p"):
                    assert row[key] == plain[key]
            corrected = statistics.holm([row["p"] for row in family])
            assert [row["p_holm"] for row in family] == corrected.tolist()


def test_savings_are_those_of_the_records(study: conduct.StudyResult) -> None:
    rows = {row["arm"]: row for row in aggregate.savings_rows(study.records)}
    assert set(rows) == {"CLASS", "random order"}
    by = {(record.arm.name, record.seed): record for _, record in study.records}
    for arm, row in rows.items():
        saved = [1 - by[arm, seed].seconds / by["standard", seed].seconds for seed in range(3)]
        assert row["seconds"] == pytest.approx(np.mean(saved))
        assert row["seconds_low"] < row["seconds"] < row["seconds_high"]
        assert row["samples"] == 1 - by[arm, 0].samples / by["standard", 0].samples > 0
    alone = [pair for pair in study.records if pair[1].seed == 0]
    assert {row["seconds_low"] for row in aggregate.savings_rows(alone)} == {None}


def test_ties_are_counted() -> None:
    task = small_task()
    cells = [cell for cell in cells_of(next(one for one in EVERY if one.name == "sigma")) if cell.config.seed == 0]
    rows = aggregate.tie_rows(task, cells)
    assert len(rows) == len(products.SIGMAS)
    train = task.rows("train")
    for row in rows:
        counts = neighbour_counts(task.t[train], task.m[train], sigma=row["sigma"]).tolist()
        groups = {value: counts.count(value) for value in counts}
        assert row["zero"] == groups.get(0, 0) / len(counts)
        assert row["largest"] == max(groups.values()) / len(counts)
        assert row["shared"] == pytest.approx(sum(size for size in groups.values() if size > 1) / len(counts))


@pytest.mark.parametrize(("value", "expected"), [(math.nan, None), (np.float64(1 / 3), 0.333333), (np.int64(3), 3)])
def test_results_hold_plain_numbers_of_six_digits(value: Any, expected: Any) -> None:
    assert aggregate.rounded({"a": [value]}) == {"a": [expected]}


def test_the_command_leaves_every_product(made: Path, results: dict[str, Any]) -> None:
    assert list(results["products"]) == list(products.NAMES)
    assert (made / "paper.json").stat().st_size < LARGEST
    for name in products.NAMES:
        folder = made / name
        assert list((folder / "tables").glob("*.csv"))
        assert {path.stem for path in (folder / "tables").glob("*.csv")} == {
            path.stem for path in (folder / "tables").glob("*.tex")
        }
        pictures = list((folder / "figures").glob("*.png"))
        assert pictures
        for picture in pictures:
            assert picture.with_suffix(".pdf").is_file()
            assert json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))["drawing"]
    with few_settings(made.parent):
        for product in products.products({"source": "own.csv"}, seeds=2, epochs=2):
            assert read_config(made / product.name / "study.yml") == study_config(dict(product.config))
            assert (made / product.name / "study" / "done").is_file()


def test_results_name_no_place_of_this_machine(made: Path) -> None:
    text = (made / "paper.json").read_text(encoding="utf-8")
    assert str(made.parent) not in text
    assert "own.csv" not in text


def test_numbers_of_the_summary_are_those_of_the_ranks(made: Path, results: dict[str, Any]) -> None:
    runs = [json.loads(path.read_text()) for path in (made / "main" / "study" / "trainings").glob("*/metrics.json")]
    assert len(runs) == 16
    apart = training_relatives(task_with_relatives()).apart
    product = results["products"]["main"]
    assert product["apart"]["queries"] == apart.sum() == results["inputs"]["relatives"]["apart"]
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


def test_everything_is_drawn_again_from_the_results_alone(made: Path, results: dict[str, Any], tmp_path: Path) -> None:
    draw_products(json.loads(json.dumps(results)), tmp_path)
    again = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(again) >= 8 * 5
    for path in again:
        assert path.read_bytes() == (made / path.relative_to(tmp_path)).read_bytes(), path.name


def test_published_figures_stand_beside_with_pool_and_standing(made: Path) -> None:
    with open(made / "main" / "tables" / "text_to_molecule_all.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["arm"] == "published"]
    assert [row["backbone"] for row in rows] == [row.model for row in PUBLISHED]
    assert all(row["standing"] in ("reported", "inferred") for row in rows)
    assert [row["pool"] for row in rows[:4]] == ["33010.0"] * 4
    text = (made / "main" / "tables" / "text_to_molecule_all.tex").read_text(encoding="utf-8")
    assert "not said" in text
    assert "(inferred)" in text
    other = (made / "main" / "tables" / "molecule_to_text_split.tex").read_text(encoding="utf-8")
    assert "published" not in other
    for table in (text, other):
        assert all(row.startswith("aman &") for row in table.splitlines() if "preliminary: 1 seed, 2 epochs" in row)
        assert table.count("preliminary: 1 seed, 2 epochs") == 2


def test_running_again_trains_nothing_and_changes_nothing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (made / "paper.json").read_bytes()
    assert study_paper(made.parent, "--only", "ablation") == 0
    said = capsys.readouterr().out
    assert "ablation: 8 trainings: 8 are done already, 0 to do" in said
    assert "main:" not in said
    assert (made / "paper.json").read_bytes() == before


def test_the_plan_trains_nothing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (made / "paper.json").stat().st_mtime_ns
    assert study_paper(made.parent, "--plan") == 0
    said = capsys.readouterr().out
    assert [line.split(":")[0] for line in said.splitlines()] == list(products.NAMES[:-1])
    assert (made / "paper.json").stat().st_mtime_ns == before


def test_results_of_other_pairs_are_not_mixed_in(made: Path) -> None:
    assert paper_conduct.gathered(made, {"digest": "of another task"})["products"] == {}


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


def test_extra_pairs_are_counted_and_said() -> None:
    split = ("train", "train", "validation", "test")
    extra = {"origin": ("validation.txt", "made up", "made up", "test.txt")}
    pairs = PairSet(tuple("abcd"), ("C",) * 4, tuple("1234"), split, "test", extra=extra)
    task = replace(small_task(), pairs=pairs)
    told = paper_conduct.describe_inputs({"source": "chebi20", "extra": "x.tsv"}, task, None)
    assert (told["extra"], told["sizes"]) == (1, {"train": 2, "validation": 1, "test": 1})
    assert "1 of them extra ones" in words.input_words({"inputs": told, "products": {"main": {}}})
    assert paper_conduct.describe_inputs({"source": "chebi20"}, task, None)["extra"] == 0


def row_of(low: float | None, high: float | None, metric: str = "hits@1", p: float = 0.01) -> dict[str, Any]:
    return {
        "metric": metric,
        "difference": 0.0 if low is None or high is None else (low + high) / 2,
        "difference_low": low,
        "difference_high": high,
        "p_holm": p,
        "arm": "a",
        "backbone": "b",
        "reference": "standard",
        "ranking": words.RANKING,
    }


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (row_of(0.01, 0.03), "better"),
        (row_of(-0.03, -0.01), "worse"),
        (row_of(-0.03, 0.01), "could not be told apart"),
        (row_of(0.0, 0.03), "could not be told apart"),
        (row_of(0.01, 0.03, p=0.06), "could not be told apart"),
        (row_of(None, None), "could not be told apart"),
        (row_of(1, 3, "mean_rank"), "worse"),
        (row_of(-3, -1, "mean_rank"), "better"),
    ],
)
def test_a_difference_has_to_stand_against_interval_and_correction(row: dict[str, Any], expected: str) -> None:
    assert words.verdict(row) == expected
    assert words.differences_words([row], row["metric"]).startswith(f"**{expected}**: `a` ")


def test_words_hold_every_effect_and_follow_the_numbers(results: dict[str, Any]) -> None:
    main_words = words.product_words(results, "main")
    rows = [
        row
        for row in results["products"]["main"]["differences"]
        if row["ranking"] == words.RANKING and row["arm"] == "CLASS" and row["metric"] != "mrr"
    ]
    assert len(rows) == 2 * 3 * 2
    for row in rows:
        assert f"`{row['backbone']}` {words.effect(row)}" in main_words
    changed = json.loads(json.dumps(results))
    for row in changed["products"]["main"]["differences"]:
        row |= {"difference": 0.2, "difference_low": 0.1, "difference_high": 0.3, "p_holm": 0.001}
    said = words.product_words(changed, "main")
    assert "could not be told apart" not in said.split("The paper reports")[0]
    assert "**better**: `dual_encoder` +20.0 (+10.0 to +30.0)" in said
    assert "**worse**: `dual_encoder` +0.2 (+0.1 to +0.3)" in said
    assert found_words(changed) != found_words(results)
    assert "+20.0 (+10.0 to +30.0) *" in found_words(changed)


def test_every_product_has_words_of_its_own(results: dict[str, Any]) -> None:
    said = [words.product_words(results, name) for name in products.NAMES]
    assert len(set(said)) == len(said)
    assert words.NOTHING not in said
    counts = words.verdict_counts(results)
    assert sum(counts["measures"]["random order"].values()) == 3
    for name, references in counts.items():
        shown = product_tables(results, name)
        assert shown
        assert all(sum(kinds.values()) for kinds in references.values())


def test_a_minus_before_zero_is_not_said() -> None:
    row = row_of(-0.0001, 0.0001) | {"difference": -0.0001}
    assert words.effect(row) == "+0.0 (+0.0 to +0.0)"
    assert words.share(-0.001) == "0%"


def test_without_results_words_say_so() -> None:
    empty = {"inputs": {}, "products": {}}
    assert found_words(empty) == words.input_words(empty) == words.NO_RESULTS
    for name in products.NAMES:
        assert words.product_words(empty, name) == words.NOTHING
        assert product_tables(empty, name) == {}
        assert product_figures(empty, name) == {}


@pytest.mark.parametrize("kept", [("standard", "neither"), ("CLASS", "random order")])
def test_what_failed_is_missing_and_breaks_nothing(results: dict[str, Any], kept: tuple[str, ...]) -> None:
    """Whichever trainings failed, what the others found is drawn and said."""
    some = json.loads(json.dumps(results))
    for product in some["products"].values():
        for holder in (product, product.get("apart", {})):
            for key in ("summary", "differences", "savings"):
                if key in holder:
                    holder[key] = [row for row in holder[key] if {row["arm"], row.get("reference", kept[0])} <= {*kept}]
    for name in products.NAMES:
        assert words.product_words(some, name)
        product_figures(some, name)
        product_tables(some, name)
    assert found_words(some)
    plt.close("all")


def test_names_from_a_file_stay_names(results: dict[str, Any]) -> None:
    hostile = json.loads(json.dumps(results).replace("dsokr", "`<b>_x_`"))
    said = words.product_words(hostile, "main") + found_words(hostile)
    assert "`'<b>_x_'`" in said
    assert "``" not in said


def test_a_search_is_said_where_there_is_one() -> None:
    test = [row_of(0.01, 0.05) | {"share": 0.85}, row_of(-2, 1, "mean_rank") | {"share": 0.85}]
    search = {"tried": 41, "baseline": {}, "best": {}, "test": test, "swapped": [row_of(-0.01, 0.05)]}
    said = words.search_words(search)
    assert said.startswith("41 settings were tried")
    assert "On the test pairs, Hits@1 in points, minus the tuned baseline: **better**: `a` +3.0 (+1.0 to +5.0)." in said
    assert "splits exchanged, nothing tuned anew, Hits@1 in points, minus the tuned baseline: **could not" in said
    assert "85% of the baseline's samples" in said


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"products": [], "inputs": {"sizes": {}}}', '{"products": 1}'])
def test_files_that_hold_no_results_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "paper.json"
    with pytest.raises(InputError, match="no results"):
        find_results(path)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="no results"):
        find_results(path)
    path.write_text(" " * (LARGEST + 1), encoding="utf-8")
    with pytest.raises(InputError, match="larger than"):
        find_results(path)


def test_results_that_are_no_aggregate_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at most"):
        paper_conduct.write_results(tmp_path / "paper.json", {"products": {"main": ["x" * LARGEST]}})
    assert not (tmp_path / "paper.json").exists()
