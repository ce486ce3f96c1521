"""What can go wrong, and the exit status each error ends the program with.

    RunbookError                 1  a change or a check failed
    ├── BadInput                 2  the site, an option or a file is wrong
    ├── Refused                  3  the site or its state does not allow it; nothing was changed
    │   └── Unreachable          3  a host does not answer, or is not the one it should be
    ├── Lost                     1  connection or patience ended while something ran: done or not;
    │                               where a step only reads, it becomes Unreachable
    ├── ChangeFailed             1  a change was tried and did not succeed
    └── CheckFailed              1  a check of the running system did not hold

Every message says where, what was tried, what came back and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

IN_DOUBT = "; whether it took effect is not known"
"""What is said of a request whose end was not heard, unless it only asked to read."""


class RunbookError(Exception):
    """An error that an operator can cause or mend; printed as one message, never as a traceback.

    Args:
        message: What happened, complete enough to act on.
        host: The host concerned, or ``None`` where it is not about one host.
        step: The step that was running, or ``None`` outside a step.
        todo: What to do next, as a sentence; empty where the message already says it.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, host: str | None = None, step: str | None = None, todo: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.host = host
        self.step = step
        self.todo = todo

    def __str__(self) -> str:
        place = ", ".join(part for part in (self.host, self.step) if part)
        text = f"{place}: {self.message}" if place else self.message
        return f"{text}\n  What to do: {self.todo}" if self.todo else text

    def _render_traceback_(self) -> list[str]:
        """Show one message where IPython would show a traceback (IPython's own protocol)."""
        return [f"{type(self).__name__}: {self}"]


class BadInput(RunbookError):
    """The operator's input is wrong; nothing was contacted."""

    exit_code = 2


class Refused(RunbookError):
    """The site or the state of its hosts does not allow this run; nothing was changed."""

    exit_code = 3


class Unreachable(Refused):
    """A host does not answer, or is not the host it should be; nothing was asked of it yet."""


class Lost(RunbookError):
    """The connection, or the time, ended while something ran; whether it took effect is open."""


class ChangeFailed(RunbookError):
    """A change was tried and did not succeed."""


class CheckFailed(RunbookError):
    """A check of the running system did not hold."""


@contextmanager
def during(step: str) -> Iterator[None]:
    """Name the step in an error from within that names none."""
    try:
        yield
    except RunbookError as error:
        error.step = error.step or step
        raise
