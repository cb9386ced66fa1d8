"""Token batches, graphs and plain loops over attention, shared by the tests of backbones that read parts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from class_kit.backbones import create_backbone
from class_kit.backbones.base import GraphBatch, TokenBatch
from class_kit.backbones.wrapper import CrossAttention, Items
from tests.backbone_pairs import graph_batch, token_batch

TEXT, ATOM = 6, 5
INNER = {"hidden": 8, "dim": 4, "dropout": 0.0}
SMALL = {"width": 8, "heads": 2}


def some_parts() -> tuple[TokenBatch, GraphBatch]:
    """Four pairs; one text of a single token, one molecule of a single atom."""
    return token_batch([2, 4, 1, 3], TEXT, seed=1), graph_batch([[1], [3], [4], [2]], ATOM)


def some_vectors() -> tuple[torch.Tensor, torch.Tensor]:
    """Four pairs of vectors."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(4, TEXT, generator=generator), torch.randn(4, ATOM, generator=generator) * 3 + 1


def made(name: str, inputs: tuple[Any, Any], **options: Any) -> Any:
    torch.manual_seed(0)
    model = create_backbone(name, TEXT, ATOM, **options)
    model.fit_inputs(*inputs)
    return model.double()


def in_double(text: Any, molecules: Any) -> tuple[Any, Any]:
    if not isinstance(text, TokenBatch):
        return text.double(), molecules.double()
    text = replace(text, sentence=text.sentence.double(), tokens=text.tokens.double())
    return text, replace(molecules, atoms=molecules.atoms.double(), bond_features=molecules.bond_features.double())


def linear(layer: torch.nn.Linear, values: np.ndarray) -> np.ndarray:
    found = layer.weight.detach().numpy() @ values
    return found if layer.bias is None else found + layer.bias.detach().numpy()


def norm(layer: torch.nn.LayerNorm, values: np.ndarray) -> np.ndarray:
    scaled = (values - values.mean()) / np.sqrt(values.var() + layer.eps)
    return scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def two_layers(layers: torch.nn.Sequential, values: np.ndarray) -> np.ndarray:
    hidden = linear(layers[0], values)
    active = np.array([0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in hidden])
    return linear(layers[2], active)


def attended(attention: CrossAttention, item: np.ndarray, memory: list[np.ndarray]) -> np.ndarray:
    """What one item reads from a memory, head by head."""
    values = [linear(attention.value, one) for one in memory]
    if attention.query is None:
        assert len(memory) == 1
        return linear(attention.out, values[0])
    query, keys = linear(attention.query, item), [linear(attention.key, one) for one in memory]
    size, read = len(query) // attention.heads, []
    for head in range(attention.heads):
        part = slice(head * size, (head + 1) * size)
        weights = np.exp([query[part] @ key[part] / math.sqrt(size) for key in keys])
        read.append(sum(w * value[part] for w, value in zip(weights / weights.sum(), values, strict=True)))
    return linear(attention.out, np.concatenate(read))


def rows_of(items: Items, scale: Any) -> list[list[np.ndarray]]:
    values = scale(items.values).detach().numpy()
    return [
        [value for value, real in zip(row, mask, strict=True) if real]
        for row, mask in zip(values, items.mask, strict=True)
    ]
