"""Ensembles of rankings and ranking in two stages, against a loop and a sort; full scores of any pairs of two sides."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.retrieval import ensemble_ranks, ranks_from_scores, rerank, retrieval_ranks
from class_kit.study import ranking as module
from class_kit.study.ranking import full_scores
from tests.backbone_pairs import MOLECULE_DIM, TEXT_DIM, Pairs, pair_scores, random_pairs
from tests.refusals import refuses
from tests.test_retrieval import assert_ranks, reference_cosines, with_duplicates


def naive(matrices, targets, tolerance=1e-9):
    """Mean ranks as fractions, every comparison by itself."""
    greater, equal = [], []
    for query, target in enumerate(targets):
        means = []
        for candidate in range(matrices[0].shape[1]):
            ranks = []
            for scores in matrices:
                others = [s for at, s in enumerate(scores[query].tolist()) if at != candidate]
                own = float(scores[query, candidate])
                above = sum(s - own > tolerance for s in others)
                level = sum(abs(s - own) <= tolerance for s in others)
                ranks.append(above + 1 + Fraction(level, 2))
            means.append(sum(ranks) / len(ranks))
        greater.append(sum(mean < means[target] for mean in means))
        equal.append(sum(mean == means[target] for mean in means) - 1)
    return greater, equal


def model(seed: int, width: int, queries: int = 25, pool: int = 60):
    """Vectors with duplicated and zero candidates, so that ties are common."""
    rng = np.random.default_rng(seed)
    candidates = with_duplicates(rng, pool, width)
    return candidates[:queries] + rng.standard_normal((queries, width)).astype(np.float32), candidates


@settings(deadline=None, max_examples=80)
@given(
    arrays.arrays(
        np.int64, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 7)), elements=st.integers(0, 4)
    ),
    st.data(),
)
def test_ranks_equal_a_loop_on_scores_full_of_ties(scores: np.ndarray, data: st.DataObject) -> None:
    targets = data.draw(arrays.arrays(np.int64, scores.shape[1], elements=st.integers(0, scores.shape[2] - 1)))
    assert_ranks(ensemble_ranks(list(scores), targets), *naive(list(scores), targets))
    # a step below the tolerance makes ties chain
    close = list(scores * 0.9e-9)
    assert_ranks(ensemble_ranks(close, targets), *naive(close, targets))


def test_vectors_of_different_widths_and_scores_mix() -> None:
    first, second = model(0, 4), model(1, 7)
    scores = np.random.default_rng(2).standard_normal((25, 60)).round(1)
    targets = np.random.default_rng(3).integers(0, 60, 25)
    expected = naive([reference_cosines(*first), reference_cosines(*second), scores], targets)
    assert max(expected[1]) > 0
    assert_ranks(ensemble_ranks([first, second, scores], targets), *expected)


def test_one_model_keeps_its_ranks() -> None:
    queries, candidates = model(4, 6, queries=300, pool=900)
    targets = np.arange(300)
    alone = retrieval_ranks(queries, candidates, targets)
    assert alone.equal.max() > 0
    assert_ranks(ensemble_ranks([(queries, candidates)], targets), alone.greater, alone.equal)
    scores = np.random.default_rng(5).integers(0, 40, (30, 200))
    alone = ranks_from_scores(scores, targets[:30])
    assert_ranks(ensemble_ranks([scores, scores], targets[:30]), alone.greater, alone.equal)


def test_the_order_of_models_and_of_the_pool_and_scales_of_scores_do_not_matter(monkeypatch) -> None:
    models, targets = [model(seed, 5) for seed in range(2)], np.arange(25)
    whole = ensemble_ranks(models, targets)
    turn = np.random.default_rng(6).permutation(60)
    turned = [(queries, candidates[turn]) for queries, candidates in models[::-1]]
    monkeypatch.setattr("class_kit.retrieval.ensemble._CELLS", 200)
    assert_ranks(ensemble_ranks(turned, np.argsort(turn)[targets]), whole.greater, whole.equal)
    views = [reference_cosines(*each).round(3) for each in models]
    scaled = ensemble_ranks([views[0] * 1000, views[1] * 0.01 + 5], targets)
    found = ensemble_ranks(views, targets)
    assert_ranks(scaled, found.greater, found.equal)
    assert found.pool == 60


test_what_does_not_fit_an_ensemble_is_refused = refuses(
    ([], r"models rank \[\]"),
    ([np.ones((2, 3)), np.ones((2, 4))], r"models rank \[\(2, 3\), \(2, 4\)\]"),
    ([(np.ones((2, 3)), np.ones((4, 5)))], "queries of model 0 have 3 dimensions"),
    ([(np.ones((2, 3)),) * 3], "tuple of 3"),
    ([np.array([[1.0, np.nan], [0, 0]])], "scores of model 0 must be finite"),
    ([np.ones((2, 1))], r"targets\[1\] is 1, outside the pool of 1"),
    call=lambda models: ensemble_ranks(models, [0, 1]),
)


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


def test_what_was_encoded_is_let_go_when_there_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_NUMBERS", 0)
    backbone = create_backbone("orma", TEXT_DIM, MOLECULE_DIM, **ORMA).eval()
    pairs = random_pairs(backbone_needs("orma"))
    text, molecules = Side(pairs, "text"), Side(pairs, "molecules")
    score, rows = full_scores(backbone, text, molecules), np.array([0, 1, 1, 0])
    assert np.array_equal(score(rows, rows[::-1]), score(rows, rows[::-1]))
    assert molecules.taken == text.taken == [0, 1, 0, 1]
