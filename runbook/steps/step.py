"""What a step is: what it reads, what it wants of the site, and how it proves that it is so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from runbook.changes import Change, Check, Finding
    from runbook.hosts.live import Live
    from runbook.site import Site, SiteFile
    from runbook.steps.preflight.facts import HostFacts
    from runbook.steps.preflight.swarm_facts import SwarmFacts

CONVERGED = "nothing is left to change"
"""The check that every changing step makes last: a second reading plans nothing."""

F = TypeVar("F")
"""What a step has observed."""

Files = Mapping[str, Mapping[str, str]]
"""The whole content of files, by host and path."""


@dataclass(frozen=True, slots=True)
class Row:
    """One observation as a line of a table."""

    host: str
    resource: str
    field: str
    seen: str


def host_rows(host: str, resource: str, fields: Sequence[tuple[str, object]]) -> list[Row]:
    """Return one row a field; ``None`` is shown as absent."""
    return [
        Row(host, resource, name, "absent" if seen is None else str(seen)) for name, seen in fields
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[F]):
    """One step. Only what is given connections reads hosts; the rest is pure.

    Attributes:
        name: Its name.
        notebook: The file name of its notebook.
        needs: Returns the steps that must have succeeded before it.
        manages: Whether it has a state of its own, which it changes and runs compare.
        observe: Reads what is there now.
        rows: Returns the facts as lines of a table.
        plan: Returns what brings the facts to the declared state; raises ``Refused`` where it must
            not be brought there.
        files: Returns every file that the step wants as it must be; raises as ``plan`` does where
            one is somebody else's.
        verify: Reads the running system afresh and from outside.
        required_checks: Returns the names of the checks without which the step is not proven.
        objections: Returns what speaks against the step in what the preflight has read.
        findings: Returns what the step itself makes of the facts.
        verdict: Returns the checks of a step whose observation is its verification, which are due
            when planning, too; ``None`` for every other.
    """

    name: str
    notebook: str
    observe: Callable[[Live], F]
    rows: Callable[[F], list[Row]]
    needs: Callable[[Site], frozenset[str]] = lambda _site: frozenset()
    manages: bool = False
    plan: Callable[[SiteFile, F], list[Change]] = lambda _site_file, _facts: []
    files: Callable[[SiteFile, F], Files] = lambda _site_file, _facts: {}
    verify: Callable[[Live], list[Check]] = lambda _live: []
    required_checks: Callable[[Site], tuple[str, ...]] = lambda _site: ()
    objections: Callable[
        [SiteFile, Mapping[str, HostFacts], SwarmFacts | None], Iterable[Finding]
    ] = lambda _site_file, _hosts, _swarm: ()
    findings: Callable[[F], Sequence[Finding]] = lambda _facts: ()
    verdict: Callable[[F], list[Check]] | None = None

    @property
    def proves_when_planning(self) -> bool:
        """Return whether its checks are due when planning, too."""
        return self.verdict is not None
