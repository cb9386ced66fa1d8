"""The rows that are compared: checked once, never copied, unit vectors made a slice at a time.

With t̂ and m̂ of unit length and u = [√w·t̂ ; √(1−w)·m̂], the similarity of two pairs is s_ij = ⟨u_i, u_j⟩. A million
pairs of u in float64 would fill 5 GB, so only the two scale factors of each row are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SLICE = 2048
# norms outside this range are brought back to 1 first, so that no product of two rows over- or underflows
SAFE_NORM = (1e-15, 1e15)


@dataclass(frozen=True)
class Rows:
    """Two modalities of the same pairs; an absent one has width 0.

    `t` (n, d_t) and `m` (n, d_m) are C-ordered, float32 or float64, of one dtype; `t_scale` and `m_scale` (n,) are
    √w/‖t_i‖ and √(1−w)/‖m_i‖ in float64, 0 for a zero vector, whose cosine with everything is thereby 0.
    """

    t: np.ndarray
    m: np.ndarray
    t_scale: np.ndarray
    m_scale: np.ndarray
    t_share: float

    def __len__(self) -> int:
        return len(self.t_scale)

    @property
    def width(self) -> int:
        return int(self.t.shape[1] + self.m.shape[1])

    def unit(self, index: slice | np.ndarray) -> np.ndarray:
        """u for some rows, (rows, d_t + d_m) float64."""
        t = self.t[index].astype(np.float64) * self.t_scale[index, None]
        if not self.m.shape[1]:
            return t
        m = self.m[index].astype(np.float64) * self.m_scale[index, None]
        return np.concatenate([t, m], axis=1) if self.t.shape[1] else m

    def squared_length(self, index: slice | np.ndarray) -> np.ndarray:
        """‖u‖²: 1, or less where a modality is a zero vector; (rows,) float64."""
        return self.t_share * (self.t_scale[index] > 0) + (1.0 - self.t_share) * (self.m_scale[index] > 0)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(x.nbytes for x in self.arrays())

    def arrays(self) -> tuple[np.ndarray, ...]:
        """What the compiled loops take."""
        return self.t, self.m, self.t_scale, self.m_scale


def exact_similarity(a: Rows, i: np.ndarray, b: Rows, j: np.ndarray) -> np.ndarray:
    """s for the pairs (i, j) in float64, the value every count is decided by; (len(i),)."""
    out = np.empty(len(i))
    for start in range(0, len(i), SLICE):
        part = slice(start, start + SLICE)
        out[part] = np.einsum("ij,ij->i", a.unit(i[part]), b.unit(j[part]))
    return out


def make_rows(t: Any, m: Any, weight: float, name: str = "") -> Rows:
    """Check the two modalities and compute their scales.

    `weight` w is the share of the text. Raises TypeError for what is no numeric array, ValueError for NaN, infinity,
    other than two dimensions, no rows, no columns, unequal lengths, or both modalities absent.
    """
    if t is None and m is None:
        raise ValueError(f"{name}t and {name}m are both None: at least one modality is needed")
    w = 1.0 if m is None else 0.0 if t is None else check_weight(weight)
    parts = [None if x is None else _numeric(x, f"{name}{label}") for x, label in ((t, "t"), (m, "m"))]
    lengths = [len(x) for x in parts if x is not None]
    if len(set(lengths)) > 1:
        raise ValueError(f"{name}t has {lengths[0]} rows and {name}m has {lengths[1]}: one row for each pair expected")
    dtype = np.result_type(np.float32, *(x.dtype for x in parts if x is not None))
    arrays, scales = [], []
    for x, label, share in zip(parts, ("t", "m"), (w, 1 - w), strict=True):
        array, scale = _scaled(x, dtype, f"{name}{label}") if x is not None else _absent(lengths[0], dtype)
        arrays.append(array)
        scales.append(scale * np.sqrt(share))
    return Rows(arrays[0], arrays[1], scales[0], scales[1], w)


def reference_rows(rows: Rows, against: tuple[Any, Any], weight: float) -> Rows:
    """Check the set counted in: the same modalities and widths as the rows."""
    if not isinstance(against, (tuple, list)) or len(against) != 2:
        raise TypeError(f"against is a {type(against).__name__}: a tuple (t_ref, m_ref) expected")
    refs = make_rows(against[0], against[1], weight, name="against ")
    for label, a, b in (("t", rows.t, refs.t), ("m", rows.m, refs.m)):
        if a.shape[1] != b.shape[1]:
            raise ValueError(f"against {label} has {b.shape[1]} features, {label} has {a.shape[1]}: the same expected")
    return refs


def check_weight(weight: float) -> float:
    """The share of the text modality, in [0, 1]."""
    if not isinstance(weight, (int, float, np.integer, np.floating)) or isinstance(weight, bool):
        raise TypeError(f"weight is {weight!r}: a number from 0 to 1 expected")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is {weight}: a number from 0 to 1 expected")
    return float(weight)


def check_sigma(sigma: float | Sequence[float] | np.ndarray) -> tuple[np.ndarray, bool]:
    """The thresholds as float64, (n_sigma,), and whether a single number was given."""
    values = np.asarray(sigma)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"sigma is {sigma!r}: a number in (-1, 1] or a list of such numbers expected")
    if values.ndim > 1 or values.size == 0:
        raise ValueError(f"sigma has shape {values.shape}: a number or a non-empty list of numbers expected")
    flat = np.atleast_1d(values).astype(np.float64)
    bad = flat[~((flat > -1) & (flat <= 1))]
    if len(bad):
        raise ValueError(f"sigma contains {bad[0]}: a number in (-1, 1] expected")
    return flat, values.ndim == 0


def _numeric(x: Any, name: str) -> np.ndarray:
    array = np.asarray(x)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise TypeError(f"{name} has dtype {array.dtype}: float16, float32, float64 or integers expected")
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}: two dimensions (pairs, features) expected")
    if 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}: at least one pair and one feature expected")
    return array


def _absent(length: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((length, 0), dtype), np.zeros(length)


def _scaled(x: np.ndarray, dtype: np.dtype, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The array in C order and 1/‖x_i‖ (0 for a zero row)."""
    array = np.ascontiguousarray(x, dtype=dtype)
    squares = np.empty(len(array))
    with np.errstate(over="ignore", under="ignore"):
        for start in range(0, len(array), SLICE):
            part = array[start : start + SLICE].astype(np.float64)
            squares[start : start + SLICE] = np.einsum("ij,ij->i", part, part)
    suspect = np.flatnonzero(~((squares > SAFE_NORM[0] ** 2) & (squares < SAFE_NORM[1] ** 2)))
    if len(suspect):
        array, squares = _rescale(array, squares, suspect, name)
    norms = np.sqrt(squares)
    return array, np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)


def _rescale(array: np.ndarray, squares: np.ndarray, suspect: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows of extreme length by their largest entry; refuse what is not finite."""
    finite = np.isfinite(array[suspect]).all(axis=1)
    if not finite.all():
        row = int(suspect[~finite][0])
        column = int(np.flatnonzero(~np.isfinite(array[row]))[0])
        raise ValueError(f"{name}[{row}, {column}] is {array[row, column]}: finite numbers expected")
    rows = array[suspect].astype(np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    keep = largest[:, 0] > 0
    if keep.any():
        # a copy in float64, since a row's division by its largest entry would be rounded in float32
        array = array.astype(np.float64)
        array[suspect[keep]] = rows[keep] / largest[keep]
        squares = squares.copy()
        squares[suspect[keep]] = np.einsum("ij,ij->i", array[suspect[keep]], array[suspect[keep]])
    return array, squares
