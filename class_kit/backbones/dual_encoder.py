r"""Dual encoder: two small heads on frozen vectors, trained with a symmetric in-batch cross-entropy.

The simplest useful baseline: it trains in seconds, so controls and seeds cost little. Each side is standardised with
the training set's mean and deviation (Mol2vec vectors are sums over atoms, so their scale grows with the molecule),
passed through one hidden layer, and normalised. With temperature
:math:`\tau` and :math:`z_{ij} = e^{\tau} \langle a_i, b_j \rangle`,

.. math:: L_{t \to m} = -\frac1B \sum_i \log \frac{e^{z_{ii}}}{\sum_j e^{z_{ij}}}, \qquad
          L_{m \to t} = -\frac1B \sum_i \log \frac{e^{z_{ii}}}{\sum_j e^{z_{ji}}}

are its two terms (Radford et al. 2021, section 2.3; the same form as Text2Mol's loss without its scale).

At the low temperature that training reaches, the nearest wrong candidates have nearly all the weight, especially in
batches of near neighbours, and the far ones have none. Two further terms, the same at a fixed high temperature, weight
all candidates nearly equally; they help Mean Rank and are off by default.
"""

from __future__ import annotations

from torch import Tensor

from class_kit.backbones import register_backbone
from class_kit.backbones.base import TwoTowers, both_directions, in_batch_cross_entropy
from class_kit.backbones.layers import Dropout, Positive, Scale, Size, Tower, Weight, one_hidden
from class_kit.checks import checked


@register_backbone("dual_encoder")
class DualEncoder(TwoTowers):
    """Projection heads on frozen text and molecule vectors, with a learnable temperature.

    Parameters
    ----------
    text_dim, molecule_dim : int
        Widths d_t and d_m of the frozen vectors.
    hidden, dim : int
        Widths of the hidden layer and of the shared space.
    dropout : float
        In [0, 1).
    temperature : float
        Initial softmax temperature, positive; 0.07 is the usual start.
    soft_weight : float
        Weight of the two terms at a high temperature, 0 or more; 0 leaves them out.
    soft_temperature : float
        Their temperature, positive and fixed.
    """

    @checked
    def __init__(
        self,
        text_dim: Size,
        molecule_dim: Size,
        *,
        hidden: Size = 512,
        dim: Size = 256,
        dropout: Dropout = 0.2,
        temperature: Positive = 0.07,
        soft_weight: Weight = 0.0,
        soft_temperature: Positive = 0.5,
    ) -> None:
        super().__init__()
        self.soft_weight, self.soft_temperature = soft_weight, soft_temperature
        self.text_tower = Tower(text_dim, one_hidden(text_dim, hidden, dim, dropout), unit=True)
        self.molecule_tower = Tower(molecule_dim, one_hidden(molecule_dim, hidden, dim, dropout), unit=True)
        self.scale = Scale(temperature)

    def terms(self, t: Tensor, m: Tensor, not_negative: Tensor | None) -> dict[str, Tensor]:
        """The in-batch cross-entropy in both directions, `text_to_molecule` and `molecule_to_text`, one loss per pair.

        With a `soft_weight`, also `soft_text_to_molecule` and `soft_molecule_to_text`, including that weight.
        """
        cosines = t @ m.T
        terms = both_directions(in_batch_cross_entropy(self.scale(cosines), not_negative))
        if self.soft_weight:
            soft = both_directions(in_batch_cross_entropy(cosines / self.soft_temperature, not_negative))
            terms |= {f"soft_{name}": self.soft_weight * term for name, term in soft.items()}
        return terms
