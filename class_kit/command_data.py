"""`class-kit fetch`, `class-kit cache` and `class-kit difficulty`: data in, caches seen to, difficulties out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parsers of `fetch`, `cache` and `difficulty`."""
    _add_fetch(subparsers)
    _add_cache(subparsers)
    _add_difficulty(subparsers)


def _add_fetch(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "fetch",
        help="get ChEBI-20, the published Mol2vec vectors or SciBERT, verified",
        description="Download a published data set or model at a pinned revision, verify it and put it in place.",
        allow_abbrev=False,
    )
    parser.add_argument("what", choices=("chebi20", "mol2vec", "scibert"))
    parser.add_argument("--from", dest="source", metavar="DIR", help="take the files from a local folder instead")
    parser.add_argument("--folder", metavar="DIR", help="where to put them (default: the kit's data folder)")
    parser.set_defaults(handler=handle_fetch)


def handle_fetch(arguments: argparse.Namespace) -> int:
    """Fetch and say where the files are."""
    from class_kit.fetch import fetch
    from class_kit.terminal import visible

    print(f"{arguments.what}: {visible(fetch(arguments.what, source=arguments.source, folder=arguments.folder))}")
    return 0


def _add_cache(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "cache", help="list or clear the kept embeddings", description="List or clear the cache.", allow_abbrev=False
    )
    parser.add_argument("action", choices=("list", "clear"))
    parser.add_argument("--kind", metavar="KIND", help="only entries of this kind, e.g. text")
    parser.set_defaults(handler=handle_cache)


def handle_cache(arguments: argparse.Namespace) -> int:
    """List the cache's entries with their sizes, or remove them."""
    from class_kit.cache import cache_entries, cache_folder, clear_cache
    from class_kit.terminal import visible

    folder = visible(cache_folder())
    if arguments.action == "clear":
        count, size = clear_cache(arguments.kind)
        print(f"removed {count} entries, {_size(size)}, from {folder}")
        return 0
    entries = cache_entries(arguments.kind)
    for entry in entries:
        shape = " × ".join(map(str, entry.shape)) or "unreadable"
        print(f"{entry.kind:<12} {shape:>14} {_size(entry.size):>10}  {entry.created}  {entry.key[:12]}")
    print(f"{len(entries)} entries, {_size(sum(entry.size for entry in entries))}, in {folder}")
    return 0


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _add_difficulty(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "difficulty",
        help="neighbour counts and easy-to-hard order of your own pairs",
        description="Count each pair's neighbours and write difficulties and the easy-to-hard order as CSV.",
        allow_abbrev=False,
    )
    parser.add_argument("pairs", metavar="PAIRS", help="corpus, chebi20, or a CSV, TSV or Parquet file")
    parser.add_argument("--split", metavar="NAME", help="only this split (default: all rows)")
    parser.add_argument("--text", metavar="COLUMN", help="column of the texts")
    parser.add_argument("--smiles", metavar="COLUMN", help="column of the SMILES")
    parser.add_argument("--id", metavar="COLUMN", help="column of the ids")
    parser.add_argument("--data", metavar="DIR", help="folder with fetched data")
    parser.add_argument(
        "--sigma", type=float, nargs="+", default=[0.99], metavar="S", help="similarity thresholds (default: 0.99)"
    )
    parser.add_argument("--encoder", default="minilm", metavar="NAME", help="text encoder (default: minilm)")
    parser.add_argument("--molecules", default="mol2vec", choices=("mol2vec", "morgan"), help="molecule encoder")
    parser.add_argument("--vectors", default="corpus", metavar="SOURCE", help="Mol2vec vectors (default: corpus)")
    parser.add_argument("--ties", default="shuffle", choices=("shuffle", "stable", "similarity"), help="tie rule")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the shuffle among ties")
    parser.add_argument("--out", default="difficulty.csv", metavar="FILE", help="CSV to write (default: %(default)s)")
    parser.set_defaults(handler=handle_difficulty)


def handle_difficulty(arguments: argparse.Namespace) -> int:
    """Embed, count, write the table and say what came out."""
    from class_kit import difficulty
    from class_kit.molecules import embed_molecules
    from class_kit.pairs import load_pairs
    from class_kit.text import embed_text

    pairs = load_pairs(
        arguments.pairs,
        split=arguments.split,
        text=arguments.text,
        smiles=arguments.smiles,
        id=arguments.id,
        data=arguments.data,
    )
    t = embed_text(pairs.text, encoder=arguments.encoder)
    m = embed_molecules(pairs.smiles, encoder=arguments.molecules, vectors=arguments.vectors)
    table: Any = difficulty.difficulty_table(pairs, t, m, arguments.sigma, ties=arguments.ties, seed=arguments.seed)  # type: ignore[attr-defined]
    write_table(table, Path(arguments.out))
    return 0


# what a spreadsheet takes for a formula when it opens a CSV file
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def write_table(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Write columns as CSV, atomically; text that a spreadsheet would run as a formula gets a leading apostrophe."""
    import csv

    from class_kit.files import atomic_write

    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(map(_inert, columns))
        writer.writerows(map(_inert, row) for row in zip(*columns.values(), strict=True))


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
