"""The exercises: right answers are accepted, and each usual mistake is told what it is the answer to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from class_kit import exercises
from class_kit.curriculum import LinearSchedule
from class_kit.curriculum.intensity import make_intensity
from class_kit.errors import InputError
from class_kit.molecules import mol2vec_words
from class_kit.retrieval import Ranks, per_query_metrics
from class_kit.study.statistics import holm

KETONE = "CC(=O)C"
P_VALUES = [0.04, 0.004, 0.2, 0.015]
TEXTS = ["a", "b", "b", "c", "c", "c", "d", "e"]
CHECKS = {
    "best hits": lambda answer: exercises.check_best_hits(answer, TEXTS),
    "words": lambda answer: exercises.check_word_count(answer, KETONE),
    "neighbours": exercises.check_neighbour_counts,
    "growth": lambda answer: exercises.check_growth(answer, start=0.4, epochs=40),
    "epoch": exercises.check_first_epoch,
    "set_epoch": lambda answer: exercises.check_set_epoch(answer, epoch=7),
    "expected hits": exercises.check_expected_hits,
    "holm": lambda answer: exercises.check_holm(answer, P_VALUES),
    "mismatched": lambda answer: exercises.check_mismatched(answer, below=130),
}
RIGHT = {
    "best hits": [5 / 8, 0.625, np.float64(0.625)],
    "words": [8, 8.0, np.int64(8)],
    "neighbours": [[2, 2, 1, 0, 1], (2, 2, 1, 0, 1), np.array([2, 2, 1, 0, 1])],
    "growth": [0.042, 0.0425],
    "epoch": [10],
    "set_epoch": [6, np.int64(6)],
    "expected hits": [0.4375, 7 / 16],
    "holm": [2, np.int64(2)],
    "mismatched": [260],
}
WRONG = [
    ("mismatched", 130, "as many lie above"),
    ("mismatched", 65, "other way round"),
    ("mismatched", 300, "Which half"),
    ("set_epoch", 7, "selects epoch 8"),
    ("set_epoch", 8, "other way round"),
    ("set_epoch", 3, "epoch 4 of the plan, not 7"),
    ("best hits", 1.0, "5 rows share their text"),
    ("best hits", 3 / 8, "One of each group can still be right"),
    ("best hits", 62.5, "per cent"),
    ("best hits", 7, "not a share"),
    ("best hits", 0.5, "distinct texts"),
    ("words", 4, "one word per atom"),
    ("words", 20, "includes the hydrogens"),
    ("words", 9, "two words for each"),
    ("words", 6, "as often as it occurs"),
    ("words", 10, "for every atom, including hydrogens"),
    ("words", 7, "number of characters"),
    ("words", 2.5, "`2.5` is not an integer"),
    ("neighbours", [3, 3, 2, 1, 2], "its own neighbour; the count"),
    ("neighbours", [3, 2, 2, 0, 1], "exactly 0.9"),
    ("neighbours", [4, 3, 3, 1, 2], "Two mistakes"),
    ("neighbours", [0, 1, 1, 2, 2], "sorted"),
    ("neighbours", [2, 1, 1, 0, 1], "Look at pair 2"),
    ("neighbours", [2, 2], "expected 5 integers"),
    ("neighbours", 4, "is not a list"),
    ("neighbours", "22101", "is not a list of integers"),
    ("growth", 3, "3 % is 0.03"),
    ("growth", -0.1, "from 0 to 1"),
    ("growth", 0.01, "never reaches all pairs"),
    ("growth", 0.03, "a larger β"),
    ("growth", 0.2, "a smaller β"),
    ("epoch", 9, "exactly 0.9, not above"),
    ("epoch", 2, "the answer for γ₁"),
    ("epoch", 0, "counted from 1"),
    ("epoch", 5, "still below"),
    ("epoch", 20, "not the first"),
    ("expected hits", 0.75, "in the model's favour"),
    ("expected hits", 0.25, "counts every tie as lost"),
    ("expected hits", 1.75, "the sum over the queries"),
    ("expected hits", 43.75, "per cent"),
    ("expected hits", 0.9, "one by one"),
    ("holm", 3, "before correction"),
    ("holm", 1, "Bonferroni"),
    ("holm", 0, "the next by 3"),
    ("holm", 5, "only 4 comparisons"),
]


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name in RIGHT for answer in RIGHT[name]])
def test_right_answers_are_accepted(name: str, answer: Any) -> None:
    verdict = CHECKS[name](answer)
    assert verdict.status == "right", str(verdict)
    assert str(verdict).startswith("✓ **Right.** ")


@pytest.mark.parametrize(("name", "answer", "said"), WRONG)
def test_wrong_answers_are_explained(name: str, answer: Any, said: str) -> None:
    verdict = CHECKS[name](answer)
    assert verdict.status == "wrong"
    assert said in verdict.explanation


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("answer", [None, ...])
def test_no_answer_is_no_mistake(name: str, answer: Any) -> None:
    verdict = CHECKS[name](answer)
    assert verdict.status == "open"
    assert verdict._repr_markdown_().startswith("○ **Not answered yet.**")
    assert "*" not in repr(verdict)


@pytest.mark.parametrize("name", CHECKS)
@given(
    answer=st.one_of(
        st.text(), st.booleans(), st.floats(), st.integers(), st.binary(), st.lists(st.integers()), st.just({}),
        st.complex_numbers(), st.lists(st.none(), max_size=5), st.just(object()),
    )
)  # fmt: skip
def test_any_answer_gets_a_verdict_on_one_line(name: str, answer: Any) -> None:
    verdict = CHECKS[name](answer)
    assert verdict.status in {"right", "wrong", "open"}
    assert verdict.explanation.strip()
    assert "\n" not in verdict.explanation


def test_right_answers_are_what_the_kit_computes() -> None:
    assert RIGHT["words"][0] == len(mol2vec_words(KETONE))
    similarities = np.array(exercises.SIMILARITIES)
    assert np.array_equal(similarities, similarities.T)
    others = similarities - 2 * np.eye(5)
    assert RIGHT["neighbours"][0] == (others > 0.9).sum(1).tolist()
    for growth in (0.01, 0.042, 0.3):
        schedule = LinearSchedule(start=0.4, growth=growth)
        plan = np.mean([schedule(epoch) for epoch in range(1, 41)])
        assert exercises.share_of_samples(0.4, growth, 40) == pytest.approx(plan)
    curve = make_intensity("inverse", 40)
    assert RIGHT["epoch"][0] == next(epoch for epoch in range(1, 41) if curve(epoch) > 0.9)
    ranks = Ranks(np.array(exercises.HIGHER), np.array(exercises.SAME), 10)
    assert RIGHT["expected hits"][0] == per_query_metrics(ranks)["hits@1"].mean()
    assert RIGHT["holm"][0] == (holm(P_VALUES) < 0.05).sum()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.5))
def test_the_count_of_corrected_p_values_is_the_kits(p_values: list[float], level: float) -> None:
    right = int((holm(p_values) < level).sum())
    verdicts = [exercises.check_holm(answer, p_values, level).status for answer in range(len(p_values) + 1)]
    assert [answer for answer, status in enumerate(verdicts) if status == "right"] == [right]


def test_a_molecule_with_equal_surroundings_is_no_exercise() -> None:
    with pytest.raises(InputError, match="2 atoms: expected two words for each atom"):
        exercises.check_word_count(3, "CC")
