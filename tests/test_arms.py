"""Arms as plain values: each becomes the plan it names, is refused where it names none, stored by what counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from class_kit import study
from class_kit.backbones import create_backbone
from class_kit.curriculum import EpochPlan
from class_kit.curriculum.controls import StepMatchedPlan
from class_kit.curriculum.duplicates import count_repeats
from class_kit.curriculum.feedback import LossPrunedPlan, PacedPlan, SelfPacedPlan, SmallLossPlan
from class_kit.curriculum.hard_batches import HardnessSchedule
from class_kit.curriculum.mismatched import choose_order
from class_kit.errors import InputError
from class_kit.options import SELECTIVE
from class_kit.retrieval import per_query_metrics, retrieval_ranks
from class_kit.study.arms import Arm, kept_pairs, plan_arm, training_audit, training_duplicates
from class_kit.study.ranking import pair_errors, pair_losses
from class_kit.study.records import load_backbone, train_record
from class_kit.task import exchange_molecules
from class_kit.training import encode
from tests.refusals import refuses
from tests.test_study import CONFIG, small_task

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    ("arm", "kind"),
    [
        (Arm("a", full_at=0.5, difficulty="kth_distance"), EpochPlan),
        (Arm("a", order="standard", step_matched=True, full_at=0.5), StepMatchedPlan),
        (Arm("a", order="self-paced", full_at=0.5), SelfPacedPlan),
        (Arm("a", order="loss-pruned"), LossPrunedPlan),
        (Arm("a", pace="metric", growth=0.3), PacedPlan),
        (Arm("a", order="agreement", full_at=0.5), EpochPlan),
        (Arm("a", order="small-loss"), SmallLossPlan),
        (Arm("a", order="mixture"), SmallLossPlan),
        (Arm("a", order="oracle"), EpochPlan),
    ],
)
def test_every_order_trains_and_leaves_a_record(task, tmp_path: Path, arm: Arm, kind: type) -> None:
    plan = plan_arm(task, arm, CONFIG)
    assert type(plan) is kind
    record = train_record(task, arm, CONFIG, tmp_path / "run")
    assert record.arm == arm
    assert len(record.history) == CONFIG.epochs
    assert record.ranks["text_to_molecule/split"].pool == 25


@pytest.mark.parametrize("shape", ["linear", "step"])
def test_a_share_of_the_samples_is_what_an_arm_spends(task, shape: str) -> None:
    config = replace(CONFIG, epochs=40)
    arm = Arm("a", schedule=shape, share=0.8, start=0.3, interval=4 if shape == "step" else None)
    plan = plan_arm(task, arm, config)
    # a pair more or less an epoch is what rounding to pairs may cost
    assert plan.samples_total(config.batch_size) / (40 * 80) == pytest.approx(0.8, abs=0.5 / 80)
    control = plan_arm(task, replace(arm, order="standard", step_matched=True), config)
    assert control.steps_total(config.batch_size) == plan.steps_total(config.batch_size)


def test_what_changes_nothing_is_no_part_of_the_key_of_stored_trainings() -> None:
    names = {"order", "start", "growth", "intensity", "sigma", "step_matched", "schedule", "full_at", "share", "pace"}
    names |= {"difficulty", "hardness", "duplicates"}
    plain = Arm("b", order="standard")
    assert set(Arm("a").training_key) == names
    assert set(Arm("a", schedule="step", interval=2).training_key) == names | {"interval"}
    assert set(Arm("a", full_at=0.5).training_key) == set(Arm("a", share=0.5).training_key) == names - {"growth"}
    assert "refresh" not in Arm("a", hardness=0.5).training_key
    assert Arm("a", hardness=0.5, near="model", refresh=3).training_key["refresh"] == 3
    for base in (plain, *(Arm("b", order=name) for name in SELECTIVE)):
        for same in ({"schedule": "step", "interval": 2, "share": 0.7}, {"sigma": 0.5, "intensity": "constant"}):
            assert replace(base, name="c", **same).training_key == base.training_key
    for base, change in (
        (plain, {"step_matched": True}),
        (replace(plain, hardness=0.5), {"near": "text"}),
        (Arm("c"), {"sigma": 0.5}),
        (Arm("c", order="loss-pruned"), {"prune": 0.2}),
    ):
        assert replace(base, **change).training_key != base.training_key


def test_orders_among_mismatched_pairs_leave_out_what_the_audit_says() -> None:
    """Of 600 training pairs, some exchanged: the oracle trains on the others, and what is left out is mostly wrong."""
    clean = small_task(700)
    clean = replace(clean, pairs=replace(clean.pairs, split=("train",) * 600 + ("test",) * 100))
    noisy = exchange_molecules(clean, 0.3, seed=1)
    wrong, audit = noisy.exchanged[:600], training_audit(noisy)
    config = replace(CONFIG, epochs=6)
    plans = {name: plan_arm(noisy, Arm("a", order=name), config) for name in SELECTIVE}
    kept = {name: plan.rows(2) for name, plan in plans.items()}
    np.testing.assert_array_equal(np.sort(kept["oracle"]), np.flatnonzero(~wrong))
    ordered = plan_arm(noisy, Arm("a", order="agreement", full_at=0.5), config).order
    assert np.all(np.diff(audit.agreement[ordered]) <= 0)
    assert len(kept["small-loss"]) == len(kept["random-subset"])
    assert len(kept["small-loss"]) == pytest.approx(600 * (1 - audit.mismatch_share_ci[1]), abs=1)
    assert wrong[kept["random-subset"]].mean() == pytest.approx(0.3, abs=0.06)
    assert wrong[kept["small-loss"]].mean() < 0.08
    order, why = choose_order(audit)
    assert order == "small-loss"
    assert f"{audit.mismatch_share:.1%} of the training pairs look mismatched" in why
    assert plans["auto"].digest(16) == plans["small-loss"].digest(16)
    with pytest.raises(InputError, match="shuffled as a whole"):
        choose_order(replace(audit, mismatch_share_ci=(0.9, 1.0), auc=0.5))
    # among pairs that belong together, auto is the plain run, and so is the oracle
    assert choose_order(training_audit(clean))[0] == "standard"
    plain = [plan_arm(clean, Arm("a", order=name), config) for name in ("standard", "auto", "oracle")]
    for other in plain[1:]:
        np.testing.assert_array_equal(other.rows(3), plain[0].rows(3))


def test_hard_batches_and_duplicates_reach_the_plan(task) -> None:
    arm = Arm("a", order="standard", hardness=0.5, hardness_from=0.5, near="text", group_size=8, duplicates="apart")
    plan = plan_arm(task, replace(arm, duplicates_above=0.99), CONFIG)
    assert [plan.hardness(k) for k in (1, 2, 3, 4)] == [0, 0, 0.5, 0.5]
    assert plan.group_size == 8
    family = plan.apart[60:80]
    assert len(set(family.tolist())) == 1
    assert family[0] >= 0
    found = count_repeats(plan.apart, plan.batches(4, 20))
    assert found["repeats"] == found["unavoidable"]
    assert training_duplicates(task, arm).max() == -1  # no equal text, no equal structure
    assert training_duplicates(task, Arm("a")) is None


def test_own_neighbours_reach_the_plan(task) -> None:
    arm = Arm("a", order="random", hardness=0.5, hardness_from=0.25, near="model", refresh=2, full_at=0.5)
    for each in (arm, replace(arm, order="standard", step_matched=True)):
        plan = plan_arm(task, each, CONFIG)
        assert plan.needs_feedback == ("vectors",)
        assert [plan.refreshed(k) for k in (1, 2, 3, 4)] == [False, True, False, True]
    assert plan_arm(task, replace(arm, near="joint", refresh=1), CONFIG).needs_feedback == ()


def test_dropped_duplicates_are_in_no_epoch(task) -> None:
    arm = Arm("a", duplicates="drop", duplicates_above=0.99, full_at=0.5)
    kept = kept_pairs(task, arm)
    # a family of 20 among 80 keeps one
    assert len(kept) == 61
    assert len(np.intersect1d(kept, np.arange(60, 80))) == 1
    plan = plan_arm(task, arm, CONFIG)
    for epoch in (1, 4):
        assert set(plan.rows(epoch).tolist()) <= set(kept.tolist())
    np.testing.assert_array_equal(np.sort(plan.rows(4)), kept)
    assert plan_arm(task, replace(arm, order="standard"), CONFIG).samples_total() == 61 * CONFIG.epochs
    assert len(kept_pairs(task, Arm("a"))) == 80


def test_hardness_rises_as_it_is_told() -> None:
    line = HardnessSchedule.over(10, 1.0, start=0.2, until=0.7)
    assert [line(k) for k in range(1, 11)] == pytest.approx([0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])
    jump = HardnessSchedule.over(4, 0.9, start=0.5)
    assert [jump(k) for k in range(1, 5)] == [0, 0, 0.9, 0.9]


def test_a_reference_model_orders_the_pairs(task) -> None:
    plain = study.run_arm(task, Arm("p", order="standard", intensity="constant"), CONFIG)
    backbone = load_backbone(plain, task)
    for measure in ("rank", "loss", "el2n"):
        arm = Arm("a", difficulty=measure, full_at=0.5)
        scores = study.reference_scores(task, arm, CONFIG)
        if measure == "rank":
            rows = task.rows("train")
            texts, molecules = encode(backbone, "text", task.t[rows]), encode(backbone, "molecules", task.m[rows])
            both = [retrieval_ranks(texts, molecules, np.arange(80)), retrieval_ranks(molecules, texts, np.arange(80))]
            expected = np.mean([per_query_metrics(ranks)["mean_rank"] for ranks in both], axis=0)
        else:
            asked = pair_losses if measure == "loss" else pair_errors
            expected = asked(backbone, task, CONFIG.batch_size, CONFIG.seed)
        np.testing.assert_array_equal(scores, expected)
        plan = plan_arm(task, arm, CONFIG, scores)
        assert np.all(np.diff(scores[plan.order]) >= 0)
        assert study.run_arm(task, arm, CONFIG).arm == arm


@pytest.mark.parametrize("name", ["dual_encoder", "dsokr"])
def test_pair_errors_are_the_length_of_the_error_vector(task, name: str) -> None:
    """EL2N from the definition, one pair at a time, with the temperature of the model where it has learnt one."""
    import torch

    backbone = create_backbone(name, 9, 7)
    factor = 1 / 0.07
    if name == "dual_encoder":
        with torch.no_grad():
            backbone.scale.log_scale.fill_(2.0)
        factor = np.exp(2.0)
    found = pair_errors(backbone, task, 80, 3)
    rows = task.rows("train")
    t, m = encode(backbone, "text", task.t[rows]), encode(backbone, "molecules", task.m[rows])
    cosines = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in m] for a in t])
    for pair in range(80):
        lengths = []
        for row in (cosines[pair], cosines[:, pair]):
            share = np.exp(factor * row)
            share /= share.sum()
            share[pair] -= 1
            lengths.append(np.sqrt((share**2).sum()))
        assert found[pair] == pytest.approx(np.mean(lengths), rel=1e-4)
    assert ((found > 0) & (found < np.sqrt(2))).all()
    held = pair_errors(backbone, task, 8, 3, split="test")
    assert held.shape == task.rows("test").shape


test_impossible_arms_are_refused = refuses(
    ({"pace": "metric", "full_at": 0.5}, "full_at=0.5 with pace='metric'"),
    ({"order": "standard", "pace": "metric"}, "pace='metric' with order='standard'"),
    ({"order": "standard", "difficulty": "loss"}, "expected an order that uses it"),
    ({"order": "self-paced", "duplicates": "drop"}, "duplicates='drop' with order='self-paced'"),
    ({"near": "model", "refresh": 2}, "refresh=2 with near='model', hardness=0"),
    call=lambda options: Arm("a", **options),
    error=ValueError,
)
