"""`class-kit study`: settings crossed with seeds, each with its controls, as tables and figures with intervals."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from class_kit.cli.options import SPLIT, add_import_option, add_options, folder_name, given_options, import_own
from class_kit.errors import InputError
from class_kit.options import TaskOptions

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
    add_import_option(parser)
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

    if arguments.jobs is not None and arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs}: expected at least 1")
    jobs = arguments.jobs or cpu_count()
    import_own(arguments.modules)
    given = given_options(arguments, TaskOptions)
    if arguments.config == PAPER:
        return _handle_paper(arguments, {"source": given.pop("pairs", "chebi20"), **given}, jobs)
    for name in (*given, *(name for name in ("only", "seeds", "epochs") if getattr(arguments, name) is not None)):
        raise InputError(f"--{name.replace('_', '-')} belongs to `study {PAPER}`; set it in the study file instead")
    return _handle_file(arguments, jobs)


def _handle_file(arguments: argparse.Namespace, jobs: int) -> int:
    from class_kit.files import lock
    from class_kit.notices import split_title
    from class_kit.study.conduct import plan_study, refuse_foreign, run_study
    from class_kit.study.config import read_config
    from class_kit.study.results import failed_lines, study_tables
    from class_kit.terminal import visible

    config = read_config(arguments.config)
    out = Path(arguments.out or f"runs/study-{folder_name(config.name, 'study')}")
    refuse_foreign(out)
    plan = plan_study(config)
    for line in plan.lines(jobs):
        print(line, flush=True)
    if arguments.plan:
        return 0
    with lock(out):
        results = run_study(plan, out, jobs=jobs)
    for line in results["notices"]:
        print(visible(line))
    if results["summary"]:
        ranked = {split_title(task.evaluation_split) for task in plan.tasks.values()}
        print(visible(f"ranked: {', '.join(sorted(ranked))}"))
        print(visible(study_tables(results)["summary"][1].to_string(index=False)))
    for line in failed_lines(results):
        print(line)
    failed = bool(results["failed"])
    print(f"saved in {visible(out)}" + (f"; tracebacks in {visible(out / 'failures.json')}" if failed else ""))
    return int(failed)


def _handle_paper(arguments: argparse.Namespace, pairs: dict[str, Any], jobs: int) -> int:
    from class_kit.files import lock
    from class_kit.study.conduct import refuse_foreign
    from class_kit.study.noise import plan_noise, run_noise
    from class_kit.study.paper import load_paper_task, paper_studies, plan_paper, run_paper
    from class_kit.study.paper_tables import NOISE

    only, most = arguments.only or (), {"seeds": arguments.seeds, "epochs": arguments.epochs}
    noise = [name for name in only if name in NOISE]
    if noise and len(noise) < len(only):
        raise InputError(f"--only: {', '.join(noise)} run apart from the other products, expected one kind at a time")
    out = Path(arguments.out or "runs/paper")
    refuse_foreign(out)
    if noise:
        plans = plan_noise(noise, pairs, **most)
        if arguments.plan:
            for name, plan in plans.items():
                for line in plan.lines(jobs):
                    print(f"{name}: {line}", flush=True)
            return 0
        with lock(out):
            return _ended(out, run_noise(plans, out, jobs=jobs))
    studies = paper_studies(pairs, only, **most)
    task = load_paper_task(pairs)
    if arguments.plan:
        for name, values in studies.items():
            for line in plan_paper(values, task).lines(jobs):
                print(f"{name}: {line}", flush=True)
        return 0
    with lock(out):
        results = run_paper(studies, task, pairs, out, jobs=jobs)
    return _ended(out, sum(len(results["products"][name]["failed"]) for name in studies))


def _ended(out: Path, failed: int) -> int:
    from class_kit.terminal import visible

    print(f"saved in {visible(out)}" + (f"; {failed} trainings failed, see failures.json there" if failed else ""))
    return int(failed > 0)
