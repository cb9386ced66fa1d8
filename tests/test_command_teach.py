"""`class-kit teach`: no answer reaches a learner, every one the instructor, and the plan is the notebooks' own."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import nbformat
import pytest

from class_kit import cli, exercises, teaching
from class_kit.errors import InputError
from class_kit.runs.notebooks import numbered_notebooks, read_notebook
from class_kit.teaching import lesson_of, lesson_plan, make_pack

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
                assert f"answer = {exercises.SOLUTIONS[check[1]]}" in solved.source.splitlines()
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


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("**Aim.**", "Aim.", "no aim"),
        ("minutes to read", "minutes", "no minutes to read"),
        ("## Quiz", "## Questions", "no quiz"),
        ("<summary>Answer</summary>", "<summary>Hint</summary>", "0 answers"),
        ("exercises.check_word_count", "exercises.check_nothing", "no solution"),
    ],
)
def test_a_notebook_without_a_part_is_named(old: str, new: str, said: str) -> None:
    node = read_notebook(SOURCES[1]).node
    for cell in node.cells:
        cell.source = cell.source.replace(old, new)
    with pytest.raises(InputError, match=said):
        lesson_of("01_embedding", node)


def test_a_pack_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def full_disk(path: Path, text: str) -> None:
        calls.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(teaching, "write_text", full_disk)
    with pytest.raises(OSError, match="No space"):
        make_pack(tmp_path / "pack")
    assert list((tmp_path / "pack").iterdir()) == []
