"""`class-kit study`: cross settings with seeds, train each arm with its controls, and report them with intervals."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.cli.options import SPLIT, add_options, folder_name, given_options
from class_kit.errors import InputError
from class_kit.options import TaskOptions

if TYPE_CHECKING:
    from class_kit.study.conduct import StudyPlan

# the one word that is not read as the path of a study file
PAPER = "paper"


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study`."""
    add = parser.add_argument
    config = 'a YAML file (keys: figures/paper/README.md), or "paper" to test the claims of the paper'
    add("config", metavar="CONFIG", help=config)
    add("--out", metavar="DIR", help="folder for the results (default: runs/study-NAME, or runs/paper)")
    add("--jobs", type=int, metavar="N", help="trainings in parallel (default: one per core)")
    plan = "print how many trainings there are, how many are done and how long the rest may take; train nothing"
    add("--plan", action="store_true", help=plan)
    add_options(parser, TaskOptions, "pairs and encoders of `study paper`", defaults={"pairs": "chebi20"}, also=SPLIT)
    add = parser.add_argument_group("other options of `study paper`").add_argument
    only = "only these, such as main ablation sigma; origins, sizes, published and noise… run only if named"
    add("--only", nargs="+", metavar="STUDY", help=only)
    add("--seeds", type=int, metavar="N", help="at most N seeds per setting (default: 5)")
    add("--epochs", type=int, metavar="N", help="at most N epochs per training (default: 40, slow backbones 5)")


def handle_study(arguments: argparse.Namespace) -> int:
    """
    Cross the settings of a YAML file, train what is missing, and write the ranks of every run, tables (CSV, LaTeX) and
    figures. Run it again to continue.
    """
    from joblib import cpu_count

    from class_kit.files import lock, own_folder
    from class_kit.study.conduct import plan_study, run_study
    from class_kit.study.config import read_config
    from class_kit.study.paper import keep_study, paper_studies, refuse_missing
    from class_kit.task import load_task
    from class_kit.terminal import counted, one_line, visible

    if arguments.jobs is not None and arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs}: expected at least 1")
    jobs = arguments.jobs or cpu_count()
    given, most = given_options(arguments, TaskOptions), {"seeds": arguments.seeds, "epochs": arguments.epochs}
    if arguments.config == PAPER:
        studies = paper_studies({"source": given.pop("pairs", "chebi20"), **given}, arguments.only or (), **most)
        out = Path(arguments.out or "runs/paper")
    else:
        for name in (*given, *(name for name in ("only", *most) if getattr(arguments, name) is not None)):
            raise InputError(f"--{name.replace('_', '-')} belongs to `study {PAPER}`; set it in the study file instead")
        # the only study stands in the folder itself
        studies = {"": read_config(arguments.config)}
        out = Path(arguments.out or f"runs/study-{folder_name(studies[''].name, 'study')}")
    own_folder(out, "study.json", "paper.json", "noise.json", ".lock")
    # all files and pairs first, so that missing ones are noticed before anything is trained
    refuse_missing(studies)
    load, failed = cache(load_task), 0
    tasks = {name: {one.name: load(**one.sets) for one in config.pairs} for name, config in studies.items()}
    with nullcontext() if arguments.plan else lock(out):
        for name, config in studies.items():
            plan = plan_study(config, tasks[name])
            for line in plan.lines(jobs):
                print(f"{name}: {line}" if name else line, flush=True)
            if arguments.plan:
                continue
            results = run_study(plan, out / name, jobs=jobs)
            if name:
                keep_study(out, name, plan, results)
            else:
                _print_summary(plan, results)
            for one in results["failed"]:
                print(one_line("failed: {backbone}, {arm}, seed {seed}: {reason}".format(**one)), flush=True)
            failed += len(results["failed"])
    if not arguments.plan:
        lost = f"; {counted(failed, 'training')} failed, tracebacks in failures.json" if failed else ""
        print(f"saved in {visible(out)}{lost}")
    return int(failed > 0)


def _print_summary(plan: StudyPlan, results: Mapping[str, Any]) -> None:
    from class_kit.notices import split_title
    from class_kit.study.tables import study_tables
    from class_kit.terminal import visible

    lines = list(results["notices"])
    if results["summary"]:
        ranked = {split_title(task.evaluation_split) for task in plan.tasks.values()}
        lines += [f"ranked: {', '.join(sorted(ranked))}", study_tables(results)["summary"][1].to_string(index=False)]
    for line in lines:
        print(visible(line))
