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

# tokens in a batch: on a processor the fewest that keep it busy, because the last batch of a length is filled up
_BATCH_TOKENS = {"cpu": 256, "cuda": 16_384}


def tokenise(tokenizer: Any, rows: list[str], max_tokens: int | None = None) -> list[list[int]]:
    """Token ids of each text, the special ones included; whole without `max_tokens`."""
    # verbose=False: the tokenizer would otherwise warn of the very rows that are counted here
    read = tokenizer(rows, truncation=max_tokens is not None, max_length=max_tokens, verbose=False)
    return list(read["input_ids"])


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
    """Refuse an encoder that does not read as many tokens."""
    most = getattr(loaded.model.config, "max_position_embeddings", None)
    if most is not None and max_tokens > most:
        raise InputError(f"max_tokens is {max_tokens}: text encoder {name!r} reads at most {most}")


def hidden_states(
    loaded: LoadedEncoder, name: str, tokens: list[list[int]], batch_size: int, progress: bool | None
) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of rows of one length with their last hidden states `(B, T, d)` float32, the longest first.

    The last places of a sum depend on the shapes that are multiplied. So a length always has the same shape, padded
    with copies of a row where fewer are left, and a text's states do not depend on the texts beside it.
    """
    import torch

    budget = _BATCH_TOKENS.get(torch.device(loaded.device).type, _BATCH_TOKENS["cpu"])
    lengths = np.array([len(ids) for ids in tokens])
    started, total = time.perf_counter(), int(lengths.sum())
    disable = None if progress is None else not progress
    # of an encoder given as a folder the last part is enough: its whole path would leave no room for the bar
    short = name.rstrip("/").rsplit("/", 1)[-1]
    with progress_bar(total=total, desc=f"text ({short})", unit="token", disable=disable) as bar:
        for length in sorted(set(lengths.tolist()), reverse=True):
            rows, size = np.flatnonzero(lengths == length).tolist(), max(1, min(batch_size, budget // length))
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                ids = torch.tensor([tokens[row] for row in batch + batch[:1] * (size - len(batch))])
                with torch.inference_mode():
                    ids = ids.to(loaded.device)
                    states = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
                yield batch, states[: len(batch)].float()
                bar.update(length * len(batch))
    seconds = time.perf_counter() - started
    logger.info("%d texts, %d tokens in %.1f s (%.0f tokens a second)", len(tokens), total, seconds, total / seconds)


def not_finite(name: str, text: str) -> InputError:
    """The error for a text of which an encoder gives values that are not finite."""
    return InputError(f"text encoder {name!r} gives values that are not finite, first for {text[:60]!r}")
