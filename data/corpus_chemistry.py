"""What a structure says about itself: the facts from which corpus descriptions are written.

Everything here is read off the molecular graph with RDKit. Nothing is looked up by name, so a description can never
say more than its structure does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from corpus_substituents import gap_between_rings, simple_phenyls, straight_alkyls
from corpus_tables import COUNTERPARTS, ESTER_ALKYLS, GROUPS, RING_SYSTEMS, SURROUNDINGS
from rdkit import Chem
from rdkit.Chem import rdCIPLabeler

SMARTS = {key: group.smarts for key, group in GROUPS.items()}
SMARTS |= SURROUNDINGS | {f"ester_alkyl_{name}": smarts for name, smarts in ESTER_ALKYLS.items()}
PATTERNS = {key: Chem.MolFromSmarts(smarts) for key, smarts in SMARTS.items()}
# Cyclopenta[a]phenanthrene of any saturation, but with a saturated C-13 as steroids have it: the polycyclic aromatic
# hydrocarbons of that skeleton are no steroids.
STEROID = Chem.MolFromSmarts(
    "[#6]1~[#6]~[#6]~[#6]2~[#6](~[#6]~1)~[#6]~[#6]~[#6]1~[#6]3~[#6]~[#6]~[#6]~[CX4]~3~[#6]~[#6]~[#6]~2~1"
)
ALPHA_AMINO_ACID = Chem.MolFromSmarts("[$([NX3;H2,H1]),$([NX4;+;!H0])][CX4][CX3](=O)[$([OX2;H1]),$([OX1;-])]")


@dataclass(frozen=True)
class RingSystem:
    """Rings that share atoms, taken together: its size, its hetero atoms, and its name where it has a common one."""

    name: str | None
    n_rings: int
    size: int
    hetero: str
    degree: str
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
    main: Chem.Mol
    copies: int
    others: dict[str, int]
    groups: Counter[str]
    rings: tuple[RingSystem, ...] = ()
    steroid: bool = False
    alpha_amino_acid: bool = False
    longest_chain: int = 0
    benzene_pattern: tuple[int, ...] | None = None
    pyridine_pattern: tuple[int, ...] | None = None
    stereo: Stereo = field(default_factory=Stereo)
    charge: int = 0
    total_charge: int = 0
    isotopes: Counter[str] = field(default_factory=Counter)
    elements: Counter[str] = field(default_factory=Counter)
    aromatic_atoms: int = 0
    substituents: Counter[str] = field(default_factory=Counter)
    n_phenyls: int = 0
    told_by_phenyls: Counter[str] = field(default_factory=Counter)
    gap: int | None = None


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


def degree_of_unsaturation(atoms: list[Chem.Atom], bonds: list[Chem.Bond]) -> str:
    aromatic = [a.GetIsAromatic() for a in atoms]
    if any(aromatic):
        return "aromatic" if all(aromatic) else "partly aromatic"
    return "saturated" if all(b.GetBondType() == Chem.BondType.SINGLE for b in bonds) else "partly unsaturated"


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
        degree=degree_of_unsaturation(members, bonds),
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


def substituted_atoms(mol: Chem.Mol, name: str) -> tuple[list[int], tuple[int, ...]] | None:
    """The ring order and the substituted places of the only ring system of that name; None where there is no such."""
    systems = [s for s in ring_systems(mol) if RING_NAMES.get(skeleton(mol, s)) == name]
    if len(systems) != 1:
        return None
    ring = next(list(r) for r in mol.GetRingInfo().AtomRings() if set(r) == systems[0])
    outside = [
        any(n.GetIdx() not in ring and n.GetAtomicNum() > 1 for n in mol.GetAtomWithIdx(i).GetNeighbors()) for i in ring
    ]
    return ring, tuple(k for k, taken in enumerate(outside) if taken)


def benzene_pattern(mol: Chem.Mol) -> tuple[int, ...] | None:
    """Lowest locants of two to four substituents on the only isolated benzene ring."""
    found = substituted_atoms(mol, "benzene")
    if not found or not 2 <= len(found[1]) <= 4:
        return None
    taken = found[1]
    return min(tuple(sorted((sign * (k - first)) % 6 + 1 for k in taken)) for first in taken for sign in (1, -1))


def pyridine_pattern(mol: Chem.Mol) -> tuple[int, ...] | None:
    """Lowest locants, nitrogen being 1, of one to four substituents on the only isolated pyridine ring."""
    found = substituted_atoms(mol, "pyridine")
    if not found or not 1 <= len(found[1]) <= 4:
        return None
    ring, taken = found
    first = next(k for k, i in enumerate(ring) if mol.GetAtomWithIdx(i).GetAtomicNum() == 7)
    return min(tuple(sorted((sign * (k - first)) % 6 + 1 for k in taken)) for sign in (1, -1))


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


def split_parts(smiles: str) -> tuple[str, int, dict[str, int]] | None:
    """The organic part, how often it occurs, and the counter-parts by key; None where that reading does not fit."""
    parts = Counter(smiles.split("."))
    others = {p: n for p, n in parts.items() if p in COUNTERPARTS}
    rest = {p: n for p, n in parts.items() if p not in COUNTERPARTS}
    if not others and len(rest) == 1 and list(rest.values()) == [1]:
        return smiles, 1, {}
    if len(rest) != 1:
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
    mol = Chem.MolFromSmiles(main_smiles)
    systems = ring_systems(mol)
    benzenes = [system for system in systems if RING_NAMES.get(skeleton(mol, system)) == "benzene"]
    phenyls, told_by_phenyls = simple_phenyls(mol, benzenes)
    groups = Counter({key: len(mol.GetSubstructMatches(p, maxMatches=5000)) for key, p in PATTERNS.items()})
    return Facts(
        smiles,
        mol,
        copies,
        others,
        +groups,
        rings=tuple(describe_ring_system(mol, s) for s in systems),
        steroid=mol.HasSubstructMatch(STEROID),
        alpha_amino_acid=mol.HasSubstructMatch(ALPHA_AMINO_ACID),
        longest_chain=longest_acyclic_chain(mol),
        benzene_pattern=benzene_pattern(mol),
        pyridine_pattern=pyridine_pattern(mol),
        stereo=stereo_of(mol),
        charge=Chem.GetFormalCharge(mol),
        total_charge=total,
        isotopes=isotopes_of(mol),
        elements=Counter(a.GetSymbol() for a in mol.GetAtoms()),
        aromatic_atoms=sum(a.GetIsAromatic() for a in mol.GetAtoms()),
        substituents=phenyls + straight_alkyls(mol),
        n_phenyls=phenyls.total(),
        told_by_phenyls=told_by_phenyls,
        gap=gap_between_rings(mol, systems),
    )
