"""Similarities of texts and molecules from their parts: tokens and motifs, tokens and atoms.

All functions work on cosines of the T tokens of B texts with the n parts of J molecules, `(B, T, J, n)`, padded. This
covers blocks of a batch (every text with J molecules) and aligned pairs (J = 1).

**Transport.** A plan says how much of each token goes to each motif when all tokens together must fill all motifs
evenly at the lowest total cost. A batch has thousands of such small problems, which are solved together, padded to a
common size; padding has no mass. The plan is the entropic one, by Sinkhorn iterations (Cuturi 2013), since only the
largest entry of each row is used. On 64 random problems of 64 tokens and 12 motifs, 20 iterations at a regularisation
of 0.05 send 87 % of the tokens where the exact plan does, against 59 % for each token's nearest motif; 0.02 gives 92 %
but needs several times the iterations. Exact plans (`ot.emd`) take 0.12 ms each: half a second for the 4,096 pairs of a
batch of 64, four times as long.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Tokens that cancel have a sum without direction; its cosine is then 0.
SHORTEST = 1e-12
# Motifs of the same kind in the same surroundings have equal vectors. Rounding must not choose between them, so entries
# within this relative distance of the largest count as largest.
TIE = 1e-4
# Kernel value of padding columns: negligible beside the 1 in every row, but not 0, since it is divided by.
NOTHING = 1e-30


def part_cosines(tokens: Tensor, parts: Tensor) -> Tensor:
    """Inner products `(B, T, J, n)` of tokens `(B, T, d)` and parts: `(J, n, d)` for every text, or `(B, J, n, d)`."""
    products = tokens @ (parts.flatten(0, 1) if parts.ndim == 3 else parts.flatten(1, 2)).mT
    return products.unflatten(2, parts.shape[-3:-1])


def assign_tokens(cosines: Tensor, tokens: Tensor, motifs: Tensor) -> Tensor:
    """Which motif each token goes to: the one with the largest entry of its row of the transport plan.

    If several share the largest entry, the token goes to each of them.

    Parameters
    ----------
    cosines : (B, T, J, M)
        The cost of the transport is 1 minus these; they get no gradient here.
    tokens, motifs : (B, T) and (J, M) or (B, J, M) bool
        False for padding.

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
    )
    largest = plans.amax(2, keepdim=True)
    # a row of padding is all zeros
    chosen = (plans >= largest * (1 - TIE)) & (largest > 0)
    return chosen.unflatten(0, (texts, molecules)).transpose(1, 2).to(cosines.dtype)


def multi_token_similarity(cosines: Tensor, gram: Tensor, assigned: Tensor) -> Tensor:
    r"""Mean cosine `(B, J)` of motifs and the means of their tokens, over the motifs that have tokens.

    The mean itself is not needed: with :math:`z = \sum_t x_t` over a motif's tokens, :math:`\langle z, y \rangle` is
    a sum of the cosines and :math:`\lVert z \rVert^2` one of the tokens' inner products.

    Parameters
    ----------
    cosines : (B, T, J, M)
        Of tokens and motifs.
    gram : (B, T, T)
        Inner products of each text's tokens.
    assigned : (B, T, J, M)
        From `assign_tokens`.
    """
    product = (assigned * cosines).sum(1)
    square = (assigned * (gram @ assigned.flatten(2)).view_as(assigned)).sum(1)
    given = assigned.any(1)
    # a motif without tokens gets the length 1, since the root of 0 has no gradient
    length = torch.where(given, square, torch.ones_like(square)).clamp(min=SHORTEST).sqrt()
    return (product / length).sum(2) / given.sum(2)


def token_atom_similarity(cosines: Tensor, tokens: Tensor, atoms: Tensor, *, both: bool) -> Tensor:
    """Mean over tokens of the cosine with the nearest atom, `(B, J)`; with `both`, averaged with the same over atoms.

    Parameters
    ----------
    cosines : (B, T, J, A)
        Of tokens and atoms.
    tokens, atoms : (B, T) and (J, A) or (B, J, A) bool
        False for padding.
    """
    nearest = cosines.masked_fill(~(atoms if atoms.ndim == 2 else atoms.unsqueeze(1)), -torch.inf).amax(3)
    of_tokens = (nearest * tokens[..., None]).sum(1) / tokens.sum(1, keepdim=True)
    if not both:
        return of_tokens
    nearest = cosines.masked_fill(~tokens[..., None, None], -torch.inf).amax(1)
    return (of_tokens + (nearest * atoms).sum(2) / atoms.sum(-1)) / 2


def transport_plans(
    cost: Tensor, rows: Tensor, columns: Tensor, *, regularisation: float = 0.05, iterations: int = 20
) -> Tensor:
    r"""Entropic transport plans between uniform weights on real rows and real columns.

    Each minimises :math:`\sum_{tm} P_{tm} C_{tm} + \varepsilon \sum_{tm} P_{tm} \log P_{tm}` with rows that sum to 1 /
    (number of real rows) and columns that sum to 1 / (number of real columns).

    Parameters
    ----------
    cost : (P, T, M)
        In [0, 2]; anything finite at padding.
    rows, columns : (P, T) and (P, M) bool
        False for padding. Each problem has a real row and a real column.
    regularisation : float
        ε, in the unit of the cost. At 0.025 the kernel of the largest cost, exp(-2 / ε), is still a normal float32.
    iterations : int
        A fixed number, so that no plan depends on the others. Columns are then exact and rows nearly exact.

    Returns
    -------
    (P, T, M)
        0 at padding; a constant for autograd.
    """
    from ot.batch import bregman_projection_batch

    with torch.no_grad(), cost.device:
        padding = ~columns.unsqueeze(1)
        # subtracting a constant from a row of costs does not change the plan
        least = cost.masked_fill(padding, torch.inf).amin(2, keepdim=True)
        kernel = torch.exp((least - cost).float() / regularisation).masked_fill(padding, NOTHING)
        # POT creates its first scalings on the default device, here the cost's
        a, b = (side / side.sum(1, keepdim=True) for side in (rows, columns))
        return bregman_projection_batch(kernel, a=a, b=b, max_iter=iterations, tol=0.0)["T"]
