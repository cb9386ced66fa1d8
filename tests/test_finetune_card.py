"""Fine-tuning from a prepared folder: the kit's own training bit for bit, bare of the kit's requirements, resumable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from class_kit.retrieval import retrieval_ranks
from class_kit.study.ranking import RANKINGS
from class_kit.study.records import train_record
from class_kit.task import Task, exchange_molecules, load_task
from class_kit.training import TrainingConfig
from tests.bench import finetune_card as card
from tests.bench import finetune_study as study
from tests.tiny_bert import WORDS, texts, write_bert

EPOCHS, SIZE, SEEDS = 2, 16, [3]
ROOT = Path(__file__).parents[1]
SMILES = ("C", "N", "O", "S", "C(F)", "C(Cl)", "C=C", "C(=O)", "C#C", "C1CCCCC1", "C(Br)", "C(I)", "CC")
PARTS = dict(zip(WORDS, SMILES, strict=True))
CARRIED = {"class_kit", "tests", "torch", "numpy", "transformers", "lazy_loader"}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    place = tmp_path_factory.mktemp("task")
    (place / "bert").mkdir()
    # texts that tell their molecules, so that an audit finds some of those that are exchanged
    smiles = ["C" + "".join(PARTS[word] for word in text.split()) for text in texts(200)]
    rows = [",".join(pair) for pair in zip(texts(200), smiles, strict=True)]
    (place / "pairs.csv").write_text("text,smiles\n" + "\n".join(rows) + "\n")
    return load_task(place / "pairs.csv", text_encoder=write_bert(place / "bert", dropout=0.1))


@pytest.fixture(scope="module")
def config(task: Task) -> TrainingConfig:
    options = {"inner": "text2mol", "encoder": task.encoders["text"], "encoder_rate": 1e-3, "piece_tokens": 60}
    return TrainingConfig(
        epochs=EPOCHS, batch_size=SIZE, learning_rate=2e-3, backbone="finetuned", backbone_options=options
    )


@pytest.fixture(scope="module")
def folder(task: Task, config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prepared")
    study.prepare(task, config, place, batch_sizes=[SIZE], seeds=SEEDS, noises=[0.0, 0.2], sigma=0.9)
    return place


def named(data: card.Prepared, name: str) -> dict[str, Any]:
    return next(one for one in data.manifest["trainings"] if one["name"] == name)


@pytest.fixture(scope="module")
def results(config: TrainingConfig, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of all trainings: the first by a process without the kit's requirements, the others by a second call."""
    out = tmp_path_factory.mktemp("results")
    bare = f"""
import builtins, runpy, sys

whole, known = builtins.__import__, {CARRIED!r} | sys.stdlib_module_names

def bare(name, globals=None, *rest, **more):
    asks = (globals or {{}}).get("__name__", "")
    if asks.split(".")[0] in ("class_kit", "tests", "__main__") and name.split(".")[0] not in known:
        raise ModuleNotFoundError(f"{{name}} is not there, asked for by {{asks}}")
    return whole(name, globals, *rest, **more)

builtins.__import__ = bare
runpy.run_module("tests.bench.bench_finetune", run_name="__main__")
"""
    options = ["--from", str(folder), "--out", str(out), "--seconds", "0.06", "--precision", "float32"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(config.threads)}
    done = subprocess.run(
        [sys.executable, "-c", bare, *options], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("samples/s") == 1
    first, before = trainings(out), torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        card.run(folder, out, precision="float32")
    finally:
        torch.set_num_threads(before)
    assert len(trainings(out)) == 9
    assert {name: trainings(out)[name] for name in first} == first
    return out


def trainings(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())["trainings"]


@pytest.mark.parametrize(("arm", "noise"), [("baseline", 0), ("CLASS", 0), ("step-matched", 0), ("auto", 0.2)])
def test_in_float32_it_is_the_kits_own_training(
    arm: str, noise: float, task: Task, config: TrainingConfig, results: Path, tmp_path: Path
) -> None:
    (seed,) = SEEDS
    chosen = next(one for one in study.arms_of(EPOCHS, 0.9) if one.name == arm)
    noisy = exchange_molecules(task, noise, seed) if noise else task
    record = train_record(noisy, chosen, replace(config, seed=seed), tmp_path)
    name = f"{arm}-{SIZE}-noise{noise}-{seed}"
    found = trainings(results)[name]
    for entry, other in zip(found["history"], record.history, strict=True):
        assert {key: other[key] for key in entry} == entry
    assert (found["steps"], found["samples"], found["best_epoch"]) == (record.steps, record.samples, record.best_epoch)
    with np.load(results / "ranks.npz") as arrays:
        for ranking in RANKINGS:
            ranks = record.ranks[ranking]
            np.testing.assert_array_equal(arrays[f"{name}/{ranking}/greater"], ranks.greater)
            np.testing.assert_array_equal(arrays[f"{name}/{ranking}/equal"], ranks.equal)


def test_small_losses_are_followed_and_equal_trainings_are_named(folder: Path) -> None:
    data = card.Prepared(folder)
    auto = named(data, f"auto-{SIZE}-noise0.2-3")
    assert auto["rows"] is None
    assert auto["epoch_rows"][0] == len(data.rows["train"]) > auto["epoch_rows"][1]
    oracle = named(data, f"oracle-{SIZE}-noise0.2-3")
    assert oracle["epoch_rows"] == EPOCHS * [128]
    assert {one["arm"] for one in data.manifest["trainings"] if one["noise"]} == set(study.NOISY)
    clean, noisy = (data.beside(named(data, f"CLASS-{SIZE}-noise{noise}-3")).rows for noise in ("0", "0.2"))
    np.testing.assert_array_equal(clean, data.molecules.rows[data.rows["train"]])
    # of the few exchanged molecules some are the same one
    assert 0.1 < (clean != noisy).mean() <= 0.2


def test_an_equal_training_is_copied(folder: Path, results: Path, tmp_path: Path) -> None:
    again, out = shutil.copytree(folder, tmp_path / "folder"), shutil.copytree(results, tmp_path / "out")
    manifest = json.loads((again / "manifest.json").read_text())
    first = manifest["trainings"][0]
    manifest["trainings"] = [first, first | {"name": "copy", "arm": "auto", "same_as": first["name"]}]
    (again / "manifest.json").write_text(json.dumps(manifest))
    card.run(again, out, precision="float32")
    assert trainings(out)["copy"] == trainings(results)[first["name"]] | {"arm": "auto"}
    with np.load(out / "ranks.npz") as arrays:
        for ranking in RANKINGS:
            for side in ("greater", "equal"):
                known = arrays[f"{first['name']}/{ranking}/{side}"]
                np.testing.assert_array_equal(arrays[f"copy/{ranking}/{side}"], known)


def test_packed_texts_are_read_as_padded_ones(folder: Path) -> None:
    trainer = card.Trainer(card.Prepared(folder), SIZE, "float32", "packed")
    data, backbone = trainer.data, trainer.backbone.eval()
    rows = data.rows["train"][:SIZE]
    for width in (None, 400):
        fields = [torch.from_numpy(field) for field in data.pack(rows, width)]
        packed = card.PackedTexts(*fields, SIZE, data.longest)
        for pooling in ("mean", "cls"):
            backbone.pooling = pooling
            found = card.features_of(backbone, packed)
            torch.testing.assert_close(found, card.features_of(backbone, trainer._text(rows, packed=False)))


def test_ranks_are_the_kits() -> None:
    rng = np.random.default_rng(0)
    queries, pool = rng.normal(size=(30, 6)), rng.normal(size=(70, 6))
    pool[40:50] = 2.0 * pool[:10]
    targets = rng.integers(0, 70, 30)
    found = card.ranks_of(torch.from_numpy(queries), torch.from_numpy(pool), targets, block=7)
    expected = retrieval_ranks(queries, pool, targets)
    np.testing.assert_array_equal(found.greater, expected.greater)
    np.testing.assert_array_equal(found.equal, expected.equal)


def test_tables_compare_what_came_back(folder: Path, results: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="other settings"):
        card.run(folder, results)
    study.table([results], tmp_path / "record.json")
    tables = json.loads((tmp_path / "record.json").read_text())["tables"]
    assert [(one["batch_size"], one["noise"], one["seeds"]) for one in tables] == [
        (SIZE, 0.0, SEEDS),
        (SIZE, 0.2, SEEDS),
    ]
    gaps = tables[1]["differences"]
    assert {gap["arm"] for gap in gaps} == set(study.NOISY) - {"baseline"}
    assert all(gap["difference_low"] <= gap["difference"] <= gap["difference_high"] for gap in gaps)
