"""Similarities of texts and molecules from their parts: tokens against motifs, tokens against atoms.

Everything here takes cosines of the T tokens of B texts with the parts of J molecules each, `(B, T, J, n)`, padded. So
whole blocks of a batch (every text with J molecules) and aligned pairs (J = 1) go the same way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from class_kit.backbones.transport import transport_plans

# A sum of tokens that cancel has no direction; its cosine is then 0 instead of undefined.
SHORTEST = 1e-12
# Motifs of one kind in like surroundings have equal vectors. Rounding must not choose between them, so entries this
# near to the largest, relative to it, are as large.
TIE = 1e-4


def part_cosines(tokens: Tensor, parts: Tensor) -> Tensor:
    """Inner products `(B, T, J, n)` of tokens `(B, T, d)` and parts: `(J, n, d)` for every text, or `(B, J, n, d)`."""
    products = tokens @ (parts.flatten(0, 1) if parts.ndim == 3 else parts.flatten(1, 2)).mT
    return products.unflatten(2, parts.shape[-3:-1])


def assign_tokens(cosines: Tensor, tokens: Tensor, motifs: Tensor, *, regularisation: float, iterations: int) -> Tensor:
    """Which motif each token goes to: the one with the largest entry of its row of the transport plan.

    Where several share the largest entry, the token goes to each of them.

    Parameters
    ----------
    cosines : (B, T, J, M)
        The cost of the transport is 1 minus these; they are constants here.
    tokens, motifs : (B, T) and (J, M) or (B, J, M) bool
        False for padding.
    regularisation, iterations
        As `transport_plans` takes them.

    Returns
    -------
    (B, T, J, M)
        1 where the token goes to the motif, 0 elsewhere and for padding.
    """
    texts, molecules = len(cosines), cosines.shape[2]
    cost = 1 - cosines.detach().transpose(1, 2)
    plans = transport_plans(
        cost.flatten(0, 1),
        tokens[:, None].expand(-1, molecules, -1).flatten(0, 1),
        motifs.expand(texts, -1, -1).flatten(0, 1),
        regularisation=regularisation,
        iterations=iterations,
    )
    largest = plans.amax(2, keepdim=True)
    # a row of padding is all zeros, and its largest entry is none
    chosen = (plans >= largest * (1 - TIE)) & (largest > 0)
    return chosen.unflatten(0, (texts, molecules)).transpose(1, 2).to(cosines.dtype)


def multi_token_similarity(cosines: Tensor, gram: Tensor, assigned: Tensor) -> Tensor:
    r"""Mean cosine `(B, J)` of motifs and the means of their tokens, over the motifs that have tokens.

    The mean itself is never made: with :math:`z = \sum_t x_t` over a motif's tokens, :math:`\langle z, y \rangle` is
    a sum of the cosines and :math:`\lVert z \rVert^2` one of the tokens' inner products.

    Parameters
    ----------
    cosines : (B, T, J, M)
        Of tokens and motifs.
    gram : (B, T, T)
        Inner products of a text's tokens with each other.
    assigned : (B, T, J, M)
        As `assign_tokens` gives them.
    """
    product = (assigned * cosines).sum(1)
    square = (assigned * (gram @ assigned.flatten(2)).view_as(assigned)).sum(1)
    given = assigned.any(1)
    # a motif without tokens gets the length 1, so that no root of zero enters the gradient
    length = torch.where(given, square, torch.ones_like(square)).clamp(min=SHORTEST).sqrt()
    return (product / length).sum(2) / given.sum(2)


def token_atom_similarity(cosines: Tensor, tokens: Tensor, atoms: Tensor, *, both: bool) -> Tensor:
    """Mean over tokens of the cosine of the nearest atom, `(B, J)`; with `both`, averaged with the same of atoms.

    Parameters
    ----------
    cosines : (B, T, J, A)
        Of tokens and atoms.
    tokens, atoms : (B, T) and (J, A) or (B, J, A) bool
        False for padding.
    """
    nearest = cosines.masked_fill(~(atoms if atoms.ndim == 2 else atoms.unsqueeze(1)), -torch.inf).amax(3)
    found = (nearest * tokens[..., None]).sum(1) / tokens.sum(1, keepdim=True)
    if not both:
        return found
    nearest = cosines.masked_fill(~tokens[..., None, None], -torch.inf).amax(1)
    return (found + (nearest * atoms).sum(2) / atoms.sum(-1)) / 2
