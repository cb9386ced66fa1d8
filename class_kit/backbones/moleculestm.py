r"""MoleculeSTM: one small head on each frozen encoder, trained on real against shuffled pairs.

Liu et al. (Nature Machine Intelligence 2023). Each side has a head into a space of 256 dimensions, and pairs are
scored by :math:`s_{ij} = \cos(a_i, b_j) / T` with a fixed temperature T = 0.1. Two losses, chosen by `loss`:

- `"infonce"`: the in-batch cross-entropy of both directions,

  .. math:: L_{t \to m} = -\frac1B \sum_i \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}}, \qquad
            L_{m \to t} = -\frac1B \sum_i \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ji}}};

- `"ebm_nce"`: is this pair real or shuffled? With :math:`j = \pi(i)` a partner drawn for i and :math:`\varsigma` the
  logistic function,

  .. math:: L_{t \to m} = -\frac1{2B} \sum_i \bigl( \log \varsigma(s_{ii}) + \log \varsigma(-s_{ij}) \bigr), \qquad
            L_{m \to t} = -\frac1{2B} \sum_i \bigl( \log \varsigma(s_{ii}) + \log \varsigma(-s_{ji}) \bigr).

The paper averages the two directions; here each is a term, so that an intensity can weigh them, and their sum is
twice the paper's loss. The paper shifts a batch by one place to shuffle it; here every pair draws its own partners in
each direction, uniformly among the others that `not_negative` does not exclude. A pair without a possible partner has
only its first summand. In evaluation mode the draw is replaced by its expectation.

Encoders are frozen, the cheaper mode of the paper. The paper's heads are linear (`hidden` = 0 here); on frozen
encoders a hidden layer adds about six points of validation MRR on the bundled corpus and is the default. Standardised
inputs, with the training set's mean and deviation, are a choice made here as well.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones import register_backbone
from class_kit.backbones.base import TwoTowers, both_directions, in_batch_cross_entropy, no_negatives
from class_kit.backbones.layers import Count, Dropout, Positive, Size, Tower
from class_kit.checks import checked, one_of


@register_backbone("moleculestm")
class MoleculeSTM(TwoTowers):
    """Heads on frozen text and molecule vectors, scored by cosine at a fixed temperature.

    Parameters
    ----------
    text_dim, molecule_dim : int
        Widths d_t and d_m of the frozen vectors.
    loss : "infonce" or "ebm_nce"
    hidden : int
        Width of a hidden layer in each head; 0 for the linear heads of the paper.
    dim : int
        Width of the shared space; 256 in the paper.
    dropout : float
        In [0, 1).
    temperature : float
        T, positive and not trained; 0.1 in the paper.
    negatives : int
        Shuffled partners drawn for each pair and direction ("ebm_nce" only); 1 in the paper.
    """

    @checked
    def __init__(
        self,
        text_dim: Size,
        molecule_dim: Size,
        *,
        loss: Annotated[str, one_of("infonce", "ebm_nce")] = "infonce",
        hidden: Count = 512,
        dim: Size = 256,
        dropout: Dropout = 0.0,
        temperature: Positive = 0.1,
        negatives: Size = 1,
    ) -> None:
        super().__init__()
        self.loss, self.temperature, self.negatives = loss, temperature, negatives
        self.text_tower, self.molecule_tower = (
            Tower(width, _head(width, hidden, dim, dropout), unit=True) for width in (text_dim, molecule_dim)
        )

    def terms(self, t: Tensor, m: Tensor, not_negative: Tensor | None) -> dict[str, Tensor]:
        """The chosen loss in both directions, `text_to_molecule` and `molecule_to_text`, one loss per pair."""
        scores = t @ m.T / self.temperature
        if self.loss == "infonce":
            return both_directions(in_batch_cross_entropy(scores, not_negative))
        draws = self.negatives if self.training else None
        mirrored = None if not_negative is None else not_negative.T
        return both_directions((ebm_nce(scores, not_negative, draws), ebm_nce(scores.T, mirrored, draws)))


def _head(width: int, hidden: int, dim: int, dropout: float) -> nn.Sequential:
    """A linear layer, after a hidden one unless `hidden` is 0."""
    if not hidden:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, dim))
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, dim))


def ebm_nce(scores: Tensor, not_negative: Tensor | None = None, draws: int | None = None) -> Tensor:
    """Binary cross-entropy of the real pair of each row against shuffled ones, each with half the weight.

    Parameters
    ----------
    scores : (B, B)
        Logits; the diagonal holds the real pairs.
    not_negative : (B, B) bool, optional
        Entries that are not shuffled pairs; the diagonal never is.
    draws : int, optional
        Partners drawn for each row with replacement, from torch's generator; None for the expectation, the mean over
        all possible ones.

    Returns
    -------
    (B,)
        A row without a possible partner has only the real pair's half.
    """
    possible = ~no_negatives(scores, not_negative)
    some = possible.any(1)
    costs = -F.logsigmoid(-scores)
    if draws is None:
        shuffled = (costs * possible).sum(1) / possible.sum(1).clamp(min=1)
    else:
        # multinomial refuses a row of zeros: such a row draws anything, and the draw is not used
        partners = torch.multinomial((possible | ~some[:, None]).float(), draws, replacement=True)
        shuffled = costs.gather(1, partners).mean(1) * some
    return (shuffled - F.logsigmoid(scores.diagonal())) / 2
