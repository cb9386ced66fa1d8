"""Counts and nearest neighbours against a float64 brute force, element by element, on pairs of every awkward kind."""

import re
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.molecules import embed_molecules
from class_kit.neighbours import neighbour_counts, top_similarities
from class_kit.neighbours.cosines import Cosines, make_rows
from class_kit.neighbours.sizes import TILE
from class_kit.neighbours.tiles import leading_axes, project
from class_kit.pairs import load_pairs
from tests.bench.generated import crowded, resembling
from tests.refusals import refuses

SIGMAS = [0.3, 0.8, 0.9, 0.95, 0.99]
ENGINES = ["product", "tiles"]


def unit(x):
    """Rows of length 1 in float64; a zero vector stays one."""
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


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [1, 2, TILE - 1, TILE, TILE + 1, 1500])
def test_generated_pairs_at_every_tile_edge(engine, n):
    t, m = resembling(n)
    counts = neighbour_counts(t, m, SIGMAS, engine=engine)
    assert counts.shape == (len(SIGMAS), n)
    assert_exact(counts, similarities(t, m), SIGMAS)


@pytest.mark.parametrize("sigmas", [[0.99], [0.9, 0.95, 0.985, 0.99, 0.995, 0.999]])
def test_dense_neighbourhoods_are_decided_by_bounds(sigmas):
    t, m = crowded(3000)
    counts = neighbour_counts(t, m, sigmas, engine="tiles")
    assert np.median(neighbour_counts(t, m, 0.99)) > 100
    assert_exact(counts, similarities(t, m), sigmas)


def test_compiled_and_plain_products_across_several_blocks(monkeypatch):
    t, m = resembling(2600)
    for least in (2**40, 1):
        monkeypatch.setattr("class_kit.neighbours.cosines.COMPILED_FROM", least)
        assert_exact(neighbour_counts(t, m, SIGMAS, engine="product"), similarities(t, m), SIGMAS)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_sigma_gives_a_vector_and_lists_keep_their_order(engine):
    t, m = resembling(600)
    listed = neighbour_counts(t, m, [0.99, 0.7, 0.9, 0.7, 1.0], engine=engine)
    for row, sigma in zip(listed, (0.99, 0.7, 0.9, 0.7, 1.0), strict=True):
        alone = neighbour_counts(t, m, sigma, engine=engine)
        assert alone.shape == (600,)
        assert (alone == row).all()
    assert listed[1].sum() > listed[2].sum() > listed[0].sum() > 0 == listed[4].sum()


def test_low_and_negative_sigma_use_products():
    t, m = resembling(500)
    t, m, sigmas = t - t.mean(0), m - m.mean(0), [-0.99, -0.1, 0.0, 0.05, 0.5]
    assert_exact(neighbour_counts(t, m, sigmas), similarities(t, m), sigmas)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_weights_and_each_modality_alone(engine, weight):
    t, m = resembling(400)
    assert_exact(neighbour_counts(t, m, SIGMAS, weight=weight, engine=engine), similarities(t, m, weight), SIGMAS)
    assert_exact(neighbour_counts(t, None, SIGMAS, engine=engine), similarities(t, None), SIGMAS)
    assert_exact(neighbour_counts(None, m, SIGMAS, engine=engine), similarities(None, m), SIGMAS)


@pytest.mark.parametrize("engine", ENGINES)
def test_against_another_set_of_another_type(engine):
    t, m = resembling(900)
    query, ref = (t[:300], m[:300]), (t[200:].astype(np.float64), m[200:].astype(np.float64))
    counts = neighbour_counts(*query, SIGMAS, against=ref, engine=engine)
    assert_exact(counts, similarities(*query, against=ref), SIGMAS)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sigma", [0.5, 0.99, 0.9999])
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
def test_copies_and_zero_vectors(engine):
    t, m = resembling(1600)
    t[:800], m[:800] = t[0], m[0]
    t[800:900], m[800:900] = t[1], m[1]
    t[900:910] = 0
    m[905:920] = 0
    order = np.random.default_rng(0).permutation(len(t))
    t, m = t[order], m[order]
    sigmas = [*SIGMAS, 0.45, 1.0]
    counts = neighbour_counts(t, m, sigmas, engine=engine)
    assert_exact(counts, similarities(t, m), sigmas)
    # a zero modality has cosine 0, not a smaller weight
    assert neighbour_counts(np.ones((2, 3)), np.zeros((2, 4)), [0.49, 0.51], engine=engine).tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["float16", "float64", "int", "fortran", "memmap", "readonly", "scaled"])
def test_kinds_of_input(engine, kind, tmp_path):
    t, m = resembling(300)
    if kind == "memmap":
        np.save(tmp_path / "t.npy", t)
        t = np.load(tmp_path / "t.npy", mmap_mode="r")
    elif kind == "fortran":
        t = np.asfortranarray(t)
    elif kind == "readonly":
        t.setflags(write=False)
    elif kind == "int":
        t = np.round(t * 20).astype(np.int32)
    elif kind == "scaled":
        t[::3] *= np.float32(1e-30)
        m[::2] *= np.float32(1e30)
    else:
        t, m = t.astype(kind), m.astype(kind)
    assert_exact(neighbour_counts(t, m, SIGMAS, engine=engine), similarities(t, m), SIGMAS)


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


@pytest.mark.parametrize("copied", [True, False])
def test_the_error_of_float32_stays_within_its_bound(copied):
    rng = np.random.default_rng(4)
    for width in (1, 7, 300, 2000):
        a, b = np.abs(rng.standard_normal((2, 200, width)))
        cosines = Cosines(make_rows(a), make_rows(b), copied)
        ((columns, block),) = cosines.blocks(slice(0, 200))
        assert columns == slice(0, 200)
        assert np.abs(block - unit(a) @ unit(b).T).max() <= cosines.error < 2e-4


def test_the_bound_is_never_below_the_similarity():
    t, m = resembling(400)
    t[5] = 0
    rows = make_rows(t, m, 0.3)
    full, rest = project(rows, leading_axes(rows), 1)
    s = similarities(t, m, 0.3)
    np.fill_diagonal(s, 0)
    assert (full.astype(float) @ full.T.astype(float) - s > -1e-6).all()
    short = np.concatenate([full[:, :15], rest[:, None]], axis=1).astype(float)
    assert (short @ short.T - s > -1e-6).all()


TWO = np.ones((2, 2))


test_refusals_name_the_value = refuses(
    ({"t": [[1.0, np.nan]]}, r"t\[0, 1\] is nan"),
    ({"m": np.full((3, 2), np.inf)}, r"m\[0, 0\] is inf"),
    ({"t": [[1.0, 0.0], [3e-200, 4e-200]]}, r"t\[1\] has length 0: expected 0, or from 1e-150"),
    ({"t": [[1e200, 0.0]]}, r"t\[0\] has length inf"),
    ({"t": np.ones((3, 2)), "m": np.ones((4, 2))}, "t has 3 rows and m has 4"),
    ({"t": np.ones((0, 2))}, r"shape \(0, 2\)"),
    ({"t": np.ones(4)}, r"shape \(4,\)"),
    ({"t": [["a", "b"]]}, "t has dtype <U1"),
    ({"t": np.ones((2, 2), complex)}, "t has dtype complex128"),
    ({}, "both None"),
    ({"t": TWO, "sigma": -1.0}, "sigma=-1.0"),
    ({"t": TWO, "sigma": 1.01}, "sigma=1.01"),
    ({"t": TWO, "sigma": [0.5, np.nan]}, "sigma=nan"),
    ({"t": TWO, "sigma": []}, "sigma has shape"),
    ({"t": TWO, "sigma": "0.9"}, "sigma='0.9'"),
    ({"t": TWO, "m": TWO, "weight": 1.5}, "weight=1.5"),
    ({"t": TWO, "against": (np.ones((2, 3)), None)}, "3 features, t has 2"),
    ({"t": TWO, "against": (None, TWO)}, "against"),
    ({"t": TWO, "against": TWO[0, 0]}, "against is a float64"),
    ({"t": TWO, "memory": 1000}, "memory=1000"),
    ({"t": TWO, "engine": "magic"}, "engine='magic'"),
    ({"t": TWO, "sigma": 0.05, "engine": "tiles"}, "engine='tiles': expected at least 0.1"),
    call=lambda arguments: neighbour_counts(**{"t": None, **arguments}),
)


@pytest.mark.parametrize("k", [1, 10, 70])
@pytest.mark.parametrize("engine", ENGINES)
def test_top_similarities_against_a_full_sort(engine, k):
    t, m = resembling(700)
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


test_top_similarities_refuse = refuses(
    (lambda: top_similarities(np.ones((1, 2))), "1 pair"), (lambda: top_similarities(TWO, None, 0), "k=0")
)


# --- every row of the bundled corpus and of real ChEBI-20, by blocks


def assert_exact_by_blocks(t, m, sigmas=SIGMAS[1:]):
    """Both engines, every row, against every row; only a block of similarities is held at a time."""
    counts, again = (neighbour_counts(t, m, sigmas, engine=engine) for engine in ENGINES)
    assert (counts == again).all()
    sides = [unit(side) for side in (t, m) if side is not None]
    u = np.concatenate(sides, axis=1) / np.sqrt(len(sides))
    for start in range(0, len(u), 1000):
        part = slice(start, start + 1000)
        s = u[part] @ u.T
        s[np.arange(len(s)), np.arange(start, start + len(s))] = -9
        assert_exact(counts[:, part], s, sigmas)
    return counts


def word_vectors(texts, width=512):
    """How often each word occurs, words folded into so many columns: text vectors that cost nothing."""
    vectors = np.zeros((len(texts), width), np.float32)
    for row, text in enumerate(texts):
        for word in re.findall(r"\w+", text.lower()):
            vectors[row, zlib.crc32(word.encode()) % width] += 1
    return vectors


def test_the_bundled_corpus_by_words_and_mol2vec_and_by_its_molecules_alone():
    pairs = load_pairs("corpus")
    counts = assert_exact_by_blocks(word_vectors(pairs.text), embed_molecules(pairs.smiles, progress=False))
    assert (counts.shape, counts[-1].any()) == ((4, 4400), True)
    half = embed_molecules(pairs.smiles[::2], "morgan", cache=False, progress=False)
    assert_exact_by_blocks(None, half, [0.8, 0.95])


def test_all_real_pairs_by_words_and_mol2vec(real_file, chebi20_dir):
    """The validation and test pairs of ChEBI-20 with the published Mol2vec vectors."""
    vectors = real_file("mol2vec/token_embedding_dict.npy")
    pairs = load_pairs("chebi20", data=chebi20_dir)
    m = embed_molecules(pairs.smiles, vectors=vectors, progress=False)
    counts = assert_exact_by_blocks(word_vectors(pairs.text), m)
    assert (counts.shape, counts[-1].any()) == ((4, 6601), True)
