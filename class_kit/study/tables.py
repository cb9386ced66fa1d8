"""Tables of trainings: what each arm scored, by how much it differs, what it cost, each from per-query ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.errors import InputError
from class_kit.retrieval import per_query_metrics
from class_kit.study.records import Record
from class_kit.study.statistics import holm, mean_with_interval, paired_difference

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("hits@1", "hits@10", "mrr", "mean_rank")
VERDICTS = ("better", "could not be told apart", "worse")
COSTS = ("samples", "steps", "seconds")


def history_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row per arm, seed and epoch: the training history with samples and seconds accumulated."""
    import pandas as pd

    frames = []
    for record in records:
        frame = pd.DataFrame(record.history)
        frame.insert(0, "seed", record.seed)
        frame.insert(0, "arm", record.arm.name)
        frame["samples_seen"] = frame["rows"].cumsum()
        frame["seconds_spent"] = frame["seconds"].cumsum()
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def summary(
    records: Sequence[Record], ranking: str = "text_to_molecule/split", *, confidence: float = 0.95
) -> pd.DataFrame:
    """One row per arm: each metric with an interval over queries and seeds, the pool, and what the training cost.

    Columns: ranking, pool, arm, seeds, `<metric>`, `<metric>_low`, `<metric>_high` for hits@1, hits@10, mrr and
    mean_rank, and those of `costs`.
    """
    import pandas as pd

    rows = []
    for arm, own in _by_arm(records).items():
        row: dict[str, Any] = {
            "ranking": ranking,
            "pool": own[0].ranks[ranking].pool,
            "arm": arm,
            "seeds": len(own),
        }
        for metric in METRICS:
            estimate = mean_with_interval(_scores(own, ranking, metric), confidence)
            row |= {metric: estimate.mean, f"{metric}_low": estimate.low, f"{metric}_high": estimate.high}
        rows.append(row)
    return pd.DataFrame(rows).merge(costs(records), on="arm")


def differences(
    records: Sequence[Record],
    reference: str,
    ranking: str = "text_to_molecule/split",
    metric: str = "hits@1",
    *,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Each other arm minus the `reference`, query by query, with interval and p value (Holm-corrected over the arms).

    Columns: ranking, metric, arm, reference, difference, difference_low, difference_high, p, p_holm. For mean_rank a
    negative difference is the better one.

    Raises
    ------
    ValueError
        If no arm is called `reference`, there is no other arm, or the metric is unknown.
    """
    arms = _by_arm(records)
    if reference not in arms or len(arms) < 2:
        raise InputError(f"reference={reference!r}: expected one of several arms, there are {', '.join(arms)}")
    return corrected_differences(records, {reference: ()}, ranking, metric, confidence=confidence)


def corrected_differences(
    records: Sequence[Record],
    against: Mapping[str, Sequence[str]],
    ranking: str,
    metric: str,
    *,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """As `differences`, from several references: p values are corrected over all rows, whatever their reference.

    Parameters
    ----------
    against : mapping of arm to arms
        The named arms (all others where none is named) minus the key; arms without a training are left out.
    """
    import pandas as pd

    arms = _by_arm(records)
    if metric not in METRICS:
        raise InputError(f"metric={metric!r}: expected one of {', '.join(METRICS)}")
    rows = []
    for reference, named in against.items():
        base = arms.get(reference, [])
        for arm, own in arms.items() if base else ():
            if arm == reference or (named and arm not in named):
                continue
            shared = [record.seed for record in own] == [record.seed for record in base]
            scores = (_scores(own, ranking, metric), _scores(base, ranking, metric))
            gap = paired_difference(*scores, shared_seeds=shared, confidence=confidence)
            row = {"ranking": ranking, "metric": metric, "arm": arm, "reference": reference, "difference": gap.effect}
            rows.append(row | {"difference_low": gap.low, "difference_high": gap.high, "p": gap.p})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].to_numpy())) if rows else table


def verdict(row: Mapping[Any, Any]) -> str:
    """One of `VERDICTS` for a row of differences; a lower Mean Rank is better.

    A difference is one where its interval excludes zero and its corrected p value is below 0.05.
    """
    low, high, p = (row.get(key) for key in ("difference_low", "difference_high", "p_holm"))
    if low is None or high is None or p is None or not p < 0.05 or not (low > 0 or high < 0):
        return VERDICTS[1]
    return VERDICTS[0] if (low > 0) != (row["metric"] == "mean_rank") else VERDICTS[2]


def costs(records: Sequence[Record]) -> pd.DataFrame:
    """One row per arm: samples, steps and training seconds (mean over seeds), and shares of the most expensive arm's.

    Seconds are those of the training steps alone, as measured when the training was done; validation is not in them.
    """
    import pandas as pd

    rows = [
        {"arm": arm} | {name: float(np.mean([getattr(record, name) for record in own])) for name in COSTS}
        for arm, own in _by_arm(records).items()
    ]
    table = pd.DataFrame(rows)
    table["share"] = table["samples"] / table["samples"].max()
    table["time share"] = table["seconds"] / table["seconds"].max()
    return table


def _by_arm(records: Sequence[Record]) -> dict[str, list[Record]]:
    if not records:
        raise InputError("no records: expected at least one training")
    arms: dict[str, list[Record]] = {}
    for record in records:
        arms.setdefault(record.arm.name, []).append(record)
    return arms


def _scores(records: Sequence[Record], ranking: str, metric: str) -> np.ndarray:
    """Metric of each query under each seed, `(S, Q)`."""
    if ranking not in records[0].ranks:
        raise InputError(f"ranking={ranking!r}: expected one of {', '.join(records[0].ranks)}")
    return np.stack([per_query_metrics(record.ranks[ranking])[metric] for record in records])
