"""A look at one's own pairs before anything is trained: what was left out, what repeats, what the encoders make of it.

Every finding is data; the sentences of `advice` are made from it. Nothing is changed: duplicates and overlaps are
reported, and what to do with them is the user's decision.
"""

from __future__ import annotations

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
from class_kit.progress import duration, progress_bar

if TYPE_CHECKING:
    from class_kit.pairs import PairSet, Rejected
    from class_kit.task import Task
    from class_kit.training import TrainingConfig

# Shares of pairs without a neighbour at which σ is looked up; the second is the one suggested.
QUANTILES = (0.25, 0.50, 0.75, 0.90)

# From where a finding is a warning and not a note. They are judgements; each stands beside its number in the words.
MANY_REJECTED = 0.05
MOSTLY_TIES = 0.80
POOR_COVERAGE = 0.95
FEW_QUERIES = 300
FEW_TO_TRAIN = 1000
SHORT_TEXT = 10
LONG_TRAINING = 3600.0

Advice = Iterator[tuple[str, str, str]]


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
        The suggested threshold: half of the training pairs have no neighbour. None for a single training pair.
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
        return fields | {"cost": cost, "advice": [entry for entry in self.advice if entry["about"] != "cost"]}


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
        "splits": {name: pairs.split.count(name) for name in dict.fromkeys(pairs.splits_found)},
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
        "sigma": by_quantile[1]["sigma"] if by_quantile else None,
        "cost": training_cost(task, config, start=start, growth=growth, seed=seed),
    }
    return DataReport(**findings, groups=groups, advice=advise(findings))


def find_repeats(
    pairs: PairSet, *, progress: bool | None = None
) -> tuple[list[dict[str, Any]], dict[str, list[list[str]]]]:
    """Groups of pairs with equal texts, equal molecules (with and without stereochemistry), or both.

    Molecules are compared as RDKit's canonical SMILES, so that another spelling of the same structure counts as equal;
    texts character by character.

    Returns
    -------
    list of {what, groups, rows, largest, across_splits}
        One entry for each kind, also where there are none: zero was looked for.
    dict of what to groups
        Ids of the pairs of each group, the largest group first, then in order of appearance.
    """
    exact, flat = canonical_forms(pairs.smiles, progress=progress)
    keys: dict[str, Iterable[Hashable]] = {
        "equal texts": pairs.text,
        "equal molecules": exact,
        "equal molecules, stereochemistry aside": flat,
        "equal text and molecule": zip(pairs.text, exact, strict=True),
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


def canonical_forms(smiles: Sequence[str], *, progress: bool | None = None) -> tuple[list[str], list[str]]:
    """Canonical SMILES of each molecule, with and without stereochemistry and isotopes."""
    from rdkit import Chem

    from class_kit.molecules import read_molecule

    exact, flat = [], []
    disable = None if progress is None else not progress
    for text in progress_bar(smiles, desc="canonical SMILES", unit="molecule", disable=disable):
        molecule = read_molecule(text)
        exact.append(Chem.MolToSmiles(molecule))
        flat.append(Chem.MolToSmiles(molecule, isomericSmiles=False))
    return exact, flat


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
    steps: int = 6,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a few optimiser steps and extrapolate to whole trainings, plain and with the curriculum.

    Three short epochs of the first training pairs are run and the fastest of the last two is taken: the first pays
    for what is set up once, and anything else the machine does can only slow a step down. Validation, counting
    neighbours and embedding come on top.

    Parameters
    ----------
    config : TrainingConfig, optional
        The training to estimate; the default configuration with 40 epochs, as the paper's example has.
    steps : int
        Optimiser steps in each of the three epochs, at least 1.

    Returns
    -------
    dict
        `backbone`, `epochs`, `batch_size`, `step_seconds`; `plain` and `curriculum`, each with `steps`, `samples`,
        `seconds` and `last_fraction` (λ of the last epoch); `share`, the curriculum's samples over the plain run's.
    """
    from class_kit.training import TrainingConfig, train

    check_whole("steps", steps, low=1)
    config = TrainingConfig(epochs=40) if config is None else config
    rows = task.rows("train")
    if len(rows) < 2:
        raise InputError(f"{len(rows)} training pair: expected at least 2 to train on")
    few = rows[: steps * config.batch_size]
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
            total = plan.steps_total(config.batch_size)
            samples = sum(len(plan.rows(epoch)) for epoch in range(1, config.epochs + 1))
            last = plan.fraction(config.epochs)
            arms[name] = {"steps": total, "samples": samples, "seconds": total * each, "last_fraction": last}
    return {
        "backbone": config.backbone,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "step_seconds": each,
        **arms,
        "share": arms["curriculum"]["samples"] / arms["plain"]["samples"],
    }


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
    given = (*_on_pairs(findings), *_on_encoders(findings), *_on_training(findings))
    entries = [{"about": about, "level": level, "says": says} for level, about, says in given]
    return sorted(entries, key=lambda entry: entry["level"] != "warning")


def _on_pairs(findings: Mapping[str, Any]) -> Advice:
    if bad := sum(entry["rows"] for entry in findings["rejected"]):
        share, most = bad / (bad + findings["pairs"]), findings["rejected"][0]
        yield (
            "warning" if share > MANY_REJECTED else "note",
            "rejected rows",
            f"{bad:,} rows ({share:.1%}) were left out, {most['rows']:,} of them for one reason: {most['first']}.",
        )
    texts, _, flat, _ = findings["repeats"]
    if texts["rows"]:
        ceiling = findings["texts"]["distinct"] / findings["pairs"]
        yield (
            "note",
            "duplicates",
            f"{texts['rows']:,} rows share their text with another: asked all at once, no retriever gets past "
            f"{ceiling:.1%} in Hits@1, and in a batch they are each other's false negatives.",
        )
    if flat["rows"]:
        yield (
            "note",
            "duplicates",
            f"{flat['rows']:,} rows share their molecule with another, stereochemistry aside: Mol2vec gives them "
            "equal vectors, so they are ranked by chance among each other.",
        )
    for entry in (texts, flat):
        if entry["across_splits"]:
            yield (
                "warning",
                "leakage",
                f"{entry['across_splits']:,} groups of {entry['what']} lie in more than one split: report results with "
                "and without them, or split again.",
            )
    train, held = findings["splits"].get("train", 0), findings["splits"].get("test", 0)
    if train < FEW_TO_TRAIN:
        yield "warning", "size", f"Only {train:,} training pairs: expect large differences between seeds."
    if not held:
        yield "warning", "size", "There is no test split: results would be read off pairs that chose the model."
    elif held < FEW_QUERIES:
        share = 1 / held
        yield (
            "warning",
            "size",
            f"Only {held:,} test queries: one query is {share:.2%} of Hits@1, and intervals will be wide.",
        )


def _on_encoders(findings: Mapping[str, Any]) -> Advice:
    if coverage := findings["coverage"]:
        if coverage["overall"] < POOR_COVERAGE:
            yield (
                "warning",
                "coverage",
                f"The vectors {coverage['vectors']!r} know only {coverage['overall']:.1%} of the Mol2vec words: the "
                "rest all look alike. Try others (class-kit fetch mol2vec), or Morgan fingerprints.",
            )
        else:
            yield "note", "coverage", f"{coverage['overall']:.1%} of the Mol2vec words have a vector."
        if without := coverage["without_known"]:
            yield "warning", "coverage", f"{without:,} molecules have no known word and get a zero vector."
    texts = findings["texts"]
    if texts["truncated"]:
        yield (
            "warning",
            "texts",
            f"{texts['truncated']:,} texts are longer than {texts['max_tokens']} tokens (the longest has "
            f"{texts['longest']:,}); what stands behind is not read.",
        )
    if texts["median"] < SHORT_TEXT:
        yield (
            "warning",
            "texts",
            f"Half of the texts have at most {texts['median']:.0f} tokens, special ones included: names rather "
            "than descriptions, of which a sentence encoder knows little.",
        )


def _on_training(findings: Mapping[str, Any]) -> Advice:
    highest = max(findings["difficulty"], key=lambda entry: entry["sigma"])
    if highest["tie_mass"] > MOSTLY_TIES:
        yield (
            "warning",
            "difficulty",
            f"At σ = {highest['sigma']:g} the count leaves {highest['tie_mass']:.1%} of the training pairs tied: "
            "the tie rule, not the difficulty, would order them.",
        )
    if findings["sigma"] is not None:
        tied = findings["by_quantile"][1]["tie_mass"]
        yield (
            "note",
            "difficulty",
            f"At σ = {findings['sigma']:.3f} half of the training pairs have a neighbour and {tied:.1%} are tied: "
            "start from there.",
        )
    cost = findings["cost"]
    plain, curriculum = cost["plain"], cost["curriculum"]
    yield (
        "warning" if plain["seconds"] > LONG_TRAINING else "note",
        "cost",
        f"A training of {cost['epochs']} epochs takes about {duration(plain['seconds'])} on this machine, "
        f"{duration(curriculum['seconds'])} with the curriculum ({cost['share']:.1%} of the samples); a comparison "
        "needs several seeds of each.",
    )
    if curriculum["last_fraction"] < 1:
        yield (
            "warning",
            "cost",
            f"With {cost['epochs']} epochs the schedule ends at {curriculum['last_fraction']:.0%} of the pairs: the "
            "hardest are never trained on.",
        )
