"""The command `class-kit`.

`COMMANDS` says where each command is; its module is imported when the command is given, and what is heavy by its
handler, so that `class-kit --help` answers at once. Exit codes: 0 done, 1 something failed, 2 the input cannot be used,
130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from class_kit import __version__
from class_kit.errors import InputError
from class_kit.terminal import one_line, visible

# Command -> module and help. The module has `add_COMMAND`, which adds arguments to a parser, and `handle_COMMAND`, a
# function of the arguments that returns the exit code; its docstring is the command's description.
COMMANDS = {
    "run": ("run", "execute notebooks and leave a record in runs/<name>/"),
    "fetch": ("data", "get ChEBI-20, the published Mol2vec vectors or SciBERT, verified"),
    "cache": ("data", "list or clear the kept embeddings"),
    "difficulty": ("data", "neighbour counts and easy-to-hard order of your own pairs"),
    "check": ("data", "rows, repeats and mismatched pairs of a table"),
    "train": ("train", "train a retriever with a curriculum on pairs"),
    "evaluate": ("trained", "rank the held-out pairs of a trained run"),
    "search": ("trained", "find molecules for a text"),
    "study": ("study", "compare many ways to train, with controls, seeds and intervals"),
    "figures": ("run", "make a run's figures again in a paper's or a slide's style"),
    "teach": ("run", "notebooks without answers, the same with answers, and a lesson plan"),
}

# The machine's trouble, not the kit's: one line says it better than a traceback.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MACHINE = _FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
# No path that the kit makes itself is like that, so it was given.
_NO_PATH = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST})


class _Parser(argparse.ArgumentParser):
    """An argument parser that shows values of the command line with their control characters made visible."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The command line; imports nothing heavy.

    Parameters
    ----------
    chosen : str, optional
        The command whose arguments are needed; by default those of all.
    """
    parser = _Parser(
        prog="class-kit",
        description="Curriculum learning for text–molecule retrieval: run the notebooks, fetch data, measure, train.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"class-kit {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, allow_abbrev=False)
        if chosen in (None, name):
            room = import_module(f"class_kit.cli.{module}")
            handler = getattr(room, f"handle_{name}")
            command.description = inspect.cleandoc(handler.__doc__)
            command.set_defaults(handler=handler)
            getattr(room, f"add_{name}")(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the entry point of `class-kit`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # what a terminal's encoding lacks is written as an escape instead of failing
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if argv is None else list(argv)
    chosen = next((word for word in words if not word.startswith("-")), "")
    try:
        arguments = build_parser(chosen).parse_args(words)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    return run_handler(arguments.handler, arguments)


def run_handler(handler: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Call a command's handler and turn what it raises into an exit code and a message."""
    before = signal.getsignal(signal.SIGTERM)
    # only the main thread may set handlers
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = int(handler(arguments))
        # what is still in the buffer may not fit where it goes, which the interpreter would report too late
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("class-kit: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        return _say_error(error)
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: Any) -> None:
    """SIGTERM takes the way of Ctrl-C, so that kernels are stopped and records say what happened."""
    raise KeyboardInterrupt


def _say_error(error: Exception) -> int:
    """Print one line for what the user or the machine did, a traceback for a defect; the exit code."""
    number = error.errno if isinstance(error, OSError) else None
    given = isinstance(error, InputError) or number in _NO_PATH
    if given or number in _MACHINE:
        advice = "; make room and run it again, what is finished is kept" if number in _FULL else ""
        print(f"class-kit: error: {one_line(error)}{advice}", file=sys.stderr)
    elif not isinstance(error, BrokenPipeError):  # whose reader went away, e.g. `| head`
        print(visible("".join(traceback.format_exception(error))), file=sys.stderr, end="")
    try:
        sys.stdout.flush()
    except OSError:
        # the interpreter would fail on unwritten output once more as it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 2 if given else 1
