"""The folder of a run: its name, who may write in it, and one writer at a time."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.files import plain, sha256_file
from class_kit.runs.manifest import digest_json

SWEEP_RECORD = "sweep.json"
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def run_folder(out: str | os.PathLike[str] | None, name: str | None, overrides: Mapping[str, Any]) -> Path:
    """The folder of a run: `out`, or `runs/` and a name that is made from the overrides where none is given.

    A folder that holds other files is refused: a run replaces what it finds under its own names.
    """
    _check_name(out, name)
    if out is None:
        folder = Path("runs") / (name or default_name(overrides))
        if is_sweep(folder):
            raise InputError(f"run name {folder.name!r}: a sweep is kept in {str(folder)!r}; choose another name")
        return folder
    folder = Path(plain(out, "--out"))
    try:
        foreign = folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not is_run(folder)))
    except (OSError, ValueError) as error:
        raise InputError(f"--out {str(out)!r}: {error}") from None
    if foreign:
        raise InputError(f"--out {str(out)!r}: not an empty folder and not a run's folder; choose another")
    return folder


def sweep_folder(out: str | os.PathLike[str] | None, name: str | None, default: str) -> Path:
    """The folder of a sweep, as `run_folder`; one that holds anything else, a single run included, is refused."""
    _check_name(out, name)
    folder = Path("runs") / (name or default) if out is None else Path(plain(out, "--out"))
    try:
        held = [path.name for path in folder.iterdir()] if folder.exists() else []
    except (OSError, ValueError) as error:
        raise InputError(f"the sweep's folder {str(folder)!r}: {error}") from None
    # a sweep that was killed as it began has left its lock, or half of its record
    if not is_sweep(folder) and any(file != ".lock" and not file.startswith(f".{SWEEP_RECORD}.") for file in held):
        raise InputError(
            f"{str(folder)!r}: not an empty folder and not a sweep's folder; choose another --out or --name"
        )
    return folder


def _check_name(out: str | os.PathLike[str] | None, name: str | None) -> None:
    if out is not None and name is not None:
        raise InputError("give a run's folder (--out) or its name (--name), not both")
    if name is not None and not SAFE_NAME.fullmatch(name):
        raise InputError(
            f"run name {name!r}: expected 1 to 100 letters, digits, '.', '_' or '-', with a letter or digit first"
        )


def is_run(folder: Path) -> bool:
    """Whether a folder was made by a run, and is not the folder of a sweep over runs."""
    return not is_sweep(folder) and ((folder / "manifest.json").is_file() or (folder / ".lock").is_file())


def is_sweep(folder: Path) -> bool:
    """Whether a folder was made by a sweep over runs."""
    return (folder / SWEEP_RECORD).is_file()


def default_name(overrides: Mapping[str, Any]) -> str:
    """`default`, or a readable name from the parameters that differ from their defaults and a hash of all of them."""
    if not overrides:
        return "default"
    words = []
    for key, value in sorted(overrides.items()):
        text = Path(value).name if isinstance(value, str) else json.dumps(value)
        words.append(f"{_slug(key)}-{_slug(text)[:20]}")
    return f"{'_'.join(words)[:60].strip('-._') or 'run'}-{digest_json(dict(overrides))[:8]}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")


def written_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Results and figures in a run's folder, each with time and size, to see which ones a notebook wrote."""
    found = {}
    for place in ("results", "figures"):
        for path in (folder / place).rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                status = path.stat()
                found[path.relative_to(folder).as_posix()] = (status.st_mtime_ns, status.st_size)
    return found


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file, None where it cannot be read."""
    try:
        return sha256_file(path)
    except OSError:
        return None


def inside(folder: Path, path: str) -> Path:
    """A recorded path as a file of this run; a manifest edited by hand must not reach outside."""
    file = folder / path
    if folder.resolve() not in file.resolve().parents:
        raise InputError(f"{str(folder / 'manifest.json')!r} names a file outside the run: {path!r}")
    return file
