"""Where results of the paper's study are, and reading them: they come from files, so everything is checked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.files import home_path, shipped

# beside the figures of a checkout, and inside an installed package
COMMITTED, SEARCH = "figures/paper/paper.json", "figures/paper/search.json"
LARGEST = 2**20
_NONE: dict[str, Any] = {"inputs": {}, "products": {}}


def read_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `run_paper` left as `paper.json`.

    Raises
    ------
    InputError
        For a file that is missing, too large, or holds something else.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("larger than 1 MiB")
        found = json.loads(path.read_text(encoding="utf-8"))
        products, sizes = found["products"], found["inputs"]["sizes"]
        if not isinstance(sizes, dict) or not all(isinstance(product, dict) for product in products.values()):
            raise TypeError("expected objects")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: no results of `class-kit study paper` ({error})") from None
    return dict(found)


def find_results(path: str | os.PathLike[str] = "") -> dict[str, Any]:
    """The results in a file, or without a path the committed ones; results without products where there are none.

    Raises
    ------
    InputError
        As `read_results`.
    """
    if str(path):
        return read_results(home_path(path))
    committed = shipped(COMMITTED)
    return read_results(committed) if committed.is_file() else dict(_NONE)


def find_search() -> dict[str, Any] | None:
    """What the committed search for a better curriculum found; None where there is none, or it has read no test yet.

    Returns
    -------
    dict or None
        `pairs`, their name; `tried`, a number of settings; rows of differences from the tuned plain run, `test` and,
        where the splits were exchanged as well, `swapped`; and `levels`, the plain run's own Hits@1, text→molecule, by
        the same names.

    Raises
    ------
    InputError
        For a file that is no such record.
    """
    path = shipped(SEARCH)
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("larger than 1 MiB")
        found = json.loads(path.read_text(encoding="utf-8"))
        tried = found["tried"]
        if "test" not in found:
            return None
        parts = {key: _differences(found[key]) for key in ("test", "swapped") if key in found}
        levels = {key: level for key in parts if (level := _level(found[key])) is not None}
        number = tried if isinstance(tried, int) else _different(tried)
        return {"pairs": str(found.get("pairs", "")), "tried": number, "levels": levels, **parts}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: no record of a search ({error})") from None


def _different(tried: list[dict[str, Any]]) -> int:
    """How many settings were tried; each round of the plain run begins with the choice of the one before."""
    return len({json.dumps([one.get("kind"), one["settings"]], sort_keys=True) for one in tried})


def _level(part: Any) -> float | None:
    rows = [] if isinstance(part, list) else part["summary"]
    found = [row["hits@1"] for row in rows if (row["arm"], row["ranking"]) == ("plain", "text_to_molecule/split")]
    return float(found[0]) if found else None


def _differences(part: Any) -> list[dict[str, Any]]:
    rows = part if isinstance(part, list) else part["differences"]
    return [dict(row) for row in rows]
