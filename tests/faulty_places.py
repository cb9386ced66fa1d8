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


def in_a_child(work: Callable[[], int]) -> int:
    """Run `work` in a forked process, where it may die as processes do.

    Returns what `work` returns, 255 where it raises, or the negative number of the signal that killed it.
    """
    child = os.fork()
    if not child:
        code = 255
        with suppress(BaseException):
            code = work()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
