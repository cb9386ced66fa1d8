"""Backbones round another: the other is left what it was, and a training with them resumes to the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from class_kit.backbones import backbone_needs, create_backbone, register_backbone
from class_kit.backbones.base import Backbone, Needs
from class_kit.backbones.parts import CrossAttention, Items, items_of_molecules, vector_of
from class_kit.errors import InputError
from class_kit.training import train
from tests.attention_loops import ATOM, SMALL, TEXT, in_double, made, some_parts, some_vectors
from tests.test_training import CONFIG, WithCritic, pairs, plan_of, same, without_time


def test_padding_atoms_and_summing_them() -> None:
    _, graph = some_parts()
    items = items_of_molecules(graph)
    assert items.mask.sum(1).tolist() == [1, 3, 4, 2]
    start = 0
    for row, count in enumerate([1, 3, 4, 2]):
        torch.testing.assert_close(items.values[row, :count], graph.atoms[start : start + count])
        assert not items.values[row, count:].any()
        torch.testing.assert_close(vector_of(graph)[row], graph.atoms[start : start + count].sum(0))
        torch.testing.assert_close(items.mean()[row], graph.atoms[start : start + count].mean(0))
        start += count


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

    def pair_scores(self, text, molecules):
        return (self.text(text) * self.molecule(molecules)).sum(-1)


@pytest.fixture
def scored():
    register_backbone("scored")(Scored)


WRAPPED = {
    "denoising": {"inner": "scored", **SMALL},
    "distillation": {"student": "scored", "reads": "inner", **SMALL},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_the_inner_backbone_keeps_adversary_and_full_score(name: str, scored) -> None:
    model = made(name, some_vectors(), **WRAPPED[name]).eval()
    text, molecules = in_double(*some_vectors())
    assert isinstance(model.inner, Scored)
    assert [id(one) for one in model.critic_parameters()] == [id(one) for one in model.inner.critic.parameters()]
    assert (model.critic_steps, model.critic_learning_rate, model.reranks) == (2, Scored.critic_learning_rate, True)
    assert torch.equal(model.critic_losses(text, molecules)["tell"], model.inner.critic_losses(text, molecules)["tell"])
    assert torch.equal(model.pair_scores(text, molecules), model.inner.pair_scores(text, molecules))
    assert torch.equal(model.encode_text(text), model.inner.encode_text(text))
    assert torch.equal(model.encode_molecules(molecules), model.inner.encode_molecules(molecules))


@pytest.mark.parametrize("name", WRAPPED)
def test_resume_gives_the_same_bits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored) -> None:
    from class_kit.training.loop import Trainer

    config = replace(CONFIG, epochs=2, backbone=name, backbone_options=WRAPPED[name])
    given = pairs(24)
    whole = train(config, plan_of(24, 2), *given)
    original, taken = Trainer._step, 0

    def step(self, *rest):
        nonlocal taken
        if taken == 3:
            raise KeyboardInterrupt
        taken += 1
        original(self, *rest)

    monkeypatch.setattr(Trainer, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        train(config, plan_of(24, 2), *given, folder=tmp_path, checkpoint_every=1)
    monkeypatch.setattr(Trainer, "_step", original)
    resumed = train(config, plan_of(24, 2), *given, folder=tmp_path, resume=True)
    assert same(whole, resumed)
    assert without_time(whole.history) == without_time(resumed.history)
    assert {"fool", "critic/tell"} < set(whole.history[0])


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


class Numbers(Backbone):
    """Stands for a backbone that reads token numbers."""

    @classmethod
    def needs(cls, **options: Any) -> Needs:
        return Needs(text="ids")

    def __init__(self, text_dim: int, molecule_dim: int) -> None:
        super().__init__()

    def encode_text(self, text):
        raise NotImplementedError

    encode_molecules = encode_text

    def losses(self, text, molecules, *, not_negative=None):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("denoising", {"inner": "nope"}, "backbone 'nope' is unknown"),
        ("denoising", {"inner": 3}, "inner=3: expected the name"),
        ("denoising", {"inner_options": [1]}, r"inner_options=\[1\]: expected a mapping"),
        ("denoising", {"inner_options": {"depth": 2}}, "'dual_encoder' does not take the options"),
        ("denoising", {"reads": "all"}, "reads='all'"),
        ("denoising", {"corruption": "drop"}, "corruption='drop'"),
        ("denoising", {"share": 0.0}, "share=0.0"),
        ("denoising", {"share": 1.5}, "share=1.5"),
        ("denoising", {"weight": -1}, "weight=-1"),
        ("denoising", {"heads": 3}, "heads=3: expected a divisor of the width 256"),
        ("distillation", {"student": "nope"}, "backbone 'nope' is unknown"),
        ("distillation", {"student_options": {1: 2}}, "student_options="),
        ("distillation", {"score": "both"}, "score='both'"),
        ("distillation", {"negatives": 0}, "negatives=0"),
        ("distillation", {"dropout": 1}, "dropout=1"),
        ("distillation", {"temperature": 0}, "temperature=0"),
        ("distillation", {"student": "numbers"}, "'numbers' reads token numbers: wrap the other way round"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    register_backbone("numbers")(Numbers)
    with pytest.raises(InputError, match=message):
        create_backbone(name, TEXT, ATOM, **options)


def test_no_backbone_is_wrapped_in_its_like() -> None:
    model = create_backbone("denoising", TEXT, ATOM, inner="denoising")
    with pytest.raises(InputError, match="the term 'denoise_molecule' already"):
        model.losses(*some_vectors())
