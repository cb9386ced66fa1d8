"""The paper's study: products that are studies, near-duplicates across the split, and what is kept of trainings."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from class_kit.errors import InputError
from class_kit.neighbours import neighbour_counts
from class_kit.pairs import PairSet
from class_kit.study import conduct, grid, output, runner, statistics, tables
from class_kit.study.arms import plan_arm
from class_kit.study.config import read_config, study_config
from class_kit.study.paper import aggregate, products, words
from class_kit.study.paper import conduct as paper_conduct
from class_kit.study.paper.near import keep_queries, training_relatives
from class_kit.study.paper.tuned import TUNED
from tests.small_paper import task_with_relatives
from tests.test_study import small_task

ROOT = Path(__file__).parents[1]
PAIRS = {"source": "chebi20", "data": "somewhere", "vectors": "text2mol"}
EVERY = products.products(PAIRS)
each_product = pytest.mark.parametrize("product", EVERY, ids=lambda product: product.name)


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


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
    return grid.cells(config, {config.pairs[0].name: small_task()})


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
    assert set(products.available_measures()) - {"el2n"} == found["measures"] - {"standard", "random order"}
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
    wanted = {runner._key(task, cell.arm, cell.config) for cell in grid.cells(plain, {"corpus": task})}
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
    assert usual["main_deep"]["training"] == {"epochs": 5, "batch_size": 64}
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


def test_extra_pairs_are_counted_and_said() -> None:
    split = ("train", "train", "validation", "test")
    extra = {"origin": ("validation.txt", "made up", "made up", "test.txt")}
    pairs = PairSet(tuple("abcd"), ("C",) * 4, tuple("1234"), split, "test", extra=extra)
    task = replace(small_task(), pairs=pairs)
    told = paper_conduct.describe_inputs({"source": "chebi20", "extra": "x.tsv"}, task, None)
    assert (told["extra"], told["sizes"]) == (1, {"train": 2, "validation": 1, "test": 1})
    assert "1 of them extra ones" in words.input_words({"inputs": told, "products": {"main": {}}})
    assert paper_conduct.describe_inputs({"source": "chebi20"}, task, None)["extra"] == 0
