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
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.fetch import find_folder
from class_kit.files import CHECKOUT, PACKAGE, shipped
from class_kit.terminal import one_line

# Version of the manifest's layout: a record of another version is not reused
FORMAT = 1

# A folder of data is digested file by file; beyond these limits size and date stand in for the content, so that a
# folder with model weights or a whole disk named by mistake costs seconds and not hours.
LARGE_FILE = 256 * 2**20
MANY_FILES = 2000


def digest_json(value: Any) -> str:
    """SHA-256 of plain data in a canonical spelling."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def notebook_digest(notebook: Any) -> str:
    """SHA-256 of what a notebook computes: types, tags and sources of its cells, not its outputs."""
    return digest_json([[cell.cell_type, cell.metadata.get("tags", []), cell.source] for cell in notebook.cells])


def code_digest(folder: str | os.PathLike[str] | None = None) -> str:
    """SHA-256 over the names and bytes of the kit's own Python files."""
    root = Path(folder) if folder is not None else PACKAGE
    total = hashlib.sha256()
    for file in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        total.update(f"{file.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def path_digest(path: Path) -> str:
    """Digest of a file's bytes, or of a folder's names and bytes (see `LARGE_FILE` and `MANY_FILES`)."""
    if path.is_file():
        return _file_digest(path)
    total = hashlib.sha256()
    seen = 0
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = Path(folder) / name
            seen += 1
            if not file.is_file():
                continue
            part = _file_digest(file) if seen <= MANY_FILES else _stamp(file)
            total.update(f"{os.path.relpath(file, path)}\0{part}\0".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _file_digest(path: Path) -> str:
    if path.stat().st_size > LARGE_FILE:
        return _stamp(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"size {status.st_size} modified {status.st_mtime_ns}"


def input_digests(parameters: Mapping[str, Any], known: dict[str, str] | None = None) -> dict[str, str]:
    """Digests of every file or folder that a parameter names, and of what stands behind the names of bundled data.

    Parameters
    ----------
    parameters : mapping
        A notebook's complete parameters. `pairs="corpus"` is the bundled corpus, `pairs="chebi20"` without `data`
        the folder of fetched data.
    known : dict, optional
        Digests taken before, by path; filled here, so that notebooks that share an input read it once.

    Returns
    -------
    dict of str to str
        `parameter=value` to digest.
    """
    known = {} if known is None else known
    digests: dict[str, str] = {}

    def digest(path: Path) -> str:
        if str(path) not in known:
            known[str(path)] = path_digest(path)
        return known[str(path)]

    for name, value in parameters.items():
        if name == "out" or not isinstance(value, str) or not value:
            continue
        path = _existing(value)
        if path is not None and not (name == "pairs" and value in {"corpus", "chebi20"}):
            digests[f"{name}={value}"] = digest(path)
    if parameters.get("pairs") == "corpus":
        for file in corpus_files():
            digests[f"pairs=corpus ({file.name})"] = digest(file)
    if parameters.get("pairs") == "chebi20" and not parameters.get("data"):
        with suppress(InputError):
            folder = find_folder("chebi20", ("train.txt", "validation.txt", "test.txt"))
            digests[f"pairs=chebi20 ({folder.name})"] = digest(folder)
    return digests


def _existing(value: str) -> Path | None:
    try:
        path = Path(value)
        return path if value and (path.is_file() or path.is_dir()) else None
    except (OSError, ValueError):
        return None


def corpus_files() -> list[Path]:
    """The bundled corpus where it lies: beside the package in a checkout, inside it in an installed wheel."""
    return [path] if (path := shipped("data/corpus.csv")).is_file() else []


def package_versions() -> dict[str, str]:
    """Versions of the kit's own requirements that are installed, and of the kernel that runs the notebooks."""
    wanted = {"ipykernel", "nbclient", "nbformat"}
    try:
        needed = metadata.requires("class-kit") or []
    except metadata.PackageNotFoundError:
        needed = []
    # the kit may run from a checkout that was never installed
    needed = needed or ["numpy", "pandas", "torch", "transformers", "rdkit", "gensim", "scikit-learn", "matplotlib"]
    for requirement in needed:
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match and "extra ==" not in requirement:
            wanted.add(match.group().lower())
    versions = {}
    for name in sorted(wanted):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def environment() -> dict[str, Any]:
    """Python, platform, packages and the kit's code: what decides results beside parameters and inputs."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "packages": package_versions(),
        "code": code_digest(),
    }


def fingerprint(source: str, parameters: Mapping[str, Any], inputs: Mapping[str, str], where: Mapping[str, Any]) -> str:
    """One digest over all that a notebook's results depend on; equal digests need no second computation."""
    resolved = {name: value for name, value in parameters.items() if name != "out"}
    kept = {key: where[key] for key in ("python", "machine", "packages", "code")}
    return digest_json([source, resolved, dict(inputs), kept])


def git_commit(root: str | os.PathLike[str] | None = None) -> str | None:
    """The commit of the kit's checkout, with `-modified` for changed files; None outside a checkout of its own."""
    folder = Path(root) if root is not None else CHECKOUT
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("-modified" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


def now() -> str:
    """This moment as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command_line() -> list[str]:
    """How this process was started, the program by its name only."""
    program = Path(sys.argv[0]).name if sys.argv else ""
    return [one_line(part) for part in ("class-kit" if program == "__main__.py" else program, *sys.argv[1:])]


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a run's folder; empty where there is none that can be read, so that everything is recomputed."""
    with suppress(OSError, ValueError):
        value = json.loads((Path(folder) / "manifest.json").read_text(encoding="utf-8"))
        if isinstance(value, dict) and value.get("format") == FORMAT and _are_entries(value.get("notebooks")):
            return value
    return {}


def _are_entries(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("status"), str) and isinstance(entry.get("files", {}), dict)
        for entry in value.values()
    )
