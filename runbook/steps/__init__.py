"""The steps of the runbook, in order. Each is a module that says what it wants of its resources.

A step module offers ``observe(live)``, ``rows(facts)``, ``plan(live, facts)``,
``files(live, facts)``, ``verify(live)`` and ``required_checks(site)``; a notebook of the same name
walks a person through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

from runbook.changes import Change, Check
from runbook.errors import BadInput
from runbook.hosts.live import Live
from runbook.site import Site

CONVERGED = "nothing is left to change"
"""The check that every changing step makes last: a second reading plans nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One observation as a line of a table."""

    host: str
    resource: str
    field: str
    seen: str


class StepModule(Protocol):
    """What a step's module offers."""

    def observe(self, live: Live) -> Any:
        """Read what is there now; change nothing."""

    def rows(self, facts: Any) -> list[Row]:
        """Return the facts as lines of a table."""

    def plan(self, live: Live, facts: Any) -> list[Change]:
        """Return what brings the facts to the declared state; touch no host."""

    def files(self, live: Live, facts: Any) -> dict[str, dict[str, str]]:
        """Return the whole content of every file that the step wants, by host and path.

        Raises:
            Refused: A file is somebody else's, as :meth:`plan` also says.
        """

    def verify(self, live: Live) -> list[Check]:
        """Read the running system afresh and from outside."""

    def required_checks(self, site: Site) -> tuple[str, ...]:
        """Return the names of the checks without which the step is not proven."""


@dataclass(frozen=True, slots=True)
class StepInfo:
    """One step.

    Attributes:
        name: Its name, which is also its module's.
        notebook: The file name of its notebook.
        needs: Returns the steps that must have succeeded before it.
        proves_when_planning: Whether its checks are due when planning, too.
        manages: Whether it has a state that runs compare.
    """

    name: str
    notebook: str
    needs: Callable[[Site], frozenset[str]]
    proves_when_planning: bool = False
    manages: bool = False

    @property
    def module(self) -> StepModule:
        """Return the step's module; imported on first use, since it brings its libraries."""
        return cast(StepModule, import_module(f"runbook.steps.{self.name}"))

    def required_checks(self, site: Site) -> tuple[str, ...]:
        """Return the names of the checks that must leave evidence in a run."""
        return self.module.required_checks(site)


def _after(*names: str) -> Callable[[Site], frozenset[str]]:
    return lambda _site: frozenset(names)


def _before_keepalived(site: Site) -> frozenset[str]:
    # With a health check the VIP settles only where Traefik answers.
    return frozenset({"traefik"} if site.keepalived.health_check else {"preflight"})


STEPS: tuple[StepInfo, ...] = (
    StepInfo("preflight", "00_preflight.ipynb", _after(), proves_when_planning=True),
    StepInfo("network", "10_network.ipynb", _after("preflight"), manages=True),
    StepInfo("traefik", "20_traefik.ipynb", _after("network"), manages=True),
    StepInfo("keepalived", "30_keepalived.ipynb", _before_keepalived, manages=True),
    StepInfo("shorewall", "40_shorewall.ipynb", _after("preflight"), manages=True),
    StepInfo("acceptance", "50_acceptance.ipynb", _after("traefik", "keepalived", "shorewall")),
)


def find(name: str) -> StepInfo:
    """Return the step of a name.

    Raises:
        BadInput: There is no such step.
    """
    for step in STEPS:
        if step.name == name:
            return step
    known = ", ".join(step.name for step in STEPS)
    raise BadInput(f"there is no step {name!r}", todo=f"name one of: {known}")


def host_rows(host: str, resource: str, fields: Sequence[tuple[str, object]]) -> list[Row]:
    """Return one row a field; ``None`` is shown as absent."""
    return [
        Row(host, resource, name, "absent" if seen is None else str(seen)) for name, seen in fields
    ]
