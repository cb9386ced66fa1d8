"""Text from data made safe to print on a terminal, and handling of Ctrl-C.

A terminal obeys escape sequences whatever their origin, so text that may come from data is escaped first.
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

# IPython writes colour codes into every traceback; they are removed.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def visible(text: object) -> str:
    """`str(text)` with control, format and surrogate characters as escapes and without ANSI colours.

    Newlines and tabs stay. Right-to-left overrides and zero-width characters are escaped too, because they can make one
    value look like another.
    """
    return "".join(map(_shown, _COLOUR.sub("", str(text))))


def one_line(text: object, limit: int = 2000) -> str:
    """`visible` text with line breaks escaped too, of at most `limit` characters: for messages of one line."""
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
    """Delay an interrupt until the end of the block.

    Only the main thread is ever interrupted; in other threads this does nothing.
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
    """Import modules without interruption.

    An interrupted import leaves a package half loaded: Python drops the module being imported and keeps those imported
    before. Packages with compiled parts, such as PyTorch, cannot be imported again, so only a new process could train.
    """
    with interrupts_held():
        for name in names:
            importlib.import_module(name)


def counted(number: int, what: str) -> str:
    """A number with its noun, in the plural where it is not 1: "1 row", "2,000 rows"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
