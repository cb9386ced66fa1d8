"""Molecule graphs against RDKit's own bonds, cuts and rings, batches against loops, atoms against molecule vectors."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import BRICS
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from class_kit.backbones.base import GraphBatch
from class_kit.errors import InputError
from class_kit.molecules import Mol2vecVectors, atom_words, embed_molecules, mol2vec_sentences
from class_kit.molecules.graphs import BOND_FEATURES, MoleculeGraphs, brics_cuts, molecule_graphs, motifs
from class_kit.molecules.vectors import corpus_smiles
from class_kit.store import cache_entries

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "C[C@]12CC[C@H]3[C@H]([C@@H]1CC[C@@H]2O)CCC4=CC(=O)CC[C@]34C",
    "[Na+].[Cl-]",
    "O",
    "C*",
    "*",
    "[Fe+3]",
    "[2H]OC",
    "F/C=C/F",
    "F/C=C\\F",
    "C#N",
    "N->[Pt](Cl)(Cl)<-N",
    "C1CC12CCC2",
    "C12C3C4C1C5C2C3C45",
    "c1ccc(cc1)-c1ccccc1.CCO.[K+]",
    "CCOC(=O)c1ccc2cc3ccccc3cc2c1",
    "*C(=O)OC1CC2CCC1C2",
    "[H][H]",
]
WIDTH = 5


pytestmark = pytest.mark.usefixtures("own_cache")


def some_vectors(smiles: list[str], share: float, seed: int = 0) -> Mol2vecVectors:
    """Random vectors for UNK and for a share of the words that occur, so that many molecules lack some."""
    generator = np.random.default_rng(seed)
    words = sorted({word for sentence in mol2vec_sentences(smiles) for word in sentence})
    kept = [word for word in words if generator.random() < share]
    vectors = generator.normal(size=(len(kept) + 1, WIDTH)).astype(np.float32)
    return Mol2vecVectors((*kept[:3], "UNK", *kept[3:]), vectors, "a test")


@pytest.fixture(scope="module")
def table() -> Mol2vecVectors:
    return some_vectors([one for one in SMILES if "Fe" not in one], 0.6)


@pytest.fixture(scope="module")
def graphs(table: Mol2vecVectors) -> MoleculeGraphs:
    return molecule_graphs(SMILES, vectors=table, cache=False)


@pytest.fixture(scope="module")
def corpus() -> tuple[list[str], Mol2vecVectors, MoleculeGraphs]:
    smiles = corpus_smiles()[::6]
    vectors = some_vectors(smiles, 0.7)
    return smiles, vectors, molecule_graphs(smiles, vectors=vectors, cache=False)


def without_rare(table: Mol2vecVectors) -> Mol2vecVectors:
    """The same vectors less the one of rare words."""
    kept = [row for row, word in enumerate(table.words) if word != "UNK"]
    return Mol2vecVectors(tuple(table.words[row] for row in kept), table.vectors[kept], "none for rare words")


def one_graph(smiles: str, table: Mol2vecVectors) -> dict[str, np.ndarray]:
    """The fields of a batch of one molecule, atom by atom and bond by bond."""
    molecule = Chem.MolFromSmiles(smiles)
    words = atom_words(molecule)
    none_known = not any(word in table.words for pair in words for word in pair)
    atoms = np.zeros((len(words), WIDTH), np.float32)
    for atom, pair in enumerate(words):
        for word in pair:
            if word in table.words:
                atoms[atom] += table.vectors[table.words.index(word)]
            elif "UNK" in table.words and not none_known:
                atoms[atom] += table.vectors[table.words.index("UNK")]
    cuts = {frozenset(ends) for ends, _ in BRICS.FindBRICSBonds(molecule)}
    bonds, features = [], []
    for bond in molecule.GetBonds():
        kind, stereo = bond.GetBondType(), bond.GetStereo()
        orders = [Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC]
        z = stereo in {Chem.BondStereo.STEREOZ, Chem.BondStereo.STEREOCIS}
        e = stereo in {Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS}
        unsure = stereo == Chem.BondStereo.STEREOANY
        row = [kind == order for order in orders] + [kind not in orders]
        row += [bond.GetIsConjugated(), bond.IsInRing(), not (z or e or unsure), unsure, z, e]
        row += [frozenset((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) in cuts]
        bonds += [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()), (bond.GetEndAtomIdx(), bond.GetBeginAtomIdx())]
        features += [row, row]
    groups = motifs(molecule, brics_cuts(molecule))
    return {
        "atoms": atoms,
        "atom_molecule": np.zeros(len(atoms), np.int64),
        "bonds": np.array(bonds, np.int64).reshape(-1, 2).T,
        "bond_features": np.array(features, np.float32).reshape(-1, len(BOND_FEATURES)),
        "motif_atoms": np.array([(atom, at) for at, group in enumerate(groups) for atom in group], np.int64).T,
        "motif_molecule": np.zeros(len(groups), np.int64),
    }


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Batches of one molecule end to end, each part's numbers shifted by what came before."""
    atoms = motif_total = 0
    shifted: list[dict[str, np.ndarray]] = []
    for at, part in enumerate(parts):
        shifted.append(
            {
                **part,
                "atom_molecule": part["atom_molecule"] + at,
                "bonds": part["bonds"] + atoms,
                "motif_atoms": part["motif_atoms"] + np.array([[atoms], [motif_total]]),
                "motif_molecule": part["motif_molecule"] + at,
            }
        )
        atoms, motif_total = atoms + len(part["atoms"]), motif_total + len(part["motif_molecule"])
    wide = {"bonds", "motif_atoms"}
    return {name: np.concatenate([part[name] for part in shifted], axis=int(name in wide)) for name in parts[0]}


def same_batch(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert {*found, "size"} == {field.name for field in fields(GraphBatch)} == {*expected, "size"}
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("rare", [True, False])
def test_a_batch_is_what_rdkit_says_of_each_atom_and_bond(rare: bool, table: Mol2vecVectors) -> None:
    if not rare:
        table = without_rare(table)
    found = molecule_graphs(SMILES, vectors=table, cache=False)
    rows = np.random.default_rng(0).integers(0, len(SMILES), 40)
    expected = [one_graph(SMILES[row], table) for row in rows]
    same_batch(found.arrays(rows), joined(expected))
    assert not expected[list(rows).index(SMILES.index("[Fe+3]"))]["atoms"].any()


def test_features_of_bonds_are_what_their_names_say(graphs: MoleculeGraphs) -> None:
    names = np.array(BOND_FEATURES)

    def features(smiles: str, first: int, second: int) -> set[str]:
        batch = graphs.arrays(np.array([SMILES.index(smiles)]))
        (column,) = np.flatnonzero((batch["bonds"] == [[first], [second]]).all(axis=0))
        return set(names[batch["bond_features"][column] > 0])

    assert len(BOND_FEATURES) == 12
    assert features("C#N", 0, 1) == {"triple", "stereo_none"}
    assert features("F/C=C/F", 2, 1) == {"double", "stereo_trans"}
    assert features("F/C=C\\F", 1, 2) == {"double", "stereo_cis"}
    assert features("N->[Pt](Cl)(Cl)<-N", 0, 1) == {"other", "stereo_none"}
    assert features("CC(=O)Oc1ccccc1C(=O)O", 4, 5) == {"aromatic", "conjugated", "ring", "stereo_none"}
    assert features("CC(=O)Oc1ccccc1C(=O)O", 3, 4) == {"single", "conjugated", "stereo_none", "cut"}
    assert features("[H][H]", 0, 1) == {"single", "stereo_none"}


def motif_laws(molecule: Chem.Mol) -> list[set[int]]:
    """Check what holds of every molecule's motifs, and give them."""
    cuts = brics_cuts(molecule)
    found = [set(motif) for motif in motifs(molecule, cuts)]
    assert set().union(*found) == set(range(molecule.GetNumAtoms()))
    assert len({frozenset(motif) for motif in found}) == len(found)
    near = Chem.GetAdjacencyMatrix(molecule)
    for first, second in cuts:
        near[first, second] = near[second, first] = 0
    pieces, piece = connected_components(csr_matrix(near), directed=False)
    for motif in found:
        assert connected_components(csr_matrix(near[np.ix_(list(motif), list(motif))]), directed=False)[0] == 1
    rings = [set(ring) for ring in Chem.GetSymmSSSR(molecule)]
    in_ring = set().union(*rings)
    for number in range(pieces):
        whole = set(np.flatnonzero(piece == number))
        inside, own = [ring for ring in rings if ring <= whole], [motif for motif in found if motif <= whole]
        assert len(own) == max(1, len(inside))
        if len(inside) <= 1:
            assert own == [whole]
        for ring in inside:
            (motif,) = (motif for motif in own if motif & in_ring == ring)
            assert motif - ring <= whole - in_ring
    assert all(any(motif <= set(np.flatnonzero(piece == number)) for number in range(pieces)) for motif in found)
    return found


@pytest.mark.parametrize("smiles", SMILES)
def test_motifs_are_pieces_of_brics_with_a_ring_at_most(smiles: str) -> None:
    motif_laws(Chem.MolFromSmiles(smiles))


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("c1ccc2ccccc2c1", [[0, 1, 2, 3, 8, 9], [3, 4, 5, 6, 7, 8]]),
        ("Cc1ccccc1", [[0, 1, 2, 3, 4, 5, 6]]),
        # a chain stays with the ring it hangs on, and with both where it hangs on an atom of both
        ("CC1CCC2(C)CCCCC2C1", [[0, 1, 2, 3, 4, 5, 10, 11], [4, 5, 6, 7, 8, 9, 10]]),
        ("C1CC12CCC2", [[0, 1, 2], [2, 3, 4, 5]]),
        ("[Na+].[Cl-]", [[0], [1]]),
    ],
)
def test_motifs_of_molecules_small_enough_to_see(smiles: str, expected: list[list[int]]) -> None:
    molecule = Chem.MolFromSmiles(smiles)
    assert motifs(molecule, brics_cuts(molecule)) == expected


def test_motifs_do_not_depend_on_the_order_of_the_atoms() -> None:
    generator = np.random.default_rng(1)
    for smiles in SMILES:
        molecule = Chem.MolFromSmiles(smiles)
        turn = generator.permutation(molecule.GetNumAtoms())
        turned = Chem.RenumberAtoms(molecule, turn.tolist())
        renamed = [sorted(int(turn[atom]) for atom in motif) for motif in motifs(turned, brics_cuts(turned))]
        assert sorted(renamed) == motifs(molecule, brics_cuts(molecule)), smiles


@pytest.mark.parametrize("rare", [True, False])
def test_atoms_add_up_to_the_vectors_of_the_molecules(rare, corpus) -> None:
    smiles, vectors, graphs = corpus
    if not rare:
        vectors = without_rare(vectors)
        graphs = molecule_graphs(smiles, vectors=vectors, cache=False)
    batch = graphs.arrays(np.arange(len(smiles)))
    sums = np.zeros((len(smiles), WIDTH))
    np.add.at(sums, batch["atom_molecule"], batch["atoms"].astype(np.float64))
    expected = embed_molecules(smiles, vectors=vectors)
    # rounding of one addition an atom, of vectors shorter than 10
    atoms = np.bincount(batch["atom_molecule"])[:, None]
    assert (np.abs(sums - expected) <= atoms * 10 * np.finfo(np.float32).eps).all()
    assert np.abs(expected).max() > 10


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_a_batch_of_corpus_molecules_is_its_molecules_end_to_end(corpus, data) -> None:
    smiles, vectors, graphs = corpus
    rows = np.array(data.draw(st.lists(st.integers(0, len(smiles) - 1), min_size=1, max_size=12)))
    found = graphs.arrays(rows)
    singles = [graphs.arrays(rows[at : at + 1]) for at in range(len(rows))]
    same_batch(found, joined(singles))
    same_batch(singles[0], one_graph(smiles[rows[0]], vectors))
    motif_laws(Chem.MolFromSmiles(smiles[rows[0]]))
    some = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5))
    again = graphs.subset(rows).arrays(np.array(some))
    same_batch(again, graphs.arrays(rows[some]))


def test_graphs_know_their_size_and_a_subset_its_own(graphs: MoleculeGraphs) -> None:
    assert (len(graphs), graphs.width) == (len(SMILES), WIDTH)
    part = graphs.subset(np.array([SMILES.index("C#N"), SMILES.index("[Na+].[Cl-]")]))
    assert part.atoms is graphs.atoms
    assert len({graphs.digest, part.digest, part.subset(np.array([1, 0])).digest}) == 3
    assert graphs.subset(np.arange(len(graphs))).digest == graphs.digest


def test_word_vectors_share_one_kept_file_and_no_digest(table: Mol2vecVectors, monkeypatch: pytest.MonkeyPatch) -> None:
    first = molecule_graphs(SMILES, vectors=table)
    monkeypatch.setattr("class_kit.molecules.graphs.brics_cuts", None)
    again = molecule_graphs(SMILES, vectors=table)
    same_batch(again.arrays(np.arange(3)), first.arrays(np.arange(3)))
    assert again.digest == first.digest
    others = [
        molecule_graphs(SMILES, vectors=without_rare(table)),
        molecule_graphs(SMILES, vectors=Mol2vecVectors(table.words, 2 * table.vectors, "another")),
    ]
    np.testing.assert_array_equal(others[1].arrays(np.array([0]))["atoms"], 2 * first.arrays(np.array([0]))["atoms"])
    assert len(cache_entries("graphs")) == 1
    monkeypatch.undo()
    other = molecule_graphs(SMILES[::-1], vectors=table, cache=False)
    assert len({first.digest, other.digest, *(one.digest for one in others)}) == 4


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(InputError, match="smiles is empty"):
        molecule_graphs([])
