"""Ask a trained retriever, with a text or with a molecule."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import ipywidgets as widgets

from class_kit.checks import check_whole
from class_kit.widgets.cards import Gallery, card, paragraph, row_of
from class_kit.widgets.parts import View, toggles
from class_kit.widgets.trained import Runs

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone
    from class_kit.study.records import Record
    from class_kit.task import Task


def retrieval_playground(
    task: Task, trained: Backbone | Record | Sequence[Record], example: str = "", show: int = 8
) -> View:
    """Type a text or a SMILES and choose a training; see the molecules it ranks first, and the neighbours of each.

    A SMILES is compared with the molecules themselves, in the space that the training made.

    Parameters
    ----------
    task : Task
    trained : Backbone, Record or sequence of Record
        A retriever, or trainings to choose from, such as `study.run_arms` returns.
    example : str
        The text that is searched for at first.
    show : int
        Molecules to show, at least 1.

    Raises
    ------
    InputError
        For no training, or two of one arm and seed.
    """
    check_whole("show", show, low=1)
    return _Playground(Runs(task, trained), example, show)


class _Playground(View):
    def __init__(self, runs: Runs, example: str, show: int) -> None:
        self.runs, self.size = runs, show
        self.molecules = runs.task.molecules
        # what each kind of question said last, so that changing over and back loses nothing
        self.typed = {"text": example, "SMILES": self.molecules.smiles[0]}
        self.run = widgets.Dropdown(options=runs.names, description="training")
        self.kind = toggles("ask with a", list(self.typed))
        wide = widgets.Layout(width="100%", max_width="720px")
        self.query = widgets.Textarea(value=example, description="question", layout=wide)
        self.button = widgets.Button(description="search", button_style="primary")
        self.said, self.beside = widgets.HTML(), widgets.HTML()
        self.found = Gallery(show, "its neighbours")
        parts = (self.run, self.kind, self.query, self.button, self.said, self.found, self.beside)
        super().__init__(*parts)
        self.asked = "text"
        self.react(self._search, self.run, self.button)
        self.react(self._change_kind, self.kind)
        for place, button in enumerate(self.found.buttons):
            self.react(partial(self._neighbours, place), button)
        self._search()

    def _change_kind(self) -> None:
        self.typed[self.asked] = self.query.value
        self.asked = self.kind.value
        self.query.value = self.typed[self.asked]
        self._search()

    def _search(self) -> None:
        self.beside.value = ""
        question = self.query.value.strip()
        refusal = _refused(question, self.asked)
        if refusal:
            self.said.value = paragraph(refusal)
            self.found.fill([], lambda place, row: "")
            return
        name = self.run.value
        if self.asked == "SMILES":
            found = self.runs.molecules_like(name, question, self.size)
        else:
            found = self.runs.molecules_for(name, self.runs.text(name, question), self.size)
        self.said.value = paragraph(f"Of {len(self.molecules):,} molecules, {name} ranks these first:")
        self.found.fill([row for row, _ in found], lambda place, row: self._card(f"{place + 1}", row, found[place][1]))

    def _neighbours(self, place: int) -> None:
        row = self.found.rows[place]
        near = self.runs.near(self.run.value, row, self.size)
        cards = [self._card(f"{at + 1}", other, score) for at, (other, score) in enumerate(near)]
        self.beside.value = paragraph(f"Nearest to {self.molecules.id[row]}, number {place + 1} above:") + row_of(cards)

    def _card(self, place: str, row: int, score: float) -> str:
        texts = getattr(self.molecules, "text", None)
        lines = [f"{place} · {score:.3f}", self.molecules.id[row]]
        return card(self.molecules.smiles[row], lines if texts is None else [*lines, texts[row]])


def _refused(question: str, kind: str) -> str:
    """Why a question cannot be asked, or nothing."""
    if not question:
        return f"Type a {kind} first."
    if kind != "SMILES":
        return ""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(question)
    if molecule is None or not molecule.GetNumAtoms():
        return f"RDKit cannot read this SMILES: {question}"
    return ""
