"""The notebooks' exercises: each checks a learner's answer and explains the usual mistakes.

A wrong answer is often the right answer to another question; if so, the explanation names that question. Every check
takes its data from the notebook, so that it also works on other pairs and parameters. A check computes the right answer
and the wrong ones that usual mistakes lead to; `exercises.toml` is the table of what is said to each of them.
"""

from __future__ import annotations

import functools
import math
import numbers
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from class_kit.errors import InputError
from class_kit.files import PACKAGE

# The right answer; for each usual mistake in the table of words the answer that it gives, or whether this answer makes
# it; and the numbers that the words mention.
Key = tuple[Any, dict[str, Any], dict[str, Any]]

WORDS: dict[str, dict[str, str]] = tomllib.loads((PACKAGE / "exercises.toml").read_text(encoding="utf-8"))

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


def _exercise(read: Callable[[Any], Any]) -> Callable[[Callable[..., Key]], Callable[..., Verdict]]:
    """Make a check of a key: it looks up an answer that `read` accepts, and otherwise names what was expected."""

    def decorate(key: Callable[..., Key]) -> Callable[..., Verdict]:
        words = WORDS[key.__name__]

        @functools.wraps(key)
        def check(answer: Any, *data: Any, **options: Any) -> Verdict:
            if answer is None or answer is ...:
                return Verdict("open", "Put your answer in the place of `None` and run the cell again.")
            try:
                value = read(answer)
            except (TypeError, OverflowError):
                text = repr(answer).replace("\n", " ")
                shown = text if len(text) <= 60 else text[:59] + "…"
                return Verdict("wrong", f"`{shown}` is not {words['expected']}.")
            right, mistakes, facts = key(value, *data, **options)
            given = {"right": right} | mistakes
            said = next((name for name, wrong in given.items() if _same(value, wrong)), "other")
            return Verdict("right" if said == "right" else "wrong", words[said].format(answer=value, **facts))

        return check

    return decorate


def _same(answer: Any, value: Any) -> bool:
    """Whether a value of the key is the answer: lists exactly, numbers up to 1 to 5e-5, larger ones to 5e-3."""
    if isinstance(value, bool):
        return value
    if isinstance(answer, tuple):
        return bool(answer == value)
    return math.isclose(answer, value, rel_tol=0, abs_tol=5e-3 if abs(value) > 1 else 5e-5)


@_exercise(_number)
def check_best_hits(answer: Any, texts: Sequence[str]) -> Key:
    """The highest Hits@1 any retriever can reach when each of `texts` is a query: distinct texts over all texts.

    Equal texts get equal rankings, so at most one of each group can be answered correctly.
    """
    distinct, total = len(set(texts)), len(texts)
    best, shared = distinct / total, sum(times for times in Counter(texts).values() if times > 1)
    mistakes = {"whole_groups": 1 - shared / total, "no_ties": 1, "per_cent": 100 * best}
    mistakes["no_share"] = not 0 <= answer <= 1
    return best, mistakes, {"total": total, "distinct": distinct, "best": best, "shared": shared}


@_exercise(_whole)
def check_word_count(answer: Any, smiles: str) -> Key:
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
    mistakes = {"characters": len(smiles), "one_each": atoms, "distinct": kinds}
    mistakes |= {"hydrogens": 2 * everything, "hydrogens_one_each": everything}
    return count, mistakes, {"atoms": atoms, "count": count, "kinds": kinds}


@_exercise(_wholes)
def check_neighbour_counts(
    answer: Any, sigma: float = 0.90, similarities: Sequence[Sequence[float]] = SIMILARITIES
) -> Key:
    """N_i of a few pairs by hand: the number of others with a similarity above (not equal to) σ."""
    others = [[value for at, value in enumerate(row) if at != own] for own, row in enumerate(similarities)]
    right = tuple(sum(value > sigma for value in row) for row in others)
    reached = tuple(sum(value >= sigma for value in row) for row in others)
    both, itself = (tuple(count + 1 for count in counts) for counts in (reached, right))
    mistakes = {"sorted": tuple(sorted(right)), "both": both, "reached": reached, "itself": itself}
    length = {"length": len(answer) != len(right)}
    first = next((at for at, (given, own) in enumerate(zip(answer, right, strict=False), 1) if given != own), 0)
    facts = {"highest": max(right), "lowest": min(right), "pairs": len(right)}
    return right, mistakes | length, facts | {"sigma": sigma, "given": list(answer), "first": first}


@_exercise(_number)
def check_growth(answer: Any, start: float, epochs: int, target: float = 0.90, tolerance: float = 0.005) -> Key:
    """A growth β with which a linear schedule from α uses a given share of the samples of standard training."""
    used = share_of_samples(start, answer, epochs)
    mistakes = {
        "per_cent": answer > 1,
        "no_share": answer < 0,
        "high_start": share_of_samples(start, 0, epochs) > target + tolerance,
        "never_full": start + answer * epochs < 1,
        "too_fast": used > target,
    }
    right = 0 <= answer <= 1 and abs(used - target) <= tolerance
    return right, mistakes, {"used": used, "start": start, "target": target}


def share_of_samples(start: float, growth: float, epochs: int) -> float:
    """Mean of λ_k = min(1, α + β k) over k = 1 … E: the share of the standard samples used (CLASS, section 3.2)."""
    return sum(min(1.0, start + growth * epoch) for epoch in range(1, epochs + 1)) / epochs


@_exercise(_whole)
def check_first_epoch(answer: Any, level: float = 0.9) -> Key:
    """The first epoch in which γ₂(k) = k/(1 + k) is above `level`."""
    # the smallest whole k with k (1 - level) > level; rounding must not move an exact boundary
    right = math.floor(round(level / (1 - level), 9)) + 1
    sigmoid = next(k for k in range(1, 20) if 1 / (1 + math.exp(-k - 1)) > level)
    gamma = answer / (1 + answer) if answer >= 0 else math.nan
    mistakes = {"sigmoid": sigmoid, "no_epoch": answer < 1}
    mistakes |= {"reached": math.isclose(gamma, level), "below": gamma < level}
    return right, mistakes, {"gamma": gamma, "level": level}


@_exercise(_whole)
def check_set_epoch(answer: Any, epoch: int) -> Key:
    """The number that `CurriculumBatchSampler.set_epoch` takes for the plan's epoch `epoch`, counted from 1."""
    return epoch - 1, {"same": epoch, "other_way": epoch + 1}, {"epoch": epoch, "selected": answer + 1}


@_exercise(_number)
def check_expected_hits(answer: Any, higher: Sequence[int] = HIGHER, same: Sequence[int] = SAME) -> Key:
    """Expected Hits@1 of a few queries with ties: 1/(e + 1) if nothing scores higher, otherwise 0."""
    # how many others tie with the right one, in the queries where nothing scores higher
    ties, total = [tied for above, tied in zip(higher, same, strict=True) if not above], len(higher)
    hits = sum(1 / (tied + 1) for tied in ties)
    mistakes = {"sum": hits, "lost": ties.count(0) / total, "won": len(ties) / total, "per_cent": 100 * hits / total}
    return hits / total, mistakes, {"mean": hits / total}


@_exercise(_whole)
def check_holm(answer: Any, p_values: Sequence[float], level: float = 0.05) -> Key:
    """How many of a table's p values stay below `level` after Holm's step-down correction (Holm 1979)."""
    ordered, total = sorted(p_values), len(p_values)
    # the first that fails ends the procedure for all larger ones
    right = [*((total - at) * value < level for at, value in enumerate(ordered)), False].index(False)
    mistakes = {"bonferroni": sum(total * value < level for value in ordered)}
    mistakes |= {"uncorrected": sum(value < level for value in ordered), "too_many": not 0 <= answer <= total}
    factors = ", ".join(f"{total - at} · {given:g}" for at, given in enumerate(ordered[: right + 1]))
    return right, mistakes, {"total": total, "next": total - 1, "factors": factors, "level": level}


@_exercise(_whole)
def check_mismatched(answer: Any, below: int) -> Key:
    """How many pairs are mismatched where `below` of them agree less than the median of shuffled pairs."""
    return 2 * below, {"below": below, "other_way": below // 2}, {"below": below}
