"""The steps of a training, and the state that a checkpoint must hold to take the next one exactly.

The learning rate is a function of the step number alone and the batches are what the plan says, so what must be saved
is the weights, the optimisers' moments, the random generator, and, for a plan that needs feedback, the recorded losses
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
from torch import Tensor, nn

from class_kit.backbones import create_backbone
from class_kit.backbones.base import Backbone
from class_kit.curriculum.duplicates import count_repeats, duplicate_mask
from class_kit.curriculum.feedback import record_losses
from class_kit.curriculum.hard_batches import neighbour_line
from class_kit.curriculum.intensity import weigh_terms
from class_kit.curriculum.uncertainty import UncertaintyWeights
from class_kit.errors import InputError
from class_kit.inputs import Inputs, encode
from class_kit.progress import progress_bar
from class_kit.training.checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from class_kit.training.config import TrainingConfig, critic_optimizer, learning_rate, main_optimizer

if TYPE_CHECKING:
    from class_kit.curriculum import Plan

Validate = Callable[[Backbone], Mapping[str, float]]

# what a checkpoint holds beside tensors: attributes of the trainer that JSON can hold
_COUNTERS = ("step", "samples", "seconds", "sums", "history")


class Trainer:
    """One training under way. `train` makes it, restores it where asked, and lets it run.

    Attributes
    ----------
    parts : modules by name
        What the main optimiser trains: the backbone, and weights of the terms where they are learned.
    optimizers : optimisers by name
        The main one, and the critic's where there is a critic.
    arrays : arrays by name
        What the plan was told: `losses_before`, every pair's loss before this epoch, and `losses`, up to now; `line`,
        where the model's own neighbours lie, once it was asked.
    history, sums
        An entry an epoch, and sums over the steps of the epoch under way.
    """

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
        fitted = min(text.sample(seed=config.seed), molecules.sample(seed=config.seed), key=len)
        self.backbone.fit_inputs(*self._take(fitted))
        self.parts: dict[str, nn.Module] = {"model": self.backbone}
        self.term_weights = self._term_weights() if config.term_weights == "learned" else None
        if self.term_weights is not None:
            self.parts["term_weights"] = self.term_weights
        beside = () if self.term_weights is None else self.term_weights.parameters()
        self.optimizers = {"optimizer": main_optimizer(config, self.backbone, beside)}
        if (critic := critic_optimizer(self.backbone)) is not None:
            self.optimizers["critic"] = critic
        self.checkpoint = None if folder is None else Path(folder) / "checkpoint.safetensors"
        self.checkpoint_every = checkpoint_every
        self.identity = _identity(config, plan, text, molecules, groups) if folder is not None else ""
        self.step, self.samples, self.seconds = 0, 0, 0.0
        self.sums: dict[str, float] = {}
        self.history: list[dict[str, float]] = []
        self.best: tuple[int, float, dict[str, Tensor]] | None = None
        self.arrays: dict[str, np.ndarray] = {}
        if "losses" in plan.needs_feedback:
            self.arrays["losses"] = self.arrays["losses_before"] = np.array(plan.losses)  # type: ignore[attr-defined]

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""
        return len(self.history) + 1

    def run(self, progress: bool | None) -> None:
        """Train to the last epoch; `backbone` then has the weights of the best one."""
        total, disable = self.plan.steps_total(self.config.batch_size), None if progress is None else not progress
        with progress_bar(total=total, desc="training", unit="step", disable=disable) as bar:
            bar.update(self.step)
            while self.epoch <= self.config.epochs:
                self._epoch(bar)
        assert self.best is not None
        self.backbone.load_state_dict(self.best[2])
        self.backbone.eval()

    def _epoch(self, bar: Any) -> None:
        started = time.perf_counter()
        epoch, size = self.epoch, self.config.batch_size
        metrics = [entry[self.select] for entry in self.history] if "metrics" in self.plan.needs_feedback else []
        plan = self.plan.with_feedback(losses=self.arrays.get("losses_before"), metrics=metrics)
        taken = int(self._in_epoch("steps", self.step))
        if not taken and plan.refreshed(epoch):
            self.arrays["line"] = self._own_neighbours()
        if "line" in self.arrays:
            plan = plan.with_line(self.arrays["line"])
        # the plans of epochs to come may still change, so the total is what is known of it now
        bar.total = self.step - taken + sum(plan.steps(k, size) for k in range(epoch, self.config.epochs + 1))
        pair_weights = None
        if "losses" in plan.needs_feedback:
            pair_weights = torch.from_numpy(plan.weights(epoch, size)).float().to(self.device)
        batches = plan.batches(epoch, size)
        self.backbone.train()
        for rows in batches[taken:]:
            self._step(plan, rows, bar.total, pair_weights)
            bar.update(1)
            if self.checkpoint_every and self.step % self.checkpoint_every == 0:
                self.seconds += time.perf_counter() - started
                self.save()
                started = time.perf_counter()
        self.seconds += time.perf_counter() - started
        self._close_epoch(plan, batches)

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
            losses = self.backbone.losses(text, molecules, not_negative=near)
        losses = {name: term.float() for name, term in losses.items()}
        if "losses" in self.arrays:
            self.arrays["losses"] = record_losses(self.arrays["losses"], rows, self._pair_losses(losses))
        if pair_weights is not None:
            # V_i; a term that knows no pairs stays as it is
            losses = {name: pair_weights[index] * term if term.ndim else term for name, term in losses.items()}
        terms = {name: term.mean() if term.ndim else term for name, term in losses.items()}
        self._note(terms)
        rate = learning_rate(self.config, self.step, total)
        gamma = plan.intensities(self.epoch, terms)
        if self.config.intensity_on == "lr":
            rate, gamma = rate * plan.intensity(self.epoch), dict.fromkeys(terms, 1.0)
        if self.term_weights is None:
            loss = weigh_terms(terms, gamma)
        else:
            loss = self.term_weights({name: gamma[name] * term for name, term in terms.items()})
        main = self.optimizers["optimizer"]
        for group in main.param_groups:
            group["lr"] = rate * group["share"]
        main.zero_grad(set_to_none=True)
        loss.backward()
        main.step()
        self.step += 1
        self.samples += len(rows)

    def _train_critic(self, text: Any, molecules: Any) -> None:
        if "critic" not in self.optimizers:
            return
        for _ in range(self.backbone.critic_steps):
            with self._precision():
                losses = self.backbone.critic_losses(text, molecules)
            terms = {f"critic/{name}": term.float() for name, term in losses.items()}
            self.optimizers["critic"].zero_grad(set_to_none=True)
            weigh_terms(terms, 1.0).backward()
            self.optimizers["critic"].step()
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

    def _in_epoch(self, name: str, total: float) -> float:
        """What is the present epoch's of a total over all epochs."""
        return total - sum(entry[name] for entry in self.history)

    def _close_epoch(self, plan: Plan, batches: list[np.ndarray]) -> None:
        means = {name: total / len(batches) for name, total in self.sums.items()}
        terms = {name: value for name, value in means.items() if not name.startswith("critic/")}
        entry: dict[str, float] = {
            "epoch": self.epoch,
            "fraction": plan.fraction(self.epoch),
            "rows": self._in_epoch("rows", self.samples),
            "steps": len(batches),
            "loss": sum(terms.values()),
            **means,
            "seconds": self._in_epoch("seconds", self.seconds),
        }
        entry |= {f"intensity/{name}": value for name, value in plan.intensities(self.epoch, terms).items()}
        if plan.apart is not None:
            entry |= count_repeats(plan.apart, batches)
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
        self.sums = {}
        if "losses" in self.arrays:
            self.arrays["losses_before"] = self.arrays["losses"]
        self.save()

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _take(self, rows: np.ndarray) -> tuple[Any, Any]:
        return self.text.take(rows, self.device), self.molecules.take(rows, self.device)

    def _term_weights(self) -> UncertaintyWeights:
        """One learned weight a term; the names come from a trial batch that leaves no trace in generator or weights."""
        self.backbone.eval()
        with torch.random.fork_rng(), torch.no_grad():
            names = self.backbone.losses(*self._take(np.arange(min(2, len(self.text)))))
        return UncertaintyWeights(names).to(self.device)

    def save(self) -> None:
        """Write the checkpoint, where there is a folder for it."""
        if self.checkpoint is None:
            return
        tensors = {"generator": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors["generator_cuda"] = torch.cuda.get_rng_state()
        groups = {name: part.state_dict() for name, part in self.parts.items()}
        groups |= {name: optimizer_tensors(optimizer) for name, optimizer in self.optimizers.items()}
        groups["arrays"] = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        state: dict[str, Any] = {name: getattr(self, name) for name in _COUNTERS}
        if self.best is not None:
            groups["best"] = self.best[2]
            state["best"] = self.best[:2]
        tensors |= {f"{group}/{name}": value for group, own in groups.items() for name, value in own.items()}
        save_checkpoint(self.checkpoint, tensors, state, self.identity)

    def restore(self) -> None:
        """Continue from the checkpoint."""
        assert self.checkpoint is not None
        tensors, state = load_checkpoint(self.checkpoint, self.identity)

        def group(prefix: str) -> dict[str, Tensor]:
            start = f"{prefix}/"
            return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}

        torch.set_rng_state(tensors["generator"])
        if "generator_cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["generator_cuda"])
        for name, part in self.parts.items():
            part.load_state_dict(group(name))
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, group(name))
        self.arrays = {name: tensor.numpy() for name, tensor in group("arrays").items()}
        for name in _COUNTERS:
            setattr(self, name, state[name])
        if "best" in state:
            self.best = (*state["best"], group("best"))


def _identity(config: TrainingConfig, plan: Plan, text: Inputs, molecules: Inputs, groups: np.ndarray | None) -> str:
    """What a checkpoint belongs to: settings, inputs and plan."""
    parts = [json.dumps(asdict(config), sort_keys=True, default=str), text.digest, molecules.digest]
    parts += [plan.digest(config.batch_size), str(None if groups is None else np.asarray(groups, np.int64).tobytes())]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
