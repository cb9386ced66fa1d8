"""Batches that grow harder: part of every batch drawn as groups of near neighbours.

In a contrastive loss the other pairs of the batch are the negatives, so a batch of near neighbours is a harder batch.
`locality_order` arranges all rows on a line so that near rows are close together, once per data set; an epoch's groups
are pieces of that line. So the groups of any subset of rows take one pass over the line and are a pure function of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from class_kit.checks import check_real, check_whole
from class_kit.curriculum.duplicates import check_rows
from class_kit.curriculum.randomness import random_words, shuffle_rows
from class_kit.curriculum.schedules import Schedule
from class_kit.errors import InputError

# Small windows are cheap, and halving finds better groups than gathering does in large ones
_WINDOW = 256
# rows that tell the direction of a cut, and numbers that tell how near two rows are
_SAMPLE, _DIMENSIONS = 512, 64


def locality_order(*spaces: np.ndarray, group_size: int = 32, seed: int = 0) -> np.ndarray:
    """All rows in an order that keeps near neighbours together, (L,) int64.

    A tree halves the rows across the direction in which they spread most, down to windows of some hundred rows; within
    a window groups are gathered exactly, a row and its nearest free neighbours at a time. The vectors are first
    projected at random to 64 dimensions, so that a million rows take seconds. Approximate on purpose: a neighbour on
    the other side of a cut is missed.

    Parameters
    ----------
    spaces
        One or more arrays (L, d): text, molecule, both for the joint space, or any other. Rows are scaled to unit
        length, so that distances order pairs as cosines do; a zero row stays zero.
    group_size
        Rows gathered around each seed row; usually the plan's.
    seed
        Seed of projection and directions.

    Raises
    ------
    InputError
        No space, spaces of unequal length, or values that are not finite.
    """
    check_whole("group_size", group_size, low=1)
    if not spaces or any(np.ndim(each) != 2 or 0 in np.shape(each) or len(each) != len(spaces[0]) for each in spaces):
        raise InputError(
            f"spaces have the shapes {[np.shape(each) for each in spaces]}: expected one or more of (L, d)"
        )
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([check_whole("seed", seed, low=0), 7])))
    share = np.float32(np.sqrt(1.0 / len(spaces)))
    points = np.concatenate([share * _project(f"spaces[{at}]", each, rng) for at, each in enumerate(spaces)], axis=1)
    line = np.arange(len(points), dtype=np.int64)
    waiting = [slice(0, len(points))]
    while waiting:
        part = waiting.pop()
        near, length = points[part], part.stop - part.start
        if length <= max(_WINDOW, 2 * group_size):
            line[part] = line[part][_gather_near(near, group_size)]
            continue
        order = np.argpartition(near @ _direction(near, rng), length // 2)
        points[part], line[part] = near[order], line[part][order]
        middle = part.start + length // 2
        waiting += [slice(middle, part.stop), slice(part.start, middle)]
    return line


def _project(name: str, space: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    vectors = np.asarray(space, dtype=np.float32)
    width = vectors.shape[1]
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if not np.isfinite(norms).all():
        row = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise InputError(f"{name} row {row} is not finite in float32: expected finite numbers")
    matrix = rng.standard_normal((width, _DIMENSIONS), dtype=np.float32) / np.float32(np.sqrt(_DIMENSIONS))
    narrow: np.ndarray = vectors @ matrix if width > _DIMENSIONS else vectors
    return narrow / np.where(norms > 0, norms, 1)[:, None]


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
    free = np.arange(len(points))
    groups: list[np.ndarray] = []
    # start from the row farthest from the rest, so that the walk crosses the window once
    seed = int(similarity.sum(axis=1).argmin())
    while len(free):
        near = np.where(free == seed, np.inf, similarity[seed, free])
        nearest = free[np.argsort(-near, kind="stable")]
        groups.append(nearest[:group_size])
        free = np.sort(nearest[group_size:])
        seed = int(nearest[min(group_size, len(nearest) - 1)])
    return np.concatenate(groups)


def check_line(line: np.ndarray | Iterable[int], order: np.ndarray) -> np.ndarray:
    """`line` as int64, refused unless its row ids are distinct and contain every row of the order."""
    array = check_rows("line", line)
    if len(missing := np.setdiff1d(order, array)):
        raise InputError(f"line lacks {len(missing)} of the order's rows, such as {missing[0]}: expected each once")
    return array


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

    Every row is still seen once. The line of the epoch's rows is cut at random into pieces of `group_size` and single
    rows between them, which fill up the batches. With `labels`, near-duplicates on the line are passed over, so that a
    group holds neighbours and not copies.

    Parameters
    ----------
    rows
        (n,) row ids in random order; those beyond `bounds[-1]` stay in place.
    bounds
        (batches + 1,) where the batches are cut.
    share
        h in [0, 1]; 0 leaves the rows as they are.
    line
        Row ids as `locality_order` arranges them.
    group_size
        Rows of a group; a batch's last group may be smaller.
    path
        Integers that seed the random cuts.
    labels
        Integer label of duplicates by row id, negative for none.
    """
    sizes, used = np.diff(bounds), int(bounds[-1])
    hard = np.floor(share * sizes + 0.5 + 1e-9).astype(np.int64)
    if not hard.any():
        return rows
    times = np.bincount(rows[:used], minlength=int(line.max()) + 1)
    along = line[times[line] > 0]
    copies = np.zeros(len(along), dtype=bool) if labels is None else _copies(labels[along], group_size)
    # a step-matched epoch may contain a row twice, which is not a neighbour of itself
    again = np.repeat(np.flatnonzero(times > 1), times[times > 1] - 1)
    spare, along = np.concatenate((along[copies], again)), along[~copies]
    if hard.sum() > len(along):
        hard = hard * len(along) // int(hard.sum())
    along = np.roll(along, -int(random_words(1, *path, 1)[0] % np.uint64(max(1, min(group_size, len(along))))))
    # pieces in batch order: full groups of each batch, then its remainder; one row of the line stands between them
    pieces = [min(group_size, count - begin) for count in hard.tolist() for begin in range(0, count, group_size)]
    singles = len(along) - sum(pieces)
    lengths = np.array([1] * singles + pieces, dtype=np.int64)
    turn = shuffle_rows(np.arange(len(lengths)), len(lengths), *path, 2)
    begins = np.empty(len(lengths), dtype=np.int64)
    begins[turn] = np.cumsum(lengths[turn]) - lengths[turn]
    groups = [along[begin : begin + piece] for begin, piece in zip(begins[singles:].tolist(), pieces, strict=True)]
    pool = np.concatenate((along[begins[:singles]], spare))
    pool = pool[shuffle_rows(np.arange(len(pool)), max(1, len(pool)), *path, 3)]
    slots = np.arange(used) - np.repeat(bounds[:-1], sizes) < np.repeat(hard, sizes)
    result = rows.copy()
    result[:used][slots], result[:used][~slots] = np.concatenate((*groups, pool[:0])), pool
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
    """h(k): 0 through epoch `begin`, then rising to `final` along a schedule.

    It has the shapes of λ_k, so that how hard, when and how gradually are separate choices.

    Parameters
    ----------
    final
        In [0, 1]: the share of each batch drawn as groups at the end.
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
    def over(cls, epochs: int, final: float, start: float = 0.0, until: float = 0.0) -> HardnessSchedule:
        """From shares of the epochs: 0 up to the share `start`, then rising linearly to `final` at the share `until`.

        If `until` is not beyond `start`, hardness jumps.

        Raises
        ------
        InputError
            A share outside [0, 1].
        """
        begin = round(check_real("start", start, low=0.0, high=1.0) * epochs)
        length = round(check_real("until", until, low=0.0, high=1.0) * epochs) - begin
        return cls(final, begin, Schedule.full_at(0.0, 1.0, max(1, length)))
