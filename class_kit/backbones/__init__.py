"""Retrievers that a curriculum can be wrapped round, each returning named loss terms.

A backbone knows nothing of schedules or intensities: it turns a batch of texts and molecules into vectors of one
space and into losses by name. The training loop decides which pairs it sees and how much each term counts.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from class_kit.errors import InputError

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone, Needs

    AnyBackbone = TypeVar("AnyBackbone", bound=type[Backbone])

# modules of this package by the backbone's name, so that asking for the names imports neither torch nor a model
_MODULES = (
    *("aman", "denoising", "distillation", "dsokr", "dual_encoder"),
    *("finetuned", "memory_bank", "moleculestm", "orma", "text2mol"),
)
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
    found = find_backbone(name, **options)
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
    return find_backbone(name, **options).needs(**options)


def find_backbone(name: str, **options: Any) -> type[Backbone]:
    """The class of a registered name, which takes these options.

    Raises
    ------
    ValueError
        If no backbone has the name, in which case the message lists those there are, or it lacks an option.
    """
    if name not in _REGISTERED and name in _MODULES:
        importlib.import_module(f"{__name__}.{name}")
    if name not in _REGISTERED:
        raise InputError(f"backbone {name!r} is unknown; available: {', '.join(available_backbones())}")
    try:
        inspect.signature(_REGISTERED[name]).bind(1, 1, **options)
    except TypeError as error:
        raise InputError(f"backbone {name!r} does not take the options {sorted(options)}: {error}") from error
    return _REGISTERED[name]
