"""Molecules as graphs of atoms, bonds and motifs, computed once, stored, and read in batches.

An atom's vector is the sum of the vectors of its Mol2vec words, so the atoms of a molecule sum to its vector from
`embed_molecules`: graph encoders and vector encoders start from the same information. Each atom stores only the rows of
its words in the table of vectors.

Motifs are the building blocks that chemists name. BRICS (Degen et al. 2008) cuts the bonds that reactions form. The
fragments can still be large: a steroid is a single one. So a fragment with rings gives one motif for each ring: the
ring and the chains attached to it. Atoms of fused rings and chains between two rings belong to several motifs. A
fragment without a ring is one motif.

The rings are RDKit's symmetrised smallest rings. A smallest *set* of rings omits one face of a cube, and which one
depends on the order of the atoms.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from class_kit.inputs import Inputs, Ragged, offsets_of
from class_kit.molecules import warn_unknown
from class_kit.molecules.structures import atom_words, check_smiles, each_molecule, read_molecule
from class_kit.molecules.vectors import Mol2vecVectors, load_vectors
from class_kit.store import Maker, digest_of, stored

if TYPE_CHECKING:
    from rdkit.Chem import Mol
    from torch import Tensor

    from class_kit.backbones.base import GraphBatch

BOND_FEATURES = (
    *("single", "double", "triple", "aromatic", "other"),
    *("conjugated", "ring"),
    *("stereo_none", "stereo_any", "stereo_cis", "stereo_trans"),
    "cut",
)
"""Columns of `GraphBatch.bond_features`, each 0 or 1.

The first five encode the bond order; `other` covers dative, quadruple and query bonds. `conjugated` and `ring` are
RDKit's. The next four encode the stereochemistry of a double bond: unspecified, marked as unknown, Z or cis, E or
trans. `cut` marks the bonds that BRICS cuts: they connect motifs.
"""

# RDKit's names of bond orders and stereo with their columns; others are "other" and "stereo_none"
_ORDERS = {"SINGLE": 0, "DOUBLE": 1, "TRIPLE": 2, "AROMATIC": 3}
_STEREO = {"STEREOANY": 8, "STEREOZ": 9, "STEREOCIS": 9, "STEREOE": 10, "STEREOTRANS": 10}
# raised whenever the arrays of a molecule change, so that graphs stored by an older version are not reused
_LAYOUT = 1
# BRICS matches some fifty patterns on each molecule
_COST = 10


@dataclass(frozen=True, eq=False)
class MoleculeGraphs(Inputs):
    """L molecules as graphs; subsets share the stored arrays.

    Attributes
    ----------
    vectors : (n_words + 1, d_a) float32
        Word vectors, then one of zeros.
    atoms : Ragged of (…, 2) int32
        Rows of `vectors` that add up to each atom of each stored molecule.
    bonds : Ragged of (…, 2) int32
        Both directions of each bond, as atom numbers within the molecule.
    bond_features : Ragged of (…, 12) uint8
        See `BOND_FEATURES`.
    members : Ragged of (…, 2) int32
        Pairs of an atom and a motif that contains it, numbered within the molecule.
    motif_counts : (n,) int64
        Number of motifs of each stored molecule.
    """

    kind: ClassVar[str] = "graph"
    block: ClassVar[int] = 512
    vectors: np.ndarray
    atoms: Ragged
    bonds: Ragged
    bond_features: Ragged
    members: Ragged
    motif_counts: np.ndarray

    @property
    def width(self) -> int:
        """d_a, the width of an atom's vector."""
        return int(self.vectors.shape[1])

    def arrays(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The molecules of these rows as one disconnected graph: the fields of `GraphBatch` without `size`."""
        stored = self.stored(rows)
        atoms, motifs = self.atoms.lengths(stored), self.motif_counts[stored]
        # numbers in the batch of the first atom and the first motif of each molecule
        first = np.stack([offsets_of(atoms)[:-1], offsets_of(motifs)[:-1]], axis=1)
        bonds = self.bonds.take(stored) + np.repeat(first[:, :1], self.bonds.lengths(stored), axis=0)
        members = self.members.take(stored) + np.repeat(first, self.members.lengths(stored), axis=0)
        return {
            "atoms": self.vectors[self.atoms.take(stored)].sum(axis=1),
            "atom_molecule": np.repeat(np.arange(len(stored)), atoms),
            "bonds": bonds.T,
            "bond_features": self.bond_features.take(stored).astype(np.float32),
            "motif_atoms": members.T,
            "motif_molecule": np.repeat(np.arange(len(stored)), motifs),
        }

    def batch(self, size: int, **tensors: Tensor) -> GraphBatch:
        """The arrays as a `GraphBatch`."""
        from class_kit.backbones.base import GraphBatch

        return GraphBatch(**tensors, size=size)


def molecule_graphs(
    smiles: Sequence[str],
    *,
    vectors: str | os.PathLike[str] | Mol2vecVectors = "corpus",
    cache: bool = True,
    progress: bool | None = None,
) -> MoleculeGraphs:
    """Read molecules as graphs of atoms, bonds and motifs.

    Only hydrogens that RDKit keeps as atoms are nodes; disconnected parts of a molecule stay one molecule.

    Parameters
    ----------
    smiles
        L SMILES strings.
    vectors
        Word vectors, as in `embed_molecules`.
    cache
        Store graphs on disk and reuse them (`class_kit.store`). They hold words, not vectors, so they serve all word
        vectors.
    progress
        Show a progress bar; by default only on a terminal or in a notebook.

    Raises
    ------
    InputError
        As `embed_molecules`.
    """
    from safetensors.numpy import load

    rows = check_smiles(smiles)
    table = load_vectors(vectors)
    maker = Maker("graphs", "rdkit", digest_of(rdkit=version("rdkit"), layout=_LAYOUT))

    def compute(missing: list[int]) -> Iterator[tuple[int, bytes]]:
        values = each_molecule(rows, missing, _saved_graph, "molecule graphs", progress, cost=_COST)
        return zip(missing, values, strict=True)

    graphs = [load(value) for value in stored(maker, rows, compute, use=cache).read()]
    words, bonds, features, members = (
        Ragged(np.concatenate(arrays), offsets_of(np.array([len(array) for array in arrays])))
        for arrays in ([graph[name] for graph in graphs] for name in ("words", "bonds", "bond_features", "members"))
    )
    return MoleculeGraphs(
        np.arange(len(rows)),
        digest_of(smiles=rows, graphs=maker.digest, vectors=table.digest),
        np.vstack([table.vectors, np.zeros((1, table.vectors.shape[1]), np.float32)]),
        Ragged(_vector_rows(words, rows, table, cache), words.offsets),
        bonds,
        features,
        members,
        np.array([int(graph["members"][-1, 1]) + 1 for graph in graphs], np.int64),
    )


def _vector_rows(atoms: Ragged, smiles: list[str], table: Mol2vecVectors, cache: bool) -> np.ndarray:
    """Rows of the words `(A, 2)` of all atoms in the table of vectors; words that add nothing have the row after it."""
    words = atoms.values
    distinct, place = np.unique(words, return_inverse=True)
    rows = np.array([table.index.get(str(word), -1) for word in distinct], np.int32)[place.reshape(words.shape)]
    molecule = np.repeat(np.arange(len(atoms)), np.diff(atoms.offsets))
    known = np.bincount(molecule, (rows >= 0).sum(axis=1)).astype(np.int64)
    warn_unknown(known, smiles, table, cache)
    if table.unknown is not None:
        rows[(rows < 0) & (words > 0) & (known[molecule] > 0)[:, None]] = table.unknown
    rows[rows < 0] = len(table.words)
    return rows


def _saved_graph(smiles: str) -> bytes:
    from safetensors.numpy import save

    return save(_graph(read_molecule(smiles)))


def _graph(molecule: Mol) -> dict[str, np.ndarray]:
    """Words (A, 2), bonds (E, 2) with features (E, 12), and memberships (K, 2) of one molecule."""
    words = np.zeros((molecule.GetNumAtoms(), 2), np.uint32)
    for atom, own in enumerate(atom_words(molecule)):
        words[atom, : len(own)] = [int(word) for word in own]
    cuts = brics_cuts(molecule)
    bonds, features = [], []
    for bond in molecule.GetBonds():
        ends = (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        row = np.zeros(len(BOND_FEATURES), np.uint8)
        row[_ORDERS.get(bond.GetBondType().name, 4)] = 1
        row[_STEREO.get(bond.GetStereo().name, 7)] = 1
        row[5:7] = bond.GetIsConjugated(), bond.IsInRing()
        row[11] = (min(ends), max(ends)) in cuts
        bonds += [ends, ends[::-1]]
        features += [row, row]
    members = [(atom, motif) for motif, atoms in enumerate(motifs(molecule, cuts)) for atom in atoms]
    return {
        "words": words,
        "bonds": np.array(bonds, np.int32).reshape(-1, 2),
        "bond_features": np.array(features, np.uint8).reshape(-1, len(BOND_FEATURES)),
        "members": np.array(members, np.int32),
    }


def brics_cuts(molecule: Mol) -> set[tuple[int, int]]:
    """Bonds that BRICS cuts, as pairs of atoms, the smaller number first."""
    from rdkit.Chem import BRICS

    return {(min(ends), max(ends)) for ends, _ in BRICS.FindBRICSBonds(molecule)}


def motifs(molecule: Mol, cuts: set[tuple[int, int]]) -> list[list[int]]:
    """Atoms of each motif in ascending order; motifs are sorted by their atoms.

    Every atom belongs to at least one motif, and bonds that are not cut connect each motif.

    Parameters
    ----------
    molecule
        A molecule of RDKit, connected or not.
    cuts
        Bonds between motifs, as `brics_cuts` returns them; none is in a ring.
    """
    from rdkit.Chem import GetAdjacencyMatrix
    from scipy.sparse.csgraph import connected_components

    near = GetAdjacencyMatrix(molecule).astype(bool)
    for first, second in cuts:
        near[first, second] = near[second, first] = False
    rings = [set(ring) for ring in molecule.GetRingInfo().AtomRings()]
    in_ring = np.isin(np.arange(len(near)), list(set().union(*rings)))
    chain_bonds = near & ~in_ring & ~in_ring[:, None]
    parts = connected_components(chain_bonds, directed=False)[1]
    groups = rings.copy()
    for number in np.unique(parts[~in_ring]):
        chain = np.flatnonzero(parts == number)
        # a chain reaches exactly the ring atoms that it is attached to; a fragment without a ring reaches none
        reached = set(np.flatnonzero(near[chain].any(axis=0) & in_ring))
        hosts = [at for at, ring in enumerate(rings) if ring & reached]
        for at in hosts:
            groups[at] = groups[at].union(chain)
        if not hosts:
            groups.append(set(chain))
    return sorted(sorted(map(int, motif)) for motif in groups)
