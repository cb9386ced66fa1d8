"""Questions on a molecular graph, answered by walking bonds; the corpus test asks them instead of SMARTS."""

from __future__ import annotations

from functools import cached_property

from rdkit import Chem

Atom = Chem.Atom


class Graph:
    """A molecule with the handful of questions that the counters ask."""

    def __init__(self, smiles: str) -> None:
        self.mol = Chem.MolFromSmiles(smiles)
        self.atoms = [a for a in self.mol.GetAtoms() if a.GetAtomicNum() > 1]

    def near(self, atom: Atom, symbol: str = "", order: float = 0) -> list[Atom]:
        """Heavy neighbours, of one element and bond order (1, 2, 3; 1.5 is aromatic) where asked."""
        found = []
        for bond in atom.GetBonds():
            other = bond.GetOtherAtom(atom)
            fits = symbol in ("", other.GetSymbol()) and order in (0, bond.GetBondTypeAsDouble())
            if other.GetAtomicNum() > 1 and fits:
                found.append(other)
        return found

    def of(self, symbol: str, charge: int | None = None) -> list[Atom]:
        return [a for a in self.atoms if a.GetSymbol() == symbol and charge in (None, a.GetFormalCharge())]

    def ring_bond(self, a: Atom, b: Atom) -> bool:
        return self.mol.GetBondBetweenAtoms(a.GetIdx(), b.GetIdx()).IsInRing()

    def systems(self) -> list[frozenset[int]]:
        """Ring systems by flooding over atoms that share a ring."""
        rings = [set(r) for r in Chem.GetSymmSSSR(self.mol)]
        left, systems = set().union(*rings) if rings else set(), []
        while left:
            grown, size = {min(left)}, 0
            while len(grown) != size:
                size = len(grown)
                grown = grown.union(*(r for r in rings if r & grown))
            systems.append(frozenset(grown))
            left -= grown
        return systems

    @cached_property
    def benzenes(self) -> list[frozenset[int]]:
        atom = self.mol.GetAtomWithIdx
        return [
            s
            for s in self.systems()
            if len(s) == 6 and all(atom(i).GetIsAromatic() and atom(i).GetSymbol() == "C" for i in s)
        ]

    @cached_property
    def six_carbon_aromatic(self) -> set[int]:
        rings = [set(r) for r in Chem.GetSymmSSSR(self.mol)]
        atom = self.mol.GetAtomWithIdx
        good = [
            r for r in rings if len(r) == 6 and all(atom(i).GetIsAromatic() and atom(i).GetSymbol() == "C" for i in r)
        ]
        return set().union(*good) if good else set()


def hydrogens(atom: Atom) -> int:
    return atom.GetTotalNumHs(includeNeighbors=True)


def terminal(g: Graph, atom: Atom) -> bool:
    return len(g.near(atom)) == 1


def oxo(g: Graph, atom: Atom, symbol: str = "O") -> int:
    return sum(1 for o in g.near(atom, symbol, 2) if terminal(g, o))


def saturated(g: Graph, atom: Atom) -> bool:
    return atom.GetSymbol() == "C" and len(g.near(atom)) + hydrogens(atom) == 4


def methyl(g: Graph, atom: Atom) -> bool:
    return saturated(g, atom) and hydrogens(atom) == 3


def acyl(g: Graph, atom: Atom) -> bool:
    """R-C(=O)-, R being carbon or hydrogen."""
    if atom.GetSymbol() != "C" or atom.GetIsAromatic() or not oxo(g, atom):
        return False
    return bool(g.near(atom, "C")) or hydrogens(atom) == 1


def plain_carbon(g: Graph, atom: Atom) -> bool:
    """A carbon that is not doubly bonded to O, N or S."""
    return atom.GetSymbol() == "C" and not any(g.near(atom, s, 2) for s in "ONS")


def hydroxyls(g: Graph, atom: Atom) -> list[Atom]:
    return [o for o in g.near(atom, "O", 1) if hydrogens(o) == 1 and o.GetFormalCharge() == 0]


def oxides(g: Graph, atom: Atom) -> list[Atom]:
    return [o for o in g.near(atom, "O", 1) if o.GetFormalCharge() == -1 and terminal(g, o)]


def bridging(g: Graph, atom: Atom) -> list[Atom]:
    """The two partners of a divalent atom without hydrogen."""
    partners = g.near(atom)
    return partners if len(partners) == 2 and hydrogens(atom) == 0 and atom.GetFormalCharge() == 0 else []


def esters(g: Graph, ring: bool) -> list[tuple[Atom, Atom, Atom]]:
    """(acyl carbon, oxygen, carbon beyond it)."""
    found = []
    for o in g.of("O"):
        ends = bridging(g, o)
        for one, other in zip(ends, ends[::-1], strict=True):
            if acyl(g, one) and plain_carbon(g, other) and g.ring_bond(one, o) == ring:
                found.append((one, o, other))
    return found
