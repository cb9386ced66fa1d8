"""What a backbone reads: every kind gives the rows asked for, on the device, as the backbone takes them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from class_kit.errors import InputError
from class_kit.inputs import Inputs, Ragged, as_inputs, encode
from class_kit.molecules import Mol2vecVectors
from class_kit.molecules.graphs import molecule_graphs
from class_kit.text.tokens import TextIds, TextTokens
from tests.refusals import refuses

pytestmark = pytest.mark.usefixtures("own_cache")
SMILES = ["CCO", "O", "c1ccccc1C", "[Na+].[Cl-]"]
VALUES = np.random.default_rng(0).normal(size=(4, 3))
VALUES.flags.writeable = False


def graphs() -> Inputs:
    words = Mol2vecVectors(("864662311", "UNK"), np.array([[1, 2, 0], [5, 6, 7]], np.float32), "a test")
    return molecule_graphs(SMILES, vectors=words)


def tokens() -> Inputs:
    values = np.arange(15, dtype=np.float16).reshape(5, 3)
    ragged = Ragged(values, np.array([0, 2, 3, 5]))
    return TextTokens(np.array([0, 1, 2, 0]), "key", ragged, np.arange(9, dtype=np.float32).reshape(3, 3))


def ids() -> Inputs:
    ragged = Ragged(np.array([[7, 1], [8, 0], [9, 1]], np.int32), np.array([0, 2, 3]))
    return TextIds(np.array([0, 1, 1, 0]), "key", ragged, 5, 3, "encoder")


KINDS: dict[str, Callable[[], Inputs]] = {
    "vector": lambda: as_inputs(VALUES),
    "tokens": tokens,
    "graph": graphs,
    "ids": ids,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_same_promises(kind: str) -> None:
    inputs = KINDS[kind]()
    assert (inputs.kind, inputs.width, len(inputs)) == (kind, 3, 4)
    assert as_inputs(inputs) is inputs
    turn = np.array([1, 0, 2, 3])
    assert len({inputs.digest, inputs.subset(turn).digest}) == 2
    assert len(inputs.digest) == 64
    assert inputs.subset(turn).subset(turn).digest == inputs.digest == KINDS[kind]().digest
    rows = np.array([2, 0, 2], np.int32)
    for batch in (inputs.take(rows), inputs.take(rows), inputs.subset(rows).take(np.arange(3))):
        assert len(batch) == 3
        for name, array in inputs.arrays(rows).items():
            tensor = batch if kind == "vector" else getattr(batch, name)
            assert tensor.numpy().dtype == array.dtype
            np.testing.assert_array_equal(tensor.numpy(), array)
    moved = inputs.take(rows, torch.device("meta"))
    assert (moved if kind == "vector" else next(iter(vars(moved).values()))).device.type == "meta"
    for wrong, message in (
        ([0, 4], "row 4 is out of range: expected 0 to 3"),
        ([-1], "row -1 is out"),
        ([], "rows has shape"),
    ):
        for method in (inputs.take, inputs.subset):
            with pytest.raises(InputError, match=message):
                method(np.array(wrong, int))


NO_MATRIX = (np.zeros(3), np.zeros((0, 3)), np.zeros((3, 0)), np.array([["a"]]), np.zeros((2, 2), complex))
NO_INPUTS = ("text", [[1.0]], None, {"a": 1})


test_what_is_no_matrix_is_refused = refuses(
    *((array, "expected a non-empty matrix of real numbers") for array in NO_MATRIX),
    *((value, f"inputs are {type(value).__name__}: expected a matrix") for value in NO_INPUTS),
    call=lambda wrong: as_inputs(wrong),
)


def test_encoding_in_blocks_changes_nothing() -> None:
    from class_kit.backbones import create_backbone

    model, values = create_backbone("dual_encoder", 3, 3, hidden=4, dim=2), np.ones((7, 3)) * np.arange(7)[:, None]
    whole = encode(model, "text", values)
    assert whole.shape == (7, 2)
    for block in (1, 3, 7, 9):
        np.testing.assert_allclose(encode(model, "text", values, block), whole, rtol=1e-5, atol=1e-7)
    with pytest.raises(InputError, match="side='both'"):
        encode(model, "both", values)
