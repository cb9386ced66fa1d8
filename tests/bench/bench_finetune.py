"""Fine-tuned text encoders on a graphics card: standard training, CLASS, its controls, and choosing pairs.

    python -m tests.bench.bench_finetune --prepare DIR --vectors text2mol --data DATA --extra DATA/extra_train.tsv
    python -m tests.bench.bench_finetune --from DIR --out RESULTS --scale 64=4,256=8 --seconds 420
    python -m tests.bench.bench_finetune --table RESULTS --record figures/paper/finetune.json

The second step trains every arm with every seed, and needs torch, NumPy, transformers and lazy-loader alone
(`finetune_card`), so that it runs on a machine with a card and little else. What RESULTS holds already is not trained
again, so a run that was cut off goes on. Without any of the three nothing is measured.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from tests.bench import finetune_card


def main() -> int:
    """One of the three steps."""
    arguments = parse()
    if arguments.source:
        names = ("seconds", "precision", "scale", "mode", "sizes")
        finetune_card.run(arguments.source, arguments.out, **{name: getattr(arguments, name) for name in names})
    elif arguments.table:
        from tests.bench.finetune_study import table

        table(arguments.table, arguments.record)
    elif arguments.prepare:
        prepare(arguments)
    else:
        print("fine-tuning: nothing measured; it needs a graphics card and three steps (--help)")
    return 0


def prepare(arguments: argparse.Namespace) -> None:
    """Text2Mol's recipe on the published pairs, with the vectors that difficulty is measured on."""
    from class_kit.task import load_task
    from class_kit.training import TrainingConfig
    from tests.bench import finetune_study

    task = load_task("chebi20", data=arguments.data, extra=arguments.extra, vectors=arguments.vectors)
    if arguments.encoder:
        # difficulty stays that of the frozen vectors
        task = replace(task, encoders=task.encoders | {"text": arguments.encoder})
    config = TrainingConfig(
        epochs=arguments.epochs,
        learning_rate=1e-4,
        precision=arguments.precision,
        backbone="finetuned",
        backbone_options={"inner": "text2mol", "piece_tokens": 16_384, "checkpointing": False},
    )
    finetune_study.prepare(
        task,
        config,
        arguments.prepare,
        batch_sizes=arguments.sizes or [64, 256],
        seeds=arguments.seeds,
        noises=arguments.noises,
        sigma=arguments.sigma,
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--precision", default="bfloat16", choices=("float32", "bfloat16"), help="of the encoder, carried and trained")
    add("--prepare", type=Path, metavar="DIR", help="write what training needs to this folder")
    add("--data", help="folder with fetched data")
    add("--extra", help="further training pairs")
    add("--vectors", default="corpus", help="Mol2vec vectors: corpus, text2mol, mol2vec or a file")
    add("--encoder", metavar="DIR", help="fine-tune this text encoder; difficulty is measured with MiniLM all the same")
    add("--epochs", type=int, default=20)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--sigma", type=float, default=0.95)
    add("--batch-sizes", dest="sizes", type=int, nargs="+", help="prepared, by default 64 and 256; or trained of these")
    add(
        "--noises",
        type=float,
        nargs="+",
        default=[0.0, 0.2],
        help="shares of training pairs whose molecules are exchanged",
    )
    add("--from", dest="source", type=Path, metavar="DIR", help="train what this folder describes")
    add("--out", type=Path, default=Path("finetune-results"), help="folder of results")
    add("--seconds", type=float, help="start no training that would end later")
    add("--mode", choices=finetune_card.MODES, help="how texts are read: graphs on a card, else as the kit does")
    add("--scale", type=sized, default={}, help="multiply the rates by batch size: 64=4,256=8")
    add("--table", type=Path, nargs="+", metavar="DIR", help="tables of what --from left in these folders")
    add("--record", type=Path, metavar="FILE", help="write them there as JSON")
    return parser.parse_args()


def sized(text: str) -> dict[int, float]:
    """A factor for each batch size."""
    return {int(size): float(factor) for size, factor in (part.split("=") for part in text.split(","))}


if __name__ == "__main__":
    sys.exit(main())
