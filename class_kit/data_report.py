"""A report on pairs before anything is trained: rejected rows, repeats, coverage of the encoders, difficulty.

Every finding is data, from which the sentences of `advice` are made. Nothing is changed: duplicates and overlaps are
reported, and what to do about them is the user's decision.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.checks import check_real, check_whole
from class_kit.errors import InputError
from class_kit.pairs.splits import split_order
from class_kit.terminal import counted

if TYPE_CHECKING:
    from class_kit.pairs import PairSet, Rejected
    from class_kit.task import Task

# Shares of pairs without a neighbour for which σ is computed. The second gives the suggested σ unless it ties too many.
QUANTILES = (0.25, 0.50, 0.75, 0.90)
# with a larger share of tied pairs, the tie rule decides the order
TIED = 0.8


class DataReport(SimpleNamespace):
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
        Groups of pairs that are equal in some respect; `across_splits` counts those in more than one split.
    groups : what to a list of groups, each a list of ids
    coverage : {overall, in_full, without_known, unknown_words}, or empty for other molecule encoders
    texts : {encoder, max_tokens, median, longest, truncated, distinct}
        Tokens of a text, and how many texts are cut off.
    difficulty : list of {sigma, zero, tie_mass, median, mean, largest}
        Neighbour counts of the training pairs.
    by_quantile : list of {quantile, sigma, tie_mass}
    sigma : float
        The suggested threshold: half of the training pairs have no neighbour; where that leaves nearly all of them
        tied, the one of those computed that ties the fewest.
    advice : list of {about, level, says}
        What to watch out for; level is "warning" or "note".
    """

    def as_dict(self) -> dict[str, Any]:
        """What a run records: all but the ids of the groups."""
        return {name: value for name, value in vars(self).items() if name != "groups"}


def data_report(task: Task, *, sigmas: Sequence[float] = (0.90, 0.95, 0.99), batch_size: int = 128) -> DataReport:
    """Report on pairs before training on them.

    Parameters
    ----------
    task : Task
        From `load_task`, whose pairs list the rejected rows.
    sigmas : thresholds of the neighbour count, each in (-1, 1]
    batch_size : int
        Pairs in an optimiser step, which may be too many for the training pairs.

    Raises
    ------
    InputError
        For a setting out of range, and fewer than 2 training pairs.
    """
    from class_kit.study.arms import Arm, arm_notices
    from class_kit.text import MAX_TOKENS, count_tokens

    levels = [check_real("sigmas", sigma, low=-1, high=1, open_low=True) for sigma in sigmas]
    if not levels or len(set(levels)) < len(levels):
        raise InputError(f"sigmas={list(sigmas)}: expected one or more thresholds, none of them twice")
    pairs, rows = task.pairs, task.rows("train")
    if len(rows) < 2:
        raise InputError(f"{len(rows)} training pair: expected at least 2 to train on")
    repeats, groups = find_repeats(pairs)
    by_sigma, by_quantile = _difficulty(task.t[rows], task.m[rows], levels)
    lengths = count_tokens(pairs.text, encoder=task.encoders["text"])
    findings: dict[str, Any] = {
        "source": pairs.source,
        "digest": pairs.digest,
        "pairs": len(pairs),
        "splits": {name: pairs.split.count(name) for name in split_order(pairs.split)},
        "notes": pairs.notes,
        "rejected": group_reasons(pairs.rejected),
        "repeats": repeats,
        "coverage": _coverage(task),
        "texts": {
            "encoder": task.encoders["text"],
            "max_tokens": MAX_TOKENS,
            "median": float(np.median(lengths)),
            "longest": int(lengths.max()),
            "truncated": int((lengths > MAX_TOKENS).sum()),
            "distinct": len(set(pairs.text)),
        },
        "difficulty": by_sigma,
        "by_quantile": by_quantile,
        "sigma": _suggested(by_sigma, by_quantile)["sigma"],
    }
    notices = arm_notices(task, Arm("standard", order="standard"), check_whole("batch_size", batch_size, low=1))
    advice = [
        {"about": about, "level": "note" if about == "duplicates" else "warning", "says": says}
        for about, says in notices.items()
    ]
    advice = sorted([*advice, *advise(findings)], key=lambda entry: entry["level"] != "warning")
    return DataReport(**findings, groups=groups, advice=advice)


def find_repeats(pairs: PairSet) -> tuple[list[dict[str, Any]], dict[str, list[list[str]]]]:
    """Groups of pairs with equal texts, equal molecules (with and without stereochemistry, by InChIKey), or both.

    Molecules are compared as `class_kit.molecules.structures` says, so that another spelling of the same structure
    counts as equal; texts character by character.

    Returns
    -------
    list of {what, groups, rows, largest, across_splits}
        One entry for each kind, also where there are none.
    dict of what to groups
        Ids of the pairs of each group, the largest group first, then in order of appearance.
    """
    from class_kit.molecules.structures import structures

    molecules = structures(pairs.smiles)
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
        groups = sorted((group for group in rows.values() if len(group) > 1), key=len, reverse=True)
        across = sum(len({pairs.split[row] for row in group}) > 1 for group in groups)
        sizes = [len(group) for group in groups]
        counts = {"groups": len(groups), "rows": sum(sizes), "largest": max(sizes, default=0), "across_splits": across}
        entries.append({"what": what, **counts})
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


def _difficulty(
    t: np.ndarray, m: np.ndarray, sigmas: list[float]
) -> tuple[list[dict[str, Any]], list[dict[str, float]]]:
    """Counts at the given thresholds, and the thresholds by quantile with their ties, in one pass over the pairs."""
    from class_kit.difficulty import tie_mass
    from class_kit.difficulty.order import quantile_sigma
    from class_kit.neighbours import neighbour_counts, top_similarities

    nearest = top_similarities(t, m, 1)[1][:, 0]
    suggested = {share: quantile_sigma(nearest, share) for share in QUANTILES}
    levels = list(dict.fromkeys([*sigmas, *suggested.values()]))
    measured = {
        sigma: {
            "sigma": sigma,
            "zero": float(np.mean(counts == 0)),
            "tie_mass": tie_mass(counts),
            "median": float(np.median(counts)),
            "mean": float(counts.mean()),
            "largest": int(counts.max()),
        }
        for sigma, counts in zip(levels, neighbour_counts(t, m, sigma=levels), strict=True)
    }
    ties = {sigma: entry["tie_mass"] for sigma, entry in measured.items()}
    by_quantile = [{"quantile": share, "sigma": sigma, "tie_mass": ties[sigma]} for share, sigma in suggested.items()]
    return [measured[sigma] for sigma in sigmas], by_quantile


def _suggested(by_sigma: Sequence[Mapping[str, Any]], by_quantile: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The threshold at which half of the pairs have a neighbour; if that ties too many, the one that ties fewest."""
    half = by_quantile[1]
    return half if half["tie_mass"] <= TIED else min([half, *by_quantile, *by_sigma], key=lambda each: each["tie_mass"])


def _coverage(task: Task) -> dict[str, Any]:
    from class_kit.molecules import mol2vec_coverage

    if task.encoders["molecules"] != "mol2vec":
        return {}
    words = mol2vec_coverage(task.pairs.smiles, vectors=task.encoders["vectors"])
    return {
        "vectors": task.encoders["vectors"],
        "overall": words.overall,
        "in_full": float((words.known == words.total).mean()),
        "without_known": len(words.without_known),
        "unknown_words": len(words.unknown_words),
    }


def advise(findings: Mapping[str, Any]) -> list[dict[str, str]]:
    """What to watch out for, in sentences made from a report's numbers: {about, level, says}.

    Parameters
    ----------
    findings : mapping
        The fields of `DataReport` without `groups` and `advice`.
    """
    advice: list[dict[str, str]] = []

    def say(about: str, says: str, level: str = "warning") -> None:
        advice.append({"about": about, "level": level, "says": says})

    pairs, coverage, words = (findings[name] for name in ("pairs", "coverage", "texts"))
    texts, _, flat, skeletons, *_ = findings["repeats"]
    left_out = sum(entry["rows"] for entry in findings["rejected"])
    if share := left_out / (left_out + pairs):
        level = "warning" if share > 0.05 else "note"
        say("rejected rows", f"Left out: {counted(left_out, 'row')} ({share:.1%}).", level)
    if texts["rows"]:
        best = words["distinct"] / pairs
        says = f"{texts['rows']:,} rows share their text with another: with all of them as queries, no retriever can "
        says += f"exceed {best:.1%} Hits@1, and in a batch they are each other's false negatives."
        say("duplicates", says, "note")
    if flat["rows"]:
        says = f"{flat['rows']:,} rows share their molecule with another, stereochemistry aside: Mol2vec gives them "
        say("duplicates", f"{says}equal vectors, so chance ranks them among each other.", "note")
    for entry in (texts, flat, skeletons):
        if number := entry["across_splits"]:
            says = f"{counted(number, 'group')} of {entry['what']} in more than one split: report results with and "
            say("leakage", f"{says}without them, or split again.")
    if (held := findings["splits"].get("test", 0)) < 300:
        say("size", f"Only {held:,} test queries: intervals will be wide.")
    if coverage:
        says, advised = f"{coverage['overall']:.1%} of the Mol2vec words have a vector", coverage["overall"] < 0.95
        others = "; the others all look alike: try other vectors (class-kit fetch mol2vec) or Morgan fingerprints."
        say("coverage", f"Only {says}{others}" if advised else f"{says}.", "warning" if advised else "note")
        if without := coverage["without_known"]:
            say("coverage", f"{counted(without, 'molecule')} without a known word: the vector is zero.")
    if words["truncated"]:
        says = f"{counted(words['truncated'], 'text')} longer than {words['max_tokens']} tokens (the longest has "
        say("texts", f"{says}{words['longest']:,}): the rest of a text is not read.")
    if words["median"] < 10:
        says = f"Half of the texts have at most {words['median']:.0f} tokens: names rather than descriptions."
        say("texts", says)
    highest = max(findings["difficulty"], key=lambda entry: entry["sigma"])
    if highest["tie_mass"] > TIED:
        says = f"At σ = {highest['sigma']:g} the count leaves {highest['tie_mass']:.1%} of the training pairs tied: "
        say("difficulty", f"{says}the tie rule, not the difficulty, would order them.")
    half, chosen = findings["by_quantile"][1], _suggested(findings["difficulty"], findings["by_quantile"])
    if chosen["tie_mass"] > TIED:
        says = f"No threshold that was tried ties less than {chosen['tie_mass']:.1%} of the training pairs: the count "
        says += "cannot order them. Another measure may: kth_distance with more neighbours, or loss."
    else:
        with_neighbour = "half of the training pairs have a neighbour and " if chosen is half else ""
        says = f"At σ = {chosen['sigma']:.3f} {with_neighbour}{chosen['tie_mass']:.1%} are tied: start from there."
    say("difficulty", says, "note")
    if half["tie_mass"] > TIED:
        says = "More than half of the training pairs have a neighbour with nearly equal vectors (median similarity "
        say("difficulty", f"{says}{half['sigma']:.6f}): look at the repeats.")
    return advice
