"""Token vectors of descriptions, from a frozen encoder, computed once and left on disk.

What a sentence vector averages away, single tokens keep: backbones that align words with atoms and rings read these.
There are hundreds of megabytes of them, so they are written as they are computed and read batch by batch.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from class_kit.errors import InputError
from class_kit.inputs import Inputs
from class_kit.ragged import Ragged, StoredRagged, padded
from class_kit.store import Maker, digest_of, stored
from class_kit.text import TextReport, check_options, check_texts, sentence_vectors
from class_kit.text.encoders import find_encoder, load_encoder
from class_kit.text.forward import check_fit, checked_device, hidden_states, not_finite

if TYPE_CHECKING:
    from torch import Tensor

    from class_kit.backbones.base import TokenBatch

logger = logging.getLogger(__name__)

TOKEN_DTYPES = ("float16", "float32")


@dataclass(frozen=True, eq=False)
class TextTokens(Inputs):
    """L texts as tokens, over distinct ones that equal texts and subsets share.

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

    def __str__(self) -> str:
        total = int(self.tokens.lengths(self.rows).sum())
        distinct = len(np.unique(self.rows))
        return f"{len(self):,} texts, {distinct:,} distinct: {total:,} tokens of width {self.width}"

    __repr__ = __str__

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
        Keep and reuse tokens on disk (`class_kit.store`, kind `tokens`). Without it they are all held in memory.

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
    source = find_encoder(encoder)
    unique, back = np.unique(np.array(rows, dtype=object), return_inverse=True)
    digest, distinct = source.digest, unique.tolist()
    libraries = [version("torch"), version("transformers")]
    options = digest_of(encoder=digest, max_tokens=max_tokens, dtype=dtype, libraries=libraries)

    def compute(missing: list[int]) -> Iterator[tuple[int, bytes]]:
        loaded = load_encoder(source, digest, "float32", checked_device(device))
        check_fit(loaded, source.name, max_tokens)
        texts = [distinct[number] for number in missing]
        read = loaded.tokenizer(texts, truncation=True, max_length=max_tokens, return_special_tokens_mask=True)
        for batch, states in hidden_states(loaded, source.name, read["input_ids"], batch_size, progress):
            for at, vectors in zip(batch, states.cpu().numpy(), strict=True):
                own = np.asarray(read["special_tokens_mask"][at]) == 0
                # a text of special tokens alone keeps the first
                kept = vectors[own] if own.any() else vectors[:1]
                yield missing[at], _rounded(kept, dtype, source.name, texts[at]).tobytes()

    items = stored(Maker("tokens", source.name, options), distinct, compute, use=cache, hold=not cache)
    lengths, sentences = sentence_vectors(
        distinct, source, batch_size=batch_size, device=device, cache=cache, progress=progress
    )
    report = TextReport(source.name, max_tokens, lengths[back])
    if report.truncated:
        logger.warning("%s", report)
    key = digest_of(texts=distinct, options=options)
    return TextTokens(back, key, StoredRagged(items, sentences.shape[1], dtype), sentences)


def _rounded(vectors: np.ndarray, dtype: str, name: str, text: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        rounded = vectors.astype(dtype)
    if not np.isfinite(rounded).all():
        if np.isfinite(vectors).all():
            raise InputError(
                f"text encoder {name!r} gives {np.abs(vectors).max():.3g} for {text[:60]!r}, more than {dtype} "
                "holds: expected dtype='float32'"
            )
        raise not_finite(name, text)
    return rounded
