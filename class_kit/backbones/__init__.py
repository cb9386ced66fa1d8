"""Retrievers to train with a curriculum, each returning named loss terms.

A backbone knows nothing about schedules or intensities: it maps a batch of texts and molecules into one vector space
and computes losses by name. The training loop decides which pairs it sees and how much each term counts.
"""

from __future__ import annotations

import importlib
import inspect
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from class_kit.errors import InputError

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone, Needs

    AnyBackbone = TypeVar("AnyBackbone", bound=type[Backbone])

# modules of this package by the backbone's name, so that asking for the names imports neither torch nor a model
_MODULES = (
    *("aman", "denoising", "dsokr", "dual_encoder", "finetuned"),
    *("memory_bank", "moleculestm", "orma", "text2mol"),
)
_REGISTERED: dict[str, type[Backbone]] = {}


def register_backbone(name: str) -> Callable[[AnyBackbone], AnyBackbone]:
    """Class decorator that makes a backbone available by name, on the command line and in studies.

    Raises
    ------
    ValueError
        If the name belongs to another backbone.
    """

    def register(cls: AnyBackbone) -> AnyBackbone:
        taken = _REGISTERED.get(name)
        if taken is not None and taken.__qualname__ != cls.__qualname__:
            raise InputError(f"a backbone named {name!r} is registered already ({taken.__module__}.{taken.__name__})")
        _REGISTERED[name] = cls
        # kept with the class, which may have none in another process
        try:
            cls.source = inspect.getsource(cls)
        except (OSError, TypeError):
            # a changed class would look the same, so its trainings are never taken from the store
            cls.source = secrets.token_hex(16)
        return cls

    return register


def available_backbones() -> list[str]:
    """Names for `create_backbone` and `class-kit train --backbone`, including the user's own registrations."""
    return sorted({*_MODULES, *_REGISTERED})


def create_backbone(name: str, text_dim: int, molecule_dim: int, **options: Any) -> Backbone:
    """Build a backbone by name for inputs of width `text_dim` and `molecule_dim`.

    Raises
    ------
    ValueError
        If no backbone has the name, or it does not take one of the options.
    """
    kind, needs = _find(name, options)
    backbone = kind(text_dim, molecule_dim, **options)
    backbone.inputs = needs
    return backbone


def backbone_needs(name: str, **options: Any) -> Needs:
    """Which inputs (vectors, tokens, graphs) the backbone reads with these options.

    Raises
    ------
    ValueError
        As `create_backbone`.
    """
    return _find(name, options)[1]


def _find(name: str, options: dict[str, Any]) -> tuple[type[Backbone], Needs]:
    """The class of a registered name, and what it reads with these options."""
    if name not in _REGISTERED and name in _MODULES:
        importlib.import_module(f"{__name__}.{name}")
    if name not in _REGISTERED:
        raise InputError(f"backbone {name!r} is unknown; available: {', '.join(available_backbones())}")
    signature = inspect.signature(_REGISTERED[name])
    try:
        signature.bind(1, 1, **options)
    except TypeError as error:
        raise InputError(f"backbone {name!r} does not take the options {sorted(options)}: {error}") from error
    defaults = {name: each.default for name, each in signature.parameters.items() if each.default is not each.empty}
    return _REGISTERED[name], _REGISTERED[name].needs(**defaults | options)
