"""What `bench_finetune` does with the whole kit at hand: prepare a folder for a card, make tables of what came back."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from class_kit.curriculum.feedback import SmallLossPlan
from class_kit.curriculum.mismatched import left_out
from class_kit.files import write_json
from class_kit.retrieval import Ranks
from class_kit.study import costs, differences, standard_arms, summary
from class_kit.study.arms import Arm, plan_arm, training_audit
from class_kit.study.records import Record
from class_kit.task import Task, exchange_molecules
from class_kit.text.encoders import find_encoder, load_encoder
from class_kit.text.tokens import TextIds
from class_kit.training import TrainingConfig, learning_rate
from tests.bench.finetune_card import SPLITS

# among exchanged molecules these alone are trained
NOISY = ("baseline", "CLASS", "auto", "oracle")


def prepare(
    task: Task,
    config: TrainingConfig,
    folder: Path,
    *,
    batch_sizes: list[int],
    seeds: list[int],
    noises: list[float],
    sigma: float,
) -> None:
    """Write all that `finetune_card` needs: `manifest.json`, `inputs.npz` and the encoder.

    Trainings come seed by seed, so that whatever time there is goes to as many whole comparisons as it allows. With a
    noise above 0, that share of the training pairs, drawn by the seed, have their molecules exchanged; difficulty and
    the audit see what is left. A training that is the same as another (`auto` where the audit asks for all pairs) names
    it. Of the encoder's vocabulary the words that occur are kept, and where it is carried in bfloat16, vectors of
    molecules are in float16: half of a folder would be words and digits that change nothing.
    """
    splits = {split: task.rows(split) for split in SPLITS}
    order, train = np.concatenate(list(splits.values())), splits["train"]
    text = task.inputs("text", "ids", order)
    assert isinstance(text, TextIds)
    ids, own = text.ids.values.T
    words = np.unique(np.append(ids, text.padding))
    tokens = np.stack([np.searchsorted(words, ids), own], 1).astype(np.uint16)
    arrays = {"text_ids": tokens, "text_offsets": text.ids.offsets, "text_rows": text.rows}
    # molecules of equal vectors share one
    vectors, number = np.unique(np.concatenate([task.m[order], task.pool]), axis=0, return_inverse=True)
    numbers = {vector.tobytes(): at for at, vector in enumerate(vectors)}
    carried = np.float16 if config.precision == "bfloat16" else np.float32
    arrays |= {"molecule_vectors": vectors.astype(carried), "targets": task.targets("test")}
    arrays |= dict(zip(("pair_molecule", "pool_molecule"), np.split(number, [len(order)]), strict=True))
    trainings: list[dict[str, Any]] = []

    def keep(values: np.ndarray) -> str:
        """Store an array once, whoever asks for it."""
        name = hashlib.sha256(values.tobytes()).hexdigest()[:16]
        arrays[name] = values
        return name

    for seed in seeds:
        sides = task.inputs("text", "ids", train), task.inputs("molecules", "vector", train)
        arrays[f"fit_{seed}"] = min((side.sample(seed=seed) for side in sides), key=len)
        for noise in noises:
            noisy = exchange_molecules(task, noise, seed) if noise else task
            beside = np.array([numbers[vector.tobytes()] for vector in noisy.m[train]], np.uint16)
            for size in batch_sizes:
                for arm in arms_of(config.epochs, sigma):
                    if arm.name not in NOISY if noise else arm.name == "oracle":
                        continue
                    chosen = replace(config, batch_size=size, seed=seed)
                    plan, epochs = plan_arm(noisy, arm, chosen), range(1, config.epochs + 1)
                    total, small = plan.steps_total(size), None
                    if isinstance(plan, SmallLossPlan):
                        assert plan.doubt is not None
                        drop = left_out(training_audit(noisy))
                        small = {"doubt": keep(plan.doubt), "drop": drop, "warmup": plan.warmup}
                    rows = np.concatenate([plan.rows(epoch, size) for epoch in epochs]).astype(np.uint16)
                    decided = {
                        "seed": seed,
                        "batch_size": size,
                        "noise": noise,
                        "molecules": keep(beside),
                        "rows": keep(rows) if small is None else None,
                        "small_loss": small,
                        "rates": keep(np.array([learning_rate(chosen, step, total) for step in range(total)])),
                        "epoch_rows": [plan.count(epoch, size) for epoch in epochs],
                        "intensity": [plan.intensity(epoch) for epoch in epochs],
                    }
                    same = [one["name"] for one in trainings if one | decided == one]
                    name = f"{arm.name.replace(' ', '-')}-{size}-noise{noise:g}-{seed}"
                    trainings.append({"name": name, "arm": arm.name, "same_as": same[0] if same else None, **decided})
        print(f"seed {seed}: {len(trainings)} trainings so far", flush=True)
    _write_encoder(task, folder / "encoder", config.precision, words)
    options = {name: value for name, value in config.backbone_options.items() if name != "encoder"}
    manifest = {
        "encoder": find_encoder(task.encoders["text"]).folder.name,
        "sizes": {name: len(rows) for name, rows in splits.items()},
        "text": {"padding": int(np.searchsorted(words, text.padding)), "width": text.width},
        "backbone_options": options | {"pooling": find_encoder(task.encoders["text"]).pooling},
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "trainings": trainings,
    }
    digest = hashlib.sha256(json.dumps(manifest).encode() + find_encoder(folder / "encoder").digest.encode())
    for name, values in sorted(arrays.items()):
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    np.savez_compressed(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
    write_json(folder / "manifest.json", manifest | {"digest": digest.hexdigest()})
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{len(trainings)} trainings prepared in {folder}: {held / 1e6:.1f} MB")


def arms_of(epochs: int = 20, sigma: float = 0.95) -> list[Arm]:
    """The kit's arms with its own schedule, with fewer than 20 epochs a steeper one, and two for mismatched pairs."""
    standard = standard_arms(growth=max(0.03, (1 - 0.4) / epochs), sigma=sigma)
    return [*standard, Arm("auto", order="auto"), Arm("oracle", order="oracle")]


def _write_encoder(task: Task, folder: Path, precision: str, words: np.ndarray) -> None:
    """The encoder's folder with these words and its weights in a precision, in files of at most 45 MB.

    The layer on top that neither pooling reads is left out. The tokenizer still numbers all words: texts come as
    numbers.
    """
    found = find_encoder(task.encoders["text"])
    folder.mkdir(parents=True, exist_ok=True)
    for path in found.folder.iterdir():
        if path.suffix in {".json", ".txt"} and not path.name.endswith(".index.json"):
            shutil.copy(path, folder)
    loaded = load_encoder(found, "cpu")
    model, kept = copy.deepcopy(loaded.model), torch.from_numpy(words)
    model.pooler, padding = None, int(np.searchsorted(words, loaded.tokenizer.pad_token_id))
    weights = loaded.model.get_input_embeddings().weight[kept]
    model.set_input_embeddings(torch.nn.Embedding.from_pretrained(weights, freeze=False, padding_idx=padding))
    model.config.vocab_size, model.config.pad_token_id = len(words), padding
    model.to(getattr(torch, precision)).save_pretrained(folder, max_shard_size="45MB")


def table(folders: list[Path], target: Path | None) -> None:
    """Print what `finetune_card` left in some folders, each batch size and noise apart; write it to `target`."""
    out = [one for folder in folders for one in _tables(folder)]
    if target is not None:
        write_json(target, {"tables": out})


def _tables(folder: Path) -> list[dict[str, Any]]:
    stored = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    with np.load(folder / "ranks.npz", allow_pickle=False) as arrays:
        ranks = {name: arrays[name] for name in arrays.files}
    groups: dict[tuple[int, float], list[str]] = {}
    for name, one in stored["trainings"].items():
        groups.setdefault((one["batch_size"], one["noise"]), []).append(name)
    out: list[dict[str, Any]] = []
    for (size, noise), names in sorted(groups.items(), key=lambda group: (group[0][1], group[0][0])):
        names = _complete(names, stored["trainings"])
        records = [_record(name, stored, ranks) for name in names]
        tables = tables_of(records, [stored["trainings"][name] for name in names])
        settings = {key: stored["settings"][key] for key in ("encoder", "precision", "device", "torch")}
        settings |= {"batch_size": size, "rates": stored["settings"]["scale"].get(str(size), 1.0), "noise": noise}
        print(f"\n== {settings['encoder']}, batch {size}, noise {noise:g}\n{tables.pop('text')}")
        out.append({**settings, "seeds": sorted({record.seed for record in records}), **tables})
    return out


def _complete(names: list[str], trainings: dict[str, Any]) -> list[str]:
    """Those of the seeds that every arm has: comparisons are seed by seed."""
    arms = {trainings[name]["arm"] for name in names}
    seeds = set.intersection(*({trainings[n]["seed"] for n in names if trainings[n]["arm"] == arm} for arm in arms))
    known = [arm.name for arm in arms_of()]
    return sorted(
        (name for name in names if trainings[name]["seed"] in seeds),
        key=lambda name: (known.index(trainings[name]["arm"]), trainings[name]["seed"]),
    )


def _record(name: str, stored: dict[str, Any], ranks: dict[str, np.ndarray]) -> Record:
    one = stored["trainings"][name]
    arm = next(arm for arm in arms_of() if arm.name == one["arm"])
    found = {}
    for ranking, pool in stored["settings"]["pools"].items():
        greater, equal = (ranks[f"{name}/{ranking}/{side}"].astype(np.int64) for side in ("greater", "equal"))
        found[ranking] = Ranks(greater, equal, pool)
    spent = {key: one[key] for key in ("steps", "samples", "best_epoch", "seconds", "history")}
    return Record(arm=arm, seed=one["seed"], config={}, ranks=found, folder=Path(), **spent)


def tables_of(records: list[Record], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Metrics by arm and ranking, costs by arm, differences from the bare arm; as data, and as text."""
    shown = ["ranking", "pool", "arm", "seeds", "hits@1", "hits@1_low", "hits@1_high", "hits@10", "mrr", "mean_rank"]
    metrics = pd.concat([summary(records, name)[shown] for name in records[0].ranks], ignore_index=True)
    spent = pd.DataFrame(runs).assign(**{"samples/s": lambda runs: runs["samples"] / runs["seconds"]})
    held = spent.groupby("arm", sort=False).agg(
        {"samples/s": "mean", "memory": "max", "wall": "mean", "peak_share": "mean"}
    )
    frames = {"metrics": metrics, "costs": costs(records).merge(held, left_on="arm", right_index=True)}
    if len({record.arm.name for record in records}) > 1:
        gaps = [
            differences(records, "baseline", ranking, metric)
            for ranking in records[0].ranks
            for metric in ("hits@1", "mrr")
        ]
        frames["differences"] = pd.concat(gaps, ignore_index=True)
    text = "\n\n".join(frame.to_string(index=False, float_format="{:.4g}".format) for frame in frames.values())
    return {name: _rows(frame) for name, frame in frames.items()} | {"text": text}


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as data, its numbers with six digits."""
    rows: list[dict[str, Any]] = json.loads(
        frame.to_json(orient="records"), parse_float=lambda number: float(f"{float(number):.6g}")
    )
    return rows
