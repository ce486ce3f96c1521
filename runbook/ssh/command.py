"""One command on one host, and the errors about it.

CommandFailed    1  a command ended with a status other than 0
CommandTimeout   1  a command did not end in time
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime

from runbook.errors import RunbookError

NO_STATUS = -1  # no exit status: ended by a signal, or not ended
SHOWN_LINES = 5


@dataclass(frozen=True, slots=True)
class Result:
    """One command that was run on a host.

    Args:
        host: The host's name in the site.
        argv: The command, without sudo.
        sudo: Whether it was to be run as root.
        status: Its exit status; -1 where a signal ended it or time ran out.
        stdout: Its standard output, as UTF-8 with replacements.
        stderr: Its standard error, likewise.
        started: When it was started, UTC.
        duration_ms: How long it took.

    """

    host: str
    argv: tuple[str, ...]
    sudo: bool
    status: int
    stdout: str
    stderr: str
    started: datetime
    duration_ms: int

    @property
    def command(self) -> str:
        """The command as a person would type it."""
        return ("sudo " if self.sudo else "") + shlex.join(self.argv)


class CommandFailed(RunbookError):
    """A command ended with a status other than 0.

    Args:
        result: The command and what came of it.

    """

    def __init__(self, result: Result) -> None:
        how = "was ended by a signal" if result.status == NO_STATUS else f"gave {result.status}"
        super().__init__(
            f"`{result.command}` {how}{last_words(result)}",
            host=result.host,
        )
        self.result = result


class CommandTimeout(RunbookError):
    """A command did not end in time; it may still be running.

    Args:
        result: The command and what it had said until then.
        timeout_s: How long it was waited for, seconds.

    """

    def __init__(self, result: Result, timeout_s: float) -> None:
        super().__init__(
            f"`{result.command}` did not end within {timeout_s:g} s{last_words(result)}",
            host=result.host,
            todo=f"see on {result.host} whether it is still running, and what it waits for",
        )
        self.result = result
        self.timeout_s = timeout_s


def last_words(result: Result) -> str:
    """Return the end of what a command said, as it follows a statement about it.

    Args:
        result: The command and what came of it.

    """
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()[-SHOWN_LINES:]
    return ": " + "\n    ".join(lines) if lines else ", and said nothing"
