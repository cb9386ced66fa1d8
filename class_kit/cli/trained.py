"""`class-kit evaluate`, `score`, `search` and `export`: what is done with a trained retriever."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from class_kit.cli.options import SPLIT, add_options, given_options
from class_kit.errors import InputError
from class_kit.options import TaskOptions, option_names
from class_kit.terminal import counted, one_line, visible

# texts of a molecule that search shows, and characters of each
_TEXTS, _WIDTH = 3, 200
_COLUMNS = ("text", "smiles", "id", "split_column")


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    add = parser.add_argument
    add("run", metavar="RUN", help="folder written by class-kit train")
    add("--split", metavar="NAME", help="split whose pairs are the queries (default: the held-out one)")
    add("--pool", choices=("split", "all"), help="candidates: those of the split, or all molecules (default: both)")
    choose = "also print the chance of choosing the right one among K candidates"
    add("--choose", type=int, nargs="+", default=[], metavar="K", help=choose)
    add("--all-right", action="store_true", help="also print Recall@10, nDCG@10 and MAP over all right candidates")
    add("--trec", metavar="DIR", help="also write each ranking as a TREC run and qrels, in folders of their names")


def handle_evaluate(arguments: argparse.Namespace) -> int:
    """Rank the pairs of a split with a trained run and print Hits@1, Hits@10, MRR and Mean Rank."""
    from class_kit.notices import split_title
    from class_kit.retrieval import k_way_chances, retrieval_metrics
    from class_kit.study.arms import arm_notices
    from class_kit.study.ranking import ANY, export_rankings, rank_split
    from class_kit.study.records import load_backbone, load_trained

    record, task = load_trained(arguments.run)
    split, backbone = arguments.split or task.evaluation_split, load_backbone(record, task)
    rankings = rank_split(backbone, task, split, every=arguments.all_right)
    wanted = {
        name: ranks
        for name, ranks in rankings.items()
        if arguments.pool in (None, name.removesuffix(ANY).rsplit("/", 1)[1])
    }
    for line in arm_notices(task, record.arm, record.config["batch_size"], split).values():
        print(line)
    metrics = {name: retrieval_metrics(ranks) for name, ranks in wanted.items()}
    print_metrics(metrics, split)
    for name, values in metrics.items() if arguments.all_right else ():
        shown = f"Recall@10 {values['recall@10']:.1%}, nDCG@10 {values['ndcg@10']:.3f}, MAP {values['map']:.3f}"
        print(f"{name}: {shown}")
    for k in arguments.choose:
        for name, ranks in wanted.items():
            share = k_way_chances(ranks, k).mean()
            named = f"{name} ({one_line(split_title(split))})"
            print(f"{named:<34} right among {k}: {share:.1%} (chance level {1 / k:.1%})")
    if arguments.trec:
        export_rankings(arguments.trec, backbone, task, split, wanted)
        print(f"TREC runs and qrels are in {visible(arguments.trec)}; README.txt there says how ties are broken")
    return 0


def add_score(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `score`."""
    add = parser.add_argument
    add("run", metavar="RUN", help="folder written by class-kit train")
    add("pairs", metavar="PAIRS", help="table of texts and molecules, such as generated ones")
    others = [name for name in option_names(TaskOptions) if name not in _COLUMNS]
    add_options(parser, TaskOptions, "columns", skip=others, also=SPLIT)
    add("--out", default="scores.csv", metavar="FILE", help="CSV: id, text, smiles, cosine (default: %(default)s)")


def handle_score(arguments: argparse.Namespace) -> int:
    """
    Write the cosine of each text with its molecule under a trained run (for generated captions or molecules: the
    Text2Mol score of the field), and print the mean. Rows that cannot be used are listed beside it.
    """
    from class_kit.files import write_csv
    from class_kit.pairs import load_pairs
    from class_kit.study.ranking import pair_cosines
    from class_kit.study.records import load_backbone, load_trained

    record, task = load_trained(arguments.run)
    out = Path(arguments.out)
    rejected = out.with_name(f"{out.stem}-rejected.csv")
    columns = {name: value for name, value in given_options(arguments, TaskOptions).items() if name in _COLUMNS}
    pairs = load_pairs(arguments.pairs, **columns, max_rejected=1.0, rejected_to=rejected)
    for note in pairs.notes:
        print(visible(note))
    cosines = pair_cosines(load_backbone(record, task), task, pairs.text, pairs.smiles)
    rows = zip(pairs.id, pairs.text, pairs.smiles, cosines.round(6).tolist(), strict=True)
    write_csv(out, ("id", "text", "smiles", "cosine"), rows)
    print(f"mean cosine of {len(pairs):,} pairs: {cosines.mean():.3f}; written to {visible(out)}")
    if pairs.rejected:
        print(f"{counted(len(pairs.rejected), 'row')} rejected, listed in {visible(rejected)}, not in the mean")
    return 0


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `search`."""
    add = parser.add_argument
    add("query", metavar="TEXT", help="description of the molecule to look for")
    add("--run", metavar="RUN", help="folder written by class-kit train (default: the newest in runs/)")
    add("--top", type=int, default=10, metavar="K", help="number of molecules to print (default: %(default)s)")


def handle_search(arguments: argparse.Namespace) -> int:
    """
    Rank all molecules of a trained run's pairs by how well they fit a text; print cosine, id and SMILES of each, and
    the texts that the pairs have of it.
    """
    from class_kit.molecules.structures import structure, structures
    from class_kit.study.ranking import search_molecules
    from class_kit.study.records import load_backbone, load_trained, newest_training

    if not arguments.query.strip():
        raise InputError(f"the text {arguments.query!r} is empty: expected a description in words")
    if arguments.top < 1:
        raise InputError(f"--top {arguments.top}: expected at least 1")
    run = arguments.run
    if not run:
        run = newest_training("runs")
        print(f"searching with {visible(run)}, the newest in runs/; --run selects another", file=sys.stderr)
    record, task = load_trained(run)
    best = search_molecules(load_backbone(record, task), task, arguments.query, arguments.top)
    texts: dict[str, dict[str, None]] = {}
    for molecule, text in zip(structures(task.pairs.smiles), task.pairs.text, strict=True):
        texts.setdefault(molecule.isomer, {})[text] = None
    for place, (row, score) in enumerate(best, start=1):
        name, smiles = (one_line(column[row]) for column in (task.molecules.id, task.molecules.smiles))
        print(f"{place:>4}  {score:6.3f}  {name:<14}  {smiles}")
        own = list(texts.get(structure(task.molecules.smiles[row]).isomer, ()))
        for text in own[:_TEXTS]:
            print(f"{'':14}{one_line(text, _WIDTH)}")
        if len(own) > _TEXTS:
            print(f"{'':14}and {len(own) - _TEXTS:,} more texts")
    return 0


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `export`."""
    parser.add_argument("run", metavar="RUN", help="folder written by class-kit train")
    parser.add_argument("folder", metavar="DIR", help="new folder to write")


def handle_export(arguments: argparse.Namespace) -> int:
    """
    Write a trained run as a folder to publish: model.safetensors, config.json with the encoders' names and digests, and
    a model card with data, splits, metrics, pools and intervals.
    """
    from class_kit.study.export import export_run

    print(
        f"written to {visible(export_run(arguments.run, arguments.folder))}; read README.md there before publishing it"
    )
    return 0


def print_metrics(metrics: Mapping[str, Mapping[str, Any]], split: str) -> None:
    """Print the metrics of each ranking, one line each, with its pool; where there are two readings, by their names."""
    from class_kit.notices import split_title
    from class_kit.study.ranking import ANY

    shown = {name + ", its own partner" if name + ANY in metrics else name: own for name, own in metrics.items()}
    width = max(26, *map(len, shown))
    title = f"ranking ({one_line(split_title(split))})"
    print(f"{title:<{width}} {'pool':>7} {'Hits@1 %':>9} {'Hits@10 %':>10} {'MRR':>7} {'Mean Rank':>10}")
    for name, values in shown.items():
        hits = f"{100 * values['hits@1']:>9.1f} {100 * values['hits@10']:>10.1f}"
        print(f"{name:<{width}} {int(values['pool']):>7,} {hits} {values['mrr']:>7.3f} {values['mean_rank']:>10.1f}")
