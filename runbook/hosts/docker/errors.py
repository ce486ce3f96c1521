"""What the Docker Engine answers with, where it is an error.

    EngineError      1  the engine answered with an error
    ├── Absent       1  what was asked for is not there (404)
    ├── Conflict     1  the name is taken, or somebody else changed it meanwhile (409)
    └── EngineTimeout 1 the engine did not answer in time

A Swarm without quorum, or a node that is no manager, raises ``Refused``; an engine that does not
run raises ``Unreachable``, and a connection that ends during a request ``Lost``.
"""

from __future__ import annotations

import re

from runbook.errors import IN_DOUBT, Lost, Refused, RunbookError


class EngineError(RunbookError):
    """The engine answered with an error.

    Args:
        message: What it answered.
        host: The host of the engine.
        step: The step that was running.
        status: The HTTP status; ``None`` where there was none.

    """

    def __init__(
        self, message: str, *, host: str, step: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, host=host, step=step)
        self.status = status


class Absent(EngineError):
    """What was asked for is not there."""


class Conflict(EngineError):
    """The name is taken, or somebody else changed the object meanwhile."""


class EngineTimeout(EngineError, Lost):
    """The engine did not answer in time."""


# The engine tells these states by text alone: moby's and swarmkit's own messages.
_REFUSALS = (
    (
        re.compile(r"does not have a leader|too few managers|code = DeadlineExceeded"),
        "the Swarm has lost its quorum",
        "bring more than half of the managers back: see `docker node ls`, and on each manager "
        "`systemctl status docker` and the way to its port 2377",
    ),
    (
        re.compile(r"needs to be unlocked"),
        "the Swarm is locked here",
        "run `docker swarm unlock` on this host",
    ),
    (
        re.compile(r"is not a swarm manager|is not part of a swarm"),
        "this host is no manager of the Swarm",
        "join or promote it (`docker swarm join`, `docker node promote`), or correct the site",
    ),
)


def answered(status: int, said: str, host: str, *, changes: bool) -> RunbookError:
    """Return the error that an answer of the engine is.

    Args:
        status: Its HTTP status.
        said: What the engine said.
        host: The host of the engine.
        changes: Whether it was asked to change something, or only to tell.
    """
    for pattern, meaning, todo in _REFUSALS:
        if pattern.search(said):
            if "DeadlineExceeded" in said and changes:
                return Lost(f"{meaning}: {said}{IN_DOUBT}", host=host, todo=todo)
            return Refused(f"{meaning}: {said}", host=host, todo=todo)
    message = f"the Docker Engine answered {status}: {said}"
    # "update out of sequence": the object's Version.Index was not the current one.
    conflict = status == 409 or "out of sequence" in said
    kind = Conflict if conflict else Absent if status == 404 else EngineError
    return kind(message, host=host, status=status)
