"""Fine-tune a text encoder from a prepared folder, with torch, NumPy and transformers alone.

`bench_finetune --prepare` wrote the folder: token numbers, molecules as counts of Mol2vec words, the batches, learning
rates and intensities of every training, and the encoder's weights. So nothing of the kit is needed here but the head
and its losses, and what decides a training was decided where the folder was made.

- **`layout="pieces"`** reads texts as the backbone `finetuned` does; in float32 on a CPU the training is the kit's own,
  bit for bit.
- **`layout="packed"`** is for a card. The texts of a batch lie end to end without padding, attention runs within each
  (`attention="flash"`: fused, by offsets; `"padded"`: any device), and all steps have one shape: the longest batch of
  all plans. A step looks its rows, rate and intensity up in tables on the card, so that the host has nothing to do but
  to replay it from a CUDA graph; pairs that a last batch lacks stand there with one token and no loss.

Weights and the optimiser's state are float32; under bfloat16 the encoder alone runs in it (autocast).
"""

from __future__ import annotations

import copy
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from class_kit.backbones.finetuned import pieces_of, pooled
from class_kit.backbones.text2mol import Text2Mol
from class_kit.retrieval.metrics import Ranks, per_query_metrics

# dense bfloat16 peaks as their makers state them, operations a second; the first name that fits counts
PEAKS = {"H100 PCIe": 756e12, "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
TIE_TOLERANCE = 1e-9
RANKINGS = ("text_to_molecule/split", "text_to_molecule/all", "molecule_to_text/split")
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Prepared:
    """What `--prepare` wrote: `manifest`, and `arrays` on a device.

    Pairs are numbered train, validation, test, one after the other, as `manifest["sizes"]` counts them.
    """

    def __init__(self, folder: str | os.PathLike[str], device: str) -> None:
        place = Path(folder)
        self.manifest: dict[str, Any] = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        with np.load(place / "inputs.npz", allow_pickle=False) as stored:
            self.stored = {name: stored[name] for name in stored.files}
        self.weights: dict[str, Tensor] = torch.load(place / "weights.pt", weights_only=True)
        self.device = device
        self.lengths = np.diff(self.stored["text_offsets"])
        self.starts = self.stored["text_offsets"][:-1]
        self.longest = int(self.lengths.max())
        self.flat = torch.from_numpy(self.stored["text_ids"].astype(np.int32)).to(device)
        self.length = torch.from_numpy(self.lengths.astype(np.int64)).to(device)
        self.start = torch.from_numpy(self.starts.astype(np.int64)).to(device)
        vectors = torch.from_numpy(word_sums(self.stored)).to(device)
        self.molecules = vectors[torch.from_numpy(self.stored["pair_molecule"].astype(np.int64)).to(device)]
        self.pool = vectors[torch.from_numpy(self.stored["pool_molecule"].astype(np.int64)).to(device)]
        sizes = self.manifest["sizes"]
        ends = np.cumsum([0, sizes["train"], sizes["validation"], sizes["test"]])
        self.rows = {name: np.arange(ends[at], ends[at + 1]) for at, name in enumerate(("train", "validation", "test"))}

    def plan(self, training: dict[str, Any]) -> tuple[np.ndarray, list[int], np.ndarray, np.ndarray]:
        """Rows of each step `(S, B)`, -1 where a batch is smaller; steps of each epoch; rates and γ of each step."""
        flat, size = self.stored[training["rows"]].astype(np.int64), training["batch_size"]
        table, steps, at = [], [], 0
        for count in training["epoch_rows"]:
            filled = np.full((-(-count // size), size), -1, np.int64)
            filled.reshape(-1)[:count] = flat[at : at + count]
            table.append(filled)
            steps.append(len(filled))
            at += count
        gamma = np.repeat(np.array(training["intensity"]), steps)
        return np.concatenate(table), steps, np.array(self.stored[training["rates"]]), gamma

    def partners(self, training: dict[str, Any]) -> Tensor:
        """The pair whose molecule stands beside each training text; its own where nothing was exchanged."""
        name = training["partners"]
        found = np.arange(len(self.rows["train"])) if name is None else self.stored[name].astype(np.int64)
        return torch.from_numpy(found).to(self.device)

    def operations(self, rows: np.ndarray) -> float:
        """What these texts cost the encoder forward and backward, real tokens alone.

        Six for each weight and token, embeddings aside; for the attention 12·T·d a layer and token, two products of
        2·T·d forward and four backward. Padding and what is computed a second time are not counted: no progress.
        """
        config = self.manifest["config"]
        weights = sum(value.numel() for name, value in self.weights.items() if "embeddings" not in name)
        attention = 12 * config["num_hidden_layers"] * config["hidden_size"]
        lengths = self.lengths[rows].astype(float)
        return float((6 * weights * lengths + attention * lengths**2).sum())


def word_sums(stored: dict[str, np.ndarray], block: int = 1_000) -> np.ndarray:
    """Vectors `(M, d)` float32 of molecules from the counts of their words, added up in float64 in the words' order."""
    offsets, words = stored["word_offsets"].astype(np.int64), stored["words"].astype(np.int64)
    table = stored["word_vectors"].astype(np.float64)
    found = np.zeros((len(offsets) - 1, table.shape[1]), np.float32)
    for first in range(0, len(found), block):
        ends = offsets[first : first + block + 1]
        part = slice(ends[0], ends[-1])
        products = table[words[part]] * stored["word_counts"][part, None].astype(np.float64)
        for row, (begin, end) in enumerate(zip(ends[:-1] - ends[0], ends[1:] - ends[0], strict=True)):
            if end > begin:
                # row by row, since a sum over the first axis adds in order
                found[first + row] = np.add.reduce(products[begin:end], axis=0)
    return found


class Model(nn.Module):
    """Text2Mol's head on the encoder, made once and set back to its beginning for every training."""

    def __init__(self, data: Prepared) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        values = dict(data.manifest["config"])
        with torch.random.fork_rng():
            self.encoder = AutoModel.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
        if isinstance(getattr(self.encoder, "pooler", None), nn.Module):
            self.encoder.pooler = None
        self.head = Text2Mol(values["hidden_size"], data.molecules.shape[1])
        self.pooling = data.manifest["pooling"]
        self._weights = data.weights
        self.to(data.device)

    def begin(self, seed: int) -> None:
        """The weights that a training with this seed starts from; torch's generator is left where they were drawn."""
        torch.manual_seed(seed)
        self.head.load_state_dict(Text2Mol(self.head.text_tower.scale.mean.numel(), self.molecule_dim).state_dict())
        self.encoder.load_state_dict({name: value.float() for name, value in self._weights.items()})

    @property
    def molecule_dim(self) -> int:
        """Width of the molecules' vectors."""
        return int(self.head.molecule_tower.scale.mean.numel())


class Reader:
    """Sentence vectors of rows of a `Prepared`, padded by pieces of like length, as the backbone `finetuned` reads."""

    def __init__(self, data: Prepared, model: Model) -> None:
        self.data, self.model = data, model

    def read(self, rows: np.ndarray) -> Tensor:
        """Vectors `(B, d)` float32, in the rows' order."""
        lengths = self.data.lengths[rows]
        pieces = pieces_of(lengths.tolist(), self.data.manifest["piece_tokens"])
        parts = [self._piece(rows[np.array(piece)]) for piece in pieces]
        back = torch.tensor([row for piece in pieces for row in piece], device=self.data.device).argsort()
        return torch.cat(parts)[back]

    def _piece(self, rows: np.ndarray) -> Tensor:
        lengths = self.data.lengths[rows]
        real = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(real.shape, self.data.manifest["padding"], np.int64)
        places = self.data.starts[rows, None] + np.arange(lengths.max())
        ids[real] = self.data.stored["text_ids"][places[real]]
        moved, mask = torch.from_numpy(ids).to(self.data.device), torch.from_numpy(real).to(self.data.device)
        states = self.model.encoder(input_ids=moved, attention_mask=mask.to(torch.int64)).last_hidden_state
        return pooled(states.float(), mask, self.model.pooling)

    def texts(self, rows: np.ndarray, block: int = 256) -> Tensor:
        """The head's vectors of texts, in evaluation mode, a block at a time."""
        parts = []
        for at in range(0, len(rows), block):
            features = self.read(rows[at : at + block])
            with exactly(self.data.device):
                parts.append(self.model.head.encode_text(features))
        return torch.cat(parts)

    def molecules(self, vectors: Tensor, block: int = 4_096) -> Tensor:
        """The head's vectors of molecules."""
        with exactly(self.data.device):
            return torch.cat([self.model.head.encode_molecules(part) for part in vectors.split(block)])


class Packing:
    """How the texts of a batch lie end to end in `width` tokens: B rows, then what fills up."""

    def __init__(self, data: Prepared, rows: Tensor, width: int) -> None:
        device, count = data.device, len(rows)
        known = rows.clamp(min=0)
        length = torch.where(rows >= 0, data.length[known], 1)
        ends = length.cumsum(0)
        filling = -(-(width - count) // data.longest)
        more = (ends[-1] + data.longest * torch.arange(1, filling + 1, device=device)).clamp(max=width)
        zero = torch.zeros(1, dtype=torch.int64, device=device)
        bounds = torch.cat([zero, ends, more])
        place = torch.arange(width, device=device)
        self.row = torch.searchsorted(bounds[1:], place, right=True).clamp(max=count + filling - 1)
        self.position = place - bounds[self.row]
        own = self.row < count
        source = torch.where(own, data.start[known][self.row.clamp(max=count - 1)] + self.position, 0)
        real = own & (rows >= 0)[self.row.clamp(max=count - 1)]
        self.ids = torch.where(real, data.flat[source.clamp(max=len(data.flat) - 1)], data.manifest["padding"])
        self.bounds, self.length, self.count, self.longest = bounds.to(torch.int32), length, count, data.longest


def packed_states(model: Model, packing: Packing, attention: str, layer: Callable[..., Tensor]) -> Tensor:
    """Last hidden states `(N, d)` float32 of a packed batch."""
    embeddings, config = model.encoder.embeddings, model.encoder.config
    states = embeddings.word_embeddings(packing.ids) + embeddings.token_type_embeddings.weight[0]
    states = states + embeddings.position_embeddings(packing.position)
    states = embeddings.dropout(embeddings.LayerNorm(states))
    share = config.attention_probs_dropout_prob if model.training else 0.0
    for block in model.encoder.encoder.layer:
        states = layer(block, states, packing.bounds, packing.row, packing.position, packing.longest, share, attention)
    return states.float()


def bert_layer(
    block: Any,
    states: Tensor,
    bounds: Tensor,
    row: Tensor,
    position: Tensor,
    longest: int,
    share: float,
    attention: str,
) -> Tensor:
    """One layer of a BERT on packed texts."""
    own = block.attention.self
    weight = torch.cat([own.query.weight, own.key.weight, own.value.weight])
    bias = torch.cat([own.query.bias, own.key.bias, own.value.bias])
    heads = functional.linear(states, weight, bias).view(len(states), 3, own.num_attention_heads, -1)
    attend = flash_attention if attention == "flash" else padded_attention
    query, key, value = heads.unbind(1)
    found = attend(query, key, value, bounds, row, position, longest, share)
    middle = block.attention.output(found.reshape(len(states), -1), states)
    result: Tensor = block.output(block.intermediate(middle), middle)
    return result


def flash_attention(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, row: Tensor, position: Tensor, longest: int, share: float
) -> Tensor:
    """Attention within each text `(N, heads, d)`, by the offsets of the texts: fused, bfloat16, on a card."""
    found: Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, bounds, bounds, longest, longest, share, False, False
    )[0]
    return found


def padded_attention(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, row: Tensor, position: Tensor, longest: int, share: float
) -> Tensor:
    """The same on any device: padded to the longest text, and back."""
    length = bounds.diff()
    column = torch.arange(longest, device=row.device)
    real = column < length[:, None]
    place = (bounds[:-1, None] + column).clamp(max=len(query) - 1)
    query, key, value = (side[place].transpose(1, 2) for side in (query, key, value))
    # a text without tokens has nothing to attend to: it attends to whatever stands there, and nobody reads it
    mask = (real | (length == 0)[:, None])[:, None, None]
    found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=share)
    return found.transpose(1, 2)[row, position]


def packed_sentences(model: Model, packing: Packing, states: Tensor) -> Tensor:
    """Sentence vectors `(B, d)` of packed states."""
    if model.pooling == "cls":
        return states[packing.bounds[: packing.count].to(torch.int64)]
    rows = torch.arange(packing.count, device=states.device)
    return ((rows[:, None] == packing.row).to(states.dtype) @ states) / packing.length[:, None].to(states.dtype)


class Trainer:
    """Trains what a folder describes, one training after the other, at one batch size.

    Parameters
    ----------
    data : Prepared
    batch_size : int
        Trainings of another are refused.
    layout : "pieces" or "packed"
    precision : "float32" or "bfloat16"
    attention : "flash" or "padded"
        Of the packed layout.
    compiled, graph : bool
        Compile the encoder's layers; replay steps from a CUDA graph. Packed layout, card only.
    """

    def __init__(
        self,
        data: Prepared,
        batch_size: int,
        *,
        layout: str = "packed",
        precision: str = "bfloat16",
        attention: str = "flash",
        compiled: bool = False,
        graph: bool = False,
    ) -> None:
        self.data, self.batch_size, self.layout = data, batch_size, layout
        self.attention, self.graphed, self.precision = attention, graph, precision
        self.model = Model(data)
        self.reader = Reader(data, self.model)
        self.layer = torch.compile(bert_layer, fullgraph=True, dynamic=False) if compiled else bert_layer
        self.graph: Any = None
        if layout == "packed":
            self._allocate()

    def _allocate(self) -> None:
        """Tables that every training fills anew, and the optimiser, whose state stays where the graph knows it."""
        device, mine = self.data.device, self.trainings
        plans = [self.data.plan(training)[0] for training in mine]
        longest = max(int(np.where(plan >= 0, self.data.lengths[plan], 1).sum(1).max()) for plan in plans)
        self.width = -(-longest // 256) * 256
        self.table = torch.full((max(map(len, plans)), self.batch_size), -1, device=device)
        self.rates = torch.zeros(len(self.table), device=device)
        self.gammas = torch.zeros(len(self.table), device=device)
        self.partner = torch.arange(len(self.data.rows["train"]), device=device)
        self.at = torch.zeros(1, dtype=torch.int64, device=device)
        self.sums = torch.zeros(2, device=device)
        self._make_optimizer(torch.zeros((), device=device))

    @property
    def trainings(self) -> list[dict[str, Any]]:
        """Those of this batch size."""
        return [one for one in self.data.manifest["trainings"] if one["batch_size"] == self.batch_size]

    def _make_optimizer(self, rate: Any) -> None:
        share, decay = self.data.manifest["encoder_share"], self.data.manifest["weight_decay"]
        self.groups = [
            {"params": list(self.model.head.parameters()), "share": 1.0, "lr": _copied(rate)},
            {"params": list(self.model.encoder.parameters()), "share": share, "lr": _copied(rate)},
        ]
        card = self.data.device == "cuda"
        options: dict[str, Any] = {"fused": True, "capturable": True} if card and self.layout == "packed" else {}
        self.optimizer = torch.optim.AdamW(
            self.groups, lr=rate, betas=BETAS, eps=EPSILON, weight_decay=decay, **options
        )

    def train(self, training: dict[str, Any], epochs: int | None = None, scale: float = 1.0) -> dict[str, Any]:
        """One training from its beginning: history, cost, and the ranks of the test queries.

        Parameters
        ----------
        epochs : int, optional
            Stop after so many, for a trial.
        scale : float
            Multiplies every rate of the plan.
        """
        if training["batch_size"] != self.batch_size:
            raise ValueError(f"batch_size={training['batch_size']}: expected {self.batch_size}")
        table, steps, rates, gammas = self.data.plan(training)
        steps = steps[:epochs]
        rates = rates * scale if scale != 1 else rates
        self.model.begin(training["seed"])
        partner = self.data.partners(training)
        self._fit(training["seed"], partner)
        self._reset(table, rates, gammas, partner, training["seed"])
        history: list[dict[str, float]] = []
        best: tuple[float, int, dict[str, Tensor]] = (-1.0, 0, {})
        done, seconds = 0, 0.0
        for epoch, count in enumerate(steps, 1):
            synchronise(self.data.device)
            begun = time.perf_counter()
            self.model.train()
            sums = self._epoch(table, rates, gammas, done, count)
            seconds += time.perf_counter() - begun
            if not np.isfinite(sums).all():
                raise FloatingPointError(f"a loss term is not finite in epoch {epoch} of {training['name']}")
            done += count
            entry = {
                "epoch": epoch,
                "text_to_molecule": sums[0] / count,
                "molecule_to_text": sums[1] / count,
                "mrr": self._validate(),
            }
            history.append(entry)
            if entry["mrr"] > best[0]:
                best = (entry["mrr"], epoch, {name: value.clone() for name, value in self.model.state_dict().items()})
        self.model.load_state_dict(best[2])
        seen = table[:done]
        seen = seen[seen >= 0]
        return {
            "history": history,
            "best_epoch": best[1],
            "steps": done,
            "samples": len(seen),
            "seconds": seconds,
            "operations": self.data.operations(seen),
            "ranks": self.ranks(),
        }

    def _fit(self, seed: int, partner: Tensor) -> None:
        """Scales of the head's inputs, on the rows that the kit takes."""
        rows = self.data.stored[f"fit_{seed}"].astype(np.int64)
        self.model.eval()
        with torch.no_grad():
            features = self.reader.read(rows)
            self.model.head.fit_inputs(
                features, self.data.molecules[partner[torch.from_numpy(rows).to(partner.device)]]
            )

    def _reset(self, table: np.ndarray, rates: np.ndarray, gammas: np.ndarray, partner: Tensor, seed: int) -> None:
        if self.layout == "pieces":
            self.partner = partner
            self._make_optimizer(1e-4)
            return
        if self.graphed and self.graph is None:
            self._capture(table, rates, gammas, partner)
        self._fill(table, rates, gammas, partner)
        self._forget()
        # what a first training needed for its graph must not move its dropout
        torch.manual_seed(seed)

    def _fill(self, table: np.ndarray, rates: np.ndarray, gammas: np.ndarray, partner: Tensor) -> None:
        steps = len(table)
        self.table[:steps].copy_(torch.from_numpy(table))
        self.rates[:steps].copy_(torch.from_numpy(rates).float())
        self.gammas[:steps].copy_(torch.from_numpy(gammas).float())
        self.partner.copy_(partner)
        self.at.zero_()

    def _forget(self) -> None:
        """Set the optimiser back to its beginning, in place."""
        for state in self.optimizer.state.values():
            for value in state.values():
                value.zero_()

    def _capture(self, table: np.ndarray, rates: np.ndarray, gammas: np.ndarray, partner: Tensor) -> None:
        """Warm up, and record one step as a graph; the weights are as before."""
        before = copy.deepcopy(self.model.state_dict())
        self._fill(table, rates, gammas, partner)
        self.model.train()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._packed_step()
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._packed_step()
        self.model.load_state_dict(before)

    def _epoch(self, table: np.ndarray, rates: np.ndarray, gammas: np.ndarray, done: int, count: int) -> np.ndarray:
        """Sums of both terms over the steps of an epoch."""
        if self.layout == "pieces":
            sums = np.zeros(2)
            for step in range(done, done + count):
                sums += self._pieces_step(table[step][table[step] >= 0], float(rates[step]), float(gammas[step]))
            return sums
        self.sums.zero_()
        for _ in range(count):
            if self.graph is None:
                self._packed_step()
            else:
                self.graph.replay()
        return self.sums.cpu().double().numpy()

    def _pieces_step(self, rows: np.ndarray, rate: float, gamma: float) -> list[float]:
        with self._autocast():
            features = self.reader.read(rows)
            with exactly(self.data.device):
                molecules = self.data.molecules[self.partner[torch.from_numpy(rows).to(self.partner.device)]]
                found = self.model.head.losses(features, molecules)
        terms = [term.float().mean() for term in found.values()]
        loss = gamma * terms[0] + gamma * terms[1]
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return [term.item() for term in terms]

    def _packed_step(self) -> None:
        """One step with everything on the device: no number goes to the host."""
        rows = self.table.index_select(0, self.at)[0]
        here = rows >= 0
        count = here.sum()
        packing = Packing(self.data, rows, self.width)
        with self._autocast():
            states = packed_states(self.model, packing, self.attention, self.layer)
        sentences = packed_sentences(self.model, packing, states)
        molecules = self.data.molecules[self.partner[rows.clamp(min=0)]]
        # a row that is not there has nothing but itself to be told from, and so costs nothing
        apart = ~(here[:, None] & here)
        found = self.model.head.losses(sentences, molecules, not_negative=apart)
        terms = torch.stack([term.sum() / count for term in found.values()])
        loss = (self.gammas.index_select(0, self.at) * terms).sum()
        rate = self.rates.index_select(0, self.at)[0]
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].copy_(rate * group["share"])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.sums += terms.detach()
        self.at += 1

    @torch.no_grad()
    def _validate(self) -> float:
        """MRR on the validation rows, the mean of both directions."""
        rows = self.data.rows["validation"]
        self.model.eval()
        with self._autocast():
            molecules = self.reader.molecules(self.data.molecules[torch.from_numpy(rows).to(self.data.device)])
            if self.layout == "pieces":
                texts = self.reader.texts(rows)
            else:
                there = torch.from_numpy(rows).to(self.data.device)
                packing = Packing(self.data, there, int(self.data.lengths[rows].sum()))
                states = packed_states(self.model, packing, self.attention, bert_layer)
                with exactly(self.data.device):
                    texts = self.model.head.encode_text(packed_sentences(self.model, packing, states))
        own = np.arange(len(rows))
        both = ranks_of(texts, molecules, own), ranks_of(molecules, texts, own)
        return float(np.mean([per_query_metrics(ranks)["mrr"].mean() for ranks in both]))

    @torch.no_grad()
    def ranks(self) -> dict[str, Ranks]:
        """Ranks of the test pairs in float32: both directions among themselves, and among the whole pool."""
        rows = self.data.rows["test"]
        self.model.eval()
        texts = self.reader.texts(rows)
        molecules = self.reader.molecules(self.data.molecules[torch.from_numpy(rows).to(self.data.device)])
        own, targets = np.arange(len(rows)), self.data.stored["targets"].astype(np.int64)
        return {
            "text_to_molecule/split": ranks_of(texts, molecules, own),
            "text_to_molecule/all": ranks_of(texts, self.reader.molecules(self.data.pool), targets),
            "molecule_to_text/split": ranks_of(molecules, texts, own),
        }

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.data.device, torch.bfloat16, enabled=self.precision == "bfloat16")


def ranks_of(queries: Tensor, candidates: Tensor, targets: np.ndarray, block: int = 512) -> Ranks:
    """Candidates of a cosine higher than the target's, and as high within 1e-9, counted in float64."""
    first, second = (nn.functional.normalize(side.double(), dim=1, eps=1e-300) for side in (queries, candidates))
    goal = torch.from_numpy(targets).to(queries.device)
    greater, equal = [], []
    for at in range(0, len(first), block):
        cosines = first[at : at + block] @ second.T
        gap = cosines - cosines.gather(1, goal[at : at + block, None])
        greater.append((gap > TIE_TOLERANCE).sum(1))
        equal.append((gap.abs() <= TIE_TOLERANCE).sum(1) - 1)
    return Ranks(torch.cat(greater).cpu().numpy(), torch.cat(equal).cpu().numpy(), len(second))


def exactly(device: str) -> torch.autocast:
    """A context in which nothing is computed in less than its own precision."""
    return torch.autocast(device, enabled=False)


def _copied(rate: Any) -> Any:
    return rate.clone() if isinstance(rate, Tensor) else rate


# ---------------------------------------------------------------------------------------------------- running them all


def run(
    folder: str,
    out: str,
    *,
    minutes: float | None = None,
    layout: str = "packed",
    precision: str = "bfloat16",
    attention: str = "flash",
    compiled: bool = False,
    graph: bool = False,
    epochs: int | None = None,
    seeds: int | None = None,
    scale: dict[int, float] | None = None,
    only: list[str] | None = None,
) -> int:
    """Train what `out` does not hold yet, in the folder's order, and stop between trainings when time is up.

    `results.json` and `ranks.npz` are written anew after every training, each moved into place whole. A training whose
    losses leave the finite numbers is left out, and said so.
    """
    begun = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        # as the kit trains: the sums come out the same whatever the machine
        torch.set_num_threads(1)
    data, place = Prepared(folder, device), Path(out)
    place.mkdir(parents=True, exist_ok=True)
    settings = {
        "layout": layout,
        "precision": precision,
        "attention": attention if layout == "packed" else "padded",
        "compiled": compiled,
        "graph": graph,
        "epochs": epochs,
        "scale": {str(size): value for size, value in (scale or {}).items()},
        "prepared": data.manifest["digest"],
        "pools": {name: len(data.pool) if name.endswith("all") else len(data.rows["test"]) for name in RANKINGS},
    }
    results, ranks = _kept(place, settings)
    peak, source = card_peak()
    print(
        f"{device_name()}, torch {torch.__version__}: bfloat16 peak {peak / 1e12:,.0f} TFLOP/s ({source})", flush=True
    )
    mean = data.operations(data.rows["train"]) / len(data.rows["train"])
    print(f"{data.lengths[data.rows['train']].mean():.0f} tokens, {mean / 1e9:.2f} GFLOP a training text", flush=True)
    trainers: dict[int, Trainer] = {}
    lasted: dict[int, float] = {}
    for training in data.manifest["trainings"]:
        if training["name"] in results or (seeds is not None and training["seed"] >= seeds):
            continue
        if only and training["arm"] not in only:
            continue
        size = training["batch_size"]
        spent = time.perf_counter() - begun
        if minutes is not None and spent + lasted.get(size, 0.0) * 1.1 > 60 * minutes:
            print(f"stopped after {spent:.0f} s, {len(results)} trainings kept", flush=True)
            return 0
        started = time.perf_counter()
        reset_memory()
        if size not in trainers:
            options = {"layout": layout, "precision": precision, "attention": attention}
            trainers[size] = Trainer(data, size, **options, compiled=compiled, graph=graph)  # type: ignore[arg-type]
        try:
            found = trainers[size].train(training, epochs, (scale or {}).get(size, 1.0))
        except FloatingPointError as error:
            # the others are worth having nevertheless
            print(f"left out: {error}", flush=True)
            continue
        wall = time.perf_counter() - started
        lasted[size] = wall
        found_ranks = found.pop("ranks")
        for name, each in found_ranks.items():
            ranks[f"{training['name']}/{name}/greater"] = each.greater.astype(np.uint16)
            ranks[f"{training['name']}/{name}/equal"] = each.equal.astype(np.uint16)
        entry = {name: training[name] for name in ("arm", "seed", "batch_size", "noise")} | found
        entry |= {
            "wall": wall,
            "memory": memory(),
            "samples_per_second": found["samples"] / found["seconds"],
            "peak_share": found["operations"] / found["seconds"] / peak,
        }
        results[training["name"]] = entry
        _keep(place, settings | {"device": device_name(), "torch": torch.__version__, "peak": peak}, results, ranks)
        test = per_query_metrics(found_ranks["text_to_molecule/split"])
        print(
            f"{training['name']}: {entry['samples_per_second']:,.0f} samples/s, {entry['memory'] / 2**30:.2f} GiB, "
            f"{entry['peak_share']:.1%} of the peak, {found['seconds']:.1f} of {wall:.1f} s; validation MRR "
            f"{max(one['mrr'] for one in found['history']):.4f} in epoch {found['best_epoch']}, test hits@1 "
            f"{test['hits@1'].mean():.4f}",
            flush=True,
        )
    print(f"all {len(results)} trainings are there after {time.perf_counter() - begun:.0f} s", flush=True)
    return 0


def _kept(place: Path, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not (place / "results.json").is_file():
        return {}, {}
    stored = json.loads((place / "results.json").read_text(encoding="utf-8"))
    if any(stored["settings"].get(name) != value for name, value in settings.items()):
        raise SystemExit(f"{place}: holds trainings with other settings or of another folder; choose another --out")
    with np.load(place / "ranks.npz", allow_pickle=False) as arrays:
        return stored["trainings"], {name: arrays[name] for name in arrays.files}


def _keep(place: Path, settings: dict[str, Any], results: dict[str, Any], ranks: dict[str, np.ndarray]) -> None:
    with _whole(place / "ranks.npz") as spare, open(spare, "wb") as file:
        np.savez(file, **ranks)  # type: ignore[arg-type]
    with _whole(place / "results.json") as spare:
        spare.write_text(json.dumps({"settings": settings, "trainings": results}), encoding="utf-8")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    spare = path.with_suffix(".part")
    yield spare
    os.replace(spare, path)


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
        synchronise(device)
        begin = time.perf_counter()
        a @ a
        synchronise(device)
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def device_name() -> str:
    """The card, or that there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no graphics card"


def synchronise(device: str) -> None:
    """Wait for the card."""
    if device == "cuda":
        torch.cuda.synchronize()


def reset_memory() -> None:
    """Count the most memory held from here on; without a card it is the whole process's."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def memory() -> int:
    """Most bytes held: on the card, or by this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
