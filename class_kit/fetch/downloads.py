"""One file over HTTPS, verified before it has its name: it is there whole, or not at all.

A mirror, a captive portal or a broken proxy can answer with anything; only content with the expected git blob id is
moved into place. Two processes that fetch the same file each write their own temporary file, and the last one replaces
the other's with equal bytes.
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib import error, request
from urllib.parse import urlsplit

from class_kit.errors import InputError
from class_kit.fetch.releases import git_blob_id
from class_kit.files import atomic_write
from class_kit.progress import progress_bar

BLOCK = 1 << 16
# Above every file that the kit fetches this way; a server that never stops sending must not fill the disk.
LARGEST = 512 << 20
LONGEST_S = 3_600.0


class FetchError(InputError):
    """A file could not be had; the message says what happened and how to go on by hand."""


class _PassingError(Exception):
    """A failure that may be gone at the next attempt."""


def download(
    url: str,
    target: str | os.PathLike[str],
    blob: str,
    *,
    timeout: float = 30.0,
    attempts: int = 4,
    pause: float = 1.0,
    longest: float = LONGEST_S,
    largest: int = LARGEST,
    progress: bool | None = None,
) -> None:
    """Fetch one file and move it to `target` once its git blob id is `blob`; on failure nothing is left behind.

    Parameters
    ----------
    url : str
        An https address, or http, which then may only lead to http or https addresses.
    timeout : float
        Seconds without a byte after which an attempt is given up.
    attempts : int
        How often to try where the trouble may pass: no connection, a stall, an incomplete or unexpected body, HTTP 408,
        429 and 5xx. Other answers, 404 among them, end the matter at once.
    pause : float
        Seconds before the second attempt; doubled before each further one.
    longest, largest : float, int
        Seconds and bytes after which an attempt is given up, whatever is still being sent.

    Raises
    ------
    ValueError
        If `attempts`, `timeout` or `longest` is not positive, or the address is neither http nor https.
    FetchError
        If the file could not be had.
    """
    if attempts < 1 or timeout <= 0 or longest <= 0:
        raise ValueError(f"attempts={attempts}, timeout={timeout}, longest={longest}: expected positive numbers")
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"url={url!r}: expected an https address")
    reason = ""
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        try:
            with atomic_write(target) as temporary:
                _receive(url, temporary, timeout, longest, largest, Path(target).name, progress)
                _verify(temporary, blob)
            return
        except _PassingError as failure:
            reason = str(failure)
    raise FetchError(f"{url}: {reason} ({attempts} {'attempt' if attempts == 1 else 'attempts'})")


class _SafeRedirect(request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https down to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and not (scheme == "http" and req.type == "http"):
            fp.close()
            raise FetchError(f"{req.full_url}: refused to follow a redirect to {newurl[:200]!r}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        # the base class reports a target that is no web address as the server's error; say what it is
        target = headers.get("location") or headers.get("uri") or ""
        if urlsplit(target).scheme not in ("", "http", "https"):
            fp.close()
            raise FetchError(f"{req.full_url}: refused to follow a redirect to {target[:200]!r}")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> request.OpenerDirector:
    # assembled by hand: urllib's default one also opens file:, ftp: and data: addresses
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        _SafeRedirect,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    opener.addheaders = [("User-Agent", "class-kit")]
    return opener


def _receive(
    url: str, temporary: Path, timeout: float, longest: float, largest: int, name: str, progress: bool | None
) -> None:
    stop = time.monotonic() + longest
    disable = None if progress is None else not progress
    with _network(), _opener().open(url, timeout=timeout) as answer, open(temporary, "wb") as file:
        told = answer.headers.get("Content-Length", "")
        length = int(told) if told.isdecimal() and len(told) < 16 else None
        got = 0
        with progress_bar(total=length, desc=name, unit="B", disable=disable) as bar:
            while block := answer.read1(BLOCK):
                got += len(block)
                if got > largest:
                    raise FetchError(f"{url}: the server sends more than {largest:,} bytes")
                if time.monotonic() > stop:
                    raise _PassingError(f"not complete after {longest:,.0f} s, {got:,} bytes received")
                file.write(block)
                bar.update(len(block))
        if length is not None and got != length:
            raise _PassingError(f"the connection ended after {got:,} of {length:,} bytes")


class _network:
    """Sorts what urllib raises into failures that may pass and those that will not."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, failure: BaseException | None, trace: Any) -> None:
        if isinstance(failure, error.HTTPError):
            failure.close()
            said = f"the server answers {failure.code} {' '.join(str(failure.reason).split())}"
            if failure.code in (408, 429) or failure.code >= 500:
                raise _PassingError(said) from None
            raise FetchError(f"{failure.url}: {said}") from None
        if isinstance(failure, TimeoutError) or isinstance(getattr(failure, "reason", None), TimeoutError):
            raise _PassingError("the server stopped sending") from None
        if isinstance(failure, error.URLError):
            raise _PassingError(f"no connection: {failure.reason}") from None
        if isinstance(failure, (ConnectionError, http.client.HTTPException)):
            raise _PassingError(f"the connection broke: {failure or type(failure).__name__}") from None


def _verify(path: Path, blob: str) -> None:
    found = git_blob_id(path)
    if found == blob:
        return
    with open(path, "rb") as file:
        head = file.read(512).lstrip().lower()
    what = "a web page" if head.startswith((b"<!doctype html", b"<html")) else "other bytes"
    raise _PassingError(f"got {what}, {path.stat().st_size:,} bytes with git blob id {found}; expected {blob}")


def copy_verified(source: Path, target: Path, blob: str) -> None:
    """Copy a local file to `target` if its git blob id is `blob`.

    Raises
    ------
    FetchError
        If the content is another one; nothing is then written to `target`.
    """
    copy(source, target, lambda temporary: _verify_copy(source, temporary, blob))


def copy(source: Path, target: Path, check: Callable[[Path], None] = lambda path: None) -> None:
    """Copy a local file to `target`, atomically, once `check` of the copy has raised nothing."""
    with atomic_write(target) as temporary:
        with open(source, "rb") as origin, open(temporary, "wb") as file:
            while block := origin.read(1 << 20):
                file.write(block)
        check(temporary)


def _verify_copy(source: Path, copied: Path, blob: str) -> None:
    try:
        _verify(copied, blob)
    except _PassingError as failure:
        raise FetchError(f"{source}: {failure}") from None
