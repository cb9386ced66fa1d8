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

FIRST = {"flaky": "503", "recovers": "dies", "portal": "html"}


class Handler(BaseHTTPRequestHandler):
    """Answers as the first part of the path says; `server.seen` counts requests by path."""

    def log_message(self, *values):
        pass

    def do_GET(self):
        self.server.seen[self.path] += 1
        kind = self.path.split("/")[1]
        if kind in FIRST:
            # two answers that are no good, then the file
            kind = "good" if self.server.seen[self.path] > 2 else FIRST[kind]
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

    def answer_hugelength(self):
        self.head(10**9)
        self.wfile.write(CONTENT)

    def answer_negative(self):
        self.head(-5)
        self.wfile.write(CONTENT)

    def answer_twolengths(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(CONTENT)

    def answer_empty(self):
        self.head(0)

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

    def answer_slowly(self):
        self.head(len(CONTENT))
        self.wfile.write(CONTENT[:100_000])
        self.wfile.flush()
        self.server.begun.set()
        self.server.released.wait(10)
        self.wfile.write(CONTENT[100_000:])

    def redirect(self, target, code=302):
        self.send_response(code)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer_tofile(self):
        self.redirect("file:///etc/passwd", int(self.path.split("/")[2]) if self.path.count("/") > 2 else 302)

    def answer_toftp(self):
        self.redirect("ftp://127.0.0.1/train.txt")

    def answer_todata(self):
        self.redirect("data:text/plain,hello")

    def answer_togood(self):
        self.redirect("/good/again")

    def answer_nowhere(self):
        self.send_response(302)
        self.end_headers()

    def answer_loop(self):
        self.redirect(self.path)


class HubHandler(Handler):
    """A hub of models under an address that ends in a kind: its lists are right, its files are as the kind says.

    With a kind that begins with `list-`, the list itself is as the rest says.
    """

    FILES = ("config.json", "vocab.txt", "model.safetensors")

    def do_GET(self):
        kind = self.path.split("/")[1]
        if kind.startswith("list-"):
            self.path = self.path.replace("/list-", "/", 1)
        elif "/api/" in self.path:
            # newer clients ask for the tree, older ones for the revision
            tree = [{"type": "file", "path": name, "size": len(CONTENT), "oid": BLOB} for name in self.FILES]
            revision = self.path.partition("/revision/")[2]
            told = {"id": "a/b", "sha": revision, "siblings": [{"rfilename": name} for name in self.FILES]}
            body = json.dumps(tree if "/tree/" in self.path else told).encode()
            self.head(len(body), Content_Type="application/json")
            self.wfile.write(body)
            return
        super().do_GET()

    def do_HEAD(self):
        self.head(len(CONTENT), ETag=f'"{BLOB}"', X_Repo_Commit=self.path.split("/resolve/")[1].split("/")[0])


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
