"""The command `class-kit`.

Each command's module adds its parser and names its handler; what is heavy is imported by the handler, so that
`class-kit --help` answers at once. Exit codes: 0 done, 1 something failed, 2 the input cannot be used, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from class_kit import __version__
from class_kit.errors import InputError
from class_kit.terminal import one_line, visible

# Modules with `add_parsers(subparsers)`; every parser sets the default `handler`, a function of the arguments that
# returns the exit code. They import nothing heavy themselves.
COMMANDS = (
    "class_kit.cli.run",
    "class_kit.cli.data",
    "class_kit.cli.difficulty",
    "class_kit.cli.train",
    "class_kit.cli.evaluate",
    "class_kit.cli.study",
    "class_kit.cli.figures",
    "class_kit.cli.teach",
)


# The machine's trouble, not the kit's: one line says it better than a traceback.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MACHINE = _FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
# No path that the kit makes itself is like that, so it was given.
_NO_PATH = frozenset({errno.ENAMETOOLONG, errno.ELOOP})


class _Parser(argparse.ArgumentParser):
    """An argument parser that shows values of the command line with their control characters made visible."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; imports nothing heavy."""
    parser = _Parser(
        prog="class-kit",
        description="Curriculum learning for text–molecule retrieval: run the notebooks, fetch data, measure, train.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"class-kit {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for name in COMMANDS:
        import_module(name).add_parsers(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the entry point of `class-kit`."""
    _utf8(sys.stdout, sys.stderr)
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    return run_handler(arguments.handler, arguments)


def run_handler(handler: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Call a command's handler and turn what it raises into an exit code and a message."""
    restore = _terminate_like_interrupt()
    try:
        code = int(handler(arguments))
        # what is still in the buffer may not fit where it goes, which the interpreter would report too late
        sys.stdout.flush()
        return code
    except InputError as error:
        return _refused(error)
    except KeyboardInterrupt:
        print("class-kit: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader went away, e.g. `| head`
        _drop_output()
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_PATH:
            return _refused(error)
        if isinstance(error, OSError) and error.errno in _MACHINE:
            advice = "; make room and run it again, what is finished is kept" if error.errno in _FULL else ""
            print(f"class-kit: error: {one_line(error)}{advice}", file=sys.stderr)
            try:
                sys.stdout.flush()
            except OSError:
                _drop_output()
        else:
            print(visible("".join(traceback.format_exception(error))), file=sys.stderr, end="")
        return 1
    finally:
        restore()


def _refused(error: Exception) -> int:
    print(f"class-kit: error: {one_line(error)}", file=sys.stderr)
    return 2


def _drop_output() -> None:
    """Let unwritten output go nowhere: the interpreter would fail on it once more as it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate_like_interrupt() -> Callable[[], None]:
    """Let SIGTERM take the way of Ctrl-C, so that kernels are stopped and records say what happened."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        # only the main thread may set handlers
        return lambda: None

    def restore() -> None:
        signal.signal(signal.SIGTERM, before)

    return restore


def _utf8(*streams: Any) -> None:
    """Write what a terminal's encoding lacks as escapes instead of failing on it."""
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
