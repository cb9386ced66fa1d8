"""The exercises and `class-kit teach`: right answers are accepted, usual mistakes explained, packs complete."""

import itertools
import re
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from class_kit import cli, exercises
from class_kit.curriculum import LinearSchedule
from class_kit.curriculum.intensity import make_intensity
from class_kit.errors import InputError
from class_kit.molecules import mol2vec_words
from class_kit.retrieval import Ranks, per_query_metrics
from class_kit.runs.notebooks import numbered_notebooks, read_notebook
from class_kit.study.statistics import holm
from class_kit.teaching import lesson_of, lesson_plan

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


# --- `class-kit teach`: no answer reaches a learner, every one the instructor


SOURCES = numbered_notebooks()


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("class") / "pack"
    assert cli.main(["teach", str(folder)]) == 0
    return folder


def answers_of(path: Path) -> list[str]:
    words = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
    return re.findall(r"<summary>Answer</summary>(.*?)</details>", words, re.DOTALL)


def test_a_pack_holds_every_notebook_twice_and_a_plan(pack: Path) -> None:
    written = {f"{place}/{path.name}" for place in ("learners", "instructor") for path in SOURCES}
    assert {str(path.relative_to(pack)) for path in pack.rglob("*.*")} == {"lesson_plan.md", *written}


def test_learners_get_no_answer_and_the_instructor_every_one(pack: Path) -> None:
    for source in SOURCES:
        original, answers = nbformat.read(source, 4), answers_of(source)
        learners, instructor = (nbformat.read(pack / place / source.name, 4) for place in ("learners", "instructor"))
        asked, told = ("\n".join(cell.source for cell in book.cells) for book in (learners, instructor))
        assert len(answers) == asked.count("*Your answer:*") == 3
        assert not [answer for answer in answers if answer in asked or f"**Answer.** {answer}" not in told]
        assert "<details>" not in asked + told
        assert ("answer = None" in asked, "answer = None" in told) == (True, False)
        assert "widgets" not in learners.metadata
        for blank, solved, before in zip(learners.cells, instructor.cells, original.cells, strict=True):
            if before.cell_type != "code":
                continue
            assert (blank.source, blank.outputs, blank.execution_count) == (before.source, [], None)
            if check := re.search(r"exercises\.(check_\w+)", before.source):
                assert solved.outputs == []
                assert f"answer = {exercises.WORDS[check[1]]['solution']}" in solved.source.splitlines()
            else:
                assert (solved.source, solved.outputs) == (before.source, before.outputs)


def test_the_plan_fills_ninety_minutes_from_the_notebooks_own_times(pack: Path) -> None:
    plan = (pack / "lesson_plan.md").read_text(encoding="utf-8")
    assert plan.startswith("# Lesson plan, 90 minutes\n")
    rows = [(int(one), int(two)) for one, two in re.findall(r"^\| (\d+)–(\d+) \|", plan, re.MULTILINE)]
    assert rows[0][0] == 0
    assert rows[-1][1] == 90
    assert all(before[1] == after[0] for before, after in itertools.pairwise(rows))
    for source in SOURCES:
        lesson = lesson_of(source.stem, read_notebook(source).node)
        assert lesson["aim"] in plan
        assert lesson["exercise"] in plan
        for question, answer in lesson["quiz"]:
            assert f". {question}\n   > {answer}\n" in plan
    assert "| 5–15 | 01_embedding |" in plan
    assert "- **00_your_pairs**" in plan


def test_what_does_not_fit_and_what_builds_on_it_is_homework() -> None:
    sizes = {"00_own": 5, "01_a": 10, "02_b": 40, "03_c": 30, "04_d": 5}
    lessons = [{"stem": stem, "minutes": minutes, "quiz": []} for stem, minutes in sizes.items()]
    for minutes, timetable, homework in [
        (90, [("5–15", "01_a"), ("15–55", "02_b")], ["00_own", "03_c", "04_d"]),
        (200, [("5–15", "01_a"), ("15–55", "02_b"), ("55–85", "03_c"), ("85–90", "04_d")], ["00_own"]),
    ]:
        plan = lesson_plan(lessons, minutes)
        assert re.findall(r"^\| ([\d–]+) \| (\d\w+) \|", plan, re.MULTILINE) == timetable
        assert re.findall(r"^- \*\*(\w+)\*\*", plan, re.MULTILINE) == homework
