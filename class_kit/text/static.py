"""A static text encoder distilled from the bundled MiniLM: a text's vector is the weighted mean of its tokens' vectors.

Each token of the vocabulary is run through MiniLM once, by itself, as Model2Vec does (Tulkens and van Dongen 2024), and
is weighted by smooth inverse frequency (Arora, Liang and Ma 2017). A text then costs its tokenization and a sum:
about a hundredth of MiniLM's time, and word order is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from class_kit.progress import progress_bar
from class_kit.store import Maker, digest_of, stored
from class_kit.text.encoders import TextEncoder, find_encoder, hidden_states, load_encoder, load_tokenizer

# a in a / (a + p), where p is the share of a token among all tokens; 1e-4 is Model2Vec's
_SMOOTHING = 1e-4
_TEXTS_AT_ONCE = 4_096


def static_vectors(
    texts: list[str], *, max_tokens: int, progress: bool | None = None, **_: Any
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the row of each text, its number of tokens before truncation, and its vector `(d,)` float32.

    Further options of `class_kit.text.encoders.encode` are ignored. A text without any token gets a zero vector.
    """
    from scipy.sparse import csr_matrix

    minilm = find_encoder("minilm")
    table = token_vectors(minilm, progress).astype(np.float64)
    tokenizer = load_tokenizer(minilm)
    special = tokenizer.num_special_tokens_to_add()
    with progress_bar(total=len(texts), desc="text (static)", unit="text", show=progress) as bar:
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            read = tokenizer(texts[start : start + _TEXTS_AT_ONCE], add_special_tokens=False, verbose=False)
            lengths = [len(ids) for ids in read["input_ids"]]
            kept = [ids[: max_tokens - special] for ids in read["input_ids"]]
            ends = np.cumsum([0, *map(len, kept)])
            counts = csr_matrix((np.ones(ends[-1]), np.concatenate(kept).astype(int), ends), (len(kept), len(table)))
            vectors = (counts @ table) / np.maximum(np.diff(ends), 1)[:, None]
            for place, (length, vector) in enumerate(zip(lengths, vectors.astype(np.float32), strict=True)):
                yield start + place, length + special, vector
            bar.update(len(kept))


def token_vectors(minilm: TextEncoder, progress: bool | None = None) -> np.ndarray:
    """The weighted vector of every token of the vocabulary, `(V, d)` float32, computed once and stored."""
    libraries = [version("torch"), version("transformers")]
    options = digest_of(encoder=minilm.digest, smoothing=_SMOOTHING, libraries=libraries)

    def compute(missing: list[int]) -> Iterator[tuple[int, bytes]]:
        loaded = load_encoder(minilm)
        first, last = loaded.tokenizer("")["input_ids"]
        tokens = [[first, token, last] for token in range(len(loaded.tokenizer))]
        vectors = np.empty((len(tokens), loaded.model.config.hidden_size), np.float32)
        for batch, states in hidden_states(loaded, tokens, 256, progress):
            vectors[batch] = states[:, 1].cpu().numpy()
        # the vocabulary is in order of frequency, which Zipf's law turns into shares
        share = 1 / np.arange(2, len(tokens) + 2)
        weight = _SMOOTHING / (_SMOOTHING + share / share.sum())
        yield missing[0], np.float32((vectors - vectors.mean(axis=0)) * weight[:, None]).tobytes()

    (value,) = stored(Maker("tokens", "static", options), ["vocabulary"], compute).read()
    return np.frombuffer(value, np.float32).reshape(len(load_tokenizer(minilm)), -1)
