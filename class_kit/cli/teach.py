"""`class-kit teach`: the instructor's pack."""

from __future__ import annotations

import argparse


def add_teach(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `teach`."""
    parser.description = (
        "Copy the notebooks to a new folder: learners/ without outputs and answers, instructor/ with answers and "
        "solved exercises, and lesson_plan.md made from their aims and times."
    )
    parser.add_argument("folder", metavar="DIR", help="a folder that does not exist yet or is empty")
    parser.add_argument("--minutes", type=int, default=90, metavar="N", help="length of the lesson (default: 90)")


def handle_teach(arguments: argparse.Namespace) -> int:
    """Write the pack and say what is in it."""
    from class_kit.teaching import make_pack
    from class_kit.terminal import visible

    written = make_pack(arguments.folder, arguments.minutes)
    notebooks = sum(path.parent.name == "learners" for path in written)
    print(f"{notebooks} notebooks for learners and for the instructor: {visible(arguments.folder)}")
    print(f"lesson plan: {visible(written[-1])}")
    return 0
