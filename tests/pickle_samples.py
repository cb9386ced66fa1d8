"""What the tests of the restricted pickle reader share: honest files to change, and the rule that every file must meet.

A file gives data or an InputError, and while it is read nothing is imported, run, started or written.
"""

from __future__ import annotations

import codecs
import collections
import io
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from class_kit.errors import InputError
from class_kit.molecules.restricted_pickle import _BUILDERS, Dtype, Record, read_pickle

DATA = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, type(None), np.ndarray, Record, Dtype)
WATCHED = ("import", "exec", "subprocess.", "os.", "pickle.", "socket.", "shutil.", "ctypes.", "marshal.")
_watching: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is None:
        return
    if event.startswith(WATCHED) or (event == "open" and arguments[1] not in ("r", "rb")):
        _watching.append(f"{event} {arguments!r:.200}")


# strings of old protocols are decoded by codecs that Python imports when they are first used
for _codec in ("ascii", "latin-1", "utf-8", "unicode_escape", "raw_unicode_escape"):
    codecs.lookup(_codec)
# a hook cannot be taken away again, so it is put in once and idles
sys.addaudithook(_watch)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Note what is imported, run, started or opened for writing inside the block."""
    global _watching
    seen: list[str] = []
    _watching = seen
    try:
        yield seen
    finally:
        _watching = None


def seeds() -> list[bytes]:
    """Pickles of every layout that the reader knows, in every protocol, and arrays with objects in them."""
    words = {"UNK": np.ones(3, np.float32), "864662311": np.arange(3, dtype=">f8")}
    held: list[Any] = [
        words,
        [1, -(2**40), 2**70, 0.5, True, None, "a", "é", b"b", (1, 2), ((),), {1, 2}, frozenset("ab")],
        collections.OrderedDict([("b", [1]), ("a", {"c": (2,)})]),
        collections.defaultdict(int, a=1),
        [np.float32(0.5), np.int64(7), np.asfortranarray(np.ones((2, 3))), np.array([1, "a", None], dtype=object)],
    ]
    found = [pickle.dumps(value, protocol) for value in held for protocol in range(6)]
    record = b"\x80\x02cgensim.models.keyedvectors\nKeyedVectors\n)\x81}(X\x07\x00\x00\x00vectors"
    found.append(record + pickle.dumps(np.ones((1, 2)), 2)[2:-1] + b"ub.")
    for value in (np.array(words, dtype=object), np.array(["a", None], dtype=object)):
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=True)
        found.append(buffer.getvalue())
    return found


def check(content: bytes, path: Path) -> bool:
    """Read `content` as a file; True where it held data, False where it was refused; anything else is a failure."""
    path.write_bytes(content)
    said = ""
    value = None
    with watched() as seen:
        try:
            value = read_pickle(path)
        except InputError as error:
            said = str(error)
    assert not seen, seen
    inert = value in _BUILDERS.values() if callable(value) else isinstance(value, DATA)
    assert inert or issubclass(value, Record), type(value)
    assert not said or (str(path) in said and len(said) < 1_000), said
    return not said
