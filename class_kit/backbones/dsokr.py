r"""DSOKR: a text network that regresses the molecule's coordinates in a sketched kernel space; no molecule network.

El Ahmad, Brogat-Motte, Laforgue and d'Alché-Buc (ECML-PKDD 2024). A kernel k compares molecules. Of the training
molecules a random sub-sample :math:`\tilde y_1 \dots \tilde y_s` is kept, with Gram matrix
:math:`\tilde K = U \Lambda U^\top`, and

.. math:: \tilde\psi(y) = \Lambda_p^{-1/2} U_p^\top \bigl( k(\tilde y_1, y), \dots, k(\tilde y_s, y) \bigr)^\top

are a molecule's coordinates along the p leading directions of the sketch (their section 3, the Nyström features). The
network h maps a text to p numbers, and its one term is the squared error

.. math:: L_{\mathrm{regression}} = \frac1B \sum_i \lVert h(x_i) - \tilde\psi(y_i) \rVert^2.

Candidates are ranked by the cosine of :math:`h(x)` and :math:`\tilde\psi(y)`. Nothing is pushed apart, so there are no
negatives, and `not_negative` changes nothing.

The kernel is the paper's cosine kernel on Mol2vec vectors, k(y, y') = ⟨ŷ, ŷ'⟩ with ŷ of unit length. It is linear in ŷ,
so no Gram matrix is needed: with the singular value decomposition :math:`\tilde Y = U \Lambda^{1/2} V^\top` of the
sub-sample's unit vectors, :math:`\tilde\psi(y) = V_p^\top \hat y`. The feature map is the orthogonal projection of the
unit vector on the p leading principal directions, about the origin, of s sampled molecules; if p reaches their rank,
it preserves every inner product between them. It is computed once, before training. Surplus coordinates (with fewer
molecules or dimensions than p) are always 0.

Chosen here: vectors are standardised before they are scaled to unit length. Mol2vec vectors share a large common part,
and without it cosines discriminate better between molecules (about six points of validation MRR on the bundled corpus;
`standardise=False` is the paper's choice). The text network, a fine-tuned SciBERT in the paper, is a perceptron on
frozen vectors. The first few directions dominate the squared error, though the others distinguish similar molecules:
`whitening` w multiplies coordinate k by :math:`(\lambda_k / \lambda_1)^{-w/2}`. The default 0 is the paper's kernel;
0.5 adds about six points more.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones import register_backbone
from class_kit.backbones.base import TwoTowers
from class_kit.backbones.layers import Count, Dropout, Share, Size, Standardise, Tower
from class_kit.checks import check_whole, checked

# Directions with a smaller share of the first eigenvalue are rounding errors.
SMALLEST_SHARE = 1e-10


@register_backbone("dsokr")
class DSOKR(TwoTowers):
    """Regression from text vectors into a sketch of the cosine kernel's space over molecule vectors.

    Parameters
    ----------
    text_dim, molecule_dim : int
        Widths d_t and d_m of the frozen vectors.
    dim : int
        p, the number of directions kept; 100 in the paper.
    sketch : int
        s, the number of training molecules sampled, at least `dim`; all of them if there are fewer.
    hidden, layers : int
        Width and number of the text network's hidden layers.
    dropout : float
        In [0, 1).
    standardise : bool
        Standardise molecule vectors before they are scaled to unit length.
    whitening : float
        w in [0, 1]: 0 keeps the kernel, 1 gives all kept directions the same spread over the sub-sample.
    seed : int
        Seed of the sub-sample, not negative.
    """

    @checked
    def __init__(
        self,
        text_dim: Size,
        molecule_dim: Size,
        *,
        dim: Size = 100,
        sketch: Size = 1000,
        hidden: Size = 1024,
        layers: Size = 2,
        dropout: Dropout = 0.1,
        standardise: bool = True,
        whitening: Share = 0.0,
        seed: Count = 0,
    ) -> None:
        super().__init__()
        check_whole("sketch", sketch, low=dim)
        widths = [text_dim] + [hidden] * layers
        steps: list[nn.Module] = []
        for before, after in pairwise(widths):
            steps += [nn.Linear(before, after), nn.GELU(), nn.Dropout(dropout)]
        self.text_tower = Tower(text_dim, nn.Sequential(*steps, nn.Linear(hidden, dim)))
        self.molecule_tower = Sketch(molecule_dim, dim, sketch, standardise=standardise, whitening=whitening, seed=seed)

    def terms(self, t: Tensor, m: Tensor, not_negative: Tensor | None) -> dict[str, Tensor]:
        """The term `regression`, the squared error of each pair."""
        return {"regression": (t - m).square().sum(1)}


class Sketch(nn.Module):
    """Coordinates of molecules in the sketched space, without trained parameters.

    Before `fit` the sub-sample is random, so that an untrained backbone works too. Parameters as of `DSOKR`.
    """

    projection: Tensor

    def __init__(self, width: int, dim: int, sketch: int, *, standardise: bool, whitening: float, seed: int) -> None:
        super().__init__()
        self.dim, self.sketch, self.standardise = dim, sketch, standardise
        self.whitening, self.seed = whitening, seed
        self.scale = Standardise(width)
        sphere = torch.randn(max(dim, width), width, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("projection", sketch_directions(sphere, dim, whitening))

    def fit(self, molecules: Tensor) -> None:
        """Record the scale of `molecules` `(n, width)` and sketch them; both are saved with the weights."""
        if self.standardise:
            self.scale.fit(molecules)
        # drawn on the CPU, so that the sub-sample is the same on every device
        drawn = torch.randperm(len(molecules), generator=torch.Generator().manual_seed(self.seed))[: self.sketch]
        sample = self.scale(molecules[drawn.to(molecules.device)])
        self.projection.copy_(sketch_directions(sample, self.dim, self.whitening))

    def forward(self, molecules: Tensor) -> Tensor:
        """`(B, dim)` of `(B, width)`."""
        return F.normalize(self.scale(molecules), dim=-1) @ self.projection


@torch.no_grad()
def sketch_directions(sample: Tensor, dim: int, whitening: float = 0.0) -> Tensor:
    """Columns whose inner products with a unit vector are its coordinates in the sketched space of the cosine kernel.

    Parameters
    ----------
    sample : (s, d)
        The sub-sample; lengths do not matter.
    dim : int
        p, the number of columns.
    whitening : float
        w: column k is multiplied by (λ_k / λ_1)^(-w/2).

    Returns
    -------
    (d, p)
        The leading right singular vectors of the unit vectors, each with a positive largest entry; columns of zeros
        beyond their rank.
    """
    _, singular, directions = torch.linalg.svd(F.normalize(sample.double(), dim=-1), full_matrices=False)
    share = (singular / singular[0].clamp(min=torch.finfo(singular.dtype).tiny)).square()
    kept = int((share > SMALLEST_SHARE).sum().clamp(max=dim))
    rows = directions[:kept]
    # a singular vector's sign is arbitrary and differs between libraries
    sign = rows.gather(1, rows.abs().argmax(1, keepdim=True)).sign()
    columns = sample.new_zeros(sample.shape[1], dim)
    columns[:, :kept] = (rows * sign * share[:kept, None] ** (-whitening / 2)).T.to(sample.dtype)
    return columns
