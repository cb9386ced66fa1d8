"""`class-kit figures`: a finished run's figures once more, for a paper or a slide."""

from __future__ import annotations

import argparse

# As in class_kit.figures.styles, which would load matplotlib for every command; a test holds the two equal.
STYLES = ("notebook", "acl", "nature", "slides")


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `figures`."""
    parser = subparsers.add_parser(
        "figures",
        help="draw a run's figures again in a paper's or a slide's style",
        description="Draw the figures of a finished run again from their recorded data, as vector PDF with embedded "
        "fonts and as PNG, each beside a JSON of what regenerates it. Nothing is computed again.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a folder of figures with their JSON")
    parser.add_argument("--style", required=True, choices=STYLES, help="widths, type and lines to draw with")
    parser.add_argument("--out", metavar="DIR", help="where to (default: RUN/figures-STYLE)")
    parser.set_defaults(handler=handle_figures)


def handle_figures(arguments: argparse.Namespace) -> int:
    """Redraw and say where the files are; 1 where a figure could not be drawn again."""
    import matplotlib as mpl

    mpl.use("agg")
    from class_kit.figures import redraw_run
    from class_kit.terminal import visible

    missing: list[str] = []
    written = redraw_run(arguments.run, arguments.style, arguments.out, say=missing.append)
    for line in missing:
        print(visible(line))
    print(f"{len(written)} figures in style {arguments.style}: {visible(written[0].parent)}")
    return 1 if missing else 0
