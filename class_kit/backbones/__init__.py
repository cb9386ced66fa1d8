"""Retrievers that a curriculum can be wrapped round, each returning named loss terms.

A backbone knows nothing of schedules or intensities: it turns a batch of texts and molecules into vectors of one
space and into losses by name. The training loop decides which pairs it sees and how much each term counts.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from class_kit.errors import InputError

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone, Needs

    AnyBackbone = TypeVar("AnyBackbone", bound=type[Backbone])

# name -> module, so that asking for the names imports neither torch nor a model
_MODULES = {
    name: f"class_kit.backbones.{name}"
    for name in (
        "dual_encoder",
        "text2mol",
        "aman",
        "orma",
        "moleculestm",
        "dsokr",
        "memory_bank",
        "denoising",
        "distillation",
        "finetuned",
    )
}
_REGISTERED: dict[str, type[Backbone]] = {}


def register_backbone(name: str) -> Callable[[AnyBackbone], AnyBackbone]:
    """Class decorator that makes a backbone available by name, to the command line and to studies alike.

    Raises
    ------
    ValueError
        If another backbone has the name already.
    """

    def register(cls: AnyBackbone) -> AnyBackbone:
        taken = _REGISTERED.get(name)
        if taken is not None and taken.__qualname__ != cls.__qualname__:
            raise InputError(f"a backbone named {name!r} is registered already ({taken.__module__}.{taken.__name__})")
        _REGISTERED[name] = cls
        return cls

    return register


def available_backbones() -> list[str]:
    """Names that `create_backbone` and `class-kit train --backbone` take, the user's own registrations included."""
    return sorted({*_MODULES, *_REGISTERED})


def create_backbone(name: str, text_dim: int, molecule_dim: int, **options: Any) -> Backbone:
    """Build a backbone by name for inputs of width `text_dim` and `molecule_dim`.

    Raises
    ------
    ValueError
        If no backbone has the name, or it does not take one of the options.
    """
    found = find_backbone(name)
    _check_options(name, found, options)
    backbone = found(text_dim, molecule_dim, **options)
    backbone.inputs = found.needs(**options)
    return backbone


def backbone_needs(name: str, **options: Any) -> Needs:
    """Which inputs (vectors, tokens, graphs) the backbone reads with these options.

    Raises
    ------
    ValueError
        As `create_backbone`.
    """
    found = find_backbone(name)
    _check_options(name, found, options)
    return found.needs(**options)


def find_backbone(name: str) -> type[Backbone]:
    """The class of a registered name.

    Raises
    ------
    ValueError
        If no backbone has the name; the message lists those there are.
    """
    if name not in _REGISTERED and name in _MODULES:
        importlib.import_module(_MODULES[name])
    if name not in _REGISTERED:
        raise InputError(f"backbone {name!r} is unknown; available: {', '.join(available_backbones())}")
    return _REGISTERED[name]


def _check_options(name: str, found: type[Backbone], options: Mapping[str, Any]) -> None:
    try:
        inspect.signature(found).bind(1, 1, **options)
    except TypeError as error:
        raise InputError(f"backbone {name!r} does not take the options {sorted(options)}: {error}") from error
