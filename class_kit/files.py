"""Locations of the kit's own files, and atomic writes.

Everything that the kit writes passes through `atomic_write`: a crash, a full disk or a second process leaves either the
old file or the new one, never half of one.
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
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from class_kit.errors import InputError

PACKAGE = Path(__file__).resolve().parent
# A checkout has the corpus and the notebooks at its top level; a wheel has them inside the package.
CHECKOUT = PACKAGE.parent
_MAX_DEPTH = 20

# Characters that start a formula in a spreadsheet, ASCII and full width; `|` and `%` start commands in old ones.
_STARTS = "=+\\-@|%＝＋－＠"
_AT_START = re.compile(rf"[\t\r\n]|[\s\"]*[{_STARTS}]")
_INSIDE = re.compile(rf"([;\t\r\n][\s\"]*)(?=[{_STARTS}])")


def home_path(path: str | os.PathLike[str]) -> Path:
    """The path with a leading `~` or `~user` expanded; an `InputError` if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"{os.fspath(path)}: {error}") from None


def shipped(name: str) -> Path:
    """Path of a shipped file or folder, such as "data/corpus.csv" or "notebooks"."""
    inside = PACKAGE / name
    return inside if inside.exists() else CHECKOUT / name


def corpus_file() -> Path:
    """Path of the bundled corpus; an `InputError` if it is missing."""
    path = shipped("data/corpus.csv")
    if not path.is_file():
        raise InputError(f"the bundled corpus is missing: expected it at {path}; reinstall the kit")
    return path


def own_folder(folder: str | os.PathLike[str], *marks: str, never: Iterable[str] = ()) -> Path:
    """A folder to write results to, which overwrite files of their names.

    Raises
    ------
    InputError
        It is neither new nor empty and holds none of the files `marks` of an earlier call, or one of `never`, or is not
        a folder.
    """
    path = Path(folder)
    try:
        held = {each.name for each in path.iterdir()}
    except FileNotFoundError:
        return path
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be used as a folder: {error}") from None
    if held and (held.isdisjoint(marks) or not held.isdisjoint(never)):
        mine = f", or one with {marks[0]}" if marks else ""
        raise InputError(f"{str(path)!r}: expected a new or empty folder{mine}; choose another folder")
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
    """Create a folder and lock it for this process; the system releases the lock however the process ends.

    If nothing was written to the folder, it is removed again.

    Raises
    ------
    InputError
        Another process holds the lock, or the folder cannot be created or locked.
    """
    import fcntl

    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(open(folder / ".lock", "a+", encoding="ascii"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(40).strip() or "unknown"
            raise InputError(
                f"another process (id {holder}) is running in {str(folder)!r}; wait for it, or name another"
            ) from None
        except (OSError, ValueError) as error:
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


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Wait for other processes and threads in a block of the same `path`, so that equal work is done once.

    Nothing depends on it: where a file cannot be locked, nobody waits and the work is done twice. `path` is removed.
    """
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "wb")  # noqa: SIM115 - kept open while it is locked
    except OSError:
        yield
        return
    with file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """Convert `value` to plain JSON data: tuples and arrays become lists, NumPy scalars numbers, paths strings.

    Records are read by other programs and years later, so they contain nothing specific to Python.

    Parameters
    ----------
    value : object
    where : str
        Name of the value in error messages.

    Raises
    ------
    InputError
        Other types, NaN and infinity (JSON has neither), integers too large for a float, and nesting deeper than 20.
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
            raise InputError(f"{where}: {value} is not a finite number (use None for an undefined value)")
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
    """Write `value` as indented JSON with sorted keys, atomically; NaN and infinity, which JSON lacks, are refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def inert(value: Any) -> Any:
    """A cell that no spreadsheet executes: an apostrophe precedes text that would start a formula; None becomes "".

    A formula can start programs and send data away, and CSV cannot mark a cell as text. The apostrophe is a
    spreadsheet's own mark for text; other programs see it as a character. Depending on its language, a spreadsheet
    splits at semicolons or tabs instead of commas, so text after those is treated alike.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    inside = _INSIDE.sub(r"\1'", value)
    return f"'{inside}" if _AT_START.match(value) else inside


def write_csv(path: str | os.PathLike[str], header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a header and rows as CSV in UTF-8, atomically, with every cell made `inert`."""
    # a file name that is not UTF-8 reaches Python with surrogates, which UTF-8 cannot encode
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([inert(name) for name in header])
        writer.writerows([inert(value) for value in row] for row in rows)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file of any size."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """SHA-256 of plain data in canonical JSON."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def path_digest(path: Path, pattern: str = "*") -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        return sha256_file(path)
    files = (file for file in sorted(path.rglob(pattern)) if file.is_file())
    return json_digest([[file.relative_to(path).as_posix(), sha256_file(file)] for file in files])


@cache
def kit_state() -> dict[str, Any]:
    """What determines results in this installation: Python, the architecture, required packages, the kit's code."""
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
