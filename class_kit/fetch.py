"""Published data and models at pinned revisions: downloaded or copied, verified, put where the loaders look.

A mirror, a captive portal or a broken proxy can answer with anything, so a file gets its name only once its content is
the published one: it is there whole, or not at all. Running a fetch again continues it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from class_kit.checks import check_choice
from class_kit.errors import InputError
from class_kit.files import atomic_write, home_path, scratch_folder, sha256_file
from class_kit.progress import progress_bar

RAW_FILES = "https://raw.githubusercontent.com"
SCIBERT_ID = "allenai/scibert_scivocab_uncased"
SCIBERT_REVISION = "24f92d32b1bfb0bcaf9ab193ff3ad01e87732fc1"

# Seconds without a byte after which an attempt is given up, attempts at a file, and seconds before the second of them,
# doubled before each further one.
TIMEOUT_S = 30.0
ATTEMPTS = 4
PAUSE_S = 1.0

# What a BERT model needs beside its weights; safetensors are taken where the revision has them, since reading them
# cannot run anything.
MODEL_FILES = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
MODEL_NEEDS = ("config.json", "vocab.txt")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


class FetchError(InputError):
    """A file could not be had; the message says what happened and how to go on by hand."""


@dataclass(frozen=True)
class PinnedFile:
    """One file of a public repository at one commit, and the git blob id of its content."""

    repository: str
    commit: str
    path: str
    blob: str

    @property
    def name(self) -> str:
        """File name without folders, under which it is kept."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def url(self) -> str:
        """Where the raw file is served."""
        return f"{RAW_FILES}/{self.repository}/{self.commit}/{self.path}"


_MOLT5 = ("blender-nlp/MolT5", "754f9bffa4a638e2f1386d0ca19b5c3ed0a5b4aa")
_TEXT2MOL = ("cnedwards/text2mol", "749f997e6a45d0e3c8747e5392ae3b859a251094")
_MOL2VEC = ("samoturk/mol2vec", "850d944d5f48a58e26ed0264332b5741f72555aa")

PINNED = {
    "chebi20": (
        PinnedFile(*_MOLT5, "ChEBI-20_data/train.txt", "c1b42b82fdc8fb5287614e159196e25370763aac"),
        PinnedFile(*_MOLT5, "ChEBI-20_data/validation.txt", "694d328d621966d5c9ad0f36083fdfcf293191d5"),
        PinnedFile(*_MOLT5, "ChEBI-20_data/test.txt", "cf6da70d55c2745c6e64cf6864ea8cdbcdc80663"),
    ),
    "mol2vec": (
        PinnedFile(*_TEXT2MOL, "data/token_embedding_dict.npy", "75b80856ca76fca3e403155f1dfaa15bdaf93ffe"),
        PinnedFile(*_MOL2VEC, "examples/models/model_300dim.pkl", "9089140e323a89e74a8b8cb47107611f89dc8e54"),
    ),
}
RELEASES = (*PINNED, "scibert")


def git_blob_id(path: str | os.PathLike[str]) -> str:
    """Return the id that git gives a file's content: SHA-1 over `blob <size>\\0` and the bytes.

    Public repositories pin their files by it, and it covers the size as well.
    """
    digest = hashlib.sha1(f"blob {os.path.getsize(path)}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def data_home() -> Path:
    """Return the kit's own data folder: `$CLASS_KIT_HOME`, else `class-kit` in the user's XDG data folder.

    The latter is `~/.local/share/class-kit` unless `$XDG_DATA_HOME` says otherwise. `class-kit fetch` writes here.
    """
    if own := os.environ.get("CLASS_KIT_HOME"):
        return home_path(own)
    shared = os.environ.get("XDG_DATA_HOME")
    return (home_path(shared) if shared else Path.home() / ".local" / "share") / "class-kit"


def find_folder(name: str, files: Iterable[str], data: str | os.PathLike[str] | None = None) -> Path:
    """Return the first folder that holds one of `files`.

    With `data`, only that folder and its subfolder `name` are looked at: a folder that was named must not be replaced
    by another in silence. Without, `$CLASS_KIT_DATA/<name>`, `$CLASS_KIT_DATA` and `data_home()/<name>`, in this order.

    Raises
    ------
    InputError
        If none of them does; the message lists the places and the ways out.
    """
    wanted = tuple(files)
    if data is not None:
        folders = [home_path(data) / name, home_path(data)]
    else:
        shared = os.environ.get("CLASS_KIT_DATA")
        folders = [home_path(shared) / name, home_path(shared)] if shared else []
        folders.append(data_home() / name)
    for folder in folders:
        if any((folder / file).is_file() for file in wanted):
            return folder
    raise InputError(
        f"{name}: none of {', '.join(wanted)} in {' or '.join(map(str, folders))}; "
        + (f"run `class-kit fetch {name}`, or " if name in RELEASES else "")
        + "name the folder that has them"
    )


@dataclass(frozen=True)
class Fetched:
    """The folder with the files, and what was done to get them."""

    folder: Path
    new: tuple[str, ...]
    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lists = {"new:": self.new, "already there:": self.present, "still missing:": self.missing}
        parts = [f"{label} {', '.join(names)}" for label, names in lists.items() if names]
        return "; ".join([str(self.folder), *parts, *self.notes])


def fetch(
    what: str,
    source: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    *,
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
    progress : bool, optional
        Show bars; by default only where a person is looking.

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
    check_choice("what", what, RELEASES)
    target = data_home() / what if folder is None else home_path(folder)
    origin = None if source is None else home_path(source)
    for path in (target, origin):
        if path is not None and not path.is_dir() and (path is origin or path.exists()):
            raise InputError(f"{path} is not a folder; expected one for the files under their own names")
    new_folder = not target.exists()
    try:
        if what == "scibert":
            got = _fetch_model(origin, target, progress)
        else:
            got = _fetch_pinned(what, origin, target, progress)
    except FetchError as failure:
        raise FetchError(
            f"{failure}. Run `class-kit fetch {what}` again to continue, or download the files with a browser into a "
            f"folder, under their own names, and run `class-kit fetch {what} --from FOLDER`"
        ) from None
    finally:
        if new_folder and target.is_dir() and not any(target.iterdir()):
            target.rmdir()
    if not got.new and not got.present:
        raise InputError(f"{origin} has none of {', '.join(got.missing)}")
    return got


def _fetch_pinned(what: str, origin: Path | None, target: Path, progress: bool | None) -> Fetched:
    new, present, missing = [], [], []
    for file in PINNED[what]:
        path = target / file.name
        source = file.url if origin is None else origin / file.name
        if path.is_file() and git_blob_id(path) == file.blob:
            present.append(file.name)
        elif isinstance(source, Path) and not source.is_file():
            missing.append(file.name)
        else:
            obtain(source, path, file.blob, progress=progress)
            new.append(file.name)
    return Fetched(target, tuple(new), tuple(present), tuple(missing))


def obtain(
    source: str | Path, target: str | os.PathLike[str], blob: str | None, *, progress: bool | None = None
) -> None:
    """Download or copy one file and move it to `target` once its git blob id is `blob`; a failure leaves nothing.

    Trouble on the way (no connection, a stall, an incomplete or unexpected body) is met with `ATTEMPTS` attempts; an
    answer that says no, such as HTTP 404, ends the matter at once.

    Parameters
    ----------
    source : str or Path
        An address, or a local file.
    target : path
        Where the file goes.
    blob : str, optional
        The git blob id of its content; None where none is published.
    progress : bool, optional
        Show a bar; by default only where a person is looking.

    Raises
    ------
    FetchError
        If the file could not be had, or is another one.
    """
    import pooch
    import requests

    disable = None if progress is None else not progress
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with atomic_write(target) as temporary:
                if isinstance(source, Path):
                    shutil.copyfile(source, temporary)
                else:
                    with progress_bar(total=0, desc=Path(target).name, unit="B", disable=disable) as bar:
                        pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT_S)(source, str(temporary), None)
                _verify(temporary, blob)
            return
        except requests.exceptions.ProxyError as failure:
            raise _proxy_refuses(str(source), failure) from None
        except (FetchError, requests.RequestException) as failure:
            answer = getattr(failure, "response", None)
            if answer is not None:
                answer.close()
            if attempt == ATTEMPTS or isinstance(source, Path) or answer is not None:
                way = "" if isinstance(source, Path) else _through(source)
                raise FetchError(f"{source}{way}: {' '.join(str(failure).split())[:300]}") from None
        time.sleep(PAUSE_S * 2 ** (attempt - 1))


def _through(address: str) -> str:
    """Which proxy the environment sets for an address, without the password that it may hold; empty where none."""
    from requests.utils import get_environ_proxies, select_proxy

    proxy = urlsplit(select_proxy(address, get_environ_proxies(address)) or "")
    return f" through the proxy {proxy.netloc.rpartition('@')[2]}" if proxy.netloc else ""


def _proxy_refuses(address: str, failure: Exception) -> FetchError:
    # what the proxy or the system said is the innermost of three nested errors
    said = getattr(getattr(failure.args[0], "reason", None), "original_error", failure)
    reason = " ".join(str(said).split())[:300]
    return FetchError(
        f"{address}{_through(address)}: it refuses, {reason}; set HTTPS_PROXY, or NO_PROXY for this address"
    )


def _verify(path: Path, blob: str | None) -> None:
    if blob is None or (actual := git_blob_id(path)) == blob:
        return
    with open(path, "rb") as file:
        page = file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))
    what = "a web page" if page else "other bytes"
    raise FetchError(f"got {what}, {path.stat().st_size:,} bytes with git blob id {actual}; expected {blob}")


def _fetch_model(origin: Path | None, target: Path, progress: bool | None) -> Fetched:
    there, missing = _model_files(target)
    if origin is not None:
        return _copy_model(origin, target)
    if not missing:
        return Fetched(target, (), tuple(there))
    import requests
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.utils import disable_progress_bars, logging

    if progress_bar(total=0, desc=SCIBERT_ID, disable=None if progress is None else not progress).disable:
        disable_progress_bars()
    logging.set_verbosity(logging.CRITICAL)
    if _through(constants.ENDPOINT):
        # the hub client would try for half a minute, and not say that it was the proxy
        try:
            requests.head(constants.ENDPOINT, timeout=TIMEOUT_S)
        except requests.exceptions.ProxyError as failure:
            raise _proxy_refuses(constants.ENDPOINT, failure) from None
        except requests.RequestException:
            pass
    target.parent.mkdir(parents=True, exist_ok=True)
    # the hub client keeps records of its own beside the files, and parts of them where it fails
    with scratch_folder(target.parent, ".scibert.") as scratch:
        place = f"https://huggingface.co/{SCIBERT_ID}/tree/{SCIBERT_REVISION}"
        try:
            wanted = [*MODEL_FILES, *WEIGHT_FILES]
            snapshot_download(SCIBERT_ID, revision=SCIBERT_REVISION, local_dir=scratch, allow_patterns=wanted)
        except Exception as failure:
            reason = " ".join(str(failure).split())[:300].rstrip(".")
            raise FetchError(f"{place}{_through(place)}: {type(failure).__name__}: {reason}") from None
        if missing := _model_files(scratch)[1]:
            raise FetchError(f"{place}: the revision has no {', '.join(missing)}")
        return _copy_model(scratch, target)


def _copy_model(origin: Path, target: Path) -> Fetched:
    there, missing = _model_files(origin)
    for name in there:
        # weights last: a folder that has them has all the rest
        obtain(origin / name, target / name, None)
    notes = [
        f"{name} has sha256 {sha256_file(target / name)}, for which no published value is known here to compare with"
        for name in there
        if name in WEIGHT_FILES
    ]
    return Fetched(target, tuple(there), missing=tuple(missing), notes=tuple(notes))


def _model_files(folder: Path) -> tuple[list[str], list[str]]:
    """The files of a model that a folder has, its weights last, and what it lacks."""
    there = [name for name in MODEL_FILES if (folder / name).is_file()]
    weights = [name for name in WEIGHT_FILES if (folder / name).is_file()][:1]
    missing = [name for name in MODEL_NEEDS if name not in there]
    return there + weights, missing + ([] if weights else [" or ".join(WEIGHT_FILES)])
