"""Every setting of a task, of an arm and of the training loop, written once: type, range, default, a line of help.

The command line, a study's file, a notebook's parameters and the records of trainings all read these models, so that a
new field here is an option, a key and a recorded value at once. Nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import fields
from functools import wraps
from numbers import Number
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, create_model, model_validator
from pydantic.dataclasses import dataclass

from class_kit.checks import nearest, refusal

if TYPE_CHECKING:
    from class_kit.curriculum.schedules import Schedule

Model = TypeVar("Model")
Order = Literal[
    "curriculum",
    "anti-curriculum",
    "random",
    "standard",
    "self-paced",
    "loss-pruned",
    "agreement",
    "small-loss",
    "mixture",
    "auto",
    "oracle",
    "random-subset",
]
Shape = Literal["linear", "root", "competence", "quadratic", "exponential", "logarithmic", "step", "full"]
Curve = Literal["sigmoid", "inverse", "constant", "linear", "cosine"]
Target = Literal["loss", "lr"]
# orders that follow recorded losses instead of a difficulty
DYNAMIC = ("self-paced", "loss-pruned")
# orders that leave out the pairs which seem mismatched, or are controls of those: no schedule, and γ = 1
SELECTIVE = ("small-loss", "mixture", "auto", "oracle", "random-subset")


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def option_model(cls: type[Model]) -> type[Model]:
    """Class decorator: a frozen pydantic dataclass that converts no value and refuses with an `InputError`.

    The error names the field, the value and what was expected; of an unknown field, the nearest known one. The fields'
    descriptions become the attributes of its docstring.
    """
    made: Any = dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))(cls)
    check: Callable[..., None] = made.__init__

    @wraps(check)
    def init(self: Any, *values: Any, **named: Any) -> None:
        # NumPy's numbers are as good as Python's
        named = {
            name: each.item() if isinstance(each, Number) and hasattr(each, "item") else each
            for name, each in named.items()
        }
        try:
            check(self, *values, **named)
        except ValidationError as error:
            raise refusal(error, option_names(made)) from None

    made.__init__ = init
    about = {name: each.description or "" for name, each in made.__pydantic_fields__.items()}
    lines = [f"{field.name} : {field.type}\n    {about[field.name]}" for field in fields(made)]
    made.__doc__ = f"{cls.__doc__}\n\nAttributes\n----------\n" + "\n".join(lines)
    return made


def option_names(model: Any, but: Collection[str] = ()) -> tuple[str, ...]:
    """Names of a model's fields, but some."""
    return tuple(field.name for field in fields(model) if field.name not in but)


def _measure(name: str) -> str:
    from class_kit.difficulty import available_measures

    if name not in (known := available_measures()):
        raise ValueError(nearest(name, known))
    return name


def _unicode(text: str) -> str:
    text.encode("utf-8")
    return text


Text = Annotated[str, AfterValidator(_unicode)]


@option_model
class TaskOptions:
    """Which pairs, and what embeds them: what `load_task` takes."""

    pairs: Text = Field(default="corpus", description="corpus, chebi20, or the path of a table")
    data: Text | None = Field(default=None, description="folder with fetched data")
    extra: Text | None = Field(default=None, description="further training pairs for chebi20")
    swap: bool = Field(default=False, description="with extra: train on test, evaluate on validation")
    group: Literal["skeleton", "structure"] = Field(
        default="skeleton",
        description="what splits made here keep together: molecules with one first InChIKey block (stereoisomers, "
        "protonation states, tautomers), or with one structure but for stereo",
    )
    text: Text | None = Field(default=None, description="column of the texts")
    smiles: Text | None = Field(default=None, description="column of the SMILES")
    id: Text | None = Field(default=None, description="column of the ids, which have to be unique")
    split_column: Text | None = Field(default=None, description="column of the splits")
    make_split: Literal["random", "scaffold"] | None = Field(
        default=None, description="make a split of a file, by molecule or by scaffold, even if it has a split column"
    )
    quoting: bool | None = Field(
        default=None, description="in delimited text, whether quotes enclose cells; found out if not given"
    )
    standardize: bool = Field(
        default=False, description="take the largest fragment of each molecule, neutral, in its canonical tautomer"
    )
    text_encoder: Text = Field(default="minilm", description="minilm, scibert, a hub id or a folder")
    molecule_encoder: Literal["mol2vec", "morgan"] = Field(default="mol2vec", description="what embeds the molecules")
    vectors: Text = Field(default="corpus", description="Mol2vec vectors: corpus, text2mol, mol2vec or a file")
    noise: float = Field(
        default=0.0, ge=0, le=1, description="share of the training pairs whose molecules are exchanged on purpose"
    )
    noise_seed: int = Field(default=0, ge=0, description="with noise: which pairs, and for whose molecules")

    @property
    def reading(self) -> dict[str, Any]:
        """How the pairs are read: keyword arguments of `load_pairs`; an empty string is "not given"."""
        others = ("pairs", "text_encoder", "molecule_encoder", "vectors", "noise", "noise_seed")
        values = {name: getattr(self, name) for name in option_names(self, but=others)}
        return {name: None if value == "" else value for name, value in values.items()}


@option_model
class Arm:
    """One way to train: which pairs when, how hard, in which batches."""

    name: str = Field(description="how tables and figures call it")
    order: Order = Field(
        default="curriculum",
        description="which pairs come first: the easiest, the hardest (anti-curriculum), random ones, all in every "
        "epoch (standard), those of least recorded loss (self-paced), all but some of those learnt (loss-pruned), "
        "those whose text and molecule agree most (agreement). Among mismatched pairs: all but an estimated share of "
        "greatest loss (small-loss), all weighted by their losses (mixture), small-loss where the estimate asks for it "
        "(auto), all but those exchanged by noise (oracle), as many as small-loss at random (random-subset)",
    )
    step_matched: bool = Field(
        default=False, description="with the order standard: the steps of the schedule, from all pairs"
    )
    schedule: Shape = Field(default="linear", description="shape of λ")
    interval: int | None = Field(default=None, ge=1, description="with the shape step: epochs from a step to the next")
    start: float = Field(default=0.40, ge=0, le=1, description="α, the share at the start")
    growth: float = Field(default=0.03, ge=0, allow_inf_nan=False, description="β, mean growth an epoch")
    full_at: float | None = Field(
        default=None, gt=0, le=1, description="β by its end: all pairs after this share of the epochs"
    )
    share: float | None = Field(
        default=None, ge=0, le=1, description="β by its cost: this share of the samples of as many full epochs"
    )
    pace: Literal["schedule", "metric"] = Field(
        default="schedule", description="metric: λ grows by β when the validation metric stalls"
    )
    difficulty: Annotated[str, AfterValidator(_measure)] = Field(
        default="neighbours", description="measure that orders the pairs"
    )
    sigma: float = Field(default=0.95, gt=-1, le=1, description="threshold of measures that count neighbours")
    weighting: Literal["hard", "linear", "log"] = Field(default="hard", description="weights of the order self-paced")
    prune: float = Field(default=0.5, ge=0, lt=1, description="share of learnt pairs that loss-pruned leaves out")
    intensity: Curve | dict[str, Curve] = Field(
        default="inverse",
        description="γ of all loss terms or by term, * for the rest; 1 with standard and orders among mismatched pairs",
    )
    hardness: float = Field(default=0.0, ge=0, le=1, description="share of a batch drawn as groups of near neighbours")
    hardness_from: float = Field(default=0.0, ge=0, le=1, description="share of the epochs at which hardness begins")
    hardness_until: float = Field(default=0.0, ge=0, le=1, description="share of the epochs at which it is in force")
    hardness_shape: Shape = Field(default="linear", description="how it rises between the two")
    near: Literal["joint", "text", "molecules", "model"] = Field(
        default="joint", description="space in which neighbours are near; model: the one that is being trained"
    )
    refresh: int = Field(default=1, ge=1, description="with near model: epochs until neighbours are found anew")
    group_size: int = Field(default=32, ge=1, description="near neighbours in a group")
    duplicates: Literal["ignore", "mask", "apart", "drop"] = Field(
        default="ignore",
        description="pairs of equal text, or of equal structure without stereochemistry: no negatives of each other "
        "(mask), never in one batch (apart), or one of each group trained on and λ a share of these (drop)",
    )
    duplicates_above: float | None = Field(
        default=None, ge=-1, le=1, description="pairs of higher mean cosine count as duplicates too"
    )

    @model_validator(mode="after")
    def _check(self) -> Arm:
        if self.step_matched and self.order != "standard":
            raise ValueError(f"step_matched with order={self.order!r}: only 'standard' can be matched to a schedule")
        if self.difficulty in ("loss", "rank", "el2n") and self.order == "standard":
            raise ValueError(f"difficulty={self.difficulty!r} with order='standard': nothing is ordered")
        if self.duplicates == "drop" and self.order in (*DYNAMIC, *SELECTIVE):
            raise ValueError(f"duplicates='drop' with order={self.order!r}: expected an order fixed in advance")
        if self.refresh > 1 and not (self.hardness and self.near == "model"):
            raise ValueError(
                f"refresh={self.refresh} with near={self.near!r}, hardness={self.hardness}: expected hardness above 0 "
                "and near='model'"
            )
        steps = "step" in (self.schedule, self.hardness_shape)
        if self.interval is not None and not steps:
            raise ValueError(f"interval={self.interval} with schedule={self.schedule!r}: only 'step' has one")
        if self.interval is None and (self.schedule == "step" or (self.hardness and steps)):
            raise ValueError("interval=None with the shape 'step': expected the epochs from one step to the next")
        if self.share is not None and self.share < self.start:
            raise ValueError(f"share={self.share} with start={self.start}: expected at least the share at the start")
        if self.share is not None and self.full_at is not None:
            raise ValueError(f"share={self.share} and full_at={self.full_at}: both set β, expected one of them")
        if self.pace == "metric":
            if self.order in ("standard", *DYNAMIC, *SELECTIVE):
                raise ValueError(f"pace='metric' with order={self.order!r}: expected an order that a schedule cuts")
            for name in ("full_at", "share"):
                if (value := getattr(self, name)) is not None:
                    raise ValueError(f"{name}={value} with pace='metric': the metric decides how λ grows")
        return self

    @property
    def training_key(self) -> dict[str, Any]:
        """The values that this arm's training depends on; where nothing is ordered, σ and the like change nothing."""
        whole = self.order in ("loss-pruned", *SELECTIVE)
        scheduled = not whole and (self.order != "standard" or self.step_matched)
        steps = (scheduled and self.schedule == "step") or (self.hardness and self.hardness_shape == "step")
        used = {
            ("sigma", "difficulty"): self.order not in ("standard", "agreement", *DYNAMIC, *SELECTIVE),
            ("schedule", "start", "full_at", "share"): scheduled,
            ("growth",): scheduled and self.full_at is None and self.share is None,
            ("interval",): steps,
            ("intensity",): self.order not in ("standard", *SELECTIVE),
            ("weighting",): self.order == "self-paced",
            ("prune",): self.order == "loss-pruned",
            ("hardness_from", "hardness_until", "hardness_shape", "near", "group_size"): self.hardness > 0,
            ("refresh",): self.hardness > 0 and self.near == "model",
            ("duplicates_above",): self.duplicates != "ignore",
        }
        unused = {"name"}.union(*(names for names, needed in used.items() if not needed))
        return {name: getattr(self, name) for name in option_names(self, but=unused)}

    def make_schedule(self, epochs: int) -> Schedule:
        """λ over so many epochs."""
        from class_kit.curriculum.schedules import make_schedule

        extra = {"interval": self.interval} if self.schedule == "step" else {}
        rise = {"share": self.share, "full_at": self.full_at, "growth": self.growth}
        name = next(name for name, value in rise.items() if value is not None)
        return make_schedule(self.schedule, self.start, epochs=epochs, **{name: rise[name]}, **extra)


@option_model
class TrainingConfig:
    """Settings of one training; plain values, so that a run's record can hold them."""

    epochs: int = Field(default=15, ge=1, description="passes over the pairs that the plan gives")
    batch_size: int = Field(default=128, ge=1, description="pairs in a step; more in-batch negatives are a harder task")
    learning_rate: float = Field(
        default=1e-3, gt=0, allow_inf_nan=False, description="peak rate after warm-up; it falls linearly to 0"
    )
    weight_decay: float = Field(
        default=0.01, ge=0, allow_inf_nan=False, description="decoupled for AdamW, the usual L2 term for SGD"
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of all steps with a linearly rising rate")
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="sgd has momentum 0.9")
    intensity_on: Target = Field(
        default="loss",
        description="what γ multiplies, the loss (the paper, section 3.3) or the learning rate; Adam divides by the "
        "gradient's own scale and so all but cancels the first",
    )
    term_weights: Literal["fixed", "learned"] = Field(
        default="fixed", description="learned: loss terms are weighted by the uncertainty of each"
    )
    seed: int = Field(default=0, ge=0, description="initial weights, dropout, ties and the order within epochs")
    threads: int = Field(
        default=1, ge=1, description="CPU threads; with a fixed number the weights come out the same on other machines"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of matrix products in losses and validation; bfloat16 suits graphics cards"
    )
    backbone: str = Field(default="dual_encoder", description="which retriever")
    backbone_options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the backbone")


def check_setting(name: str, value: Any, default: Any, where: str = "") -> None:
    """Check a notebook's parameter that is named like a setting and has a default that the setting could have.

    Raises
    ------
    InputError
        Naming the setting, the value and what was expected.
    """
    models: Any = (TaskOptions, Arm, TrainingConfig)
    known = {name: field for model in models for name, field in model.__pydantic_fields__.items()}
    if name not in known:
        return
    definition: Any = {name: (Annotated[known[name].annotation, known[name]], ...)}
    setting = create_model("Setting", __config__=ConfigDict(strict=True), **definition)
    for each in (default, value):
        try:
            setting(**{name: each})
        except ValidationError as error:
            if each is default:
                return
            raise refusal(error, where=where) from None
