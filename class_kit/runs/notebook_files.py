"""Which notebooks a run takes, and whether the given parameters are theirs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from class_kit.checks import nearest
from class_kit.errors import InputError
from class_kit.files import shipped
from class_kit.options import check_setting
from class_kit.runs.manifest import notebook_digest
from class_kit.runs.parameters import check_parameters, declared_parameters, parse_value

# Sources of pairs that are names and not paths
NAMED_PAIRS = ("corpus", "chebi20")


@dataclass(frozen=True)
class Notebook:
    """A notebook as read from its file, with the parameters it declares."""

    path: Path
    stem: str
    node: Any
    digest: str
    declared: Mapping[str, Any]


@dataclass(frozen=True)
class Raw:
    """A value as typed on a command line; its meaning depends on the type the notebook declares."""

    text: str


def notebooks_folder() -> Path:
    """The kit's own notebooks: inside the package in an installed wheel, beside it in a checkout."""
    return shipped("notebooks")


def numbered_notebooks(folder: Path) -> list[Path]:
    """Notebooks whose names begin with two digits, in that order."""
    return sorted(path for path in folder.glob("*.ipynb") if re.match(r"\d\d", path.name))


def choose_notebooks(wanted: Sequence[str | os.PathLike[str]] | None) -> list[Notebook]:
    """Read the wanted notebooks, or all numbered ones of the kit.

    Parameters
    ----------
    wanted : sequence of str or path, optional
        A path, or for a notebook of the kit its stem, the stem without the number, or the number.

    Raises
    ------
    InputError
        For a notebook that is not found, not readable, or has the stem of another one: results are kept by stem.
    """
    folder = notebooks_folder()
    if isinstance(wanted, str | os.PathLike):
        wanted = [wanted]
    paths = [find_notebook(item, folder) for item in wanted] if wanted else numbered_notebooks(folder)
    if not paths:
        raise InputError(f"no notebooks to run: {str(folder)!r} holds none whose name begins with two digits")
    chosen: dict[str, Notebook] = {}
    for path in paths:
        notebook = read_notebook(path)
        other = chosen.setdefault(notebook.stem, notebook)
        if other.path.resolve() != path.resolve():
            raise InputError(f"two notebooks are named {notebook.stem!r}: {str(other.path)!r} and {str(path)!r}")
    return list(chosen.values())


def find_notebook(wanted: str | os.PathLike[str], folder: Path) -> Path:
    """The file of one wanted notebook (see `choose_notebooks`)."""
    text = os.fspath(wanted)
    known = numbered_notebooks(folder)
    named = [path for path in known if path.stem == text]
    named = named or [path for path in known if re.sub(r"^\d+_", "", path.stem) == text]
    named = named or [path for path in known if text and text.lstrip("0") == path.name[:2].lstrip("0")]
    if len(named) == 1:
        return named[0]
    if len(named) > 1:
        raise InputError(f"notebook {text!r} could be {' or '.join(path.stem for path in named)}; give the stem")
    try:
        found = text.endswith(".ipynb") and Path(text).is_file()
    except (OSError, ValueError):
        found = False
    if found:
        return Path(text)
    raise InputError(
        f"no notebook {text!r} (a path ending in .ipynb, or a stem); {nearest(text, [p.stem for p in known])}"
    )


def read_notebook(path: Path) -> Notebook:
    """Read a notebook and its parameters cell; cells without an id get one, as the format asks since 4.5.

    Raises
    ------
    InputError
        For a file that is no Python notebook, a stem that is no plain file name, or more than one parameters cell.
    """
    import nbformat

    from class_kit.runs.folder import SAFE_NAME

    if not SAFE_NAME.fullmatch(path.stem):
        raise InputError(f"notebook {str(path)!r}: its name may hold letters, digits, '.', '_' and '-' only")
    try:
        raw = nbformat.reads(path.read_text(encoding="utf-8"), as_version=nbformat.NO_CONVERT)
        node = nbformat.convert(raw, 4)
        for index, cell in enumerate(node.cells):
            cell.setdefault("id", f"cell-{index}")
        node.nbformat_minor = max(5, node.nbformat_minor)
        nbformat.validate(node)
    except Exception as error:  # the reader raises many kinds, down to AttributeError, for files that are no notebook
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"notebook {str(path)!r} cannot be read: {reason[0][:200]}") from None
    language = node.metadata.get("kernelspec", {}).get("language", "python")
    if str(language).lower() != "python":
        raise InputError(f"notebook {str(path)!r} is written in {language!r}; only Python notebooks run here")
    cells = [cell for cell in node.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) > 1:
        raise InputError(f"notebook {str(path)!r} has {len(cells)} cells tagged 'parameters'; expected one")
    declared = declared_parameters(cells[0].source, f"{path.name}, parameters cell") if cells else {}
    return Notebook(path, path.stem, node, notebook_digest(node), declared)


def resolve_parameters(
    chosen: Sequence[Notebook], given: Mapping[str, Any], common: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Check the given parameters against every chosen notebook.

    Parameters
    ----------
    chosen : sequence of Notebook
    given : mapping
        From `-p` (values are `Raw`) or from Python.
    common : mapping
        `pairs`, `data` and `extra`, None where not given.

    Returns
    -------
    dict of str to dict
        Per stem, the given values it declares, as plain data of the declared types.

    Raises
    ------
    InputError
        For a parameter no chosen notebook declares, a wrong type, a parameter given twice, `out`, or a path that
        does not exist.
    """
    merged = dict(given)
    for name, value in common.items():
        if value is not None:
            if name in merged:
                raise InputError(f"{name} is given twice: as a parameter and as --{name}")
            merged[name] = value
    if "out" in merged:
        raise InputError("parameter out is set by the run itself; choose the folder with --out or --name")
    known = sorted({name for notebook in chosen for name in notebook.declared} - {"out"})
    for name in merged:
        if name not in known:
            stems = ", ".join(notebook.stem for notebook in chosen)
            raise InputError(f"no parameter {name!r} in {stems}; {nearest(name, known)}")
    return {notebook.stem: _checked(notebook, merged) for notebook in chosen}


def _checked(notebook: Notebook, merged: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        name: parse_value(value.text, notebook.declared[name], name) if isinstance(value, Raw) else value
        for name, value in merged.items()
        if name in notebook.declared
    }
    values = check_parameters(given, notebook.declared, notebook.stem)
    for name, value in values.items():
        default = notebook.declared[name]
        try:
            check_setting(name, value, default)
        except InputError as error:
            raise InputError(f"{notebook.stem}: {error}") from None
        if value != default:
            _check_path(name, value)
    return {name: values[name] for name in given}


def _check_path(name: str, value: Any) -> None:
    """Refuse a missing file before a kernel starts instead of minutes later."""
    if not isinstance(value, str) or not value or (name in ("pairs", "path") and value in NAMED_PAIRS):
        return
    path = Path(value)
    try:
        checks = {"pairs": path.exists, "path": path.is_file, "data": path.is_dir, "extra": path.is_file}
        found = checks.get(name, lambda: True)()
    except (OSError, ValueError):
        found = False
    if not found:
        known = f"a file, or one of {', '.join(NAMED_PAIRS)}"
        wanted = {"pairs": known, "path": known, "data": "a folder", "extra": "a file"}[name]
        raise InputError(f"{name} {value!r}: not found; expected {wanted}")


def shown_overrides(chosen: Sequence[Notebook], overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The parameters that differ from a default in some notebook: what a run is named after."""
    return {
        name: value
        for notebook in chosen
        for name, value in overrides[notebook.stem].items()
        if value != notebook.declared[name]
    }
