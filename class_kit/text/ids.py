"""Texts as the token numbers that an encoder reads, for a training that changes the encoder itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from class_kit.errors import InputError
from class_kit.inputs import Inputs
from class_kit.ragged import Ragged, offsets_of, padded
from class_kit.store import digest_of
from class_kit.text import TextReport, check_options, check_texts
from class_kit.text.encoders import find_encoder, load_encoder
from class_kit.text.forward import check_fit, tokenise

if TYPE_CHECKING:
    from torch import Tensor

    from class_kit.backbones.base import IdBatch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TextIds(Inputs):
    """L texts as token numbers, over distinct ones that equal texts and subsets share.

    Attributes
    ----------
    ids : Ragged of (…, 2) int32
        Of each distinct text: its token numbers, the special ones included, and 1 where a token is the text's own.
    padding : int
        The number that fills a batch up.
    hidden : int
        Width of the encoder's vectors.
    encoder : str
        Digest of the encoder whose numbers these are.
    """

    kind: ClassVar[str] = "ids"
    ids: Ragged
    padding: int
    hidden: int
    encoder: str

    @property
    def width(self) -> int:
        """Width of the encoder's vectors."""
        return self.hidden

    def arrays(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """`ids` (B, T) int64, `real` (B, T) bool, False for padding, `own` (B, T) bool, False for special tokens too.

        T is the longest of the batch; padding stands at the end.
        """
        values, real = padded(self.ids, self.stored(rows))
        ids = np.where(real, values[..., 0], self.padding).astype(np.int64)
        return {"ids": ids, "real": real, "own": values[..., 1] == 1}

    def batch(self, size: int, **tensors: Tensor) -> IdBatch:
        """The arrays as an `IdBatch`."""
        from class_kit.backbones.base import IdBatch

        return IdBatch(**tensors, encoder=self.encoder)


def text_ids(texts: Sequence[str], encoder: str | os.PathLike[str] = "minilm", *, max_tokens: int = 256) -> TextIds:
    """Token numbers of each text.

    A text of which the tokenizer leaves nothing has its first special token as its own, as in `text_tokens`.

    Parameters
    ----------
    texts, encoder, max_tokens
        As `embed_text` takes them.

    Raises
    ------
    InputError, TypeError
        As `embed_text`.
    """
    rows = check_texts(texts)
    check_options(max_tokens, 1, "float32", None)
    source = find_encoder(encoder)
    unique, back = np.unique(np.array(rows, dtype=object), return_inverse=True)
    digest, distinct = source.digest, unique.tolist()
    loaded = load_encoder(source, digest, "float32", "cpu")
    check_fit(loaded, source.name, max_tokens)
    if loaded.tokenizer.pad_token_id is None:
        raise InputError(f"text encoder {source.name!r} has no padding token, so texts cannot be batched")
    lengths = np.array([len(row) for row in tokenise(loaded.tokenizer, distinct)], np.int64)
    report = TextReport(source.name, max_tokens, lengths[back])
    if report.truncated:
        logger.warning("%s", report)
    read = loaded.tokenizer(distinct, truncation=True, max_length=max_tokens, return_special_tokens_mask=True)
    values = np.concatenate(
        [
            np.stack([ids, _own(special)], 1).astype(np.int32)
            for ids, special in zip(read["input_ids"], read["special_tokens_mask"], strict=True)
        ]
    )
    ends = offsets_of(np.array([len(row) for row in read["input_ids"]], np.int64))
    width, padding = int(loaded.model.config.hidden_size), int(loaded.tokenizer.pad_token_id)
    key = digest_of(texts=distinct, encoder=digest, max_tokens=max_tokens)
    return TextIds(back, key, Ragged(values, ends), padding, width, digest)


def _own(special: Sequence[int]) -> np.ndarray:
    own = np.asarray(special) == 0
    return own if own.any() else np.arange(len(own)) == 0
