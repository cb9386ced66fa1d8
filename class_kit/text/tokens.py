"""Token vectors of descriptions, from a frozen encoder, computed once and left on disk.

What a sentence vector averages away, single tokens keep: backbones that align words with atoms and rings read these.
There are hundreds of megabytes of them, so they are written where they are computed and read where they lie.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from class_kit.cache import Arrays, cache_key
from class_kit.cache_maps import Filling, cached_map
from class_kit.errors import InputError
from class_kit.ragged import Ragged, check_rows, offsets_of
from class_kit.text import TextReport, check_options, check_texts, embed_text
from class_kit.text.encoders import LoadedEncoder, TextEncoder, find_encoder, load_encoder
from class_kit.text.forward import check_fit, checked_device, hidden_states, not_finite

logger = logging.getLogger(__name__)

TOKEN_DTYPES = ("float16", "float32")


@dataclass(frozen=True, eq=False)
class TextTokens:
    """L texts as tokens, over distinct ones that equal texts and subsets share.

    Attributes
    ----------
    tokens : Ragged of (…, d_t) float16 or float32
        Last hidden states of the tokens of each distinct text, on disk.
    sentences : (n, d_t) float32
        Sentence vectors of the distinct texts.
    rows : (L,) int64
        The distinct text of each row.
    key : str
        Digest of what the vectors were made from.
    """

    tokens: Ragged
    sentences: np.ndarray
    rows: np.ndarray
    key: str

    @property
    def width(self) -> int:
        """d_t, the width of tokens and sentence vectors."""
        return int(self.sentences.shape[1])

    @cached_property
    def digest(self) -> str:
        """64 hexadecimal characters, other for other texts, rows, encoders or options."""
        return cache_key(tokens=self.key, rows=self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        total = int(self.tokens.lengths(self.rows).sum())
        distinct = len(np.unique(self.rows))
        return f"{len(self):,} texts, {distinct:,} distinct: {total:,} tokens of width {self.width}"

    __repr__ = __str__

    def subset(self, rows: np.ndarray) -> TextTokens:
        """These rows as tokens of their own; nothing but row numbers is copied.

        Raises
        ------
        InputError
            No row, or one out of range.
        """
        return replace(self, rows=self.rows[check_rows(rows, len(self))])

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of `TokenBatch`: `sentence` (B, d_t), `tokens` (B, T, d_t) and `mask` (B, T); T is the longest.

        Raises
        ------
        InputError
            No row, or one out of range.
        """
        stored = self.rows[check_rows(rows, len(self))]
        lengths = self.tokens.lengths(stored)
        mask = np.arange(lengths.max()) < lengths[:, None]
        tokens = np.zeros((*mask.shape, self.width), np.float32)
        tokens[mask] = self.tokens.values[self.tokens.places(stored)]
        return {"sentence": self.sentences[stored], "tokens": tokens, "mask": mask}


def text_tokens(
    texts: Sequence[str],
    encoder: str | os.PathLike[str] = "minilm",
    *,
    max_tokens: int = 128,
    batch_size: int = 64,
    dtype: str = "float16",
    device: str | None = None,
    cache: bool = True,
    progress: bool | None = None,
) -> TextTokens:
    """Vectors of every token of each text: the encoder's last hidden states, without those of the special tokens.

    Equal texts are embedded once. A text of which the tokenizer leaves nothing (one of control characters alone) keeps
    its first special token, so that every text has at least one.

    Parameters
    ----------
    texts, encoder, batch_size, device, progress
        As `embed_text` takes them.
    max_tokens
        Tokens read of each text, the special ones included; longer texts are truncated and counted in the log. Half
        of `embed_text`'s default, because what pads a batch to its longest text grows with it, in memory and in every
        attention over tokens. Of the 6,601 descriptions in ChEBI-20's validation and test splits MiniLM's tokenizer
        makes 99 tokens on average; 128 keep 79 % of them whole and 92 % of all tokens (SciBERT's: 88 % and 96 %).
    dtype
        How tokens are kept: `"float16"`, which rounds by 0.05 %, or `"float32"`, twice as large. Sums are made in
        float32 either way.
    cache
        Keep and reuse tokens on disk (`class_kit.cache`, kind `tokens`).

    Returns
    -------
    TextTokens
        Its sentence vectors are what `embed_text` gives for the encoder by default, read to 256 tokens.

    Raises
    ------
    InputError
        As `embed_text`, or a value that `dtype` cannot hold.
    TypeError
        As `embed_text`.
    """
    rows = check_texts(texts)
    check_options(max_tokens, batch_size, "float32", None)
    if dtype not in TOKEN_DTYPES:
        raise InputError(f"dtype is {dtype!r}: expected one of {', '.join(TOKEN_DTYPES)}")
    found = find_encoder(encoder)
    digest, distinct = found.digest, sorted(set(rows))
    libraries = [version("torch"), version("transformers")]
    key = cache_key(texts=distinct, encoder=digest, max_tokens=max_tokens, dtype=dtype, libraries=libraries)

    def plan() -> Filling:
        loaded = load_encoder(found, digest, "float32", checked_device(device))
        check_fit(loaded, found.name, max_tokens)
        return _plan(distinct, found, loaded, max_tokens, batch_size, dtype, progress)

    arrays = cached_map("tokens", key, plan, use=cache)
    place = {text: number for number, text in enumerate(distinct)}
    back = np.array([place[text] for text in rows], np.int64)
    report = TextReport(found.name, max_tokens, arrays["read"][back])
    if report.truncated:
        logger.warning("%s", report)
    sentences = embed_text(rows, encoder, batch_size=batch_size, device=device, cache=cache, progress=progress)
    first = np.unique(back, return_index=True)[1]
    return TextTokens(Ragged(arrays["tokens"], offsets_of(arrays["kept"])), sentences[first], back, key)


def _plan(
    texts: list[str],
    found: TextEncoder,
    loaded: LoadedEncoder,
    max_tokens: int,
    batch_size: int,
    dtype: str,
    progress: bool | None,
) -> Filling:
    """Shapes of the arrays of distinct texts, and the pass through the encoder that fills them."""
    read = np.array([len(ids) for ids in loaded.tokenizer(texts, truncation=False, verbose=False)["input_ids"]])
    encoded = loaded.tokenizer(texts, truncation=True, max_length=max_tokens, return_special_tokens_mask=True)
    kept = [_kept(special) for special in encoded["special_tokens_mask"]]
    ends = offsets_of(np.array([len(places) for places in kept]))

    def fill(arrays: Arrays) -> None:
        arrays["kept"][:], arrays["read"][:] = np.diff(ends), read
        for batch, states, _ in hidden_states(loaded, found.name, encoded["input_ids"], batch_size, progress):
            values = states.cpu().numpy()
            for row, one in zip(batch, values, strict=True):
                _store(arrays["tokens"][ends[row] : ends[row + 1]], one[kept[row]], found.name, texts[row])

    width = int(loaded.model.config.hidden_size)
    return {
        "tokens": ((int(ends[-1]), width), dtype),
        "kept": ((len(texts),), "int64"),
        "read": ((len(texts),), "int64"),
    }, fill


def _kept(special: Any) -> np.ndarray:
    """Positions of a text's own tokens; the first of all where it has none."""
    own = np.flatnonzero(np.asarray(special) == 0)
    return own if len(own) else np.zeros(1, np.int64)


def _store(place: np.ndarray, values: np.ndarray, name: str, text: str) -> None:
    with np.errstate(over="ignore"):
        place[:] = values
    if not np.isfinite(place).all():
        if np.isfinite(values).all():
            raise InputError(
                f"text encoder {name!r} gives {np.abs(values).max():.3g} for {text[:60]!r}, more than {place.dtype} "
                "holds: expected dtype='float32'"
            )
        raise not_finite(name, text)
