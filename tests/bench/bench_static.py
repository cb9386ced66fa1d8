"""What the static text encoder saves and what it costs, beside MiniLM: speed, neighbours, retrieval, wrong pairs.

    CLASS_KIT_DATA=FOLDER python -m tests.bench.bench_static

On the real split of ChEBI-20 and on PCdes, in FOLDER. Speed is without the store, that of MiniLM on 300 texts.
Neighbours are those above the σ at which half of the training pairs have one, by each encoder's own quantile.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

import class_kit as ck
from class_kit import study
from class_kit.study.tables import differences
from class_kit.task import Task, exchange_molecules, load_task
from class_kit.text import describe_text

ENCODERS = ("minilm", "static")
NOISE = 0.2


def above(task: Task) -> np.ndarray:
    """Which training pairs are neighbours, `(L, L)` bool, at the σ where half of them have one."""
    rows = task.rows("train")
    t, m = (x[rows] / np.maximum(np.linalg.norm(x[rows], axis=1, keepdims=True), 1e-12) for x in (task.t, task.m))
    similarity = (t @ t.T + m @ m.T) / 2
    np.fill_diagonal(similarity, -1)
    return similarity > np.median(similarity.max(axis=1))


def tokens_a_second(texts: list[str], encoder: str) -> float:
    """Tokens of these texts by the seconds they take without the store, once the encoder is loaded."""
    ck.embed_text(texts[:2], encoder, cache=False)
    begun = time.perf_counter()
    ck.embed_text(texts, encoder, cache=False)
    seconds = time.perf_counter() - begun
    return float(describe_text(texts).tokens.sum() / seconds)


def measure(name: str, **options: str) -> None:
    """Print all comparisons on one data set."""
    tasks = {encoder: load_task(name, text_encoder=encoder, vectors="text2mol", **options) for encoder in ENCODERS}
    first = tasks["minilm"]
    texts = list(first.pairs.text)
    slow, fast = tokens_a_second(texts[:300], "minilm"), tokens_a_second(texts, "static")
    print(f"{name}: {slow:,.0f} and {fast:,.0f} tokens a second, {fast / slow:.0f} times as many")
    near = [above(task) for task in tasks.values()]
    counts = [one.sum(axis=1) for one in near]
    shared = (near[0] & near[1]).sum() / near[0].sum()
    print(f"  N_i: Spearman's ρ {spearmanr(*counts)[0]:.2f}; of MiniLM's neighbours {shared:.0%} are neighbours too")
    records = []
    for encoder, task in tasks.items():
        arm = study.Arm(encoder, order="standard", intensity="constant")
        records += study.run_arms(task, [arm], ck.TrainingConfig(epochs=30), range(3))
    for ranking in ("text_to_molecule/split", "molecule_to_text/split"):
        hits = study.summary(records, ranking)["hits@1"]
        gap = differences(records, "minilm", ranking).iloc[0]
        low, high = gap["difference_low"], gap["difference_high"]
        print(f"  Hits@1 {ranking}: {hits[0]:.1%} and {hits[1]:.1%}, by {low:+.1%} to {high:+.1%}")
    for encoder, task in tasks.items():
        noisy, rows = exchange_molecules(task, NOISE), task.rows("train")
        assert noisy.exchanged is not None
        audit = ck.audit_pairs(noisy.t[rows], noisy.m[rows])
        auc = roc_auc_score(noisy.exchanged[rows], -audit.agreement)
        print(f"  {encoder}: check with {NOISE:.0%} exchanged: AUC {auc:.3f}, share {audit.mismatch_share:.3f}")


def main() -> None:
    """Measure what the folder has."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0]).parse_args()
    folder = Path(os.environ["CLASS_KIT_DATA"])
    measure("chebi20", extra=str(folder / "chebi20" / "extra_train.tsv"))
    measure("pcdes")


if __name__ == "__main__":
    main()
