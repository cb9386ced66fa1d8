"""The pair set: selections, digest and the positions of pairs in a pool."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.pairs import (
    MoleculeSet,
    PairSet,
    content_digest,
    load_pairs,
    pool_targets,
)
from tests.pair_files import table


def small():
    return PairSet(("a", "b", "c"), ("C", "CC", "CCC"), ("1", "2", "3"), ("train", "test", "train"), "made")


def test_take_where_frame_and_pickle():
    pairs = small()
    assert pairs.take([2, 0]).id == ("3", "1")
    assert pairs.take(np.array([True, False, True])).id == ("1", "3")
    assert pairs.where("test").id == ("2",)
    assert len(pairs.take([])) == 0
    assert list(pairs.frame().columns) == ["id", "text", "smiles", "split"]
    assert pickle.loads(pickle.dumps(pairs)) == pairs
    assert hash(pairs) == hash(small())


def test_frame_keeps_a_file_column_of_the_same_name(tmp_path):
    path = table(tmp_path, ["CCO,one,two"], header="smiles,text,words")
    assert list(load_pairs(path, text="words").frame()["text (file)"]) == ["one"]


@pytest.mark.parametrize(
    ("indices", "error"),
    [([3], ValueError), ([-1], ValueError), ([0.5], TypeError), ([[0]], ValueError), (np.array([True]), ValueError)],
)
def test_take_refuses_what_is_no_index(indices, error):
    with pytest.raises(error, match="indices"):
        small().take(indices)


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="text has 1 values where id has 2"):
        PairSet(("a",), ("C", "C"), ("1", "2"), ("train", "train"), "made")
    with pytest.raises(ValueError, match="2, 1 and 2"):
        MoleculeSet(("1", "2"), ("C",), ("", ""), "made")


def test_digest_against_the_written_definition():
    expected = hashlib.sha256(b"4 columns, 1 rows\n")
    for value in ("7", "é", "CCO", "train"):
        encoded = value.encode()
        expected.update(len(encoded).to_bytes(8, "big") + encoded)
    pairs = PairSet(("é",), ("CCO",), ("7",), ("train",), "anywhere")
    assert pairs.digest == expected.hexdigest()


@given(st.lists(st.text(max_size=3), min_size=4, max_size=4), st.lists(st.text(max_size=3), min_size=4, max_size=4))
def test_digest_differs_where_content_does(one, other):
    digests = [content_digest(*[[value] for value in values]) for values in (one, other)]
    assert (digests[0] == digests[1]) == (one == other)
    assert content_digest(["ab"], ["c"]) != content_digest(["a"], ["bc"])


def test_pool_targets_and_missing_ids():
    pairs = small()
    pool = MoleculeSet(("9", "3", "2", "1"), ("O", "CCC", "CC", "C"), ("",) * 4, "pool")
    targets = pool_targets(pairs, pool)
    assert targets.dtype == np.int64
    assert targets.tolist() == [3, 2, 1]
    with pytest.raises(InputError, match="2 of 3 pairs of made are not in the pool pool: '1', '3'"):
        pool_targets(pairs, MoleculeSet(("2",), ("CC",), ("",), "pool"))
    with pytest.raises(InputError, match="1 ids occur more than once"):
        pool_targets(pairs, MoleculeSet(("2", "2"), ("CC", "CC"), ("", ""), "pool"))
