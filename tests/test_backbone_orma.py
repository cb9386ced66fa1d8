"""ORMA: plans against exact transport, similarities against loops, and slips that are easily made here, each pinned."""

import math
from dataclasses import replace

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from class_kit.backbones.base import GraphBatch, TokenBatch
from class_kit.backbones.matching import assign_tokens, transport_plans
from class_kit.backbones.orma import Orma, upward_edges
from tests.backbone_pairs import graph_batch, pair_scores, token_batch

TEXT, ATOM = 5, 4


def texts(lengths: list[int]) -> TokenBatch:
    return token_batch(lengths, TEXT)


def molecules(motifs: list[list[int]]) -> GraphBatch:
    return graph_batch(motifs, ATOM)


def batch() -> tuple[TokenBatch, GraphBatch]:
    return texts([4, 1, 7, 3, 5]), molecules([[3, 2], [1], [4, 3, 2, 5], [2], [6, 2, 2]])


def make(**options) -> Orma:
    torch.manual_seed(1)
    model = Orma(TEXT, ATOM, **({"hidden": 16, "dim": 8, "layers": 2, "dropout": 0.0} | options))
    model.fit_inputs(*batch())
    return model


# plans


def masked_costs(seed: int, sizes: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    rows = torch.arange(max(t for t, _ in sizes)) < torch.tensor([t for t, _ in sizes])[:, None]
    columns = torch.arange(max(m for _, m in sizes)) < torch.tensor([m for _, m in sizes])[:, None]
    cost = torch.from_numpy(rng.uniform(0, 2, (len(sizes), rows.shape[1], columns.shape[1]))).float()
    return cost, rows, columns


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 999), st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6)), min_size=1, max_size=5))
def test_plans_have_their_marginals_and_nothing_at_padding(seed: int, sizes: list[tuple[int, int]]) -> None:
    cost, rows, columns = masked_costs(seed, sizes)
    plans = transport_plans(cost, rows, columns, regularisation=0.5, iterations=300)
    assert (plans >= 0).all()
    for plan, (t, m) in zip(plans, sizes, strict=True):
        np.testing.assert_allclose(plan[:t].sum(1), 1 / t, rtol=2e-3)
        np.testing.assert_allclose(plan[:, :m].sum(0), 1 / m, rtol=1e-4)
        assert not plan[t:].any()
        assert not plan[:, m:].any()


def test_plans_cost_little_more_than_exact_ones_and_send_most_tokens_alike() -> None:
    sizes = [(12, 4)] * 20
    cost, rows, columns = masked_costs(3, sizes)
    weights = np.full(12, 1 / 12), np.full(4, 1 / 4)
    dear, alike, nearest = [], [], []
    plans = transport_plans(cost, rows, columns, regularisation=0.025, iterations=400).double().numpy()
    for plan, one in zip(plans, cost.double().numpy(), strict=True):
        exact = ot.emd(*weights, one)
        dear.append((plan * one).sum() / (exact * one).sum())
        alike.append((plan.argmax(1) == exact.argmax(1)).mean())
        nearest.append((one.argmin(1) == exact.argmax(1)).mean())
    assert max(dear) < 1.03
    assert min(dear) > 1 - 1e-3
    assert np.mean(alike) > 0.95 > np.mean(nearest)


# similarities


def loop_similarities(model: Orma, text: TokenBatch, graphs: GraphBatch) -> np.ndarray:
    """s₁, s₂, s₃ of every pair by loops over tokens, motifs and atoms, one unpadded plan at a time."""
    with torch.no_grad():
        sentence, tokens = model.encode_text(text).double().numpy(), model.encode_tokens(text).double().numpy()
        whole, motifs, atoms = (part.double().numpy() for part in model.hierarchy(graphs))
    found = np.zeros((3, len(text), len(graphs)))
    for i, j in np.ndindex(len(text), len(graphs)):
        words = tokens[i][text.mask[i].numpy()]
        own_motifs, own_atoms = (
            part[(owner == j).numpy()]
            for part, owner in ((motifs, graphs.motif_molecule), (atoms, graphs.atom_molecule))
        )
        found[0, i, j] = sentence[i] @ whole[j]
        everything = torch.ones(1, len(words), dtype=torch.bool), torch.ones(1, len(own_motifs), dtype=torch.bool)
        plan = transport_plans(torch.from_numpy(1 - words @ own_motifs.T)[None], *everything)[0]
        # a text of one token fills all motifs alike, and then goes to all
        goes = [[m for m, entry in enumerate(row.tolist()) if entry >= 0.9999 * max(row.tolist())] for row in plan]
        cosines = []
        for number, motif in enumerate(own_motifs):
            mine = [words[t] for t in range(len(words)) if number in goes[t]]
            if mine:
                mean = np.mean(mine, axis=0)
                cosines.append(mean @ motif / np.linalg.norm(mean))
        found[1, i, j] = np.mean(cosines)
        of_tokens = np.mean([max(word @ atom for atom in own_atoms) for word in words])
        of_atoms = np.mean([max(word @ atom for word in words) for atom in own_atoms])
        found[2, i, j] = (of_tokens + of_atoms) / 2 if model.matching == "both" else of_tokens
    return found


def of_pairs(model: Orma, text: TokenBatch, graphs: GraphBatch) -> Tensor:
    return model.part_similarities(model.pair_parts("text", text), model.pair_parts("molecules", graphs))


@pytest.mark.parametrize("matching", ["both", "tokens"])
def test_similarities_equal_loops_in_a_batch_and_in_pairs(matching: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # blocks of two molecules, so that a batch of five has three of them
    monkeypatch.setattr("class_kit.backbones.orma._PAIRS", 10)
    monkeypatch.setattr("class_kit.backbones.orma._ALIGNED", 2)
    model, (text, graphs) = make(matching=matching).eval(), batch()
    expected = loop_similarities(model, text, graphs)
    with torch.no_grad():
        np.testing.assert_allclose(model.similarities(text, graphs), expected, atol=2e-6)
        pairs = of_pairs(model, text, graphs)
        np.testing.assert_allclose(pairs, expected.diagonal(axis1=1, axis2=2), atol=2e-6)
        one = TokenBatch(text.sentence[2:3], text.tokens[2:3], text.mask[2:3])
        np.testing.assert_allclose(model.similarities(one, graphs), expected[:, 2:3], atol=2e-6)
        np.testing.assert_allclose(pair_scores(model, text, graphs), pairs.T @ torch.tensor(model.weights), rtol=1e-5)


def test_terms_are_weighted_symmetric_cross_entropies() -> None:
    model, (text, graphs) = make(alpha=0.5, beta=0.2).eval(), batch()
    near = torch.zeros(5, 5, dtype=torch.bool)
    near[0, 3] = True
    with torch.no_grad():
        terms = model.losses(text, graphs, not_negative=near)
        logits = (model.similarities(text, graphs).double() / 0.07).numpy()
    assert list(terms) == ["sentence_molecule", "multi_token_motif", "token_atom"]
    for term, level, weight in zip(terms.values(), logits, (0.5, 0.2, 0.3), strict=True):
        for i in range(5):
            row = [level[i, j] for j in range(5) if i == j or not near[i, j]]
            column = [level[j, i] for j in range(5) if i == j or not near[j, i]]
            expected = sum(math.log(sum(map(math.exp, line))) - level[i, i] for line in (row, column)) / 2
            assert term[i].item() == pytest.approx(weight * expected, rel=1e-4, abs=1e-5)


# slips that are easily made here


def test_equal_motifs_share_their_tokens_whatever_rounding_says() -> None:
    generator = torch.Generator().manual_seed(0)
    motifs = torch.nn.functional.normalize(torch.randn(3, 4, generator=generator), dim=1)[[0, 1, 0, 2]]
    tokens = torch.nn.functional.normalize(torch.randn(1, 30, 4, generator=generator), dim=2)
    noise = 1e-6 * torch.randn(1, 30, 1, 4, generator=generator)
    everything = torch.ones(1, 30, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool)
    cosines = (tokens @ motifs.T).unsqueeze(2) + noise
    assigned = assign_tokens(cosines, *everything)
    assert torch.equal(assigned[..., 0], assigned[..., 2])
    assert 0 < assigned[..., 0].sum() < 30


@pytest.mark.parametrize("term", ["sentence_molecule", "multi_token_motif", "token_atom"])
def test_every_term_trains_the_molecule_and_the_text(term: str) -> None:
    """Motifs and atoms are no constants: each level's loss reaches the atoms it started from, and the text."""
    model, (text, graphs) = make(), batch()
    atoms, tokens, sentence = (one.clone().requires_grad_() for one in (graphs.atoms, text.tokens, text.sentence))
    model.losses(TokenBatch(sentence, tokens, text.mask), replace(graphs, atoms=atoms))[term].sum().backward()
    assert atoms.grad.abs().sum() > 0
    assert all(layer.lin.weight.grad.abs().sum() > 0 for layer in model.hierarchy.convolutions)
    words = sentence.grad if term == "sentence_molecule" else tokens.grad
    assert words.abs().sum() > 0
    if term != "sentence_molecule":
        level = model.hierarchy.leave[1 if term == "multi_token_motif" else 2]
        assert level[-1].weight.grad.abs().sum() > 0


# the hierarchy


def test_edges_lead_upward_alone() -> None:
    graphs = molecules([[2, 2], [1]])
    # atoms 0-2 and 3, motifs 4, 5 and 6, molecules 7 and 8
    assert set(map(tuple, upward_edges(graphs).T.tolist())) == {
        (0, 1), (1, 0), (1, 2), (2, 1),
        (0, 4), (1, 4), (1, 5), (2, 5), (3, 6),
        (4, 7), (5, 7), (6, 8),
    }  # fmt: skip


def test_atoms_do_not_know_their_motifs_but_molecules_do() -> None:
    model, graphs = make().eval(), molecules([[3, 2], [1]])
    other = replace(graphs, motif_atoms=torch.tensor([[0, 1, 2, 3, 4], [0, 0, 1, 1, 2]]))
    with torch.no_grad():
        before, after = model.hierarchy(graphs), model.hierarchy(other)
    torch.testing.assert_close(before[2], after[2])
    assert not torch.allclose(before[1][:2], after[1][:2], atol=1e-4)
    assert not torch.allclose(before[0][0], after[0][0], atol=1e-5)
    torch.testing.assert_close(before[0][1], after[0][1])


def test_motifs_and_molecules_start_as_means(monkeypatch: pytest.MonkeyPatch) -> None:
    model, graphs = make(layers=1), molecules([[3, 2], [1]])
    seen = []
    monkeypatch.setattr(
        model.hierarchy.enter, "forward", lambda nodes: seen.append(nodes) or torch.zeros(len(nodes), 16)
    )
    model.hierarchy(graphs)
    atoms = model.hierarchy.scale(graphs.atoms)
    assert len(atoms) == 5
    motifs = [atoms[:3].mean(0), atoms[2:4].mean(0), atoms[4]]
    expected = torch.stack([*atoms, *motifs, (motifs[0] + motifs[1]) / 2, motifs[2]])
    torch.testing.assert_close(seen[0], expected)
