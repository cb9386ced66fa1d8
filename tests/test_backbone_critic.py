"""The critic's losses against gradients worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from class_kit.backbones.critic import Critic, critic_losses, generator_term, gradient_penalty


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


def test_penalty_of_a_linear_critic_is_that_of_its_weights(sides) -> None:
    real, fake = sides
    critic = torch.nn.Sequential(torch.nn.Linear(3, 1, dtype=torch.float64), torch.nn.Flatten(0))
    norm = critic[0].weight.detach().norm().item()
    np.testing.assert_allclose(gradient_penalty(critic, real, fake).detach(), (norm - 1) ** 2, rtol=1e-9)


def test_penalty_and_its_own_gradient_on_a_bowl(sides) -> None:
    real, fake = sides
    critic = Bowl()
    mix = torch.linspace(0, 1, 6, dtype=torch.float64)
    penalty = gradient_penalty(critic, real, fake, mix=mix)
    lengths = np.linalg.norm(
        [float(e) * r.numpy() + (1 - float(e)) * f.numpy() for e, r, f in zip(mix, real, fake, strict=True)], axis=1
    )
    np.testing.assert_allclose(penalty.detach(), (0.7 * lengths - 1) ** 2, rtol=1e-9)
    penalty.sum().backward()
    # d/ds Σ (s |x| - 1)² = Σ 2 (s |x| - 1) |x|
    assert critic.steepness.grad.item() == pytest.approx((2 * (0.7 * lengths - 1) * lengths).sum(), rel=1e-9)


def test_penalty_of_a_network_equals_differences_of_its_scores(sides) -> None:
    real, fake = sides
    torch.manual_seed(0)
    critic = Critic(3, hidden=8).double()
    mix = torch.full((6,), 0.25, dtype=torch.float64)
    found = gradient_penalty(critic, real, fake, mix=mix).detach()
    for row in range(6):
        point, slopes = 0.25 * real[row] + 0.75 * fake[row], []
        for axis in range(3):
            step = torch.zeros(3, dtype=torch.float64)
            step[axis] = 1e-6
            with torch.no_grad():
                rise = critic((point + step)[None]) - critic((point - step)[None])
            slopes.append(rise.item() / 2e-6)
        assert found[row].item() == pytest.approx((np.linalg.norm(slopes) - 1) ** 2, rel=1e-6)


def test_losses_have_the_published_signs_and_weight(sides) -> None:
    real, fake = sides
    critic = Bowl()
    height = {name: 0.35 * (side.numpy() ** 2).sum(1) for name, side in (("real", real), ("fake", fake))}
    torch.manual_seed(1)
    terms = critic_losses(critic, real, fake)
    torch.manual_seed(1)
    assert terms["gradient_penalty"].item() == pytest.approx(10 * gradient_penalty(critic, real, fake).mean().item())
    assert terms["wasserstein"].item() == pytest.approx((height["fake"] - height["real"]).mean())
    np.testing.assert_allclose(generator_term(critic, real, fake).detach(), height["real"] - height["fake"])


def test_each_step_leaves_the_other_players_alone(sides) -> None:
    real, fake = (side.clone().requires_grad_() for side in sides)
    critic = Critic(3, hidden=4).double()
    sum(critic_losses(critic, real, fake).values()).backward()
    assert real.grad is None
    assert fake.grad is None
    assert all(value.grad is not None for value in critic.parameters())
    critic.zero_grad()
    generator_term(critic, real, fake).mean().backward()
    assert all(value.grad is None for value in critic.parameters())
    assert real.grad.abs().sum() > 0
    assert fake.grad.abs().sum() > 0


def test_a_trained_critic_tells_two_clouds_apart_with_the_best_slope() -> None:
    torch.manual_seed(0)
    critic = Critic(2, hidden=16)
    optimizer = torch.optim.Adam(critic.parameters(), lr=4e-3, betas=(0.5, 0.9))
    real, fake = torch.randn(64, 2) * 0.02, torch.randn(64, 2) * 0.02 + torch.tensor([3.0, 0.0])
    for _ in range(300):
        terms = critic_losses(critic, real, fake)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    # The clouds are 3 apart; a slope s costs 10 (s - 1)² and gains 3 s, which is best at s = 1 + 3 / 20.
    assert -terms["wasserstein"].item() == pytest.approx(3 * 1.15, abs=0.2)


def test_a_flat_critic_has_finite_gradients(sides) -> None:
    critic = Critic(3, hidden=4).double()
    for value in critic.parameters():
        torch.nn.init.zeros_(value)
    terms = critic_losses(critic, *sides)
    sum(terms.values()).backward()
    assert terms["gradient_penalty"].item() == pytest.approx(10.0, rel=1e-5)
    assert all(value.grad is None or torch.isfinite(value.grad).all() for value in critic.parameters())


def test_the_penalty_can_be_looked_at_without_gradients(sides) -> None:
    with torch.no_grad():
        penalty = gradient_penalty(Critic(3).double(), *sides)
    assert not penalty.requires_grad


def test_impossible_sides_are_refused(sides) -> None:
    real, fake = sides
    critic = Critic(3).double()
    with pytest.raises(ValueError, match=r"real \(6, 3\), fake \(5, 3\)"):
        generator_term(critic, real, fake[:5])
    with pytest.raises(ValueError, match=r"mix of shape \(5,\)"):
        gradient_penalty(critic, real, fake, mix=torch.ones(5))
    with pytest.raises(ValueError, match="penalty=-1"):
        critic_losses(critic, real, fake, penalty=-1)
    with pytest.raises(ValueError, match="hidden=0"):
        Critic(3, hidden=0)
