"""Texts as tokens: hidden states of a frozen encoder, or token ids for fine-tuning the encoder.

Tokens keep what a sentence vector averages away; backbones that align words with atoms and rings read them. They take
hundreds of megabytes, so they are stored as they are computed and read batch by batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from class_kit.checks import check_choice
from class_kit.errors import InputError
from class_kit.inputs import Inputs, Ragged, StoredRagged, offsets_of, padded
from class_kit.store import Maker, digest_of, stored
from class_kit.text import MAX_TOKENS, check_texts, sentence_vectors, warn_truncated
from class_kit.text.encoders import encode, find_encoder, load_encoder, token_counts, tokenise

if TYPE_CHECKING:
    from torch import Tensor

    from class_kit.backbones.base import IdBatch, TokenBatch

TOKEN_DTYPES = ("float16", "float32")


@dataclass(frozen=True, eq=False)
class TextTokens(Inputs):
    """L texts as hidden states of their tokens; equal texts and subsets share the stored ones.

    Attributes
    ----------
    tokens : Ragged or StoredRagged of (…, d_t) float16 or float32
        Last hidden states of the tokens of each distinct text.
    sentences : (n, d_t) float32
        Sentence vectors of the distinct texts.
    """

    kind: ClassVar[str] = "tokens"
    tokens: Ragged | StoredRagged
    sentences: np.ndarray

    @property
    def width(self) -> int:
        """d_t, the width of tokens and sentence vectors."""
        return int(self.sentences.shape[1])

    def arrays(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """`sentence` (B, d_t), `tokens` (B, T, d_t) float32, zero for padding, and `mask` (B, T); T is the longest."""
        stored = self.stored(rows)
        tokens, mask = padded(self.tokens, stored)
        return {"sentence": self.sentences[stored], "tokens": tokens.astype(np.float32), "mask": mask}

    def batch(self, size: int, **tensors: Tensor) -> TokenBatch:
        """The arrays as a `TokenBatch`."""
        from class_kit.backbones.base import TokenBatch

        return TokenBatch(**tensors)


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
    """Embed every token of each text: the encoder's last hidden states, without those of the special tokens.

    Equal texts are embedded once. A text of which the tokenizer leaves nothing (control characters only) keeps its
    first special token, so that every text has at least one.

    Parameters
    ----------
    texts, encoder, batch_size, device, progress
        As for `embed_text`.
    max_tokens
        Tokens read of each text, including special ones; longer texts are truncated and counted in the log. Half of
        `embed_text`'s default, because padding to the longest text of a batch costs memory and time in every attention
        over tokens. The 6,601 descriptions in ChEBI-20's validation and test splits have 99 MiniLM tokens on average;
        128 keep 79 % of the texts whole and 92 % of all tokens (SciBERT: 88 % and 96 %).
    dtype
        Type of the stored numbers: `"float16"`, which rounds by 0.05 %, or `"float32"`, twice as large. The encoder
        computes in float32 either way.
    cache
        Store tokens on disk and reuse them (`class_kit.store`, kind `tokens`). Otherwise all are held in memory.

    Returns
    -------
    TextTokens
        Its sentence vectors are those of `embed_text` with default options (256 tokens).

    Raises
    ------
    InputError
        As `embed_text`, or a value that `dtype` cannot hold.
    TypeError
        As `embed_text`.
    """
    distinct, back = _distinct(check_texts(texts, max_tokens, batch_size))
    check_choice("dtype", dtype, TOKEN_DTYPES)
    source = find_encoder(encoder)
    libraries = [version("torch"), version("transformers")]
    options = digest_of(encoder=source.digest, max_tokens=max_tokens, dtype=dtype, libraries=libraries)
    running: dict[str, Any] = {"batch_size": batch_size, "device": device, "progress": progress}

    def own_states(states: Tensor, own: list[np.ndarray]) -> list[np.ndarray]:
        with np.errstate(over="ignore"):  # overflow becomes infinite, which `encode` refuses
            return [one[mask].astype(dtype) for one, mask in zip(states.cpu().numpy(), own, strict=True)]

    def compute(missing: list[int]) -> Iterator[tuple[int, bytes]]:
        some = [distinct[row] for row in missing]
        for place, _, kept in encode(source, some, own_states, max_tokens=max_tokens, **running):
            yield missing[place], kept.tobytes()

    items = stored(Maker("tokens", source.name, options), distinct, compute, use=cache, hold=not cache)
    lengths, sentences = sentence_vectors(distinct, source, None, MAX_TOKENS, cache, **running)
    warn_truncated(source.name, max_tokens, lengths[back], cache)
    key = digest_of(texts=distinct, options=options)
    return TextTokens(back, key, StoredRagged(items, sentences.shape[1], dtype), sentences)


@dataclass(frozen=True, eq=False)
class TextIds(Inputs):
    """L texts as token ids; equal texts and subsets share the stored ones.

    Attributes
    ----------
    ids : Ragged of (…, 2) int32
        For each distinct text: its token ids, including special ones, and 1 for the text's own tokens, else 0.
    padding : int
        Id of the padding token.
    hidden : int
        Width of the encoder's vectors.
    encoder : str
        Digest of the encoder that the ids belong to.
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


def text_ids(
    texts: Sequence[str], encoder: str | os.PathLike[str] = "minilm", *, max_tokens: int = MAX_TOKENS
) -> TextIds:
    """Token ids of each text.

    Parameters
    ----------
    texts, encoder, max_tokens
        As for `embed_text`.

    Raises
    ------
    InputError, TypeError
        As `embed_text`.
    """
    distinct, back = _distinct(check_texts(texts, max_tokens))
    source = find_encoder(encoder)
    loaded = load_encoder(source, "cpu", max_tokens)
    if loaded.tokenizer.pad_token_id is None:
        raise InputError(f"text encoder {source.name!r} has no padding token; expected one, to batch texts")
    lengths = token_counts(loaded.tokenizer, distinct)
    warn_truncated(source.name, max_tokens, lengths[back], True)
    ids, own = tokenise(loaded.tokenizer, distinct, max_tokens)
    values = np.stack([np.concatenate(ids), np.concatenate(own)], 1).astype(np.int32)
    ragged = Ragged(values, offsets_of(np.minimum(lengths, max_tokens)))
    key = digest_of(texts=distinct, encoder=source.digest, max_tokens=max_tokens)
    width, padding = int(loaded.model.config.hidden_size), int(loaded.tokenizer.pad_token_id)
    return TextIds(back, key, ragged, padding, width, source.digest)


def _distinct(texts: list[str]) -> tuple[list[str], np.ndarray]:
    """The distinct texts in ascending order, and the position of each text among them."""
    unique, back = np.unique(np.array(texts, dtype=object), return_inverse=True)
    return unique.tolist(), back
