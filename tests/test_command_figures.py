"""`class-kit figures`: a run's notebooks once more, in another style."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from class_kit import cli, figures
from class_kit.cli.figures import STYLES
from class_kit.files import corpus_file


def test_styles_of_the_command_are_those_of_the_figures() -> None:
    assert tuple(figures.STYLES) == STYLES


def test_a_run_is_made_again_in_another_style(tmp_path: Path) -> None:
    run, part = tmp_path / "run", tmp_path / "part.csv"
    head, *rows = corpus_file().read_text(encoding="utf-8").splitlines()
    part.write_text("\n".join([head, *rows[::40]]), encoding="utf-8")
    words = ["run", "03_scheduler", "--pairs", str(part), "-p", "epochs", "12", "-p", "batch_size", "32"]
    assert cli.main([*words, "--out", str(run)]) == 0
    assert cli.main(["figures", str(run), "--style", "acl"]) == 0
    first, second = (folder / "figures" / "03_contents" for folder in (run, tmp_path / "run-acl"))
    records = [json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) for path in (first, second)]
    assert [record.pop("style") for record in records] == ["notebook", "acl"]
    assert records[0] == records[1]
    assert records[0]["parameters"]["epochs"] == 12
    assert first.with_suffix(".pdf").read_bytes() != second.with_suffix(".pdf").read_bytes()
    metrics = [(folder / "metrics.json").read_bytes() for folder in (run, tmp_path / "run-acl")]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no manifest.json of a run"),
        ("{}", "no manifest.json of a run"),
        ("[1]", "no manifest.json of a run"),
        (
            '{"notebooks": {"03_scheduler": {}, "elsewhere/mine": {}}, "overrides": {}}',
            "class-kit run",
        ),
        ('{"notebooks": {"03_scheduler": {}}, "overrides": {"no_such": 1}}', "no_such"),
    ],
)
def test_what_is_no_run_of_the_kit_is_refused(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    assert cli.main(["figures", str(tmp_path), "--style", "slides"]) == 2
    assert said in capsys.readouterr().err
