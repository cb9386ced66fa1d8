"""Trained retrievers for the views: loaded when first chosen, with their pools encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.errors import InputError
from class_kit.inputs import Inputs, encode
from class_kit.retrieval import search
from class_kit.retrieval.rerank import RERANKED
from class_kit.study.ranking import full_scores
from class_kit.study.records import Record, load_backbone
from class_kit.task import Task, read_molecules, read_texts

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone


class Runs:
    """Retrievers by name, which rank the molecules of a pool.

    Parameters
    ----------
    task : Task
    trained : Backbone, Record or sequence of Record
        What `study.run_arms` returns, one of its records, or a backbone.

    Raises
    ------
    InputError
        For no record, or two of one arm and seed.
    """

    def __init__(self, task: Task, trained: Backbone | Record | Sequence[Record]) -> None:
        self.task = task
        found: list[Any] = list(trained) if isinstance(trained, Sequence) else [trained]
        self.names = [f"{one.arm.name}, seed {one.seed}" if hasattr(one, "arm") else "this retriever" for one in found]
        self.trained = dict(zip(self.names, found, strict=True))
        self.records: dict[str, Record] = {name: one for name, one in self.trained.items() if hasattr(one, "arm")}
        if not found or len(self.trained) < len(found):
            raise InputError(f"trainings {self.names}: expected at least one, with different arms or seeds")
        self.backbone = cache(self._backbone)
        self.pool = cache(self._pool)

    def _backbone(self, name: str) -> Backbone:
        return load_backbone(self.records[name], self.task) if name in self.records else self.trained[name]

    def _pool(self, name: str, pool: str) -> np.ndarray:
        """Unit vectors of a pool's molecules, `(n, d)` float64."""
        from sklearn.preprocessing import normalize

        return normalize(encode(self.backbone(name), "molecules", self.inputs(name, pool)).astype(np.float64))

    def inputs(self, name: str, pool: str) -> Inputs:
        """Candidates as the retriever reads them: "all" molecules, or those of the split it is evaluated on."""
        kind = self.backbone(name).inputs.molecules
        if pool == "all":
            return self.task.pool_inputs(kind)
        return self.task.molecule_inputs(kind, self.task.rows(self.task.evaluation_split))

    def text(self, name: str, text: str) -> Inputs:
        """A text typed by a reader, as the retriever reads texts."""
        return read_texts([text], self.backbone(name).inputs.text, self.task.encoders["text"])

    def near(self, name: str, row: int, top: int) -> list[tuple[int, float]]:
        """Molecules of the pool "all" nearest to one of them, itself left out, with their cosines."""
        found = self._closest(name, "all", self.pool(name, "all")[row], top + 1)
        return [(at, score) for at, score in found if at != row][:top]

    def molecules_like(self, name: str, smiles: str, top: int) -> list[tuple[int, float]]:
        """Molecules of the pool "all" nearest to a molecule that need not be in it, with their cosines."""
        molecule = read_molecules([smiles], self.backbone(name).inputs.molecules, self.task.encoders)
        return self._closest(name, "all", encode(self.backbone(name), "molecules", molecule)[0], top)

    def molecules_for(self, name: str, text: Inputs, top: int, pool: str = "all") -> list[tuple[int, float]]:
        """Molecules of a pool that fit one text best, with their scores: cosines, or the full score where there is one.

        As in the evaluation, a full score ranks only the best by cosine again.
        """
        backbone = self.backbone(name)
        best = max(top, RERANKED) if backbone.reranks else top
        found = self._closest(name, pool, encode(backbone, "text", text)[0], best)
        if backbone.reranks:
            rows = np.array([row for row, _ in found])
            scores = self.scores(name, text, rows, pool)
            found = [(int(rows[at]), float(scores[at])) for at in np.argsort(-scores, kind="stable")]
        return found[:top]

    def scores(self, name: str, text: Inputs, rows: np.ndarray, pool: str) -> np.ndarray:
        """The retriever's scores of some molecules of a pool for one text, `(n,)`."""
        from sklearn.preprocessing import normalize

        if self.backbone(name).reranks:
            return full_scores(self.backbone(name), text, self.inputs(name, pool))(np.zeros_like(rows), rows)
        return self.pool(name, pool)[rows] @ normalize(encode(self.backbone(name), "text", text).astype(np.float64))[0]

    def _closest(self, name: str, pool: str, vector: np.ndarray, top: int) -> list[tuple[int, float]]:
        candidates = self.pool(name, pool)
        rows, cosines = search(vector[None], candidates, min(top, len(candidates)), progress=False)
        return [(int(row), float(cosine)) for row, cosine in zip(rows[0], cosines[0], strict=True)]
