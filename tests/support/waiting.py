"""Waiting for what comes about by itself, however busy the machine is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LIMIT_S = 60.0


def wait_until(settled: Callable[[], object]) -> None:
    """Until it is so; an AssertionError after a minute."""
    until = time.monotonic() + LIMIT_S
    while not settled() and time.monotonic() < until:
        time.sleep(0.005)
    assert settled()


def wait_for_end_of_threads(before: set[threading.Thread]) -> None:
    """Until no thread is left but those of ``before``; what was joined may take a moment to be gone."""
    wait_until(lambda: set(threading.enumerate()) <= before)
