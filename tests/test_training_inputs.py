"""What a training reads: every kind gives the rows asked for, on the device, as the backbone takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from class_kit.backbones.base import GraphBatch, TokenBatch
from class_kit.errors import InputError
from class_kit.molecules import Mol2vecVectors
from class_kit.molecules.graphs import MoleculeGraphs, molecule_graphs
from class_kit.ragged import Ragged
from class_kit.text.tokens import TextTokens
from class_kit.training.inputs import GraphInputs, Inputs, TokenInputs, VectorInputs, as_inputs, fit_rows

SMILES = ["CCO", "O", "c1ccccc1C", "[Na+].[Cl-]"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def vectors() -> np.ndarray:
    found = np.random.default_rng(0).normal(size=(4, 3))
    found.flags.writeable = False
    return found


@pytest.fixture
def graphs() -> MoleculeGraphs:
    words = Mol2vecVectors(("864662311", "UNK"), np.array([[1, 2, 0], [5, 6, 7]], np.float32), "a test")
    return molecule_graphs(SMILES, vectors=words)


@pytest.fixture
def tokens() -> TextTokens:
    values = np.arange(15, dtype=np.float16).reshape(5, 3)
    sentences = np.arange(9, dtype=np.float32).reshape(3, 3)
    return TextTokens(Ragged(values, np.array([0, 2, 3, 5])), sentences, np.array([0, 1, 2, 0]), "key")


def test_each_kind_is_recognised(vectors: np.ndarray, graphs: MoleculeGraphs, tokens: TextTokens) -> None:
    for values, wrapper, kind in (
        (vectors, VectorInputs, "vector"),
        (tokens, TokenInputs, "tokens"),
        (graphs, GraphInputs, "graph"),
    ):
        found = as_inputs(values)
        assert type(found) is wrapper
        assert isinstance(found, Inputs)
        assert (found.kind, found.width, len(found)) == (kind, 3, 4)
        assert as_inputs(found) is found
    for wrong in ("text", [[1.0]], None, {"a": 1}):
        with pytest.raises(InputError, match=f"inputs are {type(wrong).__name__}: expected a matrix"):
            as_inputs(wrong)


def test_vectors_come_as_they_are_however_often(vectors: np.ndarray) -> None:
    inputs = VectorInputs(vectors)
    rows = np.array([2, 0, 2], np.int32)
    for _ in range(2):
        found = inputs.take(rows, "cpu")
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), vectors[rows].astype(np.float32))
    found[:] = 0
    np.testing.assert_array_equal(inputs.take(rows, "cpu").numpy(), vectors[rows].astype(np.float32))
    assert inputs.take(rows, torch.device("meta")).device.type == "meta"
    np.testing.assert_array_equal(inputs.subset(rows).take(np.array([1]), "cpu").numpy(), inputs.take(rows[1:2], "cpu"))


def test_tokens_come_as_a_token_batch(tokens: TextTokens) -> None:
    rows = np.array([3, 1])
    for batch in (TokenInputs(tokens).take(rows, "cpu"), TokenInputs(tokens).subset(rows).take(np.arange(2), "cpu")):
        assert isinstance(batch, TokenBatch)
        assert batch.mask.tolist() == [[True, True], [True, False]]
        assert batch.tokens.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [0, 0, 0]]]
        assert batch.sentence.tolist() == [[0, 1, 2], [3, 4, 5]]
        assert {batch.tokens.dtype, batch.sentence.dtype} == {torch.float32}
        assert batch.mask.dtype == torch.bool


def test_graphs_come_as_a_graph_batch(graphs: MoleculeGraphs) -> None:
    rows, inputs = np.array([2, 1, 0]), GraphInputs(graphs)
    expected = graphs.take(rows)
    for batch in (inputs.take(rows, "cpu"), inputs.take(rows, "cpu"), inputs.subset(rows).take(np.arange(3), "cpu")):
        assert isinstance(batch, GraphBatch)
        assert (len(batch), type(batch.size)) == (3, int)
        for name, array in expected.items():
            if name != "size":
                found = getattr(batch, name).numpy()
                assert found.dtype == array.dtype
                np.testing.assert_array_equal(found, array)
    assert expected["atoms"].any()
    assert inputs.take(rows, "meta").atoms.device.type == "meta"


def test_a_digest_tells_contents_apart(vectors: np.ndarray, graphs: MoleculeGraphs, tokens: TextTokens) -> None:
    turn = np.array([1, 0, 2, 3])
    digests = {as_inputs(values).digest for values in (vectors, vectors + 1, tokens, graphs)}
    digests |= {as_inputs(values).subset(turn).digest for values in (vectors, tokens, graphs)}
    assert len(digests) == 7
    assert all(len(digest) == 64 for digest in digests)
    assert VectorInputs(vectors.copy()).digest == VectorInputs(vectors).digest


def test_a_sample_is_everything_for_vectors_and_seeded_otherwise(
    vectors: np.ndarray, graphs: MoleculeGraphs, tokens: TextTokens
) -> None:
    many = as_inputs(graphs.subset(np.arange(3000) % 4))
    assert many.sample().shape == (2048,)
    for inputs in (many, as_inputs(tokens.subset(np.arange(3000) % 4))):
        rows = inputs.sample(100, seed=5)
        assert sorted(set(rows.tolist())) == rows.tolist()
        assert len(rows) == 100
        assert rows.tolist() == many.sample(100, seed=5).tolist() != many.sample(100, seed=6).tolist()
        assert inputs.sample(5000).tolist() == list(range(3000))
        with pytest.raises(InputError, match="most=0"):
            inputs.sample(0)
    long = as_inputs(np.ones((3000, 2)))
    assert long.sample(100).tolist() == list(range(3000))
    assert fit_rows(long, long).tolist() == list(range(3000))
    assert (
        fit_rows(long, many, seed=3).tolist() == fit_rows(many, long, seed=3).tolist() == many.sample(seed=3).tolist()
    )
    with pytest.raises(InputError, match="3000 texts and 4 molecules: expected as many of both"):
        fit_rows(long, as_inputs(graphs))


@pytest.mark.parametrize(
    "wrong", [np.zeros(3), np.zeros((0, 3)), np.zeros((3, 0)), np.array([["a"]]), np.zeros((2, 2), complex)]
)
def test_what_is_no_matrix_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected a non-empty matrix of real numbers"):
        VectorInputs(wrong)


def test_rows_out_of_range_are_refused(vectors: np.ndarray, graphs: MoleculeGraphs, tokens: TextTokens) -> None:
    for values in (vectors, graphs, tokens):
        inputs = as_inputs(values)
        with pytest.raises(InputError, match="row 4 is out of range: expected 0 to 3"):
            inputs.take(np.array([0, 4]), "cpu")
        with pytest.raises(InputError, match="row -1 is out of range"):
            inputs.subset(np.array([-1]))
