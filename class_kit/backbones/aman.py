r"""AMAN: a graph transformer that reads bonds, a triplet loss, and an adversary that aligns the two modalities.

Zhao et al. (IEEE Transactions on Artificial Intelligence, 2023). Only the abstract was available: a text encoder, a
graph transformer over atoms and bonds, an adversarial network between the modalities, a triplet loss. No code was
published; sizes, margin and weights are unknown. Where the abstract is silent, this follows the nearest open method
(the ACME family of recipe retrievers); all of it is an option.

**Molecules.** Atoms enter with their Mol2vec vectors. In each of `layers` blocks an atom attends to its bonded
neighbours with `heads` heads, with keys and values from neighbour and bond together (Shi et al. 2021, section 3.1),
followed by two layers per atom; both steps are residual with layer norm before them (Xiong et al. 2020). The mean and
the maximum over the atoms of a molecule, concatenated, go through a linear layer. The maximum can detect a single
functional group in a large molecule: on the bundled corpus it adds eleven points of validation MRR over the mean alone
(four epochs, one seed, as for the other figures here).

**Text.** The sentence vector goes through one hidden layer.

**Losses.** With unit vectors :math:`a_i` of texts and :math:`b_j` of molecules, :math:`d_{ij} = 1 - \langle a_i, b_j
\rangle` and margin :math:`\mu` = 0.3, the terms `text_to_molecule` and `molecule_to_text` are

.. math:: \ell_i = \max\bigl(0, \max_{j \neq i} (\mu + d_{ii} - d_{ij})\bigr) \quad\text{or}\quad
          \frac1s \log \Bigl( 1 + \sum_{j \neq i} e^{s (\mu + d_{ii} - d_{ij})} \Bigr),

with :math:`d_{ji}` in place of :math:`d_{ij}` for the second. `mining="hardest"` takes the hardest negative of the
batch (Hermans, Beyer and Leibe 2017, section 2). `mining="soft"`, the default with :math:`s` = 16, is a smooth version
of that hinge: it approaches the hinge as :math:`s` grows, and every negative contributes according to how hard it is.
The difference matters at the start. While all distances are similar, the loss of the hardest negative alone can be
lowered by shrinking every distance to zero, and the hinge then stays at :math:`\mu`; the smooth form does not collapse
in this way. Where hardest-negative mining does not collapse, it is about two points behind on the corpus.

**Adversary.** A critic :math:`D` learns to tell texts from molecules by their unit vectors, in steps of its own (see
`class_kit.backbones.critic`). The encoders' term `alignment` is :math:`w (D(a_i) - D(b_i))`, :math:`w` = 0.005. On
frozen vectors it changes that MRR by less than a point; it takes a third of the time of a step.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones import register_backbone
from class_kit.backbones.base import GraphBatch, Needs, TwoTowers, both_directions, no_negatives
from class_kit.backbones.critic import Adversarial, Critic, generator_term
from class_kit.backbones.layers import Dropout, Positive, Size, Standardise, Tower, Weight, one_hidden
from class_kit.backbones.message_passing import TransformerConv, global_max_pool, global_mean_pool
from class_kit.checks import check_real, checked, one_of
from class_kit.errors import InputError


class _Block(nn.Module):
    """Attention over bonded neighbours, then two layers on each atom, both residual."""

    def __init__(self, width: int, heads: int, bond_dim: int, dropout: float) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.attention = TransformerConv(width, width // heads, heads, edge_dim=bond_dim, dropout=dropout)
        self.between = nn.LayerNorm(width)
        self.layers = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, atoms: Tensor, molecules: GraphBatch) -> Tensor:
        atoms = atoms + self.attention(self.before(atoms), molecules.bonds, molecules.bond_features)
        return atoms + self.layers(self.between(atoms))


class GraphTransformer(nn.Module):
    """Encodes molecules from their atoms and bonds, as the module's docstring describes.

    Parameters
    ----------
    atom_dim, bond_dim : int
        Widths of the vectors of atoms and of bonds.
    hidden, dim : int
        Widths of the blocks and of the output.
    heads, layers : int
        Attention heads, a divisor of `hidden`; number of blocks.
    dropout : float
        In [0, 1).
    """

    def __init__(
        self, atom_dim: int, bond_dim: int, hidden: int, dim: int, *, heads: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise InputError(f"heads={heads}: expected a divisor of hidden={hidden}")
        self.scale = Standardise(atom_dim)
        self.enter = nn.Linear(atom_dim, hidden)
        self.blocks = nn.ModuleList(_Block(hidden, heads, bond_dim, dropout) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(2 * hidden), nn.Dropout(dropout), nn.Linear(2 * hidden, dim))

    def fit(self, molecules: GraphBatch) -> None:
        """Record the scale of the atoms."""
        self.scale.fit(molecules.atoms)

    def forward(self, molecules: GraphBatch) -> Tensor:
        """Unit vectors `(B, dim)`."""
        atoms = self.enter(self.scale(molecules.atoms))
        for block in self.blocks:
            atoms = block(atoms, molecules)
        owner, size = molecules.atom_molecule, molecules.size
        pooled = [global_mean_pool(atoms, owner, size), global_max_pool(atoms, owner, size)]
        return F.normalize(self.head(torch.cat(pooled, dim=1)), dim=-1)


@register_backbone("aman")
class Aman(Adversarial, TwoTowers):
    """Sentence vectors and molecule graphs, a triplet loss, and a critic between them.

    Parameters
    ----------
    text_dim, molecule_dim : int
        Widths d_t of the sentence vectors and d_a of the atoms.
    bond_dim : int
        Width d_b of the bonds' features.
    hidden, dim : int
        Widths of the graph transformer (the text's hidden layer has twice that) and of the shared space.
    heads, layers : int
        Attention heads, a divisor of `hidden`; number of blocks.
    dropout : float
        In [0, 1).
    margin : float
        μ, in cosine distance, within [0, 2].
    mining : "soft" or "hardest"
        All negatives of the batch, or only the hardest.
    sharpness : float
        s of the soft form, positive.
    adversarial : float
        Weight w of the encoders' term against the critic, not negative; with 0 there is no critic.
    """

    @checked
    def __init__(
        self,
        text_dim: Size,
        molecule_dim: Size,
        *,
        bond_dim: Size = 12,
        hidden: Size = 256,
        dim: Size = 256,
        heads: Size = 4,
        layers: Size = 3,
        dropout: Dropout = 0.1,
        margin: Annotated[float, partial(check_real, low=0, high=2)] = 0.3,
        mining: Annotated[str, one_of("soft", "hardest")] = "soft",
        sharpness: Positive = 16.0,
        adversarial: Weight = 0.005,
    ) -> None:
        super().__init__()
        self.margin, self.sharpness = margin, sharpness if mining == "soft" else None
        self.adversarial = adversarial
        self.molecule_tower = GraphTransformer(
            molecule_dim, bond_dim, hidden, dim, heads=heads, layers=layers, dropout=dropout
        )
        self.text_tower = Tower(text_dim, one_hidden(text_dim, 2 * hidden, dim, dropout), unit=True)
        self.critic = Critic(dim) if self.adversarial else None

    @classmethod
    def needs(cls, **options: Any) -> Needs:
        """Sentence vectors and graphs."""
        return Needs(molecules="graph")

    def terms(self, t: Tensor, m: Tensor, not_negative: Tensor | None) -> dict[str, Tensor]:
        """`text_to_molecule`, `molecule_to_text` and, with a critic, `alignment`: one loss per pair each."""
        terms = both_directions(
            in_batch_triplet(1 - t @ m.T, self.margin, sharpness=self.sharpness, not_negative=not_negative)
        )
        if self.critic is not None:
            terms["alignment"] = self.adversarial * generator_term(self.critic, t, m)
        return terms


def in_batch_triplet(
    distances: Tensor, margin: float, *, sharpness: float | None = None, not_negative: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Both directions of the triplet loss, one loss per pair each: rows of `distances`, then columns.

    Parameters
    ----------
    distances : (B, B)
        Row i, column j: text i and molecule j.
    margin : float
        μ, in the unit of the distances, not negative.
    sharpness : float, optional
        s, positive, of the smooth form over all negatives. By default only the hardest negative counts.
    not_negative : (B, B) bool, optional
        Entries that are not negatives; the diagonal never is.

    Returns
    -------
    tuple of (B,), (B,)
        0 where a pair has no negative.
    """
    left_out = no_negatives(distances, not_negative)
    own = margin + distances.diagonal()[:, None]

    def of_rows(gaps: Tensor) -> Tensor:
        # the zero is the 1 of the logarithm and the 0 of the hinge; it also keeps a row without negatives finite
        gaps = torch.cat([gaps.new_zeros(len(gaps), 1), gaps], dim=1)
        return gaps.max(1).values if sharpness is None else torch.logsumexp(sharpness * gaps, dim=1) / sharpness

    return (
        of_rows((own - distances).masked_fill(left_out, -torch.inf)),
        of_rows((own - distances.T).masked_fill(left_out.T, -torch.inf)),
    )
