"""How long work takes, by the clock and in processor time, which others on the machine disturb less."""

import time
from collections.abc import Callable
from typing import Any


def spent(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock, and of processor time of all threads."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor
