"""Files of a model on the Hugging Face hub, through the hub's own client in a process that can be ended.

The client resumes a download that breaks off as often as any bytes arrive, and waits for a server that drips them for
as long as it likes to; it also writes notes of its own to the terminal. A process of its own can be given a time and
be kept quiet, whatever the release.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from class_kit.progress import progress_bar

# SciBERT has 440 MB; who needs longer than that for it is better off with a browser.
LONGEST_S = 3_600.0
_FAILED = 3
_PROGRAM = f"""
import sys
from huggingface_hub import snapshot_download
identifier, revision, folder, *names = sys.argv[1:]
try:
    snapshot_download(identifier, revision=revision, local_dir=folder, allow_patterns=names)
except Exception as failure:
    print(type(failure).__name__ + ":", *str(failure).strip().splitlines()[:1])
    sys.exit({_FAILED})
"""


class HubError(Exception):
    """The client failed; the message is its own, or says what became of it."""


def snapshot(
    identifier: str,
    revision: str,
    folder: str | os.PathLike[str],
    names: Sequence[str],
    *,
    progress: bool | None = None,
) -> None:
    """Download the files of a model's revision that have these names; those that it lacks are passed over.

    Raises
    ------
    HubError
        If the client fails or needs more than `LONGEST_S` seconds; `folder` may then hold parts of files.
    """
    with progress_bar(total=0, desc=identifier, disable=None if progress is None else not progress) as bar:
        shown = not bar.disable
    quiet = {"HF_HUB_VERBOSITY": "critical", "HF_HUB_DISABLE_PROGRESS_BARS": "0" if shown else "1"}
    try:
        done = subprocess.run(
            # -P: a file in the current folder must not stand in for a module
            [sys.executable, "-P", "-c", _PROGRAM, identifier, revision, os.fspath(folder), *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if shown else subprocess.PIPE,
            env={**os.environ, **quiet},
            timeout=LONGEST_S,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise HubError(f"not complete after {LONGEST_S:,.0f} s") from None
    if done.returncode == _FAILED:
        raise HubError(" ".join(done.stdout.split())[:300].rstrip("."))
    if done.returncode:
        raise HubError(
            f"its client ended with exit code {done.returncode}: {' '.join((done.stderr or '').split())[-300:]}"
        )
