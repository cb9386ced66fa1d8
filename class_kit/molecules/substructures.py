"""What a molecule is made of, as RDKit sees it: Mol2vec words of each atom, Morgan environments counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.errors import InputError
from class_kit.pairs.structures import parsed, structure
from class_kit.progress import progress_bar

if TYPE_CHECKING:
    from rdkit.Chem import Mol

MORGAN_BITS = 2048
MORGAN_RADIUS = 2
# below this the start of worker processes costs more than they save
_PARALLEL_FROM = 20_000
_BLOCK = 2_000


def read_molecule(smiles: str, row: int | None = None) -> Mol:
    """Parse one SMILES string.

    Raises
    ------
    InputError
        RDKit refuses it or it has no atom; the message names `row`, where given, and the string.
    TypeError
        It is not a string.
    """
    where = "SMILES" if row is None else f"SMILES of row {row}"
    if not isinstance(smiles, str):
        raise TypeError(f"{where} is {type(smiles).__name__}: expected a string")
    molecule = parsed(smiles)
    if molecule is None:
        raise InputError(f"{where} cannot be used: {smiles[:200]!r} ({structure(smiles).reason})")
    return molecule


def atom_words(molecule: str | Mol) -> list[tuple[str, ...]]:
    """Mol2vec words of each atom, in the order of the atoms: the one of radius 0, then the one of radius 1.

    An atom lacks the word of radius 1 where its environment covers the same bonds as that of an earlier atom, or
    where it has no bond. Graph encoders take these as the substructures of a node.
    """
    from rdkit.Chem import rdFingerprintGenerator

    mol = read_molecule(molecule) if isinstance(molecule, str) else molecule
    record = rdFingerprintGenerator.AdditionalOutput()
    record.AllocateBitInfoMap()
    _generator(1).GetSparseCountFingerprint(mol, additionalOutput=record)
    words: list[list[int]] = [[0, 0] for _ in range(mol.GetNumAtoms())]
    for identifier, places in record.GetBitInfoMap().items():
        for atom, radius in places:
            words[atom][radius] = identifier
    return [tuple(str(word) for word in pair if word) for pair in words]


def mol2vec_words(molecule: str | Mol) -> list[str]:
    """The Mol2vec sentence of a molecule: identifiers of radius 0 and 1, atom by atom, as decimal strings.

    The same words in the same order as `mol2vec.features.mol2alt_sentence(molecule, 1)`, from RDKit's current
    generator instead of the deprecated function.

    Raises
    ------
    InputError
        A SMILES string that RDKit refuses.
    """
    return [word for words in atom_words(molecule) for word in words]


def morgan_counts(
    smiles: Sequence[str], *, radius: int = MORGAN_RADIUS, bits: int = MORGAN_BITS, progress: bool | None = None
) -> np.ndarray:
    """Count fingerprints: how often each Morgan environment up to `radius` occurs, folded to `bits` columns.

    Counts rather than bits, because the cosine of two molecules of different size should see that a group occurs
    twice. Neither stereo nor isotopes enter.

    Returns
    -------
    numpy.ndarray
        (L, bits) float32, whole numbers.
    """
    rows = check_smiles(smiles)
    blocks = by_blocks(rows, partial(_fingerprints, radius=radius, bits=bits), "fingerprints", progress)
    return np.concatenate(blocks)


@lru_cache(maxsize=8)
def _generator(radius: int, bits: int = MORGAN_BITS) -> Any:
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)


def check_smiles(smiles: Sequence[str]) -> list[str]:
    """The molecules as a list; a single string, a row that is not a string, and no row at all are refused."""
    if isinstance(smiles, str | bytes):
        raise TypeError(f"smiles is one {type(smiles).__name__}: expected a sequence of strings, such as [smiles]")
    rows = list(smiles)
    if not rows:
        raise InputError("smiles is empty: expected at least one molecule")
    for number, row in enumerate(rows):
        if not isinstance(row, str):
            raise TypeError(f"SMILES of row {number} is {type(row).__name__}: expected a string")
    return rows


def mol2vec_sentences(smiles: Sequence[str], *, progress: bool | None = None) -> list[list[str]]:
    """The Mol2vec sentence of each molecule, in several processes where there are many.

    Raises
    ------
    InputError
        No molecule, or a SMILES that RDKit refuses (row and string are named).
    """
    blocks = by_blocks(check_smiles(smiles), _sentences_of_block, "molecule words", progress)
    return [sentence for block in blocks for sentence in block]


def _sentences_of_block(block: list[str], first: int) -> list[list[str]]:
    return [mol2vec_words(read_molecule(smiles, first + offset)) for offset, smiles in enumerate(block)]


def _fingerprints(block: list[str], first: int, radius: int, bits: int) -> np.ndarray:
    generator = _generator(radius, bits)
    result = np.empty((len(block), bits), dtype=np.float32)
    for offset, smiles in enumerate(block):
        result[offset] = generator.GetCountFingerprintAsNumPy(read_molecule(smiles, first + offset))
    return result


def by_blocks(
    rows: list[str], work: Callable[[list[str], int], Any], what: str, progress: bool | None, *, cost: int = 1
) -> list[Any]:
    """Apply `work(block, first_row)` to consecutive blocks, in several processes where there are many rows.

    `cost` tells how many times the work of a row is that of finding its Mol2vec words; dearer rows make smaller blocks
    and go to several processes sooner.
    """
    size = max(1, _BLOCK // cost)
    tasks = [(rows[start : start + size], start) for start in range(0, len(rows), size)]
    disable = None if progress is None else not progress
    with progress_bar(total=len(rows), desc=what, unit="molecule", disable=disable) as bar:
        results = []
        for result, (block, _) in zip(_run(tasks, work, len(rows) * cost), tasks, strict=True):
            results.append(result)
            bar.update(len(block))
    return results


def _run(tasks: list[tuple[list[str], int]], work: Callable[[list[str], int], Any], effort: int) -> Any:
    if effort < _PARALLEL_FROM:
        return (work(block, first) for block, first in tasks)
    from joblib import Parallel, delayed

    return Parallel(n_jobs=-1, return_as="generator")(delayed(work)(block, first) for block, first in tasks)
