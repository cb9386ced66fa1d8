"""The instructor's pack: notebooks without answers for learners, with answers for the instructor, and a lesson plan.

Everything comes from the notebooks themselves, their aims, times, quizzes and exercises, so that a changed notebook
changes the lesson and nothing has to be kept in step by hand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from class_kit.checks import check_whole
from class_kit.exercises import WORDS
from class_kit.files import PACKAGE, own_folder, write_text
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
        If the folder holds anything or is a file.
    """
    import nbformat

    check_whole("minutes", minutes, low=30, high=600)
    target = own_folder(folder)
    books = {path.stem: read_notebook(path).node for path in numbered_notebooks()}
    texts = {"lesson_plan.md": lesson_plan([lesson_of(stem, node) for stem, node in books.items()], minutes)}
    for place, change in (("learners", for_learners), ("instructor", for_instructor)):
        texts |= {f"{place}/{stem}.ipynb": nbformat.writes(change(node)) + "\n" for stem, node in books.items()}
    for name, text in texts.items():
        write_text(target / name, text)
    return [target / name for name in texts]


def for_learners(notebook: Any) -> Any:
    """A copy without outputs and without answers; each answer leaves a line to write on."""
    from nbconvert.preprocessors import ClearOutputPreprocessor

    copy, _ = ClearOutputPreprocessor().preprocess(deepcopy(notebook), {})
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = _ANSWER.sub("\n*Your answer:*", cell.source)
    copy.metadata.pop("widgets", None)
    return copy


def for_instructor(notebook: Any) -> Any:
    """A copy with the quiz's answers unfolded and the exercise solved; outputs stay as they were committed."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = _ANSWER.sub(lambda answer: f"\n**Answer.** {answer[1].strip()}", cell.source)
        elif cell.cell_type == "code" and _OPEN.search(cell.source):
            cell.source = _OPEN.sub(f"answer = {_solution(cell.source)}", cell.source)
            # the output said "not answered yet"
            cell.outputs, cell.execution_count = [], None
    return copy


def lesson_of(stem: str, notebook: Any) -> dict[str, Any]:
    """Title, aim, time, minutes, exercise, solution and quiz of one of the kit's notebooks, from its text."""
    words = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    parts = {part: re.findall(pattern, words, re.DOTALL | re.MULTILINE)[0].strip() for part, pattern in _PARTS.items()}
    answers = [answer.strip() for answer in _ANSWER.findall(parts["quiz"])]
    questions = [" ".join(question.split()) for question in _QUESTION.findall(parts["quiz"])]
    asked = next(cell.source for cell in notebook.cells if cell.cell_type == "code" and _OPEN.search(cell.source))
    lesson = {"stem": stem, "minutes": int(parts["minutes to read"]), "solution": _solution(asked)}
    return parts | lesson | {"quiz": list(zip(questions, answers, strict=True))}


def _solution(source: str) -> str:
    """The Python that replaces `None` in an exercise's cell."""
    return WORDS[re.findall(r"exercises\.(check_\w+)\(", source)[0]]["solution"]


def lesson_plan(lessons: Sequence[dict[str, Any]], minutes: int) -> str:
    """The plan as Markdown: a timetable, then each notebook with its aim, exercise and quiz, and the answers.

    The notebooks come in their order, each with the time it takes to read, as long as opening and closing still fit.
    `HOMEWORK` is left for home, and so is everything from the first that does not fit, since each builds on the one
    before.
    """
    from jinja2 import Environment

    end, planned = OPENING, []
    for lesson in lessons:
        if lesson["stem"].startswith(HOMEWORK):
            continue
        if end + lesson["minutes"] > minutes - CLOSING:
            break
        planned.append(lesson | {"start": end})
        end += lesson["minutes"]
    stems = {lesson["stem"] for lesson in planned}
    homework = [lesson for lesson in lessons if lesson["stem"] not in stems]
    # Markdown made of the kit's own notebooks: there is nothing to escape
    pages = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)
    template = pages.from_string((PACKAGE / "lesson_plan.md.j2").read_text(encoding="utf-8"))
    return template.render(planned=planned, homework=homework, minutes=minutes, opening=OPENING, end=end)
