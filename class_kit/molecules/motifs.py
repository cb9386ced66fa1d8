"""Motifs of a molecule: the building blocks that chemists name, from BRICS cuts and single rings.

BRICS (Degen et al. 2008) cuts the bonds that reactions make. What a cut leaves whole can still be large: a steroid
is one piece. So a piece with rings gives a motif for every ring, made of the ring and of the chains that hang on it;
atoms where rings are fused, and chains between two rings, are in several. A piece without a ring is one motif.

The rings are RDKit's symmetrised smallest rings. A smallest *set* of rings leaves out one face of a cube, and which
one depends on the order in which the atoms were written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdkit.Chem import Mol


def brics_cuts(molecule: Mol) -> set[tuple[int, int]]:
    """Bonds that BRICS cuts, as pairs of atoms, the smaller number first."""
    from rdkit.Chem import BRICS

    return {(min(ends), max(ends)) for ends, _ in BRICS.FindBRICSBonds(molecule)}


def motifs(molecule: Mol, cuts: set[tuple[int, int]]) -> list[list[int]]:
    """Atoms of each motif, ascending; motifs by their first atoms.

    Every atom is in at least one motif, and a motif is connected by bonds that are not cut.

    Parameters
    ----------
    molecule
        A molecule as RDKit reads it, with one part or several.
    cuts
        Bonds between motifs, as `brics_cuts` gives them; none of them in a ring.
    """
    near: list[list[int]] = [[] for _ in range(molecule.GetNumAtoms())]
    for bond in molecule.GetBonds():
        first, second = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if (min(first, second), max(first, second)) not in cuts:
            near[first].append(second)
            near[second].append(first)
    rings = [set(ring) for ring in molecule.GetRingInfo().AtomRings()]
    in_ring = set().union(*rings)
    # A chain reaches exactly the ring atoms that it hangs on; a piece without a ring reaches none.
    chains = _connected(near, (atom for atom in range(len(near)) if atom not in in_ring), in_ring)
    groups = [ring.union(*(chain for chain, reached in chains if reached & ring)) for ring in rings]
    groups += [chain for chain, reached in chains if not reached]
    return sorted(sorted(motif) for motif in groups)


def _connected(near: list[list[int]], atoms: Iterable[int], stop: set[int]) -> list[tuple[set[int], set[int]]]:
    """Connected sets of `atoms`, each with the atoms of `stop` that it touches."""
    seen: set[int] = set()
    parts = []
    for start in atoms:
        if start in seen:
            continue
        part, reached, waiting = {start}, set(), [start]
        while waiting:
            for atom in near[waiting.pop()]:
                if atom in stop:
                    reached.add(atom)
                elif atom not in part:
                    part.add(atom)
                    waiting.append(atom)
        seen |= part
        parts.append((part, reached))
    return parts
