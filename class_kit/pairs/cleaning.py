"""Cells that hold a molecule in another way than as plain SMILES, and molecules made alike on request."""

from __future__ import annotations

from collections.abc import Sequence

from class_kit.molecules.structures import MAX_SMILES, each_molecule, parse
from class_kit.terminal import counted


def as_smiles(cells: Sequence[str | None]) -> tuple[list[str | None], list[str]]:
    """SMILES of cells that may hold InChI, or SMILES with a CXSMILES extension behind a blank.

    What RDKit cannot convert stays as it is, to be refused with its place.

    Returns
    -------
    list of str or None
    list of str
        What was done, and to how many.
    """
    read: list[str | None] = []
    converted = cut = 0
    for cell in cells:
        value = (cell or "").strip()
        if value.startswith("InChI=") and len(value) <= MAX_SMILES:
            value = _from_inchi(value) or value
            converted += not value.startswith("InChI=")
        start, _, rest = value.partition(" ")
        if rest.startswith("|") and rest.endswith("|"):
            value = start
            cut += 1
        read.append(value)
    notes = [f"InChI converted to SMILES: {converted:,}"] if converted else []
    return read, notes + ([f"CXSMILES extensions cut off: {cut:,}"] if cut else [])


def _from_inchi(inchi: str) -> str:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromInchi(inchi)
        return "" if molecule is None else str(Chem.MolToSmiles(molecule))


def standardized(smiles: Sequence[str]) -> tuple[list[str], str]:
    """Every molecule as its largest fragment, neutral, in its canonical tautomer; and how many each step changed.

    The steps are those of RDKit's rdMolStandardize; what cannot be read stays as it is.
    """
    found = list(each_molecule(smiles, range(len(smiles)), _standardize, "standardizing", None, cost=20))
    steps = [sum(changed[at] for _, changed in found) for at in range(3)]
    total = sum(any(changed) for _, changed in found)
    return [text for text, _ in found], (
        f"standardize=True changed {counted(total, 'molecule')}; fragments removed from {steps[0]:,}, "
        f"neutralized {steps[1]:,}, tautomer changed in {steps[2]:,}"
    )


def _standardize(smiles: str) -> tuple[str, tuple[bool, bool, bool]]:
    molecule, reason = parse(smiles)
    if molecule is None or reason:
        return smiles, (False, False, False)
    from rdkit import Chem, rdBase
    from rdkit.Chem.MolStandardize import rdMolStandardize

    steps = (
        rdMolStandardize.LargestFragmentChooser().choose,
        rdMolStandardize.Uncharger().uncharge,
        rdMolStandardize.TautomerEnumerator().Canonicalize,
    )
    changed = []
    written = before = Chem.MolToSmiles(molecule)
    try:
        with rdBase.BlockLogs():
            for step in steps:
                molecule = step(molecule)
                written = Chem.MolToSmiles(molecule)
                changed.append(written != before)
                before = written
    except RuntimeError:
        return smiles, (False, False, False)
    return (written if any(changed) else smiles), (changed[0], changed[1], changed[2])
