"""A text encoder within a backbone: what it reads, what reaches it, and how a batch is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.backbones.base import Needs, TokenBatch
from class_kit.backbones.finetuned import pieces_of
from class_kit.errors import InputError
from class_kit.text import embed_text
from class_kit.text.tokens import text_tokens
from class_kit.training import train
from tests.test_training import plan_of
from tests.tiny_bert import READER, batch_of, config_of, made, molecules, texts, write_bert


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bert(tmp_path_factory.mktemp("bert"), dropout=0.1)


@pytest.fixture(scope="module")
def still_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bert(tmp_path_factory.mktemp("still"), dropout=0.0)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_it_reads_what_the_frozen_encoder_reads(pooling: str, bert: str) -> None:
    model = made(bert, pooling=pooling, piece_tokens=30).eval()
    found = model.inner_text(batch_of(bert)).detach()
    np.testing.assert_allclose(found, embed_text(texts(), bert, pooling=pooling), rtol=1e-4, atol=1e-5)


def test_tokens_are_those_of_the_frozen_encoder(bert: str) -> None:
    model = made(bert, piece_tokens=30, **READER).eval()
    assert model.inner.inputs.text == "tokens"
    found = model.inner_text(batch_of(bert))
    assert isinstance(found, TokenBatch)
    expected = text_tokens(texts(), bert, dtype="float32").take(np.arange(24))
    assert torch.equal(found.mask, expected.mask)
    for mine, frozen in ((found.tokens, expected.tokens), (found.sentence, expected.sentence)):
        torch.testing.assert_close(mine, frozen, rtol=1e-4, atol=1e-5)
    assert not found.tokens[~found.mask].any()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("options", [{}, READER], ids=["sentence", "tokens"])
def test_pieces_change_neither_vectors_nor_gradients(
    options: dict[str, Any], checkpointing: bool, still_bert: str
) -> None:
    found = []
    for tokens in (1, 50, 100_000):
        model = made(still_bert, piece_tokens=tokens, checkpointing=checkpointing, **options)
        batch = batch_of(still_bert)
        read = model.inner_text(batch)
        vectors = read.tokens if isinstance(read, TokenBatch) else read
        (vectors * torch.linspace(-1, 1, vectors.numel()).view_as(vectors)).sum().backward()
        found.append((vectors.detach(), {name: p.grad for name, p in model.encoder.named_parameters()}))
    for vectors, gradients in found[:2]:
        torch.testing.assert_close(vectors, found[2][0], rtol=1e-4, atol=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, found[2][1][name], rtol=1e-3, atol=1e-4, msg=name)


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 200))
def test_pieces_hold_every_row_once_within_the_budget(lengths: list[int], budget: int) -> None:
    pieces = pieces_of(lengths, budget)
    assert sorted(row for rows in pieces for row in rows) == list(range(len(lengths)))
    for rows in pieces:
        assert len(rows) == 1 or len(rows) * max(lengths[row] for row in rows) <= budget
    assert [lengths[row] for rows in pieces for row in rows] == sorted(lengths, reverse=True)


def test_gradients_reach_every_weight_of_the_encoder_and_of_the_head(bert: str) -> None:
    model = made(bert)
    batch, graph = batch_of(bert), torch.from_numpy(molecules())
    model.fit_inputs(batch, graph)
    torch.stack([term.mean() for term in model.losses(batch, graph).values()]).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any() or "key.bias" in name, name
    assert not any("pooler" in name for name, _ in model.named_parameters())


def test_checkpointing_repeats_the_same_dropout(bert: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = made(bert, checkpointing=checkpointing)
        torch.manual_seed(7)
        model.losses(batch_of(bert), torch.from_numpy(molecules()))["text_to_molecule"].mean().backward()
        gradients.append([parameter.grad for parameter in model.encoder.parameters()])
    for kept, repeated in zip(*gradients, strict=True):
        assert torch.equal(kept, repeated)


def test_what_does_not_fit_is_refused(bert: str, tmp_path: Path) -> None:
    needs = backbone_needs("finetuned", inner="text2mol", inner_options={"molecule_encoder": "gcn"}, encoder=bert)
    assert needs == Needs("ids", "graph")
    with pytest.raises(InputError, match="text_dim=12: expected 16"):
        create_backbone("finetuned", 12, 10, encoder=bert)
    for options, message in (
        ({"encoder_rate": -1.0}, "encoder_rate=-1.0"),
        ({"pooling": "max"}, "pooling='max'"),
        ({"piece_tokens": 0}, "piece_tokens=0"),
        (
            {"inner": "finetuned", "inner_options": {}},
            "inner='finetuned' reads token numbers: wrap the other way round",
        ),
        ({"encoder": "nowhere"}, "text encoder 'nowhere'"),
    ):
        with pytest.raises(InputError, match=message):
            made(bert, **options) if "encoder" not in options else made(**options)
    with pytest.raises(InputError, match="numbered for another encoder"):
        made(bert).inner_text(batch_of(write_bert(tmp_path, 0.1, seed=1)))
    with pytest.raises(InputError, match="needs text as ids, got sentence"):
        train(config_of(bert), plan_of(24, 2), np.ones((24, 16), np.float32), molecules())
