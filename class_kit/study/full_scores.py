"""Scores that need a text and a molecule together, of any pairs of two sides, with nothing encoded once a pair.

A shortlist of 50 for every query names each text and molecule many times over. What the score needs of each
(`Backbone.pair_parts`) is encoded when its row is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone
    from class_kit.inputs import Inputs

# of parts kept: 2 GiB in float32
_MOST_NUMBERS = 2**29
_ENCODED_AT_ONCE = 64


def full_scores(
    backbone: Backbone, text: Inputs, molecules: Inputs, *, swap: bool = False
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The full score of a backbone that ranks again, as a function of n query rows and n candidate rows, `(n,)`.

    Parameters
    ----------
    text, molecules : Inputs
        Both sides; rows count in them.
    swap : bool
        Whether the queries are molecules.
    """
    import torch

    sides = _Parts(backbone, "text", text), _Parts(backbone, "molecules", molecules)

    def scores(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        rows = (candidates, queries) if swap else (queries, candidates)
        with torch.no_grad():
            given = backbone.part_scores(*(side.parts(own) for side, own in zip(sides, rows, strict=True)))
        return np.asarray(given.double().cpu().numpy())

    return scores


class _Parts:
    """What a full score needs of one side's rows, encoded when first asked for and kept while there is room."""

    def __init__(self, backbone: Backbone, side: str, inputs: Inputs) -> None:
        self.backbone, self.side, self.inputs = backbone, side, inputs
        self.device = next(backbone.parameters()).device
        self.kept: dict[int, Any] = {}
        self.numbers = 0

    def parts(self, rows: np.ndarray) -> list[Any]:
        """Of each row."""
        if self.numbers > _MOST_NUMBERS:
            self.kept, self.numbers = {}, 0
        new = np.array([row for row in np.unique(rows).tolist() if row not in self.kept], np.int64)
        for some in np.array_split(new, -(-len(new) // _ENCODED_AT_ONCE)) if len(new) else ():
            found = self.backbone.pair_parts(self.side, self.inputs.take(some, self.device))
            self.kept |= zip(some.tolist(), found, strict=True)
            self.numbers += sum(tensor.numel() for one in found for tensor in one)
        return [self.kept[row] for row in rows.tolist()]
