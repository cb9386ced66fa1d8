"""Progress bars for terminals and notebooks, and durations in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing.process import parent_process
from typing import Any

# Prints a line at once, to a file or a pipe as well.
printed: Callable[[str], None] = partial(print, flush=True)


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    desc: str,
    unit: str = "it",
    show: bool | None = None,
) -> Any:
    """A `tqdm` bar with an estimate of the remaining time, removed when done.

    By default it is shown only on a terminal or in an open notebook and not by worker processes, because a bar in a log
    file or a committed notebook is noise. `CLASS_KIT_PROGRESS=0` or `1` sets this for all bars.
    """
    from tqdm import tqdm

    setting = os.environ.get("CLASS_KIT_PROGRESS")
    if show is None and setting in {"0", "1"}:
        show = setting == "1"
    if show is None:
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        show = parent_process() is None and (sys.stderr.isatty() or hasattr(shell, "kernel"))
    return tqdm(iterable, total=total, desc=desc, unit=unit, disable=not show, leave=False, dynamic_ncols=True)


def beside_bars(say: Callable[[str], None]) -> Callable[[str], None]:
    """Wrap `say` so that bars are cleared from the terminal for its line and redrawn below it."""
    from tqdm import tqdm

    return tqdm.external_write_mode()(say)


def duration(seconds: float) -> str:
    """A duration in words: "8 s", "3 min", "2.5 h"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 1 else "a second"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"
