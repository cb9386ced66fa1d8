"""Word vectors for Mol2vec: trained on the bundled corpus, or read from a published file.

Published vectors come as pickles. Each is read once, by the module `restricted_pickle`, which builds nothing but data,
and is stored as safetensors.
"""

from __future__ import annotations

import csv
import glob
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.fetch import find_folder
from class_kit.files import corpus_file, home_path, sha256_file
from class_kit.molecules.restricted_pickle import Record, read_pickle
from class_kit.molecules.structures import mol2vec_sentences
from class_kit.store import Maker, digest_of, stored

RARE_WORD = "UNK"
DIMENSIONS = 300
# the published files, where `class-kit fetch mol2vec` puts them
PUBLISHED = {"text2mol": "token_embedding_dict.npy", "mol2vec": "model_300dim.pkl"}


@dataclass(frozen=True, eq=False)
class Mol2vecVectors:
    """Vectors of Mol2vec words.

    Attributes
    ----------
    words
        n distinct words: Morgan identifiers as decimal strings, and perhaps `UNK` for rare words.
    vectors
        (n, d) float32.
    source
        Origin, as messages name it.
    """

    words: tuple[str, ...]
    vectors: np.ndarray
    source: str

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.words) or not len(self.words):
            raise InputError(
                f"{self.source}: {len(self.words)} words, vectors of shape {self.vectors.shape}; expected a row each"
            )
        if len(set(self.words)) != len(self.words):
            raise InputError(f"{self.source}: a word occurs twice")
        if not np.isfinite(self.vectors).all():
            raise InputError(f"{self.source}: a vector has values that are not finite")

    @cached_property
    def index(self) -> dict[str, int]:
        """Row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    @property
    def unknown(self) -> int | None:
        """Row of the vector of rare words, or None."""
        return self.index.get(RARE_WORD)

    @cached_property
    def digest(self) -> str:
        """Digest of words and vectors, 64 hexadecimal characters."""
        return digest_of(words=self.words, vectors=self.vectors)


def load_vectors(source: str | os.PathLike[str] | Mol2vecVectors = "corpus") -> Mol2vecVectors:
    """Load word vectors; loaded ones are returned as they are.

    Parameters
    ----------
    source
        `"corpus"`: trained on the training split of the bundled corpus (`train_vectors` with its defaults).
        `"text2mol"`: the 3,138 vectors that Text2Mol published; `"mol2vec"`: Mol2vec's own model of 300 dimensions;
        both from where `class-kit fetch mol2vec` puts them. Or a file: `.npy` or `.pkl` with a dictionary from words
        to vectors, or a saved gensim model.

        Models of gensim 0 to 4 are read, as tested on files made in these layouts. Mol2vec's published
        `model_300dim.pkl` itself was not available for the tests.

    Raises
    ------
    InputError
        The file is missing or is not word vectors; the message says what to do.
    """
    if isinstance(source, Mol2vecVectors):
        return source
    if source == "corpus":
        return train_vectors(corpus_smiles(), source="the bundled corpus")
    file = PUBLISHED.get(str(source))
    path = find_folder("mol2vec", [file]) / file if file else home_path(source)
    if not path.is_file():
        raise InputError(
            f"Mol2vec vectors {str(source)!r}: expected 'corpus', 'text2mol', 'mol2vec', or a file that exists"
        )
    # gensim saves large arrays in separate files beside the model
    parts = sorted(path.parent.glob(f"{glob.escape(path.name)}.*.npy"))
    contents = [part.name.removeprefix(path.name) + sha256_file(part) for part in [path, *parts]]
    return _kept(digest_of(files=contents), lambda: _convert(path), str(source))


def vectors_in(source: str, data: str | os.PathLike[str] | None) -> str:
    """Return the file of the published vectors `source` in the folder `data` or its subfolder `mol2vec`.

    Without a folder, where it lacks the file, and for other sources, return `source` unchanged, for `load_vectors`.
    """
    file = PUBLISHED.get(source)
    if file and data:
        with suppress(InputError):
            return str(find_folder("mol2vec", [file], data) / file)
    return source


def train_vectors(
    smiles: Sequence[str],
    *,
    dimensions: int = DIMENSIONS,
    rare: int = 3,
    seed: int = 0,
    source: str = "own molecules",
    progress: bool | None = None,
) -> Mol2vecVectors:
    """Train Mol2vec word vectors with gensim's Word2Vec: skip-gram, five negative samples, one worker.

    The settings are Mol2vec's: 300 dimensions, window 10, five passes. Words that occur at most `rare` times become
    `UNK`, which also serves unseen words. The result depends only on the molecules, the options and the versions of
    gensim, NumPy and RDKit; it is stored (`class_kit.store`).

    Parameters
    ----------
    smiles
        Molecules; each is one sentence of words.
    dimensions, rare, seed
        Width of the vectors, largest count of a rare word, and the seed.

    Raises
    ------
    InputError
        No molecule, a SMILES that RDKit cannot read, or an option out of range.
    """
    check_whole("dimensions", dimensions, low=1)
    check_whole("rare", rare, low=0)
    check_whole("seed", seed, low=0, high=2**32 - 1)
    options = {"vector_size": dimensions, "window": 10, "epochs": 5, "seed": seed}
    versions = [version(name) for name in ("gensim", "numpy", "rdkit")]

    def train() -> Mol2vecVectors:
        from gensim.models import Word2Vec

        sentences = mol2vec_sentences(smiles, progress=progress)
        counts = Counter(word for sentence in sentences for word in sentence)
        common = [[word if counts[word] > rare else RARE_WORD for word in sentence] for sentence in sentences]
        words = Word2Vec(common, sg=1, negative=5, min_count=1, workers=1, **options).wv
        return Mol2vecVectors(tuple(words.index_to_key), words.vectors, source)

    return _kept(digest_of(smiles=list(smiles), versions=versions, rare=rare, **options), train, source)


def corpus_smiles() -> list[str]:
    """SMILES of the bundled corpus's training split: the default vectors are not trained on held-out molecules."""
    with open(corpus_file(), encoding="utf-8", newline="") as file:
        return [row["smiles"] for row in csv.DictReader(file) if row["split"] == "train"]


def _kept(made_from: str, make: Callable[[], Mol2vecVectors], source: str) -> Mol2vecVectors:
    """Vectors from the store, or made and stored, as one item in the safetensors format."""
    from safetensors.numpy import load, save

    def compute(rows: list[int]) -> Iterator[tuple[int, bytes]]:
        made = make()
        words = np.frombuffer(json.dumps(made.words).encode(), np.uint8)
        yield rows[0], save({"words": words, "vectors": np.ascontiguousarray(made.vectors, np.float32)})

    arrays = load(stored(Maker("vectors", "mol2vec", digest_of(reader=2)), [made_from], compute).read()[0])
    return Mol2vecVectors(tuple(json.loads(arrays["words"].tobytes())), arrays["vectors"], source)


def _convert(path: Path) -> Mol2vecVectors:
    content = read_pickle(path)
    if isinstance(content, dict):
        words, rows = list(content), list(content.values())
        if not rows or not all(isinstance(row, np.ndarray) and row.shape == rows[0].shape for row in rows):
            raise InputError(f"{path}: expected a dictionary from words to vectors of one length")
        # a regular file holds every vector; one that repeats a reference to a single vector would exhaust the memory
        if sum(row.nbytes for row in rows) > path.stat().st_size:
            raise InputError(f"{path}: {len(rows):,} vectors take more bytes than the file has; expected each once")
        vectors = np.stack(rows)
    elif isinstance(content, Record):
        words, vectors = _from_gensim(content, path)
    else:
        raise InputError(f"{path} holds a {type(content).__name__}: expected a dictionary of vectors or a gensim model")
    if not all(isinstance(word, str) for word in words) or vectors.dtype.kind != "f":
        raise InputError(f"{path}: expected words as strings and vectors of floating-point numbers")
    with np.errstate(over="ignore"):  # overflow becomes infinite, which Mol2vecVectors refuses
        return Mol2vecVectors(tuple(words), np.asarray(vectors, dtype=np.float32), str(path))


def _from_gensim(model: Record, path: Path) -> tuple[list[Any], np.ndarray]:
    """Words and vectors of a saved gensim model: `Word2Vec` or `KeyedVectors`, of gensim 4, 3 or older.

    Up to gensim 0.x the model itself holds the vectors, later its `wv`; they are called `syn0`, later `vectors`. Large
    arrays are in separate files beside the model.
    """
    inner = model.get("wv")
    holder, prefix = (inner, ".wv") if isinstance(inner, Record) else (model, "")
    words, vectors = holder.get("index_to_key", "index2word"), holder.get("vectors", "syn0")
    beside = [name for name in holder.get("__numpys") or [] if name in ("vectors", "syn0")]
    if vectors is None and beside:
        part = path.with_name(f"{path.name}{prefix}.{beside[0]}.npy")
        try:
            # memory-mapped, so that a header that promises more than the file holds fails before memory is allocated
            vectors = np.array(np.lib.format.open_memmap(part, mode="r"))
        except Exception as error:  # a damaged header can end in almost any error
            raise InputError(f"{part}: this part of a gensim model is missing or damaged: {error}") from error
    if not isinstance(vectors, np.ndarray) or not isinstance(words, list):
        raise InputError(f"{path} holds {model.name} without words and vectors: expected a Word2Vec model")
    return words, vectors
