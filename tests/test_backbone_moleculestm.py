"""MoleculeSTM: both losses against loops, and the draw of shuffled partners."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.backbones import create_backbone
from class_kit.backbones.moleculestm import ebm_nce, shuffled_partners


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(8)
    text = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    return text, torch.randn(6, 4, generator=generator, dtype=torch.float64) * 3 + 1


def masks() -> list[torch.Tensor | None]:
    one_way = torch.zeros(6, 6, dtype=torch.bool)
    one_way[1, 4] = one_way[2, 3] = one_way[3, 3] = True
    return [None, one_way]


def build(text: torch.Tensor, molecules: torch.Tensor, **options):
    torch.manual_seed(0)
    model = create_backbone("moleculestm", 5, 4, hidden=8, dim=6, **options).double()
    model.fit_inputs(text, molecules)
    return model


def scores_of(model, text: torch.Tensor, molecules: torch.Tensor) -> list[list[float]]:
    a, b = model.encode_text(text).detach(), model.encode_molecules(molecules).detach()
    return [[float(torch.dot(x, y)) / model.temperature for y in b] for x in a]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": -1}, "hidden=-1"),
        ({"dim": 0}, "dim=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"negatives": 0}, "negatives=0"),
        ({"loss": "triplet"}, "loss='triplet'.*infonce, ebm_nce"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_backbone("moleculestm", 5, 4, **options)


@pytest.mark.parametrize("mask", masks())
def test_infonce_equals_a_double_loop(batch, mask) -> None:
    text, molecules = batch
    model = build(text, molecules)
    s = scores_of(model, text, molecules)
    terms = model.losses(text, molecules, not_negative=mask)
    assert list(terms) == ["text_to_molecule", "molecule_to_text"]
    for i in range(6):
        row = sum(math.exp(s[i][j]) for j in range(6) if j == i or mask is None or not mask[i, j])
        column = sum(math.exp(s[j][i]) for j in range(6) if j == i or mask is None or not mask[j, i])
        assert terms["text_to_molecule"][i].item() == pytest.approx(math.log(row) - s[i][i])
        assert terms["molecule_to_text"][i].item() == pytest.approx(math.log(column) - s[i][i])


def log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value))


@pytest.mark.parametrize("mask", masks())
def test_ebm_nce_out_of_training_is_the_mean_over_possible_partners(batch, mask) -> None:
    text, molecules = batch
    model = build(text, molecules, loss="ebm_nce").eval()
    s = scores_of(model, text, molecules)
    terms = model.losses(text, molecules, not_negative=mask)
    for i in range(6):
        right = [s[i][j] for j in range(6) if j != i and (mask is None or not mask[i, j])]
        left = [s[j][i] for j in range(6) if j != i and (mask is None or not mask[j, i])]
        for name, others in (("text_to_molecule", right), ("molecule_to_text", left)):
            shuffled = sum(log_sigmoid(-other) for other in others) / len(others)
            assert terms[name][i].item() == pytest.approx(-(log_sigmoid(s[i][i]) + shuffled) / 2)


def test_ebm_nce_in_training_takes_the_partners_it_drew(batch) -> None:
    text, _ = batch
    scores = (text @ torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).contiguous()
    possible = ~torch.eye(6, dtype=torch.bool)
    torch.manual_seed(4)
    drawn = shuffled_partners(possible, 3).tolist()
    torch.manual_seed(4)
    found = ebm_nce(scores, None, 3)
    s = scores.tolist()
    for i in range(6):
        shuffled = sum(log_sigmoid(-s[i][j]) for j in drawn[i]) / 3
        assert found[i].item() == pytest.approx(-(log_sigmoid(s[i][i]) + shuffled) / 2)


def test_draws_average_to_the_expectation() -> None:
    scores = torch.randn(5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[0, 1] = mask[0, 2] = True
    torch.manual_seed(0)
    mean = ebm_nce(scores, mask, 40_000)
    torch.testing.assert_close(mean, ebm_nce(scores, mask), rtol=0, atol=0.01)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 9), st.integers(0, 2**16), st.floats(0, 0.9))
def test_a_partner_is_never_the_pair_itself_nor_excluded(size: int, seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    possible = torch.rand(size, size, generator=generator) >= share
    possible.fill_diagonal_(False)
    possible[torch.arange(size), (torch.arange(size) + 1) % size] = True
    torch.manual_seed(seed)
    first = shuffled_partners(possible, 4)
    assert possible.gather(1, first).all()
    torch.manual_seed(seed)
    assert torch.equal(first, shuffled_partners(possible, 4))


def test_every_possible_partner_is_drawn_equally_often() -> None:
    possible = torch.tensor([[False, True, True, False, True]])
    torch.manual_seed(0)
    counts = torch.bincount(shuffled_partners(possible, 30_000)[0], minlength=5) / 30_000
    torch.testing.assert_close(counts, torch.tensor([0, 1 / 3, 1 / 3, 0, 1 / 3]), rtol=0, atol=0.015)


@pytest.mark.parametrize("draws", [None, 2])
def test_a_row_without_partners_keeps_the_real_half_and_gives_no_other_gradient(draws: int | None) -> None:
    scores = torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[1] = True
    found = ebm_nce(scores, mask, draws)
    assert found[1].item() == pytest.approx(-log_sigmoid(scores[1, 1].item()) / 2, rel=1e-5)
    found.sum().backward()
    assert scores.grad[1, 0] == scores.grad[1, 2] == 0
    assert scores.grad[1, 1] != 0
    assert ebm_nce(torch.tensor([[2.0]]), None, draws).item() == pytest.approx(-log_sigmoid(2.0) / 2)


def test_losses_follow_the_seed_in_training_and_nothing_out_of_it(batch) -> None:
    text, molecules = batch
    model = build(text, molecules, loss="ebm_nce", negatives=2)

    def losses(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.stack(list(model.losses(text, molecules).values()))

    assert torch.equal(losses(1), losses(1))
    assert not torch.equal(losses(1), losses(2))
    model.eval()
    assert torch.equal(losses(1), losses(2))


@pytest.mark.parametrize("options", [{}, {"hidden": 0}, {"loss": "ebm_nce"}, {"loss": "ebm_nce", "hidden": 0}])
def test_learns_a_batch_by_heart(options: dict) -> None:
    generator = torch.Generator().manual_seed(1)
    text, molecules = torch.randn(10, 12, generator=generator), torch.randn(10, 11, generator=generator)
    torch.manual_seed(0)
    model = create_backbone("moleculestm", 12, 11, **{"hidden": 32, "dim": 16} | options)
    model.fit_inputs(text, molecules)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(250):
        loss = sum(term.mean() for term in model.losses(text, molecules).values())
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
    scores = model.encode_text(text) @ model.encode_molecules(molecules).T
    assert scores.argmax(1).tolist() == list(range(10))
    assert model.losses(text[:1], molecules[:1])["text_to_molecule"].shape == (1,)
