"""How the figures of each product are read: words that stand where its results are, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from class_kit.study.paper.products import CLASS, MAIN, MAIN_DEEP, NEITHER, RANDOM, SAVINGS, STANDARD
from class_kit.study.paper.words import NOTHING, product_words

# For each product: sentences, each with the part of the results without which its figure is not drawn.
_READING: dict[str, tuple[tuple[str, str], ...]] = {
    MAIN: (
        (
            "differences",
            f"Each dot of the differences is {CLASS} minus a control in Hits@1, for one backbone; its line is the "
            f"interval. Left of zero, {CLASS} is worse.",
        ),
        ("summary", "The figure with a panel for each arm shows Hits@1 itself."),
    ),
    MAIN_DEEP: (("summary", "Each dot is the Hits@1 of one backbone, with a panel for each arm."),),
    "ablation": (("summary", f"*{NEITHER.capitalize()}* is the plain run."),),
    "intensity": (("summary", "Each panel is an optimiser; each row says which curve scales what."),),
    "grid": (("summary", f"Each cell: Hits@1, and the share of the {STANDARD} run's samples that the schedule uses."),),
    "sigma": (
        ("differences", "The dots are each threshold minus a reference, with intervals."),
        ("ties", "The lines say how far each threshold orders the pairs at all."),
    ),
    "measures": (("differences", f"Each dot is one measure minus *{RANDOM}* with the same schedule."),),
    SAVINGS: (("savings", "Right of zero, something was saved; samples are exact and have no interval."),),
}


def explained_words(results: Mapping[str, Any], name: str) -> str:
    """How a product's figures are read, then what it found (`product_words`), as Markdown.

    Parameters
    ----------
    results : mapping
        As `find_results` gives it.
    name : str
        A product's name, one of `class_kit.study.paper.products.NAMES`.

    Returns
    -------
    str
        Where the results do not hold the product, the sentence that says so, alone.
    """
    found = product_words(results, name)
    if found == NOTHING:
        return found
    product = results["products"][name]
    said = [sentence for part, sentence in _READING[name] if product.get(part)]
    return "\n\n".join([" ".join(said), found] if said else [found])
