"""Places that go wrong on request, a disk that is full or read-only, a free port, processes to start and wait for."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest


def remount(folder: Path, options: str) -> None:
    """Change the size or the mode of a small disk while it is in use."""
    _mount("-o", f"remount,{options}", str(folder))


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())


@contextmanager
def small_disk(kilobytes: int) -> Iterator[Path]:
    """A mounted tmpfs; the test is skipped where mounting is not allowed."""
    folder = Path(tempfile.mkdtemp(prefix="class-kit-disk-"))
    try:
        try:
            _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "class-kit-test", str(folder))
        except OSError as error:
            pytest.skip(f"a small disk needs the right to mount one ({error})")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def python(*words: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """A new interpreter with the kit, which has ended, and what it printed."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | variables
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def wait_until(reached: Callable[[], bool], seconds: float = 120) -> None:
    """Wait, and fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "not reached in time"
        time.sleep(0.05)


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def is_gone(process: int) -> bool:
    """Whether a process has ended, by its number; its parent may not have asked for its code yet."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    return True
