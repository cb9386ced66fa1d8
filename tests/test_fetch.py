"""Fetching from servers that misbehave: what arrives is verified, what fails leaves nothing and says how to go on."""

import gzip
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from class_kit import fetch as module
from class_kit.errors import InputError
from class_kit.fetch import PINNED, FetchError, data_home, fetch, find_folder, obtain
from tests.faulty_places import free_port

# --- a local web server that misbehaves on request: the first part of the path says how

CONTENT = b"CID\tSMILES\tdescription\n" + b"1\tC\tmethane\n" * 20_000
BLOB = hashlib.sha1(f"blob {len(CONTENT)}\0".encode() + CONTENT).hexdigest()
ZIPPED = gzip.compress(CONTENT)

# What is sent: the length told (None tells none), the body, and further headers. Without a length the end of the
# connection looks like the end of the file.
ANSWERS = {
    "good": (len(CONTENT), CONTENT, {}),
    "zipped": (len(ZIPPED), ZIPPED, {"Content-Encoding": "gzip"}),
    "truncated": (None, CONTENT[:1000], {}),
    "dies": (len(CONTENT), CONTENT[:100_000], {}),
    "html": (None, b"<!DOCTYPE html><title>Please sign in</title>", {"Content-Type": "text/html"}),
}


class Handler(BaseHTTPRequestHandler):
    """Answers as the first part of the path says; `server.seen` counts requests by path."""

    def log_message(self, *values):
        pass

    def do_GET(self):
        self.server.seen[self.path] += 1
        kind = self.path.split("/")[1]
        if kind.isdigit():
            self.send_error(int(kind))
        elif kind == "moved":
            self.answer(302, 0, b"", {"Location": "/good/again"})
        elif kind == "slowly":
            self.answer(200, len(CONTENT), CONTENT[:100_000], {})
            self.server.begun.set()
            self.server.released.wait(10)
            self.wfile.write(CONTENT[100_000:])
        else:
            self.answer(200, *ANSWERS[kind])

    def answer(self, code, length, body, headers):
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # a client that gives up in the middle is what these tests are about
        pass


@contextmanager
def running(handler=Handler) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), handler)
    server.seen = Counter()
    server.released, server.begun = threading.Event(), threading.Event()
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with running() as each:
        yield each


# --- the tests


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_S", 1.0)


# --- one file


@pytest.mark.parametrize(("kind", "asked"), [("good", 1), ("zipped", 1), ("moved", 2)])
def test_a_whole_file_gets_its_name_whatever_came_before(server, tmp_path, kind, asked):
    (tmp_path / "train.txt").write_bytes(b"older")
    obtain(f"{server.address}/{kind}/train.txt", tmp_path / "train.txt", BLOB)
    assert (tmp_path / "train.txt").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["train.txt"]
    assert sum(server.seen.values()) == asked


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "got other content of 1,000 bytes with git blob id"),
        ("dies", "Connection broken"),
        ("html", "got a web page of 44 bytes"),
        ("slowly", "timed out"),
        ("503", "503 Server Error"),
        ("404", "404 Client Error"),
    ],
)
def test_trouble_that_does_not_pass_is_told_and_the_older_file_stays(server, tmp_path, kind, words):
    (tmp_path / "train.txt").write_bytes(b"older")
    address = f"{server.address}/{kind}/train.txt"
    with pytest.raises(FetchError) as failure:
        obtain(address, tmp_path / "train.txt", BLOB)
    assert str(failure.value).startswith(f"{address}: ")
    assert words in str(failure.value)
    assert os.listdir(tmp_path) == ["train.txt"]
    assert (tmp_path / "train.txt").read_bytes() == b"older"


class ProxyHandler(Handler):
    def do_CONNECT(self):
        self.server.seen[self.path] += 1
        self.send_error(403, "not from here")


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("model", [True, False])
def test_a_proxy_that_refuses_is_named_at_once_and_its_password_is_not(there, model, server, tmp_path, monkeypatch):
    with running(ProxyHandler) as proxy:
        place = f"127.0.0.1:{proxy.server_port if there else free_port()}"
        monkeypatch.setenv("HTTPS_PROXY", f"http://name:secret@{place}")
        get = partial(obtain, "https://example.org/train.txt", tmp_path / "train.txt", BLOB)
        if model:
            get = partial(fetch, "scibert", folder=tmp_path / "scibert")
        with pytest.raises(FetchError, match=rf"through the proxy {place} .*(not from|refused)") as told:
            get()
        assert sum(proxy.seen.values()) == there
    assert "secret" not in str(told.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# --- whole releases


@pytest.fixture
def release(monkeypatch, server):
    """Three pinned files of the same content, of a repository that answers in each one's way."""

    def pin(*kinds):
        names = ("train.txt", "validation.txt", "test.txt")
        files = {
            name: (f"{server.address}/{kind}/commit/folder", BLOB, "") for kind, name in zip(kinds, names, strict=True)
        }
        monkeypatch.setitem(PINNED, "chebi20", files)

    return pin


def test_fetch_puts_all_files_in_the_home_folder_and_skips_them_next_time(server, release, tmp_path, monkeypatch):
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path))
    release("good", "good", "good")
    first = fetch("chebi20")
    assert (first.folder, first.new) == (tmp_path / "chebi20", ("train.txt", "validation.txt", "test.txt"))
    asked = sum(server.seen.values())
    (tmp_path / "chebi20" / "test.txt").write_bytes(b"damaged")
    second = fetch("chebi20")
    assert (second.present, second.new) == (("train.txt", "validation.txt"), ("test.txt",))
    assert sum(server.seen.values()) == asked + 1
    assert "already there: train.txt, validation.txt" in str(second)


def test_the_command_keeps_what_is_complete_and_says_in_one_line_how_to_go_on(server, release, tmp_path, kit):
    release("good", "html", "good")
    line = kit("fetch", "chebi20", "--folder", tmp_path / "data", code=2)
    for words in (
        f"{server.address}/html/commit/folder/validation.txt: got a web page",
        f"expected {BLOB}. Run `class-kit fetch chebi20` again to continue, or download",
        "class-kit fetch chebi20 --from FOLDER",
    ):
        assert words in line
    assert os.listdir(tmp_path / "data") == ["train.txt"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupt_and_a_full_disk_leave_nothing(release, monkeypatch, tmp_path, failure):
    def fail(*values):
        raise failure

    release("good", "good", "good")
    monkeypatch.setattr(module, "git_blob_id", fail)
    with pytest.raises(type(failure)):
        fetch("chebi20", folder=tmp_path / "data")
    assert os.listdir(tmp_path / "data") == []


def test_fetch_from_a_folder_copies_what_it_has_and_names_the_rest(release, tmp_path):
    release("good", "good", "good")
    source = tmp_path / "source"
    source.mkdir()
    (source / "validation.txt").write_bytes(CONTENT)
    got = fetch("chebi20", source=source, folder=tmp_path / "data")
    assert (got.new, got.missing) == (("validation.txt",), ("train.txt", "test.txt"))
    assert "still missing: train.txt, test.txt" in str(got)
    (source / "test.txt").write_bytes(CONTENT + b"one more row\n")
    with pytest.raises(FetchError, match=r"source/test\.txt: got other content"):
        fetch("chebi20", source=source, folder=tmp_path / "data")
    assert os.listdir(tmp_path / "data") == ["validation.txt"]


def test_several_at_once_end_well(server, tmp_path):
    target, address = tmp_path / "train.txt", f"{server.address}/good/train.txt"
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: obtain(address, target, BLOB), range(4))) == [None] * 4
    assert os.listdir(tmp_path) == ["train.txt"]
    assert target.read_bytes() == CONTENT


def test_fetch_refuses_what_it_cannot_use(tmp_path):
    with pytest.raises(InputError, match="what='pubchem': expected one of chebi20, mol2vec, scibert"):
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


def test_real_files_are_the_pinned_ones(data_dir, tmp_path):
    got = fetch("chebi20", source=data_dir / "chebi20", folder=tmp_path / "chebi20")
    assert {"validation.txt", "test.txt"} <= set(got.new)
    vectors = fetch("mol2vec", source=data_dir / "mol2vec", folder=tmp_path / "mol2vec")
    assert "token_embedding_dict.npy" in vectors.new


# --- SciBERT


def test_scibert_is_taken_as_it_comes_and_the_digest_of_its_weights_is_stated(server, tmp_path, monkeypatch):
    names = ("config.json", "vocab.txt", "pytorch_model.bin")
    assert tuple(PINNED["scibert"]) == names
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_bytes(CONTENT)
    got = fetch("scibert", source=source, folder=tmp_path / "scibert")
    assert (got.new, got.missing) == (names[:1], names[1:])
    assert "sha256" not in str(got)
    monkeypatch.setitem(PINNED, "scibert", dict.fromkeys(names, (f"{server.address}/good/x", None, "")))
    got = fetch("scibert", folder=tmp_path / "scibert")
    assert (got.present, got.new) == (names[:1], names[1:])
    assert str(got).endswith(
        f"pytorch_model.bin has sha256 {hashlib.sha256(CONTENT).hexdigest()}, with no published value to compare"
    )
    assert {path.name: path.read_bytes() for path in (tmp_path / "scibert").iterdir()} == dict.fromkeys(names, CONTENT)


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
    for name, way in (("set", "b.txt in .*named; name the folder"), ("chebi20", "run `class-kit fetch chebi20`")):
        with pytest.raises(InputError, match=way):
            find_folder(name, ["b.txt"], tmp_path / "named")


def test_every_file_is_listed_with_size_and_digest(kit, tmp_path, monkeypatch):
    monkeypatch.setenv("CLASS_KIT_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("CLASS_KIT_DATA", str(tmp_path))
    (tmp_path / "chebi20").mkdir()
    (tmp_path / "chebi20" / "test.txt").write_text("")
    lines = kit("fetch").splitlines()
    assert len(lines) == sum(map(len, PINNED.values()))
    _, blob, _ = PINNED["chebi20"]["test.txt"]
    assert f"chebi20  test.txt (1.3 MB, git blob {blob}): {tmp_path / 'chebi20' / 'test.txt'}" in lines
    assert [line.rsplit(": ", 1)[1] for line in lines].count("missing") == len(lines) - 1
