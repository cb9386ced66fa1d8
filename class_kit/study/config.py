"""What a study compares, read from a YAML file: settings that are crossed, and settings that hold for all.

Everything is checked by the models of `class_kit.options` before anything is trained. `grid` makes the trainings of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from class_kit.backbones import backbone_needs
from class_kit.checks import check_real, check_whole, nearest
from class_kit.errors import InputError
from class_kit.options import Arm, Order, Target, TaskOptions, TrainingConfig, option_model, option_names

_LARGEST = 2**20
# what is crossed or counted elsewhere is no setting of the loop
_ELSEWHERE = ("seed", "intensity_on", "backbone", "backbone_options")

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """One value of a crossed key: how it is called, and what it sets."""

    name: str
    sets: Mapping[str, Any]


def _entry(value: Any, known: Sequence[str], word: str = "") -> dict[str, Any]:
    """A mapping with known keys; a plain value stands for a mapping with the key `word` alone."""
    if not isinstance(value, Mapping):
        if not word:
            raise InputError(f"{value!r:.80}: expected a mapping with some of {', '.join(known)}")
        return {word: value}
    for key in value:
        if key not in known:
            raise InputError(f"{str(key)[:60]!r} is unknown; {nearest(key, known)}")
    return dict(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 100 or not value.isprintable():
        raise InputError(f"name={value!r:.120}: expected 1 to 100 printable characters")
    return value


def _pairs(value: Any) -> Choice:
    sets = _entry(value, ("source", *option_names(TaskOptions, but=("pairs",)), "name"), "source")
    name, source = sets.pop("name", None), sets.pop("source", None)
    if not isinstance(source, str) or not source:
        raise InputError(f"source={source!r:.80}: expected corpus, chebi20, or the path of a file")
    sets = {"pairs": source, **sets}
    TaskOptions(**sets)
    return Choice(_name(Path(source).stem if name is None else name), sets)


def _loop(value: Any) -> dict[str, Any]:
    sets = _entry(value, option_names(TrainingConfig, but=_ELSEWHERE))
    config = TrainingConfig(**sets)
    return {key: getattr(config, key) for key in sets}


def _backbone(value: Any) -> Choice:
    sets = _entry(value, ("backbone", "options", "name", *option_names(TrainingConfig, but=_ELSEWHERE)), "backbone")
    kind, options, name = sets.pop("backbone", None), sets.pop("options", {}), sets.pop("name", None)
    TrainingConfig(backbone=kind, backbone_options=options)
    backbone_needs(kind, **options)
    return Choice(_name(kind if name is None else name), {"backbone": kind, "backbone_options": options, **_loop(sets)})


def _step_matched(sets: dict[str, Any]) -> dict[str, Any]:
    """The order "step-matched" as an arm's settings."""
    return sets | {"order": "standard", "step_matched": True} if sets.get("order") == "step-matched" else sets


def _order(value: Any) -> Choice:
    known = (*get_args(Order), "step-matched")
    if value not in known:
        raise ValueError(nearest(value, known))
    return Choice(value, _step_matched({"order": value}))


def _schedule(value: Any) -> Choice:
    known = ("shape", "start", "growth", "full_at", "share", "interval", "name")
    sets = _entry({"shape": value, "full_at": 2 / 3} if isinstance(value, str) else value, known)
    name, rises = sets.pop("name", None), [key for key in ("growth", "full_at", "share") if sets.get(key) is not None]
    if len(rises) != 1:
        raise InputError(f"growth, full_at and share: {' and '.join(rises) or 'none'} given, expected one of them")
    arm = Arm("check", schedule=sets.pop("shape", "linear"), **{"growth": 0.0, **sets})
    settings = ("schedule", "start", "growth", *rises, *(() if arm.interval is None else ("interval",)))
    if name is None:
        shape = arm.schedule if arm.interval is None else f"{arm.schedule} of {arm.interval}"
        how = {"growth": "β {:g}", "full_at": "full at {:.0%}", "share": "{:.0%} of the samples"}[rises[0]]
        name = f"{shape} α {arm.start:g} {how.format(getattr(arm, rises[0]))}"
    return Choice(_name(name), {key: getattr(arm, key) for key in settings})


def _scales(value: Any) -> Target:
    """What γ acts on; a study's file calls `intensity_on` so, because YAML reads the key `on` as a truth value."""
    if value not in (known := get_args(Target)):
        raise InputError(f"scales={value!r:.80}: {nearest(value, known)}")
    target: Target = value
    return target


def _intensity(value: Any) -> Choice:
    sets = _entry({"curve": value} if isinstance(value, str) else value, ("curve", "scales", "name"))
    curve: Any = sets.get("curve")
    on = _scales(sets.get("scales", "loss"))
    Arm("check", intensity=curve)
    shown = curve if isinstance(curve, str) else ", ".join(f"{term} {name}" for term, name in curve.items())
    name = sets.get("name", f"{shown} on {on}" if on == "lr" else shown)
    return Choice(_name(name), {"intensity": curve, "intensity_on": on})


def _sigma(value: Any) -> Choice:
    """A threshold, or "q0.5": the one at which that share of the training pairs has no neighbour."""
    if isinstance(value, str) and value[:1] == "q":
        try:
            share = float(value[1:])
        except ValueError:
            raise ValueError("expected a number, or q and a share such as q0.5") from None
        return Choice(value, {"quantile": check_real("share", share, low=0.0, high=1.0)})
    sigma = Arm("check", sigma=value).sigma
    return Choice(f"{sigma:g}", {"sigma": sigma})


def _difficulty(value: Any) -> Choice:
    return Choice(Arm("check", difficulty=value).difficulty, {"difficulty": value})


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return tuple(range(check_whole("seeds", value, low=1, high=1000)))
    return _listed(value)


def _arm(value: Any) -> tuple[Arm, Target]:
    sets = _step_matched(_entry(value, (*option_names(Arm), "scales")))
    on = _scales(sets.pop("scales", "loss"))
    _name(sets.get("name"))
    return Arm(**sets), on


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _different(values: Iterable[Any]) -> Any:
    names = [value[0].name if isinstance(value, tuple) else getattr(value, "name", value) for value in values]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"contains {twice[0]!r} more than once: expected different values")
    return values


Several = Annotated[tuple[T, ...], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_different)]


@option_model
class StudyConfig:
    """A validated study.

    A choice of `pairs` sets arguments of `load_task`; of `backbones` a name, its options and settings of the loop; of
    the others, attributes of an `Arm` and of `intensities` also `intensity_on`.
    """

    pairs: Several[Annotated[Choice, BeforeValidator(_pairs)]] = Field(
        default="corpus", validate_default=True, description="sources, or mappings with source and how it is read"
    )
    backbones: Several[Annotated[Choice, BeforeValidator(_backbone)]] = Field(
        default="dual_encoder", validate_default=True, description="names, or mappings with options and settings"
    )
    orders: Several[Annotated[Choice, BeforeValidator(_order)]] = Field(
        default=("standard", "curriculum", "random", "step-matched"),
        validate_default=True,
        description="orders of an arm, and step-matched",
    )
    schedules: Several[Annotated[Choice, BeforeValidator(_schedule)]] = Field(
        default="linear", validate_default=True, description="shapes, or mappings with start and how λ grows"
    )
    intensities: Several[Annotated[Choice, BeforeValidator(_intensity)]] = Field(
        default="inverse", validate_default=True, description="curves, or mappings with what the curve scales"
    )
    sigmas: Several[Annotated[Choice, BeforeValidator(_sigma)]] = Field(
        default=0.95, validate_default=True, description="thresholds, or q and a share of pairs without neighbours"
    )
    difficulties: Several[Annotated[Choice, BeforeValidator(_difficulty)]] = Field(
        default="neighbours", validate_default=True, description="measures that order the pairs"
    )
    budgets: Several[Literal["epochs", "steps", "samples"]] = Field(
        default="epochs", validate_default=True, description="what every arm gets as much of as the plain run"
    )
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        BeforeValidator(_seeds),
        Field(min_length=1),
        AfterValidator(_different),
    ] = Field(default=(0, 1, 2), description="seeds, or how many of them")
    pools: Several[Literal["split", "all"]] = Field(default=("split", "all"), description="candidates of the tables")
    arms: Annotated[
        tuple[Annotated[tuple[Arm, Target], BeforeValidator(_arm)], ...],
        BeforeValidator(_listed),
        AfterValidator(_different),
    ] = Field(default=(), description="further arms, not crossed, each with what its γ scales")
    training: Annotated[dict[str, Any], BeforeValidator(_loop)] = Field(
        default_factory=dict, description="settings of the loop for all trainings"
    )
    name: Annotated[str, AfterValidator(_name)] = Field(default="study", description="what titles and folders say")


KEYS = option_names(StudyConfig)


def read_config(path: str | os.PathLike[str]) -> StudyConfig:
    """Read and check a study's YAML file.

    Raises
    ------
    InputError
        The file cannot be read, is no YAML mapping, or holds a key or a value that a study does not know; the message
        names file, key, value and what was expected.
    """
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= _LARGEST else None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if text is None:
        raise InputError(f"{path}: larger than 1 MiB: no study's configuration")
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: no YAML: {' '.join(str(error).split())[:300]}") from None
    try:
        return study_config(values, default_name=path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def study_config(values: Any, default_name: str = "study") -> StudyConfig:
    """Check a mapping as a study; what is left out takes the default of its key.

    Raises
    ------
    InputError
        As `read_config`.
    """
    return StudyConfig(**{"name": default_name, **_entry(values, KEYS)})
