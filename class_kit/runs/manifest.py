"""What a run's record says about where its numbers come from: inputs, code, versions, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.fetch import find_folder
from class_kit.files import CHECKOUT, PACKAGE, corpus_file, json_digest, sha256_file
from class_kit.terminal import one_line

# Version of the manifest's layout: a record of another version is not reused
FORMAT = 1
# Of larger files, such as model weights, size and date stand in for the content.
LARGE_FILE = 256 * 2**20


def path_digest(path: Path, pattern: str = "*") -> str:
    """SHA-256 over the names and contents of a folder's files, or of one file's content."""
    if path.is_file():
        return _content(path)
    total = hashlib.sha256()
    for file in sorted(path.rglob(pattern)):
        if file.is_file():
            total.update(f"{file.relative_to(path).as_posix()}\0{_content(file)}\0".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _content(file: Path) -> str:
    status = file.stat()
    if status.st_size > LARGE_FILE:
        return f"size {status.st_size} modified {status.st_mtime_ns}"
    return sha256_file(file)


def input_digests(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Digests of every file or folder that a parameter names, and of what stands behind the names of bundled data."""
    digests: dict[str, str] = {}
    for name, value in parameters.items():
        path = None
        with suppress(OSError, ValueError, InputError):
            if name == "pairs" and value == "corpus":
                path = corpus_file()
            elif name == "pairs" and value == "chebi20":
                path = (
                    None
                    if parameters.get("data")
                    else find_folder("chebi20", ("train.txt", "validation.txt", "test.txt"))
                )
            elif name != "out" and isinstance(value, str) and value and os.path.exists(value):
                path = Path(value)
        if path is not None:
            digests[f"{name}={value}"] = path_digest(path)
    return digests


@cache
def environment() -> dict[str, Any]:
    """Python, platform, packages and the kit's code: what decides results beside parameters and inputs."""
    wanted = {"ipykernel", "nbclient", "nbformat"}
    with suppress(metadata.PackageNotFoundError):
        needed = [line for line in metadata.requires("class-kit") or [] if "extra ==" not in line]
        wanted |= {match.group().lower() for line in needed if (match := re.match(r"[A-Za-z0-9._-]+", line))}
    packages = {}
    for name in sorted(wanted):
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "packages": packages,
        "code": path_digest(PACKAGE, "*.py"),
    }


def fingerprint(source: str, parameters: Mapping[str, Any], inputs: Mapping[str, str], where: Mapping[str, Any]) -> str:
    """One digest over all that a notebook's results depend on; equal digests need no second computation."""
    resolved = {name: value for name, value in parameters.items() if name != "out"}
    kept = {key: where[key] for key in ("python", "machine", "packages", "code")}
    return json_digest([source, resolved, dict(inputs), kept])


def git_commit(folder: Path = CHECKOUT) -> str | None:
    """The commit of the kit's checkout, with `-modified` for changed files; None outside a checkout of its own."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()

    if not (folder / ".git").exists():
        return None
    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-modified" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> list[str]:
    """How this process was started, the program by its name only."""
    program = Path(sys.argv[0]).name if sys.argv else ""
    return [one_line(part) for part in ("class-kit" if program == "__main__.py" else program, *sys.argv[1:])]


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a run's folder; empty where there is none that can be read, so that everything is recomputed."""
    with suppress(OSError, ValueError, AttributeError, TypeError):
        value = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
        entries = value["notebooks"].values() if value.get("format") == FORMAT else [{}]
        if all(isinstance(entry.get("status"), str) and isinstance(entry.get("files", {}), dict) for entry in entries):
            return value
    return {}


def inside(folder: Path, path: str) -> Path:
    """A recorded path as a file of this run; a manifest edited by hand must not reach outside."""
    file = folder / path
    if folder.resolve() not in file.resolve().parents:
        raise InputError(f"{str(folder / 'manifest.json')!r} names a file outside the run: {path!r}")
    return file
