"""Arms beside their controls on a small task: equal budgets, stored records, tables that follow from the ranks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from class_kit import study
from class_kit.backbones import register_backbone
from class_kit.backbones.base import Backbone, in_batch_cross_entropy
from class_kit.errors import InputError
from class_kit.pairs import PairSet, content_digest
from class_kit.retrieval import Ranks, per_query_metrics, retrieval_ranks
from class_kit.study import records, runner
from class_kit.study.arms import Arm, plan_arm, training_counts
from class_kit.study.ranking import first_molecules
from class_kit.task import Task, ring_class
from class_kit.training import TrainingConfig, encode

CONFIG = TrainingConfig(
    epochs=4, batch_size=16, learning_rate=1e-2, backbone_options={"hidden": 64, "dim": 16, "dropout": 0.0}
)


def small_task(rows: int = 120, seed: int = 0) -> Task:
    """Two noisy views of hidden points; the last pairs are copies of each other, so that counts differ."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 5))
    hidden[60:80] = hidden[60] + 0.01 * rng.normal(size=(20, 5))
    t, m = (
        np.float32(hidden @ rng.normal(size=(5, width)) + 0.05 * rng.normal(size=(rows, width))) for width in (9, 7)
    )
    split = tuple("train" if at < 80 else "validation" if at < 95 else "test" for at in range(rows))
    names = tuple(f"p{at}" for at in range(rows))
    smiles = tuple("C" * (at + 1) for at in range(rows))
    pairs = PairSet(names, smiles, names, split, "test", content_digest(names, names, smiles, split))
    return Task(pairs, t, m, pairs, m, {"text": "none", "molecules": "none", "vectors": "none"})


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def task() -> Task:
    return small_task()


@pytest.fixture(scope="module")
def trained(task: Task, tmp_path_factory: pytest.TempPathFactory) -> list[records.Record]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLASS_KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return study.run_arms(task, study.standard_arms(0.4, 0.15, sigma=0.99), CONFIG, [0, 1, 2], jobs=1)


def test_every_arm_has_every_seed_and_the_budget_it_claims(task: Task, trained: list[records.Record]) -> None:
    assert [(record.arm.name, record.seed) for record in trained] == [
        (name, seed) for name in ("baseline", "CLASS", "random order", "step-matched") for seed in (0, 1, 2)
    ]
    steps = {record.arm.name: record.steps for record in trained}
    samples = {record.arm.name: record.samples for record in trained}
    assert steps["CLASS"] == steps["random order"] == steps["step-matched"] < steps["baseline"]
    assert samples["baseline"] == 4 * 80
    assert samples["CLASS"] == samples["random order"] == round(80 * (0.55 + 0.70 + 0.85 + 1.0))


def test_curriculum_starts_without_the_family(task: Task) -> None:
    counts = training_counts(task, 0.99)
    assert (counts[60:80] >= 10).all()
    assert counts[:60].max() <= 2
    first = plan_arm(task, Arm("c", sigma=0.99, growth=0.15), CONFIG).rows(1)
    last = plan_arm(task, Arm("a", order="anti-curriculum", sigma=0.99, growth=0.15), CONFIG).rows(1)
    assert not set(first) & set(range(60, 80))
    assert set(last) >= set(range(60, 80))


def test_ranks_are_those_of_the_stored_weights(task: Task, trained: list[records.Record]) -> None:
    record = trained[3]
    backbone = records.load_backbone(record, task)
    rows = task.rows("test")
    again = retrieval_ranks(
        encode(backbone, "text", task.t[rows]), encode(backbone, "molecules", task.m[rows]), np.arange(len(rows))
    )
    np.testing.assert_array_equal(again.greater, record.ranks["text_to_molecule/split"].greater)
    assert record.ranks["text_to_molecule/split"].pool == 25
    assert record.ranks["text_to_molecule/all"].pool == 120
    assert per_query_metrics(again)["mrr"].mean() > 0.4  # chance is 0.15
    first = first_molecules(backbone, task, "test")
    np.testing.assert_array_equal(first == np.arange(25), again.greater + again.equal == 0)


def test_equal_trainings_are_done_once_and_their_number_of_processes_changes_nothing(task: Task) -> None:
    arms = [Arm("one", growth=0.15), Arm("two", order="random", growth=0.15)]
    alone = study.run_arms(task, arms, CONFIG, [0], jobs=1)
    written = {record.folder: (record.folder / "record.json").stat().st_mtime_ns for record in alone}
    renamed = study.run_arms(task, [replace(arms[0], name="other")], CONFIG, [0])
    assert renamed[0].arm.name == "other"
    assert renamed[0].folder == alone[0].folder
    assert written[alone[0].folder] == (alone[0].folder / "record.json").stat().st_mtime_ns
    for record in alone:
        (record.folder / "record.json").unlink()
    together = study.run_arms(task, arms, CONFIG, [0], jobs=2)
    for one, two in zip(alone, together, strict=True):
        for name, ranks in one.ranks.items():
            np.testing.assert_array_equal(ranks.greater, two.ranks[name].greater)
        losses = [[entry["loss"] for entry in record.history] for record in (one, two)]
        assert losses[0] == losses[1]


def test_what_decides_a_training_changes_its_key(task: Task) -> None:
    arm = Arm("a", growth=0.15)
    key = runner._key(task, arm, CONFIG)
    assert key == runner._key(task, replace(arm, name="b"), CONFIG)
    assert key != runner._key(task, replace(arm, growth=0.2), CONFIG)
    assert key != runner._key(task, arm, replace(CONFIG, seed=1))
    assert key != runner._key(small_task(seed=1), arm, CONFIG)
    plain = Arm("p", order="standard", intensity="constant")
    assert runner._key(task, plain, CONFIG) == runner._key(task, replace(plain, sigma=0.5, start=0.1), CONFIG)
    matched = replace(plain, step_matched=True)
    assert runner._key(task, matched, CONFIG) != runner._key(task, replace(matched, start=0.1), CONFIG)


def test_another_version_of_the_code_shares_no_training(
    task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arm, config = Arm("a", order="standard"), replace(CONFIG, epochs=1)
    runner.run_arm(task, arm, config)
    assert runner.stored_record(task, arm, config) is not None
    before = runner.code_digest()
    package = tmp_path / "class_kit"
    shutil.copytree(runner.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(runner, "PACKAGE", package)
    try:
        for part in ("training/loop.py", "study/arms.py", "text/tokens.py", "molecules/structures.py", "inputs.py"):
            runner.code_digest.cache_clear()
            assert runner.code_digest() == before
            text = (package / part).read_bytes()
            (package / part).write_bytes(text + b"\n# changed\n")
            runner.code_digest.cache_clear()
            assert runner.code_digest() != before
            assert runner.stored_record(task, arm, config) is None
            (package / part).write_bytes(text)
        # what only draws or speaks trains the same
        (package / "figures" / "plots.py").write_text("", encoding="utf-8")
        runner.code_digest.cache_clear()
        assert runner.stored_record(task, arm, config) is not None
        # another version of a library that computes does not
        real = runner.version
        monkeypatch.setattr(runner, "version", lambda name: "0.0" if name == "torch" else real(name))
        runner.code_digest.cache_clear()
        assert runner.stored_record(task, arm, config) is None
    finally:
        runner.code_digest.cache_clear()


def test_summary_follows_from_the_ranks(trained: list[records.Record]) -> None:
    table = study.summary(trained).set_index("arm")
    for arm in ("baseline", "CLASS"):
        scores = [
            per_query_metrics(record.ranks["text_to_molecule/split"])["hits@1"].mean()
            for record in trained
            if record.arm.name == arm
        ]
        assert table.loc[arm, "hits@1"] == pytest.approx(np.mean(scores))
        assert table.loc[arm, "hits@1_low"] <= np.mean(scores) <= table.loc[arm, "hits@1_high"]
    assert table["pool"].tolist() == [25] * 4
    assert table.loc["baseline", "share"] == 1
    assert table.loc["CLASS", "share"] == pytest.approx(0.775)


def test_differences_follow_from_the_ranks(trained: list[records.Record]) -> None:
    table = study.differences(trained, "CLASS", metric="mrr").set_index("arm")
    assert list(table.index) == ["baseline", "random order", "step-matched"]
    means = study.summary(trained).set_index("arm")["mrr"]
    for arm, row in table.iterrows():
        assert row["difference"] == pytest.approx(means[arm] - means["CLASS"])
        assert row["p"] <= row["p_holm"] <= 1
    with pytest.raises(ValueError, match="metric='loss'"):
        study.differences(trained, "CLASS", metric="loss")
    with pytest.raises(ValueError, match="reference='nobody'"):
        study.differences(trained, "nobody")
    with pytest.raises(ValueError, match="ranking='both'"):
        study.differences(trained, "CLASS", ranking="both")


def test_a_difference_that_is_there_is_found(trained: list[records.Record]) -> None:
    def shifted(record: records.Record) -> records.Record:
        worse = {
            name: Ranks(np.full_like(r.greater, 20), np.zeros_like(r.equal), r.pool) for name, r in record.ranks.items()
        }
        return replace(record, arm=Arm("worse"), ranks=worse)

    own = [record for record in trained if record.arm.name == "CLASS"]
    row = study.differences([*own, *map(shifted, own)], "CLASS", metric="hits@10").iloc[0]
    assert row["difference_high"] < 0
    assert row["p_holm"] < 0.05


def test_history_accumulates(trained: list[records.Record]) -> None:
    frame = study.history_frame(trained[:1])
    assert frame["samples_seen"].tolist() == [80, 160, 240, 320]
    assert frame["seconds_spent"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("arms", "seeds", "message"),
    [([], [0], "0 arms and 1 seeds"), ([Arm("a")], [], "1 arms and 0 seeds"), ([Arm("a")] * 2, [0], "that differ")],
)
def test_impossible_studies_are_refused(task: Task, arms: list[Arm], seeds: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study.run_arms(task, arms, CONFIG, seeds)


def test_impossible_arms_are_refused() -> None:
    with pytest.raises(InputError, match="order='hardest'"):
        Arm("a", order="hardest")
    with pytest.raises(InputError, match="step_matched with order='random'"):
        Arm("a", order="random", step_matched=True)


def test_unfinished_and_unfitting_records_are_refused(
    task: Task, trained: list[records.Record], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no finished training"):
        records.read_record(tmp_path)
    (tmp_path / "record.json").write_text(json.dumps({"arm": {}}))
    with pytest.raises(InputError, match="no finished training"):
        records.read_record(tmp_path)
    other = Task(task.pairs, task.t[:, :4], task.m, task.molecules, task.pool, task.encoders)
    with pytest.raises(InputError, match="do not fit these encoders"):
        records.load_backbone(trained[0], other)


def test_splits_of_a_task_are_named(task: Task) -> None:
    assert task.evaluation_split == "test"
    with pytest.raises(InputError, match="'dev': no such pairs; there are test, train, validation"):
        task.rows("dev")


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [("CCO", "no ring"), ("C1CCCCC1", "one saturated ring"), ("C1CCC2CCCCC2C1", "several saturated rings"),
     ("c1ccccc1", "carboaromatic"), ("c1ccncc1", "heteroaromatic"), ("c1ccc2ncccc2c1", "heteroaromatic, more rings")],
)  # fmt: skip
def test_ring_class(smiles: str, expected: str) -> None:
    assert ring_class(smiles) == expected


def test_ring_class_refuses_what_rdkit_refuses() -> None:
    with pytest.raises(InputError, match="'C1CC'"):
        ring_class("C1CC")


_KEPT: list[np.ndarray] = []


class Mine(Backbone):
    """A backbone of the user's own, which fails, dies, keeps memory or learns as its options say."""

    def __init__(self, text_dim: int, molecule_dim: int, *, ends: str = "well") -> None:
        super().__init__()
        self.ends = ends
        if ends == "with more memory":
            # joblib looks at a process once a second, and replaces it when 300 MB are new
            _KEPT.append(np.ones(45_000_000))
            time.sleep(1.1)
        self.text, self.molecule = torch.nn.Linear(text_dim, 8), torch.nn.Linear(molecule_dim, 8)

    def encode_text(self, text):
        return self.text(text)

    def encode_molecules(self, molecules):
        return self.molecule(molecules)

    def losses(self, text, molecules, *, not_negative=None):
        if self.ends == "with an error":
            raise RuntimeError("no luck today")
        if self.ends == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.ends == "out of memory":
            raise MemoryError("too large")
        forward, backward = in_batch_cross_entropy(self.text(text) @ self.molecule(molecules).T, not_negative)
        return {"contrastive": forward + backward}


@pytest.fixture
def mine():
    register_backbone("mine")(Mine)
    return replace(CONFIG, backbone="mine", backbone_options={})


def test_a_users_own_backbone_trains_in_every_process(task: Task, mine: TrainingConfig) -> None:
    arms = [Arm("a", order="standard"), Arm("b", growth=0.15)]
    apart = study.run_arms(task, arms, mine, [0, 1], jobs=2)
    assert len({record.folder for record in apart}) == 4
    again = study.run_arms(task, arms, mine, [0, 1], jobs=1)
    assert [record.folder for record in again] == [record.folder for record in apart]


@pytest.mark.parametrize("ends", ["with an error", "killed", "out of memory"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failed_training_stops_no_other(
    task: Task, mine: TrainingConfig, ends: str, jobs: int, caplog: pytest.LogCaptureFixture
) -> None:
    if ends == "killed" and jobs == 1:
        pytest.skip("this process would be the one that dies")
    good, bad = mine, replace(mine, backbone_options={"ends": ends})
    arm = Arm("a", order="standard")
    work = [(task, arm, good), (task, arm, bad), (task, arm, replace(good, seed=5)), (task, arm, good)]
    outcomes = study.run_all(work, jobs, progress=False)
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [records.Record, study.Failure, records.Record, records.Record]
    assert outcomes[0].folder == outcomes[3].folder
    says = {"with an error": "RuntimeError: no luck today", "killed": "died", "out of memory": "MemoryError: too large"}
    assert says[ends] in outcomes[1].summary
    assert ("each in a process of its own: A worker process" in caplog.text) == (ends == "killed")
    stored = sorted(path.name for path in outcomes[0].folder.parent.iterdir())
    assert len([name for name in stored if not name.startswith(".")]) == 2
    with pytest.raises(study.FailedTrainings, match="2 of 2 trainings failed; the others are finished") as caught:
        study.run_arms(task, [arm], bad, [0, 1], jobs=jobs, progress=False)
    assert [failure.seed for failure in caught.value.failures] == [0, 1]


def test_a_process_replaced_for_its_memory_loses_nothing_and_alarms_nobody(task: Task, mine: TrainingConfig) -> None:
    hungry = replace(mine, backbone_options={"ends": "with more memory"})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = study.run_arms(task, [Arm("a", order="standard")], hungry, range(6), jobs=2, progress=False)
    assert sorted(record.seed for record in done) == list(range(6))
    assert not [str(warning.message) for warning in caught if "worker" in str(warning.message)]


@pytest.mark.parametrize("name", ["ranks.npz", "record.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"[" * 100_000, b"{}", b"[]", b"\xff" * 40])
def test_a_damaged_record_is_one_clear_error(task: Task, tmp_path: Path, name: str, content: bytes) -> None:
    record = records.train_record(task, Arm("a", order="standard"), replace(CONFIG, epochs=1), tmp_path / "run")
    (record.folder / name).write_bytes(content)
    with pytest.raises(InputError, match=r"no finished training|weights do not fit"):
        records.load_backbone(records.read_record(record.folder), task)
