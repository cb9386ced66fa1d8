"""Training a text encoder: rates, precision, resumes and records; without a rate it is the frozen run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from class_kit.backbones import create_backbone
from class_kit.backbones.base import Needs
from class_kit.backbones.finetuned import Finetuned
from class_kit.text import embed_text
from class_kit.text.tokens import text_ids, text_tokens
from class_kit.training import encode, train
from class_kit.training.optimizers import make_optimizers
from tests.test_training import plan_of, resumes_to_the_same_bits, trace_of
from tests.tiny_bert import HEADS, READER, config_of, made, molecules, texts, write_bert


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bert(tmp_path_factory.mktemp("bert"), dropout=0.1)


@pytest.fixture(scope="module")
def still_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_bert(tmp_path_factory.mktemp("still"), dropout=0.0)


def test_training_the_encoder_lowers_the_loss_further(still_bert: str) -> None:
    last = {}
    for rate in (0.0, 3e-3):
        config = config_of(still_bert, epochs=12, rate=rate)
        result = train(config, plan_of(24, 12), text_ids(texts(), still_bert), molecules())
        last[rate] = result.history[-1]["loss"]
        before, after = made(still_bert).encoder.state_dict(), result.backbone.encoder.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items()) == (rate == 0)
    assert last[3e-3] < 0.9 * last[0.0]


@pytest.mark.parametrize(("rate", "inner"), [(0.0, "sentence"), (1e-12, "tokens")])
def test_without_a_rate_it_is_the_frozen_run(rate: float, inner: str, bert: str, still_bert: str) -> None:
    # at a rate of exactly 0 the encoder is frozen and has no dropout either
    encoder = bert if rate == 0 else still_bert
    options: dict[str, Any] = {"inner_options": HEADS} if inner == "sentence" else READER
    config = config_of(encoder, rate=rate, **options)
    tuned = train(config, plan_of(24, 2), text_ids(texts(), encoder), molecules() if inner == "sentence" else graphs())
    name, chosen = options.get("inner", "dual_encoder"), options["inner_options"]
    frozen_text = (
        embed_text(texts(), encoder) if inner == "sentence" else text_tokens(texts(), encoder, dtype="float32")
    )
    frozen = train(
        replace(config, backbone=name, backbone_options=chosen),
        plan_of(24, 2),
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
        seen.append(tuple(group["lr"] for group in self.optimizers["optimizer"].param_groups))

    monkeypatch.setattr(Trainer, "_step", step)
    config = config_of(bert, rate=1e-4)
    model = made(bert, encoder_rate=1e-4)
    groups = make_optimizers(config, model)["optimizer"].param_groups
    assert [group["share"] for group in groups] == [1.0, pytest.approx(0.02)]
    own = {id(parameter) for parameter in model.encoder.parameters()}
    assert {id(parameter) for parameter in groups[1]["params"]} == own
    assert not own & {id(parameter) for parameter in groups[0]["params"]}
    train(config, plan_of(24, 2), text_ids(texts(), bert), molecules())
    assert len({heads for heads, _ in seen}) > 2
    assert all(rate == pytest.approx(0.02 * heads) for heads, rate in seen)
    # one group, as before, where no rate is asked for
    assert len(make_optimizers(config, create_backbone("dual_encoder", 16, 10))["optimizer"].param_groups) == 1
    frozen = made(bert, encoder_rate=0.0)
    assert [len(group["params"]) for group in make_optimizers(config, frozen)["optimizer"].param_groups] == [
        len(list(frozen.inner.parameters()))
    ]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resume_gives_the_same_bits(precision: str, bert: str, tmp_path: Path) -> None:
    config, given = config_of(bert, precision=precision), (text_ids(texts(), bert), molecules())
    resumes_to_the_same_bits(config, lambda: plan_of(24, 2), given, tmp_path, [3], validate=trace_of(given))


def test_bfloat16_is_the_encoders_alone(still_bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[torch.dtype]] = {"encoder": set(), "head": set()}
    model_of = Finetuned.losses

    def watched(self, *given, **options):
        handles = [
            part.register_forward_hook(lambda _, __, out, name=name: seen[name].add(out.dtype))
            for name, part in (
                ("encoder", self.encoder.encoder.layer[0].output.dense),
                ("head", self.inner.text_tower.layers[0]),
            )
        ]
        found = model_of(self, *given, **options)
        for handle in handles:
            handle.remove()
        return found

    monkeypatch.setattr(Finetuned, "losses", watched)
    ids = text_ids(texts(), still_bert)
    exact = train(config_of(still_bert), plan_of(24, 2), ids, molecules())
    assert seen == {"encoder": {torch.float32}, "head": {torch.float32}}
    rough = train(config_of(still_bert, precision="bfloat16"), plan_of(24, 2), ids, molecules())
    assert seen == {"encoder": {torch.float32, torch.bfloat16}, "head": {torch.float32}}
    assert {value.dtype for value in rough.backbone.state_dict().values()} == {torch.float32}
    assert rough.history[-1]["loss"] == pytest.approx(exact.history[-1]["loss"], rel=0.05)
    assert rough.history[-1]["loss"] != exact.history[-1]["loss"]


def test_weights_of_the_encoder_are_kept_and_the_loaded_one_is_left_alone(bert: str) -> None:
    before = embed_text(texts(), bert, cache=False)
    result = train(config_of(bert), plan_of(24, 2), text_ids(texts(), bert), molecules())
    np.testing.assert_array_equal(embed_text(texts(), bert, cache=False), before)
    # pieces of one size, since a vector moves in its last bits with what is encoded beside it
    fresh = made(bert, piece_tokens=40)
    fresh.load_state_dict(result.backbone.state_dict())
    ids = text_ids(texts(), bert)
    np.testing.assert_array_equal(encode(fresh, "text", ids), encode(result.backbone, "text", ids))
    assert not np.allclose(encode(fresh, "text", ids), encode(made(bert), "text", ids))


def test_a_record_holds_the_encoder(bert: str, tmp_path: Path) -> None:
    from class_kit.pairs import PairSet
    from class_kit.study.ranking import rank_split
    from class_kit.study.records import Arm, load_backbone, train_record
    from class_kit.task import load_task

    rows = [f"{text},{'C' * (1 + number)}O" for number, text in enumerate(texts())]
    table = tmp_path / "pairs.csv"
    table.write_text("text,smiles\n" + "\n".join(rows) + "\n")
    task = load_task(table, text_encoder=bert, molecule_encoder="morgan")
    assert isinstance(task.pairs, PairSet)
    arm, config = Arm("a", order="standard", intensity="constant"), config_of(bert)
    record = train_record(task, arm, config, tmp_path / "record")
    loaded = load_backbone(record, task)
    assert loaded.inputs == Needs("ids", "vector")
    for name, ranks in rank_split(loaded, task, task.evaluation_split).items():
        np.testing.assert_array_equal(ranks.greater, record.ranks[name].greater)
