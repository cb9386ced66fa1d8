"""The notebooks and the dashboard as a reader meets them: in a browser, with the keyboard, on pairs that attack.

Screenshots go to the folder that CLASS_KIT_SCREENSHOTS names, else to pytest's temporary folder.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.browser_servers import ID, ROOT, Server, hostile_pairs, jupyterlab, small_copy, voila
from tests.browser_tools import Hands
from tests.notebook_tools import write_notebook

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
LAB_TEST = "test_notebook_in_jupyterlab"
DASHBOARD = ROOT / "notebooks" / "dashboard" / "dashboard.ipynb"


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebooks with small parameters, and the pairs they run on."""
    root = tmp_path_factory.mktemp("notebooks")
    pairs = hostile_pairs(root / "pairs.csv")
    for path in [*NOTEBOOKS, DASHBOARD]:
        small_copy(path, root / path.relative_to(ROOT / "notebooks"), pairs)
    shutil.copytree(root, root / "again", ignore=lambda folder, names: set(names) - {"03_scheduler.ipynb"})
    shutil.copy(DASHBOARD.with_name("voila.json"), root / "dashboard")
    return root


@pytest.fixture(scope="session")
def lab(browser: Any, copies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with jupyterlab(copies, tmp_path_factory.mktemp("jupyterlab")) as found:
        yield found


@pytest.fixture(scope="session")
def context(browser: Any) -> Iterator[Any]:
    """One for all pages, so that the browser reads the front ends' code once."""
    found = browser.new_context(viewport={"width": 1300, "height": 1700})
    yield found
    found.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.environ.get("CLASS_KIT_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


class Desk:
    """Notebooks in JupyterLab: while one is looked at, the next one of this session is already computing."""

    def __init__(self, new_page: Callable[[], Hands], coming: Sequence[str]) -> None:
        self.new_page, self.coming = new_page, list(coming)
        self.open: dict[str, Hands] = {}

    def take(self, stem: str) -> Hands:
        self._begin(stem)
        self.coming.remove(stem)
        if self.coming:
            self._begin(self.coming[0])
        return self.open.pop(stem)

    def _begin(self, stem: str) -> None:
        if stem not in self.open:
            self.open[stem] = self.new_page()
            # a workspace of its own: the common one would open what the test before left open
            self.open[stem].begin(f"lab/workspaces/{stem}/tree/{stem}.ipynb", f"{stem}.ipynb")


@pytest.fixture(scope="session")
def desk(request: pytest.FixtureRequest, context: Any, lab: Server, pictures: Path) -> Desk:
    items = [item for item in request.session.items if getattr(item, "originalname", "") == LAB_TEST]
    return Desk(lambda: Hands(context, lab, pictures), [item.callspec.id for item in items])


def move_views(hands: Hands, name: str) -> int:
    views = hands.page.locator(".class-kit-view").all()
    for at, view in enumerate(views):
        hands.save(f"{name}-{at + 1}-before", view)
        hands.move_all(view)
        hands.save(f"{name}-{at + 1}-after", view)
    return len(views)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_in_jupyterlab(desk: Desk, path: Path) -> None:
    hands = desk.take(path.stem)
    hands.finish()
    hands.save(f"{path.stem}-lab")
    assert move_views(hands, path.stem) == len(re.findall(r"\bwidgets\.\w+\(", path.read_text(encoding="utf-8")))
    if path.stem == "00_your_pairs":
        assert hands.page.locator("td").get_by_text(ID.split("window")[0]).count(), (
            "a rejected row is in the table, as text"
        )
    hands.close()


def test_notebook_in_notebook_7(context: Any, lab: Server, pictures: Path) -> None:
    pytest.importorskip("notebook", reason="this test needs: pip install notebook")
    hands = Hands(context, lab, pictures)
    hands.begin("notebooks/again/03_scheduler.ipynb", "again/03_scheduler.ipynb")
    hands.finish()
    hands.save("notebook-7")
    assert move_views(hands, "notebook-7") == 2
    hands.close()


def test_dashboard_in_voila(context: Any, copies: Path, pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("voila", reason="the dashboard needs: pip install voila")
    with voila(copies / "dashboard" / DASHBOARD.name, tmp_path) as server:
        hands = Hands(context, server, pictures)
        hands.open("")
        hands.page.locator(".class-kit-view").first.wait_for()
        views = hands.page.locator(".class-kit-view").all()
        tabs = hands.page.get_by_role("tab").all()
        assert len(tabs) == len(views) == 7
        for at, (tab, view) in enumerate(zip(tabs, views, strict=True)):
            hands.choose_tab(tabs, at)
            assert view.is_visible()
            hands.tab_through(view, tab)
            hands.move_all(view)
            hands.save(f"voila-{tab.inner_text().strip()}")
        hands.choose_tab(tabs, 0)
        hands.ask(views[0], "A steroid with a hydroxy group.")
        assert hands.page.get_by_text("import numpy").count() == 0, "the dashboard shows no code"
        hands.close()


FAULTY = """
import ipywidgets
from class_kit.widgets import View
slider = ipywidgets.IntSlider(max=1, description="x")
view = View(slider, ipywidgets.HTML("<img src='http://example.invalid/a.png' onerror=\\"window.acted='image'\\">"))
view.react(lambda: 1 / 0, slider)
view
"""


def test_what_these_tests_look_for_is_seen(context: Any, lab: Server, copies: Path, pictures: Path) -> None:
    """A callback that raises shows it in its view; markup that acts and pictures from elsewhere are noticed."""
    path = write_notebook(copies / "faulty.ipynb", [], FAULTY.strip())
    notebook = nbformat.read(path, as_version=4)
    # without it JupyterLab asks which kernel is meant
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, path)
    hands = Hands(context, lab, pictures)
    hands.begin("lab/workspaces/faulty/tree/faulty.ipynb", "faulty.ipynb")
    hands.finish()
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        hands.move_all(hands.page.locator(".class-kit-view"))
    assert hands.page.locator(".class-kit-view").get_by_text("ZeroDivisionError").count()
    with pytest.raises(AssertionError, match=r"example\.invalid"):
        hands.check_manners()
    hands.strayed.clear()
    with pytest.raises(AssertionError, match="image"):
        hands.check_manners()
    hands.page.evaluate("() => { window.acted = null; }")
    hands.close()
