"""Strict notebook parameters: what a notebook declares, and whether a given value fits.

papermill only warns about a misspelt parameter and never looks at types, so that a wrong run looks like a right
one. Here both are refused before a kernel starts. A parameters cell is read with `ast` and never executed.
"""

from __future__ import annotations

import ast
import difflib
import io
import re
import tokenize
from dataclasses import dataclass
from typing import Any

from class_kit.errors import InputError
from class_kit.files import plain

NUMBER = r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class Parameter:
    """One line `name = literal  # comment` of a parameters cell."""

    name: str
    default: Any
    comment: str


def declared_parameters(source: str, where: str = "the parameters cell") -> dict[str, Parameter]:
    """Read the declarations of a parameters cell without running it.

    Only plain literals are allowed: a cell that computes its parameters cannot be recorded or checked.

    Parameters
    ----------
    source : str
        Source of the cell tagged `parameters`.
    where : str
        How error messages name the cell.

    Returns
    -------
    dict of str to Parameter
        In the order of the cell.

    Raises
    ------
    InputError
        For anything but `name = literal`, and for a name that is declared twice.
    """
    try:
        tree = ast.parse(source)
        comments = _comments(source)
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError) as error:
        raise InputError(f"{where}: not valid Python ({error})") from None
    declared: dict[str, Parameter] = {}
    for node in tree.body:
        name, value = _assignment(node)
        if name is None or value is None:
            line = (source.splitlines() or [""])[node.lineno - 1].strip()
            raise InputError(f"{where}, line {node.lineno}: expected `name = literal  # comment`, found {line!r}")
        try:
            default = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise InputError(f"{where}: {name} is not a plain literal (number, string, bool, None, list)") from None
        if name in declared:
            raise InputError(f"{where}: {name} is declared twice")
        declared[name] = Parameter(name, plain(default, f"{where}: {name}"), comments.get(node.end_lineno or 0, ""))
    return declared


def _assignment(node: ast.stmt) -> tuple[str | None, ast.expr | None]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id, node.value
    return None, None


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ").strip() for token in tokens if token.type == tokenize.COMMENT}


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

    Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|None|)$"), None)
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), None)
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^(?:0|[-+]?[1-9]\d*|[-+]0)$"), None)
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"^{NUMBER}$"), None)
    return Loader


def check_value(value: Any, default: Any, name: str) -> Any:
    """Return `value` as plain data of the declared type, or refuse it.

    An int is accepted where a float is declared (and becomes one); a bool is never a number; the elements of a list
    are held to the types of the default's elements; a default of None takes None, a string or a number.

    Raises
    ------
    InputError
        Naming the parameter, the value and the declared default.
    """
    value = plain(value, f"parameter {name}")
    fitted = _fitted(value, default)
    if fitted is _MISFIT:
        expected = "text, a number or null" if default is None else f"the type of its default, {describe(default)}"
        raise InputError(f"parameter {name}: {value!r} is {describe(value)}; expected {expected} ({default!r})")
    return fitted


_MISFIT = object()


def _fitted(value: Any, default: Any) -> Any:
    if default is None:
        return (
            value
            if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))
            else _MISFIT
        )
    if isinstance(default, bool) or isinstance(value, bool):
        return value if isinstance(default, bool) and isinstance(value, bool) else _MISFIT
    if isinstance(default, float):
        return _as_float(value) if isinstance(value, int | float) else _MISFIT
    if isinstance(default, list):
        return _fitted_list(value, default) if isinstance(value, list) else _MISFIT
    if isinstance(default, dict):
        return value if isinstance(value, dict) else _MISFIT
    return value if isinstance(value, type(default)) else _MISFIT


def _as_float(value: int | float) -> Any:
    try:
        return float(value)
    except OverflowError:
        return _MISFIT


def _fitted_list(value: list[Any], default: list[Any]) -> Any:
    if not default:
        return value
    fitted = []
    for item in value:
        # an exact type match goes first, so that 1 stays an int where the default holds ints and floats
        templates = sorted(default, key=lambda template: type(template) is not type(item))
        options = [option for option in (_fitted(item, template) for template in templates) if option is not _MISFIT]
        if not options:
            return _MISFIT
        fitted.append(options[0])
    return fitted


def describe(value: Any) -> str:
    """The kind of a plain value in words, for error messages."""
    if isinstance(value, list):
        kinds = sorted({describe(item) for item in value})
        return f"a list of {' and '.join(kinds)}" if kinds else "an empty list"
    names = {
        bool: "true/false",
        int: "a whole number",
        float: "a number",
        str: "text",
        dict: "a map",
        type(None): "null",
    }
    return names[type(value)]


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean …?` with the closest known names, or all of them: a misspelling should cost no time."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are: {', '.join(known) if known else 'none'}"
