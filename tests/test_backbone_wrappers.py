"""Backbones round another: their terms against loops, who learns from whom, and an inner backbone left what it was."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from class_kit.backbones import backbone_needs, create_backbone, register_backbone
from class_kit.backbones.base import GraphBatch, Needs, TokenBatch
from class_kit.backbones.denoising import masked_coordinates
from class_kit.backbones.distillation import wrong_partners
from class_kit.backbones.wrapper import CrossAttention, Items, items_of
from class_kit.errors import InputError
from tests.backbone_pairs import graph_batch, pair_scores, token_batch
from tests.test_training import WithCritic

TEXT, ATOM = 6, 5
INNER = {"hidden": 8, "dim": 4, "dropout": 0.0}
SMALL = {"width": 8, "heads": 2}


def some_parts() -> tuple[TokenBatch, GraphBatch]:
    """Four pairs; one text of a single token, one molecule of a single atom."""
    return token_batch([2, 4, 1, 3], TEXT, seed=1), graph_batch([[1], [3], [4], [2]], ATOM)


def some_vectors() -> tuple[torch.Tensor, torch.Tensor]:
    """Four pairs of vectors."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(4, TEXT, generator=generator), torch.randn(4, ATOM, generator=generator) * 3 + 1


def made(name: str, inputs: tuple[Any, Any], **options: Any) -> Any:
    torch.manual_seed(0)
    model = create_backbone(name, TEXT, ATOM, **options)
    model.fit_inputs(*inputs)
    return model.double()


def in_double(text: Any, molecules: Any) -> tuple[Any, Any]:
    if not isinstance(text, TokenBatch):
        return text.double(), molecules.double()
    text = replace(text, sentence=text.sentence.double(), tokens=text.tokens.double())
    return text, replace(molecules, atoms=molecules.atoms.double(), bond_features=molecules.bond_features.double())


def attended(attention: CrossAttention, item: Tensor, memory: list[Tensor]) -> Tensor:
    """What one item reads from a memory."""
    rows = Items(torch.stack(memory)[None], torch.ones(1, len(memory), dtype=torch.bool))
    return attention(item[None, None], rows)[0, 0]


def rows_of(items: Items, layers: Any) -> list[list[Tensor]]:
    return [list(layers(values[mask])) for values, mask in zip(items.values, items.mask, strict=True)]


def test_attention_equals_torchs_own_and_skips_padding() -> None:
    torch.manual_seed(0)
    mine = CrossAttention(8, 2).double()
    library = torch.nn.MultiheadAttention(8, 2, batch_first=True).double()
    with torch.no_grad():
        library.in_proj_weight.copy_(torch.cat([mine.query.weight, mine.key.weight, mine.value.weight]))
        library.in_proj_bias.copy_(torch.cat([mine.query.bias, torch.zeros(8), mine.value.bias]))
        library.out_proj.load_state_dict(mine.out.state_dict())
    items, memory = torch.randn(3, 4, 8).double(), torch.randn(3, 5, 8).double()
    mask = torch.arange(5) < torch.tensor([5, 1, 3])[:, None]
    expected = library(items, memory, memory, key_padding_mask=~mask)[0]
    torch.testing.assert_close(mine(items, Items(memory, mask)), expected)
    rows, others = torch.tensor([2, 0, 0]), torch.tensor([1, 1, 2])
    meeting = mine(items, Items(memory, mask), (rows, others))
    torch.testing.assert_close(meeting, mine(items[rows], Items(memory[others], mask[others])))
    single = CrossAttention(8, 2, single=True).double()
    single.load_state_dict({name: value for name, value in mine.state_dict().items() if name[:3] in {"val", "out"}})
    one = Items(memory[:, :1], mask[:, :1])
    torch.testing.assert_close(single(items, one), mine(items, one))
    torch.testing.assert_close(single(items, one, (rows, others)), mine(items, one, (rows, others)))


class Scored(WithCritic):
    """With an adversary and with a full score."""

    reranks = True

    def pair_parts(self, side, batch):
        return [(vector,) for vector in (self.text if side == "text" else self.molecule)(batch)]

    def part_scores(self, texts, molecules):
        return torch.stack([t @ m for (t,), (m,) in zip(texts, molecules, strict=True)])


@pytest.fixture
def scored():
    register_backbone("scored")(Scored)


WRAPPED = {"denoising": {"inner": "scored", **SMALL}, "distillation": {"student": "scored", "reads": "inner", **SMALL}}


@pytest.mark.parametrize("name", WRAPPED)
def test_the_inner_backbone_keeps_adversary_and_full_score(name: str, scored) -> None:
    model = made(name, some_vectors(), **WRAPPED[name]).eval()
    text, molecules = in_double(*some_vectors())
    assert isinstance(model.inner, Scored)
    assert [id(one) for one in model.critic_parameters()] == [id(one) for one in model.inner.critic.parameters()]
    assert (model.critic_steps, model.critic_learning_rate, model.reranks) == (2, Scored.critic_learning_rate, True)
    assert torch.equal(model.critic_losses(text, molecules)["tell"], model.inner.critic_losses(text, molecules)["tell"])
    assert torch.equal(pair_scores(model, text, molecules), pair_scores(model.inner, text, molecules))
    assert torch.equal(model.encode_text(text), model.inner.encode_text(text))
    assert torch.equal(model.encode_molecules(molecules), model.inner.encode_molecules(molecules))


def test_needs_follow_from_the_inner_and_from_what_is_read() -> None:
    graphs = {"molecule_encoder": "gcn"}
    assert backbone_needs("denoising") == Needs()
    assert backbone_needs("denoising", inner="text2mol", inner_options=graphs) == Needs("sentence", "graph")
    assert backbone_needs("denoising", reads="parts") == backbone_needs("distillation") == Needs("tokens", "graph")
    assert (
        backbone_needs("distillation", student="text2mol", student_options=graphs, reads="inner").molecules == "graph"
    )
    nested = yaml.safe_load(
        "{student: denoising, student_options: {inner: text2mol, inner_options: {dim: 3}}, reads: inner}"
    )
    assert backbone_needs("distillation", **nested) == Needs()
    assert (
        create_backbone("distillation", TEXT, ATOM, **nested, **SMALL).inner.inner.text_tower.layers[1].out_features
        == 3
    )


def test_no_backbone_is_wrapped_in_its_like() -> None:
    model = create_backbone("denoising", TEXT, ATOM, inner="denoising")
    with pytest.raises(InputError, match="already has the term 'denoise_molecule'"):
        model.losses(*some_vectors())


# denoising


@pytest.mark.parametrize("reads", ["inner", "parts"])
def test_denoising_equals_a_loop(reads: str) -> None:
    given = some_vectors() if reads == "inner" else some_parts()
    model = made("denoising", given, inner_options=INNER, reads=reads, share=0.4, **SMALL).eval()
    text, molecules = in_double(*given)
    terms = model.losses(text, molecules)
    inner = model.inner.losses(model.inner_text(text), model.inner_molecules(molecules))
    assert list(terms) == [*inner, "denoise_text", "denoise_molecule"]
    for name, term in inner.items():
        assert torch.equal(terms[name], term)
    tokens, atoms = (rows_of(items_of(text), model.text_scale), rows_of(items_of(molecules), model.molecule_scale))
    for name, denoiser, clean, other, encoded in (
        ("denoise_text", model.text_denoiser, tokens, atoms, model.encode_molecules(molecules)),
        ("denoise_molecule", model.molecule_denoiser, atoms, tokens, model.encode_text(text)),
    ):
        for pair in range(4):
            memory = [denoiser.encoded(encoded[pair]) for _ in other[pair]]
            if reads == "parts":
                memory = [one + denoiser.part(item) for one, item in zip(memory, other[pair], strict=True)]
            errors = []
            for item in clean[pair]:
                width = len(item)
                touched = [round((at + 1) * 0.4) > round(at * 0.4) for at in range(width)]
                query = denoiser.item(item * ~torch.tensor(touched))
                restored = denoiser.restore(denoiser.norm(query + attended(denoiser.attention, query, memory)))
                errors += [(restored[at] - item[at]) ** 2 for at in range(width) if touched[at]]
            torch.testing.assert_close(terms[name][pair], sum(errors) / len(errors))


def test_a_share_of_the_coordinates_is_masked() -> None:
    torch.manual_seed(0)
    clean = torch.randn(400, 50)
    drawn = masked_coordinates(clean, 0.3, draw=True)
    assert drawn.float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert not torch.equal(drawn[0], drawn[1])
    assert masked_coordinates(clean, 0.3, draw=False).sum(1).tolist() == [15] * 400
    assert masked_coordinates(clean, 1.0, draw=False).all()


def test_denoising_trains_the_encoders_through_the_other_side_alone() -> None:
    text, molecules = some_vectors()
    torch.manual_seed(0)
    model = create_backbone("denoising", TEXT, ATOM, inner_options=INNER, **SMALL)
    model.fit_inputs(text, molecules)
    for name, moved, still in (
        ("denoise_text", model.inner.molecule_tower, model.inner.text_tower),
        ("denoise_molecule", model.inner.text_tower, model.inner.molecule_tower),
    ):
        model.zero_grad()
        model.losses(text, molecules)[name].sum().backward()
        assert all(parameter.grad.any() for parameter in moved.parameters() if parameter.ndim > 1)
        assert all(parameter.grad is None for parameter in still.parameters())
    # what is restored is no parameter's to change, even where the inputs are trained
    text.requires_grad_()
    model.share = 1.0
    (gradient,) = torch.autograd.grad(model.losses(text, molecules)["denoise_text"].sum(), text)
    assert not gradient.any()


# distillation


@pytest.mark.parametrize("reads", ["inner", "parts"])
@pytest.mark.parametrize("training", [False, True])
def test_distillation_equals_a_loop(reads: str, training: bool) -> None:
    given = some_vectors() if reads == "inner" else some_parts()
    options: dict[str, Any] = {"student_options": INNER, "reads": reads, "negatives": 2, "dropout": 0.0, "weight": 0.5}
    model = made("distillation", given, **options, **SMALL).train(training)
    text, molecules = in_double(*given)
    teacher = model.teacher
    tokens = rows_of(items_of(text), teacher.text_items)
    atoms = rows_of(items_of(molecules), teacher.molecule_items)

    def met(i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        read = [teacher.text_norm(x + attended(teacher.text_reads, x, atoms[j])) for x in tokens[i]]
        back = [teacher.molecule_norm(y + attended(teacher.molecule_reads, y, tokens[i])) for y in atoms[j]]
        t, m = teacher.text_head(sum(read) / len(read)), teacher.molecule_head(sum(back) / len(back))
        return (t / t.norm()).detach().numpy(), (m / m.norm()).detach().numpy()

    own = [met(i, i) for i in range(4)]
    scale = math.exp(model.scale.log_scale.item())
    blocked = torch.zeros(4, 4, dtype=torch.bool)
    blocked[0, 2] = blocked[3, 1] = True
    for near in (None, blocked):
        torch.manual_seed(5)
        shifts = wrong_partners(4, 2 if training else None).tolist()
        assert len(shifts) == (2 if training else 3)
        torch.manual_seed(5)
        terms = model.losses(text, molecules, not_negative=near)

        def allowed(i: int, j: int, near=near) -> bool:
            return near is None or not near[i, j]

        for i in range(4):
            right = scale * own[i][0] @ own[i][1]
            forward = [scale * own[i][0] @ own[k][1] for k in range(4) if k == i or allowed(i, k)]
            backward = [scale * own[k][0] @ own[i][1] for k in range(4) if k == i or allowed(k, i)]
            for shift in shifts:
                j, k = (i + shift) % 4, (i - shift) % 4
                forward += [scale * np.dot(*met(i, j))] if allowed(i, j) else []
                backward += [scale * np.dot(*met(k, i))] if allowed(k, i) else []
            for name, found in (("teacher_text_to_molecule", forward), ("teacher_molecule_to_text", backward)):
                expected = math.log(sum(map(math.exp, found))) - right
                assert terms[name][i].item() == pytest.approx(expected, rel=1e-8, abs=1e-10), name
            a, b = model.encode_text(text)[i].detach().numpy(), model.encode_molecules(molecules)[i].detach().numpy()
            assert terms["imitate_text"][i].item() == pytest.approx(0.5 * (1 - a @ own[i][0]), rel=1e-8)
            assert terms["imitate_molecule"][i].item() == pytest.approx(0.5 * (1 - b @ own[i][1]), rel=1e-8)


def test_the_student_imitates_and_the_teacher_does_not() -> None:
    torch.manual_seed(0)
    model = create_backbone("distillation", TEXT, ATOM, student_options=INNER, **SMALL)
    model.fit_inputs(*some_parts())
    terms = model.losses(*some_parts())
    for names, moved, still in (
        (("imitate_text", "imitate_molecule"), model.inner, model.teacher),
        (("teacher_text_to_molecule", "teacher_molecule_to_text"), model.teacher, model.inner),
    ):
        model.zero_grad()
        sum(terms[name].sum() for name in names).backward(retain_graph=True)
        assert all(parameter.grad is None for parameter in still.parameters())
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in moved.parameters())
