"""Difficulty of pairs under a trained reference model: their rank, their loss, their EL2N."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from class_kit.difficulty.measures import el2n
from class_kit.neighbours.cosines import unit_rows
from class_kit.study.ranking import both_ways, split_inputs, split_vectors

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone
    from class_kit.task import Task

# where a learnt one usually starts (Radford et al. 2021, section 2.5), for backbones that learn none
TEMPERATURE = 0.07


def pair_ranks(backbone: Backbone, task: Task) -> np.ndarray:
    """Expected rank of each training pair among all of them, the mean of both directions, `(L_train,)` float64."""
    return np.asarray(both_ways(backbone, task, "train", "mean_rank").mean(axis=0))


def pair_losses(backbone: Backbone, task: Task, batch_size: int, seed: int, split: str = "train") -> np.ndarray:
    """Loss of each pair of a split in evaluation mode, in random batches of the training's size, `(L,)` float64.

    The sum of the terms that have one value per pair.

    Raises
    ------
    InputError
        The backbone has no such term.
    """
    import torch

    from class_kit.training.loop import measure_losses

    text, molecules = split_inputs(backbone, task, split)
    device = next(backbone.parameters()).device
    backbone.eval()

    def losses(rows: np.ndarray) -> dict[str, torch.Tensor]:
        return backbone.losses(text.take(rows, device), molecules.take(rows, device))

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return measure_losses(losses, len(text), batch_size, seed)


def pair_errors(backbone: Backbone, task: Task, batch_size: int, seed: int, split: str = "train") -> np.ndarray:
    """EL2N of each pair of a split, the mean of both directions, in the batches of `pair_losses`, `(L,)` float64.

    The length of softmax(cosine / temperature) − one-hot over the batch's candidates (Paul, Ganguli, Dziugaite 2021,
    section 2), between 0 and √2. The temperature is the one that the backbone has learnt, or 0.07 where it learns
    none. Every backbone compares by cosine, so the measure is the same for all of them.
    """
    from class_kit.training.loop import random_batches

    a, b = (unit_rows(vectors.astype(np.float64)) for vectors in split_vectors(backbone, task, split))
    factor = _factor(backbone)
    found = np.empty(len(a))
    for rows in random_batches(len(a), batch_size, seed):
        logits, own = factor * (a[rows] @ b[rows].T), np.arange(len(rows))
        found[rows] = (el2n(logits, own) + el2n(logits.T, own)) / 2
    return found


def _factor(backbone: Backbone) -> float:
    """What the backbone multiplies cosines by before a softmax."""
    import torch

    from class_kit.backbones.layers import Scale

    for part in backbone.modules():
        if isinstance(part, Scale):
            with torch.no_grad():
                return float(part(torch.ones_like(part.log_scale)))
    return 1 / TEMPERATURE
