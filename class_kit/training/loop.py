"""The steps of a training, and the state that a checkpoint must hold to take the next one exactly.

The learning rate is a function of the step number alone and the batches are what the plan says, so what must be saved
is the weights, the optimisers' moments, the random generator, and, for a plan that follows them, the recorded losses
or the line on which the model's own neighbours lie.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from class_kit.backbones import create_backbone
from class_kit.backbones.base import Backbone
from class_kit.curriculum.duplicates import duplicate_mask
from class_kit.curriculum.hard_batches import neighbour_line
from class_kit.curriculum.intensity import weigh_terms
from class_kit.curriculum.self_paced import record_losses
from class_kit.curriculum.uncertainty import UncertaintyWeights
from class_kit.errors import InputError
from class_kit.progress import progress_bar
from class_kit.training.checkpoint import flatten_optimizer, load_checkpoint, restore_optimizer, save_checkpoint
from class_kit.training.config import TrainingConfig, critic_optimizer, learning_rate, main_optimizer
from class_kit.training.encoding import encode
from class_kit.training.inputs import Inputs, fit_rows

if TYPE_CHECKING:
    from class_kit.curriculum import Plan

Validate = Callable[[Backbone], Mapping[str, float]]

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


class Trainer:
    """One training under way. `train` makes it, restores it where asked, and lets it run."""

    def __init__(
        self,
        config: TrainingConfig,
        plan: Plan,
        text: Inputs,
        molecules: Inputs,
        validate: Validate | None,
        select: str,
        folder: str | os.PathLike[str] | None,
        checkpoint_every: int | None,
        groups: np.ndarray | None,
    ) -> None:
        self.config, self.plan, self.validate, self.select = config, plan, validate, select
        self.text, self.molecules = text, molecules
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.groups = None if groups is None else torch.from_numpy(np.asarray(groups, np.int64)).to(self.device)
        self.backbone = create_backbone(config.backbone, text.width, molecules.width, **config.backbone_options)
        self.backbone.to(self.device)
        self.backbone.fit_inputs(*self._take(fit_rows(text, molecules, seed=config.seed)))
        self.term_weights = self._term_weights() if config.term_weights == "learned" else None
        extra = () if self.term_weights is None else self.term_weights.parameters()
        self.optimizer = main_optimizer(config, self.backbone, extra)
        self.critic = critic_optimizer(self.backbone)
        self.checkpoint = None if folder is None else Path(folder) / "checkpoint.safetensors"
        self.checkpoint_every = checkpoint_every
        self.identity = _identity(config, plan, text, molecules, groups) if folder is not None else ""
        self.epoch, self.step_in_epoch, self.step, self.samples, self.seconds = 1, 0, 0, 0, 0.0
        self.sums: dict[str, float] = {}
        self.epoch_rows, self.epoch_seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.best: tuple[int, float, dict[str, Tensor]] | None = None
        # what the present epoch's plan was told, and what its successor will be told
        self.losses = np.array(plan.losses) if "losses" in plan.needs_feedback else None  # type: ignore[attr-defined]
        self.losses_before = self.losses
        # where the model's own neighbours lie, once it was asked
        self.line: np.ndarray | None = None

    def run(self, progress: bool | None) -> None:
        """Train to the last epoch; `backbone` then has the weights of the best one."""
        disable = None if progress is None else not progress
        with progress_bar(
            total=self.plan.steps_total(self.config.batch_size), desc="training", unit="step", disable=disable
        ) as bar:
            bar.update(self.step)
            while self.epoch <= self.config.epochs:
                self._epoch(bar)
        assert self.best is not None
        self.backbone.load_state_dict(self.best[2])
        self.backbone.eval()

    def _epoch(self, bar: Any) -> None:
        started = time.perf_counter()
        size = self.config.batch_size
        metrics = [entry[self.select] for entry in self.history] if "metrics" in self.plan.needs_feedback else []
        plan = self.plan.with_feedback(losses=self.losses_before, metrics=metrics)
        if self.step_in_epoch == 0 and plan.refreshed(self.epoch):
            self.line = self._own_neighbours()
        if self.line is not None:
            plan = plan.with_line(self.line)
        # the plans of epochs to come may still change, so the total is what is known of it now
        ahead = sum(plan.steps(epoch, size) for epoch in range(self.epoch, self.config.epochs + 1))
        bar.total = self.step - self.step_in_epoch + ahead
        pair_weights = None
        if plan.weighted:
            pair_weights = torch.from_numpy(plan.weights(self.epoch, size)).float().to(self.device)
        self.backbone.train()
        for position, rows in enumerate(plan.batches(self.epoch, size)):
            if position < self.step_in_epoch:
                continue
            self._step(plan, rows, bar.total, pair_weights)
            self.step_in_epoch = position + 1
            bar.update(1)
            if self.checkpoint_every and self.step % self.checkpoint_every == 0:
                self.epoch_seconds += time.perf_counter() - started
                self.save()
                started = time.perf_counter()
        self.epoch_seconds += time.perf_counter() - started
        self._close_epoch(plan)

    def _own_neighbours(self) -> np.ndarray:
        """The training pairs on a line on which those lie together that the model, as it is, finds near, `(L,)`."""
        with self._precision():
            spaces = (encode(self.backbone, "text", self.text), encode(self.backbone, "molecules", self.molecules))
        return neighbour_line(*spaces, group_size=self.plan.group_size)

    def _step(self, plan: Plan, rows: np.ndarray, total: int, pair_weights: Tensor | None) -> None:
        text, molecules = self._take(rows)
        self._train_critic(text, molecules)
        index = torch.as_tensor(rows, device=self.device)
        near = None if self.groups is None else duplicate_mask(self.groups[index])
        with self._precision():
            found = self.backbone.losses(text, molecules, not_negative=near)
        found = {name: term.float() for name, term in found.items()}
        if self.losses is not None:
            self.losses = record_losses(self.losses, rows, self._pair_losses(found))
        weights = None if pair_weights is None else pair_weights[index]
        terms = {name: _reduced(term, weights) for name, term in found.items()}
        self._note(terms)
        rate = learning_rate(self.config, self.step, total)
        gamma: float | dict[str, float] = plan.intensities(self.epoch, terms)
        if self.config.intensity_on == "lr":
            rate, gamma = rate * plan.intensity(self.epoch), 1.0
        if self.term_weights is None:
            loss = weigh_terms(terms, gamma)
        else:
            scaled = terms if isinstance(gamma, float) else {name: gamma[name] * term for name, term in terms.items()}
            loss = self.term_weights(scaled)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        self.samples += len(rows)
        self.epoch_rows += len(rows)

    def _train_critic(self, text: Any, molecules: Any) -> None:
        if self.critic is None:
            return
        for _ in range(self.backbone.critic_steps):
            with self._precision():
                found = self.backbone.critic_losses(text, molecules)
            terms = {f"critic/{name}": term.float() for name, term in found.items()}
            self.critic.zero_grad(set_to_none=True)
            weigh_terms(terms, 1.0).backward()
            self.critic.step()
        self._note(terms)

    def _note(self, terms: Mapping[str, Tensor]) -> None:
        for name, term in terms.items():
            value = term.item()
            if not math.isfinite(value):
                raise FloatingPointError(f"loss term {name!r} is {value} in epoch {self.epoch}, step {self.step + 1}")
            self.sums[name] = self.sums.get(name, 0.0) + value

    def _pair_losses(self, terms: Mapping[str, Tensor]) -> np.ndarray:
        """What each pair of the batch cost, `(B,)`: the sum of the terms that say so."""
        parts = [term.detach().double() for term in terms.values() if term.ndim == 1]
        if not parts:
            raise InputError(
                f"backbone {self.config.backbone!r} gives no loss a pair ({', '.join(terms)} are scalars): "
                "a plan that follows losses needs one"
            )
        return torch.stack(parts).sum(0).cpu().numpy()

    def _close_epoch(self, plan: Plan) -> None:
        steps = max(1, self.step_in_epoch)
        means = {name: total / steps for name, total in self.sums.items()}
        terms = {name: value for name, value in means.items() if not name.startswith("critic/")}
        entry: dict[str, float] = {
            "epoch": self.epoch,
            "fraction": plan.fraction(self.epoch),
            "rows": self.epoch_rows,
            "steps": self.step_in_epoch,
            "loss": sum(terms.values()),
            **means,
            "seconds": self.epoch_seconds,
        }
        entry |= {f"intensity/{name}": value for name, value in plan.intensities(self.epoch, terms).items()}
        if plan.apart is not None:
            entry |= plan.repeats(self.epoch, self.config.batch_size)
        if self.term_weights is not None:
            entry |= {f"weight/{name}": value for name, value in self.term_weights.weights().items()}
        score = float(self.epoch)
        if self.validate is not None:
            self.backbone.eval()
            with torch.no_grad(), self._precision():
                metrics = self.validate(self.backbone)
            entry.update({name: float(value) for name, value in metrics.items()})
            score = entry[self.select]
        if self.best is None or score > self.best[1]:
            weights = {name: value.detach().clone() for name, value in self.backbone.state_dict().items()}
            self.best = (self.epoch, score, weights)
        self.history.append(entry)
        self.seconds += self.epoch_seconds
        self.losses_before = self.losses
        self.epoch, self.step_in_epoch, self.sums = self.epoch + 1, 0, {}
        self.epoch_rows, self.epoch_seconds = 0, 0.0
        self.save()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _take(self, rows: np.ndarray) -> tuple[Any, Any]:
        return self.text.take(rows, self.device), self.molecules.take(rows, self.device)

    def _term_weights(self) -> UncertaintyWeights:
        """One learnt weight a term; the names come from a trial batch that leaves no trace in generator or weights."""
        self.backbone.eval()
        with torch.random.fork_rng(), torch.no_grad():
            names = self.backbone.losses(*self._take(np.arange(min(2, len(self.text)))))
        return UncertaintyWeights(names).to(self.device)

    def save(self) -> None:
        """Write the checkpoint, where there is a folder for it."""
        if self.checkpoint is None:
            return
        tensors = {f"model/{name}": value for name, value in self.backbone.state_dict().items()}
        state: dict[str, Any] = {name: getattr(self, name) for name in _COUNTERS}
        for name, optimizer in self._optimizers().items():
            moments, state[name] = flatten_optimizer(optimizer, name)
            tensors |= moments
        tensors["generator"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["generator_cuda"] = torch.cuda.get_rng_state()
        if self.term_weights is not None:
            tensors |= {f"term_weights/{name}": value for name, value in self.term_weights.state_dict().items()}
        if self.losses is not None and self.losses_before is not None:
            tensors["losses"] = torch.from_numpy(self.losses)
            tensors["losses_before"] = torch.from_numpy(self.losses_before)
        if self.line is not None:
            tensors["line"] = torch.from_numpy(self.line)
        if self.best is not None:
            tensors |= {f"best/{name}": value for name, value in self.best[2].items()}
            state["best"] = [self.best[0], self.best[1]]
        save_checkpoint(self.checkpoint, tensors, state, self.identity)

    def restore(self) -> None:
        """Continue from the checkpoint."""
        assert self.checkpoint is not None
        tensors, state = load_checkpoint(self.checkpoint, self.identity)
        self.backbone.load_state_dict(_under("model/", tensors))
        for name, optimizer in self._optimizers().items():
            restore_optimizer(optimizer, tensors, state[name], name)
        torch.set_rng_state(tensors["generator"])
        if "generator_cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["generator_cuda"])
        if self.term_weights is not None:
            self.term_weights.load_state_dict(_under("term_weights/", tensors))
        if self.losses is not None:
            self.losses, self.losses_before = tensors["losses"].numpy(), tensors["losses_before"].numpy()
        if "line" in tensors:
            self.line = tensors["line"].numpy()
        for name in _COUNTERS:
            setattr(self, name, state[name])
        if "best" in state:
            self.best = (state["best"][0], state["best"][1], _under("best/", tensors))

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimizer": self.optimizer} | ({} if self.critic is None else {"critic": self.critic})


def _reduced(term: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over pairs of V_i L_i; a term that knows no pairs stays as it is."""
    if term.ndim == 0:
        return term
    return term.mean() if weights is None else (weights * term).mean()


def _identity(config: TrainingConfig, plan: Plan, text: Inputs, molecules: Inputs, groups: np.ndarray | None) -> str:
    """What a checkpoint belongs to: settings, inputs, and the batches themselves of the first and last epoch."""
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True, default=str).encode())
    traits = [type(plan).__name__, *(getattr(plan, name, None) for name in ("kind", "prune", "full_from", "pacing"))]
    if plan.hardness is not None:
        traits += [plan.group_size, plan.refresh, *(plan.hardness(epoch) for epoch in range(1, config.epochs + 1))]
    digest.update((text.digest + molecules.digest + repr(traits)).encode())
    for array in (groups, plan.line, plan.apart):
        digest.update(b"|" if array is None else np.ascontiguousarray(array, np.int64).tobytes())
    for epoch in (1, config.epochs):
        for rows in plan.batches(epoch, config.batch_size):
            digest.update(np.ascontiguousarray(rows, np.int64).tobytes() + b"|")
    digest.update(repr(plan.table(config.batch_size)).encode())
    return digest.hexdigest()


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
