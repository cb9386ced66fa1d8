"""Where fetched data lies: one home folder, and the places where each loader looks before it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from class_kit.errors import InputError
from class_kit.files import home_path


def data_home() -> Path:
    """Return the kit's own data folder: `$CLASS_KIT_HOME`, else `class-kit` in the user's XDG data folder.

    The latter is `~/.local/share/class-kit` unless `$XDG_DATA_HOME` says otherwise. `class-kit fetch` writes here.
    """
    own = os.environ.get("CLASS_KIT_HOME")
    if own:
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
        places = [home_path(data), home_path(data) / name]
    else:
        shared = os.environ.get("CLASS_KIT_DATA")
        places = [home_path(shared) / name, home_path(shared)] if shared else []
        places.append(data_home() / name)
    for place in places:
        if any((place / file).is_file() for file in wanted):
            return place
    raise InputError(
        f"{name}: none of {', '.join(wanted)} in {' or '.join(str(place) for place in places)}; "
        f"run `class-kit fetch {name}`, or name the folder that has them"
    )
