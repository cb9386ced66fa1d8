"""What a backbone reads, batch by batch: vectors, tokens, token ids or graphs behind one small interface.

Atoms of molecules and tokens of texts are rows of different lengths, concatenated in one array (`Ragged`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from class_kit.checks import check_vector
from class_kit.errors import InputError
from class_kit.store import StoredItems, digest_of

if TYPE_CHECKING:
    import torch

    from class_kit.backbones.base import Backbone

# enough rows to estimate means, deviations and principal axes; a backbone is fitted on them in one batch
FIT_ROWS = 2_048


@dataclass(frozen=True, eq=False)
class Inputs(ABC):
    """One side of L pairs, or a pool of candidates, taken in batches.

    Attributes
    ----------
    rows : (L,) int64
        The stored item of each row. Equal rows and subsets share items.
    key : str
        Digest of what the stored items were made from.
    kind : "vector", "tokens", "ids" or "graph"
    block : int
        Rows to encode at once: vectors are small; padded tokens and graphs of atoms are not.
    """

    kind: ClassVar[str]
    block: ClassVar[int] = 256
    rows: np.ndarray
    key: str

    @property
    @abstractmethod
    def width(self) -> int:
        """What a backbone takes as `text_dim` or `molecule_dim`: the width of vectors, tokens or atoms."""

    @abstractmethod
    def arrays(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The arrays of a batch of these rows, in their order.

        Raises
        ------
        InputError
            No row, or one out of range.
        """

    @abstractmethod
    def batch(self, size: int, **tensors: torch.Tensor) -> Any:
        """A batch as backbones read it, from its arrays as tensors and its number of rows."""

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal characters that identify the content."""
        return digest_of(kind=self.kind, key=self.key, rows=self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def stored(self, rows: np.ndarray) -> np.ndarray:
        """The stored items of these rows; an InputError for a row number out of range."""
        return np.asarray(self.rows[check_rows(rows, len(self))])

    def take(self, rows: np.ndarray, device: torch.device | str = "cpu") -> Any:
        """The batch of these rows, in their order, on a device: vectors, a `TokenBatch`, `IdBatch` or `GraphBatch`.

        Raises
        ------
        InputError
            No row, or one out of range.
        """
        import torch

        return self.batch(
            len(rows), **{name: torch.from_numpy(array).to(device) for name, array in self.arrays(rows).items()}
        )

    def subset(self, rows: np.ndarray) -> Self:
        """These rows as inputs of their own; only row numbers are copied.

        Raises
        ------
        InputError
            No row, or one out of range.
        """
        return replace(self, rows=self.stored(rows))

    def sample(self, most: int = FIT_ROWS, seed: int = 0) -> np.ndarray:
        """Ascending rows for `Backbone.fit_inputs`: all for vectors, otherwise at most `most`, drawn by the seed."""
        if len(self) <= most:
            return np.arange(len(self))
        return np.sort(np.random.default_rng(seed).choice(len(self), most, replace=False))


@dataclass(frozen=True, eq=False)
class Vectors(Inputs):
    """Vectors, such as those of `embed_text` and `embed_molecules`.

    Attributes
    ----------
    vectors : (n, d) float32
        Values are not checked: those that are not finite show in the losses.
    """

    kind: ClassVar[str] = "vector"
    block: ClassVar[int] = 4_096
    vectors: np.ndarray

    @property
    def width(self) -> int:
        return int(self.vectors.shape[1])

    @cached_property
    def digest(self) -> str:
        return digest_of(vectors=self.vectors[self.rows])

    def arrays(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"vectors": self.vectors[self.stored(rows)]}

    def batch(self, size: int, **tensors: torch.Tensor) -> torch.Tensor:
        return tensors["vectors"]

    def sample(self, most: int = FIT_ROWS, seed: int = 0) -> np.ndarray:
        return np.arange(len(self))


def as_inputs(values: Any) -> Inputs:
    """`Inputs` unchanged, and a matrix `(L, d)` of real numbers, L and d at least 1, as `Vectors`.

    Raises
    ------
    InputError
        `values` is neither.
    """
    if isinstance(values, Inputs):
        return values
    if not isinstance(values, np.ndarray):
        raise InputError(f"inputs are {type(values).__name__}: expected a matrix, text tokens or molecule graphs")
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiub":
        raise InputError(
            f"vectors of shape {values.shape} and type {values.dtype}: expected a non-empty matrix of real numbers"
        )
    return Vectors(np.arange(len(values)), "", np.asarray(values, np.float32))


def encode(backbone: Backbone, side: str, inputs: np.ndarray | Inputs, block: int | None = None) -> np.ndarray:
    """A backbone's vectors `(n, d)` float32 of texts (`side="text"`) or molecules (`side="molecules"`).

    The backbone is left in evaluation mode. `block` rows are encoded at once, by default `Inputs.block`.

    Raises
    ------
    InputError
        Another side, or inputs that `as_inputs` refuses.
    """
    import torch

    if side not in {"text", "molecules"}:
        raise InputError(f"side={side!r}: expected 'text' or 'molecules'")
    encoder = backbone.encode_text if side == "text" else backbone.encode_molecules
    device = next(backbone.parameters()).device
    backbone.eval()
    taken = as_inputs(inputs)
    blocks = np.split(np.arange(len(taken)), range(block or taken.block, len(taken), block or taken.block))
    with torch.no_grad():
        return np.concatenate([encoder(taken.take(rows, device)).float().cpu().numpy() for rows in blocks])


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
    """n rows of different numbers of vectors of one width, kept in the store and read when they are taken.

    Attributes
    ----------
    items : StoredItems
        The bytes of each row.
    width : int
        Dimension of a vector.
    dtype : str
        NumPy's name of its data type.
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
            The store was cleared in the meantime.
        """
        return np.frombuffer(b"".join(self.items.read(rows)), self.dtype).reshape(-1, self.width)


def padded(ragged: Ragged | StoredRagged, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items of these rows, padded with zeros to the longest row, `(B, T, …)`, and the mask of the items, `(B, T)`."""
    lengths, items = ragged.lengths(rows), ragged.take(rows)
    mask = np.arange(lengths.max()) < lengths[:, None]
    values = np.zeros((*mask.shape, *items.shape[1:]), items.dtype)
    values[mask] = items
    return values, mask


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Offsets of rows of these lengths: where each begins, and where the last one ends, `(n + 1,)` int64."""
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends


def check_rows(rows: np.ndarray, count: int) -> np.ndarray:
    """`rows` as int64: one or more row numbers in [0, count), in any order, with or without repeats.

    Raises
    ------
    InputError
        They are anything else; the message names the first number out of range.
    """
    array = check_vector("rows", rows, whole=True)
    for wrong in array[(array < 0) | (array >= count)][:1]:
        raise InputError(f"row {wrong} is out of range: expected 0 to {count - 1}")
    return array.astype(np.int64)
