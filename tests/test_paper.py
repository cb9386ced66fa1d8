"""The paper's studies: files that are studies, what is kept of trainings, and tables and figures of that alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt

from class_kit.difficulty import available_measures
from class_kit.errors import InputError
from class_kit.neighbours import neighbour_counts
from class_kit.pairs import PairSet
from class_kit.retrieval import Ranks, retrieval_metrics
from class_kit.study import conduct, paper, paper_figures, paper_tables, results, statistics, tables
from class_kit.study.arms import plan_arm
from class_kit.study.config import Cell, cells, study_config
from class_kit.study.paper_tables import SAVINGS, find_search, gaps_by_data, inputs_table, key_rows, note, read_results
from class_kit.study.results import near_duplicates, savings_rows, tie_rows
from class_kit.study.runner import stored_record
from tests.small_paper import NAMES, study_file, study_paper, task_with_relatives
from tests.test_study import small_task

ROOT = Path(__file__).parents[1]
PAIRS = {"source": "chebi20", "data": "somewhere", "vectors": "text2mol"}
EVERY = paper.paper_studies(PAIRS)
EMPTY: dict[str, Any] = {"inputs": {}, "products": {}}


pytestmark = pytest.mark.usefixtures("own_cache")


def cells_of(name: str) -> list[Cell]:
    return cells(EVERY[name], {EVERY[name].pairs[0].name: small_task()})


# --- the files


def test_the_studies_are_those_of_the_paper() -> None:
    assert tuple(EVERY) == NAMES[:-1]
    arms = {name: {cell.arm.name for cell in cells_of(name)} for name in EVERY}
    assert {name: len(own) for name, own in arms.items()} == {
        **{"main": 4, "main_deep": 4, "ablation": 4, "intensity": 5, "grid": 17, "sigma": 14, "measures": 13}
    }
    assert set(available_measures()) - {"el2n"} == arms["measures"] - {"standard", "random order"}
    for name, config in EVERY.items():
        for reference, others in config.against.items():
            assert {reference, *others} <= arms[name]


def test_each_part_of_the_ablation_is_what_it_is_called() -> None:
    task = small_task()
    expected = {
        "neither": (False, False),
        "scheduler only": (True, False),
        "intensity only": (False, True),
        "both": (True, True),
    }
    for cell in cells_of("ablation"):
        plan = plan_arm(task, cell.arm, cell.config)
        assert (plan.count(1) < len(task.rows("train")), plan.intensity(1) < 1) == expected[cell.arm.name]


def test_seeds_and_epochs_are_limits() -> None:
    few = paper.paper_studies(PAIRS, seeds=2, epochs=3)
    assert {name: len(config.seeds) for name, config in few.items()} == {**dict.fromkeys(few, 2), "main_deep": 1}
    assert {config.training["epochs"] for config in few.values()} == {3}
    long = paper.paper_studies(PAIRS, epochs=20)
    assert [long[name].training["epochs"] for name in ("main", "main_deep")] == [20, 5]


# --- what is kept


def test_near_duplicates_are_those_of_a_naive_loop() -> None:
    task = task_with_relatives()
    train, test = task.rows("train"), task.rows("test")
    unit = [vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True) for vectors in (task.t, task.m)]
    for sigma in (0.5, 0.95, 0.99):
        got = near_duplicates(task, "test", sigma)
        for at, row in enumerate(test):
            similar = [float(sum(side[row] @ side[other] for side in unit) / 2) for other in train]
            assert got["near"][at] == (max(similar) > sigma)
            assert got["equal_text"][at] == any(task.pairs.text[row] == task.pairs.text[other] for other in train)
            assert not got["equal_structure"][at]
    assert got["equal_text"].sum() == 1


def test_stereoisomers_and_spellings_are_one_structure() -> None:
    task = small_task()
    smiles = list(task.pairs.smiles)
    smiles[0], smiles[100:103] = "C[C@H](N)C(=O)O", ["C[C@@H](N)C(=O)O", "OC(=O)C(C)N", "[O-]C(=O)C(C)[NH3+]"]
    got = near_duplicates(replace(task, pairs=replace(task.pairs, smiles=tuple(smiles))))
    assert np.flatnonzero(got["equal_structure"]).tolist() == [5, 6]
    assert np.flatnonzero(got["equal_skeleton"]).tolist() == [5, 6, 7]
    for split, sigma in (("test", 2.0), ("none", 0.9)):
        with pytest.raises(ValueError, match=r"sigma=2.0|split="):
            near_duplicates(small_task(), split, sigma)


def test_what_is_kept_is_what_the_records_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conduct, "_write_figures", lambda *given: None)
    values = {
        "backbones": [{"backbone": "dual_encoder", "options": {"hidden": 16, "dim": 8}}],
        "orders": ["standard"],
        "arms": study_file("main")["arms"][:2],
        "training": {"epochs": 3, "batch_size": 16, "learning_rate": 1e-2},
        "against": {"standard": [], "random order": ["CLASS"], "not trained": []},
        "also": ["savings", "apart", "ties"],
    }
    task = task_with_relatives()
    plan = conduct.plan_study(study_config(values), {"corpus": task})
    found = conduct.run_study(plan, tmp_path, jobs=1, progress=False)
    finished = [(cell, stored_record(task, cell.arm, cell.config)) for cell in plan.cells]
    records = [record for _, record in finished]
    # differences of several references are one family
    for ranking in ("text_to_molecule/split", "molecule_to_text/split"):
        rows = [row for row in found["differences"] if (row["ranking"], row["metric"]) == (ranking, "mrr")]
        pairs = [(row["arm"], row["reference"]) for row in rows]
        assert pairs == [("CLASS", "standard"), ("random order", "standard"), ("CLASS", "random order")]
        for row in rows:
            plain = tables.differences(records, row["reference"], ranking, "mrr").set_index("arm").loc[row["arm"]]
            for key in ("difference", "difference_low", "difference_high", "p"):
                assert row[key] == plain[key]
        assert [row["p_holm"] for row in rows] == statistics.holm([row["p"] for row in rows]).tolist()
    # without near-duplicates
    mask = ~near_duplicates(task).any(axis=1).to_numpy()
    assert found["apart"]["queries"] == mask.sum()
    assert 0 < mask.sum() < 25
    for row in found["apart"]["summary"]:
        own = [record.ranks[row["ranking"]] for record in records if record.arm.name == row["arm"]]
        some = [retrieval_metrics(Ranks(ranks.greater[mask], ranks.equal[mask], ranks.pool)) for ranks in own]
        assert row["mrr"] == pytest.approx(np.mean([each["mrr"] for each in some]))
        assert row["pool"] == own[0].pool
    # savings
    by = {(record.arm.name, record.seed): record for record in records}
    assert [row["arm"] for row in found["savings"]] == ["CLASS", "random order"]
    for row in found["savings"]:
        saved = [1 - by[row["arm"], seed].seconds / by["standard", seed].seconds for seed in range(3)]
        assert row["seconds"] == pytest.approx(np.mean(saved))
        assert row["seconds_low"] < row["seconds"] < row["seconds_high"]
        assert row["samples"] == 1 - by[row["arm"], 0].samples / by["standard", 0].samples > 0
    alone = savings_rows([pair for pair in finished if pair[1].seed == 0])
    assert {row["seconds_low"] for row in alone} == {None}
    assert json.loads((tmp_path / "study.json").read_text())["savings"] == results.rounded(found["savings"])
    # six digits, and nothing for what is no number
    assert results.rounded({"a": [float("nan"), np.float64(1 / 3), 3]}) == {"a": [None, 0.333333, 3]}


def test_ties_are_counted() -> None:
    task = small_task()
    (pairs,) = {cell.group["pairs"] for cell in cells_of("sigma")}
    rows = tie_rows({pairs: task}, cells_of("sigma"))
    assert len(rows) == 12
    train = task.rows("train")
    for row in rows:
        counts = neighbour_counts(task.t[train], task.m[train], sigma=row["sigma"]).tolist()
        groups = {value: counts.count(value) for value in counts}
        assert row["zero"] == groups.get(0, 0) / len(counts)
        assert row["largest"] == max(groups.values()) / len(counts)
        assert row["shared"] == pytest.approx(sum(size for size in groups.values() if size > 1) / len(counts))


def test_extra_pairs_are_counted() -> None:
    split = ("train", "train", "validation", "train")
    extra = {"origin": ("validation.txt", "made up", "made up", "test.txt")}
    pairs = PairSet(tuple("abcd"), ("C",) * 4, tuple("1234"), split, "test", extra=extra)
    vectors = np.eye(4, dtype=np.float32)
    task = replace(small_task(), pairs=pairs, t=vectors, m=vectors)
    inputs = paper.describe_inputs("chebi20", {"pairs": "chebi20", "extra": "x.tsv"}, task)
    assert (inputs["extra"], inputs["sizes"]) == (1, {"train": 3, "validation": 1})
    assert paper.describe_inputs("chebi20", {"pairs": "chebi20"}, task)["extra"] == 0


# --- the command


def test_the_command_leaves_every_product(small_study: Path, small_results: dict[str, Any]) -> None:
    assert list(small_results["products"]) == list(NAMES)
    text = (small_study / "paper.json").read_text(encoding="utf-8")
    assert str(small_study.parent) not in text
    assert "own.csv" not in text
    for name in NAMES[:-1]:
        folder = small_study / name
        written = [{path.stem for path in (folder / "tables").glob(f"*.{kind}")} for kind in ("csv", "tex")]
        assert written[0] == written[1] != set()
        for table in folder.rglob("*.tex"):
            lines = [line for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith("%")]
            assert set(filter(lambda letter: not letter.isascii(), "".join(lines))) <= {"–"}, table.name
        assert (folder / "done").is_file()
    shown = key_rows(small_results, "main", "backbones")
    assert set(shown["backbone"]) == {"dual_encoder", "dsokr", "aman"}
    assert shown["source"].str.contains("preliminary: 1 seed, 2 epochs").sum() == 4


def test_running_again_and_planning_train_nothing_and_change_nothing(small_study, capsys) -> None:
    before = (small_study / "paper.json").read_bytes()
    assert study_paper(small_study.parent, "--only", "ablation") == 0
    shown = capsys.readouterr().out
    assert "ablation: 8 trainings: 8 are done already, 0 to do" in shown
    assert "main:" not in shown
    assert (small_study / "paper.json").read_bytes() == before
    written = (small_study / "paper.json").stat().st_mtime_ns
    assert study_paper(small_study.parent, "--plan") == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == list(NAMES[:-1])
    assert (small_study / "paper.json").stat().st_mtime_ns == written


def test_the_help_names_the_numbers_that_hold(kit: Any) -> None:
    shown = " ".join(kit("study", "--help").split())
    frozen, deep = (study_file(name)["training"]["epochs"] for name in ("main", "main_deep"))
    assert f"epochs per training (default: {frozen}, slow backbones {deep})" in shown
    assert f"seeds per setting (default: {study_file('main')['seeds']})" in shown


def test_results_of_other_pairs_are_left_out(small_results: dict[str, Any], tmp_path: Path) -> None:
    def kept(task: Any, name: str) -> dict[str, Any]:
        plan = conduct.StudyPlan(study_config({"pairs": {"source": "own.csv"}}), {"own": task}, [])
        paper.keep_study(tmp_path, name, plan, small_results["products"]["main"] | {"title": "anew"})
        return json.loads((tmp_path / "paper.json").read_text())

    (tmp_path / "paper.json").write_text(json.dumps(small_results))
    task = task_with_relatives()
    found = kept(task, "grid")
    assert list(found["products"]) == list(NAMES)
    assert found["products"] | {"grid": None, SAVINGS: None} == small_results["products"] | {
        "grid": None,
        SAVINGS: None,
    }
    assert found["products"]["grid"]["title"] == "anew"
    # studies on further data sets describe their own, and stay beside the others
    found = kept(small_task(seed=1), "origins")
    assert list(found["products"]) == [*NAMES[:-1], "origins", SAVINGS]
    assert found["inputs"] == small_results["inputs"]
    assert found["products"]["origins"]["inputs"]["own"]["digest"] == small_task(seed=1).digest
    assert note(found, "origins").startswith("own: 80 training pairs")
    assert list(kept(small_task(seed=1), "main")["products"]) == ["main", SAVINGS]


def test_what_the_papers_own_setting_lacks_is_listed_before_anything_starts(
    here: Path, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CLASS_KIT_HOME", "CLASS_KIT_DATA"):
        monkeypatch.setenv(name, str(here / "none"))
    shown = kit("study", "paper", "--only", "published", "--plan", code=2)
    for part in (
        "train.txt (10.2 MB, git blob c1b42b82",
        "token_embedding_dict.npy (4.0 MB",
        "pytorch_model.bin (440 MB",
    ):
        assert part in shown
    for fetched in ("chebi20", "mol2vec", "scibert"):
        assert f"class-kit fetch {fetched}" in shown


def test_a_plan_of_fine_tuning_says_how_long_a_measured_card_would_take(here: Path) -> None:
    task = small_task()
    values = {"backbones": {"backbone": "finetuned", "options": {"encoder": "here"}}, "training": {"epochs": 5}}
    config = study_config(values | {"orders": ["standard"], "seeds": 3})
    plan = conduct.StudyPlan(config, {"corpus": task}, cells(config, {"corpus": task}))
    slowest = min(
        cost["samples/s"]
        for table in json.loads((ROOT / "figures/paper/finetune.json").read_text())["tables"]
        for cost in table["costs"]
    )
    assert plan.lines(1)[-1].startswith(f"fine-tuning reads at most {3 * 5 * 80:,} samples: about")
    assert f"at the {slowest:,.0f} samples a second" in plan.lines(1)[-1]


# --- tables and figures


@pytest.mark.parametrize(
    ("low", "high", "metric", "p", "expected"),
    [
        (-0.03, -0.01, "hits@1", 0.01, "worse"),
        (-0.03, 0.01, "hits@1", 0.01, "could not be told apart"),
        (0.0, 0.03, "hits@1", 0.01, "could not be told apart"),
        (0.01, 0.03, "hits@1", 0.06, "could not be told apart"),
        (float("nan"), float("nan"), "hits@1", 0.01, "could not be told apart"),
        (-3, -1, "mean_rank", 0.01, "better"),
    ],
)
def test_a_difference_has_to_stand_against_interval_and_correction(low, high, metric, p, expected) -> None:
    row = {"metric": metric, "difference_low": low, "difference_high": high, "p_holm": p}
    assert tables.verdict(row) == expected


def test_tables_hold_every_effect_and_follow_the_numbers(small_results: dict[str, Any]) -> None:
    rows = key_rows(small_results, "main")
    assert list(rows) == ["backbone", "arm", "minus", "difference", "p (Holm)", "verdict"]
    changed = json.loads(json.dumps(small_results))
    for row in changed["products"]["main"]["differences"]:
        row |= {"difference": 0.2, "difference_low": 0.1, "difference_high": 0.3, "p_holm": 0.001}
    rows = key_rows(changed, "main")
    assert len(rows) == 2 * (3 + 1 + 1)
    assert set(rows["difference"]) == {"+20.0 (+10.0 to +30.0)"}
    assert set(rows["verdict"]) == {"better"}
    counts = paper_tables.verdict_counts(changed)
    assert counts["main"]["random order"] == {"better": 2, "could not be told apart": 0, "worse": 0}
    shown = inputs_table(small_results).set_index("what")["number"]
    assert shown["training pairs (own)"] == "80"
    assert shown["without any such near-duplicate"] == str(small_results["products"]["main"]["apart"]["queries"])
    for name in NAMES[:-1]:
        assert "80 training pairs, 2 epochs" in note(small_results, name)
    assert "Preliminary" in note(small_results, "main_deep")


@pytest.mark.parametrize("kept", [("standard", "neither"), ("CLASS", "random order")])
def test_what_failed_is_missing_and_breaks_nothing(small_results: dict[str, Any], kept: tuple[str, ...]) -> None:
    """Whichever trainings failed, what the others found is drawn and shown."""
    some = json.loads(json.dumps(small_results))
    for product in some["products"].values():
        for holder in (product, product.get("apart", {})):
            for key in ("summary", "differences", "savings"):
                if key in holder:
                    holder[key] = [row for row in holder[key] if {row["arm"], row.get("reference", kept[0])} <= {*kept}]
    for name in NAMES:
        paper_figures.paper_figures(some, name)
        assert set(key_rows(some, name).get("arm", ())) <= {*kept}
        assert paper_tables.paper_tables(EMPTY, name) == paper_figures.paper_figures(EMPTY, name) == {}
    plt.close("all")


def test_each_data_set_has_its_column() -> None:
    """The committed results of two origins: a cell of the wide table is one row of the long ones."""
    results = read_results()
    assert gaps_by_data(results, "not trained").empty
    for apart in (False, True):
        wide = gaps_by_data(results, "origins", apart).set_index(["backbone", "what"])
        assert list(wide) == ["chebi20", "pcdes", "chebi20 → pcdes", "pcdes → chebi20"]
        product = results["products"]["origins"]
        part = product["apart"] if apart else product
        held = {"ranking": "text_to_molecule/split", "pairs": "chebi20 → pcdes", "backbone": "text2mol"}
        level, gap = (
            next(row for row in part[table] if (held | own).items() <= row.items())
            for table, own in (
                ("summary", {"arm": "standard"}),
                ("differences", {"arm": "CLASS", "reference": "standard", "metric": "hits@1"}),
            )
        )
        shown = wide["chebi20 → pcdes"]["text2mol"]
        assert shown["standard"].startswith(f"{100 * level['hits@1']:.1f} (")
        assert shown["CLASS minus standard"].startswith(f"{100 * gap['difference']:+.1f} (")
        assert len(wide) == 6 * 4
        assert [name for name, _ in wide.index[::4]] == [one["backbone"] for one in study_file("origins")["backbones"]]


def test_the_committed_search_is_shown_with_its_verdicts() -> None:
    search = find_search()
    assert search is not None
    frame, shown = paper_tables.search_table(search)
    assert len(shown) == 4 * 2 * 2 * 2
    assert list(shown["verdict"]) == [tables.verdict(row) for row in frame.loc[shown.index].to_dict("records")]
    assert search["tried"] == 94
    assert len(paper_figures.draw_search(search).axes) == 4
    plt.close("all")


@pytest.mark.parametrize("text", ["[", "{}", '{"inputs": {"sizes": []}, "products": {}}'])
def test_what_is_no_record_of_results_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "paper.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"paper\.json: expected results of `class-kit study paper`"):
        read_results(path)
