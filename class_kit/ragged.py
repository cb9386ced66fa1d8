"""Rows of different lengths, end to end in one array: atoms of molecules, tokens of texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from class_kit.errors import InputError
from class_kit.store import StoredItems


@dataclass(frozen=True, eq=False)
class Ragged:
    """n rows of different lengths.

    Attributes
    ----------
    values : (total, …)
        The items of row 0, then those of row 1, and so on.
    offsets : (n + 1,) int64
        Row i is `values[offsets[i] : offsets[i + 1]]`; the first is 0, the last is `total`.
    """

    values: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        ends = self.offsets
        if ends.ndim != 1 or not len(ends) or ends[0] != 0 or ends[-1] != len(self.values) or (np.diff(ends) < 0).any():
            raise InputError(
                f"offsets of shape {ends.shape} for {len(self.values)} values: expected them to ascend from 0 to "
                f"{len(self.values)}"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Number of items of each of these rows, `(B,)` int64."""
        return np.asarray(self.offsets[rows + 1] - self.offsets[rows])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The items of these rows, one row after the other, `(total, …)`."""
        lengths = self.lengths(rows)
        places = np.repeat(self.offsets[rows] - offsets_of(lengths)[:-1], lengths) + np.arange(lengths.sum())
        return np.asarray(self.values[places])


@dataclass(frozen=True, eq=False)
class StoredRagged:
    """n rows of different lengths, each of vectors of one width, left in the store and read when they are taken.

    Attributes
    ----------
    items : StoredItems
        The bytes of each row.
    width : int
        Of a vector.
    dtype : str
        NumPy's name for the type of its numbers.
    """

    items: StoredItems
    width: int
    dtype: str

    def __len__(self) -> int:
        return len(self.items.sizes)

    def lengths(self, rows: np.ndarray) -> np.ndarray:
        """Number of vectors of each of these rows, `(B,)` int64."""
        return np.asarray(self.items.sizes[rows] // (self.width * np.dtype(self.dtype).itemsize))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of these rows, one row after the other, `(total, width)`.

        Raises
        ------
        InputError
            The store was cleared meanwhile.
        """
        return np.frombuffer(b"".join(self.items.read(rows)), self.dtype).reshape(-1, self.width)


def padded(ragged: Ragged | StoredRagged, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items of these rows one row above the other, `(B, T, …)`, zero past a row's end, and where they are, `(B, T)`.

    T is the longest of the rows.
    """
    lengths, items = ragged.lengths(rows), ragged.take(rows)
    mask = np.arange(lengths.max()) < lengths[:, None]
    values = np.zeros((*mask.shape, *items.shape[1:]), items.dtype)
    values[mask] = items
    return values, mask


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin, and where the last one ends: `(n + 1,)` int64."""
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends


def check_rows(rows: np.ndarray, count: int) -> np.ndarray:
    """`rows` as int64: one or more row numbers in [0, count), in any order, repeated or not.

    Raises
    ------
    InputError
        They are anything else; the first number out of range is named.
    """
    array = np.asarray(rows)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise InputError(f"rows of shape {array.shape} and type {array.dtype}: expected some whole numbers in a line")
    if array.min() < 0 or array.max() >= count:
        wrong = array[(array < 0) | (array >= count)][0]
        raise InputError(f"row {wrong} is out of range: expected 0 to {count - 1}")
    return array.astype(np.int64)
