"""One command on one host, and the errors about it.

CommandFailed    1  a command ended with a status other than 0
CommandTimeout   1  a command did not end in time
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime

from runbook.errors import Lost, RunbookError

NO_STATUS = -1  # no exit status: ended by a signal, or not ended
SHOWN_LINES = 5
SHOWN_CHARACTERS = 100


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
        """The command as an operator recognises it; a script by its name, ``$0``, alone."""
        argv = self.argv
        if argv[:2] == ("sh", "-c"):
            argv = argv[3:] or ("sh", "-c", argv[2].strip().replace("\n", "; "))
        text = ("sudo " if self.sudo else "") + shlex.join(argv)
        shown = text.partition("\n")[0][:SHOWN_CHARACTERS]
        return text if shown == text else f"{shown}…"


class CommandFailed(RunbookError):
    """A command ended with a status other than 0.

    Args:
        result: The command and what came of it.

    """

    def __init__(self, result: Result) -> None:
        how = "was ended by a signal" if result.status == NO_STATUS else f"gave {result.status}"
        said = last_words(result.stderr) or last_words(result.stdout)
        what = f"`{result.command}` {how}"
        super().__init__(
            f"{said} ({what})" if said else f"{what}, and said nothing", host=result.host
        )
        self.result = result


class CommandTimeout(Lost):
    """A command did not end in time; it may still be running.

    Args:
        result: The command and what it had said until then.
        timeout_s: How long it was waited for, seconds.

    """

    def __init__(self, result: Result, timeout_s: float) -> None:
        said = last_words(result.stderr) or last_words(result.stdout)
        super().__init__(
            f"`{result.command}` did not end within {timeout_s:g} s"
            + (f": {said}" if said else ", and said nothing"),
            host=result.host,
            todo=f"see on {result.host} whether it is still running, and what it waits for",
        )
        self.result = result
        self.timeout_s = timeout_s


def last_words(text: str) -> str:
    """Return the last lines of what a command said; empty where it said nothing.

    Args:
        text: What it said.

    """
    return "\n    ".join(text.strip().splitlines()[-SHOWN_LINES:])
