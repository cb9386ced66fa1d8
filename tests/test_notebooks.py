"""The notebooks: their form, their committed outputs, and one short execution of all of them from the command line."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from class_kit.cli import main
from class_kit.runs.parameters import declared_parameters

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHORT = {"epochs": "2", "seeds": "[0, 1]", "sample": "150", "growth": "0.3", "batch_size": "64"}


def cells(path: Path, kind: str) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def test_the_five_notebooks_are_there() -> None:
    stems = [path.stem for path in NOTEBOOKS]
    assert stems[:5] == ["01_embedding", "02_difficulty", "03_scheduler", "04_intensity", "05_retrieval"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_thin_and_has_the_common_form(path: Path) -> None:
    code = [cell.source for cell in cells(path, "code")]
    lines = [source.count("\n") + 1 for source in code]
    assert sum(lines) <= 115
    assert max(lines) <= 14
    (parameters,) = [cell for cell in cells(path, "code") if "parameters" in cell.metadata.get("tags", [])]
    declared = declared_parameters(parameters.source)
    assert {"pairs", "data", "extra", "out"} <= set(declared)
    assert all(parameter.comment for parameter in declared.values())
    assert not any(isinstance(node, ast.FunctionDef) for source in code for node in ast.walk(ast.parse(source)))
    assert re.match(r"_ = runs\.record\(out, ", code[-1].splitlines()[-1]), "the last cell records the results"
    words = "\n".join(cell.source for cell in cells(path, "markdown"))
    for heading in ("**Aim.**", "**Time.**", "## Theory", "## Practice", "## Discussion", "## Quiz"):
        assert heading in words, heading
    assert words.count("<details>") == words.count("</details>") == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs_are_complete_small_and_without_errors(path: Path) -> None:
    assert path.stat().st_size < 300_000
    outputs = [output for cell in cells(path, "code") for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"], "a warning was committed"
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert [cell.execution_count for cell in cells(path, "code")] == list(range(1, len(cells(path, "code")) + 1))
    text = path.read_text(encoding="utf-8")
    assert str(Path.home()) not in text
    assert "widget-view" not in text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All notebooks on a sixth of the corpus, with few epochs: every cell runs, nothing is learned."""
    place = tmp_path_factory.mktemp("notebooks")
    lines = (ROOT / "data" / "corpus.csv").read_text(encoding="utf-8").splitlines()
    (place / "part.csv").write_text("\n".join([lines[0], *lines[1::6]]) + "\n", encoding="utf-8")
    options = [part for name, value in SHORT.items() for part in ("-p", name, value)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PYTHONWARNINGS", "error::DeprecationWarning:class_kit")
        assert main(["run", "--pairs", "part.csv", *options, "--out", "short"]) == 0
    return place / "short"


def test_a_run_leaves_what_it_promises(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"done", "metrics.json", "manifest.json", "report.html", "figures", "notebooks"} <= names
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {path.stem for path in NOTEBOOKS}
    for executed in sorted((run / "notebooks").glob("*.ipynb")):
        outputs = [output for cell in cells(executed, "code") for output in cell.outputs]
        assert not [output for output in outputs if output.output_type == "error"]
        assert not [output for output in outputs if output.get("name") == "stderr"], executed.name
    for png in (run / "figures").glob("*.png"):
        assert png.with_suffix(".pdf").is_file()
        assert png.with_suffix(".json").is_file()


def test_the_recorded_results_agree_with_each_other(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    sizes = metrics["01_embedding"]["splits"]
    assert metrics["02_difficulty"]["training_pairs"] == metrics["03_scheduler"]["training_pairs"] == sizes["train"]
    zero = [row["zero"] for row in metrics["02_difficulty"]["counts"]]
    assert zero == sorted(zero), "a higher threshold leaves more pairs without neighbours"
    rows = metrics["05_retrieval"]["summary"]
    arms = {row["arm"] for row in rows}
    assert arms == {"baseline", "CLASS", "random order", "step-matched"}
    pools = {row["ranking"]: row["pool"] for row in rows}
    assert pools["text_to_molecule/split"] == sizes["test"]
    assert pools["text_to_molecule/all"] == metrics["01_embedding"]["pairs"]
    for row in rows:
        assert row["hits@1_low"] <= row["hits@1"] <= row["hits@1_high"]
        assert row["hits@1"] <= row["hits@10"]
    steps = {row["arm"]: row["steps"] for row in rows}
    assert steps["CLASS"] == steps["random order"] == steps["step-matched"] < steps["baseline"]


def test_strict_parameters_refuse_before_a_kernel_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value, message in (("epoch", "3", "epochs"), ("epochs", "many", "epochs"), ("seeds", "[a]", "seeds")):
        assert main(["run", "5", "-p", name, value]) == 2
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
