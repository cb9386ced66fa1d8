"""More ways to be difficult, behind one interface: what else could order the pairs than the paper's count?

Every measure gives one number a pair, and a higher number means harder, so that `difficulty_order` takes any of them.
"Harder" follows the paper's reading, more or closer neighbours; whether a measure deserves it is what
`measure_vs_rank` asks a trained retriever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from class_kit.difficulty.order import check_vector
from class_kit.neighbours import EDGE, neighbour_counts
from class_kit.neighbours.cosines import Cosines, spans
from class_kit.neighbours.nearest import top_similarities
from class_kit.neighbours.rows import check_sigma, make_rows, reference_rows

PANEL = 1024


@dataclass(frozen=True)
class Inputs:
    """What a measure may look at; each measure says what it needs. `reference` is the set counted in, or None."""

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

    def against(self, *names: str) -> tuple[Any, ...] | None:
        """The same fields of the set counted in."""
        return None if self.reference is None else tuple(getattr(self.reference, name) for name in names)


@dataclass(frozen=True)
class Measure:
    """A named difficulty: which fields of `Inputs` it needs, what it says, how it is computed."""

    name: str
    needs: tuple[str, ...]
    meaning: str
    compute: Callable[[Inputs], np.ndarray]

    @property
    def looks_around(self) -> bool:
        """Whether it looks at other pairs, so that it matters in which set."""
        return not set(self.needs).isdisjoint(_AROUND)

    @property
    def asks_model(self) -> bool:
        """Whether it repeats what a model trained before says of the pair."""
        return not set(self.needs).isdisjoint(_MODEL)


MEASURES: dict[str, Measure] = {}
# what a pair is, and what a model trained before says of it; everything else is looked up among other pairs
_PAIR, _MODEL = ("text",), ("loss", "rank", "el2n")
_AROUND = ("t", "m", "smiles")


def register_measure(name: str, needs: Sequence[str], meaning: str) -> Callable[[Any], Any]:
    """Make a function from `Inputs` to (L,) numbers, higher is harder, available by name; refuses a taken name."""
    known = (*_AROUND, *_PAIR, *_MODEL)
    if unknown := set(needs) - set(known):
        raise ValueError(f"measure {name!r} needs {sorted(unknown)}: some of {', '.join(known)} expected")
    if name in MEASURES:
        raise ValueError(f"a measure {name!r} exists already: {MEASURES[name].meaning}")

    def keep(compute: Callable[[Inputs], np.ndarray]) -> Callable[[Inputs], np.ndarray]:
        MEASURES[name] = Measure(name, tuple(needs), meaning, compute)
        return compute

    return keep


def difficulty(measure: str = "neighbours", *, reference: Mapping[str, Any] | None = None, **given: Any) -> np.ndarray:
    """The difficulty of each pair by a named measure, (L,) float64, higher is harder.

    Parameters
    ----------
    measure : one of `available_measures()`.
    t, m : (L, d) embeddings; text, smiles : sequences of strings; loss, rank, el2n : (L,) or (epochs, L) of a
        reference model. Give what the measure needs; more does no harm, so that one set of arguments serves all.
    reference : the same fields of another set, to count neighbours there, for held-out pairs.
    sigma : threshold in (−1, 1]; weight : share of the text in [0, 1]; k : which neighbour's distance.

    Raises ValueError for an unknown measure, a missing field or a value that cannot be used.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure is {measure!r}: one of {', '.join(MEASURES)} expected")
    chosen = MEASURES[measure]
    inputs = Inputs(**given, reference=None if reference is None else Inputs(**reference))
    for name in chosen.needs:
        if getattr(inputs, name) is None:
            raise ValueError(f"measure {measure!r} needs {name}=, which is not given")
        counted = chosen.needs[0] not in (*_PAIR, *_MODEL) or name in _AROUND
        if inputs.reference is not None and counted and getattr(inputs.reference, name) is None:
            raise ValueError(f"measure {measure!r} needs {name} in reference, which is not given")
    return check_vector(np.asarray(chosen.compute(inputs), np.float64), f"measure {measure!r}")


def available_measures() -> dict[str, str]:
    """Names of the measures, registered ones included, and what each says."""
    return {name: measure.meaning for name, measure in MEASURES.items()}


@register_measure("neighbours", ("t", "m"), "neighbours above σ by the mean of the cosines (the paper)")
def _neighbours(x: Inputs) -> np.ndarray:
    return neighbour_counts(x.t, x.m, x.sigma, against=x.against("t", "m"))


@register_measure("neighbours_weighted", ("t", "m"), "neighbours above σ by the weighted mean of the cosines")
def _weighted(x: Inputs) -> np.ndarray:
    return neighbour_counts(x.t, x.m, x.sigma, weight=x.weight, against=x.against("t", "m"))


@register_measure("neighbours_text", ("t",), "neighbours above σ by the text alone")
def _text(x: Inputs) -> np.ndarray:
    return neighbour_counts(x.t, None, x.sigma, against=None if x.reference is None else (x.reference.t, None))


@register_measure("neighbours_molecule", ("m",), "neighbours above σ by the molecule alone")
def _molecule(x: Inputs) -> np.ndarray:
    return neighbour_counts(None, x.m, x.sigma, against=None if x.reference is None else (None, x.reference.m))


@register_measure("neighbours_min", ("t", "m"), "neighbours above σ in both modalities")
def _least(x: Inputs) -> np.ndarray:
    return _both_above(x)


@register_measure("neighbours_max", ("t", "m"), "neighbours above σ in at least one modality")
def _greatest(x: Inputs) -> np.ndarray:
    # |A ∪ B| = |A| + |B| − |A ∩ B|
    return _text(x) + _molecule(x) - _both_above(x)


@register_measure("neighbours_tanimoto", ("t", "smiles"), "neighbours above σ, molecules by Tanimoto of Morgan counts")
def _tanimoto(x: Inputs) -> np.ndarray:
    from class_kit.difficulty.tanimoto import tanimoto_neighbour_counts

    assert x.smiles is not None
    against = x.against("t", "smiles")
    return tanimoto_neighbour_counts(x.t, x.smiles, x.sigma, weight=x.weight, against=against)


@register_measure("kth_distance", ("t", "m"), "closeness of the k-th neighbour: minus the distance √(2 − 2s)")
def _kth(x: Inputs) -> np.ndarray:
    similarity = top_similarities(x.t, x.m, x.k, weight=x.weight, against=x.against("t", "m"))[1][:, -1]
    return -np.sqrt(np.maximum(2 - 2 * similarity, 0))


@register_measure("description_length", ("text",), "words of the description")
def _length(x: Inputs) -> np.ndarray:
    assert x.text is not None
    return np.array([len(text.split()) for text in x.text], np.float64)


@register_measure("loss", ("loss",), "loss or error of a reference model, the mean over its epochs")
def _loss(x: Inputs) -> np.ndarray:
    return _over_epochs(x.loss, "loss")


@register_measure("rank", ("rank",), "rank that a reference model gives the partner, the mean over its epochs")
def _rank(x: Inputs) -> np.ndarray:
    return _over_epochs(x.rank, "rank")


@register_measure("el2n", ("el2n",), "length of a reference model's error vector (EL2N), the mean over its epochs")
def _error(x: Inputs) -> np.ndarray:
    return _over_epochs(x.el2n, "el2n")


def el2n(scores: Any, targets: Any) -> np.ndarray:
    """Length of the error vector ‖softmax(scores) − one-hot‖₂ of each query, (Q,): early in training it tells hard
    examples (Paul, Ganguli, Dziugaite 2021, "Deep Learning on a Data Diet", section 2). A measure of that name takes
    it as `el2n=`; `class_kit.study.reference.pair_errors` asks a trained retriever for it.

    `scores` (Q, C) logits of every candidate, `targets` (Q,) the right one. Between 0 and √2. Raises ValueError for
    other shapes.
    """
    logits, right = np.asarray(scores, np.float64), np.asarray(targets)
    if logits.ndim != 2 or right.shape != logits.shape[:1] or not logits.size:
        raise ValueError(f"scores has shape {logits.shape}, targets {right.shape}: (Q, C) and (Q,) expected")
    if right.dtype.kind not in "iu" or right.min() < 0 or right.max() >= logits.shape[1]:
        raise ValueError(f"targets must be whole numbers from 0 to {logits.shape[1] - 1}")
    if not np.isfinite(logits).all():
        raise ValueError("scores contains NaN or infinity: finite logits expected")
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(len(share)), right] -= 1
    return np.linalg.norm(share, axis=1)


def _over_epochs(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(f"{name} has shape {array.shape}: (L,) or (epochs, L) expected")
    return check_vector(array if array.ndim == 1 else array.mean(axis=0), name)


def _both_above(x: Inputs) -> np.ndarray:
    """Other pairs with both cosines above σ; quadratic in the number of pairs."""
    sigma = float(check_sigma(x.sigma)[0][0]) + EDGE
    rows = [make_rows(x.t, None, 1.0), make_rows(None, x.m, 0.0)]
    make_rows(x.t, x.m, 0.5)
    refs = rows
    if x.reference is not None:
        sides = (x.reference.t, None), (None, x.reference.m)
        refs = [reference_rows(own, side, weight) for own, side, weight in zip(rows, sides, (1.0, 0.0), strict=True)]
    text, molecule = (Cosines(own, other) for own, other in zip(rows, refs, strict=True))
    counts = np.zeros(len(text.rows), np.int64)
    for part in spans(len(counts), PANEL):
        for (columns, t), (_, m) in zip(text.blocks(part), molecule.blocks(part), strict=True):
            both = text.above(part, columns, t, sigma) & molecule.above(part, columns, m, sigma)
            if text.symmetric:
                both &= np.arange(part.start, part.stop)[:, None] != np.arange(columns.start, columns.stop)
            counts[part] += both.sum(axis=1)
    return counts
