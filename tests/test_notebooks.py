"""The notebooks: their form, their committed outputs, and one short execution of all of them from the command line."""

import ast
import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pandas
import pytest

from class_kit import exercises
from class_kit.runs.notebooks import declared_parameters
from class_kit.study.paper_tables import inputs_table, key_rows, read_results
from tests.short_run import MARKUP
from tests.test_report import Found

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# Words of chemistry for those who know PyTorch, and of learning machines for those who know chemistry.
TERMS = (
    "pair", "SMILES", "encoder", "vector", "frozen", "tokens", "word*", "cosine", "splits", "trained", "retriever",
    "batches", "negatives", "curriculum", "false negatives", "tie mass", "Tanimoto", "fingerprints",
    "Spearman correlation", "coverage", "epoch", "optimiser step", "optimiser", "learning rate", "batch sampler",
    "loss", "contrastive", "gradient", "Adam", "SGD", "MRR", "Hits@1", "interval", "p value", "Holm", "warm-up",
    "stereochemistry", "weights", "arm", "control", "pool", "seed", "backbone", "aromatic", "ketone", "hydroxy",
)  # fmt: skip


def cells(path: Path, kind: str) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def prose(path: Path, start: str = "", end: str = "") -> str:
    """A notebook's text cells in one, from the heading `start` up to the heading `end`."""
    words = "\n\n".join(cell.source for cell in cells(path, "markdown"))
    words = words[words.index(start) :] if start else words
    return words[: words.index(end)] if end else words


def parameters_of(path: Path) -> str:
    """Source of the one cell of parameters."""
    (found,) = [cell.source for cell in cells(path, "code") if "parameters" in cell.metadata.get("tags", [])]
    return str(found)


def shown_in(path: Path) -> list[Any]:
    """All outputs; none is an error or a warning."""
    outputs = [output for cell in cells(path, "code") for output in cell.outputs]
    assert not [found for found in outputs if found.output_type == "error" or found.get("name") == "stderr"], path.stem
    return outputs


def data_in(path: Path, kind: str) -> list[str]:
    data = [output.get("data", {}) for output in shown_in(path)]
    return [found[kind] for found in data if kind in found]


def test_the_notebooks_are_there() -> None:
    stems = [path.stem for path in NOTEBOOKS]
    names = ["00_your_pairs", "01_embedding", "02_difficulty", "03_scheduler", "04_intensity", "05_retrieval"]
    assert stems == [*names, "06_your_own_backbone", "07_paper", "08_wrong_pairs"]


@each_notebook
def test_a_notebook_is_thin(path: Path) -> None:
    code = [cell.source for cell in cells(path, "code")]
    lines = [source.count("\n") + 1 for source in code]
    assert sum(lines) <= 138
    assert max(lines) <= 16
    assert max(map(len, "\n".join(code).split("\n"))) <= 88, "a cell's width beside the file browser at 1280 pixels"
    assert not [node for source in code for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


@each_notebook
def test_parameters_are_plain_and_explained(path: Path) -> None:
    declared = declared_parameters(parameters_of(path))
    assert {"pairs", "data", "extra", "out"} <= set(declared)
    # a value may go over several lines: its last one has the comment
    assert parameters_of(path).count("  # ") == len(declared)


@each_notebook
def test_a_notebook_has_the_common_form(path: Path) -> None:
    words = prose(path)
    order = ["# ", "**Aim.**", "**Time.**", "## Theory", "$$", "## Practice", "## Exercise", "## Discussion", "## Quiz"]
    places = [words.index(part) for part in order]
    assert places == sorted(places)
    assert re.search(r"\*\*Time\.\*\* \d+ minutes to read; ", words)
    quiz = prose(path, "## Quiz")
    assert re.findall(r"^(\d)\. ", quiz, re.MULTILINE) == ["1", "2", "3"]
    answers = re.findall(r"^<details><summary>Answer</summary>.{20,}</details>$", quiz, re.MULTILINE)
    assert len(answers) == 3 == words.count("<details>") == words.count("</details>")


@each_notebook
def test_the_first_code_cell_installs_on_colab_and_nowhere_else(path: Path) -> None:
    first = cells(path, "code")[0].source
    tree = ast.parse(first)
    assert [type(node) for node in tree.body] == [ast.Import, ast.If]
    assert ast.unparse(tree.body[1].test) == "'google.colab' in sys.modules"
    assert not tree.body[1].orelse
    assert first == cells(NOTEBOOKS[0], "code")[0].source


@each_notebook
def test_the_exercise_is_open_and_its_solution_right(path: Path) -> None:
    code = [cell.source for cell in cells(path, "code")]
    (source,) = [source for source in code if "answer = None" in source]
    check = re.search(r"^exercises\.(check_\w+)\(answer, ?.*\)$", source.splitlines()[-1])
    assert check, "the cell's last line shows the verdict"
    assert not [other for other in code if other != source and re.search(r"\banswer\b", other)]
    assert "in the place of `None`" in prose(path, "## Exercise", "## Discussion")
    assert re.match(r"_ = runs\.record\(out, ", code[-1].splitlines()[-1]), "the last cell records the results"
    assert source == code[-2]
    names = declared_parameters(parameters_of(path))
    pairs = SimpleNamespace(text=("a", "b", "b"))
    names |= {"exercises": exercises, "task": SimpleNamespace(pairs=pairs), "display": lambda _: None, "pd": pandas}
    asked = source.replace("answer = None", f"answer = {exercises.WORDS[check[1]]['solution']}").splitlines()
    exec("\n".join(asked[:-1]), names)
    assert eval(asked[-1], names).status == "right"
    assert eval(source.splitlines()[-1], names | {"answer": None}).status == "open"


@each_notebook
def test_no_result_is_typed(path: Path) -> None:
    """What a run finds is said by cells that ran; the text between them holds no figures of its own."""
    text = re.sub(r"## Exercise.*?(?=## Discussion)", "", prose(path, "## Practice", "## Quiz"), flags=re.DOTALL)
    text = re.sub(r"\$[^$]*\$|`[^`]*`", "", text)
    assert re.findall(r"\d+(?:[.,]\d+)?\s?%|\d+\.\d+", text) == []


@pytest.mark.parametrize("first", [0, 1])
def test_terms_are_explained_where_they_first_occur(first: int) -> None:
    """A term is set in italics or bold where it is explained, and that is where it is first met.

    Some begin with their own pairs, others with notebook 1. What they read is the text, aims included, and the
    parameters with their comments; titles name what is to come.
    """
    read = "\n\n".join(map(read_before_running, NOTEBOOKS[first:]))
    for term in TERMS:
        found = re.search(rf"(\**)\b{re.escape(term)}", read, re.IGNORECASE)
        assert found, term
        assert found[1] in ("*", "**"), f"{term}: {read[max(0, found.start() - 60) : found.end() + 20]!r}"


def read_before_running(path: Path) -> str:
    shown = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            shown.append(re.sub(r"^#+ .*$", "", cell.source, flags=re.MULTILINE))
        elif "parameters" in cell.metadata.get("tags", []):
            shown.append(cell.source)
    return "\n\n".join(shown)


@each_notebook
def test_committed_outputs_are_complete_small_and_without_errors(path: Path) -> None:
    assert path.stat().st_size < 300_000
    outputs = shown_in(path)
    assert [cell.execution_count for cell in cells(path, "code")] == list(range(1, len(cells(path, "code")) + 1))
    text = path.read_text(encoding="utf-8")
    assert str(Path.home()) not in text
    said = "".join(output.get("text", "") for output in outputs)
    assert not re.search(r"(?<![^\s\"'(])/\w+/", said), "a place of one machine was committed"
    assert "widget-view" not in text
    if path.stem == "07_paper" and not read_results()["products"]:
        pytest.skip("figures/paper/paper.json is not committed yet: notebook 7 has nothing to draw")
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2


def test_a_run_leaves_what_it_promises(short_run: Path) -> None:
    names = {path.name for path in short_run.iterdir()}
    assert {"done", "metrics.json", "manifest.json", "report.html", "figures", "notebooks"} <= names
    metrics = json.loads((short_run / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {path.stem for path in NOTEBOOKS}
    for executed in (short_run / "notebooks").glob("*.ipynb"):
        assert shown_in(executed)
    for png in (short_run / "figures").glob("*.png"):
        assert png.with_suffix(".pdf").is_file()
        assert png.with_suffix(".json").is_file()


def test_words_agree_with_the_recorded_numbers(short_run: Path) -> None:
    """Each figure set in bold by a cell is one of the numbers that its notebook records, rounded."""
    metrics = json.loads((short_run / "metrics.json").read_text(encoding="utf-8"))
    said = 0
    for executed in sorted((short_run / "notebooks").glob("*.ipynb")):
        recorded = list(numbers_in(metrics[executed.stem]))
        for text in data_in(executed, "text/markdown"):
            for figure in re.findall(r"\*\*([-+\d][\d,.]*%?)\*\*", text):
                said += 1
                assert any(figure in spelled(number, figure) for number in recorded), (executed.stem, text)
    assert said >= 8


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(item)
        # a number of findings is the length of a list of them
        yield len(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def spelled(number: float, like: str) -> set[str]:
    """A number written as `like` is, with and without its sign."""
    digits = len(like.rstrip("%").partition(".")[2])
    form = f",.{digits}{'%' if like.endswith('%') else 'f'}"
    return {format(number, form), format(number, f"+{form}")}


def test_text_of_a_file_stays_text(short_run: Path) -> None:
    """Every description of the file carries an attack; no notebook hands it to a browser as markup, or obeys it."""
    escaped = 0
    for executed in sorted((short_run / "notebooks").glob("*.ipynb")):
        for kind in ("text/html", "text/markdown", "image/svg+xml"):
            for output in data_in(executed, kind):
                assert not [attack for attack in MARKUP if attack in output], executed.name
                escaped += "&lt;script&gt;" in output
    assert escaped
    report = (short_run / "report.html").read_text(encoding="utf-8")
    assert Found(report).bad == []
    assert escape(MARKUP[0])[:30] in report, "what was an attack can be read as the text it is"
    assert not list(short_run.parent.rglob("hit*"))


def test_no_notebook_lets_data_act_on_a_terminal(short_run: Path) -> None:
    """Every text and every id of the file carries control characters; none of them is printed as it is."""
    escaped = 0
    for executed in sorted((short_run / "notebooks").glob("*.ipynb")):
        printed = [output.text for output in shown_in(executed) if output.output_type == "stream"]
        for text in [*printed, *data_in(executed, "text/plain")]:
            assert not {"\x1b", "\x07", "\x08", "\r", "\x9b", "\u202e"} & set(text), (executed.name, text)
            escaped += "\\u202e" in text
    assert escaped, "texts and ids were printed at all"


def test_the_recorded_results_agree_with_each_other(short_run: Path) -> None:
    metrics = json.loads((short_run / "metrics.json").read_text(encoding="utf-8"))
    sizes = metrics["01_embedding"]["splits"]
    assert metrics["00_your_pairs"]["splits"] == sizes
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


def test_notebook_7_shows_what_its_results_say(short_run: Path, small_results: dict[str, Any]) -> None:
    """The tables and figures of every study, from a file alone."""
    executed = short_run / "notebooks" / "07_paper.ipynb"
    shown = "\n".join(data_in(executed, "text/html"))
    # as the style of the notebooks sets it, whichever test set it here before
    with pandas.option_context("display.html.use_mathjax", False):
        assert inputs_table(small_results).to_html(index=False, border=0) in shown
        for name in small_results["products"]:
            table = "savings" if name == "savings" else "differences"
            assert key_rows(small_results, name, table).to_html(index=False, border=0) in shown
    assert len(data_in(executed, "image/png")) == len(list((short_run / "figures").glob("07_*.png"))) >= 8
