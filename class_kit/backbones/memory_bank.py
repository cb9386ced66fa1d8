r"""Memory bank: both modalities read from the same learnable vectors, and their similarity distributions are matched.

Song et al. (BIBM 2024), of which only the abstract was available. Each side's frozen vector is standardised
and passed through one hidden layer to a query :math:`q`. K memory vectors :math:`c_1 \dots c_K`, shared by both sides,
are the projector: with attention by :math:`H` heads, each over its own slice of the query,

.. math:: z = \mathrm{norm}\Bigl( q + W \sum_k \mathrm{softmax}_k \bigl( \langle q, c_k \rangle / \sqrt{d} \bigr)
              c_k \Bigr)

(per head), so that what texts and molecules have in common is expressed in the same vectors. From the unit vectors
:math:`t_i`, :math:`m_i` of a batch come four distributions per instance over the others, at a temperature T,

.. math:: p^{tt}_i = \mathrm{softmax}_{j \ne i} \langle t_i, t_j \rangle / T, \quad
          p^{tm}_i = \mathrm{softmax}_{j \ne i} \langle t_i, m_j \rangle / T, \quad
          p^{mm}_i, \quad p^{mt}_i \ \text{likewise}.

Its terms, with :math:`J(p, q) = \frac12 (\mathrm{KL}(p \Vert q) + \mathrm{KL}(q \Vert p))`:

- first order, `text_to_molecule` and `molecule_to_text`: the in-batch cross-entropy of both directions, with a
  learnable temperature;
- second order, over the six ways to pair the four distributions: `second_order_within`, :math:`J(p^{tt}, p^{mm})`,
  makes texts as similar to each other as their molecules are; `second_order_across`, :math:`J(p^{tm}, p^{mt})`, makes
  both directions agree; `second_order_between`, the mean of :math:`J` over the four pairs with one distribution of
  each kind, makes similarities within a modality agree with those across. Each is multiplied by `second_order`;
- `adversarial`, multiplied by `adversarial`: the encoders' term against a critic that tells texts from molecules
  (`class_kit.backbones.critic`) and trains between their steps.

Unknown, and chosen here: all sizes and weights, T, the residual connection (without it, validation MRR on the bundled
corpus is about eight points lower), the divergence (symmetric, since no distribution is the teacher of another) and
the grouping of its six pairs. An instance is left out of its own distributions: its similarity to itself is always 1,
and the similarity to its partner is trained by the first-order terms (including it costs a point or two there). Pairs
that are not negatives of each other are left out of each other's four distributions.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones import register_backbone
from class_kit.backbones.base import TwoTowers, both_directions, in_batch_cross_entropy, no_negatives
from class_kit.backbones.critic import Adversarial, Critic, generator_term
from class_kit.backbones.layers import Dropout, Positive, Scale, Size, Tower, Weight, one_hidden
from class_kit.checks import checked
from class_kit.errors import InputError


class MemoryBank(nn.Module):
    """Attention from a query to learnable vectors that every query shares.

    Parameters
    ----------
    dim : int
        Width of queries and memory vectors, a multiple of `heads`.
    slots, heads : int
        Number K of memory vectors, and number of slices that attend separately.
    """

    def __init__(self, dim: int, slots: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise InputError(f"heads={heads}: expected a divisor of dim={dim}")
        self.heads = heads
        self.memory = nn.Parameter(torch.randn(heads, slots, dim // heads))
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, queries: Tensor) -> Tensor:
        """`(B, dim)`: each query plus what it read from memory."""
        parts = queries.unflatten(-1, (self.heads, -1)).transpose(0, 1)
        weights = torch.softmax(parts @ self.memory.mT / parts.shape[-1] ** 0.5, dim=-1)
        read = (weights @ self.memory).transpose(0, 1).flatten(1)
        return queries + self.output(read)


@register_backbone("memory_bank")
class MemoryBankRetriever(Adversarial, TwoTowers):
    """Encoders that share a bank of memory vectors, trained on first- and second-order similarities and a critic.

    Parameters
    ----------
    text_dim, molecule_dim : int
        Widths d_t and d_m of the frozen vectors.
    hidden, dim : int
        Widths of each encoder's hidden layer and of the shared space.
    slots, heads : int
        Number K of memory vectors and of attention heads; `heads` divides `dim`.
    dropout : float
        In [0, 1).
    temperature : float
        Initial temperature of the cross-entropy, positive.
    distribution_temperature : float
        T of the second-order distributions, positive and not trained.
    second_order, adversarial : float
        Weights of these terms, not negative; with 0 the terms, and the critic, are left out.
    """

    @checked
    def __init__(
        self,
        text_dim: Size,
        molecule_dim: Size,
        *,
        hidden: Size = 512,
        dim: Size = 256,
        slots: Size = 64,
        heads: Size = 4,
        dropout: Dropout = 0.1,
        temperature: Positive = 0.07,
        distribution_temperature: Positive = 0.1,
        second_order: Weight = 1.0,
        adversarial: Weight = 0.005,
    ) -> None:
        super().__init__()
        self.second_order, self.adversarial = second_order, adversarial
        self.distribution_temperature = distribution_temperature
        self.bank = MemoryBank(dim, slots, heads)
        self.text_tower, self.molecule_tower = (
            Tower(width, one_hidden(width, hidden, dim, dropout)) for width in (text_dim, molecule_dim)
        )
        self.logits = Scale(temperature)
        self.critic = Critic(dim) if self.adversarial else None

    def encode_text(self, text: Tensor) -> Tensor:
        """Unit vectors `(B, dim)`."""
        return F.normalize(self.bank(self.text_tower(text)), dim=-1)

    def encode_molecules(self, molecules: Tensor) -> Tensor:
        """Unit vectors `(B, dim)`."""
        return F.normalize(self.bank(self.molecule_tower(molecules)), dim=-1)

    def terms(self, t: Tensor, m: Tensor, not_negative: Tensor | None) -> dict[str, Tensor]:
        """The first-order, second-order and adversarial terms, one loss per pair each."""
        terms = both_directions(in_batch_cross_entropy(self.logits(t @ m.T), not_negative))
        if self.second_order:
            second = second_order_terms(t, m, self.distribution_temperature, not_negative)
            terms |= {f"second_order_{name}": self.second_order * term for name, term in second.items()}
        if self.critic is not None:
            terms["adversarial"] = self.adversarial * generator_term(self.critic, t, m)
        return terms


def second_order_terms(
    t: Tensor, m: Tensor, temperature: float, not_negative: Tensor | None = None
) -> dict[str, Tensor]:
    """Symmetric divergences between the four similarity distributions of each instance.

    Parameters
    ----------
    t, m : (B, d)
        Unit vectors of texts and molecules, row for row.
    temperature : float
        Positive.
    not_negative : (B, B) bool, optional
        Pairs left out of each other's distributions; marking one direction suffices.

    Returns
    -------
    dict of (B,)
        `within`, `across` and `between`; 0 for an instance without others.
    """
    left_out = no_negatives(t, not_negative)
    left_out = left_out | left_out.T

    def distribution(queries: Tensor, others: Tensor) -> Tensor:
        # the lowest finite number, since a row of -inf has no softmax
        logits = (queries @ others.T / temperature).masked_fill(left_out, torch.finfo(t.dtype).min)
        return torch.log_softmax(logits, dim=1)

    def divergence(p: Tensor, q: Tensor) -> Tensor:
        return ((p.exp() - q.exp()) * (p - q)).masked_fill(left_out, 0).sum(1) / 2

    tt, tm, mm, mt = (distribution(*sides) for sides in ((t, t), (t, m), (m, m), (m, t)))
    between = [divergence(p, q) for p, q in product((tt, mm), (tm, mt))]
    return {
        "within": divergence(tt, mm),
        "across": divergence(tm, mt),
        "between": torch.stack(between).mean(0),
    }
