"""Write and read checkpoints that are never half-written and that identify their training.

One safetensors file holds every tensor of a training (weights, best weights so far, optimiser state, generator state)
and, in its header, everything else as JSON. It is written under a temporary name and moved, so a crash or a full disk
never damages the previous one. A digest detects damage, an identity a checkpoint of another training.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from class_kit.errors import InputError
from class_kit.files import atomic_write

FORMAT = "class_kit checkpoint 3"


def save_checkpoint(
    path: str | os.PathLike[str], tensors: Mapping[str, Any], state: Mapping[str, Any], identity: str
) -> None:
    """Write tensors and JSON state to `path`, atomically.

    Parameters
    ----------
    tensors : name to tensor, or to a mapping of the same kind
        Moved to the CPU and made contiguous.
    state : mapping
        Anything JSON can hold; NaN is refused.
    identity : str
        What the checkpoint belongs to (a digest of the configuration and the inputs).

    Raises
    ------
    OSError
        If it cannot be written; the previous checkpoint is then intact.
    """
    flat = _plain(dict(_flatten(tensors)))
    state_text = json.dumps(state, sort_keys=True, allow_nan=False)
    header = {"format": FORMAT, "identity": identity, "state": state_text}
    write_tensors(path, flat, header | {"digest": _digest(flat, header)})


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: dict[str, str] | None = None
) -> None:
    """Write tensors as a safetensors file, atomically; an OSError names the system's reason for a failure.

    The file is built in memory, since the library's own writer hides the number of a system error.
    """
    content = save(_plain(tensors), header)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def load_checkpoint(path: str | os.PathLike[str], identity: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `save_checkpoint` wrote: tensors and state.

    Raises
    ------
    InputError
        If the file is missing, damaged, not a checkpoint of this kit, or belongs to another `identity`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; expected one written by a training")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged or not a checkpoint ({error}); delete it and train again") from error
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: not a checkpoint of this kit (format {header.get('format')!r}, expected {FORMAT!r})")
    if header.get("digest") != _digest(flat, header):
        raise InputError(f"{path}: damaged (content and digest differ); delete it and train again")
    if identity is not None and header["identity"] != identity:
        raise InputError(f"{path}: checkpoint of a training with other settings or data; choose another folder")
    tensors: dict[str, Any] = {}
    for name, tensor in flat.items():
        *folders, last = name.split("/")
        inner = tensors
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = tensor
    return tensors, json.loads(header["state"])


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _flatten(tensors: Mapping[Any, Any], path: str = "") -> list[tuple[str, Tensor]]:
    """Tensors by the path of their keys, joined by slashes."""
    return [
        leaf
        for key, value in tensors.items()
        for leaf in (_flatten(value, f"{path}{key}/") if isinstance(value, Mapping) else [(f"{path}{key}", value)])
    ]


def _digest(tensors: dict[str, Tensor], header: Mapping[str, str]) -> str:
    parts = repr([header.get(name) for name in ("format", "identity", "state")]).encode()
    return hashlib.sha256(parts + save(tensors)).hexdigest()
