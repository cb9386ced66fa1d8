"""Fetching from servers that misbehave: what arrives is verified, what fails leaves nothing and says how to go on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from class_kit import fetch as module
from class_kit.errors import InputError
from class_kit.fetch import (
    PINNED,
    SCIBERT_ID,
    SCIBERT_REVISION,
    FetchError,
    PinnedFile,
    data_home,
    download,
    fetch,
    find_folder,
    git_blob_id,
)
from tests.misbehaving_server import BLOB, CONTENT, HubHandler, hub, running, server, without_proxy

__all__ = ["hub", "server", "without_proxy"]

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    for name, value in {"PAUSE_S": 0.0, "ATTEMPTS": 3, "TIMEOUT_S": 5.0}.items():
        monkeypatch.setattr(module, name, value)


def get(server, kind, target):
    download(f"{server.address}/{kind}/train.txt", target, BLOB)


# --- one file


@pytest.mark.parametrize(
    ("content", "blob"),
    [(b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"), (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a")],
)
def test_blob_id_equals_git(tmp_path, content, blob):
    (tmp_path / "a").write_bytes(content)
    assert git_blob_id(tmp_path / "a") == blob


@pytest.mark.parametrize(
    ("kind", "asked"),
    [("good", 1), ("nolength", 1), ("zipped", 1), ("togood", 2), ("flaky", 3), ("recovers", 3), ("portal", 3)],
)
def test_a_whole_file_gets_its_name_whatever_came_before(server, tmp_path, kind, asked):
    (tmp_path / "train.txt").write_bytes(b"older")
    get(server, kind, tmp_path / "train.txt")
    assert (tmp_path / "train.txt").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["train.txt"]
    assert sum(server.seen.values()) == asked


@pytest.mark.parametrize(
    ("kind", "words", "attempts"),
    [
        ("truncated", "got other bytes, 1,000 bytes with git blob id", 3),
        ("dies", "Connection broken", 3),
        ("short", "got other bytes, 10 bytes", 3),
        ("empty", "got other bytes, 0 bytes", 3),
        ("chunks", "Connection broken", 3),
        ("wrong", f"expected {BLOB}", 3),
        ("html", "got a web page", 3),
        ("garbage", "Connection aborted", 3),
        ("503", "503 Server Error", 3),
        ("429", "429 Client Error", 3),
        ("404", "404 Client Error", 1),
        ("403", "403 Client Error", 1),
        ("loop", "Exceeded 30 redirects", 1),
        ("tofile", "file:///etc/passwd", 3),
    ],
)
def test_trouble_is_told_once_it_will_not_pass_and_the_older_file_stays(server, tmp_path, kind, words, attempts):
    (tmp_path / "train.txt").write_bytes(b"older")
    with pytest.raises(FetchError) as failure:
        get(server, kind, tmp_path / "train.txt")
    message = str(failure.value)
    assert words in message
    assert f"/{kind}/train.txt" in message
    assert message.endswith(f"({attempts} attempt{'s' * (attempts > 1)})")
    assert os.listdir(tmp_path) == ["train.txt"]
    assert (tmp_path / "train.txt").read_bytes() == b"older"


def test_a_stall_is_given_up_in_time(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    started = time.monotonic()
    with pytest.raises(FetchError, match="timed out"):
        get(server, "slowly", tmp_path / "train.txt")
    assert time.monotonic() - started < 5
    assert os.listdir(tmp_path) == []


def test_waiting_doubles_before_each_further_attempt(without_proxy, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(module, "PAUSE_S", 1.0)
    monkeypatch.setattr(module.time, "sleep", waited.append)
    with running() as server:
        address = server.address
    with pytest.raises(FetchError, match="refused"):
        download(f"{address}/good/train.txt", tmp_path / "train.txt", BLOB)
    assert waited == [1.0, 2.0]


@pytest.mark.parametrize("target", ["http://host/train.txt", "ftp://host/a", "file:///etc/passwd"])
def test_encryption_is_not_given_up_on_the_way(tmp_path, monkeypatch, target):
    asked = []

    def send(adapter, request, **options):
        asked.append(request.url)
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = 302, request.url, request
        answer.headers["Location"] = "https://other/train.txt" if len(asked) == 1 else target
        return answer

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", send)
    with pytest.raises(FetchError, match=f"refused to follow a redirect to '{target}' .1 attempt."):
        download("https://host/train.txt", tmp_path / "train.txt", BLOB)
    assert asked == ["https://host/train.txt", "https://other/train.txt"]
    assert os.listdir(tmp_path) == []


# --- whole releases


@pytest.fixture
def release(monkeypatch, server):
    """Three pinned files of the same content; the repository is the server's way of answering."""

    def pin(*kinds):
        names = ("train.txt", "validation.txt", "test.txt")
        files = (PinnedFile(kind, "commit", f"folder/{name}", BLOB) for kind, name in zip(kinds, names, strict=True))
        monkeypatch.setitem(PINNED, "chebi20", tuple(files))
        return {"base": server.address}

    return pin


def test_fetch_puts_all_files_in_the_home_folder_and_skips_them_next_time(server, release, tmp_path, monkeypatch):
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path))
    options = release("good", "good", "good")
    first = fetch("chebi20", **options)
    assert first.new == ("train.txt", "validation.txt", "test.txt")
    assert Path(first) == tmp_path / "chebi20"
    asked = sum(server.seen.values())
    (tmp_path / "chebi20" / "test.txt").write_bytes(b"damaged")
    second = fetch("chebi20", **options)
    assert second.present == ("train.txt", "validation.txt")
    assert second.new == ("test.txt",)
    assert sum(server.seen.values()) == asked + 1
    assert "already there: train.txt, validation.txt" in str(second)


def test_fetch_keeps_what_is_complete_and_says_how_to_go_on(server, release, tmp_path):
    with pytest.raises(FetchError) as failure:
        fetch("chebi20", folder=tmp_path / "data", **release("404", "good", "dies"))
    message = str(failure.value)
    assert f"{server.address}/404/commit/folder/train.txt: 404 Client Error" in message
    assert "/dies/commit/folder/test.txt: (" in message
    assert "complete: validation.txt" in message
    assert "class-kit fetch chebi20 --from FOLDER" in message
    assert os.listdir(tmp_path / "data") == ["validation.txt"]
    with pytest.raises(FetchError):
        fetch("chebi20", folder=tmp_path / "none", **release("404", "404", "404"))
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupt_and_a_full_disk_leave_nothing(release, monkeypatch, tmp_path, failure):
    def fail(*values):
        raise failure

    monkeypatch.setattr(module, "_verify", fail)
    with pytest.raises(type(failure)):
        fetch("chebi20", folder=tmp_path / "data", **release("good", "good", "good"))
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
    with pytest.raises(FetchError, match=r"source/test\.txt: got other bytes"):
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


# --- SciBERT


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_scibert_prefers_safetensors_and_states_what_is_not_verified(monkeypatch, tmp_path, weights):
    calls = []

    def snapshot(folder, names, progress):
        calls.append(names)
        for name in {"config.json", "vocab.txt", weights}.intersection(names):
            (folder / name).write_text(name)
        (folder / ".cache").mkdir(exist_ok=True)

    monkeypatch.setattr(module, "_snapshot", snapshot)
    got = fetch("scibert", folder=tmp_path / "scibert")
    assert set(os.listdir(tmp_path / "scibert")) == {"config.json", "vocab.txt", weights}
    assert os.listdir(tmp_path) == ["scibert"]
    assert f"{weights} has sha256" in got.notes[0]
    assert "no published value is known" in got.notes[0]
    calls.clear()
    assert set(fetch("scibert", folder=tmp_path / "scibert").present) == {"config.json", "vocab.txt", weights}
    assert calls == []


def test_scibert_from_a_folder(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    got = fetch("scibert", source=source, folder=tmp_path / "scibert")
    assert got.missing == ("vocab.txt", "model.safetensors or pytorch_model.bin")
    for name in ("vocab.txt", "pytorch_model.bin", "model.safetensors"):
        (source / name).write_text(name)
    got = fetch("scibert", source=source, folder=tmp_path / "scibert")
    assert got.missing == ()
    assert set(os.listdir(tmp_path / "scibert")) == {"config.json", "vocab.txt", "model.safetensors"}


# what the hub does, and a pattern for what the user reads, in the words of old clients and new ones
TROUBLES = {
    "dies": "closed|broken|Consistency check failed",
    "short": "Consistency check failed",
    "slowly": "timed out",
    "list-html": "JSON",
    "list-404": "404|locate the files",
    "500": "500",
}
BY_HAND = (
    f"{SCIBERT_ID} at {SCIBERT_REVISION}: ",
    "Run `class-kit fetch scibert` again, or download config.json, vocab.txt and model.safetensors",
    f"with a browser from https://huggingface.co/{SCIBERT_ID}/tree/{SCIBERT_REVISION} into a folder",
    "`class-kit fetch scibert --from FOLDER`",
)


def test_a_hub_gives_the_model_or_one_line_that_says_how_to_go_on(hub, tmp_path):
    """All at once, since most of the time is spent waiting for a server that says nothing."""

    def fetched(kind):
        return subprocess.run(
            [sys.executable, "-m", "class_kit", "fetch", "scibert", "--folder", str(tmp_path / kind / "scibert")],
            cwd=tmp_path,
            env={**os.environ, "HF_ENDPOINT": f"{hub.address}/{kind}", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    with ThreadPoolExecutor(4) as pool:
        ended = dict(zip([*TROUBLES, "good"], pool.map(fetched, [*TROUBLES, "good"]), strict=True))
    good = ended.pop("good")
    assert (good.returncode, good.stderr) == (0, "")
    files = {path.name: path.read_bytes() for path in (tmp_path / "good" / "scibert").iterdir()}
    assert files == dict.fromkeys(HubHandler.FILES, CONTENT)
    assert os.listdir(tmp_path / "good") == ["scibert"]
    assert all(SCIBERT_REVISION in path for path in hub.seen if "/good/" in path)
    for kind, done in ended.items():
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), (kind, done.stderr)
        assert [words for words in BY_HAND if words not in done.stderr] == [], (kind, done.stderr)
        assert re.search(TROUBLES[kind], done.stderr), (kind, done.stderr)
        assert os.listdir(tmp_path / kind) == [], kind


# --- processes


PROGRAM = """
import sys
from class_kit import cli, fetch
kind, base, blob = sys.argv[1:4]
fetch.PINNED["chebi20"] = tuple(
    fetch.PinnedFile(kind, "c", name, blob) for name in ("train.txt", "validation.txt", "test.txt")
)
fetch.PAUSE_S = 0.0
fetch.fetch.__kwdefaults__.update(base=base)
sys.exit(cli.main(["fetch", "chebi20", "--folder", sys.argv[4]]))
"""


def start_fetch(server, kind, folder):
    command = [sys.executable, "-c", PROGRAM, kind, server.address, BLOB, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def test_two_processes_at_once_end_well(server, tmp_path):
    started = [start_fetch(server, "good", tmp_path / "data") for _ in range(2)]
    for process in started:
        said, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert str(tmp_path / "data") in said
    assert sorted(os.listdir(tmp_path / "data")) == ["test.txt", "train.txt", "validation.txt"]
    assert {path.read_bytes() for path in (tmp_path / "data").iterdir()} == {CONTENT}


def test_threads_at_once_end_well(server, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: get(server, "good", tmp_path / "train.txt"), range(4))) == [None] * 4
    assert os.listdir(tmp_path) == ["train.txt"]
    assert (tmp_path / "train.txt").read_bytes() == CONTENT


def test_a_killed_fetch_goes_on_and_clears_up(server, tmp_path):
    process = start_fetch(server, "slowly", tmp_path / "data")
    assert server.begun.wait(60)
    (left,) = os.listdir(tmp_path / "data")
    assert left.startswith(".train.txt.")
    process.kill()
    process.communicate(timeout=60)
    assert os.listdir(tmp_path / "data") == [left]
    server.released.set()
    again = start_fetch(server, "slowly", tmp_path / "data")
    assert again.communicate(timeout=60)[1] == ""
    assert again.returncode == 0
    assert sorted(os.listdir(tmp_path / "data")) == ["test.txt", "train.txt", "validation.txt"]


def test_the_command_says_in_one_line_how_to_go_on_by_hand(server, tmp_path):
    process = start_fetch(server, "html", tmp_path / "data")
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (2, "")
    assert errors.count("\n") == 1
    for words in (
        f"{server.address}/html/c/train.txt: got a web page",
        f"expected {BLOB} (4 attempts)",
        "Run `class-kit fetch chebi20` again",
        "class-kit fetch chebi20 --from FOLDER",
    ):
        assert words in errors
    assert os.listdir(tmp_path) == []


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


def test_importing_loads_no_client():
    code = "import sys, class_kit.fetch; print({'huggingface_hub', 'torch', 'pooch', 'requests'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()"]
