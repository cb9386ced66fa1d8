"""Fine-tuning from a prepared folder: the kit's own training bit for bit, bare of the kit's requirements, resumable."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from class_kit.retrieval import retrieval_ranks
from class_kit.study.records import train_record
from class_kit.task import Task, load_task
from class_kit.training import TrainingConfig
from tests.bench import finetune_card as card
from tests.bench import finetune_study as study
from tests.tiny_bert import texts, write_bert

EPOCHS, SIZE, SEEDS = 3, 8, (0, 3)
BLOCKED = {"rdkit", "gensim", "pydantic", "pooch", "pandas", "matplotlib", "scipy", "numba", "tyro", "threadpoolctl"}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    place = tmp_path_factory.mktemp("task")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLASS_KIT_CACHE", str(place / "cache"))
        (place / "bert").mkdir()
        rows = [f"{text},{'C' * (1 + number % 7)}{'NO'[number % 2]}" for number, text in enumerate(texts(80))]
        (place / "pairs.csv").write_text("text,smiles\n" + "\n".join(rows) + "\n")
        return load_task(place / "pairs.csv", text_encoder=write_bert(place / "bert", dropout=0.1))


@pytest.fixture(scope="module")
def config(task: Task) -> TrainingConfig:
    return TrainingConfig(
        epochs=EPOCHS,
        batch_size=SIZE,
        learning_rate=2e-3,
        backbone="finetuned",
        backbone_options={
            "inner": "text2mol",
            "encoder": task.encoders["text"],
            "encoder_rate": 1e-3,
            "piece_tokens": 60,
        },
    )


@pytest.fixture(autouse=True, scope="module")
def _threads_of_a_training(config: TrainingConfig) -> Iterator[None]:
    """Sums depend on the number of threads in their last places."""
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(task: Task, config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prepared")
    options: dict[str, Any] = {"batch_sizes": [SIZE], "seeds": SEEDS, "noises": [0.0, 0.5], "sigma": 0.9}
    study.prepare(task, config, place, weights="float32", **options)
    return place


@pytest.fixture(scope="module")
def data(folder: Path) -> card.Prepared:
    return card.Prepared(folder, "cpu")


def named(data: card.Prepared, name: str) -> dict[str, Any]:
    return next(one for one in data.manifest["trainings"] if one["name"] == name)


@pytest.mark.parametrize("arm", ["baseline", "CLASS", "random order", "step-matched"])
@pytest.mark.parametrize("seed", SEEDS)
def test_in_float32_it_is_the_kits_own_training(
    arm: str, seed: int, task: Task, config: TrainingConfig, data: card.Prepared, tmp_path: Path
) -> None:
    chosen = next(one for one in study.arms_of(EPOCHS, 0.9) if one.name == arm)
    record = train_record(task, chosen, replace(config, seed=seed), tmp_path)
    name = f"{arm.replace(' ', '-')}-{SIZE}-noise0-{seed}"
    found = card.Trainer(data, SIZE, layout="pieces", precision="float32").train(named(data, name))
    for entry, other in zip(found["history"], record.history, strict=True):
        assert {key: other[key] for key in entry} == entry
    assert (found["steps"], found["samples"], found["best_epoch"]) == (record.steps, record.samples, record.best_epoch)
    for ranking, ranks in record.ranks.items():
        np.testing.assert_array_equal(found["ranks"][ranking].greater, ranks.greater)
        np.testing.assert_array_equal(found["ranks"][ranking].equal, ranks.equal)


def test_exchanged_molecules_are_a_seeded_share() -> None:
    partner = study.exchanged(50, 0.2, seed=4)
    assert sorted(partner) == list(range(50))
    assert (partner != np.arange(50)).sum() == 10
    np.testing.assert_array_equal(partner, study.exchanged(50, 0.2, seed=4))
    assert (partner != study.exchanged(50, 0.2, seed=5)).any()
    np.testing.assert_array_equal(study.exchanged(50, 0.0, seed=4), np.arange(50))


def test_noise_trains_on_other_molecules_in_another_order(data: card.Prepared) -> None:
    clean, noisy = (named(data, f"CLASS-{SIZE}-noise{noise}-0") for noise in ("0", "0.5"))
    assert clean["partners"] is None
    moved = (data.partners(noisy).numpy() != data.partners(clean).numpy()).mean()
    assert moved == pytest.approx(0.5, abs=0.02)
    arms = {one["arm"] for one in data.manifest["trainings"] if one["noise"]}
    assert arms == set(study.NOISY)


@pytest.mark.parametrize("rows", [[5, 3, 8, 40], [1, -1, 2, -1], [7]])
def test_packed_texts_have_the_padded_ones_vectors(rows: list[int], data: card.Prepared) -> None:
    model = card.Model(data)
    model.begin(0)
    model.eval()
    there = [row for row in rows if row >= 0]
    with torch.no_grad():
        expected = card.Reader(data, model).read(np.array(there))
        packing = card.Packing(data, torch.tensor(rows), width=512)
        states = card.packed_states(model, packing, "padded", card.bert_layer)
        found = card.packed_sentences(model, packing, states)
    torch.testing.assert_close(found[torch.tensor(rows) >= 0], expected, rtol=1e-4, atol=1e-5)
    bounds = packing.bounds.diff()
    assert packing.bounds[-1] == 512
    assert 0 <= bounds.min() <= bounds.max() <= data.longest


def test_packed_steps_are_those_of_the_pieces(data: card.Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    # dropout draws in another order, and so has to go; 8 does not divide the pairs: the last batches are smaller
    monkeypatch.setitem(data.manifest["config"], "hidden_dropout_prob", 0.0)
    monkeypatch.setitem(data.manifest["config"], "attention_probs_dropout_prob", 0.0)
    training = named(data, f"CLASS-{SIZE}-noise0.5-3")
    assert any(count % SIZE for count in training["epoch_rows"])
    found = {}
    for layout in ("pieces", "packed"):
        trainer = card.Trainer(data, SIZE, layout=layout, precision="float32", attention="padded")
        for part in trainer.model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        # a training leaves nothing behind that the next one would see
        trainer.train(named(data, f"baseline-{SIZE}-noise0-0"), epochs=1)
        found[layout] = trainer.train(training)
    for entry, other in zip(found["pieces"]["history"], found["packed"]["history"], strict=True):
        for name in ("text_to_molecule", "molecule_to_text"):
            assert other[name] == pytest.approx(entry[name], rel=1e-3)
    assert found["pieces"]["operations"] == found["packed"]["operations"]


def test_ranks_are_the_kits() -> None:
    rng = np.random.default_rng(0)
    queries, pool = rng.normal(size=(30, 6)), rng.normal(size=(70, 6))
    pool[40:50] = 2.0 * pool[:10]
    targets = rng.integers(0, 70, 30)
    found = card.ranks_of(torch.from_numpy(queries), torch.from_numpy(pool), targets, block=7)
    expected = retrieval_ranks(queries, pool, targets)
    np.testing.assert_array_equal(found.greater, expected.greater)
    np.testing.assert_array_equal(found.equal, expected.equal)
    assert (found.equal.max(), found.pool) == (1, 70)


def test_it_runs_bare_stops_and_goes_on(folder: Path, tmp_path: Path) -> None:
    bare = f"""
import builtins, runpy

whole = builtins.__import__

def bare(name, globals=None, *rest, **more):
    asks = (globals or {{}}).get("__name__", "")
    if asks.split(".")[0] in ("class_kit", "tests", "__main__") and name.split(".")[0] in {BLOCKED!r}:
        raise ModuleNotFoundError(f"{{name}} is not there, asked for by {{asks}}")
    return whole(name, globals, *rest, **more)

builtins.__import__ = bare
runpy.run_module("tests.bench.bench_finetune", run_name="__main__")
"""
    chosen = ["--arm", "CLASS", "--arm", "baseline", "--most-seeds", "1", "--precision", "float32"]
    command = [sys.executable, "-c", bare, "--from", str(folder), "--out", str(tmp_path), *chosen]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("samples/s") == 4

    def trainings() -> dict[str, Any]:
        return json.loads((tmp_path / "results.json").read_text())["trainings"]

    first, threads = trainings(), torch.get_num_threads()
    options: dict[str, Any] = {"precision": "float32", "attention": "padded", "only": ["CLASS", "baseline"]}
    try:
        card.run(str(folder), str(tmp_path), minutes=0.0, **options)
        assert trainings() == first
        card.run(str(folder), str(tmp_path), **options)
        with pytest.raises(SystemExit, match="other settings"):
            card.run(str(folder), str(tmp_path), **options | {"precision": "bfloat16"})
    finally:
        torch.set_num_threads(threads)
    assert {name: trainings()[name] for name in first} == first
    assert len(trainings()) == 8
    study.table(tmp_path, tmp_path / "record.json")
    tables = json.loads((tmp_path / "record.json").read_text())["tables"]
    assert [(one["batch_size"], one["noise"], one["seeds"]) for one in tables] == [(8, 0.0, [0, 3]), (8, 0.5, [0, 3])]
    gaps = tables[0]["differences"]
    assert {gap["arm"] for gap in gaps} == {"CLASS"}
    assert all(gap["difference_low"] <= gap["difference"] <= gap["difference_high"] for gap in gaps)
