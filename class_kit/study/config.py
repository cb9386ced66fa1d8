"""Read what a study compares from a YAML file: settings that are crossed, and settings for all trainings.

The models of `class_kit.options` check everything before anything is trained. `cells` lists the trainings: it crosses
the choices, leaves out those that do not affect an arm, and makes budgets equal.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from inspect import signature
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from class_kit.backbones import backbone_needs
from class_kit.checks import check_choice, check_real, check_whole, nearest
from class_kit.curriculum import EpochPlan, make_schedule
from class_kit.difficulty import sigma_for_quantile
from class_kit.errors import InputError
from class_kit.options import SELECTIVE, Arm, Target, TaskOptions, TrainingConfig, option_model, option_names
from class_kit.study.arms import kept_pairs

if TYPE_CHECKING:
    from class_kit.task import Task

# an arm with few samples an epoch may take this many times the baseline's epochs to spend its budget
_MOST_EPOCHS = 10
# settings of the loop that other keys of a study set
_ELSEWHERE = ("seed", "intensity_on", "backbone", "backbone_options")

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """One value of a crossed key: its name, and what it sets."""

    name: str
    sets: Mapping[str, Any]


def _known(value: Any, known: tuple[str, ...]) -> dict[str, Any]:
    """A copy of a mapping; other values and unknown keys are refused."""
    if not isinstance(value, Mapping):
        raise InputError(f"{value!r:.80}: expected a mapping with some of {', '.join(known)}")
    for key in value:
        if key not in known:
            raise InputError(f"{str(key)[:60]!r} is unknown; {nearest(key, known)}")
    return dict(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 100 or not value.isprintable():
        raise InputError(f"name={value!r:.120}: expected 1 to 100 printable characters")
    return value


def _choice(read: Callable[..., tuple[str, dict[str, Any]]]) -> Any:
    """Decorate a function that takes the keys of a choice and returns its default name and what it sets.

    In the file a choice is a mapping with these keys, or the value of the first one alone. Its `name` replaces the
    default; names of arms leave out an empty one. A function with `**others` refuses unknown keys itself.
    """
    keys = tuple(signature(read).parameters)

    def choice(value: Any) -> Choice:
        given = {str(key): one for key, one in value.items()} if isinstance(value, Mapping) else {keys[0]: value}
        name = given.pop("name", None)
        usual, sets = read(**(given if "others" in keys else _known(given, keys)))
        return Choice(name if name == "" else _name(usual if name is None else name), sets)

    return BeforeValidator(choice)


@_choice
def _pairs(source: Any = None, **others: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(source, str) or not source:
        raise InputError(f"source={source!r:.80}: expected corpus, chebi20, or the path of a file")
    sets = {"pairs": source, **others}
    TaskOptions(**sets)
    return Path(source).stem, sets


@_choice
def _backbone(backbone: Any = None, options: Any = None, **others: Any) -> tuple[str, dict[str, Any]]:
    options = {} if options is None else options
    TrainingConfig(backbone=backbone, backbone_options=options)
    backbone_needs(backbone, **options)
    return backbone, {"backbone": backbone, "backbone_options": options, **_loop(others)}


@_choice
def _order(order: Any = None) -> tuple[str, dict[str, Any]]:
    sets = _step_matched({"order": order})
    Arm("check", **sets)
    return order, sets


@_choice
def _schedule(shape: Any = "linear", **others: Any) -> tuple[str, dict[str, Any]]:
    settings = ("start", "growth", "full_at", "share", "interval")
    given = _known(others or {"full_at": 2 / 3}, settings)
    rises = [key for key in ("growth", "full_at", "share") if given.get(key) is not None]
    if len(rises) != 1:
        raise InputError(f"growth, full_at and share: {' and '.join(rises) or 'none'} given, expected one of them")
    arm = Arm("check", schedule=shape, **{"growth": 0.0, **given})
    shown = arm.schedule if arm.interval is None else f"{arm.schedule} of {arm.interval}"
    how = {"growth": "β {:g}", "full_at": "full at {:.0%}", "share": "{:.0%} of the samples"}[rises[0]]
    sets = {key: getattr(arm, key) for key in ("schedule", *settings)}
    return f"{shown} α {arm.start:g} {how.format(sets[rises[0]])}", sets


@_choice
def _intensity(curve: Any = None, scales: Any = "loss") -> tuple[str, dict[str, Any]]:
    Arm("check", intensity=curve)
    shown = curve if isinstance(curve, str) else ", ".join(f"{term} {name}" for term, name in curve.items())
    sets = {"intensity": curve, "intensity_on": check_choice("scales", scales, get_args(Target))}
    return f"{shown} on lr" if scales == "lr" else shown, sets


@_choice
def _sigma(sigma: Any = None) -> tuple[str, dict[str, Any]]:
    """A threshold, or "q0.5": the one at which that share of the training pairs has no neighbour."""
    if not (isinstance(sigma, str) and sigma.startswith("q")):
        sets = {"sigma": Arm("check", sigma=sigma).sigma}
        return f"{sigma:g}", sets
    try:
        share = float(sigma[1:])
    except ValueError:
        raise InputError(f"sigma={sigma!r:.80}: expected a number, or q and a share such as q0.5") from None
    return sigma, {"quantile": check_real("share", share, low=0.0, high=1.0)}


@_choice
def _difficulty(difficulty: Any = None) -> tuple[str, dict[str, Any]]:
    Arm("check", difficulty=difficulty)
    return difficulty, {"difficulty": difficulty}


def _step_matched(sets: dict[str, Any]) -> dict[str, Any]:
    """The order "step-matched" as an arm's settings."""
    return sets | {"order": "standard", "step_matched": True} if sets.get("order") == "step-matched" else sets


def _loop(value: Any) -> dict[str, Any]:
    config = TrainingConfig(**_known(value, option_names(TrainingConfig, but=_ELSEWHERE)))
    return {key: getattr(config, key) for key in value}


def _arm(value: Any) -> tuple[Arm, Target]:
    sets = _step_matched(_known(value, (*option_names(Arm), "scales")))
    # the key is not called `on`, because YAML reads that as true
    on: Any = check_choice("scales", sets.pop("scales", "loss"), get_args(Target))
    _name(sets.get("name"))
    return Arm(**sets), on


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return tuple(range(check_whole("seeds", value, low=1, high=1000)))
    return value


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _different(values: Any) -> Any:
    names = [value[0].name if isinstance(value, tuple) else getattr(value, "name", value) for value in values]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"contains {twice[0]!r} more than once: expected different values")
    return values


Several = Annotated[tuple[T, ...], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_different)]


def _key(default: Any, description: str) -> Any:
    """A key of a study; its default is written as in a file."""
    return Field(default=default, validate_default=True, description=description)


@option_model
class StudyConfig:
    """A validated study.

    A choice of `pairs` sets arguments of `load_task`; of `backbones` a name, its options and settings of the loop; of
    the others, attributes of an `Arm` and of `intensities` also `intensity_on`.
    """

    pairs: Several[Annotated[Choice, _pairs]] = _key("corpus", "sources, or mappings with source and how to read it")
    backbones: Several[Annotated[Choice, _backbone]] = _key(
        "dual_encoder", "names, or mappings with options and settings of the loop"
    )
    orders: Several[Annotated[Choice, _order]] = _key(
        ("standard", "curriculum", "random", "step-matched"), "orders of an arm, and step-matched"
    )
    schedules: Several[Annotated[Choice, _schedule]] = _key("linear", "shapes, or mappings with start and how λ grows")
    intensities: Several[Annotated[Choice, _intensity]] = _key(
        "inverse", "curves, or mappings with what the curve scales"
    )
    sigmas: Several[Annotated[Choice, _sigma]] = _key(
        0.95, "thresholds, or q and a share of pairs without neighbours, before noise"
    )
    difficulties: Several[Annotated[Choice, _difficulty]] = _key("neighbours", "measures that order the pairs")
    fractions: Several[Annotated[float, Field(gt=0, le=1)]] = _key(
        1.0, "shares of the training pairs that are trained on, drawn anew for each seed"
    )
    noise: Several[Annotated[float, Field(ge=0, le=1)]] = _key(
        0.0, "shares of the training pairs whose molecules are exchanged, anew for each seed"
    )
    budgets: Several[Literal["epochs", "steps", "samples"]] = _key(
        "epochs", "what every arm gets as much of as the baseline"
    )
    seeds: Annotated[Several[Annotated[int, Field(ge=0)]], BeforeValidator(_seeds)] = _key(
        3, "seeds, or how many of them"
    )
    pools: Several[Literal["split", "all"]] = _key(("split", "all"), "candidates of the tables")
    arms: Annotated[
        tuple[Annotated[tuple[Arm, Target], BeforeValidator(_arm)], ...],
        BeforeValidator(_listed),
        AfterValidator(_different),
    ] = _key((), "further arms, not crossed, each with what its γ scales")
    across: bool = _key(
        False, "with several sets of pairs: rank the held-out pairs of each under trainings on the others"
    )
    training: Annotated[dict[str, Any], BeforeValidator(_loop)] = _key({}, "settings of the loop for all trainings")
    against: dict[str, list[str]] = _key(
        {},
        "differences in the tables: the named arms, or all others, minus the key; by default all minus the first arm",
    )
    also: Annotated[tuple[Literal["apart", "savings", "ties"], ...], BeforeValidator(_listed)] = _key(
        (),
        "further tables: over queries without a near-duplicate among the training pairs (apart), of what arms saved "
        "compared with standard (savings), of how far each σ orders the pairs (ties)",
    )
    name: Annotated[str, AfterValidator(_name)] = _key("study", "title, and part of the folder's name")


KEYS = option_names(StudyConfig)
# tables compare only trainings that agree in these
GROUP = ("pairs", "noise", "backbone", "budget")
# crossed keys of an arm, each with the setting that an arm must use for the key to matter
_CROSSED = {
    "orders": "order",
    "schedules": "schedule",
    "intensities": "intensity",
    "sigmas": "sigma",
    "difficulties": "difficulty",
}


def read_config(path: str | os.PathLike[str]) -> StudyConfig:
    """Read and check a study's YAML file.

    Raises
    ------
    InputError
        The file cannot be read, is not a YAML mapping, or has an unknown key or a bad value; the message names file,
        key, value and what was expected.
    """
    import yaml

    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())[:300]}") from None
    try:
        return study_config(values, default_name=path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def study_config(values: Any, default_name: str = "study") -> StudyConfig:
    """Check a mapping as a study; keys that it leaves out have their defaults.

    Raises
    ------
    InputError
        As `read_config`.
    """
    return StudyConfig(**{"name": default_name, **_known(values, KEYS)})


@dataclass(frozen=True)
class Cell:
    """One training of a study.

    Attributes
    ----------
    group : mapping
        Names of the choices of `GROUP`.
    task : Task
        Its pairs, with the noise of its own seed.
    arm : Arm
        Its name tells it from the other arms of the study.
    config : TrainingConfig
        Seed and epochs included.
    """

    group: Mapping[str, str]
    task: Task
    arm: Arm
    config: TrainingConfig

    @property
    def work(self) -> tuple[Task, Arm, TrainingConfig]:
        """What `run_all` trains."""
        return self.task, self.arm, self.config

    @property
    def labels(self) -> dict[str, Any]:
        """Its columns in a table."""
        return {**self.group, "arm": self.arm.name, "seed": self.config.seed}


def cells(config: StudyConfig, tasks: Mapping[str, Task]) -> list[Cell]:
    """Every training of a study, each once, in the order of the tables.

    Parameters
    ----------
    tasks : mapping of the names of `config.pairs` to what they load
    """
    from class_kit.task import exchange_molecules, take_fraction

    @cache
    def drawn(name: str, fraction: float, noise: float, seed: int) -> Task:
        """Arms that share all of these share the task."""
        task = tasks[name] if fraction == 1 else take_fraction(tasks[name], fraction, seed)
        return exchange_molecules(task, noise, seed) if noise else task

    trainings = []
    arms = {choice.name: _arms(config, tasks[choice.name]) for choice in config.pairs}
    if config.across and config.fractions != (1,):
        raise InputError(f"across with fractions {config.fractions}: expected all training pairs, fractions: [1]")
    crossed = config.pairs, config.fractions, config.noise, config.backbones, config.budgets
    for pairs, fraction, noise, backbone, budget in product(*crossed):
        if noise and pairs.sets.get("noise"):
            raise InputError(f"noise: {pairs.name!r} sets its own noise: expected it in one place")
        baseline = TrainingConfig(**{**config.training, **backbone.sets})
        names = data_name(pairs, fraction), np.format_float_positional(noise, trim="-"), backbone.name, budget
        group = dict(zip(GROUP, names, strict=True))
        for arm, on in arms[pairs.name]:
            loop = replace(baseline, intensity_on=on)
            if budget != "epochs":
                loop = _with_budget(arm, tasks[pairs.name], loop, budget)
            for seed in config.seeds:
                task = drawn(pairs.name, fraction, noise, seed)
                trainings.append(Cell(group, task, arm, replace(loop, seed=seed)))
    return trainings


def data_name(pairs: Choice, fraction: float) -> str:
    """The name in tables of a share of the training pairs."""
    return pairs.name if fraction == 1 else f"{pairs.name}, {fraction:.4g} of the training pairs"


def _arms(config: StudyConfig, task: Task) -> list[tuple[Arm, Target]]:
    """Arms and what γ acts on, each once: an order is not crossed with choices that do not affect it."""
    arms: dict[str, tuple[Arm, Target]] = {}
    rows = task.rows("train")
    sigma_at = cache(lambda share: sigma_for_quantile(task.t[rows], task.m[rows], q=share))
    for choices in product(*(getattr(config, key) for key in _CROSSED)):
        sets = {key: value for choice in choices for key, value in choice.sets.items()}
        on: Target = sets.pop("intensity_on")
        if (share := sets.pop("quantile", None)) is not None:
            sets["sigma"] = sigma_at(share)
        arm = Arm("?", **sets)
        used = arm.training_key
        on = on if used.get("intensity", "constant") != "constant" else "loss"
        parts = [
            f"{choice.name} (σ {arm.sigma:.3f})" if "quantile" in choice.sets else choice.name
            for (key, setting), choice in zip(_CROSSED.items(), choices, strict=True)
            if key == "orders" or (setting in used and len(getattr(config, key)) > 1)
        ]
        named = replace(arm, name=" · ".join(filter(None, parts)) or arm.order)
        arms.setdefault(json.dumps([used, on], sort_keys=True), (named, on))
    names = {arm.name for arm, _ in arms.values()}
    if twice := [arm.name for arm, _ in config.arms if arm.name in names]:
        raise InputError(f"arms: {twice[0]!r} is also the name of a crossed arm: expected another name")
    return [*arms.values(), *config.arms]


def _with_budget(arm: Arm, task: Task, config: TrainingConfig, budget: str) -> TrainingConfig:
    """Set the epochs whose cost is nearest to the baseline's, by bisection: costs grow with epochs."""
    if arm.pace == "metric" or arm.order in ("loss-pruned", *SELECTIVE):
        raise InputError(
            f"budget {budget!r} for {arm.name!r}: its samples and steps are decided while it trains, expected the "
            "budget 'epochs' for such an arm"
        )

    def cost(arm: Arm, rows: int, epochs: int) -> float:
        whole = arm.order == "standard" and not arm.step_matched
        plan = EpochPlan(np.arange(rows), make_schedule("full") if whole else arm.make_schedule(epochs), "constant")
        # set afterwards, because a plan that never reaches all pairs would warn
        plan.epochs = epochs
        return float((plan.samples_total if budget == "samples" else plan.steps_total)(config.batch_size))

    wanted = cost(Arm("baseline", order="standard"), len(task.rows("train")), config.epochs)
    rows = len(kept_pairs(task, arm))
    epochs = range(1, _MOST_EPOCHS * config.epochs + 1)
    if (most := cost(arm, rows, epochs[-1])) < wanted:
        raise InputError(
            f"budget {budget!r} for {arm.name!r}: {epochs[-1]} epochs take {most:,.0f} of {wanted:,.0f} {budget}, "
            f"expected an arm that takes as many within {_MOST_EPOCHS} times the {config.epochs} epochs given"
        )
    enough = epochs[bisect_left(epochs, wanted, key=lambda count: cost(arm, rows, count))]
    less = max(1, enough - 1)
    return replace(config, epochs=min((less, enough), key=lambda count: abs(cost(arm, rows, count) - wanted)))
