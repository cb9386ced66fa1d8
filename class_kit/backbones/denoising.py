r"""Cross-Modal Denoising: any backbone, with a task in which each side is restored from a corrupted copy and the other.

Zhou et al. (Interspeech 2024, arXiv 2408.13705) add this task to a retriever of images by speech: corrupt the features
of one modality, let them attend to the other modality, and reconstruct them. The task needs both sides of a pair and so
is used only in training: vectors, scores and the time to rank are those of the `inner` backbone.

Let :math:`x_{ip}` be the items of text i on the training set's scale (its tokens, or its sentence vector as the only
item), :math:`\tilde x_{ip}` their corrupted copies, :math:`b_i` the inner backbone's vector of the molecule and
:math:`y_{iq}` the molecule's atoms. With :math:`c_{iq} = U y_{iq} + V b_i` as the memory,

.. math:: h_{ip} = \mathrm{LN}\bigl( W \tilde x_{ip} + \mathrm{Attention}(W \tilde x_{ip}, \{c_{iq}\}_q) \bigr), \qquad
          L_i = \frac{1}{|S_i|} \sum_{(p, k) \in S_i} \bigl( f(h_{ip})_k - x_{ipk} \bigr)^2

is the term `denoise_text` of pair i, with two layers f and the corrupted coordinates :math:`S_i`; `denoise_molecule` is
the same with the sides exchanged. Both are multiplied by `weight`. :math:`b_i` makes it an auxiliary task: the inputs
may be frozen, and then only :math:`b_i` passes the gradient on to the encoder. A side given as one vector has the
memory :math:`\{V b_i\}`, without U: attention over one item returns its value, so the inner vector has to carry all
the information. If the inputs are trained too (`finetuned` around this), they are targets without a gradient; otherwise
a text without content would be the easiest to restore.

This follows the paper's abstract; the kind and share of its noise, the sizes and the weight are unknown. Chosen here: a
`share` of the coordinates of every item, drawn each time, is set to their mean. Whole items are not masked, since they
have no positions, and masked items of a text could not be distinguished. In evaluation mode nothing is drawn: the
masked coordinates are evenly spaced. Around a dual encoder on frozen vectors, on the bundled corpus (15 epochs, two
seeds), weights from 0.1 to 5 and shares of 0.3 and 0.8 did not change validation MRR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones import register_backbone
from class_kit.backbones.base import Backbone, GraphBatch, MoleculeBatch, TextBatch, TokenBatch
from class_kit.backbones.layers import Size, Standardise, Weight
from class_kit.backbones.wrapper import Wrapper
from class_kit.checks import check_real, checked
from class_kit.errors import InputError


@register_backbone("denoising")
class Denoising(Wrapper):
    """Any backbone with two additional terms.

    Parameters
    ----------
    text_dim, molecule_dim : int
        Widths d_t and d_m of what the inner backbone reads.
    inner : str
        Name of the backbone to train.
    inner_options : mapping, optional
        Its options.
    share : float
        Share of the coordinates that are masked, in (0, 1].
    weight : float
        Factor on both terms, 0 or more.
    width, heads : int
        Width of the items in the attention, and number of heads, a divisor of it.
    """

    @checked
    def __init__(
        self,
        text_dim: Size,
        molecule_dim: Size,
        *,
        inner: str = "dual_encoder",
        inner_options: Mapping[str, Any] | None = None,
        share: Annotated[float, partial(check_real, low=0, high=1, open_low=True)] = 0.3,
        weight: Weight = 1.0,
        width: Size = 256,
        heads: Size = 4,
    ) -> None:
        super().__init__(text_dim, molecule_dim, inner, inner_options)
        self.share, self.weight = share, weight
        self.text_scale, self.molecule_scale = Standardise(text_dim), Standardise(molecule_dim)
        atoms = molecule_dim if self.inputs.molecules == "graph" else None
        tokens = text_dim if self.inputs.text == "tokens" else None
        encoded = output_width(self.inner, text_dim)
        self.text_denoiser = _Denoiser(text_dim, atoms, encoded, width, heads)
        self.molecule_denoiser = _Denoiser(molecule_dim, tokens, encoded, width, heads)

    def fit_inputs(self, text: Any, molecules: Any) -> None:
        """Record the scales of the items, and those of the inner backbone."""
        super().fit_inputs(text, molecules)
        tokens, atoms = items_of(text), items_of(molecules)
        self.text_scale.fit(tokens.values[tokens.mask])
        self.molecule_scale.fit(atoms.values[atoms.mask])

    def losses(self, text: Any, molecules: Any, *, not_negative: Tensor | None = None) -> dict[str, Tensor]:
        """The inner terms, and `denoise_text` and `denoise_molecule`, one loss per pair each.

        Raises
        ------
        InputError
            The inner backbone has these terms already: the wrapper is nested in itself.
        """
        terms = super().losses(text, molecules, not_negative=not_negative)
        tokens, atoms = items_of(text), items_of(molecules)
        tokens = Items(self.text_scale(tokens.values), tokens.mask)
        atoms = Items(self.molecule_scale(atoms.values), atoms.mask)
        added = {
            "denoise_text": self._term(self.text_denoiser, tokens, atoms, self.encode_molecules(molecules)),
            "denoise_molecule": self._term(self.molecule_denoiser, atoms, tokens, self.encode_text(text)),
        }
        if twice := sorted(terms.keys() & added.keys()):
            raise InputError(f"the inner backbone already has the term {twice[0]!r}: expected one wrapper of a kind")
        return terms | added

    def _term(self, denoiser: _Denoiser, clean: Items, other: Items, encoded: Tensor) -> Tensor:
        touched = masked_coordinates(clean.values, self.share, draw=self.training)
        restored = denoiser(clean.values.masked_fill(touched, 0.0), other, encoded)
        counted = touched & clean.mask.unsqueeze(-1)
        wrong = torch.where(counted, (restored - clean.values.detach()).square(), 0.0)
        return self.weight * wrong.sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)


class _Denoiser(nn.Module):
    """Restore items of one side from corrupted ones and a memory of the other side.

    `parts` is the width of the other side's items, None if that side is one vector.
    """

    def __init__(self, items: int, parts: int | None, encoded: int, width: int, heads: int) -> None:
        super().__init__()
        self.item = nn.Linear(items, width)
        self.part = None if parts is None else nn.Linear(parts, width, bias=False)
        self.encoded = nn.Linear(encoded, width)
        self.attention = CrossAttention(width, heads, single=parts is None)
        self.norm = nn.LayerNorm(width)
        self.restore = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, items))

    def forward(self, corrupted: Tensor, other: Items, encoded: Tensor) -> Tensor:
        """Restored items `(B, n, items)`, from corrupted ones, the other side's items and its vector `(B, d)`."""
        memory = Items(self.encoded(encoded).unsqueeze(1), other.mask)
        if self.part is not None:
            memory = Items(memory.values + self.part(other.values), other.mask)
        queries = self.item(corrupted)
        return self.restore(self.norm(queries + self.attention(queries, memory)))


def masked_coordinates(clean: Tensor, share: float, *, draw: bool) -> Tensor:
    """Which of the standardised values `(…, w)` are masked, bool: a share in (0, 1], drawn from torch's generator.

    Without `draw`, round(share · w) evenly spaced coordinates of each item.
    """
    if draw:
        return torch.rand_like(clean) < share
    steps = torch.arange(clean.shape[-1] + 1, device=clean.device, dtype=torch.float64) * share
    return (steps.round().diff() > 0).expand(clean.shape)


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

    def forward(self, items: Tensor, memory: Items) -> Tensor:
        """What each item `(B, n, w)` of a row reads from the memory of the same row, `(B, n, w)`."""
        value = self.value(memory.values)
        if self.query is None or self.key is None:
            return self.out(value).expand(-1, items.shape[1], -1)
        sides = self.query(items), self.key(memory.values), value
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in sides)
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=memory.mask[:, None, None, :])
        return self.out(read.transpose(1, 2).flatten(-2))
