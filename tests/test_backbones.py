"""The registry, and each backbone's losses against loops that a reader can check by eye."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from class_kit.backbones import available_backbones, create_backbone, register_backbone
from class_kit.backbones.base import Backbone


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(7, 5, generator=generator), torch.randn(7, 4, generator=generator) * 3 + 1


def test_registry_names_what_there_is() -> None:
    assert "dual_encoder" in available_backbones()
    with pytest.raises(ValueError, match=r"'nope' is unknown; available: .*dual_encoder"):
        create_backbone("nope", 3, 4)
    with pytest.raises(ValueError, match="does not take the options"):
        create_backbone("dual_encoder", 3, 4, depth=9)


def test_users_can_register_their_own() -> None:
    @register_backbone("halves")
    class Halves(Backbone):
        def __init__(self, text_dim: int, molecule_dim: int) -> None:
            super().__init__()
            self.text = torch.nn.Linear(text_dim, 2)
            self.molecule = torch.nn.Linear(molecule_dim, 2)

        def encode_text(self, text: torch.Tensor) -> torch.Tensor:
            return self.text(text)

        def encode_molecules(self, molecules: torch.Tensor) -> torch.Tensor:
            return self.molecule(molecules)

        def losses(self, text, molecules, *, not_negative=None):
            return {"distance": (self.text(text) - self.molecule(molecules)).pow(2).mean()}

    assert "halves" in available_backbones()
    assert isinstance(create_backbone("halves", 3, 4), Halves)
    with pytest.raises(ValueError, match="registered already"):
        register_backbone("halves")(type("Other", (Halves,), {}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"soft_weight": -1}, "soft_weight=-1"),
        ({"soft_temperature": 0}, "soft_temperature=0"),
    ],
)
def test_dual_encoder_refuses_impossible_sizes(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_backbone("dual_encoder", 3, 4, **options)


def test_dual_encoder_losses_equal_a_double_loop(batch) -> None:
    text, molecules = batch
    torch.manual_seed(0)
    model = create_backbone("dual_encoder", 5, 4, hidden=8, dim=6, dropout=0.0)
    model.fit_inputs(text, molecules)
    blocked = torch.zeros(7, 7, dtype=torch.bool)
    blocked[1, 4] = blocked[4, 1] = True
    for mask in (None, blocked):
        terms = model.losses(text, molecules, not_negative=mask)
        a = model.encode_text(text).detach().numpy()
        b = model.encode_molecules(molecules).detach().numpy()
        scale = math.exp(model.scale.log_scale.item())
        expected: dict[str, list[float]] = {"text_to_molecule": [], "molecule_to_text": []}
        for i in range(7):
            rows, columns = [], []
            for j in range(7):
                if mask is not None and mask[i, j] and i != j:
                    continue
                rows.append(scale * float(np.dot(a[i], b[j])))
                columns.append(scale * float(np.dot(a[j], b[i])))
            own = scale * float(np.dot(a[i], b[i]))
            expected["text_to_molecule"].append(math.log(sum(map(math.exp, rows))) - own)
            expected["molecule_to_text"].append(math.log(sum(map(math.exp, columns))) - own)
        assert set(terms) == set(expected)
        for name, values in expected.items():
            assert terms[name].tolist() == pytest.approx(values, rel=1e-5, abs=1e-6)


def test_dual_encoder_soft_terms_equal_a_float64_reference(batch) -> None:
    text, molecules = batch
    sizes = {"hidden": 8, "dim": 6, "dropout": 0.0}
    model = create_backbone("dual_encoder", 5, 4, soft_weight=0.3, soft_temperature=0.8, **sizes)
    found = model.losses(text, molecules)
    cosines = (model.encode_text(text) @ model.encode_molecules(molecules).T).detach().double().numpy()
    for name, scores in (("soft_text_to_molecule", cosines), ("soft_molecule_to_text", cosines.T)):
        powers = np.exp(scores / 0.8)
        expected = 0.3 * -np.log(np.diag(powers) / powers.sum(1))
        np.testing.assert_allclose(found[name].detach().numpy(), expected, rtol=1e-5)
    plain = create_backbone("dual_encoder", 5, 4, **sizes)
    plain.load_state_dict(model.state_dict())
    without = plain.losses(text, molecules)
    assert set(without) == {"text_to_molecule", "molecule_to_text"}
    for name, term in without.items():
        assert torch.equal(term, found[name])
    masked = model.losses(text, molecules, not_negative=torch.ones(len(text), len(text), dtype=torch.bool))
    np.testing.assert_allclose(masked["soft_text_to_molecule"].detach().numpy(), 0.0, atol=1e-6)


def test_dual_encoder_learns_a_batch_by_heart(batch) -> None:
    text, molecules = batch
    torch.manual_seed(0)
    model = create_backbone("dual_encoder", 5, 4, hidden=32, dim=16, dropout=0.0)
    model.fit_inputs(text, molecules)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(200):
        loss = torch.stack(list(model.losses(text, molecules).values())).mean(1).sum()
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
    scores = model.encode_text(text) @ model.encode_molecules(molecules).T
    assert scores.argmax(1).tolist() == list(range(7))
    assert loss.item() < 0.1


def test_permuting_a_batch_permutes_vectors_and_keeps_losses(batch) -> None:
    text, molecules = batch
    model = create_backbone("dual_encoder", 5, 4).eval()
    turn = torch.tensor([3, 1, 0, 2, 6, 5, 4])
    torch.testing.assert_close(model.encode_text(text)[turn], model.encode_text(text[turn]))
    before, after = model.losses(text, molecules), model.losses(text[turn], molecules[turn])
    for name, value in before.items():
        torch.testing.assert_close(value[turn], after[name])


def test_a_constant_coordinate_and_a_batch_of_one_stay_finite() -> None:
    text, molecules = torch.ones(1, 5), torch.zeros(1, 4)
    model = create_backbone("dual_encoder", 5, 4)
    model.fit_inputs(text, molecules)
    assert all(torch.isfinite(value).all() for value in model.losses(text, molecules).values())
