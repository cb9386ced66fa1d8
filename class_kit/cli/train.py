"""`class-kit train`: train a retriever with a curriculum on your own pairs and evaluate it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from class_kit.cli.options import SPLIT, add_options, folder_name, given_options, help_of
from class_kit.errors import InputError
from class_kit.options import Arm, Curve, TaskOptions, TrainingConfig
from class_kit.terminal import visible

# Text2Mol's rate when the encoder is fine-tuned (Edwards et al. 2021), and a batch whose activations fit in memory
_FINETUNED = {"batch_size": 32, "learning_rate": 1e-4}
# defaults of this command that differ from the model's
_DEFAULTS = {
    "growth": "none: all pairs after two thirds of the epochs",
    "batch_size": "128, with --finetune 32",
    "learning_rate": "0.001, with --finetune 0.0001",
}


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
    from class_kit.cli.trained import print_metrics
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
