"""Arms beside their controls on a small task: equal budgets, stored records, tables that follow from the ranks."""

import os
import shutil
import signal
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from class_kit import files, study
from class_kit.backbones import register_backbone
from class_kit.errors import InputError
from class_kit.molecules.structures import structure
from class_kit.pairs import PairSet, content_digest
from class_kit.retrieval import per_query_metrics, retrieval_ranks
from class_kit.study import records, runner
from class_kit.study.arms import Arm
from class_kit.study.ranking import ANY, RANKINGS, first_molecules, rank_split, right_candidates
from class_kit.task import Task, ring_class
from class_kit.training import TrainingConfig, encode
from tests.test_training import Linears

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


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def trained(task: Task, tmp_path_factory: pytest.TempPathFactory) -> list[records.Record]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLASS_KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return study.run_arms(task, study.standard_arms(0.4, 0.15, sigma=0.99), CONFIG, [0, 1, 2], jobs=1)


def test_every_arm_has_every_seed_and_the_budget_it_claims(trained: list[records.Record]) -> None:
    assert [(record.arm.name, record.seed) for record in trained] == [
        (name, seed) for name in ("baseline", "CLASS", "random order", "step-matched") for seed in (0, 1, 2)
    ]
    steps = {record.arm.name: record.steps for record in trained}
    samples = {record.arm.name: record.samples for record in trained}
    assert steps["CLASS"] == steps["random order"] == steps["step-matched"] < steps["baseline"]
    assert samples["baseline"] == 4 * 80
    assert samples["CLASS"] == samples["random order"] == round(80 * (0.55 + 0.70 + 0.85 + 1.0))


def test_ranks_are_those_of_the_stored_weights(task: Task, trained: list[records.Record]) -> None:
    record = trained[3]
    backbone = records.load_backbone(record, task)
    rows = task.rows("test")
    t, m = encode(backbone, "text", task.t[rows]), encode(backbone, "molecules", task.m[rows])
    everything, own = encode(backbone, "molecules", task.m), np.arange(25)
    for name, sides in {
        "text_to_molecule/split": (t, m, own),
        "text_to_molecule/all": (t, everything, rows),
        "molecule_to_text/split": (m, t, own),
    }.items():
        again = retrieval_ranks(*sides)
        np.testing.assert_array_equal(again.greater, record.ranks[name].greater)
        assert again.pool == record.ranks[name].pool
    ranks = record.ranks["text_to_molecule/split"]
    assert per_query_metrics(ranks)["mrr"].mean() > 0.4  # chance is 0.15
    np.testing.assert_array_equal(first_molecules(backbone, task, "test") == own, ranks.greater + ranks.equal == 0)


def test_any_right_one_is_read_beside_its_own_partner(task: Task, trained: list[records.Record]) -> None:
    assert right_candidates(task, "test") == {}
    text, smiles = list(task.pairs.text), list(task.pairs.smiles)
    text[3] = text[96] = text[110]  # one text of two test pairs and a training pair
    smiles[97], smiles[111] = "C[C@H](N)O", "C[C@@H](N)O"  # one molecule of two test pairs, stereochemistry aside
    pairs = replace(task.pairs, text=tuple(text), smiles=tuple(smiles))
    task = replace(task, pairs=pairs, molecules=pairs)
    keys, rows = [structure(one).key for one in smiles], task.rows("test")
    known = {(text[row], keys[row]) for row in range(120)}
    expected = {
        "text_to_molecule/split": [[at for at, row in enumerate(rows) if (text[q], keys[row]) in known] for q in rows],
        "text_to_molecule/all": [[row for row in range(120) if (text[q], keys[row]) in known] for q in rows],
        "molecule_to_text/split": [[at for at, row in enumerate(rows) if (text[row], keys[q]) in known] for q in rows],
    }
    assert right_candidates(task, "test") == expected
    assert [max(map(len, lists)) for lists in expected.values()] == [2, 3, 2]
    backbone = records.load_backbone(trained[3], task)
    found = rank_split(backbone, task, "test")
    assert list(found) == [name + reading for name in RANKINGS for reading in ("", ANY)]
    t, m = (encode(backbone, side, own[rows]) for side, own in (("text", task.t), ("molecules", task.m)))
    again = retrieval_ranks(t, m, expected["text_to_molecule/split"])
    for part in ("greater", "equal", "right"):
        np.testing.assert_array_equal(getattr(found["text_to_molecule/split" + ANY], part), getattr(again, part))
    np.testing.assert_array_equal(found["text_to_molecule/split"].greater, retrieval_ranks(t, m, np.arange(25)).greater)


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


def test_what_decides_a_training_changes_its_key(task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arm = Arm("a", growth=0.15)
    key = runner._key(task, arm, CONFIG)
    assert key == runner._key(task, replace(arm, name="b"), CONFIG)
    others = [
        runner._key(task, replace(arm, growth=0.2), CONFIG),
        runner._key(task, arm, replace(CONFIG, seed=1)),
        runner._key(small_task(seed=1), arm, CONFIG),
    ]
    # another version of a library, and of the kit's code
    state = files.kit_state.__wrapped__
    monkeypatch.setattr(metadata, "version", lambda name: "0.0")
    monkeypatch.setattr(runner, "kit_state", state)
    others.append(runner._key(task, arm, CONFIG))
    monkeypatch.setattr(files, "PACKAGE", tmp_path)
    for text in ("one", "two"):
        (tmp_path / "inputs.py").write_text(text, encoding="utf-8")
        others.append(runner._key(task, arm, CONFIG))
    assert len({key, *others}) == 7


def test_tables_follow_from_the_ranks(trained: list[records.Record]) -> None:
    table = study.summary(trained).set_index("arm")
    for arm, row in table.iterrows():
        own = [record.ranks["text_to_molecule/split"] for record in trained if record.arm.name == arm]
        mean = np.mean([per_query_metrics(ranks)["mrr"].mean() for ranks in own])
        assert row["mrr"] == pytest.approx(mean)
        assert row["mrr_low"] <= mean <= row["mrr_high"]
    assert table["pool"].tolist() == [25] * 4
    assert table["share"].tolist() == pytest.approx([1, 0.775, 0.775, table.loc["step-matched", "samples"] / 320])
    gaps = study.differences(trained, "CLASS", metric="mrr").set_index("arm")
    assert list(gaps.index) == ["baseline", "random order", "step-matched"]
    for arm, row in gaps.iterrows():
        assert row["difference"] == pytest.approx(table.loc[arm, "mrr"] - table.loc["CLASS", "mrr"])
        assert row["p"] <= row["p_holm"] <= 1
    # where an arm has lost a seed, the seeds that both have are compared
    fewer = study.differences(trained[1:], "CLASS", metric="mrr").set_index("arm")
    same = study.differences([record for record in trained if record.seed], "CLASS", metric="mrr").set_index("arm")
    assert fewer.loc["baseline", "p"] == same.loc["baseline", "p"]
    for wrong, message in (
        ({"metric": "loss"}, "metric='loss'"),
        ({"reference": "nobody"}, "reference='nobody'"),
        ({"ranking": "both"}, "ranking='both'"),
    ):
        with pytest.raises(ValueError, match=message):
            study.differences(trained, **{"reference": "CLASS", **wrong})
    history = study.history_frame(trained[:1])
    assert history["samples_seen"].tolist() == [80, 160, 240, 320]
    assert history["seconds_spent"].is_monotonic_increasing


def test_impossible_studies_are_refused(task: Task) -> None:
    for arms, seeds in (([], [0]), ([Arm("a")], []), ([Arm("a")] * 2, [0])):
        with pytest.raises(ValueError, match="expected at least one of each, and each once"):
            study.run_arms(task, arms, CONFIG, seeds)


def test_damaged_and_unfitting_records_are_refused(task: Task, trained: list[records.Record], tmp_path: Path) -> None:
    other = Task(task.pairs, task.t[:, :4], task.m, task.molecules, task.pool, task.encoders)
    with pytest.raises(InputError, match="do not fit these encoders"):
        records.load_backbone(trained[0], other)
    for name in ("record.json", "model.safetensors"):
        for content in (b"", b"PK\x03\x04", b"[" * 100_000, b"{}"):
            shutil.copytree(trained[0].folder, tmp_path / "run", dirs_exist_ok=True)
            (tmp_path / "run" / name).write_bytes(content)
            with pytest.raises(InputError, match=r"no finished training"):
                records.read_record(tmp_path / "run")


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [("CCO", "no ring"), ("C1CCCCC1", "saturated rings"), ("C1CCCCC1c1ccccc1", "aromatic rings")],
)
def test_ring_class(smiles: str, expected: str) -> None:
    assert ring_class(smiles) == expected


class Mine(Linears):
    """A backbone of the user's own, which fails, dies or learns as its options say."""

    def __init__(self, text_dim: int, molecule_dim: int, *, ends: str = "well") -> None:
        super().__init__(text_dim, molecule_dim)
        self.ends = ends

    def losses(self, text, molecules, *, not_negative=None):
        if self.ends == "with an error":
            raise RuntimeError("no luck today")
        if self.ends == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().losses(text, molecules, not_negative=not_negative)


@pytest.fixture
def mine() -> TrainingConfig:
    register_backbone("mine")(Mine)
    return replace(CONFIG, backbone="mine", backbone_options={})


def test_a_users_own_backbone_has_one_key_in_every_process(task, mine) -> None:
    apart = study.run_arms(task, [Arm("a", order="standard")], mine, [0, 1], jobs=2)
    again = study.run_arms(task, [Arm("a", order="standard")], mine, [0, 1], jobs=1)
    assert [record.folder for record in again] == [record.folder for record in apart]


@pytest.mark.parametrize(("ends", "jobs"), [("with an error", 1), ("with an error", 2), ("killed", 2)])
def test_a_failed_training_stops_no_other(task, mine, ends, jobs) -> None:
    good, bad = mine, replace(mine, backbone_options={"ends": ends})
    arm = Arm("a", order="standard")
    work = [(task, arm, good), (task, arm, bad), (task, arm, good)]
    outcomes = study.run_all(work, jobs, progress=False)
    assert isinstance(outcomes[1], study.Failure)
    says = {"with an error": "RuntimeError: no luck today", "killed": "a process died"}
    assert says[ends] in outcomes[1].summary
    if ends == "killed":
        # what ran beside it may be lost with it, and is done by the next call
        outcomes = study.run_all([work[0], work[2]], 1, progress=False)
    assert isinstance(outcomes[0], records.Record)
    assert outcomes[0] == outcomes[-1]
    assert len(list(outcomes[0].folder.parent.glob("*/record.json"))) == 1
    if jobs == 1:
        with pytest.raises(RuntimeError, match=r"1 of 1 trainings failed; the others are finished.*\n  a, seed 1: "):
            study.run_arms(task, [arm], bad, [1], jobs=1, progress=False)
