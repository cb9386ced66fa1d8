"""Downloads from a server that misbehaves: what arrives is verified, what fails leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path
from urllib.request import Request

import pytest

from class_kit.fetch import downloads
from class_kit.fetch.downloads import FetchError, copy_verified, download
from class_kit.fetch.releases import git_blob_id
from tests.misbehaving_server import BLOB, CONTENT, running, server

__all__ = ["server"]

ROOT = Path(__file__).parents[1]


def get(server, kind, target, **options):
    settings = {"pause": 0.0, "attempts": 2, "timeout": 5.0, **options}
    download(f"{server.address}/{kind}/train.txt", target, BLOB, **settings)


@pytest.mark.parametrize(
    ("content", "blob"),
    [(b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"), (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a")],
)
def test_blob_id_equals_git(tmp_path, content, blob):
    (tmp_path / "a").write_bytes(content)
    assert git_blob_id(tmp_path / "a") == blob


@pytest.mark.parametrize("kind", ["good", "nolength", "oddlength", "negative", "twolengths", "togood"])
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
        ("hugelength", "the connection ended after"),
        ("empty", "got other bytes, 0 bytes"),
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


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_kind_of_redirect_leads_to_a_file(server, tmp_path, code):
    with pytest.raises(FetchError, match="refused to follow a redirect to 'file:///etc/passwd'"):
        get(server, f"tofile/{code}", tmp_path / "train.txt")
    assert os.listdir(tmp_path) == []


def test_a_redirect_without_a_target_ends(server, tmp_path):
    with pytest.raises(FetchError, match="the server answers 302"):
        get(server, "nowhere", tmp_path / "train.txt")
    assert os.listdir(tmp_path) == []


def test_encryption_is_not_given_up_on_the_way():
    """A redirect from https to http would let anyone on the way choose the answer."""
    asked = Request("https://host/train.txt")
    for target in ("http://host/train.txt", "ftp://host/a", "file:///etc/passwd"):
        with pytest.raises(FetchError, match="refused to follow a redirect"):
            downloads._SafeRedirect().redirect_request(asked, BytesIO(), 302, "Found", {}, target)
    followed = downloads._SafeRedirect().redirect_request(asked, BytesIO(), 302, "Found", {}, "https://other/train.txt")
    assert followed.full_url == "https://other/train.txt"


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
    monkeypatch.setattr("class_kit.fetch.downloads.time.sleep", waited.append)
    get(server, "flaky", tmp_path / "train.txt", attempts=4, pause=1.0)
    assert waited == [1.0, 2.0]
    assert (tmp_path / "train.txt").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["recovers", "portal"])
def test_nothing_of_a_bad_answer_is_in_the_good_one(server, tmp_path, kind):
    get(server, kind, tmp_path / "train.txt", attempts=3)
    assert (tmp_path / "train.txt").read_bytes() == CONTENT
    assert sum(server.seen.values()) == 3
    assert os.listdir(tmp_path) == ["train.txt"]


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


PROGRAM = """
import sys
from class_kit import cli
from class_kit.fetch import fetch, releases
kind, base, blob = sys.argv[1:4]
releases.PINNED["chebi20"] = tuple(
    releases.PinnedFile(kind, "c", name, blob) for name in ("train.txt", "validation.txt", "test.txt")
)
fetch.__kwdefaults__.update(base=base, pause=0.0, attempts=2, timeout=5.0)
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


def test_a_killed_fetch_goes_on_and_clears_up(server, tmp_path):
    process = start_fetch(server, "slowly", tmp_path / "data")
    assert server.begun.wait(60)
    (left,) = wait_for(lambda: os.listdir(tmp_path / "data"))
    assert left.startswith(".train.txt.")
    process.kill()
    process.communicate(timeout=60)
    assert os.listdir(tmp_path / "data") == [left]
    server.released.set()
    again = start_fetch(server, "slowly", tmp_path / "data")
    assert again.communicate(timeout=60)[1] == ""
    assert again.returncode == 0
    assert sorted(os.listdir(tmp_path / "data")) == ["test.txt", "train.txt", "validation.txt"]


def wait_for(look):
    end = time.monotonic() + 30
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def test_the_command_says_in_one_line_how_to_go_on_by_hand(server, tmp_path):
    process = start_fetch(server, "html", tmp_path / "data")
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (2, "")
    assert errors.count("\n") == 1
    for words in (
        f"{server.address}/html/c/train.txt: got a web page",
        "(2 attempts)",
        "Run `class-kit fetch chebi20` again to continue",
        "with a browser into a folder, under its own name",
        "`class-kit fetch chebi20 --from FOLDER`",
    ):
        assert words in errors
    assert os.listdir(tmp_path) == []


def test_copy_of_other_content_is_refused(tmp_path):
    (tmp_path / "in.txt").write_bytes(b"other")
    with pytest.raises(FetchError, match=r"in\.txt: got other bytes"):
        copy_verified(tmp_path / "in.txt", tmp_path / "out.txt", BLOB)
    assert os.listdir(tmp_path) == ["in.txt"]
