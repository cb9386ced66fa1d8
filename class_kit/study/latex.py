"""Tables as booktabs LaTeX whose text is data: whatever a file says is set, and nothing of it is obeyed."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.errors import InputError
from class_kit.files import write_csv, write_text

if TYPE_CHECKING:
    import pandas as pd

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


def _looks_numeric(cell: Any) -> bool:
    text = str(cell)
    return bool(text) and text[0] in "+-–−<0123456789" and any(letter.isdigit() for letter in text)
