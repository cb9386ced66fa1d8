"""Trained retrievers for the views: loaded when first chosen, with their pool encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.errors import InputError
from class_kit.inputs import Inputs, encode
from class_kit.neighbours.cosines import unit_rows
from class_kit.retrieval import RERANKED, search
from class_kit.study.ranking import full_scores
from class_kit.study.records import Record, load_backbone
from class_kit.task import Task, read_texts

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone


class Runs:
    """Retrievers by name, which rank the molecules of one pool.

    Parameters
    ----------
    task : Task
    trained : Backbone, Record or sequence of Record
        What `study.run_arms` returns, one of its records, or a backbone.
    pool : "all" or "split"
        All molecules, or those of the split that the task is evaluated on.

    Raises
    ------
    InputError
        For no record, or two of one arm and seed.
    """

    def __init__(self, task: Task, trained: Backbone | Record | Sequence[Record], pool: str = "all") -> None:
        each: list[Any] = list(trained) if isinstance(trained, Sequence) else [trained]
        self.names = [f"{one.arm.name}, seed {one.seed}" if hasattr(one, "arm") else "this retriever" for one in each]
        if not each or len(set(self.names)) < len(each):
            raise InputError(f"trainings {self.names}: expected at least one, with different arms or seeds")
        self.task, self.pool, self.trained = task, pool, dict(zip(self.names, each, strict=True))
        self.backbone, self.vectors = cache(self._backbone), cache(self._vectors)

    def _backbone(self, name: str) -> Backbone:
        trained = self.trained[name]
        return load_backbone(trained, self.task) if isinstance(trained, Record) else trained

    def _vectors(self, name: str) -> np.ndarray:
        """Unit vectors of the pool's molecules, `(n, d)` float64."""
        return unit_rows(encode(self.backbone(name), "molecules", self.candidates(name)).astype(np.float64))

    def candidates(self, name: str) -> Inputs:
        """The molecules of the pool as the retriever reads them."""
        kind = self.backbone(name).inputs.molecules
        if self.pool == "all":
            return self.task.inputs("pool", kind)
        return self.task.inputs("molecules", kind, self.task.rows(self.task.evaluation_split))

    def text(self, name: str, text: str) -> Inputs:
        """A text that the task does not contain, as the retriever reads texts."""
        return read_texts([text], self.backbone(name).inputs.text, self.task.encoders["text"])

    def nearest(self, name: str, vector: np.ndarray, top: int) -> list[tuple[int, float]]:
        """Molecules of the pool nearest to a vector, with their cosines."""
        pool = self.vectors(name)
        rows, cosines = search(vector[None], pool, min(top, len(pool)), progress=False)
        return list(zip(rows[0].tolist(), cosines[0].tolist(), strict=True))

    def best(self, name: str, text: Inputs, top: int) -> list[tuple[int, float]]:
        """Molecules that fit one text best, with their scores: cosines, or the full score where there is one.

        As in the evaluation, a full score ranks only the best by cosine again.
        """
        backbone = self.backbone(name)
        best = self.nearest(name, encode(backbone, "text", text)[0], max(top, RERANKED) if backbone.reranks else top)
        if backbone.reranks:
            rows = np.array([row for row, _ in best])
            scores = self.scores(name, text, rows)
            best = [(int(rows[at]), float(scores[at])) for at in np.argsort(-scores, kind="stable")]
        return best[:top]

    def scores(self, name: str, text: Inputs, rows: np.ndarray) -> np.ndarray:
        """The retriever's scores of some molecules of the pool for one text, `(n,)`."""
        backbone = self.backbone(name)
        if backbone.reranks:
            return full_scores(backbone, text, self.candidates(name))(np.zeros_like(rows), rows)
        return self.vectors(name)[rows] @ unit_rows(encode(backbone, "text", text).astype(np.float64))[0]
