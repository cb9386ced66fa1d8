"""Arrays that are expensive to make, kept on disk under a name that says what they were made from.

A key is a digest of everything the result depends on (texts, weights, options), so an entry is never stale: another
input has another key. Files are safetensors, written atomically, and carry a digest of their content, so that a
damaged one is noticed, removed and made again instead of quietly spoiling a study. Arrays too large for memory are
filled and read in place by `class_kit.cache_maps`; their files are entries like any other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from class_kit.errors import InputError
from class_kit.files import atomic_write, remove_abandoned

logger = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]
Part = None | bool | int | float | str | bytes | Sequence[str] | np.ndarray

NOTE = "class-kit"
_KIND = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CacheEntry:
    """One file of the cache: what it holds and what it costs; `shape` is that of its first array, `created` is UTC."""

    key: str
    kind: str
    shape: tuple[int, ...]
    size: int
    created: str
    path: Path


def cache_folder() -> Path:
    """Folder of the cache: `$CLASS_KIT_CACHE`, else `~/.cache/class-kit`. It need not exist yet."""
    wish = os.environ.get("CLASS_KIT_CACHE")
    return Path(wish).expanduser() if wish else Path.home() / ".cache" / "class-kit"


def cache_key(**parts: Part) -> str:
    """Digest of named parts, 64 hexadecimal characters.

    Every name, type and value enters with its length, so that ("ab", "c") and ("a", "bc"), or 1 and "1", cannot
    meet; the order in which the parts are given does not matter.

    Parameters
    ----------
    parts
        Strings, bytes, numbers, None, sequences of strings, or numeric arrays.

    Raises
    ------
    TypeError
        A part of another type, which would have no stable bytes.
    """
    digest = hashlib.sha256(b"class-kit cache 1")
    for name in sorted(parts):
        _feed(digest, b"name", name.encode())
        _feed_part(digest, name, parts[name])
    return digest.hexdigest()


def cached(kind: str, key: str, compute: Callable[[], Mapping[str, np.ndarray]], *, use: bool = True) -> Arrays:
    """The arrays stored under `kind` and `key`, or those that `compute` makes, stored for the next time.

    Two processes that miss at once both compute and the later file replaces the earlier; they hold the same content.
    A cache that cannot be written costs time, not the result: it is reported in the log. `use=False` neither reads
    nor writes.
    """
    if use and (found := load_entry(kind, key)) is not None:
        return found
    arrays = {name: np.asarray(array, order="C") for name, array in compute().items()}
    if use:
        try:
            store_entry(kind, key, arrays)
        except OSError as error:
            logger.warning("the result was not kept in the cache %s: %s", cache_folder(), error)
    return arrays


def store_entry(kind: str, key: str, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays under `kind` and `key`, atomically, with a digest of their content; return the file.

    Raises
    ------
    ValueError
        `kind` or `key` is not a plain name, or there is no array.
    OSError
        The folder cannot be written.
    """
    from safetensors.numpy import save

    path = entry_path(kind, key)
    if not arrays:
        raise ValueError(f"nothing to store under {kind}/{key[:12]}: expected at least one array")
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = save(whole, metadata=entry_note(kind, next(iter(whole)), content_digest(whole, kind, key)))
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return path


def load_entry(kind: str, key: str) -> Arrays | None:
    """The arrays stored under `kind` and `key`, or None where there is none.

    A file whose content does not give the digest it was written with is removed, with a warning in the log, and
    counts as absent.
    """
    path = entry_path(kind, key)
    if not path.is_file():
        return None
    try:
        digest, arrays = _read(path)
    except Exception as error:  # a damaged header can surface as almost any error of the reader
        discard_entry(path, f"it cannot be read: {error}")
        return None
    if digest != content_digest(arrays, kind, key):
        discard_entry(path, "its content does not have the digest it was written with, or is another entry's")
        return None
    return arrays


def cache_entries(kind: str | None = None) -> tuple[CacheEntry, ...]:
    """What the cache holds, by kind and then by key; files that are not entries are passed over.

    Only headers are read, so that listing gigabytes is quick; the content is verified when it is used. A file whose
    header cannot be read is listed with the shape `()`.
    """
    folder = cache_folder()
    if kind is not None:
        _check_kind(kind)
    entries = []
    for path in sorted(folder.glob(f"{kind or '*'}/*.safetensors")):
        if not (_KEY.fullmatch(path.stem) and _KIND.fullmatch(path.parent.name)):
            continue
        try:
            status, shape = path.stat(), _header_shape(path)
        except FileNotFoundError:
            continue
        created = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")
        entries.append(CacheEntry(path.stem, path.parent.name, shape, status.st_size, created, path))
    return tuple(entries)


def clear_cache(kind: str | None = None) -> tuple[int, int]:
    """Remove the entries of one kind, or all; return how many files and bytes went.

    Only files that the cache itself wrote are touched, whatever else lies in the folder.
    """
    entries = cache_entries(kind)
    removed = [entry for entry in entries if _remove(entry.path)]
    for folder in cache_folder().glob(kind or "*"):
        remove_abandoned(folder, ".*.safetensors.????????.tmp")
    return len(removed), sum(entry.size for entry in removed)


def _check_kind(kind: str) -> None:
    if not _KIND.fullmatch(kind):
        raise InputError(f"cache kind {kind!r}: expected lower-case letters, digits, '-' and '_'")


def entry_path(kind: str, key: str) -> Path:
    """Where an entry lies or would lie; an InputError where `kind` or `key` is not a plain name."""
    _check_kind(kind)
    if not _KEY.fullmatch(key):
        raise InputError(f"cache key {key!r}: expected 64 hexadecimal characters, as cache_key gives them")
    return cache_folder() / kind / f"{key}.safetensors"


def _read(path: Path) -> tuple[str, Arrays]:
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as file:
        return json.loads(file.metadata()[NOTE])["digest"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping


def _header_shape(path: Path) -> tuple[int, ...]:
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            return tuple(file.get_slice(json.loads(file.metadata()[NOTE])["first"]).get_shape())
    except FileNotFoundError:
        raise
    except Exception:  # a damaged header can surface as almost any error of the reader
        return ()


def entry_note(kind: str, first: str, digest: str) -> dict[str, str]:
    """What an entry's header says of it: one string for all, because safetensors writes several in no fixed order."""
    return {NOTE: json.dumps({"digest": digest, "first": first, "kind": kind}, sort_keys=True)}


def discard_entry(path: Path, reason: str) -> None:
    """Remove a damaged entry and say so in the log."""
    logger.warning("cache file %s was removed and will be made again: %s", path, reason)
    _remove(path)


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        logger.warning("%s cannot be removed: %s", path, error)
        return False
    return True


def content_digest(arrays: Mapping[str, np.ndarray], kind: str, key: str) -> str:
    """SHA-256 over an entry's place, and the names, types, shapes and values of its arrays in whatever order.

    The place is in it because a sound file under another entry's name would give another input's vectors.
    """
    digest = hashlib.sha256(f"{kind}/{key}\n".encode())
    for name in sorted(arrays):
        _feed(digest, b"name", name.encode())
        _feed_array(digest, arrays[name])
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, tag: bytes, payload: bytes | memoryview) -> None:
    size = payload.nbytes if isinstance(payload, memoryview) else len(payload)
    digest.update(b"%s %d\n" % (tag, size))
    digest.update(payload)


def _feed_array(digest: hashlib._Hash, array: np.ndarray) -> None:
    _feed(digest, b"array", f"{array.dtype.str} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)


def _feed_part(digest: hashlib._Hash, name: str, value: Part) -> None:
    if isinstance(value, str):
        _feed(digest, b"str", value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, bytes):
        _feed(digest, b"bytes", value)
    elif value is None or isinstance(value, bool | int | float):
        _feed(digest, type(value).__name__.encode(), repr(value).encode())
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        _feed_array(digest, value)
    elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        _feed(digest, b"list", str(len(value)).encode())
        for item in value:
            _feed(digest, b"str", item.encode("utf-8", "surrogatepass"))
    else:
        raise TypeError(
            f"cache part {name!r} is {type(value).__name__}: expected a string, bytes, a number, None, "
            "a list or tuple of strings, or a numeric array"
        )
