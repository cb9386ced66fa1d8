"""`class-kit study`: settings crossed with seeds, each beside its controls, as tables and figures with intervals."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `study`."""
    from class_kit.cli.training_options import add_import_option

    parser = subparsers.add_parser(
        "study",
        help="compare many ways to train, with controls, seeds and intervals",
        description="Cross the settings of a YAML file, train what is not done yet, and leave every run's ranks, "
        "tables (CSV, LaTeX) and figures. Running it again continues.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("config", metavar="CONFIG", help="a YAML file; the README shows its keys")
    add("--out", metavar="DIR", help="folder of the results (default: runs/study-NAME)")
    add("--jobs", type=int, metavar="N", help="trainings at a time (default: one a core)")
    add("--plan", action="store_true", help="say what would be done and how long it takes, and stop")
    add_import_option(parser)
    parser.set_defaults(handler=handle_study)


def handle_study(arguments: argparse.Namespace) -> int:
    """Plan, train, write; exit code 1 where a training failed."""
    from joblib import cpu_count

    from class_kit.cli.training_options import import_own
    from class_kit.errors import InputError
    from class_kit.runs.folder import lock
    from class_kit.study.conduct import plan_study, refuse_foreign, run_study
    from class_kit.study.config import read_config
    from class_kit.study.output import readable, summaries
    from class_kit.terminal import one_line, visible

    if arguments.jobs is not None and arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs}: expected at least 1")
    jobs = arguments.jobs or cpu_count()
    import_own(arguments.modules)
    config = read_config(arguments.config)
    out = Path(arguments.out or f"runs/study-{_slug(config.name)}")
    refuse_foreign(out)
    plan = plan_study(config)
    for line in plan.lines(jobs):
        print(line, flush=True)
    if arguments.plan:
        return 0
    with lock(out):
        result = run_study(plan, out, jobs=jobs)
    if result.records:
        print(one_line_table(readable(summaries(result))))
    for cell, failure in result.failures:
        print(one_line(f"failed: {cell.backbone}, {failure.summary}"))
    print(f"kept in {visible(out)}" + (f"; tracebacks in {visible(out / 'failures.json')}" if result.failures else ""))
    return 1 if result.failures else 0


def one_line_table(frame: object) -> str:
    """A table for the terminal, one line a row, with nothing in it that a terminal would obey."""
    import pandas as pd

    from class_kit.terminal import visible

    assert isinstance(frame, pd.DataFrame)
    return visible(frame.to_string(index=False))


def _slug(name: str) -> str:
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)
    return kept.strip("-")[:60] or "study"
