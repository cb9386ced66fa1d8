"""Where the kit's own files are, in a checkout and in an installed package alike."""

from __future__ import annotations

import os
from pathlib import Path

from class_kit.errors import InputError

PACKAGE = Path(__file__).resolve().parent
# A checkout keeps the corpus and the notebooks at its top level; a wheel carries them inside the package.
CHECKOUT = PACKAGE.parent


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
