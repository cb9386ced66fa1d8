"""The training loop: a plan says which pairs, a backbone says which losses, this file takes the steps.

Nothing here decides an order: the batches of an epoch are what the plan says they are, so a training that is killed
and resumed replays exactly the batches it would have seen. The learning rate is a function of the step number alone,
so it needs no state either; what must be saved is the weights, the optimiser's moments and the random generator.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from class_kit.backbones import create_backbone
from class_kit.backbones.base import Backbone
from class_kit.curriculum.intensity import weigh_terms
from class_kit.errors import InputError
from class_kit.progress import progress_bar
from class_kit.training.checkpoint import flatten_optimizer, load_checkpoint, restore_optimizer, save_checkpoint

if TYPE_CHECKING:
    from class_kit.curriculum import Plan

OPTIMIZERS = ("adamw", "sgd")
INTENSITY_TARGETS = ("loss", "lr")


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training; plain values, so that a run's record can hold them.

    Attributes
    ----------
    epochs, batch_size : int
        At least 1. In-batch negatives make the batch size matter: a larger batch is a harder task.
    learning_rate, weight_decay : float
        Peak rate after warm-up; decoupled decay for AdamW, the usual L2 term for SGD (momentum 0.9).
    warmup : float
        Share of all steps with a linearly rising rate, in [0, 1); afterwards it falls linearly to 0.
    optimizer : "adamw" or "sgd"
    intensity_on : "loss" or "lr"
        What γ_k multiplies: the loss (the paper, section 3.3) or the learning rate. Adam divides by the gradient's
        own scale and so all but cancels the first.
    seed : int
        Initial weights and dropout.
    threads : int
        CPU threads while training. Small heads are no faster with two, and with a fixed number the sums, and so the
        weights, come out the same on a machine with other cores.
    backbone, backbone_options
        A registered name and its keyword arguments.
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    optimizer: str = "adamw"
    intensity_on: str = "loss"
    seed: int = 0
    threads: int = 1
    backbone: str = "dual_encoder"
    backbone_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: expected at least 1")
        if not self.learning_rate > 0 or not math.isfinite(self.learning_rate):
            raise InputError(f"learning_rate={self.learning_rate}: expected a positive number")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup={self.warmup}: expected a share in [0, 1)")
        if self.weight_decay < 0:
            raise InputError(f"weight_decay={self.weight_decay}: expected 0 or more")
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"optimizer={self.optimizer!r}: expected one of {', '.join(OPTIMIZERS)}")
        if self.intensity_on not in INTENSITY_TARGETS:
            raise InputError(f"intensity_on={self.intensity_on!r}: expected one of {', '.join(INTENSITY_TARGETS)}")


@dataclass
class TrainingResult:
    """A trained backbone (weights of its best epoch) and the record of how it got there.

    `history` has one entry per epoch: epoch, rows, steps, loss, each term and its intensity (`intensity/<term>`), each
    validation metric, seconds (training alone). `samples` and `steps` are totals over all epochs.
    """

    backbone: Backbone
    history: list[dict[str, float]]
    best_epoch: int
    steps: int
    samples: int
    seconds: float


def train(
    config: TrainingConfig,
    plan: Plan,
    text: np.ndarray,
    molecules: np.ndarray,
    *,
    validate: Callable[[Backbone], Mapping[str, float]] | None = None,
    select: str = "mrr",
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    groups: np.ndarray | None = None,
    progress: bool | None = None,
) -> TrainingResult:
    """Train a backbone on the batches of a plan.

    Parameters
    ----------
    plan : EpochPlan or StepMatchedPlan
        Planned for as many epochs as the configuration. Its row numbers index `text` and `molecules`.
    text : (L, d_t) float
    molecules : (L, d_m) float
        Row i of both belongs to pair i.
    validate : callable, optional
        Takes the backbone in evaluation mode, returns metrics; the epoch with the highest `select` is kept (the
        last one, where `validate` is None).
    folder : path, optional
        Where `checkpoint.safetensors` is written at each epoch's end and every `checkpoint_every` steps.
    resume : bool
        Continue from that checkpoint where there is one. On a CPU the result is the same, bit for bit, as that of a
        training that was never interrupted.
    groups : (L,) int, optional
        Pairs of equal label are near-duplicates: they are not used as each other's negatives.

    Raises
    ------
    ValueError
        On mismatched lengths or an impossible setting.
    FloatingPointError
        If a loss is not finite; the message names epoch, step and term.
    InputError
        If the checkpoint to resume from is damaged or belongs to other settings or data.
    """
    text, molecules = np.asarray(text, np.float32), np.asarray(molecules, np.float32)
    if text.ndim != 2 or molecules.ndim != 2 or len(text) != len(molecules) or not len(text):
        raise InputError(
            f"text {text.shape} and molecules {molecules.shape}: expected two non-empty matrices of as many rows"
        )
    if plan.epochs != config.epochs:
        raise InputError(f"the plan is for {plan.epochs} epochs, the configuration for {config.epochs}: expected equal")
    if checkpoint_every is not None and checkpoint_every < 1:
        raise InputError(f"checkpoint_every={checkpoint_every}: expected at least 1 step, or None")
    # Weights and dropout come from the configuration's seed, without disturbing the caller's generator.
    with torch.random.fork_rng(), _threads(config.threads):
        torch.manual_seed(config.seed)
        loop = _Loop(config, plan, text, molecules, validate, select, folder, checkpoint_every, groups)
        if resume and loop.checkpoint is not None and loop.checkpoint.is_file():
            loop.restore()
        return loop.run(progress)


class _Loop:
    """One training in progress: everything a checkpoint has to hold is an attribute of it."""

    def __init__(
        self,
        config: TrainingConfig,
        plan: Plan,
        text: np.ndarray,
        molecules: np.ndarray,
        validate: Callable[[Backbone], Mapping[str, float]] | None,
        select: str,
        folder: str | os.PathLike[str] | None,
        checkpoint_every: int | None,
        groups: np.ndarray | None,
    ) -> None:
        self.config, self.plan, self.validate, self.select = config, plan, validate, select
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Copied: cached and shared arrays are read-only, which tensors cannot be.
        self.text, self.molecules = torch.tensor(text, device=device), torch.tensor(molecules, device=device)
        self.groups = None if groups is None else torch.from_numpy(np.asarray(groups, np.int64)).to(device)
        self.backbone = create_backbone(
            config.backbone, text.shape[1], molecules.shape[1], **config.backbone_options
        ).to(device)
        self.backbone.fit_inputs(self.text, self.molecules)
        self.optimizer = _optimizer(config, self.backbone)
        self.total = plan.steps_total(config.batch_size)
        self.checkpoint = None if folder is None else Path(folder) / "checkpoint.safetensors"
        self.checkpoint_every = checkpoint_every
        self.identity = _identity(config, plan, text, molecules, groups) if folder is not None else ""
        self.epoch, self.step_in_epoch, self.step, self.samples, self.seconds = 1, 0, 0, 0, 0.0
        self.sums: dict[str, float] = {}
        self.epoch_rows, self.epoch_seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.best: tuple[int, float, dict[str, Tensor]] | None = None

    def run(self, progress: bool | None) -> TrainingResult:
        disable = None if progress is None else not progress
        with progress_bar(total=self.total, desc="training", unit="step", disable=disable) as bar:
            bar.update(self.step)
            while self.epoch <= self.config.epochs:
                self._epoch(bar)
        assert self.best is not None
        self.backbone.load_state_dict(self.best[2])
        self.backbone.eval()
        return TrainingResult(self.backbone, self.history, self.best[0], self.step, self.samples, self.seconds)

    def _epoch(self, bar: Any) -> None:
        started = time.perf_counter()
        self.backbone.train()
        for position, rows in enumerate(self.plan.batches(self.epoch, self.config.batch_size)):
            if position < self.step_in_epoch:
                continue
            self._step(rows)
            self.step_in_epoch = position + 1
            bar.update(1)
            if self.checkpoint_every and self.step % self.checkpoint_every == 0:
                self.epoch_seconds += time.perf_counter() - started
                self.save()
                started = time.perf_counter()
        self.epoch_seconds += time.perf_counter() - started
        self._close_epoch()

    def _step(self, rows: np.ndarray) -> None:
        index = torch.as_tensor(rows, device=self.text.device)
        near = None
        if self.groups is not None:
            label = self.groups[index]
            near = label[:, None] == label[None, :]
        terms = self.backbone.losses(self.text[index], self.molecules[index], not_negative=near)
        terms = {name: term.mean() for name, term in terms.items()}
        on_loss = self.config.intensity_on == "loss"
        loss = weigh_terms(terms, self.plan.intensities(self.epoch, terms) if on_loss else 1.0)
        rate = learning_rate(self.config, self.step, self.total)
        if not on_loss:
            rate *= self.plan.intensity(self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        values = {name: term.item() for name, term in terms.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"loss term {name!r} is {value} in epoch {self.epoch}, step {self.step + 1}")
            self.sums[name] = self.sums.get(name, 0.0) + value
        loss.backward()
        self.optimizer.step()
        self.step += 1
        self.samples += len(rows)
        self.epoch_rows += len(rows)

    def _close_epoch(self) -> None:
        steps = max(1, self.step_in_epoch)
        terms = {name: total / steps for name, total in self.sums.items()}
        entry: dict[str, float] = {
            "epoch": self.epoch,
            "rows": self.epoch_rows,
            "steps": self.step_in_epoch,
            "loss": sum(terms.values()),
            **terms,
            "seconds": self.epoch_seconds,
        }
        entry |= {f"intensity/{name}": value for name, value in self.plan.intensities(self.epoch, terms).items()}
        score = float(self.epoch)
        if self.validate is not None:
            self.backbone.eval()
            with torch.no_grad():
                metrics = self.validate(self.backbone)
            entry.update({name: float(value) for name, value in metrics.items()})
            score = entry[self.select]
        if self.best is None or score > self.best[1]:
            weights = {name: value.detach().clone() for name, value in self.backbone.state_dict().items()}
            self.best = (self.epoch, score, weights)
        self.history.append(entry)
        self.seconds += self.epoch_seconds
        self.epoch, self.step_in_epoch, self.sums = self.epoch + 1, 0, {}
        self.epoch_rows, self.epoch_seconds = 0, 0.0
        self.save()

    def save(self) -> None:
        """Write the checkpoint, where there is a folder for it."""
        if self.checkpoint is None:
            return
        tensors = {f"model/{name}": value for name, value in self.backbone.state_dict().items()}
        moments, plain = flatten_optimizer(self.optimizer)
        tensors |= moments
        tensors["generator"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["generator_cuda"] = torch.cuda.get_rng_state()
        state: dict[str, Any] = {name: getattr(self, name) for name in _COUNTERS}
        state["optimizer"] = plain
        if self.best is not None:
            tensors |= {f"best/{name}": value for name, value in self.best[2].items()}
            state["best"] = [self.best[0], self.best[1]]
        save_checkpoint(self.checkpoint, tensors, state, self.identity)

    def restore(self) -> None:
        """Continue from the checkpoint."""
        assert self.checkpoint is not None
        tensors, state = load_checkpoint(self.checkpoint, self.identity)
        self.backbone.load_state_dict(_under("model/", tensors))
        restore_optimizer(self.optimizer, tensors, state["optimizer"])
        torch.set_rng_state(tensors["generator"])
        if "generator_cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["generator_cuda"])
        for name in _COUNTERS:
            setattr(self, name, state[name])
        if "best" in state:
            self.best = (state["best"][0], state["best"][1], _under("best/", tensors))


_COUNTERS = (
    "epoch",
    "step_in_epoch",
    "step",
    "samples",
    "seconds",
    "sums",
    "epoch_rows",
    "epoch_seconds",
    "history",
)


def learning_rate(config: TrainingConfig, step: int, total: int) -> float:
    """Rate of step `step` (from 0) of `total`: linear warm-up to the peak, then linear decay to 0.

    A pure function of the step, so that nothing has to be saved, and of the plan's own total, since a curriculum
    takes fewer steps than epochs × rows suggest.
    """
    warm = round(config.warmup * total)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return config.learning_rate * max(0.0, (total - step) / max(1, total - warm))


def encode(backbone: Backbone, side: str, inputs: np.ndarray, block: int = 4096) -> np.ndarray:
    """Vectors `(n, d)` float32 of texts (`side="text"`) or molecules (`side="molecules"`), in evaluation mode."""
    if side not in {"text", "molecules"}:
        raise InputError(f"side={side!r}: expected 'text' or 'molecules'")
    encoder = backbone.encode_text if side == "text" else backbone.encode_molecules
    device = next(backbone.parameters()).device
    backbone.eval()
    with torch.no_grad():
        parts = [
            encoder(torch.tensor(inputs[at : at + block], dtype=torch.float32, device=device)).cpu().numpy()
            for at in range(0, len(inputs), block)
        ]
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _optimizer(config: TrainingConfig, backbone: Backbone) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.SGD(parameters, lr=config.learning_rate, momentum=0.9, weight_decay=config.weight_decay)


def _identity(
    config: TrainingConfig, plan: Plan, text: np.ndarray, molecules: np.ndarray, groups: np.ndarray | None
) -> str:
    """What a checkpoint belongs to: settings, inputs, and the batches themselves of the first and last epoch."""
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True, default=str).encode())
    for array in (text, molecules, groups):
        if array is not None:
            digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    for epoch in (1, config.epochs):
        for rows in plan.batches(epoch, config.batch_size):
            digest.update(np.ascontiguousarray(rows, np.int64).tobytes() + b"|")
        digest.update(repr(plan.table(config.batch_size)).encode())
    return digest.hexdigest()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
