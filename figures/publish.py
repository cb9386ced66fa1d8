"""Commit what a run found: reference figures, notebook outputs and the numbers of the README.

    python figures/publish.py runs/default

copies the figures and `metrics.json` of a finished default run to `figures/default/`, the outputs of its notebooks into
`notebooks/`, and rewrites the part of the README between its two marks. Nothing there is typed; the test suite checks
that README and metrics agree.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- from the default run: begin -->", "<!-- from the default run: end -->"


def publish(run: Path) -> None:
    """Copy a finished run's figures, metrics and notebook outputs, and rewrite the README's generated part."""
    if not (run / "done").is_file():
        raise SystemExit(f"{run}: not a finished run (no file `done`)")
    target = ROOT / "figures" / "default"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run / "figures", target)
    shutil.copy(run / "metrics.json", target / "metrics.json")
    for executed in sorted((run / "notebooks").glob("*.ipynb")):
        copy_outputs(executed, ROOT / "notebooks" / executed.name)
    readme = ROOT / "README.md"
    readme.write_text(with_results(readme.read_text(encoding="utf-8"), load_metrics()), encoding="utf-8")


def copy_outputs(executed: Path, source: Path) -> None:
    """Give the cells of `source` the outputs that they had in `executed`; the run's own parameters cell is left out."""
    done = {cell.id: cell for cell in nbformat.read(executed, as_version=4).cells}
    notebook = nbformat.read(source, as_version=4)
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        if cell.source != done[cell.id].source:
            raise SystemExit(f"{source.name}: cell {cell.id} has changed since the run; run again")
        cell.outputs = [clean(output) for output in done[cell.id].get("outputs", [])]
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = count
        cell.execution_count = count
    nbformat.write(notebook, source)


def clean(output: Any) -> Any:
    """Keep what a reader sees: a widget needs a kernel, so only its place is marked."""
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data:
        del data["application/vnd.jupyter.widget-view+json"]
        data["text/plain"] = "(an interactive view: run the notebook to use it)"
    output.get("metadata", {}).pop("papermill", None)
    return output


def load_metrics() -> dict[str, Any]:
    """The committed metrics of the default run."""
    return json.loads((ROOT / "figures" / "default" / "metrics.json").read_text(encoding="utf-8"))


def with_results(readme: str, metrics: dict[str, Any]) -> str:
    """The README with its generated part made from `metrics`."""
    if readme.count(START) != 1 or readme.count(END) != 1:
        raise SystemExit(f"README.md: expected each of {START!r} and {END!r} once")
    pattern = re.compile(re.escape(START) + ".*?" + re.escape(END), re.DOTALL)
    return pattern.sub(lambda _: f"{START}\n{results_section(metrics)}\n{END}", readme)


def results_section(metrics: dict[str, Any]) -> str:
    """Sentences and a table about the default run, every number from `metrics`."""
    embedding, difficulty, retrieval = (metrics[name] for name in ("01_embedding", "02_difficulty", "05_retrieval"))
    rows = [row for row in retrieval["summary"] if row["ranking"] == "text_to_molecule/split"]
    shift = {row["arm"]: row for row in retrieval["differences"] if row["ranking"] == "text_to_molecule/split"}
    count = difficulty["counts"][-1]
    lines = [
        f"The bundled corpus has {embedding['pairs']:,} pairs with generated descriptions. At σ = {count['sigma']:g}, "
        f"{count['zero']:.1%} of its training pairs have no neighbour; the difficulty of the others, and a seeded "
        f"shuffle of the ties, decide the order. Text→molecule among the {rows[0]['pool']:,.0f} held-out molecules, "
        f"{rows[0]['seeds']:.0f} seeds, 95 % intervals over queries and seeds:",
        "",
        "| arm | Hits@1 | MRR | Mean Rank | share of the baseline's samples | Hits@1 minus CLASS's |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        other = shift.get(row["arm"])
        gap = (
            f"{100 * other['difference']:+.1f} ({100 * other['difference_low']:+.1f} to "
            f"{100 * other['difference_high']:+.1f})"
            if other
            else "–"
        )
        hits = f"{100 * row['hits@1']:.1f} ({100 * row['hits@1_low']:.1f}–{100 * row['hits@1_high']:.1f})"
        lines.append(
            f"| {row['arm']} | {hits} | {row['mrr']:.3f} | {row['mean_rank']:.1f} | {row['share']:.0%} | {gap} |"
        )
    lines += ["", verdict(shift)]
    return "\n".join(lines)


def verdict(shift: dict[str, dict[str, float]]) -> str:
    """One sentence per control: better, worse, or not to be told apart."""
    said = []
    for arm, row in shift.items():
        word = (
            "does better than CLASS"
            if row["difference_low"] > 0
            else "does worse than CLASS"
            if row["difference_high"] < 0
            else "cannot be told from CLASS"
        )
        said.append(f"*{arm}* {word}")
    return (
        "In this run "
        + ", ".join(said)
        + ". Descriptions made by a program show how the kit works, not whether the method does."
    )


if __name__ == "__main__":
    publish(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/default"))
