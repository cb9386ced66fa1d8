r"""Wasserstein critic with gradient penalty, for vectors: the adversary that pulls two modalities together.

A critic :math:`D` scores vectors of either modality and learns to tell them apart; the encoders learn to undo that.
With real vectors :math:`r_i`, fake ones :math:`f_i` and :math:`x_i = \epsilon_i r_i + (1 - \epsilon_i) f_i`,
:math:`\epsilon_i` uniform in [0, 1] (Gulrajani et al. 2017, equation 3 and algorithm 1),

.. math:: L_D = \frac1B \sum_i \bigl( D(f_i) - D(r_i) \bigr)
                + \lambda\, \frac1B \sum_i \bigl( \lVert \nabla D(x_i) \rVert_2 - 1 \bigr)^2, \qquad \lambda = 10,

is the critic's loss, and :math:`D(r_i) - D(f_i)` the encoders' term of pair i. Both sides of that difference have
gradients, so it makes no difference which modality is called real.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from class_kit.backbones.base import Backbone

# The weight of the penalty in all experiments of Gulrajani et al. (2017, section 4).
PENALTY = 10.0
# Keeps the derivative of the root finite where the critic is flat; it changes a norm of 1 by less than 1e-12.
FLAT = 1e-12


class Critic(nn.Module):
    """Scores vectors with two hidden layers.

    No layer mixes the rows of a batch (no batch norm), since the penalty is on the gradient of each row's own score.

    Parameters
    ----------
    width, hidden : int
        Widths of the vectors and of the hidden layers.
    """

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            # a bias of the score would cancel in every difference of scores
            nn.Linear(hidden, 1, bias=False),
        )

    def forward(self, values: Tensor) -> Tensor:
        """Scores `(B,)` of vectors `(B, d)`, larger for what looks real."""
        return self.layers(values).squeeze(-1)


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Squared distance from 1 of the norm of the critic's gradient, at a point between each real and fake vector.

    Parameters
    ----------
    critic
        From `(B, d)` to `(B,)`, each score from its own row only.
    real, fake : (B, d)
        Constants: only the critic gets a gradient. The points are drawn from torch's generator.

    Returns
    -------
    (B,)
        Without its weight.
    """
    mix = torch.rand(len(real), 1, dtype=real.dtype, device=real.device)
    points = torch.lerp(fake, real, mix).requires_grad_()
    (slopes,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return ((slopes.square().sum(1) + FLAT).sqrt() - 1).square()


def generator_term(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The encoders' loss `(B,)`, D(r_i) - D(f_i), with a gradient for both encoders and none for the critic."""
    fixed = {name: value.detach() for name, value in critic.named_parameters()}
    return functional_call(critic, fixed, (real,)) - functional_call(critic, fixed, (fake,))


class Adversarial(Backbone):
    """A backbone whose encoders are also trained to deceive a critic; texts are called real.

    Subclasses set `critic`, None if its weight is 0.
    """

    critic: Critic | None

    def critic_parameters(self) -> Iterable[nn.Parameter]:
        """The critic's, where there is one."""
        return () if self.critic is None else self.critic.parameters()

    def critic_losses(self, text: Any, molecules: Any) -> dict[str, Tensor]:
        """`wasserstein` and `gradient_penalty`, scalars, whose sum is L_D; the encoders get no gradient."""
        if self.critic is None:
            return {}
        with torch.no_grad():
            t, m = self.encode_text(text), self.encode_molecules(molecules)
        return {
            "wasserstein": (self.critic(m) - self.critic(t)).mean(),
            "gradient_penalty": PENALTY * gradient_penalty(self.critic, t, m).mean(),
        }
