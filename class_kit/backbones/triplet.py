r"""Triplet losses in a batch: each pair against the other side's members that do not belong to it.

With :math:`d_{ij}` the distance of text i and molecule j, a margin :math:`\mu` and
:math:`g_{ij} = \mu + d_{ii} - d_{ij}`, the hinge of the hardest negative (Hermans, Beyer and Leibe 2017, section 2) is
:math:`\max(0, \max_{j \neq i} g_{ij})`, and

.. math:: \frac1s \log \Bigl( 1 + \sum_{j \neq i} e^{s\, g_{ij}} \Bigr)

is that hinge made smooth: as the sharpness :math:`s` grows it becomes the former, and until then every negative pulls
by how hard it is. The difference matters at the start. While all distances are much the same, the hardest negative
alone can be satisfied by shrinking every distance to nothing, which leaves the hinge at :math:`\mu` for good; the
smooth form, which all negatives enter, has no such rest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from class_kit.checks import check_real
from class_kit.errors import InputError


def in_batch_triplet(
    distances: Tensor, margin: float, *, sharpness: float | None = None, not_negative: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Both directions of the triplet loss, one loss a pair each: rows of `distances`, then columns.

    Parameters
    ----------
    distances : (B, B)
        Row i, column j: text i and molecule j.
    margin : float
        μ, in the unit of the distances, not negative.
    sharpness : float, optional
        s, positive: all negatives, smoothly. By default the hardest alone.
    not_negative : (B, B) bool, optional
        Entries that are no negatives; the diagonal never is one.

    Returns
    -------
    tuple of (B,), (B,)
        0 where a pair has no negative.

    Raises
    ------
    InputError
        If the distances are not square, or a number is out of range.
    """
    check_real("margin", margin, low=0.0)
    if sharpness is not None:
        check_real("sharpness", sharpness, low=0.0, open_low=True)
    if distances.ndim != 2 or len(distances) != distances.shape[1]:
        raise InputError(f"distances of shape {tuple(distances.shape)}: expected a square matrix")
    left_out = torch.eye(len(distances), dtype=torch.bool, device=distances.device)
    if not_negative is not None:
        left_out = left_out | not_negative
    own = margin + distances.diagonal()[:, None]
    return (
        _of_rows((own - distances).masked_fill(left_out, -torch.inf), sharpness),
        _of_rows((own - distances.T).masked_fill(left_out.T, -torch.inf), sharpness),
    )


def _of_rows(gaps: Tensor, sharpness: float | None) -> Tensor:
    # the zero is the 1 of the logarithm and the 0 of the hinge; it also keeps a row without negatives finite
    gaps = torch.cat([gaps.new_zeros(len(gaps), 1), gaps], dim=1)
    return gaps.max(1).values if sharpness is None else torch.logsumexp(sharpness * gaps, dim=1) / sharpness
