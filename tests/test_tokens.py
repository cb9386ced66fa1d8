"""Tokens against plain transformers, one text at a time, as vectors and as numbers; and what lies on disk."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from class_kit.errors import InputError
from class_kit.store import cache_entries, clear_cache
from class_kit.text import embed_text
from class_kit.text import tokens as text_tokens_module
from class_kit.text.tokens import TextTokens, text_ids, text_tokens
from tests.tiny_bert import one_by_one, write_bert

TEXTS = [
    "the molecule is an acid",
    "water",
    "the steroid ester as a water " * 3,
    "the molecule is an acid",
    "α \U0001f9ea",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_bert(tmp_path_factory.mktemp("tiny")))


def rows_of(tokens: TextTokens) -> list[np.ndarray]:
    batch = tokens.arrays(np.arange(len(tokens)))
    return [row[mask] for row, mask in zip(batch["tokens"], batch["mask"], strict=True)]


def test_tokens_equal_plain_transformers_without_the_special_ones(tiny: Path) -> None:
    exact, rounded = text_tokens(TEXTS, tiny, dtype="float32"), text_tokens(TEXTS, tiny)
    assert [tokens.tokens.take(np.array([0])).dtype for tokens in (exact, rounded)] == [np.float32, np.float16]
    for row, (one, rough) in enumerate(zip(rows_of(exact), rows_of(rounded), strict=True)):
        states, names = one_by_one(tiny, TEXTS[row], 128)
        assert (names[0], names[-1]) == ("[CLS]", "[SEP]")
        np.testing.assert_allclose(one, states[1:-1], rtol=0, atol=5e-6)
        np.testing.assert_allclose(rough, states[1:-1], rtol=6e-4, atol=1e-5)
    # a character that the vocabulary does not have is part of the text
    assert names == ["[CLS]", "[UNK]", "[UNK]", "[SEP]"]
    np.testing.assert_array_equal(exact.arrays(np.arange(5))["sentence"], embed_text(TEXTS, tiny))


def test_numbers_say_which_tokens_are_the_texts_own(tiny: Path) -> None:
    batch = text_ids(["the acid", "\u200b\u200b", "water"], tiny).take(np.array([0, 1, 2]))
    words = (tiny / "vocab.txt").read_text().split()
    read = [[words[one] for one in row] for row in batch.ids.tolist()]
    assert read == [
        ["[CLS]", "the", "acid", "[SEP]"],
        ["[CLS]", "[SEP]", "[PAD]", "[PAD]"],
        ["[CLS]", "water", "[SEP]", "[PAD]"],
    ]
    assert batch.real.tolist() == [[True] * 4, [True, True, False, False], [True, True, True, False]]
    # a text of which the tokenizer leaves nothing has its first special token as its own
    assert batch.own.tolist() == [[False, True, True, False], [True, False, False, False], [False, True, False, False]]
    states, _ = one_by_one(tiny, "\u200b\u200b", 128)
    kept = rows_of(text_tokens(["the acid", "\u200b\u200b"], tiny, dtype="float32"))[1]
    np.testing.assert_allclose(kept, states[:1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("read", [text_tokens, text_ids])
def test_long_texts_are_truncated_and_counted(read: Any, tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = ["the acid", "the " * 50, "is acid " * 20]
    for _ in range(2):  # computed, then from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = read(texts, tiny, max_tokens=20)
        assert "2 longer than 20 and truncated" in caplog.text
    if read is text_tokens:
        assert list(map(len, rows_of(found))) == [2, 18, 18]
        # sentence vectors are read to the 256 tokens of embed_text
        np.testing.assert_array_equal(found.arrays(np.arange(3))["sentence"], embed_text(texts, tiny))
    else:
        assert found.take(np.arange(3)).own.sum(1).tolist() == [2, 18, 18]
    caplog.clear()
    read(texts, tiny)
    assert caplog.text == ""


def test_kept_tokens_are_left_on_disk_and_need_no_model(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = text_tokens(TEXTS, tiny)
    (entry,) = cache_entries("tokens")
    # equal texts are one item
    assert entry.items == len(first.tokens) == 4

    def not_again(*_: object) -> None:
        raise AssertionError("loaded although the result is stored")

    monkeypatch.setattr(text_tokens_module, "load_encoder", not_again)
    assert text_tokens(TEXTS, tiny).digest == first.digest
    turn = [4, 3, 2, 1, 0, 1]
    for row, one in zip(turn, rows_of(text_tokens([TEXTS[row] for row in turn], tiny)), strict=True):
        np.testing.assert_array_equal(one, rows_of(first)[row])
    for options in ({"texts": ["new"]}, {"max_tokens": 10}, {"dtype": "float32"}, {"cache": False}):
        with pytest.raises(AssertionError, match="loaded although"):
            text_tokens(**{"texts": TEXTS, "encoder": tiny, **options})
    assert clear_cache("tokens") == (1, entry.size)
    with pytest.raises(InputError, match="cleared or damaged while it was in use"):
        rows_of(first)


def test_values_that_a_type_cannot_hold_are_refused(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    place = tmp_path / "large"
    shutil.copytree(tiny, place)
    weights = load_file(place / "model.safetensors")
    (name,) = (name for name in weights if name.endswith("layer.1.output.LayerNorm.weight"))
    for factor, dtype, read in ((1e6, "float16", text_tokens), (np.nan, "float32", text_tokens), (1, "", embed_text)):
        weights[name] *= factor
        save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError, match=f"which {dtype} cannot hold" if dtype else "not finite, first for 'the"):
            read(TEXTS, place, **({"dtype": dtype} if dtype else {}))
    weights[name] = 1e6 * load_file(tiny / "model.safetensors")[name]
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    assert max(np.abs(one).max() for one in rows_of(text_tokens(TEXTS, place, dtype="float32"))) > 1e5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"texts": []}, "texts is empty"),
        ({"dtype": "bfloat16"}, "dtype='bfloat16': expected one of float16, float32"),
        ({"max_tokens": 2}, "max_tokens"),
        ({"max_tokens": 301}, "reads at most 300"),
        ({"device": "abacus"}, "device is 'abacus'"),
        ({"encoder": "nobody"}, "text encoder 'nobody'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str, tiny: Path) -> None:
    with pytest.raises(InputError, match=message):
        text_tokens(**{"texts": TEXTS, "encoder": tiny, **options})
