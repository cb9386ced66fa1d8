"""Word vectors: trained alike everywhere, and read from every layout in which others publish them."""

import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

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


@pytest.mark.parametrize(("whole", "separately"), [(False, True), (True, True), (True, False)])
def test_a_saved_gensim_4_model_is_read(whole: bool, separately: bool, tmp_path: Path) -> None:
    from gensim.models import Word2Vec

    model = Word2Vec([WORDS * 3] * 30, vector_size=8, min_count=1, workers=1, seed=3)
    path = tmp_path / "model.pkl"
    (model if whole else model.wv).save(str(path), sep_limit=1 if separately else 10**9)
    assert any(tmp_path.glob("model.pkl.*vectors.npy")) == separately
    found = load_vectors(path)
    assert found.words == tuple(model.wv.index_to_key)
    np.testing.assert_array_equal(found.vectors, model.wv.vectors)
    if separately:
        part = next(path for path in tmp_path.glob("model.pkl.*vectors.npy"))
        np.save(part, np.load(part) + 1)
        np.testing.assert_array_equal(load_vectors(path).vectors, model.wv.vectors + 1)
        part.unlink()
        with pytest.raises(InputError, match="this part of a gensim model is missing"):
            load_vectors(path)


class _Python2Pickler(pickle._Pickler):
    """Writes as Python 2 did: strings and the bytes of arrays alike as byte strings, module names as they were."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)

    def save_bytes_as_string(self, value: str | bytes) -> None:
        raw = value.encode("latin-1") if isinstance(value, str) else value
        self.write(b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + len(raw).to_bytes(4, "little") + raw)
        self.memoize(value)

    dispatch[str] = save_bytes_as_string
    dispatch[bytes] = save_bytes_as_string


def _gensim_modules(names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """Empty classes under the names that gensim 3 gave them, so that a pickle can be written that mentions them."""
    classes = {}
    for module in ("gensim", "gensim.models"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    for module, members in names.items():
        made = types.ModuleType(module)
        for name in members:
            classes[name] = type(name, (), {"__module__": module})
            setattr(made, name, classes[name])
        monkeypatch.setitem(sys.modules, module, made)
    return classes


def _make(kind: type, **attributes: Any) -> Any:
    made = kind()
    made.__dict__.update(attributes)
    return made


def _gensim_3_model(layout: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    known = {
        "gensim.models.word2vec": ["Word2Vec", "Word2VecVocab", "Word2VecTrainables"],
        "gensim.models.keyedvectors": ["Word2VecKeyedVectors", "Vocab"],
    }
    classes = _gensim_modules(known, monkeypatch)
    # the vocabulary of a real model is in no order; its rows are
    vocab = {
        word: _make(classes["Vocab"], count=9, index=row, sample_int=2**32)
        for row, word in reversed(list(enumerate(WORDS)))
    }
    rest = {"random": np.random.RandomState(1), "hashfxn": hash, "layer1_size": 3, "cum_table": np.arange(4)}
    if layout == "gensim 0":
        return _make(classes["Word2Vec"], vocab=vocab, index2word=list(WORDS), syn0=VECTORS, syn0norm=None, **rest)
    array = {"syn0": VECTORS} if layout == "gensim 1" else {"vectors": VECTORS, "vectors_norm": None}
    wv = _make(classes["Word2VecKeyedVectors"], vocab=vocab, vector_size=3, index2word=list(WORDS), **array)
    trainables = _make(classes["Word2VecTrainables"], syn1neg=np.zeros((4, 3)), **rest)
    return _make(classes["Word2Vec"], wv=wv, trainables=trainables, vocabulary=_make(classes["Word2VecVocab"]))


@pytest.mark.parametrize("python", [2, 3])
@pytest.mark.parametrize("layout", ["gensim 0", "gensim 1", "gensim 3"])
def test_the_layouts_of_older_gensim_are_read(layout, python, tmp_path, monkeypatch) -> None:
    path = tmp_path / "model_300dim.pkl"
    with monkeypatch.context() as fake, open(path, "wb") as file:
        model = _gensim_3_model(layout, fake)
        (_Python2Pickler if python == 2 else pickle.Pickler)(file, 2).dump(model)
    if python == 2:
        old = path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        assert b"cnumpy.core.multiarray\n" in old
        assert b"X" + len(WORDS[1]).to_bytes(4, "little") not in old
        path.write_bytes(old)
    check(load_vectors(path))


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
        ({"a": np.array([1, 2])}, "floating-point numbers"),
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


def test_a_gensim_model_without_vectors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pkl"
    with monkeypatch.context() as fake, open(path, "wb") as file:
        model = _gensim_3_model("gensim 3", fake)
        del model.wv.vectors
        pickle.dump(model, file)
    with pytest.raises(InputError, match=r"gensim\.models\.word2vec\.Word2Vec without words and vectors"):
        load_vectors(path)


def test_missing_vectors_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_DATA", str(tmp_path))
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path))
    with pytest.raises(InputError, match="class-kit fetch mol2vec"):
        load_vectors("text2mol")
    with pytest.raises(InputError, match=r"model_300dim\.pkl.*class-kit fetch mol2vec"):
        load_vectors("mol2vec")
    with pytest.raises(InputError, match=r"'no-such': expected 'corpus', 'text2mol', 'mol2vec', or a file"):
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
