"""`class-kit evaluate` and `search`: a trained retriever measured again, and asked."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit.cli.training_options import TASK, add_import_option, import_own

if TYPE_CHECKING:
    from class_kit.retrieval import Ranks
    from class_kit.study.records import Record
    from class_kit.task import Task

# what `done` says: the trainings of one folder are numbered as they finish
_NUMBERED = re.compile(r"finished, number ([0-9]{1,18})\n")


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parsers of `evaluate` and `search`."""
    _add_evaluate(subparsers)
    _add_search(subparsers)


def _add_evaluate(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="rank the held-out pairs of a trained run",
        description="Rank a split's pairs with a trained run and print Hits@1, Hits@10, MRR and Mean Rank. Several "
        "runs on the same pairs rank as one, by the mean of the ranks that each gives a candidate.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", nargs="+", help="folder that class-kit train made")
    parser.add_argument("--split", metavar="NAME", help="which pairs are the queries (default: the held-out ones)")
    parser.add_argument(
        "--pool", choices=("split", "all"), help="candidates: the split's own, or all molecules (default: both)"
    )
    parser.add_argument(
        "--choose", type=int, nargs="+", default=[], metavar="K", help="also: the chance to choose right among K"
    )
    add_import_option(parser)
    parser.set_defaults(handler=handle_evaluate)


def handle_evaluate(arguments: argparse.Namespace) -> int:
    """Rank again from the saved weights and print the table."""
    from class_kit.errors import InputError
    from class_kit.study.records import load_backbone, rank_ensemble, rank_split

    import_own(arguments.modules)
    if any(k < 2 for k in arguments.choose):
        raise InputError(f"--choose {min(arguments.choose)}: expected at least 2 to choose among")
    loaded = [load_trained(run) for run in arguments.run]
    task = loaded[0][1]
    for run, (_, other) in zip(arguments.run, loaded, strict=True):
        if (other.pairs.digest, len(other.pool)) != (task.pairs.digest, len(task.pool)):
            raise InputError(f"{run}: trained on other pairs than {arguments.run[0]}; expected the same")
    split = arguments.split or task.evaluation_split
    backbones = [(load_backbone(record, task), task) for record, task in loaded]
    ranks = rank_split(*backbones[0], split) if len(backbones) == 1 else rank_ensemble(backbones, split)
    wanted = {name: found for name, found in ranks.items() if arguments.pool in (None, name.rsplit("/", 1)[1])}
    print_metrics(metrics_of(wanted), split)
    for k in arguments.choose:
        _print_choice(wanted, k)
    return 0


def _print_choice(ranks: Mapping[str, Ranks], k: int) -> None:
    """One line a ranking: how often the right one is chosen among itself and k - 1 others of the pool."""
    from class_kit.errors import InputError
    from class_kit.retrieval import k_way_chances

    for name, found in ranks.items():
        if k > found.pool:
            raise InputError(f"--choose {k}: {name} has {found.pool} candidates, expected no more")
        chance = k_way_chances(found, k).mean()
        print(f"{name:<26} right among {k}: {chance:.1%} (by chance {1 / k:.1%})")


def _add_search(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "search",
        help="find molecules for a text",
        description="Rank all molecules of a trained run's pairs by how well they fit a text.",
        allow_abbrev=False,
    )
    parser.add_argument("query", metavar="TEXT", help="what to look for, in words")
    parser.add_argument("--run", metavar="RUN", help="folder that class-kit train made (default: the newest in runs/)")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many molecules (default: %(default)s)")
    add_import_option(parser)
    parser.set_defaults(handler=handle_search)


def handle_search(arguments: argparse.Namespace) -> int:
    """Print rank, cosine, id and SMILES of the best molecules."""
    from class_kit.errors import InputError
    from class_kit.study.records import load_backbone, search_molecules
    from class_kit.terminal import one_line

    if not arguments.query.strip():
        raise InputError(f"the text {arguments.query!r} is empty: expected a description in words")
    if arguments.top < 1:
        raise InputError(f"--top {arguments.top}: expected at least 1")
    import_own(arguments.modules)
    record, task = load_trained(arguments.run or _said_newest("runs"))
    found = search_molecules(load_backbone(record, task), task, arguments.query, arguments.top)
    for place, (row, score) in enumerate(found, start=1):
        print(
            f"{place:>4}  {score:6.3f}  {one_line(task.molecules.id[row]):<14}  {one_line(task.molecules.smiles[row])}"
        )
    return 0


def _said_newest(runs: str) -> Path:
    """The newest training, which nobody named: so it is named here."""
    from class_kit.terminal import visible

    folder = newest_training(runs)
    print(f"searching with {visible(folder)}, the last finished of {runs}/; --run names another", file=sys.stderr)
    return folder


def load_trained(folder: str | Path) -> tuple[Record, Task]:
    """The record and the task of a folder that `class-kit train` finished.

    Raises
    ------
    InputError
        If the folder holds no finished training, or its pairs have changed since.
    """
    from class_kit.errors import InputError
    from class_kit.study.records import read_record
    from class_kit.task import load_task

    folder = Path(folder)
    if not (folder / "done").is_file():
        raise InputError(f"{folder}: no finished training here (class-kit train makes one; --resume continues one)")
    record = read_record(folder)
    options, digest = _stored_task(folder)
    task = load_task(**options)
    if task.digest != digest:
        raise InputError(f"{folder}: its pairs or encoders have changed since the training; train again")
    return record, task


def _stored_task(folder: Path) -> tuple[dict[str, Any], str]:
    """What `class-kit train` was told to load, and the digest of what it got.

    The folder may come from someone else: only the options of `train` are taken from it, none that names a file to be
    written.
    """
    from class_kit.errors import InputError

    try:
        stored = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        options = {name: stored["task"][name] for name in TASK if name in stored["task"]}
        digest = stored["digest"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{folder}: its task.json is damaged or missing ({error}); train again") from None
    if not all(value is None or isinstance(value, str | bool) for value in (*options.values(), digest)):
        raise InputError(f"{folder}: its task.json holds something else than names; train again")
    return options, digest


def newest_training(runs: str | Path) -> Path:
    """The folder under `runs` whose training finished last, by the numbers that `finishing_number` gave.

    Times would be misleading: a clock that was set back, or a folder that was copied, makes an older training look
    newer.

    Raises
    ------
    InputError
        If no training under `runs` is finished, or the last one cannot be told from another.
    """
    from class_kit.errors import InputError

    found = _finished_under(Path(runs))
    if not found:
        raise InputError(f"no finished training in {runs}/: run class-kit train first, or name one with --run")
    last = max(found.values())
    newest = sorted(folder for folder, number in found.items() if number == last)
    if len(newest) > 1:
        names = ", ".join(str(folder) for folder in newest[:5]) + (", …" if len(newest) > 5 else "")
        raise InputError(f"which training finished last cannot be told ({names}): name one with --run")
    return newest[0]


def finishing_number(runs: str | Path) -> int:
    """The number of a training that finishes now beside those under `runs`: one more than any of them has."""
    return 1 + max(_finished_under(Path(runs)).values(), default=0)


def _finished_under(runs: Path) -> dict[Path, int]:
    """Folders of finished trainings, each with the number that its `done` says, 0 where it says none."""
    found = {}
    for record in runs.glob("*/record.json"):
        done = record.parent / "done"
        if done.is_file():
            with open(done, encoding="utf-8", errors="replace") as file:
                numbered = _NUMBERED.fullmatch(file.read(100))
            found[record.parent] = int(numbered[1]) if numbered else 0
    return found


def metrics_of(ranks: Any) -> dict[str, dict[str, Any]]:
    """Metrics of every ranking, with intervals."""
    from class_kit.retrieval import retrieval_metrics

    return {name: retrieval_metrics(found) for name, found in ranks.items()}


def print_metrics(metrics: dict[str, dict[str, Any]], split: str) -> None:
    """One line a ranking, with its pool."""
    from class_kit.terminal import one_line

    title = f"ranking ({one_line(split)})"
    print(f"{title:<26} {'pool':>7} {'Hits@1 %':>9} {'Hits@10 %':>10} {'MRR':>7} {'Mean Rank':>10}")
    for name, values in metrics.items():
        pool = f"{int(values['pool']):,}"
        hits = f"{100 * values['hits@1']:>9.1f} {100 * values['hits@10']:>10.1f}"
        print(f"{name:<26} {pool:>7} {hits} {values['mrr']:>7.3f} {values['mean_rank']:>10.1f}")
