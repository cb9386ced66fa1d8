"""What a structure says about itself: the facts from which corpus descriptions are written.

Everything here is read off the molecular graph with RDKit. Nothing is looked up by name, so a description can never
say more than its structure does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from corpus_tables import COUNTERPARTS, ESTER_ALKYLS, GROUPS, RING_SYSTEMS, SURROUNDINGS
from rdkit import Chem
from rdkit.Chem import rdCIPLabeler

SMARTS = {key: group.smarts for key, group in GROUPS.items()}
SMARTS |= SURROUNDINGS | {f"ester_alkyl_{name}": smarts for name, smarts in ESTER_ALKYLS.items()}
PATTERNS = {key: Chem.MolFromSmarts(smarts) for key, smarts in SMARTS.items()}
STEROID = Chem.MolFromSmarts(
    "[#6]1~[#6]~[#6]~[#6]2~[#6](~[#6]1)~[#6]~[#6]~[#6]1~[#6]3~[#6]~[#6]~[#6]~[#6]3~[#6]~[#6]~[#6]~2~1"
)
ALPHA_AMINO_ACID = Chem.MolFromSmarts("[$([NX3;H2,H1]),$([NX4;+;!H0])][CX4][CX3](=O)[$([OX2;H1]),$([OX1;-])]")


@dataclass(frozen=True)
class RingSystem:
    """Rings that share atoms, taken together: its size, its hetero atoms, and its name where it has a common one."""

    name: str | None
    n_rings: int
    size: int
    hetero: str
    aromatic: bool
    saturated: bool
    oxo: bool


@dataclass(frozen=True)
class Stereo:
    """Configurations that are drawn, and those that are left open."""

    r: int = 0
    s: int = 0
    agreed: bool = True
    e: int = 0
    z: int = 0
    open_centres: int = 0


@dataclass(frozen=True)
class Facts:
    """All that the wording may use. `main` is the organic part; counts are of that part alone."""

    smiles: str
    main: Chem.Mol | None
    copies: int
    others: dict[str, int]
    groups: Counter[str]
    rings: tuple[RingSystem, ...] = ()
    steroid: bool = False
    alpha_amino_acid: bool = False
    longest_chain: int = 0
    pattern: tuple[int, ...] | None = None
    stereo: Stereo = field(default_factory=Stereo)
    charge: int = 0
    total_charge: int = 0
    isotopes: Counter[str] = field(default_factory=Counter)
    elements: Counter[str] = field(default_factory=Counter)
    aromatic_atoms: int = 0


def ring_systems(mol: Chem.Mol) -> list[set[int]]:
    """Atom sets of the ring systems: rings that share at least one atom belong together."""
    systems: list[set[int]] = []
    for ring in mol.GetRingInfo().AtomRings():
        merged = set(ring)
        for touching in [s for s in systems if s & merged]:
            systems.remove(touching)
            merged |= touching
        systems.append(merged)
    return systems


def skeleton(mol: Chem.Mol, atoms: set[int]) -> str:
    """A ring system's own SMILES without substituents, hydrogens or charges; aromatic atoms are lower case."""
    symbols = [a.GetSymbol().lower() if a.GetIsAromatic() else a.GetSymbol() for a in mol.GetAtoms()]
    return Chem.MolFragmentToSmiles(mol, sorted(atoms), atomSymbols=symbols, isomericSmiles=False)


def _parent_skeletons() -> dict[str, str]:
    """Names by skeleton, computed from the parent ring's SMILES so that both sides come from the same code."""
    found = {}
    for name, smiles in RING_SYSTEMS.items():
        mol = Chem.MolFromSmiles(smiles)
        (atoms,) = ring_systems(mol)
        found[skeleton(mol, atoms)] = name
    return found


RING_NAMES = _parent_skeletons()


def describe_ring_system(mol: Chem.Mol, atoms: set[int]) -> RingSystem:
    members = [mol.GetAtomWithIdx(i) for i in sorted(atoms)]
    bonds = [b for b in mol.GetBonds() if b.GetBeginAtomIdx() in atoms and b.GetEndAtomIdx() in atoms]
    oxo = any(
        n.GetAtomicNum() == 8
        and n.GetIdx() not in atoms
        and mol.GetBondBetweenAtoms(a.GetIdx(), n.GetIdx()).GetBondType() == Chem.BondType.DOUBLE
        for a in members
        if a.GetAtomicNum() == 6
        for n in a.GetNeighbors()
    )
    return RingSystem(
        name=RING_NAMES.get(skeleton(mol, atoms)),
        n_rings=len(bonds) - len(atoms) + 1,
        size=len(atoms),
        hetero="".join(sorted(a.GetSymbol() + " " for a in members if a.GetAtomicNum() != 6)),
        aromatic=all(a.GetIsAromatic() for a in members),
        saturated=all(b.GetBondType() == Chem.BondType.SINGLE for b in bonds),
        oxo=oxo,
    )


def longest_acyclic_chain(mol: Chem.Mol) -> int:
    """Carbon atoms on the longest path that stays outside rings. Acyclic carbons form trees, so two walks suffice."""
    carbons = {a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 6 and not a.IsInRing()}

    def farthest(start: int) -> tuple[int, int, set[int]]:
        seen, frontier, last, depth = {start}, [start], start, 0
        while frontier:
            depth, last = depth + 1, frontier[0]
            frontier = sorted(
                {n.GetIdx() for i in frontier for n in mol.GetAtomWithIdx(i).GetNeighbors()} & carbons - seen
            )
            seen.update(frontier)
        return last, depth, seen

    best = 0
    while carbons:
        end, _, tree = farthest(min(carbons))
        best = max(best, farthest(end)[1])
        carbons -= tree
    return best


def benzene_pattern(mol: Chem.Mol) -> tuple[int, ...] | None:
    """Lowest locants of the substituents, where the part has exactly one ring system and that is a benzene ring."""
    systems = ring_systems(mol)
    if len(systems) != 1 or RING_NAMES.get(skeleton(mol, systems[0])) != "benzene":
        return None
    ring = mol.GetRingInfo().AtomRings()[0]
    taken = [k for k, i in enumerate(ring) if mol.GetAtomWithIdx(i).GetTotalNumHs(includeNeighbors=True) == 0]
    if not 2 <= len(taken) <= 4:
        return None
    numberings = [sorted((sign * (k - first)) % 6 + 1 for k in taken) for first in taken for sign in (1, -1)]
    return tuple(min(numberings))


def stereo_of(mol: Chem.Mol) -> Stereo:
    """Configurations by two CIP implementations; where they differ only the number of centres is kept."""
    modern = Chem.Mol(mol)
    rdCIPLabeler.AssignCIPLabels(modern)
    labels = {a.GetIdx(): a.GetProp("_CIPCode") for a in modern.GetAtoms() if a.HasProp("_CIPCode")}
    labels = {i: code for i, code in labels.items() if code in "RS"}
    legacy = dict(Chem.FindMolChiralCenters(Chem.Mol(mol), includeUnassigned=True, useLegacyImplementation=True))
    potential = {
        e.centeredOn for e in Chem.FindPotentialStereo(Chem.Mol(mol)) if e.type == Chem.StereoType.Atom_Tetrahedral
    }
    drawn = {i: code for i, code in legacy.items() if code != "?"}
    bonds = Counter(b.GetStereo() for b in mol.GetBonds())
    return Stereo(
        r=sum(code == "R" for code in labels.values()),
        s=sum(code == "S" for code in labels.values()),
        agreed=labels == drawn,
        e=bonds[Chem.BondStereo.STEREOE],
        z=bonds[Chem.BondStereo.STEREOZ],
        open_centres=len(potential) if not drawn and not labels and potential == set(legacy) else 0,
    )


def isotopes_of(mol: Chem.Mol) -> Counter[str]:
    return Counter(f"{a.GetSymbol()}{a.GetIsotope()}" for a in mol.GetAtoms() if a.GetIsotope())


def split_parts(smiles: str) -> tuple[str | None, int, dict[str, int]] | None:
    """The organic part, how often it occurs, and the counter-parts by key; None where that reading does not fit."""
    parts = Counter(smiles.split("."))
    others = {p: n for p, n in parts.items() if p in COUNTERPARTS}
    rest = {p: n for p, n in parts.items() if p not in COUNTERPARTS}
    if not others and len(rest) == 1 and list(rest.values()) == [1]:
        return smiles, 1, {}
    if not rest:
        return None, 0, others
    if len(rest) > 1:
        return None
    ((main, copies),) = rest.items()
    size = Chem.MolFromSmiles(main).GetNumHeavyAtoms()
    if any(Chem.MolFromSmiles(p).GetNumHeavyAtoms() >= size for p in others) or copies > 3:
        return None
    return main, copies, others


def facts_of(smiles: str) -> Facts | None:
    """Facts of one canonical SMILES; None where the parts are not one organic part with known counter-parts."""
    split = split_parts(smiles)
    if split is None:
        return None
    main_smiles, copies, others = split
    total = Chem.GetFormalCharge(Chem.MolFromSmiles(smiles))
    if main_smiles is None:
        return Facts(smiles, None, 0, others, Counter(), total_charge=total)
    mol = Chem.MolFromSmiles(main_smiles)
    groups = Counter({key: len(mol.GetSubstructMatches(p, maxMatches=5000)) for key, p in PATTERNS.items()})
    return Facts(
        smiles,
        mol,
        copies,
        others,
        +groups,
        rings=tuple(describe_ring_system(mol, s) for s in ring_systems(mol)),
        steroid=mol.HasSubstructMatch(STEROID),
        alpha_amino_acid=mol.HasSubstructMatch(ALPHA_AMINO_ACID),
        longest_chain=longest_acyclic_chain(mol),
        pattern=benzene_pattern(mol),
        stereo=stereo_of(mol),
        charge=Chem.GetFormalCharge(mol),
        total_charge=total,
        isotopes=isotopes_of(mol),
        elements=Counter(a.GetSymbol() for a in mol.GetAtoms()),
        aromatic_atoms=sum(a.GetIsAromatic() for a in mol.GetAtoms()),
    )
