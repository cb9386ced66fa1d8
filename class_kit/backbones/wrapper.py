"""What backbones around another one have in common: the inner one still encodes, ranks and keeps its adversary.

Both sides of a batch also come as padded items, tokens of texts and atoms of molecules, and one side attends to the
other. A side given as one vector is a single item. Attention over one item returns its value whatever the query, so
`CrossAttention` then has no queries and no keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.backbones.base import Backbone, GraphBatch, MoleculeBatch, Needs, TextBatch, TokenBatch
from class_kit.checks import one_of
from class_kit.errors import InputError

# what the inner backbone reads, or tokens and atoms
Reads = Annotated[str, one_of("inner", "parts")]
PARTS = Needs("tokens", "graph")


class Wrapper(Backbone):
    """A backbone around another, `inner`, which may be a wrapper too.

    It passes on what it does not change: scales of inputs, vectors, the full score, the adversary. The option named
    `inner_option` is the name of the inner backbone, and the same with "_options" its options: plain literals, so that
    a configuration file can nest them.
    """

    inner_option: ClassVar[str] = "inner"

    def __init__(
        self, text_dim: int, molecule_dim: int, name: str, options: Mapping[str, Any] | None, reads: str = "inner"
    ) -> None:
        super().__init__()
        self.inner = create_backbone(name, text_dim, molecule_dim, **options or {})
        self.inputs = PARTS if reads == "parts" else self.inner.inputs
        self.critic_steps = self.inner.critic_steps
        self.critic_learning_rate = self.inner.critic_learning_rate
        self.reranks = self.inner.reranks

    @classmethod
    def needs(cls, **options: Any) -> Needs:
        """What the inner backbone reads, or tokens and atoms with reads="parts".

        Raises
        ------
        InputError
            The inner options are not a mapping, or the inner backbone reads token ids and so can only be the outermost.
        """
        option = cls.inner_option
        name, own = options[option], options[f"{option}_options"] or {}
        if not isinstance(own, Mapping):
            raise InputError(f"{option}_options={own!r}: expected a mapping of option names to plain values")
        inner = backbone_needs(name, **own)
        if inner.text == "ids":
            raise InputError(f"{option}={name!r} reads token ids: expected {name} as the outermost backbone")
        return PARTS if options.get("reads") == "parts" else inner

    def inner_text(self, text: Any) -> Any:
        """A batch of texts as the inner backbone reads it."""
        return text.sentence if self.inner.inputs.text == "sentence" and isinstance(text, TokenBatch) else text

    def inner_molecules(self, molecules: Any) -> Any:
        """A batch of molecules as the inner backbone reads it: atoms add up to the molecule's Mol2vec vector."""
        if self.inner.inputs.molecules == "vector" and isinstance(molecules, GraphBatch):
            return items_of(molecules).values.sum(1)
        return molecules

    def call(self, method: str, *batches: Any, **options: Any) -> Any:
        """Call a method of the inner backbone with batches of the kind it reads."""
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

    def pair_parts(self, side: str, batch: Any) -> list[Any]:
        """The inner backbone's."""
        return self.call("pair_parts", side, self.inner_text(batch) if side == "text" else self.inner_molecules(batch))

    def part_scores(self, texts: Sequence[Any], molecules: Sequence[Any]) -> Tensor:
        """The inner backbone's full scores `(B,)`."""
        return self.call("part_scores", texts, molecules)


def joined(inner: Mapping[str, Tensor], added: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms of both.

    Raises
    ------
    InputError
        Both have a term of the same name: a wrapper is nested in itself.
    """
    if twice := sorted(inner.keys() & added.keys()):
        raise InputError(f"the inner backbone already has the term {twice[0]!r}: expected each wrapper at most once")
    return {**inner, **added}


def output_width(backbone: Backbone, text_dim: int) -> int:
    """Width of a backbone's vectors, from encoding one text of zeros; the backbone is left in training mode."""
    sentence = torch.zeros(1, text_dim)
    text: TextBatch = sentence
    if backbone.inputs.text == "tokens":
        text = TokenBatch(sentence, sentence[:, None], torch.ones(1, 1, dtype=torch.bool))
    with torch.no_grad():
        width = int(backbone.eval().encode_text(text).shape[1])
    backbone.train()
    return width


@dataclass(frozen=True, eq=False)
class Items:
    """One side of a batch as items, padded to the longest row.

    Attributes
    ----------
    values : (B, n, w)
    mask : (B, n) bool
        False for padding. Every row has at least one item.
    """

    values: Tensor
    mask: Tensor

    def mean(self) -> Tensor:
        """Mean of the items without padding, `(B, w)`."""
        weights = self.mask.unsqueeze(-1).to(self.values.dtype)
        return (self.values * weights).sum(1) / weights.sum(1)


def items_of(batch: TextBatch | MoleculeBatch) -> Items:
    """Tokens of texts, atoms of molecules, or each vector as the only item of its row."""
    if isinstance(batch, TokenBatch):
        return Items(batch.tokens, batch.mask)
    if isinstance(batch, GraphBatch):
        from class_kit.backbones.message_passing import to_dense_batch

        return Items(*to_dense_batch(batch.atoms, batch.atom_molecule, batch_size=batch.size))
    return Items(batch.unsqueeze(1), torch.ones(len(batch), 1, dtype=torch.bool, device=batch.device))


class CrossAttention(nn.Module):
    """Items of one side attend to those of the other: scaled dot products (Vaswani et al. 2017, section 3.2).

    Parameters
    ----------
    width : int
        Width of the items of both sides.
    heads : int
        Number of heads, a divisor of `width`.
    single : bool
        The other side has one item per row, so that queries and keys would have no effect; they are left out.
    """

    def __init__(self, width: int, heads: int, *, single: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"heads={heads}: expected a divisor of the width {width}")
        self.heads = heads
        self.query = None if single else nn.Linear(width, width)
        # a bias of the keys adds the same number to all logits of a query, which the softmax removes
        self.key = None if single else nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, items: Tensor, memory: Items, pairs: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """What each item `(B, n, w)` of a row reads from the memory of the same row, `(B, n, w)`.

        With `pairs`, two arrays `(P,)` of row numbers of `items` and of `memory`, the same for these pairs of rows,
        `(P, n, w)`; queries, keys and values are computed once per row.
        """
        value = self.value(memory.values)
        if self.query is None or self.key is None:
            read = self.out(value)
            return (read if pairs is None else read[pairs[1]]).expand(-1, items.shape[1], -1)
        query, key, mask = self.query(items), self.key(memory.values), memory.mask
        if pairs is not None:
            query, key, value, mask = query[pairs[0]], key[pairs[1]], value[pairs[1]], mask[pairs[1]]
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        return self.out(read.transpose(1, 2).flatten(-2))
