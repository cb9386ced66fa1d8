"""Published data and models at pinned revisions: downloaded or copied, verified, and put where the loaders look.

A mirror, a captive portal or a broken proxy can answer with anything, so a file gets its name only after its content is
verified: it is complete or absent. Running a fetch again continues it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from class_kit.checks import check_choice
from class_kit.errors import InputError
from class_kit.files import atomic_write, home_path, sha256_file
from class_kit.progress import progress_bar

# seconds without a byte after which a download fails
TIMEOUT_S = 30.0

# An encoder's weights: the first file that is there is taken, because reading safetensors cannot run anything.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


class FetchError(InputError):
    """A download or copy failed; the message says why and how to continue by hand."""


_HUB = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
_SCIBERT = f"{_HUB}/allenai/scibert_scivocab_uncased/resolve/24f92d32b1bfb0bcaf9ab193ff3ad01e87732fc1"
_REPOSITORIES = "https://raw.githubusercontent.com"
_MOLT5 = f"{_REPOSITORIES}/blender-nlp/MolT5/754f9bffa4a638e2f1386d0ca19b5c3ed0a5b4aa/ChEBI-20_data"
_TEXT2MOL = f"{_REPOSITORIES}/cnedwards/text2mol/749f997e6a45d0e3c8747e5392ae3b859a251094/data"
_MOL2VEC = f"{_REPOSITORIES}/samoturk/mol2vec/850d944d5f48a58e26ed0264332b5741f72555aa/examples/models"

# By name, each file's folder in a public repository at one commit, the git blob id of its content, None where it is not
# known, and its size.
PINNED: dict[str, dict[str, tuple[str, str | None, str]]] = {
    "chebi20": {
        "train.txt": (_MOLT5, "c1b42b82fdc8fb5287614e159196e25370763aac", "10.2 MB"),
        "validation.txt": (_MOLT5, "694d328d621966d5c9ad0f36083fdfcf293191d5", "1.3 MB"),
        "test.txt": (_MOLT5, "cf6da70d55c2745c6e64cf6864ea8cdbcdc80663", "1.3 MB"),
    },
    "mol2vec": {
        "token_embedding_dict.npy": (_TEXT2MOL, "75b80856ca76fca3e403155f1dfaa15bdaf93ffe", "4.0 MB"),
        "model_300dim.pkl": (_MOL2VEC, "9089140e323a89e74a8b8cb47107611f89dc8e54", "size unknown"),
    },
    "scibert": {
        "config.json": (_SCIBERT, None, "1 kB"),
        "vocab.txt": (_SCIBERT, None, "0.2 MB"),
        "pytorch_model.bin": (_SCIBERT, None, "440 MB"),
    },
}


def git_blob_id(path: str | os.PathLike[str]) -> str:
    """Return git's id of a file's content, by which repositories pin it: SHA-1 over `blob <size>\\0` and bytes."""
    header = b"blob %d\0" % os.path.getsize(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha1(header, usedforsecurity=False)).hexdigest()


def data_home() -> Path:
    """Return the kit's own data folder: `$CLASS_KIT_HOME`, else `class-kit` in the user's XDG data folder.

    The latter is `~/.local/share/class-kit` unless `$XDG_DATA_HOME` is set. `class-kit fetch` writes here.
    """
    if own := os.environ.get("CLASS_KIT_HOME"):
        return home_path(own)
    shared = os.environ.get("XDG_DATA_HOME")
    return (home_path(shared) if shared else Path.home() / ".local" / "share") / "class-kit"


def find_folder(name: str, files: Iterable[str], data: str | os.PathLike[str] | None = None) -> Path:
    """Return the first folder that contains one of `files`.

    With `data`, only that folder and its subfolder `name` are searched, so that a folder that the user names is never
    silently replaced. Without, `$CLASS_KIT_DATA/<name>`, `$CLASS_KIT_DATA` and `data_home()/<name>`, in this order.

    Raises
    ------
    InputError
        None of them does; the message lists the folders and says what to do.
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
        + (f"run `class-kit fetch {name}`, or " if name in PINNED else "")
        + "name the folder that contains them"
    )


def list_files(data: str | os.PathLike[str] | None = None) -> list[tuple[str, str, str, Path | None]]:
    """Every file that `fetch` gets: the release, its name, size and digest in words, and where it is, None if nowhere.

    `data` is searched as `find_folder` does.
    """
    listed = []
    for what, files in PINNED.items():
        for name, (_, blob, size) in files.items():
            place, names = None, WEIGHT_FILES if name in WEIGHT_FILES else [name]
            with suppress(InputError):
                folder = find_folder(what, names, data)
                place = next(folder / each for each in names if (folder / each).is_file())
            listed.append((what, name, f"{size}, git blob {blob}" if blob else f"{size}, no published digest", place))
    return listed


@dataclass(frozen=True)
class Fetched:
    """The folder and the names of the files that are new, were present before, or are still missing."""

    folder: Path
    new: tuple[str, ...]
    present: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        lists = {"new:": self.new, "already there:": self.present, "still missing:": self.missing}
        parts = [f"{label} {', '.join(names)}" for label, names in lists.items() if names]
        weights = [self.folder / name for name in self.new if name in WEIGHT_FILES]
        notes = [f"{path.name} has sha256 {sha256_file(path)}, with no published value to compare" for path in weights]
        return "; ".join([str(self.folder), *parts, *notes])


def fetch(
    what: str, source: str | os.PathLike[str] | None = None, folder: str | os.PathLike[str] | None = None
) -> Fetched:
    """Download a published data set or model, or copy it from a local folder.

    Parameters
    ----------
    what : {"chebi20", "mol2vec", "scibert"}
        The three files of ChEBI-20 (MolT5's release); Text2Mol's token vectors and Mol2vec's own model; SciBERT, from
        the Hugging Face hub or from $HF_ENDPOINT. A file of SciBERT that is there already is not verified, as no digest
        is published.
    source : path, optional
        Folder with the files under their own names; nothing is downloaded then. Files that it lacks are listed in the
        result.
    folder : path, optional
        Destination; by default `data_home()/what`, where the loaders look.

    Returns
    -------
    Fetched
        The folder and which files are new, were present, or are missing.

    Raises
    ------
    FetchError
        A download failed or a file is not the published one. Complete files stay, so running it again continues.
    InputError
        `what` is unknown, `source` is not a folder with any of the files, or `folder` is a file.
    """
    check_choice("what", what, PINNED)
    target = data_home() / what if folder is None else home_path(folder)
    origin = None if source is None else home_path(source)
    for path in (target, origin):
        if path is not None and not path.is_dir() and (path is origin or path.exists()):
            raise InputError(f"{path} is not a folder; expected one for the files under their own names")
    new, present, missing = [], [], []
    for name, (place, blob, _) in PINNED[what].items():
        if (target / name).is_file() and blob in (None, git_blob_id(target / name)):
            present.append(name)
        elif origin is not None and not (origin / name).is_file():
            missing.append(name)
        else:
            try:
                obtain(f"{place}/{name}" if origin is None else origin / name, target / name, blob)
            except FetchError as failure:
                raise FetchError(
                    f"{failure}. Run `class-kit fetch {what}` again to continue, or download the files with a browser "
                    f"into a folder, under their own names, and run `class-kit fetch {what} --from FOLDER`"
                ) from None
            new.append(name)
    if not new and not present:
        raise InputError(f"{origin} has none of {', '.join(missing)}")
    return Fetched(target, tuple(new), tuple(present), tuple(missing))


def obtain(source: str | Path, target: Path, blob: str | None) -> None:
    """Download or copy one file and move it to `target` once its content is verified; a failure leaves nothing.

    Parameters
    ----------
    source : str or Path
        A URL, or a local file.
    target : Path
        Where the file goes.
    blob : str, optional
        The git blob id of its content; None where none is published.

    Raises
    ------
    FetchError
        The file could not be downloaded, or is not the published one.
    """
    import pooch
    import requests

    try:
        with atomic_write(target) as temporary:
            if isinstance(source, Path):
                shutil.copyfile(source, temporary)
            else:
                with progress_bar(total=0, desc=target.name, unit="B") as bar:
                    pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT_S)(source, str(temporary), None)
            if blob is not None and (actual := git_blob_id(temporary)) != blob:
                raise FetchError(f"got {_nature(temporary)} with git blob id {actual}; expected {blob}")
    except (FetchError, requests.RequestException) as failure:
        if (answer := getattr(failure, "response", None)) is not None:
            answer.close()
        raise _failed(str(source), failure) from None


def _nature(path: Path) -> str:
    with open(path, "rb") as file:
        page = file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))
    return f"{'a web page' if page else 'other content'} of {path.stat().st_size:,} bytes"


def _failed(place: str, failure: Exception) -> FetchError:
    """The error of a download in one line, with the proxy that the environment sets for it, without its password."""
    from requests.utils import get_environ_proxies, select_proxy

    proxy = urlsplit(select_proxy(place, get_environ_proxies(place)) or "").netloc.rpartition("@")[2]
    way = f" through the proxy {proxy} (change HTTPS_PROXY, or add the host to NO_PROXY)" if proxy else ""
    return FetchError(f"{place}{way}: {' '.join(str(failure).split())[:500].rstrip('.')}")
