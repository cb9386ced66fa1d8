"""Backbones round another: their terms against loops, who learns from whom, and an inner backbone left what it was."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from class_kit.backbones import backbone_needs, create_backbone, register_backbone
from class_kit.backbones.base import GraphBatch, Needs, TokenBatch
from class_kit.backbones.denoising import CrossAttention, Items, items_of, masked_coordinates
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
    single = CrossAttention(8, 2, single=True).double()
    single.load_state_dict({name: value for name, value in mine.state_dict().items() if name[:3] in {"val", "out"}})
    one = Items(memory[:, :1], mask[:, :1])
    torch.testing.assert_close(single(items, one), mine(items, one))


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


def test_the_inner_backbone_keeps_adversary_and_full_score(scored) -> None:
    model = made("denoising", some_vectors(), inner="scored", **SMALL).eval()
    text, molecules = in_double(*some_vectors())
    assert isinstance(model.inner, Scored)
    assert [id(one) for one in model.critic_parameters()] == [id(one) for one in model.inner.critic.parameters()]
    assert (model.critic_steps, model.critic_learning_rate, model.reranks) == (2, Scored.critic_learning_rate, True)
    assert torch.equal(model.critic_losses(text, molecules)["tell"], model.inner.critic_losses(text, molecules)["tell"])
    assert torch.equal(pair_scores(model, text, molecules), pair_scores(model.inner, text, molecules))
    assert torch.equal(model.encode_text(text), model.inner.encode_text(text))
    assert torch.equal(model.encode_molecules(molecules), model.inner.encode_molecules(molecules))


def test_needs_are_those_of_the_inner_backbone() -> None:
    graphs = {"molecule_encoder": "gcn"}
    assert backbone_needs("denoising") == Needs()
    assert backbone_needs("denoising", inner="text2mol", inner_options=graphs) == Needs("sentence", "graph")
    nested = yaml.safe_load("{inner: denoising, inner_options: {inner: text2mol, inner_options: {dim: 3}}}")
    assert backbone_needs("denoising", **nested) == Needs()
    model = create_backbone("denoising", TEXT, ATOM, **nested, **SMALL)
    assert model.inner.inner.text_tower.layers[1].out_features == 3


def test_no_backbone_is_wrapped_in_its_like() -> None:
    model = create_backbone("denoising", TEXT, ATOM, inner="denoising")
    with pytest.raises(InputError, match="already has the term 'denoise_molecule'"):
        model.losses(*some_vectors())


# denoising


@pytest.mark.parametrize(("inner", "given"), [("dual_encoder", some_vectors()), ("orma", some_parts())])
def test_denoising_equals_a_loop(inner: str, given: tuple[Any, Any]) -> None:
    model = made("denoising", given, inner=inner, inner_options=INNER, share=0.4, **SMALL).eval()
    text, molecules = in_double(*given)
    terms = model.losses(text, molecules)
    own = model.inner.losses(text, molecules)
    assert list(terms) == [*own, "denoise_text", "denoise_molecule"]
    for name, term in own.items():
        assert torch.equal(terms[name], term)
    tokens, atoms = (rows_of(items_of(text), model.text_scale), rows_of(items_of(molecules), model.molecule_scale))
    for name, denoiser, clean, other, encoded in (
        ("denoise_text", model.text_denoiser, tokens, atoms, model.encode_molecules(molecules)),
        ("denoise_molecule", model.molecule_denoiser, atoms, tokens, model.encode_text(text)),
    ):
        for pair in range(4):
            memory = [denoiser.encoded(encoded[pair]) for _ in other[pair]]
            if inner == "orma":
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
