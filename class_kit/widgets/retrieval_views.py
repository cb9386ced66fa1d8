"""Views of trained retrievers: search with a text, and browse their failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ipywidgets as widgets
import numpy as np

from class_kit import figures
from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.notices import ranked_on
from class_kit.retrieval import per_query_metrics
from class_kit.study.records import Record
from class_kit.task import Task
from class_kit.widgets.parts import Pages, Plot, View, beside, card, pair_card, paragraph, row_of
from class_kit.widgets.trained import Runs

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone

_RANKING = "text_to_molecule/split"


def retrieval_playground(
    task: Task, trained: Backbone | Record | Sequence[Record], example: str = "", show: int = 8
) -> View:
    """Type a text and choose a training; see the molecules it ranks first.

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
    run = widgets.Dropdown(options=runs.names, description="training")
    wide = widgets.Layout(width="100%", max_width="720px")
    query = widgets.Textarea(value=example, description="query", layout=wide)
    button = widgets.Button(description="search", button_style="primary")
    words, gallery = widgets.HTML(), widgets.HTML()
    view = View(run, query, button, words, gallery)

    def search() -> None:
        question, ranked = query.value.strip(), []
        words.value = paragraph("Type a text first.")
        if question:
            ranked = runs.best(run.value, runs.text(run.value, question), show)
            words.value = paragraph(f"Of {len(molecules):,} molecules, {run.value} ranks these first:")
        gallery.value = row_of(
            pair_card(molecules, row, f"{at} · {score:.3f}") for at, (row, score) in enumerate(ranked, start=1)
        )

    return view.start(search, run, button)


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
    from sklearn.metrics.pairwise import cosine_similarity

    runs, held = Runs(task, trained, "split"), task.rows(task.evaluation_split)
    records = {name: one for name, one in runs.trained.items() if isinstance(one, Record)}
    if not records:
        raise InputError("a backbone alone has no ranks: expected a record, such as study.run_arms returns")
    ranks_of = {name: per_query_metrics(one.ranks[_RANKING])["mean_rank"] for name, one in records.items()}
    for ranks in ranks_of.values():
        if len(ranks) != len(held):
            raise InputError(f"{len(ranks)} ranks: expected {len(held)}, one per held-out pair of this task")
    classes = np.asarray(task.classes, dtype=object)[held]
    named = {f"{name} ({size:,})": classes == name for name, size in sorted(Counter(classes).items())}
    of_class = [np.ones(len(held), bool), *named.values()]
    bins = figures.doubling_bins(1, len(held))
    labels = ("rank", ranked_on("texts", task.evaluation_split))
    run = widgets.Dropdown(options=runs.names, description="training")
    # numbers as values: a dropdown whose value is None shows an empty line
    options = [(name, at) for at, name in enumerate(("every class", *named))]
    group = widgets.Dropdown(options=options, description="class")
    ends = [(name, at) for at, name in enumerate(bins[1], start=1)]
    span = widgets.SelectionRangeSlider(options=ends, index=(0, len(ends) - 1), description="ranks")
    image, words = Plot(), widgets.HTML()
    pages = Pages(show, "texts, worst rank first", lambda rows: "".join(case(row) for row in rows))
    view = View(beside(image, widgets.VBox([run, group, span])), words, pages)

    def update() -> None:
        ranks, chosen, (low, high) = ranks_of[run.value], of_class[group.value], span.value
        bin_of = np.digitize(ranks, bins[0])
        rows = np.flatnonzero((bin_of >= low) & (bin_of <= high) & chosen)
        image.show(figures.chosen_bars, np.floor(ranks[chosen]), np.floor(ranks[rows]), bins, labels)
        words.value = paragraph(
            f"{len(rows):,} of {chosen.sum():,} texts have a rank from {bins[0][low - 1]:,} to {bins[0][high] - 1:,}; "
            f"{np.mean(ranks[chosen] == 1):.1%} are ranked first, the median rank is {np.median(ranks[chosen]):,.1f} "
            f"of {len(ranks):,}. Filled: the texts below; outlined: all of the class."
        )
        pages.fill(rows[np.argsort(-ranks[rows], kind="stable")])

    def case(query: int) -> str:
        name, pairs, row = run.value, task.pairs, held[query]
        text = task.inputs("text", runs.backbone(name).inputs.text, np.array([row]))
        first = runs.best(name, text, 1)[0][0]
        scores = runs.scores(name, text, np.array([query, first]))
        rank = f"rank {ranks_of[name][query]:,.1f}".removesuffix(".0") + f" · {scores[0]:.3f}"
        cards = [card(pairs.smiles[row], [rank, pairs.label[row], "its own molecule"])]
        if first != query:
            other = held[first]
            cosines = [cosine_similarity(side[[row, other]].astype(np.float64))[0, 1] for side in (task.t, task.m)]
            alike = f"s = {np.mean(cosines):.2f} between the two pairs"
            cards.append(pair_card(pairs, other, f"ranked first · {scores[1]:.3f}", alike))
        words_of = paragraph(pairs.text[row], "width:300px;max-height:14em;overflow:auto;overflow-wrap:anywhere")
        label = paragraph(classes[query], "font-weight:bold")
        frame = "display:flex;flex-wrap:wrap;gap:16px;border-top:1px solid #bbb;padding:6px 0"
        return f'<div style="{frame}"><div>{label}{words_of}</div>{row_of(cards)}</div>'

    return view.start(update, run, group, span)
