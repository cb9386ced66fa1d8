"""Ctrl-C at a moment when Python could not go on afterwards is kept until that moment is over."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let an interrupt that comes within the block act at its end.

    Only the main thread is ever interrupted; in another one nothing changes.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    held: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            before(*held[-1])


def import_whole(*names: str) -> None:
    """Import modules to their end, whoever interrupts.

    An interrupted import leaves a package half there. Python drops the module that was being read and keeps those it
    had read before, and packages with compiled parts, PyTorch among them, refuse to be read a second time: nothing
    could be trained any more without a new process.
    """
    with interrupts_held():
        for name in names:
            importlib.import_module(name)
