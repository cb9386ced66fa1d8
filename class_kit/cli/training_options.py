"""What `class-kit train` can be told: pairs, the way to train, and the settings of the loop, one option a value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from class_kit.errors import InputError

if TYPE_CHECKING:
    from class_kit.study.arms import Arm
    from class_kit.training import TrainingConfig

TASK = ("pairs", "data", "extra", "swap", "text_encoder", "molecule_encoder", "vectors", "text", "smiles")
_ARM = (
    "order",
    "start",
    "growth",
    "sigma",
    "step_matched",
    "schedule",
    "full_at",
    "pace",
    "difficulty",
    "weighting",
    "prune",
    "hardness",
    "hardness_from",
    "hardness_until",
    "hardness_shape",
    "near",
    "refresh",
    "group_size",
    "duplicates",
    "duplicates_above",
    "interval",
    "share",
)
_CONFIG = (
    "epochs",
    "batch_size",
    "learning_rate",
    "optimizer",
    "intensity_on",
    "term_weights",
    "seed",
    "precision",
    "backbone",
)


def add_task_options(parser: argparse.ArgumentParser) -> None:
    """Which pairs, and what embeds them."""
    add = parser.add_argument_group("pairs and encoders").add_argument
    add("pairs", metavar="PAIRS", help="corpus, chebi20, or a CSV, TSV or Parquet file")
    add("--data", metavar="DIR", help="folder with fetched data")
    add("--extra", metavar="FILE", help="further training pairs for chebi20")
    add("--swap", action="store_true", help="with --extra: train on test, evaluate on validation")
    add("--text", metavar="COLUMN", help="column of the texts")
    add("--smiles", metavar="COLUMN", help="column of the SMILES")
    add("--text-encoder", default="minilm", metavar="NAME", help="minilm, scibert, a hub id or a folder")
    add("--molecule-encoder", default="mol2vec", choices=("mol2vec", "morgan"))
    add("--vectors", default="corpus", metavar="SOURCE", help="Mol2vec vectors: corpus, text2mol, mol2vec or a file")


def add_arm_options(parser: argparse.ArgumentParser) -> None:
    """Which pairs when, how hard, in which batches: the attributes of an `Arm`."""
    add = parser.add_argument_group("curriculum").add_argument
    orders = ("curriculum", "anti-curriculum", "random", "standard", "self-paced", "loss-pruned")
    add("--order", default="curriculum", choices=orders, help="which pairs come first (default: %(default)s)")
    add("--step-matched", action="store_true", help="with --order standard: the steps of the schedule, from all pairs")
    add(
        "--schedule",
        default="linear",
        metavar="NAME",
        help="shape of λ: linear, root, competence, quadratic, exponential, logarithmic, step or full",
    )
    add("--interval", type=int, metavar="N", help="with the shape step: epochs from one step to the next")
    add("--start", type=float, default=0.40, metavar="A", help="α, the share at the start (default: %(default)s)")
    add("--growth", type=float, metavar="B", help="β, mean growth an epoch")
    add("--full-at", type=float, metavar="F", help="all pairs after this share of the epochs (default: two thirds)")
    add(
        "--share", type=float, metavar="S", help="β by what it spends: this share of the samples of as many full epochs"
    )
    add("--pace", default="schedule", choices=("schedule", "metric"), help="metric: λ grows when validation stalls")
    add("--difficulty", default="neighbours", metavar="MEASURE", help="what orders the pairs (default: %(default)s)")
    add("--sigma", type=float, default=0.95, metavar="S", help="threshold of the neighbour count")
    add("--weighting", default="hard", choices=("hard", "linear", "log"), help="V of --order self-paced")
    add("--prune", type=float, default=0.5, metavar="R", help="share of learnt pairs that loss-pruned leaves out")
    add(
        "--intensity",
        nargs="+",
        default=["inverse"],
        metavar="NAME",
        help="γ: sigmoid, inverse, constant, linear or cosine; or TERM=NAME for single loss terms, *=NAME for the rest",
    )
    add("--intensity-on", default="loss", choices=("loss", "lr"), help="what γ multiplies")
    add("--term-weights", default="fixed", choices=("fixed", "learned"), help="learned: by uncertainty of each term")
    add = parser.add_argument_group("batches").add_argument
    add("--hardness", type=float, default=0.0, metavar="H", help="share of a batch drawn as near neighbours, in [0, 1]")
    add("--hardness-from", type=float, default=0.0, metavar="F", help="share of the epochs at which that begins")
    add("--hardness-until", type=float, default=0.0, metavar="F", help="and at which it is in force")
    add("--hardness-shape", default="linear", metavar="NAME", help="how it rises between the two")
    spaces = ("joint", "text", "molecules", "model")
    add("--near", default="joint", choices=spaces, help="where neighbours are near; model: as it finds them itself")
    add("--refresh", type=int, default=1, metavar="N", help="with --near model: epochs until they are drawn anew")
    add("--group-size", type=int, default=32, metavar="N", help="near neighbours in a group (default: %(default)s)")
    add(
        "--duplicates",
        default="ignore",
        choices=("ignore", "mask", "apart", "drop"),
        help="pairs of equal text or structure: no negatives of each other (mask), never in one batch (apart), or only "
        "one of them trained on (drop)",
    )
    add("--duplicates-above", type=float, metavar="S", help="more similar pairs count as duplicates too")


def add_import_option(parser: argparse.ArgumentParser) -> None:
    """`--import`: a module of the user's own, for the backbones and measures it registers."""
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module of yours first, for the backbones it registers; may be given again",
    )


def import_own(modules: Sequence[str]) -> None:
    """Import the user's modules, from the working folder as well; they are code, named by the user alone.

    Raises
    ------
    InputError
        There is no such module, or it cannot be imported.
    """
    import importlib
    import sys

    for name in modules:
        if "" not in sys.path:
            sys.path.insert(0, "")
        try:
            importlib.import_module(name)
        except Exception as error:
            raise InputError(f"--import {name!r}: {type(error).__name__}: {error}") from error


def add_loop_options(parser: argparse.ArgumentParser) -> None:
    """The settings of the loop and the backbone."""
    add = parser.add_argument_group("training").add_argument
    add("--backbone", default="dual_encoder", metavar="NAME", help="which retriever (default: %(default)s)")
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
    add("--encoder-rate", type=float, default=3e-5, metavar="R", help="learning rate of the text encoder")
    add("--precision", choices=("float32", "bfloat16"), help="bfloat16 suits graphics cards (default: float32)")
    add("--optimizer", default="adamw", choices=("adamw", "sgd"))
    add("--epochs", type=int, default=15, metavar="N")
    add("--batch-size", type=int, metavar="N", help="pairs in a step (default: 128, with --finetune 32)")
    add("--learning-rate", type=float, metavar="R", help="peak rate (default: 0.001, with --finetune 0.0001)")
    add("--seed", type=int, default=0, metavar="N")


def arm_from(arguments: argparse.Namespace) -> Arm:
    """The arm that the options describe."""
    from class_kit.study.arms import Arm

    values = {name: getattr(arguments, name) for name in _ARM}
    if len([name for name in ("growth", "full_at", "share") if values[name] is not None]) > 1:
        raise InputError("--growth, --full-at and --share each set how λ grows: give one of them")
    if values["growth"] is None:
        values["growth"] = 0.1 if values["pace"] == "metric" else 0.0
        if values["full_at"] is None and values["share"] is None and values["pace"] == "schedule":
            values["full_at"] = 2 / 3
    return Arm("train", intensity=_intensity(arguments.intensity), **values)


def config_from(arguments: argparse.Namespace) -> TrainingConfig:
    """The settings of the loop that the options describe."""
    from class_kit.backbones import available_backbones
    from class_kit.training import TrainingConfig

    if arguments.backbone not in available_backbones():
        raise InputError(f"--backbone {arguments.backbone!r}: expected one of {', '.join(available_backbones())}")
    values = {name: getattr(arguments, name) for name in _CONFIG}
    options = _options(arguments.backbone_option)
    usual = {"batch_size": 128, "learning_rate": 1e-3, "precision": "float32"}
    if arguments.finetune:
        # Text2Mol's rates (Edwards et al. 2021), and a batch that a whole encoder's activations fit
        usual |= {"batch_size": 32, "learning_rate": 1e-4}
        options = {
            "inner": arguments.backbone,
            "inner_options": options,
            "encoder": arguments.text_encoder,
            "encoder_rate": arguments.encoder_rate,
        }
        values["backbone"] = "finetuned"
    values = {name: usual.get(name) if value is None else value for name, value in values.items()}
    return TrainingConfig(**values, backbone_options=options)


def _intensity(words: Sequence[str]) -> str | dict[str, str]:
    if len(words) == 1 and "=" not in words[0]:
        return words[0]
    curves = {}
    for word in words:
        term, sign, name = word.partition("=")
        if not sign or not term or not name or term in curves:
            raise InputError(f"--intensity {word!r}: expected one NAME, or TERM=NAME once for each term")
        curves[term] = name
    return curves


def _options(words: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` as plain literals: numbers, true and false, lists and mappings as YAML writes them, else text."""
    import yaml

    options: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier() or name in options:
            raise InputError(f"--backbone-option {word!r}: expected NAME=VALUE, each name once")
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--backbone-option {word!r}: {value!r} is no plain value") from None
    return options
