"""Texts through a frozen encoder, batch by batch: what sentence vectors and token vectors have in common."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.errors import InputError
from class_kit.progress import progress_bar
from class_kit.text.encoders import LoadedEncoder

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

# padded tokens in one batch: what a processor's cache holds, and what keeps a graphics card busy
_BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}


def tokenise(tokenizer: Any, rows: list[str], max_tokens: int | None = None) -> list[list[int]]:
    """Token ids of each text, the special ones included; whole without `max_tokens`."""
    if max_tokens is None:
        # verbose=False: the tokenizer would otherwise warn of the very rows that are counted here
        return list(tokenizer(rows, truncation=False, verbose=False)["input_ids"])
    return list(tokenizer(rows, truncation=True, max_length=max_tokens)["input_ids"])


def checked_device(device: str | None) -> str:
    """A device of this machine, the graphics card by default where there is one.

    Raises
    ------
    InputError
        Torch has no such device here.
    """
    import torch

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise InputError(
            f"device is {device!r}: expected a torch device of this machine such as 'cpu': {reason}"
        ) from None
    return device


def check_fit(loaded: LoadedEncoder, name: str, max_tokens: int) -> None:
    """Refuse an encoder that cannot batch texts or does not read as many tokens."""
    if loaded.tokenizer.pad_token_id is None:
        raise InputError(f"text encoder {name!r} has no padding token, so texts cannot be batched")
    most = getattr(loaded.model.config, "max_position_embeddings", None)
    if most is not None and max_tokens > most:
        raise InputError(f"max_tokens is {max_tokens}: text encoder {name!r} reads at most {most}")


def hidden_states(
    loaded: LoadedEncoder, name: str, tokens: list[list[int]], batch_size: int, progress: bool | None
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Batches of rows with their last hidden states `(B, T, d)` float32 and a mask `(B, T)`, 1 for tokens."""
    import torch

    budget = _BATCH_TOKENS.get(torch.device(loaded.device).type, _BATCH_TOKENS["cpu"])
    started, total = time.perf_counter(), sum(map(len, tokens))
    disable = None if progress is None else not progress
    # of an encoder given as a folder the last part is enough: its whole path would leave no room for the bar
    short = name.rstrip("/").rsplit("/", 1)[-1]
    with progress_bar(total=total, desc=f"text ({short})", unit="token", disable=disable) as bar:
        for batch in batches(tokens, batch_size, budget):
            chosen = [tokens[row] for row in batch]
            yield batch, *_forward(loaded, chosen)
            bar.update(sum(map(len, chosen)))
    seconds = time.perf_counter() - started
    logger.info("%d texts, %d tokens in %.1f s (%.0f tokens a second)", len(tokens), total, seconds, total / seconds)


def batches(tokens: list[list[int]], batch_size: int, budget: int) -> Iterator[list[int]]:
    """Rows of like length together, longest first, so that little is padding and memory peaks at once, not late."""
    batch: list[int] = []
    for row in sorted(range(len(tokens)), key=lambda row: -len(tokens[row])):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * len(tokens[batch[0]]) > budget):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def not_finite(name: str, text: str) -> InputError:
    """The error for a text of which an encoder gives values that are not finite."""
    return InputError(f"text encoder {name!r} gives values that are not finite, first for {text[:60]!r}")


def _forward(loaded: LoadedEncoder, batch: list[list[int]]) -> tuple[Tensor, Tensor]:
    import torch

    width = max(map(len, batch))
    ids = np.full((len(batch), width), loaded.tokenizer.pad_token_id, dtype=np.int64)
    mask = np.zeros((len(batch), width), dtype=np.int64)
    for number, row in enumerate(batch):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    with torch.inference_mode():
        real = torch.from_numpy(mask).to(loaded.device)
        states = loaded.model(input_ids=torch.from_numpy(ids).to(loaded.device), attention_mask=real)
        return states.last_hidden_state.float(), real
