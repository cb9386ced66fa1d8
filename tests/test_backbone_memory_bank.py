"""Memory bank: attention, second-order terms and the adversarial term against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from class_kit.backbones import create_backbone
from class_kit.backbones.memory_bank import MemoryBank, second_order_terms

SMALL = {"hidden": 8, "dim": 6, "slots": 5, "heads": 2, "critic_hidden": 4}
NAMES = [
    "text_to_molecule",
    "molecule_to_text",
    "second_order_within",
    "second_order_across",
    "second_order_between",
    "adversarial",
]


def vectors(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def units(rows: int, seed: int) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors(rows, 4, seed), dim=1)


def build(**options):
    torch.manual_seed(0)
    model = create_backbone("memory_bank", 5, 4, **SMALL | {"dropout": 0.0} | options).double()
    model.fit_inputs(vectors(30, 5), vectors(30, 4, 1))
    return model


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 5}, "heads=5: expected a divisor of dim=6"),
        ({"slots": 0}, "slots=0"),
        ({"hidden": 0}, "hidden=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"distribution_temperature": -1.0}, "distribution_temperature=-1.0"),
        ({"second_order": -0.1}, "second_order=-0.1"),
        ({"adversarial": math.nan}, "adversarial=nan"),
        ({"critic_hidden": 0}, "critic_hidden=0"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_backbone("memory_bank", 5, 4, **SMALL | options)


def test_every_head_reads_its_own_slice_of_the_memory() -> None:
    torch.manual_seed(0)
    bank = MemoryBank(6, 5, 2).double()
    queries, memory = vectors(3, 6), bank.memory.detach().numpy()
    for query, found in zip(queries.numpy(), bank(queries).detach().numpy(), strict=True):
        read = np.zeros(6)
        for head in range(2):
            part = slice(3 * head, 3 * head + 3)
            weights = np.array([math.exp(query[part] @ slot / math.sqrt(3)) for slot in memory[head]])
            read[part] = sum(w * slot for w, slot in zip(weights / weights.sum(), memory[head], strict=True))
        np.testing.assert_allclose(found, query + bank.output.weight.detach().numpy() @ read, rtol=1e-10)


def naive_second_order(t, m, temperature, left_out) -> dict[str, list[float]]:
    """KL divergences summed entry by entry, from Python floats."""

    def distribution(queries, others, i):
        kept = [j for j in range(len(t)) if j not in left_out[i]]
        weights = [math.exp(float(np.dot(queries[i], others[j])) / temperature) for j in kept]
        return [weight / sum(weights) for weight in weights]

    def kl(p, q):
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    def both(p, q):
        return (kl(p, q) + kl(q, p)) / 2

    found: dict[str, list[float]] = {"within": [], "across": [], "between": []}
    for i in range(len(t)):
        tt, tm = distribution(t, t, i), distribution(t, m, i)
        mm, mt = distribution(m, m, i), distribution(m, t, i)
        found["within"].append(both(tt, mm))
        found["across"].append(both(tm, mt))
        found["between"].append((both(tt, tm) + both(tt, mt) + both(mm, tm) + both(mm, mt)) / 4)
    return found


@pytest.mark.parametrize("marked", [[], [(0, 3), (4, 2), (5, 5)]])
def test_second_order_terms_equal_a_loop_over_divergences(marked: list[tuple[int, int]]) -> None:
    t, m = units(6, 1), units(6, 2)
    mask = torch.zeros(6, 6, dtype=torch.bool)
    left_out = {i: {i} for i in range(6)}
    for i, j in marked:
        mask[i, j] = True
        left_out[i].add(j)
        left_out[j].add(i)
    expected = naive_second_order(t.numpy(), m.numpy(), 0.3, left_out)
    found = second_order_terms(t, m, 0.3, mask if marked else None)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name].tolist() == pytest.approx(values, rel=1e-8)


def test_second_order_terms_vanish_where_texts_equal_molecules_and_where_nobody_is_left() -> None:
    t, m = units(5, 1), units(5, 2).requires_grad_()
    for term in second_order_terms(t, t, 0.1).values():
        assert term.abs().max() < 1e-12
    for arguments in ((t[:1], m[:1], 0.1), (t, m, 0.1, torch.ones(5, 5, dtype=torch.bool))):
        terms = second_order_terms(*arguments)
        assert all((term == 0).all() for term in terms.values())
        (gradient,) = torch.autograd.grad(sum(term.sum() for term in terms.values()), m)
        assert (gradient == 0).all()


def test_a_marked_pair_pulls_and_pushes_nothing() -> None:
    """With all pairs but the own ones marked, only the partners' own cosine is left, and with it no gradient."""
    text, molecules = vectors(4, 5, 3), vectors(4, 4, 4)
    model = build(adversarial=0.0)
    terms = model.losses(text, molecules, not_negative=torch.ones(4, 4, dtype=torch.bool))
    assert list(terms) == NAMES[:-1]
    assert all((term.abs() < 1e-12).all() for term in terms.values())
    sum(term.sum() for term in terms.values()).backward()
    assert all(parameter.grad is None or (parameter.grad.abs() < 1e-12).all() for parameter in model.parameters())


@pytest.mark.parametrize("masked", [False, True])
def test_losses_equal_loops(masked: bool) -> None:
    text, molecules = vectors(6, 5, 3), vectors(6, 4, 4)
    model = build(second_order=0.7, adversarial=0.2, distribution_temperature=0.4)
    mask = torch.zeros(6, 6, dtype=torch.bool)
    mask[1, 2] = mask[2, 1] = masked
    left_out = {i: {i} | ({3 - i} if masked and i in (1, 2) else set()) for i in range(6)}
    t, m = model.encode_text(text).detach(), model.encode_molecules(molecules).detach()
    score = model.critic(t).detach() - model.critic(m).detach()
    second = naive_second_order(t.numpy(), m.numpy(), 0.4, left_out)
    terms = model.losses(text, molecules, not_negative=mask if masked else None)
    assert list(terms) == NAMES
    z = (t @ m.T / 0.07).tolist()
    for i in range(6):
        open_to = [j for j in range(6) if j == i or j not in left_out[i]]
        row = math.log(sum(math.exp(z[i][j]) for j in open_to)) - z[i][i]
        column = math.log(sum(math.exp(z[j][i]) for j in open_to)) - z[i][i]
        expected = [row, column, *(0.7 * second[name][i] for name in second), 0.2 * score[i].item()]
        assert [terms[name][i].item() for name in NAMES] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_each_optimiser_gets_gradients_for_its_own_parameters_alone() -> None:
    text, molecules = vectors(6, 5, 3), vectors(6, 4, 4)
    model = build()
    critic = {id(parameter) for parameter in model.critic_parameters()}
    assert critic
    sum(term.mean() for term in model.losses(text, molecules).values()).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (id(parameter) in critic), name
    model.zero_grad(set_to_none=True)
    terms = model.critic_losses(text, molecules)
    assert "gradient_penalty" in terms
    sum(terms.values()).backward()
    # a constant added to all scores cancels in the critic's loss, so its gradient is there and zero
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in critic), name


def test_weights_of_zero_leave_the_terms_and_the_critic_out() -> None:
    text, molecules = vectors(4, 5, 3), vectors(4, 4, 4)
    model = build(second_order=0.0, adversarial=0.0)
    assert list(model.losses(text, molecules)) == NAMES[:2]
    assert not list(model.critic_parameters())
    assert model.critic_losses(text, molecules) == {}
    assert not any("critic" in name for name in model.state_dict())


def test_learns_a_batch_by_heart_beside_its_critic() -> None:
    generator = torch.Generator().manual_seed(1)
    text, molecules = torch.randn(12, 9, generator=generator), torch.randn(12, 8, generator=generator)
    torch.manual_seed(0)
    options = {"hidden": 32, "dim": 16, "slots": 8, "heads": 2, "critic_hidden": 8, "adversarial": 0.05}
    model = create_backbone("memory_bank", 9, 8, **options)
    model.fit_inputs(text, molecules)
    adversary = list(model.critic_parameters())
    ids = {id(parameter) for parameter in adversary}
    steps = [
        (torch.optim.Adam(adversary, lr=1e-3), model.critic_losses),
        (torch.optim.AdamW([p for p in model.parameters() if id(p) not in ids], lr=3e-3), model.losses),
    ]
    for _ in range(150):
        for optimizer, losses in steps:
            loss = sum(term.mean() for term in losses(text, molecules).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    scores = model.encode_text(text) @ model.encode_molecules(molecules).T
    assert scores.argmax(1).tolist() == list(range(12))
    alone = model.losses(text[:1], molecules[:1])
    assert all(term.shape == (1,) and torch.isfinite(term).all() for term in alone.values())
