"""A local web server that misbehaves on request: the first part of the path says how."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

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
        if kind == "recovers":
            kind = "good" if self.server.seen[self.path] > 2 else "dies"
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


class HubHandler(Handler):
    """A hub of models under an address that ends in a kind: its lists are right, its files are as the kind says."""

    FILES = ("config.json", "vocab.txt", "model.safetensors")

    def do_GET(self):
        if "/api/" not in self.path:
            super().do_GET()
            return
        # newer clients ask for the tree, older ones for the revision
        tree = [{"type": "file", "path": name, "size": len(CONTENT), "oid": BLOB} for name in self.FILES]
        revision = self.path.partition("/revision/")[2]
        told = {"id": "a/b", "sha": revision, "siblings": [{"rfilename": name} for name in self.FILES]}
        body = json.dumps(tree if "/tree/" in self.path else told).encode()
        self.answer(200, len(body), body, {"Content-Type": "application/json"})

    def do_HEAD(self):
        commit = self.path.split("/resolve/")[1].split("/")[0]
        self.answer(200, len(CONTENT), b"", {"ETag": f'"{BLOB}"', "X-Repo-Commit": commit})


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


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """A hub of models on this machine, with short waits for processes that are started after it."""
    for name, value in {"HF_HUB_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with running(HubHandler) as each:
        yield each
