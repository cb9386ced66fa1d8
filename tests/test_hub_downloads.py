"""SciBERT from a hub that misbehaves, through the hub's own client: one line, in time, and nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from class_kit.fetch import fetch, hub
from class_kit.fetch.downloads import FetchError
from class_kit.text.encoders import SCIBERT_ID, SCIBERT_REVISION
from tests.misbehaving_server import CONTENT, HubHandler, running

ROOT = Path(__file__).parents[1]
BY_HAND = (
    f"{SCIBERT_ID} at {SCIBERT_REVISION}: ",
    "Run `class-kit fetch scibert` again, or download config.json, vocab.txt and model.safetensors",
    f"with a browser from https://huggingface.co/{SCIBERT_ID}/tree/{SCIBERT_REVISION} into a folder",
    "`class-kit fetch scibert --from FOLDER`",
)
# what the hub does, and a pattern for what the user reads, in the words of old clients and new ones
TROUBLES = {
    "truncated": "Consistency check failed",
    "dies": "closed|broken|Consistency check failed",
    "short": "Consistency check failed",
    "stalls": "timed out",
    "list-html": "JSON",
    "list-404": "404|locate the files",
    "500": "500",
    "404": "404",
}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub on this machine that the client takes for the real one, with short waits."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with running(HubHandler) as each:
        yield each


def test_a_hub_that_answers_gives_the_model(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/good")
    got = fetch("scibert", folder=tmp_path / "data" / "scibert")
    assert set(got.new) == set(HubHandler.FILES)
    assert {path.name: path.read_bytes() for path in got.folder.iterdir()} == dict.fromkeys(got.new, CONTENT)
    assert os.listdir(tmp_path / "data") == ["scibert"]
    assert all(SCIBERT_REVISION in path for path in server.seen)


def test_every_trouble_is_one_line_that_says_how_to_go_on(server, tmp_path):
    """All at once, since most of the time is spent waiting for a server that says nothing."""

    def fetched(kind):
        return subprocess.run(
            [sys.executable, "-m", "class_kit", "fetch", "scibert", "--folder", str(tmp_path / kind / "scibert")],
            cwd=tmp_path,
            env={**os.environ, "HF_ENDPOINT": f"{server.address}/{kind}", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    with ThreadPoolExecutor(len(TROUBLES)) as pool:
        ended = dict(zip(TROUBLES, pool.map(fetched, TROUBLES), strict=True))
    for kind, done in ended.items():
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), (kind, done.stderr)
        assert [words for words in BY_HAND if words not in done.stderr] == [], (kind, done.stderr)
        assert re.search(TROUBLES[kind], done.stderr), (kind, done.stderr)
        assert os.listdir(tmp_path / kind) == [], kind


@pytest.mark.parametrize("kind", ["drips", "list-silent"])
def test_a_hub_without_an_end_is_given_up(server, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/{kind}")
    monkeypatch.setattr(hub, "LONGEST_S", 3.0)
    with pytest.raises(FetchError, match=r"not complete after 3 s\. Run `class-kit fetch scibert` again"):
        fetch("scibert", folder=tmp_path / "data" / "scibert")
    assert server.seen
    assert os.listdir(tmp_path / "data") == []


def test_a_client_that_dies_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "_PROGRAM", "import os, sys; print('a\\nb', file=sys.stderr, flush=True); os._exit(7)")
    with pytest.raises(FetchError, match="its client ended with exit code 7: a b"):
        fetch("scibert", folder=tmp_path / "data" / "scibert")
    assert os.listdir(tmp_path / "data") == []
