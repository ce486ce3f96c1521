"""Wait for a condition, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    probe: Callable[[], T], *, holds: Callable[[T], bool], timeout_s: float, every_s: float = 0.2
) -> T:
    """Probe until the condition holds or the time is up, and return the last value probed.

    Args:
        probe: Reads the state; called at least once.
        holds: Says whether the state is the one waited for.
        timeout_s: Longest wait in seconds, counted from the call.
        every_s: Pause between two probes in seconds.

    Returns:
        The last value read. The caller judges it again, so a wait that ran out shows as what
        was really seen.
    """
    end = time.monotonic() + timeout_s
    while True:
        value = probe()
        if holds(value) or time.monotonic() >= end:
            return value
        time.sleep(every_s)
