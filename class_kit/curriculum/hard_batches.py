"""Batches that grow harder: part of every batch drawn as groups of near neighbours.

In a contrastive loss the other pairs of the batch are the negatives, so a batch of near neighbours is a harder batch.
`locality_order` arranges all rows on a line on which near rows are close, once for a data set; an epoch's groups are
pieces of that line. So the groups of any subset of rows cost a pass over the line, and are a pure function of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from class_kit.checks import check_real, check_whole
from class_kit.curriculum.randomness import random_words, shuffle_rows
from class_kit.curriculum.schedules import SHAPES, Schedule, make_schedule
from class_kit.errors import InputError

_BLOCK = 65536
# Small windows are cheap, and halving finds better groups than gathering does in large ones
_WINDOW = 256
_SAMPLE = 512


def locality_order(
    *spaces: np.ndarray,
    weights: Sequence[float] | None = None,
    group_size: int = 32,
    dimensions: int = 64,
    seed: int = 0,
) -> np.ndarray:
    """All rows in an order that keeps near neighbours together, (L,) int64.

    A tree halves the rows across the direction in which they spread most, down to windows of some hundred rows; within
    a window groups are gathered exactly, a row and its nearest free neighbours at a time. The vectors are first
    projected at random to `dimensions`, so that a million rows take seconds. Approximate on purpose: a neighbour on
    the other side of a cut is missed.

    Parameters
    ----------
    spaces
        One or more arrays (L, d): text, molecule, or both for the joint space, or any other. Every row is scaled to
        unit length, so that distance is that of cosines; a zero row is left as it is.
    weights
        Non-negative weight of each space in the joint similarity, equal by default as in CLASS.
    group_size
        Rows gathered round each seed row; best that of the plan.
    dimensions
        Width of the random projection; narrower spaces are used as they are.
    seed
        Decides projection and directions.

    Raises
    ------
    InputError
        No space, spaces of unequal length, values not finite, or weights that do not fit.
    """
    if not spaces:
        raise InputError("spaces=() is empty: expected one or more arrays (L, d)")
    check_whole("group_size", group_size, low=1)
    check_whole("dimensions", dimensions, low=1)
    check_whole("seed", seed, low=0)
    shares = [1.0 / len(spaces)] * len(spaces) if weights is None else list(weights)
    if len(shares) != len(spaces):
        raise InputError(f"weights={weights!r} has {len(shares)} entries for {len(spaces)} spaces")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 7])))
    narrow = [
        np.float32(np.sqrt(check_real(f"weights[{number}]", share, low=0.0)))
        * _project(number, space, len(spaces[0]), dimensions, rng)
        for number, (space, share) in enumerate(zip(spaces, shares, strict=True))
    ]
    points = np.concatenate(narrow, axis=1) if len(narrow) > 1 else narrow[0]
    line = np.arange(len(points), dtype=np.int64)
    for start, stop in _windows(points, line, max(_WINDOW, 2 * group_size), rng):
        line[start:stop] = line[start:stop][_gather_near(points[start:stop], group_size)]
    return line


# the name under which notebooks know it
neighbour_line = locality_order


def _project(number: int, space: np.ndarray, length: int, dimensions: int, rng: np.random.Generator) -> np.ndarray:
    if not isinstance(space, np.ndarray) or space.ndim != 2 or len(space) != length or 0 in space.shape:
        raise InputError(f"spaces[{number}] has shape {np.shape(space)}: expected ({length}, d), none of them 0")
    wide = space.shape[1] > dimensions
    matrix = rng.standard_normal((space.shape[1], dimensions), dtype=np.float32) / np.float32(np.sqrt(dimensions))
    result = np.empty((length, dimensions if wide else space.shape[1]), dtype=np.float32)
    for start in range(0, length, _BLOCK):
        block = np.asarray(space[start : start + _BLOCK], dtype=np.float32)
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        if not np.isfinite(norms).all():
            bad = start + int(np.flatnonzero(~np.isfinite(norms))[0])
            raise InputError(f"spaces[{number}] row {bad} is not finite: expected numbers of ordinary size")
        scale = np.where(norms > 0, norms, 1)[:, None]
        result[start : start + _BLOCK] = (block @ matrix if wide else block) / scale
    return result


def _windows(points: np.ndarray, line: np.ndarray, largest: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Halve rows and line together in place until parts have at most `largest` rows; yields the parts in order."""
    waiting = [(0, len(points))]
    while waiting:
        start, stop = waiting.pop()
        if stop - start <= largest:
            yield start, stop
            continue
        part = points[start:stop]
        middle = (stop - start) // 2
        order = np.argpartition(part @ _direction(part, rng), middle)
        points[start:stop], line[start:stop] = part[order], line[start:stop][order]
        waiting += [(start + middle, stop), (start, start + middle)]


def _direction(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Roughly the first principal direction, from a sample of the rows by power iteration, (d,)."""
    sample = part[rng.integers(0, len(part), _SAMPLE)]
    sample = sample - sample.mean(axis=0)
    direction: np.ndarray = rng.standard_normal((part.shape[1],), dtype=np.float32)
    for _ in range(6):
        direction = ((sample @ direction) @ sample).astype(np.float32)
        direction /= np.float32(max(float(np.linalg.norm(direction)), 1e-30))
    return direction


def _gather_near(points: np.ndarray, group_size: int) -> np.ndarray:
    """Order of a window's rows: a seed, its nearest free rows by falling similarity, then the next seed nearest it."""
    similarity = points @ points.T
    free = np.ones(len(points), dtype=bool)
    order: list[np.ndarray] = []
    # the row farthest from the rest starts, so that the walk crosses the window once instead of from its middle
    seed = int(similarity.sum(axis=1).argmin())
    while True:
        candidates = np.flatnonzero(free)
        near = np.where(candidates == seed, np.inf, similarity[seed, candidates])
        nearest = np.argsort(-near, kind="stable")
        group = candidates[nearest[:group_size]]
        order.append(group)
        free[group] = False
        if len(candidates) <= group_size:
            return np.concatenate(order)
        seed = int(candidates[nearest[group_size]])


def check_line(line: np.ndarray | Iterable[int], order: np.ndarray) -> np.ndarray:
    """`line` as int64, refused unless its row ids are distinct and contain every row of the order."""
    array = np.asarray(line if isinstance(line, np.ndarray) else list(line))
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) == 0 or array.min() < 0:
        raise InputError(f"line has shape {array.shape} and type {array.dtype}: expected distinct row ids (L,)")
    times = np.bincount(array.astype(np.int64), minlength=int(order.max()) + 1)
    if times.max() > 1 or times[order].min() == 0:
        raise InputError(
            f"line has {len(array)} entries, {int((times > 1).sum())} rows more than once and "
            f"{int((times[order] == 0).sum())} rows of the order missing: expected each once"
        )
    return array.astype(np.int64)


def gather_groups(
    rows: np.ndarray,
    bounds: np.ndarray,
    share: float,
    line: np.ndarray,
    group_size: int,
    path: tuple[int, ...],
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Rearrange an epoch's rows so that a `share` of every batch comes as groups of near neighbours, (n,) int64.

    Every row is still seen once. The line of the epoch's rows is cut at random into pieces of `group_size` for the
    batches and single rows between them, which fill the batches up. With `labels`, near-duplicates on the line give
    way to the next row: a group is to hold neighbours, not copies.

    Parameters
    ----------
    rows
        (n,) row ids in random order; those beyond `bounds[-1]` stay where they are.
    bounds
        (batches + 1,) where the batches are cut.
    share
        h in [0, 1]; 0 leaves the rows as they are.
    line
        Row ids as `locality_order` arranges them.
    group_size
        Rows of a group; a batch's last group is smaller where the share does not divide.
    path
        Integers that decide the random cuts.
    labels
        Integer group of duplicates by row id, negative for none.
    """
    share = check_real("hardness", share, low=0.0, high=1.0)
    sizes = np.diff(bounds)
    used = int(bounds[-1])
    hard = np.floor(share * sizes + 0.5 + 1e-9).astype(np.int64)
    if not hard.any():
        return rows
    times = np.bincount(rows[:used], minlength=int(line.max()) + 1)
    along = line[times[line] > 0]
    copies = _copies(labels[along], group_size) if labels is not None else np.zeros(len(along), dtype=bool)
    # a row that comes again in this epoch (a step-matched one may end one pass and begin the next) is no neighbour
    again = np.repeat(np.flatnonzero(times > 1), times[times > 1] - 1)
    spare, along = np.concatenate((along[copies], again)), along[~copies]
    if hard.sum() > len(along):
        hard = hard * len(along) // int(hard.sum())
    along = np.roll(along, -int(random_words(1, *path, 1)[0] % np.uint64(max(1, min(group_size, len(along))))))
    # pieces in batch order: full groups of each batch, then its remainder
    whole, rest = hard // group_size, hard % group_size
    pieces = np.full(int((whole + (rest > 0)).sum()), group_size, dtype=np.int64)
    last = np.cumsum(whole + (rest > 0)) - 1
    pieces[last[rest > 0]] = rest[rest > 0]
    singles = len(along) - int(hard.sum())
    lengths = np.concatenate((np.ones(singles, dtype=np.int64), pieces))
    turn = shuffle_rows(np.arange(len(lengths)), len(lengths), *path, 2)
    begins = np.empty(len(lengths), dtype=np.int64)
    begins[turn] = np.cumsum(lengths[turn]) - lengths[turn]
    offsets = np.cumsum(pieces) - pieces
    in_groups = along[np.repeat(begins[singles:] - offsets, pieces) + np.arange(int(hard.sum()))]
    pool = np.concatenate((along[begins[:singles]], spare))
    pool = pool[shuffle_rows(np.arange(len(pool)), max(1, len(pool)), *path, 3)]
    slots = np.arange(used) - np.repeat(bounds[:-1], sizes) < np.repeat(hard, sizes)
    result = rows.copy()
    result[:used][slots], result[:used][~slots] = in_groups, pool
    return result


def _copies(labels: np.ndarray, window: int) -> np.ndarray:
    """True where one of the `window` - 1 rows before on the line has the same non-negative label."""
    order = np.argsort(labels, kind="stable")
    near = (np.diff(order) < window) & (np.diff(labels[order]) == 0) & (labels[order][1:] >= 0)
    copies = np.zeros(len(labels), dtype=bool)
    copies[order[1:][near]] = True
    return copies


@dataclass(frozen=True)
class HardnessSchedule:
    """h(k): 0 up to and with epoch `begin`, then on to `final` along a schedule of the epochs after it.

    The shapes are those of λ_k, so that how hard, when and how gradually are three separate choices.

    Parameters
    ----------
    final
        In [0, 1]: the share of each batch that comes in groups in the end.
    begin
        Last epoch without groups, 0 or more.
    rise
        λ of the epochs after `begin`, usually from 0; the shape "full" is a jump.
    """

    final: float
    begin: int
    rise: Schedule

    def __post_init__(self) -> None:
        check_real("final", self.final, low=0.0, high=1.0)
        check_whole("begin", self.begin, low=0)

    def __call__(self, epoch: int) -> float:
        """h of an epoch, counted from 1."""
        return 0.0 if epoch <= self.begin else self.final * self.rise(epoch - self.begin)

    @classmethod
    def over(
        cls,
        epochs: int,
        final: float,
        start: float = 0.0,
        until: float = 0.0,
        shape: str = "linear",
        interval: int = 1,
    ) -> HardnessSchedule:
        """From shares of the epochs: 0 up to the share `start`, in full force from the share `until` on.

        Where `until` does not lie beyond `start`, hardness jumps. `interval` is the epochs from one step to the next
        of the shape "step".

        Raises
        ------
        InputError
            A share outside [0, 1], or an unknown shape.
        """
        check_whole("epochs", epochs, low=1)
        begin = round(check_real("start", start, low=0.0, high=1.0) * epochs)
        end = round(check_real("until", until, low=0.0, high=1.0) * epochs)
        if shape not in SHAPES:
            raise InputError(f"shape={shape!r} is unknown, expected one of {', '.join(SHAPES)}")
        if end <= begin:
            return cls(final, begin, make_schedule("full"))
        extra = {"interval": interval} if shape == "step" else {}
        return cls(final, begin, make_schedule(shape, 0.0, full_at=1.0, epochs=end - begin, **extra))
