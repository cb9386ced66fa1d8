"""Words of the paper's study: they follow the numbers, and say so where there are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot as plt

from class_kit.errors import InputError
from class_kit.study.paper import conduct as paper_conduct
from class_kit.study.paper import gain, products, words
from class_kit.study.paper import results as paper_results
from class_kit.study.paper.drawing import product_figures
from class_kit.study.paper.found import found_words
from class_kit.study.paper.results import LARGEST, find_results, find_search
from class_kit.study.paper.tables import product_tables


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


def test_words_hold_every_effect_and_follow_the_numbers(small_results: dict[str, Any]) -> None:
    main_words = words.product_words(small_results, "main")
    rows = [
        row
        for row in small_results["products"]["main"]["differences"]
        if row["ranking"] == words.RANKING and row["arm"] == "CLASS" and row["metric"] != "mrr"
    ]
    assert len(rows) == 2 * 3 * 2
    for row in rows:
        assert f"`{row['backbone']}` {words.effect(row)}" in main_words
    changed = json.loads(json.dumps(small_results))
    for row in changed["products"]["main"]["differences"]:
        row |= {"difference": 0.2, "difference_low": 0.1, "difference_high": 0.3, "p_holm": 0.001}
    said = words.product_words(changed, "main")
    assert "could not be told apart" not in said.split("The paper reports")[0]
    assert "**better**: `dual_encoder` +20.0 (+10.0 to +30.0)" in said
    assert "**worse**: `dual_encoder` +0.2 (+0.1 to +0.3)" in said
    assert found_words(changed) != found_words(small_results)
    assert "+20.0 (+10.0 to +30.0) *" in found_words(changed)


def test_every_product_has_words_of_its_own(small_results: dict[str, Any]) -> None:
    said = [words.product_words(small_results, name) for name in products.NAMES]
    assert len(set(said)) == len(said)
    assert words.NOTHING not in said
    counts = words.verdict_counts(small_results)
    assert sum(counts["measures"]["random order"].values()) == 3
    for name, references in counts.items():
        shown = product_tables(small_results, name)
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
def test_what_failed_is_missing_and_breaks_nothing(small_results: dict[str, Any], kept: tuple[str, ...]) -> None:
    """Whichever trainings failed, what the others found is drawn and said."""
    some = json.loads(json.dumps(small_results))
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


def test_names_from_a_file_stay_names(small_results: dict[str, Any]) -> None:
    hostile = json.loads(json.dumps(small_results).replace("dsokr", "`<b>_x_`"))
    said = words.product_words(hostile, "main") + found_words(hostile)
    assert "`'<b>_x_'`" in said
    assert "``" not in said


def search_of(*rows: dict[str, Any], swapped: bool = True) -> dict[str, Any]:
    """A search whose arms reached the same on both splits and in both directions."""
    both = [row | {"ranking": ranking, "share": 0.85} for row in rows for ranking in (words.RANKING, gain.BACK)]
    return {"tried": 41, "test": both} | ({"swapped": both} if swapped else {})


def test_a_search_is_said_where_there_is_one() -> None:
    search = search_of(row_of(0.01, 0.05), row_of(-2, 1, "mean_rank"))
    search["swapped"] = [row_of(-0.01, 0.05)]
    said = gain.search_words(search)
    assert said.startswith("41 settings were tried")
    assert "On the test pairs, Hits@1 in points, minus the tuned baseline: **better**: `a` +3.0 (+1.0 to +5.0)." in said
    assert "splits exchanged, nothing tuned anew, Hits@1 in points, minus the tuned baseline: **could not" in said
    assert "85% of the baseline's samples" in said
    assert "Nothing reached it. Nearest, by the worse of its splits in Hits@1, is `a`; it fell short in Hits@1" in said
    assert "it fell short in Hits@1 +2.0 (-1.0 to +5.0)" in said


@pytest.mark.parametrize(
    ("rows", "swapped", "short"),
    [
        ([row_of(0.02, 0.06), row_of(-2, 1, "mean_rank")], True, ""),
        ([row_of(0.02, 0.06), row_of(-2, 1, "mean_rank")], False, "the splits exchanged, which was not read"),
        ([row_of(0.02, 0.03), row_of(-2, 1, "mean_rank")], True, "Hits@1 +2.5 (+2.0 to +3.0) (text→molecule, test"),
        ([row_of(-0.01, 0.09), row_of(-2, 1, "mean_rank")], True, "Hits@1 +4.0 (-1.0 to +9.0) (molecule→text, splits"),
        ([row_of(0.02, 0.06), row_of(-1, 2, "mean_rank")], True, "Mean Rank +0.5 (-1.0 to +2.0) (text→molecule, test"),
    ],
)
def test_the_goal_is_met_where_every_part_of_it_is(rows: list, swapped: bool, short: str) -> None:
    said = gain.search_words(search_of(*rows, swapped=swapped))
    assert ("It was reached by `a`." in said) == (not short)
    assert short in said
    spent = search_of(*rows, swapped=swapped)
    for row in spent["test"]:
        row["share"] = 0.9
    assert "samples 90% (test split)" in gain.search_words(spent)


def test_a_search_as_a_table_and_a_figure() -> None:
    search = search_of(row_of(0.02, 0.06), row_of(-2, 1, "mean_rank"), row_of(0.02, 0.06, "mrr"))
    table = gain.search_table(search)
    rows = table.shown.to_dict("records")
    assert [row["read on"] for row in rows] == ["test split", "splits exchanged"]
    for row in rows:
        assert row["arm"] == "a"
        assert row["samples"] == "85%"
        assert row["Hits@1, text→molecule"] == "+4.0 (+2.0 to +6.0)"
        assert row["Mean Rank, molecule→text"] == "-0.5 (-2.0 to +1.0)"
        assert len(row) == 7
    figure = gain.draw_search(search)
    assert [axes.get_title() for axes in figure.axes] == ["test split", "splits exchanged"] * 2
    assert [axes.get_xlabel() for axes in figure.axes] == ["Hits@1, points"] * 2 + ["Mean Rank, places"] * 2
    plt.close(figure)


def test_the_committed_search_is_found_once_it_has_read_a_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_results, "shipped", lambda name: tmp_path / Path(name).name)
    assert find_search() is None
    path, rows = tmp_path / "search.json", [row_of(0.01, 0.05)]
    path.write_text(json.dumps({"tried": [{}, {}], "chosen": {}}), encoding="utf-8")
    assert find_search() is None
    draws = [{"kind": "plain", "settings": values} for values in ({}, {"dim": 8}, {})]
    for tried, test in ((draws, {"summary": [], "differences": rows}), (2, rows)):
        path.write_text(json.dumps({"tried": tried, "test": test}), encoding="utf-8")
        assert find_search() == {"pairs": "", "tried": 2, "levels": {}, "test": rows}
    summary = [{"arm": "plain", "ranking": words.RANKING, "hits@1": 0.325}, {"arm": "a", "ranking": words.RANKING}]
    path.write_text(json.dumps({"tried": 2, "test": {"summary": summary, "differences": rows}}), encoding="utf-8")
    assert find_search()["levels"] == {"test": 0.325}
    assert "On the test pairs, the tuned baseline has a Hits@1 of 32.5 %." in gain.search_words(find_search())
    path.write_text('{"test": 3, "tried": 1}', encoding="utf-8")
    with pytest.raises(InputError, match="no record of a search"):
        find_search()


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
