r"""Text2Mol: two towers that end in a layer norm, trained with cross-entropy over the rows and columns of a batch.

Edwards, Zhai and Ji (EMNLP 2021, section 4). The text vector goes through one linear layer and a layer norm. The
molecule goes through one of two encoders, chosen by `molecule_encoder`:

- `"mlp"`: its Mol2vec vector through three linear layers with ReLU between them, then a layer norm;
- `"gcn"`: the Mol2vec vectors of its atoms through three graph convolutions (Kipf and Welling 2017), the mean over
  atoms, three linear layers with ReLU between them, then a layer norm.

Both sides are multiplied by :math:`e^{\tau}`, one learnable number for both. With :math:`x_i` and :math:`y_j` what
the layer norms give and :math:`z_{ij} = e^{2\tau} \langle x_i, y_j \rangle`,

.. math:: L_{t \to m} = -\frac1B \sum_i \log \frac{e^{z_{ii}}}{\sum_j e^{z_{ij}}}, \qquad
          L_{m \to t} = -\frac1B \sum_i \log \frac{e^{z_{ii}}}{\sum_j e^{z_{ji}}}

are its two terms, summed.

The logits are inner products and retrieval is by cosine, as in the paper. So :math:`e^{\tau}` decides how sharp the
softmax is while training and nothing afterwards: it is common to all vectors, and a cosine does not see it. Nor does
the cosine differ much from the inner product, since a layer norm gives every vector nearly the same length: about
:math:`\sqrt d` each, so that :math:`z_{ij}` is about :math:`d e^{2\tau}` times a cosine.

Not in the paper, and chosen here: inputs are standardised with the training set's mean and deviation, since Mol2vec
vectors grow with the molecule, and dropout stands before each side's last linear layer. The paper starts at
:math:`\tau` = 0.07, which at d = 300 is a temperature of 1/345 over cosines: right for a text encoder fine-tuned in
small steps, all but one-hot for heads on frozen vectors. The default start is -1.5, a temperature of 1/15; on the
bundled corpus it is worth about eight points of validation MRR after 15 epochs.
The paper's ensemble of several trained models is left out.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from class_kit.backbones import register_backbone
from class_kit.backbones.base import GraphBatch, Needs, TwoTowers, both_directions, in_batch_cross_entropy
from class_kit.backbones.layers import Dropout, Size, Standardise, Tower
from class_kit.checks import check_real, checked, one_of


class _GraphTower(nn.Module):
    """Three graph convolutions over standardised atoms, their mean, then the linear layers."""

    def __init__(self, width: int, hidden: int, dim: int, dropout: float) -> None:
        super().__init__()
        from class_kit.backbones.message_passing import GCNConv

        self.scale = Standardise(width)
        self.convolutions = nn.ModuleList(GCNConv(before, hidden) for before in (width, hidden, hidden))
        self.layers = _linears(hidden, hidden, dim, dropout)

    def fit(self, molecules: GraphBatch) -> None:
        self.scale.fit(molecules.atoms)

    def forward(self, molecules: GraphBatch) -> Tensor:
        from class_kit.backbones.message_passing import global_mean_pool

        atoms = self.scale(molecules.atoms)
        for number, convolution in enumerate(self.convolutions):
            atoms = convolution(torch.relu(atoms) if number else atoms, molecules.bonds)
        return self.layers(global_mean_pool(atoms, molecules.atom_molecule, molecules.size))


def _linears(width: int, hidden: int, dim: int, dropout: float) -> nn.Sequential:
    """Three linear layers with ReLU between them, then a layer norm."""
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, dim),
        nn.LayerNorm(dim),
    )


@register_backbone("text2mol")
class Text2Mol(TwoTowers):
    """The towers of Text2Mol on frozen text vectors, with Mol2vec vectors or atom graphs of molecules.

    Parameters
    ----------
    text_dim, molecule_dim : int
        Widths d_t and d_m of the text vectors and of the molecule vectors (or atoms).
    molecule_encoder : "mlp" or "gcn"
        Reads Mol2vec vectors, or graphs.
    hidden, dim : int
        Widths of the hidden layers and of the shared space; 600 and 300 in the paper.
    dropout : float
        In [0, 1).
    tau : float
        Initial logarithm of the factor of both sides; 0.07 in the paper.
    """

    @checked
    def __init__(
        self,
        text_dim: Size,
        molecule_dim: Size,
        *,
        molecule_encoder: Annotated[str, one_of("mlp", "gcn")] = "mlp",
        hidden: Size = 600,
        dim: Size = 300,
        dropout: Dropout = 0.1,
        tau: Annotated[float, check_real] = -1.5,
    ) -> None:
        super().__init__()
        self.text_tower = Tower(
            text_dim, nn.Sequential(nn.Dropout(dropout), nn.Linear(text_dim, dim), nn.LayerNorm(dim))
        )
        self.molecule_tower = (
            _GraphTower(molecule_dim, hidden, dim, dropout)
            if molecule_encoder == "gcn"
            else Tower(molecule_dim, _linears(molecule_dim, hidden, dim, dropout))
        )
        self.tau = nn.Parameter(torch.tensor(tau))

    @classmethod
    def needs(cls, **options: Any) -> Needs:
        """Graphs for the convolutions, vectors otherwise."""
        return Needs(molecules="graph" if options["molecule_encoder"] == "gcn" else "vector")

    def encode_text(self, text: Tensor) -> Tensor:
        """Vectors `(B, dim)`, their common factor included."""
        return self.tau.exp() * self.text_tower(text)

    def encode_molecules(self, molecules: Any) -> Tensor:
        """Vectors `(B, dim)`, their common factor included."""
        return self.tau.exp() * self.molecule_tower(molecules)

    def terms(self, t: Tensor, m: Tensor, not_negative: Tensor | None) -> dict[str, Tensor]:
        """The cross-entropy in both directions, `text_to_molecule` and `molecule_to_text`, one loss per pair."""
        return both_directions(in_batch_cross_entropy(t @ m.T, not_negative))
