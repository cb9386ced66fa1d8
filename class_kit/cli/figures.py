"""`class-kit figures`: a finished run's figures once more, for a paper or a slide."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from class_kit.errors import InputError

# As in class_kit.figures.style, which would load Matplotlib for every command; a test holds the two equal.
STYLES = ("notebook", "acl", "nature", "slides")


def add_figures(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `figures`."""
    parser.description = (
        "Run the notebooks of a run again with the same parameters and another style: vector PDF with embedded fonts "
        "and PNG, each beside a JSON of what regenerates it. Vectors and trainings are stored, so that most of the "
        "time goes into drawing."
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder")
    parser.add_argument("--style", required=True, choices=STYLES, help="widths, type and lines to draw with")
    parser.add_argument("--out", metavar="DIR", help="folder of the new run (default: RUN-STYLE)")


def handle_figures(arguments: argparse.Namespace) -> int:
    """Run the notebooks in the style; the exit code says whether all of them finished."""
    from class_kit.runs import run_notebooks
    from class_kit.runs.notebooks import numbered_notebooks

    run = Path(arguments.run)
    try:
        manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
        stems, parameters = set(manifest["notebooks"]), {**manifest["overrides"], "style": arguments.style}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{arguments.run!r}: no manifest.json of a run there ({error})") from None
    # a folder may come from a stranger: only the kit's own notebooks are run from it
    own = [path for path in numbered_notebooks() if path.stem in stems]
    if left := sorted(stems - {path.stem for path in own}):
        raise InputError(
            f"{arguments.run!r} holds notebooks of your own, {', '.join(left)}: run them again by "
            f"`class-kit run PATH -p style {arguments.style}`"
        )
    return run_notebooks(own, parameters, out=arguments.out or f"{run}-{arguments.style}").exit_code
