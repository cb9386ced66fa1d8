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
from collections.abc import Mapping
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
    complete iteration; after a break, and on resuming, call the loader's `set_epoch` (from 0).

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

    The trainer must be made with `reload_dataloaders_every_n_epochs=1`, or it would cut growing epochs to the length of
    the first, and with `use_distributed_sampler=False` on several devices; both are checked. For learning-rate
    schedules take `plan.steps_total`, since `trainer.estimated_stepping_batches` multiplies the first epoch.

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
        said above.
    """
    check_rows(plan, dataset)
    lightning = require("lightning")
    loader_class = require("torch.utils.data").DataLoader

    class CurriculumData(lightning.LightningDataModule):  # type: ignore[misc, name-defined]
        def setup(self, stage: str) -> None:
            if stage != "fit":
                return
            trainer = self.trainer
            if trainer.reload_dataloaders_every_n_epochs != 1:
                raise InputError(
                    f"Trainer(reload_dataloaders_every_n_epochs={trainer.reload_dataloaders_every_n_epochs}) would cut "
                    "the growing epochs to the length of the first: expected 1"
                )
            if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
                raise InputError("Trainer(use_distributed_sampler=True) would replace the plan: expected False")
            if plan.epochs is not None and trainer.max_epochs != plan.epochs:
                raise InputError(f"Trainer(max_epochs={trainer.max_epochs}): expected the plan's {plan.epochs}")

        def train_dataloader(self) -> Any:
            sampler = CurriculumBatchSampler(
                plan, batch_size, drop_last, self.trainer.global_rank, self.trainer.world_size
            )
            sampler.set_epoch(self.trainer.current_epoch)
            return loader_class(dataset, batch_sampler=sampler, **options)

        def val_dataloader(self) -> Any:
            return [] if validation is None else validation

    return CurriculumData()


# What a plan would silently replace, or what would undo it: the only value it goes with, and why
_REFUSED: dict[str, tuple[Any, str]] = {
    "max_steps": (-1, "the plan says how many steps there are"),
    "auto_find_batch_size": (False, "batches of another size are another plan"),
    "ignore_data_skip": (False, "a resumed run would begin with the plan's first batches again"),
    "group_by_length": (False, "the plan says which rows make a batch"),
    "train_sampling_strategy": ("random", "the plan says which rows make a batch"),
    "batch_sampler": (
        "batch_sampler",
        "the plan says which rows make a batch; plan.compose(apart=duplicate_labels(texts)) keeps duplicates apart",
    ),
}


class CurriculumTrainerMixin:
    """The plan in Hugging Face's `Trainer` and its kin: `class Mine(CurriculumTrainerMixin, Trainer): pass`.

    `Mine(..., args=args, plan=plan)` runs the batches of the plan, whatever the arguments say of shuffling. To the
    trainer the run is a single epoch, so `state.epoch` is the share of the run done; evaluation, saving and logging
    "by epoch" happen at the plan's epochs all the same, and `plan_epoch` tells the present one.

    Parameters
    ----------
    plan
        Its number of epochs must be that of `args.num_train_epochs`; what else of `args` would act on sampling, steps
        or batch sizes (max_steps, auto_find_batch_size, ignore_data_skip, group_by_length, train_sampling_strategy,
        and batch_sampler of sentence-transformers) must be left alone. Learning-rate schedules see the plan's steps.
        A dictionary of data sets is refused.
    scale_loss
        Multiply the training loss by γ of the epoch. Set it to False where γ scales the learning rate (see `lr_factor`)
        or where `compute_loss` uses `plan.intensities(self.plan_epoch, …)` for its terms.
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
        for name, (expected, why) in _REFUSED.items():
            if (value := getattr(arguments, name, expected)) != expected:
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
        self._run = WholeRunBatchSampler(
            plan,
            self._own.args.train_batch_size,
            self._own.args.dataloader_drop_last,
            self._own.args.process_index,
            self._own.args.world_size,
        )
        digest = plan.digest(self._run.batch_size, self._run.world_size)
        accumulation = self._own.args.gradient_accumulation_steps
        self._own.add_callback(_epoch_callback(self._run.ends[:-1], accumulation, digest))

    @property
    def plan_epoch(self) -> int:
        """The plan's epoch (from 1) of the optimiser step under way."""
        return self._run.epoch_of(self._own.state.global_step * self._own.args.gradient_accumulation_steps)

    def get_train_dataloader(self) -> Any:
        """The trainer's own loader, with its data set, collation and workers, but the batches of the plan."""
        usual = super().get_train_dataloader()  # type: ignore[misc]
        prepare = require("accelerate.data_loader").prepare_data_loader
        kept = ("collate_fn", "num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "worker_init_fn")
        options = {name: getattr(usual, name) for name in kept}
        loader = require("torch.utils.data").DataLoader(usual.dataset, batch_sampler=self._run, **options)
        loaders = self._own.accelerator._dataloaders
        loaders[:] = [other for other in loaders if other is not usual]
        device = self._own.accelerator.device
        self._train_dataloader = prepare(loader, device, num_processes=1, process_index=0, put_on_device=True)
        return self._train_dataloader

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **options: Any) -> Any:
        """The trainer's loss, times γ while training."""
        result = super().compute_loss(model, inputs, return_outputs=return_outputs, **options)  # type: ignore[misc]
        if not self._scale_loss or not model.training:
            return result
        gamma = self.plan.intensity(self.plan_epoch)
        return (gamma * result[0], *result[1:]) if return_outputs else gamma * result


def _epoch_callback(ends: list[int], accumulation: int, digest: str) -> Any:
    """Evaluate, save and log at the plan's epochs where the arguments ask for it; the trainer does the last itself.

    Checkpoints hold the plan's digest, and a training resumed with another plan is refused.
    """
    base = require("transformers").TrainerCallback
    exportable = require("transformers.trainer_callback").ExportableState
    steps = {-(-end // accumulation) for end in ends}

    class PlanEpochs(base, exportable):  # type: ignore[misc, valid-type]
        def state(self) -> dict[str, Any]:
            return {"args": {}, "attributes": {"plan": digest}}

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            stored = state.stateful_callbacks.get("PlanEpochs", {}).get("attributes", {}).get("plan")
            if stored != digest:
                raise InputError(
                    "the checkpoint to resume from belongs to another plan: expected the plan it began with"
                )

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if state.global_step in steps:
                control.should_evaluate |= args.eval_strategy == "epoch"
                control.should_save |= args.save_strategy == "epoch"
                control.should_log |= args.logging_strategy == "epoch"
            return control

    return PlanEpochs()
