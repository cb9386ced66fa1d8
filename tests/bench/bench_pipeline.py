"""A file of many pairs, from its rows to the table: seconds and memory of every stage, and what grows how.

    python -m tests.bench.bench_pipeline --sizes 2000 20000 200000

The pairs are generated: molecules of the bundled corpus with chains of different lengths in front, each with a short
text of its own. Every stage is the one that a user's file meets: reading, Mol2vec, MiniLM, the exact counts, a plain
training and one with the curriculum, their ranking in both directions, the table. Each size has a process of its own,
so that memory is its own too; the exponent of a stage is that of its time between the two largest sizes.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EPOCHS, BATCH, SIGMA = 3, 512, 0.95


def write_pairs(path: Path, size: int) -> None:
    """So many different pairs, four in five of them for training."""
    import pandas as pd
    from rdkit import Chem, rdBase

    bases = pd.read_csv(ROOT / "data" / "corpus.csv", usecols=["smiles", "class"])
    with rdBase.BlockLogs():
        bases = bases[[Chem.MolFromSmiles(f"C{smiles}") is not None for smiles in bases["smiles"]]]
    at = pd.Series(range(size))
    chain, base = at // len(bases), bases.iloc[at % len(bases)].reset_index(drop=True)
    split = at.map(lambda row: "test" if row % 10 == 0 else "validation" if row % 100 == 1 else "train")
    text = base["class"] + ", chain " + chain.astype(str) + ", " + at.astype(str)
    smiles = chain.map(lambda length: "C" * length) + base["smiles"]
    pd.DataFrame({"id": at, "smiles": smiles, "text": text, "split": split}).to_csv(path, index=False)


class Stages:
    """Seconds and peak memory by stage."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.begun = time.perf_counter()

    def done(self, name: str) -> None:
        """Close a stage."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.found.append({"stage": name, "seconds": time.perf_counter() - self.begun, "peak_gib": peak})
        self.begun = time.perf_counter()


def measure(size: int) -> dict[str, Any]:
    """All stages for one size, in this process."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["CLASS_KIT_CACHE"] = str(Path(place) / "cache")
        path = Path(place) / "pairs.csv"
        write_pairs(path, size)
        import class_kit as ck
        from class_kit import study
        from class_kit.task import Task

        stages = Stages()
        pairs = ck.load_pairs(path)
        stages.done("reading")
        m = ck.embed_molecules(pairs.smiles)
        stages.done("Mol2vec")
        t = ck.embed_text(pairs.text)
        stages.done("MiniLM")
        task = Task(pairs, t, m, pairs, m, {"text": "minilm", "molecules": "mol2vec", "vectors": "corpus"})
        rows = task.rows("train")
        counts = ck.neighbour_counts(t[rows], m[rows], sigma=SIGMA)
        stages.done("counts")
        arms = [study.Arm("baseline", order="standard"), study.Arm("CLASS", full_at=2 / 3, growth=0.0, sigma=SIGMA)]
        config = ck.TrainingConfig(epochs=EPOCHS, batch_size=BATCH, threads=os.cpu_count() or 1)
        records = study.run_arms(task, arms, config, [0], jobs=1)
        stages.done("two trainings and their ranks")
        training = sum(record.seconds for record in records)
        table = [study.summary(records, ranking) for ranking in records[0].ranks]
        table.append(study.differences(records, "baseline"))
        stages.done("table")
        return {
            "pairs": len(pairs),
            "train": len(rows),
            "tied": float((counts == 0).mean()),
            "training_seconds": training,
            "hits@1": table[0]["hits@1"].tolist(),
            "stages": stages.found,
        }


def main() -> None:
    """Measure each size in a process of its own and print a line a stage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=[2000, 20_000])
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(measure(arguments.alone)))
        return
    results = {}
    for size in sorted(arguments.sizes):
        command = [sys.executable, "-m", "tests.bench.bench_pipeline", "--alone", str(size)]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
        results[size] = json.loads(printed.splitlines()[-1])
        found = results[size]
        print(f"{found['pairs']:,} pairs, {found['train']:,} to train on, Hits@1 {found['hits@1']}")
        for stage in found["stages"]:
            print(f"  {stage['stage']}: {stage['seconds']:.1f} s, peak so far {stage['peak_gib']:.2f} GiB")
        print(f"  of which training steps: {found['training_seconds']:.1f} s", flush=True)
    if len(results) > 1:
        small, large = sorted(results)[-2:]
        for one, two in zip(results[small]["stages"], results[large]["stages"], strict=True):
            exponent = math.log(two["seconds"] / one["seconds"]) / math.log(large / small)
            print(f"{one['stage']}: grows like L^{exponent:.2f}")


if __name__ == "__main__":
    main()
