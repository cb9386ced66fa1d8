"""Strict notebook parameters: what a notebook declares, and whether a given value fits.

papermill only warns about a misspelt parameter and never looks at types, so that a wrong run looks like a right
one. Here both are refused before a kernel starts. A parameters cell is read with `ast` and never executed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from class_kit.checks import refusal
from class_kit.errors import InputError
from class_kit.files import plain

NUMBER = r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?"


def declared_parameters(source: str, where: str = "the parameters cell") -> dict[str, Any]:
    """Read names and defaults from a parameters cell without running it.

    Only plain literals are allowed: a cell that computes its parameters cannot be recorded or checked.

    Parameters
    ----------
    source : str
        Source of the cell tagged `parameters`.
    where : str
        How error messages name the cell.

    Returns
    -------
    dict of str to object
        Each name's default as plain data, in the order of the cell.

    Raises
    ------
    InputError
        For anything but `name = literal`, and for a name that is declared twice.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{where}: not valid Python ({error})") from None
    declared: dict[str, Any] = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None or len(targets) != 1:
            raise _no_literal(source, where, node)
        if not isinstance(targets[0], ast.Name):
            raise _no_literal(source, where, node)
        name = targets[0].id
        try:
            default = ast.literal_eval(node.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise InputError(f"{where}: {name} is not a plain literal (number, string, bool, None, list)") from None
        if name in declared:
            raise InputError(f"{where}: {name} is declared twice")
        declared[name] = plain(default, f"{where}: {name}")
    return declared


def _no_literal(source: str, where: str, node: ast.stmt) -> InputError:
    line = source.splitlines()[node.lineno - 1].strip()
    return InputError(f"{where}, line {node.lineno}: expected `name = literal  # comment`, got {line!r}")


def check_parameters(given: Mapping[str, Any], declared: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The given values as plain data of the types that their defaults have.

    An int is accepted where a float is declared (and becomes one); a bool is never a number; the elements of a list
    are held to the types of the default's elements; a default of None takes None, a string or a number.

    Parameters
    ----------
    given : mapping
        Values by name; arrays, tuples and paths become plain data.
    declared : mapping
        Each parameter's default.
    where : str
        What error messages begin with, such as the notebook's stem.

    Returns
    -------
    dict of str to object
        The given names, in the order of `declared`.

    Raises
    ------
    InputError
        For an unknown name and a value of another type, naming the parameter, the value and what was expected.
    """
    from pydantic import ConfigDict, Field, ValidationError, create_model

    values = plain(dict(given), where or "parameters")
    # a parameter's name is an alias only, as a field of a model may not be called `copy` or `_name`
    fields: Any = {
        f"p{at}": (_type_of(default), Field(default, alias=name)) for at, (name, default) in enumerate(declared.items())
    }
    model = create_model("Parameters", __config__=ConfigDict(extra="forbid", strict=True), **fields)
    try:
        return model.model_validate(values).model_dump(by_alias=True, exclude_unset=True)
    except ValidationError as error:
        raise refusal(error, declared, where) from None


def _type_of(default: Any) -> Any:
    """The type that a default stands for."""
    if default is None:
        return None | str | int | float
    if isinstance(default, dict):
        return dict[str, Any]
    if not isinstance(default, list):
        return type(default)
    if not default:
        return list[Any]
    element = _type_of(default[0])
    for item in default[1:]:
        element = element | _type_of(item)
    return list.__class_getitem__(element)


def parse_value(text: str, default: Any, name: str) -> Any:
    """Read the VALUE of `-p NAME VALUE`, guided by the declared default.

    A string parameter takes VALUE as it is, so that `on`, `1e3` or a text with quotes stay what was typed. Other
    types are read as YAML 1.2 scalars, lists and maps (JSON is a subset).

    Raises
    ------
    InputError
        When VALUE cannot be read.
    """
    if isinstance(default, str):
        return text
    import yaml

    try:
        return yaml.load(text, Loader=_core_loader())
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise InputError(f"parameter {name}: cannot read {text!r} ({problem})") from None


def _core_loader() -> Any:
    """A YAML loader with the 1.2 core scalars: 1.1 reads `1e-3` as text, `on` as true and `12:30` as 750."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - an own table; the base class shares its one

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not allowed")
            if getattr(self.peek_event(), "tag", None) is not None:
                raise yaml.YAMLError("tags such as !!float are not allowed")
            return super().compose_node(parent, index)

    for tag, pattern in {
        "null": r"~|null|Null|NULL|None|",
        "bool": r"true|True|TRUE|false|False|FALSE",
        "int": r"0|[-+]?[1-9]\d*|[-+]0",
        "float": NUMBER,
    }.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), None)
    return Loader
