"""Word vectors: trained alike everywhere, and read from every layout in which others publish them."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from class_kit.errors import InputError
from class_kit.molecules import vectors as mol2vec_vectors
from class_kit.molecules.structures import mol2vec_words
from class_kit.molecules.vectors import Mol2vecVectors, corpus_smiles, load_vectors, train_vectors
from class_kit.store import cache_entries
from tests.faulty_places import python
from tests.refusals import refuses

WORDS = ["UNK", "864662311", "2246728737", "3537119515"]
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
SMILES = [f"{'C' * length}{group}" for length in range(1, 9) for group in ("O", "N", "C(=O)O", "Cl", "=O")]


pytestmark = pytest.mark.usefixtures("own_cache")


def check(found: Mol2vecVectors) -> None:
    assert found.words == tuple(WORDS)
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert found.unknown == 0


def test_a_published_dictionary_is_read(tmp_path: Path) -> None:
    held = dict(zip(WORDS, VECTORS, strict=True))
    path = tmp_path / "token_embedding_dict.npy"
    np.save(path, np.array(held, dtype=object), allow_pickle=True)
    check(load_vectors(path))
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(held))
    check(load_vectors(str(tmp_path / "plain.pkl")))


def test_a_gensim_model_is_refused_and_read_once_it_is_converted_as_advised(tmp_path: Path) -> None:
    from gensim.models import Word2Vec

    model = Word2Vec([WORDS * 3] * 30, vector_size=8, min_count=1, workers=1, seed=3)
    model.save(str(tmp_path / "model.pkl"))
    with pytest.raises(InputError, match=r"names 'gensim\.models.*see load_vectors.*expected a dictionary from words"):
        load_vectors(tmp_path / "model.pkl")
    wv = Word2Vec.load(str(tmp_path / "model.pkl")).wv
    np.save(tmp_path / "vectors.npy", dict(zip(wv.index_to_key, wv.vectors, strict=True)))
    found = load_vectors(tmp_path / "vectors.npy")
    assert found.words == tuple(model.wv.index_to_key)
    np.testing.assert_array_equal(found.vectors, model.wv.vectors)


def test_a_file_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vectors.pkl"
    path.write_bytes(pickle.dumps(dict(zip(WORDS, VECTORS, strict=True))))
    first = load_vectors(path)
    (entry,) = cache_entries("vectors")
    assert entry.items == 1

    monkeypatch.setattr(mol2vec_vectors, "read_pickle", lambda path: pytest.fail("read a second time"))
    check(load_vectors(path))
    moved = path.rename(tmp_path / "elsewhere.pkl")
    assert load_vectors(moved).digest == first.digest
    path.write_bytes(pickle.dumps({"other": VECTORS[0]}))
    with pytest.raises(pytest.fail.Exception, match="a second time"):
        load_vectors(path)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({}, "expected a dictionary from words to vectors"),
        ({"a": 1.0}, "expected a dictionary from words to vectors"),
        ({"a": VECTORS[0], "b": VECTORS[0][:2]}, "vectors of one length"),
        ({"a": np.array([1, 2])}, "expected floating-point numbers"),
        ({1: VECTORS[0]}, "words as strings"),
        ({"a": VECTORS}, "vectors of shape"),
        ({"a": np.array([np.nan], dtype=np.float32)}, "not finite"),
        ({"a": np.array([1e300])}, "not finite"),
        ([1, 2], "holds a list"),
        ("text", "holds a str"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_is_not_word_vectors_is_refused(held: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.pkl"
    path.write_bytes(pickle.dumps(held))
    with pytest.raises(InputError, match=said) as caught:
        load_vectors(path)
    assert str(path) in str(caught.value)


def test_missing_vectors_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_DATA", str(tmp_path))
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path))
    with pytest.raises(InputError, match="class-kit fetch mol2vec"):
        load_vectors("text2mol")
    with pytest.raises(InputError, match=r"'no-such': expected 'corpus', 'text2mol', or a file"):
        load_vectors("no-such")


def test_text2mols_vectors_are_the_published_ones(real_file: Any) -> None:
    found = load_vectors(real_file("mol2vec/token_embedding_dict.npy"))
    assert found.vectors.shape == (3138, 300)
    assert found.words[0] == "UNK"
    assert all(word == "UNK" or 0 < int(word) < 2**32 for word in found.words)


def test_training_is_the_same_whatever_the_hash_seed() -> None:
    program = f"""
from class_kit.molecules.vectors import train_vectors
print(train_vectors({SMILES!r}, dimensions=20, rare=1).digest)
"""

    done = python("-c", program, PYTHONHASHSEED="1", CLASS_KIT_CACHE=os.environ["CLASS_KIT_CACHE"] + "1")
    assert train_vectors(SMILES, dimensions=20, rare=1).digest == done.stdout.strip()
    assert train_vectors(SMILES, dimensions=20, rare=1, seed=1).digest != done.stdout.strip()


@pytest.mark.parametrize("rare", [0, 3])
def test_training_is_word2vec_on_the_sentences_that_mol2vec_would_write(rare: int, tmp_path: Path) -> None:
    from gensim.models import Word2Vec
    from gensim.models.word2vec import LineSentence
    from mol2vec.features import insert_unk

    corpus, replaced = tmp_path / "corpus.txt", tmp_path / "replaced.txt"
    corpus.write_text("".join(f"{' '.join(mol2vec_words(smiles))}\n" for smiles in SMILES))
    insert_unk(str(corpus), str(replaced), threshold=rare)
    reference = Word2Vec(LineSentence(str(replaced)), vector_size=7, window=10, min_count=1, sg=1, workers=1, seed=5)
    made = train_vectors(SMILES, dimensions=7, rare=rare, seed=5)
    assert made.words == tuple(reference.wv.index_to_key)
    np.testing.assert_array_equal(made.vectors, reference.wv.vectors)
    assert (made.unknown is None) == (rare == 0)


test_options_out_of_range_are_refused = refuses(
    *((name, value, f"{name}={value}") for name, value in (("dimensions", 0), ("rare", -1), ("seed", 2**32))),
    call=lambda name, value: train_vectors(SMILES, **{name: value}),
)


def test_the_default_vectors_come_from_the_corpus_training_split(monkeypatch: pytest.MonkeyPatch) -> None:
    smiles = corpus_smiles()
    assert len(smiles) == 3_520
    monkeypatch.setattr(mol2vec_vectors, "corpus_smiles", lambda: smiles[:200])
    made = load_vectors()
    assert (made.source, made.vectors.shape[1]) == ("the bundled corpus", 300)
    assert made.digest == train_vectors(smiles[:200]).digest


def test_words_and_vectors_must_agree() -> None:
    with pytest.raises(InputError, match="expected a row each"):
        Mol2vecVectors(("a",), VECTORS, "a test")
    with pytest.raises(InputError, match="a word occurs twice"):
        Mol2vecVectors(("a", "b", "a", "c"), VECTORS, "a test")
