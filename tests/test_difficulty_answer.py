"""Every measure of held-out pairs on one page: what is counted where, and what the sentences make of it."""

from __future__ import annotations

import numpy as np
import pytest

from class_kit.difficulty import answer_page, answer_table, answer_words, difficulty, heldout_measures, set_against_rank
from class_kit.difficulty.measures import MEASURES
from class_kit.neighbours import neighbour_counts
from tests.test_difficulty import everything

SIGMAS = [0.8, 0.9]


@pytest.fixture(scope="module")
def sides():
    pairs = everything(280, seed=3)
    pairs |= {name: pairs[name].mean(axis=0) for name in ("loss", "el2n")}
    return {name: values[200:] for name, values in pairs.items()}, {name: pairs[name][:200] for name in pairs}


def test_each_measure_that_looks_around_is_counted_in_both_sets(sides):
    held, known = sides
    found = heldout_measures(held, known, SIGMAS, weight=0.3, k=4)
    assert (found[0].name, found[0].counted_in, found[0].label) == ("neighbours", "train", "N, σ = 0.80")
    assert {one.name for one in found} == set(MEASURES)
    places = {name: [one.counted_in for one in found if one.name == name] for name in MEASURES}
    assert places.pop("neighbours") == ["train", "train", "pool", "pool"]
    assert places.pop("description_length") == ["pair"]
    assert [places.pop(name) for name in ("loss", "rank", "el2n")] == [["model"]] * 3
    assert all(where == ["train", "pool"] for where in places.values())
    assert len(places) == 7
    given = {**held, "sigma": 0.8, "k": 4}
    for one in found[1:]:
        if one.name == "neighbours":
            continue
        weight = {"weight": 0.3} if one.name == "neighbours_weighted" else {}
        reference = known if one.counted_in == "train" else None
        assert (one.values == difficulty(one.name, reference=reference, **given, **weight)).all()


def test_the_papers_count_in_the_pool_leaves_the_pair_itself_out(sides):
    held, known = sides
    found = [one for one in heldout_measures(held, known, SIGMAS) if one.name == "neighbours"]
    for at, sigma in enumerate(SIGMAS):
        in_train = neighbour_counts(held["t"], held["m"], sigma, against=(known["t"], known["m"]))
        assert (found[at].values == in_train).all()
        assert (found[2 + at].values == neighbour_counts(held["t"], held["m"], sigma)).all()


def test_what_is_not_given_is_left_out(sides):
    held, known = sides
    found = heldout_measures({name: held[name] for name in ("t", "m", "text", "smiles")}, known, [0.9])
    assert {one.counted_in for one in found} == {"train", "pool", "pair"}
    with pytest.raises(ValueError, match="sigmas is empty"):
        heldout_measures(held, known, [])


def test_rows_say_what_measure_vs_rank_says(sides):
    from scipy.stats import spearmanr

    held, known = sides
    measured = heldout_measures(held, known, SIGMAS)
    ranks = np.random.default_rng(0).integers(1, 50, 80)
    rows = set_against_rank(measured, ranks, resamples=50, seed=1)
    assert [(row["name"], row["measure"], row["counted_in"]) for row in rows] == [
        (one.name, one.label, one.counted_in) for one in measured
    ]
    for row, one in zip(rows, measured, strict=True):
        assert row["pairs"] == 80
        if row["distinct"] == 1:
            assert row["rho"] is None
            continue
        assert row["rho"] == pytest.approx(spearmanr(one.values, ranks).statistic, abs=1e-12)
    assert sum(row["distinct"] > 1 for row in rows) > 12


def row(name, counted_in, rho, low, high, measure=None):
    return {"name": name, "measure": measure or name, "counted_in": counted_in, "rho": rho, "low": low, "high": high}


def rows(train=(-0.1, -0.2, -0.01), pool=(0.9, 0.8, 0.95), text=(-0.05, -0.2, 0.1), length=(0.02, -0.1, 0.1)):
    return [
        row("neighbours", "train", *train, measure="N, σ = 0.90"),
        row("neighbours_text", "train", *text, measure="N by text"),
        row("description_length", "pair", *length, measure="length"),
        row("neighbours", "pool", *pool, measure="N, σ = 0.90"),
        row("neighbours_text", "pool", 0.99, 0.98, 1.0, measure="N by text"),
        row("loss", "model", 0.7, 0.6, 0.8),
    ]


def test_the_pool_takes_no_part_in_the_choice():
    said = "\n".join(answer_words(rows()))
    (best,) = [line for line in said.split("\n") if line.startswith("**Of the 3 measures")]
    assert "*N, σ = 0.90*, counted in the training set, goes furthest with the rank: **-0.10** (-0.20 to -0.01)" in best
    assert best.endswith("What counts as harder is ranked better, against the measure's own reading.")
    assert (
        "**N counted in the pool:** N, σ = 0.90: **+0.90** (+0.80 to +0.95). What counts as harder is ranked worse."
        in said
    )
    assert "loss: **+0.70** (+0.60 to +0.80)" in said


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"train": (-0.4, -0.5, -0.3)}, "ranked better"),
        ({"train": (0.4, 0.3, 0.5)}, "is ranked worse."),
        ({"train": (0.4, -0.3, 0.5)}, "It cannot be told from zero."),
        ({"train": (0.4, None, None)}, "It cannot be told from zero."),
    ],
)
def test_the_sign_and_the_interval_decide_the_words(changed, expected):
    lines = answer_words(rows(**changed))
    assert expected in lines[0]
    assert lines[0].startswith("**N counted in the training set:**")
    assert expected in lines[1]


def test_the_best_may_be_one_that_sees_the_pair_alone():
    lines = answer_words(rows(length=(-0.3, -0.4, -0.2)))
    assert "*length* goes furthest with the rank: **-0.30**" in lines[1]


def test_several_thresholds_are_told_apart():
    more = [row("neighbours", "train", 0.2, 0.1, 0.3, measure="N, σ = 0.99"), *rows()]
    said = answer_words(more)[0]
    assert (
        "For 1 of 2, what counts as harder is ranked worse; for 1 of 2, what counts as harder is ranked better" in said
    )
    said = answer_words([row("neighbours", "train", 0.2, -0.1, 0.3), *rows()])[0]
    assert said.endswith("1 of 2 cannot be told from zero.")


def test_a_constant_measure_is_named():
    lines = answer_words([*rows(), row("neighbours_min", "pool", None, None, None, measure="N by both")])
    assert lines[-1] == "The same for every pair, so without a correlation: N by both (pool)."


def test_the_table_has_a_line_for_each_measure():
    lines = answer_table([*rows(), row("neighbours_min", "pool", None, None, None, measure="N by both")])
    assert lines[2] == "| N, σ = 0.90 | -0.10 (-0.20 to -0.01) | +0.90 (+0.80 to +0.95) |  |"
    assert lines[4] == "| length |  |  | +0.02 (-0.10 to +0.10) |"
    assert lines[5] == "| loss |  |  | +0.70 (+0.60 to +0.80) |"
    assert lines[6] == "| N by both |  | the same for all |  |"
    assert len(lines) == 7


def test_the_page_says_of_whom_it_was_asked():
    ran = {"held_out_pairs": 1200, "pairs": "mine", "text_encoder": "minilm", "vectors": "corpus", "pool": 1300}
    ran |= {"epochs": 7, "sigmas": [0.85, 0.9], "note": "read from mine.csv"}
    page = answer_page({"predicted": ran, "training_pairs": 4321, "prediction": rows()})
    for part in ("1,200 held-out pairs of mine", "among 1,300", "7 epochs on 4,321 pairs (read from mine.csv)"):
        assert part in page
    assert "take σ = 0.85." in page
    assert all(line in page for line in [*answer_table(rows()), *answer_words(rows())])
