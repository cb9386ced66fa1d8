"""A look at one's own pairs before anything is trained: what was left out, what repeats, what the encoders make of it.

Every finding is data; the sentences of `advice` are made from it. Nothing is changed: duplicates and overlaps are
reported, and what to do with them is the user's decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.checks import check_real, check_whole
from class_kit.data_report.advice import advise
from class_kit.data_report.cost import training_cost
from class_kit.data_report.repeats import find_repeats, group_reasons
from class_kit.errors import InputError

if TYPE_CHECKING:
    from class_kit.task import Task
    from class_kit.training import TrainingConfig

__all__ = ["DataReport", "advise", "data_report", "find_repeats", "group_reasons", "training_cost"]

# Shares of pairs without a neighbour at which σ is looked up; the second is the one suggested.
QUANTILES = (0.25, 0.50, 0.75, 0.90)


@dataclass(frozen=True)
class DataReport:
    """What `data_report` found, as plain data.

    Attributes
    ----------
    source, digest : str
        Where the pairs came from, and the SHA-256 of their content.
    pairs : int
    splits : split to number of pairs
    notes : facts about the pairs, as `PairSet.notes`
    rejected : list of {reason, rows, first}
        Rows left out, by kind of reason, the most frequent first; `first` names one of them.
    repeats : list of {what, groups, rows, largest, across_splits}
        Pairs that are equal in some sense; `across_splits` counts the groups found in more than one split.
    groups : what to a list of groups, each a list of ids
    coverage : {overall, in_full, without_known, unknown_words, by_split}, or empty for other molecule encoders
    texts : {encoder, max_tokens, median, longest, truncated, distinct}
        Tokens of a text, and how many texts are cut off.
    difficulty : list of {sigma, zero, tie_mass, median, mean, largest}
        Neighbour counts of the training pairs.
    by_quantile : list of {quantile, sigma, tie_mass}
    sigma : float
        The suggested threshold: half of the training pairs have no neighbour. NaN for a single training pair.
    cost : see `training_cost`
    advice : list of {about, level, says}
        What to watch out for; level is "warning" or "note".
    """

    source: str
    digest: str
    pairs: int
    splits: dict[str, int]
    notes: tuple[str, ...]
    rejected: list[dict[str, Any]]
    repeats: list[dict[str, Any]]
    groups: dict[str, list[list[str]]]
    coverage: dict[str, Any]
    texts: dict[str, Any]
    difficulty: list[dict[str, Any]]
    by_quantile: list[dict[str, float]]
    sigma: float | None
    cost: dict[str, Any]
    advice: list[dict[str, str]]

    def as_dict(self, *, timings: bool = True) -> dict[str, Any]:
        """Everything but the ids of the groups; without `timings` what a machine's speed decides is left out too.

        A run records the latter: its metrics are then the same on every machine.
        """
        fields = {name: value for name, value in asdict(self).items() if name != "groups"}
        if timings:
            return fields
        cost = {name: value for name, value in self.cost.items() if name != "step_seconds"}
        for arm in ("plain", "curriculum"):
            cost[arm] = {name: value for name, value in cost[arm].items() if name != "seconds"}
        said = [entry for entry in self.advice if entry["about"] != "cost"]
        return fields | {"cost": cost, "advice": said}

    def __str__(self) -> str:
        marks = {"warning": "!", "note": "·"}
        return "\n".join(f"{marks[entry['level']]} {entry['says']}" for entry in self.advice)


def data_report(
    task: Task,
    *,
    sigmas: Sequence[float] = (0.90, 0.95, 0.99),
    config: TrainingConfig | None = None,
    start: float = 0.40,
    growth: float = 0.03,
    max_tokens: int = 256,
    seed: int = 0,
    progress: bool | None = None,
) -> DataReport:
    """Look at pairs before training on them.

    Parameters
    ----------
    task : Task
        From `load_task`, which also finds the rows that cannot be used.
    sigmas : thresholds of the neighbour count, each in (-1, 1]
    config : TrainingConfig, optional
        The training whose cost is estimated.
    start, growth : float
        α and β of the schedule whose cost is compared with the plain run's.
    max_tokens : int
        What the text encoder reads of a text (see `embed_text`).
    seed : int
        Of the few steps that are measured.
    progress : bool, optional
        Show bars; by default only where a person is looking.

    Raises
    ------
    InputError
        For a setting out of range, and pairs without a split "train".
    """
    levels = [check_real("sigmas", sigma, low=-1, high=1, open_low=True) for sigma in sigmas]
    if not levels or len(set(levels)) < len(levels):
        raise InputError(f"sigmas={list(sigmas)}: expected at least one threshold, each once")
    check_whole("max_tokens", max_tokens, low=3)
    pairs, rows = task.pairs, task.rows("train")
    repeats, groups = find_repeats(pairs, progress=progress)
    counted, by_quantile = _difficulty(task.t[rows], task.m[rows], levels, progress)
    found: dict[str, Any] = {
        "source": pairs.source,
        "digest": pairs.digest,
        "pairs": len(pairs),
        "splits": {name: pairs.split.count(name) for name in dict.fromkeys(pairs.splits_found)},
        "notes": pairs.notes,
        "rejected": group_reasons(pairs.rejected),
        "repeats": repeats,
        "coverage": _coverage(task, progress),
        "texts": _texts(task, max_tokens),
        "difficulty": counted,
        "by_quantile": by_quantile,
        "sigma": by_quantile[1]["sigma"] if by_quantile else None,
        "cost": training_cost(task, config, start=start, growth=growth, seed=seed),
    }
    return DataReport(**found, groups=groups, advice=advise(found))


def _difficulty(
    t: np.ndarray, m: np.ndarray, sigmas: list[float], progress: bool | None
) -> tuple[list[dict[str, Any]], list[dict[str, float]]]:
    """Counts at the given thresholds, and the thresholds by quantile with their ties, in one pass over the pairs."""
    from class_kit.difficulty import tie_mass
    from class_kit.neighbours import neighbour_counts

    suggested = sigmas_for_quantiles(t, m, QUANTILES, progress) if len(t) > 1 else []
    levels = list(dict.fromkeys([*sigmas, *suggested]))
    counted = dict(zip(levels, neighbour_counts(t, m, sigma=levels, progress=progress), strict=True))
    by_sigma = [
        {
            "sigma": sigma,
            "zero": float(np.mean(counted[sigma] == 0)),
            "tie_mass": tie_mass(counted[sigma]),
            "median": float(np.median(counted[sigma])),
            "mean": float(counted[sigma].mean()),
            "largest": int(counted[sigma].max()),
        }
        for sigma in sigmas
    ]
    by_quantile = [
        {"quantile": share, "sigma": sigma, "tie_mass": tie_mass(counted[sigma])}
        for share, sigma in zip(QUANTILES, suggested, strict=False)
    ]
    return by_sigma, by_quantile


def sigmas_for_quantiles(
    t: np.ndarray, m: np.ndarray, shares: Sequence[float], progress: bool | None = None
) -> list[float]:
    """`sigma_for_quantile` for several shares at the price of one: the nearest neighbours are looked up once."""
    from class_kit.neighbours import top_similarities

    nearest = np.sort(top_similarities(t, m, 1, progress=progress)[1][:, 0])
    ranks = [max(int(np.ceil(share * len(nearest) - 1e-9)) - 1, 0) for share in shares]
    return [float(min(nearest[rank] + 2e-12, 1.0)) for rank in ranks]


def _coverage(task: Task, progress: bool | None) -> dict[str, Any]:
    from class_kit.molecules import mol2vec_coverage

    if task.encoders["molecules"] != "mol2vec":
        return {}
    found = mol2vec_coverage(task.pairs.smiles, vectors=task.encoders["vectors"], progress=progress)
    split = np.asarray(task.pairs.split)
    return {
        "vectors": task.encoders["vectors"],
        "overall": found.overall,
        "in_full": float((found.known == found.total).mean()),
        "without_known": len(found.without_known),
        "unknown_words": len(found.unknown_words),
        "by_split": {
            name: float(found.known[split == name].sum() / found.total[split == name].sum())
            for name in dict.fromkeys(task.pairs.split)
        },
    }


def _texts(task: Task, max_tokens: int) -> dict[str, Any]:
    from class_kit.text import describe_text

    found = describe_text(task.pairs.text, encoder=task.encoders["text"], max_tokens=max_tokens)
    return {
        "encoder": task.encoders["text"],
        "max_tokens": max_tokens,
        "median": float(np.median(found.tokens)),
        "longest": int(found.tokens.max()),
        "truncated": len(found.truncated),
        "distinct": len(set(task.pairs.text)),
    }
