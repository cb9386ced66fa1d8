"""A tiny BERT with random weights, and texts for it: what tests of text encoders share."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

WORDS = ["the", "molecule", "is", "an", "acid", "ester", "steroid", "role", "as", "water", "sugar", "ring", "chain"]


def write_bert(place: Path, dropout: float = 0.0, seed: int = 0) -> str:
    """A BERT of two narrow layers; its vocabulary is a few words and all letters."""
    from transformers import BertConfig, BertModel

    letters = [chr(code) for code in range(97, 123)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{one}" for one in letters)]
    (place / "vocab.txt").write_text("\n".join(words) + "\n")
    torch.manual_seed(seed)
    BertModel(
        BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=300,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            initializer_range=0.3,
        )
    ).save_pretrained(place)
    return str(place)


@lru_cache
def _plain_transformers(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


def one_by_one(folder: Path, text: str, max_tokens: int) -> tuple[np.ndarray, list[str]]:
    """Last hidden states of one text by plain transformers, those of special tokens included, and the tokens."""
    tokenizer, model = _plain_transformers(folder)
    read = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
    with torch.no_grad():
        return model(**read)[0][0].numpy(), tokenizer.convert_ids_to_tokens(read["input_ids"][0])


def texts(count: int = 24) -> list[str]:
    rng = np.random.default_rng(3)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 20))) for _ in range(count)]
