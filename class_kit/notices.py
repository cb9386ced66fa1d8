"""Reasons why a training or its numbers mean little, one sentence each, shown wherever trainings are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from class_kit.errors import InputError

# with fewer training pairs, results depend much on the seed
FEW = 1000


def split_title(split: str) -> str:
    """How titles name the ranked pairs: the split, but "training pairs" for `train`.

    "train" is easily overlooked in a list of splits, and such numbers say nothing about new pairs.
    """
    return "training pairs" if split == "train" else split


def ranked_on(label: str, split: str) -> str:
    """A label for numbers about a split, which names training pairs as such."""
    return f"{label}, {split_title(split)}" if split == "train" else label


def training_notices(
    rows: int,
    split: str | None,
    batch_size: int,
    counts: np.ndarray | None = None,
    keys: Sequence[Hashable] | None = None,
) -> dict[str, str]:
    """Reasons for doubting a training, sentences by topic; empty if there are none.

    Parameters
    ----------
    rows : int
        L, the number of training pairs, at least 1.
    split : str or None
        The split that is ranked; None where it is not known yet.
    batch_size : int
        Pairs in an optimiser step.
    counts : (L,) numbers, optional
        The difficulty that orders the training pairs, such as their neighbour counts; None for an order without one.
    keys : L hashables, optional
        The `key` of each training pair's molecule (`class_kit.molecules.structures`), "" or None if unknown; leave it
        out where equal molecules are kept in separate batches.

    Raises
    ------
    InputError
        The number of counts or keys is not that of the training pairs.
    """
    for name, given in (("counts", counts), ("keys", keys)):
        if given is not None and len(given) != rows:
            raise InputError(f"{name} has {len(given)} values for {rows} training pairs: expected one for each")
    notices: dict[str, str] = {}
    if split == "train":
        notices["ranking"] = "The pairs that are ranked are training pairs: the numbers say nothing about new pairs."
    if rows < FEW:
        notices["size"] = f"Only {rows:,} training pairs: expect large differences between seeds."
    if batch_size == 1:
        notices["batch"] = "A batch of 1 pair has no negatives: losses that compare the pairs of a batch learn nothing."
    elif batch_size >= rows:
        notices["batch"] = (
            f"A batch of {batch_size:,} holds all {rows:,} training pairs: every epoch trains on all of them and no "
            "curriculum acts; choose a smaller batch."
        )
    if counts is not None and rows > 1 and len(np.unique(counts)) == 1:
        notices["order"] = f"All {rows:,} training pairs are equally difficult: chance orders them, no curriculum acts."
    groups = Counter(key for key in keys or () if key)
    rivals = sum(size for size in groups.values() if size > 1)
    if rivals == rows and len(groups) == 1:
        notices["molecules"] = "All training pairs have the same molecule: there is nothing to tell apart."
    elif rivals:
        notices["duplicates"] = (
            f"{rivals:,} training pairs share their molecule with another: in a batch they are each other's false "
            "negatives; duplicates=apart keeps them apart."
        )
    return notices
