"""`class-kit teach`: no answer reaches a learner, every one the instructor, and the plan is the notebooks' own."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from class_kit import cli, exercises, teaching
from class_kit.errors import InputError
from class_kit.runs.notebooks import numbered_notebooks, read_notebook
from class_kit.teaching import Lesson, for_instructor, for_learners, lesson_of, make_pack, timetable

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


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_learners_get_no_answer_and_no_output(source: Path, pack: Path) -> None:
    text = (pack / "learners" / source.name).read_text(encoding="utf-8")
    book = nbformat.reads(text, 4)
    nbformat.validate(book)
    original = nbformat.read(source, 4)
    answers = answers_of(source)
    assert len(answers) == 3
    words = "\n".join(cell.source for cell in book.cells)
    for answer in answers:
        assert answer not in words
    assert "<details>" not in words
    assert words.count("*Your answer:*") == 3
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count]
    assert [cell.source for cell in code] == [cell.source for cell in original.cells if cell.cell_type == "code"]
    assert "answer = None" in words


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_instructor_gets_the_answers_and_the_outputs(source: Path, pack: Path) -> None:
    book = nbformat.read(pack / "instructor" / source.name, 4)
    original = nbformat.read(source, 4)
    words = "\n".join(cell.source for cell in book.cells)
    for answer in answers_of(source):
        assert f"**Answer.** {answer}" in words
    assert "<details>" not in words
    assert "answer = None" not in words
    (asked,) = [cell for cell in book.cells if "exercises.check_" in cell.source]
    assert asked.outputs == []
    check = re.search(r"exercises\.(check_\w+)", asked.source)[1]
    assert f"answer = {exercises.SOLUTIONS[check]}" in asked.source.splitlines()
    for cell, before in zip(book.cells, original.cells, strict=True):
        if cell.cell_type == "code" and cell is not asked:
            assert (cell.source, cell.outputs) == (before.source, before.outputs)


def test_the_plan_fills_ninety_minutes_from_the_notebooks_own_times(pack: Path) -> None:
    plan = (pack / "lesson_plan.md").read_text(encoding="utf-8")
    assert plan.startswith("# Lesson plan, 90 minutes\n")
    rows = [(int(one), int(two)) for one, two in re.findall(r"^\| (\d+)–(\d+) \|", plan, re.MULTILINE)]
    assert rows[0][0] == 0
    assert rows[-1][1] == 90
    assert all(before[1] == after[0] for before, after in itertools.pairwise(rows))
    for source in SOURCES:
        lesson = lesson_of(source.stem, read_notebook(source).node)
        assert lesson.aim in plan
        assert lesson.exercise in plan
        for question, _ in lesson.questions:
            assert question in plan
    assert "| 5–15 | 01_embedding |" in plan
    assert "- **00_your_pairs**" in plan


def lesson(stem: str, minutes: int) -> Lesson:
    return Lesson(stem, stem, "An aim.", minutes, "", "", "", (("q", "a"),))


def test_what_does_not_fit_and_what_builds_on_it_stays_for_home() -> None:
    lessons = [lesson("00_own", 5), lesson("01_a", 10), lesson("02_b", 40), lesson("03_c", 30), lesson("04_d", 5)]
    assert timetable(lessons, 90) == {"01_a": 5, "02_b": 15}
    assert timetable(lessons, 200) == {"01_a": 5, "02_b": 15, "03_c": 55, "04_d": 85}


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    assert cli.main(["teach", str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert cli.main(["teach", str(tmp_path / "mine.txt")]) == 2
    assert cli.main(["teach", str(tmp_path / "new"), "--minutes", "5"]) == 2
    assert "minutes=5" in capsys.readouterr().err
    assert cli.main(["teach", "a\0b"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


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


def test_outputs_and_widget_states_are_cleared_only_for_learners() -> None:
    cell = new_code_cell("1", outputs=[new_output("stream", text="x")], execution_count=3)
    book = new_notebook(cells=[cell, new_markdown_cell("text")], metadata={"widgets": {"a": 1}})
    learners, instructor = for_learners(book), for_instructor(book)
    assert (learners.cells[0].outputs, learners.cells[0].execution_count) == ([], None)
    assert "widgets" not in learners.metadata
    assert instructor == book
    assert book.cells[0].execution_count == 3


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
