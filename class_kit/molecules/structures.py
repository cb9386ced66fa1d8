"""Molecules read by RDKit: the keys that identify a structure, reasons for refusal, Mol2vec words, fingerprints.

Rows with the same `key` are one molecule to every encoder that ignores stereochemistry; rows with the same `skeleton`
may also differ in protonation or be tautomers. Splits, their overlaps, scaffolds, repeats and near-duplicates all use
these two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from class_kit.checks import check_strings
from class_kit.errors import InputError
from class_kit.progress import progress_bar
from class_kit.store import Maker, digest_of, stored

if TYPE_CHECKING:
    from rdkit.Chem import Mol

MORGAN_BITS = 2048
MORGAN_RADIUS = 2
# RDKit's recursive canonical writer overflows the C stack at about 20,000 atoms and ends the process. The longest
# SMILES of ChEBI-20 has 1,598 characters.
MAX_SMILES = 5_000
# below this, starting worker processes costs more than it saves
PARALLEL_FROM = 20_000
BLOCK = 2_000

# RDKit stores the hydrogens and the charge of an atom in a byte each and wraps around: it reads [CH256] as [C].
_WRAPPED = re.compile(r"\[[^\]]*?(?:(?<!@O)H\d{2}|[+-]\d{3})")
# RDKit's log puts the time and the name of its parser before a message, and the SMILES after it.
_AROUND_MESSAGE = re.compile(r"^\[[\d:]+\] (SMILES Parse Error: )?| (while parsing|for input):.*")


class Structure(NamedTuple):
    """Keys that identify a molecule, or empty keys and the `reason` why RDKit cannot read it.

    Attributes
    ----------
    isomer : str
        Canonical SMILES with stereo and isotope labels, without atom maps.
    key : str
        The same without stereo and isotope labels.
    skeleton : str
        First block of the InChIKey, shared by stereoisomers, protonation states and the tautomers that InChI recognises
        (Heller et al., J. Cheminform. 7 (2015) 23). The key itself where InChI is undefined: for wildcards, query bonds
        and more than 1,023 atoms.
    inchikey : str
        The standard InChIKey, which also distinguishes stereoisomers, isotopes and protonation states; empty where
        InChI is undefined.
    """

    isomer: str
    key: str
    skeleton: str
    reason: str
    inchikey: str = ""


def parse(smiles: str) -> tuple[Mol | None, str]:
    """Return RDKit's molecule for one SMILES, or None and the reason why it cannot be read.

    Wildcards, query atoms and disconnected parts are accepted: ChEBI has them.
    """
    if reason := _refused_unparsed(smiles):
        return None, reason
    from rdkit import Chem, rdBase

    try:
        with rdBase.BlockLogs(), rdBase.CaptureErrorLog() as log:
            molecule = Chem.MolFromSmiles(smiles)
    except RuntimeError as error:
        return None, _broken_invariant(error)
    if molecule is None:
        lines = [_AROUND_MESSAGE.sub("", line).rstrip(": ") for line in log.messages.splitlines()]
        position = next((f" at {line.split('around ')[-1]}" for line in lines if "around position" in line), "")
        return None, f"RDKit: {' '.join(lines[0].split()) if lines else 'cannot parse it'}{position}"
    return (molecule, "") if molecule.GetNumAtoms() else (None, "SMILES without atoms")


def structure(smiles: str) -> Structure:
    """Return the keys of one molecule, or the reason why it cannot be read.

    The keys do not depend on how a structure is written: atom maps, explicit hydrogens, Kekulé or aromatic form, the
    order of atoms and fragments, the direction of a dative bond. `key` ignores isotope labels as well as stereo, as
    Mol2vec's words do; a labelled hydrogen stays an explicit atom.
    """
    molecule, reason = parse(smiles)
    if molecule is None:
        return Structure("", "", "", reason)
    from rdkit import Chem, rdBase

    try:
        with rdBase.BlockLogs():
            for atom in molecule.GetAtoms() if ":" in smiles else ():
                atom.SetAtomMapNum(0)
            isomer, inchikey = Chem.MolToSmiles(molecule), _inchikey(molecule)
            Chem.RemoveStereochemistry(molecule)
            # hydrogens that marked the sides of a double bond are no longer needed
            molecule = Chem.RemoveHs(molecule, sanitize=False)
            key = Chem.MolToSmiles(molecule, isomericSmiles=False)
            # the first block does not depend on stereo and isotopes
            return Structure(isomer, key, inchikey.split("-")[0] or key, "", inchikey)
    except RuntimeError as error:
        return Structure("", "", "", _broken_invariant(error))


def structures(smiles: Sequence[str], *, progress: bool | None = None) -> list[Structure]:
    """Return `structure` of every SMILES, in order, from the store where it is there (`class_kit.store`)."""
    maker = Maker("structures", "rdkit", digest_of(rdkit=version("rdkit"), rules=2))

    def compute(missing: list[int]) -> Iterator[tuple[int, bytes]]:
        keys = each_molecule(smiles, missing, structure, "reading structures", progress)
        return ((row, json.dumps(one).encode()) for row, one in zip(missing, keys, strict=True))

    return [Structure(*json.loads(value)) for value in stored(maker, smiles, compute).read()]


def scaffold(key: str) -> str:
    """Return the Bemis–Murcko scaffold (ring systems and the linkers between them) of a stereo-free SMILES.

    Empty for a molecule without rings. It is computed from the key, so rows of one molecule share it.
    Source: Bemis and Murcko, J. Med. Chem. 39 (1996) 2887, as RDKit implements it.

    Raises
    ------
    InputError
        RDKit refuses the SMILES.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem.Scaffolds import MurckoScaffold

    molecule = read_molecule(key)
    with rdBase.BlockLogs():
        return str(Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(molecule)))


def read_molecule(smiles: str) -> Mol:
    """Parse one SMILES string.

    Raises
    ------
    InputError
        RDKit refuses it or it has no atom; the message names the string.
    TypeError
        It is not a string.
    """
    if not isinstance(smiles, str):
        raise TypeError(f"SMILES is {type(smiles).__name__}: expected a string")
    molecule, reason = parse(smiles)
    if molecule is None:
        raise InputError(f"SMILES cannot be used: {smiles[:200]!r} ({reason})")
    return molecule


def atom_words(molecule: str | Mol) -> list[tuple[str, ...]]:
    """Mol2vec words of each atom, in the order of the atoms: the one of radius 0, then the one of radius 1.

    An atom without a bond has no word of radius 1, nor has one whose environment covers the same bonds as that of an
    earlier atom. Graph encoders use the words as the features of a node.
    """
    from rdkit.Chem import rdFingerprintGenerator

    mol = read_molecule(molecule) if isinstance(molecule, str) else molecule
    record = rdFingerprintGenerator.AdditionalOutput()
    record.AllocateBitInfoMap()
    morgan_generator(1).GetSparseCountFingerprint(mol, additionalOutput=record)
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


def mol2vec_sentences(smiles: Sequence[str], *, progress: bool | None = None) -> list[list[str]]:
    """The Mol2vec sentence of each molecule, in several processes where there are many.

    Raises
    ------
    InputError
        No molecule, or SMILES that RDKit cannot read (rows are named).
    """
    checked = check_smiles(smiles)
    return list(each_molecule(checked, range(len(checked)), mol2vec_words, "molecule words", progress))


@cache
def morgan_generator(radius: int) -> Any:
    """RDKit's generator of Morgan environments up to a radius."""
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=MORGAN_BITS)


def check_smiles(smiles: Sequence[str | Mol]) -> list[str]:
    """The molecules as a list of SMILES, RDKit's molecules written by RDKit; refused as `check_strings` does."""
    rows = smiles if isinstance(smiles, str | bytes) else list(smiles)
    if any(hasattr(row, "GetNumAtoms") for row in rows):
        from rdkit import Chem

        rows = [Chem.MolToSmiles(row) if isinstance(row, Chem.Mol) else row for row in rows]
    return check_strings("smiles", rows)


def _refuse_unreadable(smiles: Sequence[str], rows: Sequence[int]) -> None:
    """Raise one `InputError` that names all rows that RDKit cannot read."""
    reasons = each_molecule(smiles, rows, lambda one: parse(one)[1], "checking SMILES", None)
    refused = [(row, reason) for row, reason in zip(rows, reasons, strict=True) if reason]
    if refused:
        many = f"{len(refused):,} of {len(smiles):,} SMILES" if len(refused) > 1 else "one SMILES"
        some = "; ".join(f"row {row}: {smiles[row][:200]!r} ({reason})" for row, reason in refused[:10])
        raise InputError(f"{many} cannot be used: {some}{'; …' if len(refused) > 10 else ''}")


def fingerprint(smiles: str) -> np.ndarray:
    """Morgan counts `(2048,)` float32 of a molecule.

    Counts rather than bits, so that the cosine of two molecules reflects how often a group occurs. Stereochemistry and
    isotopes are ignored.
    """
    counts: np.ndarray = morgan_generator(MORGAN_RADIUS).GetCountFingerprintAsNumPy(read_molecule(smiles))
    return counts.astype(np.float32)


def each_molecule(
    smiles: Sequence[str],
    rows: Sequence[int],
    work: Callable[[str], Any],
    what: str,
    progress: bool | None,
    *,
    cost: int = 1,
) -> Iterator[Any]:
    """Yield `work(SMILES)` for the given rows, in order, computed in several processes where there are many rows.

    `cost` is the time for a row relative to computing its Mol2vec words: costly rows are split among processes from a
    smaller number on, in smaller blocks. The result does not depend on the number of processes.

    Raises
    ------
    InputError
        `work` refuses a molecule; of those that RDKit cannot read, the first ten are named, with their rows.
    """
    tasks = (smiles[row] for row in rows)
    results: Iterable[Any] = map(work, tasks)
    if len(rows) * cost >= PARALLEL_FROM:
        from joblib import Parallel, delayed

        parallel = Parallel(n_jobs=-1, batch_size=max(1, BLOCK // cost), return_as="generator")
        results = parallel(delayed(work)(task) for task in tasks)
    try:
        yield from progress_bar(results, total=len(rows), desc=what, unit="molecule", show=progress)
    except InputError:
        _refuse_unreadable(smiles, rows)
        raise


def _inchikey(molecule: Mol) -> str:
    """Standard InChIKey, or an empty string; dative bonds are removed, as InChI disconnects metals."""
    from rdkit import Chem

    if dative := molecule.GetSubstructMatches(_dative(), maxMatches=molecule.GetNumBonds()):
        molecule = Chem.RWMol(molecule)
        for ends in dative:
            molecule.RemoveBond(*ends)
    return str(Chem.MolToInchiKey(molecule))


@cache
def _dative() -> Any:
    """A dative bond as a query: RDKit looks for it much faster than a loop in Python does."""
    from rdkit import Chem

    return Chem.MolFromSmarts("*->*")


def _refused_unparsed(smiles: str) -> str:
    # RDKit reads "C anything" as carbon, and ignores some text after control characters: both are refused here.
    if not smiles:
        return "empty SMILES"
    if len(smiles) > MAX_SMILES:
        return f"SMILES of {len(smiles):,} characters; at most {MAX_SMILES:,} are read"
    if not smiles.isascii() or not smiles.isprintable():
        return "SMILES with a control character or one outside ASCII"
    if " " in smiles:
        return "SMILES with a space: expected one SMILES per cell, without a name or an extension"
    if _WRAPPED.search(smiles):
        return "SMILES with more than 9 hydrogens or a charge beyond 99 on one atom"
    return ""


def _broken_invariant(error: RuntimeError) -> str:
    """The second line of the error names the invariant that the SMILES violates."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"RDKit: {lines[1] if len(lines) > 1 else 'cannot process it'}"
