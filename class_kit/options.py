"""Every setting of a task, an arm and the training loop, defined once: type, range, default and a line of help.

The command line, study files, notebook parameters and training records all read these models, so a new field here
becomes an option, a key and a recorded value at once. Nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import fields
from functools import wraps
from numbers import Number
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, dataclass_transform, get_args

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from class_kit.checks import nearest, refusal

if TYPE_CHECKING:
    from class_kit.curriculum.schedules import Schedule

Model = TypeVar("Model")
# orders that follow recorded losses instead of a difficulty measure
Dynamic = Literal["self-paced", "loss-pruned"]
# orders that leave out the pairs which seem mismatched, or are controls of those: no schedule, and γ = 1
Selective = Literal["small-loss", "mixture", "auto", "oracle", "random-subset"]
Order = Literal["curriculum", "anti-curriculum", "random", "standard", Dynamic, "agreement", Selective]
DYNAMIC, SELECTIVE = get_args(Dynamic), get_args(Selective)
Shape = Literal["linear", "root", "competence", "quadratic", "exponential", "logarithmic", "step", "full"]
Curve = Literal["sigmoid", "inverse", "constant", "linear", "cosine"]
Target = Literal["loss", "lr"]


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def option_model(cls: type[Model]) -> type[Model]:
    """Make a class a frozen pydantic dataclass that converts no value and refuses bad ones with an `InputError`.

    The error names the field, the value and what was expected; for an unknown field, the nearest known one. The fields'
    descriptions are added to the docstring as attributes.
    """
    made: Any = dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))(cls)
    check: Callable[..., None] = made.__init__

    @wraps(check)
    def init(self: Any, *values: Any, **named: Any) -> None:
        # accept NumPy numbers like Python's own
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
    kinds = {field.name: getattr(field.type, "__name__", field.type) for field in fields(made)}
    lines = [f"{name} : {kind}\n    {about[name]}" for name, kind in kinds.items()]
    made.__doc__ = f"{cls.__doc__}\n\nAttributes\n----------\n" + "\n".join(lines)
    return made


def option_names(model: Any, but: Collection[str] = ()) -> tuple[str, ...]:
    """Names of a model's fields, except those in `but`."""
    return tuple(field.name for field in fields(model) if field.name not in but)


def _measure(name: str) -> str:
    from class_kit.difficulty import available_measures

    if name not in (known := available_measures()):
        raise ValueError(nearest(name, known))
    return name


def _molecule_encoder(name: str) -> str:
    from class_kit.molecules import encoder_views

    return "+".join(encoder_views(name))


def _unicode(text: str) -> str:
    text.encode("utf-8")
    return text


Text = Annotated[str, AfterValidator(_unicode)]


@option_model
class TaskOptions:
    """Which pairs to load and how to embed them: the options of `load_task`."""

    pairs: Text = Field(default="corpus", description="corpus, chebi20, pcdes, or the path of a table")
    data: Text | None = Field(default=None, description="folder with fetched data")
    extra: Text | None = Field(default=None, description="further training pairs for chebi20")
    swap: bool = Field(default=False, description="with extra: train on the test split, evaluate on validation")
    group: Literal["skeleton", "structure"] = Field(
        default="skeleton",
        description="molecules that a split made here keeps together: those with the same first InChIKey block "
        "(stereoisomers, protonation states, tautomers), or those with the same structure ignoring stereochemistry",
    )
    text: Text | None = Field(default=None, description="column with the texts")
    smiles: Text | None = Field(default=None, description="column with the SMILES")
    id: Text | None = Field(default=None, description="column with the ids, which have to be unique")
    split_column: Text | None = Field(default=None, description="column with the splits")
    make_split: Literal["random", "scaffold"] | None = Field(
        default=None, description="make a split of a file, by molecule or by scaffold, even if it has a split column"
    )
    quoting: bool | None = Field(
        default=None, description="in delimited text, whether quotes enclose cells; detected if not given"
    )
    standardize: bool = Field(
        default=False,
        description="replace each molecule by its largest fragment, neutralised, as its canonical tautomer",
    )
    text_encoder: Text = Field(
        default="minilm", description="minilm, static (fast, for many texts), scibert, a hub id or a folder"
    )
    molecule_encoder: Annotated[str, AfterValidator(_molecule_encoder)] = Field(
        default="mol2vec", description="mol2vec, morgan, minimol, or several joined by +, each counting equally"
    )
    vectors: Text = Field(default="corpus", description="Mol2vec vectors: corpus, text2mol, mol2vec or a file")
    noise: float = Field(
        default=0.0, ge=0, le=1, description="share of the training pairs whose molecules are exchanged on purpose"
    )
    noise_seed: int = Field(default=0, ge=0, description="with noise: seed of which molecules are exchanged")

    @property
    def reading(self) -> dict[str, Any]:
        """How the pairs are read: keyword arguments of `load_pairs`; an empty string is "not given"."""
        others = ("pairs", "text_encoder", "molecule_encoder", "vectors", "noise", "noise_seed")
        values = {name: getattr(self, name) for name in option_names(self, but=others)}
        return {name: None if value == "" else value for name, value in values.items()}


@option_model
class Arm:
    """One way to train: which pairs when, with what intensity, in which batches."""

    name: str = Field(description="its name in tables and figures")
    order: Order = Field(
        default="curriculum",
        description="which pairs come first: the easiest (curriculum), the hardest (anti-curriculum), a random order, "
        "all in every epoch (standard), those with the lowest recorded loss (self-paced), all except some already "
        "learnt (loss-pruned), those whose text and molecule agree most (agreement). For mismatched pairs: all except "
        "an estimated share with the greatest loss (small-loss), all weighted by their losses (mixture), small-loss "
        "only if the estimate calls for it (auto), all except those exchanged by noise (oracle), a random subset of "
        "the size of small-loss (random-subset)",
    )
    step_matched: bool = Field(
        default=False, description="with order standard: as many steps as the schedule takes, on all pairs"
    )
    schedule: Shape = Field(default="linear", description="shape of λ")
    interval: int | None = Field(default=None, ge=1, description="with the shape step: epochs between two steps")
    start: float = Field(default=0.40, ge=0, le=1, description="α, the share of pairs at the start")
    growth: float = Field(default=0.03, ge=0, allow_inf_nan=False, description="β, mean growth per epoch")
    full_at: float | None = Field(
        default=None, gt=0, le=1, description="instead of β: reach all pairs after this share of the epochs"
    )
    share: float | None = Field(
        default=None, ge=0, le=1, description="instead of β: use this share of the samples of standard training"
    )
    pace: Literal["schedule", "metric"] = Field(
        default="schedule", description="metric: λ grows by β whenever the validation metric stalls"
    )
    difficulty: Annotated[str, AfterValidator(_measure)] = Field(
        default="neighbours", description="measure that orders the pairs"
    )
    sigma: float = Field(default=0.95, gt=-1, le=1, description="threshold of measures that count neighbours")
    prune: float = Field(default=0.5, ge=0, lt=1, description="share of the learnt pairs that loss-pruned leaves out")
    intensity: Curve | dict[str, Curve] = Field(
        default="inverse",
        description="γ for all loss terms, or by term with * for the rest; always 1 for standard and for the orders "
        "for mismatched pairs",
    )
    hardness: float = Field(default=0.0, ge=0, le=1, description="share of a batch drawn as groups of near neighbours")
    hardness_from: float = Field(default=0.0, ge=0, le=1, description="share of the epochs after which hardness starts")
    hardness_until: float = Field(default=0.0, ge=0, le=1, description="share up to which it rises linearly")
    near: Literal["joint", "text", "molecules", "model"] = Field(
        default="joint", description="space in which neighbours are found; model: that of the model in training"
    )
    refresh: int = Field(default=1, ge=1, description="with near model: epochs between two searches for neighbours")
    group_size: int = Field(default=32, ge=1, description="near neighbours in a group")
    duplicates: Literal["ignore", "mask", "apart", "drop"] = Field(
        default="ignore",
        description="pairs with the same text, or the same structure ignoring stereochemistry: not used as each "
        "other's negatives (mask), never in one batch (apart), or only one of each group is kept for training (drop)",
    )
    duplicates_above: float | None = Field(
        default=None, ge=-1, le=1, description="pairs with a mean cosine above this also count as duplicates"
    )

    @model_validator(mode="after")
    def _check(self) -> Arm:
        if self.step_matched and self.order != "standard":
            raise ValueError(f"step_matched with order={self.order!r}: expected order='standard'")
        if self.difficulty in ("loss", "rank", "el2n") and self.order == "standard":
            raise ValueError(f"difficulty={self.difficulty!r} with order='standard': expected an order that uses it")
        if self.duplicates == "drop" and self.order in (*DYNAMIC, *SELECTIVE):
            raise ValueError(f"duplicates='drop' with order={self.order!r}: expected an order fixed in advance")
        if self.refresh > 1 and not (self.hardness and self.near == "model"):
            raise ValueError(
                f"refresh={self.refresh} with near={self.near!r}, hardness={self.hardness}: expected hardness above 0 "
                "and near='model'"
            )
        if self.interval is not None and self.schedule != "step":
            raise ValueError(f"interval={self.interval} with schedule={self.schedule!r}: only 'step' takes an interval")
        if self.interval is None and self.schedule == "step":
            raise ValueError("interval=None with the shape 'step': expected the number of epochs between two steps")
        if self.share is not None and self.share < self.start:
            raise ValueError(f"share={self.share} with start={self.start}: expected a share of at least start")
        if self.share is not None and self.full_at is not None:
            raise ValueError(f"share={self.share} and full_at={self.full_at}: both set β, expected one of them")
        if self.pace == "metric":
            if self.order in ("standard", *DYNAMIC, *SELECTIVE):
                raise ValueError(f"pace='metric' with order={self.order!r}: expected an order with a schedule")
            for name in ("full_at", "share"):
                if (value := getattr(self, name)) is not None:
                    raise ValueError(f"{name}={value} with pace='metric': the metric decides how λ grows, leave it out")
        return self

    @property
    def training_key(self) -> dict[str, Any]:
        """The values that this arm's training depends on; without an ordering, σ and the like have no effect."""
        whole = self.order in ("loss-pruned", *SELECTIVE)
        scheduled = not whole and (self.order != "standard" or self.step_matched)
        used = {
            ("sigma", "difficulty"): self.order not in ("standard", "agreement", *DYNAMIC, *SELECTIVE),
            ("schedule", "start", "full_at", "share"): scheduled,
            ("growth",): scheduled and self.full_at is None and self.share is None,
            ("interval",): scheduled and self.schedule == "step",
            ("intensity",): self.order not in ("standard", *SELECTIVE),
            ("prune",): self.order == "loss-pruned",
            ("hardness_from", "hardness_until", "near", "group_size"): self.hardness > 0,
            ("refresh",): self.hardness > 0 and self.near == "model",
            ("duplicates_above",): self.duplicates != "ignore",
        }
        unused = {"name"}.union(*(names for names, needed in used.items() if not needed))
        return {name: getattr(self, name) for name in option_names(self, but=unused)}

    def make_schedule(self, epochs: int) -> Schedule:
        """The arm's schedule λ over a number of epochs."""
        from class_kit.curriculum.schedules import make_schedule

        extra = {"interval": self.interval} if self.schedule == "step" else {}
        rise = {"share": self.share, "full_at": self.full_at, "growth": self.growth}
        name = next(name for name, value in rise.items() if value is not None)
        return make_schedule(self.schedule, self.start, epochs=epochs, **{name: rise[name]}, **extra)


@option_model
class TrainingConfig:
    """Settings of one training; plain values, so that a run's record can hold them."""

    epochs: int = Field(default=15, ge=1, description="number of epochs; each is a pass over the pairs of the plan")
    batch_size: int = Field(default=128, ge=1, description="pairs per step; more in-batch negatives are a harder task")
    learning_rate: float = Field(
        default=1e-3, gt=0, allow_inf_nan=False, description="peak rate after warm-up; it then falls linearly to 0"
    )
    weight_decay: float = Field(
        default=0.01, ge=0, allow_inf_nan=False, description="decoupled for AdamW, the usual L2 term for SGD"
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the steps over which the rate rises linearly")
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="sgd has momentum 0.9")
    intensity_on: Target = Field(
        default="loss",
        description="what γ multiplies: the loss (as in the paper, section 3.3) or the learning rate; Adam normalises "
        "the gradient, so scaling the loss has almost no effect",
    )
    seed: int = Field(default=0, ge=0, description="seed of initial weights, dropout, ties and the order within epochs")
    threads: int = Field(
        default=1, ge=1, description="CPU threads; a fixed number gives the same weights on other machines"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of matrix products in losses and validation; bfloat16 suits GPUs"
    )
    backbone: str = Field(default="dual_encoder", description="name of the retriever")
    backbone_options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of the backbone")


def setting_type(name: str, default: Any) -> Any:
    """The type of a notebook parameter that has the name of a setting, with the setting's range.

    None if there is no such setting, or if the parameter means something else, as its default shows.
    """
    models: Any = (TaskOptions, Arm, TrainingConfig)
    for field in (model.__pydantic_fields__[name] for model in models if name in model.__pydantic_fields__):
        kind: Any = Annotated[field.annotation, field]
        with suppress(ValidationError):
            TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(default)
            return kind
    return None
