"""Execute one notebook: papermill's engine on a kernel that is this very interpreter.

Installed kernel specifications are not consulted, so that a run uses the environment it was started from and no
other. Kernel and client talk through sockets in a private folder: no port can be taken in between, and no other user
of the machine can reach the kernel.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from class_kit.files import CHECKOUT, scratch_folder, write_text

# a Unix socket's whole path is held in 108 bytes; the rest is left for the socket's own name
_LONGEST_FOLDER = 80
_LOG = "kernel.log"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


@dataclass
class Execution:
    """What became of one notebook: `error` is None when every cell ran; peak memory of its kernel where it is known."""

    error: str | None = None
    peak_mib: list[float] = field(default_factory=list)


def execute(notebook: Any, parameters: Mapping[str, Any], path: Path, *, timeout: float = 120) -> Execution:
    """Run `notebook` with `parameters` injected; what is done so far stands in `path` while it runs, and afterwards.

    A cell that fails, a kernel that dies, and an error hidden in an output widget all make the execution a failed one.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Version 4 notebook; not changed.
    parameters : mapping
        Plain literals.
    path : Path
        The executed notebook.
    timeout : float
        Seconds a kernel may take to start.
    """
    import nbformat
    import papermill

    execution = Execution()
    # the folder that a killed run left, with the key to its kernel, goes with the next run
    with scratch_folder(tempfile.gettempdir(), "class-kit-kernel-") as folder, _quiet("papermill", "traitlets"):
        write_text(path, nbformat.writes(notebook))
        try:
            papermill.execute_notebook(
                nbformat.from_dict(notebook),
                str(path).replace("{", "{{").replace("}", "}}"),  # papermill formats the path
                parameters=dict(parameters),
                kernel_name="python3",
                language="python",
                progress_bar=_cell_bar(),
                start_timeout=timeout,
                kernel_manager_class=_manager_class(folder, execution.peak_mib),
            )
        except papermill.exceptions.PapermillExecutionError as error:
            head = f"cell {error.cell_index + 1}: {error.ename}: {error.evalue}"
            execution.error = "\n".join([head, *error.traceback])
        except Exception as error:
            log = folder / _LOG
            said = log.read_text(encoding="utf-8", errors="replace")[-4000:] if log.exists() else ""
            execution.error = f"{_where(path)}{type(error).__name__}: {error}\n{said}".rstrip()
        finally:
            done = tidied(path)
    execution.error = execution.error or early_end(done) or widget_error(done)
    return execution


def _cell_bar() -> dict[str, Any] | bool:
    """papermill's bar of cells, under the same rule as the kit's own bars: only where a person looks."""
    if os.environ.get("CLASS_KIT_PROGRESS") == "0" or not sys.stderr.isatty():
        return False
    return {"desc": "cells", "leave": False, "dynamic_ncols": True}


def _where(path: Path) -> str:
    """`cell N: ` of the last cell that was started, for errors that do not say where they happened."""
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    begun = [at for at, cell in enumerate(cells, 1) if cell.metadata.get("papermill", {}).get("start_time")]
    return f"cell {begun[-1]}: " if begun else ""


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    # papermill's warnings on parameters come from a regular expression; ours were checked before
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _manager_class(folder: Path, peak: list[float]) -> type:
    """A kernel manager bound to this interpreter and to `folder`; it notes the kernel's peak memory as it ends."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Python 3 (ipykernel)",
        language="python",
        env=kernel_environment(folder),
    )
    private = os.name == "posix" and len(os.fsencode(folder)) <= _LONGEST_FOLDER

    class ThisInterpreter(AsyncKernelManager):
        def __init__(self, **keywords: Any) -> None:
            super().__init__(**keywords)
            self._kernel_spec = spec
            self.connection_file = str(folder / "kernel.json")
            if private:
                self.transport = "ipc"
                self.ip = str(folder / "k")

        async def start_kernel(self, **keywords: Any) -> None:  # type: ignore[override]
            # the kernel's own complaints would land in the terminal; they are shown when it dies
            with open(folder / _LOG, "ab") as log:
                await super().start_kernel(**(keywords | {"stdout": log, "stderr": log}))

        async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:  # type: ignore[override]
            process = getattr(self.provisioner, "pid", None)
            peak.extend(peak_memory(process) if process else [])
            await super().shutdown_kernel(now=now, restart=restart)

    return ThisInterpreter


def kernel_environment(folder: Path) -> dict[str, str]:
    """What a kernel gets beyond the environment it inherits.

    Hash order is fixed for equal bytes from equal inputs, bars are off (a committed notebook is no terminal), and
    the user's IPython start-up files stay out. The kit itself stays importable where it is not installed.
    """
    return {
        "PYTHONHASHSEED": "0",
        "PYTHONFAULTHANDLER": "1",
        "CLASS_KIT_PROGRESS": "0",
        "IPYTHONDIR": str(folder / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONPATH": importable(),
    }


def importable() -> str:
    """A `PYTHONPATH` with which another interpreter finds this kit, installed or not."""
    known = os.environ.get("PYTHONPATH", "")
    installed = any(part in {"site-packages", "dist-packages"} for part in CHECKOUT.parts)
    paths = [known] if installed else [part for part in (known, str(CHECKOUT)) if part]
    return os.pathsep.join(paths)


def peak_memory(process: int) -> list[float]:
    """Largest resident size of a running process in MiB, as a list that is empty where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
        return [round(int(line.split()[1]) / 1024, 1) for line in status.splitlines() if line.startswith("VmHWM:")]
    return []


def early_end(notebook: Any) -> str | None:
    """An error for a notebook that ended itself before its last cell: papermill counts `sys.exit(0)` as success."""
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"cell {index + 1}: {output.get('ename')}: the notebook ended here, before its last cell"
    return None


def widget_error(notebook: Any) -> str | None:
    """The first error kept in an output widget's state, or None.

    An exception in a widget's callback is shown inside the widget and stops nothing; without this look a broken
    notebook would pass for a good one.
    """
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for model in state.values():
        for output in (model.get("state") or {}).get("outputs") or []:
            if output.get("output_type") == "error":
                name, value = output.get("ename"), output.get("evalue")
                return f"in a widget's callback: {name}: {value}\n" + "\n".join(output.get("traceback") or [])
    return None


def tidied(path: Path) -> Any:
    """Take machine paths, times and random ids out of an executed notebook: the manifest has what matters of them."""
    import nbformat
    from papermill.execute import remove_error_markers

    notebook = nbformat.read(path, as_version=4)
    remove_error_markers(notebook)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = "injected-parameters"
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
    write_text(path, nbformat.writes(notebook) + "\n")
    return notebook
