"""Orders, ties, σ by quantile, the other measures and what they predict, each against the plain definition."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.difficulty import (
    HeldOut,
    difficulty_order,
    difficulty_table,
    heldout_measures,
    mean_top_similarity,
    measure_vs_rank,
    sigma_for_quantile,
    tie_mass,
)
from class_kit.difficulty.measures import MEASURES, difficulty, el2n, morgan_levels, tanimoto
from class_kit.errors import InputError
from class_kit.neighbours import neighbour_counts
from tests.bench.generated import resembling
from tests.refusals import refuses
from tests.test_neighbours import similarities

SMILES = ["CCO", "CCCO", "CC(=O)Oc1ccccc1C(=O)O", "c1ccccc1", "c1ccccc1O", "CCO", "[Na+]", "C1CCCCC1", "CC(C)CO"]


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.sampled_from(["shuffle", "stable", "similarity"]))
def test_every_order_is_ascending_and_complete(counts, ties):
    order = difficulty_order(counts, ties=ties, seed=3, similarity=np.arange(len(counts))[::-1])
    assert order.dtype == np.int64
    assert sorted(order) == list(range(len(counts)))
    assert (np.diff(np.array(counts)[order]) >= 0).all()


def test_tie_rules():
    counts = [1, 0, 0, 1, 0]
    assert difficulty_order(counts, ties="stable").tolist() == [1, 2, 4, 0, 3]
    by_similarity = difficulty_order(counts, ties="similarity", similarity=[0.5, 0.3, 0.1, 0.4, 0.2])
    assert by_similarity.tolist() == [2, 4, 1, 3, 0]
    zeros = np.zeros(100, int)
    orders = [tuple(difficulty_order(zeros, seed=seed)) for seed in range(5)]
    assert len(set(orders)) == 5
    assert orders[2] == tuple(difficulty_order(zeros, seed=2))


def test_a_shuffle_gives_tied_pairs_every_place():
    firsts = [difficulty_order([0, 0, 0, 5], seed=seed)[0] for seed in range(300)]
    assert (np.bincount(firsts, minlength=4)[:3] > 60).all()
    assert 3 not in firsts


test_orders_refuse_what_cannot_be_ordered = refuses(
    ({"counts": []}, "shape"),
    ({"counts": [[1]]}, "shape"),
    ({"counts": [1.0, np.nan]}, r"counts\[1\] is nan"),
    ({"counts": ["a"]}, "counts has shape"),
    ({"counts": [1], "ties": "fair"}, "ties='fair'"),
    ({"counts": [1], "ties": "similarity"}, "needs similarity="),
    ({"counts": [1], "ties": "similarity", "similarity": [1, 2]}, "2 values for 1"),
    call=lambda arguments: difficulty_order(**arguments),
)
test_sigma_refuses_no_share = refuses(
    *((q, "q=") for q in (0, 1.1, "half")), call=lambda q: sigma_for_quantile(np.eye(3), None, q)
)


def test_tie_mass_is_the_share_of_the_largest_group():
    assert tie_mass([0, 0, 0, 1]) == 0.75
    assert tie_mass([3]) == 1.0


@pytest.mark.parametrize("q", [0.01, 0.5, 1.0])
def test_sigma_leaves_the_share_without_neighbour(q):
    t, m = resembling(400, seed=4)
    sigma = sigma_for_quantile(t, m, q)
    lonely = (neighbour_counts(t, m, sigma) == 0).sum()
    assert lonely >= np.ceil(q * 400)
    assert lonely == (similarities(t, m).max(axis=1) <= sigma).sum()
    if sigma < 1:
        assert (neighbour_counts(t, m, sigma - 1e-11) == 0).sum() < np.ceil(q * 400)


def test_mean_top_similarity_is_the_mean_of_the_highest():
    t, m = resembling(150, seed=5)
    expected = np.sort(similarities(t, m, 0.3), axis=1)[:, -10:].mean(axis=1)
    assert mean_top_similarity(t, m, weight=0.3) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ties", ["shuffle", "similarity"])
def test_the_table_says_what_its_parts_say(ties):
    t, m = resembling(300, seed=6)
    pairs = SimpleNamespace(id=tuple(f"p{i}" for i in range(300)))
    table = difficulty_table(pairs, t, m, [0.95, 0.9], ties=ties, seed=2)
    columns = "id neighbours@0.95 rank@0.95 neighbours@0.9 rank@0.9 nearest_id nearest_similarity"
    assert list(table) == columns.split()
    counts = neighbour_counts(t, m, 0.9)
    assert (table["neighbours@0.9"] == counts).all()
    order = difficulty_order(counts, ties=ties, seed=2, similarity=mean_top_similarity(t, m))
    assert (table["rank@0.9"][order] == np.arange(1, 301)).all()
    s = similarities(t, m)
    assert [int(name[1:]) for name in table["nearest_id"]] == s.argmax(axis=1).tolist()
    assert table["nearest_similarity"] == pytest.approx(s.max(axis=1), abs=1e-12)


def test_the_table_of_one_pair_and_of_wrong_ids():
    table = difficulty_table(SimpleNamespace(id=("a",)), np.ones((1, 2)), None, [0.9])
    assert table["nearest_id"].tolist() == [""]
    assert np.isnan(table["nearest_similarity"]).all()
    with pytest.raises(ValueError, match="1 ids for 2 rows"):
        difficulty_table(SimpleNamespace(id=("a",)), np.ones((2, 2)), None, [0.9])


def everything(n=200, seed=7):
    t, m = resembling(n, seed)
    rng = np.random.default_rng(seed)
    words = [" ".join(["w"] * length) for length in rng.integers(1, 30, n)]
    return {
        "t": t,
        "m": m,
        "smiles": [SMILES[i] for i in rng.integers(0, len(SMILES), n)],
        "text": words,
        "loss": rng.random((3, n)),
        "rank": rng.integers(1, 50, n),
        "el2n": rng.random((2, n)),
    }


def definition(name, x, ref, sigma, weight, k):
    """Each measure as a sentence of mathematics."""
    t, m = (similarities(x[side], None, against=(ref[side], None)) for side in "tm")
    levels = morgan_levels([*x["smiles"], *ref["smiles"]])
    tani = tanimoto(levels[: len(x["smiles"])], levels[len(x["smiles"]) :])
    s = {
        "neighbours": (t + m) / 2,
        "neighbours_weighted": weight * t + (1 - weight) * m,
        "neighbours_text": t,
        "neighbours_molecule": m,
        "neighbours_min": np.minimum(t, m),
        "neighbours_max": np.maximum(t, m),
        "neighbours_tanimoto": weight * t + (1 - weight) * tani,
        "kth_distance": weight * t + (1 - weight) * m,
    }.get(name)
    if name == "description_length":
        return np.array([text.count(" ") + 1 for text in x["text"]])
    if name in ("loss", "el2n"):
        return x[name].mean(axis=0)
    if name == "rank":
        return x["rank"]
    if ref is x:
        np.fill_diagonal(s, -9)
    if name == "kth_distance":
        return -np.sqrt(2 - 2 * np.sort(s, axis=1)[:, -k])
    return (s > sigma + 1e-12).sum(axis=1)


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("name", list(MEASURES))
def test_every_measure_is_its_definition(name, held_out):
    x, ref = everything(), everything(150, seed=7)
    reference = {field: ref[field] for field in ("t", "m", "smiles")} if held_out else None
    value = difficulty(name, **x, reference=reference, sigma=0.8, weight=0.4, k=5)
    assert value.dtype == np.float64
    expected = definition(name, x, ref if held_out else x, 0.8, 0.4, 5)
    assert value == pytest.approx(expected, abs=1e-7)
    assert len(np.unique(value)) > 1


X = everything(20)
test_the_interface_refuses_what_is_missing = refuses(
    ({"measure": "luck", **X}, "measure='luck'"),
    ({"measure": "description_length", "t": X["t"]}, "needs text="),
    ({"t": X["t"], "m": X["m"], "reference": {"t": X["t"]}}, "needs m in reference"),
    ({"measure": "neighbours_tanimoto", **X, "smiles": ["C", "C1"] * 10}, "cannot be used: 'C1'"),
    ({"measure": "neighbours_tanimoto", **X, "smiles": ["C"]}, "t has 20 rows for 1 smiles"),
    ({"measure": "neighbours_min", **X, "m": X["m"][:5]}, "t has 20 rows and m has 5"),
    ({**X, "weight": 2}, "weight=2"),
    call=lambda arguments: difficulty(**arguments),
)


def test_tanimoto_equals_rdkit():
    from rdkit import Chem, DataStructs
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    generator = GetMorganGenerator(radius=2)
    prints = [generator.GetSparseCountFingerprint(Chem.MolFromSmiles(s)) for s in SMILES]
    levels = morgan_levels(SMILES)
    expected = [DataStructs.BulkTanimotoSimilarity(p, prints) for p in prints]
    assert tanimoto(levels, levels) == pytest.approx(np.array(expected), abs=1e-15)


def test_el2n_by_hand():
    scores = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    expected = [np.linalg.norm([-0.5, 0.25, 0.25]), np.linalg.norm([0.1, 0.1, -0.2])]
    assert el2n(scores, [0, 2]) == pytest.approx(expected)


def test_each_measure_that_looks_around_is_counted_in_both_sets():
    pairs = everything(280, seed=3)
    pairs |= {name: pairs[name].mean(axis=0) for name in ("loss", "el2n")}
    held, known = ({name: values[part] for name, values in pairs.items()} for part in (slice(200, None), slice(200)))
    found = heldout_measures(held, known, [0.8, 0.9], weight=0.3, k=4)
    assert (found[0].name, found[0].counted_in, found[0].label) == ("neighbours", "train", "N, σ = 0.80")
    places = {name: [one.counted_in for one in found if one.name == name] for name in MEASURES}
    assert places.pop("neighbours") == ["train", "train", "pool", "pool"]
    assert places.pop("description_length") == ["pair"]
    assert [places.pop(name) for name in ("loss", "rank", "el2n")] == [["model"]] * 3
    assert all(where == ["train", "pool"] for where in places.values())
    assert len(places) == 7
    for one in found:
        sigma = 0.9 if "0.90" in one.label else 0.8
        weight = {"weight": 0.3} if one.name == "neighbours_weighted" else {}
        reference = known if one.counted_in == "train" else None
        assert (one.values == difficulty(one.name, reference=reference, **held, sigma=sigma, k=4, **weight)).all()
    given = {name: held[name] for name in ("t", "m", "text", "smiles")}
    assert {one.counted_in for one in heldout_measures(given, known, [0.9])} == {"train", "pool", "pair"}
    with pytest.raises(InputError, match="sigmas is empty"):
        heldout_measures(held, known, [])


def as_held(**values):
    return [HeldOut(name, name, "pair", x) for name, x in values.items()]


def test_spearman_equals_scipy_and_its_interval_covers():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, 500)
    ranks = x + rng.integers(0, 6, 500)
    measured = as_held(count=x, noise=rng.random(500), nothing=np.zeros(500))
    related, unrelated, constant = measure_vs_rank(measured, ranks, resamples=400)
    assert related["rho"] == pytest.approx(spearmanr(x, ranks).statistic, abs=1e-12)
    assert 0.2 < related["low"] < related["rho"] < related["high"]
    assert unrelated["low"] < 0 < unrelated["high"]
    nothing = dict.fromkeys(("name", "measure"), "nothing") | dict.fromkeys(("rho", "low", "high"))
    assert constant == nothing | {"pairs": 500, "distinct": 1, "counted_in": "pair"}
    with pytest.raises(InputError, match="'count' has 500 values for 499 ranks"):
        measure_vs_rank(measured, ranks[1:])


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    truth = 6 / np.pi * np.arcsin(0.5 / 2)
    held = 0
    for seed in range(100):
        x = rng.standard_normal(120)
        y = 0.5 * x + np.sqrt(0.75) * rng.standard_normal(120)
        (found,) = measure_vs_rank(as_held(x=x), y, resamples=200, seed=seed)
        held += found["low"] <= truth <= found["high"]
    assert 86 <= held <= 100


def test_ranks_with_ties_are_taken_in_expectation():
    ranks = SimpleNamespace(greater=np.array([0, 3, 1, 9]), equal=np.array([2, 0, 0, 4]))
    x = as_held(x=np.array([1.0, 3.0, 2.5, 8.0]))
    by_hand = measure_vs_rank(x, [2.0, 4.0, 2.0, 12.0], resamples=5)
    assert measure_vs_rank(x, ranks, resamples=5) == by_hand
