"""Heads on frozen vectors: their losses against loops that a reader can check by eye, layers against equations."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.backbones import create_backbone
from class_kit.backbones.dsokr import sketch_directions
from class_kit.backbones.layers import Standardise
from class_kit.backbones.memory_bank import MemoryBank, second_order_terms
from tests.backbone_pairs import graph_batch

TEXT, MOLECULE = 5, 4
HEAD = {"hidden": 8, "dim": 6, "dropout": 0.0}


def vectors(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 2, width, dtype=torch.float64)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64) * scale + 0.3


def build(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    model = create_backbone(name, TEXT, MOLECULE, **HEAD | options).double()
    model.fit_inputs(vectors(30, TEXT), vectors(30, MOLECULE, 1))
    return model


def unit(values: torch.Tensor) -> np.ndarray:
    rows = values.double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# the in-batch cross-entropy, shared by four backbones

CROSS_ENTROPIES: dict[str, tuple[dict[str, Any], Any]] = {
    "dual_encoder": ({"temperature": 0.3}, lambda x, y: x @ y / 0.3),
    # inner products, each side with its factor
    "text2mol": ({"tau": 0.3}, lambda x, y: x @ y),
    "moleculestm": ({"temperature": 0.2}, lambda x, y: x @ y / 0.2),
    "memory_bank": ({"temperature": 0.3, "heads": 2, "slots": 5}, lambda x, y: x @ y / 0.3),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_cross_entropies_equal_a_double_loop(name: str, masked: bool) -> None:
    options, score = CROSS_ENTROPIES[name]
    model, text, molecules = build(name, **options), vectors(7, TEXT, 3), vectors(7, MOLECULE, 4)
    # one-sided on purpose: text 1 and molecule 4 may be alike while text 4 and molecule 1 are not
    near = torch.zeros(7, 7, dtype=torch.bool)
    near[1, 4] = near[2, 0] = near[3, 3] = masked
    terms = model.losses(text, molecules, not_negative=near if masked else None)
    a, b = model.encode_text(text).detach().numpy(), model.encode_molecules(molecules).detach().numpy()
    z = [[float(score(x, y)) for y in b] for x in a]
    for i in range(7):
        row = sum(math.exp(z[i][j]) for j in range(7) if j == i or not near[i, j])
        column = sum(math.exp(z[j][i]) for j in range(7) if j == i or not near[j, i])
        assert terms["text_to_molecule"][i].item() == pytest.approx(math.log(row) - z[i][i], rel=1e-6, abs=1e-9)
        assert terms["molecule_to_text"][i].item() == pytest.approx(math.log(column) - z[i][i], rel=1e-6, abs=1e-9)


def test_soft_terms_equal_a_float64_reference() -> None:
    text, molecules = vectors(7, TEXT, 3), vectors(7, MOLECULE, 4)
    model = build("dual_encoder", soft_weight=0.3, soft_temperature=0.8)
    terms = model.losses(text, molecules)
    cosines = (model.encode_text(text) @ model.encode_molecules(molecules).T).detach().numpy()
    for name, scores in (("soft_text_to_molecule", cosines), ("soft_molecule_to_text", cosines.T)):
        powers = np.exp(scores / 0.8)
        expected = 0.3 * -np.log(np.diag(powers) / powers.sum(1))
        np.testing.assert_allclose(terms[name].detach().numpy(), expected, rtol=1e-7)
    plain = build("dual_encoder")
    plain.load_state_dict(model.state_dict())
    without = plain.losses(text, molecules)
    assert list(without) == ["text_to_molecule", "molecule_to_text"]
    assert all(torch.equal(term, terms[name]) for name, term in without.items())


def test_text2mols_convolutions_are_those_of_kipf_and_welling() -> None:
    graphs = graph_batch([[3], [1], [4]], MOLECULE)
    torch.manual_seed(0)
    tower = create_backbone("text2mol", TEXT, MOLECULE, molecule_encoder="gcn", **HEAD).molecule_tower
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


# memory bank


def test_every_head_reads_its_own_slice_of_the_memory() -> None:
    torch.manual_seed(0)
    bank = MemoryBank(6, 5, 2).double()
    queries, memory = vectors(3, 6), bank.memory.detach().numpy()
    for query, read_by_bank in zip(queries.numpy(), bank(queries).detach().numpy(), strict=True):
        read = np.zeros(6)
        for head in range(2):
            part = slice(3 * head, 3 * head + 3)
            weights = np.array([math.exp(query[part] @ slot / math.sqrt(3)) for slot in memory[head]])
            read[part] = sum(w * slot for w, slot in zip(weights / weights.sum(), memory[head], strict=True))
        np.testing.assert_allclose(read_by_bank, query + bank.output.weight.detach().numpy() @ read, rtol=1e-10)


def naive_second_order(t, m, temperature, left_out) -> dict[str, list[float]]:
    """KL divergences summed entry by entry, from Python floats."""

    def distribution(queries, others, i):
        kept = [j for j in range(len(t)) if j not in left_out[i]]
        weights = [math.exp(float(np.dot(queries[i], others[j])) / temperature) for j in kept]
        return [weight / sum(weights) for weight in weights]

    def both(p, q):
        return sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2

    terms: dict[str, list[float]] = {"within": [], "across": [], "between": []}
    for i in range(len(t)):
        tt, tm = distribution(t, t, i), distribution(t, m, i)
        mm, mt = distribution(m, m, i), distribution(m, t, i)
        terms["within"].append(both(tt, mm))
        terms["across"].append(both(tm, mt))
        terms["between"].append((both(tt, tm) + both(tt, mt) + both(mm, tm) + both(mm, mt)) / 4)
    return terms


@pytest.mark.parametrize("marked", [[], [(0, 3), (4, 2), (5, 5)]])
def test_second_order_terms_equal_a_loop_over_divergences(marked: list[tuple[int, int]]) -> None:
    model = build("memory_bank", second_order=0.7, distribution_temperature=0.4, heads=2, adversarial=0.2)
    text, molecules = vectors(6, TEXT, 3), vectors(6, MOLECULE, 4)
    mask = torch.zeros(6, 6, dtype=torch.bool)
    left_out = {i: {i} for i in range(6)}
    for i, j in marked:
        mask[i, j] = True
        left_out[i].add(j)
        left_out[j].add(i)
    t, m = model.encode_text(text).detach(), model.encode_molecules(molecules).detach()
    terms = model.losses(text, molecules, not_negative=mask if marked else None)
    for name, values in naive_second_order(t.numpy(), m.numpy(), 0.4, left_out).items():
        assert terms[f"second_order_{name}"].tolist() == pytest.approx([0.7 * value for value in values], rel=1e-8)
    torch.testing.assert_close(terms["adversarial"], 0.2 * (model.critic(t) - model.critic(m)))


def test_second_order_terms_vanish_where_texts_equal_molecules_and_where_nobody_is_left() -> None:
    t, m = (torch.nn.functional.normalize(vectors(5, 4, seed), dim=1) for seed in (1, 2))
    m.requires_grad_()
    for term in second_order_terms(t, t, 0.1).values():
        assert term.abs().max() < 1e-12
    for arguments in ((t[:1], m[:1], 0.1), (t, m, 0.1, torch.ones(5, 5, dtype=torch.bool))):
        terms = second_order_terms(*arguments)
        assert all((term == 0).all() for term in terms.values())
        (gradient,) = torch.autograd.grad(sum(term.sum() for term in terms.values()), m)
        assert (gradient == 0).all()


def test_weights_of_zero_leave_the_terms_and_the_critic_out() -> None:
    model = build("memory_bank", second_order=0.0, adversarial=0.0, heads=2)
    text, molecules = vectors(4, TEXT, 3), vectors(4, MOLECULE, 4)
    assert list(model.losses(text, molecules)) == ["text_to_molecule", "molecule_to_text"]
    assert not list(model.critic_parameters())
    assert model.critic_losses(text, molecules) == {}
    assert not any("critic" in name for name in model.state_dict())


# DSOKR


@pytest.mark.parametrize("dim", [3, 9])
def test_coordinates_are_those_of_the_eigendecomposed_gram_matrix(dim: int) -> None:
    """The features as the paper writes them, kernel evaluations and eigenvectors, with no use of linearity."""
    sample, others = vectors(20, 9), vectors(30, 9, seed=1)
    gram = unit(sample) @ unit(sample).T
    values, eigenvectors = np.linalg.eigh(gram)
    order = np.argsort(-values)[:dim]
    cross = unit(others) @ unit(sample).T
    expected = cross @ eigenvectors[:, order] / np.sqrt(values[order])
    features = unit(others) @ sketch_directions(sample, dim).numpy()
    np.testing.assert_allclose(np.abs(features), np.abs(expected), atol=1e-10)
    np.testing.assert_allclose(features @ features.T, expected @ expected.T, atol=1e-10)
    if dim == 9:
        # of full rank, the sketch keeps the kernel
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


def test_regression_equals_a_loop_and_knows_no_negatives() -> None:
    text, molecules = vectors(30, TEXT), vectors(30, MOLECULE, 1)
    model = build("dsokr", dim=4, sketch=10)
    predicted = model.encode_text(text).tolist()
    scaled = (molecules - molecules.mean(0)) / molecules.std(0, unbiased=False)
    drawn = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:10]
    goal = (unit(scaled) @ sketch_directions(scaled[drawn], 4).numpy()).tolist()
    terms = model.losses(text, molecules, not_negative=torch.ones(30, 30, dtype=torch.bool))
    assert list(terms) == ["regression"]
    for i in range(30):
        error = sum((h - psi) ** 2 for h, psi in zip(predicted[i], goal[i], strict=True))
        assert terms["regression"][i].item() == pytest.approx(error, rel=1e-6)


def test_the_sub_sample_follows_its_own_seed() -> None:
    text, molecules = vectors(30, TEXT), vectors(30, MOLECULE, 1)
    first, other = (build("dsokr", dim=4, sketch=10, seed=seed).encode_molecules(molecules) for seed in (0, 1))
    torch.manual_seed(99)
    again = create_backbone("dsokr", TEXT, MOLECULE, **HEAD | {"dim": 4, "sketch": 10}).double()
    # before it is fitted the sub-sample is a random one of the sphere
    assert torch.linalg.matrix_rank(again.encode_molecules(molecules)) == 4
    again.fit_inputs(text, molecules)
    assert torch.equal(first, again.encode_molecules(molecules))
    assert not torch.allclose(first, other)


def test_the_papers_kernel_takes_vectors_as_they_are() -> None:
    molecules = vectors(30, MOLECULE, 1)
    features = build("dsokr", standardise=False, dim=4, sketch=30).encode_molecules(molecules).numpy()
    np.testing.assert_allclose(features @ features.T, unit(molecules) @ unit(molecules).T, atol=1e-6)


# layers that backbones share


def test_standardise_equals_numpy_and_spares_constants() -> None:
    values = np.random.default_rng(0).normal(4.0, 3.0, (50, 3)).astype(np.float32)
    values[:, 1] = 1000.1
    scale = Standardise(3)
    torch.testing.assert_close(scale(torch.from_numpy(values)), torch.from_numpy(values))
    scale.fit(torch.from_numpy(values))
    spread = values.astype(float).std(0)
    spread[1] = 1.0
    expected = (values - values.astype(float).mean(0)) / spread
    np.testing.assert_allclose(scale(torch.from_numpy(values)), expected, atol=1e-5)
    assert scale.deviation[1] == 1


def test_standardise_refuses_what_has_no_scale() -> None:
    with pytest.raises(ValueError, match="expected finite"):
        Standardise(3).fit(torch.full((2, 3), torch.nan))
