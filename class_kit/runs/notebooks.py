"""Which notebooks a run takes, what parameters they declare, and whether the given values fit.

papermill only warns about a misspelt parameter and never looks at types, so that a wrong run looks like a right one.
Here both are refused before a kernel starts. A parameters cell is read with `ast` and never executed.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from pathlib import Path
from typing import Any

from class_kit.checks import nearest, refusal
from class_kit.errors import InputError
from class_kit.files import json_digest, plain, shipped
from class_kit.options import TaskOptions, setting_type
from class_kit.pairs import check_columns

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Raw:
    """A value as typed on a command line; its meaning depends on the type that the notebook declares."""

    text: str

    def read(self, default: Any) -> Any:
        """The value: the text itself where the default is a string, else what it means as JSON or YAML."""
        import yaml

        if isinstance(default, str):
            return self.text
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            try:
                return yaml.safe_load(self.text)
            except Exception as error:  # PyYAML's constructors raise many kinds for malformed tags
                raise InputError(f"cannot read {self.text!r} ({' '.join(str(error).split())[:200]})") from None


@dataclass(frozen=True)
class Notebook:
    """A notebook as read from its file; `declared` has the default of each of its parameters."""

    path: Path
    node: Any
    declared: Mapping[str, Any]

    @property
    def stem(self) -> str:
        return self.path.stem

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the notebook computes: types, tags and sources of its cells, not its outputs."""
        return json_digest([[cell.cell_type, cell.metadata.get("tags", []), cell.source] for cell in self.node.cells])

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the given values that the notebook declares, as plain data of the declared types.

        An integer is accepted where a float is declared, a bool is never a number, and the elements of a list must
        have the types of the default's elements.

        Raises
        ------
        InputError
            Naming notebook, parameter and value.
        """
        from pydantic import ConfigDict, Field, ValidationError, create_model

        own = {
            name: plain(value.read(self.declared[name]) if isinstance(value, Raw) else value, name)
            for name, value in given.items()
            if name in self.declared
        }
        # a parameter's name is an alias only, as a field of a model may not be called `copy` or `_name`
        fields: Any = {
            f"p{at}": (setting_type(name, default) or _type_of(default), Field(default, alias=name))
            for at, (name, default) in enumerate(self.declared.items())
        }
        model = create_model("Parameters", __config__=ConfigDict(extra="forbid", strict=True), **fields)
        try:
            values = model.model_validate(own).model_dump(by_alias=True, exclude_unset=True)
        except ValidationError as error:
            raise refusal(error, self.declared, self.stem) from None
        for name, value in values.items():
            if name in ("data", "extra") and value and not os.path.exists(os.path.expanduser(str(value))):
                raise InputError(f"{name}={value!r}: there is no such file or folder")
        return values


def declared_parameters(source: str, where: str = "the parameters cell") -> dict[str, Any]:
    """The defaults that a parameters cell declares, by name, without running it.

    Only plain literals are allowed: a cell that computes its parameters cannot be recorded or checked.

    Raises
    ------
    InputError
        For anything but `name = literal`, and for a name that is declared twice.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid Python ({error})") from None
    declared: dict[str, Any] = {}
    for node in tree.body:
        match node:
            case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), _, ast.expr() as value):
                pass
            case _:
                line = source.splitlines()[node.lineno - 1].strip()
                raise InputError(f"{where}, line {node.lineno}: expected `name = literal  # comment`, got {line!r}")
        if name in declared:
            raise InputError(f"{where}: {name} is declared twice")
        try:
            declared[name] = plain(ast.literal_eval(value), name)
        except (InputError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise InputError(f"{where}: {name} is not a plain literal (number, string, bool, None, list)") from None
    return declared


def numbered_notebooks() -> list[Path]:
    """The kit's notebooks, whose names begin with two digits, in that order."""
    return sorted(path for path in shipped("notebooks").glob("*.ipynb") if re.match(r"[0-9]{2}", path.name))


def choose_notebooks(wanted: Sequence[str | os.PathLike[str]] | None) -> list[Notebook]:
    """Read the wanted notebooks, or all numbered ones of the kit.

    Parameters
    ----------
    wanted : sequence of str or path, optional
        A path, or for a notebook of the kit its stem, the stem without the number, or the number.

    Raises
    ------
    InputError
        If a notebook is missing or unreadable, or two have the same stem, by which results are kept.
    """
    known = numbered_notebooks()
    names = {path.stem[:2].lstrip("0") or "0": path for path in known}
    names |= {name: path for path in known for name in (path.stem, path.stem[3:], path.stem[:2])}
    chosen: dict[str, Notebook] = {}
    for item in wanted or known:
        wish = os.fspath(item)
        path = names.get(wish, Path(wish))
        if wish not in names and not (path.suffix == ".ipynb" and os.path.isfile(wish)):
            raise InputError(
                f"no notebook {wish!r}: expected a path ending in .ipynb or a stem; "
                + nearest(wish, [path.stem for path in known])
            )
        other = chosen.setdefault(path.stem, read_notebook(path))
        if other.path.resolve() != path.resolve():
            raise InputError(f"two notebooks are named {path.stem!r}: {str(other.path)!r} and {str(path)!r}")
    return list(chosen.values())


def read_notebook(path: Path) -> Notebook:
    """Read a notebook and its parameters cell; cells without an id get one, as the format asks since 4.5.

    Raises
    ------
    InputError
        If the file is not a Python notebook, its stem is not a plain file name, or it has several parameters cells.
    """
    import nbformat

    if not SAFE_NAME.fullmatch(path.stem):
        raise InputError(f"notebook {str(path)!r}: its name may hold letters, digits, '.', '_' and '-' only")
    try:
        node = nbformat.convert(nbformat.reads(path.read_text(encoding="utf-8"), nbformat.NO_CONVERT), 4)
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
    where = f"{path.name}, parameters cell"
    return Notebook(path, node, declared_parameters(cells[0].source, where) if cells else {})


def resolve_parameters(chosen: Sequence[Notebook], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Check the given parameters (from Python, or `Raw` from `-p`) against every chosen notebook.

    Returns
    -------
    dict of str to dict
        Per stem, the given values that it declares, as plain data of the declared types.

    Raises
    ------
    InputError
        For a parameter that no chosen notebook declares, a wrong type, `out`, a path that does not exist, or pairs
        without usable columns.
    """
    if "out" in given:
        raise InputError("parameter out is set by the run itself; choose the folder with --out")
    known = sorted({name for notebook in chosen for name in notebook.declared} - {"out"})
    for name in given:
        if name not in known:
            stems = ", ".join(notebook.stem for notebook in chosen)
            raise InputError(f"no parameter {name!r} in {stems}; {nearest(name, known)}")
    checked = {notebook.stem: notebook.checked(given) for notebook in chosen}
    for values in checked.values():
        source = values.get("path") or values.get("pairs") or "corpus"
        check_columns(source, **TaskOptions(pairs=source, **values.get("reading", {})).reading)
    return checked


def _type_of(default: Any) -> Any:
    if default is None:
        return str | int | float | None
    if isinstance(default, list):
        kinds = tuple({type(item): _type_of(item) for item in default}.values())
        return list.__class_getitem__(reduce(or_, kinds)) if kinds else list[Any]
    return dict[str, Any] if isinstance(default, dict) else type(default)
