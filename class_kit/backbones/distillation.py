r"""Distillation: a teacher that reads text and molecule together trains alongside a student that encodes each alone.

In DCLIP (Csizmadia et al., arXiv 2505.21549) a teacher with cross-attention in both directions enriches the vectors of
an image and its caption, and a dual encoder learns to imitate them by a contrastive and a cosine loss. Here the student
is any backbone of the kit. The teacher maps tokens and atoms to items of the same width; text i attends to molecule j
and vice versa,

.. math:: t_{i|j} = f\Bigl( \operatorname{mean}_p \mathrm{LN}\bigl( x_{ip} +
                    \mathrm{Attention}(x_{ip}, \{y_{jq}\}_q) \bigr) \Bigr), \qquad
          m_{j|i} = g\Bigl( \operatorname{mean}_q \mathrm{LN}\bigl( y_{jq} +
                    \mathrm{Attention}(y_{jq}, \{x_{ip}\}_p) \bigr) \Bigr),

both of unit length, and scores the pair by :math:`s_{ij} = \langle t_{i|j}, m_{j|i} \rangle`. The terms, in addition
to the student's, with a learnable scale :math:`e^{\tau}`:

- `teacher_text_to_molecule`, over the other pairs k of the batch and over some wrong partners :math:`N_i` of text i,

  .. math:: -\log \frac{e^{z(t_{i|i}, m_{i|i})}}
                       {\sum_k e^{z(t_{i|i}, m_{k|k})} + \sum_{j \in N_i} e^{z(t_{i|j}, m_{j|i})}},
            \qquad z(a, b) = e^{\tau} \langle a, b \rangle,

  and `teacher_molecule_to_text`, the same with the sides exchanged and the same wrong pairs;
- `imitate_text` :math:`= 1 - \cos(a_i, t_{i|i})` and `imitate_molecule` :math:`= 1 - \cos(b_i, m_{i|i})`, where
  :math:`a_i, b_i` are the student's vectors and the teacher's are constants; both times `weight`.

The teacher needs both sums. A text that has read its own molecule can be matched to it by copying, so with the first
sum alone nothing is learned and :math:`s_{ij}` cannot rank. The second sum alone is satisfied by one bit, match or
mismatch, so the student would imitate a constant.

Only the student ranks, as in the paper.

This follows the paper's abstract, with atoms and tokens for its regions and spans. The teacher's negatives, sizes,
weights and the order of the stages are unknown. Chosen here: the wrong partners (`negatives` of them, drawn for each
batch; all of the batch in evaluation mode), a teacher of one layer trained at the same time as the student, and teacher
vectors as wide as the student's, so that their cosine needs no projection. A teacher that is learning is a moving
target: on the bundled corpus, both reading frozen vectors (15 epochs, two seeds), a `weight` of 0.3 did not change the
student's validation MRR, 1 cost one point and 3 cost four.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones import register_backbone
from class_kit.backbones.base import without_near
from class_kit.backbones.layers import Dropout, Positive, Scale, Size, Tower, Weight
from class_kit.backbones.wrapper import (
    CrossAttention,
    Items,
    Reads,
    Wrapper,
    items_of,
    joined,
    output_width,
)
from class_kit.checks import checked

# Pairs that the teacher reads at once, whose tokens and atoms are the largest arrays of a training.
PAIRS_AT_ONCE = 1_024


@register_backbone("distillation")
class Distillation(Wrapper):
    """Any backbone as the student of a cross-attention teacher.

    Parameters
    ----------
    text_dim, molecule_dim : int
        Widths d_t and d_m of what both read.
    student : str
        Name of the backbone that ranks.
    student_options : mapping, optional
        Its options.
    reads : "parts" or "inner"
        The teacher reads tokens and atoms (a student that reads vectors gets sentence vectors and sums over atoms, as
        in Mol2vec), or what the student reads.
    negatives : int
        Number of wrong partners with which the teacher reads each text.
    weight : float
        Factor on both imitation terms, 0 or more.
    width, heads : int
        Width of the teacher's items, and number of heads, a divisor of it.
    dropout : float
        Of the teacher's items, in [0, 1).
    temperature : float
        Initial temperature of the teacher's softmax, positive.
    """

    inner_option: ClassVar[str] = "student"

    @checked
    def __init__(
        self,
        text_dim: Size,
        molecule_dim: Size,
        *,
        student: str = "dual_encoder",
        student_options: Mapping[str, Any] | None = None,
        reads: Reads = "parts",
        negatives: Size = 4,
        weight: Weight = 0.3,
        width: Size = 128,
        heads: Size = 4,
        dropout: Dropout = 0.1,
        temperature: Positive = 0.07,
    ) -> None:
        super().__init__(text_dim, molecule_dim, student, student_options, reads)
        self.negatives, self.weight = negatives, weight
        dim = output_width(self.inner, text_dim)
        single = (self.inputs.text == "sentence", self.inputs.molecules == "vector")
        self.teacher = Teacher(text_dim, molecule_dim, dim, width, heads, dropout, single)
        self.scale = Scale(temperature)

    def fit_inputs(self, text: Any, molecules: Any) -> None:
        """Record the scales of the teacher's items, and those of the student."""
        super().fit_inputs(text, molecules)
        self.teacher.fit(items_of(text), items_of(molecules))

    def losses(self, text: Any, molecules: Any, *, not_negative: Tensor | None = None) -> dict[str, Tensor]:
        """The student's terms, two of the teacher and two of imitation, one loss per pair each."""
        terms = super().losses(text, molecules, not_negative=not_negative)
        items = self.teacher.items(items_of(text), items_of(molecules))
        own = torch.arange(len(items[0].mask), device=items[0].mask.device)
        t, m = self.teacher(*items, (own, own))
        forward, backward = self._teacher_logits(items, t, m, not_negative)
        added = {
            "teacher_text_to_molecule": F.cross_entropy(forward, own, reduction="none"),
            "teacher_molecule_to_text": F.cross_entropy(backward, own, reduction="none"),
        }
        for name, mine, its in (
            ("imitate_text", self.encode_text(text), t),
            ("imitate_molecule", self.encode_molecules(molecules), m),
        ):
            added[name] = self.weight * (1 - F.cosine_similarity(mine, its.detach(), dim=-1))
        return joined(terms, added)

    def _teacher_logits(
        self, items: tuple[Items, Items], t: Tensor, m: Tensor, not_negative: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Logits of each text with all molecules and its wrong partners, and the same of each molecule."""
        own = torch.arange(len(t), device=t.device)
        logits = without_near(self.scale(t @ m.T), not_negative)
        rows, columns = [logits], [logits.T]
        shifts = wrong_partners(len(t), self.negatives if self.training else None)
        for some in shifts.split(max(1, PAIRS_AT_ONCE // len(t))):
            ahead = some[:, None].to(t.device)
            molecules = (own + ahead) % len(t)
            texts = own.expand_as(molecules)
            read, back = self.teacher(*items, (texts.flatten(), molecules.flatten()))
            wrong = self.scale((read * back).sum(-1)).view_as(molecules)
            if not_negative is not None:
                wrong = wrong.masked_fill(not_negative[texts, molecules], -torch.inf)
            rows.append(wrong.T)
            # the pair (i, i + s) is a wrong one of molecule i + s too
            columns.append(wrong.gather(1, (own - ahead) % len(t)).T)
        return torch.cat(rows, 1), torch.cat(columns, 1)


class Teacher(nn.Module):
    """Vectors of texts and molecules that have read each other.

    Parameters
    ----------
    text_dim, molecule_dim, dim : int
        Widths of tokens, of atoms, and of the vectors.
    width, heads : int
        Width of the items in the attention, and number of heads.
    dropout : float
        Dropout of the items.
    single : (bool, bool)
        Whether texts, and molecules, come as one vector.
    """

    def __init__(
        self,
        text_dim: int,
        molecule_dim: int,
        dim: int,
        width: int,
        heads: int,
        dropout: float,
        single: tuple[bool, bool],
    ) -> None:
        super().__init__()
        self.text_items, self.molecule_items = (
            Tower(items, nn.Sequential(nn.Linear(items, width), nn.Dropout(dropout)))
            for items in (text_dim, molecule_dim)
        )
        self.text_reads = CrossAttention(width, heads, single=single[1])
        self.molecule_reads = CrossAttention(width, heads, single=single[0])
        self.text_head, self.molecule_head = (
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, dim)) for _ in range(2)
        )
        self.text_norm, self.molecule_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def fit(self, text: Items, molecules: Items) -> None:
        """Record the scales of both sides' items."""
        self.text_items.fit(text.values[text.mask])
        self.molecule_items.fit(molecules.values[molecules.mask])

    def items(self, text: Items, molecules: Items) -> tuple[Items, Items]:
        """Items of both sides in the teacher's width, computed once per batch."""
        return (
            Items(self.text_items(text.values), text.mask),
            Items(self.molecule_items(molecules.values), molecules.mask),
        )

    def forward(self, text: Items, molecules: Items, pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Unit vectors `(P, dim)` of the texts and the molecules with these two `(P,)` row numbers."""
        texts, partners = pairs
        read = self.text_reads(text.values, molecules, (texts, partners))
        t = Items(self.text_norm(text.values[texts] + read), text.mask[texts]).mean()
        read = self.molecule_reads(molecules.values, text, (partners, texts))
        m = Items(self.molecule_norm(molecules.values[partners] + read), molecules.mask[partners]).mean()
        return F.normalize(self.text_head(t), dim=-1), F.normalize(self.molecule_head(m), dim=-1)


def wrong_partners(count: int, draws: int | None) -> Tensor:
    """Shifts from each pair of a batch to its wrong partners, distinct, `(K,)` int64 in 1 … count - 1.

    A shift of the whole batch gives each text one wrong molecule and each molecule one wrong text.

    Parameters
    ----------
    count : int
        Number of pairs in the batch.
    draws : int, optional
        K, at most count - 1, drawn from torch's generator; None for all shifts.
    """
    if draws is None or draws >= count - 1:
        return torch.arange(1, count)
    return torch.randperm(count - 1)[:draws] + 1
