"""A view to review suspicious pairs: choose a threshold, read the pairs below it and record which belong together."""

from __future__ import annotations

import csv
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np

from class_kit import figures
from class_kit.errors import InputError
from class_kit.files import inert, write_csv
from class_kit.widgets.parts import Plot, View, beside, check_rows, pair_card, paragraph, row_of

if TYPE_CHECKING:
    from class_kit.agreement import PairAudit
    from class_kit.pairs import PairSet

DECISIONS = ("belongs", "does not belong")
_COLUMNS = ("row", "id", "smiles", "text", "agreement", "decision")


def suspect_reviewer(pairs: PairSet, audit: PairAudit, path: str | os.PathLike[str] = "decisions.csv") -> View:
    """Choose a threshold of agreement; read the pairs below it, worst first, and decide on each.

    Every decision is written to a CSV file at once; an existing file of these pairs is continued.

    Parameters
    ----------
    pairs : PairSet of L pairs
    audit : PairAudit of the same pairs
    path : path
        CSV file of the decisions: row (from 1), id, SMILES, text, agreement and decision.

    Raises
    ------
    InputError
        If pairs and audit differ in number, or the file holds anything but decisions on these pairs.
    """
    check_rows(pairs=pairs, audit=audit.agreement)
    path = Path(path)
    decided = _read_decisions(path, pairs)
    low, high = float(audit.agreement.min()), float(np.quantile(audit.shuffled, 0.99))
    first = float(np.clip(audit.agreement[audit.suspects].max(initial=low), low, high))
    threshold = widgets.FloatSlider(
        value=first,
        min=low,
        max=max(high, low + 1),
        step=(high - low) / 40 or 1,
        description="agreement at most",
        style={"description_width": "initial"},
    )
    buttons = [widgets.Button(description=name, layout=widgets.Layout(width="auto")) for name in (*DECISIONS, "later")]
    histogram, words, shown = Plot(), widgets.HTML(), widgets.HTML()
    view = View(threshold, beside(histogram, widgets.VBox([words, widgets.HBox(buttons), shown])))
    # worst first; what is put off moves to the end
    order = np.argsort(audit.agreement, kind="stable").tolist()

    def undecided() -> list[int]:
        """Pairs at or below the threshold that are still to be decided on."""
        return [row for row in order if audit.agreement[row] <= threshold.value and row not in decided]

    def update() -> None:
        rows, below = undecided(), np.sum(audit.agreement <= threshold.value)
        wrong = list(decided.values()).count(DECISIONS[1])
        words.value = paragraph(
            f"{below:,} of {len(pairs):,} pairs are at or below {threshold.value:.1f}; {len(rows):,} of them are "
            f"undecided. Decided: {len(decided):,}, of which {wrong:,} do not belong together. Saved in {path}."
        )
        shown.value = row_of(pair_card(pairs, row, f"agreement {audit.agreement[row]:.1f}") for row in rows[:1])

    def on_threshold() -> None:
        histogram.show(figures.agreement_histogram, audit.agreement, audit.shuffled, threshold.value)
        update()

    def decide(decision: str) -> None:
        for row in undecided()[:1]:
            if decision in DECISIONS:
                decided[row] = decision
                path.parent.mkdir(parents=True, exist_ok=True)
                columns = (pairs.id, pairs.smiles, pairs.text, audit.agreement.tolist(), decided)
                write_csv(path, _COLUMNS, ([at + 1, *(column[at] for column in columns)] for at in sorted(decided)))
            else:
                order.append(order.pop(order.index(row)))
        update()

    for button in buttons:
        view.react(partial(decide, button.description), button)
    return view.start(on_threshold, threshold)


def _read_decisions(path: Path, pairs: PairSet) -> dict[int, str]:
    """The decisions in a file by row, from 0; none if there is no file."""
    if not path.exists():
        return {}
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise InputError(f"{path}: columns {reader.fieldnames}: expected a file of decisions, {list(_COLUMNS)}")
        decided = {}
        for line in reader:
            row = int(line["row"]) - 1 if line["row"].isdecimal() else -1
            own = row in range(len(pairs)) and line["smiles"] == inert(pairs.smiles[row])
            if not own or line["text"] != inert(pairs.text[row]) or line["decision"] not in DECISIONS:
                raise InputError(
                    f"{path}, line {reader.line_num}: row {line['row']!r}, decision {line['decision']!r}: expected a "
                    f"decision on one of these {len(pairs)} pairs; give another path"
                )
            decided[row] = line["decision"]
    return decided
