"""`class-kit study`: settings crossed with seeds, each beside its controls, as tables and figures with intervals."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from class_kit.cli.options import add_import_option, folder_name, import_own
from class_kit.errors import InputError

# the one word that is not taken for the path of a study's file
PAPER = "paper"


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study`."""
    parser.description = (
        "Cross the settings of a YAML file, train what is not done yet, and leave every run's ranks, tables (CSV, "
        "LaTeX) and figures. Running it again continues."
    )
    add = parser.add_argument
    add("config", metavar="CONFIG", help='a YAML file, whose keys the README shows, or "paper" for the paper\'s claims')
    add("--out", metavar="DIR", help="folder of the results (default: runs/study-NAME, or runs/paper)")
    add("--jobs", type=int, metavar="N", help="trainings at a time (default: one a core)")
    add("--plan", action="store_true", help="say what would be done and how long it takes, and stop")
    add_import_option(parser)
    _add_paper_options(parser)


def _add_paper_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("options of `study paper`").add_argument
    add("--pairs", metavar="NAME_OR_FILE", help="chebi20 (default), corpus, or a CSV, TSV or Parquet file")
    add("--data", metavar="DIR", help="folder of the real split; without it where `class-kit fetch` puts it")
    add("--extra", metavar="FILE", help="with chebi20: further training pairs")
    add("--vectors", metavar="NAME", help="Mol2vec vectors: corpus (default), text2mol, mol2vec or a file")
    add("--swap", action="store_true", help="with --extra: train on the test pairs, evaluate on the validation pairs")
    add("--only", nargs="+", metavar="PRODUCT", help="these products alone, such as main ablation sigma")
    add("--seeds", type=int, metavar="N", help="at most so many seeds a setting (default: 5)")
    add(
        "--epochs",
        type=int,
        metavar="N",
        help="epochs of each training (default: 40; those that read graphs or tokens at most 5)",
    )


def handle_study(arguments: argparse.Namespace) -> int:
    """Plan, train, write; exit code 1 where a training failed."""
    from joblib import cpu_count

    from class_kit.files import lock
    from class_kit.study.conduct import plan_study, refuse_foreign, run_study
    from class_kit.study.config import read_config
    from class_kit.study.output import readable, summaries
    from class_kit.terminal import one_line, visible

    if arguments.jobs is not None and arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs}: expected at least 1")
    jobs = arguments.jobs or cpu_count()
    import_own(arguments.modules)
    if arguments.config == PAPER:
        return _handle_paper(arguments, jobs)
    _refuse_paper_options(arguments)
    config = read_config(arguments.config)
    out = Path(arguments.out or f"runs/study-{folder_name(config.name, 'study')}")
    refuse_foreign(out)
    plan = plan_study(config)
    for line in plan.lines(jobs):
        print(line, flush=True)
    if arguments.plan:
        return 0
    with lock(out):
        result = run_study(plan, out, jobs=jobs)
    if result.records:
        print(visible(readable(summaries(result)).to_string(index=False)))
    for cell, failure in result.failures:
        print(one_line(f"failed: {cell.backbone}, {failure.summary}"))
    print(f"kept in {visible(out)}" + (f"; tracebacks in {visible(out / 'failures.json')}" if result.failures else ""))
    return 1 if result.failures else 0


def _handle_paper(arguments: argparse.Namespace, jobs: int) -> int:
    from class_kit.files import lock
    from class_kit.progress import duration
    from class_kit.study.conduct import refuse_foreign
    from class_kit.study.paper import load_paper_task, paper_studies, plan_paper, run_paper
    from class_kit.terminal import visible

    given = {name: getattr(arguments, name) for name in ("data", "extra", "vectors", "swap")}
    pairs = {"source": arguments.pairs or "chebi20", **{name: value for name, value in given.items() if value}}
    studies = paper_studies(pairs, arguments.only or (), seeds=arguments.seeds, epochs=arguments.epochs)
    say = partial(print, flush=True)
    out = Path(arguments.out or "runs/paper")
    refuse_foreign(out)
    if arguments.plan:
        plan_paper(studies, load_paper_task(pairs), jobs, say)
        return 0
    begun = time.perf_counter()
    with lock(out):
        results = run_paper(studies, load_paper_task(pairs), pairs, out, jobs=jobs, say=say)
    failed = sum(len(results["products"][study.name]["failed"]) for study in studies)
    print(f"all took {duration(time.perf_counter() - begun)}")
    print(f"kept in {visible(out)}" + (f"; {failed} trainings failed, see its failures.json files" if failed else ""))
    return 1 if failed else 0


def _refuse_paper_options(arguments: argparse.Namespace) -> None:
    for name in ("pairs", "data", "extra", "vectors", "swap", "only", "seeds", "epochs"):
        if getattr(arguments, name) is not None and getattr(arguments, name) is not False:
            raise InputError(f"--{name} belongs to `study {PAPER}`; a study's file says it itself")
