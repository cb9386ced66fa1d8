"""The notebooks' exercises: each checks a learner's answer and explains the usual mistakes.

A wrong answer is often the right answer to another question; if so, the explanation names that question. Every check
takes its data from the notebook, so that it also works on other pairs and parameters. It is written as a table: the
right answer with a comment, the usual wrong answers with an explanation each, and a hint for all others.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from class_kit.errors import InputError

# The right answer, the comment on it, an explanation for each usual mistake, and a hint for any other answer.
Table = tuple[Any, str, dict[Any, str], str]

# Similarities s_ij of five pairs for the exercise on neighbour counts; 0.90 itself is included on purpose.
SIMILARITIES = (
    (1.00, 0.95, 0.90, 0.40, 0.97),
    (0.95, 1.00, 0.93, 0.35, 0.60),
    (0.90, 0.93, 1.00, 0.30, 0.55),
    (0.40, 0.35, 0.30, 1.00, 0.20),
    (0.97, 0.60, 0.55, 0.20, 1.00),
)
# How many candidates score higher than, and how many others the same as, the right one: four queries.
HIGHER, SAME = (0, 0, 3, 0), (0, 1, 0, 3)
# The Python that replaces `None` in an instructor's copy, by check; right for the notebooks' default parameters.
SOLUTIONS = {
    "check_best_hits": "len(set(task.pairs.text)) / len(task.pairs.text)",
    "check_word_count": "8",
    "check_neighbour_counts": "[2, 2, 1, 0, 1]",
    "check_growth": "0.042",
    "check_first_epoch": "10",
    "check_expected_hits": "0.4375",
    "check_set_epoch": "6",
    "check_holm": "2",
    "check_mismatched": "260",
}


@dataclass(frozen=True)
class Verdict:
    """The verdict on an answer: "right", "wrong" or "open" (not answered yet), and one or two sentences on why."""

    status: str
    explanation: str

    def _repr_markdown_(self) -> str:
        return str(self)

    def __str__(self) -> str:
        mark = {"right": "✓ **Right.**", "wrong": "✗ **Not yet.**", "open": "○ **Not answered yet.**"}[self.status]
        return f"{mark} {self.explanation}"

    def __repr__(self) -> str:
        return str(self).replace("**", "")


def _number(answer: Any) -> float:
    if isinstance(answer, bool) or not isinstance(answer, numbers.Real) or not math.isfinite(answer):
        raise TypeError
    return float(answer)


def _whole(answer: Any) -> int:
    if _number(answer) % 1:
        raise TypeError
    return int(answer)


def _wholes(answer: Any) -> tuple[int, ...]:
    return tuple(_whole(item) for item in answer)


def _exercise(read: Callable[[Any], Any], expected: str) -> Callable[[Callable[..., Table]], Callable[..., Verdict]]:
    """Make a check of a table: it looks up an answer that `read` accepts, and otherwise names what was expected."""

    def decorate(table: Callable[..., Table]) -> Callable[..., Verdict]:
        @functools.wraps(table)
        def check(answer: Any, *data: Any, **options: Any) -> Verdict:
            if answer is None or answer is ...:
                return Verdict("open", "Put your answer in the place of `None` and run the cell again.")
            try:
                value = read(answer)
            except (TypeError, OverflowError):
                text = repr(answer).replace("\n", " ")
                shown = text if len(text) <= 60 else text[:59] + "…"
                return Verdict("wrong", f"`{shown}` is not {expected}.")
            right, praise, mistakes, hint = table(value, *data, **options)
            if _same(value, right):
                return Verdict("right", praise)
            return Verdict("wrong", next((words for given, words in mistakes.items() if _same(value, given)), hint))

        return check

    return decorate


def _same(answer: Any, value: Any) -> bool:
    """Whether two answers are equal: lists exactly, numbers up to 1 to 5e-5, larger ones to 5e-3."""
    if isinstance(answer, tuple):
        return answer == value
    return math.isclose(answer, value, rel_tol=0, abs_tol=5e-3 if abs(value) > 1 else 5e-5)


@_exercise(_number, "a share from 0 to 1")
def check_best_hits(answer: Any, texts: Sequence[str]) -> Table:
    """The highest Hits@1 any retriever can reach when each of `texts` is a query: distinct texts over all texts.

    Equal texts get equal rankings, so at most one of each group can be answered correctly.
    """
    distinct, total = len(set(texts)), len(texts)
    best, shared = distinct / total, sum(times for times in Counter(texts).values() if times > 1)
    praise = f"{total:,} queries have {distinct:,} distinct texts: {best:.2%}. No model can do better."
    mistakes = {
        1 - shared / total: "That counts every row of a group of equal texts as wrong. One of each group can still be "
        "right.",
        1: f"{shared:,} rows share their text with another row. A retriever gives equal texts the same ranking, so it "
        "cannot put two different rows first.",
        100 * best: "That is the right number in per cent; give it as a share from 0 to 1.",
    }
    if not 0 <= answer <= 1:
        return best, praise, mistakes, f"{answer:g} is not a share: expected a number from 0 to 1."
    hint = "Count the distinct texts: each can be answered correctly once, however many rows have it."
    return best, praise, mistakes, hint


@_exercise(_whole, "an integer")
def check_word_count(answer: Any, smiles: str) -> Table:
    """How many Mol2vec words a molecule has: two for each atom written in the SMILES, radius 0 and radius 1.

    Raises
    ------
    InputError
        For a molecule where two atoms have the same surroundings, such as ethane: Mol2vec then omits one of the words,
        and the rule of two words per atom does not hold.
    """
    from class_kit.molecules import mol2vec_words, read_molecule

    words, molecule = mol2vec_words(smiles), read_molecule(smiles)
    atoms, count, kinds = molecule.GetNumAtoms(), len(words), len(set(words))
    everything = atoms + sum(atom.GetTotalNumHs() for atom in molecule.GetAtoms())
    if count != 2 * atoms:
        raise InputError(f"smiles={smiles!r}: {count} words for {atoms} atoms: expected two words for each atom")
    praise = f"{atoms} atoms, each with a word for itself and one for its surroundings: {count} words, "
    mistakes = {
        len(smiles): "That is the number of characters. Brackets and bond signs are not atoms.",
        atoms: "That is one word per atom. Mol2vec has two: radius 0 and radius 1.",
        kinds: "That is the number of distinct words. A sentence counts a word as often as it occurs.",
        2 * everything: "That includes the hydrogens. They are not written in the SMILES and have no words of their "
        "own; their number is part of their neighbour's word.",
        everything: "That is one word for every atom, including hydrogens. Hydrogens have no words of their own, and "
        "every other atom has two.",
    }
    hint = "Count the atoms written in the SMILES, with two words for each."
    return count, f"{praise}{kinds} of them distinct.", mistakes, hint


@_exercise(_wholes, "a list of integers, one per pair, such as [0, 0, 0, 0, 0]")
def check_neighbour_counts(
    answer: Any, sigma: float = 0.90, similarities: Sequence[Sequence[float]] = SIMILARITIES
) -> Table:
    """N_i of a few pairs by hand: the number of others with a similarity above (not equal to) σ."""
    others = [[value for at, value in enumerate(row) if at != own] for own, row in enumerate(similarities)]
    right = tuple(sum(value > sigma for value in row) for row in others)
    reached = tuple(sum(value >= sigma for value in row) for row in others)
    praise = f"The hardest pair has {max(right)} neighbours, the easiest {min(right)}."
    mistakes = {
        tuple(sorted(right)): "The numbers are right, but sorted: give them in the order of the pairs.",
        tuple(count + 1 for count in reached): "Two mistakes: each pair is counted as its own neighbour, and a "
        f"similarity of exactly {sigma:g} is counted as above σ.",
        reached: f"A similarity of exactly {sigma:g} is counted; a neighbour has to be above σ.",
        tuple(count + 1 for count in right): "Each pair is counted as its own neighbour; the count is over j ≠ i.",
    }
    if len(answer) != len(right):
        return right, praise, {}, f"`{list(answer)}`: expected {len(right)} integers, one per pair."
    first = [given == wanted for given, wanted in zip((*answer, None), (*right, 0), strict=True)].index(False) + 1
    return right, praise, mistakes, f"Look at pair {first} again: which others in its row are above {sigma:g}?"


@_exercise(_number, "a number such as 0.03")
def check_growth(answer: Any, start: float, epochs: int, target: float = 0.90, tolerance: float = 0.005) -> Table:
    """A growth β with which a linear schedule from α uses a given share of the samples of standard training."""
    used = share_of_samples(start, answer, epochs)
    result = f"β = {answer:g} uses {used:.1%} of the samples"
    right = answer if 0 <= answer <= 1 and abs(used - target) <= tolerance else math.nan
    if not 0 <= answer <= 1:
        hint = f"β = {answer:g}: expected the share of pairs that each epoch adds, from 0 to 1"
        hint += "; 3 % is 0.03." if answer > 1 else "."
    elif share_of_samples(start, 0, epochs) > target + tolerance:
        hint = f"With α = {start:g} every plan uses more than {target:.0%}: lower `start` first."
    elif start + answer * epochs < 1:
        hint = f"{result}, and the schedule never reaches all pairs: it has to grow faster."
    else:
        hint = f"{result}, not {target:.0%}: choose a {'smaller' if used > target else 'larger'} β."
    return right, f"{result}.", {}, hint


def share_of_samples(start: float, growth: float, epochs: int) -> float:
    """Mean of λ_k = min(1, α + β k) over k = 1 … E: the share of the standard samples used (CLASS, section 3.2)."""
    return sum(min(1.0, start + growth * epoch) for epoch in range(1, epochs + 1)) / epochs


@_exercise(_whole, "an integer")
def check_first_epoch(answer: Any, level: float = 0.9) -> Table:
    """The first epoch in which γ₂(k) = k/(1 + k) is above `level`."""
    # the smallest whole k with k (1 - level) > level; rounding must not move an exact boundary
    right = math.floor(round(level / (1 - level), 9)) + 1
    sigmoid = next(k for k in range(1, 20) if 1 / (1 + math.exp(-k - 1)) > level)
    gamma = answer / (1 + answer) if answer >= 0 else math.nan
    result = f"γ₂({answer}) = {gamma:.3f}"
    mistakes = {sigmoid: f"That is the answer for γ₁, which is close to 1 from the start. {result}."}
    if answer < 1:
        hint = f"Epochs are counted from 1, so k = {answer} does not occur."
    elif math.isclose(gamma, level):
        hint = f"γ₂({answer}) is exactly {level:g}, not above it."
    else:
        hint = f"{result}: {'still below' if gamma < level else 'above, but not the first'}."
    return right, f"{result}; until then the curve scales every loss by at most {level:g}.", mistakes, hint


@_exercise(_whole, "an integer")
def check_set_epoch(answer: Any, epoch: int) -> Table:
    """The number that `CurriculumBatchSampler.set_epoch` takes for the plan's epoch `epoch`, counted from 1."""
    praise = f"`set_epoch` counts from 0, as PyTorch does: {answer} selects epoch {epoch}."
    mistakes = {
        epoch: f"That selects epoch {epoch + 1}: `set_epoch` counts from 0, the plan from 1.",
        epoch + 1: "It is the other way round: the plan counts epochs from 1, `set_epoch` from 0. "
        f"{answer} selects epoch {answer + 1}.",
    }
    return epoch - 1, praise, mistakes, f"That selects epoch {answer + 1} of the plan, not {epoch}."


@_exercise(_number, "a share from 0 to 1")
def check_expected_hits(answer: Any, higher: Sequence[int] = HIGHER, same: Sequence[int] = SAME) -> Table:
    """Expected Hits@1 of a few queries with ties: 1/(e + 1) if nothing scores higher, otherwise 0."""
    # how many others tie with the right one, in the queries where nothing scores higher
    ties, total = [tied for above, tied in zip(higher, same, strict=True) if not above], len(higher)
    hits, kind, harsh = sum(1 / (tied + 1) for tied in ties), len(ties) / total, ties.count(0) / total
    praise = f"Each query counts 1/(e + 1) if nothing scores higher, otherwise 0: {hits / total:g} on average."
    mistakes = {
        hits: "That is the sum over the queries; Hits@1 is their mean.",
        harsh: f"{harsh:g} counts every tie as lost; with e others tied, the right one is first with chance 1/(e + 1).",
        kind: f"{kind:g} breaks every tie in the model's favour; a tie is won only by chance.",
        100 * hits / total: "That is the right number in per cent; give it as a share from 0 to 1.",
    }
    hint = "Take the queries one by one: what is the chance that the right candidate is ranked first?"
    return hits / total, praise, mistakes, hint


@_exercise(_whole, "an integer")
def check_holm(answer: Any, p_values: Sequence[float], level: float = 0.05) -> Table:
    """How many of a table's p values stay below `level` after Holm's step-down correction (Holm 1979)."""
    ordered, total = sorted(p_values), len(p_values)
    # the first that fails ends the procedure for all larger ones
    right = [*((total - at) * value < level for at, value in enumerate(ordered)), False].index(False)
    uncorrected, bonferroni = (sum(factor * value < level for value in ordered) for factor in (1, total))
    factors = ", ".join(f"{total - at} · {given:g}" for at, given in enumerate(ordered[: right + 1]))
    praise = f"Smallest first, times {total}, then {total - 1} and so on: {factors}."
    mistakes = {
        bonferroni: f"That is Bonferroni's correction, which multiplies all by {total}; Holm's factor falls by one at "
        "each step.",
        uncorrected: f"{uncorrected} are below {level:g} before correction; the correction makes them larger.",
    }
    if not 0 <= answer <= total:
        return right, praise, mistakes, f"There are only {total} comparisons, so the answer cannot be {answer}."
    hint = f"Multiply the smallest by {total}, the next by {total - 1}, and stop at the first that is too large."
    return right, praise, mistakes, hint


@_exercise(_whole, "an integer")
def check_mismatched(answer: Any, below: int) -> Table:
    """How many pairs are mismatched where `below` of them agree less than the median of shuffled pairs."""
    praise = f"Half of the mismatched pairs lie below the median, and hardly any other: 2 · {below} = {2 * below}."
    mistakes = {
        below: "Those are the mismatched pairs below the median; as many lie above it.",
        below // 2: "The other way round: the pairs below the median are half of the mismatched ones.",
    }
    return 2 * below, praise, mistakes, "Which half of the mismatched pairs lies below the median of the shuffled ones?"
