"""The product `noise` of `class-kit study paper` on a small task: what it trains on, and the record that it leaves."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.metrics import roc_auc_score

from class_kit import task as task_module
from class_kit.agreement import audit_pairs
from class_kit.files import shipped
from class_kit.study import conduct, noise, paper
from class_kit.study.paper_tables import NOISE
from class_kit.task import exchange_molecules
from tests.test_study import small_task

KINDS = [row["name"] for row in yaml.safe_load(shipped("figures/paper/noise.yml").read_text())["pairs"]]


@pytest.fixture
def loads(here: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Two arms and two shares of each study on the small task, and what was asked for instead of it."""
    for name in NOISE:
        values = yaml.safe_load(shipped(f"figures/paper/{name}.yml").read_text(encoding="utf-8"))
        values["arms"] = [arm for arm in values["arms"] if arm["name"] in ("random subset", "auto", "oracle")]
        values |= {"noise": [0, 0.4], "backbones": values["backbones"][:1]}
        place = here / "figures" / "paper" / f"{name}.yml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(yaml.safe_dump(values), encoding="utf-8")
    asked: list[dict[str, Any]] = []

    def load(**options: Any) -> Any:
        asked.append(options)
        return small_task()

    monkeypatch.setattr(paper, "shipped", lambda name: here / name)
    monkeypatch.setattr(task_module, "load_task", load)
    monkeypatch.setattr(paper, "list_files", lambda data: [])
    monkeypatch.setattr(conduct, "_write_figures", lambda *given: None)
    return asked


def test_the_record_holds_differences_and_detection(loads: list[dict[str, Any]], tmp_path: Path, kit: Any) -> None:
    short = ["--seeds", "1", "--epochs", "2", "--jobs", "1", "--out", "out"]
    kit("study", "paper", "--only", "noise", "--extra", "more.tsv", "--vectors", "text2mol", *short)
    chebi20 = {"pairs": "chebi20", "extra": "more.tsv", "vectors": "text2mol"}
    assert loads == [chebi20, chebi20 | {"swap": True}, {"pairs": "pcdes", "vectors": "text2mol"}]
    record = json.loads((tmp_path / "out" / "noise.json").read_text())
    study = json.loads((tmp_path / "out" / "noise" / "study.json").read_text())
    assert len(record["differences"]) == len(study["differences"]) > 0
    for row, own in zip(record["differences"], study["differences"], strict=True):
        assert (row["data"], row["noise"], row["low"]) == (own["pairs"], float(own["noise"]), own["difference_low"])
    samples = {(row["noise"], row["arm"]): row["samples"] for row in record["differences"]}
    assert samples[0.4, "oracle"] == pytest.approx(0.6)
    assert samples[0.0, "oracle"] == 1
    # another of the studies adds its rows, and the same one again replaces its own
    for name in ("noise_epochs", "noise"):
        kit("study", "paper", "--only", name, "--extra", "more.tsv", "--vectors", "text2mol", *short)
    whole = json.loads((tmp_path / "out" / "noise.json").read_text())
    both = whole["differences"]
    assert set(whole["code"]) == {"noise", "noise_epochs"}
    assert {row["study"] for row in both} == {"noise", "noise_epochs"}
    assert [row for row in both if row["study"] == "noise"] == record["differences"]
    # a record of an older kit, with one digest for all studies, is started again
    (tmp_path / "out" / "noise.json").write_text(json.dumps(whole | {"code": "of all"}))
    kit("study", "paper", "--only", "noise", "--extra", "more.tsv", "--vectors", "text2mol", *short)
    again = json.loads((tmp_path / "out" / "noise.json").read_text())
    assert ({row["study"] for row in again["differences"]}, list(again["code"])) == ({"noise"}, ["noise"])
    found = {(row["data"], row["noise"]): row for row in record["detection"]}
    assert set(found) == {(kind, share) for kind in KINDS for share in (0.0, 0.4)}
    task = exchange_molecules(small_task(), 0.4, 0)
    rows = task.rows("train")
    audit = audit_pairs(task.t[rows], task.m[rows])
    row = found[KINDS[0], 0.4]
    assert row["auc"] == pytest.approx(roc_auc_score(~task.exchanged[rows], audit.agreement), rel=1e-5)
    assert (row["share_low"], row["share_high"]) == pytest.approx(audit.mismatch_share_ci, rel=1e-5)
    assert found[KINDS[0], 0.0]["auc"] is None


def test_other_pairs_take_the_place_of_the_files_own(loads: list[dict[str, Any]], kit: Any) -> None:
    shown = kit("study", "paper", "--only", "noise_epochs", "--pairs", "own.csv", "--plan", "--seeds", "2")
    assert loads == [{"pairs": "own.csv"}]
    assert "noise_epochs: 12 trainings" in shown


def test_a_table_of_the_record_gives_points_and_intervals() -> None:
    row = {"data": "a", "backbone": "b", "arm": "auto", "reference": "standard", "metric": "hits@1", "p_holm": 0.01}
    row |= {"seeds": 3, "ranking": "text_to_molecule/split", "low": 0.01, "high": 0.05, "samples": 0.8}
    rows = [row | {"noise": share, "difference": value} for share, value in ((0.0, 0.0), (0.2, 0.03))]
    table = noise.noise_table({"differences": [*rows, row | {"arm": "CLASS", "noise": 0.2, "difference": 0}]}, ["auto"])
    shown = {name: row[name] for name in ("data", "backbone", "arm", "seeds")}
    assert table.to_dict("records") == [shown | {"0 %": "+0.0 (+1.0 to +5.0)", "20 %": "+3.0 (+1.0 to +5.0)"}]
    assert noise.noise_table({"differences": []}, ["auto"]).empty


def test_a_map_has_a_row_for_each_number_of_epochs_and_a_column_for_each_noise() -> None:
    row = {"data": "a", "arm": "auto", "reference": "standard", "metric": "hits@1", "ranking": "text_to_molecule/split"}
    rows = [
        row | {"backbone": name, "noise": share, "difference": value, "low": value - 0.01, "high": value + 0.02}
        for name, gain in (("dual_encoder", 0.1), ("dual_encoder, 8 epochs", 0.05), ("text2mol", 0.3))
        for share, value in ((0.0, 0.0), (0.4, gain))
    ]
    table = noise.noise_map({"differences": [*rows, rows[1] | {"arm": "CLASS"}]})["a"]
    assert list(table.index) == ["dual_encoder, 8 epochs", "dual_encoder"]
    assert list(table.columns) == ["0%", "40%"]
    assert table.loc["dual_encoder", "40%"] == pytest.approx((10, 9, 12))
    assert table.loc["dual_encoder, 8 epochs", "40%"] == pytest.approx((5, 4, 7))
