"""Near-duplicates are false negatives: find them, keep them in different batches, mask them out, or delete them.

Two descriptions of the same molecule, or of stereoisomers that the encoder cannot tell apart, punish each other in an
in-batch loss although both are right. A group of duplicates is an integer label a row; negative means alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from class_kit.checks import check_real, check_whole
from class_kit.curriculum.randomness import random_words, shuffle_rows
from class_kit.errors import InputError
from class_kit.neighbours.cosines import Cosines, spans
from class_kit.neighbours.rows import Rows

_ROUNDS = 30
# likeness to a middle that differs by less than this, in cosines times the size of the group, is the same
_EQUAL = 1e-6


def duplicate_labels(
    *keys: Sequence[Hashable], pairs: np.ndarray | None = None, length: int | None = None
) -> np.ndarray:
    """One label for all rows that are linked by an equal key or a given pair, (L,) int64; -1 for a row on its own.

    Keys are, for example, the canonical SMILES without stereochemistry and the text; `pairs` come from `pairs_above`.
    Links are transitive: where a is like b and b like c, all three share a label.

    Parameters
    ----------
    keys
        Sequences of length L; a key None or "" links nothing.
    pairs
        (P, 2) integers, rows to be linked.
    length
        L, needed only without keys.

    Raises
    ------
    InputError
        Keys of unequal length, or pairs that are no rows.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    lengths = {len(key) for key in keys} | ({check_whole("length", length, low=1)} if length is not None else set())
    if len(lengths) != 1:
        raise InputError(f"keys and length give {sorted(lengths)} rows: expected one and the same number")
    size = lengths.pop()
    links = [np.empty((0, 2), dtype=np.int64)]
    for key in keys:
        first: dict[Hashable, int] = {}
        linked = [
            (first.setdefault(value, row), row) for row, value in enumerate(key) if value is not None and value != ""
        ]
        links.append(np.array(linked, dtype=np.int64).reshape(-1, 2))
    if pairs is not None:
        array = np.asarray(pairs)
        if array.ndim != 2 or array.shape[1] != 2 or (array.size and array.dtype.kind not in "iu"):
            raise InputError(f"pairs has shape {array.shape} and type {array.dtype}: expected (P, 2) integers")
        if array.size and (array.min() < 0 or array.max() >= size):
            raise InputError(f"pairs names the rows {array.min()} to {array.max()}: expected 0 to {size - 1}")
        links.append(array.astype(np.int64))
    edges = np.concatenate(links)
    graph = coo_array((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(size, size))
    labels = connected_components(graph, directed=False)[1].astype(np.int64)
    labels[np.bincount(labels)[labels] == 1] = -1
    return labels


def pairs_above(*spaces: np.ndarray, bound: float, block: int = 2048) -> np.ndarray:
    """All pairs i < j whose mean cosine over the spaces exceeds `bound`, (P, 2) int64.

    Exact as float64 decides it, by blocks: time grows with L², memory with `block`². Meant for tens of thousands of
    rows; a larger corpus is better served by equal keys.

    Raises
    ------
    InputError
        No space, shapes that do not fit, or a bound outside [-1, 1].
    """
    bound = check_real("bound", bound, low=-1.0, high=1.0)
    check_whole("block", block, low=1)
    joint = _joint(spaces)
    rows = Rows(joint, joint[:, :0], np.ones(len(joint)), np.zeros(len(joint)), 1.0)
    cosines = Cosines(rows, rows, block)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for part in spans(len(rows), block):
        for columns, product in cosines.blocks(part, part.start):
            i, j = np.nonzero(cosines.above(part, columns, product, bound))
            near = np.stack((i + part.start, j + columns.start), axis=1)
            pairs.append(near[near[:, 0] < near[:, 1]])
    return np.concatenate(pairs)


def one_of_each(labels: np.ndarray, *spaces: np.ndarray) -> np.ndarray:
    """Rows that remain when each group of near-duplicates keeps one, (K,) int64, ascending.

    The one kept is the least like the middle of its group, as SemDeDup keeps the one least like the middle of a cluster
    (Abbas et al. 2023, section 3); the first of those equally like it, or of the group where no space is given.

    Parameters
    ----------
    labels
        (L,) integers as `duplicate_labels` returns them, negative for a row on its own.
    spaces
        Arrays (L, d) that say how alike rows are, by the mean of their cosines.

    Raises
    ------
    InputError
        Labels that are no integers (L,), spaces that do not fit them, or a value that is not finite.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"labels has shape {array.shape} and type {array.dtype}: expected (L,) integers")
    dense = check_labels(array, len(array))
    grouped = np.flatnonzero(dense >= 0)
    groups = dense[grouped]
    distance = np.zeros(len(grouped))
    if spaces:
        joint = _joint(spaces)
        if len(joint) != len(dense):
            raise InputError(f"{len(dense)} labels and spaces of {len(joint)} rows: expected as many of both")
        if not np.isfinite(joint).all():
            row = int(np.flatnonzero(~np.isfinite(joint).all(axis=1))[0])
            raise InputError(f"spaces: row {row} is not finite, expected numbers of ordinary size")
        members = joint[grouped]
        middles = np.zeros((int(dense.max(initial=-1)) + 1, joint.shape[1]))
        np.add.at(middles, groups, members)
        # All members of a group are measured against one vector, so its length changes no order.
        distance = -np.einsum("ij,ij->i", members, middles[groups])
    farthest = np.full(int(dense.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(farthest, groups, distance)
    # Unit vectors are off by the last digits of float32; the two rows of a pair are always equally like their middle.
    able = distance >= farthest[groups] - _EQUAL
    _, first = np.unique(groups[able], return_index=True)
    return np.sort(np.concatenate((np.flatnonzero(dense < 0), grouped[able][first])))


def _joint(spaces: Sequence[np.ndarray]) -> np.ndarray:
    """Unit vectors (L, Σd) float64 whose inner products are mean cosines over the spaces."""
    if not spaces or any(np.ndim(space) != 2 or len(space) != len(spaces[0]) for space in spaces):
        raise InputError(f"spaces have the shapes {[np.shape(s) for s in spaces]}: expected one or more of (L, d)")
    units = []
    for space in spaces:
        wide = np.asarray(space, np.float64)
        norms = np.linalg.norm(wide, axis=1, keepdims=True)
        units.append(wide / np.where(norms > 0, norms, 1) / np.sqrt(len(spaces)))
    return np.concatenate(units, axis=1)


def duplicate_mask(labels: Any) -> Any:
    """True where two different rows of a batch are duplicates, (B, B), for an array or a tensor of labels (B,).

    Use it on the logits: `logits.masked_fill(duplicate_mask(labels), float("-inf"))` takes the false negatives out of
    the loss and leaves the diagonal.
    """
    if getattr(labels, "ndim", None) != 1:
        raise InputError(f"labels has shape {np.shape(labels)}: expected (B,) integers")
    mask = (labels[:, None] == labels[None, :]) & (labels[:, None] >= 0)
    if isinstance(mask, np.ndarray):
        np.fill_diagonal(mask, False)
    else:
        mask.fill_diagonal_(False)
    return mask


def check_labels(labels: np.ndarray | Iterable[int], size: int) -> np.ndarray:
    """`labels` as (size,) int64, dense from 0, with -1 for every row alone."""
    array = np.asarray(labels if isinstance(labels, np.ndarray) else list(labels))
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) < size:
        raise InputError(
            f"apart has shape {array.shape} and type {array.dtype}: expected integers ({size},), one a row"
        )
    array = np.where(array < 0, -1, array).astype(np.int64)
    _, dense, counts = np.unique(array, return_inverse=True, return_counts=True)
    alone = (array < 0) | (counts[dense] == 1)
    return np.where(alone, -1, dense)


def repeats(labels: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Positions of rows whose label came before in the same batch, (c,) int64; labels and batch number by position."""
    at = np.flatnonzero(labels >= 0)
    keys = unit[at] * (int(labels.max(initial=0)) + 1) + labels[at]
    order = np.argsort(keys, kind="stable")
    again = np.concatenate(([False], np.diff(keys[order]) == 0)) if len(at) else np.zeros(0, dtype=bool)
    return np.sort(at[order[again]])


def unavoidable(labels: np.ndarray, batches: int) -> int:
    """Repeats that no arrangement avoids: every member of a group beyond the number of batches."""
    counts = np.bincount(labels[labels >= 0])
    return int(np.maximum(counts - batches, 0).sum())


def count_repeats(labels: np.ndarray, batches: Sequence[np.ndarray]) -> dict[str, int]:
    """How often near-duplicates share one of these batches of rows: `repeats`, and how many are `unavoidable`.

    A repeat is a row whose batch already holds a row of its label. A group with more members than there are batches
    cannot be kept apart; its surplus is the unavoidable part.
    """
    own = labels[np.concatenate(batches)]
    unit = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
    return {"repeats": len(repeats(own, unit)), "unavoidable": unavoidable(own, len(batches))}


def keep_apart(rows: np.ndarray, bounds: np.ndarray, labels: np.ndarray, path: tuple[int, ...]) -> np.ndarray:
    """Rearrange an epoch's rows so that no batch holds two rows of one label, wherever that is possible, (n,) int64.

    Rows that repeat a label of their batch change places with random rows of other batches; most batches stay as they
    were. Should that not settle everything, the rows are dealt anew, each group to the batches with most room, which
    finds an arrangement without repeats whenever there is one (Gale and Ryser); what is left is unavoidable.

    Parameters
    ----------
    rows
        (n,) row ids; those beyond `bounds[-1]` are not used and stay.
    bounds
        (batches + 1,) where the batches are cut.
    labels
        Label by row id, as `check_labels` gives.
    path
        Integers that decide the exchanges.
    """
    used, batches = int(bounds[-1]), len(bounds) - 1
    unit = np.repeat(np.arange(batches), np.diff(bounds))
    result = rows.copy()
    head = result[:used]
    least = unavoidable(labels[head], batches)
    for turn in range(_ROUNDS):
        wrong = repeats(labels[head], unit)
        if len(wrong) <= least:
            return result
        _exchange(head, labels, unit, wrong, (*path, turn))
    if len(repeats(labels[head], unit)) > least:
        result[:used] = _deal(rows[:used], bounds, labels, path)
    return result


def _exchange(head: np.ndarray, labels: np.ndarray, unit: np.ndarray, wrong: np.ndarray, path: tuple[int, ...]) -> None:
    """One round of exchanges in place: each wrong row with a random one, where neither then repeats a label."""
    partner = (random_words(len(wrong), *path) % np.uint64(len(head))).astype(np.int64)
    first = np.unique(partner, return_index=True)[1]
    first = first[~np.isin(partner[first], wrong)]
    here, there = wrong[first], partner[first]
    mine, theirs = labels[head[here]], labels[head[there]]
    span = int(labels.max()) + 1
    at = np.flatnonzero(labels[head] >= 0)
    present = np.sort(unit[at] * span + labels[head[at]])
    free = ~_among(unit[there] * span + mine, present)
    free &= (theirs < 0) | ~_among(unit[here] * span + theirs, present)
    here, there = here[free], there[free]
    head[here], head[there] = head[there], head[here]


def _among(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    return ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values


def _deal(rows: np.ndarray, bounds: np.ndarray, labels: np.ndarray, path: tuple[int, ...]) -> np.ndarray:
    room = np.diff(bounds).tolist()
    luck = random_words(len(room), *path, _ROUNDS).tolist()
    heap = [(-space, luck[unit], unit) for unit, space in enumerate(room)]
    heapq.heapify(heap)
    grouped = rows[labels[rows] >= 0]
    order = np.argsort(labels[grouped], kind="stable")
    members = np.split(grouped[order], np.flatnonzero(np.diff(labels[grouped][order])) + 1)
    batches: list[list[int]] = [[] for _ in room]
    spare = rows[labels[rows] < 0].tolist()
    for group in sorted(members, key=len, reverse=True):
        places = [heapq.heappop(heap) for _ in range(min(len(group), len(heap)))]
        for row, (space, chance, unit) in zip(group.tolist(), places, strict=False):
            batches[unit].append(row)
            if space < -1:
                heapq.heappush(heap, (space + 1, chance, unit))
        spare.extend(group.tolist()[len(places) :])
    shuffled = np.array(spare, dtype=np.int64)
    shuffled = shuffled[shuffle_rows(np.arange(len(spare)), max(1, len(spare)), *path, _ROUNDS + 1)].tolist()
    for unit, space in enumerate(room):
        missing = space - len(batches[unit])
        batches[unit] += [shuffled.pop() for _ in range(missing)]
    return np.array([row for batch in batches for row in batch], dtype=np.int64)
