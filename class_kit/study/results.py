"""The results of a study as plain data, small enough to be committed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from class_kit.molecules.structures import structures
from class_kit.neighbours import neighbour_counts
from class_kit.progress import progress_bar
from class_kit.retrieval import Ranks
from class_kit.study.arms import training_counts
from class_kit.study.config import Cell, StudyConfig
from class_kit.study.ranking import ANY, RANKINGS
from class_kit.study.records import Record
from class_kit.study.runner import Failure
from class_kit.study.tables import COSTS, METRICS, by_arm, differences, summary

if TYPE_CHECKING:
    import pandas as pd

    from class_kit.task import Task

STANDARD = "standard"
# mean cosine above which two pairs count as near-duplicates
NEAR = 0.95
# metrics of differences: Hits@10 adds little to Hits@1
GAP_METRICS = tuple(metric for metric in METRICS if metric != "hits@10")

Finished = tuple[Cell, Record]


def study_results(
    config: StudyConfig,
    tasks: Mapping[str, Task],
    finished: Sequence[Finished],
    failed: Sequence[tuple[Cell, Failure]] = (),
) -> dict[str, Any]:
    """The results of a study's trainings as plain data.

    Keys: `inputs` (digests), `title`, `preliminary` (one seed), `settings` (the configuration without its pairs),
    `trainings`, `training_seconds`, `failed`, `summary`, `differences`; and where the study asks for them `ties` of the
    thresholds, `savings`, and `apart`: summary and differences over the queries without a near-duplicate among the
    training pairs.
    """
    results: dict[str, Any] = {
        "inputs": {name: task.digest for name, task in tasks.items()},
        "title": config.name,
        "preliminary": len(config.seeds) == 1,
        "settings": {key: value for key, value in asdict(config).items() if key not in ("name", "pairs")},
        "trainings": len(finished),
        "training_seconds": math.fsum({str(record.folder): record.seconds for _, record in finished}.values()),
        "failed": [cell.labels | {"reason": failure.cause[:300]} for cell, failure in failed],
        **_comparison(config, finished),
    }
    if "ties" in config.also:
        results["ties"] = tie_rows(tasks, [cell for cell, _ in finished])
    if "savings" in config.also:
        results["savings"] = savings_rows(finished)
    if "apart" in config.also:
        held_out = {name: task for name, task in tasks.items() if task.evaluation_split != "train"}
        near = {name: near_duplicates(task, task.evaluation_split).any(axis=1) for name, task in held_out.items()}
        # an interval over queries needs two of them
        kept = {name: ~repeats.to_numpy() for name, repeats in near.items() if (~repeats).sum() > 1}
        sets = [(cell.group["pairs"], cell, record) for cell, record in finished]
        if left := [(cell, keep_queries(record, kept[name])) for name, cell, record in sets if name in kept]:
            queries = sum(int(rows.sum()) for rows in kept.values())
            results["apart"] = {"queries": queries, **_comparison(config, left)}
    return results


def savings_rows(finished: Sequence[Finished]) -> list[dict[str, Any]]:
    """Shares of the samples, steps and seconds of the arm `standard` that each other arm saved, by group.

    Seconds are compared seed by seed, as measured; their interval is Student's over seeds, None with one seed.
    """
    from scipy.stats import sem, t

    rows = []
    for group, records in grouped(finished):
        arms = by_arm(records)
        baseline = arms.pop(STANDARD, {})
        for arm, own in arms.items():
            pairs = [(own[seed], baseline[seed]) for seed in own if seed in baseline]
            saved = {cost: [1 - getattr(one, cost) / getattr(other, cost) for one, other in pairs] for cost in COSTS}
            if pairs:
                means = {cost: float(np.mean(shares)) for cost, shares in saved.items()}
                seconds, few = saved["seconds"], len(pairs) - 1
                low, high = t.interval(0.95, few, means["seconds"], sem(seconds)) if few else (None, None)
                ends = {"seconds_low": low, "seconds_high": high}
                rows.append({**group, "arm": arm, "seeds": len(pairs), **means, **ends})
    return rows


def tie_rows(tasks: Mapping[str, Task], cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """How far each threshold orders the training pairs, in the order of the arms.

    `zero`: share of pairs without a neighbour; `shared`: share whose count another pair has too, so that the tie rule
    orders them; `largest`: share in the largest group of equal counts.
    """
    ordered = [cell for cell in cells if cell.arm.order == "curriculum"]
    rows = []
    for (pairs, arm), sigma in {(cell.group["pairs"], cell.arm.name): cell.arm.sigma for cell in ordered}.items():
        counts = training_counts(tasks[pairs], sigma)
        sizes = np.unique(counts, return_counts=True)[1]
        shares = {"zero": (counts == 0).sum(), "shared": sizes[sizes > 1].sum(), "largest": sizes.max()}
        shares = {name: float(size / len(counts)) for name, size in shares.items()}
        rows.append({"pairs": pairs, "arm": arm, "sigma": sigma, **shares})
    return rows


@cache
def near_duplicates(task: Task, split: str = "test", sigma: float = NEAR) -> pd.DataFrame:
    """For each pair of a split: whether a training pair has the same text or molecule, or is a near-duplicate.

    A model may recognise a slightly different form of a molecule or a text that it was trained on.

    Parameters
    ----------
    task : Task
        With rows in `train` and in `split`.
    split : str
        Its pairs, in file order, are the queries.
    sigma : float
        Mean cosine, (cos(t_i, t_j) + cos(m_i, m_j)) / 2, above which two pairs count as near-duplicates.

    Returns
    -------
    DataFrame of Q rows and bool columns
        `equal_text`; `equal_structure`, the same molecule but for stereochemistry; `equal_skeleton`, an equal first
        block of the InChIKey (`class_kit.molecules.structures`); `near`, a mean cosine above `sigma`.

    Raises
    ------
    InputError
        For a split that the task does not have, or a σ outside (-1, 1].
    """
    import pandas as pd

    train, rows = task.rows("train"), task.rows(split)
    texts = {task.pairs.text[row] for row in train}
    molecules = structures(task.pairs.smiles, progress=False)
    keys, skeletons = ({getattr(molecules[row], name) for row in train} for name in ("key", "skeleton"))
    close = neighbour_counts(
        task.t[rows], task.m[rows], sigma=sigma, against=(task.t[train], task.m[train]), progress=False
    )
    return pd.DataFrame(
        {
            "equal_text": [task.pairs.text[row] in texts for row in rows],
            "equal_structure": [molecules[row].key in keys for row in rows],
            "equal_skeleton": [molecules[row].skeleton in skeletons for row in rows],
            "near": close > 0,
        }
    )


def keep_queries(record: Record, kept: NDArray[np.bool_]) -> Record:
    """The same training with the ranks of some queries only, `kept` `(Q,)` bool; pools are as they were."""
    ranks = {
        name: Ranks(own.greater[kept], own.equal[kept], own.pool, own.right[kept]) for name, own in record.ranks.items()
    }
    return replace(record, ranks=ranks)


def rounded(value: Any) -> Any:
    """Plain data with numbers of six digits, more than any table prints, and None for NaN and infinity."""
    return json.loads(
        json.dumps(value), parse_float=lambda text: float(f"{float(text):.6g}"), parse_constant=lambda word: None
    )


def grouped(finished: Sequence[Finished]) -> Iterator[tuple[Mapping[str, str], list[Record]]]:
    """Groups of records that a table may compare."""
    # `cells` lists them group by group
    for group, own in groupby(finished, key=lambda one: one[0].group):
        yield group, [record for _, record in own]


def _comparison(config: StudyConfig, finished: Sequence[Finished]) -> dict[str, Any]:
    """Rows of `summary` and `differences`, by group, ranking and metric; the summary includes the second readings.

    p values are corrected over all comparisons of one group, ranking and metric, whatever their reference.
    """
    whole, gaps = [], []
    rankings = [name for name in RANKINGS if name.rsplit("/", 1)[1] in config.pools]
    tables = [(group, records, ranking) for group, records in grouped(finished) for ranking in rankings]
    # tens of thousands of resamples for each: minutes in a large study
    for group, records, ranking in progress_bar(tables, desc="statistics", unit="table"):
        against = config.against or {records[0].arm.name: []}
        for reading in (name for name in (ranking, ranking + ANY) if name in records[0].ranks):
            whole += [{**group, **row} for row in summary(records, reading).to_dict("records")]
        for metric in GAP_METRICS:
            gaps += [{**group, **row} for row in differences(records, against, ranking, metric).to_dict("records")]
    return {"summary": whole, "differences": gaps}
