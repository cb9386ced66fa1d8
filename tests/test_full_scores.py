"""Full scores of any pairs of two sides: equal to those of whole batches, and nothing encoded once too often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.study import ranking as module
from class_kit.study.ranking import full_scores
from tests.backbone_pairs import MOLECULE_DIM, TEXT_DIM, Pairs, pair_scores, random_pairs

ORMA = {"hidden": 16, "dim": 16}
# and wrappers of it
CASES: list[tuple[str, dict[str, Any]]] = [
    ("orma", ORMA),
    ("denoising", {"inner": "orma", "inner_options": ORMA}),
    ("distillation", {"student": "orma", "student_options": ORMA, "width": 32}),
]


class Side:
    """One side of generated pairs as inputs; it notes the rows that were taken."""

    def __init__(self, pairs: Pairs, side: str) -> None:
        self.make = pairs.text if side == "text" else pairs.molecule
        self.taken: list[int] = []

    def take(self, rows: np.ndarray, device: object) -> Any:
        self.taken += rows.tolist()
        return self.make(rows.tolist())


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("swap", [False, True])
def test_pairs_of_any_rows_have_the_scores_of_their_batches(
    name: str, options: dict[str, Any], swap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ENCODED_AT_ONCE", 3)
    torch.manual_seed(0)
    backbone = create_backbone(name, TEXT_DIM, MOLECULE_DIM, **options).eval()
    pairs = random_pairs(backbone_needs(name, **options))
    text, molecules = Side(pairs, "text"), Side(pairs, "molecules")
    rng = np.random.default_rng(0)
    score = full_scores(backbone, text, molecules, swap=swap)
    for _ in range(3):
        queries, candidates = rng.integers(0, 12, 40), rng.integers(0, 12, 40)
        texts, found = (candidates, queries) if swap else (queries, candidates)
        with torch.no_grad():
            expected = pair_scores(backbone, pairs.text(texts.tolist()), pairs.molecule(found.tolist()))
        np.testing.assert_allclose(score(queries, candidates), expected.numpy(), rtol=1e-4, atol=1e-5)
    for side in (text, molecules):
        assert len(side.taken) == len(set(side.taken)) <= 12


def test_what_was_encoded_is_let_go_when_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_NUMBERS", 0)
    backbone = create_backbone("orma", TEXT_DIM, MOLECULE_DIM, **ORMA).eval()
    pairs = random_pairs(backbone_needs("orma"))
    text, molecules = Side(pairs, "text"), Side(pairs, "molecules")
    score, rows = full_scores(backbone, text, molecules), np.array([0, 1, 1, 0])
    assert np.array_equal(score(rows, rows[::-1]), score(rows, rows[::-1]))
    assert molecules.taken == text.taken == [0, 1, 0, 1]
