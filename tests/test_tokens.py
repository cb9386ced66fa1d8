"""Token vectors against plain transformers, one text at a time; truncation, equal texts, and what lies on disk."""

from __future__ import annotations

import logging
import pickle
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.backbones.base import TokenBatch
from class_kit.errors import InputError
from class_kit.store import cache_entries, clear_cache
from class_kit.text import embed_text
from class_kit.text import encoders as text_encoders
from class_kit.text import tokens as text_tokens_module
from class_kit.text.tokens import TextTokens, text_tokens
from tests.test_text import tiny

__all__ = ["tiny"]

TEXTS = [
    "The molecule is a monocarboxylic acid.",
    "Water.",
    "The molecule is a steroid ester, it has a role as an androgen and derives from a testosterone; " * 3,
    "The molecule is a monocarboxylic acid.",
    "α-D-glucose \U0001f9ea, a hexopyranose!",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("CLASS_KIT_CACHE", str(place))
    return place


@lru_cache
def plain_transformers(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


def states_of(folder: Path, text: str, max_tokens: int = 128) -> tuple[np.ndarray, list[str]]:
    """Last hidden states of a text, those of special tokens included, and the tokens."""
    import torch

    tokenizer, model = plain_transformers(folder)
    read = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
    with torch.no_grad():
        return model(**read)[0][0].numpy(), tokenizer.convert_ids_to_tokens(read["input_ids"][0])


def rows_of(tokens: TextTokens) -> list[np.ndarray]:
    batch = tokens.arrays(np.arange(len(tokens)))
    return [row[mask] for row, mask in zip(batch["tokens"], batch["mask"], strict=True)]


def test_minilm_tokens_equal_plain_transformers_without_the_special_ones() -> None:
    place = text_encoders.find_encoder("minilm").folder
    exact, rounded = text_tokens(TEXTS, dtype="float32"), text_tokens(TEXTS)
    assert [tokens.tokens.take(np.array([0])).dtype for tokens in (exact, rounded)] == [np.float32, np.float16]
    sentences = embed_text(TEXTS)
    for row, (one, rough) in enumerate(zip(rows_of(exact), rows_of(rounded), strict=True)):
        states, names = states_of(place, TEXTS[row])
        assert (names[0], names[-1]) == ("[CLS]", "[SEP]")
        np.testing.assert_allclose(one, states[1:-1], rtol=0, atol=5e-6)
        np.testing.assert_allclose(rough, states[1:-1], rtol=6e-4, atol=1e-5)
        # MiniLM's sentence vector is the mean over all states, those of the special tokens among them
        whole = np.vstack([states[:1], one, states[-1:]])
        np.testing.assert_allclose(whole.mean(0), sentences[row], rtol=0, atol=2e-6)
    # a character that the vocabulary does not have is part of the text
    assert "[UNK]" in states_of(place, TEXTS[4])[1]


def test_a_batch_is_padded_with_zeros_and_masked(tiny: Path) -> None:
    tokens = text_tokens(TEXTS, tiny)
    single = rows_of(tokens)
    batch = tokens.arrays(np.array([1, 4, 1]))
    assert set(batch) == {field.name for field in fields(TokenBatch)}
    assert {name: array.dtype for name, array in batch.items()} == {
        "sentence": np.float32,
        "tokens": np.float32,
        "mask": np.bool_,
    }
    lengths = [len(single[row]) for row in (1, 4, 1)]
    assert batch["tokens"].shape == (3, max(lengths), 32)
    assert batch["mask"].tolist() == [[at < length for at in range(max(lengths))] for length in lengths]
    for at, row in enumerate((1, 4, 1)):
        np.testing.assert_array_equal(batch["tokens"][at, : lengths[at]], single[row])
        assert not batch["tokens"][at, lengths[at] :].any()
    np.testing.assert_array_equal(batch["sentence"], embed_text(TEXTS, tiny)[[1, 4, 1]])


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_taking_from_a_subset_is_taking_from_the_whole(tokens_of_many: TextTokens, data: st.DataObject) -> None:
    number = st.integers(0, len(tokens_of_many) - 1)
    rows = np.array(data.draw(st.lists(number, min_size=1, max_size=12)))
    some = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6)))
    found, expected = tokens_of_many.subset(rows).arrays(some), tokens_of_many.arrays(rows[some])
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    singles = [tokens_of_many.arrays(rows[at : at + 1])["tokens"][0] for at in some]
    for row, mask, single in zip(found["tokens"], found["mask"], singles, strict=True):
        np.testing.assert_array_equal(row[mask], single)


@pytest.fixture(scope="module")
def tokens_of_many(tiny: Path) -> TextTokens:
    many = [f"the molecule is {'an acid ' * (number % 20)}{number % 37}" for number in range(80)]
    return text_tokens(many, tiny, cache=False)


def test_long_texts_are_truncated_and_counted(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = ["the acid", "the " * 50, "is acid " * 20]
    for _ in range(2):  # computed, then from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = text_tokens(texts, tiny, max_tokens=20)
        assert "2 longer than 20 and truncated" in caplog.text
    assert list(map(len, rows_of(found))) == [2, 18, 18]
    np.testing.assert_allclose(rows_of(found)[2], states_of(tiny, texts[2], 20)[0][1:-1], rtol=1e-3, atol=1e-3)
    # sentence vectors are read to the 256 tokens of embed_text
    np.testing.assert_array_equal(found.arrays(np.arange(3))["sentence"], embed_text(texts, tiny))
    caplog.clear()
    assert list(map(len, rows_of(text_tokens(texts, tiny)))) == [2, 50, 40]
    assert caplog.text == ""


def test_a_text_that_the_tokenizer_empties_keeps_one_token(tiny: Path) -> None:
    nothing = "\u200b\u200b"
    states, names = states_of(tiny, nothing)
    assert names == ["[CLS]", "[SEP]"]
    first, second = rows_of(text_tokens(["the acid", nothing], tiny, dtype="float32"))
    assert len(first) == 2
    np.testing.assert_allclose(second, states[:1], rtol=0, atol=1e-6)


def test_equal_texts_are_stored_once_and_their_order_changes_nothing(tiny: Path) -> None:
    first = text_tokens(TEXTS, tiny)
    assert len(first.tokens) == 4
    assert len(first) == 5
    np.testing.assert_array_equal(rows_of(first)[0], rows_of(first)[3])
    turn = [4, 3, 2, 1, 0, 1]
    turned = text_tokens([TEXTS[row] for row in turn], tiny)
    assert len(cache_entries("tokens")) == 1
    for row, one in zip(turn, rows_of(turned), strict=True):
        np.testing.assert_array_equal(one, rows_of(first)[row])


def test_kept_tokens_are_left_on_disk_and_need_no_model(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = text_tokens(TEXTS, tiny)
    (entry,) = cache_entries("tokens")
    assert entry.items == 4
    assert len(pickle.dumps(first.tokens)) < 1_000

    def not_again(*_: object) -> None:
        raise AssertionError("loaded although the result is stored")

    monkeypatch.setattr(text_tokens_module, "load_encoder", not_again)
    again = text_tokens(TEXTS, tiny)
    assert again.digest == first.digest
    for one, other in zip(rows_of(again), rows_of(first), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(rows_of(text_tokens(TEXTS[:2], tiny))[1], rows_of(first)[1])
    different: list[dict[str, Any]] = [
        {"texts": [*TEXTS, "new"]},
        {"max_tokens": 10},
        {"dtype": "float32"},
        {"cache": False},
        {"encoder": "minilm"},
    ]
    for options in different:
        with pytest.raises(AssertionError, match="loaded although"):
            text_tokens(**{"texts": TEXTS, "encoder": tiny, **options})
    assert clear_cache("tokens") == (1, entry.size)
    with pytest.raises(InputError, match="cleared or damaged while it was in use"):
        rows_of(first)


def test_tokens_know_their_size_and_a_subset_its_own(tiny: Path) -> None:
    tokens = text_tokens(["the acid", "acid", "the acid"], tiny)
    assert (len(tokens), tokens.width) == (3, 32)
    assert str(tokens) == repr(tokens) == "3 texts, 2 distinct: 5 tokens of width 32"
    part = tokens.subset(np.array([0, 2]))
    assert str(part) == "2 texts, 1 distinct: 4 tokens of width 32"
    assert part.tokens is tokens.tokens
    assert len({tokens.digest, part.digest, tokens.subset(np.array([2, 1])).digest}) == 3
    with pytest.raises(InputError, match="row 3 is out of range: expected 0 to 2"):
        tokens.take(np.array([0, 3]))
    with pytest.raises(InputError, match="rows of shape"):
        tokens.subset(np.array([], int))


def test_values_that_float16_cannot_hold_are_refused(tiny: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    place = tmp_path / "large"
    shutil.copytree(tiny, place)
    weights = load_file(place / "model.safetensors")
    (name,) = (name for name in weights if name.endswith("layer.1.output.LayerNorm.weight"))
    weights[name] *= 1e6
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="more than float16 holds: expected dtype='float32'"):
        text_tokens(TEXTS, place)
    assert max(np.abs(one).max() for one in rows_of(text_tokens(TEXTS, place, dtype="float32"))) > 1e5
    weights[name] *= np.nan
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="gives values that are not finite, first for"):
        text_tokens(TEXTS, place)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"texts": []}, "texts is empty"),
        ({"texts": ["a", " "]}, r"texts\[1\] is ' '"),
        ({"dtype": "bfloat16"}, "dtype is 'bfloat16': expected one of float16, float32"),
        ({"max_tokens": 2}, "max_tokens"),
        ({"max_tokens": 301}, "reads at most 300"),
        ({"batch_size": 0}, "batch_size"),
        ({"device": "abacus"}, "device is 'abacus'"),
        ({"encoder": "nobody"}, "text encoder 'nobody'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str, tiny: Path) -> None:
    with pytest.raises(InputError, match=said):
        text_tokens(**{"texts": TEXTS, "encoder": tiny, **options})
