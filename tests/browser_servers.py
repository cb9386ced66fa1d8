"""JupyterLab and Voilà as a reader starts them, on notebooks made quick and pairs that attack."""

from __future__ import annotations

import csv
import json
import os
import secrets
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

import nbformat
from nbformat.v4 import new_code_cell

from class_kit.runs.notebooks import declared_parameters

ROOT = Path(__file__).parents[1]
# Each way in which a text could act if it were taken for more than text; whatever acts sets `window.acted`.
HOSTILE = (
    " <script>window.acted='script'</script> <img src=x onerror=\"window.acted='image'\"> "
    "<svg onload=\"window.acted='svg'\"></svg> <iframe src=\"javascript:parent.acted='frame'\"></iframe> "
    "![m](http://example.invalid/markdown.png) <img src='http://example.invalid/tag.png'> "
    "[k](javascript:window.acted='link') $\\href{javascript:window.acted='tex'}{x}$ "
)
# a column with this name holds the texts once more; the report on one's own pairs is told to read that one
COLUMN = "text <img src=x onerror=\"window.acted='column'\"> $\\href{javascript:window.acted='name'}{x}$"
ID = "<img src=x onerror=\"window.acted='id'\">"
SMALL = {"epochs": 2, "seeds": [0, 1], "sample": 120, "growth": 0.3, "batch_size": 64}
_SECONDS = 120.0


def hostile_pairs(path: Path, every: int = 10) -> Path:
    """A tenth of the bundled corpus; every third text and every third id is an attack, and so is a column's name."""
    with open(ROOT / "data" / "corpus.csv", encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))[::every]
    for at, row in enumerate(rows):
        if at % 3 == 0:
            row["description"] += HOSTILE
            row["id"] += ID
    # two rows are rejected: one attacks by its SMILES, one by an id that is there twice, which the reason names
    rows += [rows[1] | {"id": "rejected", "smiles": f"C{HOSTILE}"}, dict(rows[0])]
    for row in rows:
        row[COLUMN] = row["description"]
    with open(path, "w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def small_copy(source: Path, target: Path, pairs: Path) -> Path:
    """A notebook without outputs whose parameters make it quick."""
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    (first,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    wishes = SMALL | {"pairs": str(pairs), "path": str(pairs), "text_column": COLUMN}
    chosen = [f"{name} = {wishes[name]!r}" for name in declared_parameters(first.source) if name in wishes]
    notebook.cells.insert(notebook.cells.index(first) + 1, new_code_cell("\n".join(chosen)))
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    return target


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
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
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
