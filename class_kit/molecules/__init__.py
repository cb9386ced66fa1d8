"""Molecule vectors: Mol2vec sums of substructure vectors, Morgan count fingerprints, MiniMol, or several of them.

A Mol2vec *word* is the identifier of an atom's environment of radius 0 or 1. The words of a molecule, atom by atom,
form its sentence, and the sum of their vectors is its vector (Jaeger, Fulle & Turk 2018). Words ignore stereochemistry
and isotopes, so molecules that differ only in those have equal vectors.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.checks import nearest
from class_kit.errors import InputError
from class_kit.molecules.minimol import minimol_identity, minimol_vector
from class_kit.molecules.structures import (
    MORGAN_BITS,
    MORGAN_RADIUS,
    check_smiles,
    each_molecule,
    fingerprint,
    mol2vec_sentences,
    mol2vec_words,
)
from class_kit.molecules.structures import atom_words as atom_words
from class_kit.molecules.structures import read_molecule as read_molecule
from class_kit.molecules.vectors import Mol2vecVectors, load_vectors
from class_kit.neighbours.cosines import unit_rows
from class_kit.store import Maker, digest_of, stored_vectors, warn_once

if TYPE_CHECKING:
    from rdkit.Chem import Mol

logger = logging.getLogger(__name__)

ENCODERS = ("mol2vec", "morgan", "minimol")


@dataclass(frozen=True, eq=False)
class Coverage:
    """Share of each molecule's words that have a vector.

    Attributes
    ----------
    known, total
        (L,) int64: words of each molecule that have a vector, and all its words.
    unknown_words
        Distinct words without a vector, most frequent first.
    """

    known: np.ndarray
    total: np.ndarray
    unknown_words: tuple[str, ...]

    @property
    def overall(self) -> float:
        """Known words divided by all words, in [0, 1]."""
        return float(self.known.sum() / self.total.sum())

    @property
    def without_known(self) -> tuple[int, ...]:
        """Rows, from 0, of molecules without a known word; their vectors are zero."""
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
    """Count the words of each molecule that have a vector, and list the words that have none.

    A vector summed over few known words describes its molecule poorly; check before trusting cosines.

    Raises
    ------
    InputError
        Vectors that cannot be found or read, no molecule, or SMILES that RDKit cannot read (rows are named).
    """
    table = load_vectors(vectors)
    sentences = mol2vec_sentences(smiles, progress=progress)
    unknown = Counter(word for sentence in sentences for word in sentence if word not in table.index)
    known = [sum(word in table.index for word in sentence) for sentence in sentences]
    return Coverage(
        np.array(known, np.int64),
        np.array([len(sentence) for sentence in sentences], np.int64),
        tuple(sorted(unknown, key=lambda word: (-unknown[word], word))),
    )


def encoder_views(encoder: str) -> list[str]:
    """The encoders that a name joins, such as "mol2vec+morgan"; an `InputError` for others, or for one named twice."""
    views = str(encoder).split("+")
    for at, view in enumerate(views):
        if view not in ENCODERS or view in views[:at]:
            expected = nearest(view, ENCODERS) if view not in ENCODERS else "expected each encoder once"
            raise InputError(f"molecule_encoder={encoder!r}: {expected}")
    return views


def embed_molecules(
    smiles: Sequence[str | Mol],
    encoder: str = "mol2vec",
    *,
    vectors: str | os.PathLike[str] | Mol2vecVectors = "corpus",
    cache: bool = True,
    progress: bool | None = None,
) -> np.ndarray:
    """Embed each molecule as one vector.

    Parameters
    ----------
    smiles
        L SMILES strings, or molecules of RDKit.
    encoder
        `"mol2vec"`: the sum of the vectors of the molecule's words, in float64. A word without a vector adds the one of
        rare words, as in Text2Mol, or nothing where the vectors have none for those. A molecule without any known word
        gets a zero vector, because multiples of one vector would make all such molecules duplicates of each other; the
        log names them. `"morgan"`: counts (not bits) of Morgan
        environments up to radius 2, folded to 2,048 columns. `"minimol"`: a pretrained graph network
        (`class_kit.molecules.minimol`), which the extra `class-kit[minimol]` brings. Several joined by `+`, such as
        `"mol2vec+morgan"`: their vectors, each scaled to unit length, side by side. The cosine of two molecules is then
        the mean of the encoders' cosines; where an encoder has a zero vector, the others decide.
    vectors
        Word vectors for `"mol2vec"`: `"corpus"` (trained on the bundled corpus, always available), `"text2mol"` (the
        3,138 that Text2Mol published) and `"mol2vec"` (Mol2vec's own model), both from `class-kit fetch mol2vec`, a
        file, or loaded ones. See `load_vectors`.
    cache
        Store vectors on disk and reuse them (`class_kit.store`).
    progress
        Show a progress bar; by default only on a terminal or in a notebook.

    Returns
    -------
    numpy.ndarray
        (L, d_m) float32, not of unit length; d_m is 300 for the vectors named above, 2,048 for `"morgan"`, 512 for
        `"minimol"`, and their sum for several. A molecule's vector does not depend on the others.

    Raises
    ------
    InputError
        SMILES that RDKit cannot read (the first ten are named, with their rows), an unknown option, vectors that cannot
        be found or read, or MiniMol without its package or its published graph, or for a molecule that it cannot use.
    """
    views = encoder_views(encoder)
    if len(views) > 1:
        rest: Any = {"vectors": vectors, "cache": cache, "progress": progress}
        return np.hstack([unit_rows(embed_molecules(smiles, view, **rest)) for view in views])
    rows = check_smiles(smiles)
    table = load_vectors(vectors) if encoder == "mol2vec" else None

    options: dict[str, Any]
    work: Callable[[str], Any]
    if table:
        work, what, source = mol2vec_words, "molecule words", table.source
        options = {"vectors": table.digest}
    elif encoder == "morgan":
        work, what, source = fingerprint, "fingerprints", "counts"
        options = {"radius": MORGAN_RADIUS, "bits": MORGAN_BITS}
    else:
        work, what, source = minimol_vector, "MiniMol vectors", "minimol"
        options = {"identity": minimol_identity()}

    def compute(missing: list[int]) -> Iterator[tuple[int, int, np.ndarray]]:
        made = each_molecule(rows, missing, work, what, progress, cost=40 if encoder == "minimol" else 1)
        for row, one in zip(missing, made, strict=True):
            yield row, *(_sum_of_words(one, table) if table else (1, one))

    maker = Maker(encoder, source, digest_of(rdkit=version("rdkit"), **options))
    known, result = stored_vectors(maker, rows, compute, use=cache)
    if table:
        warn_unknown(known, rows, table, cache)
    return result


def _sum_of_words(words: list[str], table: Mol2vecVectors) -> tuple[int, np.ndarray]:
    """Number of known words, and the sum `(d,)` float64 of the vectors of a molecule's words."""
    rows = [table.index[word] for word in words if word in table.index]
    known = len(rows)
    if table.unknown is not None and known:
        rows += [table.unknown] * (len(words) - known)
    # summed in the order of the rows, so that the result does not depend on how the molecule is written
    distinct, counts = np.unique(np.array(rows, np.int64), return_counts=True)
    return known, (counts[:, None] * table.vectors[distinct].astype(np.float64)).sum(axis=0)


def warn_unknown(known: np.ndarray, smiles: list[str], table: Mol2vecVectors, cache: bool) -> None:
    """Warn once per data set of molecules without a known word, given the number of known words of each."""
    empty = np.flatnonzero(known == 0)
    if len(empty):
        some = ", ".join(f"{row} ({smiles[row]})" for row in empty[:10])
        vectors = f"no word known to the vectors of {table.source} and get a zero vector"
        more = ", …" if len(empty) > 10 else ""
        message = f"{len(empty)} of {len(smiles)} molecules have {vectors}: rows {some}{more}"
        warn_once(logger, message, use=cache)
