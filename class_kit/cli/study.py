"""`class-kit study`: settings crossed with seeds, each with its controls, as tables and figures with intervals."""

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
    add("--plan", action="store_true", help="print what would be trained and for how long, and stop")
    add_options(parser, TaskOptions, "pairs and encoders of `study paper`", defaults={"pairs": "chebi20"}, also=SPLIT)
    add = parser.add_argument_group("other options of `study paper`").add_argument
    products = "only these, such as main ablation sigma; noise, noise_backbones and noise_epochs run only if named"
    add("--only", nargs="+", metavar="PRODUCT", help=products)
    add("--seeds", type=int, metavar="N", help="at most N seeds per setting (default: 5)")
    add("--epochs", type=int, metavar="N", help="at most N epochs per training (default: 40, slow backbones 5)")


def handle_study(arguments: argparse.Namespace) -> int:
    """
    Cross the settings of a YAML file, train what is missing, and write the ranks of every run, tables (CSV, LaTeX) and
    figures. Run it again to continue.
    """
    from joblib import cpu_count

    from class_kit.files import lock
    from class_kit.study.conduct import plan_study, refuse_foreign, run_study
    from class_kit.study.config import read_config, study_config
    from class_kit.study.paper import draw_paper, keep_study, paper_studies
    from class_kit.study.results import failed_lines
    from class_kit.task import load_task
    from class_kit.terminal import counted, visible

    if arguments.jobs is not None and arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs}: expected at least 1")
    jobs = arguments.jobs or cpu_count()
    given, most = given_options(arguments, TaskOptions), {"seeds": arguments.seeds, "epochs": arguments.epochs}
    files: dict[str, dict[str, Any]] = {}
    if arguments.config == PAPER:
        files = paper_studies({"source": given.pop("pairs", "chebi20"), **given}, arguments.only or (), **most)
        studies = {name: study_config(values) for name, values in files.items()}
        out = Path(arguments.out or "runs/paper")
    else:
        for name in (*given, *(name for name in ("only", *most) if getattr(arguments, name) is not None)):
            raise InputError(f"--{name.replace('_', '-')} belongs to `study {PAPER}`; set it in the study file instead")
        # the only study stands in the folder itself
        studies = {"": read_config(arguments.config)}
        out = Path(arguments.out or f"runs/study-{folder_name(studies[''].name, 'study')}")
    refuse_foreign(out)
    load, failed = cache(load_task), 0
    with nullcontext() if arguments.plan else lock(out):
        for name, config in studies.items():
            plan = plan_study(config, {choice.name: load(**choice.sets) for choice in config.pairs})
            for line in plan.lines(jobs):
                print(f"{name}: {line}" if name else line, flush=True)
            if arguments.plan:
                continue
            results = run_study(plan, out / name, jobs=jobs)
            if name:
                keep_study(out, name, files[name], plan, results)
            else:
                _print_summary(plan, results)
            for line in failed_lines(results):
                print(line, flush=True)
            failed += len(results["failed"])
        if files and not arguments.plan:
            draw_paper(out)
    if not arguments.plan:
        lost = f"; {counted(failed, 'training')} failed, tracebacks in failures.json" if failed else ""
        print(f"saved in {visible(out)}{lost}")
    return int(failed > 0)


def _print_summary(plan: StudyPlan, results: Mapping[str, Any]) -> None:
    from class_kit.notices import split_title
    from class_kit.study.results import study_tables
    from class_kit.terminal import visible

    lines = list(results["notices"])
    if results["summary"]:
        ranked = {split_title(task.evaluation_split) for task in plan.tasks.values()}
        lines += [f"ranked: {', '.join(sorted(ranked))}", study_tables(results)["summary"][1].to_string(index=False)]
    for line in lines:
        print(visible(line))
