"""Fine-tune a text encoder from a prepared folder, with torch, NumPy, transformers and lazy-loader alone.

`bench_finetune --prepare` wrote the folder: token numbers, vectors of molecules, the batches, learning rates and
intensities of every training, and the encoder. So nothing of the kit is needed here but the backbone and, for small
losses, the plan; what decides a training was decided where the folder was made.

- **`mode="kit"`** is the kit's own training, in float32 on a CPU bit for bit.
- **`mode="packed"`** is for a card: the texts of a batch stand end to end without padding, and attention runs within
  each of them.
- **`mode="graphs"`** also replays whole steps from CUDA graphs, one for each of a few widths to which batches are
  filled up. Compiling the layers on top took 14 seconds a batch size, more than it saved.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention

from class_kit.backbones import create_backbone
from class_kit.backbones.base import Backbone
from class_kit.curriculum.feedback import SmallLossPlan
from class_kit.curriculum.plan import EpochPlan
from class_kit.curriculum.schedules import make_schedule
from class_kit.files import atomic_write, write_json
from class_kit.inputs import Ragged, Vectors, as_inputs, offsets_of
from class_kit.retrieval.metrics import Ranks, per_query_metrics
from class_kit.text.encoders import find_encoder
from class_kit.text.tokens import TextIds

MODES = ("graphs", "packed", "kit")
TIE_TOLERANCE = 1e-9
SPLITS = ("train", "validation", "test")
RANKINGS = ("text_to_molecule/split", "text_to_molecule/all", "molecule_to_text/split")
# dense bfloat16 operations a second of an H100 or H200 (SXM), as their maker states them
PEAK = 989e12
# tokens a text of a batch by which the widths of graphs differ
WIDTH_STEP = 8


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
        self.lengths = ids.lengths(rows)
        self.longest = int(self.lengths.max())
        self.vectors = as_inputs(self.arrays["molecule_vectors"])
        self.molecules = self.vectors.subset(self.arrays["pair_molecule"].astype(np.int64))
        self.pool = self.vectors.subset(self.arrays["pool_molecule"].astype(np.int64))
        ends = np.cumsum([self.manifest["sizes"][name] for name in SPLITS])
        self.rows = dict(zip(SPLITS, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))

    def steps(self, training: dict[str, Any], epoch: int, losses: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Of an epoch its steps: rows of the batch, and learning rate."""
        size, counts = training["batch_size"], training["epoch_rows"]
        if (small := training["small_loss"]) is None:
            rows = self.arrays[training["rows"]][sum(counts[: epoch - 1]) :][: counts[epoch - 1]].astype(np.int64)
        else:
            doubt = self.arrays[small["doubt"]]
            plan = SmallLossPlan(losses, small["drop"], small["warmup"], doubt, seed=training["seed"])
            rows = plan.rows(epoch, size)
        starts = range(0, len(rows), size)
        rates = self.arrays[training["rates"]][sum(-(-count // size) for count in counts[: epoch - 1]) :]
        return [(rows[at : at + size], rate) for at, rate in zip(starts, rates[: len(starts)].tolist(), strict=True)]

    def beside(self, training: dict[str, Any]) -> Vectors:
        """The molecule that stands beside each training text."""
        return self.vectors.subset(self.arrays[training["molecules"]].astype(np.int64))

    def pack(self, rows: np.ndarray, width: int | None = None) -> list[np.ndarray]:
        """The fields of `PackedTexts` for texts in this order, int32; `width` tokens are filled up with padding.

        What fills up are texts of padding, no longer than real ones; their number depends on the width alone.
        """
        tokens, longest = self.text.ids.take(self.text.rows[rows])[:, 0], self.longest
        fill = np.arange(0 if width is None else -(-width // longest))
        width = len(tokens) if width is None else width
        rest = width - len(tokens)
        ends = offsets_of(np.concatenate([self.lengths[rows], np.clip(rest - longest * fill, 0, longest)]))
        owner = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        ids = np.concatenate([tokens, np.full(rest, self.text.padding)])
        return [field.astype(np.int32) for field in (ids, np.arange(width) - ends[owner], owner, ends)]


@dataclass(frozen=True, eq=False)
class PackedTexts:
    """Texts end to end: token ids, their positions and whose text they are, `(W,)`, and where texts begin.

    The first `count` texts are the batch, each of at most `longest` tokens; the others fill up.
    """

    ids: Tensor
    position: Tensor
    owner: Tensor
    ends: Tensor
    count: int
    longest: int


def features_of(backbone: Any, text: Any) -> Tensor:
    """What the encoder makes of a batch of texts, packed or not: sentence vectors `(B, d)`."""
    if not isinstance(text, PackedTexts):
        return backbone.inner_text(text)  # type: ignore[no-any-return]
    encoder, ids, place = backbone.encoder, text.ids[None], text.position[None]
    states = encoder.embeddings(input_ids=ids, position_ids=place, token_type_ids=torch.zeros_like(ids))
    before, encoder.config._attn_implementation = encoder.config._attn_implementation, "packed"
    try:
        states = encoder.encoder(states, packed=text).last_hidden_state[0].float()
    finally:
        encoder.config._attn_implementation = before
    if backbone.pooling == "cls":
        return states.index_select(0, text.ends[: text.count])
    sums = states.new_zeros(len(text.ends) - 1, states.shape[1]).index_add(0, text.owner, states)
    return sums[: text.count] / text.ends.diff()[: text.count, None]


def packed_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: None, *, packed: PackedTexts, dropout: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention within each text: fused, by the texts' ends, in bfloat16 on a card."""
    if query.is_cuda and query.dtype == torch.bfloat16:
        sides, longest = [side[0].transpose(0, 1) for side in (query, key, value)], packed.longest
        found = torch.ops.aten._flash_attention_forward(
            *sides, packed.ends, packed.ends, longest, longest, dropout, False, False
        )[0]
        return found[None], None
    own = packed.owner[:, None] == packed.owner
    found = scaled_dot_product_attention(query, key, value, attn_mask=own[None, None], dropout_p=dropout)
    return found.transpose(1, 2), None


class Trainer:
    """Trainings of one batch size, one after the other: their model, optimiser and CUDA graphs are the same.

    Parameters
    ----------
    precision : "float32" or "bfloat16"
        Of the encoder in training; test queries are ranked in float32.
    """

    def __init__(self, data: Prepared, size: int, precision: str, mode: str) -> None:
        from transformers import AttentionInterface

        AttentionInterface.register("packed", packed_attention)
        self.data, self.size, self.packed = data, size, mode != "kit"
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.rough = torch.autocast(self.device, torch.bfloat16, enabled=precision == "bfloat16")
        self.vectors = torch.from_numpy(data.vectors.vectors).to(self.device)
        self.backbone = self._fresh()
        self.gamma = torch.ones((), device=self.device)
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        ((parameters, peak),) = self.backbone.parameter_rates()
        encoder = list(parameters)
        own = {id(parameter) for parameter in encoder}
        groups = [
            {"params": [one for one in self.backbone.parameters() if id(one) not in own], "share": 1.0},
            {"params": encoder, "share": peak / data.manifest["learning_rate"]},
        ]
        decay, capturable = data.manifest["weight_decay"], mode == "graphs"
        self.optimizer = torch.optim.AdamW(groups, weight_decay=decay, fused=True, capturable=capturable)
        self.graphs: dict[int, tuple[Tensor, Any]] = {}
        self.memory = 0
        if mode == "graphs":
            self._capture()

    def _fresh(self) -> Any:
        """The model as a training begins with it, drawn from torch's generator."""
        options, width = self.data.manifest["backbone_options"], self.data.molecules.width
        encoder = str(self.data.folder / "encoder")
        return create_backbone("finetuned", self.data.text.width, width, encoder=encoder, **options).to(self.device)

    def _capture(self) -> None:
        """Record a step for each width that full batches of the plans are filled up to."""
        data, unit, totals = self.data, WIDTH_STEP * self.size, set()
        for training in data.manifest["trainings"]:
            if training["batch_size"] == self.size and training["rows"] is not None:
                for epoch in range(1, len(training["epoch_rows"]) + 1):
                    batches = [rows for rows, _ in data.steps(training, epoch, np.empty(0)) if len(rows) == self.size]
                    totals |= {-(-int(data.lengths[rows].sum()) // unit) * unit for rows in batches}
        for group in self.optimizer.param_groups:
            group["lr"] = torch.zeros((), device=self.device)
        self.backbone.train()
        torch.cuda.reset_peak_memory_stats()
        shortest = np.argsort(data.lengths[data.rows["train"]])[: self.size]
        for width in sorted(totals):
            fields = [*data.pack(shortest, width), np.zeros(self.size, np.int32)]
            flat = torch.from_numpy(np.concatenate(fields)).to(self.device)
            *texts, items = flat.split([len(field) for field in fields])
            batch = PackedTexts(*texts, self.size, data.longest)
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    self._update(batch, items)
            torch.cuda.current_stream().wait_stream(stream)
            self.memory = max(self.memory, torch.cuda.max_memory_allocated())
            self.optimizer.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._update(batch, items)
            self.graphs[width] = flat, graph
        print(f"batch {self.size}: steps recorded for {len(totals)} widths, {sorted(totals)}", flush=True)

    def _text(self, rows: np.ndarray, packed: bool) -> Any:
        if not packed:
            return self.data.text.take(rows, self.device)
        fields = [torch.from_numpy(field).to(self.device) for field in self.data.pack(rows)]
        return PackedTexts(*fields, len(rows), self.data.longest)

    def _step(self, rows: np.ndarray, items: np.ndarray, rate: float, gamma: float) -> None:
        """One step on these texts and stored molecules; a full batch that fits a graph waits for nothing."""
        self.gamma.fill_(gamma)
        for group in self.optimizer.param_groups:
            value = rate * group["share"]
            group["lr"] = group["lr"].fill_(value) if isinstance(group["lr"], Tensor) else value
        total = self.data.lengths[rows].sum()
        width = next((width for width in self.graphs if width >= total and len(rows) == self.size), None)
        if width is None:
            self._update(self._text(rows, self.packed), torch.from_numpy(items).to(self.device))
            return
        flat, graph = self.graphs[width]
        now = np.concatenate([*self.data.pack(rows, width), items.astype(np.int32)])
        flat.copy_(torch.from_numpy(now).pin_memory(), non_blocking=True)
        graph.replay()

    def _update(self, text: Any, items: Tensor) -> None:
        with self.rough:
            features = features_of(self.backbone, text)
            losses = self.backbone.call("losses", features, self.vectors.index_select(0, items))
        terms = [term.float().mean() for term in losses.values()]
        self.optimizer.zero_grad(set_to_none=True)
        (self.gamma * terms[0] + self.gamma * terms[1]).backward()
        self.optimizer.step()
        self.sums += torch.stack(terms).detach()

    def train(self, training: dict[str, Any], scale: float = 1.0) -> dict[str, Any]:
        """One training from its beginning: history, cost, and the ranks of the test queries.

        `scale` multiplies every learning rate of the plan.
        """
        data, beside, seed = self.data, self.data.beside(training), training["seed"]
        torch.manual_seed(seed)
        fresh, rows = self._fresh(), data.arrays[f"fit_{seed}"].astype(np.int64)
        fresh.fit_inputs(data.text.take(rows, self.device), beside.take(rows, self.device))
        # in place, where the graphs expect them
        self.backbone.load_state_dict(fresh.state_dict())
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()
        losses = np.full(len(beside), np.nan)
        history: list[dict[str, float]] = []
        best: dict[str, Tensor] = {}
        samples, seconds = 0, 0.0
        for epoch, gamma in enumerate(training["intensity"], 1):
            started = time.perf_counter()
            self.sums.zero_()
            self.backbone.train()
            steps = data.steps(training, epoch, losses)
            for rows, rate in steps:
                self._step(rows, beside.rows[rows], scale * rate, gamma)
                samples += len(rows)
            means = (self.sums / len(steps)).tolist()
            if not np.isfinite(means).all():
                raise FloatingPointError(f"a loss term is not finite in epoch {epoch} of {training['name']}")
            if training["small_loss"] is not None:
                losses = self._losses(beside, seed, epoch)
            seconds += time.perf_counter() - started
            with self.rough:
                found = [ranks for name, ranks in self.ranked("validation").items() if name.endswith("split")]
            mrr = float(np.mean([per_query_metrics(ranks)["mrr"].mean() for ranks in found]))
            if mrr > max((entry["mrr"] for entry in history), default=-1.0):
                best = {name: value.detach().clone() for name, value in self.backbone.state_dict().items()}
            history.append({"epoch": epoch, "text_to_molecule": means[0], "molecule_to_text": means[1], "mrr": mrr})
        self.backbone.load_state_dict(best)
        return {
            "history": history,
            "best_epoch": 1 + int(np.argmax([entry["mrr"] for entry in history])),
            "steps": len(data.arrays[training["rates"]]),
            "samples": samples,
            "seconds": seconds,
            "memory": self.memory or (torch.cuda.max_memory_allocated() if self.device == "cuda" else 0),
            "ranks": self.ranked("test"),
        }

    @torch.no_grad()
    def _losses(self, beside: Vectors, seed: int, epoch: int) -> np.ndarray:
        """Every training pair's loss under the model as it is, in random batches of the training's size, `(L,)`."""
        self.backbone.eval()
        batches = EpochPlan(np.arange(len(beside)), make_schedule("full"), "constant", seed).batches(epoch, self.size)
        found: list[Tensor] = []
        with self.rough:
            # packed, all texts are encoded at once
            for group in [batches] if self.packed else [[rows] for rows in batches]:
                features = features_of(self.backbone, self._text(np.concatenate(group), self.packed))
                for rows, text in zip(group, features.split([len(rows) for rows in group]), strict=True):
                    terms = self.backbone.call("losses", text, beside.take(rows, self.device))
                    found.append(torch.stack([term.float().double() for term in terms.values()]).sum(0))
        losses = np.empty(len(beside))
        losses[np.concatenate(batches)] = torch.cat(found).cpu().numpy()
        return losses

    @torch.no_grad()
    def ranked(self, split: str) -> dict[str, Ranks]:
        """Ranks of a split's pairs among themselves in both directions; of the test split, in the whole pool too."""
        data, backbone = self.data, self.backbone
        backbone.eval()

        def molecules_of(inputs: Vectors) -> Tensor:
            blocks = np.split(np.arange(len(inputs)), range(inputs.block, len(inputs), inputs.block))
            return torch.cat([backbone.encode_molecules(inputs.take(rows, self.device)) for rows in blocks])

        rows, own, packed = data.rows[split], np.arange(len(data.rows[split])), self.packed and split != "test"
        blocks = [rows] if packed else np.split(rows, range(data.text.block, len(rows), data.text.block))
        parts = [features_of(backbone, self._text(block, packed)) for block in blocks]
        texts = torch.cat([backbone.call("encode_text", part) for part in parts])
        molecules = molecules_of(data.molecules.subset(rows))
        found = [ranks_of(texts, molecules, own), ranks_of(molecules, texts, own)]
        if split != "test":
            return {RANKINGS[0]: found[0], RANKINGS[2]: found[1]}
        everything = ranks_of(texts, molecules_of(data.pool), data.arrays["targets"].astype(np.int64))
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
    seconds: float | None = None,
    precision: str = "bfloat16",
    scale: dict[int, float] | None = None,
    mode: str | None = None,
    sizes: list[int] | None = None,
) -> None:
    """Train what `out` does not hold yet, in the folder's order, and start none that would end after `seconds`.

    `results.json` and `ranks.npz` are written anew after every training. A training whose losses leave the finite
    numbers is left out, and said so. `mode` is "graphs" on a card and "kit" without one; `sizes` are the batch sizes to
    train with, by default all.
    """
    begun, data, card = time.perf_counter(), Prepared(folder), torch.cuda.is_available()
    mode = mode or ("graphs" if card else "kit")
    settings = {
        "encoder": data.manifest["encoder"],
        "precision": precision,
        "scale": {str(size): value for size, value in (scale or {}).items()},
        "prepared": data.manifest["digest"],
        "pools": {name: len(data.pool) if name.endswith("all") else len(data.rows["test"]) for name in RANKINGS},
        "device": torch.cuda.get_device_name() if card else "no graphics card",
        "torch": torch.__version__,
        "peak": PEAK,
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
    trainers: dict[int, Trainer] = {}
    lasted: dict[int, float] = {}
    for training in data.manifest["trainings"]:
        name, size, started = training["name"], training["batch_size"], time.perf_counter()
        if name in results or (sizes and size not in sizes):
            continue
        if seconds is not None and started - begun + lasted.get(size, 0.0) > seconds:
            print(f"stopped after {started - begun:.0f} s, {len(results)} trainings kept", flush=True)
            return
        described = {key: training[key] for key in ("arm", "seed", "batch_size", "noise")}
        if (same := training["same_as"]) in results:
            results[name] = results[same] | described
            ranks |= {
                name + key.removeprefix(same): value for key, value in ranks.items() if key.startswith(f"{same}/")
            }
        else:
            if size not in trainers:
                trainers[size] = Trainer(data, size, precision, mode)
                started = time.perf_counter()
            try:
                found = trainers[size].train(training, (scale or {}).get(size, 1.0))
            except FloatingPointError as error:
                # the others are worth having nevertheless
                print(f"left out: {error}", flush=True)
                continue
            for ranking, each in found.pop("ranks").items():
                sides = {"greater": each.greater, "equal": each.equal}
                small = np.min_scalar_type(each.pool)
                ranks |= {f"{name}/{ranking}/{side}": values.astype(small) for side, values in sides.items()}
            lasted[size] = time.perf_counter() - started
            rate = found["samples"] / found["seconds"]
            share = rate * operations(data, trainers[size].backbone) / PEAK
            results[name] = described | found | {"mode": mode, "wall": lasted[size], "peak_share": share}
        with atomic_write(out / "ranks.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, **ranks)  # type: ignore[arg-type]
        write_json(out / "results.json", {"settings": settings, "trainings": results})
        kept, mrr = results[name], max(entry["mrr"] for entry in results[name]["history"])
        print(
            f"{name}: {kept['samples'] / kept['seconds']:,.0f} samples/s, {kept['memory'] / 2**30:.2f} GiB, "
            f"{kept['peak_share']:.1%} of the bfloat16 peak, {kept['seconds']:.1f} of {kept['wall']:.1f} s, "
            f"validation MRR {mrr:.4f} in epoch {kept['best_epoch']}",
            flush=True,
        )
    print(f"all {len(results)} trainings are there after {time.perf_counter() - begun:.0f} s", flush=True)


def operations(data: Prepared, backbone: Backbone) -> float:
    """What a training text costs the encoder on average, forward and backward, padding not counted.

    Six operations a weight and token, embeddings aside, and for attention 12·T·d a layer and token.
    """
    config, lengths = backbone.encoder.config, data.lengths[data.rows["train"]].astype(float)
    weights = sum(one.numel() for name, one in backbone.encoder.named_parameters() if "embeddings" not in name)
    attention = 12 * config.num_hidden_layers * config.hidden_size
    return float((6 * weights * lengths + attention * lengths**2).mean())
