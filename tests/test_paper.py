"""The paper's study: its files are studies, near-duplicates across the split, and what is kept of trainings."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from class_kit.study.near_duplicates import keep_queries, near_duplicates

from class_kit.difficulty import available_measures
from class_kit.errors import InputError
from class_kit.neighbours import neighbour_counts
from class_kit.pairs import PairSet
from class_kit.study import conduct, grid, output, paper, runner, statistics, tables
from class_kit.study.arms import plan_arm
from class_kit.study.config import study_config
from tests.small_paper import NAMES, study_file, task_with_relatives
from tests.test_study import small_task

ROOT = Path(__file__).parents[1]
PAIRS = {"source": "chebi20", "data": "somewhere", "vectors": "text2mol"}
EVERY = {study.name: study for study in paper.paper_studies(PAIRS)}
HEADS = ["dual_encoder", "text2mol", "moleculestm", "memory_bank", "dsokr", "denoising"]


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> conduct.StudyResult:
    """Three arms with three seeds on the small task."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLASS_KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(output, "_write_figures", lambda *given: None)
        values = study_file("main")
        config = study_config(
            {
                "backbones": [{"backbone": "dual_encoder", "options": {"hidden": 16, "dim": 8}}],
                "orders": ["standard"],
                "arms": values["arms"][:2],
                "training": {"epochs": 3, "batch_size": 16, "learning_rate": 1e-2},
            }
        )
        plan = conduct.plan_study(config, load=lambda **sets: task_with_relatives())
        return conduct.run_study(plan, tmp_path_factory.mktemp("out"), jobs=1, progress=False)


def cells_of(name: str) -> list[grid.Cell]:
    config = study_config(dict(EVERY[name].values))
    return grid.cells(config, {config.pairs[0].name: small_task()})


def labels_of(name: str) -> set[str]:
    return {EVERY[name].label(cell.arm) for cell in cells_of(name)}


def test_the_studies_are_those_of_the_paper() -> None:
    assert tuple(EVERY) == NAMES[:-1]
    assert labels_of("main") == labels_of("main_deep") == {"standard", "CLASS", "random order", "step-matched"}
    assert labels_of("ablation") == {"neither", "scheduler only", "intensity only", "both"}
    assert {f"γ{sign} on {on}" for sign in "₁₂" for on in ("loss", "rate")} == labels_of("intensity") - {"constant"}
    assert {f"α {start} β {growth}" for start in (0.2, 0.4, 0.6, 0.8) for growth in (0.01, 0.02, 0.03, 0.06)} == (
        labels_of("grid") - {"standard"}
    )
    assert {"σ 0.90", "σ 0.99"} < labels_of("sigma")
    assert len(labels_of("sigma")) == 12 + 2
    assert set(available_measures()) - {"el2n"} == labels_of("measures") - {"standard", "random order"}
    assert [backbone["backbone"] for backbone in EVERY["main"].values["backbones"]] == HEADS
    for name, one in EVERY.items():
        assert len(labels_of(name)) == len({cell.arm.name for cell in cells_of(name)})
        for reference, arms in one.against.items():
            assert {reference, *arms} <= labels_of(name)


def test_each_part_of_the_ablation_is_what_it_is_called() -> None:
    task = small_task()
    expected = {
        "standard": (False, False),
        "scheduler only": (True, False),
        "intensity only": (False, True),
        "both": (True, True),
    }
    for cell in cells_of("ablation"):
        plan = plan_arm(task, cell.arm, cell.config)
        assert (plan.count(1) < len(task.rows("train")), plan.intensity(1) < 1) == expected[cell.arm.name]


def test_equal_trainings_are_shared_with_other_studies_and_between_these() -> None:
    """CLASS is the crossed curriculum of a plain configuration, so what that has trained is taken from the store."""
    plain = study_config(
        {
            "training": {"epochs": 40, "batch_size": 128},
            "backbones": [{"backbone": "dual_encoder", "learning_rate": 0.001}],
            "seeds": 5,
        }
    )
    task = small_task()

    def keys(cells: list[grid.Cell]) -> set[str]:
        return {runner._key(task, cell.arm, cell.config) for cell in cells}

    main = keys(cells_of("main"))
    assert keys(grid.cells(plain, {"corpus": task})) < main
    assert all(len(main & keys(cells_of(name))) >= 2 for name in ("ablation", "sigma", "measures", "grid"))


def test_rates_are_those_that_the_search_chose() -> None:
    search = json.loads((ROOT / "figures" / "backbones" / "results.json").read_text(encoding="utf-8"))["search"]
    backbones = [*EVERY["main"].values["backbones"], *EVERY["main_deep"].values["backbones"]]
    for backbone in backbones:
        assert backbone["learning_rate"] == search[backbone.get("name", backbone["backbone"])]["chosen"]


def test_seeds_and_epochs_are_limits() -> None:
    few = {one.name: one.values for one in paper.paper_studies(PAIRS, seeds=2, epochs=3)}
    assert {name: len(values["seeds"]) for name, values in few.items()} == {**dict.fromkeys(few, 2), "main_deep": 1}
    assert {values["training"]["epochs"] for values in few.values()} == {3}
    assert [len(EVERY[name].values["seeds"]) for name in ("main", "grid", "sigma", "measures")] == [5, 2, 3, 3]
    long = {one.name: one.values["training"]["epochs"] for one in paper.paper_studies(PAIRS, epochs=60)}
    assert (long["main"], long["main_deep"]) == (60, 5)
    for wrong in ({"seeds": 0}, {"epochs": 0}, {"seeds": True}):
        with pytest.raises(InputError):
            paper.paper_studies(PAIRS, **wrong)


def test_near_duplicates_are_those_of_a_naive_loop() -> None:
    task = task_with_relatives()
    train, test = task.rows("train"), task.rows("test")
    unit = [vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True) for vectors in (task.t, task.m)]
    for sigma in (0.5, 0.9, 0.95, 0.99):
        got = near_duplicates(task, "test", sigma)
        for at, row in enumerate(test):
            similar = [float(sum(side[row] @ side[other] for side in unit) / 2) for other in train]
            assert got.near[at] == (max(similar) > sigma)
            assert got.text[at] == any(task.pairs.text[row] == task.pairs.text[other] for other in train)
            assert not got.structure[at]
            assert got.apart[at] == (not (got.near[at] or got.text[at]))
    assert near_duplicates(task).text.sum() == 1
    assert near_duplicates(task).counts()["queries"] == len(test)


def test_stereoisomers_and_spellings_are_one_structure() -> None:
    task = small_task()
    smiles = list(task.pairs.smiles)
    smiles[0], smiles[100], smiles[101] = "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "OC(=O)C(C)N"
    got = near_duplicates(replace(task, pairs=replace(task.pairs, smiles=tuple(smiles))))
    assert np.flatnonzero(got.structure).tolist() == [5, 6]
    for split, sigma in (("train", 0.9), ("test", 2.0), ("none", 0.9)):
        with pytest.raises(InputError):
            near_duplicates(small_task(), split, sigma)


def test_left_out_queries_change_no_other_rank(study: conduct.StudyResult) -> None:
    records = [record for _, record in study.records]
    mask = near_duplicates(task_with_relatives()).apart
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
    against = {"standard": (), "random order": ("CLASS",), "not trained": ()}
    rows = output.comparisons(study, against, paper.GAP_METRICS).to_dict("records")
    records = [record for _, record in study.records]
    for ranking in ("text_to_molecule/split", "molecule_to_text/split"):
        for metric in paper.GAP_METRICS:
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
    rows = {row["arm"]: row for row in paper.savings_rows(*zip(*study.records, strict=True))}
    assert set(rows) == {"CLASS", "random order"}
    by = {(record.arm.name, record.seed): record for _, record in study.records}
    for arm, row in rows.items():
        saved = [1 - by[arm, seed].seconds / by["standard", seed].seconds for seed in range(3)]
        assert row["seconds"] == pytest.approx(np.mean(saved))
        assert row["seconds_low"] < row["seconds"] < row["seconds_high"]
        assert row["samples"] == 1 - by[arm, 0].samples / by["standard", 0].samples > 0
    alone = zip(*[pair for pair in study.records if pair[1].seed == 0], strict=True)
    assert {row["seconds_low"] for row in paper.savings_rows(*alone)} == {None}


def test_ties_are_counted() -> None:
    task = small_task()
    cells = [cell for cell in cells_of("sigma") if cell.config.seed == 0]
    rows = paper.tie_rows(task, cells)
    assert len(rows) == 12
    train = task.rows("train")
    for row in rows:
        counts = neighbour_counts(task.t[train], task.m[train], sigma=row["sigma"]).tolist()
        groups = {value: counts.count(value) for value in counts}
        assert row["zero"] == groups.get(0, 0) / len(counts)
        assert row["largest"] == max(groups.values()) / len(counts)
        assert row["shared"] == pytest.approx(sum(size for size in groups.values() if size > 1) / len(counts))


@pytest.mark.parametrize(("value", "expected"), [(math.nan, None), (np.float64(1 / 3), 0.333333), (np.int64(3), 3)])
def test_results_hold_plain_numbers_of_six_digits(value: Any, expected: Any) -> None:
    assert paper.rounded({"a": [value]}) == {"a": [expected]}


def test_extra_pairs_are_counted() -> None:
    split = ("train", "train", "validation", "test")
    extra = {"origin": ("validation.txt", "made up", "made up", "test.txt")}
    pairs = PairSet(tuple("abcd"), ("C",) * 4, tuple("1234"), split, "test", extra=extra)
    task = replace(small_task(), pairs=pairs)
    inputs = paper.describe_inputs({"source": "chebi20", "extra": "x.tsv"}, task, None)
    assert (inputs["extra"], inputs["sizes"]) == (1, {"train": 2, "validation": 1, "test": 1})
    assert paper.describe_inputs({"source": "chebi20"}, task, None)["extra"] == 0
