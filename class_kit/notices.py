"""What makes a training, or its numbers, mean little: a sentence for each, said wherever trainings are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from class_kit.errors import InputError

# fewer training pairs than this make a training depend on its seed
FEW = 1000


def split_title(split: str) -> str:
    """How titles name the pairs that are ranked: the split, but "training pairs" for numbers from what was trained on.

    "train" may stand in a list of splits unnoticed; numbers that say nothing about new pairs must not.
    """
    return "training pairs" if split == "train" else split


def ranked_on(label: str, split: str) -> str:
    """A label of numbers about a split, which says so where they are from training pairs."""
    return f"{label}, {split_title(split)}" if split == "train" else label


def training_notices(
    rows: int,
    split: str | None,
    batch_size: int,
    counts: np.ndarray | None = None,
    keys: Sequence[Hashable] | None = None,
) -> dict[str, str]:
    """What to know before believing a training, a sentence by what it is about; empty where there is nothing.

    Parameters
    ----------
    rows : int
        L, the number of training pairs, at least 1.
    split : str or None
        Whose pairs are ranked, "train" where they are the training pairs; None where it is not known yet.
    batch_size : int
        Pairs in an optimiser step.
    counts : (L,) numbers, optional
        The difficulty that orders the training pairs, such as their neighbour counts; None for an order without one.
    keys : L hashables, optional
        What each training pair's molecule is, as `class_kit.molecules.structures` says, "" or None where that is not
        known; leave it out where equal molecules are kept apart.

    Raises
    ------
    InputError
        Counts or keys that are not one for each training pair.
    """
    for name, given in (("counts", counts), ("keys", keys)):
        if given is not None and len(given) != rows:
            raise InputError(f"{name} has {len(given)} values for {rows} training pairs: expected one for each")
    said: dict[str, str] = {}
    if split == "train":
        said["ranking"] = "The pairs that are ranked are training pairs: the numbers say nothing about new pairs."
    if rows < FEW:
        said["size"] = f"Only {rows:,} training pairs: expect large differences between seeds."
    if batch_size == 1:
        said["batch"] = "A batch of 1 pair has no negatives: losses that compare the pairs of a batch learn nothing."
    elif batch_size >= rows:
        said["batch"] = (
            f"A batch of {batch_size:,} holds all {rows:,} training pairs: every epoch trains on all of them and no "
            "curriculum acts; choose a smaller batch."
        )
    if counts is not None and rows > 1 and len(np.unique(counts)) == 1:
        said["order"] = f"All {rows:,} training pairs are equally difficult: chance orders them, no curriculum acts."
    groups = Counter(key for key in keys or () if key)
    rivals = sum(size for size in groups.values() if size > 1)
    if rivals == rows and len(groups) == 1:
        said["molecules"] = "All training pairs have the same molecule: there is nothing to tell apart."
    elif rivals:
        said["duplicates"] = (
            f"{rivals:,} training pairs share their molecule with another: in a batch they are each other's false "
            "negatives; duplicates=apart keeps them apart."
        )
    return said
