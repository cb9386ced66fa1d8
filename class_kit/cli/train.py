"""`class-kit train`, `evaluate`, `score`, `search` and `export`: train a retriever with a curriculum, and use it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from class_kit.cli.options import SPLIT, add_options, folder_name, given_options, help_of
from class_kit.errors import InputError
from class_kit.options import Arm, Curve, TaskOptions, TrainingConfig, option_names
from class_kit.terminal import counted, one_line, visible

# Text2Mol's rate when the encoder is fine-tuned (Edwards et al. 2021), and a batch whose activations fit in memory
_FINETUNED = {"batch_size": 32, "learning_rate": 1e-4}
# defaults of this command that differ from the model's
_DEFAULTS = {
    "growth": "none: all pairs after two thirds of the epochs",
    "batch_size": "128, with --finetune 32",
    "learning_rate": "0.001, with --finetune 0.0001",
}
# texts of a molecule that search shows, and characters of each
_TEXTS, _WIDTH = 3, 200
_COLUMNS = ("text", "smiles", "id", "split_column")


def add_train(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `train`."""
    parser.add_argument("pairs", metavar="PAIRS", help=help_of(TaskOptions, "pairs"))
    add_options(parser, TaskOptions, "pairs and encoders", skip=("pairs",), also=SPLIT)
    add_options(parser, Arm, "curriculum", skip=("name", "intensity"), defaults=_DEFAULTS)
    add_options(parser, TrainingConfig, "training", skip=("backbone_options",), defaults=_DEFAULTS)
    add = parser.add_argument
    curves = f"γ: {', '.join(get_args(Curve))}; or TERM=NAME for single loss terms and *=NAME for the rest"
    add("--intensity", nargs="+", default=["inverse"], metavar="NAME", help=curves)
    option = "an option of the backbone, for example hidden=256; may be repeated"
    add("--backbone-option", action="append", default=[], metavar="NAME=VALUE", help=option)
    finetune = "fine-tune the text encoder too, at --encoder-rate; smaller default batch size and learning rate"
    add("--finetune", action="store_true", help=finetune)
    add("--encoder-rate", type=float, default=3e-5, metavar="X", help="learning rate of the text encoder")
    add("--out", metavar="DIR", help="folder for the result (default: runs/train-PAIRS[-noise-SHARE]-ORDER-SEED)")
    add("--resume", action="store_true", help="continue an interrupted training in the same folder")


def handle_train(arguments: argparse.Namespace) -> int:
    """Train a retriever with a curriculum, rank the held-out pairs and save the result in a folder."""
    from class_kit.curriculum.mismatched import choose_order
    from class_kit.study.arms import arm_notices, training_audit
    from class_kit.study.runner import train_in

    options = TaskOptions(**given_options(arguments, TaskOptions))
    arm, config = arm_from(arguments), config_from(arguments)
    stem = folder_name(Path(options.pairs).name.split(".")[0], "pairs")
    noise = f"-noise-{options.noise:g}" if options.noise else ""
    folder = Path(arguments.out or f"runs/train-{stem}{noise}-{arm.order}-{config.seed}")
    place, finished = visible(folder), (folder / "record.json").exists()
    try:
        record, task, metrics = train_in(
            folder, options, arm, config, resume=arguments.resume, say=lambda line: print(visible(line))
        )
    except (KeyboardInterrupt, OSError):
        if (folder / "checkpoint.safetensors").exists():
            print(f"the last finished epoch is saved in {place}; add --resume --out {place} to continue")
        raise
    if finished:
        print("already trained with these settings")
    else:
        cost = f"{record.samples:,} samples in {record.steps:,} steps, {record.seconds:.1f} s"
        print(f"{cost}; best epoch {record.best_epoch}")
    for entry in record.history[:: max(1, len(record.history) - 1)]:
        if "repeats" in entry:
            shared = f"{entry['repeats']:,} near-duplicates share a batch with another"
            print(f"epoch {entry['epoch']}: {shared}, unavoidable for {entry['unavoidable']:,} of them")
    for line in arm_notices(task, arm, config.batch_size).values():
        print(line)
    print_metrics(metrics, task.evaluation_split)
    if arm.order == "auto":
        print(choose_order(training_audit(task))[1])
    if options.noise:
        print(visible(task.pairs.notes[-1]))
    print(f"saved in {place}")
    return 0


def arm_from(arguments: argparse.Namespace) -> Arm:
    """The arm that the options describe."""
    values, curves = given_options(arguments, Arm), arguments.intensity
    values["intensity"] = curves[0]
    if len(curves) > 1 or "=" in curves[0]:
        values["intensity"] = _named(curves, "--intensity", "one NAME, or TERM=NAME once for each term")
    rises = [name for name in ("growth", "full_at", "share") if name in values]
    if len(rises) > 1:
        raise InputError(f"--{' and --'.join(rises).replace('_', '-')}: each sets how λ grows, give only one of them")
    if values.get("pace") == "metric":
        values.setdefault("growth", 0.1)
    elif not rises:
        values["full_at"] = 2 / 3
    return Arm("train", **{"growth": 0.0, **values})


def config_from(arguments: argparse.Namespace) -> TrainingConfig:
    """The training settings that the options describe."""
    import yaml

    from class_kit.backbones import available_backbones

    values, options = given_options(arguments, TrainingConfig), {}
    for name, value in _named(arguments.backbone_option, "--backbone-option", "NAME=VALUE, each name once").items():
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--backbone-option {name}={value!r}: expected a plain value") from None
    config = TrainingConfig(**values, backbone_options=options)
    if config.backbone not in available_backbones():
        raise InputError(f"--backbone {config.backbone!r}: expected one of {', '.join(available_backbones())}")
    if not arguments.finetune:
        return config
    inner = {
        "inner": config.backbone,
        "inner_options": options,
        "encoder": given_options(arguments, TaskOptions).get("text_encoder", TaskOptions().text_encoder),
        "encoder_rate": arguments.encoder_rate,
    }
    return TrainingConfig(**{**_FINETUNED, **values, "backbone": "finetuned", "backbone_options": inner})


def _named(words: Sequence[str], option: str, expected: str) -> dict[str, str]:
    """`NAME=VALUE` words as a mapping."""
    named: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (sign and name and value) or name in named:
            raise InputError(f"{option} {word!r}: expected {expected}")
        named[name] = value
    return named


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `evaluate`."""
    add = parser.add_argument
    add("run", metavar="RUN", help="folder written by class-kit train")
    add("--split", metavar="NAME", help="split whose pairs are the queries (default: the held-out one)")
    add("--pool", choices=("split", "all"), help="candidates: those of the split, or all molecules (default: both)")
    add("--all-right", action="store_true", help="also print Recall@10, nDCG@10 and MAP over all right candidates")
    add("--trec", metavar="DIR", help="also write each ranking as a TREC run and qrels, in folders of their names")


def handle_evaluate(arguments: argparse.Namespace) -> int:
    """Rank the pairs of a split with a trained run and print Hits@1, Hits@10, MRR and Mean Rank."""
    from class_kit.retrieval import retrieval_metrics
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
