r"""ORMA: texts and molecules compared at three levels, with tokens sent to motifs by optimal transport.

BIBM 2024, arXiv 2411.11875. A molecule is a graph of atoms, motifs (BRICS cuts, fused rings split) and itself, whose
edges lead upward; a text is its tokens and its sentence. Heads of two layers bring
sentence and tokens into one space with molecule, motifs and atoms, all of unit length: :math:`x`, :math:`x_t` and
:math:`y`, :math:`y_m`, :math:`y_a`. For every text and molecule, matching or not,

- **sentence and molecule**: :math:`s_1 = \langle x, y \rangle`;
- **tokens and motifs**: the transport plan :math:`P` between T tokens and M motifs, uniform weights on both and cost
  :math:`1 - \langle x_t, y_m \rangle`, sends each token to the motif with the largest entry,
  :math:`m(t) = \arg\max_m P_{tm}`. The mean of a motif's tokens is a multi-token vector :math:`z_m`, and
  :math:`s_2` the mean of :math:`\cos(z_m, y_m)` over the motifs that were given a token;
- **tokens and atoms**: :math:`s_3 = \frac1T \sum_t \max_a \langle x_t, y_a \rangle`, with `matching="both"` averaged
  with :math:`\frac1A \sum_a \max_t \langle x_t, y_a \rangle`.

Each level has a symmetric in-batch cross-entropy. With :math:`z_k^{ij} = e^{\tau} s_k` of text i and molecule j, one
learnable :math:`\tau` for all, and :math:`w = (\alpha, \beta, 1 - \alpha - \beta)`, the term of level k is

.. math:: \ell_{k,i} = -\frac{w_k}{2} \biggl( \log \frac{e^{z_k^{ii}}}{\sum_j e^{z_k^{ij}}}
          + \log \frac{e^{z_k^{ii}}}{\sum_j e^{z_k^{ji}}} \biggr).

The full score, :math:`\alpha s_1 + \beta s_2 + (1 - \alpha - \beta) s_3`, has the same weights and reranks a shortlist;
:math:`s_1` alone ranks the whole pool.

**Chosen where the paper is silent.** A text has a transport plan with every molecule it is compared with, in training
and in the score. Using the plan with its own molecule in all comparisons would leak the answer through the multi-token
vectors. That makes B² small problems per batch, solved together (`class_kit.backbones.matching`). Equal motifs, such as
two methyl groups, have equal entries in the plan, and a token then goes to each. For tokens and atoms both directions
are averaged: with tokens alone, a text whose words are close to any atom ranks first for every molecule. On the bundled
corpus (four epochs, one seed) this raises the validation MRR of :math:`s_3` alone from 0.67 to 0.72, and from molecules
to texts from 0.51 to 0.72. The molecule's head also reads the maximum over its atoms, which raises that of :math:`s_1`
from 0.71 to 0.84. The weights, 1/2, 1/4 and 1/4, are not tuned.

**Different from the released code.** There a token goes to the motif with the *smallest* entry, motifs and atoms get no
gradient, and padding enters plans and means. Here it is the largest entry, every level trains the graph, and padding
has no effect; each is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones import register_backbone
from class_kit.backbones.base import Backbone, GraphBatch, Needs, TokenBatch, in_batch_cross_entropy
from class_kit.backbones.layers import Dropout, Positive, Scale, Share, Size, Standardise, Tower, one_hidden
from class_kit.backbones.matching import assign_tokens, multi_token_similarity, part_cosines, token_atom_similarity
from class_kit.backbones.message_passing import GCNConv, global_max_pool, global_mean_pool, to_dense_batch
from class_kit.checks import checked, one_of
from class_kit.errors import InputError

LEVELS = ("sentence_molecule", "multi_token_motif", "token_atom")
# Pairs of a text and a molecule per block, so that padded motifs and atoms stay in cache.
_PAIRS = 512
# The same for aligned pairs, where every text has its own tokens.
_ALIGNED = 128


@register_backbone("orma")
class Orma(Backbone):
    """Tokens and molecule graphs, compared at three levels.

    Parameters
    ----------
    text_dim, molecule_dim : int
        Widths d_t of sentence and tokens and d_a of the atoms.
    hidden, dim : int
        Widths of the graph convolutions (the text's hidden layers have twice that) and of the shared space.
    layers : int
        Number of graph convolutions.
    dropout : float
        In [0, 1).
    alpha, beta : float
        Weights of sentence and molecule, and of multi-tokens and motifs, in [0, 1]; the rest, 1 - α - β, is the weight
        of tokens and atoms.
    temperature : float
        Initial softmax temperature of all levels, positive.
    matching : "both" or "tokens"
        Whether s₃ is the mean of both directions or only that from tokens to atoms.
    """

    reranks = True

    @checked
    def __init__(
        self,
        text_dim: Size,
        molecule_dim: Size,
        *,
        hidden: Size = 256,
        dim: Size = 256,
        layers: Size = 3,
        dropout: Dropout = 0.1,
        alpha: Share = 0.5,
        beta: Share = 0.25,
        temperature: Positive = 0.07,
        matching: Annotated[str, one_of("both", "tokens")] = "both",
    ) -> None:
        super().__init__()
        if alpha + beta > 1:
            raise InputError(f"alpha={alpha!r} and beta={beta!r}: expected a sum of at most 1")
        self.matching, self.weights = matching, (alpha, beta, max(0.0, 1 - alpha - beta))
        self.scale = Scale(temperature)
        self.sentence_tower, self.token_tower = (
            Tower(text_dim, one_hidden(text_dim, 2 * hidden, dim, dropout), unit=True) for _ in range(2)
        )
        self.hierarchy = Hierarchy(molecule_dim, hidden, dim, layers=layers, dropout=dropout)

    @classmethod
    def needs(cls, **options: Any) -> Needs:
        """Tokens and graphs."""
        return Needs("tokens", "graph")

    def fit_inputs(self, text: TokenBatch, molecules: GraphBatch) -> None:
        """Record the scales of sentences, tokens and atoms, which are saved with the weights."""
        self.sentence_tower.fit(text.sentence)
        self.token_tower.fit(text.tokens[text.mask])
        self.hierarchy.scale.fit(molecules.atoms)

    def encode_text(self, text: TokenBatch) -> Tensor:
        """Unit vectors `(B, dim)` of the sentences."""
        return self.sentence_tower(text.sentence)

    def encode_molecules(self, molecules: GraphBatch) -> Tensor:
        """Unit vectors `(B, dim)` of the whole molecules."""
        return self.hierarchy(molecules)[0]

    def encode_tokens(self, text: TokenBatch) -> Tensor:
        """Unit vectors `(B, T, dim)` of the tokens, zero for padding."""
        return self.token_tower(text.tokens).masked_fill(~text.mask.unsqueeze(-1), 0.0)

    def similarities(self, text: TokenBatch, molecules: GraphBatch) -> Tensor:
        """s₁, s₂ and s₃ of every text with every molecule, `(3, B, C)`; B and C may differ."""
        whole, motif_vectors, atom_vectors = self.hierarchy(molecules)
        motifs = to_dense_batch(motif_vectors, molecules.motif_molecule, batch_size=molecules.size)
        atoms = to_dense_batch(atom_vectors, molecules.atom_molecule, batch_size=molecules.size)
        tokens = self.encode_tokens(text)
        # blocks of molecules of similar size need little padding
        order = motifs[1].sum(1).argsort(stable=True)
        blocks = order.split(max(1, _PAIRS // len(tokens)))
        fine = [
            self._fine(tokens, text.mask, [(part[at], real[at]) for part, real in (motifs, atoms)]) for at in blocks
        ]
        coarse = self.encode_text(text) @ whole.T
        return torch.cat([coarse.unsqueeze(0), torch.cat(fine, dim=2)[:, :, order.argsort()]])

    def pair_parts(self, side: str, batch: Any) -> list[tuple[Tensor, ...]]:
        """Of a text, sentence `(dim,)` and tokens `(T, dim)`; of a molecule, the whole, its motifs and its atoms."""
        if side == "text":
            tokens = self.encode_tokens(batch)[batch.mask].split(batch.mask.sum(1).tolist())
            return list(zip(self.encode_text(batch), tokens, strict=True))
        whole, motifs, atoms = self.hierarchy(batch)
        pieces = (
            part.split(torch.bincount(owner, minlength=batch.size).tolist())
            for part, owner in ((motifs, batch.motif_molecule), (atoms, batch.atom_molecule))
        )
        return list(zip(whole, *pieces, strict=True))

    def part_scores(self, texts: Sequence[Any], molecules: Sequence[Any]) -> Tensor:
        """α s₁ + β s₂ + (1 - α - β) s₃ of aligned pairs, `(B,)`."""
        levels = self.part_similarities(texts, molecules)
        return (levels * levels.new_tensor(self.weights)[:, None]).sum(0)

    def part_similarities(self, texts: Sequence[Any], molecules: Sequence[Any]) -> Tensor:
        """s₁, s₂ and s₃ of aligned pairs, `(3, B)`, given their `pair_parts`."""
        # blocks of molecules of similar size need little padding
        order = torch.tensor([len(atoms) for _, _, atoms in molecules]).argsort(stable=True)
        blocks = []
        for rows in map(Tensor.tolist, order.split(_ALIGNED)):
            sentences, wholes = (torch.stack([side[row][0] for row in rows]) for side in (texts, molecules))
            tokens, mask = _padded([texts[row][1] for row in rows])
            parts = [_padded([molecules[row][level] for row in rows]) for level in (1, 2)]
            fine = self._fine(tokens, mask, [(part.unsqueeze(1), real.unsqueeze(1)) for part, real in parts]).squeeze(2)
            blocks.append(torch.cat([(sentences * wholes).sum(1).unsqueeze(0), fine]))
        return torch.cat(blocks, dim=1)[:, order.argsort()]

    def losses(
        self, text: TokenBatch, molecules: GraphBatch, *, not_negative: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`sentence_molecule`, `multi_token_motif` and `token_atom`, one loss per pair each, including the weights."""
        terms = {}
        for name, weight, cosines in zip(LEVELS, self.weights, self.similarities(text, molecules), strict=True):
            forward, backward = in_batch_cross_entropy(self.scale(cosines), not_negative)
            terms[name] = weight * (forward + backward) / 2
        return terms

    def _fine(self, tokens: Tensor, mask: Tensor, parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """s₂ and s₃, `(2, B, J)`, of texts `(B, T, dim)` with motifs and atoms `(J, n, dim)` or `(B, J, n, dim)`."""
        (motifs, real_motifs), (atoms, real_atoms) = (_cut(*part) for part in parts)
        cosines = part_cosines(tokens, motifs)
        assigned = assign_tokens(cosines, mask, real_motifs)
        second = multi_token_similarity(cosines, tokens @ tokens.mT, assigned)
        both = self.matching == "both"
        return torch.stack([second, token_atom_similarity(part_cosines(tokens, atoms), mask, real_atoms, both=both)])


class Hierarchy(nn.Module):
    """Graph convolutions over atoms, their motifs and whole molecules; unit vectors of each.

    Bonds are edges in both directions; each atom has an edge to its motifs, each motif one to its molecule. A motif
    starts as the mean of its atoms, a molecule as the mean of its motifs. All nodes pass through the same residual
    layers (graph convolutions of Kipf and Welling 2017). Each level has a linear output layer of its own; the one for
    molecules also reads the maximum over the atoms.

    Parameters
    ----------
    atom_dim : int
        Width of the atoms' vectors.
    hidden, dim : int
        Widths of the layers and of the output.
    layers : int
        Number of graph convolutions.
    dropout : float
        In [0, 1).
    """

    def __init__(self, atom_dim: int, hidden: int, dim: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        self.scale = Standardise(atom_dim)
        self.enter = nn.Linear(atom_dim, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.convolutions = nn.ModuleList(GCNConv(hidden, hidden) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.leave = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, dim))
            for width in (2 * hidden, hidden, hidden)
        )

    def forward(self, molecules: GraphBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Unit vectors of the molecules `(B, dim)`, the motifs `(M, dim)` and the atoms `(A, dim)`."""
        counts = [len(molecules.atoms), len(molecules.motif_molecule), molecules.size]
        member, motif = molecules.motif_atoms
        atoms = self.scale(molecules.atoms)
        motifs = global_mean_pool(atoms[member], motif, counts[1])
        whole = global_mean_pool(motifs, molecules.motif_molecule, counts[2])
        nodes, edges = self.enter(torch.cat([atoms, motifs, whole])), upward_edges(molecules)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            nodes = nodes + self.dropout(F.gelu(convolution(norm(nodes), edges)))
        atoms, motifs, whole = nodes.split(counts)
        whole = torch.cat([whole, global_max_pool(atoms, molecules.atom_molecule, molecules.size)], dim=1)
        first, second, third = (
            F.normalize(leave(level), dim=-1) for leave, level in zip(self.leave, (whole, motifs, atoms), strict=True)
        )
        return first, second, third


def upward_edges(molecules: GraphBatch) -> Tensor:
    """Edges `(2, E + K + M)`, source above target, among A atoms, M motifs and B molecules, numbered in this order."""
    atoms, motifs = len(molecules.atoms), len(molecules.motif_molecule)
    member, motif = molecules.motif_atoms
    numbers = torch.arange(motifs, device=motif.device)
    return torch.cat(
        [
            molecules.bonds,
            torch.stack([member, atoms + motif]),
            torch.stack([atoms + numbers, atoms + motifs + molecules.motif_molecule]),
        ],
        dim=1,
    )


def _cut(values: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Without padding that none of these rows needs."""
    longest = int(real.sum(-1).max())
    return values[..., :longest, :], real[..., :longest]


def _padded(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Parts `(n, dim)` padded and stacked, `(B, N, dim)`, and the mask of real ones."""
    counts = torch.tensor([len(part) for part in parts], device=parts[0].device)
    values = nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
    return values, torch.arange(values.shape[1], device=counts.device) < counts[:, None]
