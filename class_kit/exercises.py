"""The notebooks' exercises: each takes a learner's answer, says whether it is right, and explains the usual mistakes.

A wrong answer is most often the right answer to another question; where it is, the explanation names that question.
Every check takes the data it needs from the notebook, so that it is right on other pairs and parameters as well.
"""

from __future__ import annotations

import math
import numbers
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from class_kit.checks import check_real, check_whole
from class_kit.errors import InputError

# Similarities s_ij of five pairs for the exercise on neighbour counts; 0.90 itself is there on purpose.
SIMILARITIES = (
    (1.00, 0.95, 0.90, 0.40, 0.97),
    (0.95, 1.00, 0.93, 0.35, 0.60),
    (0.90, 0.93, 1.00, 0.30, 0.55),
    (0.40, 0.35, 0.30, 1.00, 0.20),
    (0.97, 0.60, 0.55, 0.20, 1.00),
)
# How many candidates score higher than, and how many others the same as, the right one: four queries.
HIGHER, SAME = (0, 0, 3, 0), (0, 1, 0, 3)
# What an instructor's copy of a notebook puts in the place of `None`, by the check that asks, as Python; they are right
# for the notebooks' own parameters.
SOLUTIONS = {
    "check_best_hits": "len(set(task.pairs.text)) / len(task.pairs.text)",
    "check_word_count": "8",
    "check_neighbour_counts": "[2, 2, 1, 0, 1]",
    "check_growth": "0.042",
    "check_first_epoch": "10",
    "check_expected_hits": "0.4375",
    "check_set_epoch": "6",
    "check_holm": "2",
}


@dataclass(frozen=True)
class Verdict:
    """What became of an answer: "right", "wrong" or "open" (not answered yet), and one or two sentences on why."""

    status: str
    says: str

    def _repr_markdown_(self) -> str:
        return str(self)

    def __str__(self) -> str:
        mark = {"right": "✓ **Right.**", "wrong": "✗ **Not yet.**", "open": "○ **Not answered yet.**"}[self.status]
        return f"{mark} {self.says}"

    def __repr__(self) -> str:
        return str(self).replace("**", "")


_OPEN = Verdict("open", "Put your answer in the place of `None` and run the cell again.")


def check_best_hits(answer: Any, texts: Sequence[str]) -> Verdict:
    """The highest Hits@1 any retriever can reach when each of `texts` is asked once: distinct texts over texts.

    Equal texts get equal rankings, so of each group of them one at most is answered right.
    """
    if not len(texts):
        raise InputError("texts is empty: expected at least one")
    distinct, total = len(set(texts)), len(texts)
    shared = sum(times for times in Counter(texts).values() if times > 1)
    value, refusal = _number(answer, "a share from 0 to 1")
    if refusal:
        return refusal
    if math.isclose(value, distinct / total, abs_tol=5e-5):
        return Verdict(
            "right",
            f"{total:,} queries hold {distinct:,} distinct texts: {distinct / total:.2%}. No model gets past that.",
        )
    if math.isclose(value, 100 * distinct / total, abs_tol=5e-3) and value > 1:
        return Verdict("wrong", "That is the right figure in per cent; give it as a share from 0 to 1.")
    if value > 1 or value < 0:
        return Verdict("wrong", f"{value:g} is no share: expected a number from 0 to 1.")
    if math.isclose(value, 1.0) and distinct < total:
        return Verdict(
            "wrong",
            f"{shared:,} rows share their text with another row. A retriever ranks the same for the same text, so "
            "it cannot put two different rows first.",
        )
    if math.isclose(value, 1 - shared / total, abs_tol=5e-5):
        return Verdict(
            "wrong", "That counts every row of a group of equal texts as lost. One of each group can still be right."
        )
    return Verdict("wrong", "Count the distinct texts: each can be answered right once, however often it is asked.")


def check_word_count(answer: Any, smiles: str) -> Verdict:
    """How many Mol2vec words a molecule has: two for each atom that is written, radius 0 and radius 1.

    Raises InputError for a molecule where two atoms have the same surroundings, such as ethane: Mol2vec then leaves
    one of the words out, and the exercise would be about that.
    """
    from class_kit.molecules import mol2vec_words, read_molecule

    words = mol2vec_words(smiles)
    atoms = read_molecule(smiles).GetNumAtoms()
    if len(words) != 2 * atoms:
        raise InputError(f"smiles={smiles!r}: {len(words)} words for {atoms} atoms: expected two words for each atom")
    value, refusal = _whole(answer)
    if refusal:
        return refusal
    if value == len(words):
        return Verdict(
            "right",
            f"{atoms} atoms, each with a word for itself and one for its surroundings: {len(words)} words, "
            f"{len(set(words))} of them different.",
        )
    explained = {
        len(smiles): "That is the number of characters. Brackets and bond signs are not atoms.",
        atoms: "That is one word an atom. Mol2vec takes two: radius 0 and radius 1.",
        len(set(words)): "Those are the different words. A sentence counts a word as often as it occurs.",
        2 * _with_hydrogens(smiles): "That counts the hydrogens. They are not written in the SMILES and have no "
        "words of their own; their number is part of their neighbour's word.",
        _with_hydrogens(smiles): "That is one word for every atom, hydrogens too. Hydrogens have no words of their "
        "own, and each other atom has two.",
    }
    return Verdict(
        "wrong", explained.get(value, "Count the atoms that the SMILES writes, and take two words for each.")
    )


def check_neighbour_counts(
    answer: Any, sigma: float = 0.90, similarities: Sequence[Sequence[float]] = SIMILARITIES
) -> Verdict:
    """N_i of a few pairs by hand: others with a similarity above (not equal to) σ."""
    check_real("sigma", sigma, low=-1, high=1)
    others = [[value for at, value in enumerate(row) if at != own] for own, row in enumerate(similarities)]
    right = [sum(value > sigma for value in row) for row in others]
    if answer is None or answer is ...:
        return _OPEN
    values, refusal = _list(answer, len(right))
    if refusal:
        return refusal
    if values == right:
        hardest = max(right)
        return Verdict("right", f"The hardest of them has {hardest} neighbours, the easiest {min(right)}.")
    reached = [sum(value >= sigma for value in row) for row in others]
    explained = {
        tuple(count + 1 for count in right): "Each pair is counted as a neighbour of itself; the count is over j ≠ i.",
        tuple(reached): f"A similarity of exactly {sigma:g} was counted; a neighbour has to lie above σ.",
        tuple(count + 1 for count in reached): f"Each pair counts itself, and {sigma:g} itself counts as above σ; "
        "neither does.",
        tuple(sorted(right)): "The numbers are right, but sorted: give them in the order of the pairs.",
    }
    for at, (given, wanted) in enumerate(zip(values, right, strict=True), start=1):
        if given != wanted:
            fallback = f"Look at pair {at} again: which others of its row are above {sigma:g}?"
            return Verdict("wrong", explained.get(tuple(values), fallback))
    raise AssertionError("equal lists were handled above")


def check_growth(answer: Any, start: float, epochs: int, target: float = 0.90, tolerance: float = 0.005) -> Verdict:
    """A growth β with which a linear schedule from α uses a given share of the plain run's samples."""
    check_real("start", start, low=0, high=1)
    check_whole("epochs", epochs, low=1)
    value, refusal = _number(answer, "a number such as 0.03")
    if refusal:
        return refusal
    if not 0 <= value <= 1:
        hint = "; 3 % is 0.03" if value > 1 else ""
        return Verdict("wrong", f"β = {value:g}: expected the share of pairs that each epoch adds, from 0 to 1{hint}.")
    if share_of_samples(start, 0, epochs) > target + tolerance:
        return Verdict("wrong", f"With α = {start:g} every plan uses more than {target:.0%}: lower `start` first.")
    used = share_of_samples(start, value, epochs)
    said = f"β = {value:g} uses {used:.1%} of the samples"
    if abs(used - target) <= tolerance:
        return Verdict("right", f"{said}.")
    if start + value * epochs < 1:
        return Verdict("wrong", f"{said}, and the schedule never reaches all pairs: it has to grow faster.")
    way = "slowly" if used > target else "quickly"
    return Verdict("wrong", f"{said}, not {target:.0%}: let it grow more {way}.")


def share_of_samples(start: float, growth: float, epochs: int) -> float:
    """Mean of λ_k = min(1, α + β k) over k = 1 … E: the share of the plain run's samples (CLASS, section 3.2)."""
    return sum(min(1.0, start + growth * epoch) for epoch in range(1, epochs + 1)) / epochs


def check_first_epoch(answer: Any, level: float = 0.9) -> Verdict:
    """The first epoch in which γ₂(k) = k/(1 + k) is above `level`."""
    check_real("level", level, low=0, high=0.999)
    # the smallest whole k with k (1 - level) > level; rounding must not move an exact boundary
    right = math.floor(round(level / (1 - level), 9)) + 1
    value, refusal = _whole(answer)
    if refusal:
        return refusal
    gamma = value / (1 + value) if value >= 0 else math.nan
    if value == right:
        return Verdict("right", f"γ₂({right}) = {gamma:.3f}; until then the curve takes weight off every loss.")
    sigmoid = next(k for k in range(1, 20) if 1 / (1 + math.exp(-k - 1)) > level)
    if value == sigmoid:
        return Verdict("wrong", f"That is γ₁, which is nearly 1 at once. γ₂({value}) = {gamma:.3f}.")
    if value == right - 1 and math.isclose(gamma, level):
        return Verdict("wrong", f"γ₂({value}) is exactly {level:g}, not above it.")
    if value < 1:
        return Verdict("wrong", f"Epochs are counted from 1, so k = {value} does not occur.")
    way = "still below" if gamma < level else "above, but not the first"
    return Verdict("wrong", f"γ₂({value}) = {gamma:.3f}: {way}.")


def check_set_epoch(answer: Any, epoch: int) -> Verdict:
    """The number that `CurriculumBatchSampler.set_epoch` takes for the plan's epoch `epoch`, counted from 1."""
    check_whole("epoch", epoch, low=1)
    value, refusal = _whole(answer)
    if refusal:
        return refusal
    if value == epoch - 1:
        return Verdict("right", f"`set_epoch` counts from 0, as PyTorch does: {value} selects epoch {epoch}.")
    explained = {
        epoch: f"That selects epoch {epoch + 1}: `set_epoch` counts from 0, the plan from 1.",
        epoch + 1: f"The other way round: the plan's epochs count from 1, those of `set_epoch` from 0. "
        f"{value} selects epoch {value + 1}.",
    }
    return Verdict("wrong", explained.get(value, f"That selects epoch {value + 1} of the plan, not {epoch}."))


def check_expected_hits(answer: Any, higher: Sequence[int] = HIGHER, same: Sequence[int] = SAME) -> Verdict:
    """Expected Hits@1 of a few queries with ties: 1/(e + 1) where nothing scores higher, 0 elsewhere."""
    if len(higher) != len(same) or not len(higher):
        raise InputError(f"{len(higher)} and {len(same)} counts: expected one of each for every query")
    first = [not above for above in higher]
    right = sum(won / (ties + 1) for won, ties in zip(first, same, strict=True)) / len(first)
    kind = sum(first) / len(first)
    harsh = sum(won and not ties for won, ties in zip(first, same, strict=True)) / len(first)
    value, refusal = _number(answer, "a share from 0 to 1")
    if refusal:
        return refusal
    if math.isclose(value, right, abs_tol=5e-5):
        return Verdict("right", f"Each query counts 1/(e + 1) where nothing scores higher: {right:g} on average.")
    if math.isclose(value, 100 * right, abs_tol=5e-3):
        return Verdict("wrong", "That is the right figure in per cent; give it as a share from 0 to 1.")
    if math.isclose(value, kind, abs_tol=5e-5):
        return Verdict("wrong", f"{kind:g} breaks every tie in the model's favour; a tie is won only by chance.")
    if math.isclose(value, harsh, abs_tol=5e-5):
        return Verdict("wrong", f"{harsh:g} counts every tie as lost; with e others tied, one order in e + 1 is won.")
    if math.isclose(value, right * len(first), abs_tol=5e-5):
        return Verdict("wrong", "That is the sum over the queries; Hits@1 is their mean.")
    return Verdict("wrong", "Take the queries one by one: what is the chance that the right one stands first?")


def check_holm(answer: Any, p_values: Sequence[float], level: float = 0.05) -> Verdict:
    """How many of a table's p values stay below `level` after Holm's step-down correction (Holm 1979)."""
    if not len(p_values):
        raise InputError("p_values is empty: expected at least one")
    ordered = sorted(check_real(f"p_values[{at}]", value, low=0, high=1) for at, value in enumerate(p_values))
    total = len(ordered)
    steps = [(total - at) * value < level for at, value in enumerate(ordered)]
    # the first that fails ends the procedure for all larger ones
    right = steps.index(False) if False in steps else total
    plain = sum(value < level for value in ordered)
    strict = sum(total * value < level for value in ordered)
    value, refusal = _whole(answer)
    if refusal:
        return refusal
    if value == right:
        factors = ", ".join(f"{total - at} · {given:g}" for at, given in enumerate(ordered[: right + 1]))
        return Verdict("right", f"Smallest first, times {total}, then {total - 1} and so on: {factors}.")
    if not 0 <= value <= total:
        return Verdict("wrong", f"There are {total} comparisons, so {value} cannot be.")
    if value == plain:
        return Verdict("wrong", f"{plain} are below {level:g} as they stand; the correction makes each one larger.")
    if value == strict:
        return Verdict(
            "wrong", f"That is Bonferroni's: it multiplies all by {total}; Holm's factor falls by one a step."
        )
    return Verdict(
        "wrong", f"Multiply the smallest by {total}, the next by {total - 1}, and stop at the first too large."
    )


def _number(answer: Any, expected: str) -> tuple[float, Verdict | None]:
    """The answer as a float, or a verdict on why it is none."""
    if answer is None or answer is ...:
        return math.nan, _OPEN
    if isinstance(answer, bool) or not isinstance(answer, numbers.Real) or not math.isfinite(answer):
        return math.nan, Verdict("wrong", f"{_shown(answer)} is not a number: expected {expected}.")
    return float(answer), None


def _whole(answer: Any) -> tuple[int, Verdict | None]:
    value, refusal = _number(answer, "a whole number")
    if refusal:
        return 0, refusal
    if value != int(value):
        return 0, Verdict("wrong", f"{value:g} is not whole: expected a whole number.")
    return int(value), None


def _list(answer: Any, length: int) -> tuple[list[int], Verdict | None]:
    expected = f"a list of {length} whole numbers, such as {[0] * length}"
    try:
        found = [_whole(item) for item in answer]
    except TypeError:
        return [], Verdict("wrong", f"{_shown(answer)} is not a list: expected {expected}.")
    if len(found) != length or any(refusal for _, refusal in found):
        return [], Verdict("wrong", f"{_shown(answer)}: expected {expected}.")
    return [value for value, _ in found], None


def _shown(answer: Any) -> str:
    text = repr(answer)
    return f"`{text if len(text) <= 60 else text[:59] + '…'}`".replace("\n", " ")


def _with_hydrogens(smiles: str) -> int:
    from class_kit.molecules import read_molecule

    molecule = read_molecule(smiles)
    return int(molecule.GetNumAtoms() + sum(atom.GetTotalNumHs() for atom in molecule.GetAtoms()))
