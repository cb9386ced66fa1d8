"""`class-kit run`: notebooks with strict parameters."""

from __future__ import annotations

import argparse

from class_kit.errors import InputError

_EXAMPLES = """examples:
  class-kit run                                  every notebook on the bundled corpus
  class-kit run retrieval -p seeds '[0, 1, 2]'   one notebook with a parameter of its own
  class-kit run --pairs chebi20 --name real      on ChEBI-20 (class-kit fetch chebi20)
"""


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `run`."""
    parser = subparsers.add_parser(
        "run",
        help="execute notebooks and leave a record in runs/<name>/",
        description="Execute notebooks with strict parameters; write the executed notebooks, metrics.json, figures, "
        "report.html and manifest.json to runs/<name>/. What is finished and unchanged is not computed again.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="a path or a stem; all numbered ones if none")
    parser.add_argument("--pairs", metavar="SOURCE", help="corpus, chebi20, or a CSV, TSV or Parquet file")
    parser.add_argument("--data", metavar="DIR", help="folder with fetched data")
    parser.add_argument("--extra", metavar="FILE", help="file of further training pairs")
    parser.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter; refused where no chosen notebook declares it or the type differs",
    )
    parser.add_argument("--out", metavar="DIR", help="the run's folder (default: runs/<name>)")
    parser.add_argument("--name", metavar="NAME", help="the run's name (default: 'default', or from the parameters)")
    parser.add_argument("--force", action="store_true", help="compute again what is finished")
    parser.set_defaults(handler=handle_run)


def handle_run(arguments: argparse.Namespace) -> int:
    """Execute the chosen notebooks; the exit code says whether all of them finished."""
    from class_kit.runs import run_notebooks
    from class_kit.runs.notebook_files import Raw

    parameters = {}
    for name, value in arguments.parameters:
        if name in parameters:
            raise InputError(f"parameter {name} is given twice")
        parameters[name] = Raw(value)
    result = run_notebooks(
        arguments.notebooks or None,
        parameters,
        out=arguments.out,
        name=arguments.name,
        pairs=arguments.pairs,
        data=arguments.data,
        extra=arguments.extra,
        force=arguments.force,
    )
    return result.exit_code
