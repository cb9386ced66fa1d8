"""Molecule vectors: Mol2vec sums of substructure vectors, and Morgan count fingerprints.

A Mol2vec *word* is the identifier of an atom's environment of radius 0 or 1; the words of a molecule, atom by atom,
are its sentence, and the sum of their vectors is its vector (Jaeger, Fulle & Turk 2018). Words know neither stereo
nor isotopes, so molecules that differ in those alone get equal vectors.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from class_kit.checks import check_choice
from class_kit.errors import InputError
from class_kit.molecules.structures import (
    BLOCK,
    MORGAN_BITS,
    MORGAN_RADIUS,
    atom_words,
    check_readable,
    check_smiles,
    each_molecule,
    fingerprint,
    list_unreadable,
    mol2vec_sentences,
    mol2vec_words,
    read_molecule,
    unreadable,
)
from class_kit.molecules.vectors import Mol2vecVectors, load_vectors
from class_kit.store import Maker, digest_of, stored_vectors

if TYPE_CHECKING:
    from rdkit.Chem import Mol

logger = logging.getLogger(__name__)

__all__ = [
    "Coverage",
    "Mol2vecVectors",
    "atom_words",
    "embed_molecules",
    "load_vectors",
    "mol2vec_coverage",
    "mol2vec_sentences",
    "mol2vec_words",
    "read_molecule",
]

ENCODERS = ("mol2vec", "morgan")
UNKNOWN = ("unk", "skip")
ERRORS = ("raise", "zero")


@dataclass(frozen=True, eq=False)
class Coverage:
    """How much of each molecule the word vectors know.

    Attributes
    ----------
    known, total
        (L,) int64: words of each molecule that have a vector, and all of its words.
    unknown_words
        Distinct words without a vector, the most frequent first.
    """

    known: np.ndarray
    total: np.ndarray
    unknown_words: tuple[str, ...]

    @property
    def overall(self) -> float:
        """Known words over all words of the set, in [0, 1]."""
        return float(self.known.sum() / self.total.sum())

    @property
    def without_known(self) -> tuple[int, ...]:
        """Rows, from 0, of molecules that have no known word and so get a zero vector."""
        return tuple(int(row) for row in np.flatnonzero(self.known == 0))

    def __str__(self) -> str:
        return (
            f"{len(self.total):,} molecules: {self.overall:.2%} of {int(self.total.sum()):,} words known, "
            f"{len(self.unknown_words):,} distinct words unknown, {int((self.known == self.total).sum()):,} molecules "
            f"known in full, {len(self.without_known):,} without any known word"
        )


def mol2vec_coverage(
    smiles: Sequence[str],
    vectors: str | os.PathLike[str] | Mol2vecVectors = "corpus",
    *,
    progress: bool | None = None,
) -> Coverage:
    """Which share of each molecule's words has a vector, which words have none, and which molecules have none.

    A vector made of few known words says little of its molecule; look here before trusting cosines.

    Raises
    ------
    InputError
        Vectors that cannot be found or read, no molecule, or SMILES that RDKit refuses (rows and strings are named).
    """
    rows = check_smiles(smiles)
    table = vectors if isinstance(vectors, Mol2vecVectors) else load_vectors(vectors)
    sentences = mol2vec_sentences(rows, progress=progress)
    of_row, words, total = _matched(sentences, table)
    unknown = Counter(word for sentence in sentences for word in sentence if word not in table.index)
    known = np.bincount(of_row[words >= 0], minlength=len(total))
    return Coverage(known, total, tuple(sorted(unknown, key=lambda word: (-unknown[word], word))))


def embed_molecules(
    smiles: Sequence[str | Mol],
    encoder: str = "mol2vec",
    *,
    vectors: str | os.PathLike[str] | Mol2vecVectors = "corpus",
    unknown: str = "unk",
    errors: str = "raise",
    cache: bool = True,
    progress: bool | None = None,
) -> np.ndarray:
    """Embed each molecule as one vector.

    Parameters
    ----------
    smiles
        L SMILES strings, or molecules of RDKit.
    encoder
        `"mol2vec"`: the sum of the vectors of the molecule's words, added up in float64. `"morgan"`: counts of
        Morgan environments up to radius 2, folded to 2,048 columns (counts rather than bits).
    vectors
        Word vectors for `"mol2vec"`: `"corpus"` (trained on the bundled corpus, always at hand), `"text2mol"` (the
        3,138 that Text2Mol published) and `"mol2vec"` (Mol2vec's own model), both from `class-kit fetch mol2vec`, a
        file, or loaded ones. See `load_vectors`.
    unknown
        What a word without a vector adds: `"unk"`, the vector of the rare words, as Text2Mol does; `"skip"`, nothing.
        A molecule without a single known word gets a zero vector either way, because a multiple of one vector
        would make all such molecules duplicates of each other; the log names them.
    errors
        What becomes of SMILES that RDKit refuses: `"raise"`, an error that names them before anything is embedded;
        `"zero"`, a zero vector and a warning that names them.
    cache
        Keep and reuse results on disk (`class_kit.store`).
    progress
        Show the bar; by default only where a person is looking.

    Returns
    -------
    numpy.ndarray
        (L, d_m) float32, not of unit length: d_m is 300 for the vectors named above, 2,048 for `"morgan"`.

    Raises
    ------
    InputError
        SMILES that RDKit refuses (the first ten are named, with their rows; with `errors="zero"` only where it refuses
        all), an unknown option, vectors that cannot be found or read, or `unknown="unk"` with vectors that have none
        for rare words.
    """
    check_choice("molecule encoder", encoder, ENCODERS)
    rows = check_smiles(smiles)
    if check_choice("errors", errors, ERRORS) == "zero":
        return _embed_readable(rows, encoder, vectors, unknown, cache, progress)
    table = known_vectors(vectors, unknown) if encoder == "mol2vec" else None
    options = digest_of(
        rdkit=version("rdkit"),
        **({"vectors": table.digest, "unknown": unknown} if table else {"radius": MORGAN_RADIUS, "bits": MORGAN_BITS}),
    )

    def compute(missing: list[int]) -> Iterator[tuple[Sequence[int], np.ndarray, np.ndarray]]:
        check_readable(rows, missing, progress=progress)
        work, what = (fingerprint, "fingerprints") if table is None else (mol2vec_words, "molecule words")
        found = each_molecule(rows, missing, work, what, progress)
        while block := list(itertools.islice(found, BLOCK)):
            done, missing = missing[: len(block)], missing[len(block) :]
            yield done, *(_embed_words(block, table, unknown) if table else (np.sum(block, axis=1), np.stack(block)))

    source = table.source if table else "counts"
    known, result = stored_vectors(Maker(encoder, source, options), rows, compute, use=cache)
    if table:
        tell_zero_rows(known, rows, table)
    return result


def _embed_readable(
    rows: list[str],
    encoder: str,
    vectors: str | os.PathLike[str] | Mol2vecVectors,
    unknown: str,
    cache: bool,
    progress: bool | None,
) -> np.ndarray:
    """The vectors of `embed_molecules`, with zeros for what RDKit refuses."""
    refused = unreadable(rows, range(len(rows)), progress=progress)
    if len(refused) == len(rows):
        raise InputError(f"none of {len(rows):,} SMILES can be used: {list_unreadable(rows, refused)}")
    read = [row for row in range(len(rows)) if row not in refused]
    some = [rows[row] for row in read]
    found = embed_molecules(some, encoder, vectors=vectors, unknown=unknown, cache=cache, progress=progress)
    result = np.zeros((len(rows), found.shape[1]), np.float32)
    result[read] = found
    if refused:
        said = list_unreadable(rows, refused)
        logger.warning("%d of %d SMILES cannot be used and get a zero vector: %s", len(refused), len(rows), said)
    return result


def _matched(sentences: list[list[str]], table: Mol2vecVectors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and vector index (-1: unknown) of every word, and the number of words of each row."""
    index = table.index
    total = np.array([len(sentence) for sentence in sentences], dtype=np.int64)
    rows = np.repeat(np.arange(len(sentences)), total)
    words = np.array([index.get(word, -1) for sentence in sentences for word in sentence], dtype=np.int64)
    return rows, words, total


def _embed_words(sentences: list[list[str]], table: Mol2vecVectors, unknown: str) -> tuple[np.ndarray, np.ndarray]:
    """Known words `(B,)` and vectors `(B, d)` of sentences."""
    from scipy.sparse import csr_matrix

    rows, words, total = _matched(sentences, table)
    known = np.bincount(rows[words >= 0], minlength=len(total))
    if unknown == "unk" and table.unknown is not None:
        words = np.where((words < 0) & (known[rows] > 0), table.unknown, words)
    used = words >= 0
    occurrences = csr_matrix(
        (np.ones(int(used.sum())), (rows[used], words[used])), shape=(len(total), len(table.words))
    )
    return known, (occurrences @ table.vectors.astype(np.float64)).astype(np.float32)


def known_vectors(vectors: str | os.PathLike[str] | Mol2vecVectors, unknown: str) -> Mol2vecVectors:
    """Word vectors that can give what `unknown` asks for, loaded where they are not yet.

    Raises
    ------
    InputError
        Vectors that cannot be found or read, an unknown option, or `"unk"` with vectors that have none for rare words.
    """
    check_choice("unknown", unknown, UNKNOWN)
    table = vectors if isinstance(vectors, Mol2vecVectors) else load_vectors(vectors)
    if unknown == "unk" and table.unknown is None:
        raise InputError(f"the vectors of {table.source} have none for rare words (UNK): expected unknown='skip'")
    return table


def tell_zero_rows(known: np.ndarray, smiles: list[str], table: Mol2vecVectors) -> None:
    """Name in the log the molecules of which no word is known, given the number of known words of each."""
    empty = np.flatnonzero(known == 0)
    if len(empty):
        some = ", ".join(f"{row} ({smiles[row]})" for row in empty[:10])
        logger.warning(
            "%d of %d molecules have no word known to the vectors of %s and get a zero vector: rows %s%s",
            len(empty), len(smiles), table.source, some, ", …" if len(empty) > 10 else "",
        )  # fmt: skip
