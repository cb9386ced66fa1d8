"""Tokens of texts and atoms of molecules as padded items, and one side reading the other's.

Where a side comes as one vector it is one item, and attention over one item has nothing to choose: what is read is
that item's value, whatever the query. `CrossAttention` then has no queries and no keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones.base import GraphBatch, MoleculeBatch, TextBatch, TokenBatch
from class_kit.backbones.layers import check_widths
from class_kit.errors import InputError


@dataclass(frozen=True, eq=False)
class Items:
    """One side of a batch as items, as many as its longest row has.

    Attributes
    ----------
    values : (B, n, w)
    mask : (B, n) bool
        False for padding. Every row has an item.
    """

    values: Tensor
    mask: Tensor

    def mean(self) -> Tensor:
        """`(B, w)`, padding left out."""
        weights = self.mask.unsqueeze(-1).to(self.values.dtype)
        return (self.values * weights).sum(1) / weights.sum(1)


def items_of_text(text: TextBatch) -> Items:
    """Tokens, or the sentence vector as the only item."""
    if isinstance(text, TokenBatch):
        return Items(text.tokens, text.mask)
    return _single(text)


def items_of_molecules(molecules: MoleculeBatch) -> Items:
    """Atoms, or the molecule vector as the only item."""
    if not isinstance(molecules, GraphBatch):
        return _single(molecules)
    owner = molecules.atom_molecule
    count = torch.bincount(owner, minlength=molecules.size)
    place = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count)[owner]
    shape = (molecules.size, int(count.max()))
    values = molecules.atoms.new_zeros(*shape, molecules.atoms.shape[1])
    values[owner, place] = molecules.atoms
    return Items(values, torch.arange(shape[1], device=owner.device) < count[:, None])


def sentence_of(text: TextBatch) -> Tensor:
    """Sentence vectors `(B, d_t)` of either kind of batch."""
    return text.sentence if isinstance(text, TokenBatch) else text


def vector_of(molecules: MoleculeBatch) -> Tensor:
    """Vectors `(B, d_m)` of either kind of batch: the atoms of a graph add up to the molecule's Mol2vec vector."""
    return items_of_molecules(molecules).values.sum(1) if isinstance(molecules, GraphBatch) else molecules


class CrossAttention(nn.Module):
    """Items of one side read those of the other: scaled dot products (Vaswani et al. 2017, section 3.2).

    Parameters
    ----------
    width : int
        Of items on both sides.
    heads : int
        Divides `width`.
    single : bool
        The side that is read has one item a row, so that queries and keys would change nothing; there are none.
    """

    def __init__(self, width: int, heads: int, *, single: bool = False) -> None:
        super().__init__()
        check_widths(width=width, heads=heads)
        if width % heads:
            raise InputError(f"heads={heads}: expected a divisor of the width {width}")
        self.heads = heads
        self.query = None if single else nn.Linear(width, width)
        # a bias of the keys adds the same to all logits of a query, and the softmax takes it away
        self.key = None if single else nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, items: Tensor, memory: Items, pairs: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """What each item `(B, n, w)` of a row reads from the memory of the same row, `(B, n, w)`.

        With `pairs`, two `(P,)` row numbers, the rows of `items` and of `memory` that meet, `(P, n, w)`; what an item
        brings to every meeting is computed once.
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


def _single(vectors: Tensor) -> Items:
    return Items(vectors.unsqueeze(1), torch.ones(len(vectors), 1, dtype=torch.bool, device=vectors.device))
