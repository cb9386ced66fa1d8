"""Do a pair's text and molecule belong together? Mismatched pairs, found without training a retriever.

The field calls them *noisy correspondence*. Two pieces of evidence, from the vectors alone: whether pairs that are near
in one modality are near in the other (`pair_agreement`), and whether regression from the other pairs predicts a pair's
molecule from its text and its text from its molecule better than those of random pairs (`audit_pairs`). Shuffled pairs
show what a mismatch looks like, which gives the share of mismatched pairs with an interval.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.neighbours import top_similarities
from class_kit.neighbours.cosines import make_rows, unit_rows

if TYPE_CHECKING:
    from class_kit.pairs import PairSet

FEWEST = 50
FOLDS = 5
# Below so many pairs, how they fall into folds matters, and the agreement is averaged over several divisions. Measured
# on 1,000 PCdes pairs, a tenth of them exchanged: of the first 50 suspects, 82 % are mismatched instead of 81 %; with
# a fifth exchanged, 88 % of the first 100 instead of 85 %.
FEW, DIVISIONS = 2000, 3
# Larger tables are judged in random parts of at most so many pairs, so that memory is bounded: with 1,000 landmarks,
# further pairs hardly change a fit.
MANY = 40_000
LANDMARKS = 1000
CANDIDATES = 1000
ROWS = 4096
# Fixed once on 3,000 PCdes pairs with a tenth and four tenths of them exchanged; the other sets were only read.
KERNEL_WIDTH, RIDGE, TEMPERATURE = 1.0, 0.3, 0.05
RESAMPLES = 1000
QUANTILES = np.array([0.25, 0.5])


@dataclass(frozen=True, eq=False)
class PairAudit:
    """Which pairs look mismatched, and how many are.

    Attributes
    ----------
    agreement : (L,) float64
        Log of how much more likely a pair's own partner is than that of a random pair, averaged over both directions;
        0 where a zero vector leaves nothing to judge. Higher: text and molecule belong together.
    shuffled : (n,) float64
        The same for texts with the molecules of other pairs.
    mismatch_share : float
        Estimated share of mismatched pairs, in [0, 1].
    mismatch_share_ci : (float, float)
        Its 95 % interval by the bootstrap over pairs.
    suspects : (s,) int64
        Row numbers, least agreeing first; as many as the upper end of the interval makes of the judged pairs.
    auc : float
        Area under the curve of the pairs as given against shuffled ones: 0.5 where the whole table looks shuffled.
    """

    agreement: np.ndarray
    shuffled: np.ndarray
    mismatch_share: float
    mismatch_share_ci: tuple[float, float]
    suspects: np.ndarray
    auc: float

    @property
    def shuffled_as_a_whole(self) -> bool:
        """Whether nothing tells the pairs as given from shuffled ones: the interval reaches nearly all pairs."""
        return self.mismatch_share_ci[1] > 0.95 and self.auc < 0.6


def pair_agreement(t: Any, m: Any, k: int = 10) -> np.ndarray:
    """How well the neighbourhoods of a pair's text and of its molecule agree; nothing is trained.

    For each pair, the mean centred cosine of its molecule with the molecules of the `k` pairs whose texts are nearest,
    averaged with the same for the roles exchanged. A repeated pair is one pair and does not vouch for itself.

    Parameters
    ----------
    t, m : (L, d_t) and (L, d_m) arrays
        Text and molecule vectors.
    k : int
        Neighbours, at least 1; cut to the number of other distinct pairs.

    Returns
    -------
    (L,) float64 in [−1, 1], higher where they agree; 0 where a vector is zero.

    Raises
    ------
    InputError
        For k < 1, fewer than two distinct pairs, or texts or molecules that all have one vector.
    """
    k = check_whole("k", k, low=1)
    x, z, back = _distinct_centred(t, m, fewest=2)
    k = min(k, len(x) - 1)
    value = (_support(x, z, k) + _support(z, x, k)) / 2
    value[~_judged(x, z)] = 0.0
    return value[back]


def audit_pairs(t: Any, m: Any, seed: int = 0) -> PairAudit:
    """Estimate which pairs are mismatched and their share, from the vectors alone.

    A kernel ridge regression predicts molecule from text and text from molecule for each fifth of the pairs from the
    other four, after a first fit among those four has weighted down the pairs that look mismatched. A pair's agreement
    is the log of the softmax of its own partner among 1,000 others or fewer, in both directions of both predictions.
    Below 2,000 pairs it is the mean over three divisions into fifths; more than 40,000 pairs are judged in random parts
    of at most that size. The share follows from the pairs below the median of shuffled ones: half of the mismatched
    pairs lie there, and hardly any that belong together.

    Parameters
    ----------
    t, m : (L, d_t) and (L, d_m) arrays
        Text and molecule vectors.
    seed : int
        Of folds, landmarks, shuffles and the bootstrap.

    Raises
    ------
    InputError
        For fewer than 50 distinct pairs, or texts or molecules that all have one vector.

    Notes
    -----
    Time grows with L, some 25 million multiplications a pair; working memory is about 30 KB a pair up to 40,000 pairs
    and beyond that two copies of the vectors. Below 200 pairs the interval is wide, and few pairs stand out.
    """
    rng = np.random.default_rng(check_whole("seed", seed, low=0))
    x, z, back = _distinct_centred(t, m, fewest=FEWEST)
    judged = _judged(x, z)
    if judged.sum() < FEWEST:
        raise InputError(f"{judged.sum()} distinct pairs have non-zero vectors: at least {FEWEST} are needed")
    agreement, nulls = np.zeros(len(x)), []
    parts = [np.flatnonzero(judged)]
    if len(parts[0]) > MANY:
        parts = np.array_split(rng.permutation(parts[0]), -(-len(parts[0]) // MANY))
    for part in parts:
        agreement[part], null = _cross_fitted(x[part], z[part], rng)
        nulls.append(null)
    shuffled = np.concatenate(nulls)
    rows = judged[back]
    given = agreement[back][rows]
    share, low, high = _mismatch_share(agreement[judged], np.bincount(back)[judged], shuffled, rng)
    worst = np.flatnonzero(rows)[np.argsort(given, kind="stable")]
    return PairAudit(
        agreement=agreement[back],
        shuffled=shuffled,
        mismatch_share=share,
        mismatch_share_ci=(low, high),
        suspects=worst[: int(np.ceil(high * len(given)))],
        auc=float(_rank_share(given, shuffled).mean()),
    )


def suspect_table(pairs: PairSet, t: Any, m: Any, audit: PairAudit) -> dict[str, list[Any]]:
    """The suspects as columns: row (from 1, of the usable ones), id, smiles, text, agreement and what to compare with.

    Parameters
    ----------
    pairs : PairSet of L pairs
    t, m : (L, d_t) and (L, d_m) arrays
        Their vectors.
    audit : PairAudit
        What `audit_pairs` found in them.
    """
    rows = audit.suspects
    near = np.empty((0, 1), np.int64)
    if len(rows):
        near, _ = top_similarities(t[rows], None, 2, against=(t, None))
    # the most similar text is the pair's own
    other = [int(first if first != row else second) for row, (first, second) in zip(rows, near, strict=True)]
    unit = unit_rows(np.asarray(m, np.float64))
    cosine = np.einsum("id,id->i", unit[rows], unit[other])
    reasons = [
        f"the most similar text is that of {pairs.id[j]}, whose molecule has cosine {value:.2f} with this one"
        for j, value in zip(other, cosine, strict=True)
    ]
    return {
        "row": (rows + 1).tolist(),
        **{name: [getattr(pairs, name)[row] for row in rows] for name in ("id", "smiles", "text")},
        "agreement": audit.agreement[rows].tolist(),
        "reason": reasons,
        "similar_smiles": [pairs.smiles[j] for j in other],
    }


def _distinct_centred(t: Any, m: Any, fewest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centred unit vectors of the distinct pairs, float32, and for each row its distinct pair."""
    if t is None or m is None:
        raise InputError("agreement needs the vectors of both texts and molecules; one of them is None")
    rows = make_rows(t, m, 0.5)
    # digests take a hundredth of the memory of the vectors
    pairs = zip(rows.t, rows.m, strict=True)
    digests = b"".join(hashlib.sha256(text.tobytes() + molecule.tobytes()).digest() for text, molecule in pairs)
    _, first, back = np.unique(np.frombuffer(digests, "V32"), return_index=True, return_inverse=True)
    if len(first) < fewest:
        raise InputError(f"{len(first)} distinct pairs among {len(rows)}: at least {fewest} are needed")
    # in the table's own order, so that a seed means the same rows
    place = np.argsort(np.argsort(first))
    first = np.sort(first)
    x, z = (_centred(part[first], scale[first]) for part, scale in ((rows.t, rows.t_scale), (rows.m, rows.m_scale)))
    for name, vectors in (("texts", x), ("molecules", z)):
        if not vectors.any():
            raise InputError(f"all {name} have the same vector, or none: nothing tells one pair from another")
    return x, z, place[back]


def _centred(vectors: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Unit vectors less their mean, of unit length again; zero vectors stay zero."""
    known, length = scale > 0, (scale * np.sqrt(2.0))[:, None]
    parts = [slice(start, start + ROWS) for start in range(0, len(vectors), ROWS)]
    total = np.zeros((1, vectors.shape[1]))
    for part in parts:
        # row after row, so that the sum has the bits of one over all rows
        total = np.concatenate([total, vectors[part] * length[part]]).sum(axis=0, keepdims=True)
    out = np.empty(vectors.shape, np.float32)
    for part in parts:
        unit = vectors[part] * length[part]
        unit[known[part]] -= total[0] / max(1, known.sum())
        # what rounding leaves of a vector that equals the mean is no direction
        unit[np.linalg.norm(unit, axis=1) < 1e-6] = 0.0
        out[part] = unit_rows(unit)
    return out


def _judged(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.logical_and(x.any(axis=1), z.any(axis=1))


def _support(near: np.ndarray, other: np.ndarray, k: int) -> np.ndarray:
    """Mean cosine in `other` with the `k` nearest in `near`, (n,) float64."""
    index, _ = top_similarities(near, None, k)
    total = np.zeros(len(near))
    for column in index.T:
        total += np.einsum("id,id->i", other, other[column], dtype=np.float64)
    return total / k


def _cross_fitted(x: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Agreement of the pairs as given and of shuffled ones."""
    order = rng.permutation(len(x))
    x, z = x[order], z[order]
    divisions = DIVISIONS if len(x) < FEW else 1
    blocks = np.array_split(np.arange(len(x)), FOLDS * divisions)
    # a shuffled pair's text and molecule are of one block, and so of one fold: neither was fitted to
    partner = np.concatenate([np.roll(block, 1) for block in blocks])
    sides = [(_features(source, rng), target) for source, target in ((x, z), (z, x))]
    found = []
    for division in range(divisions):
        # blocks that share a fold in one division are in different folds in the others
        fold = [(number + division * (number // FOLDS)) % FOLDS for number in range(len(blocks))]
        folds = [np.concatenate([b for b, own in zip(blocks, fold, strict=True) if own == f]) for f in range(FOLDS)]
        predicted = _predicted(sides, x, z, partner, folds)
        found.append(_agreement(predicted, x, z, partner, np.arange(len(x))))
    given, shuffled = (np.mean(part, axis=0) for part in zip(*found, strict=True))
    return given[np.argsort(order)], shuffled


def _predicted(
    sides: list[tuple[np.ndarray, np.ndarray]],
    x: np.ndarray,
    z: np.ndarray,
    partner: np.ndarray,
    folds: list[np.ndarray],
) -> list[np.ndarray]:
    """Molecules predicted from texts and texts from molecules, each fold from the others."""
    moments = [[_moments(features, target, fold) for fold in folds] for features, target in sides]
    predicted = [np.empty_like(target) for _, target in sides]
    for held in range(FOLDS):
        # The weights come from fits without the fold that they serve; with it, chance agreement would feed itself.
        rows = np.concatenate([fold for other, fold in enumerate(folds) if other != held])
        inner = [np.zeros_like(target) for _, target in sides]
        for side, (features, _) in enumerate(sides):
            for other in set(range(FOLDS)) - {held}:
                fit = _fit([part for fold, part in enumerate(moments[side]) if fold not in (held, other)])
                inner[side][folds[other]] = features[folds[other]] @ fit
        weight = 0.01 + 0.99 * _belonging(*_agreement(inner, x, z, partner, rows))
        for side, (features, target) in enumerate(sides):
            predicted[side][folds[held]] = features[folds[held]] @ _fit([_moments(features, target, rows, weight)])
    return predicted


def _features(source: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The Gaussian kernel on the unit sphere through at most 1,000 landmarks (Nyström; Williams & Seeger 2001)."""
    points = source[rng.choice(len(source), min(LANDMARKS, len(source)), replace=False)]
    values, vectors = np.linalg.eigh(np.exp(KERNEL_WIDTH * (points @ points.T - 1)).astype(np.float64))
    kept = values > 1e-6 * values[-1]
    whitening = (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)
    features = np.empty((len(source), whitening.shape[1]), np.float32)
    for start in range(0, len(source), ROWS):
        part = slice(start, start + ROWS)
        features[part] = np.exp(KERNEL_WIDTH * (source[part] @ points.T - 1)) @ whitening
    return features


def _moments(features: np.ndarray, target: np.ndarray, rows: np.ndarray, weight: Any = 1.0) -> np.ndarray:
    """Weighted ΦᵀΦ and ΦᵀY of some rows, side by side, float64."""
    total = np.zeros((features.shape[1], features.shape[1] + target.shape[1]))
    weight = np.broadcast_to(np.asarray(weight, np.float32), len(rows))
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        weighted = features[part].T * weight[start : start + ROWS]
        total += weighted @ np.concatenate([features[part], target[part]], axis=1)
    return total


def _fit(moments: list[np.ndarray]) -> np.ndarray:
    """Ridge coefficients, float32."""
    total = sum(moments[1:], start=moments[0])
    width = len(total)
    return np.linalg.solve(total[:, :width] + RIDGE * np.eye(width), total[:, width:]).astype(np.float32)


def _agreement(
    predicted: list[np.ndarray], x: np.ndarray, z: np.ndarray, partner: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean log odds of both predictions and directions for some rows as given, and shuffled."""
    place = np.empty(len(x), np.int64)
    place[rows] = np.arange(len(rows))
    own, other = place[rows], place[partner[rows]]
    x, z, molecules, texts = x[rows], z[rows], unit_rows(predicted[0][rows]), unit_rows(predicted[1][rows])
    of_molecule, of_text = _log_odds(molecules, z), _log_odds(texts, x)
    given = (of_molecule(own, own) + of_text(own, own)) / 4
    shuffled = (of_molecule(own, other) + of_text(other, own)) / 4
    # an equal text or molecule elsewhere makes a shuffled pair a right one
    wrong = (x != x[other]).any(axis=1) & (z != z[other]).any(axis=1)
    return given, shuffled[wrong]


def _log_odds(predicted: np.ndarray, actual: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Log odds that prediction i has actual j, by softmax among others in both directions, as a function of (i, j)."""
    step = -(-len(actual) // CANDIDATES)
    among = _log_mean_exp(predicted, actual[::step]), _log_mean_exp(actual, predicted[::step])

    def log_odds(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        cosine = np.einsum("id,id->i", predicted[i], actual[j], dtype=np.float64)
        return 2 * cosine / TEMPERATURE - among[0][i] - among[1][j]

    return log_odds


def _log_mean_exp(rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """log of the mean over the candidates of exp(cosine / temperature), (n,) float64."""
    out = np.empty(len(rows))
    for start in range(0, len(rows), ROWS):
        part = slice(start, start + ROWS)
        # cosines are at most 1, so that nothing overflows
        out[part] = np.exp((rows[part] @ candidates.T - 1) / TEMPERATURE).mean(axis=1, dtype=np.float64)
    return np.log(out) + 1 / TEMPERATURE


def _belonging(given: np.ndarray, shuffled: np.ndarray) -> np.ndarray:
    """Estimated probability that each pair belongs together, rising with its agreement."""
    from sklearn.isotonic import IsotonicRegression

    labels = np.repeat([1.0, 0.0], [len(given), len(shuffled)])
    # both sets weigh the same: p/(1 − p) is the ratio of their densities
    weights = np.repeat([1 / len(given), 1 / len(shuffled)], [len(given), len(shuffled)])
    curve = IsotonicRegression(out_of_bounds="clip").fit(np.concatenate([given, shuffled]), labels, weights)
    p = curve.predict(given)
    with np.errstate(divide="ignore"):
        return 1 - np.minimum(1, _share_below_median(given, shuffled) * (1 - p) / p)


def _share_below_median(given: np.ndarray, shuffled: np.ndarray) -> float:
    return min(1.0, 2 * float(np.mean(given < np.median(shuffled))))


def _mismatch_share(
    agreement: np.ndarray, copies: np.ndarray, shuffled: np.ndarray, rng: np.random.Generator
) -> tuple[float, ...]:
    """The share of mismatched rows and its 95 % interval over resampled distinct pairs.

    Of the pairs below a quantile of the shuffled ones, some belong together: more below the median than below the
    quartile. The interval spans both, from the lower end of the lower to the upper end of the higher.
    """

    def shares(pairs: np.ndarray, null: np.ndarray) -> np.ndarray:
        total, below = copies[pairs].sum(), np.quantile(null, QUANTILES)
        return np.array([copies[pairs][agreement[pairs] < x].sum() / total for x in below]) / QUANTILES

    every = np.arange(len(agreement))
    drawn = [shares(rng.choice(every, len(every)), rng.choice(shuffled, len(shuffled))) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, 0.025, axis=0).min(), np.quantile(drawn, 0.975, axis=0).max()
    # where no pair lies below, every resample says zero; n pairs exclude only what is above 3/n (rule of three)
    high = max(high, 3 / len(agreement) / QUANTILES[-1])
    return tuple(float(np.clip(value, 0, 1)) for value in (shares(every, shuffled)[-1], low, high))


def _rank_share(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each value the share of the others below it, ties counted half."""
    ordered = np.sort(others)
    below, upto = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (below + upto) / (2 * len(others))
