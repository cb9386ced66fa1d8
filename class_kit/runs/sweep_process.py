"""The processes of a sweep: one a combination, so that what ends one of them takes no other with it.

A process gets what it has to do as one line on its standard input and lives no longer than that stays open. So its
kernel stops in order when the sweep is interrupted, and does not go on for nobody when the sweep is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from class_kit.errors import InputError
from class_kit.files import plain
from class_kit.runs.notebook_files import Raw
from class_kit.terminal import one_line, visible

# Seconds for an interrupted kernel to stop and for its record to be written
_PATIENCE = 60.0
_PROGRAM = "from class_kit.runs.sweep_process import main; raise SystemExit(main())"


class Workers:
    """Starts the processes of a sweep from several threads, and stops all of them from one.

    Parameters
    ----------
    threads : int
        What each process may use of the machine where the user has not set `OMP_NUM_THREADS`: kernels that all take
        every core slow each other down.
    """

    def __init__(self, threads: int) -> None:
        from class_kit.runs.kernels import importable

        self.environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        self.environment |= {"CLASS_KIT_PROGRESS": "0", "PYTHONPATH": importable()}
        self._guard = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, request: Mapping[str, Any]) -> tuple[int, str] | None:
        """Do one run in a process of its own: its exit code and what it wrote to standard error; None after `stop`."""
        with tempfile.TemporaryFile() as said:
            process = self._start(json.dumps(request).encode() + b"\n", said)
            if process is None:
                return None
            code = process.wait()
            with self._guard:
                self._running.discard(process)
                _close(process)
            said.seek(0)
            return code, said.read().decode("utf-8", "replace")

    def _start(self, line: bytes, said: Any) -> subprocess.Popen[bytes] | None:
        with self._guard:
            if self._stopped:
                return None
            process = subprocess.Popen(
                # -P: a file in the current folder must not stand in for a module
                [sys.executable, "-P", "-c", _PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=self.environment,
                # Ctrl-C reaches the sweep alone, which then tells each process once
                process_group=0,
            )
            self._running.add(process)
            assert process.stdin is not None
            # one that ended already says so by its exit code
            with suppress(BrokenPipeError):
                process.stdin.write(line)
                process.stdin.flush()
            return process

    def stop(self) -> None:
        """End all processes, in order where they can within a minute."""
        with self._guard:
            self._stopped = True
            running = list(self._running)
        end = time.monotonic() + _PATIENCE
        try:
            for process in running:
                _close(process)
            for process in running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, end - time.monotonic()))
        finally:
            for process in running:
                process.kill()


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()


def reason(code: int, said: str, record: Mapping[str, Any]) -> str:
    """Why a run failed: what its notebooks' records say, or what its process said, or how that ended."""
    if code < 0:
        return f"its process was ended by signal {-code}, as one is that is killed or runs out of memory"
    errors = [f"{stem}: {entry['error']}" for stem, entry in record.get("notebooks", {}).items() if entry.get("error")]
    if code == 1 and errors:
        return "\n".join(errors)
    lines = said.strip().splitlines() or [f"its process ended with exit code {code}"]
    return "\n".join([lines[-1], *lines[:-1]])


def packed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Given parameters for the way to a process; what was typed stays apart from what is a value."""
    return {
        name: {"typed": value.text} if isinstance(value, Raw) else {"value": plain(value, f"parameter {name}")}
        for name, value in values.items()
    }


def _unpacked(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Raw(item["typed"]) if "typed" in item else item["value"] for name, item in values.items()}


def main() -> int:
    """Do the run that standard input describes; exit codes as of `class-kit run`, and 3 for what no record tells."""
    # whoever started the sweep may have told its children to ignore interrupts
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        request = json.loads(sys.stdin.readline())
        threading.Thread(target=_end_with_caller, daemon=True).start()
        return _run(request)
    except InputError as error:
        print(one_line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        print(visible("".join(traceback.format_exception(error))), file=sys.stderr)
        return 3


def _end_with_caller() -> None:
    # not through sys.stdin: its buffer, held here, would abort the interpreter as it ends
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGINT)


def _run(request: Mapping[str, Any]) -> int:
    from class_kit import runs

    sys.argv = list(request["argv"])  # the record names the command that was given
    result = runs.run_notebooks(
        request["notebooks"],
        _unpacked(request["parameters"]),
        out=request["out"],
        force=request["force"],
        say=lambda line: None,
        **request["common"],
    )
    return result.exit_code
