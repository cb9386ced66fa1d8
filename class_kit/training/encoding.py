"""A backbone's vectors of many texts or molecules, a block at a time."""

from __future__ import annotations

import numpy as np
import torch

from class_kit.backbones.base import Backbone
from class_kit.errors import InputError
from class_kit.training.inputs import Inputs, as_inputs

# rows encoded at once: vectors are small, a padded block of tokens or a graph of atoms is not
_ENCODE_ROWS = {"vector": 4096, "tokens": 256, "graph": 512}


def encode(backbone: Backbone, side: str, inputs: np.ndarray | Inputs, block: int | None = None) -> np.ndarray:
    """Vectors `(n, d)` float32 of texts (`side="text"`) or molecules (`side="molecules"`), in evaluation mode.

    `block` rows are encoded at once; by default as many as suit their kind.
    """
    if side not in {"text", "molecules"}:
        raise InputError(f"side={side!r}: expected 'text' or 'molecules'")
    encoder = backbone.encode_text if side == "text" else backbone.encode_molecules
    device = next(backbone.parameters()).device
    backbone.eval()
    if isinstance(inputs, np.ndarray) and not len(inputs):
        return np.zeros((0, 0), np.float32)
    taken = as_inputs(inputs)
    step = block or _ENCODE_ROWS.get(taken.kind, 256)
    with torch.no_grad():
        parts = [
            encoder(taken.take(np.arange(at, min(at + step, len(taken))), device)).float().cpu().numpy()
            for at in range(0, len(taken), step)
        ]
    return np.concatenate(parts)
