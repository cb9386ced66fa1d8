"""DSOKR: its features against the Nyström formula, its loss against a loop, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.backbones import create_backbone
from class_kit.backbones.dsokr import sketch_directions


def vectors(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 2, width, dtype=torch.float64)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64) * scale + 0.3


def unit(values: torch.Tensor) -> np.ndarray:
    rows = values.double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim=0"),
        ({"sketch": 50, "dim": 60}, "sketch=50.*at least 60"),
        ({"hidden": 0}, "hidden=0"),
        ({"layers": 0}, "layers=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"standardise": 1}, "standardise=1"),
        ({"whitening": 1.5}, "whitening=1.5"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_backbone("dsokr", 5, 4, **options)


@pytest.mark.parametrize("dim", [3, 9])
def test_coordinates_are_those_of_the_eigendecomposed_gram_matrix(dim: int) -> None:
    """The features as the paper writes them, kernel evaluations and eigenvectors, with no use of linearity."""
    sample, others = vectors(20, 9), vectors(30, 9, seed=1)
    gram = unit(sample) @ unit(sample).T
    values, eigenvectors = np.linalg.eigh(gram)
    order = np.argsort(-values)[:dim]
    cross = unit(others) @ unit(sample).T
    expected = cross @ eigenvectors[:, order] / np.sqrt(values[order])
    found = unit(others) @ sketch_directions(sample, dim).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-10)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-10)


def test_a_sketch_of_full_rank_keeps_the_kernel() -> None:
    sample, others = vectors(40, 6), vectors(15, 6, seed=2)
    features = unit(others) @ sketch_directions(sample, 6).numpy()
    np.testing.assert_allclose(features @ features.T, unit(others) @ unit(others).T, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 10), st.integers(0, 2**16))
def test_features_never_lengthen_and_pad_with_zeros(rows: int, width: int, dim: int, seed: int) -> None:
    columns = sketch_directions(vectors(rows, width, seed), dim)
    assert columns.shape == (width, dim)
    kept = min(rows, width, dim)
    assert (columns[:, kept:] == 0).all()
    np.testing.assert_allclose(
        columns[:, :kept].T.numpy() @ columns[:, :kept].numpy(), np.diag((columns[:, :kept] ** 2).sum(0)), atol=1e-9
    )
    assert np.linalg.norm(unit(vectors(5, width, seed + 1)) @ columns.numpy(), axis=1).max() <= 1 + 1e-9


def test_whitening_evens_out_the_directions() -> None:
    sample = vectors(200, 5)
    spread = {w: (unit(sample) @ sketch_directions(sample, 5, w).numpy()) ** 2 for w in (0.0, 0.5, 1.0)}
    extent = {w: square.sum(0) / square.sum(0)[0] for w, square in spread.items()}
    np.testing.assert_allclose(extent[1.0], np.ones(5), rtol=1e-9)
    np.testing.assert_allclose(extent[0.5], np.sqrt(extent[0.0]), rtol=1e-9)
    assert extent[0.0][-1] < 0.5


def test_equal_molecules_make_one_direction_and_zero_ones_none() -> None:
    same = sketch_directions(torch.ones(4, 3), 2)
    torch.testing.assert_close(same[:, 0], torch.full((3,), 3**-0.5))
    assert (same[:, 1] == 0).all()
    assert (sketch_directions(torch.zeros(4, 3), 2) == 0).all()


def build(text: torch.Tensor, molecules: torch.Tensor, **options):
    torch.manual_seed(0)
    small = {"dim": 4, "sketch": 10, "hidden": 16, "dropout": 0.0}
    model = create_backbone("dsokr", text.shape[1], molecules.shape[1], **small | options).double()
    model.fit_inputs(text, molecules)
    return model


def test_loss_equals_a_loop_and_knows_no_negatives() -> None:
    text, molecules = vectors(30, 5), vectors(30, 7, seed=1)
    model = build(text, molecules)
    predicted = model.encode_text(text).tolist()
    scaled = (molecules - molecules.mean(0)) / molecules.std(0, unbiased=False)
    drawn = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:10]
    goal = (unit(scaled) @ sketch_directions(scaled[drawn], 4).numpy()).tolist()
    terms = model.losses(text, molecules, not_negative=torch.ones(30, 30, dtype=torch.bool))
    assert list(terms) == ["regression"]
    for i in range(30):
        error = sum((h - psi) ** 2 for h, psi in zip(predicted[i], goal[i], strict=True))
        assert terms["regression"][i].item() == pytest.approx(error, rel=1e-6)


def test_the_sub_sample_follows_its_own_seed_and_is_saved() -> None:
    text, molecules = vectors(60, 5), vectors(60, 7, seed=1)
    first, other = build(text, molecules), build(text, molecules, seed=1)
    torch.manual_seed(99)
    again = create_backbone("dsokr", 5, 7, dim=4, sketch=10, hidden=16).double()
    again.fit_inputs(text, molecules)
    assert torch.equal(first.encode_molecules(molecules), again.encode_molecules(molecules))
    assert not torch.allclose(first.encode_molecules(molecules), other.encode_molecules(molecules))
    fresh = create_backbone("dsokr", 5, 7, dim=4, sketch=10, hidden=16, dropout=0.0).double()
    fresh.load_state_dict(first.state_dict())
    assert torch.equal(first.encode_molecules(molecules), fresh.encode_molecules(molecules))
    assert torch.equal(first.encode_text(text), fresh.encode_text(text))


def test_the_papers_kernel_takes_vectors_as_they_are() -> None:
    text, molecules = vectors(40, 5), vectors(40, 6, seed=1)
    found = build(text, molecules, standardise=False, dim=6, sketch=40).encode_molecules(molecules).numpy()
    np.testing.assert_allclose(found @ found.T, unit(molecules) @ unit(molecules).T, atol=1e-6)


def test_learns_a_batch_by_heart_and_works_before_it_is_fitted() -> None:
    generator = torch.Generator().manual_seed(1)
    text, molecules = torch.randn(20, 12, generator=generator), torch.randn(20, 9, generator=generator)
    torch.manual_seed(0)
    model = create_backbone("dsokr", 12, 9, dim=9, sketch=20, hidden=64, dropout=0.0)
    assert torch.linalg.matrix_rank(model.encode_molecules(molecules)) == 9
    model.fit_inputs(text, molecules)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss = model.losses(text, molecules)["regression"].mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
    scores = torch.nn.functional.normalize(model.encode_text(text)) @ model.encode_molecules(molecules).T
    assert scores.argmax(1).tolist() == list(range(20))
    assert loss.item() < 0.01
    assert model.losses(text[:1], molecules[:1])["regression"].shape == (1,)
