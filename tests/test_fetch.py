"""Whole releases: fetched or copied, verified, continued where they broke off, with a way out in every error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from class_kit import fetch as fetch_module
from class_kit.errors import InputError
from class_kit.fetch import fetch, hub
from class_kit.fetch.downloads import FetchError
from class_kit.fetch.folders import data_home, find_folder
from class_kit.fetch.releases import PINNED, PinnedFile
from tests.misbehaving_server import BLOB, CONTENT, server

__all__ = ["server"]


@pytest.fixture
def release(monkeypatch, server):
    """Three pinned files of the same content; the repository is the server's way of answering."""

    def pin(*kinds):
        names = ("train.txt", "validation.txt", "test.txt")
        files = tuple(
            PinnedFile(kind, "commit", f"folder/{name}", BLOB) for kind, name in zip(kinds, names, strict=True)
        )
        monkeypatch.setitem(PINNED, "chebi20", files)
        return {"base": server.address, "pause": 0.0, "attempts": 2, "timeout": 2.0}

    return pin


def test_fetch_puts_all_files_in_place_and_skips_them_next_time(server, release, tmp_path):
    options = release("good", "good", "good")
    first = fetch("chebi20", folder=tmp_path / "data", **options)
    assert first.new == ("train.txt", "validation.txt", "test.txt")
    assert Path(first) == tmp_path / "data"
    requests = sum(server.seen.values())
    (tmp_path / "data" / "test.txt").write_bytes(b"damaged")
    second = fetch("chebi20", folder=tmp_path / "data", **options)
    assert second.present == ("train.txt", "validation.txt")
    assert second.new == ("test.txt",)
    assert sum(server.seen.values()) == requests + 1
    assert "already there: train.txt, validation.txt" in str(second)


def test_fetch_keeps_what_is_complete_and_says_how_to_go_on(server, release, tmp_path):
    options = release("404", "good", "dies")
    with pytest.raises(FetchError) as failure:
        fetch("chebi20", folder=tmp_path / "data", **options)
    said = str(failure.value)
    assert f"{server.address}/404/commit/folder/train.txt: the server answers 404" in said
    assert "/dies/commit/folder/test.txt: the connection ended" in said
    assert "complete: validation.txt" in said
    assert "class-kit fetch chebi20 --from FOLDER" in said
    assert os.listdir(tmp_path / "data") == ["validation.txt"]


def test_fetch_that_gets_nothing_leaves_no_folder(release, tmp_path):
    options = release("404", "404", "404")
    with pytest.raises(FetchError):
        fetch("chebi20", folder=tmp_path / "data", **options)
    assert os.listdir(tmp_path) == []


def test_fetch_from_a_folder_copies_what_it_has_and_names_the_rest(release, tmp_path):
    release("good", "good", "good")
    source = tmp_path / "source"
    source.mkdir()
    (source / "validation.txt").write_bytes(CONTENT)
    got = fetch("chebi20", source=source, folder=tmp_path / "data")
    assert (got.new, got.missing) == (("validation.txt",), ("train.txt", "test.txt"))
    assert "still missing: train.txt, test.txt" in str(got)
    (source / "test.txt").write_bytes(CONTENT + b"one more row\n")
    with pytest.raises(FetchError, match=r"test\.txt: got other bytes"):
        fetch("chebi20", source=source, folder=tmp_path / "data")
    assert os.listdir(tmp_path / "data") == ["validation.txt"]


def test_fetch_refuses_what_it_cannot_use(tmp_path):
    with pytest.raises(InputError, match="expected one of chebi20, mol2vec, scibert"):
        fetch("pubchem", folder=tmp_path)
    with pytest.raises(InputError, match="absent is not a folder"):
        fetch("chebi20", source=tmp_path / "absent", folder=tmp_path / "data")
    (tmp_path / "empty").mkdir()
    for what in ("chebi20", "mol2vec", "scibert"):
        with pytest.raises(InputError, match="has none of"):
            fetch(what, source=tmp_path / "empty", folder=tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is not a folder"):
        fetch("chebi20", folder=tmp_path / "file")
    assert not (tmp_path / "data").exists()


def test_addresses_of_the_published_files():
    assert PINNED["chebi20"][0].url() == (
        "https://raw.githubusercontent.com/blender-nlp/MolT5/754f9bffa4a638e2f1386d0ca19b5c3ed0a5b4aa/"
        "ChEBI-20_data/train.txt"
    )
    assert {file.name for file in PINNED["mol2vec"]} == {"token_embedding_dict.npy", "model_300dim.pkl"}


def test_real_files_are_the_pinned_ones(data_dir, tmp_path):
    got = fetch("chebi20", source=data_dir / "chebi20", folder=tmp_path / "chebi20")
    assert {"validation.txt", "test.txt"} <= set(got.new)
    vectors = fetch("mol2vec", source=data_dir / "mol2vec", folder=tmp_path / "mol2vec")
    assert "token_embedding_dict.npy" in vectors.new


# --- SciBERT, whose hub is played by a function


def fake_hub(weights, calls, fails=None):
    def snapshot(identifier, revision, folder, names, *, progress):
        calls.append((identifier, revision))
        if fails is not None:
            raise fails
        for name in ("config.json", "vocab.txt", weights):
            if name in names:
                (folder / name).write_text(name)
        (folder / ".cache").mkdir(exist_ok=True)

    return snapshot


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_scibert_prefers_safetensors_and_states_what_is_not_verified(monkeypatch, tmp_path, weights):
    calls = []
    monkeypatch.setattr(hub, "snapshot", fake_hub(weights, calls))
    got = fetch("scibert", folder=tmp_path / "scibert")
    assert set(os.listdir(tmp_path / "scibert")) == {"config.json", "vocab.txt", weights}
    assert os.listdir(tmp_path) == ["scibert"]
    assert set(calls) == {("allenai/scibert_scivocab_uncased", "24f92d32b1bfb0bcaf9ab193ff3ad01e87732fc1")}
    assert f"{weights} has sha256" in got.notes[0]
    assert "no published value is known" in got.notes[0]
    calls.clear()
    assert set(fetch("scibert", folder=tmp_path / "scibert").present) == {"config.json", "vocab.txt", weights}
    assert calls == []


@pytest.mark.parametrize("fails", [hub.HubError("OSError: no route"), hub.HubError(""), None])
def test_scibert_that_cannot_be_had_leaves_nothing(monkeypatch, tmp_path, fails):
    monkeypatch.setattr(hub, "snapshot", fake_hub("none", [], fails))
    with pytest.raises(FetchError, match="class-kit fetch scibert --from FOLDER"):
        fetch("scibert", folder=tmp_path / "scibert")
    assert os.listdir(tmp_path) == []


def test_scibert_from_a_folder(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    got = fetch("scibert", source=source, folder=tmp_path / "scibert")
    assert got.missing == ("vocab.txt", "model.safetensors or pytorch_model.bin")
    (source / "vocab.txt").write_text("a")
    (source / "pytorch_model.bin").write_text("b")
    (source / "model.safetensors").write_text("c")
    got = fetch("scibert", source=source, folder=tmp_path / "scibert")
    assert got.missing == ()
    assert set(os.listdir(tmp_path / "scibert")) == {"config.json", "vocab.txt", "model.safetensors"}


# --- folders


def test_home_folder_and_search_order(monkeypatch, tmp_path):
    monkeypatch.delenv("CLASS_KIT_HOME", raising=False)
    monkeypatch.delenv("CLASS_KIT_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert data_home() == tmp_path / "xdg" / "class-kit"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert data_home() == tmp_path / "user" / ".local" / "share" / "class-kit"
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path / "own"))
    assert data_home() == tmp_path / "own"
    for place in ("own/set", "shared/set", "shared", "named/set"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "a.txt").write_text("")
    assert find_folder("set", ["a.txt"]) == tmp_path / "own" / "set"
    monkeypatch.setenv("CLASS_KIT_DATA", str(tmp_path / "shared"))
    assert find_folder("set", ["a.txt"]) == tmp_path / "shared" / "set"
    (tmp_path / "shared" / "set" / "a.txt").unlink()
    assert find_folder("set", ["a.txt"]) == tmp_path / "shared"
    assert find_folder("set", ["a.txt"], tmp_path / "named") == tmp_path / "named" / "set"
    with pytest.raises(InputError, match="class-kit fetch set"):
        find_folder("set", ["b.txt"], tmp_path / "named")


def test_fetch_goes_to_the_home_folder(release, monkeypatch, tmp_path):
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path / "home"))
    fetch("chebi20", **release("good", "good", "good"))
    assert len(os.listdir(tmp_path / "home" / "chebi20")) == 3


def test_an_interrupt_leaves_nothing(server, release, monkeypatch, tmp_path):
    def interrupted(*values, **named):
        raise KeyboardInterrupt

    options = release("good", "good", "good")
    monkeypatch.setattr("class_kit.fetch.downloads._verify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("chebi20", folder=tmp_path / "data", **options)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_reported_as_such(server, release, monkeypatch, tmp_path):
    def full(*values):
        raise OSError(28, "No space left on device")

    options = release("good", "good", "good")
    monkeypatch.setattr("class_kit.fetch.downloads._verify", full)
    with pytest.raises(OSError, match="No space left"):
        fetch("chebi20", folder=tmp_path / "data", **options)
    assert os.listdir(tmp_path) == []


def test_importing_loads_no_hub_client():
    code = "import sys, class_kit.fetch; print('huggingface_hub' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    assert fetch_module.RELEASES == ("chebi20", "mol2vec", "scibert")
