"""Text2Mol: its losses against loops, its towers against the same layers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.backbones.base import GraphBatch, Needs


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(6, 5, generator=generator), torch.randn(6, 4, generator=generator) * 3 + 1


def chains(sizes: list[int], width: int = 4) -> GraphBatch:
    """Molecules that are chains of random atoms; a size of 1 has no bond."""
    generator = torch.Generator().manual_seed(sum(sizes))
    bonds, at = [], 0
    for size in sizes:
        bonds += [(at + i, at + i + 1) for i in range(size - 1)] + [(at + i + 1, at + i) for i in range(size - 1)]
        at += size
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return GraphBatch(
        atoms=torch.randn(at, width, generator=generator),
        atom_molecule=owner,
        bonds=torch.tensor(bonds, dtype=torch.int64).reshape(-1, 2).T,
        bond_features=torch.zeros(len(bonds), 12),
        motif_atoms=torch.stack([torch.arange(at), owner]),
        motif_molecule=torch.arange(len(sizes)),
        size=len(sizes),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden=0"),
        ({"dim": 2.5}, "dim=2.5"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"tau": math.inf}, "tau=inf"),
        ({"molecule_encoder": "transformer"}, "molecule_encoder='transformer'.*mlp, gcn"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_backbone("text2mol", 5, 4, **options)


def test_needs_follow_the_molecule_encoder() -> None:
    assert backbone_needs("text2mol") == Needs("sentence", "vector")
    assert backbone_needs("text2mol", molecule_encoder="gcn") == Needs("sentence", "graph")
    with pytest.raises(ValueError, match="molecule_encoder='cnn'"):
        backbone_needs("text2mol", molecule_encoder="cnn")


@pytest.mark.parametrize("masked", [False, True])
def test_losses_equal_a_double_loop_over_inner_products(batch, masked: bool) -> None:
    text, molecules = batch
    torch.manual_seed(0)
    model = create_backbone("text2mol", 5, 4, hidden=8, dim=6, dropout=0.0, tau=0.3).double()
    model.fit_inputs(text.double(), molecules.double())
    mask = torch.zeros(6, 6, dtype=torch.bool)
    mask[0, 2] = mask[2, 0] = mask[4, 1] = masked
    mask.fill_diagonal_(masked)
    x = model.text_tower(text.double()).detach().numpy()
    y = model.molecule_tower(molecules.double()).detach().numpy()
    z = [[math.exp(2 * 0.3) * float(np.dot(x[i], y[j])) for j in range(6)] for i in range(6)]
    terms = model.losses(text.double(), molecules.double(), not_negative=mask if masked else None)
    assert list(terms) == ["text_to_molecule", "molecule_to_text"]
    for i in range(6):
        row = sum(math.exp(z[i][j]) for j in range(6) if j == i or not mask[i, j])
        column = sum(math.exp(z[j][i]) for j in range(6) if j == i or not mask[j, i])
        assert terms["text_to_molecule"][i].item() == pytest.approx(math.log(row) - z[i][i], rel=1e-6)
        assert terms["molecule_to_text"][i].item() == pytest.approx(math.log(column) - z[i][i], rel=1e-6)


def test_the_factor_sharpens_the_softmax_and_moves_no_cosine(batch) -> None:
    text, molecules = batch
    model = create_backbone("text2mol", 5, 4, hidden=8, dim=6).eval()

    def cosines() -> torch.Tensor:
        left, right = model.encode_text(text), model.encode_molecules(molecules)
        return torch.nn.functional.cosine_similarity(left[:, None], right[None], dim=-1)

    before, length = cosines(), model.encode_text(text).norm(dim=1)
    with torch.no_grad():
        model.tau += 1
    torch.testing.assert_close(cosines(), before)
    torch.testing.assert_close(model.encode_text(text).norm(dim=1), math.e * length)


def test_the_convolutions_are_those_of_kipf_and_welling() -> None:
    graphs = chains([3, 1, 4])
    torch.manual_seed(0)
    tower = create_backbone("text2mol", 5, 4, molecule_encoder="gcn", hidden=6, dim=3, dropout=0.0).molecule_tower
    tower.fit(graphs)
    count = len(graphs.atoms)
    adjacency = np.eye(count)
    for source, target in graphs.bonds.T.tolist():
        adjacency[target, source] = 1
    degree = adjacency.sum(1)
    spread = adjacency / np.sqrt(degree[:, None] * degree[None])
    atoms = tower.scale(graphs.atoms).numpy().astype(np.float64)
    for number, layer in enumerate(tower.convolutions):
        if number:
            atoms = np.maximum(atoms, 0)
        atoms = spread @ atoms @ layer.lin.weight.detach().numpy().T + layer.bias.detach().numpy()
    owner = graphs.atom_molecule.numpy()
    means = np.stack([atoms[owner == molecule].mean(0) for molecule in range(3)])
    expected = tower.layers(torch.tensor(means, dtype=torch.float32))
    torch.testing.assert_close(tower(graphs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes", [[1], [2, 1, 5, 1]])
def test_graphs_without_bonds_give_finite_losses_and_gradients(sizes: list[int]) -> None:
    graphs, text = chains(sizes), torch.randn(len(sizes), 5, generator=torch.Generator().manual_seed(0))
    model = create_backbone("text2mol", 5, 4, molecule_encoder="gcn", hidden=6, dim=3)
    model.fit_inputs(text, graphs)
    terms = model.losses(text, graphs)
    assert all(term.shape == (len(sizes),) for term in terms.values())
    sum(term.mean() for term in terms.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("encoder", ["mlp", "gcn"])
def test_learns_a_batch_by_heart(encoder: str) -> None:
    generator = torch.Generator().manual_seed(1)
    text = torch.randn(12, 5, generator=generator)
    molecules = torch.randn(12, 4, generator=generator) if encoder == "mlp" else chains([1, 2, 3, 4] * 3)
    torch.manual_seed(0)
    model = create_backbone("text2mol", 5, 4, molecule_encoder=encoder, hidden=32, dim=16, dropout=0.0, tau=0.07)
    model.fit_inputs(text, molecules)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss = sum(term.mean() for term in model.losses(text, molecules).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scores = model.encode_text(text) @ model.encode_molecules(molecules).T
    assert scores.argmax(1).tolist() == list(range(12))
    assert loss.item() < 0.2
