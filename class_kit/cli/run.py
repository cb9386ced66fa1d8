"""`class-kit run`, `book` and `teach`: run the notebooks, publish a run, make a teaching pack."""

from __future__ import annotations

import argparse
from typing import Any

from class_kit.cli.options import SPLIT, add_options, given_options
from class_kit.errors import InputError
from class_kit.options import TaskOptions, option_names
from class_kit.terminal import visible

# Options that are parameters of the notebooks, and those that they take together, as their parameter `reading`
_SOURCE = ("pairs", "data", "extra")
_READING = ("group", "text", "smiles", "id", "split_column", "make_split", "quoting", "standardize")
_EXAMPLES = """examples:
  class-kit run                                  every notebook on the bundled corpus
  class-kit run retrieval -p seeds '[0, 1, 2]'   one notebook with another parameter
  class-kit run --pairs chebi20 --out runs/real  on ChEBI-20 (class-kit fetch chebi20)
  class-kit run scheduler --sweep growth=0.02,0.06 --sweep start=0.2,0.4
                                                 four runs side by side, one for each combination
  class-kit run -p style acl --out runs/acl      figures for a paper: acl, nature or slides
"""


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.epilog, parser.formatter_class = _EXAMPLES, argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    many: Any = {"action": "append", "default": []}
    add("notebooks", nargs="*", metavar="NOTEBOOK", help="a path or a stem; all numbered ones if none")
    others = option_names(TaskOptions, but=(*_SOURCE, *_READING))
    own = {"pairs": "the notebook's own"}
    add_options(parser, TaskOptions, "pairs and how they are read", skip=others, defaults=own, also=SPLIT)
    refused = "set a parameter; refused if none of the chosen notebooks declares it or the type is wrong"
    add("-p", dest="parameters", nargs=2, **many, metavar=("NAME", "VALUE"), help=refused)
    commas = (
        "run once per value; if repeated, once per combination. Commas inside brackets or quotes belong to a value: "
        "'seeds=[0],[1,2]'"
    )
    add("--sweep", dest="sweeps", **many, metavar="NAME=V1,V2", help=commas)
    add("--jobs", type=int, metavar="N", help="notebooks, or runs of a sweep, in parallel (default: two; one per core)")
    add("--out", metavar="DIR", help="folder of the run (default: runs/default, or named after the parameters)")
    add("--force", action="store_true", help="repeat work that is already finished")


def handle_run(arguments: argparse.Namespace) -> int:
    """
    Run notebooks with strict parameters; write the executed notebooks, metrics.json, figures, report.html and
    manifest.json to runs/<name>/. Finished, unchanged work is not repeated. A sweep does this for every combination of
    values, in parallel, and adds an index.html with all figures.
    """
    from class_kit.runs import run_notebooks, sweep_notebooks
    from class_kit.runs.notebooks import Raw
    from class_kit.runs.sweep import read_sweeps

    given = given_options(arguments, TaskOptions)
    parameters: dict[str, Any] = {name: given[name] for name in _SOURCE if given.get(name)}
    if reading := {name: given[name] for name in _READING if name in given}:
        parameters["reading"] = reading
    for name, value in arguments.parameters:
        if name in parameters:
            raise InputError(f"parameter {name} is given twice")
        parameters[name] = Raw(value)
    options: dict[str, Any] = {key: getattr(arguments, key) for key in ("out", "force", "jobs")}
    if arguments.sweeps:
        options["sweeps"] = read_sweeps(arguments.sweeps)
        return sweep_notebooks(arguments.notebooks, parameters=parameters, **options).exit_code
    return run_notebooks(arguments.notebooks, parameters, **options).exit_code


def add_book(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `book`."""
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder, or an earlier book")
    parser.add_argument("--run", default="runs/default", metavar="RUN", help="folder of a run (default: %(default)s)")


def handle_book(arguments: argparse.Namespace) -> int:
    """
    Write a run as a static site: a page for each executed notebook, with search, light and dark. The difficulty
    explorer, the schedule designer and the intensity comparer work in the page. It opens from a folder and from any
    host of files, without Python and without a network. Needs `pip install 'class-kit[book]'`.
    """
    from class_kit.runs.book import write_book

    first = write_book(arguments.folder, arguments.run)
    size = sum(path.stat().st_size for path in first.parent.iterdir() if path.is_file())
    print(f"{visible(first)} ({size / 1e6:.1f} MB in its folder)")
    return 0


def add_teach(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `teach`."""
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder")
    parser.add_argument("--minutes", type=int, default=90, metavar="N", help="length of the lesson (default: 90)")


def handle_teach(arguments: argparse.Namespace) -> int:
    """
    Copy the notebooks to a new folder: learners/ without outputs and answers, instructor/ with answers and solved
    exercises, and lesson_plan.md, built from their aims and times.
    """
    from class_kit.teaching import make_pack

    written = make_pack(arguments.folder, arguments.minutes)
    notebooks = sum(path.parent.name == "learners" for path in written)
    print(f"{notebooks} notebooks for learners and for the instructor: {visible(arguments.folder)}")
    print(f"lesson plan: {visible(written[-1])}")
    return 0
