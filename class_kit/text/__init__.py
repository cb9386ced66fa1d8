"""Embed descriptions as sentence vectors of a frozen encoder, each computed once.

The vectors are not normalised to unit length: cosines do not need it, and the length would be lost.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.checks import check_choice, check_strings, check_whole
from class_kit.errors import InputError
from class_kit.store import Maker, digest_of, stored_vectors, warn_once
from class_kit.text.encoders import POOLINGS, TextEncoder, encode, find_encoder, load_tokenizer, token_counts
from class_kit.text.static import static_vectors

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


# tokens that are read of a text unless another number is asked for
MAX_TOKENS = 256


def embed_text(
    texts: Sequence[str],
    encoder: str | os.PathLike[str] = "minilm",
    *,
    pooling: str | None = None,
    max_tokens: int = MAX_TOKENS,
    batch_size: int = 64,
    device: str | None = None,
    cache: bool = True,
    progress: bool | None = None,
) -> np.ndarray:
    """Embed each text as one vector of a frozen encoder.

    CLASS uses SciBERT's `[CLS]` vector, computed once (arXiv 2502.11633). The default here is the MiniLM that is
    installed with the kit, so that everything works offline. The vectors do *not* have unit length.

    A text's vector depends on that text alone, to the last bit: batches hold texts of equal length, and all batches of
    one length have the same shape. So each text is embedded once, whichever data set it belongs to.

    Parameters
    ----------
    texts
        L texts, none of them empty.
    encoder
        `"minilm"` (d_t = 384); `"static"` (d_t = 384), token vectors distilled from MiniLM, for hundreds of thousands
        of texts (`class_kit.text.static`); `"scibert"` (d_t = 768; `class-kit fetch scibert`); a folder; or the id of
        a model in the local Hugging Face cache. Code that comes with a model is never run.
    pooling
        `"cls"`: the vector of the first token; `"mean"`: the mean over the tokens of the text, without padding.
        By default the one the encoder was trained with: mean for MiniLM, cls for SciBERT, that of the configuration
        for a sentence-transformers folder, otherwise cls.
    max_tokens
        Tokens read of each text, including special ones. Longer texts are truncated and counted in the log;
        `count_tokens` says how long each is.
    batch_size
        Maximum number of texts in a batch; batches of long texts are smaller. Another size can change a vector by
        about 1e-6.
    device
        A torch device; by default a GPU if there is one. Cached vectors are returned whichever device computed them.
    cache
        Store vectors on disk and reuse them (`class_kit.store`).
    progress
        Show a progress bar; by default only on a terminal or in a notebook.

    Returns
    -------
    numpy.ndarray
        (L, d_t) float32.

    Raises
    ------
    InputError
        An unknown or incomplete encoder, an empty text, no text at all, or an option out of range.
    TypeError
        `texts` is a single string, or a text is not a string.
    """
    rows = check_texts(texts, max_tokens, batch_size)
    if pooling is not None:
        check_choice("pooling", pooling, POOLINGS)
    chosen = find_encoder(encoder)
    options = {"batch_size": batch_size, "device": device, "progress": progress}
    lengths, vectors = sentence_vectors(rows, chosen, pooling, max_tokens, cache, **options)
    warn_truncated(chosen.name, max_tokens, lengths, cache)
    return vectors


def count_tokens(texts: Sequence[str], encoder: str | os.PathLike[str] = "minilm") -> np.ndarray:
    """Number of tokens of each whole text, with special ones, `(L,)` int64: to see what would be truncated.

    Raises
    ------
    InputError, TypeError
        As `embed_text`.
    """
    return token_counts(load_tokenizer(find_encoder(encoder)), check_texts(texts))


def warn_truncated(encoder: str, max_tokens: int, lengths: np.ndarray, cache: bool) -> None:
    """Warn once per data set if texts, of these numbers of tokens, are truncated."""
    if truncated := int((lengths > max_tokens).sum()):
        message = (
            f"{len(lengths):,} texts for {encoder}: {int(lengths.sum()):,} tokens, longest {int(lengths.max())}, "
            f"{truncated:,} longer than {max_tokens} and truncated"
        )
        warn_once(logger, message, use=cache)


def check_texts(texts: Sequence[str], max_tokens: int = MAX_TOKENS, batch_size: int = 1) -> list[str]:
    """The texts as a list of strings, refused as `check_strings` does or where one is blank."""
    check_whole("max_tokens", max_tokens, low=3)
    check_whole("batch_size", batch_size, low=1)
    rows = check_strings("texts", texts)
    for number, row in enumerate(rows):
        if not row.strip():
            raise InputError(f"texts[{number}] is {row!r}: expected a text that is not blank")
    return rows


def sentence_vectors(
    texts: list[str], encoder: TextEncoder, pooling: str | None, max_tokens: int, cache: bool, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each whole text `(L,)` int64 and its vector, as `embed_text` returns it, for checked arguments.

    Further `options` are those of `encode`.
    """
    pooling = pooling or encoder.pooling
    if encoder.pooling == "static" != pooling:
        raise InputError(f"pooling={pooling!r}: text encoder 'static' has none to choose")

    def pooled(states: Tensor, _: object) -> np.ndarray:
        vectors = states[:, 0] if pooling == "cls" else states.mean(1)
        return np.asarray(vectors.cpu())

    def compute(missing: list[int]) -> Iterator[tuple[int, int, np.ndarray]]:
        tokenizer = load_tokenizer(encoder)
        if pooling == "cls" and tokenizer("a")["input_ids"][0] != tokenizer.cls_token_id:
            raise InputError(f"text encoder {encoder.name!r} does not start a text with [CLS]: expected pooling='mean'")
        some = [texts[row] for row in missing]
        embedded = static_vectors if pooling == "static" else partial(encode, encoder, reduce=pooled)
        for place, length, vector in embedded(texts=some, max_tokens=max_tokens, **options):
            yield missing[place], length, vector

    libraries = [version("torch"), version("transformers")]
    key = digest_of(encoder=encoder.digest, pooling=pooling, max_tokens=max_tokens, libraries=libraries)
    return stored_vectors(Maker("text", encoder.name, key), texts, compute, use=cache)
