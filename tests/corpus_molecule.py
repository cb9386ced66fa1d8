"""Rings, named substituents and parts of a corpus molecule, found without the generator's code."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

from chemicals.identifiers import search_chemical
from rdkit import Chem

from tests.corpus_graph import Graph, hydrogens, saturated
from tests.corpus_vocabulary import CYCLES, OWN_RINGS, SIMPLE, SYMBOLS, VALUES


class Molecule(Graph):
    """The organic part of a row, and what it comes with."""

    def __init__(self, smiles: str) -> None:
        parts = Counter(smiles.split("."))
        main = max(parts, key=lambda p: Chem.MolFromSmiles(p).GetNumHeavyAtoms())
        super().__init__(main)
        self.whole = Chem.MolFromSmiles(smiles)
        self.copies = parts.pop(main)
        self.others = {Chem.CanonSmiles(p): n for p, n in parts.items()}


@cache
def parent_ring(name: str) -> tuple[Chem.Mol, frozenset[int]]:
    """The ring system that a name stands for, as the `chemicals` package draws the parent compound."""
    graph = Graph(OWN_RINGS.get(name) or search_chemical(name).smiles)
    (atoms,) = graph.systems()
    return graph.mol, atoms


def same_ring(mol: Chem.Mol, atoms: frozenset[int], name: str) -> bool:
    """Equal up to substituents: the same elements, bonded in the same way, aromatic in the same places."""
    parent, ring = parent_ring(name)
    if len(ring) != len(atoms):
        return False
    bare, query = ring_graph(mol, atoms), ring_graph(parent, ring)
    return bare.GetNumBonds() == query.GetNumBonds() and bare.HasSubstructMatch(query)


def ring_graph(mol: Chem.Mol, atoms: frozenset[int]) -> Chem.Mol:
    """Ring atoms alone: isotope 1 marks aromatic ones, so that a plain match compares what the names compare."""
    editable, place = Chem.RWMol(), {}
    for i in sorted(atoms):
        atom = Chem.Atom(mol.GetAtomWithIdx(i).GetAtomicNum())
        atom.SetIsotope(int(mol.GetAtomWithIdx(i).GetIsAromatic()))
        atom.SetNoImplicit(True)
        place[i] = editable.AddAtom(atom)
    for bond in mol.GetBonds():
        a, b = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if a in place and b in place:
            kind = Chem.BondType.TRIPLE if bond.GetIsAromatic() else bond.GetBondType()
            editable.AddBond(place[a], place[b], kind)
    return editable.GetMol()


def has_oxo(m: Molecule, atoms: frozenset[int]) -> bool:
    ring = [m.mol.GetAtomWithIdx(i) for i in atoms]
    return any(o.GetIdx() not in atoms for c in ring if c.GetSymbol() == "C" for o in m.near(c, "O", 2))


def named_rings(m: Molecule, name: str) -> list[frozenset[int]]:
    return [s for s in m.systems() if same_ring(m.mol, s, name)]


def count_generic(m: Molecule, match: re.Match[str], named: set[frozenset[int]]) -> int:
    """Ring systems of a described sort, those left out that the same list calls by name."""
    held = Counter()
    for word, element in re.findall(r"(\w+) (\w+)", (match["held"] or "").replace(" and ", ", ")):
        held[SYMBOLS[element]] += VALUES[word]
    return sum(fits_generic(m, s, match, held) for s in m.systems() if s not in named)


def fits_generic(m: Molecule, atoms: frozenset[int], match: re.Match[str], held: Counter[str]) -> bool:
    ring = [m.mol.GetAtomWithIdx(i) for i in atoms]
    bonds = [b for b in m.mol.GetBonds() if b.GetBeginAtomIdx() in atoms and b.GetEndAtomIdx() in atoms]
    hetero = Counter(a.GetSymbol() for a in ring if a.GetSymbol() != "C")
    n_rings = len(bonds) - len(ring) + 1
    size = match["size"]
    right_size = (n_rings == 1 and size == f"{len(ring)}-membered") or n_rings == CYCLES.get(size, 0)
    right_size = right_size or (size == "polycyclic" and n_rings > max(CYCLES.values()))
    aromatic = sum(a.GetIsAromatic() for a in ring)
    degree = "aromatic" if aromatic == len(ring) else "partly aromatic" if aromatic else "saturated"
    if degree == "saturated" and any(b.GetBondTypeAsDouble() != 1 for b in bonds):
        degree = "partly unsaturated"
    right_kind = bool(hetero) == (match["kind"] == "heterocycle") and (not match["held"] or hetero == held)
    return right_size and degree == match["degree"] and right_kind


def count_alkyls(m: Molecule, length: int) -> int:
    """CH3(CH2)n groups, found from the carrying side: a chain of CH2 that ends in CH3 and starts at something else."""

    def link(atom: Chem.Atom, hs: int) -> bool:
        return saturated(m, atom) and hydrogens(atom) == hs and not atom.IsInRing() and atom.GetFormalCharge() == 0

    found = 0
    for path in Chem.FindAllPathsOfLengthN(m.mol, length + 1, useBonds=False):
        for order in (list(path), list(path)[::-1]):
            atoms = [m.mol.GetAtomWithIdx(i) for i in order]
            heavy = all(a.GetAtomicNum() > 1 for a in atoms)
            chain = heavy and link(atoms[0], 3) and all(link(a, 2) and len(m.near(a)) == 2 for a in atoms[1:-1])
            found += chain and not (link(atoms[-1], 2) and len(m.near(atoms[-1])) == 2) and not link(atoms[-1], 3)
    return found


def count_phenyls(m: Molecule, locants: tuple[int, ...], simple: str) -> int:
    """Benzene rings with the named substituent at those places, one more at place 1, and hydrogen elsewhere."""
    graph = Chem.MolFromSmiles(SIMPLE[simple])
    found = 0
    for ring in (list(r) for r in Chem.GetSymmSSSR(m.mol) if frozenset(r) in m.benzenes):
        turns = [ring[k:] + ring[:k] for k in range(6)]
        found += any(fits_phenyl(m, turn, locants, graph) for turn in turns + [[t[0], *t[:0:-1]] for t in turns])
    return found


def fits_phenyl(m: Molecule, ring: list[int], locants: tuple[int, ...], simple: Chem.Mol) -> bool:
    outside = [[x for x in m.near(m.mol.GetAtomWithIdx(i)) if x.GetIdx() not in ring] for i in ring]
    if [k + 1 for k, found in enumerate(outside) if found] != [1, *locants]:
        return False
    sizes = {k: branch(m, outside[k - 1][0], ring) for k in (1, *locants)}
    wanted = Chem.MolToSmiles(simple)
    return all(sizes[k] == wanted for k in locants) and sizes[1] != wanted


def branch(m: Molecule, first: Chem.Atom, ring: list[int]) -> str:
    """The substituent as a molecule of its own, hydrogens filled in; empty where it leads back into the ring."""
    kept, frontier = {first.GetIdx()}, [first]
    while frontier:
        for x in m.near(frontier.pop()):
            if x.GetIdx() in ring and x.GetIdx() not in kept:
                continue
            if x.GetIdx() not in kept:
                kept.add(x.GetIdx())
                frontier.append(x)
    back = sum(x.GetIdx() in ring for i in kept for x in m.near(m.mol.GetAtomWithIdx(i)))
    return Chem.MolFragmentToSmiles(m.mol, sorted(kept), isomericSmiles=False) if back == 1 else ""
