"""Commit what a run found: reference figures, notebook outputs and the numbers of the pages.

    python figures/publish.py runs/default
    python figures/publish.py runs/paper
    python figures/publish.py runs/real-difficulty
    python figures/publish.py

The first copies the figures and `metrics.json` of a finished default run to `figures/default/` and the outputs of its
notebooks into `notebooks/`. The second takes the folder of `class-kit study paper`, copies what it has of `paper.json`
and `noise.json` to `figures/paper/`, and draws the figure shown on the pages. The third takes a run of notebook 2
alone on real pairs and writes its result to `figures/difficulty/`. Each then rewrites the generated parts of README.md
and of the reference pages from everything committed; without an argument, that is all it does. No number there is typed
by hand; the tests check that pages and records agree.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from PIL import Image

from class_kit.backbones import available_backbones
from class_kit.figures import use_style
from class_kit.files import write_json
from class_kit.study.noise import RECORD, noise_table, read_noise
from class_kit.study.paper_figures import save_figures
from class_kit.study.paper_tables import (
    CLASS,
    FURTHER,
    MATCHED,
    RANDOM,
    RANKING,
    find_search,
    gaps_by_data,
    inputs_table,
    key_rows,
    note,
    read_results,
    search_table,
)
from class_kit.study.results import STANDARD
from class_kit.study.tables import VERDICTS, frame_of, verdict
from class_kit.terminal import counted, one_line

ROOT = Path(__file__).resolve().parent.parent
# what the pages show of the paper's study
FIGURE = "main_effect"
_ARROWS = {"text_to_molecule": "text→molecule", "molecule_to_text": "molecule→text"}
PAPER, BENCH = "figures/paper/README.md", "tests/bench/README.md"


def publish(run: Path) -> None:
    """Copy what is committed from a finished run or from the paper's study, and rewrite the generated parts."""
    if (run / "paper.json").is_file() or (run / RECORD).is_file():
        publish_paper(run)
    elif set(json.loads((run / "metrics.json").read_text(encoding="utf-8"))) == {"02_difficulty"}:
        publish_prediction(run)
    else:
        publish_run(run)
    rewrite_pages()


def rewrite_pages() -> None:
    """Rewrite the generated parts of the pages from the committed records."""
    for (page, mark), words in generated_parts().items():
        path = ROOT / page
        path.write_text(with_part(path.read_text(encoding="utf-8"), mark, words), encoding="utf-8")


def committed(name: str) -> Any:
    """A committed record below `figures/`."""
    return json.loads((ROOT / "figures" / name).read_text(encoding="utf-8"))


def generated_parts() -> dict[tuple[str, str], str]:
    """Every generated part by its page and the name in its marks: the text between the marks."""
    paper = read_results()
    return {
        ("README.md", "the noise study"): noise_front(read_noise(), committed("paper/finetune.json")["tables"]),
        ("README.md", "the paper's study"): front_section(paper),
        ("notebooks/README.md", "the default run"): results_section(committed("default/metrics.json")),
        (PAPER, "the noise study"): noise_section(read_noise()),
        (PAPER, "the paper's study"): paper_section(paper),
        (PAPER, "fine-tuning on a card"): finetune_section(committed("paper/finetune.json")),
        (PAPER, "notebook 2 on real pairs"): prediction_section(committed("difficulty/prediction.json")),
        ("class_kit/backbones/README.md", "the measurement of backbones"): backbones_section(
            committed("backbones/results.json")
        ),
        (BENCH, "the measurement of neighbours"): times_section(committed("neighbours/time.json")),
        (BENCH, "the measurement of the curriculum"): cost_section(committed("curriculum/cost.json")),
        (BENCH, "the measurement of the static encoder"): static_section(committed("text/static.json")),
        (BENCH, "the measurement of the molecule encoders"): molecules_section(committed("molecules/encoders.json")),
    }


def with_part(page: str, name: str, words: str) -> str:
    """A page with `words` between the marks of a generated part; SystemExit if a mark is missing or occurs twice."""
    start, end = (f"<!-- from {name}: {edge} -->" for edge in ("begin", "end"))
    if page.count(start) != 1 or page.count(end) != 1:
        raise SystemExit(f"expected each of {start!r} and {end!r} once on the page")
    return f"{page[: page.index(start)]}{start}\n{words}\n{page[page.index(end) :]}"


def publish_paper(run: Path) -> None:
    """Copy the aggregated results of the paper's study and the record of noise, and draw the figure on the pages."""
    target = ROOT / "figures" / "paper"
    if (run / RECORD).is_file():
        shutil.copy(run / RECORD, target)
    if not (run / "paper.json").is_file():
        return
    results = read_results(run / "paper.json")
    if "main" not in results["products"]:
        raise SystemExit(f"{run}: no results of the product 'main', whose figure the README shows")
    use_style()
    with TemporaryDirectory() as folder:
        save_figures(results, "main", folder)
        for drawn in (Path(folder) / "figures").glob(f"{FIGURE}.*"):
            shutil.copy(drawn, target)
    shutil.copy(run / "paper.json", target)


def publish_prediction(run: Path) -> None:
    """Commit what a run of notebook 2 on real pairs found about measures and ranks."""
    found = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["02_difficulty"]
    if not (run / "done").is_file() or found["predicted"]["pairs"] == "corpus":
        raise SystemExit(f"{run}: expected a finished run of notebook 2 on real pairs")
    kept = {name: found[name] for name in ("training_pairs", "predicted", "prediction")}
    record = committed("difficulty/prediction.json") | {found["predicted"]["pairs"]: kept}
    write_json(ROOT / "figures" / "difficulty" / "prediction.json", record)


def publish_run(run: Path) -> None:
    """Copy a finished run's figures, metrics and notebook outputs."""
    if not (run / "done").is_file():
        raise SystemExit(f"{run}: not a finished run (no file `done`)")
    target = ROOT / "figures" / "default"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run / "figures", target)
    shutil.copy(run / "metrics.json", target)
    for executed in sorted((run / "notebooks").glob("*.ipynb")):
        copy_outputs(executed, ROOT / "notebooks" / executed.name)


def copy_outputs(executed: Path, source: Path) -> None:
    """Copy the outputs of `executed` into the cells of `source`; the injected parameters cell is left out."""
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
    """Keep what a reader sees: a widget needs a kernel, so a note stands in for it; pictures are made smaller."""
    data = output.get("data", {})
    if "image/png" in data:
        data["image/png"] = small_png(data["image/png"])
    if "application/vnd.jupyter.widget-view+json" in data:
        del data["application/vnd.jupyter.widget-view+json"]
        data["text/plain"] = "(an interactive view: run the notebook to use it)"
    output.get("metadata", {}).pop("papermill", None)
    return output


def small_png(encoded: str) -> str:
    """A base64 picture with a palette of 128 colours: a third of the bytes, and it looks the same."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    # on white, since a palette has at most one transparent colour
    page = Image.new("RGBA", image.size, "white")
    page.alpha_composite(image.convert("RGBA"))
    buffer = io.BytesIO()
    palette = page.convert("RGB").quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def noise_front(record: dict[str, Any], tuned: Sequence[dict[str, Any]] = ()) -> str:
    """`auto` minus standard training among exchanged pairs, in Hits@1, by data set and share.

    A last row is that of the fine-tuned encoder with the larger batch.
    """
    if not record["differences"]:
        return "No record is committed yet."
    wanted = {"arm": "auto", "reference": STANDARD, "metric": "hits@1", "ranking": RANKING}
    rows = [row for row in record["differences"] if wanted.items() <= row.items()]
    rows = [row for row in rows if row["backbone"] == rows[0]["backbone"]]
    shares = sorted({row["noise"] for row in rows})
    lines = [f"| `auto`, points of Hits@1 | {' | '.join(f'{share:.0%} exchanged' for share in shares)} |"]
    lines.append("|---" * (len(shares) + 1) + "|")
    for data in dict.fromkeys(row["data"] for row in rows):
        own = {row["noise"]: row for row in rows if row["data"] == data}
        cells = [_points(row | {f"difference_{end}": row[end] for end in ("low", "high")}) for row in own.values()]
        lines.append(f"| {data} | {' | '.join(cells)} |")
    wanted = {"arm": "auto", "metric": "hits@1", "ranking": RANKING}
    largest = max((table["batch_size"] for table in tuned), default=0)
    own = {
        table["noise"]: _points(row)
        for table in tuned
        if table["batch_size"] == largest
        for row in table["differences"]
        if wanted.items() <= row.items()
    }
    if own:
        seeds = next(len(table["seeds"]) for table in tuned if table["batch_size"] == largest)
        lines.append(f"| chebi20, fine-tuned ({seeds} seeds) | {' | '.join(own.get(share, '–') for share in shares)} |")
    about = f"Minus standard training, text→molecule, {_seeds(rows)}, 95 % intervals; bold: corrected p < 0.05."
    return "\n".join([*lines, "", about])


def noise_section(record: dict[str, Any]) -> str:
    """Every order minus standard training, and the audit of the training pairs."""
    if not record["differences"]:
        return "No record is committed yet."
    arms = list(dict.fromkeys(row["arm"] for row in record["differences"] if row["reference"] == STANDARD))
    sizes = "; ".join(
        f"{name}: {one['sizes']['train']:,} training pairs, {one['sizes']['test']:,} queries"
        for name, one in record["inputs"].items()
    )
    found = frame_of(record["detection"]).rename(columns={"auc": "AUC"})
    shown = found.assign(
        noise=(100 * found["noise"]).map("{:.0f} %".format),
        AUC=[f"{value:.3f}" if value == value else "–" for value in found["AUC"]],
        share=[
            f"{100 * row.share:.1f} % ({100 * row.share_low:.1f} to {100 * row.share_high:.1f})"
            for row in found.itertuples()
        ],
    )
    parts = [
        f"{sizes}. Hits@1 minus standard training, in points, text→molecule in the split's pool, "
        "95 % intervals over queries and seeds; columns: the share of training pairs exchanged.",
        markdown_table(noise_table(record, arms).fillna("–")),
        "What `audit_pairs` says of the training pairs of the first seed: area under the curve of its agreement "
        "between exchanged and other pairs, and the estimated share of mismatched pairs with its 95 % interval.",
        markdown_table(shown[["data", "noise", "AUC", "share"]]),
    ]
    return "\n\n".join(parts)


def _seeds(rows: list[dict[str, Any]]) -> str:
    fewest = min(row["seeds"] for row in rows)
    return f"{fewest} seeds{' (preliminary)' if fewest < 5 else ''}"


def front_section(results: dict[str, Any]) -> str:
    """What came of CLASS minus each control in Hits@1, in words."""
    main, inputs = results["products"]["main"], results["inputs"]
    wanted = {"arm": CLASS, "metric": "hits@1", "ranking": RANKING}
    gaps = [row for row in main["differences"] if wanted.items() <= row.items()]
    said = []
    for control in (STANDARD, RANDOM, MATCHED):
        found = [verdict(row) for row in gaps if row["reference"] == control]
        counts = [f"{word} {found.count(word)}" for word in (VERDICTS[0], VERDICTS[2]) if found.count(word)]
        said.append(f"{control}: {', '.join([*counts, f'not told apart {found.count(VERDICTS[1])}'])}")
    return (
        f"{len({row['backbone'] for row in gaps})} backbones, CLASS compared with {'; '.join(said)} "
        f"({inputs['sizes']['train']:,} training pairs, {inputs['extra']:,} of them unpublished as a set, "
        f"{inputs['sizes'][inputs['evaluated']]:,} queries, {len(main['settings']['seeds'])} seeds)."
    )


def _points(row: dict[str, Any]) -> str:
    """A difference in Hits@1 with half of its interval, bold where it is told from zero."""
    half = "" if row["difference_low"] is None else f" ± {50 * (row['difference_high'] - row['difference_low']):.1f}"
    # no minus before a zero
    shown = f"{round(100 * row['difference'], 1) + 0.0:+.1f}{half}"
    return shown if verdict(row) == VERDICTS[1] else f"**{shown}**"


def paper_section(results: dict[str, Any]) -> str:
    """The tables of the paper's study, text→molecule in the split's pool."""
    parts = [markdown_table(inputs_table(results))]
    for name, product in results["products"].items():
        parts += [f"### {name}: {product['title']}", note(results, name)]
        if name in FURTHER:
            parts.append(markdown_table(gaps_by_data(results, name)))
            if "apart" in product:
                parts.append("Only the queries without a near-duplicate among the training pairs; same pool:")
                parts.append(markdown_table(gaps_by_data(results, name, apart=True)))
            continue
        for table in ("summary", "differences", "apart_differences", "ties", "savings"):
            rows = key_rows(results, name, table)
            if len(rows):
                if table == "apart_differences":
                    parts.append(
                        f"Only the {product['apart']['queries']:,} queries without a near-duplicate; same pool:"
                    )
                parts.append(markdown_table(rows))
        if name == "main":
            parts.append(f"![CLASS minus each control in Hits@1, by backbone, with intervals]({FIGURE}.png)")
    if search := find_search():
        about = "Each arm minus the standard run, both tuned on validation pairs; Hits@1 in points, Mean Rank in ranks."
        parts += ["### The search for a gain", about, markdown_table(search_table(search)[1])]
    return "\n\n".join(parts)


def markdown_table(frame: Any) -> str:
    """A table as Markdown, whatever its cells hold."""
    rows = [list(frame.columns), ["---"] * frame.shape[1], *frame.to_numpy().tolist()]
    cells = [[one_line(cell).replace("|", "\\|").replace("<", "&lt;") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def backbones_section(results: dict[str, Any]) -> str:
    """Every backbone with standard training and with CLASS; every number in the table is in `results`."""
    pairs, ridge = results["pairs"], results["ridge"]["text_to_molecule/split"]
    split, whole, back = "text_to_molecule/split", "text_to_molecule/all", "molecule_to_text/split"
    lines = [
        f"Trained on {pairs['train']:,} real pairs ({pairs['extra']:,} of them not of ChEBI-20's own validation file; "
        f"this is not the published training set), evaluated on {pairs['test']:,} test pairs, frozen MiniLM and "
        f"Mol2vec. Hits@1 in percent with 95 % intervals over queries and seeds: text→molecule among {pairs['test']:,} "
        f"and all {pairs['pool']:,} molecules, and molecule→text among {pairs['test']:,} texts. The last column is "
        "CLASS minus standard for text→molecule in the smaller pool. Ridge regression from text to molecule vectors "
        f"has MRR {ridge['mrr']:.3f} and Hits@1 {100 * ridge['hits@1']:.1f}.",
        "",
        "| backbone | arm | MRR | Hits@1 | among all | molecule→text | samples | seconds | CLASS minus standard |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, table in results["tables"].items():
        rows = {(row["arm"], row["ranking"]): row for row in table["summary"]}
        shift = _shift(next(row for row in table["differences"] if row["ranking"] == split))
        for arm, word in (("standard", "standard"), ("curriculum", "CLASS")):
            own = rows[arm, split]
            seeds = f"{own['seeds']} seed{'s' if own['seeds'] > 1 else ''}, {table['settings']['epochs']} epochs"
            options = "".join(f", {key}={value}" for key, value in table["options"].items())
            said = f"{name} ({seeds}{options}{', preliminary' if table['preliminary'] else ''})"
            label = said if arm == "standard" else ""
            hits = " | ".join(_percent(rows[arm, ranking]) for ranking in (split, whole, back))
            lines.append(
                f"| {label} | {word} | {own['mrr']:.3f} | {hits} | {own['samples']:,.0f} | {own['seconds']:,.0f} | "
                f"{shift if arm == 'curriculum' else ''} |"
            )
    measured = {table["backbone"] for table in results["tables"].values()}
    missing = [f"`{name}`" for name in available_backbones() if name not in measured]
    if missing:
        lines += ["", f"Not measured on these pairs: {', '.join(missing)}."]
    return "\n".join(lines)


def _percent(row: dict[str, Any], metric: str = "hits@1") -> str:
    value, low, high = (100 * row[metric + part] for part in ("", "_low", "_high"))
    return f"{value:.1f} ({low:.1f}–{high:.1f})"


def _shift(row: dict[str, Any]) -> str:
    value, low, high = (100 * row["difference" + part] for part in ("", "_low", "_high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def finetune_section(record: dict[str, Any]) -> str:
    """Each arm with the text encoder fine-tuned: Hits@1 in both pools, the difference from the baseline, the cost."""
    first = record["tables"][0]
    lines = [
        f"The `text2mol` head on a fine-tuned encoder, in {first['precision']} on one {first['device']} (torch "
        f"{first['torch']}); rates: multiples of Text2Mol's learning rates. Hits@1 in percent, text→molecule; in "
        "brackets, the difference from the baseline with its 95 % interval over queries and seeds. Seconds leave out "
        "validation and ranking; the peak is the card's for bfloat16.",
        "",
        "| encoder | batch | rates | mismatched pairs | arm | seeds | among 3,300 | among 33,010 | samples | seconds | "
        "samples/s | % of peak |",
        "|---|---:|---:|---:|---|---:|---|---|---:|---:|---:|---:|",
    ]
    for table in record["tables"]:
        differences = table.get("differences", ())
        gaps = {(row["ranking"], row["arm"]): row for row in differences if row["metric"] == "hits@1"}
        scores = {(row["ranking"], row["arm"]): row for row in table["metrics"]}
        for cost in table["costs"]:
            hits = []
            for pool in ("split", "all"):
                key = (f"text_to_molecule/{pool}", cost["arm"])
                shift = f" [{_shift(gaps[key])}]" if key in gaps else ""
                hits.append(f"{100 * scores[key]['hits@1']:.1f}{shift}")
            lines.append(
                f"| {table['encoder']} | {table['batch_size']} | ×{table['rates']:g} | {table['noise']:.0%} | "
                f"{cost['arm']} | {len(table['seeds'])} | "
                f"{' | '.join(hits)} | {cost['samples']:,.0f} | {cost['seconds']:.1f} | {cost['samples/s']:,.0f} | "
                f"{100 * cost['peak_share']:.1f} |"
            )
    return "\n".join(lines)


def prediction_section(record: dict[str, Any]) -> str:
    """Every measure's correlation with the rank, one line per measure, from recorded runs of notebook 2."""
    return "\n\n".join(map(_prediction, record.values()))


def _prediction(results: dict[str, Any]) -> str:
    ran, columns = results["predicted"], {"train": 1, "pool": 2, "pair": 3, "model": 3}
    cells: dict[str, list[str]] = {}
    for row in results["prediction"]:
        shown = "the same for all"
        if row["rho"] is not None:
            shown = f"{row['rho']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
            shown = f"**{shown}**" if row["low"] * row["high"] > 0 else shown
        cells.setdefault(row["measure"], [row["measure"], "", "", ""])[columns[row["counted_in"]]] = shown
    return "\n".join(
        [
            f"Spearman's ρ with the rank, and its 95 % bootstrap interval, for {ran['held_out_pairs']:,} held-out "
            f"pairs of {ran['pairs']} (text vectors {ran['text_encoder']}, Mol2vec vectors {ran['vectors']}), ranked "
            f"text→molecule among {ran['pool']:,} by heads trained for {ran['epochs']} epochs on "
            f"{results['training_pairs']:,} pairs ({ran['note']}). Above 0, pairs that the measure calls harder are "
            "ranked worse; bold: the interval excludes 0. Counts without a stated σ use "
            f"σ = {ran['sigmas'][0]:.2f}. A neighbour in the pool competes for the rank, whatever the training.",
            "",
            "| measure | neighbours in the training set | in the pool | without neighbours |",
            "|---|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in cells.values()),
        ]
    )


def times_section(times: dict[str, Any]) -> str:
    """A table of seconds by method and number of pairs; extrapolated ones are marked."""
    rows = times["rows"]
    sizes = sorted({row["size"] for row in rows})
    lines = [
        f"Seconds on {times['threads']} cores at σ = {times['sigma']:g}; ≈ marks times extrapolated as L² from the "
        f"last measured size. {_kinds(rows)}",
        "",
        "| method | " + " | ".join(f"{size:,}" for size in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    for method in dict.fromkeys(row["method"] for row in rows):
        own = {row["size"]: row for row in rows if row["method"] == method}
        cells = [
            f"{'' if own[size]['measured'] else '≈ '}{own[size]['seconds']:,.{2 if own[size]['seconds'] < 10 else 0}f}"
            if size in own
            else "–"
            for size in sizes
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    peak = max(row.get("peak_gib", 0.0) for row in rows)
    lines += [
        "",
        f"From 50,000 pairs on, the kit's time grows like L^{times['exponent']:.2f}; the largest size took "
        f"{peak:.1f} GiB, input included.",
    ]
    if dense := times.get("dense"):
        lines[-1] += (
            f" Where neighbourhoods are dense ({dense['size']:,} generated pairs, median N_i "
            f"{dense['median_count']:,.0f}), the kit takes {dense['seconds']:.2g} s and the symmetric product "
            f"{dense['product_seconds']:.2g} s."
        )
    return "\n".join(lines)


def cost_section(figures: dict[str, Any]) -> str:
    """What the curriculum costs, next to the limit it must stay under; every number is in `figures`."""
    limits, rows = figures["limits"], f"{figures['rows']:,}"
    table = [
        (f"plan of {figures['epochs']} epochs over {rows} pairs", "plan_seconds", "{:.2g} s"),
        ("its sampler, as a share of an epoch's training", "sampler_share", "{:.2%}"),
        ("a training step with the plan, relative to one without", "step_difference", "{:+.1%}"),
        (f"groups of near neighbours among {rows} pairs", "groups_seconds", "{:.3g} s"),
        ("batches from such groups without duplicates, as a share of an epoch", "composition_share", "{:.2%}"),
    ]
    lines = ["| cost | measured | limit |", "|---|---:|---:|"]
    for words, name, form in table:
        most = form.replace("+", "").format(limits[name]) if name in limits else "–"
        lines.append(f"| {words} | {form.format(figures[name])} | {'±' * ('+' in form)}{most} |")
    for run in figures["runs"]:
        most = run["share"] + limits["time_beside_share"]
        lines.append(f"| time of a run with {run['share']:.0%} of the samples | {run['time']:.0%} | {most:.0%} |")
    lines += [
        "",
        f"CPU time of a small dual encoder on frozen vectors, batches of {figures['batch_size']}, measured with and "
        f"without in turn; a larger model makes every share smaller. Memory at most {figures['peak_gib']:.1f} GiB.",
    ]
    return "\n".join(lines)


def static_section(record: dict[str, Any]) -> str:
    """The static text encoder beside MiniLM, a row for each comparison and a column for each data set."""
    settings, columns = record["settings"], []
    for one in record["data"]:
        speed, check = one["speed"], one["check"]
        rows = {
            "tokens a second, MiniLM": f"{speed['minilm']:,.0f}",
            "tokens a second, static": f"{speed['static']:,.0f} ({speed['static'] / speed['minilm']:.0f} times)",
            "Spearman's ρ of N_i": f"{one['rho']:.2f}",
            "MiniLM's neighbours that are neighbours too": f"{one['shared']:.0%}",
        }
        for ranking in one["rankings"]:
            hits, ends = ranking["hits@1"], (ranking["difference_low"], ranking["difference_high"])
            shift = " to ".join(f"{100 * end:+.1f}" for end in ends)
            name = f"Hits@1 %, {_ARROWS[ranking['ranking'].split('/')[0]]}, MiniLM / static"
            rows[name] = f"{100 * hits['minilm']:.1f} / {100 * hits['static']:.1f} ({shift})"
        for key, name in (("auc", "AUC"), ("share", "share")):
            told = f"mismatched pairs, {settings['noise']:.0%} exchanged: {name}, MiniLM / static"
            rows[told] = " / ".join(f"{check[encoder][key]:.3f}" for encoder in ("minilm", "static"))
        columns.append(rows)
    names = [one["data"] for one in record["data"]]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    lines += [f"| {title} | {' | '.join(rows[title] for rows in columns)} |" for title in columns[0]]
    lines += [
        "",
        f"Retrieval: `dual_encoder`, {settings['epochs']} epochs on all pairs, {settings['seeds']} seeds; in brackets "
        "the 95 % interval of the difference. ChEBI-20 is the real split.",
    ]
    return "\n".join(lines)


def molecules_section(record: dict[str, Any]) -> str:
    """The molecule encoders, a table for each data set with a row for each encoder."""
    settings, lines = record["settings"], []
    seeds = settings["seeds"]

    def points(rows: list[dict[str, Any]]) -> str:
        row = next(row for row in rows if row["ranking"] == "text_to_molecule/split")
        ends = (100 * row[f"difference{end}"] for end in ("", "_low", "_high"))
        return "{:+.1f} ({:+.1f} to {:+.1f})".format(*ends)

    for one in record["data"]:
        titles = [
            f"{one['data']}, {one['pairs']:,} pairs",
            "d",
            "σ",
            "N_i: ninth decile, maximum",
            "ρ with Mol2vec's N_i",
        ]
        titles += ["ρ with the rank", "at σ = 0.95", "AUC", *(["Hits@1 %", "CLASS − standard"] if seeds else [])]
        lines += [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
        for encoder in one["encoders"]:
            count = encoder["matched"]
            cells = [encoder["encoder"], f"{encoder['width']:,}", f"{count['sigma']:.3f}"]
            cells += [f"{count['ninth decile']:.0f}, {count['largest']:.0f}", f"{encoder['rho']:.2f}"]
            for at in (count, encoder["fixed"]):
                cells.append("{:.2f} ({:.2f} to {:.2f})".format(*at["predicted"]["train"]))
            cells.append(f"{encoder['check']['auc']:.3f}")
            if seeds:
                cells += [f"{100 * encoder['head'][0]['hits@1']:.1f}", points(encoder["class"])]
            lines.append(f"| {' | '.join(cells)} |")
        lines += [f"| random order |{' |' * (len(titles) - 2)} {points(one['random order'])} |"] if seeds else []
        lines.append("")
    each = record["seconds a molecule"]
    speed = ", ".join(f"{name} {1000 * each[name]:.1f} ms" for name in each)
    lines += [
        "σ leaves half of the training pairs without a neighbour. ρ with the rank: Spearman's, between N_i of held-out "
        "pairs, counted among the training pairs, and their ranks (text→molecule) under a `dual_encoder` that reads "
        "Mol2vec and was trained on all pairs; negative where pairs with more neighbours are ranked better. AUC: of "
        f"the check, with {settings['noise']:.0%} of the training pairs exchanged."
    ]
    if seeds:
        lines[-1] += (
            " Hits@1: of heads that read the encoder's vectors. CLASS: of heads that read Mol2vec, in the order of the "
            f"encoder's N_i, in points of Hits@1; both {settings['epochs']} epochs, {counted(seeds, 'seed')}. In "
            "brackets 95 % intervals."
        )
    minutes = each["minimol"] * 33_010 / 60
    lines[-1] += f" CPU time of a molecule: {speed}, so that MiniMol takes {minutes:.0f} minutes for ChEBI-20's 33,010."
    return "\n".join(lines)


def _kinds(rows: list[dict[str, Any]]) -> str:
    """Which sizes are real pairs, as each row says of itself."""
    real = sorted({row["size"] for row in rows if row["data"] == "real"})
    own = f"{', '.join(f'{size:,}' for size in real)} pairs are real ChEBI-20, the others" if real else "All pairs"
    return f"{own} are generated to resemble {'it' if real else 'ChEBI-20'}."


def results_section(metrics: dict[str, Any]) -> str:
    """Sentences and a table about the default run; every number is from `metrics`."""
    embedding, difficulty, retrieval = (metrics[name] for name in ("01_embedding", "02_difficulty", "05_retrieval"))
    rows = [row for row in retrieval["summary"] if row["ranking"] == "text_to_molecule/split"]
    shift = {row["arm"]: row for row in retrieval["differences"] if row["ranking"] == "text_to_molecule/split"}
    count = difficulty["counts"][-1]
    lines = [
        f"The bundled corpus has {embedding['pairs']:,} pairs with generated descriptions. At σ = {count['sigma']:g}, "
        f"{count['zero']:.1%} of its training pairs have no neighbour; the neighbour counts of the others and a seeded "
        f"shuffle of the ties decide the order. Text→molecule among the {rows[0]['pool']:,.0f} held-out molecules, "
        f"{rows[0]['seeds']:.0f} seeds, 95 % intervals over queries and seeds:",
        "",
        "| arm | Hits@1 | MRR | Mean Rank | share of the baseline's samples | Hits@1 minus that of CLASS |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["arm"], _percent(row), f"{row['mrr']:.3f}", f"{row['mean_rank']:.1f}", f"{row['share']:.0%}"]
        lines.append(f"| {' | '.join(cells)} | {_shift(shift[row['arm']]) if row['arm'] in shift else '–'} |")
    lines += ["", "Generated descriptions show how the kit works, not whether the method does."]
    return "\n".join(lines)


if __name__ == "__main__":
    for given in sys.argv[1:]:
        publish(Path(given))
    rewrite_pages()
