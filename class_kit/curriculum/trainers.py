"""A plan inside other training loops: Hugging Face, sentence-transformers, Lightning, accelerate.

A plain loop needs none of this: `DataLoader(dataset, batch_sampler=CurriculumBatchSampler(plan, 64))` and one call of
`set_epoch` per epoch. These libraries assume epochs of equal length, and those of a curriculum grow:

- Hugging Face's and sentence-transformers' trainers measure the first epoch and cut later ones to its length, so they
  get the whole training as one long epoch.
- Lightning measures the loader again only when it reloads it, so it has to reload in every epoch.
- accelerate hands out whole batches to the ranks and repeats some to even them out, so every rank gets its own share
  from the plan instead.

Each library is an optional extra, imported when first used.
"""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

from class_kit.curriculum.plan import EpochPlan
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


_OTHER_PLAN = "the checkpoint to resume from belongs to another plan: expected the plan that it began with"


def check_rows(plan: EpochPlan, dataset: Any) -> None:
    """Refuse, with an InputError, a plan that needs feedback or a data set that lacks rows of the plan."""
    refuse_feedback(plan)
    last = int(plan.order.max())
    if isinstance(dataset, Mapping) or not hasattr(dataset, "__len__") or len(dataset) <= last:
        size = len(dataset) if hasattr(dataset, "__len__") else "no length"
        raise InputError(
            f"the data set is a {type(dataset).__name__} of {size}: expected one that can be indexed by the plan's "
            f"rows, up to {last}"
        )


def accelerate_loader(
    accelerator: Any, dataset: Any, plan: EpochPlan, batch_size: int, drop_last: bool = False, **options: Any
) -> Any:
    """A loader for one process of an `accelerate` run: its share of every step, on the accelerator's device.

    It is already prepared: do not pass it to `accelerator.prepare`. Every complete iteration advances the epoch; after
    a break, and to resume, call the loader's `set_epoch` (from 0), and within an epoch set `loader.batch_sampler.skip`
    to the number of batches done. A prepared learning-rate scheduler advances once per process at every step: create it
    for `plan.steps_total(batch_size, processes) * processes` steps.

    Parameters
    ----------
    accelerator
        The `accelerate.Accelerator` of this process.
    dataset
        A map-style data set, indexed by the plan's rows.
    plan, batch_size, drop_last
        As of `CurriculumBatchSampler`; `batch_size` is that of each process.
    options
        Keyword arguments of `DataLoader` (collate_fn, num_workers …).

    Raises
    ------
    InputError
        The plan needs feedback, or rows that the data set lacks.
    """
    require("accelerate")
    check_rows(plan, dataset)
    sampler = CurriculumBatchSampler(plan, batch_size, drop_last, accelerator.process_index, accelerator.num_processes)
    return _prepared(accelerator, dataset, sampler, options)


def _prepared(accelerator: Any, dataset: Any, sampler: CurriculumBatchSampler, options: dict[str, Any]) -> Any:
    """A loader of this process's batches; accelerate only moves them to the device."""
    prepare = require("accelerate.data_loader").prepare_data_loader
    loader = require("torch.utils.data").DataLoader(dataset, batch_sampler=sampler, **options)
    return prepare(loader, accelerator.device, num_processes=1, process_index=0, put_on_device=True)


def lightning_data(
    dataset: Any, plan: EpochPlan, batch_size: int, drop_last: bool = False, validation: Any = None, **options: Any
) -> Any:
    """A `LightningDataModule` that gives each of Lightning's epochs the plan's rows, and every rank its share.

    It works with `lightning.pytorch` and `pytorch_lightning`, whichever is imported. The trainer needs
    `reload_dataloaders_every_n_epochs=1`, or it would cut growing epochs to the length of the first, and
    `use_distributed_sampler=False` on several devices; both are checked. For learning-rate schedules use
    `plan.steps_total`, since `trainer.estimated_stepping_batches` multiplies the length of the first epoch. With
    `accumulate_grad_batches`, the last step of an epoch may hold fewer batches.

    `fit(ckpt_path=...)` resumes exactly, also within an epoch. A checkpoint of another plan is refused, and so is one
    saved between two optimizer steps: Lightning does not save the gradients accumulated so far.

    Parameters
    ----------
    dataset
        A map-style data set, indexed by the plan's rows.
    plan, batch_size, drop_last
        As of `CurriculumBatchSampler`; `batch_size` is that of each device.
    validation
        A loader (or loaders) for validation, if any.
    options
        Keyword arguments of `DataLoader`.

    Raises
    ------
    InputError
        The plan needs feedback, or rows that the data set lacks; at the start of the training, if the trainer is not
        set up as described, or the checkpoint cannot be resumed from.
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
                    f"the checkpoint to resume from was saved after batch {done} of an epoch, between two optimizer "
                    f"steps of accumulate_grad_batches={trainer.accumulate_grad_batches}: it lacks the gradients "
                    "accumulated so far; expected one saved after a step"
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


# Arguments that conflict with a plan: the only value allowed, and why
_REFUSED: dict[str, tuple[Any, str]] = {
    "max_steps": (-1, "the plan sets the number of steps"),
    "auto_find_batch_size": (False, "batches of another size are another plan"),
    "ignore_data_skip": (False, "a resumed training would start again with the plan's first batches"),
    "group_by_length": (False, "the plan sets which rows form a batch"),
    "train_sampling_strategy": ("random", "the plan sets which rows form a batch"),
    "parallelism_config": (None, "every process gets its own share of a step"),
    "eval_delay": (0, "the plan's epochs are one epoch of the trainer"),
    "split_batches": (False, "per_device_train_batch_size is the size on each process"),
    "batch_sampler": (
        "batch_sampler",
        "the plan sets which rows form a batch; EpochPlan(..., apart=duplicate_labels(texts)) keeps duplicates in "
        "different batches",
    ),
}


class CurriculumTrainerMixin:
    """The plan in Hugging Face's `Trainer` and its subclasses: `class Mine(CurriculumTrainerMixin, Trainer): pass`.

    `Mine(..., args=args, plan=plan)` trains on the batches of the plan, whatever the arguments say about shuffling. To
    the trainer the training is one epoch, so `state.epoch` is the share of it that is done; evaluation, saving and
    logging "by epoch" still happen at the plan's epochs, and `plan_epoch` is the current one.

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
        At construction, for arguments that conflict with the plan, or a data set that lacks rows of it; at the start of
        training, for a checkpoint of another plan, accumulation or `dataloader_drop_last`.

    Notes
    -----
    How a plan changes `TrainingArguments` and `SentenceTransformerTrainingArguments`:

    - `num_train_epochs`: must be the plan's.
    - `max_steps`, `auto_find_batch_size`, `ignore_data_skip`, `train_sampling_strategy` (formerly `group_by_length`),
      `eval_delay`, `parallelism_config`, `split_batches` of `accelerator_config`, `batch_sampler` other than the
      default, a dictionary of data sets: refused.
    - `per_device_train_batch_size`, `dataloader_drop_last`: apply to the plan's batches on each device.
    - `gradient_accumulation_steps`: a step may hold batches of two epochs, and takes γ of the first.
    - `seed`, `data_seed`, `multi_dataset_batch_sampler`, `dataloader_in_order`, the other settings of
      `accelerator_config`: no effect on training batches, which the plan's own seed decides, on every rank.
    - `dataloader_num_workers` and the other settings of workers, `prompts`, `router_mapping`: as always.
    - `learning_rate`, `learning_rate_mapping`, `lr_scheduler_type`, `warmup_steps` and `warmup_ratio`, also as a share:
      as always, with the plan's number of steps as the total.
    - `eval_strategy`, `save_strategy`, `logging_strategy`: "epoch" is the plan's epoch; `eval_steps`, `save_steps` and
      `logging_steps` below 1 are shares of the whole training.
    - `resume_from_checkpoint`: goes on with the next batch; a checkpoint of another plan is refused.
    """

    plan: EpochPlan
    _own: Any

    def __init__(self, *positional: Any, plan: EpochPlan, scale_loss: bool = True, **options: Any) -> None:
        arguments = options.get("args")
        if arguments is None:
            raise InputError("args=None: expected the TrainingArguments by keyword")
        for name, (expected, why) in (_REFUSED | {"num_train_epochs": (plan.epochs, "the plan has as many")}).items():
            holder = arguments.accelerator_config if name == "split_batches" else arguments
            if (value := getattr(holder, name, expected)) != expected:
                raise InputError(f"args has {name}={value!r}: expected {expected!r}, since {why}")
        self.plan, self._scale_loss = plan, scale_loss
        if scale_loss:
            plan.intensity(1)
        options["args"] = copy.copy(arguments)
        options["args"].num_train_epochs = 1
        super().__init__(*positional, **options)
        self._own = cast(Any, self)
        if self._own.train_dataset is not None:
            check_rows(plan, self._own.train_dataset)
        args = self._own.args
        self._run = WholeRunBatchSampler(
            plan, args.train_batch_size, args.dataloader_drop_last, args.process_index, args.world_size
        )
        identity = {name: getattr(args, name) for name in ("gradient_accumulation_steps", "dataloader_drop_last")}
        identity["plan"] = plan.digest(self._run.batch_size, self._run.world_size)
        self._own.add_callback(_epoch_callback(self._run.ends, identity))

    @property
    def plan_epoch(self) -> int:
        """The plan's epoch (from 1) of the current optimiser step."""
        return self._run.epoch_of(self._own.state.global_step * self._own.args.gradient_accumulation_steps)

    def get_train_dataloader(self) -> Any:
        """The trainer's own loader, with its data set, collation and workers, but the batches of the plan."""
        check_rows(self.plan, self._own.train_dataset)
        usual = super().get_train_dataloader()  # type: ignore[misc]
        kept = ["collate_fn", "num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "worker_init_fn"]
        options = {name: getattr(usual, name) for name in [*kept, "multiprocessing_context"]}
        loaders = self._own.accelerator._dataloaders
        loaders[:] = [other for other in loaders if other is not usual]
        self._train_dataloader = _prepared(self._own.accelerator, usual.dataset, self._run, options)
        return self._train_dataloader

    def num_examples(self, dataloader: Any) -> int:
        """The pairs of the whole training for the training loader, from which the trainer computes its speed."""
        if dataloader is not getattr(self, "_train_dataloader", None):
            return cast(int, super().num_examples(dataloader))  # type: ignore[misc]
        return self.plan.samples_total(self._run.batch_size, self._run.world_size)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **options: Any) -> Any:
        """The trainer's loss, times γ while training."""
        result = super().compute_loss(model, inputs, return_outputs=return_outputs, **options)  # type: ignore[misc]
        if not self._scale_loss or not model.training:
            return result
        gamma = self.plan.intensity(self.plan_epoch)
        return (gamma * result[0], *result[1:]) if return_outputs else gamma * result


def _epoch_callback(ends: list[int], identity: dict[str, Any]) -> Any:
    """Evaluate, save and log at the plan's epochs where the arguments ask for it.

    Checkpoints hold what identifies the plan, and a training resumed with another one is refused.
    """
    base = require("transformers").TrainerCallback
    exportable = require("transformers.trainer_callback").ExportableState
    # the trainer itself does so after the last step
    last, *others = [-(-end // identity["gradient_accumulation_steps"]) for end in reversed(ends)]
    steps = set(others) - {last}

    class PlanEpochs(base, exportable):  # type: ignore[misc, valid-type]
        def state(self) -> dict[str, Any]:
            return {"args": {}, "attributes": identity}

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            stored = state.stateful_callbacks.get("PlanEpochs", {}).get("attributes")
            if stored != identity:
                raise InputError(f"{_OTHER_PLAN}: {identity}, not {stored}")

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if state.global_step in steps:
                control.should_evaluate |= args.eval_strategy == "epoch"
                control.should_save |= args.save_strategy == "epoch"
                control.should_log |= args.logging_strategy == "epoch"
            return control

    return PlanEpochs()
