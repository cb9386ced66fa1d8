"""`class-kit difficulty`: neighbour counts and the easy-to-hard order of one's own pairs, as a table."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from class_kit.errors import InputError


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `difficulty`."""
    parser = subparsers.add_parser(
        "difficulty",
        help="neighbour counts and easy-to-hard order of your own pairs",
        description="Count each pair's neighbours at one or more thresholds; write counts and ranks (1 is the easiest) "
        "as CSV and print how much of each order is decided by ties. Text that a spreadsheet would take for a formula "
        "is written with an apostrophe in front.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("pairs", metavar="PAIRS", help="corpus, chebi20, or a CSV, TSV or Parquet file")
    add("--split", metavar="NAME", help="only this split (default: all rows)")
    add("--text", metavar="COLUMN", help="column of the texts")
    add("--smiles", metavar="COLUMN", help="column of the SMILES")
    add("--id", metavar="COLUMN", help="column of the ids")
    add("--data", metavar="DIR", help="folder with ChEBI-20 files")
    add("--extra", metavar="FILE", help="further pairs for chebi20")
    add("--sigma", type=float, nargs="+", default=[0.99], metavar="S", help="similarity thresholds (default: 0.99)")
    add("--encoder", default="minilm", metavar="NAME", help="minilm, scibert, a hub id or a folder")
    add("--molecule-encoder", default="mol2vec", choices=("mol2vec", "morgan"))
    add("--vectors", default="corpus", metavar="SOURCE", help="Mol2vec vectors: corpus, text2mol, mol2vec or a file")
    add("--ties", default="shuffle", choices=("shuffle", "stable", "similarity"), help="what orders equal counts")
    add("--seed", type=int, default=0, metavar="N", help="seed of the shuffle among ties")
    add(
        "--checkpoint",
        metavar="DIR",
        help="keep finished blocks of the count here: the same command goes on from them after an interruption, and "
        "they are removed when the count is complete",
    )
    add("--out", default="difficulty.csv", metavar="FILE", help="CSV to write (default: %(default)s)")
    parser.set_defaults(handler=handle_difficulty)


def handle_difficulty(arguments: argparse.Namespace) -> int:
    """Embed, count, write the table and say what came out."""
    from class_kit.difficulty import difficulty_table
    from class_kit.files import write_csv
    from class_kit.molecules import embed_molecules
    from class_kit.pairs import load_pairs
    from class_kit.terminal import visible
    from class_kit.text import embed_text

    out = Path(arguments.out)
    _check(arguments)
    rejected = _checked_outputs(arguments, out)
    options = {name: getattr(arguments, name) for name in ("split", "text", "smiles", "id", "data", "extra")}
    pairs = load_pairs(arguments.pairs, **options, rejected_to=rejected)
    if not len(pairs):
        raise InputError(f"{arguments.pairs}: no usable pairs")
    for note in pairs.notes:
        print(visible(note))
    t = embed_text(pairs.text, encoder=arguments.encoder)
    m = embed_molecules(pairs.smiles, encoder=arguments.molecule_encoder, vectors=arguments.vectors)
    table = difficulty_table(
        pairs, t, m, arguments.sigma, ties=arguments.ties, seed=arguments.seed, checkpoint=arguments.checkpoint
    )
    columns = {name: values.tolist() for name, values in table.items()}
    write_csv(out, columns, zip(*columns.values(), strict=True))
    for line in _summary(columns, arguments.sigma):
        print(line)
    print(f"{len(pairs):,} pairs: {visible(out)}" + (f"; rejected rows: {visible(rejected)}" if pairs.rejected else ""))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse at once what would otherwise fail after minutes of embedding."""
    for sigma in arguments.sigma:
        if not (math.isfinite(sigma) and -1 < sigma <= 1):
            raise InputError(f"--sigma {sigma}: expected numbers in (-1, 1]")
    # the names of the columns have six digits
    if len({f"{sigma:g}" for sigma in arguments.sigma}) < len(arguments.sigma):
        raise InputError("--sigma: the same threshold is given twice")
    if arguments.checkpoint is not None:
        _check_folder(Path(arguments.checkpoint))
    if arguments.seed < 0:
        raise InputError(f"--seed {arguments.seed}: expected a whole number from 0")


def _check_folder(folder: Path) -> None:
    """A folder, or the name of one that can be made."""
    refused = InputError(f"--checkpoint {str(folder)!r}: expected a folder, or the name of one to be made")
    if "\0" in str(folder):
        raise refused
    try:
        existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    except OSError as error:
        raise InputError(f"--checkpoint {str(folder)!r}: {error}") from None
    if not existing.is_dir():
        raise refused
    if not os.access(existing, os.W_OK):
        raise InputError(f"--checkpoint {str(folder)!r}: nothing can be written in {str(existing)!r}")


def _checked_outputs(arguments: argparse.Namespace, out: Path) -> Path:
    """The file for rejected rows, beside `out`; refused where either would replace an input or cannot be written."""
    refused = InputError(f"--out {str(out)!r}: expected the name of a file")
    if not out.name or "\0" in str(out):
        raise refused
    rejected = out.with_name(f"{out.stem}.rejected.csv")
    try:
        if out.is_dir() or rejected.is_dir():
            raise refused
        for path in (out, rejected):
            if any(_is_same(path, given) for given in (arguments.pairs, arguments.extra) if given):
                raise InputError(f"--out {str(out)!r}: {str(path)!r} is an input and would be overwritten")
        existing = next(folder for folder in out.absolute().parents if folder.exists())
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--out {str(out)!r}: {error}") from None
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"--out {str(out)!r}: nothing can be written in {str(existing)!r}")
    return rejected


def _is_same(path: Path, given: str) -> bool:
    try:
        return path.samefile(os.path.expanduser(given))
    except (OSError, ValueError):
        return False


def _summary(columns: Mapping[str, Sequence[Any]], sigmas: Sequence[float]) -> list[str]:
    import numpy as np

    from class_kit.difficulty import tie_mass

    lines = []
    for sigma in sigmas:
        counts = np.asarray(columns[f"neighbours@{sigma:g}"])
        lines.append(
            f"σ = {sigma}: {np.mean(counts == 0):.1%} of the pairs have no neighbour, median {np.median(counts):.0f}, "
            f"largest {counts.max()}; the largest tie holds {tie_mass(counts):.1%}"
        )
    return lines
