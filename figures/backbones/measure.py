"""Every backbone, bare and with CLASS, on the real split: a search on validation, then the table of the README.

    python figures/backbones/measure.py --data FOLDER

Each backbone gets the same search: the learning rates of `RATES`, one training each, chosen by validation MRR alone.
Then it is trained bare and with the curriculum; heads on frozen vectors with five seeds, backbones that read graphs or
tokens with one seed and fewer epochs (marked preliminary). `results.json` holds every setting, every choice and the
aggregated metrics; what was finished before is not trained again, and `--only` replaces of a file about the same pairs
and rates only what it names.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from class_kit.files import write_json
from class_kit.retrieval import retrieval_metrics, retrieval_ranks, retrieval_ranks_both_ways
from class_kit.study.config import Cell, cells, study_config
from class_kit.study.ranking import RANKINGS
from class_kit.study.records import Record
from class_kit.study.runner import Failure, run_all
from class_kit.study.tables import differences, summary
from class_kit.task import Task, load_task

HERE = Path(__file__).resolve().parent
RATES = (5e-4, 1e-3, 2e-3)
# name -> registered name and options; these read frozen vectors
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "dual_encoder": ("dual_encoder", {}),
    "text2mol": ("text2mol", {}),
    "dsokr": ("dsokr", {}),
    "moleculestm": ("moleculestm", {}),
    "memory_bank": ("memory_bank", {}),
    "denoising": ("denoising", {}),
}
# these read graphs or tokens
DEEP: dict[str, tuple[str, dict[str, Any]]] = {
    "text2mol (GCN)": ("text2mol", {"molecule_encoder": "gcn"}),
    "aman": ("aman", {}),
    "orma": ("orma", {}),
}
ORDERS = ("standard", "curriculum")
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)


def measure(task: Task, arguments: argparse.Namespace) -> dict[str, Any]:
    """Search and final trainings of all backbones, as plain data."""
    results: dict[str, Any] = {
        "pairs": {
            "train": len(task.rows("train")),
            "extra": sum(task.pairs.id[row].startswith("extra-") for row in task.rows("train")),
            "test": len(task.rows("test")),
            "pool": len(task.molecules),
        },
        "rates": list(RATES),
        "ridge": ridge(task),
        "search": {},
        "tables": {},
    }
    results |= kept(HERE / arguments.out, results) if arguments.only else {}
    for name, (kind, options) in (HEADS | DEEP).items():
        choice = {"backbone": kind, "options": options}
        if arguments.only and name not in arguments.only:
            continue
        preliminary = name in DEEP
        part = "deep_" if preliminary else ""
        epochs, short, size = (getattr(arguments, part + key) for key in ("epochs", "search_epochs", "batch_size"))
        best, tried = search(task, choice, {"batch_size": size, "epochs": short}, arguments.jobs)
        results["search"][name] = {"epochs": short, "validation_mrr": tried, "chosen": best}
        settings = {"batch_size": size, "epochs": epochs, "learning_rate": best}
        seeds = [0] if preliminary else list(range(arguments.seeds))
        records = final(task, choice, settings, seeds, arguments.jobs)
        results["tables"][name] = {"preliminary": preliminary, **choice, "settings": settings, **tables(records)}
        write_json(HERE / arguments.out, results)
        shown = {row["arm"]: f"{row['hits@1']:.1%}" for row in results["tables"][name]["summary"][: len(ORDERS)]}
        print(f"{name}: learning rate {best:g}, Hits@1 {shown}", flush=True)
    return results


def kept(path: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Search and tables of an earlier measurement, where it had the same pairs and tried the same rates."""
    if not path.is_file():
        return {}
    earlier = json.loads(path.read_text(encoding="utf-8"))
    same = all(earlier[key] == results[key] for key in ("pairs", "rates"))
    return {key: earlier[key] for key in ("search", "tables")} if same else {}


def search(
    task: Task, choice: dict[str, Any], loop: dict[str, Any], jobs: int | None
) -> tuple[float, dict[str, float]]:
    """The learning rate with the highest validation MRR in any epoch, and what each one reached."""
    found = {}
    for rate in RATES:
        config = study_config(
            {"backbones": [choice | {"learning_rate": rate}], "training": loop, "seeds": [0], "orders": ["standard"]}
        )
        found[rate] = cells(config, {"corpus": task})[0]
    records = trained(list(found.values()), jobs)
    reached = {rate: max(entry["mrr"] for entry in record.history) for rate, record in zip(found, records, strict=True)}
    return max(reached, key=lambda rate: reached[rate]), {f"{rate:g}": value for rate, value in reached.items()}


def final(
    task: Task, choice: dict[str, Any], loop: dict[str, Any], seeds: Sequence[int], jobs: int | None
) -> list[Record]:
    """Bare and with CLASS (σ 0.95, α 0.4, all pairs after two thirds of the epochs, γ₂ on the loss)."""
    config = study_config({"backbones": [choice], "training": loop, "seeds": list(seeds), "orders": list(ORDERS)})
    return trained(cells(config, {"corpus": task}), jobs)


def trained(wanted: Sequence[Cell], jobs: int | None) -> list[Record]:
    outcomes = run_all([cell.work for cell in wanted], jobs, progress=True)
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            raise SystemExit(outcome.reason)
    return [outcome for outcome in outcomes if isinstance(outcome, Record)]


def tables(records: Sequence[Record]) -> dict[str, Any]:
    """Metrics with intervals in every ranking, and the curriculum minus the bare backbone."""
    whole = [summary(records, ranking) for ranking in RANKINGS]
    gaps = [differences(records, "standard", ranking) for ranking in RANKINGS]
    return {
        "summary": [row for frame in whole for row in frame.to_dict("records")],
        "differences": [row for frame in gaps for row in frame.to_dict("records")],
    }


def ridge(task: Task) -> dict[str, Any]:
    """Ridge regression from the text's vector to the molecule's, its penalty chosen on validation: what to beat."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    rows = {split: task.rows(split) for split in ("train", "validation", "test")}
    text, molecule = StandardScaler().fit(task.t[rows["train"]]), StandardScaler().fit(task.m[rows["train"]])

    def metrics(penalty: float, split: str) -> dict[str, dict[str, Any]]:
        model = Ridge(alpha=penalty, solver="svd").fit(
            text.transform(task.t[rows["train"]]), molecule.transform(task.m[rows["train"]])
        )
        predicted, own = model.predict(text.transform(task.t[rows[split]])), molecule.transform(task.m[rows[split]])
        there, back = retrieval_ranks_both_ways(predicted, own)
        found = {"text_to_molecule/split": there, "molecule_to_text/split": back}
        if split == "test":
            pool = molecule.transform(task.pool)
            found["text_to_molecule/all"] = retrieval_ranks(predicted, pool, task.targets("test"))
        return {name: retrieval_metrics(ranks) for name, ranks in found.items()}

    tried = {penalty: metrics(penalty, "validation")["text_to_molecule/split"]["mrr"] for penalty in PENALTIES}
    best = max(tried, key=lambda penalty: tried[penalty])
    return {
        "penalty": best,
        "validation_mrr": {f"{key:g}": value for key, value in tried.items()},
        **metrics(best, "test"),
    }


def main() -> None:
    """Read the options, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    add = parser.add_argument
    add("--data", help="folder of the real split, as class-kit fetch leaves it; without it the bundled corpus")
    add("--extra", help="further training pairs")
    add("--vectors", default="text2mol", help="Mol2vec vectors: text2mol, mol2vec or a file")
    add("--epochs", type=int, default=40)
    add("--search-epochs", type=int, default=20)
    add("--batch-size", type=int, default=128)
    add("--seeds", type=int, default=5)
    add("--deep-epochs", type=int, default=8)
    add("--deep-search-epochs", type=int, default=2)
    add("--deep-batch-size", type=int, default=64)
    add("--jobs", type=int)
    add("--only", nargs="+", help="these backbones alone")
    add("--out", default="results.json", help="file beside this script")
    arguments = parser.parse_args()
    if arguments.data:
        # the split that the committed results were made with
        split = {"data": arguments.data, "extra": arguments.extra, "group": "structure"}
        task = load_task("chebi20", **split, vectors=arguments.vectors)
    else:
        task = load_task("corpus")
    measure(task, arguments)


if __name__ == "__main__":
    main()
