"""Run the steps of a training, with the state that a checkpoint must hold to resume exactly.

The learning rate depends only on the step number and the batches only on the plan, so a checkpoint saves the weights,
the optimisers' moments, the random generator, and, for a plan that needs feedback, the recorded losses or the locality
order of the model's own neighbours.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from class_kit.backbones import backbone_needs, create_backbone
from class_kit.backbones.base import Backbone
from class_kit.curriculum import EpochPlan, make_schedule
from class_kit.curriculum.duplicates import count_repeats, duplicate_mask
from class_kit.curriculum.feedback import record_losses
from class_kit.curriculum.hard_batches import locality_order
from class_kit.curriculum.intensity import weigh_terms
from class_kit.errors import InputError
from class_kit.inputs import Inputs, as_inputs, encode
from class_kit.options import TrainingConfig
from class_kit.progress import progress_bar
from class_kit.terminal import import_whole
from class_kit.training.checkpoint import load_checkpoint, save_checkpoint
from class_kit.training.optimizers import learning_rate, make_optimizers

Validate = Callable[[Backbone], Mapping[str, float]]

# terms of the loss that are read at once
_NOTED = 100
# what a checkpoint holds besides tensors: attributes of the trainer that JSON can hold
_COUNTERS = ("step", "samples", "seconds", "history")


@dataclass
class TrainingResult:
    """A trained backbone (weights of its best epoch) and the record of its training.

    `history` has one entry per epoch: epoch, fraction, rows, steps, loss, each term and its intensity
    (`intensity/<term>`), an adversary's terms (`critic/<term>`), each validation metric, seconds (training only); if
    near-duplicates are kept in different batches, the `repeats` within a batch and how many of them were `unavoidable`.
    `samples` and `steps` are totals over all epochs.
    """

    backbone: Backbone
    history: list[dict[str, float]]
    best_epoch: int
    steps: int
    samples: int
    seconds: float


def train(
    config: TrainingConfig,
    plan: EpochPlan,
    text: np.ndarray | Inputs,
    molecules: np.ndarray | Inputs,
    *,
    validate: Validate | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    groups: np.ndarray | None = None,
    on_epoch: Callable[[dict[str, float]], Any] | None = None,
    progress: bool | None = None,
) -> TrainingResult:
    """Train a backbone on the batches of a plan.

    Parameters
    ----------
    plan : EpochPlan
        Must have as many epochs as the configuration. Its row numbers index `text` and `molecules`. A plan that needs
        losses, metrics or the model's vectors gets them before every epoch.
    text : (L, d_t) float, or Inputs
    molecules : (L, d_m) float, or Inputs
        Row i of both belongs to pair i; of the kinds that the backbone needs (`backbone_needs`).
    validate : callable, optional
        Takes the backbone in evaluation mode and returns metrics; the epoch with the highest `mrr` is kept (the last
        one if `validate` is None). A plan that needs metrics gets the same.
    folder : path, optional
        Where `checkpoint.safetensors` is written at each epoch's end.
    resume : bool
        Continue from that checkpoint if there is one. On a CPU the result is the same, bit for bit, as without the
        interruption.
    groups : (L,) int, optional
        From `duplicate_labels`: pairs that share a non-negative label are near-duplicates and are not used as each
        other's negatives.
    on_epoch : callable, optional
        Called after every epoch, once its checkpoint is written, with its entry of the history: epoch, loss, metrics
        and the rest. For TensorBoard and the like; an exception in it ends the training.

    Raises
    ------
    ValueError
        If lengths differ or a setting is impossible.
    FloatingPointError
        If a loss is not finite; the message names epoch, step and term.
    InputError
        If the checkpoint to resume from is damaged or belongs to other settings or data.
    """
    text, molecules = as_inputs(text), as_inputs(molecules)
    if len(text) != len(molecules):
        raise InputError(f"{len(text)} texts and {len(molecules)} molecules: expected equal numbers of both")
    needs = backbone_needs(config.backbone, **config.backbone_options)
    for side, kind in (("text", {"vector": "sentence"}.get(text.kind, text.kind)), ("molecules", molecules.kind)):
        if kind != getattr(needs, side):
            raise InputError(f"{side} given as {kind}: backbone {config.backbone!r} expected {getattr(needs, side)}")
    if plan.epochs != config.epochs:
        raise InputError(
            f"the plan has {plan.epochs} epochs and the configuration {config.epochs}: expected equal numbers"
        )
    if "metrics" in plan.needs_feedback and validate is None:
        raise InputError("validate=None: expected a function of the backbone, since the plan needs validation metrics")
    # PyTorch imports this, which takes seconds, when the first optimiser is created
    import_whole("torch._dynamo")
    checkpoint = None if folder is None else Path(folder) / "checkpoint.safetensors"
    threads = torch.get_num_threads()
    # Weights and dropout come from the configuration's seed, without disturbing the caller's generator.
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        try:
            trainer = Trainer(config, plan, text, molecules, validate, checkpoint, groups, on_epoch)
            if resume and checkpoint is not None and checkpoint.is_file():
                trainer.restore()
            return trainer.run(progress)
        finally:
            torch.set_num_threads(threads)


def pair_losses(terms: Mapping[str, Tensor]) -> np.ndarray:
    """The loss of each pair of a batch, `(B,)` float64: the sum of the terms with one loss per pair.

    Raises
    ------
    InputError
        There is no such term.
    """
    parts = [term.detach().double() for term in terms.values() if term.ndim == 1]
    if not parts:
        raise InputError(f"the loss terms {', '.join(terms)} are scalars: expected a term with one loss per pair")
    return torch.stack(parts).sum(0).cpu().numpy()


def measure_losses(
    losses: Callable[[np.ndarray], Mapping[str, Tensor]], count: int, batch_size: int, seed: int, epoch: int = 1
) -> np.ndarray:
    """The loss of each pair, `(count,)` float64, in random batches that depend on seed and epoch.

    `losses` maps row numbers to loss terms. The caller's random generator is not changed.
    """
    measured = np.empty(count)
    with torch.random.fork_rng(), torch.no_grad():
        for rows in random_batches(count, batch_size, seed, epoch):
            measured[rows] = pair_losses(losses(rows))
    return measured


def random_batches(count: int, batch_size: int, seed: int, epoch: int = 1) -> list[np.ndarray]:
    """All of `count` rows once, in random batches."""
    return EpochPlan(np.arange(count), make_schedule("full"), "constant", seed).batches(epoch, batch_size)


@dataclass
class Trainer:
    """One training in progress. `train` creates, restores and runs it, and documents the fields.

    Attributes
    ----------
    optimizers : optimisers by name
        "optimizer" for the backbone and, if there is a critic, "critic".
    arrays : arrays by name
        The plan's feedback: `losses`, every pair's latest loss, and `line`, the latest locality order of the model's
        vectors.
    history, sums
        One entry per epoch, and sums over the steps of the current epoch.
    noted
        Step, name and value of terms that are not yet in `sums`.
    """

    config: TrainingConfig
    plan: EpochPlan
    text: Inputs
    molecules: Inputs
    validate: Validate | None
    checkpoint: Path | None
    groups: np.ndarray | None
    on_epoch: Callable[[dict[str, float]], Any] | None

    def __post_init__(self) -> None:
        config, text, molecules = self.config, self.text, self.molecules
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.labels: Tensor | None = None
        if self.groups is not None:
            self.labels = torch.from_numpy(np.asarray(self.groups, np.int64)).to(self.device)
        self.backbone = create_backbone(config.backbone, text.width, molecules.width, **config.backbone_options)
        self.backbone.to(self.device)
        fitted = min(text.sample(seed=config.seed), molecules.sample(seed=config.seed), key=len)
        self.backbone.fit_inputs(*self._take(fitted))
        self.optimizers = make_optimizers(config, self.backbone)
        self.step, self.samples, self.seconds = 0, 0, 0.0
        self.sums: dict[str, float] = {}
        self.noted: list[tuple[int, str, Tensor]] = []
        self.history: list[dict[str, float]] = []
        self.best: tuple[int, float, dict[str, Tensor]] | None = None
        self.arrays: dict[str, np.ndarray] = {}
        if "losses" in self.plan.needs_feedback:
            self.arrays["losses"] = np.array(self.plan.losses)  # type: ignore[attr-defined]

    @cached_property
    def identity(self) -> str:
        """What a checkpoint belongs to: settings, inputs and plan."""
        owned = [json.dumps(asdict(self.config), sort_keys=True, default=str), self.text.digest, self.molecules.digest]
        owned += [self.plan.digest(self.config.batch_size), "" if self.groups is None else repr(self.groups.tolist())]
        return hashlib.sha256("|".join(owned).encode()).hexdigest()

    @property
    def epoch(self) -> int:
        """The current epoch, from 1."""
        return len(self.history) + 1

    def run(self, progress: bool | None) -> TrainingResult:
        """Train to the last epoch; the backbone then has the weights of the best one."""
        total = self.plan.steps_total(self.config.batch_size)
        with progress_bar(total=total, desc="training", unit="step", show=progress) as bar:
            bar.update(self.step)
            while self.epoch <= self.config.epochs:
                self._epoch(bar)
        assert self.best is not None
        self.backbone.load_state_dict(self.best[2])
        self.backbone.eval()
        return TrainingResult(self.backbone, self.history, self.best[0], self.step, self.samples, self.seconds)

    def _epoch(self, bar: Any) -> None:
        started = time.perf_counter()
        epoch, size = self.epoch, self.config.batch_size
        metrics = [entry["mrr"] for entry in self.history] if "metrics" in self.plan.needs_feedback else []
        plan = self.plan.with_feedback(losses=self.arrays.get("losses"), metrics=metrics)
        if plan.refreshed(epoch):
            # an order in which pairs that are similar under the current model are close together
            with self._precision():
                spaces = [encode(self.backbone, "text", self.text), encode(self.backbone, "molecules", self.molecules)]
            self.arrays["line"] = locality_order(*spaces, group_size=plan.group_size)
        if "line" in self.arrays:
            plan = plan.with_line(self.arrays["line"])
        # later epochs may still change, so this total is an estimate
        bar.total = self.step + sum(plan.steps(k, size) for k in range(epoch, self.config.epochs + 1))
        pair_weights = None
        if "losses" in plan.needs_feedback:
            pair_weights = torch.from_numpy(plan.weights(epoch, size)).float().to(self.device)
        batches = plan.batches(epoch, size)
        self.sums = {}
        self.backbone.train()
        for rows in batches:
            self._step(plan, rows, bar.total, pair_weights)
            bar.update(1)
        self._close_epoch(plan, batches, time.perf_counter() - started)

    def _step(self, plan: EpochPlan, rows: np.ndarray, total: int, pair_weights: Tensor | None) -> None:
        self._train_critic(rows)
        losses = self._losses(rows)
        if "losses" in self.arrays and not plan.measures_losses:
            self.arrays["losses"] = record_losses(self.arrays["losses"], rows, pair_losses(losses))
        if pair_weights is not None:
            # V_i; a scalar term has no pairs to weight
            losses = {name: pair_weights[rows] * term if term.ndim else term for name, term in losses.items()}
        terms = {name: term.mean() if term.ndim else term for name, term in losses.items()}
        self._note(terms)
        rate = learning_rate(self.config, self.step, total)
        gamma = plan.intensities(self.epoch, terms)
        if self.config.intensity_on == "lr":
            rate, gamma = rate * plan.intensity(self.epoch), dict.fromkeys(terms, 1.0)
        main = self.optimizers["optimizer"]
        for group in main.param_groups:
            group["lr"] = rate * group["share"]
        main.zero_grad(set_to_none=True)
        weigh_terms(terms, gamma).backward()
        main.step()
        self.step += 1
        self.samples += len(rows)

    def _losses(self, rows: np.ndarray) -> dict[str, Tensor]:
        """The backbone's loss terms for some rows, without near-duplicates among the negatives."""
        duplicates = None if self.labels is None else duplicate_mask(self.labels[rows])
        with self._precision():
            losses = self.backbone.losses(*self._take(rows), not_negative=duplicates)
        return {name: term.float() for name, term in losses.items()}

    def _train_critic(self, rows: np.ndarray) -> None:
        if "critic" not in self.optimizers:
            return
        text, molecules = self._take(rows)
        for _ in range(self.backbone.critic_steps):
            with self._precision():
                losses = self.backbone.critic_losses(text, molecules)
            terms = {f"critic/{name}": term.float() for name, term in losses.items()}
            self.optimizers["critic"].zero_grad(set_to_none=True)
            weigh_terms(terms, 1.0).backward()
            self.optimizers["critic"].step()
        self._note(terms)

    def _note(self, terms: Mapping[str, Tensor]) -> None:
        """Keep the terms of a step to be summed later: reading each at once would wait for a GPU in every step."""
        self.noted += [(self.step + 1, name, term.detach()) for name, term in terms.items()]
        if len(self.noted) >= _NOTED:
            self._sum()

    def _sum(self) -> None:
        """Add the noted terms to the sums of the epoch."""
        values = torch.stack([term for *_, term in self.noted]).tolist() if self.noted else []
        for (step, name, _), value in zip(self.noted, values, strict=True):
            if not math.isfinite(value):
                raise FloatingPointError(f"loss term {name!r} is {value} in epoch {self.epoch}, step {step}")
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.noted = []

    def _close_epoch(self, plan: EpochPlan, batches: list[np.ndarray], seconds: float) -> None:
        self._sum()
        self.seconds += seconds
        means = {name: total / len(batches) for name, total in self.sums.items()}
        terms = {name: value for name, value in means.items() if not name.startswith("critic/")}
        entry: dict[str, float] = {
            "epoch": self.epoch,
            "fraction": plan.fraction(self.epoch),
            "rows": sum(map(len, batches)),
            "steps": len(batches),
            "loss": sum(terms.values()),
            **means,
            "seconds": seconds,
        }
        entry |= {f"intensity/{name}": value for name, value in plan.intensities(self.epoch, terms).items()}
        if plan.apart is not None:
            entry |= count_repeats(plan.apart, batches)
        score = float(self.epoch)
        if self.validate is not None:
            self.backbone.eval()
            with torch.no_grad(), self._precision():
                entry |= {name: float(value) for name, value in self.validate(self.backbone).items()}
            score = entry["mrr"]
        if self.best is None or score > self.best[1]:
            weights = {name: value.detach().clone() for name, value in self.backbone.state_dict().items()}
            self.best = (self.epoch, score, weights)
        self.history.append(entry)
        if "losses" in self.arrays and plan.measures_losses:
            self.backbone.eval()
            size, seed = self.config.batch_size, self.config.seed
            self.arrays["losses"] = measure_losses(self._losses, len(self.text), size, seed, len(self.history))
        self.save()
        if self.on_epoch is not None:
            self.on_epoch(dict(entry))

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _take(self, rows: np.ndarray) -> tuple[Any, Any]:
        return self.text.take(rows, self.device), self.molecules.take(rows, self.device)

    def save(self) -> None:
        """Write the checkpoint, if there is a folder for it."""
        if self.checkpoint is None:
            return
        tensors: dict[str, Any] = {"generator": torch.get_rng_state(), "model": self.backbone.state_dict()}
        if torch.cuda.is_available():
            tensors["generator_cuda"] = torch.cuda.get_rng_state()
        tensors |= {name: optimizer.state_dict()["state"] for name, optimizer in self.optimizers.items()}
        tensors["arrays"] = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        state: dict[str, Any] = {name: getattr(self, name) for name in _COUNTERS}
        if self.best is not None:
            *state["best"], tensors["best"] = self.best
        save_checkpoint(self.checkpoint, tensors, state, self.identity)

    def restore(self) -> None:
        """Continue from the checkpoint."""
        assert self.checkpoint is not None
        tensors, state = load_checkpoint(self.checkpoint, self.identity)
        torch.set_rng_state(tensors["generator"])
        if "generator_cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["generator_cuda"])
        self.backbone.load_state_dict(tensors["model"])
        for name, optimizer in self.optimizers.items():
            moments = {int(index): own for index, own in tensors.get(name, {}).items()}
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        self.arrays = {name: tensor.numpy() for name, tensor in tensors.get("arrays", {}).items()}
        for name in _COUNTERS:
            setattr(self, name, state[name])
        if "best" in state:
            self.best = (*state["best"], tensors["best"])
