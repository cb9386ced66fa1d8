"""Ranks of a task's pairs under trained backbones: of a split in both directions, and a metric while training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from class_kit.retrieval import (
    RERANKED,
    Ranks,
    ensemble_ranks,
    per_query_metrics,
    rerank,
    retrieval_ranks,
    retrieval_ranks_both_ways,
    search,
)
from class_kit.study.full_scores import full_scores

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone, Needs
    from class_kit.inputs import Inputs
    from class_kit.task import Task

RANKINGS = ("text_to_molecule/split", "text_to_molecule/all", "molecule_to_text/split")


def rank_split(
    backbone: Backbone, task: Task, split: str, *, full: bool = True, progress: bool | None = False
) -> dict[str, Ranks]:
    """Rank a split in both directions: in the split's own pool, and text→molecule in the pool of all molecules.

    Where the backbone's full score needs a text and a molecule together, cosines rank the whole pool and the full
    score ranks each query's best 50 again; `full=False` leaves it at cosines.
    """
    from class_kit.training import encode

    rows = task.rows(split)
    own, goals = np.arange(len(rows)), task.targets(split)
    text, molecules = split_inputs(backbone, task, split)
    pool = task.pool_inputs(backbone.inputs.molecules)
    texts, found, everything = (
        encode(backbone, side, inputs)
        for side, inputs in (("text", text), ("molecules", molecules), ("molecules", pool))
    )
    there, back = retrieval_ranks_both_ways(texts, found)
    ranks = {
        "text_to_molecule/split": there,
        "text_to_molecule/all": retrieval_ranks(texts, everything, goals),
        "molecule_to_text/split": back,
    }
    if not (full and backbone.reranks):
        return ranks
    forward, backward = full_scores(backbone, text, molecules), full_scores(backbone, text, molecules, swap=True)
    stages = {
        "text_to_molecule/split": (texts, found, own, forward),
        "text_to_molecule/all": (texts, everything, goals, full_scores(backbone, text, pool)),
        "molecule_to_text/split": (found, texts, own, backward),
    }
    for name, (queries, candidates, targets, scores) in stages.items():
        best, _ = search(queries, candidates, min(RERANKED, len(candidates)))
        ranks[name] = rerank(ranks[name], best, targets, scores, progress=progress)
    return ranks


def rank_ensemble(models: Sequence[tuple[Backbone, Task]], split: str) -> dict[str, Ranks]:
    """Rank a split as `rank_split` does, by the mean of the ranks that each model's cosines give a candidate.

    Each model comes with its own task, since models may read other encoders; the pairs must be the same.
    """
    from class_kit.training import encode

    task = models[0][1]
    sides = []
    for backbone, own in models:
        text, molecules = split_inputs(backbone, own, split)
        pool = own.pool_inputs(backbone.inputs.molecules)
        parts = (("text", text), ("molecules", molecules), ("molecules", pool))
        sides.append([encode(backbone, side, inputs) for side, inputs in parts])
    everyone = np.arange(len(task.rows(split)))
    return {
        "text_to_molecule/split": ensemble_ranks([(texts, found) for texts, found, _ in sides], everyone),
        "text_to_molecule/all": ensemble_ranks([(texts, pool) for texts, _, pool in sides], task.targets(split)),
        "molecule_to_text/split": ensemble_ranks([(found, texts) for texts, found, _ in sides], everyone),
    }


def split_inputs(backbone: Backbone, task: Task, split: str) -> tuple[Inputs, Inputs]:
    """Texts and molecules of a split as the backbone reads them."""
    rows = task.rows(split)
    needs = backbone.inputs
    return task.text_inputs(needs.text, rows), task.molecule_inputs(needs.molecules, rows)


def validation_metrics(task: Task, split: str = "validation") -> Callable[[Backbone], Mapping[str, float]]:
    """A function of the backbone for `train(validate=…)`: MRR, the mean of both directions, in the split's pool."""
    from class_kit.training import encode

    rows = task.rows(split)

    @cache
    def inputs(needs: Needs) -> tuple[Inputs, Inputs]:
        return task.text_inputs(needs.text, rows), task.molecule_inputs(needs.molecules, rows)

    def validate(backbone: Backbone) -> Mapping[str, float]:
        text, molecules = inputs(backbone.inputs)
        both = retrieval_ranks_both_ways(encode(backbone, "text", text), encode(backbone, "molecules", molecules))
        return {"mrr": float(np.mean([per_query_metrics(ranks)["mrr"].mean() for ranks in both]))}

    return validate
