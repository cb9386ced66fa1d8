"""Near-duplicates are false negatives: find them, keep them in different batches, mask them out, or delete them.

Two descriptions of the same molecule, or of stereoisomers that the encoder cannot tell apart, are used as each other's
negatives in an in-batch loss although both are right. Duplicates share an integer label; a negative one means none.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from class_kit.checks import check_real, check_vector
from class_kit.curriculum.randomness import random_words, shuffle_rows
from class_kit.errors import InputError
from class_kit.neighbours.cosines import ROWS, Cosines, make_rows, spans

_ROUNDS = 30
# similarities to a centre that differ by less than this, in cosines times the size of the group, are equal
_EQUAL = 1e-6


def check_rows(name: str, rows: np.ndarray | Iterable[int]) -> np.ndarray:
    """`rows` as a read-only (L,) int64 array, refused with an InputError unless they are distinct row ids from 0."""
    array = check_vector(name, rows, whole=True).astype(np.int64)
    ids, times = np.unique(array, return_counts=True)
    if times.max() > 1:
        raise InputError(f"{name} contains the row {ids[times.argmax()]} {times.max()} times: expected each once")
    # the weights of an epoch are an array as long as the largest id
    if ids[0] < 0 or ids[-1] >= 100 * len(array) + 1_000_000:
        raise InputError(f"{name} has {len(array)} rows, from {ids[0]} to {ids[-1]}: expected row numbers from 0")
    array.flags.writeable = False
    return array


def duplicate_labels(*keys: Sequence[Hashable], pairs: np.ndarray | None = None) -> np.ndarray:
    """One label for all rows that are linked by an equal key or a given pair, (L,) int64; -1 for a row without links.

    Keys are, for example, the canonical SMILES without stereochemistry and the text; `pairs` come from `pairs_above`.
    Links are transitive: if a is linked to b and b to c, all three share a label.

    Parameters
    ----------
    keys
        One or more sequences of length L; a key None or "" links nothing.
    pairs
        (P, 2) integers, rows to be linked.

    Raises
    ------
    InputError
        Keys of unequal length, or pairs of rows that do not exist.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(lengths := {len(key) for key in keys}) != 1:
        raise InputError(f"the keys have the lengths {sorted(lengths)}: expected one or more keys of one length")
    (size,) = lengths
    linked = np.empty((0, 2), np.int64) if pairs is None else np.asarray(pairs)
    if linked.ndim != 2 or linked.shape[1] != 2 or (linked.size and (linked.min() < 0 or linked.max() >= size)):
        raise InputError(f"pairs has shape {linked.shape}: expected (P, 2), rows from 0 to {size - 1}")
    # a graph of rows and values, in which a row is linked to each value it has
    nodes: dict[tuple[int, Hashable], int] = {}
    edges = [
        (row, nodes.setdefault((number, value), size + len(nodes)))
        for number, key in enumerate(keys)
        for row, value in enumerate(key)
        if value is not None and value != ""
    ]
    ends = np.concatenate((np.array(edges, np.int64).reshape(-1, 2), linked)).T
    graph = coo_array((np.ones(ends.shape[1], np.int8), tuple(ends)), shape=(size + len(nodes),) * 2)
    labels = connected_components(graph, directed=False)[1][:size].astype(np.int64)
    labels[np.bincount(labels)[labels] == 1] = -1
    return labels


def pairs_above(t: np.ndarray, m: np.ndarray | None = None, *, bound: float) -> np.ndarray:
    """All pairs i < j of rows whose cosine, the mean over both arrays, exceeds `bound`, (P, 2) int64.

    Exact in float64, computed in blocks: time grows with L², memory does not. Meant for tens of thousands of rows; use
    equal keys for a larger corpus.

    Raises
    ------
    InputError
        A bound outside [-1, 1].
    """
    bound = check_real("bound", bound, low=-1.0, high=1.0)
    rows = make_rows(t, m)
    cosines = Cosines(rows, rows)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for part in spans(len(rows), ROWS):
        for columns, product in cosines.blocks(part, part.start):
            i, j = np.nonzero(cosines.above(part, columns, product, bound))
            near = np.stack((i + part.start, j + columns.start), axis=1)
            pairs.append(near[near[:, 0] < near[:, 1]])
    return np.concatenate(pairs)


def one_of_each(labels: np.ndarray, t: np.ndarray | None = None, m: np.ndarray | None = None) -> np.ndarray:
    """Rows that remain when one of each group of near-duplicates is kept, (K,) int64, ascending.

    That is the row least similar to the centre of its group, as in SemDeDup (Abbas et al. 2023, section 3), and the
    first of equals; without arrays, the first row of the group.

    Parameters
    ----------
    labels
        (L,) integers as from `duplicate_labels`, negative for a row without duplicates.
    t, m
        Arrays (L, d); the similarity of two rows is the mean of their cosines.

    Raises
    ------
    InputError
        Labels that are not integers (L,), or arrays of another length.
    """
    labels = check_vector("labels", labels, whole=True).astype(np.int64)
    rows = None if t is None and m is None else make_rows(t, m, 0.5)
    if rows is not None and len(rows) != len(labels):
        raise InputError(f"{len(labels)} labels and arrays of {len(rows)} rows: expected as many of both")
    grouped = np.flatnonzero(labels >= 0)
    grouped = grouped[np.argsort(labels[grouped], kind="stable")]
    kept = np.flatnonzero(labels < 0).tolist()
    for members in np.split(grouped, np.flatnonzero(np.diff(labels[grouped])) + 1):
        if rows is not None and len(members):
            # All members of a group are measured against one vector, so its length changes no order.
            units = rows.unit(members)
            likeness = units @ units.sum(axis=0)
            members = members[likeness <= likeness.min() + _EQUAL]
        kept += members[:1].tolist()
    return np.sort(np.array(kept, dtype=np.int64))


def duplicate_mask(labels: Any) -> Any:
    """True where two different rows of a batch are duplicates, (B, B), for an array or a tensor of labels (B,).

    `logits.masked_fill(duplicate_mask(labels), float("-inf"))` removes the false negatives from the loss and keeps the
    diagonal.
    """
    if getattr(labels, "ndim", None) != 1:
        raise InputError(f"labels has shape {np.shape(labels)}: expected (B,) integers")
    mask = (labels[:, None] == labels[None, :]) & (labels[:, None] >= 0)
    if not isinstance(mask, np.ndarray):
        return mask.fill_diagonal_(False)
    np.fill_diagonal(mask, False)
    return mask


def check_labels(labels: np.ndarray | Iterable[int], size: int) -> np.ndarray:
    """`labels` as (size,) int64, dense from 0, with -1 for every row alone."""
    array = check_vector("apart", labels, whole=True).astype(np.int64)
    if len(array) < size:
        raise InputError(f"apart has shape {array.shape}: expected ({size},), one label per row")
    _, dense, counts = np.unique(array, return_inverse=True, return_counts=True)
    return np.where((array < 0) | (counts[dense] == 1), -1, dense)[:size]


def repeats(labels: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Positions of rows whose label occurred before in their batch, (c,) int64; both arguments are by position."""
    at = np.flatnonzero(labels >= 0)
    first = np.unique(_key(labels[at], batch[at], labels), return_index=True)[1]
    return np.delete(at, first)


def _key(labels: np.ndarray, batch: np.ndarray, among: np.ndarray) -> np.ndarray:
    """One number for a label in a batch."""
    return batch * (int(among.max(initial=0)) + 1) + labels


def unavoidable(labels: np.ndarray, batches: int) -> int:
    """Number of repeats that no arrangement avoids: the members of each group beyond the number of batches."""
    counts = np.bincount(labels[labels >= 0])
    return int(np.maximum(counts - batches, 0).sum())


def count_repeats(labels: np.ndarray, batches: Sequence[np.ndarray]) -> dict[str, int]:
    """Number of near-duplicates within these batches of rows: `repeats`, and how many of them are `unavoidable`.

    A repeat is a row whose batch already has a row with its label. A group with more members than there are batches
    cannot be spread over different ones; its surplus is unavoidable.
    """
    own = labels[np.concatenate(batches)]
    numbers = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
    return {"repeats": len(repeats(own, numbers)), "unavoidable": unavoidable(own, len(batches))}


def keep_apart(rows: np.ndarray, bounds: np.ndarray, labels: np.ndarray, path: tuple[int, ...]) -> np.ndarray:
    """Rearrange an epoch's rows so that no batch holds two rows with the same label where possible, (n,) int64.

    Rows that repeat a label in their batch are exchanged with random rows of other batches; most batches stay the
    same. If repeats remain, all rows are dealt again, each group to the batches with the most free places, which finds
    an arrangement without repeats whenever one exists (Gale and Ryser); the remaining ones are unavoidable.

    Parameters
    ----------
    rows
        (n,) row ids; those beyond `bounds[-1]` are not used and stay in place.
    bounds
        (batches + 1,) where the batches are cut.
    labels
        Label by row id, from `check_labels`.
    path
        Integers that seed the exchanges.
    """
    used, sizes = int(bounds[-1]), np.diff(bounds)
    batch = np.repeat(np.arange(len(sizes)), sizes)
    result = rows.copy()
    head = result[:used]
    least = unavoidable(labels[head], len(sizes))
    for turn in range(_ROUNDS):
        wrong = repeats(labels[head], batch)
        if len(wrong) <= least:
            return result
        _exchange(head, labels, batch, wrong, (*path, turn))
    if len(repeats(labels[head], batch)) > least:
        result[:used] = _deal(rows[:used], sizes, labels, path)
    return result


def _exchange(
    head: np.ndarray, labels: np.ndarray, batch: np.ndarray, wrong: np.ndarray, path: tuple[int, ...]
) -> None:
    """One round of exchanges, in place: each repeated row with a random one, if neither then repeats a label."""
    partner = (random_words(len(wrong), *path) % np.uint64(len(head))).astype(np.int64)
    first = np.unique(partner, return_index=True)[1]
    first = first[~np.isin(partner[first], wrong)]
    here, there = wrong[first], partner[first]
    own = labels[head]
    at = np.flatnonzero(own >= 0)
    present = _key(own[at], batch[at], labels)
    taken = np.isin(_key(own[here], batch[there], labels), present)
    taken |= (own[there] >= 0) & np.isin(_key(own[there], batch[here], labels), present)
    here, there = here[~taken], there[~taken]
    head[here], head[there] = head[there], head[here]


def _deal(rows: np.ndarray, sizes: np.ndarray, labels: np.ndarray, path: tuple[int, ...]) -> np.ndarray:
    room, luck, own = sizes.copy(), random_words(len(sizes), *path, _ROUNDS), labels[rows]
    groups = [rows[own == label] for label in np.unique(own[own >= 0])]
    dealt, batches, spare = [], [], [rows[own < 0]]
    for group in sorted(groups, key=len, reverse=True):
        roomy = np.lexsort((luck, -room))[: len(group)]
        roomy = roomy[room[roomy] > 0]
        room[roomy] -= 1
        dealt.append(group[: len(roomy)])
        batches.append(roomy)
        spare.append(group[len(roomy) :])
    left = np.concatenate(spare)
    left = left[shuffle_rows(np.arange(len(left)), max(1, len(left)), *path, _ROUNDS + 1)][::-1]
    order = np.argsort(np.concatenate((*batches, np.repeat(np.arange(len(room)), room))), kind="stable")
    return np.concatenate((*dealt, left))[order]
