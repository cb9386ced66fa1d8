"""Learned loss weights: one homoscedastic uncertainty for each named term.

The second open question of CLASS is a learned intensity. Here a term that stays noisy learns a small weight, instead of
following a curve chosen in advance (Kendall, Gal, Cipolla, CVPR 2018, section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from class_kit.errors import InputError


class UncertaintyWeights(torch.nn.Module):
    """Σ ½ e^(-s)·L + ½ s over the terms, with s = log σ² learned with the model.

    For a term whose loss stays at L the optimum is s = log L, a weight of ½/L: all terms come to the same scale. Give
    its parameters to the optimiser without weight decay, which would pull every σ towards 1. A term must not be
    negative: the optimum of s would be -∞.

    Parameters
    ----------
    names
        The loss terms; `forward` expects exactly these.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = tuple(dict.fromkeys(names))
        self.log_variance = torch.nn.Parameter(torch.zeros(len(self.names)))

    def forward(self, terms: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The weighted sum, a scalar.

        Raises
        ------
        InputError
            Terms other than those named, or one that is not a scalar.
        """
        if set(terms) != set(self.names):
            raise InputError(f"loss terms are named {sorted(terms)}: expected {sorted(self.names)}")
        for name, value in terms.items():
            if value.ndim != 0:
                raise InputError(f"loss term {name!r} has shape {tuple(value.shape)}: expected a scalar")
        losses = torch.stack([terms[name] for name in self.names])
        return 0.5 * (torch.exp(-self.log_variance) * losses + self.log_variance).sum()

    def weights(self) -> dict[str, float]:
        """The current weight ½ e^(-s) of every term."""
        return dict(zip(self.names, (0.5 * torch.exp(-self.log_variance.detach())).tolist(), strict=True))
