"""Counts against a float64 brute force, element by element, and what happens round a count: memory, stops, clusters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit import neighbours
from class_kit.neighbours import blocks as neighbour_blocks
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


def real_vectors(chebi20_dir, rows):
    from class_kit.molecules import embed_molecules
    from class_kit.pairs import load_pairs

    pairs = load_pairs("chebi20", data=chebi20_dir, split="test").take(np.arange(rows))
    return pairs.text, embed_molecules(pairs.smiles, cache=False, progress=False)


@pytest.mark.parametrize("encoder", ["minilm", "mpnet"])
def test_real_pairs(chebi20_dir, encoder):
    pytest.importorskip("transformers", reason="real texts are embedded with transformers and torch")
    from class_kit.text import embed_text

    if encoder == "mpnet":
        encoder = os.environ.get("CLASS_KIT_MPNET", "")
        if not encoder:
            pytest.skip("CLASS_KIT_MPNET does not name a folder with all-mpnet-base-v2")
    texts, m = real_vectors(chebi20_dir, 250)
    t = embed_text(texts, encoder=encoder, cache=False, progress=False)
    for engine in ENGINES:
        assert_exact(neighbour_counts(t, m, SIGMAS, engine=engine), similarities(t, m), SIGMAS)


def test_the_bundled_corpus():
    from class_kit.molecules import embed_molecules
    from class_kit.pairs import load_pairs

    pairs = load_pairs("corpus")
    m = embed_molecules(pairs.smiles, encoder="morgan", cache=False, progress=False)
    counts = {engine: neighbour_counts(None, m, [0.8, 0.95], engine=engine) for engine in ENGINES}
    part = np.arange(0, len(pairs), 7)
    s = unit(m)[part] @ unit(m).T
    s[np.arange(len(part)), part] = -9
    for count in counts.values():
        assert_exact(count[:, part], s, [0.8, 0.95])
    assert (counts["product"] == counts["tiles"]).all()


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


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_stays_within_the_budget(engine):
    t, m = corpus(20_000) if engine == "tiles" else corpus(6000)
    t[:8000], m[:8000] = t[0], m[0]
    memory = 64 * 2**20
    neighbour_counts(t[:500], m[:500], 0.9, engine=engine)
    tracemalloc.start()
    try:
        counts = neighbour_counts(t, m, 0.97, engine=engine, memory=memory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory + 2 * counts.nbytes
    assert counts.max() >= min(len(t), 8000) - 1


def test_fifty_thousand_copies_among_two_hundred_thousand_pairs():
    """In bounded memory, and without comparing the copies with each other: those alone are 1.25 billion pairs."""
    t, m = corpus(200_000)
    rng = np.random.default_rng(7)
    copies = rng.permutation(len(t))[:50_000]
    t[copies], m[copies] = t[copies[0]], m[copies[0]]
    memory = 256 * 2**20
    tracemalloc.start()
    try:
        counts = neighbour_counts(t, m, 0.97, memory=memory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory + 2 * counts.nbytes
    assert len(set(counts[copies])) == 1
    rows = np.concatenate([copies[:1], rng.choice(len(t), 40, replace=False)])
    near = np.zeros(len(rows), int)
    for at in range(0, len(t), 10_000):
        part = slice(at, at + 10_000)
        near += (similarities(t[rows], m[rows], against=(t[part], m[part])) > 0.97).sum(axis=1)
    assert (counts[rows] == near - 1).all()
    assert counts[rows[0]] >= len(copies) - 1


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interrupted_count_continues_from_its_blocks(engine, tmp_path, monkeypatch):
    t, m = corpus(3000)
    expected = neighbour_counts(t, m, SIGMAS, engine=engine)
    saved = []
    original = neighbour_blocks.Checkpoint.save

    def save_some(self, name, **arrays):
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(name)
        original(self, name, **arrays)

    monkeypatch.setattr(neighbour_blocks.Checkpoint, "save", save_some)
    with pytest.raises(KeyboardInterrupt):
        neighbour_counts(t, m, SIGMAS, engine=engine, checkpoint=tmp_path, n_jobs=1)
    monkeypatch.setattr(neighbour_blocks.Checkpoint, "save", original)
    files = sorted(tmp_path.rglob("block-*.npz"))
    assert files
    assert not list(tmp_path.rglob("*.tmp"))
    files[0].write_bytes(files[0].read_bytes()[:40])
    computed = []
    name = "product_block" if engine == "product" else "tile_block"
    module = neighbours if engine == "product" else sys.modules["class_kit.neighbours.tiles"]
    real = getattr(module, name)

    def noted(*arguments):
        computed.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(module, name, noted)
    again = neighbour_counts(t, m, SIGMAS, engine=engine, checkpoint=tmp_path, n_jobs=1)
    assert (again == expected).all()
    resumed = len(computed)
    computed.clear()
    neighbour_counts(t, m, SIGMAS, engine=engine, n_jobs=1)
    assert resumed == len(computed) - len(files) + 1
    assert not list(tmp_path.iterdir())


def test_other_input_does_not_take_up_the_blocks(tmp_path):
    t, m = corpus(200)
    rows = make_rows(t, m, 0.5)
    keys = {neighbours._checkpoint(tmp_path, rows, rows, np.array([s]), "auto").folder for s in (0.9, 0.95)}
    t[0, 0] += 1
    changed = make_rows(t, m, 0.5)
    keys.add(neighbours._checkpoint(tmp_path, changed, changed, np.array([0.9]), "auto").folder)
    assert len(keys) == 3


INTERRUPTED = """
import sys, numpy as np
from class_kit.neighbours import neighbour_counts
rng = np.random.default_rng(0)
t = rng.standard_normal((60_000, 200)).astype(np.float32)
print("counting", flush=True)
neighbour_counts(t, None, 0.2, checkpoint=sys.argv[1])
"""


def test_control_c_stops_at_once_and_leaves_whole_files(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert process.stdout.readline() == b"counting\n"
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("block-*.npz")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    code = process.wait(timeout=30)
    process.stdout.close()
    assert code != 0
    assert time.monotonic() - started < 15
    files = list(tmp_path.rglob("block-*.npz"))
    assert files
    for file in files:
        with np.load(file) as block:
            assert set(block.files) == {"first", "places", "values"}
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and f.suffix != ".npz"]


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_the_backend_changes_nothing(backend):
    import joblib

    t, m = corpus(1200)
    expected = neighbour_counts(t, m, SIGMAS, engine="tiles")
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert (neighbour_counts(t, m, SIGMAS, engine="tiles") == expected).all()
        assert (neighbour_counts(t, m, SIGMAS, engine="product") == expected).all()


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
