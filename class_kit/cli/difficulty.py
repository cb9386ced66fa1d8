"""`class-kit difficulty`: neighbour counts and the easy-to-hard order of one's own pairs, as a table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from class_kit.cli.options import add_options, given_options, help_of
from class_kit.errors import InputError
from class_kit.options import TaskOptions


def add_difficulty(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `difficulty`."""
    parser.description = (
        "Count each pair's neighbours at one or more thresholds; write counts and ranks (1 is the easiest) as CSV and "
        "print how much of each order is decided by ties. Text that a spreadsheet would take for a formula is written "
        "with an apostrophe in front."
    )
    add = parser.add_argument
    add("pairs", metavar="PAIRS", help=help_of(TaskOptions, "pairs"))
    add("--split", metavar="NAME", help="only this split (default: all rows)")
    add("--id", metavar="COLUMN", help="column of the ids")
    add("--encoder", default="minilm", metavar="NAME", help=help_of(TaskOptions, "text_encoder"))
    add_options(parser, TaskOptions, "pairs and encoders", skip=("pairs", "swap", "text_encoder"))
    add("--sigma", type=float, nargs="+", default=[0.99], metavar="S", help="similarity thresholds (default: 0.99)")
    add("--ties", default="shuffle", choices=("shuffle", "stable", "similarity"), help="what orders equal counts")
    add("--seed", type=int, default=0, metavar="N", help="seed of the shuffle among ties")
    add(
        "--checkpoint",
        metavar="DIR",
        help="keep finished blocks of the count here: the same command goes on from them after an interruption, and "
        "they are removed when the count is complete",
    )
    add("--out", default="difficulty.csv", metavar="FILE", help="CSV to write (default: %(default)s)")


def handle_difficulty(arguments: argparse.Namespace) -> int:
    """Embed, count, write the table and say what came out."""
    import numpy as np

    from class_kit.difficulty import difficulty_table, tie_mass
    from class_kit.files import write_csv
    from class_kit.molecules import embed_molecules
    from class_kit.pairs import load_pairs
    from class_kit.terminal import visible
    from class_kit.text import embed_text

    # what would otherwise fail after minutes of embedding is refused first
    for sigma in arguments.sigma:
        if not -1 < sigma <= 1:
            raise InputError(f"--sigma {sigma}: expected numbers in (-1, 1]")
    # the names of the columns have six digits
    if len({f"{sigma:g}" for sigma in arguments.sigma}) < len(arguments.sigma):
        raise InputError("--sigma: the same threshold is given twice")
    if arguments.seed < 0:
        raise InputError(f"--seed {arguments.seed}: expected a whole number from 0")
    options = TaskOptions(**given_options(arguments, TaskOptions))
    out = Path(arguments.out)
    rejected = out.with_name(f"{out.stem}.rejected.csv") if out.name else out
    if arguments.checkpoint is not None:
        _check_output("--checkpoint", Path(arguments.checkpoint), folder=True)
    for path in (out, rejected):
        _check_output("--out", path, inputs=(options.pairs, options.extra))
    source = {"split": arguments.split, "id": arguments.id, "text": options.text, "smiles": options.smiles}
    pairs = load_pairs(options.pairs, **source, data=options.data, extra=options.extra, rejected_to=rejected)
    if not len(pairs):
        raise InputError(f"{arguments.pairs}: no usable pairs")
    for note in pairs.notes:
        print(visible(note))
    t = embed_text(pairs.text, encoder=arguments.encoder)
    m = embed_molecules(pairs.smiles, encoder=options.molecule_encoder, vectors=options.vectors)
    table = difficulty_table(
        pairs, t, m, arguments.sigma, ties=arguments.ties, seed=arguments.seed, checkpoint=arguments.checkpoint
    )
    columns = {name: values.tolist() for name, values in table.items()}
    write_csv(out, columns, zip(*columns.values(), strict=True))
    for sigma in arguments.sigma:
        counts = table[f"neighbours@{sigma:g}"]
        print(
            f"σ = {sigma}: {np.mean(counts == 0):.1%} of the pairs have no neighbour, median {np.median(counts):.0f}, "
            f"largest {counts.max()}; the largest tie holds {tie_mass(counts):.1%}"
        )
    print(f"{len(pairs):,} pairs: {visible(out)}" + (f"; rejected rows: {visible(rejected)}" if pairs.rejected else ""))
    return 0


def _check_output(option: str, path: Path, *, folder: bool = False, inputs: Sequence[str | None] = ()) -> None:
    """Refuse a file or folder that cannot be made, or a file that would replace an input."""
    expected = "a folder, or the name of one to be made" if folder else "the name of a file"
    refused = InputError(f"{option} {str(path)!r}: expected {expected}")
    if not path.name or "\0" in str(path):
        raise refused
    try:
        places = (path.absolute(), *path.absolute().parents)
        existing = next(place for place in places if place.exists())
        if existing.is_dir() != (folder or existing != places[0]):
            raise refused
        for given in (os.path.expanduser(each) for each in inputs if each):
            if existing == places[0] and os.path.exists(given) and os.path.samefile(path, given):
                raise InputError(f"{option}: {str(path)!r} is an input and would be overwritten")
    except OSError as error:
        raise InputError(f"{option} {str(path)!r}: {error}") from None
    place = existing if existing.is_dir() else existing.parent
    if not os.access(place, os.W_OK):
        raise InputError(f"{option} {str(path)!r}: nothing can be written in {str(place)!r}")
