"""Hands and eyes in a headless browser, and the servers it visits: JupyterLab, Notebook 7 and Voilà.

Hands move controls by the keyboard, look at views, and notice bad manners.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.faulty_places import free_port

ROOT = Path(__file__).parents[1]
# seconds for a page or a notebook, and for an answer of the kernel; milliseconds after which a view counts as at rest
# and a kernel as quiet
_SECONDS = 120.0
_ANSWER = 5.0
_STILL = 60
_QUIET = 400

_LOOK = """async view => {
  const seen = [view.innerText, ...[...view.querySelectorAll('textarea')].map(area => area.value)];
  for (const image of view.querySelectorAll('img')) {
    if (!image.src.startsWith('blob:')) { seen.push(image.src); continue; }
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    const digest = await crypto.subtle.digest('SHA-256', bytes);
    seen.push([...new Uint8Array(digest)].join());
  }
  return seen.join('\\n');
}"""
_ERRORS = """() => [...document.querySelectorAll(
  '.jp-OutputArea-output[data-mime-type*="error"], .jp-OutputArea-output[data-mime-type*="stderr"]'
)].map(output => output.innerText)"""
_AT_ITS_END = """control => control.tagName === 'SELECT'
  ? control.selectedIndex === control.options.length - 1
  : Number(control.getAttribute('aria-valuenow')) >= Number(control.getAttribute('aria-valuemax'))"""
# What a reader moves; a slider's own number, which can be typed into, is a field with a name of its own.
CONTROLS = ".noUi-handle, select, textarea, .widget-toggle-buttons button, button.widget-button"
_REACHED = """node => {
  const found = document.activeElement;
  return [...node.querySelectorAll(CONTROLS)].filter(one => one.offsetParent !== null).indexOf(found);
}""".replace("CONTROLS", repr(CONTROLS))
_PROMPTS = """() => [...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputArea-prompt')]
  .map(prompt => prompt.innerText.trim())"""


class Hands:
    """A page in the browser, with what it must not do: leave the machine, open a dialog, let data act."""

    def __init__(self, context: Any, server: "Server", pictures: Path) -> None:
        self.server, self.pictures = server, pictures
        self.strayed: list[str] = []
        self.answers = 0
        self.notebook = ""
        self.page = context.new_page()
        self.page.set_default_timeout(1000 * _SECONDS)
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("requestfailed", self._refused)
        self.page.on("websocket", self._listen)
        self.page.on("dialog", self._dialog)

    def _note(self, address: str) -> None:
        if urlsplit(address).hostname not in {None, "127.0.0.1"}:
            self.strayed.append(address)

    def _refused(self, request: Any) -> None:
        """What the page's own policy forbids is reported as a request, and never leaves the browser."""
        if request.failure == "csp":
            self.strayed.remove(request.url)

    def _listen(self, channel: Any) -> None:
        self._note(channel.url)
        channel.on("framereceived", self._hear)

    def _hear(self, frame: str | bytes) -> None:
        """What a kernel says of itself: the only sign of work that all three front ends get."""
        said = frame.encode() if isinstance(frame, str) else frame
        if b"comm_msg" in said and (found := re.search(rb'"execution_state": ?"(\w+)"', said)):
            self.answers += found.group(1) == b"idle"

    def _dialog(self, dialog: Any) -> None:
        self.strayed.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, path: str) -> None:
        """Go to a page of the server."""
        token = f"?token={self.server.token}" if self.server.token else ""
        self.page.goto(f"{self.server.address}{path}{token}", wait_until="commit")

    def begin(self, path: str, notebook: str) -> None:
        """Open a page with a notebook on it and run all its cells by the menu."""
        self.notebook = notebook
        self.open(path)
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(state="attached")
        end = time.monotonic() + _SECONDS
        while not self.server.is_ready(notebook) and time.monotonic() < end:
            self.page.wait_for_timeout(100)
        # until the page itself has seen its kernel ready, the menu does nothing and says nothing
        while self._untouched() and time.monotonic() < end:
            self.page.get_by_role("menuitem", name="Run", exact=True).click()
            self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            again = time.monotonic() + 5
            while self._untouched() and time.monotonic() < again:
                self.page.wait_for_timeout(50)

    def _untouched(self) -> bool:
        return set(self.page.evaluate(_PROMPTS)) == {"[ ]:"}

    def finish(self) -> None:
        """Wait for the last cell; no cell may fail or warn."""
        end = time.monotonic() + _SECONDS
        while not all(prompt.strip("[]:").isdigit() for prompt in self.page.evaluate(_PROMPTS)):
            self.check_outputs()
            if time.monotonic() > end:
                self.save("not-done")
                raise AssertionError(f"cells not done: {self.page.evaluate(_PROMPTS)}")
            self.page.wait_for_timeout(200)
        self.check_outputs()

    def close(self, notebook: str = "") -> None:
        """Leave the page and end its kernel; nothing may have left the machine or acted."""
        self.check_manners()
        self.page.close()
        if name := notebook or self.notebook:
            self.server.stop(name)

    def views(self) -> Iterator[tuple[str, Any]]:
        """The names of the dashboard's seven tabs with their views; each tab is chosen by an arrow key."""
        tabs = self.page.locator(".widget-tab [role=tab]").all()
        assert len(tabs) == 7
        for at, tab in enumerate(tabs):
            tabs[max(0, at - 1)].focus()
            if at:
                self.page.keyboard.press("ArrowRight")
            self.page.keyboard.press("Enter")
            assert tab.get_attribute("aria-selected") == "true"
            views = self.page.locator(".widget-tab .class-kit-view")
            # made when it is opened, the trainings for one of them too
            views.nth(at).wait_for(timeout=1000 * _SECONDS)
            assert views.count() == at + 1, "each view is made when its tab is opened"
            view = views.nth(at)
            yield tab.inner_text().strip(), view

    def check_outputs(self) -> None:
        """No error and no warning in any output, those of the views included."""
        errors = self.page.evaluate(_ERRORS)
        assert not errors, f"errors or warnings: {errors}"

    def check_manners(self) -> None:
        """Nothing left the machine, and nothing in the data acted."""
        assert not self.strayed, f"left the machine or opened a dialog: {self.strayed}"
        hit = self.page.evaluate("() => window.hit ?? null")
        assert hit is None, "text from the data acted"

    def save(self, name: str, target: Any = None) -> None:
        """Keep a screenshot of the page, or of one part."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"path": str(self.pictures / f"{name}.png")}
        (self.page if target is None else target).screenshot(**options)

    def look(self, view: Any) -> str:
        """What a view shows when nothing moves any more: its words and the content of its pictures."""
        end, seen = time.monotonic() + _SECONDS, ""
        while True:
            self.page.wait_for_timeout(_STILL)
            now = str(view.evaluate(_LOOK))
            if now == seen:
                return now
            assert time.monotonic() < end, "the view does not come to rest"
            seen = now

    def settle(self) -> None:
        """Wait until the kernel has answered all that a page asks when it builds its views."""
        answers = -1
        while answers != self.answers:
            answers = self.answers
            self.page.wait_for_timeout(_QUIET)

    def press(self, control: Any, key: str) -> None:
        """One key on one control, which takes the focus as it would by the tabulator; wait for the kernel's answer."""
        before, end = self.answers, time.monotonic() + _ANSWER
        # what a script can focus the tabulator need not reach
        assert control.evaluate("control => control.tabIndex") >= 0, "a control that the tabulator passes over"
        control.focus()
        self.page.keyboard.press(key)
        while self.answers == before and time.monotonic() < end:
            self.page.wait_for_timeout(20)

    def move_all(self, view: Any) -> None:
        """Every control of a view to both its ends, by the keyboard; each must change what is seen, none may fail.

        Buttons take the space bar: Enter is what JupyterLab itself takes, to edit the cell.
        """
        self.settle()
        for control in view.locator(".noUi-handle, select").all():
            keys = ("Home", "End") if control.evaluate(_AT_ITS_END) else ("End", "Home")
            self._both(view, [(control, key) for key in keys])
            assert control.evaluate("control => control.selectedIndex !== -1"), "a list shows no choice"
        for group in view.locator(".widget-toggle-buttons").all():
            buttons = group.locator("button").all()
            self._both(view, [(buttons[-1], "Space"), (buttons[0], "Space")])
        for button in view.locator("button.widget-button:visible").all():
            self.press(button, "Space")
            self.look(view)
        self.check_outputs()

    def tab_through(self, view: Any, start: Any) -> None:
        """From `start`, press nothing but the tabulator: it must reach every control of the view, in their order."""
        self.settle()
        visible = [control for control in view.locator(CONTROLS).all() if control.is_visible()]
        assert visible
        start.focus()
        reached: list[int] = []
        # other things between the controls take the focus as well: fields of numbers, links, scrolled areas
        for _ in range(4 * len(visible) + 10):
            self.page.keyboard.press("Tab")
            at = view.evaluate(_REACHED)
            if at >= 0 and at not in reached:
                reached.append(at)
            if len(reached) == len(visible):
                break
        assert reached == list(range(len(visible))), f"the tabulator reaches {reached} of {len(visible)} controls"

    def ask(self, view: Any, question: str) -> None:
        """Type a question and search; the answer must be another."""
        before = self.look(view)
        view.locator("textarea").first.focus()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(question)
        self.press(view.get_by_role("button", name="search"), "Space")
        assert self.look(view) != before
        self.check_outputs()

    def _both(self, view: Any, presses: Sequence[tuple[Any, str]]) -> None:
        states = []
        for control, key in presses:
            self.press(control, key)
            states.append(self.look(view))
            self.check_outputs()
        name = presses[0][0].evaluate("node => node.closest('.widget-inline-hbox, .widget-toggle-buttons').innerText")
        assert len(set(states)) == len(states), f"{name!r}: both ends look alike: {states[0][:500]}"


def launch(driver: Any, executable: str) -> Any:
    """The browser, to which no name but this machine's means anything."""
    nowhere = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    return driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu", nowhere])


def find_chromium() -> str | None:
    """Debian's browser, or None."""
    return shutil.which("chromium")


class Server:
    """A running server: where it is, and the kernels it has (JupyterLab only)."""

    def __init__(self, port: int, token: str) -> None:
        self.address, self.token = f"http://127.0.0.1:{port}/", token

    def ask(self, path: str, method: str = "GET") -> Any:
        """The answer of the server's interface, from JSON."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(self.address + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def session(self, notebook: str) -> dict[str, Any] | None:
        """The session of a notebook, or None before a page has asked for one."""
        try:
            return next((found for found in self.ask("api/sessions") if found["path"] == notebook), None)
        except urllib.error.HTTPError as error:
            # while a kernel starts the server may not know its state yet
            if error.code != 500:
                raise
            return None

    def is_ready(self, notebook: str) -> bool:
        """Whether a page talks to the notebook's kernel, and the kernel waits for work."""
        kernel = (self.session(notebook) or {}).get("kernel") or {}
        return kernel.get("execution_state") == "idle" and bool(kernel.get("connections"))

    def stop(self, notebook: str) -> None:
        """End the notebook's kernel, so that others have the machine for themselves."""
        if found := self.session(notebook):
            self.ask(f"api/sessions/{found['id']}", "DELETE")


@contextmanager
def jupyterlab(root: Path, home: Path) -> Iterator[Server]:
    """JupyterLab, and with it Notebook 7, on the folder `root`."""
    options = {
        "ServerApp.root_dir": root,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port_retries": 0,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "LabApp.extension_manager": "readonly",
    }
    _write_settings(home)
    token = secrets.token_hex(16)
    command = ["jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    with _serving([*command, f"--IdentityProvider.token={token}"], "ServerApp.port", root, home, token) as server:
        yield server


@contextmanager
def voila(notebook: Path, home: Path) -> Iterator[Server]:
    """Voilà on one notebook, with the settings that lie beside it."""
    command = ["voila", notebook.name, "--no-browser", "--Voila.ip=127.0.0.1"]
    with _serving(command, "Voila.port", notebook.parent, home) as server:
        yield server


@contextmanager
def _serving(command: Sequence[str], option: str, place: Path, home: Path, token: str = "") -> Iterator[Server]:
    """A server as a module of this interpreter; settings, logs and locks go to `home`.

    Proxies that lead nowhere make sure that neither the server nor its kernels need the network.
    """
    port = free_port()
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    folders = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    local = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "IPYTHONDIR": str(home / "ipython")}
    # trainings this small are done before a second process has started
    local |= {"LOKY_MAX_CPU_COUNT": "1"}
    local |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}
    log = home / f"{command[0]}.log"
    with open(log, "wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, f"--{option}={port}"],
            cwd=place,
            env=os.environ | nowhere | folders | local,
            stdout=said,
            stderr=said,
        )
        try:
            _wait_for(port, process, log)
            yield Server(port, token)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _write_settings(home: Path) -> None:
    """No question about news, and all cells in the page at once: a test looks at those off screen as well."""
    settings = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in settings.items():
        path = home / "config" / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _SECONDS
    while True:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        alive = process.poll() is None and time.monotonic() < end
        assert alive, f"the server did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}"
        time.sleep(0.1)
