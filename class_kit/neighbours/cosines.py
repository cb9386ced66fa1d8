"""Blockwise cosines in float32 with a float64 check: the engine for counts, nearest neighbours, ranks and duplicates.

With t̂ and m̂ of unit length and u = [√w·t̂ ; √(1−w)·m̂], the similarity of two pairs is s_ij = ⟨u_i, u_j⟩. The error of
a float32 product of unit vectors has a known bound: comparisons with a larger margin are decided in float32, the others
in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from class_kit.checks import check_real
from class_kit.errors import InputError

# measured: with blocks of this size the product runs near full speed and the comparison stays in a core's cache
ROWS, COLUMNS = 512, 2048
# row lengths in this range cannot over- or underflow a product of two rows in float64
LENGTHS = (1e-150, 1e150)
# number of comparisons from which loading the compiled loops, which takes most of a second, pays off
COMPILED_FROM = 2**26
# if more than this share of a block is undecided, one float64 product is faster than gathering the pairs
MANY_UNDECIDED = 0.02

Counts = tuple[np.ndarray, np.ndarray]


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, in the precision given; a zero vector stays zero, so that its cosines count as 0."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1))


@dataclass(frozen=True)
class Rows:
    """Two modalities of the same pairs, checked and not copied; an absent one has width 0.

    `t` (n, d_t) and `m` (n, d_m) are C-ordered, float32 or float64, of one dtype; `t_scale` and `m_scale` (n,) are
    √w/‖t_i‖ and √(1−w)/‖m_i‖ in float64, and 0 for a zero vector, so that its cosine with everything is 0.
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

    def unit32(self, rows: slice) -> np.ndarray:
        """u for some rows in float32."""
        out = np.empty((rows.stop - rows.start, self.width), np.float32)
        for part in spans(len(out), max(1, 2**16 // self.width)):
            out[part] = self.unit(slice(rows.start + part.start, rows.start + part.stop))
        return out

    def squared_length(self, index: slice | np.ndarray) -> np.ndarray:
        """‖u‖²: 1, or less if a modality is a zero vector; (rows,) float64."""
        return self.t_share * (self.t_scale[index] > 0) + (1.0 - self.t_share) * (self.m_scale[index] > 0)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays that the compiled loops take."""
        return self.t, self.m, self.t_scale, self.m_scale


def make_rows(t: Any, m: Any = None, weight: float = 0.5, names: tuple[str, str] = ("t", "m")) -> Rows:
    """Check two modalities, of which one may be None, and compute their scales; `weight` w is the weight of the first.

    Raises
    ------
    InputError
        An array is not a finite numeric matrix with one row per pair, or the length of a row is outside `LENGTHS`; the
        message names the array.
    """
    if t is None and m is None:
        raise InputError(f"{names[0]} and {names[1]} are both None: expected at least one modality")
    share = 1.0 if m is None else 0.0 if t is None else check_real("weight", weight, low=0.0, high=1.0)
    given = [check_matrix(x, name) for x, name in zip((t, m), names, strict=True) if x is not None]
    if len(given[0]) != len(given[-1]):
        raise InputError(
            f"{names[0]} has {len(given[0])} rows and {names[1]} has {len(given[-1])}: expected one row per pair"
        )
    dtype = np.result_type(np.float32, *(x.dtype for x in given))
    sides = [np.zeros((len(given[0]), 0), dtype) if x is None else np.ascontiguousarray(x, dtype) for x in (t, m)]
    scales = [_scale(x, name) for x, name in zip(sides, names, strict=True)]
    return Rows(sides[0], sides[1], scales[0] * np.sqrt(share), scales[1] * np.sqrt(1 - share), share)


def make_references(rows: Rows, against: Any, weight: float = 0.5) -> Rows:
    """Check the set that is counted in, (t_ref, m_ref): the same modalities and widths as the rows."""
    if not isinstance(against, (tuple, list)) or len(against) != 2:
        raise InputError(f"against is a {type(against).__name__}: expected a tuple (t_ref, m_ref)")
    refs = make_rows(against[0], against[1], weight, ("against t", "against m"))
    for label, a, b in (("t", rows.t, refs.t), ("m", rows.m, refs.m)):
        if a.shape[1] != b.shape[1]:
            raise InputError(f"against {label} has {b.shape[1]} features, {label} has {a.shape[1]}: expected the same")
    return refs


def check_matrix(x: Any, name: str) -> np.ndarray:
    """A non-empty matrix of real numbers; an InputError names it if not."""
    array = np.asarray(x)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise InputError(f"{name} has dtype {array.dtype}: expected float16, float32, float64 or integers")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} has shape {array.shape}: expected two dimensions (rows, features), neither empty")
    return array


def _scale(array: np.ndarray, name: str) -> np.ndarray:
    """1/‖x_i‖, 0 for a zero row."""
    squares = np.empty(len(array))
    with np.errstate(over="ignore", under="ignore"):
        for part in spans(len(array), COLUMNS):
            wide = array[part].astype(np.float64)
            squares[part] = np.einsum("ij,ij->i", wide, wide)
    norms = np.sqrt(squares)
    odd = np.flatnonzero(~((norms > LENGTHS[0]) & (norms < LENGTHS[1])))
    for row in odd[array[odd].any(axis=1)][:1]:
        column = int(np.argmin(np.isfinite(array[row])))
        if not np.isfinite(array[row, column]):
            raise InputError(f"{name}[{row}, {column}] is {array[row, column]}: expected finite numbers")
        raise InputError(f"{name}[{row}] has length {norms[row]:g}: expected 0, or from {LENGTHS[0]} to {LENGTHS[1]}")
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)


class Limits(NamedTuple):
    """Bounds for float32 similarities: above one or below the other, the order against the target is certain; (n,)."""

    target: np.ndarray
    above: np.ndarray
    below: np.ndarray

    def part(self, rows: slice) -> Limits:
        """The limits of some of the targets."""
        return Limits(*(x[rows] for x in self))


class Cosines:
    """Similarities of `rows` to `refs`, one block at a time; `refs is rows` when a set is compared with itself.

    With `copied`, the float32 unit vectors of both are kept instead of being computed again for every block.
    """

    def __init__(self, rows: Rows, refs: Rows, copied: bool = True) -> None:
        self.rows, self.refs, self.symmetric = rows, refs, refs is rows
        self.copies: tuple[np.ndarray, np.ndarray] | None = None
        if copied:
            left = rows.unit32(slice(0, len(rows)))
            self.copies = left, left if self.symmetric else refs.unit32(slice(0, len(refs)))
        # Bound on |float32 − exact|, the rounding of the unit vectors and of a threshold included: (d + 2)·2⁻²⁴ to
        # first order for d terms in any order of summation (Higham, Accuracy and Stability of Numerical Algorithms,
        # 2002, section 3.1); 2 % cover the second order up to a million dimensions.
        self.error = 1.02 * (rows.width + 12) * 2.0**-24 + 1e-12

    def blocks(self, rows: slice, first: int = 0) -> Iterator[tuple[slice, np.ndarray]]:
        """The columns from `first` on and the float32 block of these rows; the next block overwrites it."""
        left = self.copies[0][rows] if self.copies else self.rows.unit32(rows)
        buffer = np.empty(len(left) * min(COLUMNS, len(self.refs) - first), np.float32)
        for columns in spans(len(self.refs), COLUMNS, first):
            right = self.copies[1][columns] if self.copies else self.refs.unit32(columns)
            block = buffer[: len(left) * len(right)].reshape(len(left), len(right))
            yield columns, np.matmul(left, right.T, out=block)

    def float64(self, rows: slice, columns: slice) -> np.ndarray:
        """A block in float64."""
        return self.rows.unit(rows) @ self.refs.unit(columns).T

    def exact(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Single pairs in float64, the value that every comparison is decided by; (len(i),)."""
        out = np.empty(len(i))
        for part in spans(len(i), max(1, 2**20 // self.rows.width)):
            out[part] = np.einsum("ij,ij->i", self.rows.unit(i[part]), self.refs.unit(j[part]))
        return out

    def above(self, rows: slice, columns: slice, block: np.ndarray, bound: float) -> np.ndarray:
        """Where a float32 block exceeds `bound`, with close cases decided in float64; a mask of the block's shape."""
        above = block > np.float32(bound + self.error)
        doubtful = block >= np.float32(bound - self.error)
        doubtful ^= above
        i, j = places(doubtful)
        if len(i):
            sure = self.exact(i + rows.start, j + columns.start) > bound
            above[i[sure], j[sure]] = True
        return above

    def limits(self, target: np.ndarray, tolerance: float = 0.0) -> Limits:
        """Limits such that a float32 similarity beyond one is, in float64, on the same side of the target; (n,)."""
        slack = self.error + tolerance
        above = np.nextafter((target + slack).astype(np.float32), np.float32(np.inf))
        return Limits(target, above, np.nextafter((target - slack).astype(np.float32), np.float32(-np.inf)))

    def compare(
        self,
        rows: slice,
        columns: slice,
        block: np.ndarray,
        own: Limits,
        across: Limits | None = None,
        tolerance: float = 0.0,
    ) -> list[Counts]:
        """Count the entries of a float32 block above a target and level with it, with close cases decided in float64.

        Counted along every row against the targets `own`, (rows,), and, if `across` is given, (columns,), along every
        column too: one or two pairs (above, level) of int64 arrays. Level means at most `tolerance` apart.
        """
        if len(self.rows) * len(self.refs) >= COMPILED_FROM:
            from class_kit.neighbours.kernels import count_block
        else:
            count_block = _count_block
        column_limits = (None, None) if across is None else across[1:]
        higher, reached, *along_columns = count_block(block, own.above, own.below, *column_limits)
        counts = [self._settle(rows, columns, block, own, tolerance, 0, higher, reached)]
        if across is not None:
            counts.append(self._settle(rows, columns, block, across, tolerance, 1, *along_columns))
        return counts

    def _settle(
        self,
        rows: slice,
        columns: slice,
        block: np.ndarray,
        limits: Limits,
        tolerance: float,
        axis: int,
        higher: np.ndarray,
        reached: np.ndarray,
    ) -> Counts:
        """Decide in float64 the entries that `reached` the target but are not surely `higher`; counts along `axis`."""
        undecided = reached - higher
        if undecided.sum() > MANY_UNDECIDED * block.size:
            target, above, below = (np.expand_dims(x, 1 - axis) for x in limits)
            near = (block >= below) & (block <= above)
            difference = self.float64(rows, columns)
            difference -= target
            greater, not_less = difference > tolerance, difference >= -tolerance
            level = np.count_nonzero(near & not_less & ~greater, axis=1 - axis)
            return higher + np.count_nonzero(near & greater, axis=1 - axis), level
        some = np.flatnonzero(undecided)
        _, above, below = (np.expand_dims(x[some], 1 - axis) for x in limits)
        part = np.take(block, some, axis)
        place = list(places((part >= below) & (part <= above)))
        place[axis] = some[place[axis]]
        difference = self.exact(rows.start + place[0], columns.start + place[1]) - limits.target[place[axis]]
        more = np.bincount(place[axis][difference > tolerance], minlength=len(undecided))
        return higher + more, np.bincount(place[axis][np.abs(difference) <= tolerance], minlength=len(undecided))


def spans(length: int, step: int, first: int = 0) -> Iterator[slice]:
    """Consecutive slices of at most `step` that cover `first` to `length`."""
    return (slice(start, min(start + step, length)) for start in range(first, length, step))


def places(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows and columns of the true entries: `np.nonzero`, but many times faster for two dimensions."""
    return np.unravel_index(np.flatnonzero(mask), mask.shape)


def _count_block(
    block: np.ndarray,
    above: np.ndarray,
    below: np.ndarray,
    column_above: np.ndarray | None,
    column_below: np.ndarray | None,
) -> tuple[np.ndarray, ...]:
    """`kernels.count_block` in NumPy, for sizes where loading compiled loops does not pay off."""
    along_rows = [np.count_nonzero(mask, axis=1) for mask in (block > above[:, None], block >= below[:, None])]
    if column_above is None or column_below is None:
        return (*along_rows, above[:0], above[:0])
    return (*along_rows, *(np.count_nonzero(mask, axis=0) for mask in (block > column_above, block >= column_below)))
