"""Texts as the token numbers that an encoder reads, for a training that changes the encoder itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from class_kit.errors import InputError
from class_kit.ragged import Ragged, check_rows, offsets_of
from class_kit.store import digest_of
from class_kit.text import TextReport, check_options, check_texts
from class_kit.text.encoders import find_encoder, load_encoder
from class_kit.text.forward import check_fit, tokenise

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TextIds:
    """L texts as token numbers, over distinct ones that equal texts and subsets share.

    Attributes
    ----------
    ids : Ragged of (…, 2) int32
        Of each distinct text: its token numbers, the special ones included, and 1 where a token is the text's own.
    rows : (L,) int64
        The distinct text of each row.
    padding : int
        The number that fills a batch up.
    width : int
        Of the encoder's vectors.
    encoder : str
        Digest of the encoder whose numbers these are.
    """

    ids: Ragged
    rows: np.ndarray
    padding: int
    width: int
    encoder: str

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal characters, other for other texts, rows, or another encoder."""
        return digest_of(ids=self.ids.values, offsets=self.ids.offsets, rows=self.rows, encoder=self.encoder)

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, rows: np.ndarray) -> TextIds:
        """These rows as numbers of their own; nothing but row numbers is copied.

        Raises
        ------
        InputError
            No row, or one out of range.
        """
        return replace(self, rows=self.rows[check_rows(rows, len(self))])

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """`ids` (B, T) int64, `real` (B, T) bool, False for padding, `own` (B, T) bool, False for special tokens too.

        T is the longest of the batch; padding stands at the end.

        Raises
        ------
        InputError
            No row, or one out of range.
        """
        stored = self.rows[check_rows(rows, len(self))]
        lengths = self.ids.lengths(stored)
        real = np.arange(lengths.max()) < lengths[:, None]
        found = self.ids.values[self.ids.places(stored)]
        ids, own = np.full(real.shape, self.padding, np.int64), np.zeros(real.shape, bool)
        ids[real], own[real] = found[:, 0], found[:, 1]
        return {"ids": ids, "real": real, "own": own}


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
    found = find_encoder(encoder)
    digest, distinct = found.digest, sorted(set(rows))
    loaded = load_encoder(found, digest, "float32", "cpu")
    check_fit(loaded, found.name, max_tokens)
    if loaded.tokenizer.pad_token_id is None:
        raise InputError(f"text encoder {found.name!r} has no padding token, so texts cannot be batched")
    place = {text: number for number, text in enumerate(distinct)}
    back = np.array([place[text] for text in rows], np.int64)
    lengths = np.array([len(row) for row in tokenise(loaded.tokenizer, distinct)], np.int64)
    report = TextReport(found.name, max_tokens, lengths[back])
    if report.truncated:
        logger.warning("%s", report)
    read = loaded.tokenizer(distinct, truncation=True, max_length=max_tokens, return_special_tokens_mask=True)
    ends = offsets_of(np.array([len(row) for row in read["input_ids"]], np.int64))
    values = np.empty((int(ends[-1]), 2), np.int32)
    for start, ids, special in zip(ends, read["input_ids"], read["special_tokens_mask"], strict=False):
        values[start : start + len(ids), 0] = ids
        values[start : start + len(ids), 1] = _own(special)
    width, padding = int(loaded.model.config.hidden_size), int(loaded.tokenizer.pad_token_id)
    return TextIds(Ragged(values, ends), back, padding, width, digest)


def _own(special: Sequence[int]) -> np.ndarray:
    own = np.asarray(special) == 0
    return own if own.any() else np.arange(len(own)) == 0
