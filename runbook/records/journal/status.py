"""The words for how a cell, a step or a run ended, and the exit statuses."""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum, StrEnum


class Status(StrEnum):
    """How a cell, a notebook, a step or a run ended; written to notebooks and records as it is.

    A cell, a notebook or a step that came to its end is one of the first three; a step also left
    the evidence it owes. A run that came to its end is ``completed``. ``running`` is the only one
    that is not an end.
    """

    CHANGED = "changed"  # it made a change
    VERIFIED = "verified"  # it made none, and its checks hold
    UNCHANGED = "unchanged"  # it made none, and no proof was due
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    KERNEL_DIED = "kernel died"
    INTERRUPTED = "interrupted"
    KILLED = "killed"
    NEVER_RAN = "never ran"  # it was due, and not reached
    SKIPPED = "skipped"  # it was not asked for
    RUNNING = "running"


ENDED_WELL = frozenset({Status.CHANGED, Status.VERIFIED, Status.UNCHANGED, Status.COMPLETED})
"""What is good news."""

NOT_RUN = frozenset({Status.NEVER_RAN, Status.SKIPPED})
"""What is no news."""


def together(parts: Collection[Status]) -> Status:
    """Return how a notebook ended whose cells all ended well."""
    return next((s for s in (Status.CHANGED, Status.VERIFIED) if s in parts), Status.UNCHANGED)


class ExitStatus(IntEnum):
    """What ``runbook run`` ends with.

    Source: 128 + signal number is what a POSIX shell reports for a program ended by a signal
    (POSIX.1-2017, Shell Command Language, 2.8.2).
    """

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    REFUSED = 3
    DIFFERENCES = 4
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143
