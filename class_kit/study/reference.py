"""What a trained model says of the pairs it was trained on: the difficulty of those who ask a reference model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from class_kit.curriculum import EpochPlan, FullSchedule
from class_kit.errors import InputError
from class_kit.retrieval import per_query_metrics, retrieval_ranks_both_ways
from class_kit.study.records import split_inputs

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone
    from class_kit.task import Task

SCORES = ("loss", "rank")


def pair_ranks(backbone: Backbone, task: Task) -> np.ndarray:
    """Expected rank of each training pair among all of them, the mean of both directions, `(L_train,)` float64."""
    from class_kit.training import encode

    text, molecules = split_inputs(backbone, task, "train")
    both = retrieval_ranks_both_ways(encode(backbone, "text", text), encode(backbone, "molecules", molecules))
    return np.asarray(np.mean([per_query_metrics(ranks)["mean_rank"] for ranks in both], axis=0))


def pair_losses(backbone: Backbone, task: Task, batch_size: int, seed: int) -> np.ndarray:
    """Loss of each training pair in evaluation mode, in random batches of the training's size, `(L_train,)` float64.

    The sum of the terms that say what a pair costs.

    Raises
    ------
    InputError
        The backbone has no such term.
    """
    import torch

    text, molecules = split_inputs(backbone, task, "train")
    device = next(backbone.parameters()).device
    backbone.eval()
    found = np.empty(len(text))
    everything = EpochPlan(np.arange(len(text)), FullSchedule(), "constant", seed, epochs=1)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for rows in everything.batches(1, batch_size):
            terms = backbone.losses(text.take(rows, device), molecules.take(rows, device))
            parts = [term.double() for term in terms.values() if term.ndim == 1]
            if not parts:
                raise InputError(f"{type(backbone).__name__} gives no loss a pair: choose another difficulty")
            found[rows] = torch.stack(parts).sum(0).cpu().numpy()
    return found
