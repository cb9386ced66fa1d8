"""A look at one's own pairs before anything is trained: what was left out, what repeats, what the encoders make of it.

Every finding is data; the sentences of `advice` are made from it. Nothing is changed: duplicates and overlaps are
reported, and what to do with them is the user's decision.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.checks import check_real, check_whole
from class_kit.curriculum import EpochPlan, LinearSchedule, NeverFullWarning
from class_kit.errors import InputError
from class_kit.pairs.splits import split_order

if TYPE_CHECKING:
    from class_kit.pairs import PairSet, Rejected
    from class_kit.task import Task
    from class_kit.training import TrainingConfig

# Shares of pairs without a neighbour at which σ is looked up; the second is the one suggested where it orders them.
QUANTILES = (0.25, 0.50, 0.75, 0.90)
# share of pairs tied beyond which an order is the tie rule's
TIED = 0.8


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
        The suggested threshold: half of the training pairs have no neighbour; where that leaves nearly all of them
        tied, the one looked at that ties the fewest. None for a single training pair.
    cost, seconds : see `training_cost`
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
    seconds: dict[str, float]
    advice: list[dict[str, str]]

    def as_dict(self) -> dict[str, Any]:
        """What a run records: all but the ids of the groups and what the speed of the machine decides."""
        return {name: value for name, value in asdict(self).items() if name not in ("groups", "seconds")}


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
    from class_kit.study.arms import Arm, arm_notices
    from class_kit.text import describe_text

    levels = [check_real("sigmas", sigma, low=-1, high=1, open_low=True) for sigma in sigmas]
    if not levels or len(set(levels)) < len(levels):
        raise InputError(f"sigmas={list(sigmas)}: expected at least one threshold, each once")
    check_whole("max_tokens", max_tokens, low=3)
    pairs, rows = task.pairs, task.rows("train")
    repeats, groups = find_repeats(pairs, progress=progress)
    counted, by_quantile = _difficulty(task.t[rows], task.m[rows], levels, progress)
    texts = describe_text(pairs.text, encoder=task.encoders["text"], max_tokens=max_tokens)
    findings: dict[str, Any] = {
        "source": pairs.source,
        "digest": pairs.digest,
        "pairs": len(pairs),
        "splits": {name: pairs.split.count(name) for name in split_order(pairs.split)},
        "notes": pairs.notes,
        "rejected": group_reasons(pairs.rejected),
        "repeats": repeats,
        "coverage": _coverage(task, progress),
        "texts": {
            "encoder": task.encoders["text"],
            "max_tokens": max_tokens,
            "median": float(np.median(texts.tokens)),
            "longest": int(texts.tokens.max()),
            "truncated": len(texts.truncated),
            "distinct": len(set(pairs.text)),
        },
        "difficulty": counted,
        "by_quantile": by_quantile,
        "sigma": _suggested(counted, by_quantile)["sigma"] if by_quantile else None,
    }
    findings["cost"], seconds = training_cost(task, config, start=start, growth=growth, seed=seed)
    said = arm_notices(task, Arm("standard", order="standard"), findings["cost"]["batch_size"])
    level = {"duplicates": "note"}
    advice = [{"about": name, "level": level.get(name, "warning"), "says": says} for name, says in said.items()]
    advice = sorted([*advice, *advise(findings)], key=lambda entry: entry["level"] != "warning")
    return DataReport(**findings, groups=groups, seconds=seconds, advice=advice)


def find_repeats(
    pairs: PairSet, *, progress: bool | None = None
) -> tuple[list[dict[str, Any]], dict[str, list[list[str]]]]:
    """Groups of pairs with equal texts, equal molecules (with and without stereochemistry, by InChIKey), or both.

    Molecules are compared as `class_kit.molecules.structures` says, so that another spelling of the same structure
    counts as equal; texts character by character.

    Returns
    -------
    list of {what, groups, rows, largest, across_splits}
        One entry for each kind, also where there are none: zero was looked for.
    dict of what to groups
        Ids of the pairs of each group, the largest group first, then in order of appearance.
    """
    from class_kit.molecules.structures import structures

    molecules = structures(pairs.smiles, progress=progress)
    isomers = [molecule.isomer for molecule in molecules]
    keys: dict[str, Iterable[Hashable]] = {
        "equal texts": pairs.text,
        "equal molecules": isomers,
        "equal molecules, stereochemistry aside": [molecule.key for molecule in molecules],
        "equal skeletons (first InChIKey block)": [molecule.skeleton for molecule in molecules],
        "equal InChIKeys": [molecule.inchikey or molecule.isomer for molecule in molecules],
        "equal text and molecule": zip(pairs.text, isomers, strict=True),
    }
    entries, ids = [], {}
    for what, values in keys.items():
        rows: dict[Hashable, list[int]] = {}
        for row, value in enumerate(values):
            rows.setdefault(value, []).append(row)
        groups = sorted((group for group in rows.values() if len(group) > 1), key=lambda group: -len(group))
        entries.append(
            {
                "what": what,
                "groups": len(groups),
                "rows": sum(map(len, groups)),
                "largest": max(map(len, groups), default=0),
                "across_splits": sum(len({pairs.split[row] for row in group}) > 1 for group in groups),
            }
        )
        ids[what] = [[pairs.id[row] for row in group] for group in groups]
    return entries, ids


def group_reasons(rejected: Iterable[Rejected]) -> list[dict[str, Any]]:
    """Rejected rows by kind of reason, the most frequent first: {reason, rows, first}.

    A reason names the row's own values; quoted ones and numbers are taken out, so that a thousand rows with the same
    fault are one line.
    """
    kinds: Counter[str] = Counter()
    first: dict[str, str] = {}
    for row in rejected:
        kind = re.sub(r"\d[\d,]*", "…", re.sub(r"'[^']*'|\"[^\"]*\"|\([^)]*\)", "…", row.reason))
        kinds[kind] += 1
        first.setdefault(kind, str(row))
    return [{"reason": kind, "rows": rows, "first": first[kind]} for kind, rows in kinds.most_common()]


def training_cost(
    task: Task,
    config: TrainingConfig | None = None,
    *,
    start: float = 0.40,
    growth: float = 0.03,
    seed: int = 0,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Measure a few optimiser steps and extrapolate to whole trainings, plain and with the curriculum.

    Three short epochs of the first training pairs are run and the fastest of the last two is taken: the first pays
    for what is set up once, and anything else the machine does can only slow a step down. Validation, counting
    neighbours and embedding come on top.

    Parameters
    ----------
    config : TrainingConfig, optional
        The training to estimate; the default configuration with 40 epochs, as the paper's example has.

    Returns
    -------
    dict
        `backbone`, `epochs`, `batch_size`; `plain` and `curriculum`, each with `steps`, `samples` and `last_fraction`
        (λ of the last epoch); `share`, the curriculum's samples over the plain run's.
    dict
        Seconds of a training, `plain` and `curriculum`.
    """
    from class_kit.training import TrainingConfig, train

    config = TrainingConfig(epochs=40) if config is None else config
    rows = task.rows("train")
    if len(rows) < 2:
        raise InputError(f"{len(rows)} training pair: expected at least 2 to train on")
    few = rows[: 6 * config.batch_size]
    brief = replace(config, epochs=3, seed=seed)
    # a schedule that never reaches all pairs is reported, with its share
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NeverFullWarning)
        # costs depend on how many pairs there are and not on their order
        everything = LinearSchedule(start=1.0, growth=0.0)
        plan = EpochPlan(np.arange(len(few)), schedule=everything, seed=seed, epochs=3)
        history = train(brief, plan, task.t[few], task.m[few], progress=False).history
        each = min(epoch["seconds"] / epoch["steps"] for epoch in history[1:])
        arms: dict[str, dict[str, Any]] = {}
        for name, schedule in (("plain", everything), ("curriculum", LinearSchedule(start=start, growth=growth))):
            plan = EpochPlan(np.arange(len(rows)), schedule=schedule, seed=seed, epochs=config.epochs)
            samples = sum(len(plan.rows(epoch)) for epoch in range(1, config.epochs + 1))
            last = plan.fraction(config.epochs)
            arms[name] = {"steps": plan.steps_total(config.batch_size), "samples": samples, "last_fraction": last}
    share = arms["curriculum"]["samples"] / arms["plain"]["samples"]
    settings = {name: getattr(config, name) for name in ("backbone", "epochs", "batch_size")}
    return {**settings, **arms, "share": share}, {name: arm["steps"] * each for name, arm in arms.items()}


def sigmas_for_quantiles(
    t: np.ndarray, m: np.ndarray, shares: Sequence[float], progress: bool | None = None
) -> list[float]:
    """`sigma_for_quantile` for several shares at the price of one: the nearest neighbours are looked up once."""
    from class_kit.neighbours import top_similarities

    nearest = np.sort(top_similarities(t, m, 1, progress=progress)[1][:, 0])
    ranks = [max(int(np.ceil(share * len(nearest) - 1e-9)) - 1, 0) for share in shares]
    return [float(min(nearest[rank] + 2e-12, 1.0)) for rank in ranks]


def _difficulty(
    t: np.ndarray, m: np.ndarray, sigmas: list[float], progress: bool | None
) -> tuple[list[dict[str, Any]], list[dict[str, float]]]:
    """Counts at the given thresholds, and the thresholds by quantile with their ties, in one pass over the pairs."""
    from class_kit.difficulty import tie_mass
    from class_kit.neighbours import neighbour_counts

    suggested = sigmas_for_quantiles(t, m, QUANTILES, progress) if len(t) > 1 else []
    levels = list(dict.fromkeys([*sigmas, *suggested]))
    counted = dict(zip(levels, neighbour_counts(t, m, sigma=levels, progress=progress), strict=True))
    measures = {
        "zero": lambda counts: float(np.mean(counts == 0)),
        "tie_mass": tie_mass,
        "median": lambda counts: float(np.median(counts)),
        "mean": lambda counts: float(counts.mean()),
        "largest": lambda counts: int(counts.max()),
    }
    by_sigma = [{"sigma": sigma, **{name: of(counted[sigma]) for name, of in measures.items()}} for sigma in sigmas]
    by_quantile = [
        {"quantile": share, "sigma": sigma, "tie_mass": tie_mass(counted[sigma])}
        for share, sigma in zip(QUANTILES, suggested, strict=False)
    ]
    return by_sigma, by_quantile


def _suggested(by_sigma: Sequence[Mapping[str, Any]], by_quantile: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The threshold at which half of the pairs have a neighbour; where it ties nearly all, the one that ties fewest."""
    half = by_quantile[1]
    return half if half["tie_mass"] <= TIED else min([half, *by_quantile, *by_sigma], key=lambda each: each["tie_mass"])


def _coverage(task: Task, progress: bool | None) -> dict[str, Any]:
    from class_kit.molecules import mol2vec_coverage

    if task.encoders["molecules"] != "mol2vec":
        return {}
    words = mol2vec_coverage(task.pairs.smiles, vectors=task.encoders["vectors"], progress=progress)
    split = np.asarray(task.pairs.split)
    return {
        "vectors": task.encoders["vectors"],
        "overall": words.overall,
        "in_full": float((words.known == words.total).mean()),
        "without_known": len(words.without_known),
        "unknown_words": len(words.unknown_words),
        "by_split": {
            name: float(words.known[split == name].sum() / words.total[split == name].sum())
            for name in dict.fromkeys(task.pairs.split)
        },
    }


def advise(findings: Mapping[str, Any]) -> list[dict[str, str]]:
    """What to watch out for, in sentences made from a report's numbers: {about, level, says}, warnings first.

    Parameters
    ----------
    findings : mapping
        The fields of `DataReport` without `groups` and `advice`.
    """
    entries = [
        {"about": about, "level": "warning" if value > limit else "note", "says": says}
        for about, value, limit, says in _checks(findings)
        if value > 0
    ]
    return sorted(entries, key=lambda entry: entry["level"] != "warning")


def _checks(findings: Mapping[str, Any]) -> Iterator[tuple[str, float, float, str]]:
    """What is looked at: about, a number that is above 0 where there is something to say, from where on it warns."""
    pairs, coverage, words = (findings[name] for name in ("pairs", "coverage", "texts"))
    texts, _, flat, skeletons, *_ = findings["repeats"]
    left_out = sum(entry["rows"] for entry in findings["rejected"])
    share = left_out / (left_out + pairs)
    yield "rejected rows", share, 0.05, f"{left_out:,} rows ({share:.1%}) were left out."
    says = f"{texts['rows']:,} rows share their text with another: asked all at once, no retriever gets past "
    says += f"{words['distinct'] / pairs:.1%} in Hits@1, and in a batch they are each other's false negatives."
    yield "duplicates", texts["rows"], math.inf, says
    says = f"{flat['rows']:,} rows share their molecule with another, stereochemistry aside: Mol2vec gives them "
    says += "equal vectors, so they are ranked by chance among each other."
    yield "duplicates", flat["rows"], math.inf, says
    for entry in (texts, flat, skeletons):
        says = f"{entry['across_splits']:,} groups of {entry['what']} lie in more than one split: report results with "
        yield "leakage", entry["across_splits"], 0, f"{says}and without them, or split again."
    held = findings["splits"].get("test", 0)
    yield "size", 300 - held, 0, f"Only {held:,} test queries: intervals will be wide."
    if coverage:
        known = coverage["overall"]
        yield "coverage", known - 0.95, math.inf, f"{known:.1%} of the Mol2vec words have a vector."
        says = f"Only {known:.1%} of the Mol2vec words have a vector; the rest all look alike: try other vectors "
        yield "coverage", 0.95 - known, 0, f"{says}(class-kit fetch mol2vec) or Morgan fingerprints."
        without = coverage["without_known"]
        yield "coverage", without, 0, f"{without:,} molecules have no known word and get a zero vector."
    says = f"{words['truncated']:,} texts are longer than {words['max_tokens']} tokens (the longest has "
    yield "texts", words["truncated"], 0, f"{says}{words['longest']:,}); what stands behind is not read."
    says = f"Half of the texts have at most {words['median']:.0f} tokens: names rather than descriptions."
    yield "texts", 10 - words["median"], 0, says
    highest = max(findings["difficulty"], key=lambda entry: entry["sigma"])
    says = (
        f"At σ = {highest['sigma']:g} the count leaves {highest['tie_mass']:.1%} of the training pairs tied: the tie "
    )
    yield "difficulty", highest["tie_mass"] - TIED, 0, f"{says}rule, not the difficulty, would order them."
    for half in findings["by_quantile"][1:2]:
        best = _suggested(findings["difficulty"], findings["by_quantile"])
        says = (
            f"No threshold that was looked at ties less than {best['tie_mass']:.1%} of the training pairs: the count "
        )
        says += "cannot order them. Another measure may: kth_distance with more neighbours, or loss."
        if best["tie_mass"] <= TIED:
            with_neighbour = "half of the training pairs have a neighbour and " if best is half else ""
            says = f"At σ = {best['sigma']:.3f} {with_neighbour}{best['tie_mass']:.1%} are tied: start from there."
        yield "difficulty", 1, math.inf, says
        says = "More than half of the training pairs have a neighbour with nearly equal vectors (median similarity "
        yield "difficulty", half["tie_mass"] - TIED, 0, f"{says}{half['sigma']:.6f}): look at the repeats."
    epochs, last = findings["cost"]["epochs"], findings["cost"]["curriculum"]["last_fraction"]
    says = f"With {epochs} epochs the schedule ends at {last:.0%} of the pairs: the hardest are never trained on."
    yield "schedule", 1 - last, 0, says
