"""Tables and figures of a study: CSV for people and programs, booktabs LaTeX and vector PDF for papers."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.errors import InputError
from class_kit.files import write_csv, write_json, write_text
from class_kit.study.records import RANKINGS, Record
from class_kit.study.tables import METRICS, differences, history_frame, summary

if TYPE_CHECKING:
    import pandas as pd

    from class_kit.study.conduct import StudyResult

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "→": r"$\to$",
    "←": r"$\leftarrow$",
    "↔": r"$\leftrightarrow$",
    "−": "--",
    "‐": "-",
    "‑": "-",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "≠": r"$\neq$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "′": "$'$",
    "″": "$''$",
    "ο": "o",
    "ς": r"$\varsigma$",
}
_GREEK = {
    "αβγδεζηθικλμ": "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu",
    "νξπρστυφχψω": "nu xi pi rho sigma tau upsilon phi chi psi omega",
    "ΓΔΘΛΞΠΣΥΦΨΩ": "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega",
}
for _letters, _names in _GREEK.items():
    _LATEX |= {letter: rf"$\{name}$" for letter, name in zip(_letters, _names.split(), strict=True)}
# LaTeX has no commands for the capitals that look like Latin ones
_LATEX |= dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABEZHIKMNOPTX", strict=True))
_SCRIPTS = {"<sub>": "_", "<super>": "^"}
_GROUP = ("pairs", "backbone", "budget")


def latex_text(value: Any) -> str:
    """Text as LaTeX that says it and does nothing else; control characters become spaces.

    Latin letters, the Greek alphabet, raised and lowered signs and common symbols are set by pdfLaTeX. What else there
    is stays as it is, which needs XeLaTeX or LuaLaTeX and a font that has it.
    """
    return "".join(map(_latex_letter, unicodedata.normalize("NFC", str(value))))


def _latex_letter(letter: str) -> str:
    if letter in _LATEX:
        return _LATEX[letter]
    kind, _, code = unicodedata.decomposition(letter).partition(" ")
    if kind in _SCRIPTS and " " not in code:
        base = chr(int(code, 16)).replace("−", "-")
        if base.isascii() and (base.isalnum() or base in "+-=()"):
            return f"${_SCRIPTS[kind]}{{{base}}}$"
    return letter if letter.isprintable() else " "


def booktabs(header: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> str:
    """A `tabular` with booktabs rules: text to the left, numbers (strings of digits) to the right.

    A document that takes it up loads the packages `booktabs` and, for quotation marks, `fontenc` with the option `T1`.

    Raises
    ------
    InputError
        A row of another length than the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise InputError(f"row {row!r} has {len(row)} cells: expected {len(header)}")
    numeric = [all(_looks_numeric(row[at]) for row in rows) for at in range(len(header))]
    layout = "".join("r" if number else "l" for number in numeric)
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", " & ".join(map(latex_text, header)) + r" \\", r"\midrule"]
    lines += [" & ".join(latex_text(cell) for cell in row) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if caption:
        lines.append("% " + " ".join(latex_text(caption).split()))
    return "\n".join(lines) + "\n"


def write_table(folder: str | os.PathLike[str], name: str, frame: pd.DataFrame, shown: pd.DataFrame, note: str) -> None:
    """`name.csv` with every number of `frame`, and `name.tex` with what a reader is `shown`."""
    folder = Path(folder)
    write_csv(folder / f"{name}.csv", frame.columns, frame.itertuples(index=False))
    write_text(folder / f"{name}.tex", booktabs(list(shown.columns), shown.to_numpy().tolist(), note))


def write_outputs(result: StudyResult, out: str | os.PathLike[str]) -> None:
    """Tables, figures and `metrics.json` of a study's finished trainings."""
    out = Path(out)
    whole, gaps = summaries(result), comparisons(result)
    write_table(out / "tables", "summary", whole, readable(whole), _note(result))
    if len(gaps):
        write_table(out / "tables", "differences", gaps, readable_gaps(gaps), _note(result))
    timeless = whole.drop(columns=["seconds", "time share"])
    write_json(out / "metrics.json", {"summary": _plain(timeless), "differences": _plain(gaps)})
    _write_figures(result, whole, out)


def summaries(result: StudyResult) -> pd.DataFrame:
    """One row for each group, ranking and arm: metrics with intervals, and costs."""
    import pandas as pd

    frames = []
    for group, records in groups_of(result).items():
        for ranking in rankings_of(result):
            frame = summary(records, ranking)
            for at, (key, value) in enumerate(zip(_GROUP, group, strict=True)):
                frame.insert(at, key, value)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def comparisons(result: StudyResult, metrics: Sequence[str] = ("hits@1", "mean_rank")) -> pd.DataFrame:
    """One row for each group, ranking, metric and arm: its difference from the first arm of the group."""
    import pandas as pd

    frames = []
    for group, records in groups_of(result).items():
        names = list(dict.fromkeys(record.arm.name for record in records))
        for ranking in rankings_of(result) if len(names) > 1 else ():
            for metric in metrics:
                frame = differences(records, names[0], ranking, metric)
                for at, (key, value) in enumerate(zip(_GROUP, group, strict=True)):
                    frame.insert(at, key, value)
                frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def groups_of(result: StudyResult) -> dict[tuple[str, str, str], list[Record]]:
    """Records that a table may compare: those of the same pairs, backbone and budget."""
    from class_kit.study.conduct import by_group

    return by_group(result.records)


def rankings_of(result: StudyResult) -> tuple[str, ...]:
    """The rankings whose pool the study asks for."""
    return tuple(name for name in RANKINGS if name.rsplit("/", 1)[1] in result.plan.config.pools)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """A summary as a paper prints it: percent, one interval a cell, columns that never vary left out."""
    import pandas as pd

    shown: dict[str, Any] = {key: frame[key] for key in (*_GROUP, "ranking") if frame[key].nunique() > 1}
    shown |= {"pool": frame["pool"].map("{:,}".format), "arm": frame["arm"]}
    for metric in METRICS:
        factor, digits = (100, 1) if metric.startswith("hits") else (1, 3 if metric == "mrr" else 1)
        title = {"mrr": "MRR", "mean_rank": "Mean Rank"}.get(metric, metric.capitalize() + " %")
        shown[title] = [
            interval(row[metric] * factor, row[f"{metric}_low"] * factor, row[f"{metric}_high"] * factor, digits)
            for _, row in frame.iterrows()
        ]
    shown["samples %"] = (100 * frame["share"]).map("{:.0f}".format)
    return pd.DataFrame(shown)


def readable_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Differences as a paper prints them: effect with interval and corrected p, never a star."""
    import pandas as pd

    shown: dict[str, Any] = {key: frame[key] for key in (*_GROUP, "ranking") if frame[key].nunique() > 1}
    shown |= {"metric": frame["metric"], "arm": frame["arm"], "minus": frame["reference"]}
    factors = [100 if metric.startswith("hits") else 1 for metric in frame["metric"]]
    shown["difference"] = [
        interval(row["difference"] * by, row["difference_low"] * by, row["difference_high"] * by, 1, sign=True)
        for by, (_, row) in zip(factors, frame.iterrows(), strict=True)
    ]
    shown["p (Holm)"] = ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in frame["p_holm"]]
    return pd.DataFrame(shown)


def interval(value: float, low: float, high: float, digits: int, sign: bool = False) -> str:
    """A number with its interval in brackets; "–" where there is none."""
    plus = "+" if sign else ""
    if math.isnan(low) or math.isnan(high):
        return f"{value:{plus}.{digits}f} (–)"
    return f"{value:{plus}.{digits}f} ({low:{plus}.{digits}f} to {high:{plus}.{digits}f})"


def _write_figures(result: StudyResult, whole: pd.DataFrame, out: Path) -> None:
    from matplotlib import pyplot as plt

    from class_kit import figures

    figures.use_style()
    for number, (group, records) in enumerate(groups_of(result).items(), start=1):
        what = dict(zip(_GROUP, group, strict=True))
        rows = whole[(whole[list(_GROUP)] == list(group)).all(axis=1)]
        for ranking in rankings_of(result):
            chosen = rows[rows.ranking == ranking]
            label = f"Hits@1, {ranking.split('/')[0].replace('_to_', '→')}, pool {chosen.pool.iloc[0]:,}"
            fig, ax = plt.subplots()
            figures.interval_plot(chosen, "hits@1", label, ax=ax)
            figures.save(fig, out, f"{number:02d}_{ranking.replace('/', '_')}", what)
            plt.close(fig)
        history = history_frame(records)
        if "mrr" in history:
            for x, label in (("samples_seen", "samples seen"), ("seconds_spent", "seconds of training")):
                fig, ax = plt.subplots()
                figures.training_curves(history, x, "mrr", (label, "validation MRR"), ax=ax)
                figures.save(fig, out, f"{number:02d}_mrr_by_{x}", what)
                plt.close(fig)


def _note(result: StudyResult) -> str:
    seeds = result.plan.config.seeds
    return (
        f"95 % intervals over queries and {len(seeds)} seed{'s' if len(seeds) > 1 else ''}; ties at their expectation."
    )


def _plain(frame: pd.DataFrame) -> list[Mapping[str, Any]]:
    """Rows as JSON can hold them: a number that is not finite becomes None."""
    rows = frame.to_dict("records")
    return [
        {
            str(key): None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        for row in rows
    ]


def _looks_numeric(cell: Any) -> bool:
    text = str(cell)
    return bool(text) and text[0] in "+-–−<0123456789" and any(letter.isdigit() for letter in text)
