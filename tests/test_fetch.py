"""Fetching against a server that misbehaves: what fails leaves nothing and says how to go on."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from class_kit import fetch as fetch_module
from class_kit.downloads import FetchError, copy_verified, download
from class_kit.errors import InputError
from class_kit.fetch import fetch
from class_kit.folders import data_home, find_folder
from class_kit.releases import PINNED, PinnedFile, git_blob_id

CONTENT = b"CID\tSMILES\tdescription\n" + b"1\tC\tmethane\n" * 20_000
BLOB = (
    subprocess.run(["git", "hash-object", "--stdin"], input=CONTENT, capture_output=True, check=True)
    .stdout.decode()
    .strip()
)


class Handler(BaseHTTPRequestHandler):
    """Answers as the first part of the path says; `server.seen` counts requests by path."""

    def log_message(self, *values):
        pass

    def do_GET(self):
        self.server.seen[self.path] += 1
        kind = self.path.split("/")[1]
        if kind == "flaky":
            kind = "good" if self.server.seen[self.path] > 2 else "503"
        if kind.isdigit():
            self.send_error(int(kind))
        else:
            getattr(self, f"answer_{kind}")()

    def head(self, length=None, **headers):
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def answer_good(self):
        self.head(len(CONTENT))
        self.wfile.write(CONTENT)

    def answer_nolength(self):
        self.head()
        self.wfile.write(CONTENT)

    def answer_truncated(self):
        # without a length the end of the connection looks like the end of the file
        self.head()
        self.wfile.write(CONTENT[:1000])

    def answer_dies(self):
        self.head(len(CONTENT))
        self.wfile.write(CONTENT[:100_000])

    def answer_short(self):
        self.head(10)
        self.wfile.write(CONTENT)

    def answer_chunks(self):
        self.head(None, Transfer_Encoding="chunked")
        self.wfile.write(b"400\r\n" + CONTENT[:10])

    def answer_oddlength(self):
        self.head("many")
        self.wfile.write(CONTENT)

    def answer_wrong(self):
        self.head(len(CONTENT))
        self.wfile.write(CONTENT[:-2] + b"!\n")

    def answer_zipped(self):
        body = gzip.compress(CONTENT)
        self.head(len(body), Content_Encoding="gzip")
        self.wfile.write(body)

    def answer_html(self):
        self.head(None, Content_Type="text/html")
        self.wfile.write(b"<!DOCTYPE html><title>Please sign in</title>")

    def answer_garbage(self):
        self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")

    def answer_stalls(self):
        self.head(len(CONTENT))
        self.wfile.write(CONTENT[:1000])
        self.server.released.wait(10)

    def answer_silent(self):
        self.server.released.wait(10)

    def answer_drips(self):
        self.head(len(CONTENT))
        for position in range(200):
            self.wfile.write(CONTENT[position : position + 1])
            if self.server.released.wait(0.05):
                return

    def answer_endless(self):
        self.head()
        while not self.server.released.is_set():
            self.wfile.write(b"\x00" * 65536)

    def redirect(self, target):
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer_tofile(self):
        self.redirect("file:///etc/passwd")

    def answer_toftp(self):
        self.redirect("ftp://127.0.0.1/train.txt")

    def answer_todata(self):
        self.redirect("data:text/plain,hello")

    def answer_togood(self):
        self.redirect("/good/again")

    def answer_loop(self):
        self.redirect(self.path)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # a client that gives up in the middle is what these tests are about
        pass


@contextmanager
def running() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.seen = Counter()
    server.released = threading.Event()
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


def get(server, kind, target, **options):
    settings = {"pause": 0.0, "attempts": 2, "timeout": 5.0, **options}
    download(f"{server.address}/{kind}/train.txt", target, BLOB, **settings)


def test_blob_id_equals_git(tmp_path):
    (tmp_path / "a").write_bytes(CONTENT)
    assert git_blob_id(tmp_path / "a") == BLOB


@pytest.mark.parametrize("kind", ["good", "nolength", "oddlength", "togood"])
def test_a_whole_file_gets_its_name(server, tmp_path, kind):
    get(server, kind, tmp_path / "train.txt")
    assert (tmp_path / "train.txt").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["train.txt"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "got other bytes, 1,000 bytes with git blob id"),
        ("dies", "the connection ended after"),
        ("short", "got other bytes, 10 bytes"),
        ("chunks", "the connection broke"),
        ("wrong", f"expected {BLOB}"),
        ("zipped", "got other bytes"),
        ("html", "got a web page"),
        ("garbage", "the connection broke"),
        ("500", "the server answers 500"),
        ("503", "the server answers 503"),
        ("429", "the server answers 429"),
    ],
)
def test_trouble_that_may_pass_is_tried_again_up_to_the_limit(server, tmp_path, kind, words):
    with pytest.raises(FetchError) as failure:
        get(server, kind, tmp_path / "train.txt", attempts=3)
    assert words in str(failure.value)
    assert "(3 attempts)" in str(failure.value)
    assert f"/{kind}/train.txt" in str(failure.value)
    assert sum(server.seen.values()) == 3
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("404", "the server answers 404"),
        ("403", "the server answers 403"),
        ("tofile", "refused to follow a redirect to 'file:///etc/passwd'"),
        ("toftp", "refused to follow a redirect to 'ftp://127.0.0.1/train.txt'"),
        ("todata", "refused to follow a redirect to 'data:text/plain,hello'"),
    ],
)
def test_trouble_that_will_not_pass_ends_at_once(server, tmp_path, kind, words):
    with pytest.raises(FetchError) as failure:
        get(server, kind, tmp_path / "train.txt")
    assert words in str(failure.value)
    assert sum(server.seen.values()) == 1
    assert os.listdir(tmp_path) == []


def test_a_redirect_loop_ends(server, tmp_path):
    with pytest.raises(FetchError, match="the server answers 302"):
        get(server, "loop", tmp_path / "train.txt")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["stalls", "silent"])
def test_a_stall_is_given_up_in_time(server, tmp_path, kind):
    started = time.monotonic()
    with pytest.raises(FetchError, match=r"the server stopped sending \(2 attempts\)"):
        get(server, kind, tmp_path / "train.txt", timeout=0.2)
    assert time.monotonic() - started < 5
    assert os.listdir(tmp_path) == []


def test_a_server_that_drips_or_never_ends_is_given_up(server, tmp_path):
    with pytest.raises(FetchError, match="not complete after"):
        get(server, "drips", tmp_path / "train.txt", longest=0.2, attempts=1)
    with pytest.raises(FetchError, match="sends more than 1,000,000 bytes"):
        get(server, "endless", tmp_path / "train.txt", largest=1_000_000)
    assert os.listdir(tmp_path) == []


def test_nobody_listens(tmp_path):
    with running() as server:
        address = server.address
    with pytest.raises(FetchError, match=r"no connection: .*\(1 attempt\)"):
        download(f"{address}/good/train.txt", tmp_path / "train.txt", BLOB, attempts=1, timeout=2)
    assert os.listdir(tmp_path) == []


def test_waiting_doubles_before_each_further_attempt(server, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr("class_kit.downloads.time.sleep", waited.append)
    get(server, "flaky", tmp_path / "train.txt", attempts=4, pause=1.0)
    assert waited == [1.0, 2.0]
    assert (tmp_path / "train.txt").read_bytes() == CONTENT


def test_a_failure_leaves_the_older_file(server, tmp_path):
    (tmp_path / "train.txt").write_bytes(b"older")
    with pytest.raises(FetchError):
        get(server, "wrong", tmp_path / "train.txt")
    assert (tmp_path / "train.txt").read_bytes() == b"older"
    get(server, "good", tmp_path / "train.txt")
    assert (tmp_path / "train.txt").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", "data:,a", "/etc/passwd"])
def test_other_schemes_are_refused(tmp_path, url):
    with pytest.raises(ValueError, match="expected an https address"):
        download(url, tmp_path / "a", BLOB)


@pytest.mark.parametrize("options", [{"attempts": 0}, {"timeout": 0}, {"longest": -1}])
def test_limits_must_be_positive(tmp_path, options):
    with pytest.raises(ValueError, match="expected positive numbers"):
        download("https://host/a", tmp_path / "a", BLOB, **options)


def test_two_at_once_end_well(server, tmp_path):
    failures = []

    def work():
        try:
            get(server, "good", tmp_path / "train.txt")
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert os.listdir(tmp_path) == ["train.txt"]
    assert (tmp_path / "train.txt").read_bytes() == CONTENT


def test_copy_of_other_content_is_refused(tmp_path):
    (tmp_path / "in.txt").write_bytes(b"other")
    with pytest.raises(FetchError, match=r"in\.txt: got other bytes"):
        copy_verified(tmp_path / "in.txt", tmp_path / "out.txt", BLOB)
    assert os.listdir(tmp_path) == ["in.txt"]


# --- whole releases


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
    def snapshot_download(identifier, *, revision, local_dir, allow_patterns):
        calls.append((identifier, revision))
        if fails is not None:
            raise fails
        for name in ("config.json", "vocab.txt", weights):
            if name in allow_patterns:
                (Path(local_dir) / name).write_text(name)
        (Path(local_dir) / ".cache").mkdir(exist_ok=True)
        return str(local_dir)

    return snapshot_download


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_scibert_prefers_safetensors_and_states_what_is_not_verified(monkeypatch, tmp_path, weights):
    calls = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake_hub(weights, calls))
    got = fetch("scibert", folder=tmp_path / "scibert")
    assert set(os.listdir(tmp_path / "scibert")) == {"config.json", "vocab.txt", weights}
    assert os.listdir(tmp_path) == ["scibert"]
    assert set(calls) == {("allenai/scibert_scivocab_uncased", "24f92d32b1bfb0bcaf9ab193ff3ad01e87732fc1")}
    assert f"{weights} has sha256" in got.notes[0]
    assert "no published value is known" in got.notes[0]
    calls.clear()
    assert set(fetch("scibert", folder=tmp_path / "scibert").present) == {"config.json", "vocab.txt", weights}
    assert calls == []


@pytest.mark.parametrize("fails", [OSError("no route"), RuntimeError("odd\nanswer"), None])
def test_scibert_that_cannot_be_had_leaves_nothing(monkeypatch, tmp_path, fails):
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake_hub("none", [], fails))
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
    monkeypatch.setattr("class_kit.downloads._verify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("chebi20", folder=tmp_path / "data", **options)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_reported_as_such(server, release, monkeypatch, tmp_path):
    def full(*values):
        raise OSError(28, "No space left on device")

    options = release("good", "good", "good")
    monkeypatch.setattr("class_kit.downloads._verify", full)
    with pytest.raises(OSError, match="No space left"):
        fetch("chebi20", folder=tmp_path / "data", **options)
    assert os.listdir(tmp_path) == []


def test_importing_loads_no_hub_client():
    code = "import sys, class_kit.fetch; print('huggingface_hub' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    assert fetch_module.RELEASES == ("chebi20", "mol2vec", "scibert")
