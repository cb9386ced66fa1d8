"""Fine-tuned text encoders on a graphics card: bare, with CLASS, and with the same schedule in random order.

    python -m tests.bench.bench_finetune --backbone text2mol --data DIR --extra DIR/chebi20/extra_train.tsv --out DIR

trains every arm with every seed on ChEBI-20, and prints for each arm the metrics with their intervals, samples a
second, the most memory held, and the share of the card's bfloat16 peak; then each arm against the bare one. Give
`--backbone` again for more backbones, and `--options` for theirs. What a folder holds already is not trained again, so
a run that was cut off goes on. Without a card nothing is measured; `--tiny` trains on a few pairs to show that all of
it runs, on whatever machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from class_kit.files import PACKAGE, write_json
from class_kit.study import costs, differences, standard_arms, summary
from class_kit.study.records import Record, read_record, train_record
from class_kit.task import Task, load_task
from class_kit.training import TrainingConfig

ARMS = ("baseline", "CLASS", "random order")
# dense bfloat16 peaks as their makers state them, operations a second; the first name that fits counts
PEAKS = {"H100 PCIe": 756e12, "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


def main() -> int:
    """Train what is missing, print the tables, write `finetune.json`."""
    arguments = parse()
    if not (arguments.tiny or torch.cuda.is_available()):
        print("fine-tuning: no graphics card here, nothing measured (--tiny shows that it runs)")
        return 0
    with tempfile.TemporaryDirectory() as spare:
        folder = Path(arguments.out or spare)
        task = tiny_task(Path(spare)) if arguments.tiny else chebi20(arguments)
        peak, source = card_peak()
        operations, tokens = work_a_sample(task)
        print(f"{device_name()}: bfloat16 peak {peak / 1e12:,.0f} TFLOP/s ({source})")
        print(f"{tokens:.0f} tokens and {operations / 1e9:,.1f} GFLOP a sample, forward and backward")
        tables: dict[str, Any] = {}
        for backbone in arguments.backbone:
            config = config_of(arguments, backbone)
            records, runs = train_all(task, config, arguments, folder / backbone)
            tables[backbone] = tables_of(records, runs, operations / peak)
            print(f"\n== {backbone}\n{tables[backbone].pop('text')}")
        write_json(folder / "finetune.json", {"device": device_name(), "settings": vars(arguments), "tables": tables})
        if arguments.out:
            print(f"\nkept in {folder}")
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--backbone", action="append", help="what stands on the encoder (default: text2mol); may be given again")
    add("--options", type=json.loads, default={}, help='JSON: {"text2mol": {"molecule_encoder": "gcn"}}')
    add("--data", help="folder with fetched data")
    add("--extra", help="further training pairs")
    add("--swap", action="store_true", help="train on test, evaluate on validation")
    add("--text-encoder", default="minilm")
    add("--vectors", default="corpus", help="Mol2vec vectors: corpus, text2mol, mol2vec or a file")
    add("--epochs", type=int, default=40)
    add("--batch-size", type=int, default=32)
    add("--rate", type=float, default=1e-4)
    add("--encoder-rate", type=float, default=3e-5)
    add("--precision", default="bfloat16", choices=("float32", "bfloat16"))
    add("--piece-tokens", type=int, default=16_384)
    add("--no-checkpointing", action="store_true")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--sigma", type=float, default=0.95)
    add("--out", help="folder of records and tables")
    add("--tiny", action="store_true", help="a few pairs of the bundled corpus, two epochs, two seeds")
    arguments = parser.parse_args()
    arguments.backbone = arguments.backbone or ["text2mol"]
    if arguments.tiny:
        arguments.epochs, arguments.seeds, arguments.batch_size = 2, [0, 1], 8
    return arguments


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


def tables_of(records: list[Record], runs: list[dict[str, Any]], seconds_a_sample: float) -> dict[str, Any]:
    """Metrics by arm and ranking, costs by arm, differences from the bare arm; as data, and as text."""
    shown = ["ranking", "pool", "arm", "seeds", "hits@1", "hits@1_low", "hits@1_high", "hits@10", "mrr", "mean_rank"]
    metrics = pd.concat([summary(records, name)[shown] for name in records[0].ranks], ignore_index=True)
    held = (
        pd.DataFrame(runs)
        .groupby("arm", sort=False)[["rate", "memory", "wall"]]
        .agg({"rate": "mean", "memory": "max", "wall": "mean"})
    )
    held["peak share"] = held["rate"] * seconds_a_sample
    cost = costs(records).merge(held.rename(columns={"rate": "samples/s"}), left_on="arm", right_index=True)
    gaps = pd.concat([differences(records, "baseline", metric=name) for name in ("hits@1", "mrr")], ignore_index=True)
    frames = {"metrics": metrics, "costs": cost, "differences": gaps}
    text = "\n\n".join(frame.to_string(index=False, float_format="{:.4g}".format) for frame in frames.values())
    return {name: json.loads(frame.to_json(orient="records")) for name, frame in frames.items()} | {"text": text}


def work_a_sample(task: Task) -> tuple[float, float]:
    """Operations that one text costs the encoder forward and backward, and its tokens; means over the training texts.

    Six for each weight and token, embeddings aside; for the attention 12·T·d a layer and token, two products of 2·T·d
    forward and four backward. What checkpointing computes again is not counted: it is no progress.
    """
    from class_kit.text.encoders import find_encoder, load_encoder

    found = find_encoder(task.encoders["text"])
    model = load_encoder(found, found.digest, "float32", "cpu").model
    weights = sum(
        one.numel() for name, one in model.named_parameters() if "embeddings" not in name and "pooler" not in name
    )
    inputs = task.text_inputs("ids", task.rows("train"))
    lengths = np.concatenate(
        [
            inputs.take(np.array(part), "cpu").real.sum(1).numpy()
            for part in np.array_split(np.arange(len(inputs)), 16)
            if len(part)
        ]
    ).astype(float)
    attention = 12 * model.config.num_hidden_layers * model.config.hidden_size
    return float((6 * weights * lengths + attention * lengths**2).mean()), float(lengths.mean())


def card_peak() -> tuple[float, str]:
    """Bfloat16 operations a second at best, and where the number comes from."""
    known = next((peak for name, peak in PEAKS.items() if name in device_name()), None)
    return (known, "data sheet") if known else (measured_peak(), "measured on one large product")


def measured_peak() -> float:
    """What one large matrix product reaches here."""
    device, size = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 512)
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    best = np.inf
    for _ in range(6):
        synchronise()
        begin = time.perf_counter()
        a @ a
        synchronise()
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def device_name() -> str:
    """The card, or that there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no graphics card"


def synchronise() -> None:
    """Wait for the card."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def reset_memory() -> None:
    """Count the most memory held from here on; without a card it is the whole process's."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def memory() -> int:
    """Most bytes held: on the card, or by this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
