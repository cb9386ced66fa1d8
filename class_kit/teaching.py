"""The instructor's pack: notebooks without answers for learners, with answers for the instructor, and a lesson plan.

Everything is made from the notebooks themselves, their aims, times, quizzes and exercises, so that a changed notebook
changes the lesson and nothing has to be kept in step by hand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.files import scratch_folder, write_text
from class_kit.runs.notebooks import numbered_notebooks, read_notebook

OPENING, CLOSING = 5, 10
# The notebook on one's own pairs is homework: a class has one data set in common.
HOMEWORK = "00"
_ANSWER = re.compile(r"<details>\s*<summary>Answer</summary>(.*?)</details>", re.DOTALL)
_QUESTION = re.compile(r"^\d\. (.*?)(?=\n<details>|\n\n|\Z)", re.MULTILINE | re.DOTALL)
_OPEN = re.compile(r"^answer = None$", re.MULTILINE)
# The parts of a notebook's text that a lesson needs.
_PARTS = {
    "title": r"^# (.*?)$",
    "aim": r"\*\*Aim\.\*\* (.*?)$",
    "time": r"\*\*Time\.\*\* (.*?)$",
    "minutes to read": r"(\d+) minutes to read",
    "exercise": r"## Exercise\n(.*?)(?=\n## |\Z)",
    "quiz": r"## Quiz\n(.*?)(?=\n## |\Z)",
}


@dataclass(frozen=True)
class Lesson:
    """What a lesson plan says of one notebook."""

    stem: str
    title: str
    aim: str
    minutes: int
    time: str
    exercise: str
    solution: str
    questions: tuple[tuple[str, str], ...]


def make_pack(folder: str | os.PathLike[str], minutes: int = 90) -> list[Path]:
    """Write `learners/`, `instructor/` and `lesson_plan.md` into a new or empty folder.

    Learners' notebooks have no outputs, no answers to the quiz and open exercises; the instructor's keep the
    committed outputs and the answers, with the exercises solved.

    Parameters
    ----------
    folder : path
    minutes : int
        Length of the lesson, 30 to 600.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        When the folder holds anything, is a file, cannot be made, or a notebook lacks the parts a lesson needs.
    """
    import nbformat

    check_whole("minutes", minutes, low=30, high=600)
    target = Path(folder)
    books = {path.stem: read_notebook(path).node for path in numbered_notebooks()}
    texts = {"lesson_plan.md": lesson_plan([lesson_of(stem, node) for stem, node in books.items()], minutes)}
    for place, change in (("learners", for_learners), ("instructor", for_instructor)):
        texts |= {f"{place}/{stem}.ipynb": nbformat.writes(change(node)) + "\n" for stem, node in books.items()}
    try:
        target.mkdir(parents=True, exist_ok=True)
        taken = any(target.iterdir())
    except (OSError, ValueError) as error:
        raise InputError(f"{str(folder)!r} cannot be used as a folder: {error}") from None
    if taken:
        raise InputError(f"{str(folder)!r}: not an empty folder; a pack overwrites nothing, choose another")
    # whole or not at all, so that the same command can be given again
    with scratch_folder(target, ".pack.") as made:
        for name, text in texts.items():
            write_text(made / name, text)
        for path in list(made.iterdir()):
            os.replace(path, target / path.name)
    return [target / name for name in texts]


def for_learners(notebook: Any) -> Any:
    """A copy without outputs and without answers; each answer leaves a line to write on."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        elif cell.cell_type == "markdown":
            cell.source = _ANSWER.sub("\n*Your answer:*", cell.source)
    copy.metadata.pop("widgets", None)
    return copy


def for_instructor(notebook: Any) -> Any:
    """A copy with the quiz's answers unfolded and the exercise solved; outputs stay as they were committed."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = _ANSWER.sub(lambda found: f"\n**Answer.** {found[1].strip()}", cell.source)
        elif cell.cell_type == "code" and _OPEN.search(cell.source):
            cell.source = _OPEN.sub(f"answer = {_solution(cell.source)}", cell.source)
            # the output said "not answered yet"
            cell.outputs, cell.execution_count = [], None
    return copy


def lesson_of(stem: str, notebook: Any) -> Lesson:
    """Aim, time, quiz and exercise of a notebook, from its text.

    Raises
    ------
    InputError
        When a part is missing: the message names notebook and part.
    """
    words = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    parts = {}
    for what, pattern in _PARTS.items():
        found = re.search(pattern, words, re.DOTALL | re.MULTILINE)
        if not found:
            raise InputError(f"notebook {stem} has no {what}; a lesson needs one")
        parts[what] = found[1].strip()
    answers = [answer.strip() for answer in _ANSWER.findall(parts["quiz"])]
    questions = [" ".join(question.split()) for question in _QUESTION.findall(parts["quiz"])]
    if len(questions) != len(answers) or not questions:
        raise InputError(f"notebook {stem}: {len(questions)} quiz questions and {len(answers)} answers")
    asked = [cell.source for cell in notebook.cells if cell.cell_type == "code" and _OPEN.search(cell.source)]
    return Lesson(
        stem=stem,
        title=parts["title"],
        aim=parts["aim"],
        minutes=int(parts["minutes to read"]),
        time=parts["time"],
        exercise=parts["exercise"],
        solution=_solution(asked[0]) if asked else "",
        questions=tuple(zip(questions, answers, strict=True)),
    )


def _solution(source: str) -> str:
    from class_kit.exercises import SOLUTIONS

    check = re.search(r"exercises\.(check_\w+)\(", source)
    if not check or check[1] not in SOLUTIONS:
        raise InputError(f"the exercise {source.splitlines()[-1]!r} has no solution in class_kit.exercises.SOLUTIONS")
    return SOLUTIONS[check[1]]


def timetable(lessons: Sequence[Lesson], minutes: int) -> dict[str, int]:
    """The first minute of each notebook that a lesson has time for, by its stem; the others are left for home.

    In their order, each with the time it says it takes, as long as opening and closing still fit; `HOMEWORK` and the
    notebooks behind the first that does not fit stay for home, since each builds on the one before.
    """
    at, planned = OPENING, {}
    for lesson in lessons:
        if lesson.stem.startswith(HOMEWORK):
            continue
        if at + lesson.minutes > minutes - CLOSING:
            break
        planned[lesson.stem] = at
        at += lesson.minutes
    return planned


def lesson_plan(lessons: Sequence[Lesson], minutes: int) -> str:
    """The plan as Markdown: a timetable, then each notebook with its aim, exercise and quiz, and the answers."""
    starts, end = timetable(lessons, minutes), OPENING
    rows, sections, homework, home = [], [], [], []
    for one in lessons:
        if one.stem in starts:
            end = starts[one.stem] + one.minutes
            rows.append(f"| {starts[one.stem]}–{end} | {one.stem} | {_first_sentence(one.aim)} |")
            sections += _section(one, f"{starts[one.stem]}–{end} min")
        else:
            home.append(f"- **{one.stem}** ({one.minutes} minutes): {one.aim}")
            homework += _section(one, "for home")
    lines = [
        f"# Lesson plan, {minutes} minutes",
        "",
        "Made from the notebooks by `class-kit teach`. Learners work in `learners/`, alone or in pairs; `instructor/` "
        "has the same notebooks with outputs, answers and solved exercises.",
        "",
        "## Before the lesson",
        "",
        "- Run `class-kit run` once on each machine, or on a server all share: vectors and trainings are kept, and the "
        "notebooks then answer within seconds.",
        "- Open a notebook from `learners/`, run all cells, move a slider: what fails now will not fail in class.",
        "",
        "## Timetable",
        "",
        "| minutes | notebook | what for |",
        "|---|---|---|",
        f"| 0–{OPENING} | – | The question: does easy-to-hard training help, and is it the order? |",
        *rows,
        f"| {end}–{minutes} | – | Quiz questions that divided the room; what each would try next. |",
        "",
        *sections,
    ]
    return "\n".join([*lines, "## For home", "", *home, "", *homework] if home else lines)


def _section(one: Lesson, when: str) -> list[str]:
    lines = [f"## {one.title} ({when})", "", f"**Aim.** {one.aim}", f"**Time.** {one.time}", ""]
    lines += [f"**Exercise.** {one.exercise}", ""]
    if one.solution:
        lines += [f"**Solution.** `{one.solution}` with the notebook's own parameters.", ""]
    for number, (question, answer) in enumerate(one.questions, start=1):
        lines += [f"{number}. {question}", f"   *{_inline(answer)}*"]
    return [*lines, ""]


def _inline(answer: str) -> str:
    """An answer on one line that can stand in italics."""
    return " ".join(re.sub(r"</?code>", "`", answer).split()).replace("*", "")


def _first_sentence(aim: str) -> str:
    return re.split(r"(?<=[.;:]) ", aim, maxsplit=1)[0].rstrip(";:.").replace("|", "/") + "."
