"""Checkpoints that are complete or absent, and that say what they belong to.

One safetensors file holds every tensor of a training (weights, best weights so far, optimiser state, generator
state) and, in its header, everything else as JSON. It is written under a temporary name and moved, so a crash or a
full disk loses nothing already saved; a digest over the tensors tells damage from a sound file; an identity tells
a foreign checkpoint from one's own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from class_kit.errors import InputError
from class_kit.files import atomic_write

FORMAT = "class_kit checkpoint 2"


def save_checkpoint(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], state: Mapping[str, Any], identity: str
) -> None:
    """Write tensors and JSON state to `path`, atomically.

    Parameters
    ----------
    tensors : name to tensor
        Moved to the CPU and made contiguous.
    state : mapping
        Anything JSON can hold; NaN is refused.
    identity : str
        What the checkpoint belongs to (a digest of the configuration and the inputs).

    Raises
    ------
    OSError
        If it cannot be written; what was saved before is still there, whole.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {
        "format": FORMAT,
        "identity": identity,
        "state": json.dumps(state, sort_keys=True, allow_nan=False),
    }
    header["digest"] = _digest(plain, header)
    write_tensors(path, plain, header)


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: dict[str, str] | None = None
) -> None:
    """Write tensors as a safetensors file, atomically; an OSError says what the machine has no room or leave for.

    The file is made in memory: the library's own writer wraps the system's errors in one without their number, and
    writes to a temporary file that a killed process leaves behind and nobody knows.
    """
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, metadata=header)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def load_checkpoint(
    path: str | os.PathLike[str], identity: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, no checkpoint of this kit, or belongs to another `identity`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged or no checkpoint ({error}); delete it and train again") from error
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: not a checkpoint of this kit (format {header.get('format')!r}, expected {FORMAT!r})")
    if header.get("digest") != _digest(tensors, header):
        raise InputError(f"{path}: its content does not match its digest; the file is damaged, delete it")
    if identity is not None and header.get("identity") != identity:
        raise InputError(f"{path}: belongs to a training with other settings or data; choose another folder")
    try:
        return tensors, json.loads(header["state"])
    except (KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: its header cannot be read ({error}); the file is damaged, delete it") from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's moments and step counts by name; its groups and rates are not among them."""
    state = optimizer.state_dict()["state"]
    return {f"{index}/{key}": value for index, own in state.items() for key, value in own.items() if value is not None}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Undo `optimizer_tensors`; the parameter groups stay as they were built."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> str:
    digest = hashlib.sha256(repr([header.get(name) for name in ("format", "identity", "state")]).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
