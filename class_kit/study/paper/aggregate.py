"""What is kept of a product: rows of metrics, differences, savings and ties, small enough to be committed.

Everything here follows from the trainings' per-query ranks and records; tables, figures and words follow from this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.study.arms import training_counts
from class_kit.study.conduct import StudyResult
from class_kit.study.grid import Cell
from class_kit.study.output import groups_of, rankings_of, summaries
from class_kit.study.paper.near import Relatives, keep_queries
from class_kit.study.paper.products import MAIN, MAIN_DEEP, STANDARD, Product
from class_kit.study.records import Record
from class_kit.study.statistics import holm, seed_interval
from class_kit.study.tables import differences

if TYPE_CHECKING:
    from class_kit.task import Task

GAP_METRICS = ("hits@1", "mrr", "mean_rank")
_DIGITS = 6


def product_results(product: Product, result: StudyResult, relatives: Relatives | None) -> dict[str, Any]:
    """A product's finished trainings as plain data.

    Keys: `title`, `preliminary`, `settings` (the configuration less its pairs), `trainings`, `training_seconds`,
    `failed`, `summary`, `differences`; `ties` of the thresholds; and for the main table `savings`, and `apart`: summary
    and differences over the queries without a relative among the training pairs.
    """
    task = next(iter(result.plan.tasks.values()))
    result = _labelled(product, result)
    found: dict[str, Any] = {
        "title": product.title,
        "preliminary": product.preliminary,
        "settings": {key: value for key, value in product.config.items() if key != "pairs"},
        "trainings": len(result.records),
        "training_seconds": math.fsum({str(record.folder): record.seconds for _, record in result.records}.values()),
        "failed": [
            cell.labels | {"reason": failure.reason.strip().splitlines()[-1][:300]} for cell, failure in result.failures
        ],
        **_tables(product, result),
    }
    if product.name == "sigma":
        found["ties"] = tie_rows(task, [cell for cell, _ in result.records])
    if product.name in (MAIN, MAIN_DEEP):
        found["savings"] = savings_rows(result.records)
        if relatives is not None and relatives.apart.any():
            found["apart"] = {"queries": int(relatives.apart.sum())} | _tables(product, _kept(result, relatives.apart))
    plain: dict[str, Any] = rounded(found)
    return plain


def difference_rows(
    result: StudyResult, against: Mapping[str, Sequence[str]], metrics: Sequence[str] = GAP_METRICS
) -> list[dict[str, Any]]:
    """Differences between arms of a group: the named arms (all others where none is named) minus each reference.

    p values are corrected (Holm) over all comparisons of one group, ranking and metric, whatever their reference.
    """
    rows: list[dict[str, Any]] = []
    for group, records in groups_of(result).items():
        for ranking in rankings_of(result):
            for metric in metrics:
                family = _family(records, against, ranking, metric)
                if family:
                    corrected = holm([row["p"] for row in family])
                    where = dict(zip(("pairs", "backbone", "budget"), group, strict=True))
                    rows += [where | row | {"p_holm": p} for row, p in zip(family, corrected.tolist(), strict=True)]
    return rows


def savings_rows(records: Sequence[tuple[Cell, Record]]) -> list[dict[str, Any]]:
    """What each arm saved of the standard run, by backbone: shares of samples, steps and seconds of training.

    Seconds are compared seed by seed, as they were measured; their interval is over seeds, none with one seed.
    """
    found: dict[str, dict[str, dict[int, Record]]] = {}
    for cell, record in records:
        found.setdefault(cell.backbone, {}).setdefault(record.arm.name, {})[record.seed] = record
    rows = []
    for backbone, arms in found.items():
        plain = arms.get(STANDARD, {})
        for arm, by_seed in arms.items():
            seeds = sorted(set(by_seed) & set(plain))
            if arm == STANDARD or not seeds:
                continue
            saved = {
                cost: [1 - getattr(by_seed[seed], cost) / getattr(plain[seed], cost) for seed in seeds]
                for cost in ("samples", "steps", "seconds")
            }
            row = {"backbone": backbone, "arm": arm, "seeds": len(seeds)}
            row |= {cost: float(np.mean(values)) for cost, values in saved.items()}
            spread = seed_interval(saved["seconds"]) if len(seeds) > 1 else None
            rows.append(row | {"seconds_low": spread and spread.low, "seconds_high": spread and spread.high})
    return rows


def tie_rows(task: Task, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """How far each threshold orders the training pairs at all, in the order of the arms.

    `zero`: share of pairs without a neighbour; `shared`: share whose count another pair has too, so that the tie rule
    has a say; `largest`: share in the largest group of equal counts.
    """
    sigmas = {cell.arm.name: cell.arm.sigma for cell in cells if cell.arm.order == "curriculum"}
    rows = []
    for arm, sigma in sigmas.items():
        counts = training_counts(task, sigma)
        sizes = np.unique(counts, return_counts=True)[1]
        rows.append(
            {
                "arm": arm,
                "sigma": sigma,
                "zero": float((counts == 0).mean()),
                "shared": float(sizes[sizes > 1].sum() / len(counts)),
                "largest": float(sizes.max() / len(counts)),
            }
        )
    return rows


def rounded(value: Any) -> Any:
    """Plain data with numbers of six digits, None for what is not finite: more than any table prints."""
    if isinstance(value, Mapping):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def _tables(product: Product, result: StudyResult) -> dict[str, Any]:
    if not result.records:
        return {"summary": [], "differences": []}
    return {
        "summary": summaries(result).to_dict("records"),
        "differences": difference_rows(result, product.against),
    }


def _family(
    records: Sequence[Record], against: Mapping[str, Sequence[str]], ranking: str, metric: str
) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(record.arm.name for record in records))
    rows: list[dict[str, Any]] = []
    for reference, arms in against.items():
        wanted = [name for name in names if name != reference and (not arms or name in arms)]
        if reference in names and wanted:
            some = [record for record in records if record.arm.name in (reference, *wanted)]
            table = differences(some, reference, ranking, metric).drop(columns="p_holm")
            rows += [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    return rows


def _labelled(product: Product, result: StudyResult) -> StudyResult:
    pairs = []
    for cell, record in result.records:
        arm = replace(cell.arm, name=product.label(cell.arm))
        pairs.append((replace(cell, arm=arm), replace(record, arm=arm)))
    return replace(result, records=pairs)


def _kept(result: StudyResult, mask: Any) -> StudyResult:
    kept = keep_queries([record for _, record in result.records], mask)
    return replace(result, records=[(cell, record) for (cell, _), record in zip(result.records, kept, strict=True)])
