"""Resources: what a host or the Swarm has, as declared, and how it is brought there.

A resource is a frozen value and a module, which ends with the line that has mypy hold it to the
protocol. It says what it needs, and its step when: changes get their stages there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from runbook.changes import Change
    from runbook.hosts.live import Live

F = TypeVar("F")
"""What was observed of a resource; absent is ``None``, or said by a field."""
F_contra = TypeVar("F_contra", contravariant=True)


class Resource(Protocol[F_contra]):
    """What every resource has; how it is observed depends on who knows of it."""

    @property
    def host(self) -> str:
        """Return where it is; of what the Swarm has, the manager that is asked and changes it."""

    def plan(self, facts: F_contra) -> list[Change]:
        """Return what brings it to its declared form; empty where it is so. No host is asked.

        Raises:
            Refused: It must not be brought there, or could not be.
        """


class HostResource(Resource[F], Protocol[F]):
    """What a host has: its shell tells of all of them at once (:meth:`Live.gather`)."""

    @property
    def probe(self) -> str:
        """Return the snippet of POSIX shell that reads it."""

    def read(self, text: str) -> F:
        """Return what the snippet printed as facts."""


class SwarmResource(Resource[F], Protocol[F]):
    """What the Swarm has: its engine tells of it."""

    def observe(self, live: Live) -> F:
        """Return what the engine says of it as facts; change nothing."""
