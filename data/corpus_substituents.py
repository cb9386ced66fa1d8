"""Substituents that have a systematic name: straight alkyl groups and simply substituted phenyl groups."""

from __future__ import annotations

from collections import Counter

from rdkit import Chem

ALKYLS = {
    2: "ethyl",
    3: "propyl",
    4: "butyl",
    5: "pentyl",
    6: "hexyl",
    7: "heptyl",
    8: "octyl",
    9: "nonyl",
    10: "decyl",
    11: "undecyl",
    12: "dodecyl",
    13: "tridecyl",
    14: "tetradecyl",
    15: "pentadecyl",
    16: "hexadecyl",
    17: "heptadecyl",
    18: "octadecyl",
}
# What may sit on a phenyl group and still give it a short name.
SIMPLE = {
    "fluoro": "[F]",
    "chloro": "[Cl]",
    "bromo": "[Br]",
    "iodo": "[I;X1]",
    "methyl": "[CX4;H3]",
    "methoxy": "[OX2;$(O[CX4;H3])]",
    "hydroxy": "[OX2;H1]",
    "amino": "[NX3;H2;+0]",
    "nitro": "[NX3;+;$(N(=O)[OX1;-])]",
    "cyano": "[CX2;$(C#[NX1])]",
    "trifluoromethyl": "[CX4;$(C(F)(F)F)]",
}
_SIMPLE = {name: Chem.MolFromSmarts(smarts) for name, smarts in SIMPLE.items()}


def straight_alkyls(mol: Chem.Mol) -> Counter[str]:
    """CH3(CH2)n groups by name, each walked from its methyl end to the atom that carries it."""
    found: Counter[str] = Counter()
    for end in mol.GetAtoms():
        if not is_alkyl_carbon(end, 3):
            continue
        length, previous, atom = 1, end, next(iter(end.GetNeighbors()), None)
        while atom is not None and is_alkyl_carbon(atom, 2):
            onward = [n for n in atom.GetNeighbors() if n.GetIdx() != previous.GetIdx() and n.GetAtomicNum() > 1]
            length, previous, atom = length + 1, atom, onward[0]
        carried = atom is not None and not is_alkyl_carbon(atom, 3)
        if carried and length in ALKYLS:
            found[f"{ALKYLS[length]} group"] += 1
    return found


def is_alkyl_carbon(atom: Chem.Atom, hydrogens: int) -> bool:
    return (
        atom.GetAtomicNum() == 6
        and not atom.IsInRing()
        and atom.GetFormalCharge() == 0
        and atom.GetTotalNumHs(includeNeighbors=True) == hydrogens
        and all(b.GetBondType() == Chem.BondType.SINGLE for b in atom.GetBonds())
        and sum(n.GetAtomicNum() > 1 for n in atom.GetNeighbors()) == 4 - hydrogens
    )


def simple_phenyls(mol: Chem.Mol, benzenes: list[set[int]]) -> tuple[Counter[str], Counter[str]]:
    """Isolated benzene rings with one open bond and one or two equal simple substituents.

    Returns the names of the phenyl groups, and how many substituents of each sort those names tell.
    """
    kinds = {m[0]: name for name, p in _SIMPLE.items() for m in mol.GetSubstructMatches(p, maxMatches=5000)}
    found: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for system in benzenes:
        ring = next(list(r) for r in mol.GetRingInfo().AtomRings() if set(r) == system)
        attached = {}
        for place, i in enumerate(ring):
            for n in mol.GetAtomWithIdx(i).GetNeighbors():
                if n.GetIdx() not in system and n.GetAtomicNum() > 1:
                    attached[place] = kinds.get(n.GetIdx(), "rest")
        names = sorted(attached.values())
        if names.count("rest") != 1 or len(names) not in (2, 3) or len(set(names)) != 2:
            continue
        rest = next(place for place, name in attached.items() if name == "rest")
        simple = next(name for name in names if name != "rest")
        places = [place for place in attached if place != rest]
        locants = min(sorted((sign * (p - rest)) % 6 + 1 for p in places) for sign in (1, -1))
        multiple = {1: "", 2: "bis" if simple == "trifluoromethyl" else "di"}[len(places)]
        word = f"bis({simple})" if multiple == "bis" else multiple + simple
        found[f"{','.join(map(str, locants))}-{word}phenyl group"] += 1
        told[simple] += len(places)
    return found, told


def gap_between_rings(mol: Chem.Mol, systems: list[set[int]]) -> int | None:
    """Atoms on the shortest path between the two ring systems of a part that has exactly two."""
    if len(systems) != 2:
        return None
    first, second = systems
    distances = Chem.GetDistanceMatrix(mol)
    return int(min(distances[i][j] for i in first for j in second)) - 1
