"""The command-line program `class-kit`.

`COMMANDS` lists the commands; a command's module is imported only when it is used, and heavy packages only in its
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
from typing import NoReturn

from class_kit import __version__
from class_kit.cli.options import import_own
from class_kit.errors import InputError
from class_kit.terminal import one_line, visible

# Command -> module and help. The module has `add_COMMAND`, which adds arguments to a parser, and `handle_COMMAND`, a
# function of the arguments that returns the exit code; its docstring is the command's description.
COMMANDS = {
    "run": ("run", "run the notebooks and record the results in runs/<name>/"),
    "fetch": ("data", "download and verify ChEBI-20, the published Mol2vec vectors or SciBERT"),
    "cache": ("data", "list or clear the stored embeddings"),
    "difficulty": ("data", "neighbour counts and easy-to-hard order of your own pairs"),
    "check": ("data", "find unusable rows, repeats and mismatched pairs in a table"),
    "train": ("train", "train a retriever with a curriculum"),
    "evaluate": ("train", "rank the held-out pairs with a trained retriever"),
    "score": ("train", "cosine of each text with its molecule under a trained retriever"),
    "search": ("train", "find molecules for a text"),
    "export": ("train", "write a trained retriever as a folder with a model card"),
    "study": ("study", "compare ways to train, with controls, seeds and intervals"),
    "book": ("run", "write a run as a static site whose charts work without Python"),
    "teach": ("run", "write notebooks for learners and for the instructor, and a lesson plan"),
}

# Modules whose commands build retrievers, which may be the user's own
_WITH_BACKBONES = ("train", "study")

# Problems of the machine, not of the kit: one line is clearer than a traceback.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MACHINE = _FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
# Errors that no path made by the kit can cause, so the path came from the user.
_NO_PATH = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST})


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors show control characters in command-line values as escapes."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")


def build_parser(chosen: str | None = None) -> argparse.ArgumentParser:
    """The command line; imports nothing heavy.

    Parameters
    ----------
    chosen : str, optional
        The command whose arguments are needed; by default, all commands.
    """
    parser = _Parser(
        prog="class-kit",
        description="Curriculum learning for text–molecule retrieval: run notebooks, fetch data, check pairs, train.",
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
            if module in _WITH_BACKBONES:
                own = "import your own module first, for the backbones it registers; may be repeated"
                command.add_argument(
                    "--import", dest="modules", action="append", default=[], metavar="MODULE", help=own
                )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the entry point of `class-kit`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # characters that the terminal's encoding lacks are escaped instead of raising an error
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
    # SIGTERM is taken like Ctrl-C, so that kernels are stopped and records say what happened; only the main thread may
    # set handlers
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        import_own(getattr(arguments, "modules", ()))
        code = int(handler(arguments))
        # a full disk shows only when the buffer is written; at interpreter exit it would be too late to report
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


def _say_error(error: Exception) -> int:
    """Print one line for an error of the user or the machine, a traceback for a bug; return the exit code."""
    number = error.errno if isinstance(error, OSError) else None
    given = isinstance(error, InputError) or number in _NO_PATH
    if given or number in _MACHINE:
        advice = "; free some space and run it again, finished work is kept" if number in _FULL else ""
        print(f"class-kit: error: {one_line(error)}{advice}", file=sys.stderr)
    elif not isinstance(error, BrokenPipeError):  # whose reader went away, e.g. `| head`
        print(visible("".join(traceback.format_exception(error))), file=sys.stderr, end="")
    try:
        sys.stdout.flush()
    except OSError:
        # the interpreter would fail on unwritten output once more as it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 2 if given else 1
