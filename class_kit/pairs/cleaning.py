"""Cells that hold a molecule but not as plain SMILES, and standardization of molecules on request."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from class_kit.molecules.structures import MAX_SMILES, each_molecule, parse
from class_kit.terminal import counted


def as_smiles(cells: Sequence[str | None]) -> tuple[list[str | None], list[str]]:
    """SMILES of cells that may hold InChI, or SMILES with a CXSMILES extension behind a blank.

    What RDKit cannot convert stays as it is, so that its row is rejected later.

    Returns
    -------
    list of str or None
    list of str
        What was converted, and how many.
    """
    from rdkit import Chem, rdBase

    smiles: list[str | None] = []
    converted = cut = 0
    for cell in cells:
        value = (cell or "").strip()
        if value.startswith("InChI=") and len(value) <= MAX_SMILES:
            with rdBase.BlockLogs():
                molecule = Chem.MolFromInchi(value)
                value = value if molecule is None else Chem.MolToSmiles(molecule)
            converted += molecule is not None
        start, _, rest = value.partition(" ")
        if rest.startswith("|") and rest.endswith("|"):
            value = start
            cut += 1
        smiles.append(value)
    notes = {"InChI converted to SMILES": converted, "CXSMILES extensions cut off": cut}
    return smiles, [f"{what}: {count:,}" for what, count in notes.items() if count]


def standardized(smiles: Sequence[str]) -> tuple[list[str], str]:
    """Every molecule as its largest fragment, neutral, in its canonical tautomer; and how many each step changed.

    The steps are those of RDKit's rdMolStandardize; what cannot be read stays as it is.
    """
    results = list(each_molecule(smiles, range(len(smiles)), _standardize, "standardizing", None, cost=20))
    fragments, neutralized, tautomers = (sum(changed[step] for _, changed in results) for step in range(3))
    total = sum(any(changed) for _, changed in results)
    return [text for text, _ in results], (
        f"standardize=True changed {counted(total, 'molecule')}; fragments removed from {fragments:,}, "
        f"neutralized {neutralized:,}, tautomer changed in {tautomers:,}"
    )


def _standardize(smiles: str) -> tuple[str, list[bool]]:
    from rdkit import Chem, rdBase
    from rdkit.Chem.MolStandardize import rdMolStandardize

    unchanged = [False] * 3
    molecule, reason = parse(smiles)
    if molecule is None or reason:
        return smiles, unchanged
    written = [Chem.MolToSmiles(molecule)]
    try:
        with rdBase.BlockLogs():
            for step in (
                rdMolStandardize.LargestFragmentChooser().choose,
                rdMolStandardize.Uncharger().uncharge,
                rdMolStandardize.TautomerEnumerator().Canonicalize,
            ):
                molecule = step(molecule)
                written.append(Chem.MolToSmiles(molecule))
    except RuntimeError:
        return smiles, unchanged
    changed = [before != after for before, after in pairwise(written)]
    return (written[-1] if any(changed) else smiles), changed
