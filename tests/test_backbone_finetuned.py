"""A text encoder that is trained: what it gives, what reaches it, and that batches and resumes stay what they are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.backbones.base import Needs, TokenBatch
from class_kit.backbones.finetuned import Finetuned, pieces_of
from class_kit.backbones.ids import IdBatch
from class_kit.errors import InputError
from class_kit.text import embed_text
from class_kit.text.ids import text_ids
from class_kit.text.tokens import text_tokens
from class_kit.training import TrainingConfig, encode, train
from class_kit.training.config import main_optimizer
from class_kit.training.inputs import IdInputs, TokenInputs, as_inputs
from tests.test_training import same, without_time

WORDS = (
    "the",
    "molecule",
    "is",
    "an",
    "acid",
    "ester",
    "steroid",
    "role",
    "as",
    "androgen",
    "derives",
    "from",
    "water",
    "sugar",
    "ring",
    "long",
    "chain",
)
HEADS = {"hidden": 16, "dim": 8, "dropout": 0.0}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def make_bert(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Writes a BERT of two narrow layers with random weights, its vocabulary a few words and all letters."""
    from transformers import BertConfig, BertModel

    def make(dropout: float, seed: int = 0) -> str:
        place = tmp_path_factory.mktemp("bert")
        letters = [chr(code) for code in range(97, 123)]
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{one}" for one in letters)]
        (place / "vocab.txt").write_text("\n".join(words) + "\n")
        torch.manual_seed(seed)
        BertModel(
            BertConfig(
                vocab_size=len(words),
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=300,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                initializer_range=0.3,
            )
        ).save_pretrained(place)
        return str(place)

    return make


@pytest.fixture(scope="module")
def bert(make_bert) -> str:
    return make_bert(0.1)


@pytest.fixture(scope="module")
def still_bert(make_bert) -> str:
    return make_bert(0.0)


def texts(count: int = 24) -> list[str]:
    rng = np.random.default_rng(3)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 20))) for _ in range(count)]


def molecules(count: int = 24) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(count, 10)).astype(np.float32)


def plan_of(rows: int = 24, epochs: int = 2) -> Any:
    from tests.test_training import plan_of as plan

    return plan(rows, epochs)


def config_of(encoder: str, *, epochs: int = 2, rate: float = 1e-3, **changes: Any) -> TrainingConfig:
    options = {"inner": "dual_encoder", "inner_options": HEADS, "encoder": encoder, "piece_tokens": 40}
    own = {name: changes.pop(name) for name in ("inner", "inner_options", "checkpointing") if name in changes}
    return TrainingConfig(
        epochs=epochs,
        batch_size=8,
        learning_rate=5e-3,
        backbone="finetuned",
        backbone_options={**options, "encoder_rate": rate, **own},
        **changes,
    )


def made(encoder: str, **options: Any) -> Finetuned:
    torch.manual_seed(0)
    found = create_backbone("finetuned", 16, 10, **{"inner_options": HEADS, "encoder": encoder, **options})
    assert isinstance(found, Finetuned)
    return found


def batch_of(encoder: str, count: int = 24) -> IdBatch:
    return IdInputs(text_ids(texts(count), encoder)).take(np.arange(count), "cpu")


# an inner backbone that reads tokens
READER: dict[str, Any] = {
    "inner": "denoising",
    "inner_options": {"reads": "parts", "inner_options": HEADS, "width": 8},
}


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_it_reads_what_the_frozen_encoder_reads(pooling: str, bert: str) -> None:
    model = made(bert, pooling=pooling, piece_tokens=30).eval()
    found = model.read(batch_of(bert)).detach()
    np.testing.assert_allclose(found, embed_text(texts(), bert, pooling=pooling), rtol=1e-4, atol=1e-5)


def test_tokens_are_those_of_the_frozen_encoder(bert: str) -> None:
    model = made(bert, piece_tokens=30, **READER).eval()
    assert model.inner.inputs.text == "tokens"
    found = model.read(batch_of(bert))
    assert isinstance(found, TokenBatch)
    expected = TokenInputs(text_tokens(texts(), bert, dtype="float32")).take(np.arange(24), "cpu")
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
        read = model.read(batch)
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


def test_training_the_encoder_lowers_the_loss_further(still_bert: str) -> None:
    last = {}
    for rate in (0.0, 3e-3):
        config = config_of(still_bert, epochs=12, rate=rate)
        result = train(config, plan_of(epochs=12), text_ids(texts(), still_bert), molecules())
        last[rate] = result.history[-1]["loss"]
        before, after = made(still_bert).encoder.state_dict(), result.backbone.encoder.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items()) == (rate == 0)
    assert last[3e-3] < 0.9 * last[0.0]


@pytest.mark.parametrize("rate", [0.0, 1e-12])
@pytest.mark.parametrize("inner", ["sentence", "tokens"])
def test_without_a_rate_it_is_the_frozen_run(rate: float, inner: str, bert: str, still_bert: str) -> None:
    # at a rate of exactly 0 the encoder is frozen and has no dropout either
    encoder = bert if rate == 0 else still_bert
    options: dict[str, Any] = {"inner_options": HEADS} if inner == "sentence" else READER
    config = config_of(encoder, rate=rate, **options)
    tuned = train(config, plan_of(), text_ids(texts(), encoder), molecules() if inner == "sentence" else graphs())
    name, chosen = options.get("inner", "dual_encoder"), options["inner_options"]
    frozen_text = (
        embed_text(texts(), encoder) if inner == "sentence" else text_tokens(texts(), encoder, dtype="float32")
    )
    frozen = train(
        replace(config, backbone=name, backbone_options=chosen),
        plan_of(),
        frozen_text,
        molecules() if inner == "sentence" else graphs(),
    )
    for entry, other in zip(tuned.history, frozen.history, strict=True):
        assert entry["loss"] == pytest.approx(other["loss"], rel=1e-3)
    for name, value in frozen.backbone.state_dict().items():
        torch.testing.assert_close(tuned.backbone.inner.state_dict()[name], value, rtol=1e-2, atol=1e-4)


def graphs() -> Any:
    from class_kit.molecules import Mol2vecVectors
    from class_kit.molecules.graphs import molecule_graphs

    words = Mol2vecVectors(
        ("864662311", "UNK"), np.random.default_rng(0).normal(size=(2, 10)).astype(np.float32), "test"
    )
    return molecule_graphs([f"{'C' * (1 + number % 6)}O" for number in range(24)], vectors=words)


def test_the_encoder_has_a_rate_of_its_own(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from class_kit.training.loop import Trainer

    seen: list[tuple[float, float]] = []
    original = Trainer._step

    def step(self, *rest):
        original(self, *rest)
        seen.append(tuple(group["lr"] for group in self.optimizer.param_groups))

    monkeypatch.setattr(Trainer, "_step", step)
    config = config_of(bert, rate=1e-4)
    model = made(bert, encoder_rate=1e-4)
    groups = main_optimizer(config, model).param_groups
    assert [group["share"] for group in groups] == [1.0, pytest.approx(0.02)]
    own = {id(parameter) for parameter in model.encoder.parameters()}
    assert {id(parameter) for parameter in groups[1]["params"]} == own
    assert not own & {id(parameter) for parameter in groups[0]["params"]}
    train(config, plan_of(), text_ids(texts(), bert), molecules())
    assert len({heads for heads, _ in seen}) > 2
    assert all(rate == pytest.approx(0.02 * heads) for heads, rate in seen)
    # one group, as before, where no rate is asked for
    assert len(main_optimizer(config, create_backbone("dual_encoder", 16, 10)).param_groups) == 1
    frozen = made(bert, encoder_rate=0.0)
    assert [len(group["params"]) for group in main_optimizer(config, frozen).param_groups] == [
        len(list(frozen.inner.parameters()))
    ]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resume_gives_the_same_bits(precision: str, bert: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from class_kit.training.loop import Trainer

    config, given = config_of(bert, precision=precision), (text_ids(texts(), bert), molecules())

    def score(backbone) -> dict[str, float]:
        return {"mrr": float((encode(backbone, "text", given[0]) @ encode(backbone, "molecules", given[1]).T).trace())}

    whole = train(config, plan_of(), *given, validate=score)
    original, taken = Trainer._step, 0

    def step(self, *rest):
        nonlocal taken
        if taken == 3:
            raise KeyboardInterrupt
        taken += 1
        original(self, *rest)

    monkeypatch.setattr(Trainer, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        train(config, plan_of(), *given, validate=score, folder=tmp_path, checkpoint_every=1)
    monkeypatch.setattr(Trainer, "_step", original)
    resumed = train(config, plan_of(), *given, validate=score, folder=tmp_path, resume=True)
    assert same(whole, resumed)
    assert without_time(whole.history) == without_time(resumed.history)


def test_bfloat16_is_the_encoders_alone(still_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[torch.dtype]] = {"encoder": set(), "head": set()}
    model_of = Finetuned.losses

    def watched(self, *given, **options):
        handles = [
            part.register_forward_hook(lambda _, __, out, name=name: seen[name].add(out.dtype))
            for name, part in (
                ("encoder", self.encoder.encoder.layer[0].output.dense),
                ("head", self.inner.text_head.layers[0]),
            )
        ]
        found = model_of(self, *given, **options)
        for handle in handles:
            handle.remove()
        return found

    monkeypatch.setattr(Finetuned, "losses", watched)
    ids = text_ids(texts(), still_bert)
    exact = train(config_of(still_bert), plan_of(), ids, molecules())
    assert seen == {"encoder": {torch.float32}, "head": {torch.float32}}
    rough = train(config_of(still_bert, precision="bfloat16"), plan_of(), ids, molecules())
    assert seen == {"encoder": {torch.float32, torch.bfloat16}, "head": {torch.float32}}
    assert {value.dtype for value in rough.backbone.state_dict().values()} == {torch.float32}
    assert rough.history[-1]["loss"] == pytest.approx(exact.history[-1]["loss"], rel=0.05)
    assert rough.history[-1]["loss"] != exact.history[-1]["loss"]


def test_other_backbones_train_in_bfloat16_too() -> None:
    from tests.test_training import CONFIG, pairs
    from tests.test_training import plan_of as plan

    exact, rough = (train(replace(CONFIG, precision=name), plan(), *pairs()) for name in ("float32", "bfloat16"))
    assert rough.history[-1]["loss"] == pytest.approx(exact.history[-1]["loss"], rel=0.05)
    assert not same(exact, rough)
    with pytest.raises(InputError, match="precision='float16'"):
        replace(CONFIG, precision="float16")


def test_a_full_score_encodes_each_text_once(still_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        "inner": "distillation",
        "inner_options": {"student_options": HEADS, "score": "teacher", "reads": "inner"},
    }
    model = made(still_bert, **options).eval()
    assert model.reranks
    inputs, rows = IdInputs(text_ids(texts(), still_bert)), np.array([3, 3, 0, 3, 9, 0])
    partners = torch.from_numpy(molecules()[:6])
    batch = inputs.take(rows, "cpu")
    expected = model.inner.pair_scores(model.read(batch), partners)
    read: list[int] = []
    original = Finetuned.read
    monkeypatch.setattr(Finetuned, "read", lambda self, text: read.append(len(text)) or original(self, text))
    torch.testing.assert_close(model.pair_scores(batch, partners), expected)
    assert read == [3]


def test_weights_of_the_encoder_are_kept_and_the_loaded_one_is_left_alone(bert: str) -> None:
    before = embed_text(texts(), bert, cache=False)
    result = train(config_of(bert), plan_of(), text_ids(texts(), bert), molecules())
    np.testing.assert_array_equal(embed_text(texts(), bert, cache=False), before)
    # pieces of one size, since a vector moves in its last bits with what is encoded beside it
    fresh = made(bert, piece_tokens=40)
    fresh.load_state_dict(result.backbone.state_dict())
    ids = text_ids(texts(), bert)
    np.testing.assert_array_equal(encode(fresh, "text", ids), encode(result.backbone, "text", ids))
    assert not np.allclose(encode(fresh, "text", ids), encode(made(bert), "text", ids))


def test_a_record_holds_the_encoder(bert: str, tmp_path: Path) -> None:
    from class_kit.pairs import PairSet
    from class_kit.study.records import Arm, load_backbone, rank_split, train_record
    from class_kit.task import load_task

    rows = [f"{text},{'C' * (1 + number)}O" for number, text in enumerate(texts())]
    table = tmp_path / "pairs.csv"
    table.write_text("text,smiles\n" + "\n".join(rows) + "\n")
    task = load_task(table, text_encoder=bert)
    assert isinstance(task.pairs, PairSet)
    arm, config = Arm("a", order="standard", intensity="constant"), config_of(bert)
    record = train_record(task, arm, config, tmp_path / "record")
    loaded = load_backbone(record, task)
    assert loaded.inputs == Needs("ids", "vector")
    for name, ranks in rank_split(loaded, task, task.evaluation_split).items():
        np.testing.assert_array_equal(ranks.greater, record.ranks[name].greater)


def test_ids_come_in_batches(bert: str, caplog: pytest.LogCaptureFixture) -> None:
    given = ["the acid", "\x00", "steroid ester water", "the acid"]
    ids = text_ids(given, bert)
    batch = as_inputs(ids).take(np.array([2, 0, 1]), "cpu")
    assert isinstance(batch, IdBatch)
    assert batch.real.sum(1).tolist() == [5, 4, 2]
    assert batch.own.tolist() == [
        [False, True, True, True, False],
        [False, True, True, False, False],
        [True, False, False, False, False],
    ]
    assert batch.ids[~batch.real].tolist() == [0] * 4
    assert batch.take(torch.tensor([2, 1])).ids.shape == (2, 4)
    assert len(batch) == 3
    turned = ids.subset(np.array([3, 2, 1, 0]))
    assert torch.equal(as_inputs(turned).take(np.array([0]), "cpu").ids, as_inputs(ids).take(np.array([0]), "cpu").ids)
    inputs = as_inputs(ids)
    assert (inputs.kind, inputs.width, len(inputs)) == ("ids", 16, 4)
    assert len({ids.digest, turned.digest, text_ids(given[:3], bert).digest}) == 3
    assert inputs.subset(np.array([0, 1, 2, 0])).digest == inputs.digest
    assert inputs.sample(2).shape == (2,)
    with caplog.at_level(logging.WARNING):
        short = text_ids(["the acid", "the " * 20], bert, max_tokens=8)
    assert "1 longer than 8 and truncated" in caplog.text
    assert short.take(np.array([1]))["real"].sum() == 8
    with pytest.raises(InputError, match="row 4 is out of range"):
        ids.take(np.array([4]))
    with pytest.raises(InputError, match="max_tokens is 301"):
        text_ids(given, bert, max_tokens=301)


def test_what_does_not_fit_is_refused(bert: str, make_bert) -> None:
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
        made(bert).read(batch_of(make_bert(0.1, seed=1)))
    with pytest.raises(InputError, match="needs text as ids, got sentence"):
        train(config_of(bert), plan_of(), np.ones((24, 16), np.float32), molecules())
