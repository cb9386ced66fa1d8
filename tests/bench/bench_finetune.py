"""Fine-tuned text encoders on a graphics card: bare, with CLASS, and with the same schedule in random order.

    python -m tests.bench.bench_finetune --backbone text2mol --data DIR --extra DIR/chebi20/extra_train.tsv --out DIR

trains every arm with every seed on ChEBI-20, and prints for each arm the metrics with their intervals, samples a
second, the most memory held, and the share of the card's bfloat16 peak; then each arm against the bare one. Give
`--backbone` again for more backbones, and `--options` for theirs. What a folder holds already is not trained again, so
a run that was cut off goes on. Without a card nothing is measured; `--tiny` trains on a few pairs to show that all of
it runs, on whatever machine.

A machine with a card and little else is served in three steps, of which the second needs torch, NumPy and transformers
alone (`finetune_card`):

    python -m tests.bench.bench_finetune --prepare DIR --vectors text2mol --data DATA --extra DATA/extra_train.tsv
    python -m tests.bench.bench_finetune --from DIR --out RESULTS --minutes 7
    python -m tests.bench.bench_finetune --table RESULTS --record figures/paper/finetune.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from tests.bench import finetune_card


def main() -> int:
    """Train what is missing and print the tables, or one of the three steps for another machine."""
    arguments = parse()
    if arguments.source:
        return train_prepared(arguments)
    # the whole kit, which the machine with the card may lack
    from tests.bench import finetune_study as study

    if arguments.table:
        study.table(Path(arguments.table), Path(arguments.record) if arguments.record else None)
        return 0
    if not (arguments.tiny or arguments.prepare or torch.cuda.is_available()):
        print("fine-tuning: no graphics card here, nothing measured (--tiny shows that it runs)")
        return 0
    with tempfile.TemporaryDirectory() as spare:
        task = study.tiny_task(Path(spare)) if arguments.tiny else study.chebi20(arguments)
        if arguments.rows:
            task = study.fewer(task, arguments.rows)
        if arguments.prepare:
            study.prepare(
                task,
                study.config_of(arguments, "text2mol"),
                Path(arguments.prepare),
                batch_sizes=arguments.batch_sizes,
                seeds=arguments.seeds,
                noises=arguments.noises,
                sigma=arguments.sigma,
                weights=arguments.weights,
            )
            return 0
        study.bench(task, arguments, Path(arguments.out or spare))
    if arguments.out:
        print(f"\nkept in {arguments.out}")
    return 0


def train_prepared(arguments: argparse.Namespace) -> int:
    """Train from a prepared folder, as fast as this machine can unless told otherwise."""
    card = torch.cuda.is_available()
    return finetune_card.run(
        arguments.source,
        arguments.out or "finetune-results",
        minutes=arguments.minutes,
        layout=arguments.layout,
        precision=arguments.precision,
        attention=arguments.attention or ("flash" if card else "padded"),
        compiled=arguments.compile and card,
        graph=arguments.graph and card,
        epochs=arguments.stop_after,
        seeds=arguments.most_seeds,
        scale=arguments.scale,
        only=arguments.arm,
    )


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
    add("--rows", type=int, help="so many training pairs alone")
    steps = parser.add_argument_group("for another machine")
    add = steps.add_argument
    add("--prepare", metavar="DIR", help="write what training needs to this folder, for text2mol's vectors")
    add("--batch-sizes", type=int, nargs="+", default=[64, 256])
    add("--noises", type=float, nargs="+", default=[0.0], help="shares of training pairs whose molecules are exchanged")
    add("--weights", default="bfloat16", choices=("float32", "bfloat16"), help="how the encoder's weights are carried")
    add("--from", dest="source", metavar="DIR", help="train what this folder describes")
    add("--minutes", type=float, help="start no training that would end later")
    add("--layout", default="packed", choices=("packed", "pieces"), help="pieces: bit for bit as the kit trains")
    add("--attention", choices=("flash", "padded"), help="of the packed layout (default: flash on a card)")
    add("--compile", action=argparse.BooleanOptionalAction, default=True, help="compile the layers, on a card")
    add("--graph", action=argparse.BooleanOptionalAction, default=True, help="replay steps as one graph, on a card")
    add("--stop-after", type=int, metavar="EPOCHS", help="stop every training early, for a trial")
    add("--most-seeds", type=int, help="the first so many seeds alone")
    add("--arm", action="append", help="this arm alone; may be given again")
    add("--scale", type=sized, default={}, help="multiply the rates by batch size: 64=1.4,256=2.8")
    add("--table", metavar="DIR", help="tables of what --from left in this folder")
    add("--record", metavar="FILE", help="write them there as JSON")
    arguments = parser.parse_args()
    arguments.backbone = arguments.backbone or ["text2mol"]
    if arguments.tiny:
        arguments.epochs, arguments.seeds, arguments.batch_size, arguments.batch_sizes = 2, [0, 1], 8, [8]
    return arguments


def sized(text: str) -> dict[int, float]:
    """A factor for each batch size."""
    return {int(size): float(factor) for size, factor in (part.split("=") for part in text.split(","))}


if __name__ == "__main__":
    sys.exit(main())
