"""The words for how a cell, a step or a run ended, and the exit statuses."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Status(StrEnum):
    """How a cell, a notebook, a step or a run ended; written to notebooks and records as it is.

    ``completed`` means for a cell that it ran without an error, and for a step that it also left
    the evidence it owes. ``running`` is the only one that is not an end.
    """

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    KERNEL_DIED = "kernel died"
    INTERRUPTED = "interrupted"
    KILLED = "killed"
    NEVER_RAN = "never ran"
    RUNNING = "running"


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
