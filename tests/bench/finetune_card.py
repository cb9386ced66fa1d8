"""Fine-tune a text encoder from a prepared folder, with torch, NumPy and transformers alone.

`bench_finetune --prepare` wrote the folder: token numbers, vectors of molecules, the batches, learning rates and
intensities of every training, and the encoder. So nothing of the kit is needed here but the backbone, and what decides
a training was decided where the folder was made. In float32 on a CPU it is the kit's own training, bit for bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from class_kit.backbones import create_backbone
from class_kit.backbones.base import Backbone
from class_kit.files import atomic_write, write_json
from class_kit.inputs import Ragged, Vectors, as_inputs
from class_kit.retrieval.metrics import Ranks, per_query_metrics
from class_kit.text.encoders import find_encoder
from class_kit.text.tokens import TextIds

TIE_TOLERANCE = 1e-9
SPLITS = ("train", "validation", "test")
RANKINGS = ("text_to_molecule/split", "text_to_molecule/all", "molecule_to_text/split")


class Prepared:
    """What `--prepare` wrote; pairs are numbered train, validation, test, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        ids = Ragged(self.arrays["text_ids"].astype(np.int32), self.arrays["text_offsets"].astype(np.int64))
        digest, read = find_encoder(folder / "encoder").digest, self.manifest["text"]
        rows = self.arrays["text_rows"].astype(np.int64)
        self.text = TextIds(rows, "", ids, read["padding"], read["width"], digest)
        vectors = as_inputs(self.arrays["molecule_vectors"])
        self.molecules = vectors.subset(self.arrays["pair_molecule"].astype(np.int64))
        self.pool = vectors.subset(self.arrays["pool_molecule"].astype(np.int64))
        ends = np.cumsum([self.manifest["sizes"][name] for name in SPLITS])
        self.rows = dict(zip(SPLITS, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))

    def epochs(self, training: dict[str, Any]) -> Iterator[list[tuple[np.ndarray, float, float]]]:
        """Of each epoch its steps: rows of the batch, learning rate, and γ."""
        rows, rates = self.arrays[training["rows"]].astype(np.int64), iter(self.arrays[training["rates"]].tolist())
        parts = np.split(rows, np.cumsum(training["epoch_rows"])[:-1])
        for part, gamma in zip(parts, training["intensity"], strict=True):
            starts = range(0, len(part), training["batch_size"])
            yield [(part[at : at + training["batch_size"]], next(rates), gamma) for at in starts]

    def beside(self, training: dict[str, Any]) -> Vectors:
        """The molecule that stands beside each training text; its own where nothing was exchanged."""
        partners = training["partners"]
        chosen = self.rows["train"] if partners is None else self.arrays[partners].astype(np.int64)
        return self.molecules.subset(chosen)


def train(data: Prepared, training: dict[str, Any], precision: str, scale: float = 1.0) -> dict[str, Any]:
    """One training from its beginning: history, cost, and the ranks of the test queries.

    `scale` multiplies every learning rate of the plan.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rough = torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")
    beside = data.beside(training)
    torch.manual_seed(training["seed"])
    backbone = create_backbone(
        "finetuned",
        data.text.width,
        data.molecules.width,
        encoder=str(data.folder / "encoder"),
        **data.manifest["backbone_options"],
    ).to(device)
    rows = data.arrays[f"fit_{training['seed']}"].astype(np.int64)
    backbone.fit_inputs(data.text.take(rows, device), beside.take(rows, device))
    ((parameters, peak),) = backbone.parameter_rates()
    encoder = list(parameters)
    own = {id(parameter) for parameter in encoder}
    groups = [
        {"params": [one for one in backbone.parameters() if id(one) not in own], "share": 1.0},
        {"params": encoder, "share": peak / data.manifest["learning_rate"]},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=data.manifest["weight_decay"])
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    samples, seconds = 0, 0.0
    for epoch, steps in enumerate(data.epochs(training), 1):
        started, sums = time.perf_counter(), torch.zeros(2, dtype=torch.float64, device=device)
        backbone.train()
        for rows, rate, gamma in steps:
            with rough:
                losses = backbone.losses(data.text.take(rows, device), beside.take(rows, device))
            terms = [term.float().mean() for term in losses.values()]
            for group in optimizer.param_groups:
                group["lr"] = scale * rate * group["share"]
            optimizer.zero_grad(set_to_none=True)
            (gamma * terms[0] + gamma * terms[1]).backward()
            optimizer.step()
            sums += torch.stack(terms).detach()
            samples += len(rows)
        means = (sums / len(steps)).tolist()
        seconds += time.perf_counter() - started
        if not np.isfinite(means).all():
            raise FloatingPointError(f"a loss term is not finite in epoch {epoch} of {training['name']}")
        with rough:
            found = [ranks for name, ranks in ranked(backbone, data, "validation").items() if name.endswith("split")]
        mrr = float(np.mean([per_query_metrics(ranks)["mrr"].mean() for ranks in found]))
        if mrr > max((entry["mrr"] for entry in history), default=-1.0):
            best = {name: value.detach().clone() for name, value in backbone.state_dict().items()}
        history.append({"epoch": epoch, **dict(zip(losses, means, strict=True)), "mrr": mrr})
    backbone.load_state_dict(best)
    return {
        "history": history,
        "best_epoch": 1 + int(np.argmax([entry["mrr"] for entry in history])),
        "steps": len(data.arrays[training["rates"]]),
        "samples": samples,
        "seconds": seconds,
        "memory": torch.cuda.max_memory_allocated() if device == "cuda" else 0,
        "ranks": ranked(backbone, data, "test"),
    }


@torch.no_grad()
def ranked(backbone: Backbone, data: Prepared, split: str) -> dict[str, Ranks]:
    """Ranks of a split's pairs among themselves in both directions; of the test split, among the whole pool too."""
    device = next(backbone.parameters()).device
    backbone.eval()

    def encoded(side: str, inputs: Any) -> Tensor:
        encode = backbone.encode_text if side == "text" else backbone.encode_molecules
        blocks = np.split(np.arange(len(inputs)), range(inputs.block, len(inputs), inputs.block))
        return torch.cat([encode(inputs.take(rows, device)) for rows in blocks])

    rows, own = data.rows[split], np.arange(len(data.rows[split]))
    texts, molecules = encoded("text", data.text.subset(rows)), encoded("molecules", data.molecules.subset(rows))
    found = [ranks_of(texts, molecules, own), ranks_of(molecules, texts, own)]
    if split != "test":
        return {RANKINGS[0]: found[0], RANKINGS[2]: found[1]}
    everything = ranks_of(texts, encoded("molecules", data.pool), data.arrays["targets"].astype(np.int64))
    return dict(zip(RANKINGS, (found[0], everything, found[1]), strict=True))


def ranks_of(queries: Tensor, candidates: Tensor, targets: np.ndarray, block: int = 512) -> Ranks:
    """Candidates of a cosine higher than the target's, and as high within 1e-9, counted in float64."""
    first, second = (normalize(side.double(), dim=1, eps=1e-300) for side in (queries, candidates))
    greater, equal = [], []
    for rows, goals in zip(first.split(block), torch.from_numpy(targets).to(first.device).split(block), strict=True):
        cosines = rows @ second.T
        gap = cosines - cosines.gather(1, goals[:, None])
        greater.append((gap > TIE_TOLERANCE).sum(1))
        equal.append((gap.abs() <= TIE_TOLERANCE).sum(1) - 1)
    return Ranks(torch.cat(greater).cpu().numpy(), torch.cat(equal).cpu().numpy(), len(second))


def run(
    folder: Path,
    out: Path,
    *,
    minutes: float | None = None,
    precision: str = "bfloat16",
    scale: dict[int, float] | None = None,
) -> None:
    """Train what `out` does not hold yet, in the folder's order, and stop between trainings when time is up.

    `results.json` and `ranks.npz` are written anew after every training. A training whose losses leave the finite
    numbers is left out, and said so.
    """
    begun, data = time.perf_counter(), Prepared(folder)
    settings = {
        "precision": precision,
        "scale": {str(size): value for size, value in (scale or {}).items()},
        "prepared": data.manifest["digest"],
        "pools": {name: len(data.pool) if name.endswith("all") else len(data.rows["test"]) for name in RANKINGS},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "no graphics card",
        "torch": torch.__version__,
    }
    results: dict[str, Any] = {}
    ranks: dict[str, np.ndarray] = {}
    if (out / "results.json").is_file():
        stored = json.loads((out / "results.json").read_text(encoding="utf-8"))
        if stored["settings"] != settings:
            raise SystemExit(f"{out}: holds trainings with other settings or of another folder; choose another --out")
        results = stored["trainings"]
        with np.load(out / "ranks.npz", allow_pickle=False) as arrays:
            ranks = {name: arrays[name] for name in arrays.files}
    lasted = 0.0
    for training in data.manifest["trainings"]:
        name, started = training["name"], time.perf_counter()
        if name in results:
            continue
        if minutes is not None and started - begun + lasted > 60 * minutes:
            print(f"stopped after {started - begun:.0f} s, {len(results)} trainings kept", flush=True)
            return
        try:
            found = train(data, training, precision, (scale or {}).get(training["batch_size"], 1.0))
        except FloatingPointError as error:
            # the others are worth having nevertheless
            print(f"left out: {error}", flush=True)
            continue
        lasted = time.perf_counter() - started
        for ranking, each in found.pop("ranks").items():
            ranks |= {f"{name}/{ranking}/greater": each.greater, f"{name}/{ranking}/equal": each.equal}
        results[name] = {key: training[key] for key in ("arm", "seed", "batch_size", "noise")} | found
        results[name]["wall"] = lasted
        with atomic_write(out / "ranks.npz") as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **ranks)  # type: ignore[arg-type]
        write_json(out / "results.json", {"settings": settings, "trainings": results})
        rate, mrr = found["samples"] / found["seconds"], max(entry["mrr"] for entry in found["history"])
        print(f"{name}: {rate:,.0f} samples/s, validation MRR {mrr:.4f} in epoch {found['best_epoch']}", flush=True)
    print(f"all {len(results)} trainings are there after {time.perf_counter() - begun:.0f} s", flush=True)
