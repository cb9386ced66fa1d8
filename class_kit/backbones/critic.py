r"""Wasserstein critic with gradient penalty, for vectors: the adversary that pulls two modalities together.

A critic :math:`D` scores vectors of either modality and learns to tell them apart; the encoders learn to undo that.
With real vectors :math:`r_i`, fake ones :math:`f_i` and :math:`x_i = \epsilon_i r_i + (1 - \epsilon_i) f_i`,
:math:`\epsilon_i` uniform in [0, 1] (Gulrajani et al. 2017, equation 3 and algorithm 1),

.. math:: L_D = \frac1B \sum_i \bigl( D(f_i) - D(r_i) \bigr)
                + \lambda\, \frac1B \sum_i \bigl( \lVert \nabla D(x_i) \rVert_2 - 1 \bigr)^2, \qquad \lambda = 10,

is the critic's loss, and :math:`D(r_i) - D(f_i)` the encoders' term of pair i. Both sides of that difference carry
gradients: which modality is called real is a name, and the two encoders meet half-way.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from class_kit.backbones.base import Backbone
from class_kit.backbones.layers import check_widths
from class_kit.checks import check_real
from class_kit.errors import InputError

# The weight of the penalty in all experiments of Gulrajani et al. (2017, section 4).
PENALTY = 10.0
# Keeps the derivative of the root finite where the critic is flat; it moves a norm of 1 by less than 1e-12.
FLAT = 1e-12


class Critic(nn.Module):
    """Scores vectors; two hidden layers by default.

    No layer mixes the rows of a batch (no batch norm): the penalty is on the gradient of each row's own score.

    Parameters
    ----------
    width : int
        Width d of the vectors.
    hidden, layers : int
        Width and number of the hidden layers.
    """

    def __init__(self, width: int, *, hidden: int = 128, layers: int = 2) -> None:
        super().__init__()
        check_widths(width=width, hidden=hidden, layers=layers)
        widths = [width] + [hidden] * layers
        steps: list[nn.Module] = []
        for before, after in pairwise(widths):
            steps += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        # a bias of the score would cancel in every difference of scores
        self.layers = nn.Sequential(*steps, nn.Linear(hidden, 1, bias=False))

    def forward(self, values: Tensor) -> Tensor:
        """Scores `(B,)` of vectors `(B, d)`, larger for what looks real."""
        return self.layers(values).squeeze(-1)


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, *, mix: Tensor | None = None) -> Tensor:
    """Squared distance from 1 of the norm of the critic's gradient, at a point between each real and fake vector.

    Parameters
    ----------
    critic
        Takes `(B, d)`, gives `(B,)`, each score from its own row alone.
    real, fake : (B, d)
        Constants here: no gradient flows back into them.
    mix : (B,), optional
        Share of the real vector in each point, in [0, 1]; drawn from torch's generator by default.

    Returns
    -------
    (B,)
        Not yet multiplied by its weight.

    Raises
    ------
    InputError
        If the shapes do not agree.
    """
    _check_pair(real, fake)
    if mix is None:
        mix = torch.rand(len(real), dtype=real.dtype, device=real.device)
    elif mix.shape != real.shape[:1]:
        raise InputError(f"mix of shape {tuple(mix.shape)}: expected ({len(real)},)")
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        points = torch.lerp(fake.detach(), real.detach(), mix.detach()[:, None]).requires_grad_()
        (slopes,) = torch.autograd.grad(critic(points).sum(), points, create_graph=keep)
        return ((slopes.square().sum(1) + FLAT).sqrt() - 1).square()


def critic_losses(critic: nn.Module, real: Tensor, fake: Tensor, *, penalty: float = PENALTY) -> dict[str, Tensor]:
    """The critic's two scalar losses, `wasserstein` and `gradient_penalty` (its weight included); their sum is L_D.

    Parameters
    ----------
    critic
        As in `gradient_penalty`.
    real, fake : (B, d)
        Constants here: no gradient flows back into the encoders.
    penalty : float
        Weight λ, not negative.

    Raises
    ------
    InputError
        If the shapes do not agree, or the weight is negative.
    """
    weight = check_real("penalty", penalty, low=0.0)
    _check_pair(real, fake)
    real, fake = real.detach(), fake.detach()
    return {
        "wasserstein": (critic(fake) - critic(real)).mean(),
        "gradient_penalty": weight * gradient_penalty(critic, real, fake).mean(),
    }


def generator_term(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The encoders' loss `(B,)`, D(r_i) - D(f_i); its gradient reaches both encoders and not the critic.

    Raises
    ------
    InputError
        If the shapes do not agree.
    """
    _check_pair(real, fake)
    fixed = {name: value.detach() for name, value in critic.named_parameters()}
    return functional_call(critic, fixed, (real,)) - functional_call(critic, fixed, (fake,))


class Adversarial(Backbone):
    """A backbone whose encoders are also trained to deceive a critic; texts are called real.

    Subclasses set `critic`, None where its weight is 0, and may set `penalty`.
    """

    critic: Critic | None
    penalty: float = PENALTY

    def critic_parameters(self) -> Iterable[nn.Parameter]:
        """The critic's, where there is one."""
        return () if self.critic is None else self.critic.parameters()

    def critic_losses(self, text: Any, molecules: Any) -> dict[str, Tensor]:
        """`wasserstein` and `gradient_penalty`, scalars; the encoders stand still."""
        if self.critic is None:
            return {}
        with torch.no_grad():
            t, m = self.encode_text(text), self.encode_molecules(molecules)
        return critic_losses(self.critic, t, m, penalty=self.penalty)


def _check_pair(real: Tensor, fake: Tensor) -> None:
    if real.ndim != 2 or real.shape != fake.shape:
        raise InputError(f"real {tuple(real.shape)}, fake {tuple(fake.shape)}: expected two equal shapes (B, d)")
