"""The notebooks and the dashboard as a reader meets them: in a browser, with the keyboard, on pairs that attack.

Screenshots go to the folder that CLASS_KIT_SCREENSHOTS names, else to pytest's temporary folder.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_notebook

from class_kit.runs.notebooks import declared_parameters
from tests.browser_tools import ROOT, Hands, Server, jupyterlab, voila
from tests.short_run import BEACON, MARKUP

DASHBOARD = ROOT / "notebooks" / "dashboard" / "dashboard.ipynb"
SMALL = {"epochs": 2, "growth": 0.3, "batch_size": 64}
# without it JupyterLab asks which kernel is meant
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
GOOD = """
from class_kit import widgets
display(widgets.schedule_designer(1000, 5), widgets.intensity_comparer(5))
"""
FAULTY = f"""
import ipywidgets
slider = ipywidgets.IntSlider(max=1, description="x")
view = widgets.View(slider, ipywidgets.HTML({MARKUP[1]!r}))
view.react(lambda: 1 / 0, slider)
view
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers keep what is theirs, the key that makes outputs trusted included."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "data").mkdir()
    return folder


@pytest.fixture(scope="module")
def books(short_run: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dashboard with small parameters on the pairs of the short run, all that this run shows, and views alone."""
    root = tmp_path_factory.mktemp("notebooks")
    dashboard = nbformat.read(DASHBOARD, as_version=4)
    (first,) = [cell for cell in dashboard.cells if "parameters" in cell.metadata.get("tags", [])]
    wishes = SMALL | {"pairs": str(short_run.parent / "part.csv")}
    chosen = [f"{name} = {wishes[name]!r}" for name in declared_parameters(first.source) if name in wishes]
    dashboard.cells.insert(dashboard.cells.index(first) + 1, new_code_cell("\n".join(chosen)))
    (root / "dashboard").mkdir()
    nbformat.write(dashboard, root / "dashboard" / "dashboard.ipynb")
    shutil.copy(DASHBOARD.with_name("voila.json"), root / "dashboard")

    shown, widgets = new_notebook(metadata=KERNEL), {}
    for path in sorted((short_run / "notebooks").glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        shown.cells += book.cells
        for kind, saved in book.metadata.get("widgets", {}).items():
            widgets.setdefault(kind, saved)["state"] |= saved["state"]
    for number, cell in enumerate(shown.cells):
        cell["id"] = f"cell-{number}"
    shown.metadata["widgets"] = widgets
    nbformat.write(shown, root / "shown.ipynb")
    # as if the reader had run it here: outputs that are not trusted would be cleaned by JupyterLab
    NotebookNotary(data_dir=str(home / "data")).sign(shown)

    alone = new_notebook(cells=[new_code_cell(GOOD.strip()), new_code_cell(FAULTY.strip())], metadata=KERNEL)
    nbformat.write(alone, root / "alone.ipynb")
    return root


@pytest.fixture(scope="module")
def lab(browser: Any, books: Path, home: Path) -> Iterator[Server]:
    with jupyterlab(books, home) as found:
        yield found


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    """One for all pages, so that the browser reads the front ends' code once."""
    found = browser.new_context(viewport={"width": 1300, "height": 1700})
    yield found
    found.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.environ.get("CLASS_KIT_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


def test_every_view_in_jupyterlab(context: Any, lab: Server, pictures: Path) -> None:
    hands = Hands(context, lab, pictures)
    hands.begin("lab/workspaces/one/tree/dashboard/dashboard.ipynb", "dashboard/dashboard.ipynb")
    hands.finish()
    for name, view in hands.views():
        hands.move_all(view)
        hands.save(f"lab-{name}", view)
    hands.close()


def test_all_that_the_notebooks_show_in_jupyterlab(context: Any, lab: Server, pictures: Path, books: Path) -> None:
    """Tables, words, pictures and saved views of all executed notebooks: nothing acts, and it is there as text."""
    hands = Hands(context, lab, pictures)
    hands.open("lab/workspaces/two/tree/shown.ipynb")
    hands.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(state="attached")
    views = len(re.findall(r"\bwidgets\.\w+\(", (books / "shown.ipynb").read_text(encoding="utf-8")))
    found = f"() => document.querySelectorAll('.class-kit-view').length === {views}"
    # one page with the views of all notebooks: minutes on a busy machine
    hands.page.wait_for_function(found, timeout=400_000)
    hands.page.wait_for_timeout(1000)
    hands.save("shown")
    assert hands.page.locator("td", has_text="<script>").count(), "the attack is in a table, as text"
    hands.check_outputs()
    hands.close("shown.ipynb")


def test_views_in_notebook_7_and_what_these_tests_look_for(context: Any, lab: Server, pictures: Path) -> None:
    """A callback that raises shows it in its view; markup that acts and pictures from elsewhere are noticed."""
    pytest.importorskip("notebook", reason="this test needs: pip install notebook")
    hands = Hands(context, lab, pictures)
    hands.begin("notebooks/alone.ipynb", "alone.ipynb")
    hands.finish()
    *good, faulty = hands.page.locator(".class-kit-view").all()
    assert len(good) == 2
    for view in good:
        hands.move_all(view)
    hands.save("notebook-7")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        hands.move_all(faulty)
    assert faulty.get_by_text("ZeroDivisionError").count()
    with pytest.raises(AssertionError, match=re.escape(BEACON)):
        hands.check_manners()
    hands.strayed.clear()
    with pytest.raises(AssertionError, match="text from the data acted"):
        hands.check_manners()
    hands.page.evaluate("() => { window.hit = null; }")
    hands.close()


def test_dashboard_in_voila(context: Any, books: Path, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("voila", reason="the dashboard needs: pip install voila")
    with voila(books / "dashboard" / DASHBOARD.name, tmp_path) as server:
        hands = Hands(context, server, pictures)
        hands.open("")
        hands.page.locator(".class-kit-view").first.wait_for()
        for name, view in hands.views():
            hands.tab_through(view, hands.page.get_by_role("tab", selected=True))
            if name == "Search":
                hands.ask(view, "A steroid with a hydroxy group.")
            elif name == "Difficulty":
                hands.move_all(view)
            hands.save(f"voila-{name}")
        assert hands.page.get_by_text("import numpy").count() == 0, "the dashboard shows no code"
        hands.close()
