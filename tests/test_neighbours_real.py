"""Counts on the bundled corpus and on real ChEBI-20, every row of both, against a float64 brute force by blocks."""

from __future__ import annotations

import os
import re
import zlib

import numpy as np
import pytest

from class_kit.errors import InputError
from class_kit.molecules import embed_molecules
from class_kit.neighbours import neighbour_counts
from class_kit.pairs import load_pairs
from tests.test_neighbours import ENGINES, assert_exact, unit

SIGMAS = [0.8, 0.9, 0.95, 0.99]
BLOCK = 1000


def assert_exact_by_blocks(t, m, sigmas=SIGMAS):
    """Both engines, every row, against every row; only a block of similarities is held at a time."""
    counts, again = (neighbour_counts(t, m, sigmas, engine=engine) for engine in ENGINES)
    assert (counts == again).all()
    sides = [unit(side) for side in (t, m) if side is not None]
    u = np.concatenate(sides, axis=1) / np.sqrt(len(sides))
    for start in range(0, len(u), BLOCK):
        part = slice(start, start + BLOCK)
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


def minilm_vectors(texts, few, monkeypatch):
    """All of them where the cache has them, else of the first `few`: a minute of embedding would prove nothing more."""
    pytest.importorskip("transformers", reason="texts are embedded with transformers and torch")
    from class_kit import text

    class Missing(Exception):
        pass

    def missing(*given):
        raise Missing

    with monkeypatch.context() as patch:
        patch.setattr(text, "load_encoder", missing)
        try:
            return text.embed_text(texts, progress=False)
        except Missing:
            pass
    return text.embed_text(texts[:few], cache=False, progress=False)


@pytest.fixture(scope="module")
def bundled():
    pairs = load_pairs("corpus")
    return pairs, embed_molecules(pairs.smiles, progress=False)


@pytest.fixture(scope="module")
def real(data_dir, chebi20_dir):
    """The validation and test pairs of ChEBI-20 with the published Mol2vec vectors."""
    vectors = data_dir / "mol2vec" / "token_embedding_dict.npy"
    if not vectors.is_file():
        pytest.skip(f"CLASS_KIT_DATA has no mol2vec/token_embedding_dict.npy ({vectors})")
    pairs = load_pairs("chebi20", data=chebi20_dir)
    return pairs, embed_molecules(pairs.smiles, vectors=vectors, progress=False)


def test_the_bundled_corpus_by_words_and_mol2vec(bundled):
    pairs, m = bundled
    counts = assert_exact_by_blocks(word_vectors(pairs.text), m)
    assert counts.shape == (len(SIGMAS), 4400)
    assert counts[-1].any()


def test_the_bundled_corpus_by_minilm_and_mol2vec(bundled, monkeypatch):
    pairs, m = bundled
    t = minilm_vectors(pairs.text, 400, monkeypatch)
    assert_exact_by_blocks(t, m[: len(t)])


def test_all_real_pairs_by_words_and_mol2vec(real):
    pairs, m = real
    counts = assert_exact_by_blocks(word_vectors(pairs.text), m)
    assert counts.shape == (len(SIGMAS), 6601)
    assert counts[-1].any()


def test_real_pairs_by_minilm_and_mol2vec(real, chebi20_dir, monkeypatch):
    """All of them where a run on real pairs has left their vectors."""
    pairs, m = real
    extra = chebi20_dir / "extra_train.tsv"
    if extra.is_file():
        # a run embeds all its pairs together, so that is what may be kept
        more = load_pairs("chebi20", data=chebi20_dir, extra=extra)
        place = {name: row for row, name in enumerate(more.id)}
        t = minilm_vectors(more.text, 1, monkeypatch)
        if len(t) > 1:
            assert_exact_by_blocks(t[[place[name] for name in pairs.id]], m)
            return
    t = minilm_vectors(pairs.text, 250, monkeypatch)
    assert_exact_by_blocks(t, m[: len(t)])


def test_real_pairs_by_mpnet_and_mol2vec(real):
    pytest.importorskip("transformers", reason="texts are embedded with transformers and torch")
    from class_kit.text import embed_text

    encoder = os.environ.get("CLASS_KIT_MPNET", "")
    if not encoder:
        pytest.skip("CLASS_KIT_MPNET does not name a folder with all-mpnet-base-v2")
    pairs, m = real
    assert_exact_by_blocks(embed_text(pairs.text[:250], encoder=encoder, cache=False, progress=False), m[:250])


def test_the_molecules_of_the_corpus_alone(bundled):
    m = embed_molecules(bundled[0].smiles, encoder="morgan", cache=False, progress=False)
    assert_exact_by_blocks(None, m, [0.8, 0.95])


def test_the_measurement_finds_real_pairs_where_fetch_puts_them(chebi20_dir, tmp_path, monkeypatch, capsys):
    from tests.bench import bench_neighbours

    monkeypatch.setattr("class_kit.text.embed_text", lambda texts: np.full((len(texts), 2), 7.0))
    monkeypatch.delenv("CLASS_KIT_DATA")
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path))
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))
    assert bench_neighbours.real_pairs() is None
    assert "class-kit fetch chebi20" in capsys.readouterr().out
    (tmp_path / "chebi20").symlink_to(chebi20_dir)
    asked = []

    def embed_molecules(smiles, vectors):
        asked.append(vectors)
        if vectors != "corpus":
            raise InputError("not fetched")
        return np.full((len(smiles), 3), 8.0)

    monkeypatch.setattr("class_kit.molecules.embed_molecules", embed_molecules)
    t, m = bench_neighbours.real_pairs()
    assert t.shape == (6601, 2)
    assert m.shape == (6601, 3)
    assert asked == ["text2mol", "mol2vec", "corpus", "corpus"]
    assert "6,601 real pairs, Mol2vec vectors corpus" in capsys.readouterr().out
