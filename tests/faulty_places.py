"""Places that go wrong on request: a disk that is full, a folder that cannot be written, a process that is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class Disk:
    """A small file system of its own, whose size and mode can be changed while it is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remount(self, options: str) -> None:
        _mount("-o", f"remount,{options}", str(self.folder))


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())


@contextmanager
def small_disk(kilobytes: int) -> Iterator[Disk]:
    """A mounted tmpfs; the test is skipped where mounting is not allowed."""
    folder = Path(tempfile.mkdtemp(prefix="class-kit-disk-"))
    try:
        try:
            _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "class-kit-test", str(folder))
        except OSError as error:
            pytest.skip(f"a small disk needs the right to mount one ({error})")
        try:
            yield Disk(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_child(work: Callable[[], int]) -> int:
    """Start `work` in a forked process; its exit code is what `work` returns, or 255 where it raises."""
    child = os.fork()
    if not child:
        code = 255
        with suppress(BaseException):
            code = work()
        os._exit(code)
    return child


def exit_code(child: int) -> int:
    """Wait for a child; negative for the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_a_child(work: Callable[[], int]) -> int:
    """`start_child` and `exit_code` in one: `work` may die as processes do, or set limits for itself."""
    return exit_code(start_child(work))


def killed_at(write: int, work: Callable[[], object]) -> int:
    """Run `work` in a child that dies when it is about to move its `write`-th file into place.

    The child dies as a killed process does: nothing is tidied up. Returns 9, or 0 where `work` came to its end.
    """
    real, left = os.replace, [write]

    def replace(source: str, target: str) -> None:
        left[0] -= 1
        if not left[0]:
            os._exit(9)
        real(source, target)

    def child() -> int:
        os.replace = replace  # type: ignore[assignment]
        work()
        return 0

    return in_a_child(child)
