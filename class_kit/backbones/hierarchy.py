"""Molecules at three levels: atoms, the motifs they make up, and the whole, in one graph whose edges lead upward."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.backbones.base import GraphBatch
from class_kit.backbones.layers import Standardise, check_widths
from class_kit.backbones.message_passing import GCNConv, global_max_pool, global_mean_pool


class Hierarchy(nn.Module):
    """Graph convolutions over atoms, motifs and molecules; unit vectors of each.

    Bonds are edges both ways; from each atom an edge leads to the motifs it is in, from each motif one to its
    molecule. A motif starts as the mean of its atoms, a molecule as the mean of its motifs. All nodes pass the same
    layers (graph convolutions of Kipf and Welling 2017, each beside a shortcut), so a molecule has read its motifs'
    neighbourhoods after as many. Each level leaves through a linear layer of its own; the molecule's also reads the
    maximum over its atoms.

    Parameters
    ----------
    atom_dim : int
        Width of the atoms' vectors.
    hidden, dim : int
        Widths of the layers and of what comes out.
    layers : int
        Number of graph convolutions.
    dropout : float
        In [0, 1).
    """

    def __init__(self, atom_dim: int, hidden: int, dim: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        check_widths(atom_dim=atom_dim, hidden=hidden, dim=dim, layers=layers)
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
