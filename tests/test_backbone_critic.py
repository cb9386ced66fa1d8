"""The critic's losses against gradients worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from class_kit.backbones.base import TwoTowers
from class_kit.backbones.critic import Adversarial, Critic, generator_term, gradient_penalty


@pytest.fixture
def sides() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    draw = {"generator": generator, "dtype": torch.float64}
    return torch.randn(6, 3, **draw), torch.randn(6, 3, **draw) * 2 + 1


class Bowl(torch.nn.Module):
    """D(x) = s |x|² / 2, whose gradient s x is known at every point."""

    def __init__(self) -> None:
        super().__init__()
        self.steepness = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.steepness * values.square().sum(1) / 2


def test_penalty_and_its_own_gradient_on_a_bowl(sides) -> None:
    real, fake = sides
    critic = Bowl()
    torch.manual_seed(3)
    mix = torch.rand(6, 1, dtype=torch.float64)
    torch.manual_seed(3)
    penalty = gradient_penalty(critic, real, fake)
    lengths = np.linalg.norm(
        [float(e) * r.numpy() + (1 - float(e)) * f.numpy() for e, r, f in zip(mix, real, fake, strict=True)], axis=1
    )
    np.testing.assert_allclose(penalty.detach(), (0.7 * lengths - 1) ** 2, rtol=1e-9)
    penalty.sum().backward()
    # d/ds Σ (s |x| - 1)² = Σ 2 (s |x| - 1) |x|
    assert critic.steepness.grad.item() == pytest.approx((2 * (0.7 * lengths - 1) * lengths).sum(), rel=1e-9)


class Players(Adversarial, TwoTowers):
    """Texts and molecules are given as vectors already; only the critic is made."""

    def __init__(self, critic: torch.nn.Module) -> None:
        super().__init__()
        self.critic = critic
        self.text_tower = self.molecule_tower = lambda values: values + 0

    def terms(self, t, m, not_negative):
        return {"alignment": generator_term(self.critic, t, m)}


def test_losses_have_the_published_signs_and_weight(sides) -> None:
    real, fake = (side.requires_grad_() for side in sides)
    model = Players(Bowl())
    height = {name: 0.35 * (side.detach().numpy() ** 2).sum(1) for name, side in (("real", real), ("fake", fake))}
    torch.manual_seed(1)
    terms = model.critic_losses(real, fake)
    torch.manual_seed(1)
    penalty = gradient_penalty(model.critic, real, fake).mean().item()
    assert terms["gradient_penalty"].item() == pytest.approx(10 * penalty)
    assert terms["wasserstein"].item() == pytest.approx((height["fake"] - height["real"]).mean())
    alignment = model.losses(real, fake)["alignment"]
    np.testing.assert_allclose(alignment.detach(), height["real"] - height["fake"])
    # the term moves both encoders, and the critic's losses neither
    alignment.sum().backward()
    torch.testing.assert_close(real.grad, 0.7 * real)
    torch.testing.assert_close(fake.grad, -0.7 * fake)
    assert torch.autograd.grad(sum(terms.values()), [real, fake], allow_unused=True) == (None, None)


def test_a_flat_critic_has_finite_gradients(sides) -> None:
    critic = Critic(3, hidden=4).double()
    for value in critic.parameters():
        torch.nn.init.zeros_(value)
    terms = Players(critic).critic_losses(*sides)
    sum(terms.values()).backward()
    assert terms["gradient_penalty"].item() == pytest.approx(10.0, rel=1e-5)
    assert all(value.grad is None or torch.isfinite(value.grad).all() for value in critic.parameters())
