"""The record of the studies with mismatched pairs, `figures/paper/noise*.yml`, and tables of it.

`class-kit study paper --only noise` trains them on two splits of ChEBI-20 and on PCdes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.files import shipped, write_text
from class_kit.study.arms import training_audit
from class_kit.study.paper_tables import FOLDER, RANKING
from class_kit.study.results import rounded
from class_kit.study.runner import code_digest

if TYPE_CHECKING:
    import pandas as pd

    from class_kit.study.conduct import StudyPlan

RECORD = "noise.json"


def keep_noise(out: Path, name: str, plan: StudyPlan, results: Mapping[str, Any]) -> None:
    """Add the results of one study to `noise.json`, or start it again for other pairs.

    Studies in it may be of different versions of the kit; `code` holds the digest of each one's.
    """
    inputs = {
        data: {"digest": task.digest, "sizes": dict(Counter(task.pairs.split))} for data, task in plan.tasks.items()
    }
    record: dict[str, Any] = {"code": {}, "inputs": inputs, "differences": [], "detection": []}
    if (out / RECORD).is_file():
        earlier = json.loads((out / RECORD).read_text(encoding="utf-8"))
        both = earlier["inputs"] | inputs
        # a record of an older kit has one digest for all
        if isinstance(earlier["code"], dict) and both | earlier["inputs"] == both:
            record = earlier | {"inputs": both}
    record["code"][name] = code_digest()
    others = [row for row in record["differences"] if row["study"] != name]
    record["differences"] = others + difference_rows(results, name)
    detection = {(row["data"], row["noise"]): row for row in record["detection"] + detection_rows(plan)}
    record["detection"] = list(detection.values())
    write_text(out / RECORD, json.dumps(rounded(record), indent=1, ensure_ascii=False) + "\n")


def difference_rows(results: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A study's differences as rows of the record; `samples` is the arm's share of the most expensive arm's."""
    seeds = len(results["settings"]["seeds"])
    used = {(row["pairs"], row["noise"], row["backbone"], row["arm"]): row["share"] for row in results["summary"]}
    return [
        {
            "study": name,
            "seeds": seeds,
            "data": row["pairs"],
            "noise": float(row["noise"]),
            **{key: row[key] for key in ("backbone", "arm", "reference", "ranking", "metric", "difference")},
            **{"low": row["difference_low"], "high": row["difference_high"], "p_holm": row["p_holm"]},
            "samples": used[row["pairs"], row["noise"], row["backbone"], row["arm"]],
        }
        for row in results["differences"]
    ]


def detection_rows(plan: StudyPlan) -> list[dict[str, Any]]:
    """How well the audit detects exchanged pairs among the first seed's training pairs, by data and noise."""
    from sklearn.metrics import roc_auc_score

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in plan.cells:
        key, task = (cell.group["pairs"], cell.group["noise"]), cell.task
        if key in rows:
            continue
        audit = training_audit(task)
        wrong = None if task.exchanged is None else task.exchanged[task.rows("train")]
        auc = None if wrong is None else float(roc_auc_score(~wrong, audit.agreement))
        low, high = audit.mismatch_share_ci
        ends = {"share": audit.mismatch_share, "share_low": low, "share_high": high}
        rows[key] = {"data": key[0], "noise": float(key[1]), "auc": auc, **ends}
    return list(rows.values())


def read_noise() -> dict[str, Any]:
    """The committed record, `figures/paper/noise.json`; a record without rows if there is none."""
    path = shipped(f"{FOLDER}/{RECORD}")
    empty: dict[str, Any] = {"inputs": {}, "differences": [], "detection": []}
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else empty


def noise_table(record: Mapping[str, Any], arms: Iterable[str], reference: str = "standard") -> pd.DataFrame:
    """Arms minus a reference in Hits@1, text→molecule in the split's pool: a row per data set, backbone and arm.

    Further columns: the number of seeds and, for each share of noise, the difference in points with its interval.
    """
    import pandas as pd

    kept = _points(record, arms, reference)
    if kept.empty:
        return kept
    words = ["{:+.1f} ({:+.1f} to {:+.1f})".format(*points) for points in kept["points"]]
    columns = [f"{100 * noise:.0f} %" for noise in kept["noise"]]
    kept = kept.assign(words=words, column=pd.Categorical(columns, list(dict.fromkeys(columns))))
    wide = kept.pivot_table("words", ["data", "backbone", "arm", "seeds"], "column", "first", sort=False, observed=True)
    return wide.reset_index().rename_axis(columns=None)


def noise_map(record: Mapping[str, Any], arm: str = "auto", reference: str = "standard") -> dict[str, pd.DataFrame]:
    """Gain of one arm with `dual_encoder`, by data set: a row for each budget, a column for each share of noise.

    The budgets are those of `noise` and `noise_epochs`, the longest last; empty without a record. A cell is the
    difference in Hits@1 as in `noise_table`, in points, with its interval: (difference, low, high).
    """
    kept = _points(record, [arm], reference)
    if kept.empty:
        return {}
    kept = kept[kept["backbone"].str.startswith("dual_encoder")]
    kept = kept.assign(noise=[f"{noise:.0%}" for noise in kept["noise"]])
    tables = {}
    for data, own in kept.groupby("data", sort=False):
        table = own.pivot_table("points", "backbone", "noise", "first", sort=False)
        # the main study comes first in the record, those with fewer epochs after it
        tables[str(data)] = table.iloc[[*range(1, len(table)), 0]]
    return tables


def _points(record: Mapping[str, Any], arms: Iterable[str], reference: str) -> pd.DataFrame:
    """Rows of Hits@1 text→molecule in the split's pool; `points` holds (difference, low, high) times 100."""
    import pandas as pd

    arms = set(arms)
    rows = [
        row | {"points": tuple(100 * row[name] for name in ("difference", "low", "high"))}
        for row in record["differences"]
        if row["arm"] in arms and (row["reference"], row["metric"], row["ranking"]) == (reference, "hits@1", RANKING)
    ]
    return pd.DataFrame(rows)
