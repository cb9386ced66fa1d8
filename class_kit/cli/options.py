"""Command-line options made from the models in `class_kit.options`, and helpers that several commands share."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Collection, Mapping, Sequence
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from class_kit.errors import InputError

# where a command is not about one split, `--split` names the column, as `--text` does
SPLIT = {"split_column": "--split"}
_METAVARS = {int: "N", float: "X", str: "NAME"}


def add_options(
    parser: argparse.ArgumentParser,
    model: Any,
    title: str,
    *,
    skip: Collection[str] = (),
    defaults: Mapping[str, str] = {},
    also: Mapping[str, str] = {},
) -> None:
    """Add an option for every field of a model; options that are not given stay unset, see `given_options`.

    Parameters
    ----------
    model : class made by `option_model`
    skip : collection of str
        Fields that the command reads in another way.
    defaults : mapping of str to str
        The default to show in the help, if the command's differs from the field's.
    also : mapping of str to str
        Second spellings of the options of some fields.
    """
    group = parser.add_argument_group(title)
    for name, field in model.__pydantic_fields__.items():
        if name in skip:
            continue
        kind: Any = field.annotation
        if get_origin(kind) is not Literal:
            # `int | None` is parsed as int, an annotated type as its base
            kind = next((part for part in get_args(kind) if part is not NoneType), kind)
            kind = kind if get_origin(kind) is Literal else getattr(kind, "__origin__", kind)
        default = defaults.get(name, field.default)
        shown = "" if default is None or default is False else f" (default: {default})"
        about: dict[str, Any] = {"help": f"{field.description}{shown}".replace("%", "%%"), "default": argparse.SUPPRESS}
        if kind is bool:
            about["action"] = "store_true" if field.default is False else argparse.BooleanOptionalAction
        elif get_origin(kind) is Literal:
            about["choices"] = get_args(kind)
        else:
            about |= {"type": kind, "metavar": _METAVARS[kind]}
        spellings = [f"--{name.replace('_', '-')}", *([also[name]] if name in also else [])]
        group.add_argument(*spellings, **about)


def given_options(arguments: argparse.Namespace, model: Any) -> dict[str, Any]:
    """The fields of a model that the command line sets."""
    return {name: getattr(arguments, name) for name in model.__pydantic_fields__ if hasattr(arguments, name)}


def help_of(model: Any, name: str) -> str:
    """A field's description, as the help of an argument that a command adds itself."""
    return str(model.__pydantic_fields__[name].description)


def import_own(modules: Sequence[str]) -> None:
    """Import the user's own modules, also from the working folder; they are code, so only the user may name them.

    Raises
    ------
    InputError
        There is no such module, or it cannot be imported.
    """
    for name in modules:
        if "" not in sys.path:
            sys.path.insert(0, "")
        try:
            importlib.import_module(name)
        except Exception as error:
            raise InputError(f"--import {name!r}: {type(error).__name__}: {error}") from error


def folder_name(text: str, otherwise: str) -> str:
    """A part of a folder's name: ASCII letters, digits and hyphens."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text)
    return kept.strip("-")[:60] or otherwise
