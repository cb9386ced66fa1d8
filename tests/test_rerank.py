"""Ranking in two stages against a sort; full scores of any pairs of two sides."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.retrieval import ranks_from_scores, rerank
from class_kit.study import ranking as module
from class_kit.study.ranking import full_scores
from tests.backbone_pairs import MOLECULE_DIM, TEXT_DIM, Pairs, pair_scores, random_pairs
from tests.refusals import refuses


def sorted_again(first: np.ndarray, full: np.ndarray, target: int, k: int) -> tuple[int, int]:
    """Rank and ties of one query by sorting: the k best of the first stage by the full score, then the others."""
    order = sorted(range(len(first)), key=lambda at: (-first[at], at))
    short, rest = order[:k], order[k:]
    if target in short:
        return sum(full[c] > full[target] for c in short), sum(full[c] == full[target] for c in short) - 1
    before = sum(first[c] > first[target] for c in rest)
    return k + before, sum(first[c] == first[target] for c in rest) - 1


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 9))
def test_a_second_stage_ranks_as_a_sort_does(seed: int, pool: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    k = min(k, pool)
    first, full = rng.integers(0, 4, (6, pool)).astype(float), rng.integers(0, 4, (6, pool)).astype(float)
    targets = rng.integers(0, pool, 6)
    shortlist = np.argsort(-first, axis=1, kind="stable")[:, :k]
    found = rerank(ranks_from_scores(first, targets), shortlist, targets, lambda q, c: full[q, c], progress=False)
    expected = [sorted_again(first[q], full[q], targets[q], k) for q in range(6)]
    assert [tuple(pair) for pair in zip(found.greater, found.equal, strict=True)] == expected
    assert found.pool == pool


EYE = ranks_from_scores(np.eye(3), np.arange(3))
test_what_does_not_fit_a_second_stage_is_refused = refuses(
    (np.zeros((2, 1), int), np.arange(3), r"shortlist has shape \(2, 1\)"),
    (np.zeros((3, 1), int), np.array([0, 1, 3]), r"targets\[2\] is 3"),
    (np.zeros((3, 1), int), np.arange(3), "expected finite"),
    call=lambda shortlist, targets: rerank(
        EYE, shortlist, targets, lambda q, c: np.full(len(q), np.nan), progress=False
    ),
)


# --- full scores: equal to those of whole batches, and nothing encoded once too often


ORMA = {"hidden": 16, "dim": 16}
# and a wrapper of it
CASES: list[tuple[str, dict[str, Any]]] = [
    ("orma", ORMA),
    ("denoising", {"inner": "orma", "inner_options": ORMA}),
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
def test_pairs_of_any_rows_have_the_scores_of_their_batches(name, options, swap, monkeypatch) -> None:
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
