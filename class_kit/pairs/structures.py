"""What RDKit makes of each SMILES: a key that stereoisomers share, or the reason why it is refused.

The key is what the splits are made and judged by: two rows with one key are the same molecule to every encoder of the
kit that does not look at stereochemistry.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from class_kit.progress import progress_bar

if TYPE_CHECKING:
    from rdkit.Chem import Mol

# RDKit's recursive canonical writer overflows the C stack at about 20,000 atoms and takes the whole process with it;
# the longest SMILES of ChEBI-20 has 1,598 characters.
MAX_SMILES = 5_000

PARALLEL_FROM = 50_000
BLOCK = 2_000

# RDKit keeps hydrogens and charge of an atom in a byte and wraps what does not fit: [CH256] would be read as [C].
_WRAPPED = re.compile(r"\[[^\]]*?(?:(?<!@O)H\d{2}|[+-]\d{3})")


class Structure(NamedTuple):
    """A stereo-free canonical SMILES (`key`), or an empty key and the `reason` for the refusal."""

    key: str
    reason: str


def structure(smiles: str) -> Structure:
    """Return the stereo-free canonical SMILES of one molecule, or why there is none.

    Isotope labels are dropped together with stereo, as Mol2vec's words drop them; a labelled hydrogen stays an explicit
    atom. Wildcards, query atoms and disconnected parts are accepted: ChEBI has them.
    """
    if reason := _refused_unparsed(smiles):
        return Structure("", reason)
    from rdkit import Chem, rdBase

    try:
        with rdBase.BlockLogs():
            molecule = Chem.MolFromSmiles(smiles)
            if molecule is not None and molecule.GetNumAtoms():
                return Structure(Chem.MolToSmiles(molecule, isomericSmiles=False), "")
        return Structure("", "SMILES without atoms" if molecule is not None else _rdkit_reason(smiles))
    except RuntimeError as error:
        # an invariant of RDKit's own that the SMILES breaks; its second line says which
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Structure("", f"RDKit: {lines[1] if len(lines) > 1 else 'cannot handle it'}")


def parsed(smiles: str) -> Mol | None:
    """Return RDKit's molecule of one SMILES, or None for every string that `structure` refuses."""
    if _refused_unparsed(smiles):
        return None
    from rdkit import Chem, rdBase

    try:
        with rdBase.BlockLogs():
            molecule = Chem.MolFromSmiles(smiles)
    except RuntimeError:
        return None
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def structures(smiles: Sequence[str], *, progress: bool | None = None) -> list[Structure]:
    """Return `structure` of every SMILES, in order.

    From 50,000 rows on, worker processes share the work (RDKit holds the interpreter lock while it parses); the result
    does not depend on how many there are. `progress=False` silences the bar.
    """
    workers = min(os.cpu_count() or 1, 8)
    results: Iterable[Structure] = map(structure, smiles)
    if len(smiles) >= PARALLEL_FROM and workers > 1:
        from joblib import Parallel, delayed

        blocks = (smiles[first : first + BLOCK] for first in range(0, len(smiles), BLOCK))
        work = Parallel(n_jobs=workers, return_as="generator")(delayed(_block_structures)(block) for block in blocks)
        results = itertools.chain.from_iterable(work)
    disable = None if progress is None else not progress
    return list(progress_bar(results, total=len(smiles), desc="reading structures", unit="SMILES", disable=disable))


def _block_structures(smiles: Sequence[str]) -> list[Structure]:
    return [structure(one) for one in smiles]


def scaffold(key: str) -> str:
    """Return the Bemis–Murcko scaffold (ring systems and the linkers between them) of a stereo-free SMILES.

    Empty for a molecule without rings. The scaffold follows from the key, so rows of one molecule share it.
    Source: Bemis and Murcko, J. Med. Chem. 39 (1996) 2887, as RDKit implements it.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem.Scaffolds import MurckoScaffold

    molecule = parsed(key)
    if molecule is None:
        raise ValueError(f"key: {key!r} is not a SMILES that RDKit reads; give the key of class_kit.pairs.structures")
    with rdBase.BlockLogs():
        return str(Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(molecule)))


def _refused_unparsed(smiles: str) -> str:
    # RDKit reads "C anything" and even some text behind control characters as carbon: what it would skip is refused.
    if not smiles:
        return "empty SMILES"
    if len(smiles) > MAX_SMILES:
        return f"SMILES of {len(smiles):,} characters; at most {MAX_SMILES:,} are read"
    if not smiles.isascii() or not smiles.isprintable():
        return "SMILES with a control character or one outside ASCII"
    if " " in smiles:
        return "SMILES with a space: one SMILES a cell, without a name or an extension behind it"
    if _WRAPPED.search(smiles):
        return "SMILES with more than 9 hydrogens or a charge beyond 99 on one atom"
    return ""


def _rdkit_reason(smiles: str) -> str:
    """Say in RDKit's own words what is wrong with a SMILES that it refuses."""
    from rdkit import Chem, rdBase

    # Older supported releases cannot hand over their error log; the reason is then the general one.
    capture = getattr(rdBase, "CaptureErrorLog", None)
    with rdBase.BlockLogs():
        loose = Chem.MolFromSmiles(smiles, sanitize=False)
        problems = [] if loose is None else [problem.Message() for problem in Chem.DetectChemistryProblems(loose)]
    if problems:
        return f"RDKit: {' '.join(problems[0].split())}"
    if capture is None:
        return "RDKit: not a SMILES that it can parse"
    with capture() as log:
        Chem.MolFromSmiles(smiles)
    lines = [line.split("SMILES Parse Error: ")[-1].strip() for line in str(log.messages).splitlines()]
    position = next((line.rstrip(":").split("around ")[-1] for line in lines if "around position" in line), "")
    said = next((line.split(" for input:")[0].split(" while parsing:")[0] for line in lines if line), "cannot parse it")
    return f"RDKit: {said}{f' at {position}' if position else ''}"
