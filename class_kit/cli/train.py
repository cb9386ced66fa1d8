"""`class-kit train`, `evaluate` and `search`: a retriever trained on one's own pairs, measured, and asked."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from class_kit.study.records import Record
    from class_kit.task import Task

_TASK = ("pairs", "data", "extra", "swap", "text_encoder", "molecule_encoder", "vectors", "text", "smiles")


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parsers of `train`, `evaluate` and `search`."""
    _add_train(subparsers)
    _add_evaluate(subparsers)
    _add_search(subparsers)


def _add_train(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a retriever with a curriculum on pairs",
        description="Train a retriever with a curriculum, rank the held-out pairs and keep the result in a folder.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("pairs", metavar="PAIRS", help="corpus, chebi20, or a CSV, TSV or Parquet file")
    add("--data", metavar="DIR", help="folder with fetched data")
    add("--extra", metavar="FILE", help="further training pairs for chebi20")
    add("--swap", action="store_true", help="with --extra: train on test, evaluate on validation")
    add("--text", metavar="COLUMN", help="column of the texts")
    add("--smiles", metavar="COLUMN", help="column of the SMILES")
    add("--text-encoder", default="minilm", metavar="NAME", help="minilm, scibert, a hub id or a folder")
    add("--molecule-encoder", default="mol2vec", choices=("mol2vec", "morgan"))
    add("--vectors", default="corpus", metavar="SOURCE", help="Mol2vec vectors: corpus, text2mol, mol2vec or a file")
    add("--backbone", default="dual_encoder", metavar="NAME", help="which retriever (default: %(default)s)")
    add("--order", default="curriculum", choices=("curriculum", "anti-curriculum", "random", "standard"))
    add("--start", type=float, default=0.40, metavar="A", help="α of the schedule α + β·k (default: %(default)s)")
    add("--growth", type=float, metavar="B", help="β (default: all pairs after two thirds of the epochs)")
    add("--sigma", type=float, default=0.95, metavar="S", help="threshold of the neighbour count")
    add("--intensity", default="inverse", metavar="NAME", help="sigmoid, inverse, constant, linear or cosine")
    add("--intensity-on", default="loss", choices=("loss", "lr"))
    add("--optimizer", default="adamw", choices=("adamw", "sgd"))
    add("--epochs", type=int, default=15, metavar="N")
    add("--batch-size", type=int, default=128, metavar="N")
    add("--learning-rate", type=float, default=1e-3, metavar="R")
    add("--seed", type=int, default=0, metavar="N")
    add("--out", metavar="DIR", help="folder of the result (default: runs/train-PAIRS-ORDER-SEED)")
    add("--resume", action="store_true", help="continue an interrupted training in the same folder")
    parser.set_defaults(handler=handle_train)


def handle_train(arguments: argparse.Namespace) -> int:
    """Train, or continue; write the record and print the table."""
    from class_kit.backbones import available_backbones
    from class_kit.errors import InputError
    from class_kit.files import write_json, write_text
    from class_kit.runs.folder import lock
    from class_kit.study.records import Arm, train_record
    from class_kit.task import load_task
    from class_kit.terminal import visible
    from class_kit.training import TrainingConfig

    if arguments.backbone not in available_backbones():
        raise InputError(f"--backbone {arguments.backbone!r}: expected one of {', '.join(available_backbones())}")
    growth = arguments.growth
    if growth is None:
        growth = (1 - arguments.start) / max(1, round(2 * arguments.epochs / 3))
    arm = Arm("train", arguments.order, arguments.start, growth, arguments.intensity, arguments.sigma)
    config = TrainingConfig(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        optimizer=arguments.optimizer,
        intensity_on=arguments.intensity_on,
        seed=arguments.seed,
        backbone=arguments.backbone,
    )
    folder = Path(arguments.out or f"runs/train-{_slug(arguments.pairs)}-{arguments.order}-{arguments.seed}")
    what = {name: getattr(arguments, name) for name in _TASK}
    with lock(folder):
        if (folder / "done").exists() and not arguments.resume:
            raise InputError(f"{folder}: holds a finished training; choose another --out")
        (folder / "done").unlink(missing_ok=True)
        task = load_task(**what, rejected_to=folder / "rejected.csv")
        _say_notes(task)
        write_json(folder / "task.json", {"task": what, "digest": task.digest})
        record = train_record(task, arm, config, folder, checkpoints=True, resume=arguments.resume, progress=None)
        metrics = _metrics(record.ranks)
        write_json(folder / "metrics.json", {"split": task.evaluation_split, "metrics": metrics})
        write_text(folder / "done", "finished\n")
    print(
        f"{record.samples:,} samples in {record.steps:,} steps, {record.seconds:.1f} s; best epoch {record.best_epoch}"
    )
    _print_metrics(metrics, task.evaluation_split)
    print(f"kept in {visible(folder)}")
    return 0


def _add_evaluate(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="rank the held-out pairs of a trained run",
        description="Rank a split's pairs with a trained run and print Hits@1, Hits@10, MRR and Mean Rank.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="folder that class-kit train made")
    parser.add_argument("--split", metavar="NAME", help="which pairs are the queries (default: the held-out ones)")
    parser.add_argument(
        "--pool", choices=("split", "all"), help="candidates: the split's own, or all molecules (default: both)"
    )
    parser.set_defaults(handler=handle_evaluate)


def handle_evaluate(arguments: argparse.Namespace) -> int:
    """Rank again from the saved weights and print the table."""
    from class_kit.study.records import load_backbone, rank_split

    record, task = load_trained(arguments.run)
    split = arguments.split or task.evaluation_split
    ranks = rank_split(load_backbone(record, task), task, split)
    wanted = {name: found for name, found in ranks.items() if arguments.pool in (None, name.rsplit("/", 1)[1])}
    _print_metrics(_metrics(wanted), split)
    return 0


def _add_search(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "search",
        help="find molecules for a text",
        description="Rank all molecules of a trained run's pairs by how well they fit a text.",
        allow_abbrev=False,
    )
    parser.add_argument("query", metavar="TEXT", help="what to look for, in words")
    parser.add_argument("--run", metavar="RUN", help="folder that class-kit train made (default: the newest in runs/)")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many molecules (default: %(default)s)")
    parser.set_defaults(handler=handle_search)


def handle_search(arguments: argparse.Namespace) -> int:
    """Print rank, cosine, id and SMILES of the best molecules."""
    from class_kit.errors import InputError
    from class_kit.study.records import load_backbone
    from class_kit.terminal import one_line

    if not arguments.query.strip():
        raise InputError(f"the text {arguments.query!r} is empty: expected a description in words")
    if arguments.top < 1:
        raise InputError(f"--top {arguments.top}: expected at least 1")
    record, task = load_trained(arguments.run or newest_training("runs"))
    found = search_molecules(load_backbone(record, task), task, arguments.query, arguments.top)
    for place, (row, score) in enumerate(found, start=1):
        print(
            f"{place:>4}  {score:6.3f}  {one_line(task.molecules.id[row]):<14}  {one_line(task.molecules.smiles[row])}"
        )
    return 0


def load_trained(folder: str | Path) -> tuple[Record, Task]:
    """The record and the task of a folder that `class-kit train` finished.

    Raises
    ------
    InputError
        If the folder holds no finished training, or its pairs have changed since.
    """
    from class_kit.errors import InputError
    from class_kit.study.records import read_record
    from class_kit.task import load_task

    folder = Path(folder)
    if not (folder / "done").is_file():
        raise InputError(f"{folder}: no finished training here (class-kit train makes one; --resume continues one)")
    record = read_record(folder)
    stored = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    task = load_task(**stored["task"])
    if task.digest != stored["digest"]:
        raise InputError(f"{folder}: its pairs or encoders have changed since the training; train again")
    return record, task


def newest_training(runs: str | Path) -> Path:
    """The folder under `runs` whose training finished last; an error where there is none."""
    from class_kit.errors import InputError

    found = [path.parent for path in Path(runs).glob("*/record.json") if (path.parent / "done").is_file()]
    if not found:
        raise InputError(f"no finished training in {runs}/: run class-kit train first, or name one with --run")
    return max(found, key=lambda path: (path / "done").stat().st_mtime)


def search_molecules(backbone: Any, task: Task, text: str, top: int) -> list[tuple[int, float]]:
    """Rows of the pool of all molecules that fit a free text best, with their cosines, best first."""
    from class_kit.retrieval import search
    from class_kit.text import embed_text
    from class_kit.training import encode

    query = encode(backbone, "text", embed_text([text], encoder=task.encoders["text"], cache=False, progress=False))
    rows, scores = search(query, encode(backbone, "molecules", task.pool), min(top, len(task.pool)))
    return [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True)]


def _metrics(ranks: Any) -> dict[str, dict[str, Any]]:
    from class_kit.retrieval import retrieval_metrics

    return {name: retrieval_metrics(found) for name, found in ranks.items()}


def _print_metrics(metrics: dict[str, dict[str, Any]], split: str) -> None:
    print(f"{'ranking (' + split + ')':<26} {'pool':>7} {'Hits@1 %':>9} {'Hits@10 %':>10} {'MRR':>7} {'Mean Rank':>10}")
    for name, values in metrics.items():
        pool = f"{int(values['pool']):,}"
        hits = f"{100 * values['hits@1']:>9.1f} {100 * values['hits@10']:>10.1f}"
        print(f"{name:<26} {pool:>7} {hits} {values['mrr']:>7.3f} {values['mean_rank']:>10.1f}")


def _say_notes(task: Task) -> None:
    from class_kit.terminal import visible

    for note in task.pairs.notes:
        print(visible(note))


def _slug(pairs: str) -> str:
    stem = Path(pairs).name.split(".")[0]
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem)[:40] or "pairs"
