"""The plan inside real trainers: the ids that reach the model are recorded and compared with the plan.

Every library runs in an interpreter of its own, so that its import, threads and warnings stay out of the suite.
"""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from class_kit.curriculum import EpochPlan, LinearSchedule
from class_kit.curriculum.feedback import SelfPacedPlan
from class_kit.curriculum.trainers import WholeRunBatchSampler, accelerate_loader, lightning_data, require
from class_kit.errors import InputError
from tests.faulty_places import free_port

ROWS, EPOCHS, BATCH = 45, 4, 4
COMMON = """
import json, sys
from class_kit.curriculum import CurriculumBatchSampler
from tests.test_trainers import plan_of
plan = plan_of()
def save(value):
    with open(sys.argv[1], "w") as file:
        json.dump(value, file)
def refused(call):
    try:
        call()
    except (ValueError, RuntimeError) as error:
        return str(error)
"""


def plan_of(intensity: str = "inverse", **options: Any) -> EpochPlan:
    order = np.random.default_rng(3).permutation(ROWS)
    return EpochPlan(order, LinearSchedule(0.25, 0.1875), intensity, seed=11, epochs=EPOCHS, **options)


def expected(rank: int = 0, world_size: int = 1) -> list[list[list[int]]]:
    plan = plan_of()
    return [
        [batch.tolist() for batch in plan.batches(epoch, BATCH, rank, world_size)] for epoch in range(1, EPOCHS + 1)
    ]


def start(script: str, out: Path, **variables: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    root = str(Path(__file__).resolve().parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", COMMON + textwrap.dedent(script), str(out)],
        env=environment | {"PYTHONPATH": root} | variables,
        cwd=out.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def result(process: subprocess.Popen[str], out: Path) -> Any:
    text, _ = process.communicate(timeout=240)
    assert process.returncode == 0, text[-4000:]
    return json.loads(out.read_text())


def run(script: str, tmp_path: Path, **variables: str) -> Any:
    return result(start(script, tmp_path / "out.json", **variables), tmp_path / "out.json")


def assert_refused(reasons: dict[str, str | None]) -> None:
    """Each key is a pattern that the message of a refusal holds."""
    for words, reason in reasons.items():
        assert re.search(words, reason or "not refused"), reason


def needs(*modules: str) -> None:
    for module in modules:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: an optional extra")


def test_data_loader_with_and_without_workers(tmp_path: Path) -> None:
    script = """
    import torch
    from torch.utils.data import DataLoader, Dataset
    class Rows(Dataset):
        def __len__(self):
            return 45
        def __getitem__(self, index):
            assert type(index) is int
            return torch.tensor(index)
    seen = {}
    for workers, persistent in ((0, False), (2, False), (2, True)):
        sampler = CurriculumBatchSampler(plan, batch_size=4)
        loader = DataLoader(Rows(), batch_sampler=sampler, num_workers=workers, persistent_workers=persistent)
        epochs = []
        for epoch in range(4):
            sampler.set_epoch(epoch)
            epochs.append([batch.tolist() for batch in loader])
            assert len(epochs[-1]) == len(loader)
        assert "set_epoch" in (refused(lambda: next(iter(loader))) or "a second iteration went through")
        seen[f"{workers} {persistent}"] = epochs
    save(seen)
    """
    seen = run(script, tmp_path)
    assert len(seen) == 3
    for epochs in seen.values():
        assert epochs == expected()


HUGGING_FACE = """
    import torch, transformers
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from class_kit.curriculum.trainers import CurriculumTrainerMixin
    class Tiny(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.seen = torch.nn.Linear(1, 1), []
        def forward(self, ids, **_):
            if self.training:
                self.seen.append(ids.tolist())
            return {"loss": ((self.layer(ids[:, None].float() / 45) - 1) ** 2).mean()}
    class Mine(CurriculumTrainerMixin, Trainer):
        pass
    class Watch(TrainerCallback):
        def __init__(self):
            self.rates, self.evaluated = [], []
        def on_step_end(self, args, state, control, **kwargs):
            self.rates.append(kwargs["lr_scheduler"].get_last_lr()[0])
        def on_evaluate(self, args, state, control, **kwargs):
            self.evaluated.append(state.global_step)
    rows = [{"ids": torch.tensor(index)} for index in range(45)]
    def make(plan=plan, scale_loss=True, data=rows, save_strategy="no", **more):
        torch.manual_seed(0)
        model, watch = Tiny(), Watch()
        arguments = TrainingArguments(
            output_dir="hf", num_train_epochs=4, per_device_train_batch_size=4, learning_rate=0.1, report_to="none",
            lr_scheduler_type="linear", eval_strategy="epoch", save_strategy=save_strategy,
            use_cpu=True, disable_tqdm=True,
            logging_strategy="epoch", remove_unused_columns=False, max_grad_norm=0.0, optim="sgd", **more)
        trainer = Mine(model=model, args=arguments, train_dataset=data, eval_dataset=rows, plan=plan,
                       callbacks=[watch], scale_loss=scale_loss)
        return trainer, model, watch
"""


def test_hugging_face_trainer(tmp_path: Path) -> None:
    needs("accelerate")
    script = (
        HUGGING_FACE
        + """
    def trained(resume=None, **options):
        made = make(**options)
        made[0].train(resume_from_checkpoint=resume)
        return made
    trainer, model, watch = trained()
    other, third = (trained(**each)[1] for each in ({"plan": plan_of("constant")}, {"scale_loss": False}))
    fourth = trained(dataloader_num_workers=2, dataloader_persistent_workers=True)[1]
    accumulated, fifth, _ = trained(gradient_accumulation_steps=2)
    sixth = trained(save_strategy="steps", save_steps=7)[1]
    second = trained("hf/checkpoint-14")[1]
    same = bool(torch.equal(sixth.layer.weight, second.layer.weight))
    resume = lambda **options: trained("hf/checkpoint-14", **options)
    reasons = {
        "another plan": refused(lambda: resume(plan=plan_of("sigmoid"))),
        "'gradient_accumulation_steps': 2": refused(lambda: resume(gradient_accumulation_steps=2)),
        "'dataloader_drop_last': True": refused(lambda: resume(dataloader_drop_last=True)),
        "auto_find_batch_size=True": refused(lambda: make(auto_find_batch_size=True)),
        "ignore_data_skip=True": refused(lambda: make(ignore_data_skip=True)),
        "max_steps=5": refused(lambda: make(max_steps=5)),
        "eval_delay=2": refused(lambda: make(eval_delay=2)),
        "split_batches=True": refused(lambda: make(accelerator_config={"split_batches": True})),
        "list of 40": refused(lambda: make(data=rows[:40])),
        "dict of 1": refused(lambda: make(data={"a": rows})),
    }
    speed = make()[0].train().metrics
    save({"dropping": trained(dataloader_drop_last=True)[1].seen,
          "pairs": speed["train_samples_per_second"] * speed["train_runtime"], "reasons": reasons,
          "resumed": second.seen, "same": same,
          "seen": model.seen, "rates": watch.rates, "evaluated": watch.evaluated, "plan_epoch": trainer.plan_epoch,
          "steps": trainer.state.max_steps, "workers": fourth.seen, "accumulated": fifth.seen,
          "accumulated_steps": accumulated.state.global_step, "weights": model.layer.weight.item(),
          "plain": other.layer.weight.item(), "loose": third.layer.weight.item()})
    """
    )
    seen = run(script, tmp_path)
    batches = [batch for epoch in expected() for batch in epoch]
    assert seen["seen"] == seen["workers"] == seen["accumulated"] == batches
    total = plan_of().steps_total(BATCH)
    assert seen["steps"] == total
    assert seen["accumulated_steps"] == -(-total // 2)
    assert seen["rates"][-1] == pytest.approx(0.0, abs=1e-12)
    assert all(rate > 0 for rate in seen["rates"][:-1])
    assert seen["evaluated"] == list(np.cumsum([row["steps"] for row in plan_of().table(BATCH)]))
    assert seen["plan_epoch"] == EPOCHS
    assert seen["weights"] != seen["plain"]
    assert seen["loose"] == seen["plain"]
    assert seen["dropping"] == [batch for batch in batches if len(batch) == BATCH]
    assert seen["pairs"] == pytest.approx(sum(map(len, batches)), rel=1e-2)
    assert seen["resumed"] == batches[14:]
    assert seen["same"]
    assert_refused(seen["reasons"])


def test_sentence_transformers_trainer(tmp_path: Path) -> None:
    needs("sentence_transformers", "datasets", "accelerate")
    script = """
    import torch
    from datasets import Dataset, DatasetDict
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers
    from class_kit.curriculum.trainers import CurriculumTrainerMixin
    words = {"[UNK]": 0} | {f"w{index}": index + 1 for index in range(45)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=4)], device="cpu")
    class Record(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.seen = model, []
        def forward(self, features, labels=None):
            features = list(features)
            self.seen.append((features[0]["input_ids"] - 1).tolist())
            left, right = (self.model(one)["sentence_embedding"] for one in features)
            return torch.nn.functional.cross_entropy(left @ right.T, torch.arange(len(left)))
    class Mine(CurriculumTrainerMixin, SentenceTransformerTrainer):
        pass
    data = Dataset.from_dict({"text": [f"w{i}" for i in range(45)], "smiles": [f"w{i}" for i in range(45)]})
    arguments = SentenceTransformerTrainingArguments(
        output_dir="st", num_train_epochs=4, per_device_train_batch_size=4, report_to="none", use_cpu=True,
        save_strategy="no", disable_tqdm=True)
    loss = Record()
    trainer = Mine(model=model, args=arguments, train_dataset=data, loss=loss, plan=plan)
    trainer.train()
    reasons = {}
    for words, sampler, rows, losses in (
        ("batch_sampler='no_duplicates'.* keeps duplicates in different", "no_duplicates", data, loss),
        ("is a DatasetDict of 2", "batch_sampler", DatasetDict({"a": data, "b": data}), {"a": loss, "b": loss}),
    ):
        arguments.batch_sampler = sampler
        reasons[words] = refused(lambda: Mine(model=model, args=arguments, train_dataset=rows, loss=losses, plan=plan))
    save({"seen": loss.seen, "steps": trainer.state.max_steps, "reasons": reasons})
    """
    seen = run(script, tmp_path)
    assert seen["seen"] == [batch for epoch in expected() for batch in epoch]
    assert seen["steps"] == plan_of().steps_total(BATCH)
    assert_refused(seen["reasons"])


LIGHTNING = """
    import glob, os
    import torch
    import LIBRARY as lightning
    from class_kit.curriculum.trainers import lightning_data
    class Tiny(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.seen = torch.nn.Linear(1, 1), [[] for _ in range(4)]
        def training_step(self, batch, index):
            self.seen[self.current_epoch].append(batch.long().tolist())
            return (self.layer(batch[:, None] / 45) - 1).square().mean()
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01)
    rows = [torch.tensor(float(index)) for index in range(45)]
    def fit(ckpt_path=None, folder=None, every=1, plan=plan, workers=0, callbacks=(), **options):
        if folder:
            save = lightning.callbacks.ModelCheckpoint(folder, save_top_k=-1, every_n_train_steps=every)
            callbacks = [*callbacks, save]
        trainer = lightning.Trainer(**{"max_epochs": 4, "accelerator": "cpu", "devices": 1, "logger": False,
            "enable_checkpointing": bool(callbacks), "callbacks": list(callbacks), "enable_progress_bar": False,
            "enable_model_summary": False, "reload_dataloaders_every_n_epochs": 1} | options)
        model = Tiny()
        data = lightning_data(rows, plan, batch_size=4, num_workers=workers)
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
        return model, trainer
    def resumed(folder, whole, **options):
        "Of every checkpoint: the step, the batches that a training resumed from it sees, and whether it ends equal."
        found = []
        for path in glob.glob(folder + "/*.ckpt"):
            model, _ = fit(path, **options)
            step = torch.load(path, weights_only=False)["global_step"]
            found.append([step, model.seen, torch.equal(model.layer.weight, whole.layer.weight)])
        return sorted(found)
"""


def test_lightning_trainer_of_its_older_package(tmp_path: Path) -> None:
    needs("pytorch_lightning")
    script = """
    model, trainer = fit(folder="one", every=3)
    class Half(lightning.Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.save_checkpoint(f"half-{trainer.fit_loop.total_batch_idx}.ckpt")
    fit(accumulate_grad_batches=2, callbacks=[Half()])
    first = glob.glob("one/*step=3.ckpt")[0]
    save({"seen": model.seen, "steps": trainer.global_step, "resumed": resumed("one", model),
          "fast": fit(fast_dev_run=True)[0].seen[0],
          "reasons": {
              "reload_dataloaders_every_n_epochs=0": refused(lambda: fit(reload_dataloaders_every_n_epochs=0)),
              "max_epochs=5": refused(lambda: fit(max_epochs=5)),
              "another plan": refused(lambda: fit(first, plan=plan_of("sigmoid"))),
              "after batch 3 of an epoch": refused(lambda: fit("half-2.ckpt", accumulate_grad_batches=2)),
          }})
    """
    seen = run(LIGHTNING.replace("LIBRARY", "pytorch_lightning") + script, tmp_path)
    assert seen["seen"] == expected()
    assert seen["steps"] == plan_of().steps_total(BATCH)
    assert seen["fast"] == expected()[0][:1]
    assert_refused(seen["reasons"])
    check_resumed(seen["resumed"], range(3, seen["steps"] + 1, 3))


# workers of the loader, batches to a step by epoch, steps from one checkpoint to the next
RESUMED = [(0, [1] * 4, 1), (2, [1] * 4, 6), (0, [2] * 4, 1), (2, [3] * 4, 4), (0, [1, 1, 2, 3], 1)]


def test_lightning_resumes_exactly(tmp_path: Path) -> None:
    needs("lightning")
    script = f"""
    found = []
    for number, (workers, accumulation, every) in enumerate({RESUMED}):
        scheduler = lightning.callbacks.GradientAccumulationScheduler(dict(enumerate(accumulation)))
        same = len(set(accumulation)) == 1
        options = {{"accumulate_grad_batches": accumulation[0]}} if same else {{"callbacks": [scheduler]}}
        model, trainer = fit(folder=str(number), every=every, workers=workers, **options)
        again = resumed(str(number), model, workers=workers, **options)
        found.append([trainer.global_step, model.seen, again])
    save(found)
    """
    seen = run(LIGHTNING.replace("LIBRARY", "lightning.pytorch") + script, tmp_path)
    for (steps, batches, resumed), (_, accumulation, every) in zip(seen, RESUMED, strict=True):
        assert batches == expected()
        check_resumed(resumed, range(every, steps + 1, every), accumulation)


def check_resumed(resumed: list, steps: range, accumulation: Sequence[int] = (1, 1, 1, 1)) -> None:
    """A training resumed after an optimiser step sees what follows it in the plan, and ends as if never stopped."""
    ends = []  # of every optimiser step: its epoch and the batches of the epoch up to it
    for epoch, (batches, of_step) in enumerate(zip(expected(), accumulation, strict=True)):
        ends += [(epoch, min(at, len(batches))) for at in range(of_step, len(batches) + of_step, of_step)]
    assert [step for step, _, _ in resumed] == list(steps)
    for step, seen, equal in resumed:
        at, done = ends[step - 1]
        left = [
            batches[done:] if epoch == at else batches if epoch > at else [] for epoch, batches in enumerate(expected())
        ]
        assert seen == left
        assert equal


def test_accelerate_with_two_processes(tmp_path: Path) -> None:
    needs("accelerate")
    script = """
    import torch
    from accelerate import Accelerator
    from class_kit.curriculum.trainers import accelerate_loader
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.01))
    loader = accelerate_loader(accelerator, [torch.tensor(index) for index in range(45)], plan, batch_size=4)
    epochs = []
    for _ in range(4):
        epochs.append([])
        for ids in loader:
            epochs[-1].append(ids.tolist())
            accelerator.backward(model(ids[:, None].float() / 45).square().mean())
            optimizer.step()
            optimizer.zero_grad()
    loader.set_epoch(2)
    loader.batch_sampler.skip = 3
    rest = [ids.tolist() for ids in loader]
    save({"seen": epochs, "rest": rest, "rank": accelerator.process_index,
          "weight": accelerator.unwrap_model(model).weight.item()})
    accelerator.end_training()
    """
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    shared |= {"ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo"}
    outs = [tmp_path / f"{rank}.json" for rank in range(2)]
    processes = [start(script, out, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank, out in enumerate(outs)]
    seen = [result(process, out) for process, out in zip(processes, outs, strict=True)]
    assert [one["rank"] for one in seen] == [0, 1]
    assert seen[0]["weight"] == seen[1]["weight"]
    for rank, one in enumerate(seen):
        assert one["seen"] == expected(rank, world_size=2)
        assert one["rest"] == expected(rank, world_size=2)[2][3:]
    for epoch in range(EPOCHS):
        union = [row for one in seen for batch in one["seen"][epoch] for row in batch]
        assert sorted(union) == sorted(plan_of().rows(epoch + 1).tolist())


def test_a_whole_run_refuses_a_plan_that_must_be_told_something() -> None:
    plan = plan_of(hardness=lambda _: 0.5, line=np.arange(ROWS), refresh=1)
    with pytest.raises(InputError, match="needs vectors from the training"):
        WholeRunBatchSampler(plan, BATCH)
    follower = SelfPacedPlan(np.full(20, np.nan), LinearSchedule(0.5, 0.5), epochs=2)
    with pytest.raises(InputError, match="needs losses"):
        WholeRunBatchSampler(follower, BATCH)
    for make in (partial(accelerate_loader, None, [0]), partial(lightning_data, [0])):
        with pytest.raises(InputError, match="needs vectors from the training"):
            make(plan, BATCH)


def test_whole_run_is_the_plan_in_succession() -> None:
    plan = plan_of()
    sampler = WholeRunBatchSampler(plan, BATCH)
    assert list(sampler) == [batch for epoch in expected() for batch in epoch]
    assert len(sampler) == plan.steps_total(BATCH)
    with pytest.raises(RuntimeError, match="set_epoch"):
        next(iter(sampler))
    sampler.set_epoch(0)
    iter(sampler)
    assert next(iter(sampler)) == expected()[0][0]
    steps = [row["steps"] for row in plan.table(BATCH)]
    assert [sampler.epoch_of(batch) for batch in range(len(sampler))] == list(np.repeat([1, 2, 3, 4], steps))


@pytest.mark.parametrize("name", ["lightning", "accelerate"])
def test_a_missing_library_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.data_loader", None)
    rows = list(range(ROWS))
    call = partial(lightning_data, rows) if name == "lightning" else partial(accelerate_loader, None, rows)
    with pytest.raises(ImportError, match=rf"^{name}.* is needed.*class-kit\[trainers\]"):
        call(plan_of(), BATCH)
    with pytest.raises(ImportError, match="no_such_library is needed"):
        require("no_such_library")
