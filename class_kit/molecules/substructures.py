"""What a molecule is made of, as RDKit sees it: Mol2vec words of each atom, Morgan environments counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    checked = check_smiles(smiles)
    work = partial(fingerprints_of_block, radius=radius, bits=bits)
    blocks = by_blocks(checked, range(len(checked)), work, "fingerprints", progress)
    return np.concatenate([fingerprints for _, fingerprints in blocks])


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
    checked = check_smiles(smiles)
    blocks = by_blocks(checked, range(len(checked)), sentences_of_block, "molecule words", progress)
    return [sentence for _, sentences in blocks for sentence in sentences]


def sentences_of_block(smiles: list[str], rows: Sequence[int]) -> list[list[str]]:
    """Mol2vec sentences of a block of molecules, whose rows errors name."""
    return [mol2vec_words(read_molecule(one, row)) for one, row in zip(smiles, rows, strict=True)]


def fingerprints_of_block(
    smiles: list[str], rows: Sequence[int], radius: int = MORGAN_RADIUS, bits: int = MORGAN_BITS
) -> np.ndarray:
    """Morgan counts `(B, bits)` float32 of a block of molecules, whose rows errors name."""
    generator = _generator(radius, bits)
    result = np.empty((len(smiles), bits), dtype=np.float32)
    for counts, one, row in zip(result, smiles, rows, strict=True):
        counts[:] = generator.GetCountFingerprintAsNumPy(read_molecule(one, row))
    return result


def by_blocks(
    smiles: list[str],
    rows: Sequence[int],
    work: Callable[[list[str], Sequence[int]], Any],
    what: str,
    progress: bool | None,
    *,
    cost: int = 1,
) -> Iterator[tuple[Sequence[int], Any]]:
    """Blocks of these rows, each with `work(their SMILES, the block)`, in several processes where there are many.

    `cost` tells how many times the work of a row is that of finding its Mol2vec words; rows that cost more make
    smaller blocks and go to several processes sooner.
    """
    size = max(1, _BLOCK // cost)
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    tasks = [([smiles[row] for row in block], block) for block in blocks]
    if len(rows) * cost < _PARALLEL_FROM:
        results = (work(*task) for task in tasks)
    else:
        from joblib import Parallel, delayed

        results = Parallel(n_jobs=-1, return_as="generator")(delayed(work)(*task) for task in tasks)
    disable = None if progress is None else not progress
    with progress_bar(total=len(rows), desc=what, unit="molecule", disable=disable) as bar:
        for block, result in zip(blocks, results, strict=True):
            yield block, result
            bar.update(len(block))
