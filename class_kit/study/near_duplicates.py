"""Queries that have a near-duplicate among the training pairs, and the ranks of the others.

A model may recognise a molecule or a text that it was trained on in a slightly other form. What it scores on the
queries without such a near-duplicate follows from the same ranks: the pool stays whole, only queries are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from class_kit.checks import check_real
from class_kit.errors import InputError
from class_kit.molecules.structures import structures
from class_kit.neighbours import neighbour_counts
from class_kit.retrieval import Ranks
from class_kit.study.records import Record
from class_kit.task import Task


@dataclass(frozen=True)
class NearDuplicates:
    """Which queries have a near-duplicate among the training pairs, `(Q,)` bool each, by what they share with it.

    `text`: an equal text; `structure`: an equal canonical SMILES without stereochemistry; `near`: a mean cosine above
    `sigma`. `apart` are the queries with none of the three.
    """

    text: NDArray[np.bool_]
    structure: NDArray[np.bool_]
    near: NDArray[np.bool_]
    sigma: float

    @property
    def apart(self) -> NDArray[np.bool_]:
        return ~(self.text | self.structure | self.near)

    def counts(self) -> dict[str, int | float]:
        """How many queries there are, have a near-duplicate of each kind, and have none."""
        return {
            "queries": len(self.text),
            "equal_text": int(self.text.sum()),
            "equal_structure": int(self.structure.sum()),
            "near": int(self.near.sum()),
            "sigma": self.sigma,
            "apart": int(self.apart.sum()),
        }


def near_duplicates(task: Task, split: str = "test", sigma: float = 0.95) -> NearDuplicates:
    """For each pair of a split: whether a training pair repeats it, in words, in structure or nearly so.

    Parameters
    ----------
    task : Task
        With rows in `train` and in `split`.
    split : str
        Its pairs, in file order, are the queries.
    sigma : float
        Mean cosine, (cos(t_i, t_j) + cos(m_i, m_j)) / 2, above which two pairs count as near-duplicates.

    Raises
    ------
    InputError
        For a split that the task does not have, the training split itself, or a σ outside (-1, 1].
    """
    if split == "train":
        raise InputError("split='train': expected the split that is evaluated, not the one trained on")
    sigma = check_real("sigma", sigma, low=-1.0, high=1.0, open_low=True)
    train, rows = task.rows("train"), task.rows(split)
    texts = {task.pairs.text[row] for row in train}
    keys = [each.key for each in structures([task.pairs.smiles[row] for row in (*train, *rows)], progress=False)]
    known = set(keys[: len(train)]) - {""}
    close = neighbour_counts(
        task.t[rows], task.m[rows], sigma=sigma, against=(task.t[train], task.m[train]), progress=False
    )
    return NearDuplicates(
        np.array([task.pairs.text[row] in texts for row in rows]),
        np.array([key in known for key in keys[len(train) :]]),
        np.asarray(close) > 0,
        sigma,
    )


def keep_queries(records: Sequence[Record], kept: NDArray[np.bool_]) -> list[Record]:
    """The same trainings with the ranks of some queries only, `kept` `(Q,)` bool; pools are as they were.

    Raises
    ------
    InputError
        For a mask of another length than the ranks, or one that keeps no query.
    """
    if not kept.any():
        raise InputError("no query is kept: expected one at least")
    for record in records:
        if wrong := [len(ranks) for ranks in record.ranks.values() if len(ranks) != len(kept)]:
            raise InputError(f"a mask of {len(kept)} queries for ranks of {wrong[0]}: expected as many")
    return [
        replace(
            record,
            ranks={
                name: Ranks(ranks.greater[kept], ranks.equal[kept], ranks.pool) for name, ranks in record.ranks.items()
            },
        )
        for record in records
    ]
