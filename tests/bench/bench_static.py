"""What the static text encoder saves and what it costs, beside MiniLM: speed, neighbours, retrieval, wrong pairs.

    CLASS_KIT_DATA=FOLDER python -m tests.bench.bench_static
    CLASS_KIT_DATA=FOLDER python -m tests.bench.bench_static --pairs 200000

The first compares both on the real split of ChEBI-20 and on PCdes, in FOLDER, and writes what the pages show. Speed is
without the store, that of MiniLM on 300 texts. Neighbours are those above the σ at which half of the training pairs
have one, by each encoder's own quantile. The second takes so many generated pairs with texts of real length (sentences
of ChEBI-20, mixed) from a CSV to their difficulty and through the check for mismatched pairs, with the static encoder.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import normalize

import class_kit as ck
from class_kit import study
from class_kit.files import write_json
from class_kit.study.tables import differences
from class_kit.task import Task, exchange_molecules, load_task
from class_kit.text import count_tokens
from tests.bench.timing import spent

ENCODERS = ("minilm", "static")
RANKINGS = ("text_to_molecule/split", "molecule_to_text/split")
NOISE, EPOCHS, SEEDS = 0.2, 30, 3
OUT = Path(__file__).parents[2] / "figures" / "text" / "static.json"


def above(task: Task) -> np.ndarray:
    """Which training pairs are neighbours, `(L, L)` bool, at the σ where half of them have one."""
    rows = task.rows("train")
    t, m = (normalize(x[rows]) for x in (task.t, task.m))
    similarity = (t @ t.T + m @ m.T) / 2
    np.fill_diagonal(similarity, -1)
    return similarity > np.median(similarity.max(axis=1))


def tokens_a_second(texts: list[str], encoder: str) -> float:
    """Tokens of these texts by the seconds they take without the store, once the encoder is loaded."""
    ck.embed_text(texts[:2], encoder, cache=False)
    seconds, _ = spent(lambda: ck.embed_text(texts, encoder, cache=False))
    return float(count_tokens(texts).sum() / seconds)


def wrong_pairs(task: Task) -> dict[str, float]:
    """How well the check finds exchanged pairs, and the share of mismatched pairs that it estimates."""
    noisy, rows = exchange_molecules(task, NOISE), task.rows("train")
    assert noisy.exchanged is not None
    audit = ck.audit_pairs(noisy.t[rows], noisy.m[rows])
    auc = float(roc_auc_score(noisy.exchanged[rows], -audit.agreement))
    return {"auc": auc, "share": audit.mismatch_share}


def compare(name: str, **options: str) -> dict[str, Any]:
    """All comparisons on one data set."""
    tasks = {encoder: load_task(name, text_encoder=encoder, vectors="text2mol", **options) for encoder in ENCODERS}
    texts = list(tasks["minilm"].pairs.text)
    found: dict[str, Any] = {
        "data": name,
        "speed": {"minilm": tokens_a_second(texts[:300], "minilm"), "static": tokens_a_second(texts, "static")},
    }
    near = [above(task) for task in tasks.values()]
    found["rho"] = float(spearmanr(*(one.sum(axis=1) for one in near))[0])
    found["shared"] = float((near[0] & near[1]).sum() / near[0].sum())
    records = []
    for encoder, task in tasks.items():
        arm = study.Arm(encoder, order="standard", intensity="constant")
        records += study.run_arms(task, [arm], ck.TrainingConfig(epochs=EPOCHS), range(SEEDS))
    found["rankings"] = [
        {
            "ranking": ranking,
            "hits@1": dict(zip(ENCODERS, study.summary(records, ranking)["hits@1"].tolist(), strict=True)),
            **differences(records, "minilm", ranking).iloc[0][["difference_low", "difference_high"]].to_dict(),
        }
        for ranking in RANKINGS
    ]
    return found | {"check": {encoder: wrong_pairs(task) for encoder, task in tasks.items()}}


def write_pairs(path: Path, count: int, folder: Path) -> None:
    """So many pairs: texts of as many sentences as a real one has, molecules with chains of different lengths."""
    rng = np.random.default_rng(0)
    pairs = ck.load_pairs("chebi20", data=folder, extra=folder / "extra_train.tsv")
    split = [text.replace(". ", ".\n").split("\n") for text in pairs.text]
    sentences = np.array([one for text in split for one in text], dtype=object)
    lengths = np.array([len(text) for text in split])
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("smiles", "text"))
        for at in range(count):
            mixed = rng.choice(sentences, rng.choice(lengths))
            rows.writerow(("C" * (at // len(pairs)) + pairs.smiles[at % len(pairs)], " ".join(mixed)))


def at_scale(count: int) -> None:
    """Time the two commands on a CSV of `count` pairs, from empty stores."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "pairs.csv"
        write_pairs(path, count, Path(os.environ["CLASS_KIT_DATA"]) / "chebi20")
        environment = os.environ | {"CLASS_KIT_CACHE": str(Path(place) / "cache")}
        for command in ("difficulty", "check"):
            words = [sys.executable, "-m", "class_kit", command, str(path), "--text-encoder", "static"]
            words += ["--out", str(Path(place) / command)]
            seconds, _ = spent(lambda words=words: subprocess.run(words, check=True, env=environment))
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
            print(f"{command}: {count:,} pairs in {seconds:.0f} s, peak so far {peak:.1f} GiB", flush=True)


def main() -> None:
    """Compare the encoders, or time many pairs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--pairs", type=int, help="time so many generated pairs instead")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if "CLASS_KIT_DATA" not in os.environ:
        print("skipped: CLASS_KIT_DATA names no folder with chebi20 and pcdes")
        return
    if arguments.pairs:
        at_scale(arguments.pairs)
        return
    extra = str(Path(os.environ["CLASS_KIT_DATA"]) / "chebi20" / "extra_train.tsv")
    found = [compare("chebi20", extra=extra), compare("pcdes")]
    settings = {"noise": NOISE, "epochs": EPOCHS, "seeds": SEEDS}
    write_json(arguments.out, {"settings": settings, "data": found})
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
