"""`class-kit fetch` and `class-kit cache`: published data brought in, kept embeddings seen to."""

from __future__ import annotations

import argparse


def add_fetch(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fetch`."""
    parser.description = "Download a published data set or model at a pinned revision, verify it and put it in place."
    parser.add_argument("what", choices=("chebi20", "mol2vec", "scibert"))
    parser.add_argument("--from", dest="source", metavar="DIR", help="take the files from a local folder instead")
    parser.add_argument("--folder", metavar="DIR", help="where to put them (default: the kit's data folder)")


def handle_fetch(arguments: argparse.Namespace) -> int:
    """Fetch and say where the files are."""
    from class_kit.fetch import fetch
    from class_kit.terminal import visible

    print(f"{arguments.what}: {visible(fetch(arguments.what, source=arguments.source, folder=arguments.folder))}")
    return 0


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `cache`."""
    parser.description = "List or clear the cache."
    parser.add_argument("action", choices=("list", "clear"))
    parser.add_argument("--kind", metavar="KIND", help="only entries of this kind, e.g. text")


def handle_cache(arguments: argparse.Namespace) -> int:
    """List the cache's entries with their sizes, or remove them."""
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


def _size(count: float) -> str:
    if count < 1024:
        return f"{count} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024 or unit == "GiB":
            break
    return f"{count:.1f} {unit}"
