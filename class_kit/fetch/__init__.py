"""Published data and models at pinned revisions: downloaded or copied, verified, put where the loaders look.

Running a fetch again continues it: what is there and verified is left alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from class_kit.errors import InputError
from class_kit.fetch import hub
from class_kit.fetch.downloads import FetchError, copy, copy_verified, download
from class_kit.fetch.folders import data_home
from class_kit.fetch.releases import PINNED, RAW_FILES, git_blob_id
from class_kit.files import home_path, scratch_folder, sha256_file

RELEASES = (*PINNED, "scibert")


# What a BERT model needs beside its weights; safetensors are taken where the revision has them, since reading them
# cannot run anything.
MODEL_FILES = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
MODEL_NEEDS = ("config.json", "vocab.txt")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Fetched(os.PathLike[str]):
    """The folder with the files, and what was done to get them; usable wherever a path is."""

    folder: Path
    new: tuple[str, ...]
    present: tuple[str, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __fspath__(self) -> str:
        return str(self.folder)

    def __str__(self) -> str:
        parts = [f"{label} {', '.join(names)}" for label, names in self._lists() if names]
        return "; ".join([str(self.folder), *parts, *self.notes])

    def _lists(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ("new:", self.new), ("already there:", self.present), ("still missing:", self.missing)


def fetch(
    what: str,
    source: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    *,
    base: str = RAW_FILES,
    timeout: float = 30.0,
    attempts: int = 4,
    pause: float = 1.0,
    progress: bool | None = None,
) -> Fetched:
    """Get a published data set or model, from its public place or from a local folder.

    Parameters
    ----------
    what : {"chebi20", "mol2vec", "scibert"}
        The three files of ChEBI-20 (MolT5's release); Text2Mol's token vectors and Mol2vec's own model; SciBERT.
    source : path, optional
        Folder that holds the files under their own names; nothing is then downloaded. Files it lacks are named in the
        result.
    folder : path, optional
        Where they go: by default `data_home()/what`, where the loaders look.
    base : str
        Server of the raw repository files, for a mirror. What it serves is verified all the same.
    timeout, attempts, pause : float, int, float
        As in `class_kit.fetch.downloads.download`.

    Returns
    -------
    Fetched
        The folder and which files are new, were there, or are missing.

    Raises
    ------
    FetchError
        If a file could not be had or is not the published one. Files that were complete before stay, so that running
        it again continues; of the failed file nothing is left.
    InputError
        If `what` is unknown or `source` is not a folder with any of the files.
    """
    if what not in RELEASES:
        raise InputError(f"{what!r} cannot be fetched; expected one of {', '.join(RELEASES)}")
    target = home_path(folder) if folder is not None else data_home() / what
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is not a folder; fetched files need one")
    origin = None if source is None else _source_folder(source)
    with _no_empty_folder_left(target):
        if what == "scibert":
            return _copy_model(origin, target) if origin else _download_model(target, progress)
        if origin:
            return _copy_pinned(what, origin, target)
        get = partial(download, timeout=timeout, attempts=attempts, pause=pause, progress=progress)
        return _download_pinned(what, target, base, get)


def _download_pinned(what: str, target: Path, base: str, get: Callable[[str, Path, str], None]) -> Fetched:
    new: list[str] = []
    present: list[str] = []
    failures: list[str] = []
    for file in PINNED[what]:
        path = target / file.name
        if _is_there(path, file.blob):
            present.append(file.name)
            continue
        try:
            get(file.url(base), path, file.blob)
            new.append(file.name)
        except FetchError as failure:
            failures.append(str(failure))
    if failures:
        ready = f"; complete: {', '.join([*present, *new])}" if present or new else ""
        raise FetchError(f"{'; '.join(failures)}{ready}. {_by_hand(what)}")
    return Fetched(target, tuple(new), tuple(present))


@contextmanager
def _no_empty_folder_left(target: Path) -> Iterator[None]:
    new = not target.exists()
    try:
        yield
    except BaseException:
        if new:
            # not empty, if some files were complete: these stay
            with suppress(OSError):
                target.rmdir()
        raise


def _by_hand(what: str) -> str:
    return (
        f"Run `class-kit fetch {what}` again to continue, or download what is missing with a browser into a folder, "
        f"under its own name, and run `class-kit fetch {what} --from FOLDER`"
    )


def _is_there(path: Path, blob: str) -> bool:
    return path.is_file() and git_blob_id(path) == blob


def _source_folder(source: str | os.PathLike[str]) -> Path:
    path = home_path(source)
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; expected one that holds the files under their own names")
    return path


def _copy_pinned(what: str, origin: Path, target: Path) -> Fetched:
    new: list[str] = []
    present: list[str] = []
    missing: list[str] = []
    for file in PINNED[what]:
        if _is_there(target / file.name, file.blob):
            present.append(file.name)
        elif (origin / file.name).is_file():
            copy_verified(origin / file.name, target / file.name, file.blob)
            new.append(file.name)
        else:
            missing.append(file.name)
    if not new and not present:
        raise InputError(f"{origin} has none of {', '.join(missing)}")
    return Fetched(target, tuple(new), tuple(present), tuple(missing))


def _weights_note(folder: Path) -> tuple[str, ...]:
    return tuple(
        f"{name} has sha256 {sha256_file(folder / name)}, for which no published value is known here to compare with"
        for name in WEIGHT_FILES
        if (folder / name).is_file()
    )


def _copy_model(origin: Path, target: Path) -> Fetched:
    weights = next((name for name in WEIGHT_FILES if (origin / name).is_file()), None)
    there = [name for name in MODEL_FILES if (origin / name).is_file()] + ([weights] if weights else [])
    missing = [name for name in MODEL_NEEDS if name not in there]
    if not there:
        raise InputError(f"{origin} has none of {', '.join((*MODEL_FILES, *WEIGHT_FILES))}")
    for name in there:
        copy(origin / name, target / name)
    missing += [] if weights else [" or ".join(WEIGHT_FILES)]
    return Fetched(target, tuple(there), (), tuple(missing), _weights_note(target))


def _download_model(target: Path, progress: bool | None) -> Fetched:
    from class_kit.text.encoders import SCIBERT_ID, SCIBERT_REVISION

    weights = next((name for name in WEIGHT_FILES if (target / name).is_file()), None)
    present = [name for name in MODEL_FILES if (target / name).is_file()]
    if weights and set(MODEL_NEEDS) <= set(present):
        return Fetched(target, (), (*present, weights), (), _weights_note(target))
    target.mkdir(parents=True, exist_ok=True)
    # the hub client writes files piecemeal and keeps records of its own beside them: neither belongs in the folder
    with scratch_folder(target.parent, ".scibert.") as scratch:
        weights = _hub_files(SCIBERT_ID, SCIBERT_REVISION, scratch, progress)
        got = [name for name in MODEL_FILES if (scratch / name).is_file()]
        for each in (*got, weights):
            # weights last: a folder that has them has all the rest
            copy(scratch / each, target / each)
    return Fetched(target, (*got, weights), (), (), _weights_note(target))


def _model_by_hand(identifier: str, revision: str) -> str:
    return (
        f"Run `class-kit fetch scibert` again, or download {', '.join(MODEL_NEEDS)} and {' or '.join(WEIGHT_FILES)} "
        f"with a browser from https://huggingface.co/{identifier}/tree/{revision} into a folder, under their own "
        "names, and run `class-kit fetch scibert --from FOLDER`"
    )


def _hub_files(identifier: str, revision: str, folder: Path, progress: bool | None) -> str:
    """Download a model's files into `folder` and return the name of its weights."""
    try:
        hub.snapshot(identifier, revision, folder, [*MODEL_FILES, WEIGHT_FILES[0]], progress=progress)
        if not (folder / WEIGHT_FILES[0]).is_file():
            hub.snapshot(identifier, revision, folder, [WEIGHT_FILES[1]], progress=progress)
    except hub.HubError as failure:
        raise FetchError(f"{identifier} at {revision}: {failure}. {_model_by_hand(identifier, revision)}") from None
    weights = next((name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    missing = [name for name in MODEL_NEEDS if not (folder / name).is_file()] + ([] if weights else ["weights"])
    if missing or weights is None:
        raise FetchError(
            f"{identifier} at {revision} has no {', '.join(missing)}. {_model_by_hand(identifier, revision)}"
        )
    return weights
