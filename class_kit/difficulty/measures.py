"""Measures of difficulty behind one interface: the paper's neighbour count and alternatives to it.

Every measure gives one number per pair, higher for harder, so that `difficulty_order` accepts any of them. "Harder"
follows the paper: more or closer neighbours. Whether a measure deserves the name is tested by `measure_vs_rank` with a
trained retriever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from class_kit.checks import check_choice, check_real, check_vector
from class_kit.errors import InputError
from class_kit.neighbours import EDGE, check_sigma, neighbour_counts
from class_kit.neighbours.cosines import ROWS, Cosines, make_references, make_rows, spans
from class_kit.neighbours.nearest import top_similarities

# inputs compared with other pairs, and values that a trained model gives a pair; a text belongs to the pair alone
AROUND, MODEL = frozenset(("t", "m", "smiles")), frozenset(("loss", "rank", "el2n"))
_BOTH = ("t", "m")


@dataclass(frozen=True)
class Inputs:
    """Inputs of the measures; each measure lists what it needs. `reference` is the set to count in, or None."""

    t: Any = None
    m: Any = None
    text: Sequence[str] | None = None
    smiles: Sequence[str] | None = None
    loss: Any = None
    rank: Any = None
    el2n: Any = None
    reference: Inputs | None = None
    sigma: float = 0.99
    weight: float = 0.5
    k: int = 10


@dataclass(frozen=True)
class Measure:
    """A measure of difficulty: the fields of `Inputs` it needs, its meaning, a figure label and its function."""

    needs: tuple[str, ...]
    meaning: str
    label: str
    compute: Callable[[Inputs], np.ndarray]


def difficulty(measure: str = "neighbours", *, reference: Mapping[str, Any] | None = None, **given: Any) -> np.ndarray:
    """The difficulty of each pair by a named measure, (L,) float64, higher is harder.

    Parameters
    ----------
    measure : one of `available_measures()`.
    t, m : (L, d) embeddings; text, smiles : sequences of strings; loss, rank, el2n : (L,) or (epochs, L) of a
        reference model. Give what the measure needs; more does no harm, so that one set of arguments serves all.
    reference : the same fields of another set, to count neighbours there, for held-out pairs.
    sigma : threshold in (−1, 1]; weight : share of the text in [0, 1]; k : which neighbour's distance.

    Raises InputError for an unknown measure, a missing field or a value that cannot be used.
    """
    chosen = MEASURES[check_choice("measure", measure, MEASURES)]
    inputs = Inputs(**given, reference=None if reference is None else Inputs(**reference))
    check_real("weight", inputs.weight, low=0.0, high=1.0)
    for name in chosen.needs:
        if getattr(inputs, name) is None:
            raise InputError(f"measure {measure!r} needs {name}=: expected it as an argument")
        if inputs.reference is not None and name in AROUND and getattr(inputs.reference, name) is None:
            raise InputError(f"measure {measure!r} needs {name} in reference: expected it there too")
    return check_vector(f"measure {measure!r}", np.asarray(chosen.compute(inputs), np.float64))


def available_measures() -> dict[str, str]:
    """Names of the measures and what each says."""
    return {name: measure.meaning for name, measure in MEASURES.items()}


def el2n(scores: Any, targets: Any) -> np.ndarray:
    """Length of the error vector ‖softmax(scores) − one-hot‖₂ of each query, (Q,): early in training it tells hard
    examples (Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet", section 2). A measure of that name takes
    it as `el2n=`; `class_kit.study.ranking.pair_errors` asks a trained retriever for it.

    `scores` (Q, C) finite logits of every candidate, `targets` (Q,) the right one. Between 0 and √2. Raises InputError
    for other shapes.
    """
    logits, right = np.asarray(scores, np.float64), np.asarray(targets)
    if logits.ndim != 2 or right.shape != logits.shape[:1] or not logits.size:
        raise InputError(f"scores has shape {logits.shape}, targets {right.shape}: expected (Q, C) and (Q,)")
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(len(share)), right] -= 1
    return np.linalg.norm(share, axis=1)


def morgan_levels(smiles: Sequence[str], radius: int = 2) -> Any:
    """Unfolded Morgan counts as a sparse 0/1 matrix of (substructure, level), (L, features) CSR of int32.

    For counts a, b the Tanimoto similarity is Σ min(a, b) / Σ max(a, b). Written out level by level (a count of 3 is
    the levels 1, 2 and 3 of its substructure) both sums are sizes of sets, so a sparse product gives every Σ min at
    once, in whole numbers and without folding: exact.

    Raises InputError naming the first SMILES that RDKit refuses.
    """
    from scipy.sparse import csr_array

    from class_kit.molecules.structures import morgan_generator, read_molecule

    generator = morgan_generator(radius)
    columns: dict[tuple[int, int], int] = {}
    indices, ends = [], [0]
    for text in smiles:
        for bit, count in generator.GetSparseCountFingerprint(read_molecule(text)).GetNonzeroElements().items():
            indices += [columns.setdefault((bit, level), len(columns)) for level in range(count)]
        ends.append(len(indices))
    values = np.ones(len(indices), np.int32)
    return csr_array((values, np.array(indices, np.int64), np.array(ends, np.int64)), shape=(len(smiles), len(columns)))


def tanimoto(levels_a: Any, levels_b: Any) -> np.ndarray:
    """Count Tanimoto of every row of one matrix with every row of the other, dense float64; 0 for two empty rows."""
    common = (levels_a @ levels_b.T).toarray().astype(np.float64)
    either = levels_a.sum(axis=1)[:, None] + levels_b.sum(axis=1)[None, :] - common
    return np.divide(common, either, out=np.zeros_like(common), where=either > 0)


def _counted(x: Inputs, sides: str = "tm", weight: float = 0.5) -> np.ndarray:
    own, other = ([getattr(y, side, None) if side in sides else None for side in "tm"] for y in (x, x.reference))
    against = None if x.reference is None else (other[0], other[1])
    return neighbour_counts(own[0], own[1], x.sigma, weight=weight, against=against)


def _counted_in_both(x: Inputs) -> np.ndarray:
    """Other pairs with both cosines above σ; quadratic in the number of pairs."""
    make_rows(x.t, x.m)
    sigma, cosines = check_sigma(x.sigma)[0] + EDGE, []
    for side in "tm":
        own = make_rows(getattr(x, side), names=(side, ""))
        other = own if x.reference is None else make_references(own, (getattr(x.reference, side), None))
        cosines.append(Cosines(own, other))
    text, molecule = cosines

    def count(rows: slice) -> np.ndarray:
        found = np.zeros(rows.stop - rows.start, np.int64)
        for (columns, t), (_, m) in zip(text.blocks(rows), molecule.blocks(rows), strict=True):
            if text.symmetric:
                t[np.arange(rows.start, rows.stop)[:, None] == np.arange(columns.start, columns.stop)] = -4.0
            found += (text.above(rows, columns, t, sigma) & molecule.above(rows, columns, m, sigma)).sum(axis=1)
        return found

    return np.concatenate([count(rows) for rows in spans(len(text.rows), ROWS)])


def _counted_in_either(x: Inputs) -> np.ndarray:
    # |A ∪ B| = |A| + |B| − |A ∩ B|
    return _counted(x, "t") + _counted(x, "m") - _counted_in_both(x)


def _counted_by_tanimoto(x: Inputs) -> np.ndarray:
    """Other pairs with w·cos(t_i, t_j) + (1 − w)·Tanimoto(i, j) above σ; quadratic: seconds for thousands of pairs."""
    smiles, known = list(x.smiles or ()), [] if x.reference is None else list(x.reference.smiles or ())
    levels = morgan_levels([*smiles, *known])
    own, other = levels[: len(smiles)], levels if x.reference is None else levels[len(smiles) :]
    rows = make_rows(x.t)
    cosines = Cosines(rows, rows if x.reference is None else make_references(rows, (x.reference.t, None)), copied=False)
    for texts, molecules in ((rows, own), (cosines.refs, other)):
        if len(texts) != molecules.shape[0]:
            raise InputError(f"t has {len(texts)} rows for {molecules.shape[0]} smiles: expected one per SMILES")
    sigma = check_sigma(x.sigma)[0] + EDGE
    everything = slice(0, len(cosines.refs))

    def count(part: slice) -> np.ndarray:
        similarity = (1 - x.weight) * tanimoto(own[part], other) + x.weight * cosines.float64(part, everything)
        if cosines.symmetric:
            similarity[np.arange(part.stop - part.start), np.arange(part.start, part.stop)] = -2.0
        return (similarity > sigma).sum(axis=1)

    return np.concatenate([count(part) for part in spans(len(rows), ROWS)])


def _closeness(x: Inputs) -> np.ndarray:
    against = None if x.reference is None else (x.reference.t, x.reference.m)
    similarity = top_similarities(x.t, x.m, x.k, weight=x.weight, against=against)[1][:, -1]
    return -np.sqrt(np.maximum(2 - 2 * similarity, 0))


def _words(x: Inputs) -> np.ndarray:
    return np.array([len(text.split()) for text in x.text or ()])


def _over_epochs(name: str, x: Inputs) -> np.ndarray:
    array = np.asarray(getattr(x, name), np.float64)
    return array if array.ndim == 1 else array.mean(axis=0)


MEASURES = {
    "neighbours": Measure(
        _BOTH, "neighbours above σ by the mean of the cosines (the paper)", "N, σ = {sigma:.2f}", _counted
    ),
    "neighbours_weighted": Measure(
        _BOTH,
        "neighbours above σ by the weighted mean of the cosines",
        "N, text weighs {weight:g}",
        lambda x: _counted(x, weight=x.weight),
    ),
    "neighbours_text": Measure(
        ("t",), "neighbours above σ by the text alone", "N by text", partial(_counted, sides="t")
    ),
    "neighbours_molecule": Measure(
        ("m",), "neighbours above σ by the molecule alone", "N by molecule", partial(_counted, sides="m")
    ),
    "neighbours_min": Measure(_BOTH, "neighbours above σ in both modalities", "N by both (min)", _counted_in_both),
    "neighbours_max": Measure(
        _BOTH, "neighbours above σ in at least one modality", "N by either (max)", _counted_in_either
    ),
    "neighbours_tanimoto": Measure(
        ("t", "smiles"),
        "neighbours above σ, molecules by Tanimoto of Morgan counts",
        "N by Tanimoto",
        _counted_by_tanimoto,
    ),
    "kth_distance": Measure(
        _BOTH, "closeness of the k-th neighbour: minus the distance √(2 − 2s)", "closeness, k = {k}", _closeness
    ),
    "description_length": Measure(("text",), "words of the description", "length of the text", _words),
} | {
    name: Measure((name,), f"{what}, the mean over its epochs", f"{label}, other model", partial(_over_epochs, name))
    for name, what, label in (
        ("loss", "loss or error of a reference model", "loss"),
        ("rank", "rank that a reference model gives the partner", "rank"),
        ("el2n", "length of a reference model's error vector (EL2N)", "EL2N"),
    )
}
