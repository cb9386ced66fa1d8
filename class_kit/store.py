"""Results stored on disk, one row per item, so that nothing is embedded twice.

An SQLite file holds the values that one maker, such as an encoder with its weights and options, computed for items,
such as texts. A subset, another order or a few more rows compute only what is new, and an interrupted computation
continues where it stopped. Each row has a checksum: a damaged value is computed again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from class_kit.errors import InputError
from class_kit.files import turn

logger = logging.getLogger(__name__)

Compute = Callable[[list[int]], Iterable[tuple[int, bytes]]]
"""From rows of the items to each of them with its value, in any order."""
ComputeVectors = Callable[[list[int]], Iterable[tuple[int, int, np.ndarray]]]
"""From rows of the items to each of them with an integer and a vector `(d,)`, in any order."""

_KIND = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_TABLE = "CREATE TABLE IF NOT EXISTS items (key BLOB PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL)"
_KEYS_PER_QUERY = 2_000
_SECONDS_BETWEEN_WRITES = 1.0


@dataclass(frozen=True)
class Maker:
    """What computes values: a kind such as `text`, a name for messages, and a digest of all that determines values."""

    kind: str
    name: str
    digest: str

    @property
    def path(self) -> Path:
        """File of the maker's values, the same whatever the name."""
        folder = cache_folder() / self.kind
        name = re.sub(r"[^a-z0-9]+", "-", Path(self.name).name.lower())[:40].strip("-")
        return next(folder.glob(f"*-{self.digest[:32]}.sqlite"), folder / f"{name}-{self.digest[:32]}.sqlite")


@dataclass(frozen=True, eq=False)
class StoredItems:
    """Values of n items, in memory or left on disk, where the object is small enough to send to other processes.

    Attributes
    ----------
    sizes : (n,) int64
        Bytes of each value.
    """

    sizes: np.ndarray
    _keys: list[bytes]
    _path: Path
    _held: dict[bytes, bytes]

    def read(self, rows: Iterable[int] | None = None) -> list[bytes]:
        """Values of these rows, or of all.

        Raises
        ------
        InputError
            A value that was left on disk is missing or damaged.
        """
        keys = self._keys if rows is None else [self._keys[row] for row in rows]
        values = self._held
        if absent := set(keys) - values.keys():
            values = values | dict(_read(self._path, absent))
        try:
            return [values[key] for key in keys]
        except KeyError:
            raise InputError(f"{self._path} was cleared or damaged while it was in use; run again") from None


@dataclass(frozen=True)
class CacheEntry:
    """One file of the store: its content and its size in bytes; `items` is None for an unreadable file."""

    kind: str
    name: str
    items: int | None
    size: int
    path: Path


def cache_folder() -> Path:
    """Folder of the store: `$CLASS_KIT_CACHE`, else `~/.cache/class-kit`. It need not exist yet."""
    folder = os.environ.get("CLASS_KIT_CACHE")
    return Path(folder).expanduser() if folder else Path.home() / ".cache" / "class-kit"


def digest_of(**parts: bool | int | float | str | Sequence[str] | np.ndarray | None) -> str:
    """Digest of named parts, 64 hexadecimal characters; the order of the parts does not matter.

    Raises
    ------
    TypeError
        A part of another type, which has no stable bytes.
    """
    digest = hashlib.sha256(b"class-kit 2")
    for name in sorted(parts):
        value: Any = parts[name]
        array = value if isinstance(value, np.ndarray) else np.empty(0, np.uint8)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"part {name!r} is an array of {array.dtype}: expected numbers")
        described = json.dumps([name, [array.dtype.str, array.shape] if value is array else {"is": value}]).encode()
        digest.update(b"%d %s" % (len(described), described))
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def stored(maker: Maker, items: Sequence[str], compute: Compute, *, use: bool = True, hold: bool = True) -> StoredItems:
    """The value of each item, from the store if present; `compute` is called with the rows of the others, each once.

    New values are written about once a second, so an interruption loses no more than that. Several processes may read
    and write at once; one that wants what another is computing for the same items waits for it. If the store cannot be
    written, the result is complete nevertheless and the log warns.

    Parameters
    ----------
    use
        False neither reads nor writes the store.
    hold
        False leaves values on disk, for those too large for memory; what could not be written is held.
    """
    keys = [hashlib.sha256(item.encode("utf-8", "surrogatepass")).digest()[:16] for item in items]
    missing = {key: row for row, key in reversed([*enumerate(keys)])}
    sizes: dict[bytes, int] = {}
    held: dict[bytes, bytes] = {}
    new: dict[bytes, bytes] = {}

    def keep() -> None:
        nonlocal use
        use = use and _write(maker.path, new)
        if hold or not use:
            held.update(new)
        sizes.update((key, len(value)) for key, value in new.items())
        new.clear()

    def absent() -> list[int]:
        """The rows that the store lacks; the others are read."""
        for key, value in _read(maker.path, missing.keys() - sizes.keys()) if use else ():
            sizes[key] = len(value)
            if hold:
                held[key] = value
        return sorted(row for key, row in missing.items() if key not in sizes)

    if absent():
        same = hashlib.sha256(b"".join(sorted(missing))).hexdigest()[:32]
        with turn(maker.path.with_name(f".{same}.lock")) if use else nullcontext():
            rows, last = absent(), time.monotonic()
            try:
                for row, value in compute(rows) if rows else ():
                    new[keys[row]] = value
                    if time.monotonic() - last > _SECONDS_BETWEEN_WRITES:
                        keep()
                        last = time.monotonic()
            finally:
                if new:
                    keep()
    return StoredItems(np.array([sizes[key] for key in keys], np.int64), keys, maker.path, held)


def stored_vectors(
    maker: Maker, items: Sequence[str], compute: ComputeVectors, *, use: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """An integer `(L,)` int64 and a vector `(L, d)` float32 of each item, as `stored` keeps them."""

    def values(missing: list[int]) -> Iterator[tuple[int, bytes]]:
        for row, number, vector in compute(missing):
            yield row, np.int64(number).tobytes() + np.asarray(vector, np.float32).tobytes()

    kept = stored(maker, items, values, use=use)
    width = max(0, int(kept.sizes.max(initial=0)) - 8) // 4
    if (kept.sizes != 8 + 4 * width).any():
        raise InputError(f"{maker.path} holds vectors of different lengths: remove it and run again")
    joined = b"".join(kept.read())
    # a million vectors take gigabytes: never hold more than two copies
    del kept
    records = np.frombuffer(joined, [("number", "<i8"), ("vector", "<f4", (width,))])
    return records["number"].copy(), records["vector"].copy()


def warn_once(log: logging.Logger, message: str, *, use: bool = True) -> None:
    """Log a warning about a data set the first time only; the store remembers it like any result."""

    def warn(missing: list[int]) -> Iterator[tuple[int, bytes]]:
        log.warning("%s", message)
        yield missing[0], b""

    stored(Maker("notices", "said", digest_of(rules=1)), [message], warn, use=use)


def cache_entries(kind: str | None = None) -> tuple[CacheEntry, ...]:
    """Files of the store, sorted by kind and name.

    Raises
    ------
    InputError
        `kind` is not a plain name.
    """
    if kind is not None and not _KIND.fullmatch(kind):
        raise InputError(f"cache kind {kind!r}: expected lower-case letters, digits, '-' and '_'")
    entries = []
    for path in sorted(cache_folder().glob(f"{kind or '*'}/*-{'[0-9a-f]' * 32}.sqlite")):
        try:
            with closing(_connect(path)) as connection:
                items = connection.execute("SELECT count(*) FROM items").fetchone()[0]
        except sqlite3.Error:
            items = None
        with suppress(FileNotFoundError):
            entries.append(CacheEntry(path.parent.name, path.stem[:-33], items, path.stat().st_size, path))
    return tuple(entries)


def clear_cache(kind: str | None = None) -> tuple[int, int]:
    """Remove the files of one kind, or of all kinds; return the number of files and bytes removed.

    Other files in the folder are left alone.
    """
    removed = [entry for entry in cache_entries(kind) if _remove(entry.path)]
    return len(removed), sum(entry.size for entry in removed)


def _connect(path: Path) -> sqlite3.Connection:
    # A rollback journal, SQLite's default, instead of a write-ahead log: a store on a read-only or a network file
    # system can then be read as well.
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _read(path: Path, wanted: Set[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the stored keys with their values, in any order, without damaged rows; a damaged file is removed."""
    if not path.exists():
        return
    try:
        with closing(_connect(path)) as connection:
            for key, value, checksum in _rows(connection, wanted):
                if key not in wanted:
                    continue
                if isinstance(value, bytes) and zlib.crc32(value, zlib.crc32(key)) == checksum:
                    yield key, value
                else:
                    logger.warning("a damaged row in the cache %s will be computed again", path)
    except sqlite3.Error as error:
        _unusable(path, error)


def _rows(connection: sqlite3.Connection, wanted: Set[bytes]) -> Iterator[tuple[Any, Any, Any]]:
    query, keys = "SELECT key, value, checksum FROM items", list(wanted)
    (count,) = connection.execute("SELECT max(rowid) FROM items").fetchone()
    # reading the whole table in its own order takes a quarter of the time of looking up all keys
    if len(keys) > (count or 0) / 2:
        yield from connection.execute(query)
        return
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        some = keys[start : start + _KEYS_PER_QUERY]
        yield from connection.execute(f"{query} WHERE key IN ({','.join('?' * len(some))})", some)


def _write(path: Path, values: dict[bytes, bytes]) -> bool:
    """Add rows in one transaction; log a warning and return False if that fails."""
    rows = [(key, value, zlib.crc32(value, zlib.crc32(key))) for key, value in values.items()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(_connect(path)) as connection:
            connection.execute("PRAGMA page_size = 16384")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_TABLE)
            connection.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
    except (OSError, sqlite3.Error) as error:
        logger.warning("results could not be written to the cache %s: %s", path, error)
        if isinstance(error, sqlite3.Error):
            _unusable(path, error)
        return False
    return True


def _unusable(path: Path, error: sqlite3.Error) -> None:
    """Remove a damaged file; leave one that is merely new or locked."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        logger.warning("the cache file %s is damaged and will be computed again: %s", path, error)
        _remove(path)
    elif "no such table" not in str(error):
        logger.warning("the cache file %s cannot be read: %s", path, error)


def _remove(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s cannot be removed: %s", path, error)
        return False
    return True
