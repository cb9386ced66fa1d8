"""A text encoder that is trained too: what it reads, how a batch is cut, its rate, its precision and its record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.backbones.base import IdBatch, Needs, TokenBatch
from class_kit.backbones.finetuned import Finetuned, pieces_of
from class_kit.errors import InputError
from class_kit.molecules import Mol2vecVectors
from class_kit.molecules.graphs import molecule_graphs
from class_kit.text import embed_text
from class_kit.text.tokens import text_ids, text_tokens
from class_kit.training import TrainingConfig, encode, train
from class_kit.training.optimizers import make_optimizers
from tests.test_training import plan_of, resumes_to_the_same_bits, trace_of
from tests.tiny_bert import texts, write_bert

PAIRS = 24
HEADS = {"hidden": 16, "dim": 8, "dropout": 0.0}
# an inner backbone that reads tokens
READER: dict[str, Any] = {"inner": "orma", "inner_options": HEADS}
MOLECULES = np.random.default_rng(4).normal(size=(PAIRS, 10)).astype(np.float32)


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bert(tmp_path_factory.mktemp("bert"), dropout=0.1)


@pytest.fixture(scope="module")
def still_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bert(tmp_path_factory.mktemp("still"), dropout=0.0)


def config_of(encoder: str, rate: float = 1e-3, precision: str = "float32", **options: Any) -> TrainingConfig:
    chosen = {"inner_options": HEADS, "encoder": encoder, "piece_tokens": 40, "encoder_rate": rate, **options}
    return TrainingConfig(
        epochs=2,
        batch_size=8,
        learning_rate=5e-3,
        precision=precision,
        backbone="finetuned",
        backbone_options=chosen,
    )


def made(encoder: str, **options: Any) -> Finetuned:
    torch.manual_seed(0)
    found = create_backbone("finetuned", 16, 10, **{"inner_options": HEADS, "encoder": encoder, **options})
    assert isinstance(found, Finetuned)
    return found


def batch_of(encoder: str) -> IdBatch:
    return text_ids(texts(), encoder).take(np.arange(PAIRS))


def trained(config: TrainingConfig, encoder: str) -> Any:
    return train(config, plan_of(PAIRS, 2), text_ids(texts(), encoder), MOLECULES)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_it_reads_what_the_frozen_encoder_reads(pooling: str, bert: str) -> None:
    model = made(bert, pooling=pooling, piece_tokens=30).eval()
    found = model.inner_text(batch_of(bert)).detach()
    np.testing.assert_allclose(found, embed_text(texts(), bert, pooling=pooling), rtol=1e-4, atol=1e-5)


def test_tokens_are_those_of_the_frozen_encoder(bert: str) -> None:
    model = made(bert, piece_tokens=30, **READER).eval()
    found = model.inner_text(batch_of(bert))
    assert isinstance(found, TokenBatch)
    expected = text_tokens(texts(), bert, dtype="float32").take(np.arange(PAIRS))
    assert torch.equal(found.mask, expected.mask)
    for mine, frozen in ((found.tokens, expected.tokens), (found.sentence, expected.sentence)):
        torch.testing.assert_close(mine, frozen, rtol=1e-4, atol=1e-5)
    assert not found.tokens[~found.mask].any()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("options", [{}, READER], ids=["sentence", "tokens"])
def test_pieces_change_neither_vectors_nor_gradients(options, checkpointing, still_bert) -> None:
    found = []
    for tokens in (1, 50, 100_000):
        model = made(still_bert, piece_tokens=tokens, checkpointing=checkpointing, **options)
        read = model.inner_text(batch_of(still_bert))
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


def test_gradients_reach_every_weight_and_checkpointing_repeats_the_same_dropout(bert: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model, batch, molecules = made(bert, checkpointing=checkpointing), batch_of(bert), torch.from_numpy(MOLECULES)
        model.fit_inputs(batch, molecules)
        torch.manual_seed(7)
        torch.stack([term.mean() for term in model.losses(batch, molecules).values()]).sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any() or "key.bias" in name, name
        gradients.append([parameter.grad for parameter in model.parameters()])
    for kept, repeated in zip(*gradients, strict=True):
        assert torch.equal(kept, repeated)
    assert not any("pooler" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_rate": -1.0}, "encoder_rate=-1.0"),
        ({"pooling": "max"}, "pooling='max'"),
        ({"piece_tokens": 0}, "piece_tokens=0"),
        (
            {"inner": "finetuned", "inner_options": {}},
            "inner='finetuned' reads token ids: expected finetuned as the outermost",
        ),
        ({"encoder": "nowhere"}, "text encoder 'nowhere'"),
        ({"text_dim": 12}, "text_dim=12: expected 16"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str, bert: str) -> None:
    given = {"text_dim": 16, "molecule_dim": 10, "encoder": bert, **options}
    with pytest.raises(InputError, match=message):
        create_backbone("finetuned", **given)


def test_inputs_that_do_not_fit_are_refused(bert: str, tmp_path: Path) -> None:
    needs = backbone_needs("finetuned", inner="text2mol", inner_options={"molecule_encoder": "gcn"}, encoder=bert)
    assert needs == Needs("ids", "graph")
    with pytest.raises(InputError, match="come from another encoder"):
        made(bert).inner_text(batch_of(write_bert(tmp_path, 0.1, seed=1)))
    with pytest.raises(InputError, match=r"text given as sentence: backbone .* expected ids"):
        train(config_of(bert), plan_of(PAIRS, 2), np.ones((PAIRS, 16), np.float32), MOLECULES)


def graphs() -> Any:
    values = np.random.default_rng(0).normal(size=(2, 10)).astype(np.float32)
    words = Mol2vecVectors(("864662311", "UNK"), values, "test")
    return molecule_graphs([f"{'C' * (1 + number % 6)}O" for number in range(PAIRS)], vectors=words)


@pytest.mark.parametrize(("rate", "reads"), [(0.0, "sentence"), (1e-12, "tokens")])
def test_without_a_rate_it_is_the_frozen_run(rate: float, reads: str, bert: str, still_bert: str) -> None:
    # at a rate of exactly 0 the encoder is frozen and has no dropout either
    encoder = bert if rate == 0 else still_bert
    if reads == "sentence":
        options, molecules, frozen_text = {}, MOLECULES, embed_text(texts(), encoder)
    else:
        options, molecules, frozen_text = READER, graphs(), text_tokens(texts(), encoder, dtype="float32")
    config = config_of(encoder, rate, **options)
    tuned = train(config, plan_of(PAIRS, 2), text_ids(texts(), encoder), molecules)
    inner = {"backbone": options.get("inner", "dual_encoder"), "backbone_options": options.get("inner_options", HEADS)}
    frozen = train(replace(config, **inner), plan_of(PAIRS, 2), frozen_text, molecules)
    for entry, other in zip(tuned.history, frozen.history, strict=True):
        assert entry["loss"] == pytest.approx(other["loss"], rel=1e-3)
    for name, value in frozen.backbone.state_dict().items():
        torch.testing.assert_close(tuned.backbone.inner.state_dict()[name], value, rtol=1e-2, atol=1e-4)
    if rate == 0:
        before = made(encoder).encoder.state_dict()
        assert all(torch.equal(value, before[name]) for name, value in tuned.backbone.encoder.state_dict().items())


def test_the_encoder_has_a_rate_of_its_own(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from class_kit.training.loop import Trainer

    seen: list[tuple[float, float]] = []
    original = Trainer._step

    def step(self, *rest):
        original(self, *rest)
        seen.append(tuple(group["lr"] for group in self.optimizers["optimizer"].param_groups))

    monkeypatch.setattr(Trainer, "_step", step)
    config = config_of(bert, rate=1e-4)
    model = made(bert, encoder_rate=1e-4)
    groups = make_optimizers(config, model)["optimizer"].param_groups
    own = {id(parameter) for parameter in model.encoder.parameters()}
    assert {id(parameter) for parameter in groups[1]["params"]} == own
    assert not own & {id(parameter) for parameter in groups[0]["params"]}
    trained(config, bert)
    assert len({heads for heads, _ in seen}) > 2
    assert all(rate == pytest.approx(0.02 * heads) for heads, rate in seen)
    # one group where no rate is asked for
    frozen = made(bert, encoder_rate=0.0)
    (group,) = make_optimizers(config, frozen)["optimizer"].param_groups
    assert len(group["params"]) == len(list(frozen.inner.parameters()))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resume_gives_the_same_bits(precision: str, bert: str, tmp_path: Path) -> None:
    config, given = config_of(bert, precision=precision), (text_ids(texts(), bert), MOLECULES)
    resumes_to_the_same_bits(config, lambda: plan_of(PAIRS, 2), given, tmp_path, [3], validate=trace_of(given))


def test_bfloat16_is_the_encoders_alone(still_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[torch.dtype]] = {"encoder": set(), "head": set()}
    model_of = Finetuned.losses

    def watched(self, *given, **options):
        parts = {"encoder": self.encoder.encoder.layer[0].output.dense, "head": self.inner.text_tower.layers[0]}
        handles = [
            part.register_forward_hook(lambda _, __, out, name=name: seen[name].add(out.dtype))
            for name, part in parts.items()
        ]
        found = model_of(self, *given, **options)
        for handle in handles:
            handle.remove()
        return found

    monkeypatch.setattr(Finetuned, "losses", watched)
    exact = trained(config_of(still_bert), still_bert)
    assert seen == {"encoder": {torch.float32}, "head": {torch.float32}}
    rough = trained(config_of(still_bert, precision="bfloat16"), still_bert)
    assert seen == {"encoder": {torch.float32, torch.bfloat16}, "head": {torch.float32}}
    assert {value.dtype for value in rough.backbone.state_dict().values()} == {torch.float32}
    assert rough.history[-1]["loss"] == pytest.approx(exact.history[-1]["loss"], rel=0.05)
    assert rough.history[-1]["loss"] != exact.history[-1]["loss"]


def test_weights_of_the_encoder_are_kept_and_the_loaded_one_is_left_alone(bert: str) -> None:
    before = embed_text(texts(), bert, cache=False)
    result = trained(config_of(bert), bert)
    np.testing.assert_array_equal(embed_text(texts(), bert, cache=False), before)
    # pieces of one size, since a vector moves in its last bits with what is encoded beside it
    fresh = made(bert, piece_tokens=40)
    fresh.load_state_dict(result.backbone.state_dict())
    ids = text_ids(texts(), bert)
    np.testing.assert_array_equal(encode(fresh, "text", ids), encode(result.backbone, "text", ids))
    assert not np.allclose(encode(fresh, "text", ids), encode(made(bert), "text", ids))
