"""Small pieces that several backbones share: types of options, input scales, towers, temperatures."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from class_kit.checks import check_real, check_whole
from class_kit.errors import InputError

# Types of options, for `checked`
Size = Annotated[int, partial(check_whole, low=1)]
Count = Annotated[int, partial(check_whole, low=0)]
Share = Annotated[float, partial(check_real, low=0, high=1)]
Dropout = Annotated[float, partial(check_real, low=0, high=1, open_high=True)]
Weight = Annotated[float, partial(check_real, low=0)]
Positive = Annotated[float, partial(check_real, low=0, open_low=True)]

# Above e^4.6 = 100 the softmax saturates and gradients vanish; Radford et al. (2021) clip there too.
LARGEST_LOG_SCALE = math.log(100.0)
# A coordinate that varies less than this is taken for a constant: dividing by it would only enlarge rounding.
SMALLEST_DEVIATION = 1e-6


class Standardise(nn.Module):
    """Subtract the training set's mean and divide by its deviation, coordinate by coordinate.

    Mol2vec vectors are sums over atoms, so their scale grows with the molecule. Mean and deviation are recorded once
    and saved with the weights, so that an input does not depend on its batch. A constant coordinate keeps the deviation
    1. Before `fit` the inputs pass unchanged.

    Parameters
    ----------
    width : int
        Number of coordinates d, positive.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    @torch.no_grad()
    def fit(self, values: Tensor) -> None:
        """Record mean and deviation of `values` `(n, d)`, n at least 1.

        Raises
        ------
        InputError
            If a value is not finite.
        """
        exact = values.double()
        if not bool(torch.isfinite(exact).all()):
            raise InputError("values to standardise contain NaN or infinity: expected finite numbers")
        spread = exact.std(0, unbiased=False)
        self.mean.copy_(exact.mean(0))
        self.deviation.copy_(torch.where(spread > SMALLEST_DEVIATION, spread, torch.ones_like(spread)))

    def forward(self, values: Tensor) -> Tensor:
        """`(…, d)` on the training set's scale."""
        return (values - self.mean) / self.deviation


class Tower(nn.Module):
    """Standardise vectors, then pass them through layers.

    Parameters
    ----------
    width : int
        Of the vectors.
    layers : module
        From `(…, width)` to `(…, d)`.
    unit : bool
        Give vectors of unit length.
    """

    def __init__(self, width: int, layers: nn.Module, *, unit: bool = False) -> None:
        super().__init__()
        self.scale, self.layers, self.unit = Standardise(width), layers, unit

    def fit(self, values: Tensor) -> None:
        """Record the scale of `values` `(n, width)`."""
        self.scale.fit(values)

    def forward(self, values: Tensor) -> Tensor:
        """`(…, d)` of `(…, width)`."""
        vectors = self.layers(self.scale(values))
        return F.normalize(vectors, dim=-1) if self.unit else vectors


def one_hidden(width: int, hidden: int, dim: int, dropout: float) -> nn.Sequential:
    """A hidden layer with GELU, layer norm and dropout, then a linear one."""
    return nn.Sequential(
        nn.Linear(width, hidden), nn.GELU(), nn.LayerNorm(hidden), nn.Dropout(dropout), nn.Linear(hidden, dim)
    )


class Scale(nn.Module):
    r"""Multiply cosines by a learnable :math:`e^{\tau}`, which starts at the inverse of `temperature`.

    Parameters
    ----------
    temperature : float
        Positive; 0.07 is the usual start (Radford et al. 2021, section 2.5). The factor never exceeds 100.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, cosines: Tensor) -> Tensor:
        """Logits of the same shape."""
        return self.log_scale.clamp(max=LARGEST_LOG_SCALE).exp() * cosines
