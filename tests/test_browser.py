"""The notebooks and the dashboard as a reader meets them: in a browser, with the keyboard, on pairs that attack.

Screenshots go to the folder that CLASS_KIT_SCREENSHOTS names, else to pytest's temporary folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser_servers import ROOT, Server, hostile_pairs, jupyterlab, small_copy, voila
from tests.browser_tools import Hands, find_chromium, launch
from tests.notebook_tools import write_notebook

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
DASHBOARD = ROOT / "notebooks" / "dashboard" / "dashboard.ipynb"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    executable = find_chromium()
    if executable is None:
        pytest.skip("no chromium: the browser tests need Debian's package (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need: pip install playwright")
    with playwright.sync_playwright() as driver:
        found = launch(driver, executable)
        yield found
        found.close()


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebooks with small parameters, and the pairs they run on."""
    root = tmp_path_factory.mktemp("notebooks")
    pairs = hostile_pairs(root / "pairs.csv")
    for path in [*NOTEBOOKS, DASHBOARD]:
        small_copy(path, root / path.relative_to(ROOT / "notebooks"), pairs)
    shutil.copy(DASHBOARD.with_name("voila.json"), root / "dashboard")
    return root


@pytest.fixture(scope="session")
def lab(browser: Any, copies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with jupyterlab(copies, tmp_path_factory.mktemp("jupyterlab")) as found:
        yield found


@contextmanager
def at_work(browser: Any, server: Server, folder: Path) -> Iterator[Hands]:
    context = browser.new_context(viewport={"width": 1300, "height": 1700})
    hands = Hands(context, server, Path(os.environ.get("CLASS_KIT_SCREENSHOTS") or folder))
    yield hands
    hands.check_manners()
    context.close()


@pytest.fixture
def hands(browser: Any, lab: Server, tmp_path: Path) -> Iterator[Hands]:
    with at_work(browser, lab, tmp_path) as found:
        yield found
    lab.stop_kernels()


def move_views(hands: Hands, name: str) -> int:
    views = hands.page.locator(".class-kit-view").all()
    for at, view in enumerate(views):
        hands.save(f"{name}-{at + 1}-before", view)
        hands.move_all(view)
        hands.save(f"{name}-{at + 1}-after", view)
    return len(views)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_in_jupyterlab(hands: Hands, path: Path) -> None:
    # a workspace of its own: the common one would open what the test before left open
    hands.open(f"lab/workspaces/{path.stem}/tree/{path.name}")
    hands.run_all()
    hands.save(f"{path.stem}-lab")
    assert move_views(hands, path.stem) == path.read_text(encoding="utf-8").count("widgets.")


def test_notebook_in_notebook_7(hands: Hands) -> None:
    hands.open("notebooks/03_scheduler.ipynb")
    hands.run_all()
    hands.save("notebook-7")
    assert move_views(hands, "notebook-7") == 2


def test_dashboard_in_voila(browser: Any, copies: Path, tmp_path: Path) -> None:
    with voila(copies / "dashboard" / DASHBOARD.name, tmp_path) as server, at_work(browser, server, tmp_path) as hands:
        hands.open("")
        hands.page.locator(".class-kit-view").first.wait_for()
        views = hands.page.locator(".class-kit-view").all()
        tabs = hands.page.get_by_role("tab").all()
        assert len(tabs) == len(views) == 7
        for at, (tab, view) in enumerate(zip(tabs, views, strict=True)):
            hands.choose_tab(tabs, at)
            assert view.is_visible()
            hands.move_all(view)
            hands.save(f"voila-{tab.inner_text().strip()}")
        hands.choose_tab(tabs, 0)
        hands.ask(views[0], "A steroid with a hydroxy group.")
        assert hands.page.get_by_text("import numpy").count() == 0, "the dashboard shows no code"


FAULTY = """
import ipywidgets
from class_kit.widgets import View
slider = ipywidgets.IntSlider(max=1, description="x")
view = View(slider, ipywidgets.HTML("<img src='http://example.invalid/a.png' onerror=\\"window.acted='image'\\">"))
view.react(lambda: 1 / 0, slider)
view
"""


def test_what_these_tests_look_for_is_seen(browser: Any, lab: Server, copies: Path, tmp_path: Path) -> None:
    """A callback that raises shows it in its view; markup that acts and pictures from elsewhere are noticed."""
    path = write_notebook(copies / "faulty.ipynb", [], FAULTY.strip())
    notebook = nbformat.read(path, as_version=4)
    # without it JupyterLab asks which kernel is meant
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, path)
    hands = Hands(browser.new_context(), lab, tmp_path)
    hands.open("lab/workspaces/faulty/tree/faulty.ipynb")
    hands.run_all()
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        hands.move_all(hands.page.locator(".class-kit-view"))
    assert hands.page.locator(".class-kit-view").get_by_text("ZeroDivisionError").count()
    with pytest.raises(AssertionError, match=r"example\.invalid"):
        hands.check_manners()
    hands.strayed.clear()
    with pytest.raises(AssertionError, match="image"):
        hands.check_manners()
    lab.stop_kernels()
