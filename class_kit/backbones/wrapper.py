"""What backbones around another one have in common: the inner one still encodes, ranks and keeps its adversary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.backbones.base import Backbone, Needs
from class_kit.errors import InputError


class Wrapper(Backbone):
    """A backbone around another, `inner`, which may be a wrapper too.

    It passes on what it does not change: scales of inputs, vectors, the full score, the adversary. Its option `inner`
    is the name of the inner backbone, and `inner_options` has its options: plain literals, so that a configuration file
    can nest them.
    """

    def __init__(self, text_dim: int, molecule_dim: int, name: str, options: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.inner = create_backbone(name, text_dim, molecule_dim, **options or {})
        self.inputs = self.inner.inputs
        self.critic_steps = self.inner.critic_steps
        self.critic_learning_rate = self.inner.critic_learning_rate
        self.reranks = self.inner.reranks

    @classmethod
    def needs(cls, **options: Any) -> Needs:
        """What the inner backbone reads.

        Raises
        ------
        InputError
            The inner options are not a mapping, or the inner backbone reads token ids and so can only be the outermost.
        """
        name, own = options["inner"], options["inner_options"] or {}
        if not isinstance(own, Mapping):
            raise InputError(f"inner_options={own!r}: expected a mapping of option names to plain values")
        inner = backbone_needs(name, **own)
        if inner.text == "ids":
            raise InputError(f"inner={name!r} reads token ids: expected {name} as the outermost backbone")
        return inner

    def inner_text(self, text: Any) -> Any:
        """A batch of texts as the inner backbone reads it."""
        return text

    def call(self, method: str, *batches: Any, **options: Any) -> Any:
        """Call a method of the inner backbone with batches of the kind it reads."""
        return getattr(self.inner, method)(*batches, **options)

    def fit_inputs(self, text: Any, molecules: Any) -> None:
        """The inner backbone sees the training inputs."""
        self.call("fit_inputs", self.inner_text(text), molecules)

    def encode_text(self, text: Any) -> Tensor:
        """The inner backbone's vectors."""
        return self.call("encode_text", self.inner_text(text))

    def encode_molecules(self, molecules: Any) -> Tensor:
        """The inner backbone's vectors."""
        return self.call("encode_molecules", molecules)

    def losses(self, text: Any, molecules: Any, *, not_negative: Tensor | None = None) -> dict[str, Tensor]:
        """The inner backbone's terms."""
        return self.call("losses", self.inner_text(text), molecules, not_negative=not_negative)

    def critic_parameters(self) -> Iterable[nn.Parameter]:
        """The inner backbone's adversary."""
        return self.inner.critic_parameters()

    def critic_losses(self, text: Any, molecules: Any) -> dict[str, Tensor]:
        """The inner backbone's adversary."""
        return self.call("critic_losses", self.inner_text(text), molecules)

    def pair_parts(self, side: str, batch: Any) -> list[Any]:
        """The inner backbone's."""
        return self.call("pair_parts", side, self.inner_text(batch) if side == "text" else batch)

    def part_scores(self, texts: Sequence[Any], molecules: Sequence[Any]) -> Tensor:
        """The inner backbone's full scores `(B,)`."""
        return self.call("part_scores", texts, molecules)
