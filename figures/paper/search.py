"""Looking for a curriculum that helps: each kind of arm tuned on validation with one budget, then read on the test set.

    python figures/paper/search.py --data FOLDER --extra FILE

First the plain run is tuned, in three rounds: batch size, rate, dropout and epochs; widths, decay and temperature; all
of these again. Every kind of arm then gets as many settings in one round, drawn at random from what the kind may vary
on top of the tuned plain run. In each round the few best get further seeds, and the best mean is chosen. What decides
is the MRR of the validation texts among the molecules of all pairs; no test text is looked at. Then each kind's choice
is trained with new seeds and read on the test set, and once more with the roles of validation and test swapped, for
which nothing was tuned; pairs that tuning looked at are no queries there. Kinds other than the plain run spend at most
`SHARE` of its samples, and so does the tuned plain run with fewer epochs, which is read beside them. `search.json`
holds every setting tried. What was finished before is not trained again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from class_kit.files import write_json
from class_kit.retrieval import retrieval_metrics, retrieval_ranks
from class_kit.study.arms import Arm
from class_kit.study.ranking import RANKINGS
from class_kit.study.records import Record, load_backbone
from class_kit.study.results import keep_queries
from class_kit.study.runner import Failure, run_all
from class_kit.study.tables import differences, summary
from class_kit.task import Task, load_task
from class_kit.training import TrainingConfig, encode

HERE = Path(__file__).resolve().parent
SHARE = 0.85
LOOP: dict[str, Sequence[Any]] = {
    "batch_size": (64, 128, 256, 512),
    "learning_rate": (5e-4, 1e-3, 2e-3, 4e-3),
    "dropout": (0.1, 0.2, 0.4),
    "epochs": (20, 30, 40, 60),
}
WIDTHS: dict[str, Sequence[Any]] = {
    "hidden": (256, 512, 1024),
    "dim": (128, 256, 512),
    "weight_decay": (0.01, 0.1, 0.3),
    "temperature": (0.03, 0.07, 0.14),
}
# A start, the share of the samples of as many full epochs, and the share of the plain run's epochs: growth over most of
# the epochs, a short early growth, and none at all. None spends more than SHARE.
SCHEDULES = ((0.2, SHARE, 1.0), (0.4, SHARE, 1.0), (0.65, SHARE, 1.0), (0.5, 0.95, 0.89), (1.0, 1.0, SHARE))
HARD: dict[str, Sequence[Any]] = {
    "hardness": (0.5, 0.75, 1.0),
    "hardness_from": (0.0, 0.25, 0.5),
    "hardness_rise": (0.0, 0.25, 0.5),
    "near": ("joint", "text", "molecules", "model"),
    "refresh": (1, 4),
    "group_size": (8, 16, 32, 64),
    "duplicates": ("ignore", "mask", "apart", "drop"),
    "duplicates_above": (None, 0.98),
    "soft_weight": (0.0, 0.1, 0.3, 1.0),
    "soft_temperature": (0.2, 0.5),
    "schedule": SCHEDULES,
}
ONE_TERM = {"text_to_molecule": "inverse", "*": "constant"}
EASY: dict[str, Sequence[Any]] = {
    "difficulty": ("neighbours", "neighbours_tanimoto", "kth_distance", "description_length"),
    "sigma": (0.8, 0.9, 0.95),
    "intensity": ("inverse", "sigmoid", "constant", ONE_TERM),
    "intensity_on": ("loss", "lr"),
    "duplicates": HARD["duplicates"],
    "duplicates_above": HARD["duplicates_above"],
    "schedule": SCHEDULES,
}
OPTIONS = ("dropout", "hidden", "dim", "temperature", "soft_weight", "soft_temperature")
TRAINING = ("epochs", "batch_size", "learning_rate", "weight_decay", "intensity_on")
KINDS: dict[str, tuple[dict[str, Sequence[Any]], ...]] = {
    "plain": (LOOP, WIDTHS, LOOP | WIDTHS),
    "CLASS": (EASY,),
    "hard batches": (HARD | {"order": ("random",), "intensity": ("constant",)},),
    "CLASS and hard batches": (HARD | EASY,),
}


def setting(kind: str, drawn: Mapping[str, Any]) -> tuple[Arm, TrainingConfig]:
    """An arm and the loop it runs in, of values that were drawn."""
    values = dict(drawn)
    options = {name: values.pop(name) for name in OPTIONS if name in values}
    training = {name: values.pop(name) for name in TRAINING if name in values}
    if isinstance(values.get("intensity"), Mapping):
        # the learning rate has one γ
        training["intensity_on"] = "loss"
    config = TrainingConfig(backbone_options=options, **training)
    if kind == "plain":
        return Arm(kind, order="standard", intensity="constant"), config
    if not (values.get("hardness") and values.get("near") == "model"):
        values.pop("refresh", None)
    start, share, length = values.pop("schedule")
    config = replace(config, epochs=int(length * config.epochs))
    if "hardness_rise" in values:
        values["hardness_until"] = min(1.0, values["hardness_from"] + values.pop("hardness_rise"))
    return Arm(kind, **{"order": "curriculum"} | values, start=start, share=share, growth=0.0), config


def draw(space: Mapping[str, Sequence[Any]], count: int, generator: np.random.Generator) -> list[dict[str, Any]]:
    """Different settings, each value of each name equally likely."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        drawn = {name: values[int(generator.integers(len(values)))] for name, values in space.items()}
        if drawn not in found:
            found.append(drawn)
    return found


def reached(task: Task, record: Record | Failure) -> dict[str, Any]:
    """MRR, Hits@1 and Mean Rank of the validation texts among the molecules of all pairs; or why there are none."""
    if isinstance(record, Failure):
        return {"mrr": 0.0, "hits@1": 0.0, "mean_rank": float(len(task.m)), "failed": record.summary}
    backbone, rows = load_backbone(record, task), task.rows("validation")
    texts, molecules = encode(backbone, "text", task.t[rows]), encode(backbone, "molecules", task.m)
    found = retrieval_metrics(retrieval_ranks(texts, molecules, rows))
    return {name: float(found[name]) for name in ("mrr", "hits@1", "mean_rank")}


def trained(
    task: Task, wanted: Sequence[tuple[Arm, TrainingConfig]], seeds: Sequence[int], jobs: int | None
) -> list[list[Record | Failure]]:
    """What became of each setting, one a seed."""
    work = [(task, arm, replace(config, seed=seed)) for arm, config in wanted for seed in seeds]
    outcomes = run_all(work, jobs, progress=True)
    return [outcomes[at : at + len(seeds)] for at in range(0, len(outcomes), len(seeds))]


def tune(
    task: Task, kind: str, space: Mapping[str, Sequence[Any]], base: Mapping[str, Any], arguments: argparse.Namespace
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One round: the best setting of those drawn from a space on top of a base, and all of them with what they reached.

    In a round of the plain run the base itself takes part.
    """
    arguments.rounds += 1
    drawn = draw(space, arguments.settings, np.random.default_rng(arguments.rounds))
    drawn[0] = {} if kind == "plain" else drawn[0]
    settings = [dict(base) | values for values in drawn]
    wanted = [setting(kind, values) for values in settings]
    scores = [[reached(task, one) for one in found] for found in trained(task, wanted, [0], arguments.jobs)]
    best = sorted(range(len(drawn)), key=lambda at: -scores[at][0]["mrr"])[: arguments.finalists]
    if arguments.tuning_seeds > 1:
        again = trained(task, [wanted[at] for at in best], range(1, arguments.tuning_seeds), arguments.jobs)
        for at, found in zip(best, again, strict=True):
            scores[at] += [reached(task, record) for record in found]
    chosen = max(best, key=lambda at: float(np.mean([score["mrr"] for score in scores[at]])))
    tried = [
        {"round": arguments.rounds, "kind": kind, "settings": values}
        | {name: [score.get(name) for score in found] for name in {name for score in found for name in score}}
        for values, found in zip(drawn, scores, strict=True)
    ]
    return settings[chosen], tried


def read(
    task: Task,
    chosen: Mapping[str, tuple[Arm, TrainingConfig]],
    arguments: argparse.Namespace,
    seen: np.ndarray | None = None,
) -> dict[str, Any]:
    """Each kind's choice with seeds that tuning did not see: metrics, and its difference from the plain run.

    `seen` `(Q,)` bool marks queries that tuning looked at, which are left out.
    """
    seeds = range(100, 100 + arguments.seeds)
    outcomes = [outcome for found in trained(task, list(chosen.values()), seeds, arguments.jobs) for outcome in found]
    if failed := [outcome.reason for outcome in outcomes if isinstance(outcome, Failure)]:
        raise SystemExit(failed[0])
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    if seen is not None:
        records = [keep_queries(record, ~seen) for record in records]
    samples = summary(records).set_index("arm")["samples"]
    shares = (samples / samples["plain"]).to_dict()
    gaps = [
        differences(records, "plain", name, metric) for name in RANKINGS for metric in ("hits@1", "mrr", "mean_rank")
    ]
    return {
        "queries": len(records[0].ranks[RANKINGS[0]]),
        "summary": [row for name in RANKINGS for row in summary(records, name).to_dict("records")],
        "differences": [row | {"share": shares[row["arm"]]} for gap in gaps for row in gap.to_dict("records")],
    }


def fewer_epochs(arm: Arm, config: TrainingConfig) -> tuple[Arm, TrainingConfig]:
    """What the curricula have to beat as well: the plain run that stops at their budget."""
    return replace(arm, name="plain, fewer epochs"), replace(config, epochs=int(SHARE * config.epochs))


def already_seen(tuned: Task, other: Task) -> np.ndarray:
    """Which evaluated pairs of another split were validation pairs while tuning, `(Q,)` bool."""
    looked_at = {(tuned.pairs.text[row], tuned.pairs.smiles[row]) for row in tuned.rows("validation")}
    rows = other.rows(other.evaluation_split)
    return np.array([(other.pairs.text[row], other.pairs.smiles[row]) in looked_at for row in rows])


def main() -> None:
    """Tune, choose, read, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    add = parser.add_argument
    add("--data", help="folder of the real split, as class-kit fetch leaves it; without it the bundled corpus")
    add("--extra", help="further training pairs")
    add("--vectors", default="text2mol", help="Mol2vec vectors: text2mol, mol2vec or a file")
    add("--settings", type=int, default=16, help="settings drawn for the loop, and for each kind")
    add("--finalists", type=int, default=4, help="settings of each that get further seeds")
    add("--tuning-seeds", type=int, default=3, help="seeds of a finalist")
    add("--seeds", type=int, default=5, help="seeds on the test set")
    add("--jobs", type=int)
    add("--out", default="search.json", help="file beside this script")
    arguments = parser.parse_args()
    # the split that search.json was made with
    split = {"data": arguments.data, "extra": arguments.extra, "group": "structure"}
    real = {**split, "vectors": arguments.vectors}
    task = load_task("chebi20", **real) if arguments.data else load_task("corpus")
    name = "chebi20" if arguments.data else "corpus"
    results: dict[str, Any] = {
        "pairs": name,
        "share": SHARE,
        "validation": len(task.rows("validation")),
        "tried": [],
        "chosen": {},
    }
    base: dict[str, Any] = {}
    arguments.rounds = 0
    chosen = {}
    for kind, spaces in KINDS.items():
        values = base
        for space in spaces:
            values, tried = tune(task, kind, space, values, arguments)
            results["tried"] += tried
            print(kind, values, flush=True)
        if kind == "plain":
            base = values
        results["chosen"][kind] = values
        chosen[kind] = setting(kind, values)
        write_json(HERE / arguments.out, results)
    chosen["plain, fewer epochs"] = fewer_epochs(*chosen["plain"])
    results["test"] = read(task, chosen, arguments)
    write_json(HERE / arguments.out, results)
    if arguments.data:
        other = load_task("chebi20", swap=True, **real)
        results["swapped"] = read(other, chosen, arguments, already_seen(task, other))
        write_json(HERE / arguments.out, results)


if __name__ == "__main__":
    main()
