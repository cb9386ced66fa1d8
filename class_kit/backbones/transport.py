"""Transport plans between small sets of unit vectors, many at a time, by POT.

A plan says how much of each token goes to each motif when all tokens together must fill all motifs evenly, at the
lowest total cost. Thousands of such small problems come with every batch, so they are solved side by side, padded to
a common size; padding has no mass.

The plan is the entropic one, by Sinkhorn's iterations (Cuturi 2013), since what is read from it is only where most of
each token goes. On 64 problems of 64 tokens and 12 motifs at random, 20 iterations at a regularisation of 0.05 send
87 % of the tokens where the exact plan does, against 59 % for each token's nearest motif; 0.02 gives 92 % but wants
several times the iterations. Exact plans (`ot.emd`) take 0.12 ms each one by one: half a second for a batch of 64,
whose 4,096 pairs all need one, four times as much as this.
"""

from __future__ import annotations

import torch
from torch import Tensor

from class_kit.checks import check_real, check_whole
from class_kit.errors import InputError

# exp(-2 / 0.025), the largest cost of cosines at the smallest regularisation, is still a normal float32
SMALLEST_REGULARISATION = 0.025
# Kernel of columns of padding: nothing beside the 1 that every row has, and not 0, by which their scaling is divided.
NOTHING = 1e-30


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
        ε, in the unit of the cost, at least 0.025.
    iterations : int
        Always as many, so that no plan depends on those beside it. Columns are then exact and rows nearly so.

    Returns
    -------
    (P, T, M)
        0 at padding; a constant for autograd.

    Raises
    ------
    InputError
        If shapes do not fit, a problem has nothing on one side, or a number is out of range.
    """
    from ot.batch import bregman_projection_batch

    check_real("regularisation", regularisation, low=SMALLEST_REGULARISATION)
    check_whole("iterations", iterations, low=1)
    if cost.ndim != 3 or rows.shape != cost.shape[:2] or columns.shape != (cost.shape[0], cost.shape[2]):
        shapes = ", ".join(str(tuple(one.shape)) for one in (cost, rows, columns))
        raise InputError(f"cost, rows and columns of shapes {shapes}: expected (P, T, M), (P, T), (P, M)")
    with torch.no_grad(), cost.device:
        padding = ~columns.unsqueeze(1)
        # a plan does not change with what is taken off a whole row of its costs
        least = cost.masked_fill(padding, torch.inf).amin(2, keepdim=True)
        kernel = torch.exp((least - cost).float() / regularisation).masked_fill(padding, NOTHING)
        # POT makes its first scalings without saying where: on the default device, which is the cost's in here
        found = bregman_projection_batch(kernel, a=_uniform(rows), b=_uniform(columns), max_iter=iterations, tol=0.0)
        return found["T"]


def _uniform(mask: Tensor) -> Tensor:
    count = mask.sum(1, keepdim=True)
    if not bool(count.all()):
        raise InputError("a transport problem has no rows or no columns: expected at least one of each")
    return mask / count
