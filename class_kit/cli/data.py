"""`class-kit fetch`, `cache`, `difficulty` and `check`: fetch data, list stored embeddings, measure pairs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from class_kit.cli.options import add_options, given_options, help_of
from class_kit.errors import InputError
from class_kit.options import Arm, TaskOptions, TrainingConfig

if TYPE_CHECKING:
    import numpy as np

    from class_kit.pairs import PairSet


def add_fetch(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fetch`."""
    what = "without it, list every file with its size and digest, and whether it is there"
    parser.add_argument("what", choices=("chebi20", "mol2vec", "scibert"), nargs="?", help=what)
    parser.add_argument("--from", dest="source", metavar="DIR", help="use files from a local folder instead")
    parser.add_argument("--folder", metavar="DIR", help="where to put them (default: the kit's data folder)")


def handle_fetch(arguments: argparse.Namespace) -> int:
    """Download a published data set or model at a pinned revision, verify it and put it in place."""
    from class_kit.fetch import fetch, list_files
    from class_kit.terminal import visible

    if arguments.what is None:
        for what, name, about, place in list_files():
            print(f"{what:<8} {name} ({about}): {visible(place or 'missing')}")
        return 0
    print(f"{arguments.what}: {visible(fetch(arguments.what, source=arguments.source, folder=arguments.folder))}")
    return 0


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `cache`."""
    parser.add_argument("action", choices=("list", "clear"))
    parser.add_argument("--kind", metavar="KIND", help="only entries of this kind, e.g. text")


def handle_cache(arguments: argparse.Namespace) -> int:
    """List the stored embeddings with their sizes, or remove them."""
    from class_kit.store import cache_entries, cache_folder, clear_cache
    from class_kit.terminal import visible

    folder = visible(cache_folder())
    if arguments.action == "clear":
        count, size = clear_cache(arguments.kind)
        print(f"removed {count} entries, {_size(size)}, from {folder}")
        return 0
    entries = cache_entries(arguments.kind)
    for entry in entries:
        items = "unreadable" if entry.items is None else f"{entry.items:,} items"
        print(f"{entry.kind:<12} {visible(entry.name):<40} {items:>16} {_size(entry.size):>10}")
    print(f"{len(entries)} entries, {_size(sum(entry.size for entry in entries))}, in {folder}")
    return 0


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


def add_difficulty(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `difficulty`."""
    _add_pairs(parser, "difficulty.csv")
    add = parser.add_argument
    add("--sigma", type=float, nargs="+", default=[0.99], metavar="S", help="similarity thresholds (default: 0.99)")
    add("--ties", default="shuffle", choices=("shuffle", "stable", "similarity"), help="how equal counts are ordered")
    add("--seed", type=int, default=0, metavar="N", help="seed of the shuffle among ties")


def handle_difficulty(arguments: argparse.Namespace) -> int:
    """
    Count each pair's neighbours at one or more thresholds; write counts and ranks (1 is the easiest) as CSV and print
    how much of each order is decided by ties. Text that a spreadsheet would read as a formula gets a leading
    apostrophe.
    """
    import numpy as np

    from class_kit.difficulty import difficulty_table, tie_mass
    from class_kit.files import write_csv

    # refuse bad values before minutes of embedding, not after
    for sigma in arguments.sigma:
        Arm("difficulty", sigma=sigma)
    TrainingConfig(seed=arguments.seed)
    # the names of the columns have six digits
    if len({f"{sigma:g}" for sigma in arguments.sigma}) < len(arguments.sigma):
        raise InputError(f"--sigma {arguments.sigma}: the same threshold is given twice, expected distinct ones")
    pairs, t, m, where = _embedded(arguments)
    table = difficulty_table(pairs, t, m, arguments.sigma, ties=arguments.ties, seed=arguments.seed)
    columns = {name: values.tolist() for name, values in table.items()}
    write_csv(arguments.out, columns, zip(*columns.values(), strict=True))
    for sigma in arguments.sigma:
        counts = table[f"neighbours@{sigma:g}"]
        print(
            f"σ = {sigma}: {np.mean(counts == 0):.1%} of the pairs have no neighbour, median {np.median(counts):.0f}, "
            f"largest {counts.max()}; tie mass {tie_mass(counts):.1%}"
        )
    print(where)
    return 0


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    _add_pairs(parser, "suspects.csv")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the folds and of the interval")
    about = "exit with code 1 if the whole interval of the mismatched share is above this"
    parser.add_argument("--fail-above", type=float, metavar="SHARE", help=about)


def handle_check(arguments: argparse.Namespace) -> int:
    """
    Report the usable and unusable rows of a table, its repeats, and how many pairs are mismatched, that is, have a
    text that does not belong to the molecule. The most suspicious pairs are printed; all suspects are written as CSV.
    No retriever is trained; the audit uses the vectors alone.
    """
    from class_kit.agreement import audit_pairs, suspect_table
    from class_kit.checks import check_real
    from class_kit.files import write_csv
    from class_kit.terminal import one_line

    TrainingConfig(seed=arguments.seed)
    if arguments.fail_above is not None:
        check_real("--fail-above", arguments.fail_above, low=0, high=1)
    pairs, t, m, where = _embedded(arguments)
    for name, column in (("texts", pairs.text), ("SMILES", pairs.smiles)):
        print(f"{len(set(column)):,} distinct {name} in {len(pairs):,} pairs, {len(pairs.rejected):,} rejected")
    audit = audit_pairs(t, m, seed=arguments.seed)
    low, high = audit.mismatch_share_ci
    print(f"mismatched pairs: {audit.mismatch_share:.1%} (95 % interval {low:.1%} to {high:.1%})")
    if audit.shuffled_as_a_whole:
        print("texts and molecules agree no better than by chance: the table looks shuffled as a whole")
    columns = suspect_table(pairs, t, m, audit)
    write_csv(arguments.out, columns, zip(*columns.values(), strict=True))
    for row in range(min(10, len(audit.suspects))):
        id, smiles, text, reason = (columns[name][row] for name in ("id", "smiles", "text", "reason"))
        print(one_line(f"  {id}  {smiles:.40}  {text:.80}"))
        print(one_line(f"      {reason}"))
    print(where)
    return int(arguments.fail_above is not None and low > arguments.fail_above)


def _add_pairs(parser: argparse.ArgumentParser, out: str) -> None:
    add = parser.add_argument
    add("pairs", metavar="PAIRS", help=help_of(TaskOptions, "pairs"))
    add("--split", metavar="NAME", help="only this split (default: all rows)")
    add_options(parser, TaskOptions, "pairs and encoders", skip=("pairs", "swap", "noise", "noise_seed"))
    add("--out", default=out, metavar="FILE", help="CSV to write (default: %(default)s)")


def _embedded(arguments: argparse.Namespace) -> tuple[PairSet, np.ndarray, np.ndarray, str]:
    """The pairs that a command names, their vectors, and where its output and, next to it, the rejected rows are."""
    from class_kit.molecules import embed_molecules
    from class_kit.pairs import load_pairs
    from class_kit.terminal import visible
    from class_kit.text import embed_text

    options = TaskOptions(**given_options(arguments, TaskOptions))
    out = Path(arguments.out)
    rejected = out.with_name(f"{out.stem}.rejected.csv") if out.name else out
    for path in (out, rejected):
        if not path.name or path.is_dir():
            raise InputError(f"--out {arguments.out!r}: expected the name of a file")
        for given in (os.path.expanduser(each) for each in (options.pairs, options.extra) if each):
            if path.exists() and os.path.exists(given) and path.samefile(given):
                raise InputError(f"--out: {str(path)!r} is an input and would be overwritten")
    pairs = load_pairs(options.pairs, arguments.split, **options.reading, rejected_to=rejected)
    for note in pairs.notes:
        print(visible(note))
    t = embed_text(pairs.text, encoder=options.text_encoder)
    m = embed_molecules(pairs.smiles, encoder=options.molecule_encoder, vectors=options.vectors)
    beside = f"; rejected rows: {visible(rejected)}" if pairs.rejected else ""
    return pairs, t, m, f"{len(pairs):,} pairs: {visible(arguments.out)}{beside}"
