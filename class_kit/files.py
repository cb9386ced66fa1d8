"""Where the kit's own files are, and writing files so that a reader never sees half of one.

Everything the kit leaves on disk passes through `atomic_write`: a crash, a full disk or a second process
leaves either the old file or the new one.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import platform
import re
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from class_kit.errors import InputError

PACKAGE = Path(__file__).resolve().parent
# A checkout keeps the corpus and the notebooks at its top level; a wheel carries them inside the package.
CHECKOUT = PACKAGE.parent
_MAX_DEPTH = 20

# What begins a formula in a spreadsheet, in ASCII and full width; `|` and `%` begin commands in old ones.
_STARTS = "=+\\-@|%＝＋－＠"
_AT_START = re.compile(rf"[\t\r\n]|[\s\"]*[{_STARTS}]")
_INSIDE = re.compile(rf"([;\t\r\n][\s\"]*)(?=[{_STARTS}])")


def home_path(path: str | os.PathLike[str]) -> Path:
    """The path with a leading `~` or `~user` resolved; an InputError where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{os.fspath(path)}: {error}") from None


def shipped(name: str) -> Path:
    """The shipped file or folder `name` ("data/corpus.csv", "notebooks"); the checkout's, if it does not exist."""
    inside = PACKAGE / name
    return inside if inside.exists() else CHECKOUT / name


def corpus_file() -> Path:
    """The bundled corpus; an error where it is missing."""
    path = shipped("data/corpus.csv")
    if not path.is_file():
        raise InputError(f"the bundled corpus is missing: expected it at {path}; install the kit again")
    return path


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a new temporary path beside `path`; on success sync the file and move it there, on failure remove it.

    It lies in the destination's folder because a rename is atomic only within one file system.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:80]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: str | os.PathLike[str], prefix: str) -> Iterator[Path]:
    """Yield a new private folder in `parent`, removed at the end."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a folder for one process, making it; the system lets go when the process ends, however it ends.

    A folder in which nothing was written meanwhile is removed again.

    Raises
    ------
    InputError
        When another process holds the folder, and where it cannot be made or locked.
    """
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+", encoding="ascii")  # noqa: SIM115 - kept open while it is locked
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write the run's folder {str(folder)!r}: {error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(40).strip() or "unknown"
            raise InputError(
                f"another process (id {holder}) is running in {str(folder)!r}; wait for it, or name another"
            ) from None
        except OSError as error:
            raise InputError(f"cannot lock the run's folder {str(folder)!r}: {error}; choose another") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                if [path.name for path in folder.iterdir()] == [".lock"]:
                    (folder / ".lock").unlink()
                    folder.rmdir()


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """`value` as plain JSON data: tuples and arrays become lists, NumPy scalars numbers, paths strings.

    A record is read by other programs and years later, so nothing that needs Python to be understood gets in.

    Parameters
    ----------
    value : object
    where : str
        How error messages name the value.

    Raises
    ------
    InputError
        For other types, for NaN and infinity (JSON has neither), for integers beyond every float, and for nesting
        deeper than 20.
    """
    if depth > _MAX_DEPTH:
        raise InputError(f"{where}: nested deeper than {_MAX_DEPTH} levels")
    if type(value).__module__ == "numpy":
        value = value.tolist()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"{where}: {value!r} is not valid Unicode text") from None
    if isinstance(value, int) and value.bit_length() > 1024:
        raise InputError(f"{where}: an integer of {value.bit_length():,} bits: expected one that fits a float")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{where}: {value} is not a finite number (write None for a value that is not defined)")
        return value
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{where}: key {key!r} is not a string")
        return {str(key): plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    raise InputError(f"{where}: a {type(value).__name__} is not plain data (number, string, bool, None, list, dict)")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically; NaN and infinity are refused (not JSON)."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def inert(value: Any) -> Any:
    """A cell that no spreadsheet runs: text that would begin a formula gets an apostrophe, None becomes empty.

    A formula can start programs and send data away, and CSV has no way to say "this is text"; an apostrophe is how a
    spreadsheet itself marks it, and another program that reads the file sees it. Depending on its language a
    spreadsheet splits at semicolons or tabs instead of commas, so what follows one of those is treated alike.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    inside = _INSIDE.sub(r"\1'", value)
    return f"'{inside}" if _AT_START.match(value) else inside


def write_csv(path: str | os.PathLike[str], header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a header and rows as CSV in UTF-8, atomically, every cell made `inert`."""
    # a file name that is not UTF-8 reaches Python with surrogates, which have no UTF-8 of their own
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([inert(name) for name in header])
        writer.writerows([inert(value) for value in row] for row in rows)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks so that size does not matter."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of plain data in a canonical spelling."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def path_digest(path: Path, pattern: str = "*") -> str:
    """SHA-256 of a file, or over the names and contents of a folder's files."""
    if path.is_file():
        return sha256_file(path)
    files = (file for file in sorted(path.rglob(pattern)) if file.is_file())
    return json_digest([[file.relative_to(path).as_posix(), sha256_file(file)] for file in files])


@cache
def kit_state() -> dict[str, Any]:
    """What of this installation decides results: Python, the kind of machine, required packages, the kit's code."""
    from importlib import metadata

    names, packages = {"ipykernel", "nbclient"}, {}
    with suppress(metadata.PackageNotFoundError):
        needed = [line for line in metadata.requires("class-kit") or [] if "extra ==" not in line]
        names |= {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in needed}
    for name in sorted(names):
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": packages,
        "code": path_digest(PACKAGE, "*.py"),
    }
