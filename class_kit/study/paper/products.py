"""What the paper claims, as studies: each product is a configuration that `class-kit study` takes as a YAML file.

Products share trainings: equal ones are done once, whichever product asks first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from class_kit.checks import check_whole
from class_kit.difficulty import available_measures
from class_kit.errors import InputError
from class_kit.study.arms import Arm
from class_kit.study.paper.tuned import SGD_RATE, TUNED

# These read frozen vectors. Distillation does too, but its teacher makes a training four times as dear, so it is
# measured beside the other backbones (`figures/backbones/`) and not under every control.
HEADS = ("dual_encoder", "text2mol", "moleculestm", "memory_bank", "dsokr", "denoising")
# these read graphs or tokens: name -> registered name and options
DEEP: dict[str, tuple[str, dict[str, Any]]] = {
    "text2mol (GCN)": ("text2mol", {"molecule_encoder": "gcn"}),
    "aman": ("aman", {}),
    "orma": ("orma", {}),
}
ALPHAS, BETAS = (0.2, 0.4, 0.6, 0.8), (0.01, 0.02, 0.03, 0.06)
SIGMAS = (0.90, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, "q0.25", "q0.5", "q0.75", "q0.9")
STANDARD, CLASS, RANDOM, MATCHED = "standard", "CLASS", "random order", "step-matched"
NEITHER = "neither"
# λ from 40 % to all pairs at two thirds of the epochs, about the 85 % of the samples that the paper reports
SCHEDULE: dict[str, Any] = {"start": 0.4, "growth": 0.0, "full_at": 2 / 3}
SIGMA = 0.95
# Tried on no pairs of the study: it was added beside "loss", which asks the same model about the same batches.
UNTRIED = ("el2n",)
_PREFIX = "curriculum · "
_EPOCHS, _DEEP_EPOCHS, _SEEDS = 40, 5, 5


@dataclass(frozen=True)
class Product:
    """One claim as a study.

    Attributes
    ----------
    name, title : str
    config : mapping
        As `study_config` takes it; plain values, so that YAML can hold it.
    against : mapping of arm to arms
        Differences a table gives: the named arms (all others where none is named) minus the key.
    preliminary : bool
        One seed and few epochs: shown, and marked.
    """

    name: str
    title: str
    config: Mapping[str, Any]
    against: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {STANDARD: ()})
    preliminary: bool = False

    def label(self, arm: Arm) -> str:
        """How tables call an arm: without what all of a crossed product have in common."""
        name = arm.name.removeprefix(_PREFIX)
        if self.name == "ablation" and name == STANDARD:
            return NEITHER
        if self.name == "sigma" and arm.order == "curriculum":
            return f"{name} (σ {arm.sigma:.3f})" if name.startswith("q") else f"σ {arm.sigma:.2f}"
        return name


MAIN, MAIN_DEEP, SAVINGS = "main", "main_deep", "savings"
NAMES = (MAIN, MAIN_DEEP, "ablation", "intensity", "grid", "sigma", "measures", SAVINGS)


def products(pairs: Mapping[str, Any], *, seeds: int | None = None, epochs: int | None = None) -> list[Product]:
    """All products but `savings`, which is derived from the first two, in the order in which they are trained.

    Parameters
    ----------
    pairs : mapping
        A choice of a study's key `pairs`, `source` at least.
    seeds, epochs : int, optional
        At most so many seeds a training, and epochs of each; 5 (fewer where a product says so) and 40 by default.
        Backbones that read graphs or tokens have at most 5 epochs and one seed.
    """
    number = _SEEDS if seeds is None else check_whole("seeds", seeds, low=1, high=1000)
    length = _EPOCHS if epochs is None else check_whole("epochs", epochs, low=1)
    build = _Builder(dict(pairs), number, length)
    return [
        build.main(),
        build.deep(),
        build.ablation(),
        build.intensity(),
        build.grid(),
        build.sigma(),
        build.measures(),
    ]


def chosen_products(only: Sequence[str]) -> tuple[str, ...]:
    """The names asked for, in the order of `NAMES`; all of them where none is named.

    Raises
    ------
    InputError
        For a name that is no product's.
    """
    unknown = [name for name in only if name not in NAMES]
    if unknown:
        raise InputError(f"--only {unknown[0]!r}: expected some of {', '.join(NAMES)}")
    return tuple(name for name in NAMES if not only or name in only)


def class_arm(name: str = CLASS, **other: Any) -> dict[str, Any]:
    """CLASS as an arm of a configuration; `other` replaces some of its settings."""
    return {"name": name, "order": "curriculum", "intensity": "inverse", "sigma": SIGMA, **SCHEDULE, **other}


@dataclass(frozen=True)
class _Builder:
    pairs: dict[str, Any]
    seeds: int
    epochs: int

    def config(self, name: str, most_seeds: int = _SEEDS, **keys: Any) -> dict[str, Any]:
        """A study on the common pairs; crossed keys with one value are written out, so that a reader can change it."""
        base: dict[str, Any] = {
            "name": f"paper {name}",
            "pairs": [self.pairs],
            "backbones": [self.head("dual_encoder")],
            "orders": ["standard"],
            "seeds": list(range(min(self.seeds, most_seeds))),
            "training": {"epochs": self.epochs, "batch_size": 128},
        }
        return base | keys

    def head(self, name: str) -> dict[str, Any]:
        return {"backbone": name, "learning_rate": TUNED[name]}

    def main(self) -> Product:
        config = self.config(MAIN, backbones=[self.head(name) for name in HEADS], arms=_controlled())
        return Product(MAIN, "CLASS and its controls round heads on frozen vectors", config, _AGAINST)

    def deep(self) -> Product:
        backbones = [
            {"backbone": kind, "options": options, "name": name, "learning_rate": TUNED[name]}
            for name, (kind, options) in DEEP.items()
        ]
        training = {"epochs": min(self.epochs, _DEEP_EPOCHS), "batch_size": 64}
        config = self.config(MAIN_DEEP, 1, backbones=backbones, arms=_controlled(), training=training)
        title = "CLASS and its controls round backbones that read graphs or tokens"
        return Product(MAIN_DEEP, title, config, _AGAINST, preliminary=True)

    def ablation(self) -> Product:
        arms = [
            class_arm("scheduler only", intensity="constant"),
            class_arm("intensity only", order="random", start=1.0, growth=0.0, full_at=None),
            class_arm("both"),
        ]
        config = self.config("ablation", arms=[_given(arm) for arm in arms])
        return Product("ablation", "scheduler and intensity, alone and together", config, {NEITHER: ()})

    def intensity(self) -> Product:
        curves = [{"curve": "constant", "name": "constant"}]
        curves += [
            {"curve": curve, "scales": on, "name": f"{sign} on {word}"}
            for on, word in (("loss", "loss"), ("lr", "rate"))
            for curve, sign in (("sigmoid", "γ₁"), ("inverse", "γ₂"))
        ]
        sgd = {"backbone": "dual_encoder", "name": "SGD", "optimizer": "sgd", "learning_rate": SGD_RATE}
        config = self.config(
            "intensity",
            backbones=[self.head("dual_encoder") | {"name": "AdamW"}, sgd | {"weight_decay": 0.0}],
            orders=["curriculum"],
            schedules=[_schedule()],
            sigmas=[SIGMA],
            intensities=curves,
        )
        return Product("intensity", "γ₁, γ₂ and none, on the loss and on the learning rate", config, {"constant": ()})

    def grid(self) -> Product:
        schedules = [
            {"shape": "linear", "start": alpha, "growth": beta, "name": f"α {alpha:g} β {beta:g}"}
            for alpha in ALPHAS
            for beta in BETAS
        ]
        config = self.config(
            "grid",
            2,
            orders=["standard", "curriculum"],
            schedules=schedules,
            intensities=["inverse"],
            sigmas=[SIGMA],
        )
        return Product("grid", "the schedule's start α and growth β", config)

    def sigma(self) -> Product:
        config = self.config(
            "sigma",
            3,
            orders=["standard", "curriculum"],
            schedules=[_schedule()],
            intensities=["inverse"],
            sigmas=list(SIGMAS),
            arms=[class_arm(RANDOM, order="random")],
        )
        return Product("sigma", "the threshold σ, by value and by quantile", config, {STANDARD: (), RANDOM: ()})

    def measures(self) -> Product:
        arms = [class_arm(RANDOM, order="random")]
        arms += [class_arm(name, difficulty=name) for name in available_measures() if name not in UNTRIED]
        config = self.config("measures", 3, arms=arms)
        return Product("measures", "measures of difficulty", config, {RANDOM: ()})


_AGAINST = {STANDARD: (), RANDOM: (CLASS,), MATCHED: (CLASS,)}


def _schedule() -> dict[str, Any]:
    return {"shape": "linear", "start": SCHEDULE["start"], "full_at": SCHEDULE["full_at"]}


def _controlled() -> list[dict[str, Any]]:
    """CLASS, a random order with its schedule, and all pairs with its number of steps."""
    return [
        class_arm(),
        class_arm(RANDOM, order="random"),
        class_arm(MATCHED, order="step-matched", intensity="constant"),
    ]


def _given(arm: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arm.items() if value is not None}
