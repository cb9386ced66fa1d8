"""Counts on the bundled corpus and on real ChEBI-20, every row of both, against a float64 brute force by blocks."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest

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


def test_the_bundled_corpus_by_words_and_mol2vec_and_by_its_molecules_alone():
    pairs = load_pairs("corpus")
    counts = assert_exact_by_blocks(word_vectors(pairs.text), embed_molecules(pairs.smiles, progress=False))
    assert counts.shape == (len(SIGMAS), 4400)
    assert counts[-1].any()
    assert_exact_by_blocks(None, embed_molecules(pairs.smiles, "morgan", cache=False, progress=False), [0.8, 0.95])


def test_all_real_pairs_by_words_and_mol2vec(data_dir, chebi20_dir):
    """The validation and test pairs of ChEBI-20 with the published Mol2vec vectors."""
    vectors = data_dir / "mol2vec" / "token_embedding_dict.npy"
    if not vectors.is_file():
        pytest.skip(f"CLASS_KIT_DATA has no mol2vec/token_embedding_dict.npy ({vectors})")
    pairs = load_pairs("chebi20", data=chebi20_dir)
    m = embed_molecules(pairs.smiles, vectors=vectors, progress=False)
    counts = assert_exact_by_blocks(word_vectors(pairs.text), m)
    assert counts.shape == (len(SIGMAS), 6601)
    assert counts[-1].any()
