"""What a study compares, read from a YAML file: settings that are crossed, and settings that hold for all.

Everything is checked before anything is trained: an unknown key is refused with the nearest known one, a value with
what was expected. `grid` makes the trainings of it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from class_kit.backbones import backbone_needs
from class_kit.checks import check_real, check_whole
from class_kit.curriculum.schedules import SHAPES
from class_kit.difficulty import available_measures
from class_kit.errors import InputError
from class_kit.study.arms import ARM_ORDERS, Arm

BUDGETS = ("epochs", "steps", "samples", "seconds")
POOLS = ("split", "all")
ORDERS = (*ARM_ORDERS, "step-matched")
# Settings of the loop that a study may fix for all trainings, or for one backbone.
LOOP = (
    "epochs",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "warmup",
    "optimizer",
    "term_weights",
    "threads",
    "precision",
)
_TASK = ("source", "data", "extra", "swap", "text_encoder", "molecule_encoder", "vectors", "text", "smiles", "name")
_SCHEDULE = ("shape", "start", "growth", "full_at", "share", "interval", "name")
# not "on", which YAML reads as a truth value
_INTENSITY = ("curve", "scales", "name")
_ARM = tuple(field.name for field in fields(Arm) if field.name not in ("name", "order", "intensity", "sigma"))
_LARGEST = 2**20


@dataclass(frozen=True)
class Choice:
    """One value of a crossed key: how it is called, and what it sets."""

    name: str
    sets: Mapping[str, Any]


@dataclass(frozen=True)
class StudyConfig:
    """A validated study.

    Attributes
    ----------
    pairs, backbones, orders, schedules, intensities, sigmas, difficulties : tuple of Choice
        What is crossed. A choice of `pairs` sets arguments of `load_task`; of `backbones` a name, its options and
        settings of the loop; the others set attributes of an `Arm`, and `intensities` also `intensity_on`.
    budgets : tuple of str
        What arms are given alike: "epochs", "steps", "samples" or "seconds" of the plain run.
    seeds : tuple of int
    pools : tuple of "split" and "all"
        Candidates of the tables.
    arms : tuple of Arm and what its γ scales
        Further ways to train, not crossed with orders, schedules and the like.
    training : mapping
        Settings of the loop for all trainings.
    name : str
    """

    pairs: tuple[Choice, ...]
    backbones: tuple[Choice, ...]
    orders: tuple[Choice, ...]
    schedules: tuple[Choice, ...]
    intensities: tuple[Choice, ...]
    sigmas: tuple[Choice, ...]
    difficulties: tuple[Choice, ...]
    budgets: tuple[str, ...]
    seeds: tuple[int, ...]
    pools: tuple[str, ...]
    arms: tuple[tuple[Arm, str], ...]
    training: Mapping[str, Any]
    name: str


KEYS = tuple(field.name for field in fields(StudyConfig))


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
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: larger than 1 MiB: no study's configuration")
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
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
    given = _mapping(values, "the study", KEYS)
    training = _loop(given.get("training", {}), "training")
    config = StudyConfig(
        pairs=_choices(given, "pairs", ["corpus"], _pairs),
        backbones=_choices(given, "backbones", ["dual_encoder"], _backbone),
        orders=_choices(given, "orders", ["standard", "curriculum", "random", "step-matched"], _order),
        schedules=_choices(given, "schedules", [{"shape": "linear", "start": 0.4, "full_at": 2 / 3}], _schedule),
        intensities=_choices(given, "intensities", ["inverse"], _intensity),
        sigmas=_choices(given, "sigmas", [0.95], _sigma),
        difficulties=_choices(given, "difficulties", ["neighbours"], _difficulty),
        budgets=tuple(
            _known(value, "budgets", BUDGETS) for value in _list(given.get("budgets", ["epochs"]), "budgets")
        ),
        seeds=_seeds(given.get("seeds", [0, 1, 2])),
        pools=tuple(_known(value, "pools", POOLS) for value in _list(given.get("pools", ["split", "all"]), "pools")),
        arms=tuple(
            _arm(value, f"arms[{at}]") for at, value in enumerate(_list(given.get("arms", []), "arms", empty=True))
        ),
        training=training,
        name=_name(given.get("name", default_name), "name"),
    )
    for key in ("budgets", "seeds", "pools"):
        _once(getattr(config, key), key)
    _once([arm.name for arm, _ in config.arms], "arms: name")
    return config


def refuse_unknown(name: Any, where: str, known: Iterable[str]) -> None:
    """Refuse a key that is not known, with the nearest one that is."""
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names)}"
    raise InputError(f"{where}: {str(name)[:60]!r} is unknown; {hint}")


def _mapping(value: Any, where: str, known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} is {value!r:.80}: expected a mapping with some of {', '.join(known)}")
    for key in value:
        refuse_unknown(key, where, known)
    return dict(value)


def _list(value: Any, where: str, empty: bool = False) -> list[Any]:
    found = list(value) if isinstance(value, list | tuple) else [value]
    if not found and not empty:
        raise InputError(f"{where} is empty: expected at least one value")
    return found


def _once(values: Sequence[Any], where: str) -> None:
    twice = [value for value in values if list(values).count(value) > 1]
    if twice:
        raise InputError(f"{where} contains {twice[0]!r} more than once: expected different values")


def _known(value: Any, where: str, known: Sequence[str]) -> str:
    refuse_unknown(value, where, known)
    return str(value)


def _words(value: Any, where: str, known: Sequence[str]) -> tuple[str, ...]:
    return tuple(_known(word, where, known) for word in _list(value, where))


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 100 or not value.isprintable():
        raise InputError(f"{where} is {value!r:.120}: expected 1 to 100 printable characters")
    return value


def _choices(given: Mapping[str, Any], key: str, default: list[Any], check: Any) -> tuple[Choice, ...]:
    found = tuple(check(value, key) for value in _list(given.get(key, default), key))
    _once([choice.name for choice in found], key)
    return found


def _pairs(value: Any, where: str) -> Choice:
    sets = {"source": value} if isinstance(value, str) else _mapping(value, where, _TASK)
    source = sets.pop("source", None)
    if not isinstance(source, str) or not source:
        raise InputError(f"{where}: source is {source!r}: expected corpus, chebi20, or the path of a file")
    name = _name(sets.pop("name", Path(source).stem), f"{where}: name")
    for key, part in sets.items():
        wanted: type = bool if key == "swap" else str
        if not isinstance(part, wanted):
            raise InputError(f"{where}: {key} is {part!r:.80}: expected {wanted.__name__}")
    return Choice(name, {"pairs": source, **sets})


def _backbone(value: Any, where: str) -> Choice:
    sets = (
        {"backbone": value}
        if isinstance(value, str)
        else _mapping(value, where, ("backbone", "options", "name", *LOOP))
    )
    kind, options = sets.pop("backbone", None), cast(Any, sets.pop("options", {}))
    if not isinstance(kind, str):
        raise InputError(f"{where}: backbone is {kind!r:.80}: expected the name of one")
    if not isinstance(options, Mapping):
        raise InputError(f"{where}: options is {options!r:.80}: expected a mapping")
    backbone_needs(kind, **options)
    name = _name(sets.pop("name", kind), f"{where}: name")
    return Choice(name, {"backbone": kind, "backbone_options": dict(options), **_loop(sets, where)})


def _loop(value: Any, where: str) -> dict[str, Any]:
    from class_kit.training.config import TrainingConfig

    sets = _mapping(value, where, LOOP)
    for key, part in sets.items():
        wanted = type(getattr(TrainingConfig(), key))
        if isinstance(part, bool) or not isinstance(part, (int, float) if wanted is float else wanted):
            raise InputError(f"{where}: {key} is {part!r:.80}: expected {wanted.__name__}")
        sets[key] = wanted(part)
    TrainingConfig(**sets)
    return sets


def _order(value: Any, where: str) -> Choice:
    order = _known(value, where, ORDERS)
    if order == "step-matched":
        return Choice(order, {"order": "standard", "step_matched": True})
    return Choice(order, {"order": order})


def _schedule(value: Any, where: str) -> Choice:
    sets = {"shape": value, "full_at": 2 / 3} if isinstance(value, str) else _mapping(value, where, _SCHEDULE)
    shape = _known(sets.get("shape", "linear"), f"{where}: shape", tuple(SHAPES))
    start = check_real(f"{where}: start", sets.get("start", 0.4), low=0.0, high=1.0)
    growth, full_at, share = (sets.get(key) for key in ("growth", "full_at", "share"))
    if sum(value is not None for value in (growth, full_at, share)) != 1:
        raise InputError(f"{where}: growth {growth!r}, full_at {full_at!r} and share {share!r}: expected one of them")
    rise: dict[str, Any] = {"growth": 0.0}
    if growth is not None:
        rise["growth"], how = check_real(f"{where}: growth", growth, low=0.0), f"β {growth:g}"
    elif full_at is not None:
        rise["full_at"] = check_real(f"{where}: full_at", full_at, low=0.0, high=1.0, open_low=True)
        how = f"full at {full_at:.0%}"
    else:
        rise["share"] = check_real(f"{where}: share", share, low=start, high=1.0)
        how = f"{share:.0%} of the samples"
    word = shape
    if shape == "step" or sets.get("interval") is not None:
        rise["interval"] = check_whole(f"{where}: interval", sets.get("interval"), low=1)
        word = f"{shape} of {rise['interval']}"
    name = _name(sets.get("name", f"{word} α {start:g} {how}"), f"{where}: name")
    found = {"schedule": shape, "start": start, **rise}
    Arm("check", **found)
    return Choice(name, found)


def _intensity(value: Any, where: str) -> Choice:
    sets = {"curve": value} if isinstance(value, str) else _mapping(value, where, _INTENSITY)
    curve, on = sets.get("curve"), _known(sets.get("scales", "loss"), f"{where}: scales", ("loss", "lr"))
    if not isinstance(curve, str | Mapping):
        raise InputError(f"{where}: curve is {curve!r:.80}: expected the name of a curve, or a mapping of term to name")
    curve = curve if isinstance(curve, str) else {str(term): name for term, name in curve.items()}
    Arm("check", intensity=curve)
    shown = curve if isinstance(curve, str) else ", ".join(f"{term} {name}" for term, name in curve.items())
    name = _name(sets.get("name", f"{shown} on {on}" if on == "lr" else shown), f"{where}: name")
    return Choice(name, {"intensity": curve, "intensity_on": on})


def _sigma(value: Any, where: str) -> Choice:
    """A threshold, or "q0.5": the one at which that share of the training pairs has no neighbour."""
    if isinstance(value, str) and value[:1] == "q":
        try:
            share = float(value[1:])
        except ValueError:
            raise InputError(f"{where}: {value[:40]!r}: expected a number, or q and a share such as q0.5") from None
        return Choice(value, {"quantile": check_real(f"{where}: share", share, low=0.0, high=1.0)})
    sigma = check_real(where, value, low=-1.0, high=1.0, open_low=True)
    return Choice(f"{sigma:g}", {"sigma": sigma})


def _difficulty(value: Any, where: str) -> Choice:
    measure = _known(value, where, tuple(available_measures()))
    return Choice(measure, {"difficulty": measure})


def _seeds(value: Any) -> tuple[int, ...]:
    if isinstance(value, int) and not isinstance(value, bool):
        return tuple(range(check_whole("seeds", value, low=1, high=1000)))
    return tuple(check_whole("seeds", seed, low=0) for seed in _list(value, "seeds"))


def _arm(value: Any, where: str) -> tuple[Arm, str]:
    sets = _mapping(value, where, ("name", "order", "intensity", "scales", "sigma", *_ARM))
    on = _known(sets.pop("scales", "loss"), f"{where}: scales", ("loss", "lr"))
    _name(sets.get("name"), f"{where}: name")
    for key, part in sets.items():
        if key != "intensity" and isinstance(part, Mapping | list):
            raise InputError(f"{where}: {key} is {part!r:.80}: expected one plain value")
    if sets.get("order") == "step-matched":
        sets |= {"order": "standard", "step_matched": True}
    try:
        return Arm(**sets), on
    except TypeError as error:
        raise InputError(f"{where}: {error}") from None
