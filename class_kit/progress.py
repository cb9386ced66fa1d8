"""One progress bar for terminal and notebook alike, silent where nobody is looking; times in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing.process import parent_process
from typing import Any

# Says a line at once, also where it goes to a file or a pipe
printed: Callable[[str], None] = partial(print, flush=True)


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    desc: str,
    unit: str = "it",
    disable: bool | None = None,
) -> Any:
    """A `tqdm` bar with an estimate of the time left, removed when done.

    `disable=None` shows it only where a person is looking, at a terminal or a notebook's page: a bar in a log file or
    in a committed notebook is noise. `CLASS_KIT_PROGRESS=0` or `1` decides for all bars.
    """
    from tqdm import tqdm

    wish = os.environ.get("CLASS_KIT_PROGRESS")
    if disable is None:
        disable = wish == "0" if wish in {"0", "1"} else not _watched()
    return tqdm(iterable, total=total, desc=desc, unit=unit, disable=disable, leave=False, dynamic_ncols=True)


def beside_bars(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say`, with the bars taken off the terminal while it speaks and drawn again below its line."""

    def said(line: str) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode():
            say(line)

    return said


def _watched() -> bool:
    """Whether a person sees standard error: a terminal, or a notebook's page; workers leave it to who started them."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return parent_process() is None and (sys.stderr.isatty() or hasattr(shell, "kernel"))


def duration(seconds: float) -> str:
    """Seconds as a person says them: "8 s", "3 min", "2.5 h"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 1 else "a second"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"
