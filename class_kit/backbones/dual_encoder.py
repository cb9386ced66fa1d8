r"""Dual encoder: two small heads on frozen vectors, trained with a symmetric in-batch cross-entropy.

The simplest retriever that is worth comparing anything with: it trains in seconds, so controls and seeds cost
little. Each side is standardised with the training set's mean and deviation (Mol2vec vectors are sums over atoms, so
their scale grows with the molecule), passed through one hidden layer, and normalised. With temperature
:math:`\tau` and :math:`z_{ij} = e^{\tau} \langle a_i, b_j \rangle`,

.. math:: L_{t \to m} = -\frac1B \sum_i \log \frac{e^{z_{ii}}}{\sum_j e^{z_{ij}}}, \qquad
          L_{m \to t} = -\frac1B \sum_i \log \frac{e^{z_{ii}}}{\sum_j e^{z_{ji}}}

are its two terms (Radford et al. 2021, section 2.3; the same form as Text2Mol's loss without its scale).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones import register_backbone
from class_kit.backbones.base import Backbone, in_batch_cross_entropy
from class_kit.errors import InputError

# Above e^4.6 = 100 the softmax saturates and gradients vanish; Radford et al. (2021) clip there too.
LARGEST_LOG_SCALE = math.log(100.0)


class _Head(nn.Module):
    """Standardise, one hidden layer, unit length."""

    def __init__(self, width: int, hidden: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.LayerNorm(hidden), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )

    def fit(self, values: Tensor) -> None:
        """Record mean and deviation; a coordinate that never varies keeps the deviation 1."""
        self.mean: Tensor = values.mean(0)
        spread = values.std(0, unbiased=False)
        self.deviation: Tensor = torch.where(spread > 1e-6, spread, torch.ones_like(spread))

    def forward(self, values: Tensor) -> Tensor:
        return F.normalize(self.layers((values - self.mean) / self.deviation), dim=-1)


@register_backbone("dual_encoder")
class DualEncoder(Backbone):
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
    """

    def __init__(
        self,
        text_dim: int,
        molecule_dim: int,
        *,
        hidden: int = 512,
        dim: int = 256,
        dropout: float = 0.2,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        sizes = {"text_dim": text_dim, "molecule_dim": molecule_dim, "hidden": hidden, "dim": dim}
        for name, size in sizes.items():
            if size < 1:
                raise InputError(f"{name}={size}: expected a positive width")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout={dropout}: expected a value in [0, 1)")
        if temperature <= 0:
            raise InputError(f"temperature={temperature}: expected a positive value")
        self.text_head = _Head(text_dim, hidden, dim, dropout)
        self.molecule_head = _Head(molecule_dim, hidden, dim, dropout)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def fit_inputs(self, text: Tensor, molecules: Tensor) -> None:
        """Record the scales of both inputs; they are saved with the weights."""
        self.text_head.fit(text)
        self.molecule_head.fit(molecules)

    def encode_text(self, text: Tensor) -> Tensor:
        """Unit vectors `(B, dim)`."""
        return self.text_head(text)

    def encode_molecules(self, molecules: Tensor) -> Tensor:
        """Unit vectors `(B, dim)`."""
        return self.molecule_head(molecules)

    def losses(self, text: Tensor, molecules: Tensor, *, not_negative: Tensor | None = None) -> dict[str, Tensor]:
        """The two directions of the in-batch cross-entropy, `text_to_molecule` and `molecule_to_text`, a pair each."""
        scale = self.log_scale.clamp(max=LARGEST_LOG_SCALE).exp()
        logits = scale * self.encode_text(text) @ self.encode_molecules(molecules).T
        forward, backward = in_batch_cross_entropy(logits, not_negative)
        return {"text_to_molecule": forward, "molecule_to_text": backward}
