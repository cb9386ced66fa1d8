"""A plan inside other people's training loops: Hugging Face, sentence-transformers, Lightning, accelerate.

A plain loop needs nothing of this: `DataLoader(dataset, batch_sampler=CurriculumBatchSampler(plan, 64))` and one call
of `set_epoch` an epoch. The libraries differ in one respect that matters to a curriculum, whose epochs grow:

- Hugging Face's and sentence-transformers' trainers measure the first epoch and cut every later one to its length, so
  they are given the whole run as one long epoch.
- Lightning measures again only when it reloads, so it is told to reload in every epoch.
- accelerate would deal whole batches to the ranks and repeat some to make them even, so every rank gets its own share
  from the plan instead.

Each library is an optional extra, imported when first used.
"""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

from class_kit.curriculum.plan import Plan
from class_kit.curriculum.sampler import CurriculumBatchSampler, WholeRunBatchSampler, refuse_feedback
from class_kit.errors import InputError


def require(module: str) -> Any:
    """Import a library of the optional extra `trainers`, or say how to get it.

    Raises
    ------
    ImportError
        Where it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is needed here: pip install 'class-kit[trainers]' ({error})") from error


_OTHER_PLAN = "the checkpoint to resume from belongs to another plan: expected the plan it began with"


def check_rows(plan: Plan, dataset: Any) -> None:
    """Refuse, with an InputError, a plan that needs feedback and a data set that lacks the plan's rows."""
    refuse_feedback(plan)
    last = int(plan.order.max())
    if isinstance(dataset, Mapping) or not hasattr(dataset, "__len__") or len(dataset) <= last:
        size = len(dataset) if hasattr(dataset, "__len__") else "no length"
        raise InputError(
            f"the data set is a {type(dataset).__name__} of {size}: expected one that is indexed by the plan's rows, "
            f"up to {last}"
        )


def accelerate_loader(
    accelerator: Any, dataset: Any, plan: Plan, batch_size: int, drop_last: bool = False, **options: Any
) -> Any:
    """A loader for this process of an `accelerate` run: its own share of every step, on the accelerator's device.

    Do not pass it through `accelerator.prepare`, which has nothing left to do. The epoch advances by itself with every
    complete iteration; after a break, and on resuming, call the loader's `set_epoch` (from 0), and within an epoch set
    `loader.batch_sampler.skip` to the batches done. A prepared learning-rate scheduler advances once for each process
    at every step: make it for `plan.steps_total(batch_size, processes) * processes` steps.

    Parameters
    ----------
    accelerator
        The `accelerate.Accelerator` of this process.
    dataset
        A map-style data set, indexed by the plan's rows.
    plan, batch_size, drop_last
        As of `CurriculumBatchSampler`; `batch_size` is that of each process.
    options
        Passed on to `DataLoader` (collate_fn, num_workers …).

    Raises
    ------
    InputError
        The plan needs feedback, or rows that the data set lacks.
    """
    prepare = require("accelerate.data_loader").prepare_data_loader
    check_rows(plan, dataset)
    sampler = CurriculumBatchSampler(plan, batch_size, drop_last, accelerator.process_index, accelerator.num_processes)
    loader = require("torch.utils.data").DataLoader(dataset, batch_sampler=sampler, **options)
    return prepare(loader, accelerator.device, num_processes=1, process_index=0, put_on_device=True)


def lightning_data(
    dataset: Any, plan: Plan, batch_size: int, drop_last: bool = False, validation: Any = None, **options: Any
) -> Any:
    """A `LightningDataModule` that gives each of Lightning's epochs the plan's rows, on every rank its share.

    It serves `lightning.pytorch` and `pytorch_lightning`, whichever is imported when it is made. The trainer must be
    made with `reload_dataloaders_every_n_epochs=1`, or it would cut growing epochs to the length of the first, and with
    `use_distributed_sampler=False` on several devices; both are checked. `fast_dev_run` runs the first batches of the
    plan. For learning-rate schedules take `plan.steps_total`, since `trainer.estimated_stepping_batches` multiplies the
    first epoch; with `accumulate_grad_batches` every epoch ends with a step of its own.

    `fit(ckpt_path=...)` resumes exactly, from the middle of an epoch too. A checkpoint between two optimiser steps is
    refused, since gradients accumulated so far are not saved, and so is one of another plan.

    Parameters
    ----------
    dataset
        A map-style data set, indexed by the plan's rows.
    plan, batch_size, drop_last
        As of `CurriculumBatchSampler`; `batch_size` is that of each device.
    validation
        A loader (or loaders) for validation, if any.
    options
        Passed on to `DataLoader`.

    Raises
    ------
    InputError
        The plan needs feedback, or rows that the data set lacks; or, at the start, the trainer is made otherwise than
        said above, or the checkpoint cannot be resumed from.
    """
    check_rows(plan, dataset)
    imported = [module for name in ("lightning.pytorch", "pytorch_lightning") if (module := sys.modules.get(name))]
    bases = tuple(module.LightningDataModule for module in imported or [require("lightning.pytorch")])

    class CurriculumLoader(require("torch.utils.data").DataLoader):  # type: ignore[misc]
        def __iter__(self) -> Iterator[Any]:
            # runs when the first batch is asked for, by when Lightning has restored its progress
            trainer = data.trainer
            # a resumed epoch does not begin, so a GradientAccumulationScheduler has not set its number
            for callback in trainer.callbacks:
                if hasattr(callback, "get_accumulate_grad_batches"):
                    trainer.accumulate_grad_batches = callback.get_accumulate_grad_batches(trainer.current_epoch)
            done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
            if done % trainer.accumulate_grad_batches:
                raise InputError(
                    f"the checkpoint to resume from was saved after batch {done} of an epoch, between two optimiser "
                    f"steps of accumulate_grad_batches={trainer.accumulate_grad_batches}: it lacks the gradients "
                    "accumulated so far; expected one that was saved after a step"
                )
            self.batch_sampler.skip = done
            yield from super().__iter__()

        # Lightning keeps the position itself, and takes a loader with these two for one that can be resumed
        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            pass

    class CurriculumData(*bases):  # type: ignore[misc]
        def setup(self, stage: str) -> None:
            if stage != "fit":
                return
            trainer, self.epoch = self.trainer, sys.maxsize
            if trainer.reload_dataloaders_every_n_epochs != 1:
                raise InputError(
                    f"Trainer(reload_dataloaders_every_n_epochs={trainer.reload_dataloaders_every_n_epochs}) would cut "
                    "the growing epochs to the length of the first: expected 1"
                )
            if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
                raise InputError("Trainer(use_distributed_sampler=True) would replace the plan: expected False")
            if plan.epochs is not None and trainer.max_epochs != plan.epochs and not trainer.fast_dev_run:
                raise InputError(f"Trainer(max_epochs={trainer.max_epochs}): expected the plan's {plan.epochs}")

        def state_dict(self) -> dict[str, Any]:
            known = plan.epochs is not None
            return {"plan": plan.digest(batch_size, self.trainer.world_size) if known else "", "drop_last": drop_last}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            if self.trainer.state.fn == "fit" and state != self.state_dict():
                raise InputError(_OTHER_PLAN)

        def train_dataloader(self) -> Any:
            sampler = CurriculumBatchSampler(
                plan, batch_size, drop_last, self.trainer.global_rank, self.trainer.world_size
            )
            sampler.set_epoch(self.trainer.current_epoch)
            # Resumed after an epoch's last batch, Lightning compares the batches done with the next epoch's number,
            # which here is larger, and would take them for the next epoch's.
            progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
            if self.trainer.fit_loop.restarting and self.trainer.current_epoch > self.epoch:
                progress.completed = len(sampler)
            self.epoch = self.trainer.current_epoch
            return CurriculumLoader(dataset, batch_sampler=sampler, **options)

        def val_dataloader(self) -> Any:
            return [] if validation is None else validation

    data = CurriculumData()
    return data


# What a plan would silently replace, or what would undo it: the only value it goes with, and why
_REFUSED: dict[str, tuple[Any, str]] = {
    "max_steps": (-1, "the plan says how many steps there are"),
    "auto_find_batch_size": (False, "batches of another size are another plan"),
    "ignore_data_skip": (False, "a resumed run would begin with the plan's first batches again"),
    "group_by_length": (False, "the plan says which rows make a batch"),
    "train_sampling_strategy": ("random", "the plan says which rows make a batch"),
    "parallelism_config": (None, "every process gets its own share of a step"),
    "batch_sampler": (
        "batch_sampler",
        "the plan says which rows make a batch; plan.compose(apart=duplicate_labels(texts)) keeps duplicates apart",
    ),
}
# What batches and steps are made of: fixed when the trainer is made
_FIXED = ("num_train_epochs", "train_batch_size", "gradient_accumulation_steps", "dataloader_drop_last")


def _check_arguments(arguments: Any) -> None:
    for name, (expected, why) in _REFUSED.items():
        if (value := getattr(arguments, name, expected)) != expected:
            raise InputError(f"args has {name}={value!r}: expected {expected!r}, since {why}")
    if getattr(arguments.accelerator_config, "split_batches", False):
        raise InputError(
            "args has accelerator_config with split_batches=True: expected False, since per_device_train_batch_size "
            "is that of each process"
        )


class CurriculumTrainerMixin:
    """The plan in Hugging Face's `Trainer` and its kin: `class Mine(CurriculumTrainerMixin, Trainer): pass`.

    `Mine(..., args=args, plan=plan)` runs the batches of the plan, whatever the arguments say of shuffling. To the
    trainer the run is a single epoch, so `state.epoch` is the share of the run done; evaluation, saving and logging
    "by epoch" happen at the plan's epochs all the same, and `plan_epoch` tells the present one.

    Parameters
    ----------
    plan
        Fixed in advance and with `epochs`; its rows index the data set, of which it may leave some out.
    scale_loss
        Multiply the training loss by γ of the epoch. Set it to False where γ scales the learning rate (see `lr_factor`)
        or where `compute_loss` uses `plan.intensities(self.plan_epoch, …)` for its terms.

    Raises
    ------
    InputError
        At construction, for what is refused below; at the start of training, where `args` changed in between or the
        checkpoint to resume from is of another plan, accumulation or `dataloader_drop_last`.

    Notes
    -----
    What the arguments of `TrainingArguments` and `SentenceTransformerTrainingArguments` do with a plan:

    - `num_train_epochs`: must be the plan's.
    - `max_steps`, `auto_find_batch_size`, `ignore_data_skip`, `train_sampling_strategy` (formerly `group_by_length`),
      `parallelism_config`, `split_batches` of `accelerator_config`, `batch_sampler` other than the default, a
      dictionary of data sets: refused.
    - `per_device_train_batch_size`, `dataloader_drop_last`: those of the plan's batches on each device.
    - `gradient_accumulation_steps`: a step may hold batches of two epochs, and takes γ of the first.
    - `seed`, `data_seed`, `multi_dataset_batch_sampler`, `dataloader_in_order`, the other settings of
      `accelerator_config`: nothing for training batches, which the plan's own seed decides, on every rank.
    - `dataloader_num_workers` and the other settings of workers, `prompts`, `router_mapping`: as always.
    - `learning_rate`, `learning_rate_mapping`, `lr_scheduler_type`, `warmup_steps` and `warmup_ratio`, also as a share:
      as always, with the plan's number of steps as the total.
    - `eval_strategy`, `save_strategy`, `logging_strategy`: "epoch" is the plan's epoch, and so is `eval_delay` with it;
      `eval_steps`, `save_steps` and `logging_steps` below 1 are shares of the whole run.
    - `resume_from_checkpoint`: goes on with the very next batch.
    """

    plan: Plan
    _own: Any

    def __init__(self, *positional: Any, plan: Plan, scale_loss: bool = True, **options: Any) -> None:
        arguments = options.get("args")
        if arguments is None:
            raise InputError("args=None: expected the TrainingArguments by keyword")
        if arguments.num_train_epochs != plan.epochs:
            raise InputError(
                f"args has num_train_epochs={arguments.num_train_epochs}: expected the plan's {plan.epochs}"
            )
        _check_arguments(arguments)
        self.plan, self._scale_loss = plan, scale_loss
        if scale_loss:
            plan.intensity(1)
        options["args"] = copy.copy(arguments)
        options["args"].num_train_epochs = 1
        super().__init__(*positional, **options)
        self._own = cast(Any, self)
        if self._own.train_dataset is not None:
            check_rows(plan, self._own.train_dataset)
        self._run = WholeRunBatchSampler(
            plan,
            self._own.args.train_batch_size,
            self._own.args.dataloader_drop_last,
            self._own.args.process_index,
            self._own.args.world_size,
        )
        self._fixed = self._settings()
        identity = {name: self._fixed[name] for name in ("gradient_accumulation_steps", "dataloader_drop_last")}
        identity["plan"] = plan.digest(self._run.batch_size, self._run.world_size)
        self._own.add_callback(_epoch_callback(self._run.ends, self._own.args.gradient_accumulation_steps, identity))

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self._own.args, name) for name in _FIXED}

    @property
    def plan_epoch(self) -> int:
        """The plan's epoch (from 1) of the optimiser step under way."""
        return self._run.epoch_of(self._own.state.global_step * self._own.args.gradient_accumulation_steps)

    def get_train_dataloader(self) -> Any:
        """The trainer's own loader, with its data set, collation and workers, but the batches of the plan."""
        _check_arguments(self._own.args)
        if (settings := self._settings()) != self._fixed:
            raise InputError(f"args has {settings}: expected {self._fixed} as when the trainer was made; make another")
        check_rows(self.plan, self._own.train_dataset)
        usual = super().get_train_dataloader()  # type: ignore[misc]
        prepare = require("accelerate.data_loader").prepare_data_loader
        kept = ["collate_fn", "num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "worker_init_fn"]
        options = {name: getattr(usual, name) for name in [*kept, "multiprocessing_context"]}
        loader = require("torch.utils.data").DataLoader(usual.dataset, batch_sampler=self._run, **options)
        loaders = self._own.accelerator._dataloaders
        loaders[:] = [other for other in loaders if other is not usual]
        device = self._own.accelerator.device
        self._train_dataloader = prepare(loader, device, num_processes=1, process_index=0, put_on_device=True)
        return self._train_dataloader

    def num_examples(self, dataloader: Any) -> int:
        """The pairs of the whole run for the training loader, for which it is one epoch; speeds are made from it."""
        if dataloader is not getattr(self, "_train_dataloader", None):
            return cast(int, super().num_examples(dataloader))  # type: ignore[misc]
        size, ranks = self._run.batch_size, self._run.world_size
        # with drop_last every step is full, and without it no step is fuller than that
        return min(self.plan.samples_total(size, ranks), len(self._run) * size * ranks)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **options: Any) -> Any:
        """The trainer's loss, times γ while training."""
        result = super().compute_loss(model, inputs, return_outputs=return_outputs, **options)  # type: ignore[misc]
        if not self._scale_loss or not model.training:
            return result
        gamma = self.plan.intensity(self.plan_epoch)
        return (gamma * result[0], *result[1:]) if return_outputs else gamma * result


def _epoch_callback(ends: list[int], accumulation: int, identity: dict[str, Any]) -> Any:
    """Evaluate, save and log at the plan's epochs where the arguments ask for it.

    Checkpoints hold what identifies the plan, and a training resumed with another one is refused.
    """
    base = require("transformers").TrainerCallback
    exportable = require("transformers.trainer_callback").ExportableState
    epoch_at = {-(-end // accumulation): epoch for epoch, end in enumerate(ends, start=1)}
    last = max(epoch_at)

    class PlanEpochs(base, exportable):  # type: ignore[misc, valid-type]
        def state(self) -> dict[str, Any]:
            return {"args": {}, "attributes": identity}

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            stored = state.stateful_callbacks.get("PlanEpochs", {}).get("attributes")
            if stored != identity:
                raise InputError(f"{_OTHER_PLAN}: {identity}, not {stored}")

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            # the trainer itself saves and logs after the last step, and on_epoch_end follows
            if state.global_step in epoch_at and state.global_step != last:
                control.should_evaluate |= self._evaluates(args, epoch_at[state.global_step])
                control.should_save |= args.save_strategy == "epoch"
                control.should_log |= args.logging_strategy == "epoch"
            return control

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_evaluate |= self._evaluates(args, len(ends))
            return control

        @staticmethod
        def _evaluates(args: Any, epoch: int) -> bool:
            return bool(args.eval_strategy == "epoch" and args.eval_delay <= epoch)

    return PlanEpochs()
