"""Views of trained retrievers: search with a text or a molecule, and browse their failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np

from class_kit import figures
from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.molecules.structures import parse
from class_kit.notices import ranked_on
from class_kit.retrieval import per_query_metrics
from class_kit.study.records import Record
from class_kit.task import Task
from class_kit.widgets.parts import Pages, Plot, View, beside, card, pair_card, paragraph, row_of, toggles
from class_kit.widgets.trained import Runs

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone

_RANKING = "text_to_molecule/split"


def retrieval_playground(
    task: Task, trained: Backbone | Record | Sequence[Record], example: str = "", show: int = 8
) -> View:
    """Type a text or a SMILES and choose a training; see the molecules it ranks first and the neighbours of each.

    A SMILES is compared with the molecules in the space that the training learned.

    Parameters
    ----------
    task : Task
    trained : Backbone, Record or sequence of Record
        A retriever, or trainings to choose from, such as `study.run_arms` returns.
    example : str
        The text of the first search.
    show : int
        Molecules to show, at least 1.

    Raises
    ------
    InputError
        For no training, or two of one arm and seed.
    """
    check_whole("show", show, low=1)
    runs, molecules = Runs(task, trained), task.molecules
    # the last query of each kind, so that switching back and forth loses nothing
    typed = {"text": example, "SMILES": molecules.smiles[0]}
    run = widgets.Dropdown(options=runs.names, description="training")
    kind = toggles("search by", list(typed))
    wide = widgets.Layout(width="100%", max_width="720px")
    query = widgets.Textarea(value=example, description="query", layout=wide)
    button = widgets.Button(description="search", button_style="primary")
    said, near = widgets.HTML(), widgets.HTML()
    # the widgets are created once and refilled: creating them takes longer than drawing molecules
    cards = [widgets.HTML() for _ in range(show)]
    narrow = widgets.Layout(width="auto")
    buttons = [widgets.Button(description="neighbours", layout=narrow) for _ in range(show)]
    places = [widgets.VBox(parts) for parts in zip(cards, buttons, strict=True)]
    gallery = widgets.Box(places, layout=widgets.Layout(flex_flow="row wrap", grid_gap="12px"))
    view = View(run, kind, query, button, said, gallery, near)
    found: list[tuple[int, float]] = []

    def ranked(rows: Sequence[tuple[int, float]]) -> list[str]:
        return [pair_card(molecules, row, f"{at} · {score:.3f}") for at, (row, score) in enumerate(rows, start=1)]

    def search() -> None:
        near.value, question = "", query.value.strip()
        if refusal := _refused(question, kind.value):
            said.value, found[:] = paragraph(refusal), []
        elif kind.value == "SMILES":
            found[:] = runs.molecules_like(run.value, question, show)
        else:
            found[:] = runs.molecules_for(run.value, runs.text(run.value, question), show)
        if found:
            said.value = paragraph(f"Of {len(molecules):,} molecules, {run.value} ranks these first:")
        shown = ranked(found)
        for at, place in enumerate(places):
            place.layout.display = None if at < len(shown) else "none"
            cards[at].value = shown[at] if at < len(shown) else ""

    def change_kind() -> None:
        query.value = typed[kind.value]
        search()

    def neighbours(place: int) -> None:
        row = found[place][0]
        alike = ranked(runs.near(run.value, row, show))
        near.value = paragraph(f"Nearest to {molecules.id[row]}, number {place + 1} above:") + row_of(alike)

    view.react(search, run, button)
    view.react(change_kind, kind)
    view.react(lambda: typed.update({kind.value: query.value}), query)
    for place, beneath in enumerate(buttons):
        view.react(partial(neighbours, place), beneath)
    search()
    return view


def _refused(question: str, kind: str) -> str:
    """Why a query is refused, or an empty string."""
    if not question:
        return f"Type a {kind} first."
    if kind == "SMILES" and parse(question)[0] is None:
        return f"RDKit cannot read this SMILES: {question}"
    return ""


def failure_browser(task: Task, trained: Record | Sequence[Record], show: int = 3) -> View:
    """Choose a training, a class and a range of ranks; see held-out texts, worst first, and what was ranked first.

    Each text is shown next to its own molecule and the one ranked first, with the similarity s of the two pairs: near
    1, the "error" is a near-duplicate, which the neighbour count calls hard.

    Parameters
    ----------
    task : Task
    trained : Record or sequence of Record
        Trainings on this task, as `study.run_arms` returns them.
    show : int
        Texts on a page, at least 1.

    Raises
    ------
    InputError
        For no training, two of one arm and seed, or ranks that do not belong to this task's held-out pairs.
    """
    check_whole("show", show, low=1)
    runs, held = Runs(task, trained), task.rows(task.evaluation_split)
    if not runs.records:
        raise InputError("a backbone alone has no ranks: expected a record, such as study.run_arms returns")
    ranks_of = {name: per_query_metrics(one.ranks[_RANKING])["mean_rank"] for name, one in runs.records.items()}
    for ranks in ranks_of.values():
        if len(ranks) != len(held):
            raise InputError(f"{len(ranks)} ranks: expected {len(held)}, one per held-out pair of this task")
    classes = np.asarray(task.classes, dtype=object)[held]
    named = {f"{name} ({size:,})": classes == name for name, size in sorted(Counter(classes).items())}
    of_class = [np.ones(len(held), bool), *named.values()]
    # 1, 2, 5, 10, 20, 50, … up to the pool, so that a slider covers all ranks in a few steps
    steps = [lead * 10**power for power in range(len(str(len(held)))) for lead in (1, 2, 5)]
    steps = [*(step for step in steps if step < len(held)), len(held)]
    bins = figures.doubling_bins(1, len(held))
    labels = ("rank", ranked_on("texts", task.evaluation_split))
    run = widgets.Dropdown(options=runs.names, description="training")
    # numbers as values: a dropdown whose value is None shows an empty line
    options = [(name, at) for at, name in enumerate(("every class", *named))]
    group = widgets.Dropdown(options=options, description="class")
    span = widgets.SelectionRangeSlider(options=steps, index=(0, len(steps) - 1), description="ranks")
    image, words = Plot(), widgets.HTML()
    pages = Pages(show, "texts, worst rank first", lambda rows: "".join(case(row) for row in rows))
    view = View(beside(image, widgets.VBox([run, group, span])), words, pages)

    def update() -> None:
        ranks, chosen, (low, high) = ranks_of[run.value], of_class[group.value], span.value
        rows = np.flatnonzero((ranks >= low) & (ranks <= high) & chosen)
        image.show(figures.chosen_bars, np.floor(ranks[chosen]), np.floor(ranks[rows]), bins, labels)
        words.value = paragraph(
            f"{len(rows):,} of {chosen.sum():,} texts have a rank from {low:,} to {high:,}; "
            f"{np.mean(ranks[chosen] == 1):.1%} are ranked first, the median rank is {np.median(ranks[chosen]):,.1f} "
            f"of {len(ranks):,}. Filled: the texts below; outlined: all of the class."
        )
        pages.fill(rows[np.argsort(-ranks[rows], kind="stable")])

    def case(query: int) -> str:
        name, pairs, row = run.value, task.pairs, held[query]
        text = task.text_inputs(runs.backbone(name).inputs.text, np.array([row]))
        first = runs.molecules_for(name, text, 1, pool="split")[0][0]
        scores = runs.scores(name, text, np.array([query, first]), "split")
        rank = f"rank {ranks_of[name][query]:,.1f}".removesuffix(".0") + f" · {scores[0]:.3f}"
        cards = [card(pairs.smiles[row], [rank, pairs.id[row], "its own molecule"])]
        if first != query:
            other = held[first]
            alike = f"s = {_similarity(task, row, other):.2f} between the two pairs"
            cards.append(pair_card(pairs, other, f"ranked first · {scores[1]:.3f}", alike))
        words_of = paragraph(pairs.text[row], "width:300px;max-height:14em;overflow:auto;overflow-wrap:anywhere")
        label = paragraph(classes[query], "font-weight:bold")
        frame = "display:flex;flex-wrap:wrap;gap:16px;border-top:1px solid #bbb;padding:6px 0"
        return f'<div style="{frame}"><div>{label}{words_of}</div>{row_of(cards)}</div>'

    view.react(update, run, group, span)
    pages.join(view)
    update()
    return view


def _similarity(task: Task, one: int, other: int) -> float:
    """s of two pairs, the mean of the cosines of their texts and of their molecules."""
    from sklearn.metrics.pairwise import cosine_similarity

    sides = (vectors[[one, other]].astype(np.float64) for vectors in (task.t, task.m))
    return float(np.mean([cosine_similarity(side)[0, 1] for side in sides]))
