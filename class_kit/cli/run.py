"""`class-kit run`: notebooks with strict parameters."""

from __future__ import annotations

import argparse
from typing import Any

from class_kit.cli.options import help_of
from class_kit.errors import InputError
from class_kit.options import TaskOptions

_EXAMPLES = """examples:
  class-kit run                                  every notebook on the bundled corpus
  class-kit run retrieval -p seeds '[0, 1, 2]'   one notebook with a parameter of its own
  class-kit run --pairs chebi20 --name real      on ChEBI-20 (class-kit fetch chebi20)
  class-kit run scheduler --sweep growth=0.02,0.06 --sweep start=0.2,0.4
                                                 four runs side by side, one for each combination
"""


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.description = (
        "Execute notebooks with strict parameters; write the executed notebooks, metrics.json, figures, report.html "
        "and manifest.json to runs/<name>/. What is finished and unchanged is not computed again. A sweep does so for "
        "every combination of values, in parallel, and adds an index.html with all figures."
    )
    parser.epilog, parser.formatter_class = _EXAMPLES, argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("notebooks", nargs="*", metavar="NOTEBOOK", help="a path or a stem; all numbered ones if none")
    add("--pairs", metavar="SOURCE", help=help_of(TaskOptions, "pairs"))
    add("--data", metavar="DIR", help=help_of(TaskOptions, "data"))
    add("--extra", metavar="FILE", help=help_of(TaskOptions, "extra"))
    add(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter; refused where no chosen notebook declares it or the type differs",
    )
    add(
        "--sweep",
        dest="sweeps",
        action="append",
        default=[],
        metavar="NAME=V1,V2",
        help="run once for each value, and for each combination where given again; commas in brackets or quotes "
        "belong to a value: 'seeds=[0],[1,2]'",
    )
    add("--jobs", type=int, metavar="N", help="runs of a sweep at a time (default: one a core)")
    add("--out", metavar="DIR", help="the run's folder (default: runs/<name>)")
    add("--name", metavar="NAME", help="the run's name (default: 'default', or from the parameters)")
    add("--force", action="store_true", help="compute again what is finished")


def handle_run(arguments: argparse.Namespace) -> int:
    """Execute the chosen notebooks; the exit code says whether all of them finished."""
    from class_kit.runs import run_notebooks, sweep_notebooks
    from class_kit.runs.notebooks import Raw
    from class_kit.runs.sweep import read_sweeps

    common = [(name, getattr(arguments, name)) for name in ("pairs", "data", "extra") if getattr(arguments, name)]
    parameters: dict[str, Raw] = {}
    for name, value in [*arguments.parameters, *common]:
        if name in parameters:
            raise InputError(f"parameter {name} is given twice")
        parameters[name] = Raw(value)
    options: dict[str, Any] = {key: getattr(arguments, key) for key in ("out", "name", "force")}
    if arguments.sweeps:
        options |= {"sweeps": read_sweeps(arguments.sweeps), "jobs": arguments.jobs}
        return sweep_notebooks(arguments.notebooks, parameters=parameters, **options).exit_code
    if arguments.jobs is not None:
        raise InputError("--jobs is for the runs of a --sweep; notebooks of one run follow each other")
    return run_notebooks(arguments.notebooks, parameters, **options).exit_code
