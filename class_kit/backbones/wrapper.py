"""What backbones round another one have in common: the inner one still encodes, ranks and keeps its adversary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.backbones.base import Backbone, Needs, TextBatch, TokenBatch
from class_kit.backbones.parts import sentence_of, vector_of
from class_kit.checks import check_choice
from class_kit.errors import InputError

READS = ("inner", "parts")
# "parts": tokens and atoms
PARTS = Needs("tokens", "graph")


class Wrapper(Backbone):
    """A backbone round another, `inner`, which may itself be one.

    It passes on what it does not change: scales of inputs, vectors, the full score, the adversary. Subclasses take the
    name of the inner backbone under `inner_option`, and its options under the same with "_options": plain literals,
    so that a configuration file can nest them.
    """

    inner_option: ClassVar[str] = "inner"
    inner_default: ClassVar[str] = "dual_encoder"
    reads_default: ClassVar[str] = "inner"

    def __init__(
        self, text_dim: int, molecule_dim: int, name: str, options: Mapping[str, Any] | None, reads: str = "inner"
    ) -> None:
        super().__init__()
        self.inner = create_backbone(name, text_dim, molecule_dim, **checked_options(self.inner_option, name, options))
        self.inputs = PARTS if check_choice("reads", reads, READS) == "parts" else self.inner.inputs
        self.critic_steps = self.inner.critic_steps
        self.critic_learning_rate = self.inner.critic_learning_rate
        self.reranks = self.inner.reranks

    @classmethod
    def needs(cls, **options: Any) -> Needs:
        """What the inner backbone reads, or tokens and atoms where `reads` says so."""
        name, own = options.get(cls.inner_option, cls.inner_default), options.get(f"{cls.inner_option}_options")
        inner = backbone_needs(name, **checked_options(cls.inner_option, name, own))
        return PARTS if check_choice("reads", options.get("reads", cls.reads_default), READS) == "parts" else inner

    def inner_text(self, text: Any) -> Any:
        """A batch of texts as the inner backbone reads it."""
        return sentence_of(text) if self.inner.inputs.text == "sentence" else text

    def inner_molecules(self, molecules: Any) -> Any:
        """A batch of molecules as the inner backbone reads it."""
        return vector_of(molecules) if self.inner.inputs.molecules == "vector" else molecules

    def call(self, method: str, *batches: Any, **options: Any) -> Any:
        """What a method of the inner backbone gives of batches that it can read."""
        return getattr(self.inner, method)(*batches, **options)

    def fit_inputs(self, text: Any, molecules: Any) -> None:
        """The inner backbone sees the training inputs."""
        self.call("fit_inputs", self.inner_text(text), self.inner_molecules(molecules))

    def encode_text(self, text: Any) -> Tensor:
        """The inner backbone's vectors."""
        return self.call("encode_text", self.inner_text(text))

    def encode_molecules(self, molecules: Any) -> Tensor:
        """The inner backbone's vectors."""
        return self.call("encode_molecules", self.inner_molecules(molecules))

    def losses(self, text: Any, molecules: Any, *, not_negative: Tensor | None = None) -> dict[str, Tensor]:
        """The inner backbone's terms."""
        return self.call("losses", self.inner_text(text), self.inner_molecules(molecules), not_negative=not_negative)

    def critic_parameters(self) -> Iterable[nn.Parameter]:
        """The inner backbone's adversary."""
        return self.inner.critic_parameters()

    def critic_losses(self, text: Any, molecules: Any) -> dict[str, Tensor]:
        """The inner backbone's adversary."""
        return self.call("critic_losses", self.inner_text(text), self.inner_molecules(molecules))

    def pair_scores(self, text: Any, molecules: Any) -> Tensor:
        """The inner backbone's full scores `(B,)`."""
        return self.call("pair_scores", self.inner_text(text), self.inner_molecules(molecules))

    def pair_parts(self, side: str, batch: Any) -> list[Any] | None:
        """The inner backbone's."""
        return self.call("pair_parts", side, self.inner_text(batch) if side == "text" else self.inner_molecules(batch))

    def part_scores(self, texts: Sequence[Any], molecules: Sequence[Any]) -> Tensor:
        """The inner backbone's full scores `(B,)`."""
        return self.call("part_scores", texts, molecules)


def checked_options(option: str, name: Any, options: Any) -> dict[str, Any]:
    """Options of an inner backbone as keyword arguments.

    Raises
    ------
    InputError
        They are no mapping of names, or `name` reads token numbers and so can only be the outermost.
    """
    if options is not None and (not isinstance(options, Mapping) or any(not isinstance(key, str) for key in options)):
        raise InputError(f"{option}_options={options!r}: expected a mapping of option names to plain values")
    if not isinstance(name, str):
        raise InputError(f"{option}={name!r}: expected the name of a backbone")
    plain = dict(options or {})
    if backbone_needs(name, **plain).text == "ids":
        raise InputError(f"{option}={name!r} reads token numbers: wrap the other way round, {name} outermost")
    return plain


def joined(inner: Mapping[str, Tensor], added: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms of both.

    Raises
    ------
    InputError
        Both have a term of one name: a backbone stands round another of its kind.
    """
    if twice := sorted(inner.keys() & added.keys()):
        raise InputError(f"the inner backbone has the term {twice[0]!r} already: expected no wrapper twice")
    return {**inner, **added}


def output_width(backbone: Backbone, text_dim: int) -> int:
    """Width of the vectors that a backbone encodes to, found by encoding one text of zeros; its mode stays."""
    sentence = torch.zeros(1, text_dim)
    text: TextBatch = sentence
    if backbone.inputs.text == "tokens":
        text = TokenBatch(sentence, sentence[:, None], torch.ones(1, 1, dtype=torch.bool))
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        width = int(backbone.encode_text(text).shape[1])
    backbone.train(training)
    return width
