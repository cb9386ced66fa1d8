"""What is committed of the default run agrees with itself: README, reference figures and metrics."""

import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml

import class_kit as ck
from class_kit.study.config import KEYS, study_config
from tests.bench import bench_curriculum
from tests.small_paper import load_script

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def publish() -> ModuleType:
    return load_script("figures/publish.py")


def test_every_generated_part_says_what_the_committed_records_say(publish: ModuleType) -> None:
    for (page, mark), words in publish.generated_parts().items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert publish.with_part(text, mark, words) == text, (page, mark)


def test_the_committed_cost_is_within_its_limits(publish: ModuleType) -> None:
    figures = publish.committed("curriculum/cost.json")
    assert figures["rows"] == bench_curriculum.ROWS
    assert figures["limits"] == bench_curriculum.LIMITS
    assert bench_curriculum.passed(figures) == []


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
