"""Rows of different lengths against lists of lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.ragged import Ragged, check_rows, offsets_of


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
def test_ragged_places_are_the_slices_one_after_the_other(lengths: list[int], data: st.DataObject) -> None:
    ragged = Ragged(np.arange(sum(lengths)) * 10, offsets_of(np.array(lengths)))
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=8))
    expected = [ragged.values[ragged.offsets[row] : ragged.offsets[row + 1]].tolist() for row in rows]
    chosen = np.array(rows, np.int64)
    assert ragged.take(chosen).tolist() == [value for row in expected for value in row]
    assert ragged.lengths(chosen).tolist() == list(map(len, expected))
    assert len(ragged) == len(lengths)


@pytest.mark.parametrize("offsets", [[], [0, 2], [1, 3], [0, 4, 3]])
def test_offsets_that_do_not_fit_are_refused(offsets: list[int]) -> None:
    with pytest.raises(InputError, match="offsets of shape"):
        Ragged(np.zeros(3), np.array(offsets, np.int64))


def test_rows_are_checked_and_become_int64() -> None:
    assert check_rows(np.array([2, 0, 2], np.uint8), 3).dtype == np.int64
    with pytest.raises(InputError, match="row 3 is out of range: expected 0 to 2"):
        check_rows(np.array([0, 3]), 3)
