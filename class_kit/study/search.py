"""Molecules that a trained backbone finds for a text: a free one among all molecules, each of a split among its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from class_kit.retrieval import search
from class_kit.study.ranking import split_inputs

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone
    from class_kit.task import Task


def first_molecules(backbone: Backbone, task: Task, split: str) -> np.ndarray:
    """Which molecule of the split's pool stands first for each of its texts, `(Q,)` int64 positions in the split."""
    from class_kit.training import encode

    text, molecules = split_inputs(backbone, task, split)
    found, _ = search(encode(backbone, "text", text), encode(backbone, "molecules", molecules), 1)
    return found[:, 0]


def search_molecules(backbone: Backbone, task: Task, text: str, top: int) -> list[tuple[int, float]]:
    """Rows of the pool of all molecules that fit a free text best, with their cosines, best first."""
    from class_kit.inputs import read_texts
    from class_kit.training import encode

    inputs = read_texts([text], backbone.inputs.text, task.encoders["text"])
    pool = encode(backbone, "molecules", task.pool_inputs(backbone.inputs.molecules))
    rows, scores = search(encode(backbone, "text", inputs), pool, min(top, len(pool)))
    return [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True)]
