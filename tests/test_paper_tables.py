"""Tables and figures of the paper's results: verdicts follow the numbers, and nothing breaks where some are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot as plt

from class_kit.errors import InputError
from class_kit.study import paper_figures, paper_tables
from class_kit.study.paper_tables import find_results, find_search, inputs_table, key_rows, read_results
from class_kit.study.tables import verdict
from tests.small_paper import NAMES

EMPTY: dict[str, Any] = {"inputs": {}, "products": {}}


@pytest.mark.parametrize(
    ("low", "high", "metric", "p", "expected"),
    [
        (0.01, 0.03, "hits@1", 0.01, "better"),
        (-0.03, -0.01, "hits@1", 0.01, "worse"),
        (-0.03, 0.01, "hits@1", 0.01, "could not be told apart"),
        (0.0, 0.03, "hits@1", 0.01, "could not be told apart"),
        (0.01, 0.03, "hits@1", 0.06, "could not be told apart"),
        (0.01, 0.03, "hits@1", None, "could not be told apart"),
        (None, None, "hits@1", 0.01, "could not be told apart"),
        (float("nan"), float("nan"), "hits@1", 0.01, "could not be told apart"),
        (1, 3, "mean_rank", 0.01, "worse"),
        (-3, -1, "mean_rank", 0.01, "better"),
    ],
)
def test_a_difference_has_to_stand_against_interval_and_correction(
    low: float | None, high: float | None, metric: str, p: float | None, expected: str
) -> None:
    assert verdict({"metric": metric, "difference_low": low, "difference_high": high, "p_holm": p}) == expected


def test_tables_hold_every_effect_and_follow_the_numbers(small_results: dict[str, Any]) -> None:
    rows = key_rows(small_results, "main")
    assert len(rows) == 2 * (3 + 1 + 1)
    assert list(rows) == ["backbone", "arm", "minus", "difference", "p (Holm)", "verdict"]
    changed = json.loads(json.dumps(small_results))
    for row in changed["products"]["main"]["differences"]:
        row |= {"difference": 0.2, "difference_low": 0.1, "difference_high": 0.3, "p_holm": 0.001}
    rows = key_rows(changed, "main")
    assert set(rows["difference"]) == {"+20.0 (+10.0 to +30.0)"}
    assert set(rows["verdict"]) == {"better"}
    counts = paper_tables.verdict_counts(changed)
    assert counts["main"]["random order"] == {"better": 2, "could not be told apart": 0, "worse": 0}
    assert sum(counts["measures"]["random order"].values()) == 3


def test_numbers_of_a_small_study_are_shown_as_they_are(small_results: dict[str, Any]) -> None:
    shown = inputs_table(small_results).set_index("what")["number"]
    assert shown["training pairs (own)"] == "80"
    assert shown["without any such near-duplicate"] == str(small_results["products"]["main"]["apart"]["queries"])
    for name in NAMES[:-1]:
        assert "80 training pairs, 2 epochs" in paper_tables.note(small_results, name)
    assert "Preliminary" in paper_tables.note(small_results, "main_deep")


@pytest.mark.parametrize("kept", [("standard", "neither"), ("CLASS", "random order"), ()])
def test_what_failed_is_missing_and_breaks_nothing(small_results: dict[str, Any], kept: tuple[str, ...]) -> None:
    """Whichever trainings failed, what the others found is drawn and shown."""
    some = json.loads(json.dumps(small_results)) if kept else EMPTY
    for product in some["products"].values():
        for holder in (product, product.get("apart", {})):
            for key in ("summary", "differences", "savings"):
                if key in holder:
                    holder[key] = [row for row in holder[key] if {row["arm"], row.get("reference", kept[0])} <= {*kept}]
    for name in NAMES:
        drawn, tables = paper_figures.paper_figures(some, name), paper_tables.paper_tables(some, name)
        assert (drawn == tables == {}) or kept
        assert list(key_rows(some, name)) == [] or kept
    plt.close("all")


def test_the_committed_search_is_shown_with_its_verdicts() -> None:
    search = find_search()
    assert search is not None
    frame, shown = paper_tables.search_table(search)
    assert set(shown["arm"]) == {"CLASS", "hard batches", "CLASS and hard batches", "plain, fewer epochs"}
    assert set(shown["read on"]) == {"test split", "splits exchanged"}
    assert len(shown) == 4 * 2 * 2 * 2
    assert list(shown["verdict"]) == [verdict(row) for row in frame.loc[shown.index].to_dict("records")]
    assert search["tried"] == 94
    assert len(paper_figures.draw_search(search).axes) == 4
    plt.close("all")


@pytest.mark.parametrize(
    "text",
    ["", "[", "[]", "{}", '{"inputs": {"sizes": []}, "products": {}}', '{"inputs": {}, "products": {"main": 1}}'],
)
def test_what_is_no_record_of_results_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "paper.json"
    path.write_text(text, encoding="utf-8")
    for read in (read_results, find_results):
        with pytest.raises(InputError, match=r"paper\.json: no results of `class-kit study paper`"):
            read(path)
    path.write_text(" " * (paper_tables.LARGEST + 1), encoding="utf-8")
    with pytest.raises(InputError, match="larger than 1 MiB"):
        read_results(path)
    monkeypatch.setattr(paper_tables, "shipped", lambda name: tmp_path / "none.json")
    assert find_results() == EMPTY
    assert find_search() is None
    (tmp_path / "none.json").write_text('{"test": {"summary": 3}}', encoding="utf-8")
    with pytest.raises(InputError, match="no record of a search"):
        find_search()
