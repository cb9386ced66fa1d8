"""`class-kit train`: a retriever trained with a curriculum on one's own pairs, and measured."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from class_kit.cli.options import add_import_option, add_options, folder_name, given_options, help_of, import_own
from class_kit.errors import InputError
from class_kit.options import Arm, Curve, TaskOptions, TrainingConfig

# Text2Mol's rates for a trained encoder (Edwards et al. 2021), and a batch that a whole encoder's activations fit
_FINETUNED = {"batch_size": 32, "learning_rate": 1e-4}
# where this command does something else than the model
_DEFAULTS = {
    "growth": "none; all pairs after two thirds of the epochs",
    "batch_size": "128, with --finetune 32",
    "learning_rate": "0.001, with --finetune 0.0001",
}


def add_train(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `train`."""
    parser.description = "Train a retriever with a curriculum, rank the held-out pairs and keep the result in a folder."
    parser.add_argument("pairs", metavar="PAIRS", help=help_of(TaskOptions, "pairs"))
    add_options(parser, TaskOptions, "pairs and encoders", skip=("pairs",))
    add_options(parser, Arm, "curriculum", skip=("name", "intensity"), defaults=_DEFAULTS)
    add_options(parser, TrainingConfig, "training", skip=("backbone_options",), defaults=_DEFAULTS)
    add = parser.add_argument
    add(
        "--intensity",
        nargs="+",
        default=["inverse"],
        metavar="NAME",
        help=f"γ: {', '.join(get_args(Curve))}; or TERM=NAME for single loss terms, *=NAME for the rest",
    )
    add(
        "--backbone-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the backbone, for example hidden=256; may be given again",
    )
    add(
        "--finetune",
        action="store_true",
        help="train the text encoder too: at --encoder-rate, in smaller batches and at a smaller rate by default",
    )
    add("--encoder-rate", type=float, default=3e-5, metavar="X", help="learning rate of the text encoder")
    add_import_option(parser)
    add("--out", metavar="DIR", help="folder of the result (default: runs/train-PAIRS-ORDER-SEED)")
    add("--resume", action="store_true", help="continue an interrupted training in the same folder")


def handle_train(arguments: argparse.Namespace) -> int:
    """Train, or continue; keep the record and print the table."""
    from class_kit.cli.evaluate import print_metrics
    from class_kit.study.trained import train_in
    from class_kit.terminal import visible

    import_own(arguments.modules)
    options = TaskOptions(**given_options(arguments, TaskOptions))
    arm, config = arm_from(arguments), config_from(arguments)
    stem = folder_name(Path(options.pairs).name.split(".")[0], "pairs")
    folder = Path(arguments.out or f"runs/train-{stem}-{arm.order}-{config.seed}")
    finished = (folder / "done").exists()
    try:
        record, task, metrics = train_in(
            folder, options, arm, config, resume=arguments.resume, say=lambda line: print(visible(line))
        )
    except (KeyboardInterrupt, OSError):
        if (folder / "checkpoint.safetensors").exists():
            place = visible(folder)
            print(f"the last finished epoch is kept in {place}; the same command with --resume --out {place} continues")
        raise
    if finished:
        print(f"finished before with these settings; kept in {visible(folder)}")
        print_metrics(metrics, task.evaluation_split)
        return 0
    cost = f"{record.samples:,} samples in {record.steps:,} steps, {record.seconds:.1f} s"
    print(f"{cost}; best epoch {record.best_epoch}")
    for entry in record.history[:: max(1, len(record.history) - 1)]:
        if "repeats" in entry:
            shared = f"{entry['repeats']:,} near-duplicates share a batch with another"
            print(f"epoch {entry['epoch']}: {shared}, {entry['unavoidable']:,} of them unavoidably")
    print_metrics(metrics, task.evaluation_split)
    print(f"kept in {visible(folder)}")
    return 0


def arm_from(arguments: argparse.Namespace) -> Arm:
    """The arm that the options describe."""
    values = given_options(arguments, Arm) | {"intensity": _intensity(arguments.intensity)}
    rises = [name for name in ("growth", "full_at", "share") if name in values]
    if len(rises) > 1:
        raise InputError("--growth, --full-at and --share each set how λ grows: give one of them")
    if values.get("pace") == "metric":
        values.setdefault("growth", 0.1)
    elif not rises:
        values["full_at"] = 2 / 3
    return Arm("train", **{"growth": 0.0, **values})


def config_from(arguments: argparse.Namespace) -> TrainingConfig:
    """The settings of the loop that the options describe."""
    from class_kit.backbones import available_backbones

    values = given_options(arguments, TrainingConfig) | {
        "backbone_options": _backbone_options(arguments.backbone_option)
    }
    config = TrainingConfig(**values)
    if config.backbone not in available_backbones():
        raise InputError(f"--backbone {config.backbone!r}: expected one of {', '.join(available_backbones())}")
    if not arguments.finetune:
        return config
    inner = {
        "inner": config.backbone,
        "inner_options": config.backbone_options,
        "encoder": given_options(arguments, TaskOptions).get("text_encoder", TaskOptions().text_encoder),
        "encoder_rate": arguments.encoder_rate,
    }
    return TrainingConfig(**{**_FINETUNED, **values, "backbone": "finetuned", "backbone_options": inner})


def _intensity(words: Sequence[str]) -> str | dict[str, str]:
    if len(words) == 1 and "=" not in words[0]:
        return words[0]
    return dict(_named(words, "--intensity", "one NAME, or TERM=NAME once for each term"))


def _backbone_options(words: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` as plain literals: numbers, true and false, lists and mappings as YAML writes them, else text."""
    import yaml

    options: dict[str, Any] = {}
    for name, value in _named(words, "--backbone-option", "NAME=VALUE, each name once"):
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--backbone-option {name}={value!r} is no plain value") from None
    return options


def _named(words: Sequence[str], option: str, expected: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name or not value or name in dict(pairs):
            raise InputError(f"{option} {word!r}: expected {expected}")
        pairs.append((name, value))
    return pairs
