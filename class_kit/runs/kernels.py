"""Execute one notebook on a kernel that is this very interpreter.

Installed kernel specifications are not consulted, so that a run uses the environment it was started from and no
other. Kernel and client talk through sockets in a private folder: no other process can take their port, and no other
user of the machine can reach the kernel.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from class_kit.files import CHECKOUT, scratch_folder, write_text
from class_kit.progress import progress_bar

# a Unix socket's whole path is held in 108 bytes; the rest is left for the socket's own name
_LONGEST_FOLDER = 80
# seconds that a request of the client may lie unread
WAKE_S = 10.0
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


def execute(
    notebook: Any, parameters: Mapping[str, Any], path: Path, cores: int | None = None, running: set[Any] | None = None
) -> str | None:
    """Run `notebook` with `parameters` injected; `path` holds what was executed, while it runs and afterwards.

    A cell that fails, a kernel that dies, and an error hidden in an output widget all count as failures.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Version 4 notebook; not changed.
    parameters : mapping
        Plain literals.
    path : Path
        The executed notebook.
    cores : int, optional
        Trainings at a time; one per core by default.
    running : set, optional
        Holds the kernel's manager as long as the kernel runs, for `stop`.

    Returns
    -------
    str or None
        The cell that failed, its error and traceback; None when every cell ran.
    """
    # a loop of its own, which is closed at the end: threads each execute a notebook
    return asyncio.run(_execute(_prepared(notebook, parameters), path, cores, set() if running is None else running))


async def _execute(book: Any, path: Path, cores: int | None, running: set[Any]) -> str | None:
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    error, at = "", 0
    with scratch_folder(tempfile.gettempdir(), "class-kit-kernel-") as folder, open(folder / "log", "wb") as log:
        manager = _manager(folder, cores)
        client: Any = NotebookClient(book, km=manager, startup_timeout=120, record_timing=False)
        running.add(manager)
        waker = asyncio.create_task(_wake(manager))
        try:
            # what the kernel prints would land in the terminal; it is shown if the kernel dies
            async with client.async_setup_kernel(cleanup_kc=True, stdout=log, stderr=log):
                for at, cell in enumerate(progress_bar(book.cells, desc=path.stem, unit="cell"), start=1):
                    await client.async_execute_cell(cell, at - 1)
                    write_text(path, nbformat.writes(book) + "\n")
                about = await client.async_wait_for_reply(client.kc.kernel_info())
                book.metadata.language_info = about["content"]["language_info"]
                client.set_widgets_metadata()
        except CellExecutionError as failure:
            error = f"cell {at}: {failure.ename}: {failure.evalue}\n{failure.traceback}"
        except Exception as failure:
            printed = (folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]
            error = f"cell {at}: {type(failure).__name__}: {failure}\n{printed}".rstrip()
        finally:
            waker.cancel()
            running.discard(manager)
            write_text(path, nbformat.writes(book) + "\n")
    return error or _widget_error(book)


async def _wake(manager: Any) -> None:
    """Connect to the kernel now and then: version 7 can leave a request unread until somebody does.

    Source: issue 1554 of ipython/ipykernel, open in 2026.
    """
    while True:
        await asyncio.sleep(WAKE_S)
        if manager.has_kernel:
            manager.connect_shell().close(linger=0)


def stop(running: set[Any]) -> None:
    """Kill these kernels, so that the threads that execute notebooks on them come to an end."""
    for manager in list(running):
        process = getattr(manager.provisioner, "process", None)
        if process is not None:
            process.kill()


def _prepared(notebook: Any, parameters: Mapping[str, Any]) -> Any:
    """A copy without outputs, with a cell that sets the parameters after the one that declares them."""
    import nbformat
    from papermill.translators import PythonTranslator

    book = nbformat.from_dict(notebook)
    book.metadata.pop("widgets", None)
    book.cells = [cell for cell in book.cells if "injected-parameters" not in cell.metadata.get("tags", ())]
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if parameters:
        source, tags = PythonTranslator.codify(dict(parameters)), {"tags": ["injected-parameters"]}
        setting = nbformat.v4.new_code_cell(source, id="injected-parameters", metadata=tags)
        declared = next(at for at, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", ()))
        book.cells.insert(declared + 1, setting)
    return book


def _manager(folder: Path, cores: int | None) -> Any:
    """A manager for a kernel of this interpreter that meets its client in `folder`.

    Hash order is fixed for equal bytes from equal inputs, bars are off (a committed notebook is no terminal), and
    the user's IPython start-up files stay out. The kit itself stays importable where it is not installed.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager(connection_file=str(folder / "kernel.json"))
    if os.name == "posix" and len(os.fsencode(folder)) <= _LONGEST_FOLDER:
        manager.transport, manager.ip = "ipc", str(folder / "k")
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    paths = [os.environ.get("PYTHONPATH"), None if CHECKOUT.name.endswith("-packages") else str(CHECKOUT)]
    environment = {
        "PYTHONHASHSEED": "0",
        "PYTHONFAULTHANDLER": "1",
        "CLASS_KIT_PROGRESS": "0",
        "IPYTHONDIR": str(folder / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    if cores:
        # what joblib takes for the number of cores; the threads of one computation, which change sums, stay as they are
        environment["LOKY_MAX_CPU_COUNT"] = str(cores)
    manager._kernel_spec = KernelSpec(argv=argv, language="python", env=environment)
    return manager


def _widget_error(notebook: Any) -> str | None:
    """The first error kept in an output widget's state, or None.

    An exception in a widget's callback is shown inside the widget and stops nothing; without this check a broken
    notebook would pass as a good one.
    """
    state = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for model in state.values():
        for output in (model.get("state") or {}).get("outputs") or []:
            if output.get("output_type") == "error":
                trace = "\n".join(output.get("traceback") or [])
                return f"in a widget's callback: {output.get('ename')}: {output.get('evalue')}\n{trace}"
    return None
