"""Counts against a float64 brute force, element by element, on generated pairs of every awkward kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.neighbours import neighbour_counts
from class_kit.neighbours.index import TILE, leading_axes, merge_equal, project
from class_kit.neighbours.nearest import top_similarities
from class_kit.neighbours.rows import make_rows
from tests.bench.generated import resembling

SIGMAS = [0.3, 0.8, 0.9, 0.95, 0.99]
ENGINES = ["product", "tiles"]


def unit(x):
    x = np.asarray(x, np.float64)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)


def similarities(t, m, weight=0.5, against=None):
    """s by the definition, with the pair itself taken out."""
    other = (t, m) if against is None else against
    shares = (1.0, 1.0) if t is None or m is None else (weight, 1 - weight)
    pairs = [(a, b, w) for a, b, w in zip((t, m), other, shares, strict=True) if a is not None]
    s = sum(w * unit(a) @ unit(b).T for a, b, w in pairs)
    if against is None:
        np.fill_diagonal(s, -9)
    return s


def assert_exact(counts, s, sigmas):
    """Equal to the float64 count; only pairs within 1e-12 of σ may fall either way."""
    for count, sigma in zip(np.atleast_2d(counts), np.atleast_1d(sigmas), strict=True):
        least, most = (s > sigma + 1e-12).sum(axis=1), (s > sigma - 1e-12).sum(axis=1)
        if sigma == 1:
            least = most = np.zeros(len(s), int)
        assert count.dtype == np.int64
        assert ((least <= count) & (count <= most)).all()


def corpus(n=1500, seed=0):
    return resembling(n, seed)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [1, 2, 3, TILE - 1, TILE, TILE + 1, 700, 1500])
def test_generated_pairs_at_every_tile_edge(engine, n):
    t, m = corpus(n)
    counts = neighbour_counts(t, m, SIGMAS, engine=engine)
    s = similarities(t, m)
    assert counts.shape == (len(SIGMAS), n)
    assert_exact(counts, s, SIGMAS)
    assert (counts == [(s > sigma).sum(axis=1) for sigma in SIGMAS]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_one_sigma_gives_a_vector_and_lists_keep_their_order(engine):
    t, m = corpus(600)
    listed = neighbour_counts(t, m, [0.99, 0.7, 0.9, 0.7, 1.0], engine=engine)
    for row, sigma in zip(listed, (0.99, 0.7, 0.9, 0.7, 1.0), strict=True):
        alone = neighbour_counts(t, m, sigma, engine=engine)
        assert alone.shape == (600,)
        assert (alone == row).all()
    assert listed[1].sum() > listed[2].sum() > listed[0].sum() > 0 == listed[4].sum()


def test_low_and_negative_sigma_use_products():
    t, m = corpus(500)
    sigmas = [-0.99, -0.1, 0.0, 0.05, 0.5]
    assert_exact(
        neighbour_counts(t - t.mean(0), m - m.mean(0), sigmas), similarities(t - t.mean(0), m - m.mean(0)), sigmas
    )
    with pytest.raises(ValueError, match="engine='tiles' needs"):
        neighbour_counts(t, m, 0.05, engine="tiles")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weight", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_weights(engine, weight):
    t, m = corpus(400)
    assert_exact(neighbour_counts(t, m, SIGMAS, weight=weight, engine=engine), similarities(t, m, weight), SIGMAS)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_modality_alone(engine):
    t, m = corpus(400)
    assert_exact(neighbour_counts(t, None, SIGMAS, engine=engine), similarities(t, None), SIGMAS)
    assert_exact(neighbour_counts(None, m, SIGMAS, engine=engine), similarities(None, m), SIGMAS)
    assert (neighbour_counts(t, m, SIGMAS, weight=1) == neighbour_counts(t, None, SIGMAS)).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_against_another_set(engine):
    t, m = corpus(900)
    query, ref = (t[:300], m[:300]), (t[200:], m[200:])
    s = similarities(*query, against=ref)
    assert_exact(neighbour_counts(*query, SIGMAS, against=ref, engine=engine), s, SIGMAS)
    wide = (ref[0].astype(np.float64), ref[1].astype(np.float64))
    assert_exact(neighbour_counts(*query, SIGMAS, against=wide, engine=engine), s, SIGMAS)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sigma", [0.5, 0.9, 0.99, 0.9999])
def test_pairs_planted_beside_sigma(engine, sigma):
    rng = np.random.default_rng(1)
    base = unit(rng.standard_normal((200, 60)))
    aside = rng.standard_normal(base.shape)
    aside = unit(aside - (aside * base).sum(1, keepdims=True) * base)
    gap = np.tile([1e-6, -1e-6, 1e-9, -1e-9, 1e-11, -1e-11, 3e-12, -3e-12], 25)
    cosine = (sigma + gap)[:, None]
    x = np.concatenate([base, cosine * base + np.sqrt(1 - cosine**2) * aside])
    counts = neighbour_counts(x, None, sigma, engine=engine)
    assert_exact(counts, similarities(x, None), sigma)
    if sigma >= 0.9:
        assert (counts == np.tile(gap > 0, 2)).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_thousands_of_copies_and_zero_vectors(engine):
    t, m = corpus(2600)
    t[:1200], m[:1200] = t[0], m[0]
    t[1200:1300], m[1200:1300] = t[1], m[1]
    t[1300:1310] = 0
    m[1305:1320] = 0
    order = np.random.default_rng(0).permutation(len(t))
    t, m = t[order], m[order]
    s = similarities(t, m)
    assert_exact(neighbour_counts(t, m, [*SIGMAS, 0.45, 1.0], engine=engine), s, [*SIGMAS, 0.45, 1.0])
    counts = neighbour_counts(t, m, 0.99, engine=engine)
    assert (counts[order < 1200] >= 1199).all()
    nothing = ~t.any(axis=1) & ~m.any(axis=1)
    assert nothing.sum() == 5
    assert (counts[nothing] == 0).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_pairs_exactly_at_sigma_stay_out(engine):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (300, 6)).astype(float)
    products, squares = x @ x.T, (x**2).sum(axis=1)
    # cos > 4/5 in whole numbers
    above = (products > 0) & (25 * products**2 > 16 * np.outer(squares, squares))
    np.fill_diagonal(above, False)
    assert (25 * products**2 == 16 * np.outer(squares, squares)).sum() > 100
    assert (neighbour_counts(x, None, 0.8, engine=engine) == above.sum(axis=1)).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_zero_modality_has_cosine_zero_not_a_smaller_weight(engine):
    t, m = np.ones((2, 3)), np.zeros((2, 4))
    counts = neighbour_counts(t, m, [0.49, 0.51], engine=engine)
    assert counts.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("engine", ENGINES)
def test_one_dimension(engine):
    x = np.array([[1.0], [-2.0], [3.0], [0.0]])
    assert neighbour_counts(x, None, [0.5, 1.0], engine=engine).tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]]
    assert neighbour_counts(x, None, -0.5).tolist() == [2, 1, 2, 3]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int", "fortran", "strided", "memmap", "readonly"])
def test_kinds_of_input(engine, kind, tmp_path):
    t, m = corpus(500)
    if kind == "memmap":
        np.save(tmp_path / "t.npy", t)
        t = np.load(tmp_path / "t.npy", mmap_mode="r")
    elif kind == "fortran":
        t = np.asfortranarray(t)
    elif kind == "strided":
        t = np.repeat(t, 2, axis=0)[::2]
    elif kind == "readonly":
        t.setflags(write=False)
    elif kind == "int":
        t = np.round(t * 20).astype(np.int32)
    else:
        t, m = t.astype(kind), m.astype(kind)
    assert_exact(neighbour_counts(t, m, SIGMAS, engine=engine), similarities(t, m), SIGMAS)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scale", [1e-30, 1e-200, 1e30, 1e200])
def test_length_does_not_matter_even_when_extreme(engine, scale):
    t, m = corpus(300)
    t = t.astype(np.float64)
    expected = neighbour_counts(t, m, SIGMAS, engine=engine)
    t[::3] *= scale
    assert (neighbour_counts(t, m, SIGMAS, engine=engine) == expected).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_data_that_no_bound_prunes(engine):
    rng = np.random.default_rng(0)
    t, m = rng.standard_normal((700, 50)), rng.standard_normal((700, 30))
    assert_exact(neighbour_counts(t, m, [0.15, 0.3], engine=engine), similarities(t, m), [0.15, 0.3])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 400), st.integers(1, 30), st.sampled_from([0.2, 0.7, 0.95]), st.integers(0, 2**20))
def test_permuting_the_pairs_permutes_the_counts(n, width, sigma, seed):
    rng = np.random.default_rng(seed)
    t = rng.standard_normal((n, width)) + rng.integers(0, 3, (n, 1))
    t = t[rng.integers(0, n, n)]
    m = rng.standard_normal((n, 4)).round(1)
    order = rng.permutation(n)
    s = similarities(t, m)
    for engine in ENGINES:
        counts = neighbour_counts(t, m, sigma, engine=engine)
        assert_exact(counts, s, sigma)
        assert (neighbour_counts(t[order], m[order], sigma, engine=engine) == counts[order]).all()


def test_the_bound_is_never_below_the_similarity():
    t, m = corpus(400)
    t[5] = 0
    rows = make_rows(t, m, 0.3)
    full, rest = project(rows, leading_axes(rows), 1)
    s = similarities(t, m, 0.3)
    np.fill_diagonal(s, 0)
    assert (full.astype(float) @ full.T.astype(float) - s > -1e-6).all()
    short = np.concatenate([full[:, :15], rest[:, None]], axis=1).astype(float)
    assert (short @ short.T - s > -1e-6).all()


def test_merging_groups_equal_rows_only():
    t, m = corpus(300)
    t[10:20], m[10:20] = t[3], m[3]
    t[30], m[30] = t[3], m[4]
    merged = merge_equal(make_rows(t, m, 0.5), 2)
    assert merged.copies.sum() == 300
    assert set(np.flatnonzero(merged.group == merged.group[3])) == {3, *range(10, 20)}
    assert (t[merged.first[merged.group]] == t).all()
    assert (m[merged.first[merged.group]] == m).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"t": [[1.0, np.nan]]}, r"t\[0, 1\] is nan"),
        ({"m": np.full((3, 2), np.inf)}, r"m\[0, 0\] is inf"),
        ({"t": np.ones((3, 2)), "m": np.ones((4, 2))}, "t has 3 rows and m has 4"),
        ({"t": np.ones((0, 2))}, r"shape \(0, 2\)"),
        ({"t": np.ones((2, 0))}, r"shape \(2, 0\)"),
        ({"t": np.ones(4)}, r"shape \(4,\)"),
        ({}, "both None"),
        ({"t": np.ones((2, 2)), "sigma": -1.0}, "sigma contains -1.0"),
        ({"t": np.ones((2, 2)), "sigma": 1.01}, "sigma contains 1.01"),
        ({"t": np.ones((2, 2)), "sigma": [0.5, np.nan]}, "sigma contains nan"),
        ({"t": np.ones((2, 2)), "sigma": []}, "sigma has shape"),
        ({"t": np.ones((2, 2)), "m": np.ones((2, 2)), "weight": 1.5}, "weight is 1.5"),
        ({"t": np.ones((2, 2)), "against": (np.ones((2, 3)), None)}, "3 features, t has 2"),
        ({"t": np.ones((2, 2)), "against": (None, np.ones((2, 2)))}, "against"),
        ({"t": np.ones((2, 2)), "memory": 1000}, "memory is 1000"),
        ({"t": np.ones((2, 2)), "engine": "magic"}, "engine is 'magic'"),
        ({"t": np.ones((2, 2)), "n_jobs": 0}, "n_jobs is 0"),
    ],
)
def test_refusals_name_the_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        neighbour_counts(arguments.pop("t", None), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"t": [["a", "b"]]},
        {"t": np.ones((2, 2), complex)},
        {"t": np.ones((2, 2)), "sigma": "0.9"},
        {"t": np.ones((2, 2)), "against": np.ones((2, 2))},
        {"t": np.ones((2, 2)), "memory": 1e9},
    ],
)
def test_wrong_types_are_type_errors(arguments):
    with pytest.raises(TypeError, match="expected"):
        neighbour_counts(arguments.pop("t"), **arguments)


@pytest.mark.parametrize("k", [1, 10, 70])
@pytest.mark.parametrize("engine", ENGINES)
def test_top_similarities_against_a_full_sort(engine, k):
    t, m = corpus(900)
    t[:50], m[:50] = t[7], m[7]
    t[600], m[601] = 0, 0
    t[602:604], m[602:604] = 0, 0
    index, similarity = top_similarities(t, m, k, engine=engine)
    s = similarities(t, m)
    assert np.allclose(similarity, -np.sort(-s, axis=1)[:, :k], atol=1e-12, rtol=0)
    rows = np.arange(len(t))[:, None]
    assert np.allclose(s[rows, index], similarity, atol=1e-12, rtol=0)
    assert (np.sort(index, axis=1)[:, 1:] != np.sort(index, axis=1)[:, :-1]).all()
    assert (index != rows).all()


def test_top_similarities_of_few_pairs():
    index, similarity = top_similarities(np.array([[1.0, 0], [1, 1]]), None, 5)
    assert index.tolist() == [[1], [0]]
    assert similarity == pytest.approx(np.sqrt(0.5))
    same = np.ones((5, 3))
    for engine in ENGINES:
        assert top_similarities(same, None, 9, engine=engine)[0].shape == (5, 4)
    with pytest.raises(ValueError, match="1 pair"):
        top_similarities(np.ones((1, 2)))
    with pytest.raises(ValueError, match="k is 0"):
        top_similarities(same, None, 0)
