"""Word vectors for Mol2vec: trained on the bundled corpus, or read from a published file.

Text2Mol published its vectors as a pickle. It is read once, by the module `restricted_pickle`, which builds nothing but
data, and is stored as safetensors.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.fetch import find_folder
from class_kit.files import corpus_file, home_path, sha256_file
from class_kit.molecules.restricted_pickle import read_pickle
from class_kit.molecules.structures import mol2vec_sentences
from class_kit.store import Maker, digest_of, stored

RARE_WORD = "UNK"
DIMENSIONS = 300
# the file of "text2mol", where `class-kit fetch mol2vec` puts it
TEXT2MOL = "token_embedding_dict.npy"


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
        `"text2mol"`: the 3,138 vectors that Text2Mol published, from where `class-kit fetch mol2vec` puts them. Or a
        file: `.npy` or `.pkl` with a dictionary from words to vectors.

        A saved gensim model, such as Mol2vec's `model_300dim.pkl`, is a pickle that names code, which the kit never
        runs. Convert it with gensim, if you trust it: `wv = Word2Vec.load(path).wv`, then
        `numpy.save("vectors.npy", dict(zip(wv.index_to_key, wv.vectors)))`.

    Raises
    ------
    InputError
        The file is missing or is not word vectors; the message says what to do.
    """
    if isinstance(source, Mol2vecVectors):
        return source
    if source == "corpus":
        return train_vectors(corpus_smiles(), source="the bundled corpus")
    path = find_folder("mol2vec", [TEXT2MOL]) / TEXT2MOL if source == "text2mol" else home_path(source)
    if not path.is_file():
        raise InputError(f"Mol2vec vectors {str(source)!r}: expected 'corpus', 'text2mol', or a file that exists")
    return _kept(digest_of(file=sha256_file(path)), lambda: _convert(path), str(source))


def vectors_in(source: str, data: str | os.PathLike[str] | None) -> str:
    """Return the file of the vectors "text2mol" in the folder `data` or its subfolder `mol2vec`.

    Without a folder, where it lacks the file, and for other sources, return `source` unchanged, for `load_vectors`.
    """
    if source == "text2mol" and data:
        with suppress(InputError):
            return str(find_folder("mol2vec", [TEXT2MOL], data) / TEXT2MOL)
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
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}: expected a dictionary from words to vectors")
    words, rows = tuple(content), list(content.values())
    if not rows or not all(isinstance(row, np.ndarray) and row.shape == rows[0].shape for row in rows):
        raise InputError(f"{path}: expected a dictionary from words to vectors of one length")
    # a regular file holds every vector; one that repeats a reference to a single vector would exhaust the memory
    if sum(row.nbytes for row in rows) > path.stat().st_size:
        raise InputError(f"{path}: {len(rows):,} vectors take more bytes than the file has; expected each once")
    vectors = np.stack(rows)
    if not all(isinstance(word, str) for word in words) or vectors.dtype.kind != "f":
        raise InputError(f"{path}: expected words as strings and vectors of floating-point numbers")
    with np.errstate(over="ignore"):  # overflow becomes infinite, which Mol2vecVectors refuses
        return Mol2vecVectors(words, vectors.astype(np.float32), str(path))
