"""AMAN against loops and equations, and the critic's losses against gradients worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from class_kit.backbones.aman import Aman, in_batch_triplet
from class_kit.backbones.base import GraphBatch, TwoTowers
from class_kit.backbones.critic import Adversarial, Critic, generator_term, gradient_penalty
from tests.backbone_pairs import graph_batch

TEXT, ATOM, BOND = 5, 4, 3


def chains(sizes: list[int]) -> GraphBatch:
    return graph_batch([[size] for size in sizes], ATOM, BOND)


def make(**options) -> Aman:
    torch.manual_seed(1)
    small = {"bond_dim": BOND, "hidden": 16, "dim": 8, "heads": 2, "layers": 2, "dropout": 0.0}
    return Aman(TEXT, ATOM, **(small | options))


def loop_triplet(distances: np.ndarray, margin: float, sharpness: float | None, blocked: np.ndarray) -> list[float]:
    losses = []
    for i in range(len(distances)):
        gaps = []
        for j in range(len(distances)):
            if j != i and not blocked[i, j]:
                gaps.append(margin + float(distances[i, i]) - float(distances[i, j]))
        if sharpness is None:
            losses.append(max([0.0, *gaps]))
        else:
            losses.append(math.log(1 + sum(math.exp(sharpness * gap) for gap in gaps)) / sharpness)
    return losses


@pytest.mark.parametrize("sharpness", [None, 3.0])
@pytest.mark.parametrize("masked", [False, True])
def test_triplet_losses_equal_a_double_loop(sharpness: float | None, masked: bool) -> None:
    rng = np.random.default_rng(0)
    distances = rng.uniform(0, 1, (6, 6))
    # one-sided on purpose: text 1 and molecule 4 may be alike while text 4 and molecule 1 are not
    blocked = np.zeros((6, 6), bool)
    blocked[1, 4] = blocked[2, 0] = masked
    given = torch.from_numpy(blocked) if masked else None
    rows, columns = in_batch_triplet(torch.from_numpy(distances), 0.3, sharpness=sharpness, not_negative=given)
    np.testing.assert_allclose(rows, loop_triplet(distances, 0.3, sharpness, blocked), rtol=1e-12)
    np.testing.assert_allclose(columns, loop_triplet(distances.T, 0.3, sharpness, blocked.T), rtol=1e-12)


@pytest.mark.parametrize("sharpness", [None, 5.0])
def test_a_pair_without_negatives_costs_nothing_and_has_finite_gradients(sharpness: float | None) -> None:
    for distances, near in ((torch.rand(1, 1), None), (torch.rand(3, 3), torch.ones(3, 3, dtype=torch.bool))):
        distances.requires_grad_()
        rows, columns = in_batch_triplet(distances, 0.3, sharpness=sharpness, not_negative=near)
        assert not rows.any()
        assert not columns.any()
        (rows + columns).sum().backward()
        assert torch.isfinite(distances.grad).all()


def test_terms_are_triplets_of_cosines_and_the_critics_difference() -> None:
    model, text, molecules = make(mining="hardest", adversarial=0.5), torch.randn(5, TEXT), chains([3, 1, 4, 2, 6])
    model.fit_inputs(text, molecules)
    near = torch.zeros(5, 5, dtype=torch.bool)
    near[0, 3] = True
    with torch.no_grad():
        terms = model.losses(text, molecules, not_negative=near)
        a, b = model.encode_text(text), model.encode_molecules(molecules)
    expected = in_batch_triplet(1 - F.cosine_similarity(a[:, None], b[None], dim=2), 0.3, not_negative=near)
    for name, loss in zip(("text_to_molecule", "molecule_to_text"), expected, strict=True):
        torch.testing.assert_close(terms.pop(name), loss)
    torch.testing.assert_close(terms.pop("alignment"), 0.5 * (model.critic(a) - model.critic(b)))
    assert not terms


def test_bonds_are_read_and_each_layer_reaches_one_neighbour_further() -> None:
    molecules = chains([6])
    changed = replace(molecules, bond_features=1 - molecules.bond_features)
    far = replace(molecules, atoms=molecules.atoms + torch.eye(6)[:, :1])
    for layers in (1, 2):
        tower, seen = make(layers=layers).eval().molecule_tower, []
        tower.blocks[-1].register_forward_hook(lambda _, __, atoms, seen=seen: seen.append(atoms))
        vectors = [tower(batch) for batch in (molecules, changed, far)]
        assert not torch.allclose(vectors[0], vectors[1], atol=1e-4)
        moved = (seen[0] - seen[2]).abs().sum(1) > 1e-6
        assert moved.tolist() == [atom <= layers for atom in range(6)]


# --- the critic


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
