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
        The plan needs feedback.
    """
    prepare = require("accelerate.data_loader").prepare_data_loader
    refuse_feedback(plan)
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
        The plan needs feedback; or, at the start, the trainer is made otherwise than said above.
    """
    refuse_feedback(plan)
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


class CurriculumTrainerMixin:
    """The plan in Hugging Face's `Trainer` and its kin: `class Mine(CurriculumTrainerMixin, Trainer): pass`.

    `Mine(..., args=args, plan=plan)` runs the batches of the plan, whatever the arguments say of shuffling. To the
    trainer the run is a single epoch, so `state.epoch` is the share of the run done; evaluation, saving and logging
    "by epoch" happen at the plan's epochs all the same, and `plan_epoch` tells the present one.

    Parameters
    ----------
    plan
        Its number of epochs must be that of `args.num_train_epochs`.
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
        if arguments.max_steps > 0 or arguments.num_train_epochs != plan.epochs:
            raise InputError(
                f"args has num_train_epochs={arguments.num_train_epochs} and max_steps={arguments.max_steps}: expected "
                f"the plan's {plan.epochs} epochs and no max_steps"
            )
        self.plan, self._scale_loss = plan, scale_loss
        if scale_loss:
            plan.intensity(1)
        options["args"] = copy.copy(arguments)
        options["args"].num_train_epochs = 1
        super().__init__(*positional, **options)
        self._own = cast(Any, self)
        self._run = WholeRunBatchSampler(
            plan,
            self._own.args.train_batch_size,
            self._own.args.dataloader_drop_last,
            self._own.args.process_index,
            self._own.args.world_size,
        )
        self._own.add_callback(_epoch_callback(self._run.ends[:-1], self._own.args.gradient_accumulation_steps))

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


def _epoch_callback(ends: list[int], accumulation: int) -> Any:
    """Evaluate, save and log at the plan's epochs where the arguments ask for it; the trainer does the last itself."""
    base = require("transformers").TrainerCallback
    steps = {-(-end // accumulation) for end in ends}

    class PlanEpochs(base):  # type: ignore[misc, valid-type]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if state.global_step in steps:
                control.should_evaluate |= args.eval_strategy == "epoch"
                control.should_save |= args.save_strategy == "epoch"
                control.should_log |= args.logging_strategy == "epoch"
            return control

    return PlanEpochs()
