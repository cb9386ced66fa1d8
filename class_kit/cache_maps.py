"""Cache entries too large for memory: filled in place while they are computed, then mapped from the file.

The files are those of `class_kit.cache`, safetensors with a digest of their content under a key that says what they
were made from, so listing, clearing and `load_entry` know them too. Only the way in and out differs: nothing passes
through a buffer of the whole size, and the pages that nobody looks at cost no memory.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from class_kit.cache import (
    NOTE,
    Arrays,
    cache_folder,
    content_digest,
    discard_entry,
    entry_note,
    entry_path,
)
from class_kit.errors import InputError
from class_kit.files import atomic_write

logger = logging.getLogger(__name__)

Shapes = Mapping[str, tuple[tuple[int, ...], str]]
Filling = tuple[Shapes, Callable[[Arrays], None]]

# how safetensors calls the types that the kit stores
_TYPES = {
    "float64": "F64",
    "int64": "I64",
    "float32": "F32",
    "int32": "I32",
    "float16": "F16",
    "uint8": "U8",
    "bool": "BOOL",
}
_UNSIGNED = "0" * 64


def cached_map(kind: str, key: str, plan: Callable[[], Filling], *, use: bool = True) -> Arrays:
    """The arrays stored under `kind` and `key`, or those that `plan` describes and fills, mapped read-only.

    Parameters
    ----------
    plan
        Gives name → (shape, type) of the arrays, and a function that fills them in place; `cache_entries` shows the
        shape of the first. Only called where there is no entry.
    use
        False neither reads nor writes the cache: the arrays then lie in a file without a name, which goes with them.
        So they do, with a warning in the log, where the cache cannot be written.

    Raises
    ------
    InputError
        `kind` or `key` is not a plain name, or an array's type cannot be stored.
    """
    path = entry_path(kind, key)
    if use and (found := map_entry(kind, key)) is not None:
        return found
    shapes, fill = plan()
    filled = False
    if use:
        try:
            with atomic_write(path) as temporary, open(temporary, "r+b") as file:
                arrays = _new_map(file, kind, shapes)
                fill(arrays)
                filled = True
                file.seek(0)
                file.write(_header(kind, shapes, content_digest(arrays, kind, key)))
            # joblib hands a mapped array to its processes by its file's name, which was a temporary one until now
            return _read_map(path)[1]
        except OSError as error:
            logger.warning("the result was not kept in the cache %s: %s", cache_folder(), error)
    if not filled:
        with tempfile.TemporaryFile() as file:
            arrays = _new_map(file, kind, shapes)
        fill(arrays)
    return {name: _nameless(array) for name, array in arrays.items()}


def map_entry(kind: str, key: str) -> Arrays | None:
    """The arrays stored under `kind` and `key`, mapped read-only, or None where there is none.

    The file is read through once to compare its digest, 1.5 GB a second on one core, but not held in memory. A damaged
    one is removed, with a warning in the log, and counts as absent.
    """
    path = entry_path(kind, key)
    if not path.is_file():
        return None
    try:
        digest, arrays = _read_map(path)
    except Exception as error:  # a damaged header can surface as almost any error of the reader
        discard_entry(path, f"it cannot be read: {error}")
        return None
    if digest != content_digest(arrays, kind, key):
        discard_entry(path, "its content does not have the digest it was written with, or is another entry's")
        return None
    return arrays


def _header(kind: str, shapes: Shapes, digest: str) -> bytes:
    """The beginning of a safetensors file: its length, then names, types, shapes and places as JSON."""
    entries: dict[str, object] = {"__metadata__": entry_note(kind, next(iter(shapes)), digest)}
    for name, (shape, dtype), start, stop in _places(shapes):
        entries[name] = {"dtype": _TYPES[dtype], "shape": list(shape), "data_offsets": [start, stop]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _places(shapes: Shapes) -> list[tuple[str, tuple[tuple[int, ...], str], int, int]]:
    """Where each array lies: those of wide items first, so that every array is aligned, and without a gap."""
    found, start = [], 0
    for name, (shape, dtype) in sorted(shapes.items(), key=lambda item: -np.dtype(item[1][1]).itemsize):
        stop = start + math.prod(shape) * np.dtype(dtype).itemsize
        found.append((name, (shape, dtype), start, stop))
        start = stop
    return found


def _new_map(file: IO[bytes], kind: str, shapes: Shapes) -> Arrays:
    """Arrays of zeros that write through to a new file."""
    bad = [dtype for _, dtype in shapes.values() if dtype not in _TYPES]
    if bad or not shapes:
        raise InputError(f"arrays of types {bad}: expected at least one array, of types among {', '.join(_TYPES)}")
    header = _header(kind, shapes, _UNSIGNED)
    places = _places(shapes)
    file.write(header)
    file.flush()
    size = len(header) + places[-1][3]
    # A full disk is an error here; in the middle of a mapped file it would kill the process.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        os.truncate(file.fileno(), size)
    return _maps(file, len(header), {name: (shape, dtype, start) for name, (shape, dtype), start, _ in places}, "r+")


def _nameless(array: np.ndarray) -> np.ndarray:
    """The same memory, read-only, as an array that does not look mapped: no process could open its file by a name."""
    found = np.asarray(array.data) if array.size else array
    found.flags.writeable = False
    return found


def _read_map(path: Path) -> tuple[str, Arrays]:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError(f"its header would be {length} bytes long")
        entries = json.loads(file.read(length))
        digest = json.loads(entries.pop("__metadata__")[NOTE])["digest"]
        names = {stored: ours for ours, stored in _TYPES.items()}
        places = {
            name: (tuple(entry["shape"]), names[entry["dtype"]], int(entry["data_offsets"][0]))
            for name, entry in entries.items()
        }
        return digest, _maps(file, 8 + length, places, "r")


def _maps(file: IO[bytes], first: int, places: Mapping[str, tuple[tuple[int, ...], str, int]], mode: str) -> Arrays:
    arrays = {}
    for name, (shape, dtype, start) in places.items():
        if math.prod(shape):
            mapped = np.memmap(file, dtype=dtype, mode=mode, offset=first + start, shape=shape)  # type: ignore[call-overload]
            arrays[name] = np.asarray(mapped)
        else:
            arrays[name] = np.zeros(shape, dtype)
    return arrays
