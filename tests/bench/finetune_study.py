"""What `bench_finetune` does with the whole kit at hand: train unprepared, prepare a folder for a card, make tables."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from class_kit.curriculum import Plan
from class_kit.files import PACKAGE, write_json
from class_kit.molecules import load_vectors, mol2vec_sentences
from class_kit.retrieval import Ranks
from class_kit.study import costs, differences, standard_arms, summary
from class_kit.study.arms import Arm, plan_arm
from class_kit.study.records import Record, read_record, train_record
from class_kit.task import Task, load_task
from class_kit.text.encoders import find_encoder, load_encoder
from class_kit.text.tokens import text_ids
from class_kit.training import TrainingConfig, learning_rate
from tests.bench.finetune_card import card_peak, device_name, memory, reset_memory, word_sums

ARMS = ("baseline", "CLASS", "random order")
NOISY = ("baseline", "CLASS")
NOISE_STREAM = 21


def chebi20(arguments: argparse.Namespace) -> Task:
    """The published pairs with the vectors that difficulty is measured on."""
    return load_task(
        "chebi20",
        data=arguments.data,
        extra=arguments.extra,
        swap=arguments.swap,
        text_encoder=arguments.text_encoder,
        vectors=arguments.vectors,
    )


def tiny_task(folder: Path, rows: int = 60) -> Task:
    """The first pairs of the bundled corpus."""
    place = next(path for path in (PACKAGE / "data", PACKAGE.parent / "data") if (path / "corpus.csv").is_file())
    with open(place / "corpus.csv", newline="", encoding="utf-8") as source:
        table = [row for row, _ in zip(csv.reader(source), range(rows + 1), strict=False)]
    with open(folder / "tiny.csv", "w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows(table)
    return load_task(folder / "tiny.csv")


def fewer(task: Task, rows: int) -> Task:
    """The task with its first training pairs alone, for a trial; pools stay as they are."""
    held = [task.rows(split) for split in ("validation", "test")]
    kept = np.sort(np.concatenate([task.rows("train")[:rows], *held]))
    return replace(task, pairs=task.pairs.take(kept), t=task.t[kept], m=task.m[kept])


def config_of(arguments: argparse.Namespace, backbone: str) -> TrainingConfig:
    """Text2Mol's recipe, one backbone's options in it."""
    return TrainingConfig(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.rate,
        precision=arguments.precision,
        backbone="finetuned",
        backbone_options={
            "inner": backbone,
            "inner_options": arguments.options.get(backbone, {}),
            "encoder": arguments.text_encoder,
            "encoder_rate": arguments.encoder_rate,
            "piece_tokens": arguments.piece_tokens,
            "checkpointing": not arguments.no_checkpointing,
        },
    )


# ------------------------------------------------------------------------------------------------------ unprepared


def bench(task: Task, arguments: argparse.Namespace, folder: Path) -> None:
    """Train what is missing with the kit itself, print the tables, write `finetune.json`."""
    peak, source = card_peak()
    operations, tokens = work_a_sample(task)
    print(f"{device_name()}: bfloat16 peak {peak / 1e12:,.0f} TFLOP/s ({source})")
    print(f"{tokens:.0f} tokens and {operations / 1e9:,.1f} GFLOP a sample, forward and backward")
    tables: dict[str, Any] = {}
    for backbone in arguments.backbone:
        records, runs = train_all(task, config_of(arguments, backbone), arguments, folder / backbone)
        for run in runs:
            run["peak_share"] = run["rate"] * operations / peak
        tables[backbone] = tables_of(records, runs)
        print(f"\n== {backbone}\n{tables[backbone].pop('text')}")
    write_json(folder / "finetune.json", {"device": device_name(), "settings": vars(arguments), "tables": tables})


def train_all(
    task: Task, config: TrainingConfig, arguments: argparse.Namespace, folder: Path
) -> tuple[list[Record], list[dict[str, Any]]]:
    """Every arm with every seed, one after the other; and what each held and took."""
    growth = (1 - 0.4) / max(1, round(2 * config.epochs / 3))
    arms = [arm for arm in standard_arms(growth=growth, sigma=arguments.sigma) if arm.name in ARMS]
    records, runs = [], []
    for seed in arguments.seeds:
        for arm in arms:
            place, chosen = folder / f"{arm.name.replace(' ', '-')}-{seed}", replace(config, seed=seed)
            if not (place / "cost.json").is_file():
                begin = time.perf_counter()
                reset_memory()
                record = train_record(task, arm, chosen, place)
                cost = {
                    "memory": memory(),
                    "wall": time.perf_counter() - begin,
                    "rate": record.samples / record.seconds,
                }
                # ranks are what the tables need; the weights of an encoder are hundreds of megabytes
                (place / "model.safetensors").unlink()
                write_json(place / "cost.json", {"config": asdict(chosen), **cost})
            stored = json.loads((place / "cost.json").read_text(encoding="utf-8"))
            if stored.pop("config") != json.loads(json.dumps(asdict(chosen))):
                sys.exit(f"{place}: trained with other settings; choose another --out")
            records.append(read_record(place))
            runs.append({"arm": arm.name, "seed": seed, **stored})
            print(
                f"{arm.name}, seed {seed}: {stored['rate']:,.0f} samples/s, {stored['memory'] / 2**30:.2f} GiB",
                flush=True,
            )
    names = [arm.name for arm in arms]
    return sorted(records, key=lambda record: (names.index(record.arm.name), record.seed)), runs


def work_a_sample(task: Task) -> tuple[float, float]:
    """Operations that one text costs the encoder forward and backward, and its tokens; means over the training texts.

    Counted as `finetune_card.Prepared.operations` does.
    """
    found = find_encoder(task.encoders["text"])
    model = load_encoder(found, found.digest, "float32", "cpu").model
    weights = sum(
        one.numel() for name, one in model.named_parameters() if "embeddings" not in name and "pooler" not in name
    )
    ids = text_ids([task.pairs.text[row] for row in task.rows("train")], task.encoders["text"])
    lengths = ids.ids.lengths(ids.rows).astype(float)
    attention = 12 * model.config.num_hidden_layers * model.config.hidden_size
    return float((6 * weights * lengths + attention * lengths**2).mean()), float(lengths.mean())


# -------------------------------------------------------------------------------------------------------- preparing


def prepare(
    task: Task,
    config: TrainingConfig,
    folder: Path,
    *,
    batch_sizes: Sequence[int],
    seeds: Sequence[int],
    noises: Sequence[float],
    sigma: float,
    weights: str,
) -> None:
    """Write all that `finetune_card` needs: `manifest.json`, `inputs.npz` and `weights.pt`.

    Trainings come seed by seed, so that whatever time there is goes to as many whole comparisons as it allows. With a
    noise above 0 only the plain arm and CLASS are trained: that share of the training pairs, drawn by the seed, have
    their molecules exchanged among them, and difficulty is measured on what is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    splits = {split: task.rows(split) for split in ("train", "validation", "test")}
    order = np.concatenate(list(splits.values()))
    arrays = _texts(task, order) | _molecules(task, order) | {"targets": task.targets("test").astype(np.int32)}
    manifest = _encoder(task, config, arrays, folder, weights)
    count = len(splits["train"])
    names: dict[str, str] = {}
    trainings: list[dict[str, Any]] = []

    def keep(kind: str, values: np.ndarray) -> str:
        """Store an array once, whoever asks for it."""
        key = hashlib.sha256(values.tobytes()).hexdigest()
        name = names.setdefault(key, f"{kind}_{len(names)}")
        arrays[name] = values
        return name

    for seed in seeds:
        arrays[f"fit_{seed}"] = _fit(task, seed).astype(np.int32)
        for noise in noises:
            partner = exchanged(count, noise, seed)
            beside = task.m.copy()
            beside[splits["train"]] = task.m[splits["train"][partner]]
            spoilt = replace(task, m=beside)
            partners = keep("partners", partner.astype(np.int32)) if noise else None
            arms = [arm for arm in arms_of(config.epochs, sigma) if not noise or arm.name in NOISY]
            plans: dict[str, Plan] = {}
            for size in batch_sizes:
                for arm in arms:
                    chosen = replace(config, batch_size=size, seed=seed)
                    if arm.step_matched or arm.name not in plans:
                        plans[arm.name] = plan_arm(spoilt, arm, chosen)
                    plan, epochs = plans[arm.name], range(1, config.epochs + 1)
                    batches = [plan.batches(epoch, size) for epoch in epochs]
                    assert all(len(batch) == size for parts in batches for batch in parts[:-1])
                    rows = np.concatenate([row for parts in batches for row in parts])
                    total = plan.steps_total(size)
                    rates = np.array([learning_rate(chosen, step, total) for step in range(total)])
                    name = f"{arm.name.replace(' ', '-')}-{size}-noise{noise:g}-{seed}"
                    trainings.append(
                        {
                            "name": name,
                            "arm": arm.name,
                            "seed": seed,
                            "batch_size": size,
                            "noise": noise,
                            "partners": partners,
                            "rows": keep("rows", rows.astype(np.uint16)),
                            "rates": keep("rates", rates),
                            "epoch_rows": [sum(map(len, parts)) for parts in batches],
                            "intensity": [plan.intensity(epoch) for epoch in epochs],
                        }
                    )
        print(f"seed {seed}: {len(trainings)} trainings so far", flush=True)
    _write(folder, arrays, manifest | {"sizes": {name: len(rows) for name, rows in splits.items()}}, trainings)


def arms_of(epochs: int, sigma: float) -> list[Arm]:
    """The kit's arms with its own schedule; with fewer than 20 epochs a steeper one, that comes to all pairs."""
    return standard_arms(growth=max(0.03, (1 - 0.4) / epochs), sigma=sigma)


def exchanged(count: int, share: float, seed: int) -> np.ndarray:
    """Whose molecule stands beside each pair's text, `(count,)`: its own, but for a seeded share of them."""
    chosen = np.random.default_rng((seed, NOISE_STREAM)).permutation(count)[: round(share * count)]
    partner = np.arange(count)
    partner[chosen] = np.roll(chosen, 1)
    return partner


def _write(folder: Path, arrays: dict[str, np.ndarray], manifest: dict[str, Any], trainings: list[Any]) -> None:
    digest = hashlib.sha256(json.dumps([manifest, trainings], sort_keys=True).encode())
    for name, values in sorted(arrays.items()):
        digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
    np.savez_compressed(folder / "inputs.npz", **arrays)  # type: ignore[arg-type]
    write_json(folder / "manifest.json", manifest | {"digest": digest.hexdigest(), "trainings": trainings})
    held = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{len(trainings)} trainings prepared in {folder}: {held / 1e6:.1f} MB")


def _texts(task: Task, order: np.ndarray) -> dict[str, np.ndarray]:
    """Token numbers of the pairs' texts, end to end."""
    ids = text_ids([task.pairs.text[row] for row in order], task.encoders["text"])
    lengths = ids.ids.lengths(ids.rows)
    return {
        "text_ids": ids.ids.take(ids.rows)[:, 0],
        "text_offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
    }


def _molecules(task: Task, order: np.ndarray) -> dict[str, np.ndarray]:
    """The words of each distinct molecule with their counts, the words' vectors, and which molecule is whose."""
    pairs = [task.pairs.smiles[row] for row in order]
    pool = list(task.molecules.smiles)
    distinct = sorted({*pairs, *pool})
    table = load_vectors(task.encoders["vectors"])
    known = [[table.index.get(word, -1) for word in sentence] for sentence in mol2vec_sentences(distinct)]
    # a word without a vector counts as a rare one, unless the molecule has no other
    counted = [
        np.unique([table.unknown if word < 0 else word for word in words], return_counts=True)
        if max(words) >= 0
        else (np.zeros(0, int), np.zeros(0, int))
        for words in known
    ]
    kept: dict[tuple[int, ...], int] = {}
    place = {
        smiles: kept.setdefault(tuple(np.concatenate(one).tolist()), len(kept))
        for smiles, one in zip(distinct, counted, strict=True)
    }
    lasting = [np.array(key, np.int64).reshape(2, -1) for key in kept]
    words = np.concatenate([one[0] for one in lasting])
    used, numbers = np.unique(words, return_inverse=True)
    found = {
        "word_vectors": table.vectors[used],
        "words": numbers.astype(np.uint16),
        "word_counts": np.concatenate([one[1] for one in lasting]).astype(np.uint16),
        "word_offsets": np.concatenate([[0], np.cumsum([len(one[0]) for one in lasting])]).astype(np.int32),
        "pair_molecule": np.array([place[smiles] for smiles in pairs], np.int32),
        "pool_molecule": np.array([place[smiles] for smiles in pool], np.int32),
    }
    vectors = word_sums(found)
    for name, rows in (("pair_molecule", task.m[order]), ("pool_molecule", task.pool)):
        np.testing.assert_array_equal(vectors[found[name]], rows, err_msg="molecules from their words")
    return found


def _encoder(
    task: Task, config: TrainingConfig, arrays: dict[str, np.ndarray], folder: Path, weights: str
) -> dict[str, Any]:
    """Write the encoder's weights, without the words that no text has; what is needed to build it and train it."""
    found = find_encoder(task.encoders["text"])
    loaded = load_encoder(found, found.digest, "float32", "cpu")
    padding = int(loaded.tokenizer.pad_token_id)
    used = np.union1d([padding], arrays["text_ids"])
    arrays["text_ids"] = np.searchsorted(used, arrays["text_ids"]).astype(np.uint16)
    state = {
        name: value.to(getattr(torch, weights))
        for name, value in loaded.model.state_dict().items()
        if not name.startswith("pooler.")
    }
    name = "embeddings.word_embeddings.weight"
    state[name] = state[name][torch.from_numpy(used)].clone()
    torch.save(state, folder / "weights.pt")
    values = {key: value for key, value in loaded.model.config.to_dict().items() if _plain(value)}
    values |= {"vocab_size": len(used), "pad_token_id": int(np.searchsorted(used, padding))}
    options = config.backbone_options
    return {
        "encoder": found.digest,
        "pooling": found.pooling,
        "config": values,
        "padding": values["pad_token_id"],
        "piece_tokens": options["piece_tokens"],
        "learning_rate": config.learning_rate,
        "encoder_share": options["encoder_rate"] / config.learning_rate,
        "weight_decay": config.weight_decay,
        "weights": weights,
        "epochs": config.epochs,
    }


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _fit(task: Task, seed: int) -> np.ndarray:
    rows = task.rows("train")
    sides = task.text_inputs("ids", rows), task.molecule_inputs("vector", rows)
    return min((side.sample(seed=seed) for side in sides), key=len)


# ----------------------------------------------------------------------------------------------------------- tables


def table(folder: Path, target: Path | None) -> None:
    """Print what `finetune_card` left in a folder, each batch size and noise apart; write it to `target`, rounded."""
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
        runs = [
            {
                "arm": one["arm"],
                "rate": one["samples_per_second"],
                **{key: one[key] for key in ("memory", "wall", "peak_share")},
            }
            for one in (stored["trainings"][name] for name in names)
        ]
        tables = tables_of(records, runs)
        print(f"\n== batch {size}, noise {noise:g}\n{tables.pop('text')}")
        out.append({"batch_size": size, "noise": noise, "seeds": sorted({record.seed for record in records}), **tables})
    print(f"\n{markdown(out)}")
    if target is not None:
        write_json(target, {"settings": stored["settings"], "tables": _rounded(out)})


def markdown(tables: Sequence[dict[str, Any]]) -> str:
    """The tables as one that fits a page: Hits@1 in both pools, how far ahead of the plain arm, and the cost."""
    head = ["batch", "noise", "arm", "seeds", "Hits@1", "ahead", "Hits@1, whole pool", "ahead", "MRR", "samples"]
    head += ["seconds", "samples/s", "of the peak"]
    lines = [head, ["---"] * len(head)]
    for one in tables:
        gaps = {
            (gap["ranking"], gap["arm"]): f"{100 * gap['difference']:+.2f} [{100 * gap['difference_low']:+.2f}, "
            f"{100 * gap['difference_high']:+.2f}]"
            for gap in one.get("differences", [])
            if gap["metric"] == "hits@1"
        }
        scores = {(row["ranking"], row["arm"]): row for row in one["metrics"]}
        for cost in one["costs"]:
            arm = cost["arm"]
            near, far = (scores[f"text_to_molecule/{pool}", arm] for pool in ("split", "all"))
            line = [f"{one['batch_size']}", f"{one['noise']:g}", arm, f"{near['seeds']}"]
            for row in (near, far):
                line += [f"{100 * row['hits@1']:.2f} %", gaps.get((row["ranking"], arm), "")]
            line += [f"{near['mrr']:.4f}", f"{cost['samples']:,.0f}", f"{cost['seconds']:.1f}"]
            lines.append([*line, f"{cost['samples/s']:,.0f}", f"{cost['peak_share']:.1%}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _complete(names: list[str], trainings: dict[str, Any]) -> list[str]:
    """Those of the seeds that every arm has: comparisons are seed by seed."""
    arms = {trainings[name]["arm"] for name in names}
    seeds = set.intersection(*({trainings[n]["seed"] for n in names if trainings[n]["arm"] == arm} for arm in arms))
    known = [arm.name for arm in standard_arms()]
    return sorted(
        (name for name in names if trainings[name]["seed"] in seeds),
        key=lambda name: (known.index(trainings[name]["arm"]), trainings[name]["seed"]),
    )


def _record(name: str, stored: dict[str, Any], ranks: dict[str, np.ndarray]) -> Record:
    one = stored["trainings"][name]
    arm = next(arm for arm in standard_arms() if arm.name == one["arm"])
    found = {}
    for ranking, pool in stored["settings"]["pools"].items():
        greater, equal = (ranks[f"{name}/{ranking}/{side}"].astype(np.int64) for side in ("greater", "equal"))
        found[ranking] = Ranks(greater, equal, pool)
    spent = {key: one[key] for key in ("steps", "samples", "best_epoch", "seconds", "history")}
    return Record(arm=arm, seed=one["seed"], config={}, ranks=found, folder=Path(), **spent)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def tables_of(records: list[Record], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Metrics by arm and ranking, costs by arm, differences from the bare arm; as data, and as text."""
    shown = ["ranking", "pool", "arm", "seeds", "hits@1", "hits@1_low", "hits@1_high", "hits@10", "mrr", "mean_rank"]
    metrics = pd.concat([summary(records, name)[shown] for name in records[0].ranks], ignore_index=True)
    held = (
        pd.DataFrame(runs)
        .groupby("arm", sort=False)[["rate", "memory", "wall", "peak_share"]]
        .agg({"rate": "mean", "memory": "max", "wall": "mean", "peak_share": "mean"})
    )
    cost = costs(records).merge(held.rename(columns={"rate": "samples/s"}), left_on="arm", right_index=True)
    frames = {"metrics": metrics, "costs": cost}
    if len({record.arm.name for record in records}) > 1:
        gaps = [
            differences(records, "baseline", ranking, metric)
            for ranking in records[0].ranks
            for metric in ("hits@1", "mrr")
        ]
        frames["differences"] = pd.concat(gaps, ignore_index=True)
    text = "\n\n".join(frame.to_string(index=False, float_format="{:.4g}".format) for frame in frames.values())
    return {name: json.loads(frame.to_json(orient="records")) for name, frame in frames.items()} | {"text": text}
