"""What is committed of the default run agrees with itself: README, reference figures and metrics."""

import base64
import io
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matplotlib import pyplot as plt

import class_kit as ck
from class_kit.study.config import KEYS, study_config
from tests.bench import bench_curriculum
from tests.small_paper import load_script

ROOT = Path(__file__).parents[1]


COST = {
    "plan_seconds": 0.5,
    "sampler_share": 0.001,
    "groups_seconds": 3.0,
    "composition_share": 0.02,
    "step_difference": -0.015,
    "runs": [{"share": 0.5, "time": 0.52}, {"share": 0.85, "time": 0.86}],
}


@pytest.fixture(scope="module")
def publish() -> ModuleType:
    return load_script("figures/publish.py")


def test_every_generated_part_says_what_the_committed_records_say(publish: ModuleType) -> None:
    for (page, mark), words in publish.generated_parts().items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert publish.with_part(text, mark, words) == text, (page, mark)


def test_a_picture_in_a_notebook_is_made_small_and_looks_the_same(publish: ModuleType) -> None:
    figure, axes = plt.subplots(figsize=(5, 3))
    axes.imshow(np.random.default_rng(0).normal(size=(4, 4)), cmap="cividis")
    axes.set_title("a heat map of sixteen cells")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    plt.close(figure)
    given = base64.b64encode(buffer.getvalue()).decode()
    kept = publish.clean({"data": {"image/png": given, "text/plain": "<Figure>"}, "metadata": {}})
    assert kept["data"]["text/plain"] == "<Figure>"
    assert len(kept["data"]["image/png"]) < 0.7 * len(given)
    before, after = (plt.imread(io.BytesIO(base64.b64decode(png))) for png in (given, kept["data"]["image/png"]))
    assert before.shape[:2] == after.shape[:2]
    on_white = before[..., :3] * before[..., 3:] + 1 - before[..., 3:]
    assert np.abs(on_white - after[..., :3]).max() < 0.1
    assert np.abs(on_white - after[..., :3]).mean() < 0.005


@pytest.mark.parametrize(
    ("record", "section", "rows", "name"),
    [
        ("default/metrics.json", "results_section", lambda found: found["05_retrieval"]["summary"], "mrr"),
        ("neighbours/time.json", "times_section", lambda found: found["rows"], "seconds"),
        ("difficulty/prediction.json", "prediction_section", lambda found: found["chebi20"]["prediction"], "rho"),
        ("paper/paper.json", "paper_section", lambda found: found["products"]["main"]["differences"], "difference"),
        ("paper/paper.json", "front_section", lambda found: found["products"]["main"]["differences"], "p_holm"),
        ("paper/noise.json", "noise_front", lambda found: found["differences"], "difference"),
        ("paper/noise.json", "noise_section", lambda found: found["detection"], "share"),
        (
            "backbones/results.json",
            "backbones_section",
            lambda found: [row for table in found["tables"].values() for row in table["differences"]],
            "difference",
        ),
    ],
)
def test_a_changed_number_would_change_the_page(publish, record, section, rows, name) -> None:
    found = publish.committed(record)
    before = getattr(publish, section)(found)
    for row in rows(found):
        row[name] = 0.123
    assert getattr(publish, section)(found) != before


def test_a_run_of_notebook_2_on_real_pairs_is_published(publish, tmp_path, monkeypatch) -> None:
    (tmp_path / "figures" / "difficulty").mkdir(parents=True)
    (tmp_path / "figures" / "difficulty" / "prediction.json").write_text('{"chebi20": {}, "other": 1}')
    run = tmp_path / "run"
    run.mkdir()
    record = publish.committed("difficulty/prediction.json")
    results = record["chebi20"]
    (run / "metrics.json").write_text(json.dumps({"02_difficulty": results | {"counts": []}}), encoding="utf-8")
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    monkeypatch.setattr(publish, "rewrite_pages", lambda: None)
    with pytest.raises(SystemExit, match="expected a finished run of notebook 2 on real pairs"):
        publish.publish(run)
    (run / "done").write_text("", encoding="utf-8")
    publish.publish(run)
    assert publish.committed("difficulty/prediction.json") == {"chebi20": results, "other": 1}
    results["predicted"]["pairs"] = "corpus"
    (run / "metrics.json").write_text(json.dumps({"02_difficulty": results}), encoding="utf-8")
    with pytest.raises(SystemExit, match="on real pairs"):
        publish.publish(run)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"plan_seconds": 1.5}, "plan_seconds is 1.5, the limit 1"),
        ({"step_difference": -0.03}, "step_difference"),
        ({"step_difference": float("nan")}, "step_difference"),
        ({"runs": [{"share": 0.5, "time": 0.6}]}, "50.0% of the samples take 60.0% of the time"),
        ({"runs": [{"share": 0.96, "time": 1.005}]}, "does not fall"),
    ],
)
def test_a_cost_above_its_limit_is_noticed(changed: dict[str, Any], words: str) -> None:
    assert bench_curriculum.passed(COST) == []
    (found,) = bench_curriculum.passed(COST | changed)
    assert words in found


def test_the_committed_cost_is_within_its_limits(publish: ModuleType) -> None:
    figures = publish.committed("curriculum/cost.json")
    assert figures["rows"] == bench_curriculum.ROWS
    assert figures["limits"] == bench_curriculum.LIMITS
    assert bench_curriculum.passed(figures) == []


def test_every_backbone_beats_ridge_regression(publish: ModuleType) -> None:
    results = publish.committed("backbones/results.json")
    assert set(results["tables"]) == set(results["search"])
    ridge = max(results["ridge"]["text_to_molecule/split"]["mrr"], 0.12)
    for name, table in results["tables"].items():
        rows = [row for row in table["summary"] if row["ranking"] == "text_to_molecule/split"]
        assert [row["arm"] for row in rows] == ["standard", "curriculum"]
        assert min(row["mrr_low"] for row in rows) > ridge, name


def test_the_front_page_counts_the_verdicts_on_six_backbones(publish: ModuleType) -> None:
    section = publish.front_section(publish.read_results())
    rows = [row for row in publish.read_results()["products"]["main"]["differences"] if row["arm"] == "CLASS"]
    rows = [row for row in rows if (row["metric"], row["ranking"]) == ("hits@1", publish.RANKING)]
    worse = sum(publish.verdict(row) == "worse" for row in rows)
    assert len(rows) == 6 * 3
    assert sum(map(int, re.findall(r"worse (\d)", section))) == worse > 0
    assert sum(map(int, re.findall(r"not told apart (\d)", section))) == len(rows) - worse
    assert "better" not in section


def test_results_of_the_paper_are_published_with_their_figure(publish, tmp_path, monkeypatch, small_study) -> None:
    (tmp_path / "figures" / "paper").mkdir(parents=True)
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    publish.publish_paper(small_study)
    target = tmp_path / "figures" / "paper"
    assert {path.name for path in target.iterdir()} == {
        "paper.json",
        *(f"main_effect.{end}" for end in ("png", "pdf", "json")),
    }
    results = json.loads((target / "paper.json").read_text(encoding="utf-8").replace("dsokr", "a|<b>_x_"))
    section = publish.paper_section(results)
    assert "](main_effect.png)" in section
    assert "### sigma: the threshold σ" in section
    assert "| a\\|&lt;b>_x_ |" in section
    del results["products"]["main"]
    assert ".png)" not in publish.paper_section(results)
    (small_study.parent / "part").mkdir()
    (small_study.parent / "part" / "paper.json").write_text(json.dumps(results), encoding="utf-8")
    with pytest.raises(SystemExit, match="no results of the product 'main'"):
        publish.publish_paper(small_study.parent / "part")


PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {part for part in path.relative_to(ROOT).parts[:-1] if part.startswith(".") or part in ("build", "runs")}
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_between_the_pages_is_broken(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        goal = page.parent / name if name else page
        assert goal.is_file(), target
        headings = re.findall(r"^#+ (.+)$", goal.read_text(encoding="utf-8"), re.M) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def test_the_front_page_is_read_in_three_minutes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1300
    assert text.index("make run") < 1500


def test_each_reference_figure_is_vector_and_bitmap_beside_its_parameters() -> None:
    figures = ROOT / "figures" / "default"
    for png in figures.glob("*.png"):
        assert png.with_suffix(".pdf").is_file()
        record = json.loads(png.with_suffix(".json").read_text(encoding="utf-8"))
        assert record["figure"] == png.stem
        # notebook 7 shows what was trained elsewhere, and says on what
        assert record["parameters"]["pairs"] == "corpus" or png.stem.startswith("07_")
    assert len(list(figures.glob("*.png"))) >= 15


def test_the_ten_lines_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example as printed, on a few pairs; its comments about values hold."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code, *_ = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    few = ck.load_pairs("corpus", split="train").take(range(40))
    monkeypatch.setattr(ck, "load_pairs", lambda *args, **options: few, raising=False)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["t"].shape == (40, 384)
    assert names["m"].shape == (40, 300)
    assert names["loss_factor"] == 0.5
    assert names["steps"] == sum(-(-len(names["plan"].rows(epoch)) // 64) for epoch in range(1, 41))


def test_the_loop_of_the_readme_runs() -> None:
    """The three lines round a plain PyTorch loop, as printed."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    _, code, *_ = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    seen: list[list[int]] = []
    names = {
        "ck": ck,
        "plan": ck.EpochPlan(np.arange(200), schedule=ck.LinearSchedule(0.40, 0.03), epochs=40),
        "DataLoader": torch.utils.data.DataLoader,
        "LambdaLR": torch.optim.lr_scheduler.LambdaLR,
        "dataset": range(200),
        "model": lambda batch: seen.append(batch.tolist()) or torch.tensor(2.0),
        "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0),
    }
    exec(compile(code, "README.md", "exec"), names)
    plan = names["plan"]
    assert seen == [batch.tolist() for epoch in range(1, 41) for batch in plan.batches(epoch, 64)]
    assert float(names["loss"]) == pytest.approx(2 * 40 / 41)
    assert names["optimizer"].param_groups[0]["lr"] == 0.5


def test_the_study_of_the_page_is_one() -> None:
    """Its keys and values are those the kit knows, and every key of a study is shown."""
    readme = (ROOT / "figures" / "paper" / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    values = yaml.safe_load(text)
    config = study_config(values)
    assert set(values) == set(KEYS) - {"pools", "name"}
    assert config.arms[0][0].hardness == 0.8
