"""AMAN: its triplet losses against loops, its attention against equations, and what keeps it from collapsing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from class_kit.backbones.aman import Aman, in_batch_triplet
from class_kit.backbones.base import GraphBatch
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


def test_only_the_soft_form_leaves_a_collapse() -> None:
    """From nearly equal vectors the hardest negatives shrink all distances to nothing; all of them together do not."""
    generator = torch.Generator().manual_seed(0)
    text, molecules = torch.randn(32, 6, generator=generator), torch.randn(32, 6, generator=generator)
    spread = {}
    for sharpness in (None, 16.0):
        torch.manual_seed(0)
        heads = torch.nn.ModuleList(torch.nn.Linear(6, 4) for _ in range(2))
        for head in heads:
            torch.nn.init.constant_(head.bias, 30.0)
        optimizer = torch.optim.AdamW(heads.parameters(), lr=1e-2)
        for _ in range(150):
            a, b = (F.normalize(head(side)) for head, side in zip(heads, (text, molecules), strict=True))
            rows, columns = in_batch_triplet(1 - a @ b.T, 0.3, sharpness=sharpness)
            optimizer.zero_grad()
            (rows + columns).mean().backward()
            optimizer.step()
        spread[sharpness] = (1 - a @ b.T).max().item()
    assert spread[None] < 1e-3
    assert spread[16.0] > 0.05


def test_terms_are_triplets_of_cosines_and_the_critics_difference() -> None:
    model, text, molecules = make(mining="hardest", adversarial=0.5), torch.randn(5, TEXT), chains([3, 1, 4, 2, 6])
    model.fit_inputs(text, molecules)
    near = torch.zeros(5, 5, dtype=torch.bool)
    near[0, 3] = near[3, 0] = True
    with torch.no_grad():
        terms = model.losses(text, molecules, not_negative=near)
        a, b = model.encode_text(text), model.encode_molecules(molecules)
        distances = 1 - (a.double() @ b.double().T).numpy()
        assert set(terms) == {"text_to_molecule", "molecule_to_text", "alignment"}
        np.testing.assert_allclose(
            terms["text_to_molecule"], loop_triplet(distances, 0.3, None, near.numpy()), atol=1e-6
        )
        np.testing.assert_allclose(
            terms["molecule_to_text"], loop_triplet(distances.T, 0.3, None, near.numpy()), atol=1e-6
        )
        torch.testing.assert_close(terms["alignment"], 0.5 * (model.critic(a) - model.critic(b)))
        np.testing.assert_allclose(a.norm(dim=1), 1, rtol=1e-5)
        np.testing.assert_allclose(b.norm(dim=1), 1, rtol=1e-5)


def test_attention_of_a_block_equals_its_equation_with_bonds() -> None:
    """One head, by hand: keys and values are neighbour plus bond, softmax over a target's neighbours, plus itself."""
    model, molecules = make(heads=1, layers=1), chains([4])
    layer = model.molecule_tower.blocks[0].attention
    atoms = torch.randn(4, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = layer(atoms, molecules.bonds, molecules.bond_features)
        query, key, value = layer.lin_query(atoms), layer.lin_key(atoms), layer.lin_value(atoms)
        edge = layer.lin_edge(molecules.bond_features)
        for atom in range(4):
            into = [(int(s), e) for e, (s, t) in enumerate(molecules.bonds.T) if int(t) == atom]
            logits = torch.stack([query[atom] @ (key[source] + edge[bond]) / 4 for source, bond in into])
            values = torch.stack([value[source] + edge[bond] for source, bond in into])
            expected = torch.softmax(logits, 0) @ values + layer.lin_skip(atoms[atom])
            torch.testing.assert_close(found[atom], expected, rtol=1e-4, atol=1e-5)
