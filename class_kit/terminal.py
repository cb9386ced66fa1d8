"""The person at the terminal: text from files on its way there, and Ctrl-C on its way back.

A terminal obeys escape sequences wherever they come from, so anything that data can reach is made visible first.
"""

from __future__ import annotations

import importlib
import re
import signal
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Colour codes are written by IPython itself into every traceback; they are dropped rather than shown as noise.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def visible(text: object) -> str:
    """Show control, format and surrogate characters as escapes, so that data can neither move nor colour the cursor.

    Newlines and tabs stay. Right-to-left overrides and zero-width characters are escaped as well: they let a value
    look like another one.

    Parameters
    ----------
    text : object
        Anything; its `str` is used.

    Returns
    -------
    str
        Printable text without ANSI sequences.
    """
    return "".join(map(_shown, _COLOUR.sub("", str(text))))


def one_line(text: object, limit: int = 2000) -> str:
    """`visible`, with line breaks escaped too and at most `limit` characters: for messages that promise one line."""
    shown = visible(text).replace("\n", "\\n").replace("\t", "\\t")
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    # not printable: control, format (bidirectional marks), surrogate, private and unassigned; Zs are the wide spaces
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")


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
